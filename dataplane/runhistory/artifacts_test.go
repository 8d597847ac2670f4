package runhistory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vauban.dev/ml"
)

const blobRoot = "https://acct.blob.core.windows.net/azureml/ExperimentRun/dcid.r/"

func TestUpload(t *testing.T) {
	f := newFixture(t)
	r := f.newRun("r")
	f.upload("ExperimentRun/dcid.r/there.txt")
	for _, path := range []string{
		"history/experiments/train/runs/r/artifacts/batch/metadata",
		"history/experimentids/" + r.ExperimentID + "/runs/r/artifacts/batch/metadata",
		"artifact/artifacts/ExperimentRun/dcid.r/batch/metadata",
		"artifact/artifacts/batch/metadata/ExperimentRun/dcid.r",
	} {
		a := f.must("POST", path, `{"paths":[{"path":"outputs/a b.txt"},{"path":"there.txt"},{"path":"../other"},{"path":"/x"}]}`)
		if uri := a.at("artifactContentInformation", "outputs/a b.txt", "contentUri"); uri != blobRoot+"outputs/a b.txt?sp=rcw&se=2026-11-01" {
			t.Errorf("%s: %v", path, uri)
		}
		if id := a.at("artifacts", "outputs/a b.txt", "artifactId"); id != "ExperimentRun/dcid.r/outputs/a b.txt" {
			t.Errorf("%s: %v", path, id)
		}
		if uri := a.at("artifactContentInformation", "/x", "contentUri"); uri != blobRoot+"x?sp=rcw&se=2026-11-01" {
			t.Errorf("%s: the answer is not under the path as it was written: %s", path, a.text)
		}
		if m := a.at("errors", "there.txt", "error", "message"); m != "Resource Conflict: ArtifactId ExperimentRun/dcid.r/there.txt already exists." {
			t.Errorf("%s: %v", path, m)
		}
		if a.at("errors", "../other") == nil || a.at("artifactContentInformation", "../other") != nil {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	f.refused(400, "paths is empty", "POST", "artifact/artifacts/ExperimentRun/dcid.r/batch/metadata", `{}`)
	f.refused(404, "not found", "POST", "artifact/artifacts/ExperimentRun/dcid.none/batch/metadata", `{"paths":[{"path":"a"}]}`)
	f.refused(404, "container none", "POST", "artifact/artifacts/ExperimentRun/none/batch/metadata", `{"paths":[{"path":"a"}]}`)
	f.refused(400, "holds no artifacts", "POST", "artifact/artifacts/ExperimentRun%2Fdcid.x/dcid.r/batch/metadata", `{"paths":[{"path":"a"}]}`)
	f.refused(400, "holds no artifacts", "POST", "artifact/artifacts/LocalUpload/..%2FExperimentRun%2Fdcid.r/batch/metadata", `{"paths":[{"path":"a"}]}`)
	a := f.must("POST", "artifact/artifacts/LocalUpload/261101T000000-abc/batch/metadata", `{"paths":[{"path":"model/MLmodel"}]}`)
	if uri, _ := a.at("artifactContentInformation", "model/MLmodel", "contentUri").(string); !strings.Contains(uri, "/azureml/LocalUpload/261101T000000-abc/model/MLmodel?sp=rcw") {
		t.Errorf("%s", a.text)
	}
	if uri := f.must("GET", "artifact/artifacts/write/ExperimentRun/dcid.r/a/b", nil).at("contentUri"); uri != blobRoot+"a/b?sp=rcw&se=2026-11-01" {
		t.Errorf("write: %v", uri)
	}
}

func TestRead(t *testing.T) {
	f := newFixture(t)
	f.newRun("r")
	f.newRun("r2")
	f.upload("ExperimentRun/dcid.r/outputs/a.txt", "ExperimentRun/dcid.r/outputs2/b.txt", "ExperimentRun/dcid.r/c.txt", "ExperimentRun/dcid.r2/d.txt")
	paths := func(a answer) string {
		var out []string
		for _, v := range a.body["value"].([]any) {
			out = append(out, v.(map[string]any)["path"].(string))
		}
		return strings.Join(out, " ")
	}
	for path, want := range map[string]string{
		"history/experiments/train/runs/r/artifacts":                                "c.txt outputs/a.txt outputs2/b.txt",
		"history/runs/r/artifacts/path?path=outputs":                                "outputs/a.txt",
		"history/runs/r/artifacts/path/outputs2":                                    "outputs2/b.txt",
		"history/runs/r/artifacts/prefix/contentinfo?path=outputs/":                 "outputs/a.txt",
		"artifact/artifacts/ExperimentRun/dcid.r":                                   "c.txt outputs/a.txt outputs2/b.txt",
		"artifact/artifacts/ExperimentRun/dcid.r?path=outputs":                      "outputs/a.txt",
		"artifact/artifacts/ExperimentRun/dcid.r/outputs":                           "outputs/a.txt",
		"artifact/artifacts/prefix/contentinfo/ExperimentRun/dcid.r/outputs2":       "outputs2/b.txt",
		"artifact/artifacts/ExperimentRun/dcid.r/prefix/contentinfo?path=outputs":   "outputs/a.txt",
		"artifact/artifacts/ExperimentRun/dcid.r2":                                  "d.txt",
		"artifact/artifacts/prefix/contentinfo/ExperimentRun/dcid.r/user_logs":      "",
		"artifact/artifacts/ExperimentRun/dcid.r/prefix/contentinfo?path=user_logs": "",
	} {
		if got := paths(f.must("GET", path, nil)); got != want {
			t.Errorf("%s lists %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{
		"history/experiments/train/runs/r/artifacts/contentinfo?path=outputs%2Fa.txt",
		"history/runs/r/artifacts/contentinfo/outputs/a.txt",
		"artifact/artifacts/ExperimentRun/dcid.r/contentinfo?path=outputs/a.txt",
		"artifact/artifacts/contentinfo/ExperimentRun/dcid.r/outputs/a.txt",
		"artifact/artifacts/contentinfo/ExperimentRun/dcid.r/outputs%2Fa.txt",
	} {
		if uri := f.must("GET", path, nil).at("contentUri"); uri != blobRoot+"outputs/a.txt?sp=r&se=2026-11-01" {
			t.Errorf("%s: %v", path, uri)
		}
	}
	if a := f.must("GET", "history/runs/r/artifacts/artifacturi?path=c.txt", nil); a.text != `"`+blobRoot+`c.txt?sp=r\u0026se=2026-11-01"` {
		t.Errorf("%s", a.text)
	}
	if a := f.must("GET", "artifact/artifacts/metadata/ExperimentRun/dcid.r/c.txt", nil); a.at("dataPath", "relativePath") != "ExperimentRun/dcid.r/c.txt" {
		t.Errorf("%s", a.text)
	}
	f.refused(404, "Artifact ExperimentRun/dcid.r/none was not found", "GET", "history/runs/r/artifacts/contentinfo?path=none", nil)
	f.refused(400, "missing", "GET", "history/runs/r/artifacts/contentinfo", nil)
	f.refused(400, "no path", "GET", "history/runs/r/artifacts/contentinfo?path=a/../b", nil)
	b := f.must("POST", "artifact/artifacts/batch/metadata", `{"artifactIds":["ExperimentRun/dcid.r/c.txt","ExperimentRun/dcid.r/none","bad"]}`)
	if b.at("artifacts", "ExperimentRun/dcid.r/c.txt", "path") != "c.txt" || len(b.at("errors").(map[string]any)) != 2 {
		t.Errorf("%s", b.text)
	}
}

func TestArtifactPages(t *testing.T) {
	f := newFixture(t)
	f.newRun("r")
	var want []string
	for i := range 1234 {
		name := fmt.Sprintf("f%04d", i)
		want = append(want, name)
		f.upload("ExperimentRun/dcid.r/" + name)
	}
	var got []string
	pages := 0
	for path := "artifact/artifacts/ExperimentRun/dcid.r"; path != ""; pages++ {
		a := f.must("GET", path, nil)
		for _, v := range a.body["value"].([]any) {
			got = append(got, v.(map[string]any)["path"].(string))
		}
		link, _ := a.at("nextLink").(string)
		path = strings.TrimPrefix(link, "https://"+regional)
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("%d of %d artifacts in %d pages", len(got), len(want), pages)
	}
}

// Logged models and traces of MLflow 3 have artifacts as runs have, and a run's token opens those that it made.
func TestOwners(t *testing.T) {
	f := newFixture(t)
	r := f.newRun("own")
	mine := &ml.LoggedModel{ExperimentID: r.ExperimentID, Name: "mine", Creator: "own"}
	other := &ml.LoggedModel{ExperimentID: r.ExperimentID, Name: "other"}
	for _, m := range []*ml.LoggedModel{mine, other} {
		if err := f.runs.CreateLoggedModel(t.Context(), guid, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.runs.PutTrace(t.Context(), guid, &ml.Trace{ID: "tr-1", ExperimentID: r.ExperimentID, Creator: "own"}, nil); err != nil {
		t.Fatal(err)
	}
	body := `{"paths":[{"path":"MLmodel"}]}`
	for _, token := range []string{f.token, runToken(guid, "own")} {
		f.token = token
		for _, id := range []string{mine.ID, "tr-1"} {
			a := f.must("POST", "history/experiments/"+r.ExperimentID+"/runs/"+id+"/artifacts/batch/metadata", body)
			if uri, _ := a.at("artifactContentInformation", "MLmodel", "contentUri").(string); !strings.Contains(uri, "/azureml/ExperimentRun/dcid."+id+"/MLmodel?sp=rcw") {
				t.Errorf("%s: %s", id, a.text)
			}
			f.refused(404, "is not in experiment", "POST", "history/experiments/none/runs/"+id+"/artifacts/batch/metadata", body)
		}
	}
	f.refused(403, "does not open", "POST", "history/experiments/"+r.ExperimentID+"/runs/"+other.ID+"/artifacts/batch/metadata", body)
	f.refused(403, "does not open", "POST", "artifact/artifacts/ExperimentRun/dcid."+other.ID+"/batch/metadata", body)
}
