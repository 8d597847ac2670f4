package machinelearning

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
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
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Job]) error {
			w, err := Get(tx, r.ID.Parent())
			if err != nil {
				return err
			}
			run, err := p.Runs.RunTx(tx, w.Properties.WorkspaceID, r.ID.Name())
			if err == nil && !run.Status.Terminal() && w.State != arm.Deleting {
				return arm.Errorf(http.StatusConflict, "UserError", "Job '%s' is %s: cancel it before it is deleted.", r.ID.Name(), run.Status)
			}
			return nil
		},
		Actions: map[string]rp.Action[Job]{"cancel": {Do: p.cancelJob}},
	})
}

var reference = regexp.MustCompile(`\$\{\{\s*(inputs|outputs)\.([A-Za-z0-9_]+)\s*\}\}`)

func validateJob(op rp.Op, new, old *rp.Resource[Job]) error {
	j := &new.Properties
	if op == rp.Update {
		o := &old.Properties
		if o.Command != j.Command || o.CodeID != j.CodeID || o.ComputeID != j.ComputeID || o.Environment != j.Environment {
			return arm.Errorf(http.StatusConflict, "UserError", "A job with this name exists and what it runs is immutable: only displayName, description, tags, properties and isArchived can be changed.")
		}
		return nil
	}
	switch {
	case j.JobType != "Command":
		return arm.NotImplemented("properties.jobType '%s': this version runs Command jobs only.", j.JobType)
	case strings.TrimSpace(j.Command) == "":
		return userError("properties.command is missing.")
	case j.Environment == "":
		return userError("properties.environmentId is missing.")
	case j.ComputeID == "":
		return userError("properties.computeId is missing: serverless compute is not there yet.")
	case j.Resources != nil && j.Resources.Instances > 1:
		return arm.NotImplemented("properties.resources.instanceCount %d: distributed jobs are not there yet.", j.Resources.Instances)
	}
	for _, m := range reference.FindAllStringSubmatch(j.Command, -1) {
		_, in := j.Inputs[m[2]]
		_, out := j.Outputs[m[2]]
		if m[1] == "inputs" && !in || m[1] == "outputs" && !out {
			return userError("properties.command names %s, which the job does not have.", m[0])
		}
	}
	for name, in := range j.Inputs {
		switch in.Type {
		case "literal":
		case "uri_file", "uri_folder", "custom_model", "mlflow_model":
			if in.URI == "" {
				return userError("properties.inputs.%s needs a uri.", name)
			}
		default:
			return arm.NotImplemented("properties.inputs.%s: jobInputType '%s' is not there yet; literal, uri_file, uri_folder, custom_model and mlflow_model are.", name, in.Type)
		}
	}
	if j.Limits != nil && j.Limits.Timeout != "" {
		if _, err := isoDuration(j.Limits.Timeout); err != nil {
			return userError("properties.limits.timeout '%s' is not an ISO 8601 duration.", j.Limits.Timeout)
		}
	}
	return nil
}

// admitJob makes the run and puts the task into its cluster's queue, in the job's own transaction.
func (p *Provider) admitJob(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Job]) error {
	if op == rp.Update {
		return nil
	}
	j := &new.Properties
	w, err := Get(tx, new.ID.Parent())
	if err != nil {
		return err
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
	if err := p.Runs.CreateRunTx(tx, guid, run); err != nil {
		return err
	}
	t := &task{
		ID: guid + "." + new.ID.Name(), Workspace: w.ID.String(), GUID: guid, Job: new.ID.String(), Run: run.ID,
		Cluster: cluster.String(), Submitted: tx.Now, Order: time.Now().UnixNano(),
	}
	if err := putDoc(tx, kindTask, t.ID, t); err != nil {
		return err
	}
	tx.Wake(cluster)
	return nil
}

// mayUseData refuses a job whose data do not exist or are not the submitter's to use.
func (p *Provider) mayUseData(tx *rp.Tx, w *rp.Resource[Workspace], j *Job, user ml.User) error {
	use := func(field, uri string, write bool) error {
		if uri == "" {
			return nil
		}
		at, err := resolveURI(tx, w, uri)
		if err == nil {
			err = p.mayUse(tx, w, at, user, write)
		}
		if e := arm.AsError(err); e != nil {
			e.Target = field
		}
		return err
	}
	if err := use("properties.codeId", j.CodeID, false); err != nil {
		return err
	}
	for _, name := range sorted(j.Inputs) {
		if in := j.Inputs[name]; in.Type != "literal" {
			if err := use("properties.inputs."+name, in.URI, false); err != nil {
				return err
			}
		}
	}
	for _, name := range sorted(j.Outputs) {
		if err := use("properties.outputs."+name, j.Outputs[name].URI, true); err != nil {
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
	if err != nil || !id.Within(w.ID) {
		return arm.ID{}, userError("properties.computeId '%s' is not a compute of this workspace.", j.ComputeID)
	}
	c, err := rp.Get[Compute](tx, id)
	if isNotFound(err) {
		return arm.ID{}, userError("properties.computeId: the compute '%s' does not exist in the workspace '%s'.", id.Name(), w.ID.Name())
	}
	if err != nil {
		return arm.ID{}, err
	}
	if c.State == arm.Deleting || c.State == arm.Failed {
		return arm.ID{}, userError("properties.computeId: the compute '%s' is %s.", id.Name(), c.State)
	}
	return c.ID, nil
}

// imageOf is the image of the job's environment, which the region must have.
func (p *Provider) imageOf(tx *rp.Tx, w *rp.Resource[Workspace], j *Job) (string, error) {
	id, err := arm.ParseID(j.Environment)
	if err != nil {
		name, version, ok := strings.Cut(strings.TrimPrefix(j.Environment, "azureml:"), ":")
		if !ok {
			return "", userError("properties.environmentId '%s' is neither the id of an environment version nor azureml:NAME:VERSION.", j.Environment)
		}
		id, err = arm.ParseID(w.ID.String() + "/environments/" + name + "/versions/" + version)
		if err != nil {
			return "", userError("properties.environmentId '%s' is not the name of an environment version.", j.Environment)
		}
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
	if err != nil {
		return nil // the run is younger than the job only inside the job's own transaction
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
	id := w.Properties.WorkspaceID + "." + r.ID.Name()
	t, err := getDoc[task](tx, kindTask, id)
	if isNotFound(err) {
		return &rp.Response{Status: http.StatusOK}, nil // ended already
	}
	if err != nil {
		return nil, err
	}
	defer p.nodes.change()
	if t.Node == "" {
		return &rp.Response{Status: http.StatusOK}, (*queue)(p).finish(tx, t, nil, ml.Canceled, nil)
	}
	t.Canceled = true
	if err := putDoc(tx, kindTask, t.ID, t); err != nil {
		return nil, err
	}
	_, err = p.Runs.UpdateRunTx(tx, t.GUID, t.Run, func(run *ml.Run) error { return run.SetStatus(ml.CancelRequested, tx.Now) })
	return &rp.Response{Status: http.StatusOK}, err
}
