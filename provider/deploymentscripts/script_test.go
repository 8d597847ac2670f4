package deploymentscripts_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/deploymentscripts"
	"vauban.dev/provider/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub     = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	scripts = sub + "/resourceGroups/rg/providers/Microsoft.Resources/deploymentScripts/"
	api     = "?api-version=2023-08-01"
)

// rig plays processes and the network.
type rig struct {
	*rptest.Region
	clock *clock.Region

	mu      sync.Mutex
	tasks   map[string]deploymentscripts.Task
	results map[string]deploymentscripts.Result
	nics    map[string]bool
	cleaned int
	result  deploymentscripts.Result // of the next tasks
	hold    bool                     // they do not end
	refuse  error                    // the subnet's
}

func (r *rig) View(ctx context.Context, f func(*rp.Tx) error) error   { return r.Engine.View(ctx, f) }
func (r *rig) Update(ctx context.Context, f func(*rp.Tx) error) error { return r.Engine.Update(ctx, f) }
func (r *rig) Sync(context.Context) error                             { return nil }

func (r *rig) Allocate(_ *rp.Tx, script, _ arm.ID, _, run string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	nic := script.String() + "/containers/" + run
	r.nics[nic] = true
	return nic, r.refuse
}

func (r *rig) Release(_ *rp.Tx, _ arm.ID, nic string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.nics, nic)
	return nil
}

func (r *rig) Start(_ context.Context, t deploymentscripts.Task) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks[t.ID] = t
	r.results[t.ID] = r.result
	return nil
}

func (r *rig) Result(id string) (deploymentscripts.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold {
		return deploymentscripts.Result{}, deploymentscripts.ErrRunning
	}
	return r.results[id], nil
}

func (r *rig) Log(string) ([]byte, error) { return []byte("one\ntwo\nthree\n"), nil }

func (r *rig) Clean(context.Context, string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleaned++
	return nil
}

func (r *rig) Remove(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, id)
	return nil
}

func (r *rig) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// task is the only one there is.
func (r *rig) task(t *testing.T) deploymentscripts.Task {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tasks) != 1 {
		t.Fatalf("%d tasks", len(r.tasks))
	}
	for _, task := range r.tasks {
		return task
	}
	panic("unreachable")
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{clock: new(clock.Region), tasks: map[string]deploymentscripts.Task{}, results: map[string]deploymentscripts.Result{}, nics: map[string]bool{}}
	p := deploymentscripts.New(deploymentscripts.Config{Engine: r, Network: r, Launcher: r, Clock: r.clock,
		Account: func(_ *rp.Tx, name string) (arm.ID, string, error) {
			if name == "none" {
				return arm.ID{}, "", nil
			}
			return arm.MustParseID(sub + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/" + name), name, nil
		}})
	r.Region = rptest.New(t, rp.Config{Clock: r.clock}, append(resources.New(resources.Tenant{ID: rptest.Owner.TenantID}, nil, &authz.Index{}).Types(), p.Types()...)...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test") }); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", sub+"/resourceGroups/rg?api-version=2021-04-01", `{"location":"westeurope"}`)
	return r
}

func body(properties string) string {
	return `{"location":"westeurope","kind":"AzureCLI","properties":{"azCliVersion":"2.52.0","retentionInterval":"PT1H","scriptContent":"echo hello"` + properties + `}}`
}

func (r *rig) put(t *testing.T, name, body string) rptest.Answer {
	t.Helper()
	return r.Wait(r.Request("PUT", scripts+name+api, body))
}

func TestScriptRuns(t *testing.T) {
	r := newRig(t)
	r.result.Outputs = json.RawMessage(`{"greeting":["a","b"]}`)
	a := r.put(t, "s", body(`,"arguments":"one \"two three\"","timeout":"PT10M","environmentVariables":[{"name":"A","value":"x"},{"name":"B","secureValue":"hush-hush"}]`))
	if a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	got := r.Must("GET", scripts+"s"+api, "")
	if got.String("properties", "provisioningState") != "Succeeded" || !strings.Contains(got.Text, `"greeting":["a","b"]`) || got.String("properties", "status", "endTime") == "" {
		t.Errorf("%s", got.Text)
	}
	if strings.Contains(got.Text, "hush-hush") || strings.Contains(got.Text, "salt") {
		t.Errorf("an answer has a secret: %s", got.Text)
	}
	task := r.task(t)
	if task.Env["A"] != "x" || task.Env["B"] != "hush-hush" || len(task.Args) != 2 || task.Args[1] != "two three" || task.Timeout != 10*time.Minute {
		t.Errorf("%+v", task)
	}
	if len(r.nics) != 0 || r.cleaned != 1 {
		t.Errorf("left: %v, cleaned %d", r.nics, r.cleaned)
	}
	doc := r.Digest()
	if len(doc) == 0 {
		t.Fatal("no documents")
	}
	var stored string
	if err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		s, err := rp.Get[deploymentscripts.Script](tx, arm.MustParseID(scripts+"s"))
		if err == nil {
			stored = fmt.Sprint(s.Properties.Run.Secure)
		}
		return err
	}); err != nil || strings.Contains(stored, "hush") {
		t.Errorf("the secret is still stored: %s %v", stored, err)
	}
}

