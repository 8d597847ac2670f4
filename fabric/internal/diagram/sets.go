package diagram

import (
	"crypto/sha256"
	"encoding/binary"

	"vauban.dev/fabric/internal/interval"
)

// set is an interned interval set: equal ones are one. Nil is any value.
type set struct {
	id     int
	lo, hi uint32 // the smallest and the largest value
	values interval.Set
}

func (s *set) any() bool { return s == nil }

// intervals are none for any value.
func (s *set) intervals() interval.Set {
	if s == nil {
		return nil
	}
	return s.values
}

// number is 0 for any value.
func (s *set) number() int {
	if s == nil {
		return 0
	}
	return s.id
}

// rule is a Rule with interned sets. A rule with next hands on to a node instead of deciding.
type rule struct {
	match [fields]*set
	allow bool
	next  *Node
	// wide says that the rule had any value on the field that its list was last cut by.
	wide bool
	at   int // its place in the list that is being reduced
}

func (r *rule) catchAll() bool {
	for f := range r.match {
		if !r.match[f].any() {
			return false
		}
	}
	return true
}

// sameAction tells whether it makes no difference which of the two matches.
func sameAction(a, b *rule) bool { return a.allow == b.allow && a.next == b.next }

// relations are the two questions that simplification stands on.
type relations interface {
	// covers: does a match all that b matches.
	covers(a, b *rule) bool
	// overlap: is there a packet that both match.
	overlap(a, b *rule) bool
}

// sets interns interval sets and remembers how they relate, and what lists of rules on them come to.
type sets struct {
	ids     map[string]*set
	subset  map[[2]int]bool
	overlap map[[2]int]bool
	reduced map[[sha256.Size]byte][]uint16 // by listKey: the rules that simplification keeps
	merged  map[[sha256.Size]byte][]rule   // by listKey: what simplification with merging comes to
	cuts    map[[sha256.Size]byte]cut      // by listKey
	splits  map[[sha256.Size]byte]split    // by listKey and what is wide
	held    int                            // rules in merged and cuts
}

// cut is the best one of a list, nil where it is best left as it is.
type cut struct{ best *partition }

// split is what builder.specific found.
type split struct {
	specific, wide []uint16
	ok             bool
}

// remembered is how much there is.
func (s *sets) remembered() int {
	return s.held + len(s.ids) + len(s.reduced) + len(s.merged) + len(s.cuts) + len(s.splits)
}

func newSets() *sets {
	return &sets{ids: map[string]*set{}, subset: map[[2]int]bool{}, overlap: map[[2]int]bool{}, reduced: map[[sha256.Size]byte][]uint16{},
		merged: map[[sha256.Size]byte][]rule{}, cuts: map[[sha256.Size]byte]cut{}, splits: map[[sha256.Size]byte]split{}}
}

func (s *sets) intern(v interval.Set, f Field) *set {
	if len(v) == 1 && v[0].Lo == 0 && v[0].Hi >= f.top() {
		return nil
	}
	key := make([]byte, 0, 8*len(v))
	for _, i := range v {
		key = binary.BigEndian.AppendUint32(key, i.Lo)
		key = binary.BigEndian.AppendUint32(key, i.Hi)
	}
	if known, ok := s.ids[string(key)]; ok {
		return known
	}
	made := &set{id: len(s.ids) + 1, lo: v[0].Lo, hi: v[len(v)-1].Hi, values: v}
	s.ids[string(key)] = made
	return made
}

// setRelations answers by the sets' values.
type setRelations struct{ *sets }

func (s setRelations) covers(a, b *rule) bool {
	for f := range a.match {
		if x, y := a.match[f], b.match[f]; !x.any() && x != y && (y.any() || !s.isSubset(y, x)) {
			return false
		}
	}
	return true
}

func (s setRelations) overlap(a, b *rule) bool {
	for f := range a.match {
		if x, y := a.match[f], b.match[f]; !x.any() && !y.any() && x != y && !s.overlaps(x, y) {
			return false
		}
	}
	return true
}

// Most sets are told apart by their ends, without a look in the table of known answers.
func (s setRelations) isSubset(a, b *set) bool {
	if a.lo < b.lo || a.hi > b.hi {
		return false
	}
	if len(b.values) == 1 {
		return true
	}
	key := [2]int{a.id, b.id}
	v, ok := s.sets.subset[key]
	if !ok {
		v = a.values.SubsetOf(b.values)
		s.sets.subset[key] = v
	}
	return v
}

func (s setRelations) overlaps(a, b *set) bool {
	if a.hi < b.lo || b.hi < a.lo {
		return false
	}
	if len(a.values) == 1 && len(b.values) == 1 {
		return true
	}
	key := [2]int{min(a.id, b.id), max(a.id, b.id)}
	v, ok := s.sets.overlap[key]
	if !ok {
		v = a.values.Overlaps(b.values)
		s.sets.overlap[key] = v
	}
	return v
}
