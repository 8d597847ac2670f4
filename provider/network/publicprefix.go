package network

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// PublicIPPrefix is the properties of a range of public addresses (Network REST:
// PublicIPPrefixPropertiesFormat).
type PublicIPPrefix struct {
	ResourceGUID string `json:"resourceGuid,omitempty" rp:"readonly"`
	Version      string `json:"publicIPAddressVersion"`
	Length       int    `json:"prefixLength"`
	IPTags       []any  `json:"ipTags"`
	IPPrefix     string `json:"ipPrefix,omitempty" rp:"readonly"`
	Addresses    []Ref  `json:"publicIPAddresses,omitempty" rp:"readonly"`
	NATGateway   *Ref   `json:"natGateway,omitempty" rp:"readonly"`
	Frontend     *Ref   `json:"loadBalancerFrontendIpConfiguration,omitempty" rp:"readonly"`
	CustomPrefix *Ref   `json:"customIPPrefix,omitempty"`
}

// The lengths that Azure gives, and the one it gives unasked.
// https://learn.microsoft.com/azure/virtual-network/ip-services/public-ip-address-prefix
const (
	shortestPublicPrefix = 28
	longestPublicPrefix  = 31
)

func (p *Provider) publicPrefixType() rp.Registration {
	return rp.Of(rp.Type[PublicIPPrefix]{
		Move: moved[PublicIPPrefix],
		Name: PublicIPPrefixType, Kind: rp.Tracked, Versions: rp.Versions[PublicIPPrefix](since("2018-07-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:  defaultPublicPrefix,
		Validate: validatePublicPrefix,
		Admit:    p.admitPublicPrefix,
		Present:  presentPublicPrefix,
		Kept:     true,
		Release:  releasePublicPrefix,
	})
}

func defaultPublicPrefix(_ string, r *rp.Resource[PublicIPPrefix]) {
	v := &r.Properties
	if v.Version == "" {
		v.Version = "IPv4"
	}
	if v.Length == 0 {
		v.Length = shortestPublicPrefix
	}
	if v.IPTags == nil {
		v.IPTags = []any{}
	}
	r.SKU = fullSKU(r.SKU, "Standard")
}

func validatePublicPrefix(_ rp.Op, new, old *rp.Resource[PublicIPPrefix]) error {
	v := &new.Properties
	switch {
	case !isSKU(new.SKU, "Standard"):
		return bad("InvalidRequestFormat", "The sku of public IP prefix %s must be Standard.", new.ID)
	case v.Version != "IPv4":
		return arm.NotImplemented("Public IP prefixes of version %s are not implemented.", clip(v.Version))
	case v.CustomPrefix != nil:
		return arm.NotImplemented("Public IP prefix %s: custom IP prefixes are not implemented.", new.ID)
	case v.Length < shortestPublicPrefix || v.Length > longestPublicPrefix:
		return bad("InvalidPrefixLength", "prefixLength of public IP prefix %s is %d; it must be between %d and %d.", new.ID, v.Length, shortestPublicPrefix, longestPublicPrefix)
	case old != nil && old.Properties.Length != v.Length:
		return bad("PrefixLengthCannotBeChanged", "prefixLength of public IP prefix %s is %d and cannot be changed.", new.ID, old.Properties.Length)
	}
	return nil
}

// fullSKU fills in what a client left out of a public address's sku: the name, and the tier Regional. What is no
// object stays for Validate to refuse.
func fullSKU(sku json.RawMessage, name string) json.RawMessage {
	full := map[string]any{"name": name, "tier": "Regional"}
	if len(sku) > 0 {
		if err := json.Unmarshal(sku, &full); err != nil {
			return sku
		}
	}
	b, err := json.Marshal(full)
	if err != nil {
		return sku
	}
	return b
}

// isSKU reports whether an envelope's sku has one of the names.
func isSKU(sku json.RawMessage, names ...string) bool {
	var s struct{ Name string }
	return json.Unmarshal(sku, &s) == nil && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, s.Name) })
}

func (p *Provider) admitPublicPrefix(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[PublicIPPrefix]) error {
	if op == rp.Update {
		return nil
	}
	v := &new.Properties
	v.ResourceGUID = uuid.NewString()
	pre, err := p.takePublicPrefix(tx, new.ID.Key(), v.Length)
	v.IPPrefix = pre.String()
	return err
}