func TestScriptRunsAgainOnlyWhenItSaysSomethingNew(t *testing.T) {
	r := newRig(t)
	secret := `,"environmentVariables":[{"name":"B","secureValue":"hush-hush"}]`
	r.put(t, "s", body(secret))
	for _, c := range []struct {
		what, method, body string
		again              bool
	}{
		{"the same", "PUT", body(secret), false},
		{"tags", "PATCH", `{"tags":{"a":"b"}}`, false},
		{"forceUpdateTag", "PUT", body(secret + `,"forceUpdateTag":"2"`), true},
		{"another secret", "PUT", body(`,"environmentVariables":[{"name":"B","secureValue":"another"}]`), true},
		{"tags again", "PATCH", `{"tags":{"c":"d"}}`, false},
	} {
		before := r.task(t).ID
		if a := r.Wait(r.Request(c.method, scripts+"s"+api, c.body)); a.Status >= 300 {
			t.Fatalf("%s: %d %s", c.what, a.Status, a.Text)
		}
		if again := before != r.task(t).ID; again != c.again {
			t.Errorf("%s: it ran again: %v", c.what, again)
		}
	}
	if a := r.Request("PATCH", scripts+"s"+api, `{"properties":{"scriptContent":"other"}}`); a.Status != 400 || !strings.Contains(a.Text, "'B' needs its secureValue") {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	r.set(func() {
		r.result = deploymentscripts.Result{Code: "DeploymentScriptError", Message: "it failed", Lines: []string{"no such file"}}
	})
	a := r.put(t, "s", body(`,"forceUpdateTag":"3"`))
	if !strings.Contains(a.Text, "DeploymentScriptError") || !strings.Contains(a.Text, "no such file") {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	got := r.Must("GET", scripts+"s"+api, "")
	if got.String("properties", "provisioningState") != "Failed" || got.String("properties", "status", "error", "code") != "DeploymentScriptError" {
		t.Errorf("%s", got.Text)
	}
	failed := r.task(t).ID
	r.set(func() { r.result = deploymentscripts.Result{} })
	r.put(t, "s", body(`,"forceUpdateTag":"3"`))
	if r.task(t).ID == failed {
		t.Error("a script that failed did not run again")
	}
}

func TestScriptDeletion(t *testing.T) {
	r := newRig(t)
	r.set(func() { r.hold = true })
	created := r.Request("PUT", scripts+"s"+api, body(""))
	if created.Status != 201 {
		t.Fatalf("%d %s", created.Status, created.Text)
	}
	if a := r.Request("DELETE", scripts+"s"+api, ""); a.Status != 409 || a.String("error", "code") != "DeploymentScriptResourceConflict" {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	r.set(func() { r.hold = false })
	r.Wait(created)
	if a := r.Wait(r.Request("DELETE", scripts+"s"+api, "")); a.Status >= 300 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", scripts+"s"+api, ""); a.Status != 404 || len(r.tasks) != 0 || len(r.nics) != 0 {
		t.Errorf("%d %v %v", a.Status, r.tasks, r.nics)
	}
}

func TestScriptExpires(t *testing.T) {
	r := newRig(t)
	r.put(t, "s", body(""))
	id := arm.MustParseID(scripts + "s")
	r.clock.SetOffset(61 * time.Minute)
	r.Engine.Wake(id)
	deadline := time.Now().Add(time.Minute)
	for r.Request("GET", scripts+"s"+api, "").Status != http.StatusNotFound {
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
}

func TestScriptRefusals(t *testing.T) {
	r := newRig(t)
	for what, c := range map[string]struct {
		body, code, says string
	}{
		"PowerShell":      {`{"location":"westeurope","kind":"AzurePowerShell","properties":{"azPowerShellVersion":"10.1","retentionInterval":"P1D","scriptContent":"x"}}`, "NotImplemented", "no PowerShell"},
		"kind":            {`{"location":"westeurope","kind":"Bash","properties":{}}`, "DeploymentScriptInvalidOperation", "AzureCLI"},
		"no version":      {`{"location":"westeurope","kind":"AzureCLI","properties":{"retentionInterval":"P1D","scriptContent":"x"}}`, "DeploymentScriptInvalidOperation", "azCliVersion"},
		"no content":      {`{"location":"westeurope","kind":"AzureCLI","properties":{"azCliVersion":"2.52.0","retentionInterval":"P1D"}}`, "DeploymentScriptInvalidOperation", "primaryScriptUri"},
		"both":            {body(`,"primaryScriptUri":"https://a.b/c"`), "DeploymentScriptInvalidOperation", "cannot both"},
		"URI":             {body(`,"supportingScriptUris":["file:///etc/passwd"]`), "DeploymentScriptInvalidOperation", "URI"},
		"no retention":    {`{"location":"westeurope","kind":"AzureCLI","properties":{"azCliVersion":"2.52.0","scriptContent":"x"}}`, "DeploymentScriptInvalidOperation", "retentionInterval"},
		"retention":       {`{"location":"westeurope","kind":"AzureCLI","properties":{"azCliVersion":"2.52.0","scriptContent":"x","retentionInterval":"P2D"}}`, "DeploymentScriptInvalidOperation", "PT26H"},
		"timeout":         {body(`,"timeout":"P2D"`), "DeploymentScriptInvalidOperation", "P1D"},
		"cleanup":         {body(`,"cleanupPreference":"Never"`), "DeploymentScriptInvalidOperation", "OnExpiration"},
		"variable":        {body(`,"environmentVariables":[{"name":"a=b","value":"c"}]`), "DeploymentScriptInvalidOperation", "environmentVariables[0].name"},
		"variable twice":  {body(`,"environmentVariables":[{"name":"a","value":"c"},{"name":"a","value":"d"}]`), "DeploymentScriptInvalidOperation", "twice"},
		"large variables": {body(`,"environmentVariables":[{"name":"a","value":"` + strings.Repeat("x", 65<<10) + `"}]`), "DeploymentScriptInvalidOperation", "65536"},
		"container":       {body(`,"containerSettings":{"containerGroupName":"A--b"}`), "DeploymentScriptContainerGroupNameInvalid", "lowercase"},
		"subnet":          {body(`,"containerSettings":{"subnetIds":[{"id":"/subscriptions/x"}]}`), "DeploymentScriptInvalidOperation", "subnetIds[0].id"},
		"no key":          {body(`,"storageAccountSettings":{"storageAccountName":"a"}`), "DeploymentScriptStorageAccountAccessKeyNotSpecified", "access key"},
		"no account":      {body(`,"storageAccountSettings":{"storageAccountName":"none","storageAccountKey":"k"}`), "DeploymentScriptStorageAccountNotFound", "none"},
		"account's kind":  {body(`,"storageAccountSettings":{"storageAccountName":"BlobStorage","storageAccountKey":"k"}`), "DeploymentScriptStorageAccountInvalidKind", "file shares"},
	} {
		a := r.Request("PUT", scripts+"s"+api, c.body)
		if a.String("error", "code") != c.code || !strings.Contains(a.Text, c.says) {
			t.Errorf("%s: %d %s", what, a.Status, a.Text)
		}
	}
	if len(r.nics) != 0 {
		t.Errorf("%v", r.nics)
	}
}

func TestScriptLogs(t *testing.T) {
	r := newRig(t)
	r.put(t, "s", body(""))
	if a := r.Must("GET", scripts+"s/logs"+api, ""); !strings.Contains(a.Text, `one\ntwo\nthree\n`) {
		t.Error(a.Text)
	}
	if a := r.Must("GET", scripts+"s/logs/default"+api+"&tail=2", ""); a.String("properties", "log") != "two\nthree\n" || a.String("type") != "Microsoft.Resources/deploymentScripts/logs" {
		t.Error(a.Text)
	}
	for path, status := range map[string]int{"s/logs/other" + api: 404, "s/logs/default" + api + "&tail=0": 400, "gone/logs" + api: 404} {
		if a := r.Request("GET", scripts+path, ""); a.Status != status {
			t.Errorf("%s: %d %s", path, a.Status, a.Text)
		}
	}
}
