package e2e

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

// TestServiceEndpoints: a rule for a subnet admits its machines only while the subnet has the service's
// endpoint, since nothing else tells the service where they are; each service has its own.
func TestServiceEndpoints(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Enabled")
	subnet := path.Dir(w.vnet) + "/other/subnets/default"
	endpoints := func(services ...string) {
		t.Helper()
		list := []obj{}
		for _, s := range services {
			list = append(list, obj{"service": s})
		}
		w.put(subnet, vNetwork, obj{"properties": obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": true, "serviceEndpoints": list}})
	}
	acl := obj{"defaultAction": "Deny", "bypass": "None", "virtualNetworkRules": []obj{{"id": subnet}}}
	early := closedAccount()
	early["properties"].(obj)["networkAcls"] = acl
	if a := g.send(request{Method: "PUT", URL: w.account + "?api-version=" + vStorage, Body: jsonBody(early)}); a.Code != "NetworkAclsValidationFailure" ||
		!strings.Contains(a.Message, "SubnetsHaveNoServiceEndpointsConfigured:Subnets default of virtual network") {
		t.Errorf("a rule for a subnet without endpoint: %s", a)
	}
	early = obj{"location": location, "properties": obj{"tenantId": w.tenant, "sku": obj{"family": "A", "name": "standard"}, "accessPolicies": []any{}, "networkAcls": acl}}
	if a := g.send(request{Method: "PUT", URL: w.vault + "?api-version=" + vVault, Body: jsonBody(early)}); a.Code != "VirtualNetworkNotValid" ||
		!strings.Contains(a.Message, "Error Code: SubnetsHaveNoServiceEndpointsConfigured") {
		t.Errorf("a rule for a subnet without endpoint: %s", a)
	}
	endpoints("Microsoft.Storage", "Microsoft.KeyVault") // Azure lets a rule name a subnet that has them
	acls := obj{"defaultAction": "Deny", "bypass": "None", "virtualNetworkRules": []obj{{"id": subnet}}}
	account := closedAccount()
	account["properties"].(obj)["publicNetworkAccess"], account["properties"].(obj)["networkAcls"] = "Enabled", acls
	w.put(w.account, vStorage, account)
	w.put(w.vault, vVault, obj{"location": location, "properties": obj{
		"tenantId": w.tenant, "sku": obj{"family": "A", "name": "standard"}, "enableRbacAuthorization": true, "publicNetworkAccess": "Enabled",
		"accessPolicies": []any{}, "networkAcls": acls}})
	const blob, vault = "https://" + blobHost + "/data?restype=container&comp=list", "https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4"
	ask := func(place, url, refusal string) {
		t.Helper()
		a, err := w.sendFrom(place, "GET", url)
		if err != nil {
			t.Fatal(err)
		}
		if a.ok() != (refusal == "") || !strings.Contains(string(a.Body), refusal) {
			t.Errorf("%s from %s: %s, want %q", url, place, a, refusal)
		}
	}
	for _, c := range []struct {
		services    []string
		blob, vault string
	}{
		{nil, "AuthorizationFailure", "ForbiddenByFirewall"},
		{[]string{"Microsoft.Storage"}, "", "ForbiddenByFirewall"},
		{[]string{"Microsoft.Storage", "Microsoft.KeyVault"}, "", ""},
		{[]string{"Microsoft.KeyVault"}, "AuthorizationFailure", ""},
		{[]string{"Microsoft.Storage.Global"}, "", "ForbiddenByFirewall"},
	} {
		t.Run(fmt.Sprint(c.services), func(t *testing.T) {
			endpoints(c.services...)
			ask("other/default", blob, c.blob)
			ask("other/default", vault, c.vault)
			ask("internet", blob, "AuthorizationFailure")
		})
	}
	// No service answers at another's address, or what may reach the one would reach the other: neither by the
	// endpoint, where the rules of the vault name the subnet, nor by the internet.
	endpoints("Microsoft.Storage")
	for _, place := range []string{"other/default", "internet"} {
		for _, at := range []string{blobHost + ":443", "login.microsoftonline.com:443"} {
			a, err := w.sendFrom(place, "-token", "-", "-dial", at, "-sni", vaultName+".vault.azure.net", "GET", vault)
			if err != nil || a.Status != 421 || a.Code != "MisdirectedRequest" {
				t.Errorf("a vault at %s from %s: %s %v", at, place, a, err)
			}
		}
	}
	// A server that begins again finds its listeners in the network, and who calls.
	endpoints("Microsoft.Storage")
	g.kill()
	g.up()
	ask("other/default", blob, "")
	// Rules that are closed to all say which subnet they saw.
	acls["virtualNetworkRules"] = []obj{}
	w.put(w.account, vStorage, account)
	ask("other/default", blob, subnet)
}

// TestServiceEndpointPolicies: a subnet with a policy reaches the accounts that it names by its service endpoint,
// and no other, whatever these allow: nothing goes out to somebody else's account.
func TestServiceEndpointPolicies(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Enabled")
	policy := w.group + "/providers/Microsoft.Network/serviceEndpointPolicies/sep"
	subnet := path.Dir(w.vnet) + "/other/subnets/default"
	naming := func(resource string) {
		t.Helper()
		w.put(policy, vNetwork, obj{"location": location, "properties": obj{"serviceEndpointPolicyDefinitions": []obj{
			{"name": "d", "properties": obj{"service": "Microsoft.Storage", "serviceResources": []string{resource}}}}}})
	}
	naming(w.account)
	endpoint := obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": true, "serviceEndpoints": []obj{{"service": "Microsoft.Storage"}}}
	w.put(subnet, vNetwork, obj{"properties": endpoint})
	const blob = "https://" + blobHost + "/data?restype=container&comp=list"
	ask := func(refusal string) {
		t.Helper()
		a, err := w.sendFrom("other/default", "GET", blob)
		if err != nil {
			t.Fatal(err)
		}
		if a.ok() != (refusal == "") || !strings.Contains(string(a.Body), refusal) {
			t.Errorf("%s, want %q", a, refusal)
		}
	}
	ask("")
	endpoint["serviceEndpointPolicies"] = []obj{{"id": policy}}
	w.put(subnet, vNetwork, obj{"properties": endpoint})
	ask("")
	naming(w.account + "2")
	ask("no definition of the service endpoint policies")
	if out, err := g.output(g.command("explain", "--from", "other/default", "--to", blobHost+":443")); err == nil || !strings.Contains(out, policy) {
		t.Errorf("explain does not name the policy: %v\n%s", err, out)
	}
	naming(w.group)
	ask("")
	if a, err := w.sendFrom("internet", "GET", blob); err != nil || !a.ok() {
		t.Errorf("the internet has no policy: %s, %v", a, err)
	}
}
