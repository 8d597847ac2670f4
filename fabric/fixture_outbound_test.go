package fabric

import (
	"fmt"
	"net/netip"
)

func (c *chance) public(private netip.Addr, i, s, n int) []PublicAddress {
	return []PublicAddress{{private, netip.AddrFrom4([4]byte{pick[byte](c, 20, 77), byte(i), byte(s), byte(n)})}}
}

// outbound adds NAT gateways, and load balancers that backends leave by.
func (c *chance) outbound(t *Topology) {
	t.NATGateways = map[string]*NATGateway{}
	for i := range t.VNets {
		v := &t.VNets[i]
		g := &NATGateway{ID: fmt.Sprintf("%s/nat", v.ID)}
		for n := range c.IntN(4) {
			g.Addresses = append(g.Addresses, netip.AddrFrom4([4]byte{20, 200, byte(i), byte(n)}))
		}
		t.NATGateways[g.ID] = g
		v.Subnets[c.IntN(len(v.Subnets))].NATGateway = g.ID
		b := LoadBalancer{ID: fmt.Sprintf("%s/lb", v.ID), VNet: v.ID}
		for n := range 2 {
			b.Frontends = append(b.Frontends, Frontend{ID: fmt.Sprintf("%s/f%d", b.ID, n), Addr: netip.AddrFrom4([4]byte{20, 201, byte(i), byte(n)})})
		}
		b.Outbound = []OutboundRule{
			{ID: b.ID + "/o0", Frontends: []string{b.Frontends[0].ID, b.Frontends[1].ID}, Protocol: pick(c, TCP, UDP, AnyProtocol), Backends: c.backends(v, 2)},
		}
		t.LoadBalancers = append(t.LoadBalancers, b)
	}
}

// backends are some addresses of guests.
func (c *chance) backends(v *VNet, n int) (out []Backend) {
	for range n {
		if m := v.NICs[c.IntN(len(v.NICs))]; m.Kind == Guest {
			out = append(out, Backend{NIC: m.ID, Addr: pick(c, m.Addrs...)})
		}
	}
	return out
}

// serviceEndpoints gives some subnets service endpoints, to services' addresses and others.
func (c *chance) serviceEndpoints(t *Topology) {
	for i := range t.VNets {
		for j := range t.VNets[i].Subnets {
			s := &t.VNets[i].Subnets[j]
			for n := range c.IntN(3) {
				tag := c.tags[fmt.Sprintf("tag%d", c.IntN(5))]
				s.ServiceEndpoints = append(s.ServiceEndpoints, ServiceEndpoint{Service: fmt.Sprint("service", n), Prefixes: append(prefixes("51.1.0.0/30"), tag...)})
			}
		}
	}
}
