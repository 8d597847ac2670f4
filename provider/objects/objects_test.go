package objects_test

import (
	"slices"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/network"
	"vauban.dev/provider/objects"
)

const (
	subnet     = group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/"
	containers = group + "/providers/Microsoft.ContainerInstance/containerGroups/"
	aciV       = "?api-version=2023-05-01"
	cluster    = group + "/providers/Microsoft.ContainerService/managedClusters/k"
	aksV       = "?api-version=2025-02-01"
)

func TestNames(t *testing.T) {
	names := objects.Names()
	for _, want := range []string{objects.RegistryType, objects.ComponentType, objects.ContainerGroupType, objects.ClusterType, objects.DiskType} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not named", want)
		}
	}
	if slices.Contains(names, objects.LogsType) {
		t.Error("a type whose service is there is named")
	}
	if !slices.IsSorted(names) {
		t.Error("the names are not sorted")
	}
}

func TestMonitor(t *testing.T) {
	r := newRegion(t)
	logs, logsV := group+"/providers/Microsoft.OperationalInsights/workspaces/logs", "?api-version=2022-10-01"
	app, appV := group+"/providers/Microsoft.Insights/components/app", "?api-version=2020-02-02"
	body := `{"location":"westeurope","kind":"web","properties":{"Application_Type":"Web","WorkspaceResourceId":"` + logs + `"}}`
	refused(t, r.Request("PUT", app+appV, body), 404, "ResourceNotFound", "workspaces/logs")
	refused(t, r.Request("PUT", logs+logsV, `{"location":"westeurope","properties":{"retentionInDays":7}}`), 400, "BadRequest", "between 30 to 730")
	refused(t, r.Request("PUT", logs+logsV, `{"location":"westeurope","properties":{"sku":{"name":"Gold"}}}`), 400, "InvalidParameter", "sku.name")
	r.Must("PUT", logs+logsV, `{"location":"westeurope","properties":{"sku":{"name":"pergb2018"}}}`)
	keys := r.Must("POST", logs+"/sharedKeys"+logsV, "").String("primarySharedKey")
	if a := r.Must("GET", logs+logsV, ""); len(keys) != 88 || strings.Contains(a.Text, keys) || a.String("properties", "sku", "name") != "PerGB2018" || a.String("properties", "customerId") == "" {
		t.Errorf("workspace: %s", a.Text)
	}
	if other := r.Must("POST", logs+"/listKeys"+logsV, "").String("primarySharedKey"); other != keys {
		t.Error("listKeys and sharedKeys answer different keys")
	}
	refused(t, r.Request("POST", logs+"/search"+logsV, "{}"), 501, "NotImplemented", "object only")
	a := r.Must("PUT", app+appV, body)
	if a.String("properties", "IngestionMode") != "LogAnalytics" || a.String("properties", "Application_Type") != "web" || !strings.Contains(a.String("properties", "ConnectionString"), a.String("properties", "InstrumentationKey")) {
		t.Errorf("component: %s", a.Text)
	}
	if b := r.Must("PUT", app+appV, body); b.String("properties", "InstrumentationKey") != a.String("properties", "InstrumentationKey") {
		t.Error("a second PUT changed the instrumentation key")
	}
	refused(t, r.Request("PUT", app+"2"+appV, `{"location":"westeurope","properties":{"Application_Type":"web"}}`), 400, "InvalidParameter", "kind")
	refused(t, r.Request("PUT", logs+"/dataSources/d"+logsV, `{"properties":{}}`), 400, "InvalidParameter", "kind")
}

// inNetwork is a region with a virtual network, whose subnet "mine" is delegated to container groups.
func inNetwork(t *testing.T) *rptest.Region {
	t.Helper()
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(objects.New().Types(),
		rp.Of(rp.Type[struct{}]{Name: network.VNetType, Versions: rp.Versions[struct{}]("2024-05-01")}),
		rp.Of(rp.Type[network.Subnet]{Name: network.SubnetType, Kind: rp.Proxy, Versions: rp.Versions[network.Subnet]("2024-05-01")}))...)
	r.Must("PUT", group+"/providers/Microsoft.Network/virtualNetworks/v?api-version=2024-05-01", `{"location":"westeurope"}`)
	r.Must("PUT", subnet+"plain?api-version=2024-05-01", `{"properties":{"addressPrefix":"10.0.0.0/24"}}`)
	r.Must("PUT", subnet+"mine?api-version=2024-05-01", `{"properties":{"addressPrefix":"10.0.1.0/24","delegations":[{"name":"d","properties":{"serviceName":"Microsoft.ContainerInstance/containerGroups"}}]}}`)
	return r
}

