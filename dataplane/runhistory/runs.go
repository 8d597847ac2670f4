package runhistory

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/ml"
)

var runRoutes = []entry{
	{http.MethodPost, "history/v1.0/[experiment]/runs:query", readRuns, queryRuns},
	{http.MethodPost, "history/v1.0/[experiment]/runs/runIds", readRuns, runsByID},
	{http.MethodPatch, "history/v1.0/[experiment]/batch/runs", writeRuns, patchRuns},
	{http.MethodPost, "history/v1.0/rundata", readRuns, runData},
	{http.MethodPost, "history/v1.0/batchrundata", readRuns, batchRunData},
	{http.MethodGet, "history/v1.0/[run]/details", readRuns, runDetails},
	{http.MethodGet, "history/v1.0/[run]/children", readRuns, childRuns},
	{http.MethodGet, "history/v1.0/[run]/token", readRuns, renewToken},
	{http.MethodPost, "history/v1.0/[run]/events", writeRuns, postEvent},
	{http.MethodPost, "history/v1.0/[experiment]/batch/events", writeRuns, postEvents},
	{http.MethodPost, "history/v1.0/batch/events", writeRuns, postEvents},
	{http.MethodDelete, "history/v1.0/[run]/tags", writeRuns, deleteTags},
	{http.MethodPatch, "history/v1.0/[run]/tags", writeRuns, patchTags},
	{http.MethodGet, "history/v1.0/[run]/metricsingest/wait", readRuns, waitOnIngest},
	{http.MethodGet, "history/v1.0/[run]", readRuns, getRun},
	{http.MethodPatch, "history/v1.0/[run]", writeRuns, patchRun},
}

// findRun is the run that the path names; it must be of the experiment that the path names, and one that
// the caller's token opens.
func (q *request) findRun(ctx context.Context) (*ml.Run, error) {
	r, err := q.loadRun(ctx, q.path["run"])
	if err != nil {
		return nil, err
	}
	return r, q.inExperiment(r)
}

// inExperiment refuses a run that is not of the experiment that the path names.
func (q *request) inExperiment(r *ml.Run) error {
	// MLflow's artifact URIs carry the id where others have the name, and its client puts it here.
	if n := q.path["experiment"]; n != "" && !strings.EqualFold(n, r.Experiment) && !strings.EqualFold(n, r.ExperimentID) {
		return notFound("Run %s is not in experiment %s.", r.ID, n)
	}
	if id := q.path["experimentId"]; id != "" && !strings.EqualFold(id, r.ExperimentID) {
		return notFound("Run %s is not in experiment %s.", r.ID, id)
	}
	return nil
}

// loadOwner is loadRun for what has artifacts: besides runs the logged models and traces of MLflow 3, which are shown as a run
// that has their id and experiment only.
func (q *request) loadOwner(ctx context.Context, id string) (*ml.Run, error) {
	m, err := q.s.Runs.LoggedModel(ctx, q.ws.GUID, id)
	if err == nil && q.caller.HoldsModel(m) {
		return &ml.Run{ID: m.ID, ExperimentID: m.ExperimentID}, nil
	}
	if err != nil && !errors.Is(err, ml.ErrNotFound) {
		return nil, err
	}
	t, err := q.s.Runs.Trace(ctx, q.ws.GUID, id)
	if err == nil && q.caller.HoldsTrace(t) {
		return &ml.Run{ID: t.ID, ExperimentID: t.ExperimentID}, nil
	}
	if err != nil && !errors.Is(err, ml.ErrNotFound) {
		return nil, err
	}
	return q.loadRun(ctx, id)
}

func (q *request) loadRun(ctx context.Context, id string) (*ml.Run, error) {
	r, err := q.s.Runs.Run(ctx, q.ws.GUID, id)
	if errors.Is(err, ml.ErrNotFound) {
		if q.caller.Run != "" && q.caller.Run != id { // what a run token does not open it is not told of
			return nil, q.hold(&ml.Run{ID: id})
		}
		return nil, notFound("Run %s not found in this workspace.", id)
	}
	if err != nil {
		return nil, err
	}
	return r, q.hold(r)
}

// maxGenerations bounds the walk from a run to its root.
const maxGenerations = 32

func (q *request) rootOf(ctx context.Context, r *ml.Run) (string, error) {
	root := r
	for range maxGenerations {
		if root.Parent == "" {
			break
		}
		p, err := q.s.Runs.Run(ctx, q.ws.GUID, root.Parent)
		if errors.Is(err, ml.ErrNotFound) {
			return root.Parent, nil
		}
		if err != nil {
			return "", err
		}
		root = p
	}
	return root.ID, nil
}

func (q *request) show(ctx context.Context, r *ml.Run) (runBody, error) {
	root, err := q.rootOf(ctx, r)
	return q.showRun(r, root), err
}

func getRun(ctx context.Context, q *request) (any, error) {
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	return q.show(ctx, r)
}

// runDetails is a run with the URLs of its logs, which clients poll while they stream them.
func runDetails(ctx context.Context, q *request) (any, error) {
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	b, err := q.show(ctx, r)
	if err != nil {
		return nil, err
	}
	b.LogFiles, err = q.logFiles(ctx, r)
	return b, err
}

type runDataRequest struct {
	RunID string `json:"runId"`
}

func (q *request) runData(ctx context.Context, in runDataRequest) (any, error) {
	if in.RunID == "" {
		return nil, badRequest("runId is missing.")
	}
	r, err := q.loadRun(ctx, in.RunID)
	if err != nil {
		return nil, err
	}
	b, err := q.show(ctx, r)
	return map[string]any{"runMetadata": b, "runDefinition": nil, "jobSpecification": nil}, err
}

