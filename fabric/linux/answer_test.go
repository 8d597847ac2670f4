package linux

import (
	"slices"
	"testing"

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
