// Package mlflow is MLflow's REST API 2.0 as an Azure Machine Learning workspace serves it, below
// /mlflow/v1.0 and /mlflow/v2.0 of its data plane: experiments, runs, metrics, the model registry. Runs
// are those of package ml, models those of Resource Manager: there is one store.
// https://mlflow.org/docs/latest/rest-api.html
package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/httpx"
	"vauban.dev/ml"
	"vauban.dev/store"
)

// Workspace that a request is for; whoever routes the request has authorised the caller.
type Workspace = ml.Workspace

// Service serves the API.
type Service struct {
	runs   *ml.Store
	models Models
	files  Files
	clock  clock.Clock
	log    *slog.Logger
	calls  map[string]call // by method and path below api/2.0/mlflow; of 3.0, below api
	// patterns are those of calls whose path has variables.
	patterns []pattern
}

// Actions that operations take on the workspace.
const (
	workspaces      = "Microsoft.MachineLearningServices/workspaces"
	readExperiment  = workspaces + "/experiments/read"
	writeExperiment = workspaces + "/experiments/write"
	dropExperiment  = workspaces + "/experiments/delete"
	readRun         = workspaces + "/experiments/runs/read"
	writeRun        = workspaces + "/experiments/runs/write"
	readModel       = workspaces + "/models/read"
	writeModel      = workspaces + "/models/write"
	dropModel       = workspaces + "/models/delete"
)

// call is one operation and the action that it takes.
type call struct {
	method, permission string
	do                 func(ctx context.Context, c *request) (any, error)
}

// pattern is a path with variables, {name}, for one segment each.
type pattern struct {
	method   string
	segments []string
	call     call
}

// match binds the variables of the pattern.
func (p *pattern) match(method string, segments []string) (map[string]string, bool) {
	if method != p.method || len(segments) != len(p.segments) {
		return nil, false
	}
	vars := map[string]string{}
	for i, want := range p.segments {
		if name, ok := strings.CutPrefix(want, "{"); ok && segments[i] != "" {
			vars[strings.TrimSuffix(name, "}")] = segments[i]
		} else if want != segments[i] {
			return nil, false
		}
	}
	return vars, true
}

// request is one request.
type request struct {
	path   map[string]string // variables
	ws     Workspace
	caller ml.Caller
	query  url.Values
	body   []byte
	fields map[string]any // of the body, once get has read them
}

// Files are the artifacts of a workspace.
type Files interface {
	// List returns the names and sizes in bytes of the artifacts of a container ("dcid.{run}"), by path below it.
	List(ctx context.Context, workspace arm.ID, container string) ([]File, error)
}

// File is one artifact.
type File struct {
	Path string
	Size int64
}

// New returns the service.
func New(runs *ml.Store, models Models, files Files, c clock.Clock, log *slog.Logger) *Service {
	s := &Service{runs: runs, models: models, files: files, clock: c, log: log}
	s.calls = s.table()
	for _, name := range sortedKeys(s.calls) {
		if strings.Contains(name, "{") {
			method, path, _ := strings.Cut(name, " ")
			s.patterns = append(s.patterns, pattern{method, strings.Split(path, "/"), s.calls[name]})
		}
	}
	return s
}

// Error is MLflow's error body.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"error_code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func invalid(message string) *Error {
	return &Error{http.StatusBadRequest, "INVALID_PARAMETER_VALUE", message}
}

func notFound(message string) *Error {
	return &Error{http.StatusNotFound, "RESOURCE_DOES_NOT_EXIST", message}
}

// Permission is the action that a request takes on the workspace, "" for an operation that does not exist.
func (s *Service) Permission(method, path string) string {
	c, _, _ := s.find(method, path)
	return c.permission
}

// find returns the operation of a path, and the path's variables.
func (s *Service) find(method, path string) (c call, vars map[string]string, ok bool) {
	name, ok := operation(path)
	if !ok {
		return c, nil, false
	}
	if c, ok := s.calls[method+" "+name]; ok && !strings.Contains(name, "{") {
		return c, nil, true
	}
	segments := strings.Split(name, "/")
	for i := range s.patterns {
		if vars, ok := s.patterns[i].match(method, segments); ok {
			return s.patterns[i].call, vars, true
		}
	}
	return c, nil, false
}

// operation is what stands in table for a path.
func operation(path string) (name string, ok bool) {
	for _, root := range []string{"/api/2.0/mlflow/", "/api/2.0/preview/mlflow/"} {
		if _, name, ok = strings.Cut(path, root); ok {
			return strings.TrimSuffix(name, "/"), true
		}
	}
	if _, name, ok = strings.Cut(path, "/api/3.0/mlflow/"); ok {
		return "3.0/" + strings.TrimSuffix(name, "/"), true
	}
	return "", false
}

