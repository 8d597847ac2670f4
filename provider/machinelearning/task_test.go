package machinelearning

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
)

var update = flag.Bool("update", false, "write the golden files")

// put validates and admits a job as a PUT does.
func (y *yard) put(name string, job Job) error {
	y.t.Helper()
	ctx := authz.NewContext(y.t.Context(), authz.Principal{ObjectID: "alice-id", TenantID: "tenant", Name: "alice@contoso.com"})
	return y.engine.Update(ctx, func(tx *rp.Tx) error {
		j := &rp.Resource[Job]{ID: arm.MustParseID(yardSpace + "/jobs/" + name), State: arm.Succeeded, Properties: job}
		if err := validateJob(rp.Create, j, nil); err != nil {
			return err
		}
		return errors.Join(y.p.admitJob(ctx, tx, rp.Create, j, nil), rp.Save(tx, j))
	})
}

// given is the task that a node gets.
func (y *yard) given() compute.Task {
	y.t.Helper()
	y.reconcile()
	y.reconcile()
	y.act()
	reply, err := y.p.Queue().Polled(y.t.Context(), last(y.starts), batch.Poll{State: compute.NodeIdle})
	if err != nil || reply.Assignment == nil {
		y.t.Fatalf("%+v, %v", reply, err)
	}
	return reply.Assignment.Task
}

// TestTask holds the document that a node gets for a job against a golden one, and to what the node takes.
func TestTask(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.assets()
	y.p.Access = everything{}
	err := y.put("train-1", Job{
		JobType: "Command", Experiment: "e", DisplayName: "the first", Environment: yardSpace + "/environments/py/versions/1", ComputeID: yardCluster,
		CodeID:  yardSpace + "/codes/c/versions/1",
		Command: "python train.py --data ${{inputs.data}} --table ${{ inputs.table }} --c ${{inputs.c}} --model ${{inputs.model}} --out ${{outputs.out}} ${{outputs.kept}} ${{inputs.data}} $HOME ${{search_space.x}}",
		Env:     StringMap{"GREETING": "hello", "AZUREML_LOCATION": "mine"},
		Inputs: map[string]JobInput{
			"data":   {Type: "uri_folder", URI: "azureml:d:1"},
			"table":  {Type: "uri_file", URI: "https://partner.blob.core.windows.net/open/a/t 1.csv"},
			"model":  {Type: "mlflow_model", URI: "azureml:d:1"},
			"secret": {Type: "uri_folder", URI: "azureml://datastores/keyed/paths/x"},
			"c":      {Type: "literal", Value: "1.0; rm -rf ~"},
		},
		Outputs: map[string]JobOutput{
			"out":  {Type: "uri_folder"},
			"kept": {Type: "uri_folder", URI: "azureml://datastores/blobs/paths/${{name}}/${{output_name}}/"},
		},
		Limits: &JobLimits{Timeout: "PT1H30M"},
	})
	if err != nil {
		t.Fatal(err)
	}
	task := y.given()
	if err := task.Validate(); err != nil {
		t.Errorf("the node does not take it: %v", err)
	}
	for field, text := range map[string]any{"env": task.Env, "command": task.Command, "inputs": task.Inputs, "outputs": task.Outputs} {
		b, err := json.Marshal(text)
		if err != nil || bytes.Contains(b, []byte(`"token`)) {
			t.Errorf("the token stands in %s: %s, %v", field, b, err)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(task); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(b.String(), y.run("train-1").ExperimentID, "EXPERIMENT")
	golden := filepath.Join("testdata", "task.json")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("the task (-want +got):\n%s", d)
	}
}

// TestTaskNames: a job's name may be longer than that of a file, and is not used twice.
func TestTaskNames(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	long := strings.Repeat("n", 255)
	y.submit(long)
	task := y.given()
	if !compute.ValidID(task.ID) || task.Env["AZUREML_RUN_ID"] != long {
		t.Errorf("%s of %s", task.ID, task.Env["AZUREML_RUN_ID"])
	}
	y.cancel(long)
	y.settle()
	y.is("the job", string(y.run(long).Status), "Canceled")
	y.update(func(tx *rp.Tx) error { return rp.Remove(tx, arm.MustParseID(yardSpace+"/jobs/"+long)) })
	err := y.put(long, Job{JobType: "Command", Command: "true", Environment: "azureml:py:1", ComputeID: "cpu", Experiment: "e"})
	if e := arm.AsError(err); e == nil || e.Status != 409 || !strings.Contains(e.Message, "not used twice") {
		t.Errorf("the name of a deleted job: %v", err)
	}
}

// TestInputThatGoes: a datastore that went between submission and dispatch fails the run.
func TestInputThatGoes(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.assets()
	err := y.put("job", Job{JobType: "Command", Command: "true", Environment: "azureml:py:1", ComputeID: "cpu", Experiment: "e",
		Inputs: map[string]JobInput{"x": {Type: "uri_folder", URI: "azureml://datastores/keyed/paths/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	y.update(func(tx *rp.Tx) error { return rp.Remove(tx, arm.MustParseID(yardSpace+"/datastores/keyed")) })
	y.settle()
	if run := y.run("job"); run.Status != "Failed" || !strings.Contains(run.Error.Message, "no datastore 'keyed'") {
		t.Errorf("%+v %+v", run, run.Error)
	}
}
