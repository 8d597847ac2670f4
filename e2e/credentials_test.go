package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestRunTokens: what a job is given opens its own run and nothing else, and not for ever.
func TestRunTokens(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	w.submit("mine", "mkdir -p outputs; env >outputs/env.txt", nil)
	w.submit("other", "true", nil)
	w.completed("mine")
	w.completed("other")
	env := map[string]string{}
	for line := range strings.Lines(w.artifact("mine", "outputs/env.txt")) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[k] = v
	}
	token := env["MLFLOW_TRACKING_TOKEN"]
	if token == "" || env["AZUREML_RUN_ID"] != "mine" || env["MLFLOW_TRACKING_URI"] == "" {
		t.Fatalf("the job's environment: %v", env)
	}
	second := w.group + "/providers/Microsoft.MachineLearningServices/workspaces/second"
	made := w.put(second, vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{
		"storageAccount": w.account, "keyVault": w.vault, "publicNetworkAccess": "Enabled"}})
	host, secondHost := w.guid+".workspace."+location+".api.azureml.ms", w.text(made, "properties.workspaceId")+".workspace."+location+".api.azureml.ms"
	mlflow := func(host, workspace, call string) string {
		return "https://" + host + "/mlflow/v2.0" + workspace + "/api/2.0/mlflow/" + call
	}
	metric := func(run string) string { return `{"run_id":"` + run + `","key":"m","value":1,"timestamp":1}` }
	send := func(token, method, url, body string) *answer {
		t.Helper()
		a, err := w.sendFrom("hub/jumpbox", "-token", token, method, url, body)
		if err != nil {
			t.Fatalf("%s %s: %v", method, url, err)
		}
		return a
	}
	if a := send(token, "GET", mlflow(host, w.workspace, "runs/get?run_id=mine"), ""); !a.ok() {
		t.Errorf("its own run: %s", a)
	}
	for name, c := range map[string]struct{ method, url, body string }{
		"another run's metric":   {"POST", mlflow(host, w.workspace, "runs/log-metric"), metric("other")},
		"another run's end":      {"POST", mlflow(host, w.workspace, "runs/update"), `{"run_id":"other","status":"FAILED"}`},
		"another run, deleted":   {"POST", mlflow(host, w.workspace, "runs/delete"), `{"run_id":"other"}`},
		"another run by history": {"PATCH", "https://" + host + "/history/v1.0" + w.workspace + "/experiments/e2e/runs/other", `{"runId":"other","tags":{"a":"b"}}`},
		"Resource Manager":       {"GET", "https://management.azure.com" + w.workspace + "?api-version=" + vML, ""},
		"storage":                {"GET", "https://" + blobHost + "/data?restype=container&comp=list", ""},
		"the vault":              {"GET", "https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4", ""},
		"the directory":          {"GET", "https://graph.microsoft.com/v1.0/servicePrincipals", ""},
	} {
		if a := send(token, c.method, c.url, c.body); a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
			t.Errorf("a run token for %s: %s", name, a)
		}
	}
	// The second workspace is public: its refusal is the token's.
	a := w.send(request{Method: "GET", URL: mlflow(secondHost, second, "experiments/search?max_results=5"), Token: token})
	if a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
		t.Errorf("a run token in another workspace: %s", a)
	}
	header, claims, signature := splitToken(token)
	forged := makeToken(t, header, with(claims, "runid", "other"), func([]byte) []byte { return []byte(signature) })
	refused(t, send(forged, "POST", mlflow(host, w.workspace, "runs/log-metric"), metric("other")), http.StatusUnauthorized, "UserError", "signature")
	// The activity log has who did what, also what came by the workspace's own host.
	if a, err := w.sendFrom("hub/jumpbox", "POST", mlflow(host, w.workspace, "registered-models/create"), `{"name":"noted"}`); err != nil || !a.ok() {
		t.Fatalf("a model: %v %v", a, err)
	}
	for _, want := range []struct{ filter, says string }{
		{"operationName eq 'Microsoft.MachineLearningServices/workspaces/experiments/runs/start/action' and status eq 'Started'", "/runs/mine"},
		{"operationName eq 'Microsoft.MachineLearningServices/workspaces/experiments/runs/start/action' and status eq 'Succeeded'", "The run 'other' of experiment 'e2e' has completed."},
		{"operationName eq 'Microsoft.MachineLearningServices/workspaces/models/write'", "through private endpoint"},
		{"operationName eq 'Microsoft.MachineLearningServices/workspaces/models/write' and caller eq '" + w.me() + "'", "/models/noted"},
	} {
		a := g.send(request{Method: "GET", URL: "/subscriptions/" + g.sub + "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=" + url.QueryEscape(want.filter)})
		if !a.ok() || !strings.Contains(string(a.Body), want.says) {
			t.Errorf("the activity log, %s: %s", want.filter, a)
		}
	}
	g.vauban("clock", "+60d")
	refused(t, send(token, "GET", mlflow(host, w.workspace, "runs/get?run_id=mine"), ""), http.StatusUnauthorized, "UserError", "earlier than current UTC time")
}

