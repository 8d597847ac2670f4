package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"vauban.dev/ml"
)

// The logged models of MLflow 3: models that a client logs to an experiment, before anyone registers them.

type loggedModelInfo struct {
	ID            string `json:"model_id"`
	Experiment    string `json:"experiment_id"`
	Name          string `json:"name"`
	Created       int64  `json:"creation_timestamp_ms"`
	Updated       int64  `json:"last_updated_timestamp_ms"`
	Artifacts     string `json:"artifact_uri"`
	Status        string `json:"status"`
	StatusMessage string `json:"status_message,omitempty"`
	Type          string `json:"model_type,omitempty"`
	Run           string `json:"source_run_id,omitempty"`
	Tags          []tag  `json:"tags"`
}

type loggedModel struct {
	Info loggedModelInfo `json:"info"`
	Data struct {
		Params  []tag         `json:"params"`
		Metrics []modelMetric `json:"metrics"`
	} `json:"data"`
}

type modelMetric struct {
	metric
	Run string `json:"run_id"`
}

// artifacts is where the artifacts of what has this id are, as clients find them.
func (c *request) artifacts(experiment, id string) string {
	return "azureml://" + c.ws.Host + "/mlflow/v2.0" + c.ws.ID.String() + "/experiments/" + experiment + "/runs/" + id + "/artifacts"
}

func (c *request) showLoggedModel(m *ml.LoggedModel) loggedModel {
	out := loggedModel{Info: loggedModelInfo{
		ID: m.ID, Experiment: m.ExperimentID, Name: m.Name, Created: millis(m.Created), Updated: millis(m.Modified), Status: m.Status,
		StatusMessage: m.StatusMessage, Type: m.Type, Run: m.Run, Tags: tagList(m.Tags), Artifacts: c.artifacts(m.ExperimentID, m.ID),
	}}
	out.Data.Params, out.Data.Metrics = tagList(m.Params), []modelMetric{}
	for _, p := range m.Metrics {
		out.Data.Metrics = append(out.Data.Metrics, modelMetric{showMetric(p.Metric), p.Run})
	}
	return out
}

func (c *request) answerModel(m *ml.LoggedModel, err error) (any, error) {
	if errors.Is(err, ml.ErrNotFound) {
		return nil, notFound("Logged model with ID '" + c.path["model"] + "' not found.")
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"model": c.showLoggedModel(m)}, nil
}

func (s *Service) createLoggedModel(ctx context.Context, c *request) (any, error) {
	var in struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"name"`
		Type       string `json:"model_type"`
		Run        string `json:"source_run_id"`
		Params     []tag  `json:"params"`
		Tags       []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Experiment == "" {
		return nil, invalid("Missing value for required parameter 'experiment_id'.")
	}
	if strings.ContainsAny(in.Name, "/:.%\"'") {
		return nil, invalid("Invalid model name '" + in.Name + "': a name has no '/', ':', '.', '%', '\"' or \"'\".")
	}
	if err := s.mayCreate(ctx, c, in.Experiment); err != nil {
		return nil, err
	}
	if in.Run != "" {
		if _, err := s.openRun(ctx, c, in.Run); err != nil {
			return nil, err
		}
	}
	m := &ml.LoggedModel{
		ExperimentID: in.Experiment, Name: in.Name, Type: in.Type, Run: in.Run, Creator: c.caller.Run, Status: "LOGGED_MODEL_PENDING",
		Tags: tagMap(in.Tags), Params: tagMap(in.Params),
	}
	if m.Name == "" {
		m.Name = "model"
	}
	err := s.runs.CreateLoggedModel(ctx, c.ws.GUID, m)
	if errors.Is(err, ml.ErrNotFound) {
		return nil, notFound("No Experiment with id=" + in.Experiment + " exists")
	}
	return c.answerModel(m, err)
}

func (s *Service) getLoggedModel(ctx context.Context, c *request) (any, error) {
	m, err := s.runs.LoggedModel(ctx, c.ws.GUID, c.path["model"])
	if err == nil && !c.caller.HoldsModel(m) {
		err = ml.ErrNotFound
	}
	return c.answerModel(m, err)
}

func (s *Service) updateLoggedModel(ctx context.Context, c *request, f func(*ml.LoggedModel) error) (any, error) {
	return c.answerModel(s.runs.UpdateLoggedModel(ctx, c.ws.GUID, c.path["model"], func(m *ml.LoggedModel) error {
		if !c.caller.HoldsModel(m) {
			return ml.ErrNotFound
		}
		return f(m)
	}))
}

func (s *Service) finalizeLoggedModel(ctx context.Context, c *request) (any, error) {
	status := c.get("status")
	if status != "LOGGED_MODEL_READY" && status != "LOGGED_MODEL_UPLOAD_FAILED" {
		return nil, invalid("A logged model is finalized as LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED, not as '" + status + "'.")
	}
	return s.updateLoggedModel(ctx, c, func(m *ml.LoggedModel) error {
		m.Status = status
		return nil
	})
}

func (s *Service) setLoggedModelTags(ctx context.Context, c *request) (any, error) {
	var in struct {
		Tags []tag `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return s.updateLoggedModel(ctx, c, func(m *ml.LoggedModel) error {
		m.Tags = merge(m.Tags, in.Tags)
		return nil
	})
}

