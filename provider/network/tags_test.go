package network_test

import (
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric/servicetags"
	"vauban.dev/provider/network"
)

// The list is one of its own for each answer and each topology, while it is replaced.
func TestServiceTagList(t *testing.T) {
	first, err := servicetags.Load()
	if err != nil {
		t.Fatal(err)
	}
	live := servicetags.NewLive(first)
	r := newRigWith(t, live)
	path := group[:len("/subscriptions/")+36] + "/providers/Microsoft.Network/locations/westeurope/"
	v := r.get(path + "serviceTags")
	r.want(v, "type", "Microsoft.Network/serviceTags")
	r.want(v, "changeNumber", "72")
	r.want(v, "values.0.name", "ActionGroup")
	r.want(v, "values.0.properties.networkFeatures.1", "NSG")
	r.want(v, "values.0.properties.addressPrefixes.0", "13.66.60.119/32")
	r.put(nsg, `{"location":"westeurope"}`)
	rule := strings.Replace(ruleBody(100, "Outbound", ""), "VirtualNetwork", "Storage.WestEurope", 1)
	r.put(nsg+"/securityRules/r", rule)

	next, err := servicetags.Read(strings.NewReader(`{"changeNumber":400,"cloud":"Public","values":[{"name":"Sql","properties":{"addressPrefixes":["10.1.0.0/16"]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.view(func(tx *rp.Tx) error {
		used, err := network.UsedTags(tx, []string{network.RuleType, network.RouteType}, first.Lacks(next))
		if len(used) != 1 || !strings.HasSuffix(used["Storage.WestEurope"], "/securityrules/r") {
			t.Errorf("used: %v", used)
		}
		top, topErr := r.Topology(tx)
		if topErr != nil {
			return topErr
		}
		live.Replace(next)
		if _, ok := top.Tags.Prefixes("Storage"); !ok {
			t.Error("a topology's tags change under it")
		}
		return err
	})
	r.want(r.get(path+"serviceTagDetails"), "value.0.name", "Sql")
	r.refused(http.MethodPut, nsg+"/securityRules/r", rule, "SecurityRuleInvalidAddressPrefix")
}
