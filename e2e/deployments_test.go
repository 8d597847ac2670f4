package e2e

import (
	"net/http"
	"testing"
)

const vDeployments = "2021-04-01"

// TestDeployments deploys templates with az, and one whose server is killed in the middle: the next server goes on
// where it was.
func TestDeployments(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "deployments.sh", "deployed")

	g.linkedAndSecret()

	group := "/subscriptions/" + g.sub + "/resourceGroups/killed"
	g.put(group, vDeployments, obj{"location": "westeurope"})
	id := group + "/providers/Microsoft.Resources/deployments/long"
	tables := obj{
		"type": "Microsoft.Network/routeTables", "apiVersion": "2023-05-01", "name": "[concat('table', copyIndex())]", "location": "[resourceGroup().location]",
		"copy": obj{"name": "tables", "count": 100, "mode": "serial", "batchSize": 1}, "tags": obj{"deployment": "[parameters('id')]"}, "properties": obj{},
	}
	body := obj{"properties": obj{"mode": "Incremental", "template": obj{
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"parameters": obj{"id": obj{"type": "string", "defaultValue": "[newGuid()]"}}, "resources": []any{tables},
		"outputs": obj{"id": obj{"type": "string", "value": "[parameters('id')]"}},
	}}}
	if a := g.send(request{Method: http.MethodPut, URL: id + "?api-version=" + vDeployments, Body: jsonBody(body)}); !a.ok() {
		t.Fatal(a)
	}
	list := func() (all []any) {
		var page obj
		a := g.send(request{Method: http.MethodGet, URL: group + "/providers/Microsoft.Network/routeTables?api-version=2023-05-01"})
		if err := a.json(&page); err != nil {
			t.Fatal(err)
		}
		all, _ = page["value"].([]any)
		return all
	}
	g.eventually("the deployment is under way", func() bool { return len(list()) > 3 })
	g.kill()
	g.up()
	done := g.settled(id, vDeployments)
	made := list()
	if len(made) != 100 {
		t.Fatalf("%d of 100 tables", len(made))
	}
	for _, table := range made {
		if got := property(table, "tags.deployment"); got != property(done, "properties.outputs.id.value") {
			t.Errorf("%v: another run's parameter: %v", property(table, "name"), got)
		}
	}
}

// linkedAndSecret deploys a template that it links to in a storage account, with a parameter from a key vault: both
// must allow it.
func (g *ground) linkedAndSecret() {
	g.t.Helper()
	group := "/subscriptions/" + g.sub + "/resourceGroups/linked"
	account, vault := group+"/providers/Microsoft.Storage/storageAccounts/linkede2e", group+"/providers/Microsoft.KeyVault/vaults/linked-e2e"
	g.put(group, vDeployments, obj{"location": "westeurope"})
	properties := obj{"allowBlobPublicAccess": true}
	g.put(account, vStorage, obj{"location": "westeurope", "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}, "properties": properties})
	g.put(account+"/blobServices/default/containers/open", vStorage, obj{"properties": obj{"publicAccess": "Blob"}})
	g.grant(g.me(), roleBlobWriter, account)
	main := obj{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"parameters": obj{"secret": obj{"type": "secureString"}},
		"resources":  []any{}, "outputs": obj{"length": obj{"type": "int", "value": "[length(parameters('secret'))]"}}}
	g.eventually("the template is uploaded", func() bool {
		return g.send(request{Method: http.MethodPut, URL: "https://linkede2e.blob.core.windows.net/open/main.json", Body: jsonBody(main)}).ok()
	})
	vaultOf := func(enabled bool) obj {
		return obj{"location": "westeurope", "properties": obj{"tenantId": g.tenant, "sku": obj{"family": "A", "name": "standard"}, "enabledForTemplateDeployment": enabled,
			"accessPolicies": []any{obj{"tenantId": g.tenant, "objectId": g.me(), "permissions": obj{"secrets": []string{"set"}}}}}}
	}
	g.put(vault, vVault, vaultOf(false))
	g.eventually("the secret is set", func() bool {
		return g.send(request{Method: http.MethodPut, URL: "https://linked-e2e.vault.azure.net/secrets/word?api-version=7.4", Body: jsonBody(obj{"value": "hush hush"})}).ok()
	})
	id := group + "/providers/Microsoft.Resources/deployments/linked"
	deploy := func() *answer {
		return g.send(request{Method: http.MethodPut, URL: id + "?api-version=" + vDeployments, Body: jsonBody(obj{"properties": obj{
			"mode": "Incremental", "templateLink": obj{"uri": "https://linkede2e.blob.core.windows.net/open/main.json"},
			"parameters": obj{"secret": obj{"reference": obj{"keyVault": obj{"id": vault}, "secretName": "word"}}}}})})
	}
	if a := deploy(); a.Code != "KeyVaultParameterReferenceAuthorizationFailed" {
		g.t.Errorf("a vault that is not for templates: %s", a)
	}
	g.put(vault, vVault, vaultOf(true))
	if a := deploy(); !a.ok() {
		g.t.Fatal(a)
	}
	if got := property(g.settled(id, vDeployments), "properties.outputs.length.value"); got != 9.0 {
		g.t.Errorf("the secret has %v characters", got)
	}
	properties["publicNetworkAccess"] = "Disabled"
	g.put(account, vStorage, obj{"location": "westeurope", "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}, "properties": properties})
	if a := deploy(); a.Code != "InvalidContentLink" {
		g.t.Errorf("a closed account: %s", a)
	}
}
