package e2e

import (
	"net/http"
	"strings"
	"testing"
)

const blobHost = accountName + ".blob.core.windows.net"

// TestRoles: who has no role is refused and told action and scope; Reader reads and does not write; a role
// that is given or taken away holds at once.
func TestRoles(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	node := w.nodeToken("https://management.azure.com/")
	_, claims, _ := splitToken(node)
	if claims["oid"] != w.principal {
		t.Fatalf("the node's token is for %v, its identity is %s", claims["oid"], w.principal)
	}
	as := func(method, id, version string, body any) *answer {
		return w.send(request{Method: method, URL: id + "?api-version=" + version, Body: jsonBody(body), Token: node})
	}
	subnet := w.vnet + "/subnets/jumpbox"
	nothing := func(when string) {
		t.Helper()
		a := as("GET", w.vnet, vNetwork, nil)
		refused(t, a, http.StatusForbidden, "AuthorizationFailed", "Microsoft.Network/virtualNetworks/read")
		refused(t, a, http.StatusForbidden, "AuthorizationFailed", w.vnet)
		refused(t, a, http.StatusForbidden, "AuthorizationFailed", w.principal)
		if t.Failed() {
			t.Fatal(when)
		}
	}
	nothing("without a role")
	// Listings are of what the caller may see: nothing, and not a refusal.
	if a := as("GET", "/subscriptions", vResources, nil); a.Status != 200 || strings.Contains(string(a.Body), g.sub) {
		t.Errorf("subscriptions without a role: %s", a)
	}

	w.grant(w.principal, roleReader, w.group)
	if a := as("GET", w.vnet, vNetwork, nil); !a.ok() {
		t.Errorf("Reader, at once: %s", a)
	}
	for _, c := range []struct {
		method, id, version, action string
		body                        any
	}{
		{"PUT", w.vnet, vNetwork, "Microsoft.Network/virtualNetworks/write", obj{"location": location}},
		{"PATCH", w.vnet, vNetwork, "Microsoft.Network/virtualNetworks/write", obj{"tags": obj{"a": "b"}}},
		{"DELETE", subnet, vNetwork, "Microsoft.Network/virtualNetworks/subnets/delete", nil},
		{"PUT", w.group, vResources, "Microsoft.Resources/subscriptions/resourceGroups/write", obj{"location": location}},
		{"DELETE", w.group, vResources, "Microsoft.Resources/subscriptions/resourceGroups/delete", nil},
		{"POST", w.account + "/listKeys", vStorage, "Microsoft.Storage/storageAccounts/listKeys/action", nil},
		{"POST", w.workspace + "/listKeys", vML, "Microsoft.MachineLearningServices/workspaces/listKeys/action", nil},
		{"PUT", w.workspace + "/jobs/mine", vML, "Microsoft.MachineLearningServices/workspaces/jobs/write", obj{"properties": obj{"jobType": "Command", "command": "id"}}},
		{"PUT", assignment(w.principal, roleOwner, w.group), vRoles, "Microsoft.Authorization/roleAssignments/write", obj{"properties": obj{
			"roleDefinitionId": "/subscriptions/" + g.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + roleOwner, "principalId": w.principal}}},
	} {
		a := as(c.method, c.id, c.version, c.body)
		refused(t, a, http.StatusForbidden, "AuthorizationFailed", "'"+c.action+"'")
	}
	// A caller who may not write learns nothing of the body: neither that it is nonsense, nor the schema.
	refused(t, as("PUT", w.vnet, vNetwork, obj{"properties": 1}), http.StatusForbidden, "AuthorizationFailed", "virtualNetworks/write")

	w.gone(assignment(w.principal, roleReader, w.group), vRoles)
	nothing("after the role was removed")

	// Data roles: the token for storage is of the same identity, through the private endpoint.
	storage, vault := w.nodeToken("https://storage.azure.com/"), w.nodeToken("https://vault.azure.net")
	w.grant(w.principal, roleReader, w.account)
	fromJumpbox := func(token, method, url, body string) *answer {
		t.Helper()
		a, err := w.sendFrom("hub/jumpbox", "-token", token, method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	list, blob := "https://"+blobHost+"/data?restype=container&comp=list", "https://"+blobHost+"/data/a.txt"
	refused(t, fromJumpbox(storage, "GET", list, ""), http.StatusForbidden, "AuthorizationPermissionMismatch", "containers/blobs/read")
	w.grant(w.principal, roleBlobReader, w.account)
	if a := fromJumpbox(storage, "GET", list, ""); !a.ok() {
		t.Errorf("Storage Blob Data Reader, at once: %s", a)
	}
	refused(t, fromJumpbox(storage, "PUT", blob, "x"), http.StatusForbidden, "AuthorizationPermissionMismatch", "containers/blobs/write")
	w.gone(assignment(w.principal, roleBlobReader, w.account), vRoles)
	refused(t, fromJumpbox(storage, "GET", list, ""), http.StatusForbidden, "AuthorizationPermissionMismatch", "containers/blobs/read")

	secret := "https://" + vaultName + ".vault.azure.net/secrets/s1?api-version=7.4"
	refused(t, fromJumpbox(vault, "GET", secret, ""), http.StatusForbidden, "Forbidden", "Microsoft.KeyVault/vaults/secrets/getSecret/action")
	w.grant(w.principal, roleSecretsUser, w.vault)
	refused(t, fromJumpbox(vault, "GET", secret, ""), http.StatusNotFound, "SecretNotFound", "s1")
	refused(t, fromJumpbox(vault, "PUT", secret, `{"value":"x"}`), http.StatusForbidden, "Forbidden", "Microsoft.KeyVault/vaults/secrets/setSecret/action")
	w.gone(assignment(w.principal, roleSecretsUser, w.vault), vRoles)
	refused(t, fromJumpbox(vault, "GET", secret, ""), http.StatusForbidden, "Forbidden", "getSecret")
}

// TestInternet: with public network access disabled every service refuses the internet with its own code and
// the rule, whoever asks, while Resource Manager stays open to a role; its private endpoint admits.
func TestInternet(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	workspaceHost := w.guid + ".workspace." + location + ".api.azureml.ms"
	services := []struct {
		url, code, why string
	}{
		{"https://" + blobHost + "/data?restype=container&comp=list", "AuthorizationFailure", "publicNetworkAccess is Disabled"},
		{"https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4", "ForbiddenByConnection", "publicNetworkAccess is Disabled"},
		{"https://" + workspaceHost + "/mlflow/v2.0" + w.workspace + "/api/2.0/mlflow/experiments/search?max_results=5", "UserError", "private link"},
	}
	for _, s := range services {
		for _, from := range []string{"internet", "loopback"} {
			var a *answer
			var err error
			if from == "internet" {
				a, err = w.sendFrom("internet", "GET", s.url)
			} else {
				a, err = w.do(t.Context(), request{Method: "GET", URL: s.url})
			}
			if err != nil {
				t.Errorf("%s from %s: %v", s.url, from, err)
				continue
			}
			refused(t, a, http.StatusForbidden, s.code, s.why)
		}
		// The headers by which proxies name a client change nothing.
		a, err := w.sendFrom("internet", "-header", "X-Forwarded-For: 10.20.0.4", "-header", "X-Real-Ip: 10.20.0.4", "-header", "Forwarded: for=10.20.0.4",
			"-header", "X-Ms-Private-Link-Id: 1", "-header", "X-Ms-Forwarded-For: 10.20.0.4", "-header", "X-Ms-Client-Ip: 10.20.0.4", "GET", s.url)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, a, http.StatusForbidden, s.code, s.why)
	}
	for id, version := range map[string]string{w.workspace: vML, w.workspace + "/jobs": vML, w.cluster: vML, w.account: vStorage, w.vault: vVault} {
		a, err := w.sendFrom("internet", "GET", "https://management.azure.com"+id+"?api-version="+version)
		if err != nil || !a.ok() {
			t.Errorf("Resource Manager from the internet, %s: %v %v", id, a, err)
		}
	}
	for _, s := range services {
		host, _, _ := strings.Cut(strings.TrimPrefix(s.url, "https://"), "/")
		if e := w.explain("internet", "tcp", host+":443"); e.Allowed || !strings.Contains(e.By, "publicNetworkAccess is Disabled") {
			t.Errorf("explain of %s from the internet: %+v", host, e)
		}
		if e := w.explain("hub/jumpbox", "tcp", host+":443"); !e.Allowed {
			t.Errorf("explain of %s from the jump box: %+v", host, e)
		}
		a, err := w.sendFrom("hub/jumpbox", "GET", s.url)
		if err != nil || !a.ok() {
			t.Errorf("through the private endpoint, %s: %v %v", s.url, a, err)
		}
	}
}
