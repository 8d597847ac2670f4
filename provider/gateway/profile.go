package gateway

import (
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/network"
)

// ClientProfile makes a client of the gateway (AddClient) and its configuration, without an endpoint. Routes
// are those that Azure gives to clients: the virtual network, networks peered with it that may use its
// gateway, and custom routes. DNS is the network's, if it has its own servers.
func (p *Provider) ClientProfile(tx *rp.Tx, gateway arm.ID, name string, t *fabric.Topology) (vpn.Profile, error) {
	c, key, err := p.AddClient(tx, gateway, name)
	if err != nil {
		return vpn.Profile{}, err
	}
	g, err := rp.Get[Gateway](tx, gateway)
	if err != nil {
		return vpn.Profile{}, err
	}
	vnet, err := g.Properties.vnet()
	if err != nil {
		return vpn.Profile{}, err
	}
	custom, err := prefixes(g.Properties.CustomRoutes, "customRoutes", g.ID)
	if err != nil {
		return vpn.Profile{}, err
	}
	out := vpn.Profile{
		Comment:   []string{"Client " + c.Name + " of gateway " + g.ID.Name() + ", thumbprint " + c.Thumbprint(), "This file has a private key in it: keep it to yourself."},
		Private:   key,
		Addresses: []netip.Prefix{netip.PrefixFrom(c.Addr, 32)},
		Peer:      g.Properties.Key.Public(),
		Prefixes:  append(Behind(t, vnet.String()), custom...),
		Keepalive: 2 * keepalive,
	}
	out.DNS, err = network.DNSServers(tx, vnet)
	return out, err
}

// SiteProfile is the configuration of a connection's other end, without an endpoint, and the gateway's public
// address.
func (p *Provider) SiteProfile(tx *rp.Tx, c *rp.Resource[Connection], t *fabric.Topology) (vpn.Profile, netip.Addr, error) {
	if c.Properties.Kind == kindCircuit {
		return vpn.Profile{}, netip.Addr{}, bad("InvalidRequestFormat", "Connection %s is of type ExpressRoute and has no VPN.", c.ID)
	}
	g, err := live[Gateway](tx, c.Properties.Gateway1, c.ID)
	if err != nil {
		return vpn.Profile{}, netip.Addr{}, err
	}
	far, err := c.Properties.farEnd(tx, c.ID)
	if err != nil {
		return vpn.Profile{}, netip.Addr{}, err
	}
	vnet, err := g.Properties.vnet()
	if err != nil {
		return vpn.Profile{}, netip.Addr{}, err
	}
	keys, err := p.siteKeys(siteKey{c.Properties.SharedKey, far.addr, g.Properties.Public})
	return vpn.Profile{
		Comment: []string{"The other end of connection " + c.ID.Name() + ", at " + far.addr.String(), "This file has a private key in it: keep it to yourself."},
		Private: keys.Private, Peer: keys.Peer, Preshared: keys.Preshared, Prefixes: Behind(t, vnet.String()), Keepalive: keepalive,
	}, g.Properties.Public, err
}

// Behind are the prefixes that a VNet's gateway leads to: its space, and that of the VNets that use it by
// peering.
func Behind(t *fabric.Topology, vnet string) []netip.Prefix {
	var list []netip.Prefix
	var transit []string
	for _, v := range t.VNets {
		if !strings.EqualFold(v.ID, vnet) {
			continue
		}
		list = append(list, v.Prefixes...)
		for _, x := range v.Peerings {
			if x.GatewayTransit {
				transit = append(transit, x.Remote)
			}
		}
	}
	for _, v := range t.VNets {
		for _, remote := range transit {
			if !strings.EqualFold(v.ID, remote) {
				continue
			}
			for _, x := range v.Peerings {
				if x.RemoteGateways && strings.EqualFold(x.Remote, vnet) {
					list = append(list, v.Prefixes...)
				}
			}
		}
	}
	return list
}

// ClientStates is what the gateway's tunnel knows of its clients, by key.
func (p *Provider) ClientStates(gateway arm.ID) (map[vpn.PublicKey]vpn.PeerState, error) {
	peers, err := p.cfg.Wire.Peers(tunnelName(gateway))
	if err != nil {
		return nil, err
	}
	m := map[vpn.PublicKey]vpn.PeerState{}
	for _, s := range peers {
		m[s.Public] = s
	}
	return m, nil
}
