package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// trainingRules are what "Configure inbound and outbound network traffic" asks of the nodes' security group; storage is
// reached by a private endpoint.
var trainingRules = []struct{ tag, protocol, ports string }{
	{"AzureActiveDirectory", "Tcp", "80,443"}, {"AzureMachineLearning", "Tcp", "443,8787,18881"}, {"AzureMachineLearning", "Udp", "5831"},
	{"BatchNodeManagement." + location, "*", "443"}, {"AzureResourceManager", "Tcp", "443"}, {"AzureFrontDoor.FrontEnd", "Tcp", "443"},
	{"AzureFrontDoor.FirstParty", "Tcp", "443"}, {"MicrosoftContainerRegistry", "Tcp", "443"},
}

// TestDiagnose breaks a workspace in every way that is known, one after the other: the diagnosis finds each cause under its
// group and code, by the model and by a connection, and nothing in what works.
func TestDiagnose(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	d := &patient{world: g.network()}
	d.healthy()
	d.check(t, "nothing", nil)
	for _, c := range d.ways() {
		c.broken()
		d.check(t, c.name, c.want)
		c.mend()
	}
	d.check(t, "nothing, after all", nil)
}

// patient is a workspace that gets ill.
type patient struct {
	*world
	insights, registry, principal string
}

// way is one in which a workspace is broken; want are "group code".
type way struct {
	name         string
	want         []string
	broken, mend func()
}

func (d *patient) training(without string, more ...obj) {
	d.t.Helper()
	rules := slices.Clone(more)
	for i, r := range trainingRules {
		if r.tag != without {
			one := rule("Allow"+fmt.Sprint(i), 110+i, "Outbound", "Allow", r.protocol, "VirtualNetwork", r.tag, "")
			p := one["properties"].(obj)
			delete(p, "destinationPortRange")
			p["destinationPortRanges"] = strings.Split(r.ports, ",")
			rules = append(rules, one)
		}
	}
	rules = append(rules, rule("DenyInternet", 4000, "Outbound", "Deny", "*", "*", "Internet", "*"))
	d.put(d.group+"/providers/Microsoft.Network/networkSecurityGroups/training", vNetwork, obj{"location": location, "properties": obj{"securityRules": rules}})
}

// subnet is the nodes', with what is changed of it.
func (d *patient) subnet(more obj) {
	d.t.Helper()
	p := obj{"addressPrefix": "10.20.1.0/24", "defaultOutboundAccess": true, "networkSecurityGroup": obj{"id": d.group + "/providers/Microsoft.Network/networkSecurityGroups/training"}}
	for k, v := range more {
		p[k] = v
	}
	d.put(d.vnet+"/subnets/training", vNetwork, obj{"properties": p})
}

func (d *patient) routes(hop obj) {
	d.t.Helper()
	table := d.group + "/providers/Microsoft.Network/routeTables/rt"
	hop["addressPrefix"] = "0.0.0.0/0"
	d.put(table, vNetwork, obj{"location": location, "properties": obj{"routes": []obj{{"name": "all", "properties": hop}}}})
	d.subnet(obj{"routeTable": obj{"id": table}})
}

func (d *patient) healthy() {
	d.t.Helper()
	d.insights, d.registry = d.group+"/providers/Microsoft.Insights/components/app", d.group+"/providers/Microsoft.ContainerRegistry/registries/e2eregistry"
	d.training("")
	d.services("Disabled")
	d.endpoints()
	d.component(true)
	d.image("Enabled")
	ws := d.put(d.workspace, vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{"storageAccount": d.account, "keyVault": d.vault,
		"publicNetworkAccess": "Disabled", "applicationInsights": d.insights, "containerRegistry": d.registry}})
	d.principal = d.text(ws, "identity.principalId")
	d.nodes(0, 1)
	d.resync()
}

