package storage_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/firewall"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

func TestAccountShape(t *testing.T) {
	r := newRig(t)
	a := r.Request("PUT", account+api, `{"location":"West Europe","kind":"StorageV2","sku":{"name":"standard_lrs"},"tags":{"a":"b"},"properties":{
		"keys":["mine","mine"],"creationTime":"2001-01-01T00:00:00Z","primaryEndpoints":{"blob":"https://evil.example/"},"isHnsEnabled":false,"provisioningState":"Failed"}}`)
	if a.Status != 202 || a.Text != "" || a.Header.Get("Location") == "" {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	a = r.Request("GET", a.Header.Get("Location"), "")
	at := func(service string) string { return "https://acct." + service + ".core.windows.net/" }
	service := map[string]any{"enabled": true, "keyType": "Account", "lastEnabledTime": "2026-11-22T12:00:00Z"}
	want := map[string]any{
		"id": account, "name": "acct", "type": storage.AccountType, "location": "westeurope", "kind": "StorageV2",
		"sku": map[string]any{"name": "Standard_LRS", "tier": "Standard"}, "tags": map[string]any{"a": "b"}, "systemData": a.At("systemData"),
		"properties": map[string]any{
			"provisioningState": "Succeeded", "publicNetworkAccess": "Enabled", "allowBlobPublicAccess": false, "allowSharedKeyAccess": true,
			"minimumTlsVersion": "TLS1_0", "supportsHttpsTrafficOnly": true, "accessTier": "Hot", "isHnsEnabled": false,
			"networkAcls":  map[string]any{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}},
			"encryption":   map[string]any{"keySource": "Microsoft.Storage", "services": map[string]any{"blob": service, "file": service}},
			"creationTime": "2026-11-22T12:00:00Z", "primaryLocation": "westeurope", "statusOfPrimary": "available",
			"primaryEndpoints": map[string]any{"blob": at("blob"), "dfs": at("dfs"), "file": at("file"), "queue": at("queue"), "table": at("table"), "web": at("z6.web")},
			"keyCreationTime":  map[string]any{"key1": "2026-11-22T12:00:00Z", "key2": "2026-11-22T12:00:00Z"},
		},
	}
	got := r.Request("GET", account+api, "")
	if d := cmp.Diff(want, got.Body); d != "" {
		t.Errorf("GET (-want +got):\n%s", d)
	}
	if d := cmp.Diff(got.Body, a.Body); d != "" {
		t.Errorf("PUT answers otherwise than GET:\n%s", d)
	}
}

func TestAccountDefaults(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		version, kind string
		property      string
		want          any
	}{
		{"2018-11-01", "StorageV2", "supportsHttpsTrafficOnly", false},
		{"2019-04-01", "StorageV2", "supportsHttpsTrafficOnly", true},
		{"2019-04-01", "StorageV2", "accessTier", "Hot"},
		{"2019-04-01", "Storage", "accessTier", nil},
	} {
		r.Must("PUT", account+"?api-version="+c.version, `{"location":"westeurope","kind":"`+c.kind+`","sku":{"name":"Standard_LRS"}}`)
		if got := r.Request("GET", account+api, "").At("properties", c.property); got != c.want {
			t.Errorf("%s of %s by %s: %v, want %v", c.property, c.kind, c.version, got, c.want)
		}
		r.Must("DELETE", account+api, "")
	}
}

