package e2e

import (
	"fmt"
	"net/http"
	"path"
	"strings"
)

// api-versions that current clients send.
const (
	vResources = "2022-09-01"
	vNetwork   = "2024-05-01"
	vDNS       = "2020-06-01"
	vStorage   = "2023-05-01"
	vVault     = "2023-07-01"
	vML        = "2024-04-01"
	vRoles     = "2022-04-01"
	vIdentity  = "2023-01-31"
)

// obj is a JSON object.
type obj = map[string]any

// world names the resources of the secured scenario: a workspace with its account and vault, closed to the
// internet, their private endpoints in one network, and a second network that is not peered.
type world struct {
	*ground
	group     string // resource ids
	vnet      string
	account   string
	vault     string
	workspace string
	cluster   string
	guid      string // of the workspace
	identity  string // client id of the cluster's identity, which has no role
	principal string // its object id
}

const (
	location    = "westeurope"
	accountName = "e2estorage"
	vaultName   = "e2e-vault"
	clusterName = "cpu"
	imageName   = "e2e/environment:1"
)

// Ids of built-in roles.
const (
	roleOwner       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	roleReader      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	roleBlobReader  = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	roleBlobWriter  = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	roleSecretsUser = "4633458b-17de-408a-b874-0445c86b69e6"
	roleSecrets     = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
)

// put writes a resource and waits until it is provisioned.
func (g *ground) put(id, version string, body any) obj {
	g.t.Helper()
	url := id + "?api-version=" + version
	if a := g.send(request{Method: http.MethodPut, URL: url, Body: jsonBody(body)}); !a.ok() {
		g.t.Fatalf("PUT %s: %s", id, a)
	}
	return g.settled(id, version)
}

// settled waits for the end of what a resource is about, and returns it.
func (g *ground) settled(id, version string) (res obj) {
	g.t.Helper()
	g.eventually(id+" is provisioned", func() bool {
		a := g.send(request{Method: http.MethodGet, URL: id + "?api-version=" + version})
		res = nil
		if err := a.json(&res); err != nil || !a.ok() {
			g.t.Fatalf("GET %s: %s", id, a)
		}
		switch state := property(res, "properties.provisioningState"); state {
		case "Failed", "Canceled":
			g.t.Fatalf("%s is %s: %s", id, state, a.Body)
		case "Succeeded", nil:
			return true
		}
		return false
	})
	return res
}

// gone deletes a resource and waits until it is not found.
func (g *ground) gone(id, version string) {
	g.t.Helper()
	url := id + "?api-version=" + version
	if a := g.send(request{Method: http.MethodDelete, URL: url}); !a.ok() {
		g.t.Fatalf("DELETE %s: %s", id, a)
	}
	g.eventually(id+" is gone", func() bool {
		return g.send(request{Method: http.MethodGet, URL: url}).Status == http.StatusNotFound
	})
}

// property finds "a.b.c"; nil if there is none.
func property(v any, name string) any {
	for key := range strings.SplitSeq(name, ".") {
		m, _ := v.(obj)
		v = m[key]
	}
	return v
}

func (g *ground) text(v any, name string) string {
	g.t.Helper()
	s, ok := property(v, name).(string)
	if !ok {
		g.t.Fatalf("%v has no %s", v, name)
	}
	return s
}

func rule(name string, priority int, direction, access, protocol, source, destination, ports string) obj {
	return obj{"name": name, "properties": obj{
		"priority": priority, "direction": direction, "access": access, "protocol": protocol, "sourceAddressPrefix": source,
		"sourcePortRange": "*", "destinationAddressPrefix": destination, "destinationPortRange": ports}}
}

func (g *ground) groupID(name string) string {
	return "/subscriptions/" + g.sub + "/resourceGroups/" + name
}

// watcher is the network watcher that comes with the first network.
func (g *ground) watcher() string {
	return g.groupID("NetworkWatcherRG") + "/providers/Microsoft.Network/networkWatchers/NetworkWatcher_" + location
}

// names of what the scenario has, before it is made.
func (g *ground) names() *world {
	w := &world{ground: g, group: g.groupID("e2e")}
	w.vnet = w.group + "/providers/Microsoft.Network/virtualNetworks/hub"
	w.account = w.group + "/providers/Microsoft.Storage/storageAccounts/" + accountName
	w.vault = w.group + "/providers/Microsoft.KeyVault/vaults/" + vaultName
	w.workspace = w.group + "/providers/Microsoft.MachineLearningServices/workspaces/work"
	w.cluster = w.workspace + "/computes/" + clusterName
	return w
}

