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

// uxMetricTypes of numbers, and of several columns.
const (
	scalarType = "azureml.v1.scalar"
	listType   = "azureml.v1.list"
	tableType  = "azureml.v1.table"
)

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

// kind is the uxMetricType. A list is what its values are one by one.
func (m *metricBody) kind() string {
	typ := scalarType
	if m.Properties != nil && m.Properties.Type != "" && m.Properties.Type != listType {
		typ = m.Properties.Type
	}
	if typ == scalarType && len(m.Columns) > 1 {
		return tableType
	}
	return typ
}

// series reports whether m is a series of numbers, which every client sees; the others are tables.
func (m *metricBody) series() bool {
	for _, typ := range m.Columns {
		if t := ml.ColumnType(typ); t != ml.Int && t != ml.Double {
			return false
		}
	}
	return m.kind() == scalarType
}

// add puts what m logs into a batch for r, which is changed as it will be.
func (m *metricBody) add(b *ml.Batch, r *ml.Run, now time.Time) error {
	if m.Name == "" {
		return badRequest("A metric has no name.")
	}
	if m.series() {
		if _, ok := r.Tables[m.Name]; ok {
			return badRequest("Metric '%s' of run %s is not a series of numbers.", m.Name, r.ID)
		}
		points, err := m.points(now)
		if err != nil || len(points) == 0 {
			return err
		}
		if r.Metrics == nil {
			r.Metrics = map[string]ml.Metric{}
		}
		r.Metrics[m.Name] = points[0]
		b.Metrics = append(b.Metrics, points...)
		return nil
	}
	t, rows, err := m.rows(now)
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := r.SetTable(m.Name, t); err != nil {
		return err
	}
	if b.Tables == nil {
		b.Tables = map[string]ml.Table{}
	}
	b.Tables[m.Name] = r.Tables[m.Name]
	b.Rows = append(b.Rows, rows...)
	return nil
}

func (p *metricPoint) at(now time.Time) int64 {
	if t := time.Time(p.Created); !t.IsZero() {
		return t.UnixMilli()
	}
	return now.UnixMilli()
}

// points reads a series of numbers.
func (m *metricBody) points(now time.Time) ([]ml.Metric, error) {
	var out []ml.Metric
	for _, p := range m.Value {
		if len(p.Data) != 1 {
			return nil, badRequest("A value of metric '%s' does not have one column.", m.Name)
		}
		for _, raw := range p.Data {
			var v ml.Float
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, badRequest("A value of metric '%s' is not a number: %s", m.Name, raw)
			}
			out = append(out, ml.Metric{Key: m.Name, Value: v, Timestamp: p.at(now), Step: p.Step})
		}
	}
	return out, nil
}

// rows reads a table. The type of a column where a row has no value is none.
func (m *metricBody) rows(now time.Time) (ml.Table, []ml.Row, error) {
	t := ml.Table{Type: m.kind(), Columns: map[string]string{}}
	for name, typ := range m.Columns {
		if t.Columns[name] = ml.ColumnType(typ); t.Columns[name] == "" {
			return t, nil, badRequest("Column '%s' of metric '%s' is of type '%s', not one of: int, double, string, bool, artifact, none.", name, m.Name, typ)
		}
	}
	var out []ml.Row
	for _, p := range m.Value {
		row := ml.Row{Table: m.Name, Timestamp: p.at(now), Step: p.Step, Data: map[string]json.RawMessage{}}
		for name := range p.Data {
			if _, ok := m.Columns[name]; !ok {
				return t, nil, badRequest("A value of metric '%s' has a cell of column '%s', which is not among its columns.", m.Name, name)
			}
		}
		for name, typ := range m.Columns {
			raw := p.Data[name]
			if len(raw) == 0 || string(raw) == "null" {
				t.Columns[name] = ml.None
				continue
			}
			v, err := cell(ml.ColumnType(typ), raw)
			if err != nil {
				return t, nil, badRequest("A cell of column '%s' of metric '%s' is not of type %s: %s", name, m.Name, typ, raw)
			}
			row.Data[name] = v
		}
		out = append(out, row)
	}
	return t, out, nil
}

// cell checks a value of a column.
func cell(typ string, raw json.RawMessage) (json.RawMessage, error) {
	var v any
	switch typ {
	case ml.Int:
		v = new(json.Number) // of any size
	case ml.Double:
		v = new(ml.Float)
	case ml.Bool:
		v = new(bool)
	case ml.String, ml.Artifact:
		v = new(string)
	default:
		return raw, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
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
		if e := asError(in.Values[i].add(&batch, r, q.s.Clock.Now())); e != nil {
			if !in.Report {
				return nil, e
			}
			errs = append(errs, failure{in.Values[i], q.errorBody(e)})
		}
	}
	if len(batch.Metrics)+len(batch.Rows) > 0 {
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
	for _, name := range slices.Sorted(maps.Keys(r.Tables)) {
		t := r.Tables[name]
		out = append(out, definition{key{Name: name, Labels: []string{}, Columns: slices.Sorted(maps.Keys(t.Columns))}, shown(t.Columns), metricProperties{t.Type}})
	}
	return q.nextPage(out, ""), nil
}

const metricPage = 10000

// shown are columns as clients read them.
func shown(columns map[string]string) map[string]string {
	out := map[string]string{}
	for name, typ := range columns {
		out[name] = strings.ToUpper(typ[:1]) + typ[1:]
	}
	return out
}

// history is what a run logged of one metric: its form, how many points, and each of them without its id. 404 when there is none.
func (q *request) history(ctx context.Context, r *ml.Run, name string) (out *metricBody, n int, point func(int) (metricPoint, error), err error) {
	out = &metricBody{DataContainer: r.DataContainer(), Name: name, Value: []metricPoint{}}
	when := func(ms int64) stamp { return stamp(time.UnixMilli(ms).UTC()) }
	if t, ok := r.Tables[name]; ok {
		rows, err := q.s.Runs.Rows(ctx, q.ws.GUID, r.ID, name)
		out.Columns, out.Properties = shown(t.Columns), &metricProperties{t.Type}
		return out, len(rows), func(i int) (metricPoint, error) {
			row := rows[i]
			for c := range t.Columns {
				if row.Data[c] == nil {
					row.Data[c] = json.RawMessage("null")
				}
			}
			return metricPoint{Created: when(row.Timestamp), Step: row.Step, Data: row.Data}, nil
		}, err
	}
	if _, ok := r.Metrics[name]; !ok {
		return nil, 0, nil, notFound("Metric %s of run %s not found.", name, r.ID)
	}
	points, err := q.s.Runs.History(ctx, q.ws.GUID, r.ID, name)
	out.Columns, out.Properties = map[string]string{name: "Double"}, &metricProperties{scalarType}
	return out, len(points), func(i int) (metricPoint, error) {
		v, err := json.Marshal(points[i].Value)
		return metricPoint{Created: when(points[i].Timestamp), Step: points[i].Step, Data: map[string]json.RawMessage{name: v}}, err
	}, err
}

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
	at, err := pageOffset(in.Token)
	if err != nil {
		return nil, err
	}
	out, n, point, err := q.history(ctx, r, in.Name)
	if err != nil {
		return nil, err
	}
	skipped := 0
	for i := range n {
		p, err := point(i)
		if err != nil {
			return nil, err
		}
		t := time.Time(p.Created)
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
		// Points have no id of their own: the same point always gets the same one.
		p.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(strings.Join([]string{r.ID, in.Name, strconv.Itoa(i)}, "/"))).String()
		out.Value = append(out.Value, p)
	}
	return out, nil
}
