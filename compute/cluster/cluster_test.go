package cluster_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vauban.dev/compute"
	"vauban.dev/compute/cluster"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	const idle = 2 * time.Minute
	node := func(id string, s compute.NodeState, since time.Duration) cluster.Node {
		return cluster.Node{ID: id, State: s, Since: now.Add(-since)}
	}
	nodes := func(n ...cluster.Node) []cluster.Node { return n }
	for _, c := range []struct {
		name string
		in   cluster.State
		want cluster.Decision
	}{
		{"nothing", cluster.State{Max: 4, IdleTimeout: idle}, cluster.Decision{}},
		{"a task, no node", cluster.State{Max: 4, IdleTimeout: idle, Queued: 1}, cluster.Decision{Allocate: 1}},
		{"more tasks than nodes may be", cluster.State{Max: 4, IdleTimeout: idle, Queued: 9}, cluster.Decision{Allocate: 4}},
		{"a node is starting for it", cluster.State{Max: 4, IdleTimeout: idle, Queued: 1, Nodes: nodes(node("a", compute.NodeStarting, 0))}, cluster.Decision{}},
		{"an idle node takes it", cluster.State{Max: 4, IdleTimeout: idle, Queued: 1, Nodes: nodes(node("a", compute.NodeIdle, time.Hour))}, cluster.Decision{}},
		{"the node is busy", cluster.State{Max: 4, IdleTimeout: idle, Queued: 1, Nodes: nodes(node("a", compute.NodeRunning, time.Hour))}, cluster.Decision{Allocate: 1}},
		{"minimum", cluster.State{Min: 2, Max: 4}, cluster.Decision{Allocate: 2}},
		{"idle, not long", cluster.State{Max: 4, IdleTimeout: idle, Nodes: nodes(node("a", compute.NodeIdle, time.Minute))}, cluster.Decision{Next: time.Minute}},
		{"idle for long", cluster.State{Max: 4, IdleTimeout: idle, Nodes: nodes(node("a", compute.NodeIdle, 2*time.Minute), node("b", compute.NodeIdle, time.Minute))},
			cluster.Decision{Deallocate: []string{"a"}, Next: time.Minute}},
		{"idle above the minimum", cluster.State{Min: 1, Max: 4, Nodes: nodes(node("a", compute.NodeIdle, time.Hour), node("b", compute.NodeRunning, time.Hour))},
			cluster.Decision{Deallocate: []string{"a"}}},
		{"the minimum stays", cluster.State{Min: 1, Max: 4, Nodes: nodes(node("a", compute.NodeIdle, time.Hour))}, cluster.Decision{}},
		{"maximum lowered", cluster.State{Max: 1, IdleTimeout: time.Hour, Nodes: nodes(node("a", compute.NodeIdle, 2*time.Second), node("b", compute.NodeIdle, time.Second))},
			cluster.Decision{Deallocate: []string{"a"}, Next: time.Hour - time.Second}},
		{"running ones stay", cluster.State{Max: 1, Nodes: nodes(node("a", compute.NodeRunning, time.Hour), node("b", compute.NodeRunning, time.Hour))}, cluster.Decision{}},
		{"unusable is replaced", cluster.State{Max: 4, IdleTimeout: idle, Queued: 1, Nodes: nodes(node("a", compute.NodeUnusable, 0))}, cluster.Decision{Allocate: 1}},
	} {
		c.in.Now = now
		if d := cmp.Diff(c.want, cluster.Decide(c.in)); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
	}
}

// TestDecideSettles: with decisions carried out, every cluster comes to rest with a node for each task where
// its bounds allow, and no node that has work is ever taken away.
func TestDecideSettles(t *testing.T) {
	states := []compute.NodeState{compute.NodeCreating, compute.NodeStarting, compute.NodeIdle, compute.NodeRunning, compute.NodeLeaving, compute.NodeUnusable, compute.NodePreempted}
	rapid.Check(t, func(t *rapid.T) {
		s := cluster.State{Now: now, IdleTimeout: time.Minute, Queued: rapid.IntRange(0, 8).Draw(t, "queued")}
		s.Min = rapid.IntRange(0, 3).Draw(t, "min")
		s.Max = s.Min + rapid.IntRange(0, 5).Draw(t, "more")
		running := 0
		for i := range rapid.IntRange(0, 8).Draw(t, "nodes") {
			n := cluster.Node{ID: fmt.Sprint(i), State: rapid.SampledFrom(states).Draw(t, "state")}
			n.Since = now.Add(-time.Duration(rapid.IntRange(0, 120).Draw(t, "since")) * time.Second)
			if n.State == compute.NodeRunning {
				running++
			}
			s.Nodes = append(s.Nodes, n)
		}
		for i := range 20 {
			s = carryOut(t, s, cluster.Decide(s), i)
		}
		if d := cluster.Decide(s); d.Allocate > 0 || len(d.Deallocate) > 0 {
			t.Fatalf("does not settle: %+v of %+v", d, s)
		}
		if want := max(min(max(running+s.Queued, s.Min), s.Max), running); len(s.Nodes) < want || len(s.Nodes) > max(want, running+s.Queued) {
			t.Fatalf("%d nodes, want %d: %+v", len(s.Nodes), want, s)
		}
	})
}

// carryOut does what was decided; in the half minute that it takes, nodes come up and leaving ones go.
func carryOut(t *rapid.T, s cluster.State, d cluster.Decision, round int) cluster.State {
	var keep []cluster.Node
	for _, n := range s.Nodes {
		gone := slices.Contains(d.Deallocate, n.ID)
		if gone && n.State == compute.NodeRunning {
			t.Fatalf("takes a running node: %+v of %+v", d, s)
		}
		switch n.State {
		case compute.NodeLeaving, compute.NodeUnusable, compute.NodePreempted:
			continue
		case compute.NodeCreating, compute.NodeStarting:
			n.State, n.Since = compute.NodeIdle, s.Now
		}
		if !gone {
			keep = append(keep, n)
		}
	}
	for i := range d.Allocate {
		keep = append(keep, cluster.Node{ID: fmt.Sprint("n", round, ".", i), State: compute.NodeCreating, Since: s.Now})
	}
	s.Nodes, s.Now = keep, s.Now.Add(30*time.Second)
	return s
}

func TestLifecycle(t *testing.T) {
	s := compute.NodeCreating
	for _, e := range []cluster.Event{cluster.Provisioned, cluster.Registered, cluster.TookTask, cluster.Registered, cluster.EndedTask, cluster.ToldToLeave} {
		next, err := cluster.Next(s, e)
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	if s != compute.NodeLeaving {
		t.Error(s)
	}
	if _, err := cluster.Next(compute.NodeIdle, cluster.EndedTask); !errors.Is(err, cluster.ErrTransition) {
		t.Error(err)
	}
}
