package runhistory

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"vauban.dev/ml"
)

var experimentRoutes = []entry{
	{http.MethodGet, "history/v1.0/[experiment]", readExperiments, getExperiment},
	{http.MethodPost, "history/v1.0/experiments/{experiment}", writeExperiments, createExperiment},
	{http.MethodPatch, "history/v1.0/experimentids/{experimentId}", writeExperiments, updateExperiment},
	{http.MethodDelete, "history/v1.0/experimentids/{experimentId}", dropExperiments, deleteExperiment},
	{http.MethodPost, "history/v1.0/experiments:query", readExperiments, queryExperiments},
	{http.MethodPost, "history/v1.0/experimentids/{experimentId}/tags:delete", writeExperiments, deleteExperimentTags},
}

var experimentName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$`)

func showExperiment(e *ml.Experiment) experimentBody {
	b := experimentBody{ID: e.ID, Name: e.Name, Description: orNull(e.Tags[noteTag]), Created: stamp(e.Created), Tags: orEmpty(e.Tags)}
	if e.Deleted {
		b.Archived = stamp(e.Modified)
	}
	return b
}

// experiment is the one that the path names, by name or by id.
func (q *request) experiment(ctx context.Context) (*ml.Experiment, error) {
	var e *ml.Experiment
	name, err := q.path["experiment"], error(nil)
	if name != "" {
		e, err = q.s.Runs.ExperimentByName(ctx, q.ws.GUID, name)
	} else {
		name = q.path["experimentId"]
		e, err = q.s.Runs.Experiment(ctx, q.ws.GUID, name)
	}
	if errors.Is(err, ml.ErrNotFound) {
		return nil, notFound("Experiment %s in this workspace not found.", name)
	}
	return e, err
}

func getExperiment(ctx context.Context, q *request) (any, error) {
	e, err := q.experiment(ctx)
	if err != nil {
		return nil, err
	}
	return showExperiment(e), nil
}

func createExperiment(ctx context.Context, q *request) (any, error) {
	name := q.path["experiment"]
	if !experimentName.MatchString(name) {
		return nil, badRequest("Experiment names start with a letter or digit and hold letters, digits, underscores, dots and hyphens, 255 at most: '%s' is none.", name)
	}
	e, err := q.s.Runs.CreateExperiment(ctx, q.ws.GUID, name, nil)
	if errors.Is(err, ml.ErrExists) {
		return nil, userError(http.StatusConflict, "Conflict", "Experiment %s already exists.", name)
	}
	if err != nil {
		return nil, err
	}
	return showExperiment(e), nil
}

func updateExperiment(ctx context.Context, q *request) (any, error) {
	var in struct {
		Name        *string            `json:"name"`
		Description *string            `json:"description"`
		Tags        map[string]*string `json:"tags"`
		Archive     *bool              `json:"archive"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if in.Name != nil && !experimentName.MatchString(*in.Name) {
		return nil, badRequest("'%s' cannot name an experiment.", *in.Name)
	}
	if in.Description != nil {
		if in.Tags == nil {
			in.Tags = map[string]*string{}
		}
		in.Tags[noteTag] = in.Description
	}
	e, err := q.s.Runs.UpdateExperiment(ctx, q.ws.GUID, q.path["experimentId"], func(e *ml.Experiment) error {
		if in.Name != nil {
			e.Name = *in.Name
		}
		if in.Archive != nil {
			e.Deleted = *in.Archive
		}
		if e.Tags == nil {
			e.Tags = map[string]string{}
		}
		merge(e.Tags, in.Tags)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return showExperiment(e), nil
}

// merge sets the values of in; null removes.
func merge(m map[string]string, in map[string]*string) {
	for k, v := range in {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = *v
		}
	}
}

// deleteExperiment deletes an experiment without runs, as Azure does.
func deleteExperiment(ctx context.Context, q *request) (any, error) {
	e, err := q.experiment(ctx)
	if err != nil {
		return nil, err
	}
	used := false
	if err := q.s.Runs.Runs(ctx, q.ws.GUID, e.ID, func(*ml.Run) bool { used = true; return false }); err != nil {
		return nil, err
	}
	if used {
		return nil, userError(http.StatusConflict, "Conflict", "Experiment %s holds runs: only an empty experiment can be deleted. Archive it instead.", e.Name)
	}
	_, err = q.s.Runs.UpdateExperiment(ctx, q.ws.GUID, e.ID, func(e *ml.Experiment) error { e.Deleted = true; return nil })
	return struct{}{}, err
}

func deleteExperimentTags(ctx context.Context, q *request) (any, error) {
	var in struct {
		Tags []string `json:"tags"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	_, err := q.s.Runs.UpdateExperiment(ctx, q.ws.GUID, q.path["experimentId"], func(e *ml.Experiment) error {
		for _, k := range in.Tags {
			delete(e.Tags, k)
		}
		return nil
	})
	return map[string]any{"errors": map[string]any{}}, err
}

func queryExperiments(ctx context.Context, q *request) (any, error) {
	var in struct {
		queryParams
		View string `json:"viewType"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter)
	if err != nil {
		return nil, err
	}
	all, err := q.s.Runs.Experiments(ctx, q.ws.GUID)
	if err != nil {
		return nil, err
	}
	var found []*ml.Experiment
	for _, e := range all {
		show := !e.Deleted
		switch in.View {
		case "All":
			show = true
		case "ArchivedOnly":
			show = e.Deleted
		}
		if show && f.holds(experimentFields(e)) {
			found = append(found, e)
		}
	}
	if err := sortBy(found, in.OrderBy, experimentFields); err != nil {
		return nil, err
	}
	part, next, err := in.cut(len(found))
	if err != nil {
		return nil, err
	}
	out := []experimentBody{}
	for _, e := range found[part[0]:part[1]] {
		out = append(out, showExperiment(e))
	}
	return q.nextPage(out, next), nil
}

func experimentFields(e *ml.Experiment) fields {
	return func(name []string) (value, bool) {
		switch name[0] {
		case "name", "experimentname":
			return text(e.Name), true
		case "experimentid":
			return text(e.ID), true
		case "createdutc", "createdtime":
			return moment(e.Created), true
		case "tags":
			return keyed(e.Tags, name)
		}
		return value{}, false
	}
}
