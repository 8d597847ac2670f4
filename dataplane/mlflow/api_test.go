package mlflow

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/ml"
)

var update = flag.Bool("update", false, "write the golden files")

var modelIDs = regexp.MustCompile(`m-[0-9a-f]{32}`)

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// The life of an experiment, as bodies: golden, with ids in the order in which they come up.
func TestAPI(t *testing.T) {
	f := newFixture(t)
	var out strings.Builder
	ids := map[string]string{}
	ask := func(method, operation, body string) string {
		t.Helper()
		code, text := f.call(method, operation, body)
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s %s: %q: %v", method, operation, text, err)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		name := func(id string) string {
			if id == guid {
				return id
			}
			if ids[id] == "" {
				ids[id] = fmt.Sprintf("<id %d>", len(ids)+1)
			}
			return ids[id]
		}
		entry := fmt.Sprintf("%s %s %s\n%d %s\n", method, operation, body, code, b.String())
		out.WriteString(modelIDs.ReplaceAllStringFunc(uuids.ReplaceAllStringFunc(entry, name), name))
		return text
	}
	id := func(text string) string { return uuids.FindString(strings.ReplaceAll(text, guid, "")) }

	exp := id(ask("POST", "experiments/create", `{"name":"credit","tags":[{"key":"team","value":"risk"}]}`))
	ask("POST", "experiments/create", `{"name":"credit"}`)
	ask("GET", "experiments/get-by-name?experiment_name=credit", ``)
	ask("GET", "experiments/get-by-name?experiment_name=none", ``)
	ask("POST", "experiments/search", `{"filter":"name LIKE 'cr%'","max_results":10}`)
	run := id(ask("POST", "runs/create", `{"experiment_id":"`+exp+`","run_name":"first","start_time":1793491300000,"tags":[{"key":"mlflow.source.name","value":"train.py"}]}`))
	ask("POST", "runs/log-parameter", `{"run_id":"`+run+`","key":"lr","value":"0.1"}`)
	ask("POST", "runs/log-parameter", `{"run_id":"`+run+`","key":"lr","value":"0.2"}`)
	ask("POST", "runs/log-metric", `{"run_id":"`+run+`","key":"loss","value":0.5,"timestamp":"1793491301000","step":"3"}`)
	ask("POST", "runs/log-metric", `{"run_id":"`+run+`","key":"loss","value":"NaN","timestamp":1793491302000,"step":4}`)
	ask("POST", "runs/log-batch", `{"run_id":"`+run+`","metrics":[{"key":"acc","value":0.75,"timestamp":1793491301000}],"params":[{"key":"depth","value":"3"}],"tags":[{"key":"stage","value":"dev"}]}`)
	f.must("POST", "/mlflow/v2.0"+wsID+"/api/2.0/preview/mlflow/runs/log-batch-async", `{"run_id":"`+run+`","metrics":[{"key":"acc","value":0.8,"timestamp":1793491303000,"step":1}]}`)
	ask("GET", "runs/get?run_id="+run, ``)
	ask("GET", "runs/get?run_id=none", ``)
	ask("GET", "metrics/get-history?run_id="+run+"&metric_key=acc", ``)
	ask("POST", "runs/set-tag", `{"run_id":"`+run+`","key":"mlflow.runName","value":"second"}`)
	ask("POST", "runs/delete-tag", `{"run_id":"`+run+`","key":"stage"}`)
	ask("POST", "runs/update", `{"run_id":"`+run+`","status":"FINISHED","end_time":1793491400000}`)
	ask("POST", "runs/update", `{"run_id":"`+run+`","status":"RUNNING"}`)
	ask("POST", "runs/search", `{"experiment_ids":["`+exp+`"],"filter":"metrics.acc > 0.7 and params.depth = '3'","order_by":["metrics.acc DESC"]}`)
	ask("POST", "registered-models/create", `{"name":"credit","description":"who pays back"}`)
	ask("POST", "registered-models/create", `{"name":"credit"}`)
	ask("POST", "model-versions/create", `{"name":"credit","source":"runs:/`+run+`/model","run_id":"`+run+`"}`)
	ask("GET", "model-versions/get-download-uri?name=credit&version=1", ``)
	ask("GET", "registered-models/get?name=credit", ``)
	ask("GET", "registered-models/get?name=none", ``)
	ask("GET", "model-versions/search?filter=name%3D%27credit%27", ``)
	ask("POST", "logged-models", `{}`)
	model := modelIDs.FindString(ask("POST", "logged-models", `{"experiment_id":"`+exp+`","name":"net","source_run_id":"`+run+`","params":[{"key":"depth","value":"3"}]}`))
	ask("POST", "runs/log-metric", `{"run_id":"`+run+`","key":"f1","value":0.5,"timestamp":1793491301000,"model_id":"`+model+`","dataset_name":"train","dataset_digest":"d1"}`)
	ask("POST", "runs/log-metric", `{"run_id":"`+run+`","key":"f1","value":0.5,"timestamp":1,"model_id":"m-none"}`)
	ask("PATCH", "logged-models/"+model, `{"model_id":"`+model+`","status":"LOGGED_MODEL_READY"}`)
	ask("PATCH", "logged-models/"+model+"/tags", `{"tags":[{"key":"a","value":"1"},{"key":"b","value":"2"}]}`)
	ask("DELETE", "logged-models/"+model+"/tags/b", ``)
	ask("POST", "logged-models/"+model+"/params", `{"params":[{"key":"depth","value":"4"}]}`)
	ask("POST", "runs/outputs", `{"run_id":"`+run+`","models":[{"model_id":"`+model+`","step":"2"}]}`)
	ask("POST", "logged-models/search", `{"experiment_ids":["`+exp+`"],"filter":"metrics.f1 >= 0.5 AND params.depth = '3' AND tags.a = '1'","order_by":[{"field_name":"metrics.f1","ascending":false}]}`)
	ask("POST", "runs/log-inputs", `{"run_id":"`+run+`","datasets":[{"tags":[{"key":"mlflow.data.context","value":"training"}],"dataset":{"name":"train","digest":"d1","source_type":"local","source":"{}"}}],"models":[{"model_id":"`+model+`"}]}`)
	ask("POST", "experiments/search-datasets", `{"experiment_ids":["`+exp+`"]}`)
	ask("POST", "runs/search", `{"experiment_ids":["`+exp+`"],"filter":"dataset.name = 'train' AND dataset.context IN ('training') AND tags.none IS NULL AND params.depth IS NOT NULL"}`)
	ask("GET", "metrics/get-history-bulk?run_id="+run+"&metric_key=loss", ``)
	ask("GET", "metrics/get-history-bulk-interval?run_ids="+run+"&metric_key=loss&max_results=1", ``)
	ask("GET", "metrics/get-history-bulk-interval?run_ids="+run+"&metric_key=loss&start_step=4", ``)
	f.files["dcid."+run] = []File{{"model/MLmodel", 12}, {"model/data/w.bin", 7}, {"notes.txt", 3}}
	ask("GET", "artifacts/list?run_id="+run, ``)
	ask("GET", "artifacts/list?run_id="+run+"&path=model", ``)
	const v3 = "/mlflow/v2.0" + wsID + "/api/3.0/mlflow/traces"
	ask("POST", v3, `{"trace":{"trace_info":{"trace_id":"tr-1","trace_location":{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"`+exp+`"}},"request_time":"2026-11-01T00:00:00.5Z","execution_duration":"1.25s","state":"OK","trace_metadata":{"k":"v"},"tags":{"mlflow.traceName":"ask"}}}}`)
	ask("GET", v3+"/tr-1", ``)
	ask("GET", v3+"/tr-2", ``)
	ask("PATCH", v3+"/tr-1/tags", `{"key":"team","value":"risk"}`)
	ask("POST", v3+"/search", `{"locations":[{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"`+exp+`"}}],"filter":"trace.name = 'ask' AND execution_time_ms > 1000 AND tags.team = 'risk' AND metadata.k = 'v'","order_by":["timestamp_ms DESC"]}`)
	ask("POST", v3+"/delete-traces", `{"experiment_id":"`+exp+`","request_ids":["tr-1"]}`)
	ask("PATCH", "registered-models/update", `{"name":"credit","description":"new"}`)
	ask("POST", "registered-models/set-tag", `{"name":"credit","key":"team","value":"risk"}`)
	ask("POST", "registered-models/alias", `{"name":"credit","alias":"champion","version":"1"}`)
	ask("POST", "registered-models/alias", `{"name":"credit","alias":"v9","version":"1"}`)
	ask("POST", "registered-models/alias", `{"name":"credit","alias":"other","version":"7"}`)
	ask("GET", "registered-models/alias?name=credit&alias=champion", ``)
	ask("POST", "model-versions/create", `{"name":"credit","source":"runs:/`+run+`/model","run_id":"`+run+`"}`)
	ask("POST", "model-versions/transition-stage", `{"name":"credit","version":"1","stage":"production"}`)
	ask("POST", "model-versions/transition-stage", `{"name":"credit","version":"2","stage":"Production","archive_existing_versions":true}`)
	ask("POST", "model-versions/set-tag", `{"name":"credit","version":"2","key":"ok","value":"yes"}`)
	ask("PATCH", "model-versions/update", `{"name":"credit","version":"2","description":"second"}`)
	ask("GET", "registered-models/search?filter=tag.%60mlflow.prompt.is_prompt%60+%21%3D+%27true%27&max_results=1", ``)
	ask("GET", "registered-models/search?filter=tags.team%3D%27risk%27&order_by=name+DESC", ``)
	ask("GET", "model-versions/search?filter=version_number+%3E+1+AND+tags.ok%3D%27yes%27", ``)
	ask("POST", "registered-models/rename", `{"name":"credit","new_name":"loan"}`)
	ask("DELETE", "model-versions/delete", `{"name":"credit","version":"1"}`)
	ask("DELETE", "registered-models/delete", `{"name":"credit"}`)
	ask("DELETE", "model-versions/delete", `{"name":"credit","version":"2"}`)
	ask("GET", "registered-models/get?name=credit", ``)
	ask("DELETE", "logged-models/"+model, ``)
	ask("POST", "runs/log-metric", `{"run_id":"`+run+`","key":5}`)
	ask("POST", "runs/create", `{`)

	const golden = "testdata/api.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Errorf("bodies (-want +got):\n%s", d)
	}
}

