package diagram

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"vauban.dev/fabric/internal/interval"
)

// kinds of rule lists: those that compilers were seen to fail on.
var kinds = []string{"tags", "narrow", "ports", "adversarial"}

// generator makes rule lists and packets near their edges.
type generator struct {
	*rand.Rand
	tags []interval.Set
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	for _, n := range []int{5, 10, 20, 40, 60, 100, 200, 400} {
		var in []interval.Interval
		for range n {
			in = append(in, prefix(uint32(20+g.IntN(30))<<24|g.Uint32()>>8, 14+g.IntN(15)))
		}
		g.tags = append(g.tags, interval.New(in...))
	}
	return g
}

func prefix(a uint32, bits int) interval.Interval {
	host := uint32(uint64(1)<<(32-bits) - 1)
	return interval.Interval{Lo: a &^ host, Hi: a | host}
}

func one(lo, hi uint32) interval.Set {
	return interval.New(interval.Interval{Lo: min(lo, hi), Hi: max(lo, hi)})
}

const vnet = 10<<24 | 20<<16

func (g *generator) address(kind string) interval.Set {
	switch kind {
	case "narrow":
		if g.IntN(20) == 0 {
			return nil
		}
		return interval.New(prefix(10<<24|g.Uint32()&0xffffff, []int{24, 28, 32, 32}[g.IntN(4)]))
	case "ports":
		return nil
	case "adversarial":
		return one(g.Uint32(), g.Uint32())
	}
	switch g.IntN(10) {
	case 0, 1, 2:
		return nil
	case 3, 4:
		return interval.New(prefix(vnet, 16))
	case 5, 6:
		return interval.New(prefix(vnet|uint32(g.IntN(16))<<8, 24))
	case 7:
		return g.tags[g.IntN(len(g.tags))]
	case 8:
		return interval.New(prefix(vnet|g.Uint32()&0xfff, 32))
	}
	var in []interval.Interval
	for range 1 + g.IntN(5) {
		in = append(in, prefix(g.Uint32(), 16+g.IntN(17)))
	}
	return interval.New(in...)
}

func (g *generator) port(kind string) interval.Set {
	usual := []uint32{22, 80, 443, 445, 1433, 3389, 5432, 8080, 8443, 8787, 18881, 44224, 29876}
	switch kind {
	case "adversarial":
		return one(uint32(g.IntN(65536)), uint32(g.IntN(65536)))
	case "ports":
		p := uint32(g.IntN(65536))
		return one(p, p)
	}
	switch g.IntN(8) {
	case 0, 1:
		return nil
	case 2:
		lo := uint32(g.IntN(60000))
		return one(lo, lo+uint32(g.IntN(5000)))
	case 3:
		var in []interval.Interval
		for range 3 {
			p := usual[g.IntN(len(usual))]
			in = append(in, interval.Interval{Lo: p, Hi: p})
		}
		return interval.New(in...)
	}
	p := usual[g.IntN(len(usual))]
	if kind == "narrow" && g.IntN(2) == 0 {
		p = uint32(g.IntN(65536))
	}
	return one(p, p)
}

func (g *generator) rules(kind string, n int) []Rule {
	var out []Rule
	for range n {
		r := Rule{Match: Values{g.address(kind), g.address(kind), nil, g.port(kind)}, Allow: g.IntN(2) == 0}
		if kind == "adversarial" || g.IntN(50) == 0 {
			r.Match[SourcePort] = g.port(kind)
		}
		if r.Match[Source] == nil && r.Match[Destination] == nil && r.Match[DestinationPort] == nil {
			r.Match[Destination] = g.tags[g.IntN(len(g.tags))] // else all that follows is dead
		}
		out = append(out, r)
	}
	own := interval.New(prefix(vnet, 16))
	return append(out, Rule{Match: Values{own, own}, Allow: true})
}

// packet is at the edges of the sets of two rules, or anywhere.
func (g *generator) packet(rules []Rule) (p Packet) {
	r, q := rules[g.IntN(len(rules))], rules[g.IntN(len(rules))]
	for f := range p {
		set := r.Match[f]
		if g.IntN(3) == 0 {
			set = q.Match[f]
		}
		p[f] = g.near(set) & Field(f).top()
	}
	return p
}

func (g *generator) near(set interval.Set) uint32 {
	if len(set) == 0 || g.IntN(16) == 0 {
		return g.Uint32()
	}
	i := set[g.IntN(len(set))]
	switch g.IntN(5) {
	case 0:
		return i.Lo
	case 1:
		return i.Hi
	case 2:
		return i.Lo - 1
	case 3:
		return i.Hi + 1
	}
	return i.Lo + uint32(g.Uint64N(uint64(i.Hi)-uint64(i.Lo)+1))
}

