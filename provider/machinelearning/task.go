package machinelearning

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/internal/isotime"
	"vauban.dev/ml"
)

// buildTask makes the document that a node gets for t. It is made at the moment of dispatch, so that its
// URLs and its token are fresh, and holds the only secrets that a node ever sees.
func (p *Provider) buildTask(tx *rp.Tx, t *task) (compute.Task, error) {
	workspace, err := arm.ParseID(t.Workspace)
	if err != nil {
		return compute.Task{}, err
	}
	w, err := Get(tx, workspace)
	if err != nil {
		return compute.Task{}, err
	}
	jobID, err := arm.ParseID(t.Job)
	if err != nil {
		return compute.Task{}, err
	}
	job, err := rp.Get[Job](tx, jobID)
	if err != nil {
		return compute.Task{}, err
	}
	run, err := p.Runs.RunTx(tx, t.GUID, t.Run)
	if err != nil {
		return compute.Task{}, err
	}
	b := &builder{p: p, tx: tx, w: w, job: &job.Properties, user: run.User, out: compute.Task{ID: t.ID, Env: map[string]string{}, Secrets: map[string]string{}}}
	for _, step := range []func(*task) error{b.image, b.code, b.inputs, b.outputs, b.command, b.limits, b.environment} {
		if err := step(t); err != nil {
			return compute.Task{}, err
		}
	}
	return b.out, nil
}

type builder struct {
	p    *Provider
	tx   *rp.Tx
	w    *rp.Resource[Workspace]
	job  *Job
	out  compute.Task
	user ml.User           // who submitted the job
	subs map[string]string // "inputs.x" → what stands for it in the command
}

func (b *builder) image(*task) (err error) {
	b.out.Image, err = b.p.imageOf(b.tx, b.w, b.job)
	return err
}

func (b *builder) code(*task) error {
	if b.job.CodeID == "" {
		return nil
	}
	at, err := resolveURI(b.tx, b.w, b.job.CodeID, "codes")
	if err != nil {
		return err
	}
	url, err := b.p.open(b.tx, b.w, at, b.user, false)
	if err != nil {
		return err
	}
	b.out.Code = []compute.File{{URL: url, Path: ".", Folder: true}}
	return nil
}

func (b *builder) inputs(*task) error {
	b.subs = map[string]string{}
	for _, name := range sorted(b.job.Inputs) {
		in := b.job.Inputs[name]
		if in.Type == "literal" {
			b.subs["inputs."+name] = in.Value
			continue
		}
		at, err := resolveURI(b.tx, b.w, in.URI, in.assets())
		if err != nil {
			return err
		}
		url, err := b.p.open(b.tx, b.w, at, b.user, false)
		if err != nil {
			return err
		}
		file := compute.File{URL: url, Folder: in.Type != "uri_file"}
		place := path.Join(compute.InputsPath, name)
		if !file.Folder {
			file.Path = path.Base(at.Path)
			place = path.Join(place, file.Path)
		}
		b.out.Inputs = append(b.out.Inputs, compute.Input{Name: name, File: file})
		b.subs["inputs."+name] = place
	}
	return nil
}

func (b *builder) outputs(t *task) error {
	account, err := arm.ParseID(b.w.Properties.StorageAccount)
	if err != nil {
		return err
	}
	artifacts := BlobPath{Account: account.Name(), Container: ArtifactContainer, Path: "ExperimentRun/dcid." + t.Run}
	if b.out.Logs.URL, err = b.p.open(b.tx, b.w, artifacts, b.user, true); err != nil {
		return err
	}
	// ./outputs of the working directory are artifacts of the run, as ever.
	at := artifacts
	at.Path += "/outputs"
	url, err := b.p.open(b.tx, b.w, at, b.user, true)
	if err != nil {
		return err
	}
	b.out.Outputs = []compute.Output{{Name: "artifacts", Dir: "outputs", URL: url}}
	for _, name := range sorted(b.job.Outputs) {
		o := b.job.Outputs[name]
		at := BlobPath{Account: account.Name(), Container: BlobContainer(b.w), Path: "azureml/" + t.Run + "/" + name}
		if o.URI != "" {
			if at, err = resolveURI(b.tx, b.w, outputURI(o.URI, name, t.Run), "data"); err != nil {
				return err
			}
		}
		if url, err = b.p.open(b.tx, b.w, at, b.user, true); err != nil {
			return err
		}
		b.out.Outputs = append(b.out.Outputs, compute.Output{Name: name, URL: url})
		b.subs["outputs."+name] = path.Join(compute.OutputsPath, name)
	}
	return nil
}

