package runhistory_test

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/dataplane/runhistory"
	"vauban.dev/ml"
	"vauban.dev/origin"
)

func base64URL(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func fromBase64URL(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}

func TestDiscovery(t *testing.T) {
	f := newFixture(t)
	f.token = ""
	for _, host := range []string{regional, private} {
		f.host = host
		a := f.must("GET", "/discovery", nil)
		for _, k := range []string{"api", "history", "experimentation", "modelmanagement", "hyperdrive", "pipelines", "labeling"} {
			if a.body[k] != "https://"+host {
				t.Errorf("%s of %s is %v", k, host, a.body[k])
			}
		}
		f.must("GET", "/discovery/workspaces/x", nil)
	}
	f.change(func(w *runhistory.Workspace) { w.Firewall.PublicNetworkAccess = "Disabled" })
	f.refused(403, "denied based on workspace private link configuration", "GET", "/discovery", nil)
	f.host = regional
	f.must("GET", "/discovery", nil)
	f.refused(405, "GET", "POST", "/discovery", nil)
}

// The order is workspace, firewall, caller, permission, operation: each says no before the next is asked.
func TestOrder(t *testing.T) {
	f := newFixture(t)
	f.token = ""
	f.refused(404, "was not found", "GET", "/x", nil)
	f.refused(404, "Workspace not found", "GET", "/history/v1.0"+strings.Replace(wsID, "mlw", "none", 1)+"/runs/r", nil)
	f.host = "northeurope.api.azureml.ms"
	f.refused(404, "is in westeurope", "GET", "history/runs/r", nil)
	f.host = otherGUID + ".workspace.westeurope.api.azureml.ms"
	f.refused(403, "own", "GET", "history/runs/r", nil)
	f.host = "x.workspace.westeurope.api.azureml.ms"
	f.refused(404, "There is no workspace", "GET", "history/runs/r", nil)
	f.host = "www.example.com"
	f.refused(404, "is no workspace's", "GET", "history/runs/r", nil)
	f.host = regional

	f.change(func(w *runhistory.Workspace) { w.Firewall.PublicNetworkAccess = "Disabled" })
	a := f.refused(403, "Access to workspace was denied based on workspace private link configuration.", "GET", "history/runs/r", nil)
	if m := a.message(); !strings.Contains(m, "203.0.113.9 from the internet") || !strings.Contains(m, "publicNetworkAccess is Disabled") {
		t.Errorf("the refusal does not say who and why: %s", m)
	}
	if a.at("error", "code") != "UserError" || a.at("error", "innerError", "code") != "Forbidden" || a.at("correlation", "request") == "" || a.at("location") != "westeurope" {
		t.Errorf("the body is not Azure's: %s", a.text)
	}

	// Through its own private endpoint, on its own host, the workspace answers.
	f.host = private
	f.origin = origin.Origin{Kind: origin.PrivateEndpoint, Source: netip.MustParseAddr("10.0.0.4"), Target: wsID, GroupID: "amlworkspace", Endpoint: "pe"}
	a = f.refused(401, "Bearer token not provided", "GET", "history/runs/r", nil)
	if a.header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge")
	}
	f.token = "stolen"
	f.refused(401, "the token is expired", "GET", "history/runs/r", nil)
	f.token = "ada"
	f.denied[actions+"experiments/runs/read"] = true
	a = f.refused(403, "does not have authorization to perform action '"+actions+"experiments/runs/read' over scope '"+wsID+"'", "GET", "history/runs/r", nil)
	if !strings.Contains(a.message(), "none of the 2 role assignments") {
		t.Errorf("the refusal does not say which role is missing: %s", a.message())
	}
	delete(f.denied, actions+"experiments/runs/read")
	f.refused(404, "Run r not found", "GET", "history/runs/r", nil)

	// The endpoint of another workspace does not open this one, nor does an unknown connection.
	f.host = regional
	f.origin.Target = otherID
	f.refused(403, "private link configuration", "GET", "history/runs/r", nil)
	f.origin = origin.Origin{}
	f.refused(403, "unknown", "GET", "history/runs/r", nil)
}

