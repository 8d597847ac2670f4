package diagram

import (
	"encoding/binary"
	"math"
	"slices"
)

// Nanoseconds measured of nftables on one machine; only their ratios matter.
const (
	ruleCost      = 8.0  // a rule by itself
	intervalCost  = 4.0  // one test of a single interval
	jumpCost      = 33.0 // goto and back
	shareCost     = 40.0 // what the shared wide list adds to each child
	lateSetShare  = 0.3  // how often a set is looked at behind a single interval
	leafCost      = 200.0
	sizeWeight    = 0.3  // nanoseconds that one more element may save
	maxCutDepth   = 7    // beyond it every node is a leaf
	maxDepth      = 10   // beyond it the diagram is built again, coarser
	baseSize      = 4000 // elements that any diagram may have
	sizePerRule   = 40   // and more for each rule
	hopeless      = 4    // a cut whose classes have so many times the rules of another's is not looked at
	inlineSetSize = 16   // larger sets are shared: their elements count once
)

// lookupCost of an interval set or map of n elements.
func lookupCost(n int) float64 { return 69 + 33*math.Log2(float64(max(n, 2))) }

func (r *rule) cost() float64 {
	cost, lookups, single := ruleCost, 0.0, false
	for _, s := range r.match {
		switch {
		case s.any():
		case len(s.values) == 1:
			cost += intervalCost
			single = true
		default:
			lookups += lookupCost(len(s.values))
		}
	}
	if single {
		lookups *= lateSetShare
	}
	return cost + lookups
}

func listCost(l []rule) (c float64) {
	for i := range l {
		c += l[i].cost()
	}
	return c
}

// Build compiles the list. What no rule matches is denied. A rule with an empty set matches nothing.
func Build(rules []Rule) *Node { return NewBuilder().Build(rules) }

// Builder compiles one list after another and remembers how parts of lists were simplified: a list that differs from
// an earlier one in a rule is compiled in a fraction of the time. What it returns depends on the list alone. It is not
// safe for concurrent use.
type Builder struct{ sets *sets }

// NewBuilder returns a Builder that remembers nothing yet.
func NewBuilder() *Builder { return &Builder{newSets()} }

// remembered is how many sets and simplifications a Builder keeps before it starts anew: some 10 MB.
const remembered = 100_000

// Build is the package's Build.
func (b *Builder) Build(rules []Rule) *Node {
	if len(b.sets.ids)+len(b.sets.reduced) > remembered {
		b.sets = newSets()
	}
	return build(rules, b.sets, setRelations{b.sets})
}

// build lets a leaf cost twice as much until the diagram is small enough; in the end it is one leaf,
// which no budget holds for.
func build(rules []Rule, s *sets, rel relations) *Node {
	list := (&builder{sets: s, rel: rel}).simplify(interned(rules, s), true)
	linear := listCost(list)
	for limit := leafCost; ; limit *= 2 {
		b := &builder{sets: s, rel: rel, limit: limit, budget: baseSize + sizePerRule*(len(rules)+1), memo: map[string]*Node{}}
		if limit > linear {
			b.budget = math.MaxInt
		}
		n := b.simplified(list, 0)
		if !b.tooLarge && (n.depth <= maxDepth || limit > linear) {
			return n
		}
	}
}

func interned(rules []Rule, s *sets) []rule {
	list := make([]rule, 0, len(rules)+1)
next:
	for _, r := range rules {
		x := rule{allow: r.Allow}
		for f, v := range r.Match {
			if v == nil {
				continue
			}
			if len(v) == 0 {
				continue next
			}
			x.match[f] = s.intern(v, Field(f))
		}
		list = append(list, x)
	}
	return append(list, rule{})
}

// builder is one attempt at one diagram.
type builder struct {
	sets     *sets
	rel      relations
	limit    float64 // a list that costs less is a leaf
	budget   int     // elements
	size     int
	tooLarge bool
	memo     map[string]*Node
	nodes    int
}

// node compiles a list that ends in a catch-all.
func (b *builder) node(list []rule, depth int) *Node {
	return b.simplified(b.simplify(list, true), depth)
}

func (b *builder) simplified(list []rule, depth int) *Node {
	key := listKey(list)
	if n, ok := b.memo[key]; ok {
		return n
	}
	if len(list) == 1 && list[0].next != nil {
		return list[0].next
	}
	b.nodes++
	n := &Node{id: b.nodes}
	b.memo[key] = n
	switch p := b.bestCut(list, depth); {
	case len(list) == 1:
		n.Verdict = Deny
		if list[0].allow {
			n.Verdict = Allow
		}
	case p == nil:
		b.leaf(n, list)
	default:
		b.lookup(n, list, p, depth)
	}
	b.tooLarge = b.tooLarge || b.size > b.budget
	return n
}

