package fabric

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A node with a container engine cannot be reached from, nor reach, what has its bridge's addresses.
func TestBridge(t *testing.T) {
	topo := &Topology{VNets: []VNet{{
		ID: "v", Prefixes: prefixes("172.16.0.0/12"),
		Subnets: []Subnet{{ID: "nodes", Prefixes: prefixes("172.16.0.0/24")}, {ID: "inside", Prefixes: prefixes("172.17.1.0/24")}, {ID: "beside", Prefixes: prefixes("172.18.0.0/24")}},
		NICs: []NIC{
			{ID: "node", Kind: Guest, Subnet: "nodes", Addrs: []netip.Addr{netip.MustParseAddr("172.16.0.4")}, Bridge: EngineBridge},
			{ID: "in", Kind: Guest, Subnet: "inside", Addrs: []netip.Addr{netip.MustParseAddr("172.17.1.4")}},
			{ID: "by", Kind: Guest, Subnet: "beside", Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.4")}},
		},
	}}}
	for _, c := range []struct {
		from, to string
		want     Verdict
		says     string
	}{
		{"node", "172.17.1.4", Denied, "172.17.0.0/16 is the bridge"}, {"node", "172.18.0.4", Allowed, ""},
		{"in", "172.16.0.4", Denied, "the answer to 172.17.1.4"}, {"by", "172.16.0.4", Allowed, ""}, {"in", "172.18.0.4", Allowed, ""},
	} {
		e := Explain(topo, Flow{From: Place{Kind: AtNIC, ID: c.from}, Dst: netip.MustParseAddr(c.to), Protocol: TCP, DstPort: 80, SrcPort: 4000})
		if last := e.Steps[len(e.Steps)-1].What; e.Verdict != c.want || !strings.Contains(last, c.says) {
			t.Errorf("%s to %s: %v, %q", c.from, c.to, e.Verdict, last)
		}
	}
	s, err := Compile(topo)
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range s.Namespaces {
		has := slices.Contains(ns.Routes, Route{Type: "unreachable", Dst: EngineBridge})
		if has != (ns.Name == NICNS("node")) {
			t.Errorf("%s: %+v", ns.Name, ns.Routes)
		}
	}
	topo.VNets[0].NICs[0].Bridge = netip.MustParsePrefix("172.17.0.1/16")
	if _, err := Compile(topo); err == nil {
		t.Error("a bridge with host bits compiles")
	}
}
