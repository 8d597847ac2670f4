package diagram

import "math"

// simplify returns a list with the same verdict for every packet, in a new slice. merge also unites
// rules, which makes sets larger and lists shorter. The last rule of the result is the list's first
// catch-all.
func (b *builder) simplify(list []rule, merge bool) []rule {
	out := b.unshadowed(list)
	dead := make([]bool, len(out))
	b.markRedundant(out, dead)
	if merge {
		b.mergeAlike(out, dead)
	}
	kept := out[:0]
	for i := range out {
		if !dead[i] {
			kept = append(kept, out[i])
		}
	}
	return kept
}

// unshadowed drops what one earlier rule covers, and all that follows a catch-all. b.boxes are those of the result.
func (b *builder) unshadowed(list []rule) []rule {
	out, boxes := make([]rule, 0, len(list)), b.boxes[:0]
next:
	for i := range list {
		at := list[i].box()
		for j := range boxes {
			if boxes[j].holds(&at) && b.rel.covers(&out[j], &list[i]) {
				continue next
			}
		}
		out, boxes = append(out, list[i]), append(boxes, at)
		if list[i].catchAll() {
			break
		}
	}
	b.boxes = boxes
	return out
}

// markRedundant marks a rule that a later one of the same action covers, if no rule of another action
// between the two overlaps it: what equals the default is the commonest case.
func (b *builder) markRedundant(list []rule, dead []bool) {
	for i := len(list) - 2; i >= 0; i-- {
		at := b.boxes[i]
		for j := i + 1; j < len(list); j++ {
			if !at.meets(&b.boxes[j]) || dead[j] || !b.rel.overlap(&list[i], &list[j]) {
				continue
			}
			if !sameAction(&list[i], &list[j]) {
				break
			}
			if b.rel.covers(&list[j], &list[i]) {
				dead[i] = true
				break
			}
		}
	}
}

// mergeAlike unites a rule with an earlier one of the same action that differs from it in one field, if
// no rule of another action between the two overlaps it.
func (b *builder) mergeAlike(list []rule, dead []bool) {
	for j := 1; j < len(list)-1; j++ {
		at := b.boxes[j]
		for i := j - 1; i >= 0 && !dead[j]; i-- {
			if dead[i] {
				continue
			}
			if !sameAction(&list[i], &list[j]) {
				if at.meets(&b.boxes[i]) && b.rel.overlap(&list[i], &list[j]) {
					break
				}
				continue
			}
			f, one := onlyDifference(&list[i], &list[j])
			if !one || list[i].match[f].any() || list[j].match[f].any() {
				continue
			}
			list[i].match[f] = b.sets.intern(list[i].match[f].values.Union(list[j].match[f].values), f)
			b.boxes[i] = list[i].box()
			dead[j] = true
		}
	}
}

func onlyDifference(a, b *rule) (diff Field, one bool) {
	n := 0
	for f := range fields {
		if a.match[f] != b.match[f] {
			diff, n = f, n+1
		}
	}
	return diff, n == 1
}

// box is the smallest and the largest value of each field that a rule matches. Most pairs of rules are told apart by it,
// and boxes lie one behind the other in memory, which rules' sets do not.
type box [fields]struct{ lo, hi uint32 }

func (r *rule) box() (b box) {
	for f, s := range r.match {
		if b[f].hi = math.MaxUint32; !s.any() {
			b[f].lo, b[f].hi = s.lo, s.hi
		}
	}
	return b
}

// holds is false only where a rule of box a cannot cover one of box b.
func (a *box) holds(b *box) bool {
	for f := range a {
		if a[f].lo > b[f].lo || a[f].hi < b[f].hi {
			return false
		}
	}
	return true
}

// meets is false only where no packet is in both.
func (a *box) meets(b *box) bool {
	for f := range a {
		if a[f].hi < b[f].lo || b[f].hi < a[f].lo {
			return false
		}
	}
	return true
}
