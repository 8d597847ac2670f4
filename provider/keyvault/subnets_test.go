package keyvault

import (
	"slices"
	"testing"

	"vauban.dev/arm/rp"
)

// A rule with ignoreMissingVnetServiceEndpoint may name a subnet whose service endpoint comes later; joining it is asked all the same.
func TestSubnetsOfRules(t *testing.T) {
	r := &rp.Resource[Vault]{}
	r.Properties.NetworkACLs = &NetworkACLs{VNetRules: []VNetRule{{ID: "a"}, {ID: "b", IgnoreMissing: true}}}
	if all, present := subnets(r, false), subnets(r, true); !slices.Equal(all, []string{"a", "b"}) || !slices.Equal(present, []string{"a"}) {
		t.Errorf("all %v, to be there %v", all, present)
	}
	if none := subnets(nil, false); none != nil {
		t.Errorf("no vault has %v", none)
	}
}