const maxBody = 8 << 20

// Serve answers a request of ws by a caller who has the operation's Permission. A caller with a run's token
// is held to that run here.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, ws Workspace, c ml.Caller) {
	answer, err := s.serve(w, r, ws, c)
	status := http.StatusOK
	if err != nil {
		e := s.render(err)
		answer, status = e, e.Status
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		s.log.Debug("mlflow: answer not written", "error", err)
	}
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request, ws Workspace, by ml.Caller) (any, error) {
	c, vars, ok := s.find(r.Method, r.URL.Path)
	if !ok {
		return nil, &Error{http.StatusNotFound, "ENDPOINT_NOT_FOUND", "The workspace does not serve " + r.Method + " " + r.URL.Path + "."}
	}
	body, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return nil, &Error{http.StatusRequestEntityTooLarge, "INVALID_PARAMETER_VALUE", "The request could not be read, or is larger than 8 MiB."}
	}
	answer, err := c.do(r.Context(), &request{path: vars, ws: ws, caller: by, body: body, query: r.URL.Query()})
	if answer == nil {
		answer = struct{}{}
	}
	return answer, err
}

// render turns what the store and Resource Manager say into MLflow's errors; anything else is a bare 500.
func (s *Service) render(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if a := arm.AsError(err); a != nil {
		code := "INVALID_PARAMETER_VALUE"
		if a.Status == http.StatusNotFound {
			code = "RESOURCE_DOES_NOT_EXIST"
		}
		return &Error{a.Status, code, a.Message}
	}
	switch {
	case errors.Is(err, ml.ErrNotFound):
		what := "experiment or run"
		if named := ml.Reason(err); named != err.Error() {
			what = named
		}
		return notFound("The " + what + " does not exist in this workspace.")
	case errors.Is(err, ml.ErrExists):
		return &Error{http.StatusBadRequest, "RESOURCE_ALREADY_EXISTS", "An experiment or run of that name exists."}
	case errors.Is(err, ml.ErrImmutable):
		return invalid(ml.Reason(err))
	}
	s.log.Error("mlflow", "error", err)
	if errors.Is(err, store.ErrFull) {
		return &Error{http.StatusInsufficientStorage, "INSUFFICIENT_STORAGE", httpx.DiskFull}
	}
	return &Error{http.StatusInternalServerError, "INTERNAL_ERROR", "The request failed."}
}

// decode reads the body into v.
func (c *request) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	err := json.Unmarshal(c.body, v)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && wrong.Field != "" {
		return invalid("Invalid value " + wrong.Value + " for parameter '" + wrong.Field + "' supplied: a " + wrong.Type.Kind().String() + " is expected.")
	}
	if err != nil {
		return invalid("The body is not valid JSON for this operation: " + err.Error())
	}
	return nil
}

// get is the value of a query parameter, or of the same text field in the body.
func (c *request) get(name string) string {
	if v := c.query.Get(name); v != "" {
		return v
	}
	if c.fields == nil {
		if json.Unmarshal(c.body, &c.fields) != nil || c.fields == nil {
			c.fields = map[string]any{}
		}
	}
	s, _ := c.fields[name].(string)
	return s
}

func (s *Service) table() map[string]call {
	get, post := http.MethodGet, http.MethodPost
	t := map[string]call{}
	add := func(method, name, permission string, do func(context.Context, *request) (any, error)) {
		t[method+" "+name] = call{method, permission, do}
	}
	add(post, "experiments/create", writeExperiment, s.createExperiment)
	add(get, "experiments/get", readExperiment, s.getExperiment)
	add(get, "experiments/get-by-name", readExperiment, s.getExperimentByName)
	add(post, "experiments/search", readExperiment, s.searchExperiments)
	add(get, "experiments/search", readExperiment, s.searchExperiments)
	add(get, "experiments/list", readExperiment, s.searchExperiments)
	add(post, "experiments/update", writeExperiment, s.updateExperiment)
	add(post, "experiments/delete", dropExperiment, s.deleteExperiment(true))
	add(post, "experiments/restore", writeExperiment, s.deleteExperiment(false))
	add(post, "experiments/set-experiment-tag", writeExperiment, s.setExperimentTag)
	add(post, "experiments/delete-experiment-tag", writeExperiment, s.deleteExperimentTag)
	add(post, "runs/create", writeRun, s.createRun)
	add(get, "runs/get", readRun, s.getRun)
	add(post, "runs/update", writeRun, s.updateRun)
	add(post, "runs/delete", writeRun, s.deleteRun(true))
	add(post, "runs/restore", writeRun, s.deleteRun(false))
	add(post, "runs/log-metric", writeRun, s.logMetric)
	add(post, "runs/log-parameter", writeRun, s.logParameter)
	add(post, "runs/log-batch", writeRun, s.logBatch)
	add(post, "runs/log-batch-async", writeRun, s.logBatchAsync)
	add(get, "runs/get-run-data-status", readRun, s.dataStatus)
	add(post, "runs/set-tag", writeRun, s.setTag)
	add(post, "runs/delete-tag", writeRun, s.deleteTag)
	add(post, "runs/log-model", writeRun, s.logModel)
	add(post, "runs/log-inputs", writeRun, s.logInputs)
	add(post, "runs/search", readRun, s.searchRuns)
	add(get, "metrics/get-history", readRun, s.history)
	add(get, "metrics/get-history-bulk", readRun, s.historyBulk)
	add(get, "metrics/get-history-bulk-interval", readRun, s.historyInterval)
	add(post, "runs/outputs", writeRun, s.logOutputs)
	add(post, "experiments/search-datasets", readRun, s.searchDatasets)
	add(get, "artifacts/list", readRun, s.listArtifacts)
	s.addLoggedModels(add)
	s.addTraces(add)
	s.addRegistry(add)
	return t
}

