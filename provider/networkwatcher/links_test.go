package networkwatcher_test

import (
	"strings"
	"testing"

	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
)

// TestTargetsMustBeReadable: who may use the watcher asks about nothing that they may not read.
func TestTargetsMustBeReadable(t *testing.T) {
	r := newRig(t)
	account := group + "/providers/Microsoft.Storage/storageAccounts/logs"
	neighbour := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-3333-3333-3333-333333333333", Name: "neighbour"}
	for _, action := range []string{"Microsoft.Network/networkInterfaces/read", "Microsoft.Network/networkInterfaces/write", "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/read", "Microsoft.Resources/subscriptions/resourceGroups/read"} {
		r.Deny(neighbour, action, "no")
	}
	for what, c := range map[string]struct{ method, path, body, action string }{
		"next hop":           {"POST", "/nextHop", `{"targetResourceId":"` + nic + `","sourceIPAddress":"10.0.1.4","destinationIPAddress":"1.1.1.1"}`, "networkInterfaces/read"},
		"flow":               {"POST", "/ipFlowVerify", `{"targetResourceId":"` + nic + `"}`, "networkInterfaces/read"},
		"connectivity":       {"POST", "/connectivityCheck", `{"source":{"resourceId":"` + nic + `"},"destination":{"address":"1.1.1.1"}}`, "networkInterfaces/read"},
		"its destination":    {"POST", "/connectivityCheck", `{"source":{},"destination":{"resourceId":"` + nic + `"}}`, "networkInterfaces/read"},
		"a network's plan":   {"POST", "/topology", `{"targetVirtualNetwork":{"id":"` + vnet + `"}}`, "virtualNetworks/read"},
		"a subnet's plan":    {"POST", "/topology", `{"targetSubnet":{"id":"` + vnet + `/subnets/a"}}`, "subnets/read"},
		"a group's plan":     {"POST", "/topology", `{"targetResourceGroupName":"rg"}`, "resourceGroups/read"},
		"a log of a network": {"PUT", "/flowLogs/l", `{"location":"westeurope","properties":{"targetResourceId":"` + vnet + `","storageId":"` + account + `","enabled":true}}`, "virtualNetworks/read"},
		"a capture":          {"PUT", "/packetCaptures/c", `{"properties":{"target":"` + nic + `","storageLocation":{"storageId":"` + account + `"}}}`, "networkInterfaces/write"},
	} {
		a := r.As(neighbour, c.method, auto+c.path+v, c.body)
		if a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" || !strings.Contains(a.Text, c.action) {
			t.Errorf("%s: %d %s", what, a.Status, a.Text)
		}
	}
}
