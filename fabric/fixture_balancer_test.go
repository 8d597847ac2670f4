package fabric

import (
	"fmt"
	"net/netip"
)

// scenarioBalancer has internal frontends, one with floating IP, and a public one.
func scenarioBalancer() LoadBalancer {
	web0, web1, jump := Backend{NIC: "web0", Addr: addr("10.20.4.8")}, Backend{NIC: "web1", Addr: addr("10.20.4.10")}, Backend{NIC: "jump", Addr: addr("10.20.3.4")}
	down := Backend{NIC: "pooled", Addr: addr("10.20.5.7"), Down: true}
	return LoadBalancer{
		ID: "ilb", VNet: "hub",
		Frontends: []Frontend{
			{ID: "ilb/in", Subnet: "hub/training", Addr: addr("10.20.4.100")}, {ID: "ilb/ha", Subnet: "hub/training", Addr: addr("10.20.4.101")},
			{ID: "ilb/out", Addr: addr("20.61.3.2")}, {ID: "ilb/offered", Subnet: "hub/training", Addr: addr("10.20.4.102")},
		},
		Rules: []BalancingRule{
			{ID: "ilb/https", Frontend: "ilb/in", Protocol: TCP, Port: 443, BackendPort: 8443, Backends: []Backend{web0, web1, down}, Probe: "ilb/probe"},
			{ID: "ilb/self", Frontend: "ilb/in", Protocol: TCP, Port: 8443, BackendPort: 8443, Affinity: SourceIP, Backends: []Backend{web0, down}},
			{ID: "ilb/all", Frontend: "ilb/ha", Protocol: AnyProtocol, FloatingIP: true, Affinity: SourceProtocol, Backends: []Backend{web0, web1}},
			{ID: "ilb/web", Frontend: "ilb/out", Protocol: TCP, Port: 80, BackendPort: 80, Backends: []Backend{down}, ImplicitOutbound: true},
			{ID: "ilb/shell", Frontend: "ilb/offered", Protocol: TCP, Port: 22, BackendPort: 2323, Backends: []Backend{web0}},
			{ID: "ilb/offer", Frontend: "ilb/offered", Protocol: TCP, Port: 80, BackendPort: 8080, Backends: []Backend{web0}},
		},
		NATRules: []InboundNATRule{{ID: "ilb/ssh", Frontend: "ilb/out", Protocol: TCP, Port: 22, BackendPort: 22, Backend: jump}},
		Probes:   []Probe{{ID: "ilb/probe", Port: 8080}},
	}
}

// balancers adds a load balancer of each kind to every VNet.
func (c *chance) balancers(t *Topology) {
	for i := range t.VNets {
		v := &t.VNets[i]
		b := LoadBalancer{ID: fmt.Sprintf("%s/balancer", v.ID), VNet: v.ID, Probes: []Probe{{ID: "probe", Port: pick[uint16](c, 80, 8080)}}}
		for n := range 4 {
			f := Frontend{ID: fmt.Sprintf("%s/f%d", b.ID, n)}
			if f.Addr = netip.AddrFrom4([4]byte{20, 202, byte(i), byte(n)}); n < 2 {
				f.Subnet, f.Addr = v.Subnets[n].ID, netip.AddrFrom4([4]byte{10, c.octet(i), byte(n), 99})
			}
			b.Frontends = append(b.Frontends, f)
			floating := c.IntN(3) == 0
			add := func(p Protocol, port uint16) {
				to := port
				if !floating && port != 0 {
					to = pick[uint16](c, port, 80, 8080)
				}
				b.Rules = append(b.Rules, BalancingRule{
					ID: fmt.Sprintf("%s/%d/%d", f.ID, p, port), Frontend: f.ID, Protocol: p, Port: port, BackendPort: to, FloatingIP: floating,
					Affinity: pick(c, FiveTuple, SourceIP, SourceProtocol), Backends: c.pool(v), ImplicitOutbound: c.IntN(2) == 0, Probe: pick(c, "", "probe"),
				})
			}
			add(TCP, pick[uint16](c, 22, 443))
			add(UDP, 53)
			if n == 0 {
				add(AnyProtocol, 0)
			}
			for _, m := range c.backends(v, 1) {
				b.NATRules = append(b.NATRules, InboundNATRule{ID: f.ID + "/nat", Frontend: f.ID, Protocol: TCP, Port: 8080, BackendPort: 22, Backend: m})
			}
		}
		t.LoadBalancers = append(t.LoadBalancers, b)
	}
}

// pool are backends of which some are down.
func (c *chance) pool(v *VNet) []Backend {
	out := c.backends(v, c.IntN(5))
	for i := range out {
		out[i].Down = c.IntN(3) == 0
	}
	return out
}
