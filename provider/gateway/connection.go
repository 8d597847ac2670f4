package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// Connection is the properties of a connection of a gateway (Network REST:
// VirtualNetworkGatewayConnectionPropertiesFormat).
type Connection struct {
	ResourceGUID     string `json:"resourceGuid,omitempty" rp:"readonly"`
	Gateway1         *Ref   `json:"virtualNetworkGateway1"`
	Gateway2         *Ref   `json:"virtualNetworkGateway2,omitempty"`
	Local            *Ref   `json:"localNetworkGateway2,omitempty"`
	Peer             *Ref   `json:"peer,omitempty"` // an ExpressRoute circuit
	Kind             string `json:"connectionType"`
	Protocol         string `json:"connectionProtocol,omitempty"`
	Mode             string `json:"connectionMode,omitempty"`
	Weight           int    `json:"routingWeight"`
	DPDTimeout       int    `json:"dpdTimeoutSeconds"`
	SharedKey        string `json:"sharedKey,omitempty" rp:"secret"`
	AuthorizationKey string `json:"authorizationKey,omitempty" rp:"secret"`
	EnableBGP        bool   `json:"enableBgp"`
	PolicyBased      bool   `json:"usePolicyBasedTrafficSelectors"`
	IPsecPolicies    []any  `json:"ipsecPolicies"`
	Selectors        []any  `json:"trafficSelectorPolicies"`
	Bypass           bool   `json:"expressRouteGatewayBypass"`
	LocalAzureIP     bool   `json:"useLocalAzureIpAddress"`

	Status  string `json:"connectionStatus,omitempty" rp:"readonly"`
	Ingress uint64 `json:"ingressBytesTransferred" rp:"readonly"`
	Egress  uint64 `json:"egressBytesTransferred" rp:"readonly"`
}

// Kinds of connection.
const (
	kindIPsec    = "IPsec"
	kindVNet     = "Vnet2Vnet"
	kindCircuit  = "ExpressRoute"
	kindClient   = "VPNClient"
	defaultDPD   = 45
	sharedKeyLen = 128 // characters at most
)

func (p *Provider) connectionType() rp.Registration {
	return rp.Of(rp.Type[Connection]{
		Name: ConnectionType, Kind: rp.Tracked, Versions: rp.Versions[Connection](network.VersionsSince("2015-06-15")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultConnection,
		Validate:  validateConnection,
		Admit:     p.admitConnection,
		Links:     connectionLinks,
		Reconcile: applied[Connection](p),
		Present:   p.presentConnection,
		Finalize:  applied[Connection](p),
		Actions:   p.connectionActions(),
	})
}

func defaultConnection(_ string, r *rp.Resource[Connection]) {
	v := &r.Properties
	spell(&v.Kind, kindIPsec, kindVNet, kindCircuit, kindClient)
	if v.Kind != kindCircuit && v.Protocol == "" {
		v.Protocol = "IKEv2"
	}
	if v.Mode == "" {
		v.Mode = "Default"
	}
	if v.DPDTimeout == 0 && v.Kind != kindCircuit {
		v.DPDTimeout = defaultDPD
	}
	if v.IPsecPolicies == nil {
		v.IPsecPolicies = []any{}
	}
	if v.Selectors == nil {
		v.Selectors = []any{}
	}
}

func validateConnection(_ rp.Op, new, _ *rp.Resource[Connection]) error {
	v := &new.Properties
	if _, err := parseRef(v.Gateway1, Type, "virtualNetworkGateway1", new.ID); err != nil {
		return err
	}
	switch {
	case v.EnableBGP && v.Kind != kindCircuit:
		return arm.NotImplemented("BGP over a VPN connection is not implemented (enableBgp of %s): its routes are the prefixes of the other end.", new.ID)
	case v.PolicyBased || len(v.Selectors) > 0:
		return arm.NotImplemented("Policy-based traffic selectors are not implemented (%s).", new.ID)
	case len(v.SharedKey) > sharedKeyLen:
		return bad("InvalidRequestFormat", "sharedKey of connection %s is longer than %d characters.", new.ID, sharedKeyLen)
	}
	var err error
	switch v.Kind {
	case kindIPsec:
		_, err = parseRef(v.Local, LocalType, "localNetworkGateway2", new.ID)
	case kindVNet:
		var other arm.ID
		if other, err = parseRef(v.Gateway2, Type, "virtualNetworkGateway2", new.ID); err == nil && is(v.Gateway1, other) {
			err = bad("InvalidRequestFormat", "Connection %s leads from %s to itself.", new.ID, other)
		}
	case kindCircuit:
		_, err = parseRef(v.Peer, CircuitType, "peer", new.ID)
	default:
		err = bad("InvalidRequestFormat", "connectionType of %s is '%s'; it must be IPsec, Vnet2Vnet or ExpressRoute.", new.ID, clip(v.Kind))
	}
	return err
}

// connectionLinks: https://learn.microsoft.com/azure/vpn-gateway/roles-permissions
func connectionLinks(r *rp.Resource[Connection]) (list []rp.Link) {
	for _, ref := range []*Ref{r.Properties.Gateway1, r.Properties.Gateway2, r.Properties.Local, r.Properties.Peer} {
		list = link(list, "join/action", ref)
	}
	return list
}

func (p *Provider) admitConnection(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Connection]) error {
	v := &new.Properties
	if op == rp.Create {
		v.ResourceGUID = uuid.NewString()
	}
	g, err := live[Gateway](tx, v.Gateway1, new.ID)
	if err != nil {
		return err
	}
	if (v.Kind == kindCircuit) != (g.Properties.GatewayType == "ExpressRoute") {
		return bad("InvalidRequestFormat", "Connection %s of type %s cannot use %s, which is of type %s.", new.ID, v.Kind, g.ID, g.Properties.GatewayType)
	}
	if v.Kind == kindCircuit {
		return v.admitCircuit(tx, new.ID)
	}
	if v.SharedKey == "" {
		v.SharedKey = rand.Text()
	}
	far, err := v.farEnd(tx, new.ID)
	if err != nil {
		return err
	}
	if far.addr == g.Properties.Public {
		return bad("InvalidRequestFormat", "Connection %s leads from %s to itself: both ends have the address %s.", new.ID, g.ID, far.addr)
	}
	return v.routesAreItsOwn(tx, new.ID, far.space)
}

