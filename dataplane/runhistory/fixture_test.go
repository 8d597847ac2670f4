package runhistory_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/dataplane/runhistory"
	"vauban.dev/entra"
	"vauban.dev/firewall"
	"vauban.dev/ml"
	"vauban.dev/origin"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	guid      = "6f1d2c3b-0000-4000-8000-000000000001"
	otherGUID = "6f1d2c3b-0000-4000-8000-000000000002"
	wsID      = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/mlw"
	otherID   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/other"
	regional  = "westeurope.api.azureml.ms"
	private   = guid + ".workspace.westeurope.api.azureml.ms"
	actions   = "Microsoft.MachineLearningServices/workspaces/"
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

// fixture is the service with fakes of all that it asks.
type fixture struct {
	testing.TB
	runs       *ml.Store
	handler    http.Handler
	workspaces []runhistory.Workspace
	denied     map[string]bool // actions that no role grants
	asked      []authz.Request
	blobs      map[string]bool // account/container/name
	mlflow     []ml.Caller     // whom MLflow served
	origin     origin.Origin
	host       string
	token      string
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
	f := &fixture{
		TB: t, runs: ml.New(db, c), denied: map[string]bool{}, blobs: map[string]bool{}, host: regional, token: "ada",
		origin: origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("203.0.113.9")},
	}
	for id, g := range map[string]string{wsID: guid, otherID: otherGUID} {
		f.workspaces = append(f.workspaces, runhistory.Workspace{
			ID: arm.MustParseID(id), GUID: g, Location: "westeurope", Host: regional, StorageAccount: "acct",
			Firewall: firewall.Rules{ResourceID: id, GroupIDs: []string{"amlworkspace"}},
		})
	}
	f.handler = runhistory.New(runhistory.Config{
		Runs: f.runs, Workspaces: f, Tokens: f, Authorizer: f, Blobs: f, MLflow: f, Clock: c,
	}).Handler()
	return f
}

func (f *fixture) Lookup(_ context.Context, id arm.ID) (runhistory.Workspace, error) {
	for _, w := range f.workspaces {
		if w.ID.Key() == id.Key() {
			return w, nil
		}
	}
	return runhistory.Workspace{}, runhistory.ErrNoWorkspace
}

func (f *fixture) ByGUID(_ context.Context, guid string) (runhistory.Workspace, error) {
	for _, w := range f.workspaces {
		if w.GUID == guid {
			return w, nil
		}
	}
	return runhistory.Workspace{}, runhistory.ErrNoWorkspace
}

// change changes the first workspace.
func (f *fixture) change(change func(*runhistory.Workspace)) {
	for i := range f.workspaces {
		if f.workspaces[i].GUID == guid {
			change(&f.workspaces[i])
		}
	}
}

func (f *fixture) Verify(_ context.Context, token string, audiences ...string) (authz.Principal, error) {
	if token != "ada" || !slices.Contains(audiences, "https://management.azure.com/") {
		return authz.Principal{}, errors.New("the token is expired")
	}
	return authz.Principal{TenantID: "t1", ObjectID: "ada-id", Name: "ada@contoso.com", Type: "User"}, nil
}

// runToken has the form by which run tokens are told apart; what it says is in the token's place of a signature.
func runToken(workspace, run string) string {
	claims := base64URL(`{"iss":"azureml","aud":"azureml"}`)
	return base64URL(`{"alg":"RS256"}`) + "." + claims + "." + base64URL(workspace+" "+run)
}

func (f *fixture) VerifyRun(_ context.Context, token string) (entra.Run, authz.Principal, error) {
	parts := strings.Split(token, ".")
	workspace, run, ok := strings.Cut(fromBase64URL(parts[len(parts)-1]), " ")
	if !ok {
		return entra.Run{}, authz.Principal{}, errors.New("the token is forged")
	}
	return entra.Run{WorkspaceID: workspace, RunID: run, PrincipalID: "mi-id"}, authz.Principal{TenantID: "t1", ObjectID: "mi-id", Name: "run " + run, Type: "ManagedIdentity"}, nil
}

func (f *fixture) IssueRun(_ context.Context, r entra.Run) (entra.Token, error) {
	return entra.Token{AccessToken: "fresh " + r.RunID, ExpiresOn: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}, nil
}

func (f *fixture) Check(_ context.Context, p authz.Principal, r authz.Request) (authz.Decision, error) {
	f.asked = append(f.asked, r)
	if f.denied[r.Action] {
		return authz.Decision{By: "none of the 2 role assignments at the scope has it"}, nil
	}
	return authz.Decision{Allowed: true}, nil
}

