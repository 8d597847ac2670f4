package fabric

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/diagram"
	"vauban.dev/fabric/internal/interval"
)

// This file writes one cut of a diagram: a field's value decides among disjoint intervals. The kernel searches a map
// of intervals as a tree, step by step, and finds an exact value at once. So values that stand alone are looked up
// first, in a map of their own, and few intervals are few rules.

// Nanoseconds measured of nftables; only their ratios matter.
const (
	exactCost = 70.0 // a map of exact values, whatever its size
	testCost  = 16.0 // a rule with one interval
)

// searchCost of a map of n intervals.
func searchCost(n int) float64 { return 69 + 33*math.Log2(float64(max(n, 2))) }

// way is what becomes of the values of an interval: a statement.
type way struct {
	interval.Interval
	then string
}

// search is what is asked of a value, one after the other: maps and rules.
type search struct {
	ways  []way
	exact bool // all ways are single values
	rules bool // one rule for each way, not a map
	cost  float64
}

// planSearch returns the cheapest searches for a list of disjoint ways in ascending order.
func planSearch(ways []way) []search {
	if len(ways) == 0 {
		return nil
	}
	all := searchOne(ways)
	var alone, rest []way
	for _, w := range ways {
		if w.Lo == w.Hi {
			alone = append(alone, w)
		} else {
			rest = append(rest, w)
		}
	}
	if len(alone) == 0 || len(rest) == 0 {
		return []search{all}
	}
	first, second := searchOne(alone), searchOne(joined(rest, alone))
	if first.cost+second.cost < all.cost {
		return []search{first, second}
	}
	return []search{all}
}

// searchOne is the cheapest single search.
func searchOne(ways []way) search {
	s := search{ways: ways, exact: !slices.ContainsFunc(ways, func(w way) bool { return w.Lo != w.Hi })}
	s.cost = searchCost(len(ways))
	if s.exact {
		s.cost = exactCost
	}
	if c := testCost * float64(len(ways)); c <= s.cost {
		s.rules, s.cost = true, c
	}
	return s
}

// joined makes one of neighbours that lead to the same and have nothing between them but values that are answered
// already; both lists are in ascending order.
func joined(ways, answered []way) (out []way) {
	next := 0
	for _, w := range ways {
		if last := len(out) - 1; last >= 0 && out[last].then == w.then {
			from := uint64(out[last].Hi) + 1
			for ; next < len(answered) && uint64(answered[next].Lo) <= from; next++ {
				if uint64(answered[next].Lo) == from {
					from++
				}
			}
			if from == uint64(w.Lo) {
				out[last].Hi = w.Hi
				continue
			}
		}
		out = append(out, w)
	}
	return out
}

// lookup writes the rules that find what becomes of a field's value; none of them matches a value in no way.
func (tb *table) lookup(f diagram.Field, ways []way) (lines []string) {
	for _, s := range planSearch(ways) {
		if !s.rules {
			lines = append(lines, fieldText(f)+" vmap "+tb.verdicts(f, s))
			continue
		}
		for _, w := range s.ways {
			lines = append(lines, fieldText(f)+" "+intervalText(f, w.Interval)+" "+w.then)
		}
	}
	return lines
}

// verdicts is a verdict map: a small one stands in its rule, a larger one is declared so that a driver can fill it
// piece by piece.
func (tb *table) verdicts(f diagram.Field, s search) string {
	elements := make([]string, 0, len(s.ways))
	for _, w := range s.ways {
		elements = append(elements, intervalText(f, w.Interval)+" : "+w.then)
	}
	if len(elements) <= inlineMap {
		return "{ " + strings.Join(elements, ", ") + " }"
	}
	how := "flags interval"
	if s.exact {
		how = fmt.Sprintf("size %d", len(elements)) // the kernel's fastest kind of map
	}
	return "@" + tb.content(MapObject, "m", []string{"type " + fieldType(f) + " : verdict", how}, elements)
}