// outputURI is the URI of an output with the run's own names in it ("${{name}}": how outputs of a job are kept
// apart).
func outputURI(uri, output, run string) string {
	return strings.NewReplacer("${{name}}", run, "${{output_name}}", output, "${{default_datastore}}", "workspaceblobstore").Replace(uri)
}

func (b *builder) command(*task) error {
	b.out.Command = reference.ReplaceAllStringFunc(b.job.Command, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		return b.subs[m[1]+"."+m[2]]
	})
	return nil
}

func (b *builder) limits(*task) error {
	if l := b.job.Limits; l != nil && l.Timeout != "" {
		d, err := isotime.ParseDuration(l.Timeout)
		if err != nil {
			return err
		}
		b.out.Timeout = compute.Duration(d)
	}
	return nil
}

// environment is what code in a job expects of Azure ML: the run's context, and MLflow pointed at it.
func (b *builder) environment(t *task) error {
	run, err := b.p.Runs.RunTx(b.tx, t.GUID, t.Run)
	if err != nil {
		return err
	}
	scope := RunScope{Workspace: b.w.ID.String(), WorkspaceID: t.GUID, Experiment: run.Experiment, RunID: t.Run, PrincipalID: run.User.ObjectID}
	if i := b.w.Identity; i != nil && i.PrincipalID != "" {
		scope.PrincipalID = i.PrincipalID
	}
	token, expires, err := b.p.Tokens.IssueRun(context.Background(), scope)
	if err != nil {
		return err
	}
	host := "https://" + DataHost(b.w)
	for k, v := range map[string]string{
		"AZUREML_RUN_ID": t.Run, "AZUREML_ROOT_RUN_ID": t.Run, "AZUREML_ARM_SUBSCRIPTION": b.w.ID.Subscription(),
		"AZUREML_ARM_RESOURCEGROUP": b.w.ID.ResourceGroup(), "AZUREML_ARM_WORKSPACE_NAME": b.w.ID.Name(),
		"AZUREML_ARM_PROJECT_NAME": run.Experiment, "AZUREML_EXPERIMENT_ID": run.ExperimentID,
		"AZUREML_WORKSPACE_ID": t.GUID, "AZUREML_WORKSPACE_SCOPE": b.w.ID.String(),
		"AZUREML_EXPERIMENT_SCOPE": b.w.ID.String() + "/experiments/" + run.Experiment,
		"AZUREML_RUN_TOKEN_EXPIRY": strconv.FormatInt(expires.Unix(), 10), "AZUREML_SERVICE_ENDPOINT": host,
		"AZUREML_DISCOVERY_SERVICE_ENDPOINT": host + "/discovery", "AZUREML_LOCATION": b.w.Location,
		"MLFLOW_TRACKING_URI": b.w.Properties.MLFlowURI, "MLFLOW_EXPERIMENT_ID": run.ExperimentID,
		"MLFLOW_EXPERIMENT_NAME": run.Experiment, "MLFLOW_RUN_ID": t.Run,
	} {
		b.out.Env[k] = v
	}
	for k, v := range b.job.Env {
		b.out.Env[k] = v
	}
	b.out.Secrets["AZUREML_RUN_TOKEN"] = token
	b.out.Secrets["MLFLOW_TRACKING_TOKEN"] = token
	for name, place := range b.subs {
		if in, ok := strings.CutPrefix(name, "inputs."); ok && b.job.Inputs[in].Type != "literal" {
			b.out.Env[fmt.Sprintf("AZURE_ML_INPUT_%s", in)] = place
		}
		if out, ok := strings.CutPrefix(name, "outputs."); ok {
			b.out.Env[fmt.Sprintf("AZURE_ML_OUTPUT_%s", out)] = place
		}
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
