package gateway

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/vpn"
	"vauban.dev/store"
)

// tunnelName is the name of a connection's tunnel, or of a gateway's for its clients.
func tunnelName(id arm.ID) string { return id.Key() }

// keepalive keeps a site's session alive, so that its state tells whether the other end is there.
const keepalive = 10 * time.Second

// Extend adds to a topology what its gateways are connected to, and says which tunnels are to run.
func (p *Provider) Extend(tx *rp.Tx, t *fabric.Topology) ([]vpn.Tunnel, error) {
	all, err := rp.List[Gateway](tx, Type, root)
	if err != nil {
		return nil, err
	}
	var list []vpn.Tunnel
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
			return nil, err
		}
		for _, x := range tunnels {
			nic.Tunnels = append(nic.Tunnels, fabric.Tunnel{Name: x.Name, Prefixes: x.prefixes})
			for _, pre := range x.prefixes {
				v.GatewayRoutes = append(v.GatewayRoutes, fabric.GatewayRoute{Prefix: pre, NIC: nic.ID})
			}
			list = append(list, x.Tunnel)
		}
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
	peer := vpn.Peer{Public: keys.Peer, Preshared: keys.Preshared, Prefixes: far.space, Keepalive: keepalive}
	if peer.Endpoint, err = underlay(tx, far.addr); err != nil {
		return planned{}, err
	}
	return planned{vpn.Tunnel{Name: tunnelName(c.ID), NIC: nic, Private: keys.Private, Peers: []vpn.Peer{peer}}, far.space}, nil
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
