package diagram

import (
	"crypto/sha256"
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

// remembered is how many sets, simplifications and rules of them a Builder keeps before it starts anew: at most some
// 50 MB.
const remembered = 300_000

// Build is the package's Build.
func (b *Builder) Build(rules []Rule) *Node {
	if b.sets.remembered() > remembered {
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
	boxes    []box // of the list that is being simplified
}

// node compiles a list that ends in a catch-all.
func (b *builder) node(list []rule, depth int) *Node {
	key, own := ownKey(list)
	if !own {
		return b.simplified(b.simplify(list, true), depth)
	}
	merged, known := b.sets.merged[key]
	if !known {
		merged = b.simplify(list, true)
		b.sets.merged[key] = merged
		b.sets.held += len(merged)
	}
	return b.simplified(merged, depth)
}

// ownKey is a key of a list that decides by itself: what it comes to is remembered from one build to the next. The nodes that
// others hand on to are of one build alone.
func ownKey(list []rule) (key [sha256.Size]byte, own bool) {
	if own = len(list) > 0 && list[len(list)-1].next == nil; own {
		key = sha256.Sum256([]byte(listKey(list)))
	}
	return key, own
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
	best := b.cut(list, depth > 0)
	if best == nil || best.worst >= linear {
		return nil
	}
	return best
}

// cut is the best cut of a list, whatever it is worth; nil where no rule tests anything. That of a part of a whole list is
// remembered.
func (b *builder) cut(list []rule, part bool) *partition {
	key, own := ownKey(list)
	if own = own && part; own {
		if c, known := b.sets.cuts[key]; known {
			return c.best
		}
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
	if own {
		b.sets.cuts[key] = cut{best}
		b.sets.held += best.rules()
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
			line.Match[f] = s.intervals()
			if n := len(s.intervals()); n > 1 && n <= inlineSetSize {
				b.size += n
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
		if specific, wide, ok := b.specific(class, p, i); ok {
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
func (b *builder) specific(class []rule, p *partition, at int) (out, wide []rule, ok bool) {
	cost := listCost(class)
	if cost <= b.limit {
		return nil, nil, false
	}
	full := p.full(at)
	found := b.split(full)
	if !found.ok {
		return nil, nil, false
	}
	pick := func(at []uint16) []rule {
		out := make([]rule, len(at), len(at)+1)
		for i, j := range at {
			out[i] = full[j]
		}
		return out
	}
	out = pick(found.specific)
	return out, pick(found.wide), listCost(out)+shareCost < 0.6*cost
}

// split finds the rules of a list that are not wide, with those that they cannot do without, and the wide ones. It is
// false where a specific rule catches all: nothing is left to share.
func (b *builder) split(full []rule) (s split) {
	key, own := splitKey(full)
	if known, ok := b.sets.splits[key]; own && ok {
		return known
	}
	in := make([]bool, len(full))
	for i := len(full) - 1; i >= 0; i-- {
		in[i] = !full[i].wide
		for j := i + 1; j < len(full) && !in[i]; j++ {
			in[i] = in[j] && !sameAction(&full[i], &full[j]) && b.rel.overlap(&full[i], &full[j])
		}
	}
	var out []rule
	for i := range full {
		full[i].at = i
		if in[i] {
			out = append(out, full[i])
		}
		if full[i].wide {
			s.wide = append(s.wide, uint16(i))
		}
	}
	then := &Node{}
	out = b.simplify(append(out, rule{next: then}), false)
	last := len(out) - 1
	s.ok = out[last].next == then
	for _, r := range out[:last] {
		s.specific = append(s.specific, uint16(r.at))
	}
	if own {
		b.sets.splits[key] = s
	}
	return s
}

func splitKey(full []rule) (key [sha256.Size]byte, own bool) {
	if len(full) == 0 || len(full) > math.MaxUint16 || full[len(full)-1].next != nil {
		return key, false
	}
	text := append(binary.BigEndian.AppendUint32(nil, uint32(len(full))), listKey(full)...)
	for i := range full {
		if full[i].wide {
			text = append(text, byte(i), byte(i>>8))
		}
	}
	return sha256.Sum256(text), true
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
	key := make([]byte, 0, ruleKey*len(l))
	for i := range l {
		key = l[i].appendKey(key)
	}
	return string(key)
}

// ruleKey is the length of a rule's key.
const ruleKey = 4 * (int(fields) + 1)

func (r *rule) appendKey(key []byte) []byte {
	for f := range r.match {
		key = binary.BigEndian.AppendUint32(key, uint32(r.match[f].number()))
	}
	var then uint32
	switch {
	case r.next != nil:
		then = 2 + uint32(r.next.id)
	case r.allow:
		then = 1
	}
	return binary.BigEndian.AppendUint32(key, then)
}
