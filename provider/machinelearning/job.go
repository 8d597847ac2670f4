package machinelearning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/internal/isotime"
	"vauban.dev/ml"
)

// Job is the properties of a job. Only command jobs are run here.
type Job struct {
	JobType     string    `json:"jobType"`
	DisplayName string    `json:"displayName,omitempty"`
	Experiment  string    `json:"experimentName,omitempty"`
	Description string    `json:"description,omitempty"`
	Tags        StringMap `json:"tags"`
	Attributes  StringMap `json:"properties"`
	IsArchived  bool      `json:"isArchived"`
	ComputeID   string    `json:"computeId,omitempty"`

	CodeID      string               `json:"codeId,omitempty"`
	Command     string               `json:"command,omitempty"`
	Environment string               `json:"environmentId,omitempty"`
	Env         StringMap            `json:"environmentVariables,omitempty"`
	Inputs      map[string]JobInput  `json:"inputs,omitempty"`
	Outputs     map[string]JobOutput `json:"outputs,omitempty"`
	Limits      *JobLimits           `json:"limits,omitempty"`
	Resources   *JobResources        `json:"resources,omitempty"`
	Identity    json.RawMessage      `json:"identity,omitempty"`

	Status   string             `json:"status,omitempty" rp:"readonly"`
	Services map[string]Service `json:"services,omitempty" rp:"readonly"`
}

// JobInput is one input: a literal, or data by its URI.
type JobInput struct {
	Type        string `json:"jobInputType"`
	Value       string `json:"value,omitempty"`
	URI         string `json:"uri,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Description string `json:"description,omitempty"`
}

// assets is the kind of asset that the input means by azureml:NAME:VERSION.
func (in JobInput) assets() string {
	if strings.HasSuffix(in.Type, "_model") {
		return "models"
	}
	return "data"
}

// JobOutput is one output: a directory that is uploaded when the command has ended.
type JobOutput struct {
	Type        string `json:"jobOutputType"`
	URI         string `json:"uri,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Description string `json:"description,omitempty"`
}

// JobLimits of a command job.
type JobLimits struct {
	Type    string `json:"jobLimitsType"`
	Timeout string `json:"timeout,omitempty"`
}