func TestPermissions(t *testing.T) {
	f := newFixture(t)
	const of = "Microsoft.MachineLearningServices/workspaces/"
	for _, c := range []struct{ method, path, want string }{
		{"GET", base + "runs/get", of + "experiments/runs/read"},
		{"POST", base + "runs/log-batch", of + "experiments/runs/write"},
		{"POST", "/mlflow/v1.0" + wsID + "/api/2.0/preview/mlflow/runs/log-batch-async", of + "experiments/runs/write"},
		{"POST", base + "runs/search", of + "experiments/runs/read"},
		{"POST", base + "experiments/create", of + "experiments/write"},
		{"POST", base + "experiments/delete", of + "experiments/delete"},
		{"POST", base + "model-versions/create", of + "models/write"},
		{"GET", base + "registered-models/search", of + "models/read"},
		{"PATCH", base + "logged-models/m-1/tags", of + "experiments/runs/write"},
		{"POST", base + "logged-models/search", of + "experiments/runs/read"},
		{"DELETE", base + "registered-models/delete", of + "models/delete"},
		{"POST", base + "registered-models/alias", of + "models/write"},
		{"POST", "/mlflow/v2.0" + wsID + "/api/3.0/mlflow/traces", of + "experiments/runs/write"},
		{"GET", "/mlflow/v2.0" + wsID + "/api/3.0/mlflow/traces/tr-1", of + "experiments/runs/read"},
		{"GET", base + "logged-models/", ""},
		{"GET", base + "logged-models/{model}", of + "experiments/runs/read"},
		{"GET", base + "runs/log-batch", ""},
		{"POST", base + "runs", ""},
		{"POST", "/x", ""},
	} {
		if got := f.Permission(c.method, c.path); got != c.want {
			t.Errorf("%s %s takes %q, want %q", c.method, c.path, got, c.want)
		}
	}
	for name, c := range f.calls {
		if c.permission == "" || c.do == nil {
			t.Errorf("%s has no permission or does nothing", name)
		}
	}
}

