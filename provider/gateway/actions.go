package gateway

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/bgp"
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
	return rp.Routes(append(slices.Concat(p.sharedKeyRoutes(), p.circuitRoutes()),
		gateway(http.MethodGet, "connections", "Microsoft.Network/virtualNetworkGateways/connections/read", p.listConnections),
		gateway(http.MethodPost, "getAdvertisedRoutes", Type+"/getadvertisedroutes/action", p.advertisedRoutes),
		gateway(http.MethodPost, "getBgpPeerStatus", Type+"/getbgppeerstatus/action", p.bgpPeerStatus),
	)...)
}

func (p *Provider) gatewayActions() map[string]rp.Action[Gateway] {
	type do = func(context.Context, *rp.Tx, *rp.Resource[Gateway], []byte) (any, error)
	noPackage := func(_ context.Context, _ *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
		return nil, arm.NotImplemented("VPN client packages are not implemented: the tunnel of %s is WireGuard. `vauban vpn profile --gateway %s` prints a client's configuration.", r.ID, r.ID.Name())
	}
	actions := map[string]rp.Action[Gateway]{
		"reset": {Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return p.reset(tx, r)
		}},
		"generatevpnclientpackage": {Do: do(noPackage)},
		"generatevpnprofile":       {Do: do(noPackage)},
		"getvpnprofilepackageurl":  {Do: do(noPackage)},
		"getLearnedRoutes": {Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return p.learnedRoutes(tx, r)
		}},
		"getVpnClientConnectionHealth": {Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return p.clientHealth(tx, r)
		}},
	}
	maps.Copy(actions, p.sessionActions())
	return actions
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
	if err := presentGateway(context.Background(), tx, r); err != nil {
		return nil, err
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
	for _, hidden := range []string{"key", "address", "public", "clientPolicy"} {
		delete(m, hidden)
	}
	m["provisioningState"] = string(arm.Succeeded)
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

func (p *Provider) learnedRoutes(tx *rp.Tx, r *rp.Resource[Gateway]) (any, error) {
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
		if !is(c.Properties.Gateway1, r.ID) {
			continue
		}
		if c.Properties.Kind == kindCircuit {
			for _, x := range p.cfg.Wire.Session(tunnelName(c.ID)).Routes {
				out.Value = append(out.Value, gatewayRoute{LocalAddress: own, Network: x.Prefix.String(), NextHop: own, SourcePeer: own, Origin: "EBgp", ASPath: asPath(append([]uint32{microsoftASN}, x.ASPath...)), Weight: ownWeight})
			}
			continue
		}
		far, err := c.Properties.farEnd(tx, c.ID)
		if err != nil {
			return nil, err
		}
		for _, pre := range r.Properties.through(c, far.space) {
			add(pre, far.addr.String())
		}
	}
	return out, nil
}

func asPath(list []uint32) string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(out, "-")
}

// sessions are the BGP sessions of the gateway's circuits.
func (p *Provider) sessions(tx *rp.Tx, r *rp.Resource[Gateway]) ([]bgp.State, error) {
	list, err := connectionsOf(tx, r.ID)
	if err != nil {
		return nil, err
	}
	var out []bgp.State
	for _, c := range list {
		if c.Properties.Kind != kindCircuit {
			continue
		}
		if s := p.cfg.Wire.Session(tunnelName(c.ID)); s.Peer.Remote.IsValid() {
			out = append(out, s)
		}
	}
	return out, nil
}

func (p *Provider) advertisedRoutes(tx *rp.Tx, r *rp.Resource[Gateway], query map[string]string) (any, error) {
	out := values[gatewayRoute]{Value: []gatewayRoute{}}
	list, err := p.sessions(tx, r)
	for _, s := range list {
		if s.Peer.Remote.String() != query["peer"] || !s.Established {
			continue
		}
		for _, pre := range s.Peer.Advertise {
			out.Value = append(out.Value, gatewayRoute{LocalAddress: s.Peer.Local.String(), Network: pre.String(), NextHop: s.Peer.Local.String(), SourcePeer: s.Peer.Remote.String(), Origin: "Igp", ASPath: asPath([]uint32{s.Peer.LocalASN})})
		}
	}
	return out, err
}

// bgpPeer is one session (Network REST: BgpPeerStatus).
type bgpPeer struct {
	Local    string `json:"localAddress"`
	Neighbor string `json:"neighbor"`
	ASN      uint32 `json:"asn"`
	State    string `json:"state"`
	Duration string `json:"connectedDuration"`
	Routes   int    `json:"routesReceived"`
	Sent     int    `json:"messagesSent"`
	Received int    `json:"messagesReceived"`
}

func (p *Provider) bgpPeerStatus(tx *rp.Tx, r *rp.Resource[Gateway], _ map[string]string) (any, error) {
	out := values[bgpPeer]{Value: []bgpPeer{}}
	list, err := p.sessions(tx, r)
	for _, s := range list {
		x := bgpPeer{Local: s.Peer.Local.String(), Neighbor: s.Peer.Remote.String(), ASN: s.Peer.RemoteASN, State: "Connecting", Routes: len(s.Routes)}
		if s.Established {
			x.State, x.Duration = "Connected", time.Since(s.Since).Round(time.Second).String()
		}
		out.Value = append(out.Value, x)
	}
	return out, err
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