func runData(ctx context.Context, q *request) (any, error) {
	var in runDataRequest
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	return q.runData(ctx, in)
}

func batchRunData(ctx context.Context, q *request) (any, error) {
	var in struct {
		Requests map[string]runDataRequest `json:"requests"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	good, bad := map[string]any{}, map[string]any{}
	for k, one := range in.Requests {
		b, err := q.runData(ctx, one)
		if e := asError(err); e != nil {
			bad[k] = q.errorBody(e)
		} else if err != nil {
			return nil, err
		} else {
			good[k] = b
		}
	}
	return map[string]any{"successfulResults": good, "failedResults": bad}, nil
}

func (q *request) showAll(ctx context.Context, runs []*ml.Run) ([]runBody, error) {
	out := []runBody{}
	for _, r := range runs {
		b, err := q.show(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// visible collects the runs of an experiment that f holds for and that the caller's token opens, the newest
// first.
func (q *request) visible(ctx context.Context, experiment string, f func(*ml.Run) bool) (found []*ml.Run, err error) {
	err = q.s.Runs.Runs(ctx, q.ws.GUID, experiment, func(r *ml.Run) bool {
		if q.caller.Holds(r) && f(r) {
			found = append(found, r)
		}
		return true
	})
	return found, err
}

func queryRuns(ctx context.Context, q *request) (any, error) {
	var in queryParams
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter)
	if err != nil {
		return nil, err
	}
	e, err := q.experiment(ctx)
	if err != nil {
		return nil, err
	}
	found, err := q.visible(ctx, e.ID, func(r *ml.Run) bool { return !r.Deleted && f.holds(runFields(r)) })
	if err != nil {
		return nil, err
	}
	if err := sortBy(found, in.OrderBy, runFields); err != nil {
		return nil, err
	}
	part, next, err := in.cut(len(found))
	if err != nil {
		return nil, err
	}
	out, err := q.showAll(ctx, found[part[0]:part[1]])
	return q.nextPage(out, next), err
}

func runFields(r *ml.Run) fields {
	return func(name []string) (value, bool) {
		switch name[0] {
		case "runid":
			return text(r.ID), true
		case "status":
			return text(string(r.Status)), true
		case "runtype", "type":
			return text(r.Type), true
		case "name", "displayname":
			return text(r.Name), true
		case "target":
			return text(r.Target), true
		case "parentrunid":
			return text(r.Parent), r.Parent != ""
		case "experimentid":
			return text(r.ExperimentID), true
		case "userid":
			return text(r.User.ObjectID), true
		case "createdutc", "createdtimeutc":
			return moment(r.Created), true
		case "starttimeutc":
			return moment(r.Started), !r.Started.IsZero()
		case "endtimeutc":
			return moment(r.Ended), !r.Ended.IsZero()
		case "tags":
			return keyed(r.Tags, name)
		case "properties":
			return keyed(r.Properties, name)
		case "parameters":
			return keyed(r.Params, name)
		case "metrics":
			if len(name) == 2 {
				m, ok := r.Metrics[name[1]]
				return number(float64(m.Value)), ok
			}
		}
		return value{}, false
	}
}

func childRuns(ctx context.Context, q *request) (any, error) {
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	v := q.r.URL.Query()
	in := queryParams{Token: v.Get("continuationToken"), OrderBy: v.Get("$orderby"), Filter: v.Get("$filter")}
	if in.Top, err = integer(v.Get("$top")); err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter)
	if err != nil {
		return nil, err
	}
	found, err := q.visible(ctx, r.ExperimentID, func(c *ml.Run) bool { return c.Parent == r.ID && !c.Deleted && f.holds(runFields(c)) })
	if err != nil {
		return nil, err
	}
	if err := sortBy(found, in.OrderBy, runFields); err != nil {
		return nil, err
	}
	part, next, err := in.cut(len(found))
	if err != nil {
		return nil, err
	}
	out, err := q.showAll(ctx, found[part[0]:part[1]])
	return q.nextPage(out, next), err
}

func runsByID(ctx context.Context, q *request) (any, error) {
	var in struct {
		IDs []string `json:"runIds"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	runs, errs := map[string]any{}, map[string]any{}
	for _, id := range in.IDs {
		r, err := q.loadRun(ctx, id)
		if e := asError(err); e != nil {
			errs[id] = q.errorBody(e)
			continue
		}
		if err != nil {
			return nil, err
		}
		if runs[id], err = q.show(ctx, r); err != nil {
			return nil, err
		}
	}
	return map[string]any{"runs": runs, "errors": errs}, nil
}

// waitOnIngest answers when all that was logged can be read, which is when it was acknowledged.
func waitOnIngest(ctx context.Context, q *request) (any, error) {
	_, err := q.findRun(ctx)
	return struct{}{}, err
}

// renewToken gives the code of a run that is not over a fresh token for the one it has.
func renewToken(ctx context.Context, q *request) (any, error) {
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	if q.run == nil || q.run.RunID != r.ID {
		return nil, userError(http.StatusForbidden, "Forbidden", "A run's token is renewed with the run's own token only.")
	}
	if r.Status.Terminal() {
		return nil, userError(http.StatusForbidden, "Forbidden", "Run %s is %s: its token is not renewed.", r.ID, r.Status)
	}
	t, err := q.s.Tokens.IssueRun(ctx, *q.run)
	return map[string]any{"token": t.AccessToken, "expiryTimeUtc": stamp(t.ExpiresOn)}, err
}
