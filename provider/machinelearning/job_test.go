package machinelearning_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/ml"
)

func TestWorkspace(t *testing.T) {
	r := newRig(t)
	w := r.Must("GET", mlw+api, "")
	for path, want := range map[string]string{
		"discoveryUrl": "https://westeurope.api.azureml.ms/discovery", "mlFlowTrackingUri": "azureml://westeurope.api.azureml.ms/mlflow/v1.0" + mlw,
		"publicNetworkAccess": "Enabled", "friendlyName": "mlw", "tenantId": "11111111-1111-1111-1111-111111111111",
	} {
		if got := w.String("properties", path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, c := range []string{"acct/azureml", "acct/azureml-blobstore-" + r.guid} {
		if !r.made[c] {
			t.Errorf("container %s was not made", c)
		}
	}
	d := r.Must("GET", mlw+"/datastores/workspaceblobstore"+api, "")
	if d.String("properties", "containerName") != "azureml-blobstore-"+r.guid || d.At("properties", "isDefault") != true {
		t.Errorf("%s", d.Text)
	}
	at := strings.Replace(mlw, "/mlw", "/other", 1) + api
	r.refused(400, "needs properties.storageAccount", "PUT", at, `{"location":"westeurope","properties":{}}`)
	r.refused(400, "is not the id of a", "PUT", at, `{"location":"westeurope","properties":{"storageAccount":"x","keyVault":"`+vault+`"}}`)
	r.refused(400, "does not exist", "PUT", at, `{"location":"westeurope","properties":{"storageAccount":"`+account+`0","keyVault":"`+vault+`"}}`)
	r.refused(400, "none of Enabled, Disabled", "PUT", at, `{"location":"westeurope","properties":{"publicNetworkAccess":"x","storageAccount":"`+account+`","keyVault":"`+vault+`"}}`)
}

// cluster makes a cluster and the environment of jobs.
func (r *rig) cluster() {
	r.t.Helper()
	r.Must("PUT", mlw+"/computes/cpu"+api, `{"location":"westeurope","properties":{"computeType":"AmlCompute","properties":{"vmSize":"STANDARD_DS3_V2","scaleSettings":{"minNodeCount":0,"maxNodeCount":1}}}}`)
	r.Must("PUT", mlw+"/environments/py/versions/1"+api, `{"properties":{"image":"`+image+`"}}`)
}

func (r *rig) submit(name, more string) {
	r.t.Helper()
	r.Must("PUT", mlw+"/jobs/"+name+api, `{"properties":{"jobType":"Command","command":"python train.py --n ${{inputs.n}} --out ${{outputs.m}}","experimentName":"train","environmentId":"azureml:py:1",
		"computeId":"`+mlw+`/computes/cpu","inputs":{"n":{"jobInputType":"literal","value":"3"}},"outputs":{"m":{"jobOutputType":"uri_folder"}}`+more+`}}`)
}

func (r *rig) run(name string) *ml.Run {
	r.t.Helper()
	run, err := r.runs.Run(r.t.Context(), r.guid, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

// node waits for the node that the cluster starts, and has it speak as its agent does.
func (r *rig) node() string {
	r.t.Helper()
	n := receive(r.t, r.started)
	if n.Token == "" || n.Host != "azureml.westeurope.batch.azure.com" || n.NIC != "nic-"+n.ID {
		r.t.Errorf("started with %+v", n)
	}
	if err := r.Queue().Registered(r.t.Context(), n.ID, batch.Register{Isolation: []string{"network namespace"}}); err != nil {
		r.t.Fatal(err)
	}
	return n.ID
}

// assignment polls until the node has one.
func (r *rig) assignment(node string) *batch.Assignment {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for {
		changed := r.Queue().Changed(node)
		reply, err := r.Queue().Polled(ctx, node, batch.Poll{State: compute.NodeIdle})
		if err != nil {
			r.t.Fatal(err)
		}
		if reply.Assignment != nil {
			return reply.Assignment
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatal("no assignment")
		}
	}
}

func (r *rig) report(node string, a *batch.Assignment, seq int, s compute.TaskState, f *compute.Failure) {
	r.t.Helper()
	err := r.Queue().Report(r.t.Context(), node, compute.Report{Task: a.Task.ID, Attempt: a.Attempt, Seq: seq, State: s, Failure: f})
	if err != nil {
		r.t.Fatalf("%s: %v", s, err)
	}
}

func TestJob(t *testing.T) {
	r := newRig(t)
	r.cluster()
	r.submit("job1", "")
	if s := r.Must("GET", mlw+"/jobs/job1"+api, "").String("properties", "status"); s != "Queued" {
		t.Errorf("status %s", s)
	}
	node := r.node()
	a := r.assignment(node)
	if again := r.assignment(node); again.Attempt != a.Attempt || again.Task.ID != a.Task.ID {
		t.Errorf("asked again it gets another assignment: %+v", again)
	}
	task := a.Task
	if task.Command != "python train.py --n 3 --out "+compute.OutputsPath+"/m" || task.Image != image {
		t.Errorf("%+v", task)
	}
	if task.Secrets["MLFLOW_TRACKING_TOKEN"] != "token of job1" || task.Env["MLFLOW_RUN_ID"] != "job1" || task.Env["MLFLOW_EXPERIMENT_NAME"] != "train" {
		t.Errorf("environment %v", task.Env)
	}
	for k, v := range task.Env {
		if strings.Contains(v, "token of") {
			t.Errorf("%s has the token, which belongs to the secrets", k)
		}
	}
	if !strings.HasPrefix(task.Logs.URL, "https://acct.blob.core.windows.net/azureml/ExperimentRun/dcid.job1?sp=rcwl") {
		t.Errorf("logs go to %s", task.Logs.URL)
	}
	for seq, s := range []compute.TaskState{compute.TaskPreparing, compute.TaskRunning, compute.TaskFinalizing} {
		r.report(node, a, seq+1, s, nil)
	}
	r.report(node, a, 2, compute.TaskRunning, nil) // a repeated one changes nothing
	if s := r.run("job1").Status; s != ml.Finalizing {
		t.Errorf("status %s", s)
	}
	r.report(node, a, 4, compute.TaskCompleted, nil)
	if run := r.run("job1"); run.Status != ml.Completed || run.Ended.IsZero() {
		t.Errorf("%+v", run)
	}
	if s := r.Must("GET", mlw+"/jobs/job1"+api, "").String("properties", "status"); s != "Completed" {
		t.Errorf("status %s", s)
	}
	err := r.Queue().Report(t.Context(), node, compute.Report{Task: a.Task.ID, Attempt: a.Attempt, Seq: 5, State: compute.TaskRunning})
	if !errors.Is(err, batch.ErrLost) {
		t.Errorf("a report on what has ended: %v", err)
	}

	// The idle node takes the next job, which fails by its own fault.
	r.submit("job2", "")
	b := r.assignment(node)
	r.report(node, b, 1, compute.TaskFailed, &compute.Failure{Kind: compute.FailureUser, Code: "ExecutionFailed", Message: "exit 1"})
	if run := r.run("job2"); run.Status != ml.Failed || run.Error == nil || run.Error.Code != "UserError" || !strings.Contains(run.Error.Message, "exit 1") {
		t.Errorf("%+v", run)
	}
	r.Must("DELETE", mlw+"/computes/cpu"+api+"&underlyingResourceAction=Delete", "")
	if got := receive(t, r.stopped); got != node {
		t.Errorf("stopped %s", got)
	}
	if len(r.nics) != 0 {
		t.Errorf("addresses are left: %v", r.nics)
	}
}

func TestCancel(t *testing.T) {
	r := newRig(t)
	r.cluster()
	r.submit("runs", "")
	node := r.node()
	a := r.assignment(node)
	r.report(node, a, 1, compute.TaskRunning, nil)
	r.submit("waits", "")
	r.Must("POST", mlw+"/jobs/waits/cancel"+api, "")
	if s := r.run("waits").Status; s != ml.Canceled {
		t.Errorf("a job that waits is %s", s)
	}
	r.refused(409, "cancel it before", "DELETE", mlw+"/jobs/runs"+api, "")
	r.Must("POST", mlw+"/jobs/runs/cancel"+api, "")
	if s := r.run("runs").Status; s != ml.CancelRequested {
		t.Errorf("a job that runs is %s", s)
	}
	reply, err := r.Queue().Polled(t.Context(), node, batch.Poll{State: compute.NodeRunning, Held: []batch.Held{{Task: a.Task.ID, Attempt: a.Attempt, State: compute.TaskRunning}}})
	if err != nil || len(reply.Signals) != 1 || reply.Signals[0].Kind != batch.Cancel || reply.Signals[0].Task != a.Task.ID {
		t.Errorf("%+v, %v", reply, err)
	}
	r.report(node, a, 2, compute.TaskCanceled, nil)
	if s := r.run("runs").Status; s != ml.Canceled {
		t.Errorf("status %s", s)
	}
	r.Must("DELETE", mlw+"/jobs/runs"+api, "")
}

func TestJobRefusals(t *testing.T) {
	r := newRig(t)
	r.cluster()
	r.Must("PUT", mlw+"/environments/strange/versions/1"+api, `{"properties":{"image":"docker.io/library/python"}}`)
	r.Must("PUT", mlw+"/environments/conda/versions/1"+api, `{"properties":{"image":"`+image+`","condaFile":"name: x"}}`)
	job := func(change string) string {
		p := `"jobType":"Command","command":"true","environmentId":"azureml:py:1","computeId":"azureml:cpu"`
		old, new, _ := strings.Cut(change, " → ")
		return `{"properties":{` + strings.Replace(p, old, new, 1) + `}}`
	}
	for change, want := range map[string]string{
		`"Command" → "Dance"`:                                        "400 none of Command",
		`"true" → " "`:                                               "400 command is missing",
		`"true" → "${{inputs.x}}"`:                                   "400 names ${{inputs.x}}",
		`azureml:py:1 → azureml:none:1`:                              "400 does not exist",
		`azureml:py:1 → py`:                                          "400 neither the id",
		`azureml:py:1 → azureml:strange:1`:                           "400 is not in this region",
		`azureml:py:1 → azureml:conda:1`:                             "501 conda file",
		`azureml:cpu → azureml:gpu`:                                  "400 does not exist in the workspace",
		`azureml:cpu → ` + account:                                   "400 not a compute of this workspace",
		`"true" → "true","inputs":{"d":{"jobInputType":"uri_file"}}`: "400 needs a uri",
		`"true" → "true","inputs":{"d":{"jobInputType":"uri_file","uri":"azureml://datastores/none/paths/x"}}`: "400 no datastore",
		`"true" → "true","inputs":{"d":{"jobInputType":"uri_file","uri":"https://www.example.com/x"}}`:         "400 only blob storage",
		`"true" → "true","limits":{"jobLimitsType":"Command","timeout":"soon"}`:                                "400 ISO 8601",
	} {
		code, says, _ := strings.Cut(want, " ")
		status := map[string]int{"400": http.StatusBadRequest, "501": http.StatusNotImplemented}[code]
		r.refused(status, says, "PUT", mlw+"/jobs/bad"+api, job(change))
	}
	if _, err := r.runs.Run(t.Context(), r.guid, "bad"); !errors.Is(err, ml.ErrNotFound) {
		t.Errorf("a refused job left a run: %v", err)
	}
}

// A subnet without addresses is no reason to stop: the cluster says why, and what it waits for stands in the queue.
func TestFullSubnet(t *testing.T) {
	r := newRig(t)
	r.full = true
	r.cluster()
	r.submit("job", "")
	deadline := time.Now().Add(20 * time.Second)
	for {
		c := r.Must("GET", mlw+"/computes/cpu"+api, "")
		if strings.Contains(c.Text, "SubnetIsFull") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s", c.Text)
		}
	}
	if s := r.run("job").Status; s != ml.Queued {
		t.Errorf("status %s", s)
	}
}
