package gateway

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/vpn"
	"vauban.dev/store"
)

// tunnelName is the name of a connection's tunnel, or of a gateway's for its clients.
func tunnelName(id arm.ID) string { return id.Key() }

// keepalive keeps a site's session alive, so that its state tells whether the other end is there.
const keepalive = 10 * time.Second

// Plan is what runs for the gateways.
type Plan struct {
	Tunnels  []vpn.Tunnel
	Circuits []vpn.Circuit
	Sessions []Session
}

// Session is the BGP of a circuit, at an address in the namespace of a gateway's interface.
type Session struct {
	Name string
	NIC  string
	Peer bgp.Peer
}

// Extend adds to a topology what its gateways are connected to, and says what is to run for it. Where a circuit
// and a VPN lead to the same prefix, the circuit is preferred while it has the route.
// https://learn.microsoft.com/azure/expressroute/expressroute-howto-coexist-resource-manager
func (p *Provider) Extend(tx *rp.Tx, t *fabric.Topology) (Plan, error) {
	all, err := rp.List[Gateway](tx, Type, root)
	if err != nil {
		return Plan{}, err
	}
	slices.SortStableFunc(all, func(a, b *rp.Resource[Gateway]) int { // ExpressRoute before Vpn
		return strings.Compare(a.Properties.GatewayType, b.Properties.GatewayType)
	})
	var plan Plan
	for _, g := range all {
		if g.State == arm.Deleting {
			continue
		}
		v, nic := find(t, configID(g.ID, g.Properties.IPConfigurations[0]))
		if nic == nil {
			continue // its network is going
		}
		tunnels, err := p.tunnels(tx, g, nic.ID)
		if err != nil {
			return Plan{}, err
		}
		circuits, err := p.circuits(tx, g, nic.ID, t, v.ID, &plan)
		if err != nil {
			return Plan{}, err
		}
		for _, x := range tunnels {
			plan.Tunnels = append(plan.Tunnels, x.Tunnel)
			circuits = append(circuits, fabric.Tunnel{Name: x.Name, Prefixes: x.prefixes})
		}
		leads := map[netip.Prefix]bool{} // a prefix has one way; a site's may have come to be another's after its connection was made
		for _, x := range circuits {
			x.Prefixes = slices.DeleteFunc(slices.Clone(x.Prefixes), func(p netip.Prefix) bool {
				defer func() { leads[p] = true }()
				return leads[p]
			})
			nic.Tunnels = append(nic.Tunnels, x)
			for _, pre := range x.Prefixes {
				if !slices.ContainsFunc(v.GatewayRoutes, func(r fabric.GatewayRoute) bool { return r.Prefix == pre }) {
					v.GatewayRoutes = append(v.GatewayRoutes, fabric.GatewayRoute{Prefix: pre, NIC: nic.ID})
				}
			}
		}
	}
	return plan, nil
}

// circuits are the tunnels of a gateway's circuits that are attached: what BGP has learned lies behind them.
func (p *Provider) circuits(tx *rp.Tx, g *rp.Resource[Gateway], nic string, t *fabric.Topology, vnet string, plan *Plan) ([]fabric.Tunnel, error) {
	connections, err := connectionsOf(tx, g.ID)
	if err != nil {
		return nil, err
	}
	var list []fabric.Tunnel
	taken := map[netip.Prefix]bool{}
	for _, c := range connections {
		if c.Properties.Kind != kindCircuit {
			continue
		}
		circuit, err := arm.ParseID(c.Properties.Peer.ID)
		if err != nil {
			return nil, err
		}
		_, attached, err := Attached(tx, circuit)
		if err != nil {
			return nil, err
		}
		peering, err := privatePeeringOf(tx, circuit)
		if err != nil {
			return nil, err
		}
		if !attached || peering == nil {
			continue
		}
		customer, microsoft, err := peering.ends()
		if err != nil {
			return nil, err
		}
		name := tunnelName(c.ID)
		x := fabric.Tunnel{Name: name, Addr: microsoft}
		for _, r := range p.cfg.Wire.Session(name).Routes {
			if !taken[r.Prefix] && !microsoft.Contains(r.Prefix.Addr()) { // the link itself needs no route
				x.Prefixes, taken[r.Prefix] = append(x.Prefixes, r.Prefix), true
			}
		}
		list = append(list, x)
		plan.Circuits = append(plan.Circuits, vpn.Circuit{Name: name, NIC: nic, Far: func() (*os.File, error) { return p.cfg.Wire.Far(circuit) }})
		plan.Sessions = append(plan.Sessions, Session{Name: name, NIC: nic, Peer: bgp.Peer{
			Local: microsoft.Addr(), Remote: customer.Addr(), LocalASN: microsoftASN, RemoteASN: peering.PeerASN, Advertise: Behind(t, vnet)}})
	}
	return list, nil
}

