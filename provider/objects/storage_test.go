package objects_test

import (
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/objects"
	"vauban.dev/provider/storage"
)

// TestStorageChildren: what an account's services hold, and its policies.
func TestStorageChildren(t *testing.T) {
	account, v := group+"/providers/Microsoft.Storage/storageAccounts/acct", "?api-version=2024-01-01"
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(objects.New().Types(),
		rp.Of(rp.Type[struct{}]{Name: storage.AccountType, Versions: rp.Versions[struct{}]("2024-01-01")}),
		rp.Of(rp.Type[struct{}]{Name: storage.AccountType + "/fileServices", Kind: rp.Proxy, Versions: rp.Versions[struct{}]("2024-01-01")}))...)
	r.Must("PUT", account+v, `{"location":"westeurope"}`)

	rule := `{"properties":{"policy":{"rules":[{"name":"r","type":"Lifecycle","definition":{}}]}}}`
	r.Must("PUT", account+"/managementPolicies/default"+v, rule)
	refused(t, r.Request("PUT", account+"/managementPolicies/other"+v, rule), 400, "InvalidValuesForRequestParameters", "'default'")
	refused(t, r.Request("PUT", account+"/managementPolicies/default"+v, strings.Replace(rule, "Lifecycle", "Other", 1)), 400, "InvalidValuesForRequestParameters", "Lifecycle")
	refused(t, r.Request("PUT", account+"/inventoryPolicies/default"+v, `{"properties":{"policy":5}}`), 400, "InvalidValuesForRequestParameters", "rules")

	r.Must("PUT", account+"/encryptionScopes/scope1"+v, `{}`)
	refused(t, r.Request("PUT", account+"/encryptionScopes/scope1"+v, `{"properties":{"state":"Disabled"}}`), 501, "NotImplemented", "readable")
	refused(t, r.Request("PUT", account+"/encryptionScopes/scope1"+v, `{"properties":{"source":"Microsoft.KeyVault"}}`), 501, "NotImplemented", "customer-managed")

	replication := `{"properties":{"sourceAccount":"a","destinationAccount":"b","rules":[{"sourceContainer":"x","destinationContainer":"y"}]}}`
	p := r.Must("PUT", account+"/objectReplicationPolicies/default"+v, replication)
	if again := r.Must("PUT", account+"/objectReplicationPolicies/default"+v, replication); p.String("properties", "policyId") == "" || again.String("properties", "policyId") != p.String("properties", "policyId") {
		t.Errorf("replication: %s then %s", p.Text, again.Text)
	}
	refused(t, r.Request("PUT", account+"/objectReplicationPolicies/x"+v, replication), 400, "InvalidValuesForRequestParameters", "GUID")
}

// TestLocalUsers: ids count up, the key is shown by listKeys alone, a password once.
func TestLocalUsers(t *testing.T) {
	account, v := group+"/providers/Microsoft.Storage/storageAccounts/acct", "?api-version=2024-01-01"
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(objects.New().Types(),
		rp.Of(rp.Type[struct{}]{Name: storage.AccountType, Versions: rp.Versions[struct{}]("2024-01-01")}))...)
	r.Must("PUT", account+v, `{"location":"westeurope"}`)
	r.Must("PUT", account+"/localUsers/user1"+v, `{"properties":{"sshAuthorizedKeys":[{"key":"ssh-rsa x"}]}}`)
	b := r.Must("PUT", account+"/localUsers/user2"+v, `{"properties":{}}`)
	if b.At("properties", "userId") != 1001.0 || !strings.HasSuffix(b.String("properties", "sid"), "-1001") || b.At("properties", "hasSshKey") != false {
		t.Errorf("a second user: %s", b.Text)
	}
	key := r.Must("POST", account+"/localUsers/user1/listKeys"+v, "").String("sharedKey")
	if a := r.Must("GET", account+"/localUsers/user1"+v, ""); len(key) != 88 || strings.Contains(a.Text, key) {
		t.Errorf("the key is shown: %s", a.Text)
	}
	password := r.Must("POST", account+"/localUsers/user1/regeneratePassword"+v, "").String("sshPassword")
	if a := r.Must("GET", account+"/localUsers/user1"+v, ""); password == "" || strings.Contains(a.Text, password) || a.At("properties", "hasSshPassword") != true {
		t.Errorf("after a password: %s", a.Text)
	}
	refused(t, r.Request("PUT", account+"/localUsers/user3"+v, `{"properties":{"permissionScopes":[{"service":"blob","resourceName":"c"}]}}`), 400, "InvalidValuesForRequestParameters", "permissions")
	refused(t, r.Request("PUT", account+"/localUsers/U"+v, `{}`), 400, "InvalidResourceName", "lower-case")
}