func (d *patient) resync() {
	d.t.Helper()
	if a := d.send(request{Method: "POST", URL: d.workspace + "/resyncKeys?api-version=" + vML}); !a.ok() {
		d.t.Fatalf("resyncKeys: %s", a)
	}
}

// component is the Application Insights component, on a Log Analytics workspace or on none.
func (d *patient) component(modern bool) {
	d.t.Helper()
	p := obj{"Application_Type": "web"}
	if modern {
		logs := d.group + "/providers/Microsoft.OperationalInsights/workspaces/logs"
		d.put(logs, "2023-09-01", obj{"location": location, "properties": obj{}})
		p["WorkspaceResourceId"] = logs
	}
	d.put(d.insights, "2020-02-02", obj{"location": location, "kind": "web", "properties": p})
}

func (d *patient) image(public string) {
	d.t.Helper()
	d.put(d.registry, "2023-07-01", obj{"location": location, "sku": obj{"name": "Premium"}, "properties": obj{"publicNetworkAccess": public}})
}

// revoke takes the roles that the workspace's identity has at a scope.
func (d *patient) revoke(scope string) {
	d.t.Helper()
	a := d.send(request{Method: "GET", URL: scope + "/providers/Microsoft.Authorization/roleAssignments?api-version=" + vRoles + "&$filter=assignedTo('" + d.principal + "')"})
	var list struct{ Value []struct{ ID string } }
	if err := a.json(&list); err != nil {
		d.t.Fatal(err)
	}
	for _, x := range list.Value {
		d.gone(x.ID, vRoles)
	}
}

func (d *patient) lock(scope, level string) way {
	id := scope + "/providers/Microsoft.Authorization/locks/l"
	return way{broken: func() { d.put(id, "2020-05-01", obj{"properties": obj{"level": level}}) }, mend: func() { d.gone(id, "2020-05-01") }}
}

// approve sets the state of the workspace's private endpoint connection.
func (d *patient) approve(state string) {
	d.t.Helper()
	ws := d.settled(d.workspace, vML)
	all, _ := property(ws, "properties.privateEndpointConnections").([]any)
	if len(all) == 0 {
		d.t.Fatal("the workspace has no connection")
	}
	d.put(d.text(all[0], "id"), vML, obj{"properties": obj{"privateLinkServiceConnectionState": obj{"status": state, "description": "e2e"}}})
}

