package fabric

import (
	"fmt"
	"net/netip"
	"slices"
)

// link peers the VNets, which have addresses of their own: a hub and its spokes, sometimes the spokes as
// well; sides that allow this or that, and sometimes know another address space than the other has.
func (c *chance) link(t *Topology) {
	side := func(v, u *VNet) {
		p := Peering{
			ID: v.ID + "/to-" + u.ID, Remote: u.ID, Prefixes: u.Prefixes, Access: c.IntN(3) > 0, Forwarded: c.IntN(3) > 0,
			GatewayTransit: c.IntN(2) == 0, RemoteGateways: c.IntN(2) == 0,
		}
		switch c.IntN(8) {
		case 0:
			p.Prefixes = prefixes("10.20.0.0/14")
		case 1:
			p.Prefixes = append(prefixes("192.168.0.0/17", "10.23.0.0/16"), u.Prefixes...)
		}
		v.Peerings = append(v.Peerings, p)
	}
	for i := range t.VNets {
		for j := range i {
			if j > 0 && c.IntN(3) > 0 {
				continue
			}
			side(&t.VNets[i], &t.VNets[j])
			if c.IntN(8) > 0 {
				side(&t.VNets[j], &t.VNets[i])
			}
		}
		v := &t.VNets[i]
		for range c.IntN(3) {
			if f := passers(v); len(f) > 0 {
				prefix := pick(c, "10.0.0.0/9", "192.168.0.0/16", "172.16.5.0/24", "0.0.0.0/0", "10.21.3.0/24", "20.1.0.0/16")
				n := v.nic(pick(c, f...).ID)
				v.GatewayRoutes = append(v.GatewayRoutes, GatewayRoute{Prefix: netip.MustParsePrefix(prefix), NIC: n.ID})
				taken := func(x Tunnel) bool { return slices.Contains(x.Prefixes, netip.MustParsePrefix(prefix)) }
				if c.IntN(4) > 0 && !slices.ContainsFunc(n.Tunnels, taken) {
					n.Tunnels = append(n.Tunnels, Tunnel{Name: n.ID + "-tunnel-" + prefix, Prefixes: prefixes(prefix)})
				}
			}
		}
	}
}

// octet is the second of a VNet's addresses.
func (c *chance) octet(i int) byte {
	if c.linked {
		return byte(20 + i)
	}
	return 20
}

// local is an address of some VNet, or near one.
func (c *chance) local() string {
	return fmt.Sprintf("10.%d.%d.%d", c.octet(c.IntN(3)), c.IntN(4), 4+c.IntN(6))
}

// scenarioPeers are VNets around a hub of their own: two spokes that reach each other by its appliance, the
// second of which has on-premises behind the hub's gateway.
func scenarioPeers() []VNet {
	blob := &Service{Target: "sa2", GroupID: "blob", Ports: []uint16{443}}
	peering := func(v, u string, space string, forwarded bool) Peering {
		return Peering{ID: v + "/to-" + u, Remote: u, Prefixes: prefixes(space), Access: true, Forwarded: forwarded}
	}
	hub := VNet{
		ID: "core", Prefixes: prefixes("10.50.0.0/16"),
		Subnets: []Subnet{
			{ID: "core/nva", Prefixes: prefixes("10.50.1.0/24")},
			{ID: "core/endpoints", Prefixes: prefixes("10.50.2.0/24"), NSG: "nsg-jumpbox", EndpointPolicies: true},
			{ID: "core/GatewaySubnet", Prefixes: prefixes("10.50.3.0/24")},
		},
		NICs: []NIC{
			{ID: "core-nva", Subnet: "core/nva", Addrs: []netip.Addr{addr("10.50.1.4")}, Forwarding: true},
			{ID: "core-gateway", Subnet: "core/GatewaySubnet", Addrs: []netip.Addr{addr("10.50.3.4")}, Forwarding: true,
				Tunnels: []Tunnel{{Name: "on-premises", Prefixes: prefixes("192.168.0.0/16")}}},
			{ID: "core-blob", Kind: Endpoint, Subnet: "core/endpoints", Addrs: []netip.Addr{addr("10.50.2.4")}, Service: blob},
		},
		GatewayRoutes: []GatewayRoute{{Prefix: netip.MustParsePrefix("192.168.0.0/16"), NIC: "core-gateway"}},
		Peerings:      []Peering{peering("core", "east", "10.51.0.0/16", false), peering("core", "west", "10.52.0.0/16", false)},
	}
	hub.Peerings[1].GatewayTransit = true
	spoke := func(id, space, subnet, first string) VNet {
		return VNet{
			ID: id, Prefixes: prefixes(space), Subnets: []Subnet{{ID: id + "/s", Prefixes: prefixes(subnet), NSG: "nsg-training", RouteTable: "rt-" + id}},
			NICs:     []NIC{{ID: id + "-node", Subnet: id + "/s", Addrs: []netip.Addr{addr(first)}}},
			Peerings: []Peering{peering(id, "core", "10.50.0.0/16", true)},
		}
	}
	east, west := spoke("east", "10.51.0.0/16", "10.51.0.0/24", "10.51.0.4"), spoke("west", "10.52.0.0/16", "10.52.0.0/24", "10.52.0.4")
	west.Peerings[0].RemoteGateways = true
	return []VNet{hub, east, west}
}
