// Package batch is the protocol between the batch service and the agents on its nodes: JSON over
// HTTPS, each node with a bearer token of its own, which counts only on connections from that node's
// NIC. A node registers, then polls; a poll is heartbeat, lease renewal, request for work and channel
// for signals in one, and is held open until there is something to say. Delivery is at least once:
// a task is offered until the node says that it holds it, a report is repeated until it is answered.
//
// Azure publishes no protocol between Batch and its node agents; this one is ours.
package batch

import (
	"time"

	"vauban.dev/compute"
)

// Register is the first thing that an agent says after each start.
type Register struct {
	Version   string   `json:"version"`
	Isolation []string `json:"isolation,omitempty"` // what holds on this node, for people
}

// Registered is the answer.
type Registered struct {
	PollSeconds int `json:"pollSeconds"` // how long the service holds a poll open at most
}

// Poll says what the node does and asks for more.
type Poll struct {
	State compute.NodeState `json:"state"` // idle or running
	// Held are the tasks that the node has and whose end was not acknowledged: their leases are
	// renewed.
	Held []Held `json:"held,omitempty"`
	// Known are the ids of signals the node has seen: they do not end the wait again.
	Known []string `json:"known,omitempty"`
	// Grant is of the service's last call (Call): a node that is called is given work for it alone.
	Grant string `json:"grant,omitempty"`
	// WaitSeconds the service may hold the poll open; 0 answers at once.
	WaitSeconds int `json:"waitSeconds"`
}

// Held names one attempt at a task.
type Held struct {
	Task    string            `json:"task"`
	Attempt int               `json:"attempt"`
	State   compute.TaskState `json:"state"`
}

// Reply to a poll. An empty one means: ask again.
type Reply struct {
	Assignment *Assignment `json:"assignment,omitempty"`
	Signals    []Signal    `json:"signals,omitempty"`
	// Lost are held attempts that are no longer this node's: it stops them and reports nothing.
	Lost []Held `json:"lost,omitempty"`
}

// Assignment is one attempt at a task, leased to the node.
type Assignment struct {
	Task    compute.Task `json:"task"`
	Attempt int          `json:"attempt"` // from 1
}

// SignalKind of a Signal.
type SignalKind string

const (
	Cancel  SignalKind = "cancel"  // end Task; report canceled
	Stop    SignalKind = "stop"    // end everything, report, exit: the node is deallocated
	Preempt SignalKind = "preempt" // as Stop, tasks fail as preempted
	Leave   SignalKind = "leave"   // finish what runs, take nothing new, then exit
)

// Signal is a wish that stands until the service withdraws it.
type Signal struct {
	ID    string           `json:"id"`
	Kind  SignalKind       `json:"kind"`
	Task  string           `json:"task,omitempty"` // Cancel
	Grace compute.Duration `json:"grace,omitempty"`
}

// Limits of the protocol.
const (
	MaxBody     = 1 << 20          // of a request
	MaxReply    = 16 << 20         // of an answer: a task with its list of files
	MaxPoll     = 60 * time.Second // longest wait that the service grants
	DefaultPoll = 20 * time.Second
)
