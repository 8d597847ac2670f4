package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/ml"
)

type metric struct {
	Key       string   `json:"key"`
	Value     ml.Float `json:"value"`
	Timestamp int64    `json:"timestamp"`
	Step      int64    `json:"step"`
	// What was measured (MLflow 3): a logged model, on a dataset.
	Model   string `json:"model_id,omitempty"`
	Dataset string `json:"dataset_name,omitempty"`
	Digest  string `json:"dataset_digest,omitempty"`
}

func showMetric(m ml.Metric) metric {
	return metric{m.Key, m.Value, m.Timestamp, m.Step, m.Model, m.Dataset, m.Digest}
}

// UnmarshalJSON also takes int64s as strings, as protobuf's JSON writes them.
func (m *metric) UnmarshalJSON(b []byte) error {
	var in struct {
		Key       string          `json:"key"`
		Value     ml.Float        `json:"value"`
		Timestamp json.RawMessage `json:"timestamp"`
		Step      json.RawMessage `json:"step"`
		Model     string          `json:"model_id"`
		Dataset   string          `json:"dataset_name"`
		Digest    string          `json:"dataset_digest"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	m.Key, m.Value, m.Model, m.Dataset, m.Digest = in.Key, in.Value, in.Model, in.Dataset, in.Digest
	var err error
	if m.Timestamp, err = integer(in.Timestamp); err != nil {
		return err
	}
	m.Step, err = integer(in.Step)
	return err
}

func integer(b json.RawMessage) (int64, error) {
	s := strings.Trim(string(b), `"`)
	if s == "" || s == "null" {
		return 0, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

type runInfo struct {
	ID         string `json:"run_id"`
	UUID       string `json:"run_uuid"`
	Name       string `json:"run_name"`
	Experiment string `json:"experiment_id"`
	User       string `json:"user_id"`
	Status     string `json:"status"`
	Start      int64  `json:"start_time,omitempty"`
	End        int64  `json:"end_time,omitempty"`
	Artifacts  string `json:"artifact_uri"`
	Stage      string `json:"lifecycle_stage"`
}

type modelRef struct {
	ID   string `json:"model_id"`
	Step int64  `json:"step,omitempty"`
}

type runOutputs struct {
	Models []modelRef `json:"model_outputs"`
}

type run struct {
	Info runInfo `json:"info"`
	Data struct {
		Metrics []metric `json:"metrics"`
		Params  []tag    `json:"params"`
		Tags    []tag    `json:"tags"`
	} `json:"data"`
	Inputs struct {
		Datasets json.RawMessage `json:"dataset_inputs,omitempty"`
		Models   []modelRef      `json:"model_inputs,omitempty"`
	} `json:"inputs"`
	Outputs *runOutputs `json:"outputs,omitempty"`
}

// MLflow's statuses of Azure ML's.
func showStatus(s ml.Status) string {
	switch s {
	case ml.Completed:
		return "FINISHED"
	case ml.Failed:
		return "FAILED"
	case ml.Canceled:
		return "KILLED"
	case ml.Running, ml.Finalizing, ml.CancelRequested:
		return "RUNNING"
	}
	return "SCHEDULED"
}

func readStatus(s string) (ml.Status, error) {
	switch s {
	case "RUNNING":
		return ml.Running, nil
	case "SCHEDULED":
		return ml.NotStarted, nil
	case "FINISHED":
		return ml.Completed, nil
	case "FAILED":
		return ml.Failed, nil
	case "KILLED":
		return ml.Canceled, nil
	}
	return "", invalid("Invalid value '" + s + "' for parameter 'status'.")
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (c *request) show(r *ml.Run) run {
	var out run
	start := r.Started
	if start.IsZero() {
		start = r.Created
	}
	out.Info = runInfo{
		ID: r.ID, UUID: r.ID, Name: r.Name, Experiment: r.ExperimentID, User: r.User.Name, Status: showStatus(r.Status),
		Start: millis(start), End: millis(r.Ended), Stage: stage(r.Deleted),
		Artifacts: c.artifacts(r.ExperimentID, r.ID),
	}
	out.Data.Metrics, out.Data.Params = []metric{}, tagList(r.Params)
	for _, k := range sortedKeys(r.Metrics) {
		m := r.Metrics[k]
		out.Data.Metrics = append(out.Data.Metrics, showMetric(m))
	}
	tags := tagList(r.Tags)
	for _, t := range []tag{{"mlflow.runName", r.Name}, {"mlflow.user", r.User.Name}, {"mlflow.rootRunId", r.ID}, {"mlflow.parentRunId", r.Parent}} {
		if _, set := r.Tags[t.Key]; !set && t.Value != "" {
			tags = append(tags, t)
		}
	}
	out.Data.Tags = tags
	if len(r.Inputs) > 0 {
		out.Inputs.Datasets = r.Inputs
	}
	for _, m := range r.ModelInputs {
		out.Inputs.Models = append(out.Inputs.Models, modelRef{ID: m})
	}
	if len(r.ModelOutputs) > 0 {
		out.Outputs = &runOutputs{}
	}
	for _, m := range r.ModelOutputs {
		out.Outputs.Models = append(out.Outputs.Models, modelRef{m.Model, m.Step})
	}
	return out
}

func (s *Service) createRun(ctx context.Context, c *request) (any, error) {
	var in struct {
		Experiment string          `json:"experiment_id"`
		User       string          `json:"user_id"`
		Name       string          `json:"run_name"`
		Start      json.RawMessage `json:"start_time"`
		Tags       []tag           `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	start, err := integer(in.Start)
	if err != nil {
		return nil, invalid("start_time is not a number.")
	}
	r := &ml.Run{ExperimentID: in.Experiment, Name: in.Name, Status: ml.Running, User: c.caller.User, Creator: c.caller.Run, Type: "mlflow"}
	if start > 0 {
		r.Started = time.UnixMilli(start).UTC()
	}
	for _, t := range in.Tags {
		r.SetTag(t.Key, t.Value)
	}
	if n := r.Tags["mlflow.runName"]; r.Name == "" {
		r.Name = n
	}
	r.Parent = r.Tags["mlflow.parentRunId"]
	if err := s.mayCreate(ctx, c, r.ExperimentID); err != nil {
		return nil, err
	}
	if err := s.runs.CreateRun(ctx, c.ws.GUID, r); err != nil {
		return nil, err
	}
	return map[string]any{"run": c.show(r)}, nil
}

// mayCreate holds a caller with a run's token to its run's experiment.
func (s *Service) mayCreate(ctx context.Context, c *request, experiment string) error {
	if c.caller.Run == "" {
		return nil
	}
	own, err := s.runs.Run(ctx, c.ws.GUID, c.caller.Run)
	if err != nil {
		return err
	}
	if experiment != own.ExperimentID {
		return &Error{http.StatusForbidden, "PERMISSION_DENIED", "The token of run '" + own.ID + "' writes in experiment '" + own.Experiment + "' only."}
	}
	return nil
}

func (c *request) runID() string {
	if id := c.get("run_id"); id != "" {
		return id
	}
	return c.get("run_uuid")
}

func denied(c *request, run string) *Error {
	return &Error{http.StatusForbidden, "PERMISSION_DENIED", "The token of run '" + c.caller.Run + "' does not open run '" + run + "'."}
}

// open is the run of the request, when the caller's token opens it.
func (s *Service) open(ctx context.Context, c *request) (*ml.Run, error) {
	return s.openRun(ctx, c, c.runID())
}

// openRun is the run of that id, when the caller's token opens it.
func (s *Service) openRun(ctx context.Context, c *request, id string) (*ml.Run, error) {
	r, err := s.runs.Run(ctx, c.ws.GUID, id)
	if errors.Is(err, ml.ErrNotFound) {
		if c.caller.Run != "" && c.caller.Run != id {
			return nil, denied(c, id)
		}
		return nil, notFound("Run with id=" + id + " not found.")
	}
	if err != nil {
		return nil, err
	}
	if !c.caller.Holds(r) {
		return nil, denied(c, id)
	}
	return r, nil
}

func (s *Service) getRun(ctx context.Context, c *request) (any, error) {
	r, err := s.open(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string]any{"run": c.show(r)}, nil
}

func (s *Service) update(ctx context.Context, c *request, f func(*ml.Run) error) (*ml.Run, error) {
	return s.runs.UpdateRun(ctx, c.ws.GUID, c.runID(), func(r *ml.Run) error {
		if !c.caller.Holds(r) {
			return denied(c, r.ID)
		}
		return f(r)
	})
}

func (s *Service) updateRun(ctx context.Context, c *request) (any, error) {
	var in struct {
		Status string          `json:"status"`
		End    json.RawMessage `json:"end_time"`
		Name   string          `json:"run_name"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	end, err := integer(in.End)
	if err != nil {
		return nil, invalid("end_time is not a number.")
	}
	r, err := s.update(ctx, c, func(r *ml.Run) error {
		if in.Name != "" {
			r.Name = in.Name
		}
		if in.Status == "" {
			return nil
		}
		to, err := readStatus(in.Status)
		if err != nil {
			return err
		}
		// A job's run ends when its process ends; the code in it may say so earlier.
		if r.Properties["azureml.jobId"] != "" {
			return nil
		}
		at := s.clock.Now()
		if end > 0 {
			at = time.UnixMilli(end).UTC()
		}
		return r.SetStatus(to, at)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"run_info": c.show(r).Info}, nil
}

func (s *Service) deleteRun(deleted bool) func(context.Context, *request) (any, error) {
	return func(ctx context.Context, c *request) (any, error) {
		_, err := s.update(ctx, c, func(r *ml.Run) error {
			r.Deleted = deleted
			return nil
		})
		return nil, err
	}
}

func (s *Service) searchRuns(ctx context.Context, c *request) (any, error) {
	var in struct {
		Experiments []string `json:"experiment_ids"`
		Filter      string   `json:"filter"`
		View        string   `json:"run_view_type"`
		Max         int      `json:"max_results"`
		OrderBy     []string `json:"order_by"`
		Token       string   `json:"page_token"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter, runAttributes)
	if err != nil {
		return nil, err
	}
	order, err := parseRunOrder(in.OrderBy)
	if err != nil {
		return nil, err
	}
	found, err := s.collect(ctx, c, in.Experiments, in.Max, in.Token, len(in.OrderBy) == 0, func(r *ml.Run) bool {
		return inView(in.View, r.Deleted) && c.caller.Holds(r) && f.run(r)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, order)
	page, next, err := paginate(found, in.Max, in.Token)
	if err != nil {
		return nil, err
	}
	out := make([]run, len(page))
	for i, r := range page {
		out[i] = c.show(r)
	}
	return map[string]any{"runs": out, "next_page_token": next}, nil
}

// collect collects the runs of experiments that match. In the order that the store has, which is MLflow's own,
// the runs behind the asked page need not be read: one more is enough to know that there is another page.
func (s *Service) collect(ctx context.Context, c *request, experiments []string, max int, token string, stored bool, match func(*ml.Run) bool) (found []*ml.Run, err error) {
	enough := math.MaxInt
	if stored && len(experiments) == 1 {
		at, size, err := bounds(max, token)
		if err != nil {
			return nil, err
		}
		enough = at + size + 1
	}
	for _, e := range experiments {
		err := s.runs.Runs(ctx, c.ws.GUID, e, func(r *ml.Run) bool {
			if match(r) {
				found = append(found, r)
			}
			return len(found) < enough
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