// A run's token opens its run, and those it made.
func TestRunToken(t *testing.T) {
	f := newFixture(t)
	exp, elsewhere := f.experiment("train"), f.experiment("other")
	own, other := f.newRun(exp, "own"), f.newRun(exp, "other")
	f.caller.Run = own
	made := f.newRun(exp, "made")
	for _, id := range []string{own, made} {
		f.must("POST", "runs/log-metric", map[string]any{"run_id": id, "key": "m", "value": 1, "timestamp": 1})
		f.must("GET", "runs/get?run_id="+id, nil)
		f.must("GET", "metrics/get-history?metric_key=m&run_id="+id, nil)
	}
	f.must("GET", "experiments/get?experiment_id="+exp, nil)
	for _, c := range []struct {
		method, operation string
		body              any
	}{
		{"GET", "runs/get?run_id=" + other, nil},
		{"GET", "runs/get?run_id=none", nil},
		{"GET", "metrics/get-history?metric_key=m&run_id=" + other, nil},
		{"POST", "runs/log-metric", map[string]any{"run_id": other, "key": "m", "value": 1}},
		{"POST", "runs/log-parameter", map[string]any{"run_id": other, "key": "m", "value": "1"}},
		{"POST", "runs/log-batch", map[string]any{"run_id": other}},
		{"POST", "runs/log-batch-async", map[string]any{"run_id": other}},
		{"POST", "runs/log-model", map[string]any{"run_id": other, "model_json": "{}"}},
		{"POST", "runs/log-inputs", map[string]any{"run_id": other}},
		{"POST", "runs/set-tag", map[string]any{"run_id": other, "key": "a", "value": "b"}},
		{"POST", "runs/update", map[string]any{"run_id": other, "status": "FAILED"}},
		{"POST", "runs/delete", map[string]any{"run_id": other}},
		{"GET", "runs/get-run-data-status?run_id=" + other, nil},
		{"POST", "runs/create", map[string]any{"experiment_id": elsewhere}},
	} {
		if code, text := f.call(c.method, c.operation, c.body); code != 403 || !strings.Contains(text, "PERMISSION_DENIED") {
			t.Errorf("%s %s: %d %s", c.method, c.operation, code, text)
		}
	}
	found := f.must("POST", "runs/search", map[string]any{"experiment_ids": []string{exp}})
	if n := len(found["runs"].([]any)); n != 2 {
		t.Errorf("a search with the token finds %d runs, want its own two", n)
	}
}