func presentPublicPrefix(_ context.Context, tx *rp.Tx, r *rp.Resource[PublicIPPrefix]) error {
	var err error
	r.Properties.Addresses, err = prefixUsers(tx, r.ID)
	return err
}

// holders are what has the whole prefix.
func (v *PublicIPPrefix) holders() (list []Ref) {
	for _, ref := range []*Ref{v.NATGateway, v.Frontend} {
		if ref != nil {
			list = append(list, *ref)
		}
	}
	return list
}

// prefixUsers are the public addresses that were made from a prefix.
func prefixUsers(tx *rp.Tx, prefix arm.ID) ([]Ref, error) {
	ips, err := rp.List[PublicIP](tx, PublicIPType, root)
	if err != nil {
		return nil, err
	}
	var list []Ref
	for _, ip := range ips {
		if ip.State != arm.Deleting && ip.Properties.Prefix.is(prefix) {
			list = append(list, Ref{ID: ip.ID.String()})
		}
	}
	return list, nil
}

func releasePublicPrefix(_ context.Context, tx *rp.Tx, r *rp.Resource[PublicIPPrefix]) error {
	users, err := prefixUsers(tx, r.ID)
	if err != nil {
		return err
	}
	users = append(users, r.Properties.holders()...)
	if len(users) > 0 {
		return bad("InUsePublicIpPrefixCannotBeDeleted", "Public IP prefix %s is in use by %s and cannot be deleted.", r.ID, inUse(ids(users)))
	}
	return givePublicPrefix(tx, r.ID.Key())
}

// takePublicPrefix gives owner a range of the pool in which nobody has an address, the highest one: single
// addresses are taken from the other end.
func (p *Provider) takePublicPrefix(tx store.Tx, owner string, bits int) (netip.Prefix, error) {
	held, err := scan[allocation](tx, publicKind, "")
	if err != nil {
		return netip.Prefix{}, err
	}
	var free netip.Prefix
	for pre := range subPrefixes(p.cfg.PublicPool, bits) {
		if !slices.ContainsFunc(held, func(h allocation) bool { return pre.Contains(h.Addr) }) {
			free = pre
		}
	}
	if !free.IsValid() {
		return free, bad("PublicIPPrefixCountLimitReached", "There is no range of length %d left for public IP prefixes in this region.", bits)
	}
	for a := free.Addr(); free.Contains(a); a = a.Next() {
		if err := put(tx, publicKind, publicKey(a), allocation{Addr: a, Prefix: owner}, store.None); err != nil {
			return free, err
		}
	}
	return free, nil
}

// subPrefixes are the prefixes of a length that make up pool, in ascending order; none when it is smaller.
func subPrefixes(pool netip.Prefix, bits int) func(yield func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) {
		if !pool.IsValid() || bits < pool.Bits() {
			return
		}
		for a := pool.Addr(); pool.Contains(a); {
			pre := netip.PrefixFrom(a, bits)
			if !yield(pre) {
				return
			}
			for range 1 << (32 - bits) {
				a = a.Next()
			}
		}
	}
}

func givePublicPrefix(tx store.Tx, owner string) error {
	held, err := scan[allocation](tx, publicKind, "")
	if err != nil {
		return err
	}
	for _, h := range held {
		if h.Prefix != owner {
			continue
		}
		if err := drop(tx, publicKind, publicKey(h.Addr)); err != nil {
			return err
		}
	}
	return nil
}

// takeOfPrefix gives owner the lowest free address of a prefix.
func takeOfPrefix(tx store.Tx, prefix *rp.Resource[PublicIPPrefix], owner string) (netip.Addr, error) {
	held, err := scan[allocation](tx, publicKind, "")
	if err != nil {
		return netip.Addr{}, err
	}
	for _, h := range held {
		if h.Prefix == prefix.ID.Key() && h.Owner == "" {
			h.Owner = owner
			return h.Addr, put(tx, publicKind, publicKey(h.Addr), h, store.Any)
		}
	}
	return netip.Addr{}, bad("PublicIpPrefixIsFull", "Public IP prefix %s, %s, has no free address.", prefix.ID, prefix.Properties.IPPrefix)
}
