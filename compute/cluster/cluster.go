// Package cluster decides how many nodes a cluster has and which go: a pure function of its settings, its
// queue and its nodes.
package cluster

import (
	"cmp"
	"slices"
	"time"

	"vauban.dev/compute"
)

// State is what a decision looks at.
type State struct {
	Min, Max    int
	IdleTimeout time.Duration // how long a node may be idle before it goes
	Queued      int           // tasks that no node has
	Nodes       []Node
	Now         time.Time
}

// Node of the cluster; Since is when it entered its state.
type Node struct {
	ID    string
	State compute.NodeState
	Since time.Time
}

// Decision says what to do now, and when to ask again at the latest for the sake of time alone.
type Decision struct {
	Allocate   int
	Deallocate []string
	Next       time.Duration // 0: nothing happens by time
}

// Decide: a node for each queued task that no idle or coming node can take, never more than Max and never
// fewer than Min; nodes that have been idle for longer than IdleTimeout go, the longest idle first. Nodes
// that are unusable, preempted or leaving do not count as there.
func Decide(s State) Decision {
	var idle []Node
	there, coming := 0, 0
	for _, n := range s.Nodes {
		switch n.State {
		case compute.NodeIdle:
			idle = append(idle, n)
			there++
		case compute.NodeRunning:
			there++
		case compute.NodeCreating, compute.NodeStarting:
			coming++
		}
	}
	have := there + coming
	var d Decision
	if free := len(idle) + coming; s.Queued > free {
		d.Allocate = s.Queued - free
	}
	d.Allocate = min(max(d.Allocate, s.Min-have), s.Max-have)
	if d.Allocate > 0 {
		return d
	}
	d.Allocate = 0
	slices.SortFunc(idle, func(a, b Node) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	surplus := have - s.Max // after Max was lowered: idle nodes go at once
	keep := max(0, s.Queued-coming)
	for _, n := range idle {
		age := s.Now.Sub(n.Since)
		switch {
		case have-len(d.Deallocate) <= s.Min, len(idle)-len(d.Deallocate) <= keep:
		case len(d.Deallocate) < surplus || age >= s.IdleTimeout:
			d.Deallocate = append(d.Deallocate, n.ID)
		case d.Next == 0 || s.IdleTimeout-age < d.Next:
			d.Next = s.IdleTimeout - age
		}
	}
	return d
}