// The code in a job says FINISHED before its process has ended.
func TestJobsRunStaysRunning(t *testing.T) {
	f := newFixture(t)
	exp := f.experiment("train")
	r := &ml.Run{ID: "job", ExperimentID: exp, Status: ml.Running, Properties: map[string]string{"azureml.jobId": "x"}}
	if err := f.runs.CreateRun(t.Context(), guid, r); err != nil {
		t.Fatal(err)
	}
	got := f.must("POST", "runs/update", map[string]any{"run_id": "job", "status": "FINISHED"})
	if s := at(got, "run_info", "status"); s != "RUNNING" {
		t.Errorf("status %v", s)
	}
}

func TestBatchLimits(t *testing.T) {
	f := newFixture(t)
	run := f.newRun(f.experiment("e"), "r")
	metrics := make([]map[string]any, maxMetrics+1)
	for i := range metrics {
		metrics[i] = map[string]any{"key": fmt.Sprint("m", i), "value": i, "timestamp": i}
	}
	if code, text := f.call("POST", "runs/log-batch", map[string]any{"run_id": run, "metrics": metrics}); code != 400 {
		t.Errorf("%d metrics: %d %s", len(metrics), code, text)
	}
	f.must("POST", "runs/log-batch", map[string]any{"run_id": run, "metrics": metrics[1:]})
	if code, text := f.call("POST", "runs/log-batch", map[string]any{"run_id": run, "metrics": []any{map[string]any{"value": 1}}}); code != 400 {
		t.Errorf("a metric without a key: %d %s", code, text)
	}
	if code, _ := f.call("POST", "runs/log-batch", strings.Repeat(" ", maxBody+1)); code != 413 {
		t.Errorf("a body that is too large: %d", code)
	}
}