// linear is the meaning of a list, written without the compiler.
func linear(rules []Rule, p Packet) bool {
next:
	for _, r := range rules {
		for f, set := range r.Match {
			if set == nil {
				continue
			}
			in := false
			for _, i := range set {
				in = in || i.Lo <= p[f] && p[f] <= i.Hi
			}
			if !in {
				continue next
			}
		}
		return r.Allow
	}
	return false
}

// disagreements of n packets.
func disagreements(g *generator, rules []Rule, root *Node, n int) (wrong int, example Packet) {
	for range n {
		p := g.packet(rules)
		if root.Allows(p) != linear(rules, p) {
			wrong, example = wrong+1, p
		}
	}
	return wrong, example
}

func TestSameVerdictAsLinear(t *testing.T) {
	for _, kind := range kinds {
		for _, n := range []int{0, 1, 3, 10, 40, 150} {
			t.Run(fmt.Sprintf("%s/%d", kind, n), func(t *testing.T) {
				for seed := range uint64(4) {
					g := newGenerator(seed*1000 + uint64(n))
					rules := g.rules(kind, n)
					root := Build(rules)
					if wrong, p := disagreements(g, rules, root, 4000); wrong > 0 {
						t.Fatalf("seed %d: %d of 4000 packets judged wrongly, such as %v", seed, wrong, p)
					}
				}
			})
		}
	}
}

// An allow that a specific deny shadows, behind which only the default is left, as Azure's default rules have
// it: the deny may not go missing from what is compiled apart for the sake of a list that still has the allow.
func TestShadowedAllow(t *testing.T) {
	set := func(of ...interval.Interval) interval.Set { return interval.New(of...) }
	own, platform := prefix(vnet, 16), prefix(168<<24|63<<16|129<<8|16, 32)
	far := func(n uint32) interval.Interval { return prefix(n<<24|n, 32) }
	g := newGenerator(1)
	rules := []Rule{
		{Match: Values{nil, set(far(20), far(23), far(40), prefix(vnet, 21)), nil, set(interval.Interval{Lo: 197, Hi: 614}, interval.Interval{Lo: 8080, Hi: 8080})}, Allow: true},
		{Match: Values{set(prefix(vnet|256, 32), far(20), far(23), far(40), far(169))}, Allow: true},
		{Match: Values{set(prefix(vnet|768, 25)), set(prefix(vnet|773, 32))}},
		{Match: Values{set(own, platform), append(set(prefix(vnet, 22)), g.tags[3]...)}},
		{Match: Values{set(own, platform), set(own)}, Allow: true},
		{Match: Values{set(platform)}, Allow: true},
	}
	if wrong, p := disagreements(g, rules, Build(rules), 20000); wrong > 0 {
		t.Fatalf("%d of 20000 packets judged wrongly, such as %v", wrong, p)
	}
}

// The paper's promise: what a packet meets does not grow with the list.
func TestCostIsBounded(t *testing.T) {
	for _, c := range []struct {
		kind    string
		n       int
		largest float64
	}{{"tags", 100, 2000}, {"narrow", 1000, 2000}, {"ports", 1000, 1000}} {
		g := newGenerator(7)
		root := Build(g.rules(c.kind, c.n))
		if root.Cost() > c.largest || root.Depth() > maxDepth {
			t.Errorf("%d rules of kind %s: %.0f ns at depth %d", c.n, c.kind, root.Cost(), root.Depth())
		}
	}
}

// A node is either a verdict, a list or a lookup whose cases are disjoint and ascending: overlapping
// elements in a kernel map are silently wrong.
func TestLookupsAreDisjoint(t *testing.T) {
	for _, kind := range kinds {
		seen := map[*Node]bool{}
		var walk func(n *Node)
		walk = func(n *Node) {
			if seen[n] {
				return
			}
			seen[n] = true
			for _, l := range n.Rules {
				if l.Next != nil {
					walk(l.Next)
				}
			}
			if n.Verdict != Undecided || n.Rules != nil {
				return
			}
			walk(n.Else)
			for i, c := range n.Cases {
				if c.Lo > c.Hi || i > 0 && c.Lo <= n.Cases[i-1].Hi {
					t.Fatalf("%s: case %d of %v overlaps", kind, i, n.Cases)
				}
				walk(c.Next)
			}
		}
		walk(Build(newGenerator(3).rules(kind, 200)))
	}
}

func TestEdges(t *testing.T) {
	if Build(nil).Allows(Packet{}) {
		t.Error("an empty list allows")
	}
	never := Rule{Match: Values{interval.Set{}}, Allow: true}
	if Build([]Rule{never}).Allows(Packet{}) {
		t.Error("an empty set matches")
	}
	all := Rule{Match: Values{one(0, interval.Max), nil, one(0, 65535)}, Allow: true}
	if n := Build([]Rule{all}); n.Verdict != Allow {
		t.Error("a full set is not any value")
	}
}

