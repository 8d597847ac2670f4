package fabric

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric/internal/interval"
)

// longest is the active route with the longest prefix.
func longest(routes []EffectiveRoute, a netip.Addr) (best EffectiveRoute) {
	for _, r := range routes {
		if r.Active && r.Prefix.Contains(a) && (!best.Active || r.Prefix.Bits() > best.Prefix.Bits()) {
			best = r
		}
	}
	return best
}

// Two readings of Azure's precedence agree: the one that sorts whole prefixes, which is compiled, and the
// one that asks every route about one address, which explains.
func TestEffectiveRoutesAreTheExplained(t *testing.T) {
	used := map[HopType]int{}
	for seed := range uint64(60) {
		c := newChance(seed)
		topology := c.topology()
		c.gateways(topology)
		for range 150 {
			v := &topology.VNets[c.IntN(len(topology.VNets))]
			s := &v.Subnets[c.IntN(len(v.Subnets))]
			a := c.destination(topology)
			routes := EffectiveRoutes(topology, s.ID)
			switch c.IntN(3) {
			case 0: // the edges of prefixes
				p := interval.Of(routes[c.IntN(len(routes))].Prefix)[0]
				a = interval.Addr(pick(c, p.Lo, p.Hi, p.Lo-1, p.Hi+1))
			case 1:
				a = interval.Addr(10<<24 | c.Uint32()>>8)
			}
			got, want := longest(routes, a), topology.routeFor(v, s, a)
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Fatalf("seed %d, %s from %s (-explained +compiled):\n%s", seed, a, s.ID, diff)
			}
			used[got.Hop]++
		}
	}
	for h := HopNone; h <= HopEndpoint; h++ {
		if h != HopPeering && used[h] < 20 {
			t.Errorf("only %d packets went to %s: that proves little", used[h], h)
		}
	}
}

// gateways gives VNets routes of a gateway, and subnets service endpoints.
func (c *chance) gateways(t *Topology) {
	for i := range t.VNets {
		v := &t.VNets[i]
		for range c.IntN(6) {
			n := &v.NICs[c.IntN(len(v.NICs))]
			n.Forwarding = true
			p := pick(c, "0.0.0.0/0", "10.20.3.0/25", "10.20.0.0/16", "10.0.0.0/8", "192.168.1.0/24", "20.1.0.0/16", "51.1.0.0/24", "20.0.0.0/9")
			v.GatewayRoutes = append(v.GatewayRoutes, GatewayRoute{Prefix: netip.MustParsePrefix(p), NIC: n.ID})
		}
		v.Subnets[0].ServiceEndpoints = []ServiceEndpoint{{Service: "Microsoft.Storage", Prefixes: prefixes("20.0.0.0/10", "20.1.2.0/24")}}
	}
}

// Azure's own example, with its states.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#subnet1
func TestEffectiveRoutesOfTheDocumentation(t *testing.T) {
	topology := &Topology{
		RouteTables: map[string]*RouteTable{"rt": {ID: "rt", Routes: []UserRoute{
			{Name: "Within-VNet1", Prefix: "10.0.0.0/16", Hop: HopAppliance, Appliance: addr("10.0.100.4")},
			{Name: "Within-Subnet1", Prefix: "10.0.0.0/24", Hop: HopVNet},
			{Name: "To-On-Prem", Prefix: "10.10.0.0/16", Hop: HopAppliance, Appliance: addr("10.0.100.4")},
			{Name: "Default-NVA", Prefix: "0.0.0.0/0", Hop: HopAppliance, Appliance: addr("10.0.100.4")},
		}}},
		VNets: []VNet{{
			ID: "v", Prefixes: prefixes("10.0.0.0/16"),
			Subnets: []Subnet{
				{ID: "Subnet1", Prefixes: prefixes("10.0.0.0/24"), RouteTable: "rt",
					ServiceEndpoints: []ServiceEndpoint{{Service: "Microsoft.Storage", Prefixes: prefixes("20.60.0.0/16")}}},
				{ID: "Subnet2", Prefixes: prefixes("10.0.100.0/24")},
			},
			NICs: []NIC{
				{ID: "nva", Subnet: "Subnet2", Addrs: []netip.Addr{addr("10.0.100.4")}, Forwarding: true},
				{ID: "gw", Subnet: "Subnet2", Addrs: []netip.Addr{addr("10.0.100.5")}, Forwarding: true},
			},
			GatewayRoutes: []GatewayRoute{{Prefix: netip.MustParsePrefix("10.10.0.0/16"), NIC: "gw"}},
		}},
	}
	var b strings.Builder
	for _, id := range []string{"Subnet1", "Subnet2"} {
		fmt.Fprintf(&b, "%s\n", id)
		for _, r := range EffectiveRoutes(topology, id) {
			state := "Invalid"
			if r.Active {
				state = "Active"
			}
			fmt.Fprintf(&b, "  %-21s %-7s %-14s %-29s %-12s %s\n", r.Source, state, r.Prefix, r.Hop, r.Name, r.NIC)
		}
	}
	golden(t, "routes", b.String())
}
