package machinelearning_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/machinelearning"
)

type (
	model   = machinelearning.RegisteredModel
	version = machinelearning.RegisteredVersion
)

func status(err error) int {
	if e := arm.AsError(err); e != nil {
		return e.Status
	}
	return 0
}

// What MLflow registers, Resource Manager's clients find, and the other way round.
func TestModels(t *testing.T) {
	r := newRig(t)
	ctx, w := authz.NewContext(t.Context(), rptest.Owner), arm.MustParseID(mlw)
	m, err := r.CreateModel(ctx, w, model{Name: "credit", Description: "who pays back", Tags: map[string]string{"team": "risk"}})
	if err != nil || m.Name != "credit" || m.Created.IsZero() {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := r.CreateModel(ctx, w, model{Name: "Credit"}); status(err) != http.StatusConflict {
		t.Errorf("made twice: %v", err)
	}
	if _, err := r.CreateModel(ctx, w, model{Name: "a b"}); status(err) != http.StatusBadRequest {
		t.Errorf("a name that cannot be: %v", err)
	}
	none := arm.MustParseID(strings.Replace(mlw, "/mlw", "/none", 1))
	if _, err := r.CreateModel(ctx, none, model{Name: "credit"}); status(err) != http.StatusNotFound {
		t.Errorf("in no workspace: %v", err)
	}
	if _, err := r.Model(ctx, w, "none"); status(err) != http.StatusNotFound {
		t.Errorf("no model: %v", err)
	}
	if _, err := r.Versions(ctx, w, "none"); status(err) != http.StatusNotFound {
		t.Errorf("versions of no model: %v", err)
	}

	const store = "azureml://subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/workspaces/mlw/datastores/workspaceartifactstore/paths/"
	for i, c := range []struct{ source, place string }{
		{"runs:/job1/model", store + "ExperimentRun/dcid.job1/model"},
		{"azureml://artifacts/LocalUpload/261101-ab/model", store + "LocalUpload/261101-ab/model"},
		{"azureml://westeurope.api.azureml.ms/mlflow/v2.0" + mlw + "/experiments/e/runs/job1/artifacts/m/x", store + "ExperimentRun/dcid.job1/m/x"},
		{"https://acct.blob.core.windows.net/c/model", "https://acct.blob.core.windows.net/c/model"},
	} {
		v, err := r.CreateVersion(ctx, w, version{Name: "credit", Source: c.source, RunID: "job1"})
		if err != nil {
			t.Fatal(err)
		}
		if want := string(rune('1' + i)); v.Version != want || v.Source != c.source || v.User != rptest.Owner.Name || v.RunID != "job1" {
			t.Errorf("version %s: %+v", want, v)
		}
		a := r.Must("GET", mlw+"/models/credit/versions/"+v.Version+api, "")
		if got := a.String("properties", "modelUri"); got != c.place {
			t.Errorf("%s is at %s, want %s", c.source, got, c.place)
		}
		if a.String("properties", "modelType") != "mlflow_model" || a.String("properties", "jobName") != "job1" {
			t.Errorf("%s", a.Text)
		}
		if again, err := r.Version(ctx, w, "credit", v.Version); err != nil || again.Source != c.source {
			t.Errorf("%+v, %v", again, err)
		}
	}
	for _, bad := range []string{"", "model", "file:///tmp/m", "runs:/", "runs:/job1", ":"} {
		if _, err := r.CreateVersion(ctx, w, version{Name: "credit", Source: bad}); status(err) != http.StatusBadRequest {
			t.Errorf("source %q: %v", bad, err)
		}
	}
	a := r.Must("GET", mlw+"/models/credit"+api, "")
	if a.String("properties", "latestVersion") != "4" || a.String("properties", "nextVersion") != "5" || a.String("properties", "description") != "who pays back" {
		t.Errorf("%s", a.Text)
	}
	vs, err := r.Versions(ctx, w, "credit")
	if err != nil || len(vs) != 4 || vs[0].Version != "4" || vs[3].Version != "1" {
		t.Errorf("%+v, %v", vs, err)
	}

	// By Resource Manager.
	r.Must("PUT", mlw+"/models/fraud/versions/7"+api, `{"properties":{"modelUri":"`+store+`ExperimentRun/dcid.job2/model","modelType":"mlflow_model","isArchived":false}}`)
	v, err := r.Version(ctx, w, "fraud", "7")
	if err != nil || v.Source != "azureml://artifacts/ExperimentRun/dcid.job2/model" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := r.CreateVersion(ctx, w, version{Name: "fraud", Source: "runs:/j/m"}); err != nil || v.Version != "8" {
		t.Errorf("%+v, %v", v, err)
	}
	// A version of a model that is not there makes it.
	if _, err := r.CreateVersion(ctx, w, version{Name: "new", Source: "runs:/j/m"}); err != nil {
		t.Error(err)
	}
	ms, err := r.Models(ctx, w)
	if err != nil || len(ms) != 3 {
		t.Errorf("%+v, %v", ms, err)
	}
	all, err := r.Versions(ctx, w, "")
	if err != nil || len(all) != 7 || all[0].Name != "new" {
		t.Errorf("%d versions, the newest of %s, %v", len(all), all[0].Name, err)
	}
}

// Versions that are registered at the same time get numbers of their own.
func TestVersionsAtOnce(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 20 {
		wg.Go(func() {
			v, err := r.CreateVersion(t.Context(), arm.MustParseID(mlw), version{Name: "m", Source: "runs:/j/m"})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[v.Version] {
				t.Errorf("%+v, %v", v, err)
			}
			seen[v.Version] = true
		})
	}
	wg.Wait()
}

// Aliases and stages are changed with the versions that they name, in one transaction, and go with them.
func TestChangeModel(t *testing.T) {
	r := newRig(t)
	ctx, w := authz.NewContext(t.Context(), rptest.Owner), arm.MustParseID(mlw)
	for range 2 {
		if _, err := r.CreateVersion(ctx, w, version{Name: "credit", Source: "models:/m-1"}); err != nil {
			t.Fatal(err)
		}
	}
	change := func(f func(*model, []version) error) error { return r.UpdateModel(ctx, w, "credit", f) }
	if err := change(func(m *model, vs []version) error {
		m.Description, m.Aliases = "new", map[string]string{"champion": "2", "old": "1"}
		vs[0].Stage, vs[1].Stage, vs[1].Tags = "Production", "Archived", map[string]string{"k": "v"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := change(func(m *model, vs []version) error {
		m.Description, vs[0].Stage = "lost", "None"
		return refused
	}); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	m, err := r.Model(ctx, w, "credit")
	if err != nil || m.Description != "new" || m.Aliases["champion"] != "2" {
		t.Errorf("%+v, %v", m, err)
	}
	a := r.Must("GET", mlw+"/models/credit/versions/1"+api, "")
	if a.String("properties", "stage") != "Archived" || a.String("properties", "tags", "k") != "v" {
		t.Errorf("%s", a.Text)
	}
	if text := r.Must("GET", mlw+"/models/credit"+api, "").Text; strings.Contains(text, "champion") {
		t.Errorf("Resource Manager shows aliases: %s", text)
	}
	if err := r.DeleteVersion(ctx, w, "credit", "1"); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Model(ctx, w, "credit"); err != nil || len(m.Aliases) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	if err := r.DeleteVersion(ctx, w, "credit", "1"); status(err) != http.StatusNotFound {
		t.Errorf("deleted twice: %v", err)
	}
	if err := r.DeleteVersion(ctx, w, "credit", "2"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Version(ctx, w, "credit", "2"); status(err) != http.StatusNotFound {
		t.Errorf("a version is left: %v", err)
	}
	if _, err := r.Model(ctx, w, "credit"); status(err) != http.StatusNotFound {
		t.Errorf("the model is left: %v", err)
	}
}
