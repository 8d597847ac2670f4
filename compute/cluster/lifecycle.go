package cluster

import (
	"errors"
	"fmt"

	"vauban.dev/compute"
)

// Event in a node's life.
type Event string

const (
	Provisioned Event = "provisioned" // its NIC is there and its agent was started
	Registered  Event = "registered"  // its agent has called; again after an agent's restart
	TookTask    Event = "tookTask"
	EndedTask   Event = "endedTask"
	ToldToLeave Event = "toldToLeave"
	Preempted   Event = "preempted"
	Lost        Event = "lost" // did not come up in time, or is no longer heard
)

// ErrTransition is what Next wraps.
var ErrTransition = errors.New("a node in this state cannot see this event")

var transitions = map[compute.NodeState]map[Event]compute.NodeState{
	compute.NodeCreating: {Provisioned: compute.NodeStarting, ToldToLeave: compute.NodeLeaving, Lost: compute.NodeUnusable},
	compute.NodeStarting: {Registered: compute.NodeIdle, ToldToLeave: compute.NodeLeaving, Preempted: compute.NodePreempted, Lost: compute.NodeUnusable},
	compute.NodeIdle: {Registered: compute.NodeIdle, TookTask: compute.NodeRunning, ToldToLeave: compute.NodeLeaving,
		Preempted: compute.NodePreempted, Lost: compute.NodeUnusable},
	compute.NodeRunning: {Registered: compute.NodeRunning, EndedTask: compute.NodeIdle, ToldToLeave: compute.NodeLeaving,
		Preempted: compute.NodePreempted, Lost: compute.NodeUnusable},
	compute.NodeLeaving:   {Registered: compute.NodeLeaving, EndedTask: compute.NodeLeaving, ToldToLeave: compute.NodeLeaving, Lost: compute.NodeLeaving},
	compute.NodePreempted: {EndedTask: compute.NodePreempted, ToldToLeave: compute.NodeLeaving, Lost: compute.NodePreempted},
	// A node that is heard again is of use again.
	compute.NodeUnusable: {Registered: compute.NodeIdle, ToldToLeave: compute.NodeLeaving, Lost: compute.NodeUnusable},
}

// Next is the state after an event. Errors: ErrTransition.
func Next(s compute.NodeState, e Event) (compute.NodeState, error) {
	if to, ok := transitions[s][e]; ok {
		return to, nil
	}
	return s, fmt.Errorf("%w: %s, %s", ErrTransition, s, e)
}
