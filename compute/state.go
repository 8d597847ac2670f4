package compute

import "time"

// TaskState is where a task stands on its node. It only moves forward.
type TaskState string

const (
	TaskPreparing  TaskState = "preparing"  // the node has it: downloads, environment
	TaskRunning    TaskState = "running"    // the user's process runs
	TaskFinalizing TaskState = "finalizing" // it has ended; outputs and logs are uploaded
	TaskCompleted  TaskState = "completed"  // exit code 0
	TaskFailed     TaskState = "failed"     // another exit code, or the node could not run it: see Failure
	TaskCanceled   TaskState = "canceled"   // ended by a cancel signal
)

// Final tells whether nothing follows.
func (s TaskState) Final() bool {
	return s == TaskCompleted || s == TaskFailed || s == TaskCanceled
}

// FailureKind says whose fault a failure is.
type FailureKind string

const (
	FailureUser      FailureKind = "UserError"   // exit code, timeout, memory, unknown image, input refused
	FailureSystem    FailureKind = "SystemError" // the node or its container runtime
	FailurePreempted FailureKind = "Preempted"   // the node was taken away
)

// Failure says why a task failed, for a person.
type Failure struct {
	Kind    FailureKind `json:"kind"`
	Code    string      `json:"code"` // UserProcessExited, JobTimeout, OutOfMemory, ImageNotFound, DataDownload, DataUpload, ContainerStart, NodePreempted, NodeStopped, TaskInvalid
	Message string      `json:"message"`
}

// Report is what a node says of a task. Reports of one attempt have rising sequence numbers; the same
// report may arrive twice.
type Report struct {
	Task     string    `json:"task"`
	Attempt  int       `json:"attempt"`
	Seq      int       `json:"seq"`
	State    TaskState `json:"state"`
	Time     time.Time `json:"time"`
	PID      int       `json:"pid,omitempty"`      // running: the user's process as the node sees it
	ExitCode *int      `json:"exitCode,omitempty"` // when the process has ended; 128 + signal if a signal ended it
	Failure  *Failure  `json:"failure,omitempty"`
}

// NodeState as the service counts nodes (Azure ML's nodeStateCounts).
type NodeState string

const (
	NodeCreating  NodeState = "creating" // its NIC is being made
	NodeStarting  NodeState = "starting" // its agent was started and has not registered
	NodeIdle      NodeState = "idle"
	NodeRunning   NodeState = "running"
	NodeLeaving   NodeState = "leaving"
	NodePreempted NodeState = "preempted"
	NodeUnusable  NodeState = "unusable" // did not come up or is no longer heard
)
