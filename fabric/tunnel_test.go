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
