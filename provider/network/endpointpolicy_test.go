package network_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/firewall"
	"vauban.dev/provider/network"
)

const policy = net0 + "serviceEndpointPolicies/sep"

func definition(service string, resources ...string) string {
	return fmt.Sprintf(`{"properties":{"service":%q,"serviceResources":["%s"]}}`, service, strings.Join(resources, `","`))
}

func TestEndpointPolicy(t *testing.T) {
	r := newRig(t)
	v := r.put(policy, `{"location":"westeurope","properties":{"serviceEndpointPolicyDefinitions":[{"name":"a",`+definition("microsoft.storage", group)[1:]+`]}}`)
	r.want(v, "properties.serviceEndpointPolicyDefinitions.0.properties.service", "Microsoft.Storage")
	r.want(v, "properties.serviceEndpointPolicyDefinitions.0.type", "Microsoft.Network/serviceEndpointPolicies/serviceEndpointPolicyDefinitions")
	if at(v, "properties.subnets") == nil || at(v, "properties.resourceGuid") == nil {
		t.Errorf("%v", v)
	}
	r.put(policy+"/serviceEndpointPolicyDefinitions/b", definition("Global", "/Services/Azure/machineLearning/"))
	r.want(r.get(policy), "properties.serviceEndpointPolicyDefinitions.1.properties.serviceResources.0", "/services/Azure/MachineLearning")
	for _, c := range []struct{ body, code string }{
		{definition("Microsoft.Sql", group), "InvalidServiceEndpointPolicyService"},
		{`{"properties":{"service":"Microsoft.Storage"}}`, "ServiceResourcesNotSpecified"},
		{definition("Microsoft.Storage", "account"), "InvalidServiceResource"},
		{definition("Microsoft.Storage", vnet), "InvalidServiceResource"},
		{definition("Microsoft.Storage", "/services/Azure"), "InvalidServiceResource"},
		{definition("Global", "/services/Mars"), "InvalidServiceResource"},
		{definition("Global", account), "InvalidServiceResource"},
	} {
		r.refused(http.MethodPut, policy+"/serviceEndpointPolicyDefinitions/c", c.body, c.code)
	}
	r.refused(http.MethodPut, policy, `{"location":"westeurope","properties":{"serviceAlias":"/services/x"}}`, "NotImplemented")
	r.delete(policy)
}

func TestSubnetPolicies(t *testing.T) {
	r := newRig(t)
	r.put(policy, `{"location":"westeurope","properties":{"serviceEndpointPolicyDefinitions":[{"name":"a",`+definition("Microsoft.Storage", group, account)[1:]+`,{"name":"b",`+definition("Global", "/services/Azure")[1:]+`]}}`)
	r.put(policy+"2", `{"location":"westeurope"}`)
	r.put(policy+"north", `{"location":"northeurope"}`)
	named := func(ids ...string) string {
		for i := range ids {
			ids[i] = ref(ids[i])
		}
		return `,"serviceEndpoints":[{"service":"Microsoft.Storage"}],"serviceEndpointPolicies":[` + strings.Join(ids, ",") + `]`
	}
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", named(policy, policy+"2")), subnetBody("b", "10.0.1.0/24", "")))
	r.want(r.get(policy+"2"), "properties.subnets.0.id", vnet+"/subnets/a")
	r.view(func(tx *rp.Tx) error {
		list, err := network.EndpointPolicies(tx, arm.MustParseID(vnet+"/subnets/a"))
		want := []firewall.EndpointPolicy{{ID: policy, Resources: []string{group, account}}, {ID: policy + "2"}}
		if !reflect.DeepEqual(list, want) {
			t.Errorf("%+v", list)
		}
		if list, err := network.EndpointPolicies(tx, arm.MustParseID(vnet+"/subnets/b")); len(list) > 0 || err != nil {
			t.Errorf("%+v, %v", list, err)
		}
		return err
	})
	e := r.refused(http.MethodDelete, policy, "", "ServiceEndpointPolicyCannotBeDeletedIfReferencedBySubnet")
	if !strings.Contains(e.Message, vnet+"/subnets/a") {
		t.Error(e.Message)
	}
	r.refused(http.MethodPut, vnet+"/subnets/b", subnetBody("b", "10.0.1.0/24", named(policy+"north")), "InvalidResourceReference")
	r.refused(http.MethodPut, vnet+"/subnets/b", subnetBody("b", "10.0.1.0/24", named(vnet)), "InvalidReferenceId")
	r.denied = "Microsoft.Network/serviceEndpointPolicies/join/action"
	r.refused(http.MethodPut, vnet+"/subnets/b", subnetBody("b", "10.0.1.0/24", named(policy)), "LinkedAuthorizationFailed")
}

