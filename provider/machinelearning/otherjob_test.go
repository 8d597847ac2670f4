package machinelearning_test

import (
	"strings"
	"testing"
)

// TestOtherJobs: jobs that nothing runs are taken, and their runs say so.
func TestOtherJobs(t *testing.T) {
	r := newRig(t)
	one := mlw + "/jobs/sweep" + api
	a := r.Must("PUT", one, `{"properties":{"jobType":"Sweep","objective":{"goal":"Maximize","primaryMetric":"m"},"samplingAlgorithm":{"samplingAlgorithmType":"Random"},"searchSpace":{"x":["uniform",[0,1]]},"trial":{"command":"true","environmentId":"e"}}}`)
	if a.String("properties", "status") != "Failed" || a.String("properties", "objective", "goal") != "Maximize" {
		t.Errorf("job: %s", a.Text)
	}
	run, err := r.runs.Run(t.Context(), r.guid, "sweep")
	if err != nil || run.Error == nil || run.Error.Code != "NotImplemented" || !strings.Contains(run.Error.Message, "Sweep") {
		t.Errorf("run: %+v, %v", run, err)
	}
}