// A rule that does what the default does is not needless where it keeps packets from a wide rule that other
// classes share: without it the wide rule would take them.
func TestRedundantRuleShieldsFromTheWideOnes(t *testing.T) {
	var elsewhere []interval.Interval
	for i := range uint32(12) {
		elsewhere = append(elsewhere, interval.Interval{Lo: 1000 + 10*i, Hi: 1004 + 10*i})
	}
	space := interval.Interval{Lo: 10, Hi: 99}
	rules := []Rule{
		{Match: Values{nil, nil, nil, one(8080, 8080)}, Allow: true},
		{Match: Values{one(50, 50), nil, nil, interval.New(interval.Interval{Lo: 248, Hi: 548}, interval.Interval{Lo: 8080, Hi: 8080})}},
		{Match: Values{interval.New(elsewhere...)}, Allow: true},
		{Match: Values{nil, interval.New(space, interval.Interval{Lo: 500, Hi: 599}, interval.Interval{Lo: 700, Hi: 700}), nil,
			interval.New(interval.Interval{Lo: 189, Hi: 448}, interval.Interval{Lo: 8080, Hi: 8080})}},
		{Match: Values{interval.New(space), interval.New(space)}, Allow: true},
	}
	p := Packet{20, 30, 22, 235}
	if linear(rules, p) || Build(rules).Allows(p) {
		t.Errorf("%v is allowed", p)
	}
}

// forgetful is the compiler with one mistake.
type forgetful struct {
	relations
	mistake func(a, b *rule, covers, overlap bool) (bool, bool)
}

func (f forgetful) covers(a, b *rule) bool {
	c, _ := f.mistake(a, b, f.relations.covers(a, b), f.relations.overlap(a, b))
	return c
}

func (f forgetful) overlap(a, b *rule) bool {
	_, o := f.mistake(a, b, f.relations.covers(a, b), f.relations.overlap(a, b))
	return o
}

// If the compiler were wrong, would the comparison above tell?
func TestMutatedCompilerIsCaught(t *testing.T) {
	mistakes := map[string]func(a, b *rule, covers, overlap bool) (bool, bool){
		"overlap is never seen": func(_, _ *rule, c, _ bool) (bool, bool) { return c, false },
		"overlap is cover":      func(_, _ *rule, _, o bool) (bool, bool) { return o, o },
		"a later wide rule is covered": func(a, b *rule, c, o bool) (bool, bool) {
			return c || o && b.match[DestinationPort].any() && !b.catchAll(), o
		},
		"sets of many intervals never overlap": func(a, b *rule, c, o bool) (bool, bool) {
			return c, o && len(a.match[Source].intervals()) < 2 && len(b.match[Source].intervals()) < 2
		},
	}
	for name, mistake := range mistakes {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				g := newGenerator(seed)
				rules := g.rules("tags", 60)
				s := newSets()
				root := build(rules, s, forgetful{setRelations{s}, mistake})
				if wrong, _ := disagreements(g, rules, root, 4000); wrong > 0 {
					return
				}
			}
			t.Fatal("nothing was seen")
		})
	}
}

// The same for mistakes in what comes out: each verdict turned, each boundary moved by one.
func TestMutatedDiagramIsCaught(t *testing.T) {
	g := newGenerator(11)
	rules := g.rules("tags", 100)
	caught := func(name string, n *Node) {
		t.Helper()
		if wrong, _ := disagreements(g, rules, n, 200_000); wrong == 0 {
			t.Errorf("%s: nothing was seen", name)
		}
	}
	root := Build(rules)
	if root.Cases == nil {
		t.Fatal("the list is too short to be cut")
	}
	first := &root.Cases[0]
	first.Hi++
	caught("boundary", root)
	first.Hi--
	root.Else, first.Next = first.Next, root.Else
	caught("fall-through", root)
	root.Else, first.Next = first.Next, root.Else
	if wrong, p := disagreements(g, rules, root, 20_000); wrong > 0 {
		t.Fatalf("the mended diagram is wrong for %v", p)
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, c := range []struct {
		kind string
		n    int
	}{{"tags", 100}, {"narrow", 1000}, {"ports", 1000}, {"adversarial", 100}} {
		b.Run(fmt.Sprintf("%s/%d", c.kind, c.n), func(b *testing.B) {
			rules := newGenerator(7).rules(c.kind, c.n)
			var root *Node
			for b.Loop() {
				root = Build(rules)
			}
			b.ReportMetric(root.Cost(), "ns/packet")
		})
	}
}