// TestPlatform: the platform's own services tell each place what is its own.
func TestPlatform(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	imds := "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"

	t.Run("metadata", func(t *testing.T) {
		w := w.with1(t)
		for name, c := range map[string]struct {
			place  string
			args   []string
			status int
		}{
			"without the header":       {"node:" + clusterName, nil, 400},
			"forwarded":                {"node:" + clusterName, []string{"-header", "Metadata: true", "-header", "X-Forwarded-For: 10.20.1.4"}, 400},
			"a place without identity": {"hub/jumpbox", []string{"-header", "Metadata: true"}, 401},
			"another's identity":       {"hub/jumpbox", []string{"-header", "Metadata: true"}, 401},
		} {
			url := imds
			if name == "another's identity" {
				url += "&client_id=" + w.identity
			}
			a, err := w.sendFrom(c.place, append(append([]string{"-token", "-"}, c.args...), "GET", url)...)
			if err != nil || a.Status != c.status {
				t.Errorf("%s: %v %v, want %d", name, a, err, c.status)
			}
		}
		if out, err := w.output(w.with(t, "PROBE_WAIT=300ms").at("internet", "probe", "tcp", "169.254.169.254:80")); err == nil && strings.TrimSpace(out) == "answered" {
			t.Error("the metadata service answers the internet")
		}
	})

	t.Run("batch", func(t *testing.T) {
		w := w.with1(t)
		for _, token := range []string{"-", "guessed", w.nodeToken("https://management.azure.com/")} {
			for _, c := range []struct{ method, path string }{{"POST", "/nodes/x/poll"}, {"POST", "/nodes/x/report"}, {"GET", "/"}} {
				a, err := w.sendFrom("hub/training", "-token", token, c.method, "https://azureml."+location+".batch.azure.com"+c.path, "{}")
				if err != nil {
					t.Fatal(err)
				}
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusNotFound && a.Status != http.StatusForbidden {
					t.Errorf("%s %s of the batch service: %s", c.method, c.path, a)
				}
			}
		}
	})

	t.Run("names", func(t *testing.T) {
		w := w.with1(t)
		resolve := func(place, name string) string {
			out, _ := w.output(w.at(place, "getent", "ahostsv4", name)) // no output: no such name
			if f := strings.Fields(out); len(f) > 0 {
				return f[0]
			}
			return ""
		}
		public := resolve("internet", blobHost)
		if public == "" || strings.HasPrefix(public, "10.") {
			t.Errorf("%s on the internet is %q", blobHost, public)
		}
		for _, c := range []struct{ place, name, want string }{
			{"hub/jumpbox", blobHost, "10.20.0."}, // the zone is linked
			{"node:" + clusterName, blobHost, "10.20.0."},
			{"other/default", blobHost, public}, // it is not
			{"internet", accountName + ".privatelink.blob.core.windows.net", public},
			{"hub/jumpbox", "nobody.blob.core.windows.net", ""},
			{"hub/jumpbox", "nobody.privatelink.blob.core.windows.net", ""},
			{"hub/jumpbox", "secret-data-as-a-label.attacker.example", ""}, // nothing is asked outside
			{"hub/jumpbox", "github.com", ""},
			{"internet", "github.com", ""},
			{"node:" + clusterName, "metadata.google.internal", ""},
		} {
			if got := resolve(c.place, c.name); got == "" != (c.want == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("%s at %s is %q, want %q", c.name, c.place, got, c.want)
			}
		}
	})
}