func (d *patient) ways() []way {
	network, dns := d.group+"/providers/Microsoft.Network/", d.group+"/providers/Microsoft.Network/privateDnsZones/"
	endpoint := func(name string) string { return network + "privateEndpoints/" + name }
	again := func() { d.endpoints() }
	whole := func() { d.training("") }
	plain := func() { d.subnet(nil) }
	var out []way
	add := func(name string, broken, mend func(), want ...string) {
		out = append(out, way{name, want, broken, mend})
	}
	for _, tag := range []string{"AzureActiveDirectory", "AzureMachineLearning", "BatchNodeManagement." + location, "AzureResourceManager", "AzureFrontDoor.FrontEnd",
		"AzureFrontDoor.FirstParty", "MicrosoftContainerRegistry"} {
		add("no rule for "+tag, func() { d.training(tag) }, whole, "networkSecurityRule SecurityRuleRefuses")
	}
	add("endpoints closed to nodes", func() {
		d.training("", rule("Close", 100, "Outbound", "Deny", "*", "*", "10.20.0.0/24", "*"))
	}, whole, "networkSecurityRule SecurityRuleRefuses")
	add("a default route to nowhere", func() { d.routes(obj{"nextHopType": "None"}) }, plain, "userDefinedRoute RouteLeadsElsewhere")
	add("a default route to an appliance that is not there", func() {
		d.routes(obj{"nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.20.2.99"})
	}, plain, "userDefinedRoute RouteLeadsElsewhere")
	add("no way out", func() { d.subnet(obj{"defaultOutboundAccess": false}) }, plain, "other NoWayOut")
	small, tiny := d.vnet+"/subnets/small", d.workspace+"/computes/tiny"
	fill := func(do func(nic string)) {
		for i := range 3 { // all that a /29 has
			do(fmt.Sprintf("%snetworkInterfaces/fill%d", network, i))
		}
	}
	add("a full subnet", func() {
		d.put(small, vNetwork, obj{"properties": obj{"addressPrefix": "10.20.9.0/29", "defaultOutboundAccess": true, "networkSecurityGroup": obj{"id": network + "networkSecurityGroups/training"}}})
		d.put(tiny, vML, obj{"location": location, "properties": obj{"computeType": "AmlCompute", "properties": obj{"vmSize": "STANDARD_DS3_V2",
			"scaleSettings": obj{"minNodeCount": 0, "maxNodeCount": 1}, "subnet": obj{"id": small}, "enableNodePublicIp": false}}})
		fill(func(nic string) {
			d.put(nic, vNetwork, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"name": "c", "properties": obj{"subnet": obj{"id": small}}}}}})
		})
	}, func() {
		d.gone(tiny, vML)
		fill(func(nic string) { d.gone(nic, vNetwork) })
		d.gone(small, vNetwork)
	}, "other SubnetFull")
	for name, l := range map[string]way{"the group may not lose anything": d.lock(d.group, "CanNotDelete"), "a read-only account": d.lock(d.account, "ReadOnly"), "a read-only vault": d.lock(d.vault, "ReadOnly")} {
		add(name, l.broken, l.mend, map[bool]string{true: "resourceLock DeleteLockBlocksScaling", false: "resourceLock ReadOnlyLock"}[strings.HasPrefix(name, "the group")])
	}
	for zone, name := range map[string]string{"privatelink.blob.core.windows.net": "storageAccount StorageAccountRefusesNetwork", "privatelink.vaultcore.azure.net": "keyVault KeyVaultRefusesNetwork", "privatelink.api.azureml.ms": "other WorkspaceRefusesNetwork"} {
		add(zone+" not linked", func() { d.gone(dns+zone+"/virtualNetworkLinks/hub", vDNS) }, again, "dnsResolution ZoneUnlinked", name)
	}
	add("no zone group", func() { d.gone(endpoint("pe-vault")+"/privateDnsZoneGroups/default", vNetwork) }, again, "dnsResolution ZoneGroupMissing", "dnsResolution NameNotResolved")
	add("a DNS server that is not there", func() {
		d.put(d.vnet, vNetwork, d.hub("10.20.2.77"))
	}, func() { d.put(d.vnet, vNetwork, d.hub()) }, "dnsResolution CustomDNSInUse", "dnsResolution NameNotResolved")
	for name, want := range map[string]string{"pe-blob": "storageAccount StorageAccountRefusesNetwork", "pe-vault": "keyVault KeyVaultRefusesNetwork"} {
		add("no "+name, func() { d.gone(endpoint(name), vNetwork) }, again, want)
	}
	add("no endpoint of the workspace", func() { d.gone(endpoint("pe-work"), vNetwork) }, again, "other WorkspaceUnreachable", "other WorkspaceRefusesNetwork")
	add("the workspace's endpoint rejected", func() { d.approve("Rejected") }, func() { d.gone(endpoint("pe-work"), vNetwork); d.endpoints() },
		"other PrivateEndpointNotApproved", "other WorkspaceUnreachable", "other WorkspaceRefusesNetwork")
	add("no role at the account", func() { d.revoke(d.account) }, func() { d.resync() }, "storageAccount StorageAccountAccessDenied")
	add("no role at the vault", func() { d.revoke(d.vault) }, func() { d.resync() }, "keyVault KeyVaultAccessDenied")
	sharedKey := func(allowed bool) {
		body := closedAccount()
		body["properties"].(obj)["allowSharedKeyAccess"] = allowed
		d.put(d.account, vStorage, body)
	}
	add("no shared keys", func() { sharedKey(false) }, func() { sharedKey(true) }, "storageAccount StorageAccountSharedKeyDisabled")
	add("the vault deleted", func() { d.gone(d.vault, vVault) }, func() {
		d.put(d.vault, vVault, obj{"location": location, "properties": obj{"tenantId": d.tenant, "sku": obj{"family": "A", "name": "standard"}, "createMode": "recover"}})
		d.gone(endpoint("pe-vault"), vNetwork)
		d.endpoints()
		d.resync()
	}, "keyVault KeyVaultNotFound")
	add("a registry behind a network", func() { d.image("Disabled") }, func() { d.image("Enabled") }, "containerRegistry ContainerRegistryNeedsImageBuildCompute")
	add("no registry", func() { d.gone(d.registry, "2023-07-01") }, func() { d.image("Enabled") }, "containerRegistry ContainerRegistryNotFound")
	add("classic insights", func() { d.gone(d.insights, "2020-02-02"); d.component(false) }, func() { d.component(true) }, "applicationInsights ApplicationInsightsClassic")
	add("no insights", func() { d.gone(d.insights, "2020-02-02") }, func() { d.component(true) }, "applicationInsights ApplicationInsightsNotFound")
	registered := func(verb string) {
		if a := d.send(request{Method: "POST", URL: "/subscriptions/" + d.sub + "/providers/Microsoft.Insights/" + verb + "?api-version=" + vResources}); !a.ok() {
			d.t.Fatalf("%s: %s", verb, a)
		}
	}
	add("a provider not registered", func() { d.gone(d.insights, "2020-02-02"); registered("unregister") }, func() { registered("register"); d.component(true) },
		"other ResourceProviderNotRegistered", "applicationInsights ApplicationInsightsNotFound")
	return out
}

