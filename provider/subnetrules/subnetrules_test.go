package subnetrules

import (
	"errors"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

const vnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/"

// A rule for a subnet is taken when the subnet can come by a service endpoint; one that is there already stays.
func TestAdmit(t *testing.T) {
	broken := errors.New("broken")
	endpoints := Endpoints(func(_ *rp.Tx, subnet arm.ID, _ ...string) (bool, error) {
		switch subnet.Name() {
		case "none":
			return false, arm.NotFound(subnet)
		case "broken":
			return false, broken
		}
		return subnet.Name() == "with", nil
	})
	refuse := func(code, message string) *arm.Error { return arm.Errorf(400, code, "%s", message) }
	with := func(names ...string) (ids []string) {
		for _, n := range names {
			ids = append(ids, vnet+n)
		}
		return ids
	}
	for _, c := range []struct {
		new, old []string
		code     string
	}{
		{with("with"), nil, ""},
		{with("without"), nil, "SubnetsHaveNoServiceEndpointsConfigured"},
		{with("none"), nil, "SubnetsNotFound"},
		{with("with", "without"), with("WITHOUT"), ""},
		{with("without"), with("with"), "SubnetsHaveNoServiceEndpointsConfigured"},
		{nil, nil, ""},
	} {
		err := arm.AsError(endpoints.Admit(nil, c.new, c.old, refuse, "Microsoft.KeyVault"))
		if (err == nil) != (c.code == "") || err != nil && err.Code != c.code {
			t.Errorf("%v after %v: %v", c.new, c.old, err)
		}
	}
	if err := endpoints.Admit(nil, with("broken"), nil, refuse, "Microsoft.KeyVault"); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := Endpoints(nil).Admit(nil, with("none"), nil, refuse, "Microsoft.KeyVault"); err != nil {
		t.Errorf("nobody knows subnets: %v", err)
	}
}

func TestLinks(t *testing.T) {
	l := Links([]string{vnet + "with", "no id"})
	if len(l) != 1 || l[0].ID.String() != vnet+"with" || l[0].Action != "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action" {
		t.Errorf("%+v", l)
	}
}