// bestCut returns nil where the list is best left as it is.
func (b *builder) bestCut(list []rule, depth int) *partition {
	linear := listCost(list)
	if linear <= b.limit || depth >= maxCutDepth || b.tooLarge {
		return nil
	}
	var best *partition
	crowd, least := [fields]float64{}, math.Inf(1)
	for f := range fields {
		crowd[f] = crowding(list, f)
		least = min(least, crowd[f])
	}
	for f := range fields {
		if crowd[f] > hopeless*least {
			continue
		}
		if p := b.partition(list, f); p != nil && (best == nil || p.score < best.score) {
			best = p
		}
	}
	if best == nil || best.worst >= linear {
		return nil
	}
	return best
}

func (b *builder) leaf(n *Node, list []rule) {
	n.cost = listCost(list)
	for i := range list {
		r := &list[i]
		line := Line{Allow: r.allow, Next: r.next}
		b.size++
		for f, s := range r.match {
			line.Match[f] = s.values
			if len(s.values) > 1 && len(s.values) <= inlineSetSize {
				b.size += len(s.values)
			}
		}
		if r.next != nil {
			n.depth = max(n.depth, r.next.depth+1)
			n.cost += jumpCost + r.next.cost
		}
		n.Rules = append(n.Rules, line)
	}
}

func (b *builder) lookup(n *Node, list []rule, p *partition, depth int) {
	n.Field = p.field
	next := make([]*Node, len(p.classes))
	for i, class := range p.classes {
		if b.tooLarge {
			return
		}
		if specific, wide, ok := b.specific(class, p.full[i]); ok {
			class = append(specific, b.shared(wide, depth+1))
		}
		next[i] = b.node(class, depth+1)
	}
	for i, r := range p.ranges {
		to := next[p.class[i]]
		if last := len(n.Cases) - 1; last >= 0 && n.Cases[last].Next == to {
			n.Cases[last].Hi = r.Hi
			continue
		}
		n.Cases = append(n.Cases, Case{r, to})
	}
	n.settle()
	b.size += len(n.Cases) + 1
}

// settle makes the commonest child the one that needs no case, and sums the node up.
func (n *Node) settle() {
	count, worst := map[*Node]int{}, 0.0
	for _, c := range n.Cases {
		count[c.Next]++
		if n.Else == nil || count[c.Next] > count[n.Else] {
			n.Else = c.Next
		}
		n.depth = max(n.depth, c.Next.depth+1)
		worst = max(worst, c.Next.cost)
	}
	n.cost = lookupCost(len(n.Cases)) + jumpCost + worst
	n.Cases = slices.DeleteFunc(n.Cases, func(c Case) bool { return c.Next == n.Else })
}

// specific splits a class into the rules that are not wide, with the earlier wide ones that they cannot do
// without (those of another action that overlap one of them), and the wide list, which all classes share. It
// looks at the rules as they stand: a simplified list may lack a rule for the sake of one that the wide list
// has and it has not. Ok tells whether sharing pays.
func (b *builder) specific(class, full []rule) (out, wide []rule, ok bool) {
	cost := listCost(class)
	if cost <= b.limit {
		return nil, nil, false
	}
	in := make([]bool, len(full))
	for i := len(full) - 1; i >= 0; i-- {
		in[i] = !full[i].wide
		for j := i + 1; j < len(full) && !in[i]; j++ {
			in[i] = in[j] && !sameAction(&full[i], &full[j]) && b.rel.overlap(&full[i], &full[j])
		}
	}
	for i := range full {
		if in[i] {
			out = append(out, full[i])
		}
		if full[i].wide {
			wide = append(wide, full[i])
		}
	}
	then := &Node{}
	out = b.simplify(append(out, rule{next: then}), false)
	last := len(out) - 1
	if out[last].next != then { // a specific rule catches all: nothing is left to share
		return nil, nil, false
	}
	return out[:last], wide, listCost(out[:last])+shareCost < 0.6*cost
}

// shared is the catch-all that goes on with the wide rules of a class, which other classes share.
func (b *builder) shared(wide []rule, depth int) rule {
	n := b.node(wide, depth)
	if n.Verdict != Undecided {
		return rule{allow: n.Verdict == Allow}
	}
	return rule{next: n}
}

// listKey is equal for lists that compile to the same node.
func listKey(l []rule) string {
	key := make([]byte, 0, 20*len(l))
	for i := range l {
		for _, s := range l[i].match {
			key = binary.BigEndian.AppendUint32(key, uint32(s.id))
		}
		var then uint32
		switch {
		case l[i].next != nil:
			then = 2 + uint32(l[i].next.id)
		case l[i].allow:
			then = 1
		}
		key = binary.BigEndian.AppendUint32(key, then)
	}
	return string(key)
}