type adder func(method, name, permission string, do func(context.Context, *request) (any, error))

func (s *Service) addLoggedModels(add adder) {
	add(http.MethodPost, "logged-models", writeRun, s.createLoggedModel)
	add(http.MethodPost, "logged-models/search", readRun, s.searchLoggedModels)
	add(http.MethodGet, "logged-models/{model}", readRun, s.getLoggedModel)
	add(http.MethodPatch, "logged-models/{model}", writeRun, s.finalizeLoggedModel)
	add(http.MethodDelete, "logged-models/{model}", writeRun, s.deleteLoggedModel)
	add(http.MethodPatch, "logged-models/{model}/tags", writeRun, s.setLoggedModelTags)
	add(http.MethodDelete, "logged-models/{model}/tags/{tag}", writeRun, s.deleteLoggedModelTag)
	add(http.MethodPost, "logged-models/{model}/params", writeRun, s.logLoggedModelParams)
}

func (s *Service) addTraces(add adder) {
	add(http.MethodPost, "3.0/traces", writeRun, s.startTrace)
	add(http.MethodGet, "3.0/traces/{trace}", readRun, s.getTrace)
	add(http.MethodPost, "3.0/traces/search", readRun, s.searchTraces)
	add(http.MethodPost, "3.0/traces/batchGetInfos", readRun, s.batchTraceInfos)
	add(http.MethodPost, "traces/link-to-run", writeRun, s.linkTraces)
	for _, version := range []string{"", "3.0/"} {
		add(http.MethodPatch, version+"traces/{trace}/tags", writeRun, s.setTraceTag)
		add(http.MethodDelete, version+"traces/{trace}/tags", writeRun, s.deleteTraceTag)
		add(http.MethodPost, version+"traces/delete-traces", writeRun, s.deleteTraces)
	}
}

func (s *Service) addRegistry(add adder) {
	get, post, patch, del := http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	add(post, "registered-models/create", writeModel, s.createModel)
	add(patch, "registered-models/update", writeModel, s.updateModel)
	add(post, "registered-models/rename", writeModel, s.renameModel)
	add(del, "registered-models/delete", dropModel, s.deleteModel)
	add(post, "registered-models/set-tag", writeModel, s.setModelTag)
	add(del, "registered-models/delete-tag", writeModel, s.deleteModelTag)
	add(post, "registered-models/alias", writeModel, s.setAlias)
	add(del, "registered-models/alias", writeModel, s.deleteAlias)
	add(get, "registered-models/alias", readModel, s.versionByAlias)
	add(patch, "model-versions/update", writeModel, s.updateVersion)
	add(del, "model-versions/delete", dropModel, s.deleteVersion)
	add(post, "model-versions/set-tag", writeModel, s.setVersionTag)
	add(del, "model-versions/delete-tag", writeModel, s.deleteVersionTag)
	add(post, "model-versions/transition-stage", writeModel, s.transition)
	add(get, "registered-models/get", readModel, s.getModel)
	add(get, "registered-models/search", readModel, s.searchModels)
	add(post, "registered-models/get-latest-versions", readModel, s.latestVersions)
	add(get, "registered-models/get-latest-versions", readModel, s.latestVersions)
	add(post, "model-versions/create", writeModel, s.createVersion)
	add(get, "model-versions/get", readModel, s.getVersion)
	add(get, "model-versions/search", readModel, s.searchVersions)
	add(get, "model-versions/get-download-uri", readModel, s.downloadURI)
}
