package runhistory_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/ml"
)

func TestExperiments(t *testing.T) {
	f := newFixture(t)
	made := f.must("POST", "history/experiments/credit", nil)
	id, _ := made.at("experimentId").(string)
	f.refused(409, "already exists", "POST", "history/experiments/Credit", nil)
	f.refused(400, "start with a letter", "POST", "history/experiments/_x", nil)
	if got := f.must("GET", "history/experiments/CREDIT", nil); got.at("experimentId") != id || got.at("name") != "credit" {
		t.Errorf("%s", got.text)
	}
	f.refused(404, "Experiment none in this workspace not found", "GET", "history/experiments/none", nil)
	got := f.must("PATCH", "history/experimentids/"+id, `{"description":"who pays back","tags":{"team":"risk"},"archive":true}`)
	if got.at("description") != "who pays back" || got.at("tags", "team") != "risk" || got.at("archivedTime") == nil {
		t.Errorf("%s", got.text)
	}
	f.must("POST", "history/experiments/fraud", nil)
	for body, want := range map[string]string{
		`{}`: "fraud", `{"viewType":"ArchivedOnly"}`: "credit", `{"viewType":"All","orderBy":"name desc"}`: "fraud credit",
		`{"viewType":"All","filter":"tags/team eq 'risk'"}`: "credit",
	} {
		var names []string
		for _, e := range f.must("POST", "history/experiments:query", body).body["value"].([]any) {
			names = append(names, e.(map[string]any)["name"].(string))
		}
		if strings.Join(names, " ") != want {
			t.Errorf("%s finds %v, want %s", body, names, want)
		}
	}
	f.must("POST", "history/experimentids/"+id+"/tags:delete", `{"tags":["team"]}`)
	f.newRun("r")
	e, err := f.runs.ExperimentByName(t.Context(), guid, "train")
	if err != nil {
		t.Fatal(err)
	}
	f.refused(409, "holds runs", "DELETE", "history/experimentids/"+e.ID, nil)
	f.must("DELETE", "history/experimentids/"+id, nil)
}

