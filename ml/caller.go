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
	// Run is set for a caller with a run's token: it is held to that run and to the runs made with the
	// token, which MLflow makes for every start_run but the first.
	Run string
}

// Holds reports whether the caller may touch r: anyone without a run token, or the token's own run and
// those that it made.
func (c Caller) Holds(r *Run) bool {
	return c.Run == "" || r.ID == c.Run || r.Creator == c.Run
}

// HoldsModel is Holds for a logged model.
func (c Caller) HoldsModel(m *LoggedModel) bool { return c.Run == "" || m.Creator == c.Run }

// HoldsTrace is Holds for a trace.
func (c Caller) HoldsTrace(t *Trace) bool { return c.Run == "" || t.Creator == c.Run }
