package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/ml"
)

// The traces of MLflow 3. What is kept here is what a trace is found by; its spans are an artifact, traces.json, which clients
// upload to the trace's mlflow.artifactLocation.

const artifactLocation = "mlflow.artifactLocation"

var traceID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

type traceLocation struct {
	Type       string `json:"type"`
	Experiment struct {
		ID string `json:"experiment_id"`
	} `json:"mlflow_experiment"`
}

// traceInfo is MLflow's TraceInfoV3.
type traceInfo struct {
	ID          string            `json:"trace_id"`
	ClientID    string            `json:"client_request_id,omitempty"`
	Location    traceLocation     `json:"trace_location"`
	Request     string            `json:"request_preview,omitempty"`
	Response    string            `json:"response_preview,omitempty"`
	At          time.Time         `json:"request_time"`
	Took        string            `json:"execution_duration,omitempty"` // seconds, "1.5s"
	State       string            `json:"state"`
	Metadata    map[string]string `json:"trace_metadata"`
	Tags        map[string]string `json:"tags"`
	Assessments json.RawMessage   `json:"assessments,omitempty"`
}

func showTrace(t *ml.Trace) traceInfo {
	out := traceInfo{
		ID: t.ID, ClientID: t.ClientID, Request: t.Request, Response: t.Response, At: t.At.UTC(), State: t.State,
		Took: strconv.FormatFloat(t.Took.Seconds(), 'f', -1, 64) + "s", Metadata: t.Metadata, Tags: t.Tags, Assessments: t.Assessments,
	}
	out.Location.Type, out.Location.Experiment.ID = "MLFLOW_EXPERIMENT", t.ExperimentID
	return out
}

func (in *traceInfo) read() (*ml.Trace, error) {
	if in.Location.Type != "MLFLOW_EXPERIMENT" {
		return nil, invalid("Traces lie in experiments: trace_location.type is MLFLOW_EXPERIMENT, not '" + in.Location.Type + "'.")
	}
	if !traceID.MatchString(in.ID) {
		return nil, invalid("Invalid value for parameter 'trace_id': letters, digits, hyphens and underscores, 100 at most.")
	}
	t := &ml.Trace{
		ID: in.ID, ExperimentID: in.Location.Experiment.ID, ClientID: in.ClientID, Request: in.Request, Response: in.Response, At: in.At,
		State: in.State, Metadata: in.Metadata, Tags: in.Tags, Assessments: in.Assessments,
	}
	if in.Took != "" {
		took, err := time.ParseDuration(in.Took)
		if err != nil || !strings.HasSuffix(in.Took, "s") {
			return nil, invalid("Invalid value for parameter 'execution_duration'.")
		}
		t.Took = took
	}
	if t.Tags == nil {
		t.Tags = map[string]string{}
	}
	return t, nil
}