// SDK v1's start_logging, log and complete.
func TestTrackedRun(t *testing.T) {
	f := newFixture(t)
	f.must("POST", "history/experiments/credit", nil)
	const run = "history/experiments/credit/runs/r1"
	f.refused(404, "not found", "PATCH", "history/runs/r1", `{}`) // no experiment to make it in
	f.refused(404, "Experiment none", "PATCH", "history/experiments/none/runs/r1", `{}`)
	f.refused(400, "is not the path's", "PATCH", run, `{"runId":"r2"}`)
	f.refused(400, "Run ids hold", "PATCH", "history/experiments/credit/runs/a%20b", `{}`)
	f.must("PATCH", run, `{"runId":"r1","runTypeV2":{"orchestrator":"Execution","traits":["notebook"]},"target":"sdk","displayName":"first","properties":{"git":"abc"}}`)
	f.must("POST", run+"/events", `{"name":"Microsoft.MachineLearning.Run.Start","timestamp":"2026-11-01T10:00:00"}`)
	f.refused(400, "no event", "POST", run+"/events", `{"name":"Microsoft.MachineLearning.Run.Explode"}`)
	f.refused(400, "immutable", "PATCH", run, `{"properties":{"git":"def"}}`)
	f.refused(400, "no status", "PATCH", run, `{"status":"Exploded"}`)
	f.must("PATCH", run, `{"tags":{"a":"1","b":"2"},"parameters":{"lr":0.1,"kind":"forest"},"description":"note"}`)
	f.must("PATCH", run+"/tags", `{"tagsToModify":{"c":"3"},"tagsToDelete":["a"]}`)
	f.must("DELETE", run+"/tags", `["b"]`)
	f.must("POST", "metric/runs/r1/batch", `{"values":[{"name":"acc","columns":{"acc":"double"},"value":[
		{"metricId":"x","createdUtc":"2026-11-01T10:00:01.5Z","step":1,"data":{"acc":0.5}},{"createdUtc":"2026-11-01T10:00:02Z","step":2,"data":{"acc":0.75}}]}],"reportErrors":true}`)
	f.must("GET", run+"/metricsingest/wait", nil)
	f.must("POST", run+"/events", `{"name":"Microsoft.MachineLearning.Run.Failed","timestamp":"2026-11-01T11:01:02Z","data":{"ErrorDetails":{"error":{"code":"UserError","message":"it broke"}}}}`)

	got := f.must("GET", run, nil)
	for path, want := range map[string]any{
		"runId": "r1", "status": "Failed", "displayName": "first", "target": "sdk", "dataContainerId": "dcid.r1", "rootRunId": "r1", "parentRunId": nil,
		"startTimeUtc": "2026-11-01T10:00:00.0000000+00:00", "endTimeUtc": "2026-11-01T11:01:02.0000000+00:00", "duration": "01:01:02.0000000",
		"description": "note", "createdBy.userName": "ada@contoso.com", "createdBy.userIss": "https://sts.windows.net/t1/", "error.error.message": "it broke",
		"parameters.lr": "0.1", "parameters.kind": "forest", "properties.git": "abc", "tags.c": "3", "tags.a": nil, "tags.b": nil,
	} {
		if v := got.at(strings.Split(path, ".")...); v != want {
			t.Errorf("%s is %v, want %v", path, v, want)
		}
	}
	f.refused(404, "not in experiment", "GET", "history/experiments/other/runs/r1", nil)
	f.refused(404, "not in experiment", "GET", "history/experimentids/other/runs/r1", nil)

	list := f.must("POST", "metric/runs/r1/list", `{}`).body["value"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["metricKey"].(map[string]any)["name"] != "acc" {
		t.Errorf("%v", list)
	}
	full := f.must("POST", "metric/runs/r1/full", `{"metricName":"acc","startTime":"2026-11-01T10:00:02Z"}`)
	b, err := json.Marshal(full.at("value"))
	if err != nil {
		t.Fatal(err)
	}
	var points []struct {
		Step    int
		Created string `json:"createdUtc"`
		Data    map[string]float64
	}
	if err := json.Unmarshal(b, &points); err != nil || len(points) != 1 || points[0].Step != 2 || points[0].Data["acc"] != 0.75 {
		t.Errorf("%s, %v", b, err)
	}
	f.refused(404, "Metric none", "POST", "metric/runs/r1/full", `{"metricName":"none"}`)
	errs := f.must("POST", "metric/runs/r1/batch", `{"reportErrors":true,"values":[{"name":"t","columns":{"a":"double"},"value":[{"data":{"a":"x"}}]},{"name":"ok","value":[{"data":{"ok":1}}]}]}`)
	if n := len(errs.at("errors").([]any)); n != 1 {
		t.Errorf("%s", errs.text)
	}
}

// A job's run follows its process, not what clients say of it.
func TestJobsStatus(t *testing.T) {
	f := newFixture(t)
	f.newRun("job", func(r *ml.Run) { r.Properties = map[string]string{"azureml.jobId": "x"} })
	f.must("PATCH", "history/runs/job", `{"status":"Completed"}`)
	f.must("POST", "history/runs/job/events", `{"name":"Microsoft.MachineLearning.Run.Failed"}`)
	if s := f.must("GET", "history/runs/job", nil).at("status"); s != "Running" {
		t.Errorf("status %v", s)
	}
}

func TestDetails(t *testing.T) {
	f := newFixture(t)
	f.newRun("job")
	f.newRun("job2")
	f.upload("ExperimentRun/dcid.job/user_logs/std_log.txt", "ExperimentRun/dcid.job/system_logs/hosttools_capability/hosttools.log",
		"ExperimentRun/dcid.job/outputs/model.pkl", "ExperimentRun/dcid.job2/user_logs/std_log.txt")
	a := f.must("GET", "history/runs/job/details", nil)
	const root = "https://acct.blob.core.windows.net/azureml/ExperimentRun/dcid.job/"
	want := map[string]any{
		"user_logs/std_log.txt":                          root + "user_logs/std_log.txt?sp=r&se=2026-11-01",
		"system_logs/hosttools_capability/hosttools.log": root + "system_logs/hosttools_capability/hosttools.log?sp=r&se=2026-11-01",
	}
	if d := cmp.Diff(want, a.at("logFiles")); d != "" {
		t.Errorf("log files (-want +got):\n%s", d)
	}
	f.newRun("fresh")
	if none, ok := f.must("GET", "history/runs/fresh/details", nil).at("logFiles").(map[string]any); !ok || len(none) > 0 {
		t.Errorf("before there is a log: %v", none) // azure-ai-ml's stream ends in a TypeError without the member
	}
	if a.at("runId") != "job" || a.at("status") != "Running" || a.at("createdTimeUtc") == nil || len(a.at("warnings").([]any)) != 0 {
		t.Errorf("%s", a.text)
	}
}

func TestQueryAndPages(t *testing.T) {
	f := newFixture(t)
	var want []string
	for i := range 25 {
		f.newRun(fmt.Sprintf("r%02d", i), func(r *ml.Run) {
			r.Tags = map[string]string{"odd": fmt.Sprint(i % 2)}
			r.Metrics = map[string]ml.Metric{"acc": {Value: ml.Float(i)}}
			if i > 0 {
				r.Parent = "r00"
			}
		})
		want = append([]string{fmt.Sprintf("r%02d", i)}, want...)
	}
	ids := func(a answer) (out []string) {
		for _, r := range a.body["value"].([]any) {
			out = append(out, r.(map[string]any)["runId"].(string))
		}
		return out
	}
	const query = "history/experiments/train/runs:query"
	var got []string
	for token := any(nil); ; {
		a := f.must("POST", query, map[string]any{"top": 10, "continuationToken": token})
		got = append(got, ids(a)...)
		if token = a.at("continuationToken"); token == nil {
			break
		}
		if a.at("nextLink") != nil {
			t.Error("a link to go on with for what is asked with POST")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages: %v", got)
	}
	// Children are read with GET, and go on by link.
	got = nil
	for path := "history/experiments/train/runs/r00/children?$top=10"; path != ""; {
		a := f.must("GET", path, nil)
		got = append(got, ids(a)...)
		link, _ := a.at("nextLink").(string)
		path = strings.TrimPrefix(link, "https://"+regional)
	}
	if !slices.Equal(got, want[:24]) {
		t.Errorf("children: %v", got)
	}
	for filter, n := range map[string]int{
		"": 25, "tags/odd eq '1'": 12, "tags/odd eq 1": 12, "(RunId eq r01) or (RunId eq 'r02')": 2, "not (tags/odd eq '1') and metrics/acc gt 20": 2,
		"status eq 'running'": 25, "createdUtc lt 2026-10-01": 0, "createdUtc gt 2026-10-01T00:00:00Z": 25, "parentRunId eq null": 1, "parentRunId ne null": 24,
		"startswith(displayName, 'run r0')": 10, "contains(displayName,'r1')": 10, "properties/none eq 'x'": 0, "properties/none ne 'x'": 25,
	} {
		a := f.must("POST", query, map[string]any{"filter": filter})
		if got := len(ids(a)); got != n {
			t.Errorf("%s finds %d, want %d", filter, got, n)
		}
	}
	if got := ids(f.must("POST", query, `{"orderBy":"metrics/acc asc","top":2}`)); !slices.Equal(got, []string{"r00", "r01"}) {
		t.Errorf("ordered: %v", got)
	}
	for _, bad := range []string{`{"filter":"status"}`, `{"filter":"(status eq 'x'"}`, `{"filter":"status eq 'x"}`, `{"filter":"a is 'x'"}`, `{"filter":"a gt null"}`,
		`{"continuationToken":"!"}`, `{"top":-1}`, `{"orderBy":"a b c"}`, `{"orderBy":"a up"}`, `{`, `{"filter":"` + strings.Repeat("(", 100) + `"}`} {
		f.refused(400, "", "POST", query, bad)
	}
	b := f.must("POST", "history/experiments/train/runs/runIds", `{"runIds":["r01","none"]}`)
	if b.at("runs", "r01", "rootRunId") != "r00" || b.at("errors", "none", "error", "code") != "UserError" {
		t.Errorf("%s", b.text)
	}
	d := f.must("POST", "history/batchrundata", `{"requests":{"a":{"runId":"r01"},"b":{"runId":"none"}}}`)
	if d.at("successfulResults", "a", "runMetadata", "runId") != "r01" || d.at("failedResults", "b") == nil {
		t.Errorf("%s", d.text)
	}
	if d := f.must("POST", "history/rundata", `{"runId":"r01","selectRunMetadata":true}`); d.at("runMetadata", "status") != "Running" {
		t.Errorf("%s", d.text)
	}
	m := f.must("PATCH", "history/experiments/train/batch/runs", `{"runs":[{"runId":"r01","hidden":true},{"runId":"new","status":"Running"},{"runId":"b d"}]}`)
	if m.at("runs", "r01", "hidden") != true || m.at("runs", "new", "status") != "Running" || m.at("errors", "b d") == nil {
		t.Errorf("%s", m.text)
	}
	ev := f.must("POST", "history/experiments/train/batch/events", `{"events":[{"name":"Microsoft.MachineLearning.Run.Completed","data":{"runId":"new"}},{"name":"x","data":{}}]}`)
	if len(ev.at("successes").([]any)) != 1 || len(ev.at("errors").([]any)) != 1 {
		t.Errorf("%s", ev.text)
	}
}

func TestTokenRenewal(t *testing.T) {
	f := newFixture(t)
	r := f.newRun("job")
	f.token = runToken(guid, "job")
	a := f.must("GET", "history/experimentids/"+r.ExperimentID+"/runs/job/token", nil)
	if a.at("token") != "fresh job" || a.at("expiryTimeUtc") != "2026-11-02T00:00:00.0000000+00:00" {
		t.Errorf("%s", a.text)
	}
	if _, err := time.Parse(time.RFC3339Nano, a.at("expiryTimeUtc").(string)); err != nil {
		t.Error(err)
	}
}
