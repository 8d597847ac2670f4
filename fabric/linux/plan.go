package linux

import (
	"fmt"
	"strings"

	"vauban.dev/fabric"
)

// plan turns the table of a namespace into another, in this order: prepare adds what nothing refers to
// yet, flip makes it the law in one transaction, collect deletes what nobody can be on any more. Objects
// that stay are not touched: counters keep their values.
type plan struct {
	prepare []statement
	flip    []statement
	collect []statement
	live    bool // there are base chains already
}

// statement is one command of nft.
type statement struct {
	verb   verb
	object object
	lines  []string // of an object, for addRules and addElements
	size   int      // an upper estimate of its netlink messages, in bytes
}

type verb uint8

const (
	addTable verb = iota
	declareObject
	addRules
	addElements
	flushObject
	removeObject
)

// text is the statement as the nft program takes it.
func (st statement) text() string {
	o := st.object
	object := fmt.Sprintf("%s %s %s", o.Kind, table, o.Name)
	switch st.verb {
	case addTable:
		return "add table " + table
	case addRules:
		return fmt.Sprintf("add rule %s %s %s", table, o.Name, st.lines[0])
	case addElements:
		return fmt.Sprintf("add element %s %s { %s }", table, o.Name, strings.Join(st.lines, ", "))
	case flushObject:
		return "flush " + object
	case removeObject:
		return "delete " + object
	}
	if len(o.Spec) == 0 {
		return "add " + object
	}
	return "add " + object + " { " + strings.TrimRight(strings.Join(o.Spec, "; "), "; ") + "; }"
}

const table = "inet " + fabric.TableName

// Estimates of netlink messages, measured with nft 1.0.6 and rounded up.
const (
	objectSize  = 200
	ruleSize    = 1200
	elementSize = 220
	// elementsPerStatement keeps a statement small enough to be split between transactions.
	elementsPerStatement = 250
)

// newPlan computes the plan from have, as the kernel listed it, to staged objects. It is false when an object
// that never changes under its name has been changed by somebody: then there is nothing to build on.
func newPlan(have, want ruleset, objects []fabric.Object) (plan, bool) {
	var p plan
	for _, o := range objects {
		w := want[objectKey{o.Kind, o.Name}]
		h, exists := have[w.key()]
		switch {
		case exists && h.equal(w):
		case exists && !keepsName(o):
			return plan{}, false
		case !exists && !w.base():
			p.prepare = append(p.prepare, declare(w))
			p.prepare = append(p.prepare, contents(w)...)
		case exists && h.spec != w.spec:
			p.flip = append(p.flip, command(flushObject, w), command(removeObject, w), declare(w))
			p.flip = append(p.flip, contents(w)...)
		case exists:
			p.flip = append(p.flip, command(flushObject, w))
			p.flip = append(p.flip, contents(w)...)
		default:
			p.flip = append(p.flip, declare(w))
			p.flip = append(p.flip, contents(w)...)
		}
	}
	// A base chain that goes must go with the flip: it still judges.
	var flushes, sets, chains, counters []statement
	for k, h := range have {
		p.live = p.live || h.base()
		if _, ok := want[k]; ok {
			continue
		}
		switch {
		case h.base():
			p.flip = append(p.flip, command(flushObject, h), command(removeObject, h))
		case k.kind == fabric.ChainObject:
			flushes = append(flushes, command(flushObject, h))
			chains = append(chains, command(removeObject, h))
		case k.kind == fabric.CounterObject:
			counters = append(counters, command(removeObject, h))
		default:
			sets = append(sets, command(removeObject, h))
		}
	}
	// Rules refer to sets, maps to chains, and both to counters.
	for _, part := range [][]statement{flushes, sets, chains, counters} {
		p.collect = append(p.collect, part...)
	}
	return p, true
}

func command(v verb, o object) statement { return statement{verb: v, object: o, size: objectSize} }

func declare(o object) statement { return command(declareObject, o) }

func contents(o object) []statement {
	switch o.Kind {
	case fabric.ChainObject:
		return rules(o)
	case fabric.SetObject, fabric.MapObject:
		return elements(o)
	}
	return nil
}

func rules(o object) []statement {
	out := make([]statement, 0, len(o.Lines))
	for _, l := range o.Lines {
		out = append(out, statement{verb: addRules, object: o, lines: []string{l}, size: ruleSize + strings.Count(l, ",")*elementSize})
	}
	return out
}

func elements(o object) []statement {
	var out []statement
	for lines := o.Lines; len(lines) > 0; {
		n := min(len(lines), elementsPerStatement)
		out = append(out, statement{verb: addElements, object: o, lines: lines[:n], size: objectSize + n*elementSize})
		lines = lines[n:]
	}
	return out
}
