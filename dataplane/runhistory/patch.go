package runhistory

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"time"

	"vauban.dev/ml"
)

// createRun is the body of a run's PATCH, which makes the run when it is missing.
type createRun struct {
	ID          string             `json:"runId"`
	Parent      string             `json:"parentRunId"`
	Status      ml.Status          `json:"status"`
	Start       stamp              `json:"startTimeUtc"`
	End         stamp              `json:"endTimeUtc"`
	DisplayName *string            `json:"displayName"`
	Name        *string            `json:"name"`
	Description *string            `json:"description"`
	Hidden      *bool              `json:"hidden"`
	RunType     string             `json:"runType"`
	TypeV2      *typeBody          `json:"runTypeV2"`
	Target      *string            `json:"target"`
	Tags        map[string]*string `json:"tags"`
	Properties  map[string]*string `json:"properties"`
	Parameters  map[string]any     `json:"parameters"`
}

func patchRun(ctx context.Context, q *request) (any, error) {
	var in createRun
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if in.ID != "" && in.ID != q.path["run"] {
		return nil, badRequest("runId '%s' of the body is not the path's '%s'.", in.ID, q.path["run"])
	}
	in.ID = q.path["run"]
	r, err := q.putRun(ctx, in)
	if err != nil {
		return nil, err
	}
	return q.show(ctx, r)
}

func patchRuns(ctx context.Context, q *request) (any, error) {
	var in struct {
		Runs []createRun `json:"runs"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	runs, errs := map[string]any{}, map[string]any{}
	for _, one := range in.Runs {
		r, err := q.putRun(ctx, one)
		if e := asError(err); e != nil {
			errs[one.ID] = q.errorBody(e)
			continue
		}
		if err != nil {
			return nil, err
		}
		if runs[one.ID], err = q.show(ctx, r); err != nil {
			return nil, err
		}
	}
	return map[string]any{"runs": runs, "errors": errs}, nil
}

var runID = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,256}$`)

// putRun changes a run, or makes it in the experiment that the path names.
func (q *request) putRun(ctx context.Context, in createRun) (*ml.Run, error) {
	if !runID.MatchString(in.ID) {
		return nil, badRequest("Run ids hold letters, digits, underscores, dots and hyphens, 256 at most: '%s' is none.", in.ID)
	}
	old, err := q.s.Runs.Run(ctx, q.ws.GUID, in.ID)
	if errors.Is(err, ml.ErrNotFound) {
		return q.newRun(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	if err := q.hold(old); err != nil {
		return nil, err
	}
	if q.path["run"] != "" {
		if _, err := q.findRun(ctx); err != nil {
			return nil, err
		}
	}
	return q.s.Runs.UpdateRun(ctx, q.ws.GUID, in.ID, func(r *ml.Run) error { return in.apply(r, q.s.Clock.Now()) })
}

func (q *request) newRun(ctx context.Context, in createRun) (*ml.Run, error) {
	if q.path["experiment"] == "" && q.path["experimentId"] == "" {
		return nil, notFound("Run %s not found in this workspace.", in.ID)
	}
	e, err := q.experiment(ctx)
	if err != nil {
		return nil, err
	}
	r := &ml.Run{ID: in.ID, ExperimentID: e.ID, Parent: in.Parent, User: q.caller.User, Creator: q.caller.Run, Type: in.RunType, Properties: map[string]string{}}
	if q.caller.Run != "" {
		own, err := q.loadRun(ctx, q.caller.Run)
		if err != nil {
			return nil, err
		}
		if own.ExperimentID != e.ID {
			return nil, userError(http.StatusForbidden, "Forbidden", "The token of run '%s' makes runs in experiment %s only.", own.ID, own.Experiment)
		}
	}
	if r.Type == "" && in.TypeV2 != nil && len(in.TypeV2.Traits) > 0 {
		r.Type = in.TypeV2.Traits[0]
	}
	if err := in.apply(r, q.s.Clock.Now()); err != nil {
		return nil, err
	}
	return r, q.s.Runs.CreateRun(ctx, q.ws.GUID, r)
}

var statuses = map[ml.Status]bool{
	ml.NotStarted: true, ml.Queued: true, ml.Preparing: true, ml.Starting: true, ml.Running: true, ml.Finalizing: true,
	ml.CancelRequested: true, ml.Completed: true, ml.Failed: true, ml.Canceled: true,
}

// ownsStatus reports whether clients set the run's status: a job's follows its process.
func ownsStatus(r *ml.Run) bool { return r.Properties["azureml.jobId"] == "" }

// apply changes r as asked. Properties are immutable once set, as in Azure.
func (in *createRun) apply(r *ml.Run, now time.Time) error {
	for _, n := range []*string{in.Name, in.DisplayName} {
		if n != nil {
			r.Name = *n
		}
	}
	if in.Target != nil {
		r.Target = *in.Target
	}
	if in.Hidden != nil {
		r.Deleted = *in.Hidden
	}
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	merge(r.Tags, in.Tags)
	if in.Description != nil {
		r.Tags[noteTag] = *in.Description
	}
	for k, v := range in.Properties {
		old, set := r.Properties[k]
		if v == nil || set && old != *v {
			return userError(http.StatusBadRequest, "Immutable", "Property '%s' of run %s is set and immutable.", k, r.ID)
		}
		if r.Properties == nil {
			r.Properties = map[string]string{}
		}
		r.Properties[k] = *v
	}
	for k, v := range in.Parameters {
		s, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			if err != nil {
				return err
			}
			s = string(b)
		}
		if err := r.SetParam(k, s); err != nil {
			return err
		}
	}
	return in.applyStatus(r, now)
}

func (in *createRun) applyStatus(r *ml.Run, now time.Time) error {
	if in.Status != "" && !statuses[in.Status] {
		return badRequest("'%s' is no status of a run.", in.Status)
	}
	if !ownsStatus(r) {
		return nil
	}
	if t := time.Time(in.Start); !t.IsZero() {
		r.Started = t
	}
	if in.Status != "" {
		if t := time.Time(in.End); !t.IsZero() && in.Status.Terminal() {
			now = t
		}
		if r.Status == "" {
			r.Status = ml.NotStarted
		}
		return r.SetStatus(in.Status, now)
	}
	return nil
}

func patchTags(ctx context.Context, q *request) (any, error) {
	var in struct {
		Modify map[string]string `json:"tagsToModify"`
		Delete []string          `json:"tagsToDelete"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	return q.changeRun(ctx, func(r *ml.Run) error {
		for _, k := range in.Delete {
			delete(r.Tags, k)
		}
		for k, v := range in.Modify {
			r.SetTag(k, v)
		}
		return nil
	})
}

func deleteTags(ctx context.Context, q *request) (any, error) {
	var tags []string
	if err := q.decode(&tags); err != nil {
		return nil, err
	}
	return q.changeRun(ctx, func(r *ml.Run) error {
		for _, k := range tags {
			delete(r.Tags, k)
		}
		return nil
	})
}

func (q *request) changeRun(ctx context.Context, f func(*ml.Run) error) (any, error) {
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	if r, err = q.s.Runs.UpdateRun(ctx, q.ws.GUID, r.ID, f); err != nil {
		return nil, err
	}
	return q.show(ctx, r)
}
