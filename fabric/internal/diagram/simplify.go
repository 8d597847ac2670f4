package diagram

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

// unshadowed drops what one earlier rule covers, and all that follows a catch-all.
func (b *builder) unshadowed(list []rule) []rule {
	out := make([]rule, 0, len(list))
next:
	for i := range list {
		for j := range out {
			if b.rel.covers(&out[j], &list[i]) {
				continue next
			}
		}
		out = append(out, list[i])
		if list[i].catchAll() {
			break
		}
	}
	return out
}

// markRedundant marks a rule that a later one of the same action covers, if no rule of another action
// between the two overlaps it: what equals the default is the commonest case.
func (b *builder) markRedundant(list []rule, dead []bool) {
	for i := len(list) - 2; i >= 0; i-- {
		for j := i + 1; j < len(list); j++ {
			if dead[j] || !b.rel.overlap(&list[i], &list[j]) {
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
		for i := j - 1; i >= 0 && !dead[j]; i-- {
			if dead[i] {
				continue
			}
			if !sameAction(&list[i], &list[j]) {
				if b.rel.overlap(&list[i], &list[j]) {
					break
				}
				continue
			}
			f, one := onlyDifference(&list[i], &list[j])
			if !one || list[i].match[f].any() || list[j].match[f].any() {
				continue
			}
			list[i].match[f] = b.sets.intern(list[i].match[f].values.Union(list[j].match[f].values), f)
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
