package linux

import (
	"fmt"
	"net/netip"
	"testing"

	"vauban.dev/fabric"
)

// net is the second number of a VNet's addresses.
func (g *generator) net(vnet int) int {
	if g.linked {
		return vnet
	}
	return 0
}

// link peers every VNet with every other, as a rule.
func (g *generator) link(topo *fabric.Topology) {
	for i := range topo.VNets {
		v := &topo.VNets[i]
		v.Peerings, v.GatewayRoutes = nil, nil
		for j := range topo.VNets {
			u := &topo.VNets[j]
			if i == j || g.chance(15) {
				continue
			}
			p := fabric.Peering{ID: v.ID + "-" + u.ID, Remote: u.ID, Prefixes: u.Prefixes, Access: g.chance(80), Forwarded: g.chance(70),
				GatewayTransit: g.chance(60), RemoteGateways: g.chance(60)}
			if g.chance(10) {
				p.Prefixes = []netip.Prefix{pfx("10.0.0.0/14")}
			}
			v.Peerings = append(v.Peerings, p)
		}
		if g.chance(50) {
			v.GatewayRoutes = []fabric.GatewayRoute{{Prefix: pick(g, pfx("192.168.0.0/16"), pfx("10.0.0.0/12"), pfx("13.66.0.0/16")), NIC: v.NICs[0].ID}}
			g.tunnels(v)
		}
	}
}

// tunnels gives the first interface of a VNet several, with prefixes within each other's and around the VNet's own.
func (g *generator) tunnels(v *fabric.VNet) {
	n := &v.NICs[0]
	n.Tunnels = nil
	if n.Kind != fabric.Guest || g.chance(20) {
		return
	}
	n.Forwarding = true
	for _, p := range []string{"0.0.0.0/0", "13.64.0.0/10", "13.66.0.0/16", "10.0.0.0/8", "10.3.0.0/16", "192.168.0.0/16", "128.0.0.0/1"} {
		if g.chance(50) {
			v.GatewayRoutes = append(v.GatewayRoutes, fabric.GatewayRoute{Prefix: pfx(p), NIC: n.ID})
			n.Tunnels = append(n.Tunnels, fabric.Tunnel{Name: n.ID + " " + p, Prefixes: []netip.Prefix{pfx(p)}})
		}
	}
}

// peered is a hub with an appliance and an endpoint, and two spokes.
func peered(direct, forwarded bool) *fabric.Topology {
	vnet := func(id string, n int) fabric.VNet {
		p := pfx(fmt.Sprintf("10.%d.0.0/16", n))
		return fabric.VNet{ID: id, Prefixes: []netip.Prefix{p},
			Subnets: []fabric.Subnet{{ID: id + "-s", Prefixes: []netip.Prefix{p}, NSG: "nsg", RouteTable: id + "-table"}},
			NICs:    []fabric.NIC{{ID: id + "-n", Subnet: id + "-s", Addrs: []netip.Addr{addr(fmt.Sprintf("10.%d.0.4", n))}, Forwarding: id == "hub"}}}
	}
	topo := &fabric.Topology{NSGs: map[string]*fabric.NSG{"nsg": {ID: "nsg"}}, RouteTables: map[string]*fabric.RouteTable{"hub-table": {ID: "hub-table"}},
		VNets: []fabric.VNet{vnet("hub", 0), vnet("east", 1), vnet("west", 2)}}
	hub := &topo.VNets[0]
	hub.NICs = append(hub.NICs, fabric.NIC{ID: "hub-pe", Subnet: "hub-s", Kind: fabric.Endpoint, Addrs: []netip.Addr{addr("10.0.0.9")},
		Service: &fabric.Service{Ports: []uint16{443}}})
	peer := func(v, u *fabric.VNet) {
		v.Peerings = append(v.Peerings, fabric.Peering{ID: v.ID + "-" + u.ID, Remote: u.ID, Prefixes: u.Prefixes, Access: true, Forwarded: forwarded})
	}
	for i := 1; i < 3; i++ {
		peer(hub, &topo.VNets[i])
		peer(&topo.VNets[i], hub)
		table := &fabric.RouteTable{ID: topo.VNets[i].ID + "-table"}
		topo.RouteTables[table.ID] = table
		if !direct {
			table.Routes = []fabric.UserRoute{{Name: "all", Prefix: "10.0.0.0/8", Hop: fabric.HopAppliance, Appliance: addr("10.0.0.4")}}
		}
	}
	return topo
}

// A hub and two spokes: each spoke reaches the hub and its private endpoints, and the other spoke by the hub's
// appliance only, where both peerings allow forwarded traffic. Connections outlive a restart and other rules,
// and end with the peering.
func TestHubAndSpoke(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, peered(true, true)))
	echo(t, listen(t, d, nic("hub-n"), "10.0.0.4:80"))
	echo(t, listen(t, d, nic("west-n"), "10.2.0.4:80"))
	echo(t, listen(t, d, router("hub"), "10.0.0.9:443"))
	for _, to := range []string{"10.0.0.4:80", "10.0.0.9:443"} {
		c, err := patient(t, d, nic("east-n"), to)
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		if err := say(c, "hello"); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	if _, err := quick(t, d, nic("east-n"), "10.2.0.4:80"); err == nil {
		t.Error("peering is transitive")
	}
	apply(t, d, compile(t, peered(false, false)))
	if _, err := quick(t, d, nic("east-n"), "10.2.0.4:80"); err == nil {
		t.Error("forwarded traffic was taken")
	}
	apply(t, d, compile(t, peered(false, true)))
	c, err := patient(t, d, nic("east-n"), "10.2.0.4:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "by the appliance"); err != nil {
		t.Error(err)
	}
	next := newTestDriver(t, Config{NetnsDir: d.dir})
	apply(t, next, compile(t, peered(false, true)))
	if err := next.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := say(c, "after a restart"); err != nil {
		t.Error(err)
	}
	closed := peered(false, true)
	closed.NSGs["nsg"].Rules = []fabric.Rule{rule("no", 100, fabric.Inbound, false, fabric.TCP, "*", "*", "80")}
	apply(t, next, compile(t, closed))
	if err := say(c, "what was let pass stays"); err != nil {
		t.Error(err)
	}
	if _, err := quick(t, next, nic("east-n"), "10.2.0.4:80"); err == nil {
		t.Error("a new flow was not refused")
	}
	alone := peered(false, true)
	for i := range alone.VNets {
		alone.VNets[i].Peerings = nil
	}
	apply(t, next, compile(t, alone))
	if _, err := quick(t, next, nic("east-n"), "10.0.0.4:80"); err == nil {
		t.Error("the peering is gone, and the way is not")
	}
}
