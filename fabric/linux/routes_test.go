package linux

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vauban.dev/fabric"
)

// routes gives most subnets a route table.
func (g *generator) routes(topo *fabric.Topology) {
	topo.RouteTables = map[string]*fabric.RouteTable{}
	for i := range topo.VNets {
		v := &topo.VNets[i]
		for j := range v.Subnets {
			v.Subnets[j].EndpointRoutes = g.chance(50)
			v.Subnets[j].RouteTable = ""
			if g.chance(40) {
				continue
			}
			table := &fabric.RouteTable{ID: fmt.Sprintf("%s-table%d", v.ID, j), IgnoreGateway: g.chance(40)}
			for n := range 1 + g.IntN(6) {
				table.Routes = append(table.Routes, g.route(fmt.Sprint("route-", n), v))
			}
			topo.RouteTables[table.ID] = table
			v.Subnets[j].RouteTable = table.ID
		}
	}
}

func (g *generator) route(name string, v *fabric.VNet) fabric.UserRoute {
	to := pick(g, v.NICs...)
	u := fabric.UserRoute{Name: name, Hop: pick(g, fabric.HopNone, fabric.HopVNet, fabric.HopInternet, fabric.HopAppliance)}
	u.Prefix = pick(g, "0.0.0.0/0", "20.60.0.0/16", "Storage", "198.51.100.0/24", "10.0.0.0/16", "10.0.0.0/8", "192.168.0.0/16",
		netip.PrefixFrom(to.Addrs[0], 32).String(), netip.PrefixFrom(to.Addrs[0], 24).Masked().String(), netip.PrefixFrom(to.Addrs[0], 28).Masked().String())
	if u.Hop == fabric.HopAppliance {
		u.Appliance = pick(g, v.NICs...).Addrs[0]
	}
	return u
}

// A user route to None drops what ran before and what is new, private endpoints' traffic as well, and the next change of the
// table gives it back; connections of other destinations go on.
func TestRouteChangeUnderFlow(t *testing.T) {
	d := newTestDriver(t, Config{})
	topology := func(routes ...fabric.UserRoute) *fabric.Topology {
		topo := testTopology()
		topo.RouteTables = map[string]*fabric.RouteTable{"table": {ID: "table", Routes: routes}}
		topo.VNets[0].Subnets[0].RouteTable = "table" // web
		return topo
	}
	apply(t, d, compile(t, topology()))
	echo(t, listen(t, d, router(vnet1), "10.0.3.4:443"))
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	toEndpoint, err := patient(t, d, nic(web1), "10.0.3.4:443")
	if err != nil {
		t.Fatal(err)
	}
	toLone, err := patient(t, d, nic(web1), "10.0.4.4:80")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, d, compile(t, topology(fabric.UserRoute{Name: "no-storage", Prefix: "10.0.3.4/32", Hop: fabric.HopNone})))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := quick(t, d, nic(web1), "10.0.3.4:443"); err == nil {
		t.Error("a connection was made against the route")
	}
	ref := fabric.RuleRef{Owner: "table", Direction: fabric.Routing, Rule: "no-storage"}
	before := counted(t, d, ref)
	if _, err := fmt.Fprintln(toEndpoint, "held up"); err != nil {
		t.Fatal(err)
	}
	if err := say(toLone, "not concerned"); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(20 * time.Second); counted(t, d, ref) <= before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the route dropped %d packets, and none of the connection that ran", before)
		}
	}
	apply(t, d, compile(t, topology()))
	buf := make([]byte, len("held up\n"))
	if _, err := toEndpoint.Read(buf); err != nil || string(buf) != "held up\n" {
		t.Errorf("heard %q, %v", buf, err)
	}
}

func counted(t *testing.T, d *Driver, ref fabric.RuleRef) uint64 {
	t.Helper()
	n, err := d.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n[ref]
}