func TestPermissions(t *testing.T) {
	f := newFixture(t)
	f.newRun("r")
	for path, action := range map[string]string{
		"GET history/runs/r":                                          "experiments/runs/read",
		"GET history/runs/r/details":                                  "experiments/runs/read",
		"PATCH history/runs/r":                                        "experiments/runs/write",
		"POST history/experiments/train/runs:query":                   "experiments/runs/read",
		"GET history/experiments/train":                               "experiments/read",
		"POST history/experiments/new":                                "experiments/write",
		"POST metric/runs/r/batch":                                    "experiments/runs/write",
		"POST metric/runs/r/list":                                     "experiments/runs/read",
		"POST history/runs/r/artifacts/batch/metadata":                "experiments/runs/write",
		"GET history/runs/r/artifacts":                                "experiments/runs/read",
		"GET artifact/artifacts/ExperimentRun/dcid.r/write?path=a":    "experiments/runs/write",
		"POST mlflow/api/2.0/mlflow/registered-models/create":         "models/write",
		"POST mlflow/api/2.0/mlflow/runs/log-batch":                   "experiments/runs/write",
		"GET /modelmanagement/v1.0" + wsID + "/models":                "read",
		"GET /history/v1.0" + wsID + "/computes/c/runs":               "read",
		"DELETE history/experimentids/x":                              "experiments/delete",
		"GET artifact/artifacts/contentinfo/ExperimentRun/dcid.r/a/b": "experiments/runs/read",
	} {
		method, path, _ := strings.Cut(path, " ")
		f.asked = nil
		f.denied = map[string]bool{actions + action: true}
		f.refused(403, actions+action, method, path, nil)
		if len(f.asked) != 1 || f.asked[0].Scope != wsID || f.asked[0].Data {
			t.Errorf("%s %s asked %+v", method, path, f.asked)
		}
	}
}

func TestUndone(t *testing.T) {
	f := newFixture(t)
	f.refused(501, "model management", "GET", "/modelmanagement/v1.0"+wsID+"/models", nil)
	f.refused(501, "computes", "GET", "/rp/workspaces"+wsID+"/computes/c", nil)
	f.refused(501, "history service", "GET", "/history/v1.0"+wsID+"/computes/c/runs", nil)
	f.refused(404, "was not found", "GET", "/nothing/v1.0"+wsID+"/x", nil)
	f.refused(405, "PUT", "PUT", "history/runs/r", nil)
	if a := f.call("GET", "/modelmanagement/v1.0"+wsID+"/models", nil); a.at("error", "code") != "NotImplemented" {
		t.Errorf("%s", a.text)
	}
}

