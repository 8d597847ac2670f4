package keyvault

import (
	"errors"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// A rule for a subnet is taken when the subnet can come by a service endpoint; one that is there already stays.
func TestSubnetRules(t *testing.T) {
	const vnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/"
	broken := errors.New("broken")
	p := &Provider{}
	p.UseSubnets(func(_ *rp.Tx, subnet arm.ID, _ ...string) (bool, error) {
		switch subnet.Name() {
		case "none":
			return false, arm.NotFound(subnet)
		case "broken":
			return false, broken
		}
		return subnet.Name() == "with", nil
	})
	with := func(names ...string) *rp.Resource[Vault] {
		r := &rp.Resource[Vault]{}
		r.Properties.NetworkACLs = &NetworkACLs{}
		for _, n := range names {
			r.Properties.NetworkACLs.VNetRules = append(r.Properties.NetworkACLs.VNetRules, VNetRule{ID: vnet + n})
		}
		return r
	}
	for _, c := range []struct {
		new, old *rp.Resource[Vault]
		ok       bool
	}{
		{with("with"), nil, true}, {with("without"), nil, false}, {with("none"), nil, false}, {with("with", "without"), with("WITHOUT"), true},
		{with("without"), with("with"), false}, {&rp.Resource[Vault]{}, nil, true},
	} {
		err := p.admitSubnets(nil, c.new, c.old)
		if (err == nil) != c.ok || err != nil && arm.AsError(err).Status != 400 {
			t.Errorf("%+v: %v", c.new.Properties.NetworkACLs, err)
		}
	}
	if err := p.admitSubnets(nil, with("broken"), nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	l := links(with("with"))
	if len(l) != 1 || l[0].ID.String() != vnet+"with" || l[0].Action != "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action" {
		t.Errorf("%+v", l)
	}
}
