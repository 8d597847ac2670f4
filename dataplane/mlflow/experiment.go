package mlflow

import (
	"context"
	"errors"
	"slices"
	"strings"

	"vauban.dev/ml"
)

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type experiment struct {
	ID       string `json:"experiment_id"`
	Name     string `json:"name"`
	Artifact string `json:"artifact_location"`
	Stage    string `json:"lifecycle_stage"`
	Updated  int64  `json:"last_update_time"`
	Created  int64  `json:"creation_time"`
	Tags     []tag  `json:"tags,omitempty"`
}

func stage(deleted bool) string {
	if deleted {
		return "deleted"
	}
	return "active"
}

func tagList(m map[string]string) []tag {
	out := []tag{}
	for _, k := range sortedKeys(m) {
		out = append(out, tag{k, m[k]})
	}
	return out
}

func showExperiment(e *ml.Experiment) experiment {
	return experiment{
		ID: e.ID, Name: e.Name, Stage: stage(e.Deleted), Created: e.Created.UnixMilli(), Updated: e.Modified.UnixMilli(), Tags: tagList(e.Tags),
	}
}

func (s *Service) createExperiment(ctx context.Context, c *request) (any, error) {
	var in struct {
		Name string `json:"name"`
		Tags []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if strings.TrimSpace(in.Name) == "" {
		return nil, invalid("Missing value for required parameter 'name'.")
	}
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[t.Key] = t.Value
	}
	e, err := s.runs.CreateExperiment(ctx, c.ws.GUID, in.Name, tags)
	if err != nil {
		return nil, err
	}
	return map[string]any{"experiment_id": e.ID}, nil
}

func (s *Service) getExperiment(ctx context.Context, c *request) (any, error) {
	e, err := s.runs.Experiment(ctx, c.ws.GUID, c.get("experiment_id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"experiment": showExperiment(e)}, nil
}

func (s *Service) getExperimentByName(ctx context.Context, c *request) (any, error) {
	name := c.get("experiment_name")
	e, err := s.runs.ExperimentByName(ctx, c.ws.GUID, name)
	if errors.Is(err, ml.ErrNotFound) {
		return nil, notFound("Could not find experiment with name '" + name + "'.")
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"experiment": showExperiment(e)}, nil
}

func (s *Service) searchExperiments(ctx context.Context, c *request) (any, error) {
	var in struct {
		Max     int      `json:"max_results"`
		Filter  string   `json:"filter"`
		View    string   `json:"view_type"`
		OrderBy []string `json:"order_by"`
		Token   string   `json:"page_token"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if c.query != nil && len(c.body) == 0 { // GET
		in.View, in.Filter, in.Token, in.OrderBy = c.get("view_type"), c.get("filter"), c.get("page_token"), c.query["order_by"]
		var err error
		if in.Max, err = c.number("max_results", 0); err != nil {
			return nil, err
		}
	}
	f, err := parseFilter(in.Filter, experimentAttributes)
	if err != nil {
		return nil, err
	}
	if len(in.OrderBy) == 0 {
		in.OrderBy = []string{"creation_time DESC", "experiment_id ASC"}
	}
	order, err := parseOrder(in.OrderBy, experimentOrder)
	if err != nil {
		return nil, err
	}
	all, err := s.runs.Experiments(ctx, c.ws.GUID)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e *ml.Experiment) bool { return !inView(in.View, e.Deleted) || !f.experiment(e) })
	slices.SortStableFunc(all, order)
	page, next, err := paginate(all, in.Max, in.Token)
	out := make([]experiment, len(page))
	for i, e := range page {
		out[i] = showExperiment(e)
	}
	return map[string]any{"experiments": out, "next_page_token": next}, err
}

func inView(view string, deleted bool) bool {
	switch strings.ToUpper(view) {
	case "DELETED_ONLY":
		return deleted
	case "ALL":
		return true
	}
	return !deleted
}

func (s *Service) updateExperiment(ctx context.Context, c *request) (any, error) {
	name := c.get("new_name")
	if name == "" {
		return nil, invalid("Missing value for required parameter 'new_name'.")
	}
	_, err := s.runs.UpdateExperiment(ctx, c.ws.GUID, c.get("experiment_id"), func(e *ml.Experiment) error {
		e.Name = name
		return nil
	})
	return nil, err
}

func (s *Service) deleteExperiment(deleted bool) func(context.Context, *request) (any, error) {
	return func(ctx context.Context, c *request) (any, error) {
		_, err := s.runs.UpdateExperiment(ctx, c.ws.GUID, c.get("experiment_id"), func(e *ml.Experiment) error {
			e.Deleted = deleted
			return nil
		})
		return nil, err
	}
}

func (s *Service) setExperimentTag(ctx context.Context, c *request) (any, error) {
	_, err := s.runs.UpdateExperiment(ctx, c.ws.GUID, c.get("experiment_id"), func(e *ml.Experiment) error {
		if e.Tags == nil {
			e.Tags = map[string]string{}
		}
		e.Tags[c.get("key")] = c.get("value")
		return nil
	})
	return nil, err
}

func (s *Service) deleteExperimentTag(ctx context.Context, c *request) (any, error) {
	_, err := s.runs.UpdateExperiment(ctx, c.ws.GUID, c.get("experiment_id"), func(e *ml.Experiment) error {
		delete(e.Tags, c.get("key"))
		return nil
	})
	return nil, err
}
