package runhistory

import (
	"context"
	"net/http"
	"strings"
)

// Actions of Microsoft.MachineLearningServices that this API takes.
const (
	readWorkspace    = workspaceType + "/read"
	readExperiments  = workspaceType + "/experiments/read"
	writeExperiments = workspaceType + "/experiments/write"
	dropExperiments  = workspaceType + "/experiments/delete"
	readRuns         = workspaceType + "/experiments/runs/read"
	writeRuns        = workspaceType + "/experiments/runs/write"
)

// route is one operation: its permission stands beside it, and a path without one does not exist.
type route struct {
	method     string
	pattern    []string // literals, {variables}; a last {variable...} takes the rest of the path
	permission string
	run        func(ctx context.Context, q *request) (any, error)
}

// table lists the operations by service and version. The first that matches is taken.
func table() map[string][]route {
	t := map[string][]route{}
	for _, group := range [][]entry{experimentRoutes, runRoutes, runArtifactRoutes, artifactRoutes, metricRoutes} {
		for _, e := range group {
			for _, path := range expand(e.path) {
				service, version, rest := cut3(path)
				key := service + "/" + version
				t[key] = append(t[key], route{e.method, strings.Split(rest, "/"), e.permission, e.run})
			}
		}
	}
	return t
}

// entry is a route as it is written down.
type entry struct {
	method, path, permission string
	run                      func(ctx context.Context, q *request) (any, error)
}

// expand writes out the three ways in which run history names a run (below its experiment's name, below
// its experiment's id, or alone), which [run] stands for, and the two ways to name an experiment, [experiment].
func expand(path string) []string {
	if head, tail, ok := strings.Cut(path, "[run]"); ok {
		return []string{head + "experiments/{experiment}/runs/{run}" + tail, head + "experimentids/{experimentId}/runs/{run}" + tail, head + "runs/{run}" + tail}
	}
	if head, tail, ok := strings.Cut(path, "[experiment]"); ok {
		return []string{head + "experiments/{experiment}" + tail, head + "experimentids/{experimentId}" + tail}
	}
	return []string{path}
}

func cut3(path string) (service, version, rest string) {
	service, path, _ = strings.Cut(path, "/")
	version, rest, _ = strings.Cut(path, "/")
	return service, version, rest
}

// match binds the variables of a pattern; literals are compared without case.
func match(pattern, segs []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, p := range pattern {
		if name, rest := strings.CutSuffix(p, "...}"); rest {
			if i >= len(segs) {
				return nil, false
			}
			vars[name[1:]] = strings.Join(segs[i:], "/")
			return vars, true
		}
		if i >= len(segs) {
			return nil, false
		}
		if p[0] == '{' {
			vars[p[1:len(p)-1]] = segs[i]
		} else if !strings.EqualFold(p, segs[i]) {
			return nil, false
		}
	}
	return vars, len(pattern) == len(segs)
}

// undone are the services of a workspace that older clients call and that this data plane does not have.
var undone = map[string]string{
	"modelmanagement": "SDK v1's model management", "environment": "SDK v1's environments", "execution": "SDK v1's run submission",
	"content": "SDK v1's snapshots", "credential": "SDK v1's secrets", "datastore": "SDK v1's datastores", "dataset": "SDK v1's datasets",
	"data": "SDK v1's data assets", "datacache": "data caches", "jasmine": "automated ML", "rp": "SDK v1's view of computes",
	"hyperdrive": "hyperparameter sweeps", "pipelines": "pipelines", "studioservice": "pipelines", "mferp": "batch endpoints", "rosetta": "asset lookups",
	"assetstore": "asset lookups", "schedule": "schedules", "labeling": "labeling",
	// Services that stand here in part.
	"history": "", "artifact": "", "metric": "",
}

func (q *request) findRoute() (route, error) {
	allowed := ""
	for _, r := range q.s.routes[q.target.service+"/"+q.target.version] {
		vars, ok := match(r.pattern, q.target.rest)
		if !ok {
			continue
		}
		if r.method == q.r.Method || r.method == http.MethodGet && q.r.Method == http.MethodHead {
			q.path = vars
			return r, nil
		}
		allowed += ", " + r.method
	}
	if allowed != "" {
		e := userError(http.StatusMethodNotAllowed, "BadArgument", "%s is not done on this path.", q.r.Method)
		e.Header = map[string]string{"Allow": allowed[2:]}
		return route{}, e
	}
	what, known := undone[q.target.service]
	if !known {
		return route{}, notFound("The requested resource '%s' was not found.", q.r.URL.Path)
	}
	if what == "" {
		what = "this operation of the " + q.target.service + " service"
	}
	return route{permission: readWorkspace, run: func(context.Context, *request) (any, error) {
		return nil, &Error{Status: http.StatusNotImplemented, Code: "NotImplemented", Message: "Vauban does not serve " + what + " (" + q.r.Method + " " + q.r.URL.Path + ")."}
	}}, nil
}
