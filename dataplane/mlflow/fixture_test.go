package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/ml"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

const (
	guid = "6f1d2c3b-0000-4000-8000-000000000001"
	wsID = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/mlw"
	base = "/mlflow/v2.0" + wsID + "/api/2.0/mlflow/"
)

// ticking is a clock that moves a second with every look.
type ticking struct {
	mu  sync.Mutex
	now time.Time
}

func (c *ticking) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

// registry keeps models in memory.
type registry struct {
	models   map[string]Model
	versions []ModelVersion
	clock    *ticking
}

func missing(name string) error {
	return arm.Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource 'models/%s' was not found.", name)
}

func (r *registry) CreateModel(_ context.Context, _ arm.ID, m Model) (Model, error) {
	m.Created = r.clock.Now()
	m.Updated = m.Created
	r.models[m.Name] = m
	return m, nil
}

func (r *registry) Model(_ context.Context, _ arm.ID, name string) (Model, error) {
	m, ok := r.models[name]
	if !ok {
		return m, missing(name)
	}
	return m, nil
}

func (r *registry) Models(context.Context, arm.ID) (out []Model, err error) {
	for _, k := range sortedKeys(r.models) {
		out = append(out, r.models[k])
	}
	return out, nil
}

func (r *registry) CreateVersion(ctx context.Context, id arm.ID, v ModelVersion) (ModelVersion, error) {
	if _, ok := r.models[v.Name]; !ok {
		if _, err := r.CreateModel(ctx, id, Model{Name: v.Name}); err != nil {
			return v, err
		}
	}
	have, _ := r.Versions(ctx, id, v.Name)
	v.Version = strconv.Itoa(len(have) + 1)
	v.Created = r.clock.Now()
	v.Updated = v.Created
	r.versions = append(r.versions, v)
	return v, nil
}

func (r *registry) Version(_ context.Context, _ arm.ID, name, version string) (ModelVersion, error) {
	for _, v := range r.versions {
		if v.Name == name && v.Version == version {
			return v, nil
		}
	}
	return ModelVersion{}, missing(name + "/versions/" + version)
}

func (r *registry) Versions(_ context.Context, _ arm.ID, name string) (out []ModelVersion, err error) {
	for _, v := range slices.Backward(r.versions) {
		if name == "" || v.Name == name {
			out = append(out, v)
		}
	}
	return out, nil
}

func (r *registry) UpdateModel(ctx context.Context, id arm.ID, name string, f func(*Model, []ModelVersion) error) error {
	m, err := r.Model(ctx, id, name)
	if err != nil {
		return err
	}
	vs, _ := r.Versions(ctx, id, name)
	if err := f(&m, vs); err != nil {
		return err
	}
	r.models[name] = m
	for _, v := range vs {
		for i := range r.versions {
			if r.versions[i].Name == name && r.versions[i].Version == v.Version {
				r.versions[i] = v
			}
		}
	}
	return nil
}

func (r *registry) DeleteVersion(ctx context.Context, id arm.ID, name, version string) error {
	if _, err := r.Version(ctx, id, name, version); err != nil {
		return err
	}
	r.versions = slices.DeleteFunc(r.versions, func(v ModelVersion) bool { return v.Name == name && v.Version == version })
	if !slices.ContainsFunc(r.versions, func(v ModelVersion) bool { return v.Name == name }) {
		delete(r.models, name)
	}
	return nil
}

// files are the artifacts of containers.
type files map[string][]File

func (f files) List(_ context.Context, _ arm.ID, container string) ([]File, error) {
	return f[container], nil
}

// fixture is the API over a store of its own.
type fixture struct {
	testing.TB
	*Service
	runs   *ml.Store
	files  files
	db     store.Store
	caller ml.Caller
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &ticking{now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	f := &fixture{TB: t, runs: ml.New(db, c), db: db, caller: ml.Caller{User: ml.User{ObjectID: "ada-id", Name: "ada@contoso.com"}}}
	f.files = files{}
	f.Service = New(f.runs, &registry{models: map[string]Model{}, clock: c}, f.files, c, nil)
	return f
}

// call makes a request; body may be a struct, a map, or JSON as a string. An operation starting with "/" is a whole path.
func (f *fixture) call(method, operation string, body any) (int, string) {
	f.Helper()
	var b []byte
	switch v := body.(type) {
	case nil:
	case string:
		b = []byte(v)
	default:
		var err error
		if b, err = json.Marshal(v); err != nil {
			f.Fatal(err)
		}
	}
	target := base + operation
	if strings.HasPrefix(operation, "/") {
		target = operation
	}
	w := httptest.NewRecorder()
	f.Serve(w, httptest.NewRequest(method, target, bytes.NewReader(b)), Workspace{GUID: guid, ID: arm.MustParseID(wsID), Host: "westeurope.api.azureml.ms"}, f.caller)
	return w.Code, w.Body.String()
}

// must makes a request that succeeds and decodes the answer.
func (f *fixture) must(method, operation string, body any) map[string]any {
	f.Helper()
	code, text := f.call(method, operation, body)
	if code != http.StatusOK {
		f.Fatalf("%s %s: %d %s", method, operation, code, text)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		f.Fatal(err)
	}
	return m
}

// at follows the keys into v.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (f *fixture) experiment(name string) string {
	f.Helper()
	return at(f.must("POST", "experiments/create", map[string]any{"name": name}), "experiment_id").(string)
}

func (f *fixture) newRun(experiment, name string) string {
	f.Helper()
	return at(f.must("POST", "runs/create", map[string]any{"experiment_id": experiment, "run_name": name}), "run", "info", "run_id").(string)
}