func TestContainerGroup(t *testing.T) {
	r := inNetwork(t)
	body := func(in string) string {
		return `{"location":"westeurope","properties":{"osType":"Linux","containers":[{"name":"a","properties":{"image":"nginx","resources":{"requests":{"cpu":1,"memoryInGB":1.5}},
			"environmentVariables":[{"name":"e","secureValue":"hush"}]}}],"imageRegistryCredentials":[{"server":"s","username":"u","Password":"hush"}],"volumes":[{"name":"v","secret":{"f":"hush"}}],
			"extensions":[{"name":"x","properties":{"protectedSettings":{"k":"hush"}}}],"subnetIds":[{"id":"` + in + `"}]}}`
	}
	refused(t, r.Request("PUT", containers+"a"+aciV, body(subnet+"plain")), 400, "SubnetMissingRequiredDelegation", "Microsoft.ContainerInstance/containerGroups")
	refused(t, r.Request("PUT", containers+"a"+aciV, body(subnet+"none")), 404, "ResourceNotFound", "none")
	if a := r.Must("PUT", containers+"a"+aciV, body(subnet+"mine")); strings.Contains(a.Text, "hush") || a.String("properties", "restartPolicy") != "Always" {
		t.Errorf("PUT: %s", a.Text)
	}
	refused(t, r.Request("PUT", containers+"b"+aciV, strings.Replace(body(subnet+"mine"), "Linux", "BeOS", 1)), 400, "InvalidOsType", "'Windows,Linux'")
	refused(t, r.Request("PUT", containers+"b"+aciV, strings.Replace(body(subnet+"mine"), `"cpu":1,`, "", 1)), 400, "ResourceRequestsNotSpecified", "'a'")
	refused(t, r.Request("POST", containers+"a/restart"+aciV, ""), 501, "NotImplemented", "object only")
	refused(t, r.Request("GET", containers+"a/containers/a/logs"+aciV, ""), 501, "NotImplemented", "does not run")
	r.Deny(rptest.Owner, "Microsoft.Network/virtualNetworks/subnets/join/action", "no")
	refused(t, r.Request("PUT", containers+"c"+aciV, body(subnet+"mine")), 403, "LinkedAuthorizationFailed", "join/action")
}