// far is the other end of a connection.
type far struct {
	addr  netip.Addr
	space []netip.Prefix
}

func (v *Connection) farEnd(tx *rp.Tx, of arm.ID) (far, error) {
	if v.Kind == kindIPsec {
		l, err := live[Local](tx, v.Local, of)
		if err != nil {
			return far{}, err
		}
		addr, err := netip.ParseAddr(l.Properties.Address)
		if err != nil {
			return far{}, err
		}
		space, err := prefixes(l.Properties.Space, "localNetworkAddressSpace", l.ID)
		return far{addr, space}, err
	}
	g, err := live[Gateway](tx, v.Gateway2, of)
	if err != nil {
		return far{}, err
	}
	id, err := g.Properties.vnet()
	if err != nil {
		return far{}, err
	}
	vnet, err := live[network.VNet](tx, &Ref{ID: id.String()}, of)
	if err != nil {
		return far{}, err
	}
	space, err := prefixes(&vnet.Properties.AddressSpace, "addressSpace", vnet.ID)
	return far{g.Properties.Public, space}, err
}

// routesAreItsOwn refuses a prefix that another connection of the gateway leads to.
func (v *Connection) routesAreItsOwn(tx *rp.Tx, id arm.ID, space []netip.Prefix) error {
	gateway, err := arm.ParseID(v.Gateway1.ID)
	if err != nil {
		return err
	}
	others, err := connectionsOf(tx, gateway)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID.Key() == id.Key() || o.Properties.Kind == kindCircuit || !is(o.Properties.Gateway1, gateway) {
			continue
		}
		theirs, err := o.Properties.farEnd(tx, o.ID)
		if err != nil {
			return err
		}
		for _, a := range space {
			for _, b := range theirs.space {
				if a == b {
					return bad("InvalidRequestFormat", "Connections %s and %s of gateway %s both lead to %s.", id, o.ID, gateway, a)
				}
			}
		}
	}
	return nil
}

// connectionsOf are the connections that use a resource.
func connectionsOf(tx *rp.Tx, id arm.ID) ([]*rp.Resource[Connection], error) {
	all, err := rp.List[Connection](tx, ConnectionType, root)
	if err != nil {
		return nil, err
	}
	var list []*rp.Resource[Connection]
	for _, c := range all {
		v := &c.Properties
		if c.State != arm.Deleting && (is(v.Gateway1, id) || is(v.Gateway2, id) || is(v.Local, id) || is(v.Peer, id)) {
			list = append(list, c)
		}
	}
	return list, nil
}

