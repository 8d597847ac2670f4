package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompare(t *testing.T) {
	type o = map[string]any
	for name, c := range map[string]struct {
		azure, ours, sent any
		want              []string
	}{
		"the same":             {o{"a": "x"}, o{"a": "y", "more": 1.0}, nil, nil},
		"a key is missing":     {o{"p": o{"a": "x"}}, o{"p": o{}}, nil, []string{"p.a is missing"}},
		"null may be left out": {o{"a": nil}, o{}, nil, nil},
		"another kind":         {o{"a": "1"}, o{"a": 1.0}, nil, []string{"a is a number, Azure's is a string"}},
		"a value is lost":      {o{"a": "x"}, o{"a": "y"}, o{"a": "x"}, []string{"a is y, the request had x"}},
		"Azure changes it too": {o{"a": "z"}, o{"a": "y"}, o{"a": "x"}, nil},
		"spelling":             {o{"state": "Succeeded"}, o{"state": "succeeded"}, nil, []string{"state is succeeded, Azure spells it Succeeded"}},
		"ids may be spelled":   {o{"id": "/A/b"}, o{"id": "/a/b"}, nil, nil},
		"error codes":          {o{"error": o{"code": "A", "message": "x"}}, o{"error": o{"code": "B", "message": "y"}}, nil, []string{"error.code is B, Azure's is A"}},
		"by name":              {o{"l": []any{o{"name": "b", "k": "x"}}}, o{"l": []any{o{"name": "a"}, o{"name": "b", "k": "y"}}}, nil, nil},
		"by name and type":     {o{"l": []any{o{"name": "@", "type": "N/SOA", "k": "x"}}}, o{"l": []any{o{"name": "@", "type": "N/NS"}, o{"name": "@", "type": "n/soa", "k": "y"}}}, nil, nil},
		"too few":              {o{"l": []any{"a", "b"}}, o{"l": []any{"a"}}, nil, []string{"l has 1 elements, Azure's 2"}},
		"an empty list":        {o{"value": []any{o{"a": "x"}}}, o{"value": []any{}}, nil, []string{"value has 0 elements, Azure's 1"}},
		"no body":              {o{"a": "x"}, nil, nil, []string{"the body is null, Azure's is an object"}},
	} {
		if diff := cmp.Diff(c.want, Compare(c.azure, c.ours, c.sent)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestScope(t *testing.T) {
	for name, want := range map[string]bool{
		"Microsoft.Network/virtualNetworks":                          true,
		"microsoft.network/VIRTUALNETWORKS/subnets":                  true,
		"Microsoft.Network/virtualNetworksX":                         false,
		"Microsoft.Network/virtualHubs":                              false,
		"Microsoft.Network/networkWatchers/flowLogs":                 true,
		"Microsoft.Network/networkWatchers/connectionMonitors/start": false,
		"Resource Manager subscriptions/resourcegroups":              true,
		"": false,
	} {
		if got := InScope(name); got != want {
			t.Errorf("%q in scope: %v", name, got)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.jsonl")
	text := `{"src":"t","n":2,"method":"DELETE","uri":"https://management.azure.com/subscriptions/0/resourceGroups/g?api-version=1","status":202,"headers":{"Location":"x"},"poll":false}
{"src":"t","n":1,"method":"PUT","uri":"https://management.azure.com/subscriptions/0/resourceGroups/g?api-version=1","request":"b'b\\'{\"location\": \"westus\"}\\''","status":201,"response":{"a":1}}
{"src":"t","n":3,"method":"GET","uri":"https://management.azure.com/x","poll":true}
{"ID":"e.json","Method":"GET","Path":"/subscriptions/s/resourceGroups/g/providers/Microsoft.A/bs/b/cs","Query":"api-version=2","Response":{"value":[]}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cases, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		got = append(got, c.Method+" "+c.Type())
	}
	if diff := cmp.Diff([]string{"GET Microsoft.A/bs/cs", "PUT Resource Manager subscriptions/resourceGroups", "DELETE Resource Manager subscriptions/resourceGroups"}, got); diff != "" {
		t.Errorf("cases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"location": "westus"}, cases[1].Request); diff != "" {
		t.Errorf("a body in a body (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "x.jsonl: line 1") {
		t.Errorf("a broken file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("an empty folder has cases")
	}
}

// TestNamesOfItsOwn: what stands for a case's place in Azure is this region's, in paths, ids and bodies alike.
func TestNamesOfItsOwn(t *testing.T) {
	w := &world{subscription: "SUB", tenant: "TEN", location: "westeurope", suffix: "c7", names: map[string]string{}}
	id := "/subscriptions/abc/resourceGroups/rg1/providers/Microsoft.Storage/storageAccounts/testAccount-One"
	w.rename(id)
	got := w.own(map[string]any{"id": id, "location": "eastus", "zone": map[string]any{"location": "global"}, "tenantId": "0", "name": "testAccount-One", "group": "rg1"})
	want := map[string]any{
		"id":       "/subscriptions/SUB/resourceGroups/rg1-c7/providers/Microsoft.Storage/storageAccounts/testaccountonec7",
		"location": "westeurope", "zone": map[string]any{"location": "global"}, "tenantId": "TEN", "name": "testaccountonec7", "group": "rg1-c7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
