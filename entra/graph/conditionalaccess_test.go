package graph

import (
	"encoding/json"
	"strings"
	"testing"

	"vauban.dev/store"
)

func TestConditionalAccess(t *testing.T) {
	w := newWorld(t)
	const root = "/identity/conditionalAccess/"
	policy := json.RawMessage(`{"displayName":"MFA","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]},"clientAppTypes":["all"]},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`)
	made := w.must(201, w.admin, "POST", root+"policies", policy)
	if made.id() == "" || made.body["state"] != "enabled" {
		t.Errorf("%s", made.text)
	}
	w.must(204, w.admin, "PATCH", root+"policies/"+made.id(), json.RawMessage(`{"state":"disabled"}`))
	if got := w.must(200, w.admin, "GET", root+"policies/"+made.id(), nil); got.body["state"] != "disabled" || got.body["displayName"] != "MFA" || got.body["modifiedDateTime"] == nil {
		t.Errorf("%s", got.text)
	}
	if got := w.must(200, w.admin, "GET", "/conditionalAccess/policies", nil); len(got.ids()) != 1 {
		t.Errorf("%s", got.text)
	}
	location := w.must(201, w.admin, "POST", root+"namedLocations", json.RawMessage(`{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"office","isTrusted":true,"ipRanges":[{"@odata.type":"#microsoft.graph.iPv4CidrRange","cidrAddress":"203.0.113.0/24"}]}`))
	w.must(204, w.admin, "PATCH", root+"namedLocations/"+location.id(), json.RawMessage(`{"displayName":"hq"}`))
	if got := w.must(200, w.admin, "GET", root+"namedLocations/"+location.id(), nil); got.body["displayName"] != "hq" || !strings.Contains(got.text, "203.0.113.0/24") {
		t.Errorf("%s", got.text)
	}
	if got := w.must(501, w.admin, "POST", root+"policies", json.RawMessage(strings.Replace(string(policy), `["mfa"]`, `["compliantDevice"]`, 1))); !strings.Contains(got.text, "half a policy") {
		t.Errorf("%s", got.text)
	}
	w.must(400, w.admin, "POST", root+"policies", json.RawMessage(`{"displayName":"x"}`))
	w.must(400, w.admin, "POST", root+"namedLocations", json.RawMessage(`{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"x","ipRanges":[{"cidrAddress":"0.0.0.0/0"}]}`))
	w.must(404, w.admin, "GET", root+"policies/nonsense", nil)

	reader, plain := w.permitted("Policy.Read.All"), w.permitted("Directory.Read.All")
	w.must(200, reader, "GET", root+"policies", nil)
	w.must(403, reader, "POST", root+"policies", policy)
	w.must(403, plain, "GET", root+"policies", nil)
	_, ana := w.user("ana")
	w.must(403, ana, "POST", root+"policies", policy)
	boss, _ := w.user("boss")
	w.update(func(tx store.Tx) error { // Conditional Access Administrator
		return w.dir.AssignRole(tx, "", "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9", boss.ID)
	})
	w.must(201, w.tokenOf(boss, "Policy.ReadWrite.ConditionalAccess"), "POST", root+"policies", policy)
	w.must(204, w.admin, "DELETE", root+"policies/"+made.id(), nil)
	w.must(404, w.admin, "DELETE", root+"policies/"+made.id(), nil)
	w.must(204, w.admin, "DELETE", root+"namedLocations/"+location.id(), nil)
}
