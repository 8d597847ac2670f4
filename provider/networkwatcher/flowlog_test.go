package networkwatcher_test

import (
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/networkwatcher"
)

func TestFlowLogType(t *testing.T) {
	r := newRig(t)
	account := group + "/providers/Microsoft.Storage/storageAccounts/logs"
	far := group + "/providers/Microsoft.Storage/storageAccounts/far"
	r.Wait(r.Must("PUT", account+"?api-version=2023-01-01", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`))
	r.Wait(r.Must("PUT", far+"?api-version=2023-01-01", `{"location":"northeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`))
	body := func(target, storage, more string) string {
		return `{"location":"westeurope","properties":{"targetResourceId":"` + target + `","storageId":"` + storage + `"` + more + `}}`
	}
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"a security group", body(nsg, account, ""), 400, "NsgFlowLogCreationBlocked"},
		{"another type", body(account, account, ""), 400, "InvalidRequestFormat"},
		{"no id", body("x", account, ""), 400, "InvalidResourceID"},
		{"no such network", body(vnet+"x", account, ""), 404, "ResourceNotFound"},
		{"no such subnet", body(vnet+"/subnets/x", account, ""), 404, "ResourceNotFound"},
		{"no account", body(vnet, vnet, ""), 400, "InvalidRequestFormat"},
		{"no such account", body(vnet, account+"x", ""), 404, "ResourceNotFound"},
		{"another region's account", body(vnet, far, ""), 400, "InvalidStorageAccount"},
		{"no filter", body(vnet, account, `,"enabledFilteringCriteria":"srcIP"`), 400, "InvalidRequestFormat"},
		{"no record type", body(vnet, account, `,"recordTypes":"B,X"`), 400, "InvalidRequestFormat"},
		{"too long a life", body(vnet, account, `,"retentionPolicy":{"enabled":true,"days":366}`), 400, "InvalidRequestFormat"},
		{"another format", body(vnet, account, `,"format":{"type":"CSV","version":2}`), 400, "InvalidRequestFormat"},
	} {
		if a := r.Request("PUT", auto+"/flowLogs/l"+v, c.body); a.Status != c.status || a.Code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.Status, a.Text, c.status, c.code)
		}
	}
	stranger := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-3333-3333-3333-333333333333", Name: "stranger"}
	r.Deny(stranger, "Microsoft.Storage/storageAccounts/listKeys/action", "no")
	if a := r.As(stranger, "PUT", auto+"/flowLogs/l"+v, body(vnet, account, "")); a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" {
		t.Errorf("an account whose keys the caller may not read: %d %s", a.Status, a.Text)
	}
	r.put(auto+"/flowLogs/l", body(vnet, account, `,"enabled":true,"enabledFilteringCriteria":"srcIP=10.0.0.4 || dstPort=443","recordTypes":"B,E","retentionPolicy":{"enabled":true,"days":7}`))
	a := r.Request("GET", vnet+v, "")
	guid := a.String("properties", "resourceGuid")
	a = r.Request("GET", auto+"/flowLogs/l"+v, "")
	if a.String("properties", "targetResourceGuid") != guid || guid == "" || a.At("properties", "enabled") != true || a.String("properties", "format", "type") != "JSON" || a.String("location") != "westeurope" ||
		a.String("properties", "enabledFilteringCriteria") != "srcIP=10.0.0.4 || dstPort=443" || a.String("properties", "recordTypes") != "B,E" {
		t.Errorf("%s", a.Text)
	}
	if a := r.Request("PUT", auto+"/flowLogs/second"+v, body(vnet, account, "")); a.Status != 409 {
		t.Errorf("a second one of a network: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PUT", auto+"/flowLogs/l"+v, body(vnet+"/subnets/a", account, "")); a.Status != 400 || a.Code() != "PropertyChangeNotAllowed" {
		t.Errorf("another target: %d %s", a.Status, a.Text)
	}
	r.put(auto+"/flowLogs/nic", body(nic, account, ""))
	if err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		on, err := networkwatcher.FlowLogs(tx)
		if len(on) != 1 || on[0].Target != vnet || on[0].Days != 7 || on[0].Filter == nil || on[0].GUID == "" || on[0].GUID == guid {
			t.Errorf("%+v", on)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