// TestKeys: keys are in no answer but those of listKeys and regenerateKey, and a new one ends the old at once.
func TestKeys(t *testing.T) {
	r := newRig(t)
	created := r.Request("GET", r.Must("PUT", account+api, plain).Header.Get("Location"), "")
	first := keys(t, r.Request("POST", account+"/listKeys"+api, ""))
	for _, k := range first {
		if b, err := base64.StdEncoding.DecodeString(k); err != nil || len(b) != 64 {
			t.Errorf("a key of %d bytes, %v", len(b), err)
		}
	}
	if first[0] == first[1] {
		t.Error("both keys are the same")
	}
	second := keys(t, r.Request("POST", account+"/regenerateKey"+api, `{"keyName":"key1"}`))
	if second[0] == first[0] || second[1] != first[1] {
		t.Errorf("after key1: %v, before: %v", second, first)
	}
	third := keys(t, r.Request("POST", account+"/regenerateKey"+api, `{"keyName":"key2"}`))
	if third[0] != second[0] || third[1] == second[1] {
		t.Errorf("after key2: %v, before: %v", third, second)
	}
	r.refused(400, "InvalidValuesForRequestParameters", "'kerb1'", "POST", account+"/regenerateKey"+api, `{"keyName":"kerb1"}`)
	r.refused(400, "InvalidRequestContent", "keyName", "POST", account+"/regenerateKey"+api, ``)
	// What the data plane accepts is what the store holds.
	r.update(func(tx *rp.Tx) error {
		a, err := storage.ByName(tx, "ACCT")
		if err == nil && !slices.Equal(a.Properties.Keys, third[:]) {
			t.Errorf("the data plane has %v, not %v", a.Properties.Keys, third)
		}
		return err
	})
	updated := r.Must("PUT", account+api, plain)
	patched := r.Must("PATCH", account+api, `{"properties":{"keys":["x","y"],"minimumTlsVersion":"TLS1_2"}}`)
	if now := keys(t, r.Request("POST", account+"/listKeys"+api, "")); now != third {
		t.Errorf("writes changed the keys: %v, before: %v", now, third)
	}
	listed := r.Request("GET", group+"/providers/Microsoft.Storage/storageAccounts"+api, "")
	all := r.Request("GET", sub+"/resources?api-version=2024-11-01", "")
	for _, text := range []string{created.Text, updated.Text, patched.Text, listed.Text, all.Text, r.Request("GET", account+api, "").Text} {
		for _, k := range slices.Concat(first[:], second[:], third[:]) {
			if strings.Contains(text, k) {
				t.Errorf("a key is shown: %s", text)
			}
		}
		if !strings.Contains(text, `"acct"`) {
			t.Errorf("not an account: %s", text)
		}
	}
}

func TestAccountRefusals(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	body := func(kind, sku, properties string) string {
		return fmt.Sprintf(`{"location":"westeurope","kind":%q,"sku":{"name":%q},"properties":{%s}}`, kind, sku, properties)
	}
	const bad = "InvalidValuesForRequestParameters"
	vnet := group + "/providers/Microsoft.Network/virtualNetworks/v"
	for _, c := range []struct {
		name, body string
		code, says string
	}{
		{"Acct", plain, "AccountNameInvalid", "numbers and lower-case letters only"},
		{"ab", plain, "AccountNameInvalid", "between 3 and 24"},
		{"a-b", plain, "AccountNameInvalid", "numbers and lower-case letters only"},
		{strings.Repeat("a", 25), plain, "AccountNameInvalid", "between 3 and 24"},
		{"new", `{"kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, "LocationRequired", "location"},
		{"new", `{"location":"moon","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, "LocationNotAvailableForResourceType", "moon"},
		{"new", `{"location":"westeurope","kind":"StorageV2"}`, bad, "sku"},
		{"new", body("StorageV2", "Golden_LRS", ""), bad, "sku.name 'Golden_LRS'"},
		{"new", body("StorageV3", "Standard_LRS", ""), bad, "kind 'StorageV3'"},
		{"new", body("StorageV2", "Standard_LRS", `"publicNetworkAccess":"Sometimes"`), bad, "publicNetworkAccess 'Sometimes'"},
		{"new", body("StorageV2", "Standard_LRS", `"minimumTlsVersion":"SSL3"`), bad, "minimumTlsVersion 'SSL3'"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{}`), bad, "defaultAction"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Maybe"}`), bad, "defaultAction 'Maybe'"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","bypass":"AzureServices, Friends"}`), bad, "bypass 'Friends'"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"20.1.1.1"},{"value":"home"}]}`), bad, "ipRules[1].value 'home'"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"}]}`), bad, "public IPv4"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"192.168.1.1"}]}`), bad, "public IPv4"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"2001:db8::1"}]}`), bad, "public IPv4"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"20.1.1.0/31"}]}`), bad, "/31"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[{"id":"`+vnet+`"}]}`), bad, "virtualNetworkRules[0].id"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","resourceAccessRules":[{"tenantId":"x","resourceId":"`+vnet+`"}]}`), bad, "resourceAccessRules[0].tenantId 'x'"},
		{"new", body("StorageV2", "Standard_LRS", `"networkAcls":{"defaultAction":"Deny","resourceAccessRules":[{"tenantId":"x","resourceId":"`+group+`"}]}`), bad, "resourceAccessRules[0].resourceId"},
		{"new", body("StorageV2", "Standard_LRS", `"allowBlobPublicAccess":"yes"`), "InvalidRequestContent", "properties.allowBlobPublicAccess"},
		{"acct", body("BlobStorage", "Standard_LRS", ""), "AccountPropertyCannotBeUpdated", "'kind'"},
	} {
		r.refused(400, c.code, c.says, "PUT", group+"/providers/Microsoft.Storage/storageAccounts/"+c.name+api, c.body)
	}
	for says, properties := range map[string]string{
		"keyname and keyvaulturi are required": `{"keySource":"Microsoft.Keyvault"}`, "keySource 'mine'": `{"keySource":"mine"}`,
		"keyvaulturi 'https://elsewhere.example'": `{"keySource":"Microsoft.KeyVault","keyvaultproperties":{"keyname":"k","keyvaulturi":"https://elsewhere.example"}}`,
	} {
		r.refused(400, "InvalidValuesForRequestParameters", says, "PUT", account+api, body("StorageV2", "Standard_LRS", `"encryption":`+properties))
	}
	r.refused(501, "NotImplemented", "immutable storage", "PUT", account+api, body("StorageV2", "Standard_LRS", `"immutableStorageWithVersioning":{"enabled":true}`))
	r.refused(501, "NotImplemented", "dnsEndpointType 'AzureDnsZone'", "PUT", account+api, body("StorageV2", "Standard_LRS", `"dnsEndpointType":"AzureDnsZone"`))
	r.refused(404, "ResourceGroupNotFound", "none", "PUT", strings.Replace(account, "/rg/", "/none/", 1)+api, plain)
	r.refused(404, "ResourceNotFound", "none", "PATCH", account[:len(account)-4]+"none"+api, `{"tags":{}}`)
}

