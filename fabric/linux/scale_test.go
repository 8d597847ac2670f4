package linux

import (
	"fmt"
	"net/netip"
	"testing"

	"vauban.dev/fabric"
)

// crowd is a VNet with n NICs, each with an NSG.
func crowd(n int, rules ...fabric.Rule) *fabric.Topology {
	v := fabric.VNet{ID: "crowd", Prefixes: []netip.Prefix{pfx("10.0.0.0/8")},
		Subnets: []fabric.Subnet{{ID: "s", Prefixes: []netip.Prefix{pfx("10.0.0.0/8")}, NSG: "g", DefaultOutbound: true}}}
	for i := range n {
		v.NICs = append(v.NICs, fabric.NIC{ID: fmt.Sprint("n", i), Subnet: "s", NSG: "g",
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)})}})
	}
	return &fabric.Topology{VNets: []fabric.VNet{v}, NSGs: map[string]*fabric.NSG{"g": {ID: "g", Rules: rules}}}
}

// BenchmarkApply tells what the reconciler pays with 200 NICs.
func BenchmarkApply(b *testing.B) {
	states := []*fabric.State{
		compile(b, crowd(200)),
		compile(b, crowd(200, rule("r", 100, fabric.Inbound, false, fabric.TCP, "*", "*", "23"))),
		compile(b, crowd(201)),
	}
	for _, c := range []struct {
		name string
		next func(i int) *fabric.State
	}{
		{"unchanged", func(int) *fabric.State { return states[0] }},
		{"rule", func(i int) *fabric.State { return states[i%2] }},
		{"NIC", func(i int) *fabric.State { return states[2*(i%2)] }},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := newTestDriver(b, Config{})
			apply(b, d, states[0])
			i := 0
			for b.Loop() {
				i++
				apply(b, d, c.next(i))
			}
		})
	}
}
