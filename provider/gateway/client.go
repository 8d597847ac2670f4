package gateway

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/vpn"
	"vauban.dev/store"
)

// clientKind holds who may join a gateway point-to-site; key: lower-case gateway id, "/", lower-case name.
const clientKind = "gateway/client"

// Client may join a gateway. The region knows its public key only.
type Client struct {
	Name    string        `json:"name"`
	Gateway string        `json:"gateway"`
	Public  vpn.PublicKey `json:"public"`
	Addr    netip.Addr    `json:"addr"`
	Made    time.Time     `json:"made"`
}

// Thumbprint names the client's key in vpnClientRevokedCertificates, as a certificate's does on Azure.
func (c *Client) Thumbprint() string {
	sum := sha1.Sum(c.Public[:])
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func clientKey(gateway arm.ID, name string) string {
	return gateway.Key() + "/" + strings.ToLower(name)
}

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$`)

// AddClient makes a client of the gateway with a new key, which is in the result and nowhere else. A client
// of that name loses its old key and keeps its address. Errors: 404 for the gateway; 400 for a bad
// name, a gateway without point-to-site, or a full pool.
func (p *Provider) AddClient(tx *rp.Tx, gateway arm.ID, name string) (Client, vpn.PrivateKey, error) {
	var none vpn.PrivateKey
	if !clientName.MatchString(name) {
		return Client{}, none, bad("InvalidClientName", "%q is no name for a client: letters, digits and _ . @ -, 63 at most.", clip(name))
	}
	g, err := rp.Get[Gateway](tx, gateway)
	if err != nil {
		return Client{}, none, err
	}
	if g.State == arm.Deleting {
		return Client{}, none, arm.NotFound(gateway)
	}
	if g.Properties.Clients == nil {
		return Client{}, none, bad("VpnClientAddressPoolNotSpecified", "Vpn client addresspool is not specified for gateway %s.", gateway)
	}
	c, err := getClient(tx, g.ID, name)
	if errors.Is(err, store.ErrNotFound) {
		c = Client{Name: name, Gateway: g.ID.String()}
		c.Addr, err = freeAddress(tx, g)
	}
	if err != nil {
		return Client{}, none, err
	}
	key := vpn.NewPrivateKey()
	c.Public, c.Made = key.Public(), tx.Now
	b, err := json.Marshal(c)
	if err != nil {
		return Client{}, none, err
	}
	_, err = tx.Put(clientKind, clientKey(g.ID, name), b, store.Any)
	return c, key, err
}

func getClient(tx *rp.Tx, gateway arm.ID, name string) (c Client, err error) {
	d, err := tx.Get(clientKind, clientKey(gateway, name))
	if err == nil {
		err = json.Unmarshal(d.Value, &c)
	}
	return c, err
}

// RemoveClient ends a client: after the next Sync it is cut off. 404 for one that is not there.
func (p *Provider) RemoveClient(tx *rp.Tx, gateway arm.ID, name string) error {
	if _, err := getClient(tx, gateway, name); errors.Is(err, store.ErrNotFound) {
		return arm.Errorf(http.StatusNotFound, "ClientNotFound", "Gateway %s has no client %q.", gateway, clip(name))
	}
	return tx.Delete(clientKind, clientKey(gateway, name), store.Any)
}

// Clients are those of a gateway, in the order of their names.
func Clients(tx *rp.Tx, gateway arm.ID) (list []Client, err error) {
	var bad error
	err = tx.Scan(clientKind, gateway.Key()+"/", "", func(d store.Doc) bool {
		var c Client
		if bad = json.Unmarshal(d.Value, &c); bad != nil {
			bad = fmt.Errorf("gateway: stored client %s: %w", d.Key, bad)
			return false
		}
		list = append(list, c)
		return true
	})
	return list, errors.Join(err, bad)
}

func removeClients(tx *rp.Tx, gateway arm.ID) error {
	list, err := Clients(tx, gateway)
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := tx.Delete(clientKind, clientKey(gateway, c.Name), store.Any); err != nil {
			return err
		}
	}
	return nil
}

// freeAddress is the pool's next one that no client has. The first of a prefix is the gateway's by Azure's
// custom, the last is nobody's.
func freeAddress(tx *rp.Tx, g *rp.Resource[Gateway]) (netip.Addr, error) {
	list, err := Clients(tx, g.ID)
	if err != nil {
		return netip.Addr{}, err
	}
	taken := map[netip.Addr]bool{}
	for _, c := range list {
		taken[c.Addr] = true
	}
	pool, err := prefixes(g.Properties.Clients.Pool, "vpnClientAddressPool", g.ID)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, p := range pool {
		for a := p.Addr().Next().Next(); p.Contains(a.Next()); a = a.Next() {
			if !taken[a] {
				return a, nil
			}
		}
	}
	return netip.Addr{}, bad("VpnClientAddressPoolIsFull", "The client address pool of gateway %s has no address left.", g.ID)
}

// admits tells whether a client may connect: it has an address of the pool as it is now, and neither its name
// nor its key is revoked.
func (v *Gateway) admits(c *Client, pool []netip.Prefix) bool {
	for _, r := range v.Clients.Revoked {
		if strings.EqualFold(r.Name, c.Name) || strings.EqualFold(r.Properties.Thumbprint, c.Thumbprint()) {
			return false
		}
	}
	for _, p := range pool {
		if p.Contains(c.Addr) {
			return true
		}
	}
	return false
}
