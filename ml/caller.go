package ml

import "vauban.dev/arm"

// Workspace names one workspace to the wire formats.
type Workspace struct {
	GUID string
	ID   arm.ID
	Host string // of the data plane, as clients of this workspace know it
}

// Caller is who makes a request, already authenticated and authorised for the operation.
type Caller struct {
	User
	// Run is set for a caller with a run's token: it is held to that run and the runs below it.
	Run string
}

// Holds reports whether the caller may touch r: anyone without a run token, or the token's own run and
// its children.
func (c Caller) Holds(r *Run) bool {
	return c.Run == "" || r.ID == c.Run || r.Parent == c.Run
}
