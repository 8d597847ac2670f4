package runhistory

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/ml"
)

var metricRoutes = []entry{
	{http.MethodPost, "metric/v2.0/runs/{run}/batch", writeRuns, postMetrics},
	{http.MethodPost, "metric/v2.0/runs/{run}/list", readRuns, listMetrics},
	{http.MethodPost, "metric/v2.0/runs/{run}/full", readRuns, fullMetric},
	{http.MethodGet, "metric/v2.0/runs/{run}/metricsingest/wait", readRuns, waitOnIngest},
}

// scalarType is the uxMetricType of a series of numbers.
const scalarType = "azureml.v1.scalar"

type metricProperties struct {
	Type string `json:"uxMetricType"`
}

type metricPoint struct {
	ID      string                     `json:"metricId"`
	Created stamp                      `json:"createdUtc"`
	Step    int64                      `json:"step"`
	Data    map[string]json.RawMessage `json:"data"`
}

type metricBody struct {
	DataContainer string            `json:"dataContainerId"`
	Name          string            `json:"name"`
	Columns       map[string]string `json:"columns"`
	Properties    *metricProperties `json:"properties,omitempty"`
	Namespace     *string           `json:"namespace"`
	Schema        *string           `json:"standardSchemaId"`
	Value         []metricPoint     `json:"value"`
	Token         *string           `json:"continuationToken"`
	Next          *string           `json:"nextLink"`
}

// points reads a series of numbers. Tables and other metrics of several columns are not kept.
func (m *metricBody) points(now time.Time) ([]ml.Metric, error) {
	if m.Name == "" {
		return nil, badRequest("A metric has no name.")
	}
	if len(m.Columns) > 1 {
		return nil, &Error{Status: http.StatusNotImplemented, Code: "NotImplemented", Message: "Vauban does not keep metrics of several columns: '" + m.Name + "'."}
	}
	var out []ml.Metric
	for _, p := range m.Value {
		if len(p.Data) != 1 {
			return nil, badRequest("A value of metric '%s' does not have one column.", m.Name)
		}
		at := time.Time(p.Created)
		if at.IsZero() {
			at = now
		}
		for _, raw := range p.Data {
			var v ml.Float
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, badRequest("A value of metric '%s' is not a number: %s", m.Name, raw)
			}
			out = append(out, ml.Metric{Key: m.Name, Value: v, Timestamp: at.UnixMilli(), Step: p.Step})
		}
	}
	return out, nil
}

func postMetrics(ctx context.Context, q *request) (any, error) {
	var in struct {
		Values []metricBody `json:"values"`
		Report bool         `json:"reportErrors"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	type failure struct {
		Metric metricBody `json:"metric"`
		Error  errorBody  `json:"errorResponse"`
	}
	errs := []failure{}
	var batch ml.Batch
	for i := range in.Values {
		points, err := in.Values[i].points(q.s.Clock.Now())
		if e := asError(err); e != nil {
			if !in.Report {
				return nil, e
			}
			errs = append(errs, failure{in.Values[i], q.errorBody(e)})
			continue
		}
		batch.Metrics = append(batch.Metrics, points...)
	}
	if len(batch.Metrics) > 0 {
		if err := q.s.Runs.Log(ctx, q.ws.GUID, r.ID, batch); err != nil {
			return nil, err
		}
	}
	return map[string]any{"errors": errs}, nil
}

func listMetrics(ctx context.Context, q *request) (any, error) {
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	type key struct {
		Namespace *string  `json:"namespace"`
		Name      string   `json:"name"`
		Labels    []string `json:"labels"`
		Columns   []string `json:"columnNames"`
	}
	type definition struct {
		Key        key               `json:"metricKey"`
		Columns    map[string]string `json:"columns"`
		Properties metricProperties  `json:"properties"`
	}
	out := []definition{}
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		out = append(out, definition{key{Name: name, Labels: []string{}, Columns: []string{name}}, map[string]string{name: "Double"}, metricProperties{scalarType}})
	}
	return q.nextPage(out, ""), nil
}

const metricPage = 10000

// fullMetric is every point of one metric.
func fullMetric(ctx context.Context, q *request) (any, error) {
	var in struct {
		Name  string `json:"metricName"`
		Token string `json:"continuationToken"`
		Start stamp  `json:"startTime"`
		End   stamp  `json:"endTime"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, badRequest("metricName is missing.")
	}
	r, err := q.findRun(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := r.Metrics[in.Name]; !ok {
		return nil, notFound("Metric %s of run %s not found.", in.Name, r.ID)
	}
	at, err := pageOffset(in.Token)
	if err != nil {
		return nil, err
	}
	history, err := q.s.Runs.History(ctx, q.ws.GUID, r.ID, in.Name)
	if err != nil {
		return nil, err
	}
	out := metricBody{
		DataContainer: r.DataContainer(), Name: in.Name, Columns: map[string]string{in.Name: "Double"}, Properties: &metricProperties{scalarType}, Value: []metricPoint{},
	}
	skipped := 0
	for i, p := range history {
		t := time.UnixMilli(p.Timestamp).UTC()
		if s := time.Time(in.Start); !s.IsZero() && t.Before(s) {
			continue
		}
		if e := time.Time(in.End); !e.IsZero() && t.After(e) {
			continue
		}
		if skipped < at {
			skipped++
			continue
		}
		if len(out.Value) == metricPage {
			out.Token = q.nextPage(nil, strconv.Itoa(at+metricPage)).Token
			break
		}
		v, err := json.Marshal(p.Value)
		if err != nil {
			return nil, err
		}
		// Points have no id of their own: the same point always gets the same one.
		id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(strings.Join([]string{r.ID, in.Name, strconv.Itoa(i)}, "/")))
		out.Value = append(out.Value, metricPoint{ID: id.String(), Created: stamp(t), Step: p.Step, Data: map[string]json.RawMessage{in.Name: v}})
	}
	return out, nil
}