// presentConnection tells how the tunnel stands: Connected while its session lives, that of a circuit while its
// wire is there and BGP speaks over it.
func (p *Provider) presentConnection(_ context.Context, _ *rp.Tx, r *rp.Resource[Connection]) error {
	v := &r.Properties
	v.Status, v.Ingress, v.Egress = "Unknown", 0, 0
	if v.Kind == kindCircuit {
		name := tunnelName(r.ID)
		wire := p.cfg.Wire.Circuit(name)
		v.Status, v.Ingress, v.Egress = "NotConnected", wire.In, wire.Out
		if wire.Up && p.cfg.Wire.Session(name).Established {
			v.Status = "Connected"
		}
		return nil
	}
	peers, err := p.cfg.Wire.Peers(tunnelName(r.ID))
	if err != nil || len(peers) == 0 {
		return err
	}
	v.Ingress, v.Egress = peers[0].Received, peers[0].Sent
	switch {
	case peers[0].Connected(time.Now()): // handshakes are of the machine's clock
		v.Status = "Connected"
	case peers[0].Handshake.IsZero():
		v.Status = "Connecting"
	default:
		v.Status = "NotConnected"
	}
	return nil
}

// sharedKey is the body of the operations on a connection's key.
type sharedKey struct {
	Value string `json:"value"`
	ID    string `json:"id,omitempty"`
}

func (p *Provider) sharedKeyRoutes() []rp.Route {
	const at = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network/connections/{name}/sharedkey"
	route := func(method, pattern, permission string, do func(tx *rp.Tx, r *rp.Resource[Connection], body []byte) (any, error)) rp.Route {
		return rp.Route{Method: method, Pattern: pattern, Permission: permission, Versions: network.VersionsSince("2015-06-15"),
			Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
				r, err := connectionAt(tx, path)
				if err != nil {
					return nil, err
				}
				if r.Properties.Kind == kindCircuit {
					return nil, bad("InvalidRequestFormat", "Connection %s is of type ExpressRoute and has no shared key.", r.ID)
				}
				return do(tx, r, body)
			}}
	}
	return []rp.Route{
		route(http.MethodGet, at, "Microsoft.Network/connections/sharedKey/read", func(_ *rp.Tx, r *rp.Resource[Connection], _ []byte) (any, error) {
			return sharedKey{Value: r.Properties.SharedKey, ID: r.ID.String() + "/sharedKey"}, nil
		}),
		route(http.MethodPut, at, "Microsoft.Network/connections/sharedKey/write", setSharedKey),
		route(http.MethodPost, at+"/reset", "Microsoft.Network/connections/sharedKey/write", resetSharedKey),
	}
}

func connectionAt(tx *rp.Tx, path map[string]string) (*rp.Resource[Connection], error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + ConnectionType + "/" + path["name"])
	if err != nil {
		return nil, err
	}
	return rp.Get[Connection](tx, id)
}

func setSharedKey(tx *rp.Tx, r *rp.Resource[Connection], body []byte) (any, error) {
	var key sharedKey
	if err := json.Unmarshal(body, &key); err != nil || key.Value == "" || len(key.Value) > sharedKeyLen {
		return nil, bad("InvalidRequestFormat", "The body must be {\"value\": KEY} with a key of 1 to %d characters for connection %s.", sharedKeyLen, r.ID)
	}
	r.Properties.SharedKey = key.Value
	tx.Wake(r.ID)
	return sharedKey{Value: key.Value, ID: r.ID.String() + "/sharedKey"}, rp.Save(tx, r)
}

func resetSharedKey(tx *rp.Tx, r *rp.Resource[Connection], body []byte) (any, error) {
	var want struct {
		Length int `json:"keyLength"`
	}
	if err := json.Unmarshal(body, &want); err != nil || want.Length < 1 || want.Length > sharedKeyLen {
		return nil, bad("InvalidRequestFormat", "keyLength must be 1 to %d for connection %s.", sharedKeyLen, r.ID)
	}
	key := ""
	for len(key) < want.Length {
		key += rand.Text()
	}
	r.Properties.SharedKey = key[:want.Length]
	tx.Wake(r.ID)
	return map[string]int{"keyLength": want.Length}, rp.Save(tx, r)
}
