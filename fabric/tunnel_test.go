package fabric

import (
	"net/netip"
	"slices"
	"testing"
)

func gateway(tunnels ...Tunnel) *Topology {
	return &Topology{Tags: tagTable{}, VNets: []VNet{{
		ID: "v", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		Subnets: []Subnet{{ID: "GatewaySubnet", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.255.0/27")}}},
		NICs:    []NIC{{ID: "g", Subnet: "GatewaySubnet", Addrs: []netip.Addr{netip.MustParseAddr("10.0.255.4")}, Forwarding: true, Tunnels: tunnels}},
	}}}
}

func TestTunnelsAreRoutes(t *testing.T) {
	p := netip.MustParsePrefix("172.20.0.0/24")
	s, err := Compile(gateway(Tunnel{Name: "a", Prefixes: []netip.Prefix{p}}, Tunnel{Name: "b"}))
	if err != nil {
		t.Fatal(err)
	}
	ns := s.Namespace(NICNS("g"))
	if len(ns.Tunnels) != 2 || ns.Tunnels[0].Interface != TunnelInterface("a") || ns.Tunnels[1].Interface != TunnelInterface("b") {
		t.Errorf("tunnels %v", ns.Tunnels)
	}
	if !slices.ContainsFunc(ns.Routes, func(r Route) bool { return r.Dst == p && r.Dev == TunnelInterface("a") }) {
		t.Errorf("no route to %s in %v", p, ns.Routes)
	}
	if ns.Sysctls["net.ipv4.ip_forward"] != "1" {
		t.Error("the gateway does not forward")
	}
}

// A wide prefix of a tunnel leaves the VNet's own addresses alone; a default route is for what the VNet sends, and not
// for the gateway's own messages, nor for its subnet.
func TestForcedTunnelling(t *testing.T) {
	all, wide, narrow, inner := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("10.0.7.0/24")
	topo := gateway(Tunnel{Name: "a", Prefixes: []netip.Prefix{all, narrow}}, Tunnel{Name: "b", Prefixes: []netip.Prefix{wide, inner}})
	v := &topo.VNets[0]
	v.Subnets = append(v.Subnets, Subnet{ID: "s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, DefaultOutbound: true})
	v.NICs = append(v.NICs, NIC{ID: "n", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.4")}})
	for _, p := range []netip.Prefix{all, wide, narrow, inner} {
		v.GatewayRoutes = append(v.GatewayRoutes, GatewayRoute{Prefix: p, NIC: "g"})
	}
	s, err := Compile(topo)
	if err != nil {
		t.Fatal(err)
	}
	ns := s.Namespace(NICNS("g"))
	if len(ns.Rules) != 1 || ns.Rules[0].IIF != GuestInterface {
		t.Fatalf("policy rules %v", ns.Rules)
	}
	for _, c := range []struct {
		to         string
		own, given string // the device for what the gateway sends, and for what is given to it
	}{
		{"8.8.8.8", GuestInterface, TunnelInterface("a")},
		{"10.9.1.1", TunnelInterface("a"), TunnelInterface("a")},
		{"10.8.1.1", TunnelInterface("b"), TunnelInterface("b")},
		{"10.0.1.4", GuestInterface, GuestInterface},
		{"10.0.7.4", GuestInterface, GuestInterface},
	} {
		for table, want := range map[int]string{0: c.own, ns.Rules[0].Table: c.given} {
			best := Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
			for _, r := range ns.Routes {
				if r.Table == table && r.Dst.Contains(netip.MustParseAddr(c.to)) && r.Dst.Bits() >= best.Dst.Bits() {
					best = r
				}
			}
			if best.Dev != want {
				t.Errorf("table %d leads %s to %s, want %s", table, c.to, best.Dev, want)
			}
		}
	}
	from := func(nic, to string) Explanation {
		return Explain(topo, Flow{From: Place{AtNIC, nic}, Dst: netip.MustParseAddr(to), Protocol: TCP, SrcPort: 40000, DstPort: 443})
	}
	if e := from("n", "8.8.8.8"); e.Destination.Kind != ToTunnel || e.Destination.ID != "a" {
		t.Errorf("a machine is not forced: %v", e)
	}
	if e := from("g", "8.8.8.8"); e.Destination.Kind == ToTunnel {
		t.Errorf("the gateway forces itself: %v", e)
	}
	if set := topo.VirtualNetworkAt("s"); len(set) != 1 || set[0] != all {
		t.Errorf("with a default route of the gateway VirtualNetwork is everything, not %v", set)
	}
	active := func(subnet string) (found bool) {
		for _, r := range EffectiveRoutes(topo, subnet) {
			found = found || r.Active && r.Prefix == all && r.Hop == HopGateway && r.NIC == "g"
		}
		return found
	}
	if !active("s") || active("GatewaySubnet") {
		t.Errorf("the forced route is active in the subnet: %t, in the gateway's: %t", active("s"), active("GatewaySubnet"))
	}
}

func TestTunnelsAreRefused(t *testing.T) {
	p := netip.MustParsePrefix("172.20.0.0/24")
	for name, topology := range map[string]*Topology{
		"two ways":      gateway(Tunnel{Name: "a", Prefixes: []netip.Prefix{p}}, Tunnel{Name: "b", Prefixes: []netip.Prefix{p}}),
		"one name":      gateway(Tunnel{Name: "a"}, Tunnel{Name: "a"}),
		"IPv6":          gateway(Tunnel{Name: "a", Prefixes: []netip.Prefix{netip.MustParsePrefix("fd00::/64")}}),
		"no forwarding": func() *Topology { t := gateway(Tunnel{Name: "a"}); t.VNets[0].NICs[0].Forwarding = false; return t }(),
	} {
		if _, err := Compile(topology); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}