func TestRunToken(t *testing.T) {
	f := newFixture(t)
	f.newRun("own")
	other := f.newRun("other")
	f.newRun("child", func(r *ml.Run) { r.Parent = "own" })
	f.newRun("done", func(r *ml.Run) { r.Status = ml.Completed })
	f.upload("ExperimentRun/dcid.own/a", "ExperimentRun/dcid.other/a", "LocalUpload/x/a")
	// No role is needed for what the token is for, and none helps beyond.
	for _, a := range []string{"experiments/runs/read", "experiments/runs/write", "experiments/read"} {
		f.denied[actions+a] = true
	}
	f.token = runToken(guid, "own")
	f.must("PATCH", "history/experiments/train/runs/made", map[string]any{"status": "Running", "parentRunId": "own"})
	for path, body := range map[string]any{
		"GET history/runs/own":                                             nil,
		"GET history/runs/own/details":                                     nil,
		"GET history/experiments/train/runs/own":                           nil,
		"GET history/experimentids/" + other.ExperimentID + "/runs/own":    nil,
		"GET history/experiments/train":                                    nil,
		"PATCH history/runs/own":                                           map[string]any{"tags": map[string]any{"a": "b"}},
		"POST metric/runs/own/batch":                                       map[string]any{},
		"POST history/experiments/train/runs/own/artifacts/batch/metadata": map[string]any{"paths": []any{map[string]any{"path": "new"}}},
		"POST artifact/artifacts/ExperimentRun/dcid.own/batch/metadata":    map[string]any{"paths": []any{map[string]any{"path": "new"}}},
		"GET artifact/artifacts/contentinfo/ExperimentRun/dcid.own/a":      nil,
		"GET artifact/artifacts/ExperimentRun/dcid.own/contentinfo?path=a": nil,
		"POST artifact/artifacts/batch/metadata":                           map[string]any{"artifactIds": []string{"ExperimentRun/dcid.own/a"}},
		"GET history/runs/made":                                            nil,
		"GET history/experiments/train/runs/own/token":                     nil,
		"GET history/experiments/train/runs/own/metricsingest/wait":        nil,
		"POST history/rundata":                                             map[string]any{"runId": "own"},
		"POST history/experiments/train/runs/own/events":                   map[string]any{"name": "Microsoft.MachineLearning.Run.Start"},
	} {
		method, path, _ := strings.Cut(path, " ")
		f.must(method, path, body)
	}
	made, err := f.runs.Run(t.Context(), guid, "made")
	if err != nil || made.Creator != "own" || made.User.Name != "bob@contoso.com" {
		t.Errorf("the run made with the token: %+v, %v", made, err)
	}
	const refusal = "token of run 'own' does not open"
	for path, body := range map[string]any{
		"GET history/runs/other":                                             nil,
		"GET history/runs/none":                                              nil, // nor tells it what there is
		"GET history/runs/other/details":                                     nil,
		"GET history/runs/child":                                             nil,
		"GET history/experiments/train/runs/other/token":                     nil,
		"PATCH history/runs/other":                                           map[string]any{"tags": map[string]any{}},
		"POST history/runs/other/events":                                     map[string]any{"name": "Microsoft.MachineLearning.Run.Failed"},
		"POST metric/runs/other/batch":                                       map[string]any{},
		"POST metric/runs/other/list":                                        map[string]any{},
		"POST metric/runs/other/full":                                        map[string]any{"metricName": "m"},
		"POST history/runs/other/artifacts/batch/metadata":                   map[string]any{"paths": []any{map[string]any{"path": "new"}}},
		"GET history/runs/other/artifacts/contentinfo?path=a":                nil,
		"GET artifact/artifacts/contentinfo/ExperimentRun/dcid.other/a":      nil,
		"GET artifact/artifacts/ExperimentRun/dcid.other":                    nil,
		"GET artifact/artifacts/experimentrun/dcid.other":                    nil,
		"GET artifact/artifacts/prefix/contentinfo/ExperimentRun/dcid.other": nil,
		"POST history/rundata":                                               map[string]any{"runId": "other"},
	} {
		method, path, _ := strings.Cut(path, " ")
		f.refused(403, refusal, method, path, body)
	}
	// Artifacts of no run, and what is no run's, are asked of the identity's roles.
	f.refused(403, "perform action", "GET", "artifact/artifacts/LocalUpload/x/contentinfo?path=a", nil)
	f.refused(403, "perform action", "POST", "artifact/artifacts/LocalUpload/x/batch/metadata", map[string]any{"paths": []any{map[string]any{"path": "new"}}})
	f.denied[actions+"experiments/write"] = true
	f.refused(403, "perform action", "POST", "history/experiments/another", nil)
	f.denied[actions+"models/write"] = true
	f.refused(403, "perform action", "POST", "mlflow/api/2.0/mlflow/registered-models/create", nil)
	// Listings have the token's runs only.
	if runs := f.must("POST", "history/experiments/train/runs:query", nil).body["value"].([]any); len(runs) != 2 {
		t.Errorf("a query finds %d runs, want own and made", len(runs))
	}
	b := f.must("POST", "artifact/artifacts/batch/metadata", map[string]any{"artifactIds": []string{"ExperimentRun/dcid.other/a"}})
	if b.at("errors", "ExperimentRun/dcid.other/a") == nil || b.at("artifactContentInformation", "ExperimentRun/dcid.other/a") != nil {
		t.Errorf("another run's artifact by id: %s", b.text)
	}
	if n := f.must("GET", "history/runs/own/children", nil).body["value"].([]any); len(n) != 1 {
		t.Errorf("%d children, want the one that the token made", len(n))
	}
	// MLflow gets who calls.
	f.must("POST", "mlflow/api/2.0/mlflow/runs/log-batch", nil)
	if c := f.mlflow[0]; c.Run != "own" || c.Name != "bob@contoso.com" {
		t.Errorf("MLflow was told of %+v", c)
	}
	// Of another workspace, and forged.
	f.token = runToken(otherGUID, "own")
	f.refused(403, "of another workspace", "GET", "history/runs/own", nil)
	f.token = strings.TrimSuffix(runToken(guid, "own"), base64URL(guid+" own")) + base64URL("forged")
	f.refused(401, "forged", "GET", "history/runs/own", nil)
	// A token is renewed while its run lives, by itself only.
	f.token = runToken(guid, "done")
	f.refused(403, "is Completed", "GET", "history/experiments/train/runs/done/token", nil)
	f.token = "ada"
	clear(f.denied)
	f.refused(403, "own token only", "GET", "history/experiments/train/runs/own/token", nil)
}

func TestMLflow(t *testing.T) {
	f := newFixture(t)
	f.host = private
	a := f.call("POST", "/mlflow/v2.0"+strings.ToLower(wsID)+"/api/2.0/mlflow/runs/create", nil)
	if a.text != guid+" on "+private || f.mlflow[0].Run != "" || f.mlflow[0].ObjectID != "ada-id" {
		t.Errorf("%s, %+v", a.text, f.mlflow)
	}
}