// find is a NIC of the topology and its VNet, nil if it is not there.
func find(t *fabric.Topology, nic string) (*fabric.VNet, *fabric.NIC) {
	for i := range t.VNets {
		for j := range t.VNets[i].NICs {
			if n := &t.VNets[i].NICs[j]; strings.EqualFold(n.ID, nic) {
				return &t.VNets[i], n
			}
		}
	}
	return nil, nil
}

// planned is a tunnel and what lies behind it.
type planned struct {
	vpn.Tunnel
	prefixes []netip.Prefix
}

func (p *Provider) tunnels(tx *rp.Tx, g *rp.Resource[Gateway], nic string) ([]planned, error) {
	var list []planned
	if g.Properties.Clients != nil {
		t, err := clientTunnel(tx, g, nic)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	connections, err := connectionsOf(tx, g.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range connections {
		if !is(c.Properties.Gateway1, g.ID) || c.Properties.Kind == kindCircuit {
			continue
		}
		t, err := p.siteTunnel(tx, g, c, nic)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func clientTunnel(tx *rp.Tx, g *rp.Resource[Gateway], nic string) (planned, error) {
	pool, err := prefixes(g.Properties.Clients.Pool, "vpnClientAddressPool", g.ID)
	if err != nil {
		return planned{}, err
	}
	clients, err := Clients(tx, g.ID)
	if err != nil {
		return planned{}, err
	}
	t := planned{vpn.Tunnel{Name: tunnelName(g.ID), NIC: nic, Private: g.Properties.Key}, pool}
	for _, c := range clients {
		if g.Properties.admits(&c, pool) {
			t.Peers = append(t.Peers, vpn.Peer{Public: c.Public, Prefixes: []netip.Prefix{netip.PrefixFrom(c.Addr, 32)}})
		}
	}
	return t, nil
}

func (p *Provider) siteTunnel(tx *rp.Tx, g *rp.Resource[Gateway], c *rp.Resource[Connection], nic string) (planned, error) {
	far, err := c.Properties.farEnd(tx, c.ID)
	if err != nil {
		return planned{}, err
	}
	keys, err := p.siteKeys(siteKey{c.Properties.SharedKey, g.Properties.Public, far.addr})
	if err != nil {
		return planned{}, err
	}
	space := g.Properties.through(c, far.space)
	peer := vpn.Peer{Public: keys.Peer, Preshared: keys.Preshared, Prefixes: space, Keepalive: keepalive}
	if peer.Endpoint, err = underlay(tx, far.addr); err != nil {
		return planned{}, err
	}
	return planned{vpn.Tunnel{Name: tunnelName(c.ID), NIC: nic, Private: keys.Private, Peers: []vpn.Peer{peer}}, space}, nil
}

// through are the prefixes that a gateway's connection leads to: its site's, and all others where that is the default
// site. No other connection of the gateway has 0.0.0.0/0 then.
// https://learn.microsoft.com/azure/vpn-gateway/site-to-site-tunneling
func (v *Gateway) through(c *rp.Resource[Connection], space []netip.Prefix) []netip.Prefix {
	if v.DefaultSite == nil {
		return space
	}
	anywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	space = slices.DeleteFunc(slices.Clone(space), func(p netip.Prefix) bool { return p == anywhere })
	if site := c.Properties.Local; c.Properties.Kind == kindIPsec && strings.EqualFold(site.ID, v.DefaultSite.ID) {
		space = append(space, anywhere)
	}
	return space
}

func (p *Provider) siteKeys(k siteKey) (vpn.SiteKeys, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys, ok := p.keys[k]; ok {
		return keys, nil
	}
	keys, err := vpn.DeriveSiteKeys(k.shared, k.local, k.remote)
	if err == nil {
		p.keys[k] = keys
	}
	return keys, err
}

// underlayKind says at which UDP address of the machine's own network a gateway's public address is; key: the
// address. Other regions on this machine and real sites are not on this region's internet.
const underlayKind = "gateway/underlay"

// SetUnderlay makes a gateway's address reached by the machine's network at a UDP address; a zero one ends
// that.
func SetUnderlay(tx *rp.Tx, gateway netip.Addr, at netip.AddrPort) error {
	if !at.IsValid() {
		if err := tx.Delete(underlayKind, gateway.String(), store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(at)
	if err != nil {
		return err
	}
	_, err = tx.Put(underlayKind, gateway.String(), b, store.Any)
	return err
}

func underlay(tx *rp.Tx, gateway netip.Addr) (vpn.Endpoint, error) {
	d, err := tx.Get(underlayKind, gateway.String())
	if errors.Is(err, store.ErrNotFound) {
		return vpn.Endpoint{Addr: netip.AddrPortFrom(gateway, vpn.Port)}, nil
	}
	if err != nil {
		return vpn.Endpoint{}, err
	}
	e := vpn.Endpoint{Host: true}
	return e, json.Unmarshal(d.Value, &e.Addr)
}
