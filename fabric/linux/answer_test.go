package linux

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"vauban.dev/fabric"
)

// exchange is a probe that has arrived, and what is to be said of it.
type exchange struct {
	sent  probe
	came  outcome
	ways  []fabric.Explanation // those of the model that lead where it came
	reply probe
}

// checkAnswers answers every probe that has arrived, and then sends what follows the answer to TCP: what becomes of
// both is what fabric.Explain says of the flow.
func checkAnswers(t *testing.T, p *prober, topo *fabric.Topology, probes []probe, want []fabric.Explanation, got []outcome) {
	t.Helper()
	var list []exchange
	for i, o := range got {
		x := exchange{sent: probes[i], came: o, ways: want[i].Either}
		if x.ways == nil {
			x.ways = []fabric.Explanation{want[i]}
		}
		x.ways = slices.DeleteFunc(slices.Clone(x.ways), func(e fabric.Explanation) bool { return e.Reply == nil || !outcomeOf(topo, e).is(o) })
		if o.at == "" || len(x.ways) == 0 || want[i].Linked {
			continue
		}
		x.reply = probe{from: x.ways[0].Reply.Flow.From, src: o.as.dst, dst: o.as.src, proto: o.as.proto, sport: o.as.dport, dport: o.as.sport,
			flags: synFlag | ackFlag, reply: true, ping: o.as.ping}
		list = append(list, x)
	}
	replies := make([]probe, len(list))
	for i, x := range list {
		replies[i] = x.reply
	}
	var next []exchange
	var nextProbes []probe
	for i, o := range p.send(t, replies) {
		x := list[i]
		x.ways = slices.DeleteFunc(x.ways, func(e fabric.Explanation) bool { return !slices.ContainsFunc(outcomes(topo, *e.Reply), o.is) })
		switch {
		case len(x.ways) == 0:
			t.Errorf("%v arrived; the answer %v: %s, but the model says: %v", x.sent, x.reply, o, want[slices.IndexFunc(probes, func(pr probe) bool { return pr == x.sent })].Reply)
		case x.sent.proto == fabric.TCP && len(x.ways) == 1 && x.ways[0].Reply.Verdict == fabric.Allowed && x.ways[0].Reply.Either == nil:
			follow := x.sent
			follow.flags = ackFlag
			next, nextProbes = append(next, x), append(nextProbes, follow)
		}
	}
	for i, o := range p.send(t, nextProbes) {
		x := next[i]
		to := x.came
		if refused := x.ways[0].Reply.Reply; refused != nil {
			to = outcome{by: refused.By}
		}
		if !o.is(to) {
			t.Errorf("%v is answered; what follows: %s, and not: %s; the model says: %v\n%v", x.sent, o, to, x.ways[0], x.ways[0].Reply)
		}
	}
	t.Logf("%d answers, %d packets after them", len(list), len(next))
}

// A machine with a public address whose default route leads to a firewall: calls from the internet arrive past the firewall,
// their answers go to it, and end there. A route for the caller to the internet lets them back. Spec 004, inbound 44224.
func TestAnswerToTheFirewall(t *testing.T) {
	topology := func(back ...fabric.UserRoute) *fabric.Topology {
		topo := firewalled()
		topo.VNets[0].NICs[0].Public = []fabric.PublicAddress{{Private: addr("10.0.1.4"), Public: addr("20.50.0.20")}}
		topo.VNets[0].Subnets[0].NSG = "nsg"
		topo.NSGs = map[string]*fabric.NSG{"nsg": {ID: "nsg", Rules: []fabric.Rule{rule("nodes", 100, fabric.Inbound, true, fabric.TCP, "Internet", "*", "44224")}}}
		topo.RouteTables["out"].Routes = append(topo.RouteTables["out"].Routes, back...)
		return topo
	}
	host := fabric.Place{Kind: fabric.AtHost, ID: attacker}
	f := fabric.Flow{From: host, Dst: addr("20.50.0.20"), Protocol: fabric.TCP, SrcPort: 40000, DstPort: 44224}
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topology()))
	echo(t, listen(t, d, nic(workNIC), "10.0.1.4:44224"))
	e := fabric.Explain(topology(), f)
	refused := e.Refused()
	if e.Verdict != fabric.Allowed || refused == nil || refused != e.Reply || refused.Namespace != fabric.NICNS(fwNIC) || refused.By != fabric.FabricRule(fabric.RuleInvalid) {
		t.Fatalf("the model says: %v\n%v", e, e.Reply)
	}
	before := counted(t, d, refused.By)
	for deadline := time.Now().Add(20 * time.Second); counted(t, d, refused.By) == before; {
		if c, err := quick(t, d, host, "20.50.0.20:44224"); err == nil {
			c.Close()
			t.Fatal("the answer came back past the firewall")
		}
		if time.Now().After(deadline) {
			t.Fatal("the firewall counted nothing")
		}
	}
	open := topology(fabric.UserRoute{Name: "service", Prefix: "198.51.100.0/24", Hop: fabric.HopInternet})
	apply(t, d, compile(t, open))
	if e := fabric.Explain(open, f); e.Refused() != nil {
		t.Fatalf("the model says: %v\n%v", e, e.Reply)
	}
	c, err := patient(t, d, host, "20.50.0.20:44224")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "back by the internet"); err != nil {
		t.Error(err)
	}
}

