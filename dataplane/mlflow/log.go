package mlflow

import (
	"context"
	"encoding/json"
	"slices"

	"vauban.dev/ml"
)

// Limits of one batch, as MLflow has them.
const (
	maxMetrics = 1000
	maxParams  = 100
	maxTags    = 100
)

func points(in []metric) []ml.Metric {
	out := make([]ml.Metric, len(in))
	for i, m := range in {
		out[i] = ml.Metric{Key: m.Key, Value: m.Value, Timestamp: m.Timestamp, Step: m.Step, Model: m.Model, Dataset: m.Dataset, Digest: m.Digest}
	}
	return out
}

func (s *Service) logMetric(ctx context.Context, c *request) (any, error) {
	var in metric
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Key == "" {
		return nil, invalid("Missing value for required parameter 'key'.")
	}
	return nil, s.logTo(ctx, c, ml.Batch{Metrics: points([]metric{in})})
}

func (s *Service) logParameter(ctx context.Context, c *request) (any, error) {
	key := c.get("key")
	if key == "" {
		return nil, invalid("Missing value for required parameter 'key'.")
	}
	return nil, s.logTo(ctx, c, ml.Batch{Params: map[string]string{key: c.get("value")}})
}

func (s *Service) logBatch(ctx context.Context, c *request) (any, error) {
	var in struct {
		Metrics []metric `json:"metrics"`
		Params  []tag    `json:"params"`
		Tags    []tag    `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Metrics) > maxMetrics || len(in.Params) > maxParams || len(in.Tags) > maxTags {
		return nil, invalid("A batch holds at most 1000 metrics, 100 params and 100 tags.")
	}
	b := ml.Batch{Metrics: points(in.Metrics), Params: map[string]string{}, Tags: map[string]string{}}
	for _, p := range in.Params {
		if old, twice := b.Params[p.Key]; twice && old != p.Value {
			return nil, invalid("Duplicate parameter '" + p.Key + "' in the batch.")
		}
		b.Params[p.Key] = p.Value
	}
	for _, t := range in.Tags {
		b.Tags[t.Key] = t.Value
	}
	return nil, s.logTo(ctx, c, b)
}

// logBatchAsync is azureml-mlflow's own. What it brings is stored before it is answered, so there is nothing
// to track: the client does not ask again when it gets no tracking id.
func (s *Service) logBatchAsync(ctx context.Context, c *request) (any, error) {
	_, err := s.logBatch(ctx, c)
	return map[string]any{"batch_tracking_id": ""}, err
}

func (s *Service) dataStatus(ctx context.Context, c *request) (any, error) {
	_, err := s.open(ctx, c)
	return map[string]any{"is_complete": true}, err
}

func (s *Service) setTag(ctx context.Context, c *request) (any, error) {
	key, value := c.get("key"), c.get("value")
	_, err := s.update(ctx, c, func(r *ml.Run) error {
		r.SetTag(key, value)
		if key == "mlflow.runName" {
			r.Name = value
		}
		return nil
	})
	return nil, err
}

func (s *Service) deleteTag(ctx context.Context, c *request) (any, error) {
	key := c.get("key")
	_, err := s.update(ctx, c, func(r *ml.Run) error {
		if _, ok := r.Tags[key]; !ok {
			return notFound("No tag with name: " + key + " in run with id " + r.ID)
		}
		delete(r.Tags, key)
		return nil
	})
	return nil, err
}

// logModel keeps the list of models that a run logged where MLflow keeps it, in a tag.
func (s *Service) logModel(ctx context.Context, c *request) (any, error) {
	model := c.get("model_json")
	if !json.Valid([]byte(model)) {
		return nil, invalid("model_json is not JSON.")
	}
	_, err := s.update(ctx, c, func(r *ml.Run) error {
		const key = "mlflow.log-model.history"
		var models []json.RawMessage
		if old := r.Tags[key]; old != "" {
			if err := json.Unmarshal([]byte(old), &models); err != nil {
				models = nil
			}
		}
		b, err := json.Marshal(append(models, json.RawMessage(model)))
		if err != nil {
			return err
		}
		r.SetTag(key, string(b))
		return nil
	})
	return nil, err
}

func (s *Service) logInputs(ctx context.Context, c *request) (any, error) {
	var in struct {
		Datasets []json.RawMessage `json:"datasets"`
		Models   []modelRef        `json:"models"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	_, err := s.update(ctx, c, func(r *ml.Run) error {
		for _, m := range in.Models {
			if !slices.Contains(r.ModelInputs, m.ID) {
				r.ModelInputs = append(r.ModelInputs, m.ID)
			}
		}
		if len(in.Datasets) == 0 {
			return nil
		}
		var have []json.RawMessage
		if len(r.Inputs) > 0 {
			if err := json.Unmarshal(r.Inputs, &have); err != nil {
				return err
			}
		}
		b, err := json.Marshal(append(have, in.Datasets...))
		r.Inputs = b
		return err
	})
	return nil, err
}

// logTo adds a batch to the request's run. A caller without a run's token needs no look at the run first.
func (s *Service) logTo(ctx context.Context, c *request, b ml.Batch) error {
	for _, m := range b.Metrics {
		if m.Key == "" {
			return invalid("Missing value for required parameter 'key' of a metric.")
		}
	}
	b.By = c.caller
	id := c.runID()
	if c.caller.Run != "" && c.caller.Run != id {
		if _, err := s.open(ctx, c); err != nil {
			return err
		}
	}
	return s.runs.Log(ctx, c.ws.GUID, id, b)
}
