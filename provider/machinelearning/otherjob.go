package machinelearning

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/spec"
	"vauban.dev/ml"
)

// otherJobs are the kinds of jobs that the region takes and does not run: their runs fail at once, and say so. As in
// Azure, the deployment of a job does not wait for its run.
var otherJobs = []string{"AutoML", "Pipeline", "Spark", "Sweep"}

// runs says that nodes run the job.
func (j *Job) runs() bool { return !slices.Contains(otherJobs, j.JobType) }

// validateOtherJob reads a job by Azure's specification of its kind: the members that Job has, of which the rest is kept.
func validateOtherJob(r *rp.Resource[Job]) error {
	b, err := json.Marshal(&r.Properties)
	if err != nil {
		return err
	}
	var properties map[string]any
	if err := json.Unmarshal(b, &properties); err != nil {
		return err
	}
	_, err = spec.Lookup(JobType).Read(map[string]any{"properties": properties}, false)
	var fault *spec.Fault
	if errors.As(err, &fault) && fault.Rule != spec.Missing { // what Job has not is not missing
		return userError("%s: %s.", fault.Path, fault.Text)
	}
	return nil
}

// admitOtherJob notes the run of a job that nothing runs.
func (p *Provider) admitOtherJob(tx *rp.Tx, w *rp.Resource[Workspace], r *rp.Resource[Job]) error {
	j := &r.Properties
	if strings.HasPrefix(j.ComputeID, "/") {
		id, err := arm.ParseID(j.ComputeID)
		if err != nil {
			return userError("properties.computeId '%s' is not the id of a compute.", j.ComputeID)
		}
		if err := rp.Exists(tx, id); err != nil {
			return err
		}
	}
	experiment, err := p.Runs.EnsureExperimentTx(tx, w.Properties.WorkspaceID, j.Experiment)
	if err != nil {
		return err
	}
	run := &ml.Run{
		ID: r.ID.Name(), ExperimentID: experiment.ID, Name: j.DisplayName, Type: "azureml." + j.JobType, Status: ml.Failed, Tags: j.Tags, Ended: tx.Now,
		User:       ml.User{ObjectID: tx.Caller.ObjectID, TenantID: tx.Caller.TenantID, Name: tx.Caller.Name},
		Error:      &ml.RunError{Code: "NotImplemented", Message: "Jobs of type " + j.JobType + " are taken and not run: this region runs Command jobs."},
		Properties: map[string]string{"azureml.jobId": r.ID.String()},
	}
	err = p.Runs.CreateRunTx(tx, w.Properties.WorkspaceID, run)
	if errors.Is(err, ml.ErrExists) {
		return arm.Errorf(http.StatusConflict, "UserError", "A run with the id '%s' already exists in the workspace: the name of a job is not used twice.", run.ID)
	}
	return err
}
