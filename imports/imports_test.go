package imports_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"vauban.dev/imports"
)

func read(t *testing.T, text string) *imports.File {
	t.Helper()
	f, err := imports.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestForms(t *testing.T) {
	for text, form := range map[string]string{
		`{"$schema":"x","resources":[]} // a comment`: imports.Template,
		`{"template":{"$schema":"x"},"error":null}`:   imports.Template,
		`{"format_version":"1.0","values":{}}`:        imports.Terraform,
		`[]`:                                          imports.Graph,
		`{"count":0,"data":[]}`:                       imports.Graph,
	} {
		if f := read(t, text); f.Form != form {
			t.Errorf("%s: %s", text, f.Form)
		}
	}
	for _, text := range []string{``, `x`, `{}`, `3`, `{"format_version":"1.0"}`, `{"data":3}`, `[1]`} {
		if f, err := imports.Read([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, f)
		}
	}
}

// TestRows: what a platform says of resources is no part of what is written; what private endpoints make is theirs.
func TestRows(t *testing.T) {
	f := read(t, `{"data":[
		{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v","type":"microsoft.network/virtualnetworks","location":"westeurope","kind":"","tags":null,
		 "properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"virtualNetworkPeerings":[{"name":"p","properties":{"x":1}}]}},
		{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n","type":"microsoft.network/networkinterfaces","properties":{"privateEndpoint":{"id":"x"}}},
		{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Toys/a/b","type":"microsoft.toys/a","identity":{"type":"SystemAssigned","principalId":"secret"}},
		{"name":"nothing"}]}`)
	b, err := json.Marshal(f.Resources)
	want := `[{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v","type":"microsoft.network/virtualnetworks","from":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v","body":{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}},"known":true},` +
		`{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/virtualNetworkPeerings/p","type":"Microsoft.Network/virtualNetworks/virtualNetworkPeerings","from":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/virtualNetworkPeerings/p","body":{"properties":{"x":1}},"known":true},` +
		`{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Toys/a/b","type":"microsoft.toys/a","from":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Toys/a/b","body":{"identity":{"type":"SystemAssigned"}},"known":false}]`
	if err != nil || string(b) != want || len(f.Unmapped) != 1 {
		t.Errorf("%s\n%+v, %v", b, f.Unmapped, err)
	}
}

// TestTerraformPlan: ids that Terraform does not know before it applies follow from the configuration's references.
func TestTerraformPlan(t *testing.T) {
	data, err := os.ReadFile("testdata/plan.json")
	if err != nil {
		t.Fatal(err)
	}
	f := read(t, string(data))
	got := map[string]imports.Resource{}
	for _, r := range f.Resources {
		got[r.From] = r
	}
	const group = "/subscriptions/" + imports.Subscription + "/resourceGroups/rg"
	for from, want := range map[string]string{
		"azurerm_resource_group.main":          group,
		"module.net.azurerm_virtual_network.v": group + "/providers/Microsoft.Network/virtualNetworks/v",
		"module.net.azurerm_subnet.s[0]":       group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/s0",
		"azurerm_storage_account.st":           group + "/providers/Microsoft.Storage/storageAccounts/st1",
		"azurerm_private_endpoint.pe":          group + "/providers/Microsoft.Network/privateEndpoints/pe",
		"azapi_resource.ws":                    group + "/providers/Microsoft.MachineLearningServices/workspaces/mlw",
		"azapi_resource.compute":               group + "/providers/Microsoft.MachineLearningServices/workspaces/mlw/computes/c",
	} {
		if got[from].ID != want {
			t.Errorf("%s: %q", from, got[from].ID)
		}
	}
	body := func(from string) string { b, _ := json.Marshal(got[from].Body); return string(b) }
	if s := body("azurerm_private_endpoint.pe"); !strings.Contains(s, `"privateLinkServiceId":"`+group+`/providers/Microsoft.Storage/storageAccounts/st1"`) || !strings.Contains(s, `"groupIds":["blob"]`) {
		t.Error(s)
	}
	if s := body("module.net.azurerm_subnet.s[0]"); !strings.Contains(s, `"networkSecurityGroup":{"id":"`+group+`/providers/Microsoft.Network/networkSecurityGroups/n"}`) {
		t.Error(s)
	}
	if s := body("azurerm_storage_account.st"); !strings.Contains(s, `"sku":{"name":"Standard_LRS"}`) || !strings.Contains(s, `"defaultAction":"Deny"`) || !strings.Contains(s, `"publicNetworkAccess":"Disabled"`) {
		t.Error(s)
	}
	if s := body("azapi_resource.ws"); s != `{"identity":{"type":"SystemAssigned"},"location":"westeurope","properties":{"friendlyName":"x"}}` {
		t.Error(s)
	}
	if len(f.Unmapped) != 2 || f.Unmapped[0].From != "azurerm_kubernetes_cluster.k" || f.Unmapped[1].From != "azapi_update_resource.u" {
		t.Errorf("%+v", f.Unmapped)
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile("testdata/plan.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`[{"id":"/subscriptions/s","type":"x","properties":{"virtualNetworkPeerings":[1]}}]`))
	f.Add([]byte(`{"format_version":"1","values":{"root_module":{"resources":[{"address":"azurerm_subnet.a","mode":"managed","type":"azurerm_subnet","values":{"name":"n"}}]}},"configuration":{"root_module":{"resources":[{"address":"azurerm_subnet.a","expressions":{"virtual_network_name":{"references":["azurerm_subnet.a.id"]}}}]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := imports.Read(data)
		if err == nil && file == nil {
			t.Fatal("no file")
		}
	})
}
