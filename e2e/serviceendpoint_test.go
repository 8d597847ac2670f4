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
	// Rules that are closed to all say which subnet they saw.
	acls["virtualNetworkRules"] = []obj{}
	w.put(w.account, vStorage, account)
	ask("other/default", blob, subnet)
}