func TestCluster(t *testing.T) {
	r := inNetwork(t)
	body := `{"location":"westeurope","properties":{"dnsPrefix":"k","servicePrincipalProfile":{"clientId":"c","secret":"hush"},"agentPoolProfiles":[{"name":"system","mode":"System","count":2,"vmSize":"Standard_DS2_v2","nodeLabels":{"a":"b"}}]}}`
	a := r.Must("PUT", cluster+aksV, body)
	pools, _ := a.At("properties", "agentPoolProfiles").([]any)
	if len(pools) != 1 || strings.Contains(a.Text, "hush") || !strings.Contains(a.String("properties", "fqdn"), ".hcp.westeurope.azmk8s.io") || !strings.Contains(a.Text, "nodeLabels") {
		t.Errorf("PUT: %s", a.Text)
	}
	r.Must("PUT", cluster+"/agentPools/more"+aksV, `{"properties":{"vmSize":"Standard_DS2_v2"}}`)
	if a := r.Must("GET", cluster+aksV, ""); len(a.At("properties", "agentPoolProfiles").([]any)) != 2 {
		t.Errorf("a cluster shows all its pools: %s", a.Text)
	}
	r.Must("PATCH", cluster+aksV, `{"tags":{"a":"b"}}`)
	refused(t, r.Request("POST", cluster+"/runCommand"+aksV, "{}"), 501, "NotImplemented", "object only")
	credential := func() string {
		return r.Must("POST", cluster+"/listClusterAdminCredential"+aksV, "").Text
	}
	first := credential()
	r.Wait(r.Must("POST", cluster+"/rotateClusterCertificates"+aksV, ""))
	if credential() == first {
		t.Error("the credentials were not rotated")
	}
	r.Wait(r.Must("POST", cluster+"/stop"+aksV, ""))
	if a := r.Must("GET", cluster+aksV, ""); a.String("properties", "powerState", "code") != "Stopped" || a.String("eTag") == "" || strings.Contains(a.Text, "credentials") {
		t.Errorf("a stopped cluster: %s", a.Text)
	}
	if a := r.Must("GET", cluster+"/upgradeProfiles/default"+aksV, ""); !strings.Contains(a.Text, "1.34.1") || strings.Contains(a.Text, "1.32.8") {
		t.Errorf("upgrades of 1.33.5: %s", a.Text)
	}
	if a := r.Must("PUT", cluster+"/agentPools/more"+aksV, `{"properties":{"count":3}}`); a.String("properties", "vmSize") != "Standard_DS2_v2" {
		t.Errorf("a pool that is scaled keeps its size: %s", a.Text)
	}
	r.Must("PATCH", cluster+aksV, `{"properties":{"disableLocalAccounts":true}}`)
	refused(t, r.Request("POST", cluster+"/listClusterAdminCredential"+aksV, ""), 400, "BadRequest", "disable local accounts")
	for change, want := range map[[2]string]string{
		{`"dnsPrefix":"k"`, `"dnsPrefix":""`}:                  "DNS prefix '' is invalid",
		{`"name":"system"`, `"name":"Not-OK"`}:                 "Not-OK",
		{`"vmSize":"Standard_DS2_v2",`, ``}:                    "vmSize is missing",
		{`"count":2`, `"count":-1`}:                            "count",
		{`"mode":"System"`, `"mode":"Boss"`}:                   "Boss",
		{`"dnsPrefix"`, `"kubernetesVersion":"x","dnsPrefix"`}: "kubernetesVersion",
	} {
		refused(t, r.Request("PUT", cluster+"2"+aksV, strings.Replace(body, change[0], change[1], 1)), 400, "InvalidParameter", want)
	}
	refused(t, r.Request("PUT", cluster+"2"+aksV, `{"location":"westeurope","properties":{"dnsPrefix":"k"}}`), 400, "InvalidParameter", "agentPoolProfiles is missing")
}

func TestMachineParts(t *testing.T) {
	r := inNetwork(t)
	disk, diskV := group+"/providers/Microsoft.Compute/disks/d", "?api-version=2023-04-02"
	a := r.Request("PUT", disk+diskV, `{"location":"westeurope","properties":{"creationData":{"createOption":"empty"},"diskSizeGB":20}}`)
	if a.Status != 202 || a.String("sku", "name") != "Standard_LRS" {
		t.Errorf("disk: %d %s", a.Status, a.Text)
	}
	r.Wait(a)
	refused(t, r.Request("PATCH", disk+diskV, `{"properties":{"diskSizeGB":10}}`), 400, "OperationNotAllowed", "20 GB")
	refused(t, r.Request("PUT", disk+"2"+diskV, `{"location":"westeurope","properties":{"creationData":{"createOption":"Empty"}}}`), 400, "InvalidParameter", "diskSizeGB")
	refused(t, r.Request("PUT", disk+"2"+diskV, `{"location":"westeurope","sku":{"name":"Tape"},"properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1}}`), 400, "InvalidParameter", "Tape")
	set, setV := group+"/providers/Microsoft.Compute/availabilitySets/s", "?api-version=2023-07-01"
	r.Must("PUT", set+setV, `{"location":"westeurope"}`)
	refused(t, r.Request("PUT", set+"2"+setV, `{"location":"westeurope","properties":{"platformFaultDomainCount":4}}`), 400, "InvalidParameter", "range 1 to 3")
	profile, v := group+"/providers/Microsoft.Network/networkProfiles/p", "?api-version=2024-05-01"
	in := `{"location":"westeurope","properties":{"containerNetworkInterfaceConfigurations":[{"name":"eth0","properties":{"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":"` + subnet + `NAME"}}}]}}]}}`
	if a := r.Must("PUT", profile+v, strings.Replace(in, "NAME", "mine", 1)); !strings.Contains(a.Text, profile+"/containerNetworkInterfaceConfigurations/eth0/ipConfigurations/ip") {
		t.Errorf("network profile: %s", a.Text)
	}
	refused(t, r.Request("PUT", profile+v, strings.Replace(in, "NAME", "none", 1)), 404, "ResourceNotFound", "none")
}