// network makes the group and both virtual networks, with the rules of the specification.
func (g *ground) network() *world {
	g.t.Helper()
	w := g.names()
	w.put(w.group, vResources, obj{"location": location})
	signIn := []obj{
		rule("AllowEntra", 120, "Outbound", "Allow", "Tcp", "VirtualNetwork", "AzureActiveDirectory", "443"),
		rule("AllowManagement", 130, "Outbound", "Allow", "Tcp", "VirtualNetwork", "AzureResourceManager", "443"),
		rule("DenyInternet", 4000, "Outbound", "Deny", "*", "*", "Internet", "*"),
	}
	nsgs := map[string][]obj{
		"endpoints": nil,
		"jumpbox":   signIn,
		"training": append([]obj{
			rule("AllowBatch", 100, "Outbound", "Allow", "Tcp", "VirtualNetwork", "BatchNodeManagement."+location, "443"),
			rule("AllowAzureML", 110, "Outbound", "Allow", "Tcp", "VirtualNetwork", "AzureMachineLearning", "443"),
		}, signIn...),
	}
	subnets := []obj{}
	for i, name := range []string{"endpoints", "training", "jumpbox"} {
		nsg := w.group + "/providers/Microsoft.Network/networkSecurityGroups/" + name
		w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": nsgs[name]}})
		subnets = append(subnets, obj{"name": name, "properties": obj{
			"addressPrefix": fmt.Sprintf("10.20.%d.0/24", i), "networkSecurityGroup": obj{"id": nsg}, "defaultOutboundAccess": true}})
	}
	w.put(w.vnet, vNetwork, obj{"location": location, "properties": obj{"addressSpace": obj{"addressPrefixes": []string{"10.20.0.0/16"}}, "subnets": subnets}})
	w.put(path.Dir(w.vnet)+"/other", vNetwork, obj{"location": location, "properties": obj{
		"addressSpace": obj{"addressPrefixes": []string{"10.30.0.0/16"}},
		"subnets":      []obj{{"name": "default", "properties": obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": true}}}}})
	return w
}

// closedAccount is a storage account that only private endpoints reach.
func closedAccount() obj {
	return obj{"location": location, "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}, "properties": obj{
		"publicNetworkAccess": "Disabled", "allowBlobPublicAccess": false, "networkAcls": obj{"defaultAction": "Deny", "bypass": "AzureServices"}}}
}

// services makes account, vault and workspace; public is Enabled or Disabled.
func (w *world) services(public string) {
	w.t.Helper()
	account := closedAccount()
	account["properties"].(obj)["publicNetworkAccess"] = public
	account["properties"].(obj)["networkAcls"] = obj{"defaultAction": map[string]string{"Enabled": "Allow", "Disabled": "Deny"}[public]}
	w.put(w.account, vStorage, account)
	w.put(w.account+"/blobServices/default/containers/data", vStorage, obj{})
	w.put(w.vault, vVault, obj{"location": location, "properties": obj{
		"tenantId": w.tenant, "sku": obj{"family": "A", "name": "standard"}, "enableRbacAuthorization": true, "publicNetworkAccess": public,
		"accessPolicies": []any{}}})
	ws := w.put(w.workspace, vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{
		"storageAccount": w.account, "keyVault": w.vault, "publicNetworkAccess": public}})
	w.guid = w.text(ws, "properties.workspaceId")
	me := w.me()
	w.grant(me, roleBlobWriter, w.account)
	w.grant(me, roleSecrets, w.vault)
}

// endpoints makes the private endpoints and the private zones of what services has made.
func (w *world) endpoints() {
	w.t.Helper()
	for _, e := range []struct {
		name, target, group string
		zones               []string
	}{
		{"pe-blob", w.account, "blob", []string{"privatelink.blob.core.windows.net"}},
		{"pe-vault", w.vault, "vault", []string{"privatelink.vaultcore.azure.net"}},
		{"pe-work", w.workspace, "amlworkspace", []string{"privatelink.api.azureml.ms"}},
	} {
		w.endpoint(e.name, e.target, e.group, e.zones...)
	}
}

// endpoint makes a private endpoint in the endpoints subnet, with its zones linked to the network.
func (w *world) endpoint(name, target, group string, zones ...string) {
	w.t.Helper()
	id := w.group + "/providers/Microsoft.Network/privateEndpoints/" + name
	w.put(id, vNetwork, obj{"location": location, "properties": obj{
		"subnet":                        obj{"id": w.vnet + "/subnets/endpoints"},
		"privateLinkServiceConnections": []obj{{"name": name, "properties": obj{"privateLinkServiceId": target, "groupIds": []string{group}}}}}})
	configs := []obj{}
	for _, z := range zones {
		zone := w.group + "/providers/Microsoft.Network/privateDnsZones/" + z
		w.put(zone, vDNS, obj{"location": "global"})
		w.put(zone+"/virtualNetworkLinks/hub", vDNS, obj{"location": "global", "properties": obj{"virtualNetwork": obj{"id": w.vnet}, "registrationEnabled": false}})
		configs = append(configs, obj{"name": strings.ReplaceAll(z, ".", "-"), "properties": obj{"privateDnsZoneId": zone}})
	}
	w.put(id+"/privateDnsZoneGroups/default", vNetwork, obj{"properties": obj{"privateDnsZoneConfigs": configs}})
}

// nodes makes the cluster, with an identity of its own that has no role, and waits for its first nodes.
func (w *world) nodes(min, max int) {
	w.t.Helper()
	w.nodesAs("UserAssigned", min, max)
}

// nodesAs is nodes with a type of identity: SystemAssigned may stand before the cluster's own.
func (w *world) nodesAs(identities string, min, max int) {
	w.t.Helper()
	identity := w.put(w.group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes", vIdentity, obj{"location": location})
	w.identity, w.principal = w.text(identity, "properties.clientId"), w.text(identity, "properties.principalId")
	w.put(w.cluster, vML, obj{
		"location": location, "identity": obj{"type": identities, "userAssignedIdentities": obj{w.text(identity, "id"): obj{}}},
		"properties": obj{"computeType": "AmlCompute", "properties": obj{
			"vmSize": "STANDARD_DS3_V2", "scaleSettings": obj{"minNodeCount": min, "maxNodeCount": max, "nodeIdleTimeBeforeScaleDown": "PT1H"},
			"subnet": obj{"id": w.vnet + "/subnets/training"}, "enableNodePublicIp": false}}})
	if min > 0 {
		w.eventually("the nodes are idle", func() bool {
			c := w.settled(w.cluster, vML)
			n, _ := property(c, "properties.properties.nodeStateCounts.idleNodeCount").(float64)
			return int(n) >= min
		})
	}
}

// secured makes all of it.
func (g *ground) secured() *world {
	g.t.Helper()
	w := g.network()
	w.services("Disabled")
	w.endpoints()
	w.nodes(1, 2)
	return w
}

// me is the object id of the caller that a region begins with.
func (g *ground) me() string {
	g.t.Helper()
	t, err := g.token(g.t.Context(), "https://management.azure.com")
	if err != nil {
		g.t.Fatal(err)
	}
	_, payload, _ := splitToken(t)
	return payload["oid"].(string)
}

// assignment is the id of the assignment that grant makes.
func assignment(principal, role, scope string) string {
	return scope + "/providers/Microsoft.Authorization/roleAssignments/" + guidOf(principal+role+scope)
}

func (g *ground) grant(principal, role, scope string) {
	g.t.Helper()
	g.put(assignment(principal, role, scope), vRoles, obj{"properties": obj{
		"roleDefinitionId": "/subscriptions/" + g.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role,
		"principalId":      principal, "principalType": "ServicePrincipal"}})
}

// nodeToken is a token of the cluster's identity, which a node has from the metadata service on its own NIC.
func (w *world) nodeToken(resource string) string {
	w.t.Helper()
	return w.metadataToken(resource, "&client_id="+w.identity)
}

// metadataToken is what the metadata service of a node answers; query names the identity, "" is the cluster's own.
func (w *world) metadataToken(resource, query string) string {
	w.t.Helper()
	a, err := w.sendFrom("node:"+clusterName, "-token", "-", "-header", "Metadata: true", "GET",
		"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"+query+"&resource="+resource)
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if err == nil {
		err = a.json(&t)
	}
	if err != nil || t.AccessToken == "" {
		w.t.Fatalf("the node gets no token: %v %s", err, a)
	}
	return t.AccessToken
}