func (f *fixture) List(_ context.Context, account, container, prefix, after string, limit int) (out []runhistory.Blob, err error) {
	root := account + "/" + container + "/"
	for b := range f.blobs {
		if name, ok := strings.CutPrefix(b, root); ok && strings.HasPrefix(name, prefix) && name > after {
			out = append(out, runhistory.Blob{Name: name, ETag: `"0x1"`, Created: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)})
		}
	}
	slices.SortFunc(out, func(a, b runhistory.Blob) int { return cmp.Compare(a.Name, b.Name) })
	return out[:min(limit, len(out))], nil
}

func (f *fixture) Stat(_ context.Context, account, container, name string) (runhistory.Blob, error) {
	if !f.blobs[account+"/"+container+"/"+name] {
		return runhistory.Blob{}, runhistory.ErrNoBlob
	}
	return runhistory.Blob{Name: name, Created: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}, nil
}

func (f *fixture) SAS(_ context.Context, account, container, blob, permissions string, expiry time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "/" + blob + "?sp=" + permissions + "&se=" + expiry.Format("2006-01-02"), nil
}

func (f *fixture) Permission(method, path string) string {
	if strings.HasSuffix(path, "/registered-models/create") {
		return actions + "models/write"
	}
	return actions + "experiments/runs/write"
}

func (f *fixture) Serve(w http.ResponseWriter, _ *http.Request, ws ml.Workspace, c ml.Caller) {
	f.mlflow = append(f.mlflow, c)
	_, _ = w.Write([]byte(ws.GUID + " on " + ws.Host))
}

// answer of a request.
type answer struct {
	code   int
	text   string
	header http.Header
	body   map[string]any
}

// at follows the keys into the body.
func (a answer) at(keys ...string) any {
	var v any = a.body
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (a answer) message() string {
	s, _ := a.at("error", "message").(string)
	return s
}

// call makes a request; a path that starts with "history", "artifact" or "metric" is of the first workspace.
func (f *fixture) call(method, path string, body any) answer {
	f.Helper()
	var b []byte
	if s, ok := body.(string); ok {
		b = []byte(s)
	} else if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			f.Fatal(err)
		}
	}
	if !strings.HasPrefix(path, "/") {
		service, rest, _ := strings.Cut(path, "/")
		version := "v2.0"
		if service == "history" {
			version = "v1.0"
		}
		path = "/" + service + "/" + version + wsID
		if rest != "" {
			path += "/" + rest
		}
	}
	r := httptest.NewRequest(method, "https://"+f.host+path, bytes.NewReader(b))
	if f.token != "" {
		r.Header.Set("Authorization", "Bearer "+f.token)
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r.WithContext(origin.NewContext(r.Context(), f.origin)))
	a := answer{code: w.Code, text: w.Body.String(), header: w.Header()}
	if json.Unmarshal(w.Body.Bytes(), &a.body) != nil {
		a.body = nil
	}
	return a
}

// must makes a request that succeeds.
func (f *fixture) must(method, path string, body any) answer {
	f.Helper()
	a := f.call(method, path, body)
	if a.code != http.StatusOK {
		f.Fatalf("%s %s: %d %s", method, path, a.code, a.text)
	}
	return a
}

// refused makes a request that is refused with this status and says this.
func (f *fixture) refused(code int, says, method, path string, body any) answer {
	f.Helper()
	a := f.call(method, path, body)
	if a.code != code || !strings.Contains(a.message(), says) {
		f.Errorf("%s %s: %d %s; want %d and %q", method, path, a.code, a.text, code, says)
	}
	return a
}

// newRun makes a running run in the experiment "train".
func (f *fixture) newRun(id string, change ...func(*ml.Run)) *ml.Run {
	f.Helper()
	e, err := f.runs.EnsureExperiment(context.Background(), guid, "train")
	if err != nil {
		f.Fatal(err)
	}
	r := &ml.Run{ID: id, ExperimentID: e.ID, Status: ml.Running, Name: "run " + id, Type: "azureml.commandjob", User: ml.User{ObjectID: "bob-id", TenantID: "t1", Name: "bob@contoso.com"}}
	for _, c := range change {
		c(r)
	}
	if err := f.runs.CreateRun(context.Background(), guid, r); err != nil {
		f.Fatal(err)
	}
	return r
}

// upload puts a blob into the artifacts of the workspace.
func (f *fixture) upload(names ...string) {
	for _, n := range names {
		f.blobs["acct/azureml/"+n] = true
	}
}