func (s *Service) startTrace(ctx context.Context, c *request) (any, error) {
	var in struct {
		Trace struct {
			Info traceInfo `json:"trace_info"`
		} `json:"trace"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	t, err := in.Trace.Info.read()
	if err != nil {
		return nil, err
	}
	if err := s.mayCreate(ctx, c, t.ExperimentID); err != nil {
		return nil, err
	}
	t.Creator = c.caller.Run
	t.Tags[artifactLocation] = c.artifacts(t.ExperimentID, t.ID)
	err = s.runs.PutTrace(ctx, c.ws.GUID, t, func(old *ml.Trace) error {
		if !c.caller.HoldsTrace(old) || old.ExperimentID != t.ExperimentID {
			return &Error{400, "RESOURCE_ALREADY_EXISTS", "A trace with the id '" + t.ID + "' exists."}
		}
		t.Creator = old.Creator
		return nil
	})
	if errors.Is(err, ml.ErrNotFound) {
		return nil, notFound("No Experiment with id=" + t.ExperimentID + " exists")
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"trace": map[string]any{"trace_info": showTrace(t)}}, nil
}

func (s *Service) openTrace(ctx context.Context, c *request, id string) (*ml.Trace, error) {
	t, err := s.runs.Trace(ctx, c.ws.GUID, id)
	if err == nil && !c.caller.HoldsTrace(t) {
		err = ml.ErrNotFound
	}
	if errors.Is(err, ml.ErrNotFound) {
		err = notFound("Trace with ID '" + id + "' not found.")
	}
	return t, err
}

func (s *Service) getTrace(ctx context.Context, c *request) (any, error) {
	t, err := s.openTrace(ctx, c, c.path["trace"])
	if err != nil {
		return nil, err
	}
	return map[string]any{"trace": map[string]any{"trace_info": showTrace(t)}}, nil
}

func (s *Service) batchTraceInfos(ctx context.Context, c *request) (any, error) {
	var in struct {
		IDs []string `json:"trace_ids"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	out := []traceInfo{}
	for _, id := range in.IDs {
		t, err := s.runs.Trace(ctx, c.ws.GUID, id)
		if err != nil && !errors.Is(err, ml.ErrNotFound) {
			return nil, err
		}
		if err == nil && c.caller.HoldsTrace(t) {
			out = append(out, showTrace(t))
		}
	}
	return map[string]any{"trace_infos": out}, nil
}

func (s *Service) updateTrace(ctx context.Context, c *request, f func(*ml.Trace) error) (any, error) {
	_, err := s.runs.UpdateTrace(ctx, c.ws.GUID, c.path["trace"], func(t *ml.Trace) error {
		if !c.caller.HoldsTrace(t) {
			return ml.ErrNotFound
		}
		return f(t)
	})
	if errors.Is(err, ml.ErrNotFound) {
		err = notFound("Trace with ID '" + c.path["trace"] + "' not found.")
	}
	return nil, err
}

func (s *Service) setTraceTag(ctx context.Context, c *request) (any, error) {
	key, value := c.get("key"), c.get("value")
	if key == artifactLocation {
		return nil, invalid("The tag '" + key + "' is the service's.")
	}
	return s.updateTrace(ctx, c, func(t *ml.Trace) error {
		t.Tags = merge(t.Tags, []tag{{key, value}})
		return nil
	})
}

func (s *Service) deleteTraceTag(ctx context.Context, c *request) (any, error) {
	key := c.get("key")
	return s.updateTrace(ctx, c, func(t *ml.Trace) error {
		if _, ok := t.Tags[key]; !ok || key == artifactLocation {
			return notFound("No trace tag with key '" + key + "' for trace with ID '" + t.ID + "'.")
		}
		delete(t.Tags, key)
		return nil
	})
}

func (s *Service) deleteTraces(ctx context.Context, c *request) (any, error) {
	var in struct {
		Experiment string          `json:"experiment_id"`
		Before     json.RawMessage `json:"max_timestamp_millis"`
		Max        int             `json:"max_traces"`
		IDs        []string        `json:"request_ids"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	before, err := integer(in.Before)
	if err != nil || before < 0 {
		return nil, invalid("Invalid value for parameter 'max_timestamp_millis'.")
	}
	if (before > 0) == (len(in.IDs) > 0) {
		return nil, invalid("Either max_timestamp_millis or request_ids is given, and not both.")
	}
	left := math.MaxInt
	if in.Max > 0 {
		left = in.Max
	}
	n, err := s.runs.DeleteTraces(ctx, c.ws.GUID, in.Experiment, func(t *ml.Trace) bool {
		if left == 0 || !c.caller.HoldsTrace(t) || before > 0 && t.At.UnixMilli() > before || before == 0 && !slices.Contains(in.IDs, t.ID) {
			return false
		}
		left--
		return true
	})
	return map[string]any{"traces_deleted": n}, err
}

func (s *Service) searchTraces(ctx context.Context, c *request) (any, error) {
	var in struct {
		Locations []traceLocation `json:"locations"`
		Filter    string          `json:"filter"`
		Max       int             `json:"max_results"`
		OrderBy   []string        `json:"order_by"`
		Token     string          `json:"page_token"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter, traceAttributes)
	if err != nil {
		return nil, err
	}
	order, err := parseOrder(in.OrderBy, traceOrder)
	if err != nil {
		return nil, err
	}
	found := []*ml.Trace{}
	for _, at := range in.Locations {
		if err := s.runs.Traces(ctx, c.ws.GUID, at.Experiment.ID, func(t *ml.Trace) bool {
			if c.caller.HoldsTrace(t) && f.trace(t) {
				found = append(found, t)
			}
			return true
		}); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, order)
	page, next, err := paginate(found, cmp.Or(in.Max, 100), in.Token)
	out := make([]traceInfo, len(page))
	for i, t := range page {
		out[i] = showTrace(t)
	}
	return map[string]any{"traces": out, "next_page_token": next}, err
}

var traceAttributes = nameSet("trace_id", "request_id", "client_request_id", "name", "run_id", "status", "state", "timestamp", "timestamp_ms", "execution_time", "execution_time_ms")

func traceText(t *ml.Trace, key string) string {
	switch key {
	case "trace_id", "request_id":
		return t.ID
	case "client_request_id":
		return t.ClientID
	case "name":
		return t.Tags["mlflow.traceName"]
	case "run_id":
		return t.Metadata["mlflow.sourceRun"]
	case "status", "state":
		return t.State
	}
	return ""
}

func traceNumber(t *ml.Trace, key string) float64 {
	if strings.HasPrefix(key, "timestamp") {
		return float64(t.At.UnixMilli())
	}
	return float64(t.Took.Milliseconds())
}

func (f filter) trace(t *ml.Trace) bool {
	for i := range f {
		c := &f[i]
		ok := false
		switch {
		case c.kind == "tags":
			v, there := t.Tags[c.key]
			ok = c.holds(v, there)
		case c.kind == "metadata":
			v, there := t.Metadata[c.key]
			ok = c.holds(v, there)
		case c.kind != "attributes":
		case numeric[c.key]:
			ok = ordered(c.op, cmp.Compare(traceNumber(t, c.key), c.number))
		default:
			ok = c.holds(traceText(t, c.key), true)
		}
		if !ok {
			return false
		}
	}
	return true
}

func traceOrder(kind, key string) func(*ml.Trace) (float64, string, bool) {
	switch {
	case kind == "tags":
		return func(t *ml.Trace) (float64, string, bool) { v, ok := t.Tags[key]; return 0, v, ok }
	case kind == "metadata":
		return func(t *ml.Trace) (float64, string, bool) { v, ok := t.Metadata[key]; return 0, v, ok }
	case kind != "attributes" || !traceAttributes[key]:
		return nil
	case numeric[key]:
		return func(t *ml.Trace) (float64, string, bool) { return traceNumber(t, key), "", true }
	}
	return func(t *ml.Trace) (float64, string, bool) { return 0, traceText(t, key), true }
}

// linkTraces notes on traces which run they belong to.
func (s *Service) linkTraces(ctx context.Context, c *request) (any, error) {
	var in struct {
		IDs []string `json:"trace_ids"`
		Run string   `json:"run_id"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if _, err := s.openRun(ctx, c, in.Run); err != nil {
		return nil, err
	}
	if len(in.IDs) > 100 {
		return nil, invalid("At most 100 traces are linked at once.")
	}
	for _, id := range in.IDs {
		c.path = map[string]string{"trace": id}
		if _, err := s.updateTrace(ctx, c, func(t *ml.Trace) error {
			t.Metadata = merge(t.Metadata, []tag{{"mlflow.sourceRun", in.Run}})
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
