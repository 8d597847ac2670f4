package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

const at = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + Type + "/{name}/"

func (p *Provider) routes() rp.Registration {
	gateway := func(method, verb, permission string, do func(tx *rp.Tx, r *rp.Resource[Gateway], query map[string]string) (any, error)) rp.Route {
		return rp.Route{Method: method, Pattern: at + verb, Permission: permission, Versions: network.VersionsSince("2015-06-15"),
			Do: func(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
				id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + Type + "/" + path["name"])
				if err != nil {
					return nil, err
				}
				r, err := rp.Get[Gateway](tx, id)
				if err != nil {
					return nil, err
				}
				return do(tx, r, query)
			}}
	}
	return rp.Routes(append(p.sharedKeyRoutes(),
		gateway(http.MethodGet, "connections", "Microsoft.Network/virtualNetworkGateways/connections/read", p.listConnections),
		gateway(http.MethodPost, "getAdvertisedRoutes", Type+"/getadvertisedroutes/action", advertisedRoutes),
		gateway(http.MethodPost, "getBgpPeerStatus", Type+"/getbgppeerstatus/action", bgpPeerStatus),
	)...)
}

func (p *Provider) gatewayActions() map[string]rp.Action[Gateway] {
	type do = func(context.Context, *rp.Tx, *rp.Resource[Gateway], []byte) (any, error)
	noPackage := func(_ context.Context, _ *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
		return nil, arm.NotImplemented("VPN client packages are not implemented: the tunnel of %s is WireGuard. `vauban vpn profile --gateway %s` prints a client's configuration.", r.ID, r.ID.Name())
	}
	return map[string]rp.Action[Gateway]{
		"reset": {Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return p.reset(tx, r)
		}},
		"generatevpnclientpackage": {Do: do(noPackage)},
		"generatevpnprofile":       {Do: do(noPackage)},
		"getvpnprofilepackageurl":  {Do: do(noPackage)},
		"getLearnedRoutes": {Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return learnedRoutes(tx, r)
		}},
		"getVpnClientConnectionHealth": {Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return p.clientHealth(tx, r)
		}},
	}
}

// reset ends the sessions of all tunnels of the gateway; they begin again by themselves.
func (p *Provider) reset(tx *rp.Tx, r *rp.Resource[Gateway]) (any, error) {
	names := []string{tunnelName(r.ID)}
	list, err := connectionsOf(tx, r.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		names = append(names, tunnelName(c.ID))
	}
	for _, name := range names {
		if err := p.cfg.Wire.Restart(name); err != nil {
			return nil, err
		}
	}
	v := r.Properties
	return map[string]any{"id": r.ID.String(), "name": r.ID.Name(), "type": Type, "location": r.Location, "etag": r.ETag, "properties": v.shown()}, nil
}

// shown is the gateway without what no answer has.
func (v Gateway) shown() any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return nil
	}
	for _, hidden := range []string{"key", "address", "public"} {
		delete(m, hidden)
	}
	if c, ok := m["vpnClientConfiguration"].(map[string]any); ok {
		delete(c, "radiusServerSecret")
	}
	return m
}

type values[T any] struct {
	Value []T `json:"value"`
}

func (p *Provider) listConnections(tx *rp.Tx, r *rp.Resource[Gateway], _ map[string]string) (any, error) {
	list, err := connectionsOf(tx, r.ID)
	if err != nil {
		return nil, err
	}
	out := values[any]{Value: []any{}}
	for _, c := range list {
		if err := p.presentConnection(context.Background(), tx, c); err != nil {
			return nil, err
		}
		v := c.Properties
		v.SharedKey, v.AuthorizationKey = "", ""
		out.Value = append(out.Value, map[string]any{
			"id": c.ID.String(), "name": c.ID.Name(), "type": ConnectionType, "location": c.Location, "etag": c.ETag, "properties": v,
		})
	}
	return out, nil
}

// gatewayRoute is one line of a gateway's routing table (Network REST: GatewayRoute).
type gatewayRoute struct {
	LocalAddress string `json:"localAddress"`
	Network      string `json:"network"`
	NextHop      string `json:"nextHop"`
	SourcePeer   string `json:"sourcePeer"`
	Origin       string `json:"origin"`
	ASPath       string `json:"asPath"`
	Weight       int    `json:"weight"`
}

