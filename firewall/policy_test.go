package firewall

import (
	"errors"
	"testing"

	"vauban.dev/origin"
)

func TestEndpointPolicies(t *testing.T) {
	const account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"
	const subnet = "/subscriptions/s/…/subnets/n"
	naming := func(resources ...string) func(string) ([]EndpointPolicy, error) {
		return func(s string) ([]EndpointPolicy, error) {
			if s != subnet {
				return nil, nil
			}
			return []EndpointPolicy{{ID: "empty"}, {ID: "p", Resources: resources}}, nil
		}
	}
	by := origin.Origin{Kind: origin.ServiceEndpoint, Subnet: subnet}
	for _, c := range []struct {
		what     string
		policies func(string) ([]EndpointPolicy, error)
		from     origin.Origin
		want     Code
	}{
		{"no policies anywhere", nil, by, Admitted},
		{"none on this subnet", naming(), origin.Origin{Kind: origin.ServiceEndpoint, Subnet: "another"}, Admitted},
		{"a policy that names nothing", naming(), by, NotInPolicy},
		{"the account", naming("/SUBSCRIPTIONS/s/resourcegroups/g/providers/Microsoft.Storage/storageAccounts/A/"), by, Admitted},
		{"its group", naming("/subscriptions/s/resourceGroups/g"), by, Admitted},
		{"its subscription", naming("/subscriptions/s"), by, Admitted},
		{"a longer name", naming(account + "2"), by, NotInPolicy},
		{"another group", naming("/subscriptions/s/resourceGroups/gg"), by, NotInPolicy},
		{"an alias", naming("/services/Azure/MachineLearning"), by, NotInPolicy},
		{"nothing at all", naming(""), by, NotInPolicy},
		{"unreadable", func(string) ([]EndpointPolicy, error) { return nil, errors.New("no") }, by, NotInPolicy},
		{"from the internet", naming(), origin.Origin{Kind: origin.Internet}, Admitted},
	} {
		if d := Decide(Rules{ResourceID: account, Policies: c.policies}, c.from); d.Code != c.want || d.Allowed != (c.want == Admitted) {
			t.Errorf("%s: %+v", c.what, d)
		}
	}
	// the account's own rules come after
	closed := Rules{ResourceID: account, DefaultAction: Deny, Policies: naming(account)}
	if d := Decide(closed, by); d.Code != NotInRules {
		t.Errorf("%+v", d)
	}
}
