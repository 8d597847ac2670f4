// Package diagram compiles an ordered list of rules on four fields to a cost-bounded decision diagram:
// a tree with shared nodes whose inner nodes look one field up in a disjoint interval map and whose
// leaves are short linear lists. First match wins in the list; the diagram gives the same verdict.
//
// The costs are nanoseconds measured of nftables: they steer which field is cut and where a linear
// list is the better answer; they never change a verdict.
package diagram

import (
	"sort"

	"vauban.dev/fabric/internal/interval"
)

// Field is what a rule tests.
type Field uint8

const (
	Source Field = iota
	Destination
	SourcePort
	DestinationPort
	fields
)

// top is the largest value of a field.
func (f Field) top() uint32 {
	if f >= SourcePort {
		return 1<<16 - 1
	}
	return interval.Max
}

// Values of the four fields: of a rule (a nil set is any) or, by Packet, of a packet.
type Values [fields]interval.Set

// Packet has one value a field.
type Packet [fields]uint32

// Rule matches a packet where each field's set has the packet's value.
type Rule struct {
	Match Values // nil: any value
	Allow bool
}

// Node of a diagram: exactly one of a verdict, a list (Rules) and a lookup (Cases).
type Node struct {
	Verdict Verdict
	Rules   []Line
	// Cases are what Field is looked up in: disjoint, ascending; what is in none goes to Else.
	Field Field
	Cases []Case
	Else  *Node

	id    int
	depth int
	cost  float64
}

// Verdict of a node: Undecided is the zero value, of nodes that look further.
type Verdict uint8

const (
	Undecided Verdict = iota
	Allow
	Deny
)

// Line of a leaf: where Match holds, Allow decides, or Next if there is one. The last line of a leaf
// always matches.
type Line struct {
	Match Values
	Allow bool
	Next  *Node
}

// Case of a lookup.
type Case struct {
	interval.Interval
	Next *Node
}

// Depth is the longest way from the node to a verdict, in nodes.
func (n *Node) Depth() int { return n.depth }

// Cost estimates the nanoseconds of the most expensive way.
func (n *Node) Cost() float64 { return n.cost }

// Allows is the diagram's verdict on a packet.
func (n *Node) Allows(p Packet) bool {
	for n.Verdict == Undecided {
		if n.Rules == nil {
			n = n.look(p[n.Field])
			continue
		}
		line := n.first(p)
		if line == nil {
			return false
		}
		if line.Next == nil {
			return line.Allow
		}
		n = line.Next
	}
	return n.Verdict == Allow
}

func (n *Node) look(v uint32) *Node {
	i := sort.Search(len(n.Cases), func(i int) bool { return n.Cases[i].Hi >= v })
	if i < len(n.Cases) && n.Cases[i].Lo <= v {
		return n.Cases[i].Next
	}
	return n.Else
}

func (n *Node) first(p Packet) *Line {
	for i := range n.Rules {
		if n.Rules[i].Match.has(p) {
			return &n.Rules[i]
		}
	}
	return nil
}

func (v Values) has(p Packet) bool {
	for f, set := range v {
		if set != nil && !set.Contains(p[f]) {
			return false
		}
	}
	return true
}
