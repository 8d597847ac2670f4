package storage

import (
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/subnetrules"
)

// UseSubnets has the provider look at the subnets that network rules name. Without it they are not looked at.
func (p *Provider) UseSubnets(s subnetrules.Endpoints) { p.subnets = s }

func links(r *rp.Resource[Account]) []rp.Link { return subnetrules.Links(subnets(r)) }

// subnets that an account's rules name.
func subnets(r *rp.Resource[Account]) (ids []string) {
	if r == nil || r.Properties.NetworkACLs == nil {
		return nil
	}
	for _, rule := range r.Properties.NetworkACLs.VNetRules {
		ids = append(ids, rule.ID)
	}
	return ids
}

func (p *Provider) admitSubnets(tx *rp.Tx, new, old *rp.Resource[Account]) error {
	refuse := func(code, message string) *arm.Error {
		return arm.Errorf(http.StatusBadRequest, "NetworkAclsValidationFailure", "Validation of network acls failure: %s:%s.", code, message)
	}
	return p.subnets.Admit(tx, subnets(new), subnets(old), refuse, "Microsoft.Storage", "Microsoft.Storage.Global")
}