func merge(to map[string]string, tags []tag) map[string]string {
	if to == nil {
		to = map[string]string{}
	}
	for _, t := range tags {
		to[t.Key] = t.Value
	}
	return to
}

func (s *Service) deleteLoggedModelTag(ctx context.Context, c *request) (any, error) {
	return s.updateLoggedModel(ctx, c, func(m *ml.LoggedModel) error {
		if _, ok := m.Tags[c.path["tag"]]; !ok {
			return notFound("No tag with key '" + c.path["tag"] + "' found for model with ID '" + m.ID + "'.")
		}
		delete(m.Tags, c.path["tag"])
		return nil
	})
}

func (s *Service) logLoggedModelParams(ctx context.Context, c *request) (any, error) {
	var in struct {
		Params []tag `json:"params"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	_, err := s.updateLoggedModel(ctx, c, func(m *ml.LoggedModel) error {
		for _, p := range in.Params {
			if old, ok := m.Params[p.Key]; ok && old != p.Value {
				return invalid("The parameter '" + p.Key + "' of logged model '" + m.ID + "' is '" + old + "' and does not change.")
			}
		}
		m.Params = merge(m.Params, in.Params)
		return nil
	})
	return nil, err
}

func (s *Service) deleteLoggedModel(ctx context.Context, c *request) (any, error) {
	err := s.runs.DeleteLoggedModel(ctx, c.ws.GUID, c.path["model"], func(m *ml.LoggedModel) error {
		if !c.caller.HoldsModel(m) {
			return ml.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return c.answerModel(nil, err)
	}
	return nil, nil
}

// dataset narrows the metrics that a search looks at.
type dataset struct {
	Name   string `json:"dataset_name"`
	Digest string `json:"dataset_digest"`
}

func (d dataset) holds(m ml.Metric) bool {
	return (d.Name == "" || d.Name == m.Dataset) && (d.Digest == "" || d.Digest == m.Digest)
}

type modelOrder struct {
	Field     string `json:"field_name"`
	Ascending *bool  `json:"ascending"`
	dataset
}

func (s *Service) searchLoggedModels(ctx context.Context, c *request) (any, error) {
	var in struct {
		Experiments []string     `json:"experiment_ids"`
		Filter      string       `json:"filter"`
		Datasets    []dataset    `json:"datasets"`
		Max         int          `json:"max_results"`
		OrderBy     []modelOrder `json:"order_by"`
		Token       string       `json:"page_token"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter, loggedModelAttributes)
	if err != nil {
		return nil, err
	}
	order, err := orderModels(in.OrderBy)
	if err != nil {
		return nil, err
	}
	found := []*ml.LoggedModel{}
	for _, e := range in.Experiments {
		if err := s.runs.LoggedModels(ctx, c.ws.GUID, e, func(m *ml.LoggedModel) bool {
			if c.caller.HoldsModel(m) && f.loggedModel(m, in.Datasets) {
				found = append(found, m)
			}
			return true
		}); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, order)
	page, next, err := paginate(found, cmp.Or(in.Max, 100), in.Token)
	out := make([]loggedModel, len(page))
	for i, m := range page {
		out[i] = c.showLoggedModel(m)
	}
	return map[string]any{"models": out, "next_page_token": next}, err
}

