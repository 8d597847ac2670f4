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
		for k := range topo.VNets[i].NICs {
			n := &topo.VNets[i].NICs[k]
			n.Forwarding = n.Tunnels != nil || n.Kind == fabric.Guest && g.chance(30)
		}
	}
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
				of, by := v, v
				if g.linked {
					of, by = &topo.VNets[g.IntN(len(topo.VNets))], &topo.VNets[g.IntN(len(topo.VNets))]
				}
				table.Routes = append(table.Routes, g.route(fmt.Sprint("route-", n), of, by))
			}
			topo.RouteTables[table.ID] = table
			v.Subnets[j].RouteTable = table.ID
		}
	}
}

// route leads to places of one VNet by appliances of another, or the same.
func (g *generator) route(name string, of, v *fabric.VNet) fabric.UserRoute {
	to := pick(g, of.NICs...)
	u := fabric.UserRoute{Name: name, Hop: pick(g, fabric.HopNone, fabric.HopVNet, fabric.HopInternet, fabric.HopAppliance)}
	u.Prefix = pick(g, "0.0.0.0/0", "20.60.0.0/16", "Storage", "198.51.100.0/24", "10.0.0.0/16", "10.0.0.0/8", "192.168.0.0/16",
		netip.PrefixFrom(to.Addrs[0], 32).String(), netip.PrefixFrom(to.Addrs[0], 24).Masked().String(), netip.PrefixFrom(to.Addrs[0], 28).Masked().String())
	if u.Hop == fabric.HopAppliance {
		n := pick(g, v.NICs...)
		for range 5 {
			if !n.Forwarding {
				n = pick(g, v.NICs...)
			}
		}
		u.Appliance = pick(g, n.Addrs...)
		if g.chance(20) { // a frontend for all ports
			b := n.Addrs[0].As4()
			u.Appliance = netip.AddrFrom4([4]byte{b[0], b[1], 0, 100})
		}
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

// Connections through an appliance: there and back, there only, and back only; a rule of the appliance's NSG
// judges what it has not seen before, and none that it has let pass.
func TestAppliance(t *testing.T) {
	const appliance, table = "appliance", "by-appliance"
	forward, back := fabric.UserRoute{Name: "forward", Prefix: "10.0.4.0/24", Hop: fabric.HopAppliance, Appliance: addr("10.0.5.9")},
		fabric.UserRoute{Name: "back", Prefix: "10.0.1.0/24", Hop: fabric.HopAppliance, Appliance: addr("10.0.5.9")}
	topology := func(from, to bool, rules ...fabric.Rule) *fabric.Topology {
		topo := testTopology()
		v := &topo.VNets[0]
		topo.NSGs["nsg-appliance"] = &fabric.NSG{ID: "nsg-appliance", Rules: rules}
		v.NICs = append(v.NICs, fabric.NIC{ID: appliance, Subnet: "public", NSG: "nsg-appliance", Addrs: []netip.Addr{addr("10.0.5.9")}, Forwarding: true})
		v.Subnets[4].NSG = ""
		topo.RouteTables = map[string]*fabric.RouteTable{table + "-web": {ID: table + "-web"}, table + "-lone": {ID: table + "-lone"}}
		v.Subnets[0].RouteTable, v.Subnets[3].RouteTable = table+"-web", table+"-lone"
		if from {
			topo.RouteTables[table+"-web"].Routes = []fabric.UserRoute{forward}
		}
		if to {
			topo.RouteTables[table+"-lone"].Routes = []fabric.UserRoute{back}
		}
		return topo
	}
	no := func(d fabric.Direction) fabric.Rule {
		return rule("no", 100, d, false, fabric.AnyProtocol, "*", "10.0.0.0/16", "*")
	}
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topology(false, false)))
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	for _, way := range []struct {
		name     string
		from, to bool
	}{{"neither", false, false}, {"both", true, true}, {"there", true, false}, {"back", false, true}} {
		t.Run(way.name, func(t *testing.T) {
			apply(t, d, compile(t, topology(way.from, way.to)))
			running, err := patient(t, d, nic(web1), "10.0.4.4:80")
			if err != nil {
				t.Fatal(err)
			}
			if err := say(running, way.name); err != nil {
				t.Error(err)
			}
			for _, dir := range []fabric.Direction{fabric.Inbound, fabric.Outbound} {
				apply(t, d, compile(t, topology(way.from, way.to, no(dir))))
				if err := say(running, "what was let pass stays"); err != nil {
					t.Error(err)
				}
				_, err := quick(t, d, nic(web1), "10.0.4.4:80")
				if through := way.from || way.to; (err != nil) != through {
					t.Errorf("by way of the appliance: %v; a new connection: %v", through, err)
				}
			}
			// A connection that ran past the appliance is judged by it, but by it alone, once it is led there.
			apply(t, d, compile(t, topology(true, true)))
			if err := say(running, "by another way"); err != nil {
				t.Error(err)
			}
			running.Close()
		})
	}
}

