package objects_test

import (
	"slices"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/objects"
)

// ofSpecification is a region whose types are those of Azure's specification, but for the ones that objects has.
func ofSpecification(t *testing.T) *rptest.Region {
	t.Helper()
	_, types := objects.Rest(append(objects.Names(), objects.LogsType))
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(objects.New().Types(), types...)...)
	return r
}

func TestRest(t *testing.T) {
	names, types := objects.Rest([]string{"microsoft.CDN/profiles"})
	if len(names) != len(types) || len(names) < 1000 || !slices.IsSorted(names) {
		t.Fatalf("%d names, %d types", len(names), len(types))
	}
	for name, want := range map[string]bool{"Microsoft.Cdn/profiles": false, "Microsoft.Cdn/profiles/afdEndpoints": true, "Microsoft.Sql/servers": true} {
		if slices.Contains(names, name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

// What would change what the region enforces is refused, not stored.
func TestEnforced(t *testing.T) {
	r := ofSpecification(t)
	const v = "?api-version=2024-05-01"
	policy := group + "/providers/Microsoft.Network/firewallPolicies/p"
	r.Must("PUT", policy+v, `{"location":"westeurope","properties":{}}`)
	refused(t, r.Request("PUT", policy+"/ruleGroups/g"+v, `{"properties":{"priority":100}}`), 501, "NotImplemented", "ruleCollectionGroups")
	refused(t, r.Request("PUT", policy+"/signatureOverrides/default"+v, `{"properties":{}}`), 501, "NotImplemented", "intrusions")
}

func TestSpecified(t *testing.T) {
	r := ofSpecification(t)
	web := group + "/providers/Microsoft.Web/"
	const v = "?api-version=2022-03-01"
	inGroup := strings.TrimSuffix(group, "/") + "/resources?api-version=2021-04-01"
	if a := r.Must("GET", inGroup, ""); strings.Contains(a.Text, "plan") {
		t.Errorf("an empty group has %s", a.Text)
	}
	plan := r.Must("PUT", web+"serverfarms/plan"+v, `{"location":"westeurope","sku":{"name":"S1","capacity":"2"},"properties":{}}`)
	if plan.String("properties", "provisioningState") != "Succeeded" || plan.String("properties", "status") != "Ready" {
		t.Errorf("plan: %s", plan.Text)
	}
	if a := r.Must("GET", inGroup, ""); !strings.Contains(a.Text, "serverfarms/plan") { // of a type that had no resource before
		t.Errorf("the group has %s", a.Text)
	}
	site := `{"location":"westeurope","kind":"app","properties":{"httpsOnly":"true","defaultHostName":"mine.example","serverFarmId":"` + web + `serverfarms/plan"}}`
	refused(t, r.Request("PUT", web+"sites/App"+v, strings.Replace(site, "farms/plan", "farms/none", 1)), 404, "ResourceNotFound", "serverfarms/none")
	refused(t, r.Request("PUT", web+"sites/App"+v, `{"location":"westeurope","properties":{"httpsOnly":{}}}`), 400, "InvalidRequestContent", "properties.httpsOnly")
	refused(t, r.Request("PUT", web+"sites/App"+v, `{"properties":{}}`), 400, "LocationRequired", "location")
	refused(t, r.Request("PUT", web+"sites/none/config/web"+v, `{"properties":{}}`), 404, "ParentResourceNotFound", "sites/none")
	refused(t, r.Request("PUT", web+"sites/App"+"?api-version=2022-03-02", site), 400, "NoRegisteredProviderFound", "2022-03-02")
	a := r.Must("PUT", web+"sites/App"+v, site)
	if a.String("properties", "defaultHostName") != "app.azurewebsites.net" || !strings.Contains(a.Text, `"httpsOnly":true`) {
		t.Errorf("site: %s", a.Text)
	}
	a = r.Must("PATCH", web+"sites/App"+v, `{"properties":{"clientCertEnabled":true}}`)
	if !strings.Contains(a.Text, `"httpsOnly":true`) || !strings.Contains(a.Text, `"clientCertEnabled":true`) {
		t.Errorf("after PATCH: %s", a.Text)
	}
	r.Must("PUT", web+"sites/App/config/web"+v, `{"properties":{"alwaysOn":true}}`)
	refused(t, r.Request("PUT", web+"sites/App/config/other"+v, `{"properties":{}}`), 400, "InvalidResourceName", "appsettings")
	refused(t, r.Request("POST", web+"sites/App/restart"+v, ""), 501, "NotImplemented", "object only")
	r.Must("DELETE", web+"sites/App"+v, "")
	if a := r.Request("GET", web+"sites/App/config/web"+v, ""); a.Status != 404 {
		t.Errorf("the child of a deleted site: %d", a.Status)
	}
}

// TestSpecifiedSecrets: what is secret is in no answer, what the service makes up stays the same, and is asked for with
// the right of its action.
func TestSpecifiedSecrets(t *testing.T) {
	r := ofSpecification(t)
	server := group + "/providers/Microsoft.Sql/servers/s?api-version=2021-11-01"
	a := r.Must("PUT", server, `{"location":"westeurope","properties":{"administratorLogin":"me","administratorLoginPassword":"hush-hush"}}`)
	if strings.Contains(a.Text+r.Must("GET", server, "").Text, "hush") || a.String("properties", "fullyQualifiedDomainName") != "s.database.windows.net" {
		t.Errorf("server: %s", a.Text)
	}
	bus := group + "/providers/Microsoft.ServiceBus/namespaces/b"
	const v = "?api-version=2021-11-01"
	r.Must("PUT", bus+v, `{"location":"westeurope","sku":{"name":"standard"},"properties":{}}`)
	first := r.Must("POST", bus+"/AuthorizationRules/RootManageSharedAccessKey/listKeys"+v, "").String("primaryKey")
	if again := r.Must("POST", bus+"/AuthorizationRules/RootManageSharedAccessKey/listKeys"+v, "").String("primaryKey"); len(first) != 44 || first != again {
		t.Errorf("keys: %q, %q", first, again)
	}
}

// TestManagedGroup: the group that a service makes for itself need not be there.
func TestManagedGroup(t *testing.T) {
	r := ofSpecification(t)
	r.Must("PUT", group+"/providers/Microsoft.Databricks/workspaces/wks?api-version=2018-04-01", `{"location":"westeurope","sku":{"name":"premium"},"properties":{"managedResourceGroupId":"`+group+`-managed"}}`)
}

// TestSpecifiedParts: what lies in a resource of Microsoft.Network has the ids by which its other parts name it.
func TestSpecifiedParts(t *testing.T) {
	r := ofSpecification(t)
	gateway := group + "/providers/Microsoft.Network/applicationGateways/g"
	body := `{"location":"westeurope","properties":{"sku":{"name":"standard_v2","tier":"Standard_v2"},"frontendPorts":[{"name":"p","properties":{"port":"80"}}],
		"httpListeners":[{"name":"l","properties":{"frontendPort":{"id":"` + gateway + `/frontendPorts/p"},"protocol":"HTTP"}}]}}`
	a := r.Must("PUT", gateway+"?api-version=2023-05-01", body)
	for _, want := range []string{`"id":"` + gateway + `/frontendPorts/p"`, `"type":"Microsoft.Network/applicationGateways/frontendPorts"`, `"port":80`, `"Standard_v2"`, `"protocol":"Http"`} {
		if !strings.Contains(a.Text, want) {
			t.Errorf("%s is not in %s", want, a.Text)
		}
	}
	missing := strings.Replace(body, gateway+"/frontendPorts/p", gateway+"2/frontendPorts/p", 1)
	r.Must("PUT", gateway+"?api-version=2023-05-01", missing) // a part of something is no resource
	refused(t, r.Request("PUT", gateway+"?api-version=2023-05-01", strings.Replace(body, gateway+"/frontendPorts/p", group+"/providers/Microsoft.Network/virtualWans/none", 1)), 400, "InvalidResourceReference", "virtualWans/none")
}

// TestContainerGroupAddress: a group has the address that its service would have given it.
func TestContainerGroupAddress(t *testing.T) {
	r := inNetwork(t)
	const container = `"osType":"Linux","containers":[{"name":"a","properties":{"image":"nginx","resources":{"requests":{"cpu":"1.0","memoryInGb":1}}}}]`
	a := r.Must("PUT", containers+"public"+aciV, `{"location":"westeurope","properties":{`+container+`,"ipAddress":{"type":"Public","ports":[{"port":80}],"dnsNameLabel":"me"}}}`)
	if !strings.HasPrefix(a.String("properties", "ipAddress", "ip"), "20.103.") || a.String("properties", "ipAddress", "fqdn") != "me.westeurope.azurecontainer.io" {
		t.Errorf("public: %s", a.Text)
	}
	a = r.Must("PUT", containers+"private"+aciV, `{"location":"westeurope","properties":{`+container+`,"subnetIds":[{"id":"`+subnet+`mine"}]}}`)
	if a.String("properties", "ipAddress", "ip") != "10.0.1.4" || a.String("properties", "ipAddress", "type") != "Private" {
		t.Errorf("private: %s", a.Text)
	}
}
