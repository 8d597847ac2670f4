// Package mlflow is MLflow's REST API 2.0 as an Azure Machine Learning workspace serves it, below
// /mlflow/v1.0 and /mlflow/v2.0 of its data plane: experiments, runs, metrics, the model registry. Runs
// are those of package ml, models those of Resource Manager: there is one store.
// https://mlflow.org/docs/latest/rest-api.html
package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/internal/clock"
	"vauban.dev/ml"
)

// Workspace that a request is for; whoever routes the request has authorised the caller.
type Workspace struct {
	GUID string
	ID   arm.ID
	Host string // of the data plane, as clients of this workspace know it
}

// Service serves the API.
type Service struct {
	runs   *ml.Store
	models Models
	clock  clock.Clock
	log    *slog.Logger
	calls  map[string]call
}

// call is one operation; write says which permission it takes.
type call struct {
	method string
	write  bool
	do     func(ctx context.Context, c *caller) (any, error)
}

// caller is one request.
type caller struct {
	ws    Workspace
	user  ml.User
	query func(string) []string
	body  []byte
}

// New returns the service.
func New(runs *ml.Store, models Models, c clock.Clock, log *slog.Logger) *Service {
	s := &Service{runs: runs, models: models, clock: c, log: log}
	s.calls = s.table()
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

// Writes reports whether the operation of a path changes anything; ok is false for one that does not exist.
func (s *Service) Writes(method, path string) (write, ok bool) {
	c, ok := s.find(method, path)
	return c.write, ok
}

func (s *Service) find(method, path string) (call, bool) {
	_, name, ok := strings.Cut(path, "/api/2.0/mlflow/")
	if !ok {
		if _, name, ok = strings.Cut(path, "/api/2.0/preview/mlflow/"); !ok {
			return call{}, false
		}
	}
	c, ok := s.calls[method+" "+strings.TrimSuffix(name, "/")]
	return c, ok
}

const maxBody = 8 << 20

// Serve answers a request of ws by user.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, ws Workspace, user ml.User) {
	answer, err := s.serve(w, r, ws, user)
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

func (s *Service) serve(w http.ResponseWriter, r *http.Request, ws Workspace, user ml.User) (any, error) {
	c, ok := s.find(r.Method, r.URL.Path)
	if !ok {
		return nil, &Error{http.StatusNotFound, "ENDPOINT_NOT_FOUND", "The workspace does not serve " + r.Method + " " + r.URL.Path + "."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, &Error{http.StatusRequestEntityTooLarge, "INVALID_PARAMETER_VALUE", "The request is larger than 8 MiB."}
	}
	query := r.URL.Query()
	answer, err := c.do(r.Context(), &caller{ws: ws, user: user, body: body, query: func(k string) []string { return query[k] }})
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
		return notFound("The experiment or run does not exist in this workspace.")
	case errors.Is(err, ml.ErrExists):
		return &Error{http.StatusBadRequest, "RESOURCE_ALREADY_EXISTS", "An experiment or run of that name exists."}
	case errors.Is(err, ml.ErrImmutable):
		return invalid(err.Error())
	}
	s.log.Error("mlflow", "error", err)
	return &Error{http.StatusInternalServerError, "INTERNAL_ERROR", "The request failed."}
}

// decode reads the body into v.
func (c *caller) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return invalid("The body is not valid JSON for this operation: " + err.Error())
	}
	return nil
}

// get is the value of a query parameter, or of the same field in the body.
func (c *caller) get(name string) string {
	if v := c.query(name); len(v) > 0 {
		return v[0]
	}
	var m map[string]any
	if json.Unmarshal(c.body, &m) == nil {
		if s, ok := m[name].(string); ok {
			return s
		}
	}
	return ""
}

func (s *Service) table() map[string]call {
	get, post := http.MethodGet, http.MethodPost
	t := map[string]call{}
	add := func(method, name string, write bool, do func(context.Context, *caller) (any, error)) {
		t[method+" "+name] = call{method, write, do}
	}
	add(post, "experiments/create", true, s.createExperiment)
	add(get, "experiments/get", false, s.getExperiment)
	add(get, "experiments/get-by-name", false, s.getExperimentByName)
	add(post, "experiments/search", false, s.searchExperiments)
	add(get, "experiments/search", false, s.searchExperiments)
	add(get, "experiments/list", false, s.searchExperiments)
	add(post, "experiments/update", true, s.updateExperiment)
	add(post, "experiments/delete", true, s.deleteExperiment(true))
	add(post, "experiments/restore", true, s.deleteExperiment(false))
	add(post, "experiments/set-experiment-tag", true, s.setExperimentTag)
	add(post, "runs/create", true, s.createRun)
	add(get, "runs/get", false, s.getRun)
	add(post, "runs/update", true, s.updateRun)
	add(post, "runs/delete", true, s.deleteRun(true))
	add(post, "runs/restore", true, s.deleteRun(false))
	add(post, "runs/log-metric", true, s.logMetric)
	add(post, "runs/log-parameter", true, s.logParameter)
	add(post, "runs/log-batch", true, s.logBatch)
	add(post, "runs/set-tag", true, s.setTag)
	add(post, "runs/delete-tag", true, s.deleteTag)
	add(post, "runs/log-model", true, s.logModel)
	add(post, "runs/log-inputs", true, s.logInputs)
	add(post, "runs/search", false, s.searchRuns)
	add(get, "metrics/get-history", false, s.history)
	add(post, "registered-models/create", true, s.createModel)
	add(get, "registered-models/get", false, s.getModel)
	add(get, "registered-models/search", false, s.searchModels)
	add(post, "registered-models/get-latest-versions", false, s.latestVersions)
	add(get, "registered-models/get-latest-versions", false, s.latestVersions)
	add(post, "model-versions/create", true, s.createVersion)
	add(get, "model-versions/get", false, s.getVersion)
	add(get, "model-versions/search", false, s.searchVersions)
	add(get, "model-versions/get-download-uri", false, s.downloadURI)
	return t
}