// A spoke calls another by the hub's appliance, and the other, which is peered with it, answers straight: the connection
// opens, and the hub takes what follows for invalid, as the model says.
func TestAnswerPastTheAppliance(t *testing.T) {
	topo := peered(false, true)
	topo.RouteTables["west-table"].Routes = nil
	topo.RouteTables["east-table"].Routes[0].Prefix = "10.2.0.0/16" // else the peering's route is the longer one
	east, west := &topo.VNets[1], &topo.VNets[2]
	east.Peerings = append(east.Peerings, fabric.Peering{ID: "east-west", Remote: west.ID, Prefixes: west.Prefixes, Access: true, Forwarded: true})
	west.Peerings = append(west.Peerings, fabric.Peering{ID: "west-east", Remote: east.ID, Prefixes: east.Prefixes, Access: true, Forwarded: true})
	e := fabric.Explain(topo, fabric.Flow{From: nic("east-n"), Dst: addr("10.2.0.4"), Protocol: fabric.TCP, SrcPort: 40000, DstPort: 80})
	if e.Reply == nil || e.Reply.Verdict != fabric.Allowed || e.Refused() != e.Reply.Reply || e.Refused().Namespace != fabric.RouterNS("hub") {
		t.Fatalf("the model says: %v\n%v", e, e.Reply)
	}
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topo))
	echo(t, listen(t, d, nic("west-n"), "10.2.0.4:80"))
	before := counted(t, d, e.Refused().By)
	c, err := patient(t, d, nic("east-n"), "10.2.0.4:80")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(c, "hello")
	for deadline := time.Now().Add(20 * time.Second); counted(t, d, e.Refused().By) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the hub counted nothing")
		}
	}
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came back", n)
	}
}

// What runs to a peered network when the peering goes has no way any more: model and counter say so alike.
func TestPeeringGoesUnderFlow(t *testing.T) {
	topology := func(peer bool) *fabric.Topology {
		topo := peered(true, true)
		topo.NSGs["nsg"].Rules = []fabric.Rule{rule("out", 100, fabric.Outbound, true, fabric.AnyProtocol, "*", "*", "*")}
		for i := range topo.VNets {
			if !peer {
				topo.VNets[i].Peerings = nil
			}
		}
		return topo
	}
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topology(true)))
	echo(t, listen(t, d, nic("hub-n"), "10.0.0.4:80"))
	c, err := patient(t, d, nic("east-n"), "10.0.0.4:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "while it stands"); err != nil {
		t.Fatal(err)
	}
	alone := topology(false)
	apply(t, d, compile(t, alone))
	e := fabric.Explain(alone, fabric.Flow{From: nic("east-n"), Dst: addr("10.0.0.4"), Protocol: fabric.TCP, SrcPort: 40000, DstPort: 80})
	if e.By != fabric.FabricRule(fabric.RuleNoRoute) || e.Namespace != fabric.RouterNS("east") {
		t.Fatalf("the model says: %v", e)
	}
	spoof := fabric.FabricRule(fabric.RuleAntiSpoof)
	noRoute, spoofed := counted(t, d, e.By), counted(t, d, spoof)
	fmt.Fprintln(c, "and after")
	for deadline := time.Now().Add(20 * time.Second); counted(t, d, e.By) == noRoute; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no-route counted nothing")
		}
	}
	if n := counted(t, d, spoof); n != spoofed {
		t.Errorf("anti-spoof counted %d packets of it", n-spoofed)
	}
}