// Two stateful appliances behind an internal load balancer share connections, each with both directions of its
// own; when one is not healthy, the other has all new ones.
func TestBalancedAppliances(t *testing.T) {
	topology := func(down bool) *fabric.Topology {
		topo := testTopology()
		v := &topo.VNets[0]
		rule := fabric.BalancingRule{ID: "ha", Frontend: "in", Protocol: fabric.AnyProtocol}
		for i, id := range []string{"appliance-1", "appliance-2"} {
			a := addr(fmt.Sprintf("10.0.5.%d", 11+i))
			v.NICs = append(v.NICs, fabric.NIC{ID: id, Subnet: "public", Addrs: []netip.Addr{a}, Forwarding: true})
			rule.Backends = append(rule.Backends, fabric.Backend{NIC: id, Addr: a, Down: down && i == 0})
		}
		v.Subnets[4].NSG = ""
		topo.LoadBalancers = []fabric.LoadBalancer{{ID: "lb", VNet: vnet1, Frontends: []fabric.Frontend{{ID: "in", Subnet: "public", Addr: addr("10.0.5.10")}},
			Rules: []fabric.BalancingRule{rule}}}
		topo.RouteTables = map[string]*fabric.RouteTable{}
		for i, prefix := range map[int]string{0: "10.0.4.0/24", 3: "10.0.1.0/24"} {
			id := fmt.Sprint("table-", i)
			topo.RouteTables[id] = &fabric.RouteTable{ID: id, Routes: []fabric.UserRoute{{Name: "ha", Prefix: prefix, Hop: fabric.HopAppliance, Appliance: addr("10.0.5.10")}}}
			v.Subnets[i].RouteTable = id
		}
		return topo
	}
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topology(false)))
	const stateful = "table inet stateful {\ncounter new { }\nchain forward { type filter hook forward priority 0; policy drop; ct state established accept; tcp flags & (syn | ack) == syn counter name new accept; }\n}\n"
	seen := func(id string) string {
		out, err := d.runNFT(t.Context(), d.space(fabric.NICNS(id)), "", "list", "counter", "inet", "stateful", "new")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, id := range []string{"appliance-1", "appliance-2"} {
		if _, err := d.runNFT(t.Context(), d.space(fabric.NICNS(id)), stateful, "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	connect := func(n int) {
		t.Helper()
		for range n {
			c, err := patient(t, d, nic(web1), "10.0.4.4:80")
			if err != nil {
				t.Fatal(err)
			}
			if err := say(c, "hello"); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := seen("appliance-1")
	connect(24)
	if seen("appliance-1") == none || seen("appliance-2") == none {
		t.Errorf("one appliance has seen all connections: %s %s", seen("appliance-1"), seen("appliance-2"))
	}
	apply(t, d, compile(t, topology(true)))
	before := seen("appliance-1")
	connect(12)
	if now := seen("appliance-1"); now != before {
		t.Errorf("new connections came to an appliance that is down: %s", now)
	}
}

// An appliance that takes connections for others answers them, whatever its own outbound rules say.
func TestTransparentProxy(t *testing.T) {
	topo := testTopology()
	v := &topo.VNets[0]
	topo.NSGs["nsg-proxy"] = &fabric.NSG{ID: "nsg-proxy", Rules: []fabric.Rule{rule("no", 100, fabric.Outbound, false, fabric.AnyProtocol, "*", "*", "*")}}
	v.NICs = append(v.NICs, fabric.NIC{ID: "proxy", Subnet: "lone", NSG: "nsg-proxy", Addrs: []netip.Addr{addr("10.0.4.9")}, Forwarding: true})
	topo.RouteTables = map[string]*fabric.RouteTable{"table": {ID: "table", Routes: []fabric.UserRoute{
		{Name: "all", Prefix: "10.0.2.0/24", Hop: fabric.HopAppliance, Appliance: addr("10.0.4.9")}}}}
	v.Subnets[0].RouteTable = "table"
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topo))
	const redirect = "table inet proxy {\nchain prerouting { type nat hook prerouting priority -100; policy accept; tcp dport 80 redirect to :8080; }\n}\n"
	if _, err := d.runNFT(t.Context(), d.space(fabric.NICNS("proxy")), redirect, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	echo(t, listen(t, d, nic("proxy"), "10.0.4.9:8080"))
	c, err := patient(t, d, nic(web1), "10.0.2.4:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "in the server's name"); err != nil {
		t.Error(err)
	}
}
