package diagram

import (
	"fmt"
	"reflect"
	"testing"
)

// A Builder that has seen other lists returns what a new one returns.
func TestBuilderRemembersNothingWrong(t *testing.T) {
	for _, kind := range kinds {
		g := newGenerator(7)
		rules := g.rules(kind, 60)
		b := NewBuilder()
		for round := range 20 {
			i := g.IntN(len(rules))
			switch g.IntN(3) {
			case 0:
				rules[i].Match[DestinationPort] = one(uint32(g.IntN(65536)), uint32(g.IntN(65536)))
			case 1:
				rules[i].Allow = !rules[i].Allow
			default:
				j := g.IntN(len(rules))
				rules[i], rules[j] = rules[j], rules[i]
			}
			if got, want := outline(b.Build(rules)), outline(Build(rules)); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, round %d: another diagram than a new builder's", kind, round)
			}
		}
	}
}

// outline is a diagram as text, a line for each node in the order of the first way to it.
func outline(n *Node) (out []string) {
	seen := map[*Node]int{}
	var walk func(n *Node) int
	walk = func(n *Node) int {
		if at, ok := seen[n]; ok {
			return at
		}
		at := len(seen)
		seen[n] = at
		text := fmt.Sprint(n.Verdict, n.Field)
		for _, l := range n.Rules {
			text += fmt.Sprint(" ", l.Match, l.Allow)
			if l.Next != nil {
				text += fmt.Sprint(">", walk(l.Next))
			}
		}
		for _, c := range n.Cases {
			text += fmt.Sprint(" ", c.Interval, ">", walk(c.Next))
		}
		if n.Else != nil {
			text += fmt.Sprint(" else>", walk(n.Else))
		}
		out = append(out, fmt.Sprint(at, ":", text))
		return at
	}
	walk(n)
	return out
}

// BenchmarkChange builds a list again in which one rule has changed.
func BenchmarkChange(b *testing.B) {
	for _, c := range []struct {
		kind string
		n    int
	}{{"tags", 300}, {"narrow", 1000}, {"ports", 1000}, {"adversarial", 100}} {
		b.Run(fmt.Sprintf("%s/%d", c.kind, c.n), func(b *testing.B) {
			rules := newGenerator(1).rules(c.kind, c.n)
			builder := NewBuilder()
			builder.Build(rules)
			i := 0
			for b.Loop() {
				i++
				p := uint32(20000 + i%1000)
				rules[i%c.n].Match[DestinationPort] = one(p, p)
				builder.Build(rules)
			}
		})
	}
}
