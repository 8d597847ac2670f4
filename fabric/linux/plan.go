package linux

import (
	"fmt"
	"strings"

	"vauban.dev/fabric"
)

// plan turns one ruleset into another, in this order: prepare adds what nothing refers to yet, flip
// makes it the law in one transaction, collect deletes what the flip left unreferenced. Packets are
// judged by the old rules until the flip and by the new ones after it. Objects that stay are not
// touched: counters keep their values.
type plan struct {
	prepare []statement
	flip    []statement
	collect []statement
}

// statement is one nft command.
type statement struct {
	text string
	size int // an upper estimate of its netlink messages, in bytes
}

func (p *plan) empty() bool { return len(p.prepare)+len(p.flip)+len(p.collect) == 0 }

const table = "inet " + fabric.TableName

// Estimates of netlink messages, measured with nft 1.0.6 and rounded up.
const (
	objectSize  = 200
	ruleSize    = 1200
	elementSize = 220
	// elementsPerStatement keeps a statement small enough to be split between transactions.
	elementsPerStatement = 250
)

func object1(verb string, kind fabric.ObjectKind, name string) statement {
	return statement{fmt.Sprintf("%s %s %s %s", verb, kind, table, name), objectSize}
}

func declare(o object) statement {
	st := object1("add", o.Kind, o.Name)
	if len(o.Spec) > 0 {
		st.text += " { " + strings.TrimRight(strings.Join(o.Spec, "; "), "; ") + "; }"
	}
	return st
}

func rules(o object) []statement {
	out := make([]statement, 0, len(o.Lines))
	for _, l := range o.Lines {
		out = append(out, statement{
			text: fmt.Sprintf("add rule %s %s %s", table, o.Name, strings.TrimRight(l, "; ")),
			size: ruleSize + strings.Count(l, ",")*elementSize,
		})
	}
	return out
}

func elements(verb string, o object, lines []string) []statement {
	var out []statement
	for len(lines) > 0 {
		n := min(len(lines), elementsPerStatement)
		out = append(out, statement{
			text: fmt.Sprintf("%s element %s %s { %s }", verb, table, o.Name, strings.Join(lines[:n], ", ")),
			size: objectSize + n*elementSize,
		})
		lines = lines[n:]
	}
	return out
}

// newPlan computes the plan from have, as the kernel listed it, to want. objects gives want's
// order: nothing in it refers to what follows.
func newPlan(have, want ruleset, objects []fabric.Object) plan {
	var p plan
	var late []statement // rules that may refer to what the flip makes

	redeclared := false
	for k, w := range want {
		if h, ok := have[k]; ok && h.spec != w.spec && k.kind != fabric.ChainObject {
			redeclared = true
		}
	}
	// A set that changes its type must be deleted first, so all that refers to it waits for the flip.
	prepare := &p.prepare
	if redeclared {
		prepare = &late
	}

	for _, o := range objects {
		w := want[objectKey{o.Kind, o.Name}]
		h, exists := have[w.key()]
		switch {
		case exists && h.equal(w):
		case w.base():
			if exists && !sameHook(h, w) {
				p.flip = append(p.flip, object1("flush", w.Kind, w.Name), object1("delete", w.Kind, w.Name))
			} else if exists {
				p.flip = append(p.flip, object1("flush", w.Kind, w.Name))
			}
			late = append(late, declare(w))
			late = append(late, rules(w)...)
		case !exists:
			*prepare = append(*prepare, declare(w))
			*prepare = append(*prepare, contents(w)...)
		case w.Kind == fabric.ChainObject:
			p.flip = append(p.flip, object1("flush", w.Kind, w.Name))
			late = append(late, rules(w)...)
		case h.spec != w.spec:
			p.flip = append(p.flip, flushUsers(have, w)...)
			p.flip = append(p.flip, object1("delete", w.Kind, w.Name), declare(w))
			p.flip = append(p.flip, contents(w)...)
			late = append(late, refill(have, want, objects, w)...)
		case w.interval():
			p.flip = append(p.flip, object1("flush", w.Kind, w.Name))
			p.flip = append(p.flip, contents(w)...)
		default:
			gone, added := exchange(h, w)
			p.flip = append(p.flip, elements("delete", w, gone)...)
			late = append(late, elements("add", w, added)...)
		}
	}
	p.flip = append(p.flip, late...)
	p.collect = garbage(have, want)
	return p
}

func contents(o object) []statement {
	if o.Kind == fabric.ChainObject {
		return rules(o)
	}
	return elements("add", o, o.Lines)
}

// sameHook tells whether two base chains differ in their policy at most.
func sameHook(a, b object) bool {
	ah, _, _ := strings.Cut(a.spec, "; policy")
	bh, _, _ := strings.Cut(b.spec, "; policy")
	return ah == bh
}

// exchange is what to delete from and add to a set without ranges. Deleted elements are named by key.
func exchange(have, want object) (gone, added []string) {
	h, w := map[string]bool{}, map[string]bool{}
	for _, l := range have.lines {
		h[l] = true
	}
	for _, l := range want.lines {
		w[l] = true
	}
	for _, l := range have.Lines {
		if !w[canonicalLine(l)] {
			key, _, _ := strings.Cut(l, " : ")
			gone = append(gone, key)
		}
	}
	for _, l := range want.Lines {
		if !h[canonicalLine(l)] {
			added = append(added, l)
		}
	}
	return gone, added
}

// flushUsers empties the chains that refer to a set.
func flushUsers(have ruleset, set object) []statement {
	var out []statement
	for _, h := range have {
		if h.Kind == fabric.ChainObject && refers(h, set.Name) {
			out = append(out, object1("flush", h.Kind, h.Name))
		}
	}
	return out
}

// refill gives the chains that flushUsers emptied their rules back, where they are not changed anyway.
func refill(have, want ruleset, objects []fabric.Object, set object) []statement {
	var out []statement
	for _, o := range objects {
		w := want[objectKey{o.Kind, o.Name}]
		if h, ok := have[w.key()]; ok && w.Kind == fabric.ChainObject && h.equal(w) && refers(h, set.Name) {
			out = append(out, rules(w)...)
		}
	}
	return out
}

func refers(chain object, set string) bool {
	for _, l := range chain.lines {
		for _, w := range strings.Fields(l) {
			if w == "@"+set {
				return true
			}
		}
	}
	return false
}

// garbage deletes what is not wanted: rules first, then maps, which refer to chains, then chains.
func garbage(have, want ruleset) []statement {
	var flush, sets, chains, counters []statement
	for k, h := range have {
		if _, ok := want[k]; ok {
			continue
		}
		switch k.kind {
		case fabric.ChainObject:
			flush = append(flush, object1("flush", h.Kind, h.Name))
			chains = append(chains, object1("delete", h.Kind, h.Name))
		case fabric.CounterObject:
			counters = append(counters, object1("delete", h.Kind, h.Name))
		default:
			sets = append(sets, object1("delete", h.Kind, h.Name))
		}
	}
	out := append(flush, sets...)
	out = append(out, chains...)
	return append(out, counters...)
}
