package diagram

import (
	"cmp"
	"crypto/sha256"
	"math"
	"math/bits"
	"slices"

	"vauban.dev/fabric/internal/interval"
)

// partition of a list by one field: elementary intervals over the whole range of the field, each with
// the class of rules that can still match in it.
type partition struct {
	field   Field
	list    []rule // the field cleared
	ranges  []interval.Interval
	class   []int    // of each range
	classes [][]rule // the field cleared, simplified
	live    []bitset // of each class: which rules of the list these are, before they are simplified
	score   float64
	worst   float64 // cost of the lookup and the most expensive class
}

// wideEdges is how many edges of other rules a rule has to span to count as wide.
const wideEdges = 16

// wideRules tells which rules hold in so many elementary ranges that they are better compiled once and
// shared: those that do not test the field, and those whose values span many edges of others, as a VNet's own
// prefix does.
func wideRules(list []rule, f Field, edges []edge) []bool {
	at := func(x uint64) int {
		i, _ := slices.BinarySearchFunc(edges, x, func(e edge, x uint64) int { return cmp.Compare(e.at, x) })
		return i
	}
	wide := make([]bool, len(list))
	for i := range list {
		spans := 0
		for _, v := range list[i].match[f].intervals() {
			spans += max(0, at(uint64(v.Hi)+1)-at(uint64(v.Lo)+1))
		}
		wide[i] = list[i].match[f].any() || spans >= wideEdges
	}
	return wide
}

// edge is where a rule begins or ceases to match.
type edge struct {
	at   uint64
	rule int
	in   bool
}