func (f filter) loggedModel(m *ml.LoggedModel, on []dataset) bool {
	for i := range f {
		if !f[i].loggedModel(m, on) {
			return false
		}
	}
	return true
}

func (c *clause) loggedModel(m *ml.LoggedModel, on []dataset) bool {
	switch c.kind {
	case "params":
		v, there := m.Params[c.key]
		return c.holds(v, there)
	case "tags":
		v, there := m.Tags[c.key]
		return c.holds(v, there)
	case "metrics":
		return slices.ContainsFunc(m.Metrics, func(p ml.ModelMetric) bool {
			there := len(on) == 0 || slices.ContainsFunc(on, func(d dataset) bool { return d.holds(p.Metric) })
			return there && p.Key == c.key && ordered(c.op, cmp.Compare(float64(p.Value), c.number))
		})
	case "attributes":
		switch c.key {
		case "creation_timestamp", "creation_time":
			return ordered(c.op, cmp.Compare(float64(millis(m.Created)), c.number))
		case "last_updated_timestamp", "last_updated_time":
			return ordered(c.op, cmp.Compare(float64(millis(m.Modified)), c.number))
		}
		return c.holds(loggedModelText(m, c.key), true)
	}
	return false
}

var loggedModelAttributes = nameSet("name", "model_id", "model_type", "status", "source_run_id", "creation_timestamp", "creation_time", "last_updated_timestamp", "last_updated_time")

func loggedModelText(m *ml.LoggedModel, key string) string {
	switch key {
	case "name":
		return m.Name
	case "model_id":
		return m.ID
	case "model_type":
		return m.Type
	case "status":
		return strings.TrimPrefix(m.Status, "LOGGED_MODEL_")
	case "source_run_id":
		return m.Run
	}
	return ""
}

// orderModels returns the comparison of order_by; models that lack a metric come last.
func orderModels(by []modelOrder) (func(a, b *ml.LoggedModel) int, error) {
	for i := range by {
		kind, key, dotted := strings.Cut(by[i].Field, ".")
		if dotted && strings.TrimSuffix(kind, "s") == "metric" && key != "" {
			continue
		}
		if dotted && strings.TrimSuffix(kind, "s") == "attribute" {
			by[i].Field = key
		}
		if !loggedModelAttributes[by[i].Field] {
			return nil, invalid("Invalid order_by field name: " + by[i].Field)
		}
	}
	return func(a, b *ml.LoggedModel) int {
		for i := range by {
			if d := by[i].compare(a, b); d != 0 {
				return d
			}
		}
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	}, nil
}

func (o *modelOrder) compare(a, b *ml.LoggedModel) (d int) {
	if _, name, metric := strings.Cut(o.Field, "."); metric {
		x, xok := o.metric(a, name)
		y, yok := o.metric(b, name)
		if xok != yok {
			if xok {
				return -1
			}
			return 1
		}
		d = cmp.Compare(x, y)
	} else if strings.HasPrefix(o.Field, "creation") {
		d = a.Created.Compare(b.Created)
	} else if strings.HasPrefix(o.Field, "last_updated") {
		d = a.Modified.Compare(b.Modified)
	} else {
		d = cmp.Compare(loggedModelText(a, o.Field), loggedModelText(b, o.Field))
	}
	if o.Ascending != nil && !*o.Ascending {
		return -d
	}
	return d
}

func (o *modelOrder) metric(m *ml.LoggedModel, name string) (v float64, ok bool) {
	for _, p := range m.Metrics {
		if p.Key == name && o.holds(p.Metric) {
			v, ok = float64(p.Value), true
		}
	}
	return v, ok
}

// logOutputs notes the models that a run made.
func (s *Service) logOutputs(ctx context.Context, c *request) (any, error) {
	var in struct {
		Models []struct {
			ID   string          `json:"model_id"`
			Step json.RawMessage `json:"step"`
		} `json:"models"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	_, err := s.update(ctx, c, func(r *ml.Run) error {
		for _, m := range in.Models {
			step, err := integer(m.Step)
			if err != nil {
				return invalid("Invalid value for parameter 'step' of a model.")
			}
			out := ml.ModelOutput{Model: m.ID, Step: step}
			if !slices.Contains(r.ModelOutputs, out) {
				r.ModelOutputs = append(r.ModelOutputs, out)
			}
		}
		return nil
	})
	return nil, err
}
