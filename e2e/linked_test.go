package e2e

import (
	"net/http"
	"strings"
	"testing"
)

const roleContributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"

// TestNeighbours: who may do everything in a group of their own, and nothing in the secured one, cannot use what
// is there: no subnet to stand in, no endpoint into an account, no name to take over, no identity to act as,
// no account behind a workspace of their own.
func TestNeighbours(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	own := "/subscriptions/" + g.sub + "/resourceGroups/neighbour"
	w.put(own, vResources, obj{"location": location})
	w.grant(w.principal, roleContributor, own)
	token := w.nodeToken("https://management.azure.com")
	as := func(method, id, version string, body any) *answer {
		t.Helper()
		return w.send(request{Method: method, URL: id + "?api-version=" + version, Body: jsonBody(body), Token: token})
	}
	mine := func(id, version string, body any) {
		t.Helper()
		if a := as("PUT", id, version, body); !a.ok() {
			t.Fatalf("in their own group: %s: %s", id, a)
		}
		w.settled(id, version)
	}
	vnet := own + "/providers/Microsoft.Network/virtualNetworks/own"
	mine(vnet, vNetwork, obj{"location": location, "properties": obj{"addressSpace": obj{"addressPrefixes": []string{"10.99.0.0/16"}},
		"subnets": []obj{{"name": "default", "properties": obj{"addressPrefix": "10.99.0.0/24", "defaultOutboundAccess": true}}}}})
	zone := own + "/providers/Microsoft.Network/privateDnsZones/"
	mine(zone+"privatelink.blob.core.windows.net", vDNS, obj{"location": "global"})
	mine(own+"/providers/Microsoft.KeyVault/vaults/e2e-own-vault", vVault, obj{"location": location, "properties": obj{
		"tenantId": g.tenant, "sku": obj{"family": "A", "name": "standard"}, "accessPolicies": []any{}}})
	mine(own+"/providers/Microsoft.Storage/storageAccounts/e2eown", vStorage, obj{"location": location, "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}})

	identity := w.group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/powerful"
	powerful := w.put(identity, vIdentity, obj{"location": location})
	w.grant(w.text(powerful, "properties.principalId"), roleOwner, w.group)
	network, ml := own+"/providers/Microsoft.Network/", own+"/providers/Microsoft.MachineLearningServices/workspaces/"
	ownWorkspace := obj{"storageAccount": own + "/providers/Microsoft.Storage/storageAccounts/e2eown", "keyVault": own + "/providers/Microsoft.KeyVault/vaults/e2e-own-vault"}
	mine(ml+"own", vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": ownWorkspace})

	before := g.digest()
	for name, c := range map[string]struct {
		id, version string
		body        obj
		action      string
	}{
		"an interface in the secured subnet": {network + "networkInterfaces/n", vNetwork, obj{"location": location, "properties": obj{
			"ipConfigurations": []obj{{"name": "c", "properties": obj{"subnet": obj{"id": w.vnet + "/subnets/training"}}}}}},
			"Microsoft.Network/virtualNetworks/subnets/join/action"},
		"an endpoint in the secured subnet": {network + "privateEndpoints/p", vNetwork, obj{"location": location, "properties": obj{
			"subnet": obj{"id": w.vnet + "/subnets/endpoints"}, "privateLinkServiceConnections": []obj{{"name": "p", "properties": obj{
				"privateLinkServiceId": own + "/providers/Microsoft.Storage/storageAccounts/e2eown", "groupIds": []string{"blob"}}}}}},
			"Microsoft.Network/virtualNetworks/subnets/join/action"},
		"an endpoint into the secured account": {network + "privateEndpoints/p", vNetwork, obj{"location": location, "properties": obj{
			"subnet": obj{"id": vnet + "/subnets/default"}, "privateLinkServiceConnections": []obj{{"name": "p", "properties": obj{
				"privateLinkServiceId": w.account, "groupIds": []string{"blob"}}}}}},
			"Microsoft.Storage/storageAccounts/PrivateEndpointConnectionsApproval/action"},
		"an endpoint into the secured workspace": {network + "privateEndpoints/p", vNetwork, obj{"location": location, "properties": obj{
			"subnet": obj{"id": vnet + "/subnets/default"}, "privateLinkServiceConnections": []obj{{"name": "p", "properties": obj{
				"privateLinkServiceId": w.workspace, "groupIds": []string{"amlworkspace"}}}}}},
			"Microsoft.MachineLearningServices/workspaces/PrivateEndpointConnectionsApproval/action"},
		"a zone that takes over names in the secured network": {zone + "privatelink.blob.core.windows.net/virtualNetworkLinks/l", vDNS, obj{"location": "global",
			"properties": obj{"virtualNetwork": obj{"id": w.vnet}, "registrationEnabled": false}},
			"Microsoft.Network/virtualNetworks/join/action"},
		"the security group of another": {vnet + "/subnets/default", vNetwork, obj{"properties": obj{"addressPrefix": "10.99.0.0/24",
			"networkSecurityGroup": obj{"id": w.group + "/providers/Microsoft.Network/networkSecurityGroups/training"}}},
			"Microsoft.Network/networkSecurityGroups/join/action"},
		"a cluster in the secured subnet": {ml + "own/computes/stolen", vML, obj{"location": location, "properties": obj{"computeType": "AmlCompute", "properties": obj{
			"vmSize": "STANDARD_DS3_V2", "scaleSettings": obj{"minNodeCount": 0, "maxNodeCount": 1}, "subnet": obj{"id": w.vnet + "/subnets/training"}, "enableNodePublicIp": false}}},
			"Microsoft.Network/virtualNetworks/subnets/join/action"},
		"a cluster with the identity of another": {ml + "own/computes/stolen", vML, obj{"location": location, "identity": obj{"type": "UserAssigned", "userAssignedIdentities": obj{identity: obj{}}},
			"properties": obj{"computeType": "AmlCompute", "properties": obj{"vmSize": "STANDARD_DS3_V2", "scaleSettings": obj{"minNodeCount": 0, "maxNodeCount": 1}}}},
			"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"},
		"a workspace with the identity of another": {ml + "stolen", vML, obj{"location": location, "identity": obj{"type": "UserAssigned", "userAssignedIdentities": obj{identity: obj{}}}, "properties": ownWorkspace},
			"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"},
		"a workspace on the secured account": {ml + "stolen", vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{
			"storageAccount": w.account, "keyVault": own + "/providers/Microsoft.KeyVault/vaults/e2e-own-vault"}}, "Microsoft.Storage/storageAccounts/"},
		"a workspace on the secured vault": {ml + "stolen", vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{
			"storageAccount": own + "/providers/Microsoft.Storage/storageAccounts/e2eown", "keyVault": w.vault}}, "Microsoft.KeyVault/vaults/"},
		"a role for themselves": {assignment(w.principal, roleOwner, own), vRoles, obj{"properties": obj{"principalId": w.principal,
			"roleDefinitionId": "/subscriptions/" + g.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + roleOwner}},
			"Microsoft.Authorization/roleAssignments/write"},
	} {
		a := as("PUT", c.id, c.version, c.body)
		if a.Status != http.StatusForbidden || a.Code != "LinkedAuthorizationFailed" && a.Code != "AuthorizationFailed" || !strings.Contains(a.Message, c.action) {
			t.Errorf("%s: %s\nwant a refusal that names %s", name, a, c.action)
		}
	}
	for kind, sum := range g.digest() {
		if before[kind] != sum && !strings.HasPrefix(kind, "ml.") { // nodes breathe
			t.Errorf("%s changed", kind)
		}
	}

	// An endpoint that waits for the owner's approval leads nowhere.
	manual := network + "privateEndpoints/manual"
	mine(manual, vNetwork, obj{"location": location, "properties": obj{"subnet": obj{"id": vnet + "/subnets/default"}, "manualPrivateLinkServiceConnections": []obj{
		{"name": "m", "properties": obj{"privateLinkServiceId": w.account, "groupIds": []string{"blob"}, "requestMessage": "let me in"}}}}})
	a := as("GET", manual, vNetwork, nil)
	if !strings.Contains(string(a.Body), `"status":"Pending"`) {
		t.Errorf("the endpoint that nobody approved: %s", a)
	}
	for _, ip := range []string{"10.99.0.4", "10.99.0.5"} {
		if out, err := w.output(w.with(t, "PROBE_WAIT=300ms").at("own/default", "probe", "tcp", ip+":443")); err != nil || strings.TrimSpace(out) == "answered" {
			t.Errorf("somebody answers at %s: %q %v", ip, out, err)
		}
	}
	// The service holds the keys of all accounts, and lends none to who names an account of another.
	mine(ml+"own/datastores/theirs", vML, obj{"properties": obj{"datastoreType": "AzureBlob", "accountName": accountName, "containerName": "azureml",
		"credentials": obj{"credentialsType": "AccountKey"}}})
	if a := as("POST", ml+"own/datastores/theirs/listSecrets", vML, nil); a.ok() {
		t.Errorf("the secrets of another's account: %s", a)
	}
	mine(ml+"own/environments/e2e/versions/1", vML, obj{"properties": obj{"image": imageName}})
	mine(ml+"own/computes/mine", vML, obj{"location": location, "properties": obj{"computeType": "AmlCompute", "properties": obj{
		"vmSize": "STANDARD_DS3_V2", "scaleSettings": obj{"minNodeCount": 0, "maxNodeCount": 1}}}})
	job := func(more obj) obj {
		p := obj{"jobType": "Command", "command": "cat", "computeId": ml + "own/computes/mine", "environmentId": ml + "own/environments/e2e/versions/1"}
		for k, v := range more {
			p[k] = v
		}
		return obj{"properties": p}
	}
	input := func(uri string) obj {
		return obj{"inputs": obj{"x": obj{"jobInputType": "uri_folder", "uri": uri}}}
	}
	output := func(uri string) obj {
		return obj{"outputs": obj{"x": obj{"jobOutputType": "uri_folder", "uri": uri}}}
	}
	for name, more := range map[string]obj{
		"an input by URL":                       input("https://" + blobHost + "/azureml/ExperimentRun/"),
		"an input by datastore":                 input("azureml://datastores/theirs/paths/ExperimentRun"),
		"an input by another's workspace":       input("azureml:/" + w.workspace + "/datastores/workspaceblobstore/paths/x"),
		"an input by another's workspace, long": input("azureml://subscriptions/" + g.sub + "/resourcegroups/e2e/workspaces/work/datastores/workspaceblobstore/paths/x"),
		"an input with dots":                    input("azureml://datastores/workspaceblobstore/paths/../../azureml/x"),
		"an output by URL":                      output("https://" + blobHost + "/data/"),
		"the code of another":                   {"codeId": w.workspace + "/codes/c/versions/1"},
		"the cluster of another":                {"computeId": w.cluster},
		"the environment of another":            {"environmentId": w.workspace + "/environments/e2e/versions/1"},
	} {
		a := as("PUT", ml+"own/jobs/"+guidOf(name), vML, job(more))
		if a.ok() {
			t.Errorf("a job with %s: %s", name, a)
		}
	}
	if names := as("PUT", own+"/providers/Microsoft.Storage/storageAccounts/"+accountName, vStorage, closedAccount()); names.Status != http.StatusConflict {
		t.Errorf("an account of the same name: %s", names)
	}
}
