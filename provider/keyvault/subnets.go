package keyvault

import (
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Subnets tells whether a subnet has the service endpoint of one of the services; 404 for no such subnet.
type Subnets func(tx *rp.Tx, subnet arm.ID, services ...string) (bool, error)

// UseSubnets has the provider look at the subnets that network rules name. Without it they are not looked at.
func (p *Provider) UseSubnets(s Subnets) { p.subnets = s }

// links: naming a subnet in a rule needs joinViaServiceEndpoint/action on it.
// https://learn.microsoft.com/azure/key-vault/general/network-security
func links(r *rp.Resource[Vault]) []rp.Link {
	if r.Properties.NetworkACLs == nil {
		return nil
	}
	var list []rp.Link
	for _, rule := range r.Properties.NetworkACLs.VNetRules {
		if id, err := arm.ParseID(rule.ID); err == nil { // else Validate has its say
			list = append(list, rp.Link{Action: "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action", ID: id})
		}
	}
	return list
}

// admitSubnets refuses a new rule for a subnet that cannot come by a service endpoint, unless the rule says that it
// may come later (ignoreMissingVnetServiceEndpoint).
func (p *Provider) admitSubnets(tx *rp.Tx, new, old *rp.Resource[Vault]) error {
	if p.subnets == nil || new.Properties.NetworkACLs == nil {
		return nil
	}
	var before []VNetRule
	if old != nil && old.Properties.NetworkACLs != nil {
		before = old.Properties.NetworkACLs.VNetRules
	}
	for _, rule := range new.Properties.NetworkACLs.VNetRules {
		if rule.IgnoreMissing || slices.ContainsFunc(before, func(b VNetRule) bool { return strings.EqualFold(b.ID, rule.ID) }) {
			continue
		}
		subnet, err := arm.ParseID(rule.ID)
		if err != nil {
			return err
		}
		has, err := p.subnets(tx, subnet, "Microsoft.KeyVault")
		switch e := arm.AsError(err); {
		case e != nil && e.Status == http.StatusNotFound:
			return noNetwork("SubnetsNotFound", "Subnet %s of virtual network %s does not exist", subnet.Name(), subnet.Parent())
		case err != nil:
			return err
		case !has:
			return noNetwork("SubnetsHaveNoServiceEndpointsConfigured", "Subnets %s of virtual network %s do not have ServiceEndpoints for Microsoft.KeyVault resources configured. Add Microsoft.KeyVault to subnet's ServiceEndpoints collection before trying to ACL Microsoft.KeyVault resources to these subnets.", subnet.Name(), subnet.Parent())
		}
	}
	return nil
}

func noNetwork(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "VirtualNetworkNotValid", "Operation on Virtual Network could not be performed. StatusCode: 400 (BadRequest). Error Code: "+code+". Error Message: "+format+".", args...)
}
