package insights_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/provider/insights"
)

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func decoded(t *testing.T, line []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil || line[len(line)-1] != '\n' {
		t.Fatalf("%q: %v", line, err)
	}
	return m
}

func TestStorageLine(t *testing.T) {
	r := insights.StorageRequest{
		Served: &storagehttp.Served{ID: "request", Account: storagehttp.Account{ID: account, Name: "acct"}, Version: "2024-11-04", Operation: "Put Blob",
			Caller: storagehttp.Caller{Kind: storagehttp.ByToken, Principal: authz.Principal{ObjectID: "o", TenantID: "t", AppID: "a"}}},
		Service: "blob", Method: "PUT", URI: "https://acct.blob.core.windows.net:443/c/b.txt?sv=2024&sig=topsecret%3D&s%69g=other", Source: netip.MustParseAddrPort("10.0.0.4:5000"),
		Began: began, Took: 4 * time.Millisecond, Status: 201, In: 3, TLS: "TLS 1.3", Authorization: "Bearer very-secret-token",
	}
	line := r.Line("westeurope")
	for _, secret := range []string{"topsecret", "very-secret-token", "=other"} {
		if strings.Contains(string(line), secret) {
			t.Errorf("%s is in %s", secret, line)
		}
	}
	m := decoded(t, line)
	properties, identity := m["properties"].(map[string]any), m["identity"].(map[string]any)
	for what, c := range map[string][2]any{
		"category": {m["category"], "StorageWrite"}, "operation": {m["operationName"], "PutBlob"}, "status": {m["statusText"], "Success"}, "caller": {m["callerIpAddress"], "10.0.0.4:5000"},
		"resource": {m["resourceId"], account + "/blobServices/default"}, "key": {properties["objectKey"], "/acct/c/b.txt"}, "identity": {identity["type"], "OAuth"},
		"time": {m["time"], "2026-03-04T05:06:07.0000000Z"}, "requester": {identity["requester"].(map[string]any)["objectId"], "o"}, "protocol": {m["protocol"], "HTTPS"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %v, want %v", what, c[0], c[1])
		}
	}
	r.Code, r.Status, r.Method, r.Caller = "AuthorizationFailure", 403, "DELETE", storagehttp.Caller{}
	m = decoded(t, r.Line("westeurope"))
	if m["statusText"] != "AuthorizationFailure" || m["category"] != "StorageDelete" || m["properties"].(map[string]any)["metricResponseType"] != "AuthorizationError" ||
		m["identity"].(map[string]any)["type"] != "Anonymous" {
		t.Errorf("a refusal: %v", m)
	}
	id, err := r.Resource()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := insights.LogBlob(id, began), "resourceId="+account+"/blobServices/default/y=2026/m=03/d=04/h=05/m=00/PT1H.json"; got != want {
		t.Errorf("blob %s, want %s", got, want)
	}
	if got := insights.LogContainer("StorageDelete"); got != "insights-logs-storagedelete" {
		t.Error(got)
	}
}

func TestVaultLine(t *testing.T) {
	e := keyvault.Event{Time: began, VaultID: sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/v", Operation: "SecretGet", Version: "7.4", Status: 200,
		ID: "https://v.vault.azure.net/secrets/s", Address: netip.MustParseAddr("10.0.0.4"), Principal: authz.Principal{ObjectID: "o", Type: "User", Name: "u@x"}}
	m := decoded(t, insights.VaultLine(e))
	if m["resultType"] != "Success" || m["resultSignature"] != "OK" || m["category"] != "AuditEvent" || m["properties"].(map[string]any)["id"] != e.ID ||
		!strings.Contains(m["resourceId"].(string), "/VAULTS/V") || m["identity"].(map[string]any)["claim"].(map[string]any)["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"] != "u@x" {
		t.Errorf("%v", m)
	}
	e.Status = 403
	if m := decoded(t, insights.VaultLine(e)); m["resultType"] != "Failed" || m["resultSignature"] != "Forbidden" {
		t.Errorf("a refusal: %v", m)
	}
}

func TestWorkspaceLine(t *testing.T) {
	workspace := arm.MustParseID(sub + "/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w")
	run := activity.Entry{Time: began, Operation: "Microsoft.MachineLearningServices/workspaces/experiments/runs/write", Properties: map[string]string{"plane": "data", "runId": "r"}}
	model := activity.Entry{Operation: "Microsoft.MachineLearningServices/workspaces/models/write", Properties: map[string]string{"plane": "data"}}
	if a, b, c := insights.WorkspaceCategory(run), insights.WorkspaceCategory(model), insights.WorkspaceCategory(activity.Entry{Operation: model.Operation}); a != "RunEvent" || b != "ModelsChangeEvent" || c != "" {
		t.Error(a, b, c)
	}
	if m := decoded(t, insights.WorkspaceLine(run, workspace)); m["category"] != "RunEvent" || m["properties"].(map[string]any)["runId"] != "r" {
		t.Errorf("%v", m)
	}
}
