package e2e

import (
	"fmt"
	"testing"
)

// TestClockMoves: a region whose clock jumps keeps its nodes and their jobs.
func TestClockMoves(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	gate := w.gate()
	w.submit("first", gate.command("mark-clock"), nil)
	gate.hear()
	before := fmt.Sprint(g.processOf("mark-clock"))
	g.vauban("clock", "+2h")
	g.forget()
	w.submit("second", "true", nil) // the cluster is looked at
	w.completed("second")
	if after := fmt.Sprint(g.processOf("mark-clock")); after != before {
		t.Errorf("the job is process %s, was %s", after, before)
	}
	gate.say("end")
	w.completed("first")
	g.vauban("clock", "+8d") // longer than the signatures that a task was given
	g.forget()
	w.submit("third", "true", nil)
	w.completed("third")
}
