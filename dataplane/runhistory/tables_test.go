package runhistory_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// full is a metric as get_metrics of SDK v1 reads it: its type, its columns and its rows.
func (f *fixture) full(run, name string) (typ, columns, rows string) {
	f.Helper()
	a := f.must("POST", "metric/runs/"+run+"/full", map[string]string{"metricName": name})
	var m struct {
		Columns    map[string]string
		Properties struct {
			Type string `json:"uxMetricType"`
		}
		Value []struct{ Data map[string]any }
	}
	if err := json.Unmarshal([]byte(a.text), &m); err != nil {
		f.Fatal(err)
	}
	var lines []string
	for _, p := range m.Value {
		b, err := json.Marshal(p.Data) // keys in order
		if err != nil {
			f.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	b, err := json.Marshal(m.Columns)
	if err != nil {
		f.Fatal(err)
	}
	return m.Properties.Type, string(b), strings.Join(lines, " ")
}

// log posts one metric; what is said against it comes back, "" when it is taken.
func (f *fixture) log(run, typ, name, columns string, rows ...string) string {
	f.Helper()
	var values []string
	for i, r := range rows {
		values = append(values, fmt.Sprintf(`{"metricId":"m%d","createdUtc":"2026-11-01T10:00:0%dZ","step":null,"data":%s}`, i, i, r))
	}
	a := f.must("POST", "metric/runs/"+run+"/batch", fmt.Sprintf(`{"reportErrors":true,"values":[{"name":%q,"columns":%s,"properties":{"uxMetricType":%q},"value":[%s]}]}`,
		name, columns, typ, strings.Join(values, ",")))
	var answer struct {
		Errors []struct {
			Response struct{ Error struct{ Message string } } `json:"errorResponse"`
		}
	}
	if err := json.Unmarshal([]byte(a.text), &answer); err != nil {
		f.Fatal(err)
	}
	if len(answer.Errors) == 0 {
		return ""
	}
	return answer.Errors[0].Response.Error.Message
}

// TestTables: what log_row, log_table, log_list, log_image and log of a text send comes back as get_metrics reads it.
func TestTables(t *testing.T) {
	const table, list, scalar, image = "azureml.v1.table", "azureml.v1.list", "azureml.v1.scalar", "azureml.v2.image"
	f := newFixture(t)
	f.newRun("r1")
	for _, s := range []struct {
		typ, name, columns, rows string
		says                     string
	}{
		{table, "row", `{"x":"int","y":"double"}`, `{"x":1,"y":0.5}`, ""},
		{table, "row", `{"x":"double","y":"double"}`, `{"x":1.5,"y":"NaN"}`, ""},
		{table, "grown", `{"a":"int"}`, `{"a":1}`, ""},
		{table, "grown", `{"b":"string"}`, `{"b":"two"}`, ""},
		{table, "tab", `{"fruit":"string","ripe":"bool","size":"int"}`, `{"fruit":"orange","ripe":true,"size":10};{"fruit":"lime","ripe":false,"size":null}`, ""},
		{table, "one", `{"x":"int"}`, `{"x":1};{"x":2}`, ""},
		{scalar, "text", `{"text":"string"}`, `{"text":"fine"}`, ""},
		{list, "texts", `{"texts":"string"}`, `{"texts":"a"};{"texts":"b"}`, ""},
		{list, "numbers", `{"numbers":"int"}`, `{"numbers":1};{"numbers":2}`, ""},
		{image, "image", `{"image":"Artifact"}`, `{"image":"aml://artifactId/ExperimentRun/dcid.r1/i.png"}`, ""},
		{table, "empty", `{"a":"int","b":"int"}`, ``, ""},

		{table, "row", `{"x":"string","y":"double"}`, `{"x":"a","y":1}`, "column 'x' of metric 'row' of run r1 is double, not string"},
		{scalar, "row", `{"row":"string"}`, `{"row":"a"}`, "is azureml.v1.table, not azureml.v1.scalar"},
		{scalar, "row", `{"row":"double"}`, `{"row":1}`, "Metric 'row' of run r1 is not a series of numbers"},
		{table, "numbers", `{"a":"int","b":"int"}`, `{"a":1,"b":1}`, "metric 'numbers' of run r1 is a series of numbers"},
		{table, "bad", `{"a":"int","b":"int"}`, `{"a":1,"c":1}`, "cell of column 'c', which is not among its columns"},
		{table, "bad", `{"a":"int","b":"int"}`, `{"a":1,"b":"x"}`, "A cell of column 'b' of metric 'bad' is not of type int"},
		{table, "bad", `{"a":"date","b":"int"}`, `{"a":1,"b":1}`, "Column 'a' of metric 'bad' is of type 'date'"},
	} {
		var rows []string
		if s.rows != "" {
			rows = strings.Split(s.rows, ";")
		}
		if got := f.log("r1", s.typ, s.name, s.columns, rows...); s.says == "" && got != "" || !strings.Contains(got, s.says) {
			t.Errorf("%s %s: %q, want %q", s.name, s.columns, got, s.says)
		}
	}

	for name, want := range map[string][3]string{
		"row":     {table, `{"x":"Double","y":"Double"}`, `{"x":1,"y":0.5} {"x":1.5,"y":"NaN"}`},
		"grown":   {table, `{"a":"None","b":"None"}`, `{"a":1,"b":null} {"a":null,"b":"two"}`},
		"tab":     {table, `{"fruit":"String","ripe":"Bool","size":"None"}`, `{"fruit":"orange","ripe":true,"size":10} {"fruit":"lime","ripe":false,"size":null}`},
		"one":     {table, `{"x":"Int"}`, `{"x":1} {"x":2}`},
		"text":    {scalar, `{"text":"String"}`, `{"text":"fine"}`},
		"texts":   {scalar, `{"texts":"String"}`, `{"texts":"a"} {"texts":"b"}`},
		"numbers": {scalar, `{"numbers":"Double"}`, `{"numbers":1} {"numbers":2}`},
		"image":   {image, `{"image":"Artifact"}`, `{"image":"aml://artifactId/ExperimentRun/dcid.r1/i.png"}`},
	} {
		if typ, columns, rows := f.full("r1", name); [3]string{typ, columns, rows} != want {
			t.Errorf("%s is %s %s %s, want %v", name, typ, columns, rows, want)
		}
	}
	var names []string
	for _, m := range f.must("POST", "metric/runs/r1/list", `{}`).body["value"].([]any) {
		names = append(names, m.(map[string]any)["metricKey"].(map[string]any)["name"].(string))
	}
	if got := strings.Join(names, " "); got != "numbers grown image one row tab text texts" {
		t.Errorf("the run lists %s", got)
	}
	f.refused(404, "Metric empty", "POST", "metric/runs/r1/full", `{"metricName":"empty"}`)
	f.refused(404, "Metric bad", "POST", "metric/runs/r1/full", `{"metricName":"bad"}`)
}