func TestServiceEndpoints(t *testing.T) {
	r := newRig(t)
	v := r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", `,"serviceEndpoints":[{"service":"microsoft.storage","locations":["mars"]},{"service":"Microsoft.KeyVault"},{"service":"Microsoft.Sql"}]`)))
	for i, want := range []string{"[westeurope northeurope]", "[*]", "[westeurope]"} {
		if got := fmt.Sprint(at(v, fmt.Sprintf("properties.subnets.0.properties.serviceEndpoints.%d.locations", i))); got != want {
			t.Errorf("endpoint %d reaches %s, want %s", i, got, want)
		}
	}
	r.want(v, "properties.subnets.0.properties.serviceEndpoints.0.service", "Microsoft.Storage")
	r.want(v, "properties.subnets.0.properties.serviceEndpoints.0.provisioningState", "Succeeded")
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", `,"serviceEndpoints":[{"service":"Microsoft.Mars"}]`), "InvalidServiceEndpointService")
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", `,"serviceEndpoints":[{"service":"Microsoft.Web"},{"service":"microsoft.web"}]`), "DuplicateServiceEndpoint")
}

func delegation(service string) string {
	return fmt.Sprintf(`,"delegations":[{"name":"d","properties":{"serviceName":%q}}]`, service)
}

func TestDelegation(t *testing.T) {
	const aci = "Microsoft.ContainerInstance/containerGroups"
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", delegation(strings.ToLower(aci))), subnetBody("b", "10.0.1.0/24", "")))
	v := r.get(vnet + "/subnets/a")
	r.want(v, "properties.delegations.0.properties.serviceName", aci)
	r.want(v, "properties.delegations.0.properties.actions.0", "Microsoft.Network/virtualNetworks/subnets/action")
	r.want(v, "properties.delegations.0.id", vnet+"/subnets/a/delegations/d")
	allocate := func(subnet, owner, service string) error {
		return r.update(func(tx *rp.Tx) error {
			_, err := r.AllocateNIC(tx, network.NICRequest{Subnet: arm.MustParseID(vnet + "/subnets/" + subnet), Owner: owner, Service: service})
			return err
		})
	}
	for _, c := range []struct{ subnet, service, code string }{
		{"a", "", "SubnetDelegated"}, {"a", "Microsoft.Network/dnsResolvers", "SubnetDelegated"}, {"b", aci, "SubnetMissingRequiredDelegation"},
	} {
		if err := allocate(c.subnet, "x", c.service); arm.AsError(err) == nil || arm.AsError(err).Code != c.code {
			t.Errorf("%s in %s: %v, want %s", c.service, c.subnet, err, c.code)
		}
	}
	r.refused(http.MethodPut, net0+"networkInterfaces/n", nicBody("", config("ip", "a", "")), "SubnetDelegated")
	if err := allocate("a", "group1", aci); err != nil {
		t.Fatal(err)
	}
	links := r.get(vnet + "/subnets/a/ServiceAssociationLinks")
	r.want(links, "value.0.name", "acisal")
	r.want(links, "value.0.properties.linkedResourceType", aci)
	r.want(r.get(vnet), "properties.subnets.0.properties.serviceAssociationLinks.0.id", vnet+"/subnets/a/serviceAssociationLinks/acisal")
	r.want(r.get(vnet+"/subnets/b/serviceAssociationLinks"), "value.0", nil)
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", ""), "SubnetMissingRequiredDelegation")
	if err := r.update(func(tx *rp.Tx) error { return r.ReleaseNIC(tx, "group1") }); err != nil {
		t.Fatal(err)
	}
	r.put(vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", "")) // taken back
	r.put(net0+"networkInterfaces/n", nicBody("", config("ip", "b", "")))
	e := r.refused(http.MethodPut, vnet+"/subnets/b", subnetBody("b", "10.0.1.0/24", delegation(aci)), "SubnetDelegationsCannotChangeWhenSubnetUsedByResource")
	if !strings.Contains(e.Message, net0+"networkInterfaces/n/ipConfigurations/ip") {
		t.Error(e.Message)
	}
	r.delete(net0 + "networkInterfaces/n")
	r.put(vnet+"/subnets/b", subnetBody("b", "10.0.1.0/24", delegation(aci)))
	for _, c := range []struct{ more, code string }{
		{delegation("Microsoft.Mars/rovers"), "InvalidServiceNameInDelegation"},
		{`,"delegations":[{"name":"d","properties":{"serviceName":"` + aci + `"}},{"name":"e","properties":{"serviceName":"` + aci + `"}}]`, "SubnetCannotHaveMultipleDelegations"},
		{`,"delegations":[{"properties":{"serviceName":"` + aci + `"}}]`, "InvalidRequestFormat"},
	} {
		r.refused(http.MethodPut, vnet+"/subnets/c", subnetBody("c", "10.0.2.0/24", c.more), c.code)
	}
	r.refused(http.MethodPost, vnet+"/subnets/b/PrepareNetworkPolicies", `{"serviceName":"Microsoft.Sql/managedInstances"}`, "SubnetMissingRequiredDelegation")
	for _, action := range []string{"PrepareNetworkPolicies", "UnprepareNetworkPolicies"} {
		if _, err := r.do(http.MethodPost, vnet+"/subnets/b/"+action, latest, `{"serviceName":"`+aci+`"}`); err != nil {
			t.Errorf("%s: %v", action, err)
		}
	}
}

func TestListings(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/29", ""), subnetBody("b", "10.0.1.0/24", "")))
	r.put(net0+"networkInterfaces/n", nicBody("", config("ip", "a", "")))
	r.put(pip, standardIP(""))
	subscription := group[:len("/subscriptions/")+36]
	at0 := subscription + "/providers/Microsoft.Network/locations/West%20Europe/"
	for _, c := range []struct {
		path, at string
		want     any
	}{
		{at0 + "virtualNetworkAvailableEndpointServices", "value.8.name", "Microsoft.Storage"},
		{at0 + "availableServiceAliases", "value.4.resourceName", "/services/Azure/MachineLearning"},
		{at0 + "availableServiceAliases", "value.4.name", "servicesAzureMachineLearning"},
		{at0 + "availableDelegations", "value.0.type", "Microsoft.Network/availableDelegations"},
		{group + "/providers/Microsoft.Network/locations/westeurope/availableDelegations", "value.0.serviceName", "Microsoft.ApiManagement/service"},
		{at0 + "usages", "value.0.name.value", "VirtualNetworks"},
		{at0 + "usages", "value.0.currentValue", 1.0},
		{at0 + "usages", "value.1.currentValue", 1.0},
		{subscription + "/providers/Microsoft.Network/locations/northeurope/usages", "value.0.currentValue", 0.0},
		{vnet + "/usages", "value.0.id", vnet + "/subnets/a"},
		{vnet + "/usages", "value.0.currentValue", 1.0},
		{vnet + "/usages", "value.0.limit", 3.0},
		{vnet + "/usages", "value.1.limit", 251.0},
		{vnet + "/subnets/a/ResourceNavigationLinks", "value.0", nil},
	} {
		r.want(r.get(strings.ReplaceAll(c.path, "%20", " ")), c.at, c.want)
	}
	r.refused(http.MethodGet, vnet+"/subnets/none/ResourceNavigationLinks", "", "ResourceNotFound")
}