// ownWeight is that of routes that the gateway was given, not told.
const ownWeight = 32768

func learnedRoutes(tx *rp.Tx, r *rp.Resource[Gateway]) (any, error) {
	out := values[gatewayRoute]{Value: []gatewayRoute{}}
	own := r.Properties.Address.String()
	add := func(pre netip.Prefix, hop string) {
		out.Value = append(out.Value, gatewayRoute{LocalAddress: own, Network: pre.String(), NextHop: hop, SourcePeer: own, Origin: "Network", Weight: ownWeight})
	}
	id, err := r.Properties.vnet()
	if err != nil {
		return nil, err
	}
	vnet, err := rp.Get[network.VNet](tx, id)
	if err != nil {
		return nil, err
	}
	space, err := prefixes(&vnet.Properties.AddressSpace, "addressSpace", id)
	if err != nil {
		return nil, err
	}
	for _, pre := range space {
		add(pre, "")
	}
	if r.Properties.Clients != nil {
		pool, err := prefixes(r.Properties.Clients.Pool, "vpnClientAddressPool", r.ID)
		if err != nil {
			return nil, err
		}
		for _, pre := range pool {
			add(pre, "")
		}
	}
	list, err := connectionsOf(tx, r.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if !is(c.Properties.Gateway1, r.ID) || c.Properties.Kind == kindCircuit {
			continue
		}
		far, err := c.Properties.farEnd(tx, c.ID)
		if err != nil {
			return nil, err
		}
		for _, pre := range far.space {
			add(pre, far.addr.String())
		}
	}
	return out, nil
}

// Without BGP there is nobody to advertise to, and no peer.
func advertisedRoutes(_ *rp.Tx, r *rp.Resource[Gateway], query map[string]string) (any, error) {
	if _, err := netip.ParseAddr(query["peer"]); err != nil {
		return nil, bad("InvalidRequestFormat", "The query parameter peer must be the address of a BGP peer of %s, not '%s'.", r.ID, clip(query["peer"]))
	}
	return values[gatewayRoute]{Value: []gatewayRoute{}}, nil
}

func bgpPeerStatus(*rp.Tx, *rp.Resource[Gateway], map[string]string) (any, error) {
	return values[any]{Value: []any{}}, nil
}

// clientHealth is one connected client (Network REST: VpnClientConnectionHealthDetail).
type clientHealth struct {
	ID             string `json:"vpnConnectionId"`
	Duration       int64  `json:"vpnConnectionDuration"` // seconds
	Time           string `json:"vpnConnectionTime"`
	PublicAddress  string `json:"publicIpAddress"`
	PrivateAddress string `json:"privateIpAddress"`
	User           string `json:"vpnUserName"`
	MaxBandwidth   int64  `json:"maxBandwidth"`
	EgressPackets  int64  `json:"egressPacketsTransferred"`
	Egress         uint64 `json:"egressBytesTransferred"`
	IngressPackets int64  `json:"ingressPacketsTransferred"`
	Ingress        uint64 `json:"ingressBytesTransferred"`
	MaxPackets     int64  `json:"maxPacketsPerSecond"`
}

func (p *Provider) clientHealth(tx *rp.Tx, r *rp.Resource[Gateway]) (any, error) {
	peers, err := p.cfg.Wire.Peers(tunnelName(r.ID))
	if err != nil {
		return nil, err
	}
	clients, err := Clients(tx, r.ID)
	if err != nil {
		return nil, err
	}
	now := time.Now() // handshakes are of the machine's clock
	out := values[clientHealth]{Value: []clientHealth{}}
	for _, c := range clients {
		for _, peer := range peers {
			if peer.Public != c.Public || !peer.Connected(now) {
				continue
			}
			out.Value = append(out.Value, clientHealth{
				ID: c.Thumbprint(), Duration: int64(now.Sub(peer.Handshake) / time.Second), Time: peer.Handshake.UTC().Format(time.RFC3339),
				PublicAddress: peer.Endpoint.String(), PrivateAddress: c.Addr.String(), User: c.Name, Egress: peer.Sent, Ingress: peer.Received,
			})
		}
	}
	return out, nil
}
