package linux

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vauban.dev/fabric"
)

// outbound gives one subnet of each VNet a NAT gateway, and some NICs a load balancer to leave by.
func (g *generator) outbound(topo *fabric.Topology) {
	topo.NATGateways = map[string]*fabric.NATGateway{}
	for i := range topo.VNets {
		v := &topo.VNets[i]
		gw := &fabric.NATGateway{ID: v.ID + "-nat"}
		for n := range 1 + g.IntN(3) {
			gw.Addresses = append(gw.Addresses, netip.AddrFrom4([4]byte{20, 51, byte(i), byte(n + 1)}))
		}
		topo.NATGateways[gw.ID] = gw
		v.Subnets[g.IntN(len(v.Subnets))].NATGateway = gw.ID
		lb := fabric.LoadBalancer{ID: v.ID + "-lb", VNet: v.ID, Frontends: []fabric.Frontend{{ID: v.ID + "-out", Addr: addr(fmt.Sprintf("20.52.%d.1", i))}}}
		var backends []fabric.Backend
		for _, n := range v.NICs {
			if n.Kind == fabric.Guest && g.chance(30) {
				backends = append(backends, fabric.Backend{NIC: n.ID, Addr: n.Addrs[0]})
			}
		}
		lb.Outbound = []fabric.OutboundRule{{ID: v.ID + "-rule", Frontends: []string{v.ID + "-out"}, Protocol: pick(g, fabric.TCP, fabric.UDP, fabric.AnyProtocol), Backends: backends}}
		topo.LoadBalancers = append(topo.LoadBalancers, lb)
	}
}

// serviceEndpoints gives some subnets service endpoints.
func (g *generator) serviceEndpoints(topo *fabric.Topology) {
	for i := range topo.VNets {
		for j := range topo.VNets[i].Subnets {
			if g.chance(40) {
				topo.VNets[i].Subnets[j].ServiceEndpoints = []fabric.ServiceEndpoint{{Service: "Microsoft.Storage",
					Prefixes: []netip.Prefix{pfx("20.60.0.0/17"), pfx("52.239.128.0/17"), pfx(fmt.Sprintf("13.66.0.%d/32", 8+g.IntN(2)))}}}
			}
		}
	}
}

// By a NAT gateway a connection has one of its addresses, always the same; the instance's own public address
// goes on answering beside it; nobody gets in by the gateway.
func TestNATGateway(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := testTopology()
	gateway := []netip.Addr{addr("20.51.0.1"), addr("20.51.0.2")}
	topo.NATGateways = map[string]*fabric.NATGateway{"nat": {ID: "nat", Addresses: gateway}}
	topo.VNets[0].Subnets[4].NATGateway = "nat"
	apply(t, d, compile(t, topo))
	outside := fabric.Place{Kind: fabric.AtInternet}
	l := listen(t, d, outside, "20.60.1.1:443")
	defer l.Close()
	seen := map[netip.Addr]bool{}
	for range 3 {
		c, err := patient(t, d, nic(publicNIC), "20.60.1.1:443")
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		seen[netip.MustParseAddrPort(s.RemoteAddr().String()).Addr()] = true
		s.Close()
		c.Close()
	}
	e := fabric.Explain(topo, fabric.Flow{From: nic(publicNIC), Dst: addr("20.60.1.1"), Protocol: fabric.TCP, DstPort: 443})
	if len(seen) != 1 || !seen[e.Source] || !slices.Contains(gateway, e.Source) {
		t.Errorf("seen from %v, the model says %s", seen, e.Source)
	}
	host := fabric.Place{Kind: fabric.AtHost, ID: attacker}
	echo(t, listen(t, d, nic(publicNIC), "10.0.5.4:22"))
	c, err := patient(t, d, host, "20.50.0.9:22")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "beside the gateway"); err != nil {
		t.Error(err)
	}
	if _, err := quick(t, d, host, e.Source.String()+":22"); err == nil {
		t.Error("the NAT gateway took a connection")
	}
}