// hub is the network as it is, with DNS servers of its own.
func (d *patient) hub(servers ...string) obj {
	d.t.Helper()
	v := d.settled(d.vnet, vNetwork)
	p := v["properties"].(obj)
	body := obj{"location": location, "properties": obj{"addressSpace": p["addressSpace"], "subnets": p["subnets"], "dhcpOptions": obj{"dnsServers": append([]string{}, servers...)}}}
	return body
}

// check diagnoses, and compares the groups and codes of what is found.
func (d *patient) check(t *testing.T, name string, want []string) {
	t.Helper()
	value := d.diagnosed()
	var got []string
	for group, list := range value {
		results, _ := list.([]any)
		for _, r := range results {
			one := strings.TrimSuffix(group, "Results") + " " + d.text(r, "code")
			if !slices.Contains(got, one) {
				got = append(got, one)
			}
			message := d.text(r, "message")
			if !strings.Contains(message, " See https://learn.microsoft.com/azure/") || d.text(r, "code") == "ModelContradicted" {
				t.Errorf("%s: %s: %s", name, one, message)
			}
		}
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: found %q, want %q", name, got, want)
		for group, list := range value {
			for _, r := range list.([]any) {
				t.Logf("%s %s: %s", group, d.text(r, "code"), d.text(r, "message"))
			}
		}
	}
	if len(value) != 9 {
		t.Errorf("%d groups", len(value))
	}
}

// diagnosed is the answer of the action.
func (w *world) diagnosed() obj {
	w.t.Helper()
	a := w.send(request{Method: "POST", URL: w.workspace + "/diagnose?api-version=" + vML, Body: jsonBody(obj{"value": obj{}})})
	if a.Status != 202 {
		w.t.Fatalf("diagnose: %s", a)
	}
	at := a.Header.Get("Location")
	w.eventually("the diagnosis is done", func() bool {
		a = w.send(request{Method: "GET", URL: at})
		return a.Status != 202
	})
	var out struct{ Value obj }
	if err := a.json(&out); err != nil || !a.ok() {
		w.t.Fatalf("diagnose: %v %s", err, a)
	}
	return out.Value
}