func TestKindUpgrade(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, strings.Replace(plain, "StorageV2", "Storage", 1))
	if k := r.Must("PATCH", account+api, `{"kind":"StorageV2","properties":{"accessTier":"Cool"}}`).String("kind"); k != "StorageV2" {
		t.Errorf("kind %s", k)
	}
	r.refused(400, "AccountPropertyCannotBeUpdated", "from StorageV2 to Storage", "PATCH", account+api, `{"kind":"Storage"}`)
}

// TestInfrastructureEncryption is chosen when an account is made, and stays.
func TestInfrastructureEncryption(t *testing.T) {
	r := newRig(t)
	with := func(value string) string {
		return `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{"encryption":{"requireInfrastructureEncryption":` + value + `}}}`
	}
	r.Must("PUT", account+api, with("true"))
	on := func(when string) {
		t.Helper()
		if got := r.Must("GET", account+api, "").At("properties", "encryption", "requireInfrastructureEncryption"); got != true {
			t.Errorf("%s: %v", when, got)
		}
	}
	on("made")
	r.refused(400, "AccountPropertyCannotBeUpdated", "requireInfrastructureEncryption", "PUT", account+api, with("false"))
	r.refused(400, "AccountPropertyCannotBeUpdated", "requireInfrastructureEncryption", "PATCH", account+api, `{"properties":{"encryption":{"requireInfrastructureEncryption":false}}}`)
	r.Must("PUT", account+api, plain)
	on("by a PUT that does not say")
	other := strings.TrimSuffix(account, "acct") + "other"
	r.Must("PUT", other+api, plain)
	r.refused(400, "AccountPropertyCannotBeUpdated", "requireInfrastructureEncryption", "PUT", other+api, with("true"))
}

func TestPatch(t *testing.T) {
	r := newRig(t)
	subnet := group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	r.Must("PUT", account+api, `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"tags":{"a":"1"},"properties":{"isHnsEnabled":true,"allowSharedKeyAccess":false}}`)
	r.Must("PATCH", account+api, `{"properties":{"publicNetworkAccess":"Disabled","networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"20.1.1.1"}],"virtualNetworkRules":[{"id":"`+subnet+`"}]}}}`)
	got := r.Request("GET", account+api, "")
	want := map[string]any{
		"bypass": "AzureServices", "defaultAction": "Deny", "ipRules": []any{map[string]any{"value": "20.1.1.1", "action": "Allow"}},
		"virtualNetworkRules": []any{map[string]any{"id": subnet, "action": "Allow", "state": "Succeeded"}},
	}
	if d := cmp.Diff(want, got.At("properties", "networkAcls")); d != "" {
		t.Errorf("networkAcls:\n%s", d)
	}
	if got.At("properties", "isHnsEnabled") != true || got.At("properties", "allowSharedKeyAccess") != false || got.String("tags", "a") != "1" || got.String("sku", "name") != "Standard_LRS" {
		t.Errorf("PATCH lost what it does not name: %s", got.Text)
	}
}