// JobResources a job asks for.
type JobResources struct {
	Instances  int             `json:"instanceCount,omitempty"`
	VMSize     string          `json:"instanceType,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
	ShmSize    string          `json:"shmSize,omitempty"`
}

// Service is an endpoint of a job: where it is tracked.
type Service struct {
	Type     string `json:"jobServiceType"`
	Endpoint string `json:"endpoint"`
	Port     *int   `json:"port,omitempty"`
	Status   string `json:"status,omitempty"`
}

func (p *Provider) jobType() rp.Registration {
	return rp.Of(rp.Type[Job]{
		Name: JobType, Kind: rp.Proxy, Versions: rp.Versions[Job](versions...), StateProperty: "-", SyncDelete: true,
		NamePattern: `^[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}$`,
		NameRule:    "Job names start with a letter or digit and contain letters, digits, underscores and hyphens, 255 at most.",
		Default: func(_ string, r *rp.Resource[Job]) {
			j := &r.Properties
			fill(&j.Tags, &j.Attributes)
			if j.Experiment == "" {
				j.Experiment = "Default"
			}
			if j.DisplayName == "" {
				j.DisplayName = r.ID.Name()
			}
		},
		Validate: validateJob,
		Admit:    p.admitJob,
		Present:  p.presentJob,
		Release: func(ctx context.Context, tx *rp.Tx, r *rp.Resource[Job]) error {
			run, err := p.runOf(tx, r.ID)
			if err == nil && !run.Status.Terminal() && rp.Removing(ctx).Key() == r.ID.Key() { // with its workspace, it goes as it is
				return arm.Errorf(http.StatusConflict, "UserError", "Job '%s' is %s: cancel it before it is deleted.", r.ID.Name(), run.Status)
			}
			if errors.Is(err, ml.ErrNotFound) {
				return nil
			}
			return err
		},
		Actions: map[string]rp.Action[Job]{"cancel": {Do: p.cancelJob}},
	})
}

// runOf is the run of a job; ml.ErrNotFound.
func (p *Provider) runOf(tx *rp.Tx, job arm.ID) (*ml.Run, error) {
	w, err := rp.Get[Workspace](tx, job.Parent())
	if err != nil {
		return nil, err
	}
	return p.Runs.RunTx(tx, w.Properties.WorkspaceID, job.Name())
}

var reference = regexp.MustCompile(`\$\{\{\s*(inputs|outputs)\.([A-Za-z0-9_]+)\s*\}\}`)

func validateJob(op rp.Op, new, old *rp.Resource[Job]) error {
	j := &new.Properties
	if op == rp.Update {
		same, err := sameWork(j, &old.Properties)
		if err != nil {
			return err
		}
		if !same {
			return arm.Errorf(http.StatusConflict, "UserError", "A job with this name exists and what it runs is immutable: only displayName, description, tags, properties and isArchived can be changed.")
		}
		return nil
	}
	switch {
	case !j.runs():
		return validateOtherJob(new)
	case j.JobType != "Command":
		return userError("properties.jobType '%s' is none of Command, %s.", j.JobType, strings.Join(otherJobs, ", "))
	case strings.TrimSpace(j.Command) == "":
		return userError("properties.command is missing.")
	case j.Environment == "":
		return userError("properties.environmentId is missing.")
	case j.ComputeID == "":
		return userError("properties.computeId is missing: serverless compute is not there yet.")
	case j.Resources != nil && j.Resources.Instances > 1:
		return arm.NotImplemented("properties.resources.instanceCount %d: distributed jobs are not there yet.", j.Resources.Instances)
	}
	// What is accepted here, the node accepts.
	if err := j.skeleton().Validate(); err != nil {
		return userError("The job cannot be run: %s.", strings.TrimPrefix(err.Error(), compute.ErrInvalid.Error()+": "))
	}
	for _, m := range reference.FindAllStringSubmatch(j.Command, -1) {
		_, in := j.Inputs[m[2]]
		_, out := j.Outputs[m[2]]
		if m[1] == "inputs" && !in || m[1] == "outputs" && !out {
			return userError("properties.command names %s, which the job does not have.", m[0])
		}
	}
	for _, name := range sorted(j.Inputs) {
		switch in := j.Inputs[name]; in.Type {
		case "literal":
		case "uri_file", "uri_folder", "custom_model", "mlflow_model":
			if in.URI == "" {
				return userError("properties.inputs.%s needs a uri.", name)
			}
		default:
			return arm.NotImplemented("properties.inputs.%s: jobInputType '%s' is not there yet; literal, uri_file, uri_folder, custom_model and mlflow_model are.", name, in.Type)
		}
	}
	for _, name := range sorted(j.Outputs) {
		switch o := j.Outputs[name]; o.Type {
		case "uri_file", "uri_folder", "custom_model", "mlflow_model":
		default:
			return arm.NotImplemented("properties.outputs.%s: jobOutputType '%s' is not there yet; uri_file, uri_folder, custom_model and mlflow_model are.", name, o.Type)
		}
	}
	if j.Limits != nil && j.Limits.Timeout != "" {
		if _, err := isotime.ParseDuration(j.Limits.Timeout); err != nil {
			return userError("properties.limits.timeout '%s' is not an ISO 8601 duration.", j.Limits.Timeout)
		}
	}
	return nil
}

// sameWork reports whether two jobs run the same: they differ at most in what says how they are shown.
func sameWork(a, b *Job) (bool, error) {
	work := func(j Job) ([]byte, error) {
		j.DisplayName, j.Description, j.IsArchived, j.Tags, j.Attributes = "", "", false, nil, nil
		j.Status, j.Services = "", nil
		return json.Marshal(j)
	}
	x, err := work(*a)
	if err != nil {
		return false, err
	}
	y, err := work(*b)
	return bytes.Equal(x, y), err
}

// skeleton is the task of the job as far as its names go.
func (j *Job) skeleton() *compute.Task {
	const somewhere = "https://account.blob.core.windows.net/container"
	t := &compute.Task{ID: "job", Command: j.Command, Env: j.Env}
	for _, name := range sorted(j.Inputs) {
		t.Inputs = append(t.Inputs, compute.Input{Name: name, File: compute.File{URL: somewhere, Folder: true}})
	}
	for _, name := range sorted(j.Outputs) {
		t.Outputs = append(t.Outputs, compute.Output{Name: name, URL: somewhere})
	}
	return t
}

// admitJob makes the run and puts the task into its cluster's queue, in the job's own transaction.
func (p *Provider) admitJob(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Job]) error {
	j := &new.Properties
	w, err := Get(tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if op == rp.Update {
		return p.renameRun(tx, w, new)
	}
	if !j.runs() {
		return p.admitOtherJob(tx, w, new)
	}
	cluster, err := p.clusterOf(tx, w, j)
	if err != nil {
		return err
	}
	if _, err := p.imageOf(tx, w, j); err != nil {
		return err
	}
	user := ml.User{ObjectID: tx.Caller.ObjectID, TenantID: tx.Caller.TenantID, Name: tx.Caller.Name}
	if err := p.mayUseData(tx, w, j, user); err != nil {
		return err
	}
	guid := w.Properties.WorkspaceID
	experiment, err := p.Runs.EnsureExperimentTx(tx, guid, j.Experiment)
	if err != nil {
		return err
	}
	run := &ml.Run{
		ID: new.ID.Name(), ExperimentID: experiment.ID, Name: j.DisplayName, Type: "azureml.commandjob", Target: cluster.Name(), Status: ml.Queued,
		User: user, Tags: j.Tags,
		Properties: map[string]string{"_azureml.ComputeTargetType": "amlctrain", "ContentSnapshotId": j.CodeID, "azureml.jobId": new.ID.String()},
	}
	if err := p.Runs.CreateRunTx(tx, guid, run); errors.Is(err, ml.ErrExists) {
		return arm.Errorf(http.StatusConflict, "UserError", "A run with the id '%s' already exists in the workspace: the name of a job is not used twice.", run.ID)
	} else if err != nil {
		return err
	}
	t := &task{
		ID: taskID(guid, new.ID.Name()), Workspace: w.ID.String(), GUID: guid, Job: new.ID.String(), Run: run.ID,
		Cluster: cluster.String(), Submitted: tx.Now,
	}
	if err := enqueue(tx, t); err != nil {
		return err
	}
	tx.Wake(cluster)
	return nil
}

// renameRun gives the run of a job its new name and tags; tags of the run's own stay.
func (p *Provider) renameRun(tx *rp.Tx, w *rp.Resource[Workspace], job *rp.Resource[Job]) error {
	_, err := p.Runs.UpdateRunTx(tx, w.Properties.WorkspaceID, job.ID.Name(), func(r *ml.Run) error {
		r.Name = job.Properties.DisplayName
		for k, v := range job.Properties.Tags {
			r.SetTag(k, v)
		}
		return nil
	})
	if errors.Is(err, ml.ErrNotFound) {
		return nil
	}
	return err
}

// mayUseData refuses a job whose data do not exist or are not the submitter's to use.
func (p *Provider) mayUseData(tx *rp.Tx, w *rp.Resource[Workspace], j *Job, user ml.User) error {
	use := func(field, uri, kind string, file, write bool) error {
		if uri == "" {
			return nil
		}
		at, err := resolveURI(tx, w, uri, kind)
		if err == nil && file && at.Path == "" {
			err = userError("The URI '%s' cannot be used: it names a container, no file.", uri)
		}
		if err == nil {
			err = p.mayUse(tx, w, at, user, write)
		}
		if e := arm.AsError(err); e != nil {
			e.Target = field
		}
		return err
	}
	if err := use("properties.codeId", j.CodeID, "codes", false, false); err != nil {
		return err
	}
	for _, name := range sorted(j.Inputs) {
		if in := j.Inputs[name]; in.Type != "literal" {
			if err := use("properties.inputs."+name, in.URI, in.assets(), in.Type == "uri_file", false); err != nil {
				return err
			}
		}
	}
	for _, name := range sorted(j.Outputs) {
		if err := use("properties.outputs."+name, outputURI(j.Outputs[name].URI, name, "run"), "data", false, true); err != nil {
			return err
		}
	}
	return nil
}

// clusterOf is the compute that a job names, by id or by name.
func (p *Provider) clusterOf(tx *rp.Tx, w *rp.Resource[Workspace], j *Job) (arm.ID, error) {
	id, err := arm.ParseID(j.ComputeID)
	if err != nil {
		id, err = arm.ParseID(w.ID.String() + "/computes/" + strings.TrimPrefix(j.ComputeID, "azureml:"))
	}
	if err != nil || !id.Within(w.ID) || id.Type().Key() != strings.ToLower(ComputeType) {
		return arm.ID{}, userError("properties.computeId '%s' is not a compute of this workspace.", j.ComputeID)
	}
	c, err := rp.Get[Compute](tx, id)
	if isNotFound(err) {
		return arm.ID{}, userError("properties.computeId: the compute '%s' does not exist in the workspace '%s'.", id.Name(), w.ID.Name())
	}
	if err != nil {
		return arm.ID{}, err
	}
	if !c.Properties.cluster() {
		return arm.ID{}, arm.NotImplemented("properties.computeId: the compute '%s' is of type %s: it is object only, and jobs run on clusters (AmlCompute).", id.Name(), c.Properties.ComputeType)
	}
	if c.State == arm.Deleting || c.State == arm.Failed {
		return arm.ID{}, userError("properties.computeId: the compute '%s' is %s.", id.Name(), c.State)
	}
	return c.ID, nil
}

// imageOf is the image of the job's environment, which the region must have.
func (p *Provider) imageOf(tx *rp.Tx, w *rp.Resource[Workspace], j *Job) (string, error) {
	id, err := assetID(w, j.Environment, "environments")
	if err == nil && !strings.EqualFold(id.Type().Types[1], "environments") {
		err = reason("it is another kind of asset")
	}
	if err != nil {
		return "", userError("properties.environmentId '%s' is neither the id of an environment version of the workspace nor azureml:NAME:VERSION: %v.", j.Environment, err)
	}
	e, err := rp.Get[AssetVersion](tx, id)
	if isNotFound(err) {
		return "", userError("properties.environmentId: the environment '%s' does not exist.", j.Environment)
	}
	if err != nil {
		return "", err
	}
	v := &e.Properties
	if v.Build != nil || v.CondaFile != "" {
		return "", arm.NotImplemented("Environment '%s' has a conda file or a build context: images are not built yet, only those that the region was given can be used.", id.Name())
	}
	if !p.Images[v.Image] {
		return "", userError("Environment '%s': the image '%s' is not in this region. Images are given to it at start (vauban up --image REFERENCE=DIRECTORY).", e.ID, v.Image)
	}
	return v.Image, nil
}

func (p *Provider) presentJob(_ context.Context, tx *rp.Tx, r *rp.Resource[Job]) error {
	w, err := Get(tx, r.ID.Parent())
	if err != nil {
		return err
	}
	j := &r.Properties
	j.Status = string(ml.NotStarted)
	run, err := p.Runs.RunTx(tx, w.Properties.WorkspaceID, r.ID.Name())
	if errors.Is(err, ml.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	j.Status = string(run.Status)
	j.Services = map[string]Service{
		"Tracking": {Type: "Tracking", Endpoint: w.Properties.MLFlowURI + "?"},
		"Studio":   {Type: "Studio", Endpoint: "https://ml.azure.com/runs/" + r.ID.Name() + "?wsid=" + w.ID.String() + "&tid=" + p.TenantID},
	}
	return nil
}

// cancelJob ends a job that waits at once, and asks the node of one that runs.
func (p *Provider) cancelJob(_ context.Context, tx *rp.Tx, r *rp.Resource[Job], _ []byte) (any, error) {
	w, err := Get(tx, r.ID.Parent())
	if err != nil {
		return nil, err
	}
	t, err := getDoc[task](tx, kindTask, taskID(w.Properties.WorkspaceID, r.ID.Name()))
	if isNotFound(err) {
		return &rp.Response{Status: http.StatusOK}, nil // ended already
	}
	if err != nil {
		return nil, err
	}
	if t.Node == "" {
		return &rp.Response{Status: http.StatusOK}, (*queue)(p).finish(tx, t, nil, ml.Canceled, nil)
	}
	t.Canceled = true
	if err := putDoc(tx, kindTask, t.ID, t); err != nil {
		return nil, err
	}
	if err := (*queue)(p).advance(tx, t, ml.CancelRequested); err != nil {
		return nil, err
	}
	// The node is told when this is committed: its cluster's Reconcile wakes who waits.
	return &rp.Response{Status: http.StatusOK}, wakeCluster(tx, t.Cluster)
}
