package keyvault

import (
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/subnetrules"
)

// UseSubnets has the provider look at the subnets that network rules name. Without it they are not looked at.
func (p *Provider) UseSubnets(s subnetrules.Endpoints) { p.subnets = s }

func links(r *rp.Resource[Vault]) []rp.Link { return subnetrules.Links(subnets(r, false)) }

// subnets that a vault's rules name; present leaves out those that may get their service endpoint later
// (ignoreMissingVnetServiceEndpoint).
func subnets(r *rp.Resource[Vault], present bool) (ids []string) {
	if r == nil || r.Properties.NetworkACLs == nil {
		return nil
	}
	for _, rule := range r.Properties.NetworkACLs.VNetRules {
		if !present || !rule.IgnoreMissing {
			ids = append(ids, rule.ID)
		}
	}
	return ids
}

func (p *Provider) admitSubnets(tx *rp.Tx, new, old *rp.Resource[Vault]) error {
	refuse := func(code, message string) *arm.Error {
		return arm.Errorf(http.StatusBadRequest, "VirtualNetworkNotValid", "Operation on Virtual Network could not be performed. StatusCode: 400 (BadRequest). Error Code: %s. Error Message: %s.", code, message)
	}
	return p.subnets.Admit(tx, subnets(new, true), subnets(old, false), refuse, "Microsoft.KeyVault")
}