// crowding is the mean number of rules, as they stand, in the elementary ranges of a field: infinite where no rule
// tests it.
func crowding(list []rule, f Field) float64 {
	var edges []edge
	live, tested := 0, 0
	for i := range list {
		s := list[i].match[f]
		if s.any() {
			live++
			continue
		}
		tested++
		for _, v := range s.values {
			edges = append(edges, edge{uint64(v.Lo), i, true}, edge{uint64(v.Hi) + 1, i, false})
		}
	}
	if tested == 0 {
		return math.Inf(1)
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	sum, ranges := live, 1 // below the first edge
	for i, e := range edges {
		if e.in {
			live++
		} else {
			live--
		}
		if i+1 == len(edges) || edges[i+1].at != e.at {
			sum, ranges = sum+live, ranges+1
		}
	}
	return float64(sum) / float64(ranges)
}

// partition returns nil where no rule tests the field.
func (b *builder) partition(list []rule, f Field) *partition {
	live, edges := newBitset(len(list)), []edge(nil)
	for i := range list {
		if list[i].match[f].any() {
			live.set(i, true)
			continue
		}
		for _, v := range list[i].match[f].intervals() {
			edges = append(edges, edge{uint64(v.Lo), i, true}, edge{uint64(v.Hi) + 1, i, false})
		}
	}
	if len(edges) == 0 {
		return nil
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	p := newClassifier(b, list, f, wideRules(list, f, edges))
	var from uint64
	for i := 0; i < len(edges); {
		at := edges[i].at
		if at > from {
			p.add(from, at-1, live)
			from = at
		}
		for ; i < len(edges) && edges[i].at == at; i++ {
			live.set(edges[i].rule, edges[i].in)
		}
	}
	if top := uint64(f.top()); from <= top {
		p.add(from, top, live)
	}
	return p.scored()
}

// classifier fills a partition: ranges whose rules come to the same list share a class.
type classifier struct {
	b      *builder
	list   []rule // the field cleared
	keys   []byte // of each rule, ruleKey bytes
	p      partition
	byLive map[string]int
	byList map[string]int
	at     []int  // the rules of one class
	key    []byte // their keys
}

func newClassifier(b *builder, list []rule, f Field, wide []bool) *classifier {
	c := &classifier{b: b, list: slices.Clone(list), p: partition{field: f}, byLive: map[string]int{}, byList: map[string]int{}}
	for i := range c.list {
		r := &c.list[i]
		r.wide = wide[i]
		r.match[f] = nil
		c.keys = r.appendKey(c.keys)
	}
	return c
}

func (c *classifier) add(lo, hi uint64, live bitset) {
	class := c.class(live)
	if n := len(c.p.ranges); n > 0 && c.p.class[n-1] == class {
		c.p.ranges[n-1].Hi = uint32(hi)
		return
	}
	c.p.ranges = append(c.p.ranges, interval.Interval{Lo: uint32(lo), Hi: uint32(hi)})
	c.p.class = append(c.p.class, class)
}

func (c *classifier) class(live bitset) int {
	if id, ok := c.byLive[string(live)]; ok {
		return id
	}
	c.at = live.appendTo(c.at[:0])
	kept := c.kept()
	key := c.keyOf(kept)
	id, ok := c.byList[string(key)]
	if !ok {
		id = len(c.p.classes)
		c.byList[string(key)] = id
		rest := make([]rule, len(kept))
		for i, at := range kept {
			rest[i] = c.list[at]
		}
		c.p.classes = append(c.p.classes, rest)
		c.p.live = append(c.p.live, slices.Clone(live))
	}
	c.byLive[string(live)] = id
	return id
}

// kept are those of the rules c.at that simplifying them without merging leaves. A list that decides by itself is
// remembered.
func (c *classifier) kept() []int {
	n := len(c.at)
	own := n > 0 && n <= math.MaxUint16 && c.list[c.at[n-1]].next == nil
	var key [sha256.Size]byte
	if own {
		key = sha256.Sum256(c.keyOf(c.at))
		if known, ok := c.b.sets.reduced[key]; ok {
			out := make([]int, len(known))
			for i, j := range known {
				out[i] = c.at[j]
			}
			return out
		}
	}
	full := make([]rule, n)
	for i, at := range c.at {
		full[i] = c.list[at]
		full[i].at = i
	}
	var out []int
	var places []uint16
	for _, r := range c.b.simplify(full, false) {
		out, places = append(out, c.at[r.at]), append(places, uint16(r.at))
	}
	if own {
		c.b.sets.reduced[key] = places
	}
	return out
}

// keyOf is equal for lists of rules that compile to the same node, until the next call.
func (c *classifier) keyOf(at []int) []byte {
	c.key = c.key[:0]
	for _, i := range at {
		c.key = append(c.key, c.keys[i*ruleKey:][:ruleKey]...)
	}
	return c.key
}

// rules is how many rules a partition holds.
func (p *partition) rules() (n int) {
	if p == nil {
		return 0
	}
	for _, class := range p.classes {
		n += len(class)
	}
	return n + len(p.list)
}

// full is a class as it stands, before it is simplified.
func (p *partition) full(class int) []rule {
	at := p.live[class].appendTo(nil)
	out := make([]rule, len(at))
	for i, j := range at {
		out[i] = p.list[j]
	}
	return out
}

// scored weighs the worst and the mean class against the size of what comes out.
func (c *classifier) scored() *partition {
	p := &c.p
	p.list = c.list
	var sum, most float64
	rules := 0
	for _, l := range p.classes {
		cost := listCost(l)
		most = max(most, cost)
		sum += cost
		rules += len(l)
	}
	lookup := lookupCost(len(p.ranges))
	p.score = lookup + most + sum/float64(len(p.classes)) + sizeWeight*float64(rules+len(p.ranges))
	p.worst = lookup + jumpCost + most
	return p
}

type bitset []byte

func newBitset(n int) bitset { return make(bitset, (n+7)/8) }

// appendTo appends the numbers of the bits that are set.
func (s bitset) appendTo(to []int) []int {
	for i, b := range s {
		for ; b != 0; b &= b - 1 {
			to = append(to, 8*i+bits.TrailingZeros8(b))
		}
	}
	return to
}

func (s bitset) set(i int, on bool) {
	if on {
		s[i/8] |= 1 << (i % 8)
		return
	}
	s[i/8] &^= 1 << (i % 8)
}
