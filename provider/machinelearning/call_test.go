package machinelearning

import (
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/ml"
)

// A node that is called is of use, and is given work, when a call has got through to it; what a compute has in its network's
// group goes with its last node.
func TestCalledNodes(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: "PT60S"}, -1)
	y.inbound, y.closed = "203.0.113.9:44224", true
	y.submit("job")
	y.reconcile()
	y.act() // it registers
	y.reconcile()
	y.act()
	if s := y.states(); s != "starting" {
		t.Errorf("a node that cannot be called is %q", s)
	}
	y.closed = false
	y.settle()
	if r := y.run("job"); r.Status != ml.Completed {
		t.Errorf("the job is %s", r.Status)
	}
	// From now on no call gets through: a job stays, then fails, and says why.
	y.closed = true
	y.submit("lost")
	y.reconcile()
	y.act()
	if r := y.run("lost"); r.Status != ml.Queued {
		t.Errorf("a job that was not handed over is %s", r.Status)
	}
	y.steady.t = y.steady.t.Add(missTime + time.Second)
	y.reconcile()
	r := y.run("lost")
	if r.Status != ml.Failed || r.Error == nil || !strings.Contains(r.Error.Message, "44224") || !strings.Contains(r.Error.Message, "DenyAll of nsg1") {
		t.Errorf("the job is %s: %v", r.Status, r.Error)
	}
	if e := y.errors(); !strings.Contains(e, "NodeNotReachable") {
		t.Errorf("the cluster says %q", e)
	}
	y.closed = false
	y.reconcile()
	if y.reconcile(); y.entries != 1 || len(y.nodes()) > 0 {
		t.Errorf("the load balancer was removed %d times; nodes %q", y.entries, y.states())
	}
}

// A grant is for one piece of work, of the node that has it, for a while.
func TestGrants(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := newNodeSet(func() time.Time { return now })
	s.grant("a", "x")
	if s.granted("b", "x") || s.granted("a", "y") || !s.granted("a", "x") {
		t.Error("a grant is another's")
	}
	now = now.Add(grantTime)
	if s.granted("a", "x") {
		t.Error("a grant counts for ever")
	}
	s.grant("a", "z")
	if s.spend("a"); s.granted("a", "z") {
		t.Error("a grant counts twice")
	}
}

// What a policy, lock or quota keeps from being made in the network's group keeps nodes from being made.
func TestForbiddenEntry(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: "PT60S"}, -1)
	y.forbids = arm.Errorf(403, "RequestDisallowedByPolicy", "Resource 'x' was disallowed by policy.")
	y.submit("job")
	y.reconcile()
	if len(y.nodes()) > 0 || !strings.Contains(y.errors(), "RequestDisallowedByPolicy") {
		t.Errorf("nodes %q, errors %q", y.states(), y.errors())
	}
	y.forbids = nil
	y.settle()
	if r := y.run("job"); r.Status != ml.Completed {
		t.Errorf("the job is %s", r.Status)
	}
}