func TestFirewall(t *testing.T) {
	no, yes := false, true
	subnet := group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	r := &rp.Resource[storage.Account]{ID: arm.MustParseID(account), Properties: storage.Account{
		PublicNetworkAccess: "Enabled", AllowBlobPublic: &no, AllowSharedKey: &yes,
		NetworkACLs: &storage.NetworkACLs{
			Bypass: "None", DefaultAction: "Deny", IPRules: []storage.IPRule{{Value: "20.1.1.1"}, {Value: "20.2.3.4/16"}}, VNetRules: []storage.VNetRule{{ID: subnet}},
			ResourceRules: []storage.ResourceRule{{TenantID: "t", ResourceID: "r"}},
		},
	}}
	want := firewall.Rules{
		ResourceID: account, GroupIDs: []string{"blob"}, PublicNetworkAccess: "Enabled", DefaultAction: "Deny", Bypass: "None", SubnetRules: []string{subnet},
		IPRules:           []netip.Prefix{netip.MustParsePrefix("20.1.1.1/32"), netip.MustParsePrefix("20.2.0.0/16")},
		ResourceInstances: []firewall.ResourceInstance{{TenantID: "t", ResourceID: "r"}},
	}
	if d := cmp.Diff(want, storage.Firewall(r, "blob"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestNames(t *testing.T) {
	r := newRig(t)
	check := func(name string) string {
		t.Helper()
		a := r.Request("POST", sub+"/providers/Microsoft.Storage/checkNameAvailability"+api, `{"name":"`+name+`","type":"Microsoft.Storage/storageAccounts"}`)
		return fmt.Sprint(a.At("nameAvailable"), " ", a.String("reason"))
	}
	elsewhere := strings.Replace(account, group, other, 1)
	if got := check("acct"); got != "true " {
		t.Error(got)
	}
	r.Must("PUT", account+api, plain)
	for name, want := range map[string]string{"acct": "false AlreadyExists", "Acct": "false AccountNameInvalid", "a": "false AccountNameInvalid", "acct2": "true "} {
		if got := check(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	r.refused(400, "InvalidRequestContent", "name", "POST", sub+"/providers/Microsoft.Storage/checkNameAvailability"+api, `{}`)
	r.refused(409, "StorageAccountAlreadyTaken", "The storage account named acct is already taken.", "PUT", elsewhere+api, plain)
	r.Must("PUT", account+api, plain) // its owner may write it

	// The name is free when the data are gone, and not before.
	answer := r.deleting(t.Context())
	r.refused(409, "StorageAccountAlreadyTaken", "acct", "PUT", elsewhere+api, plain)
	r.refused(409, "AnotherOperationInProgress", "being deleted", "PUT", account+api, plain)
	r.refused(409, "AnotherOperationInProgress", "being deleted", "PUT", account+"/blobServices/default/containers/c"+api, `{}`)
	r.update(func(tx *rp.Tx) error {
		if a, err := storage.ByName(tx, "acct"); err != store.ErrNotFound {
			t.Errorf("the data plane still finds %v, %v", a, err)
		}
		return nil
	})
	close(r.drop)
	if status := answer(); status != 200 {
		t.Fatalf("DELETE: %d", status)
	}
	if got := r.drops(); !slices.Equal(got, []string{"acct of " + account}) {
		t.Errorf("dropped: %v", got)
	}
	r.Must("PUT", elsewhere+api, plain)
	r.update(func(tx *rp.Tx) error {
		a, err := storage.ByName(tx, "Acct")
		if err == nil && a.ID.String() != elsewhere {
			t.Errorf("by name: %s", a.ID)
		}
		return err
	})
}

// TestTwoWriters: of two accounts of a name at once, one is made.
func TestTwoWriters(t *testing.T) {
	r := newRig(t)
	for i := range 10 {
		r.Must("PUT", fmt.Sprintf("%s/resourceGroups/g%d?api-version=2024-11-01", sub, i), `{"location":"westeurope"}`)
	}
	var wg sync.WaitGroup
	status := make([]int, 10)
	for i := range status {
		wg.Go(func() {
			status[i] = r.Request("PUT", fmt.Sprintf("%s/resourceGroups/g%d/providers/Microsoft.Storage/storageAccounts/acct%s", sub, i, api), plain).Status
		})
	}
	wg.Wait()
	slices.Sort(status)
	if !slices.Equal(status, []int{202, 409, 409, 409, 409, 409, 409, 409, 409, 409}) {
		t.Error(status)
	}
}

func TestPrivateLinkResources(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	a := r.Request("GET", account+"/privateLinkResources"+api, "")
	list, _ := a.At("value").([]any)
	if len(list) != 5 {
		t.Fatal(a.Text)
	}
	want := map[string]any{
		"id": account + "/privateLinkResources/blob", "name": "blob", "type": storage.AccountType + "/privateLinkResources",
		"properties": map[string]any{"groupId": "blob", "requiredMembers": []any{"blob"}, "requiredZoneNames": []any{"privatelink.blob.core.windows.net"}},
	}
	if d := cmp.Diff(want, list[0]); d != "" {
		t.Error(d)
	}
	r.refused(404, "ResourceNotFound", "none", "GET", account[:len(account)-4]+"none/privateLinkResources"+api, "")
}

// TestCrashWhileDropping: a region that ends in the middle of a deletion goes on with it.
func TestCrashWhileDropping(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	ctx, hangUp := context.WithCancel(t.Context())
	answer := r.deleting(ctx)
	hangUp()
	answer()
	r.Stop()
	r.drop = nil
	r.Start()
	again := r.Request("DELETE", account+api, "") // joins what is under way, or comes too late
	r.Wait(again)
	if a := r.Request("GET", account+api, ""); a.Status != 404 {
		t.Errorf("GET: %d %s", a.Status, a.Text)
	}
	if got := r.drops(); !slices.Equal(got, []string{"acct of " + account}) {
		t.Errorf("dropped: %v", got)
	}
}

// TestListSAS: what a request asks for is what is signed, and what cannot be meant is refused.
func TestListSAS(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	service := `{"canonicalizedResource":"/blob/acct/con/a/b","signedResource":"b","signedPermission":"r","signedExpiry":"2030-01-01T00:00:00Z","keyToSign":"key2"}`
	if got := r.Must("POST", account+"/ListServiceSas"+api, service).String("serviceSasToken"); got != "acct/con/a/b?se=2030-01-01T00%3A00%3A00Z&sp=r&sr=b" {
		t.Errorf("a service's signature: %s", got)
	}
	all := `{"signedServices":"b","signedResourceTypes":"sco","signedPermission":"rl","signedExpiry":"2030-01-01T00:00:00Z"}`
	if got := r.Must("POST", account+"/ListAccountSas"+api, all).String("accountSasToken"); got != "acct//?se=2030-01-01T00%3A00%3A00Z&sp=rl&srt=sco&ss=b" {
		t.Errorf("an account's signature: %s", got)
	}
	const bad = "InvalidValuesForRequestParameters"
	r.refused(400, bad, "keyToSign", "POST", account+"/ListServiceSas"+api, strings.Replace(service, "key2", "key3", 1))
	r.refused(400, bad, "canonicalizedResource", "POST", account+"/ListServiceSas"+api, strings.Replace(service, "/acct/", "/other/", 1))
	r.refused(400, bad, "signedResource", "POST", account+"/ListServiceSas"+api, strings.Replace(service, `"b"`, `"s"`, 1))
	r.refused(400, bad, "signedExpiry", "POST", account+"/ListServiceSas"+api, strings.Replace(service, "signedExpiry", "x", 1))
	r.refused(400, bad, "signedServices", "POST", account+"/ListAccountSas"+api, strings.Replace(all, "signedServices", "x", 1))
	r.refused(501, "NotImplemented", "queue", "POST", account+"/ListServiceSas"+api, strings.Replace(service, "/blob/", "/queue/", 1))
}
