package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// links adds a private link service to every VNet, and to every other one an endpoint that leads to it.
func (c *chance) links(t *Topology) {
	for i := range t.VNets {
		v := &t.VNets[i]
		at := func(subnet int, last byte) netip.Addr {
			a := v.Subnets[subnet].Prefixes[0].Addr().As4()
			a[3] = last
			return netip.AddrFrom4(a)
		}
		b := &t.LoadBalancers[slices.IndexFunc(t.LoadBalancers, func(b LoadBalancer) bool { return b.VNet == v.ID })]
		f := Frontend{ID: b.ID + "/offered", Subnet: v.Subnets[2].ID, Addr: at(2, 97)}
		b.Frontends = append(b.Frontends, f)
		for _, port := range []uint16{22, 80} {
			b.Rules = append(b.Rules, BalancingRule{
				ID: fmt.Sprintf("%s/%d", f.ID, port), Frontend: f.ID, Protocol: TCP, Port: port, BackendPort: pick[uint16](c, port, 443), Backends: c.pool(v),
				Affinity: pick(c, FiveTuple, SourceIP),
			})
		}
		s := LinkService{ID: v.ID + "/link", VNet: v.ID, Frontend: f.ID}
		t.LinkServices = append(t.LinkServices, s)
		v.NICs = append(v.NICs, NIC{ID: s.ID, Kind: Endpoint, Subnet: v.Subnets[3].ID, Addrs: []netip.Addr{at(3, 98), at(3, 99)}},
			NIC{ID: v.ID + "/linked", Kind: Endpoint, Subnet: v.Subnets[1].ID, Addrs: []netip.Addr{at(1, 97)},
				Service: &Service{Target: t.VNets[c.IntN(len(t.VNets))].ID + "/link", Ports: []uint16{22, 80}}})
	}
}

// linkFlow is a flow to an endpoint of a private link service, or one that a router sends from such a service's
// address.
func (c *chance) linkFlow(t *Topology) Flow {
	f := c.flow(t)
	f.Protocol, f.SrcPort, f.DstPort = pick(c, TCP, TCP, TCP, TCP, UDP, f.Protocol), uint16(1024+c.IntN(60000)), pick[uint16](c, 22, 80, 80, f.DstPort)
	v := &t.VNets[c.IntN(len(t.VNets))]
	if c.IntN(3) > 0 {
		f.Dst = v.nic(v.ID + "/linked").Addrs[0]
		return f
	}
	n, _, front := t.link(t.linkService(v.ID + "/link"))
	f.From, f.Source, f.Dst = Place{AtRouter, v.ID}, pick(c, n.Addrs...), pick(c, front.Addr, front.Addr, f.Dst)
	return f
}

// The model is the kernel for private link services: random ones, random flows, and no disagreement about
// verdict, place and counter on either side.
func TestLinkModelIsKernel(t *testing.T) {
	reached, refused := 0, 0
	for seed := range uint64(15) {
		c := newChance(seed)
		topology := c.topology()
		c.links(topology)
		state, err := Compile(topology)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		k := newKernel(state)
		for range 400 {
			f := c.linkFlow(topology)
			if d := disagreement(k, state, topology, f); d != "" {
				t.Fatalf("seed %d, %+v: %s", seed, f, d)
			}
			switch e := Explain(topology, f); {
			case len(e.Steps) == 0 || f.From.Kind != AtNIC:
			case e.Verdict == Allowed && e.Destination.Kind == ToNIC:
				reached++
			case e.By.Direction == Inbound:
				refused++
			}
		}
	}
	if reached < 50 || refused < 50 {
		t.Errorf("only %d flows reached a backend and %d were refused on their way", reached, refused)
	}
}

// through is what becomes of a packet that has arrived at an endpoint of a private link service: the region
// sends another one in the provider's VNet.
func (k *kernel) through(t *Topology, p Packet, got outcome) outcome {
	for i := range t.VNets {
		v := &t.VNets[i]
		n := v.nicAt(got.dst)
		if got.counter != "" || got.namespace != RouterNS(v.ID) || n == nil || n.Service == nil {
			continue
		}
		if way, ok := t.LinkWay(n.Service.Target); ok {
			p.Source, p.Destination = way.Sources[0], way.Frontend
			return k.send(RouterNS(way.VNet), p)
		}
	}
	return got
}

func TestLinkServiceIsChecked(t *testing.T) {
	for want, change := range map[string]func(t *Topology){
		"two private link services":      func(t *Topology) { t.LinkServices = append(t.LinkServices, t.LinkServices[0]) },
		"no NIC for its addresses":       func(t *Topology) { t.LinkServices[0].VNet = "spoke" },
		"has the private frontend":       func(t *Topology) { t.LinkServices[0].Frontend = "ilb/out" },
		"not for TCP, or has a floating": func(t *Topology) { t.LinkServices[0].Frontend = "ilb/ha" },
	} {
		topology := scenario()
		change(topology)
		if _, err := Compile(topology); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
