package storage

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
// https://learn.microsoft.com/azure/storage/common/storage-network-security#required-permissions
func links(r *rp.Resource[Account]) []rp.Link {
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

// admitSubnets refuses a new rule for a subnet that cannot come by a service endpoint: it would admit nobody.
func (p *Provider) admitSubnets(tx *rp.Tx, new, old *rp.Resource[Account]) error {
	if p.subnets == nil || new.Properties.NetworkACLs == nil {
		return nil
	}
	var before []VNetRule
	if old != nil && old.Properties.NetworkACLs != nil {
		before = old.Properties.NetworkACLs.VNetRules
	}
	for _, rule := range new.Properties.NetworkACLs.VNetRules {
		if slices.ContainsFunc(before, func(b VNetRule) bool { return strings.EqualFold(b.ID, rule.ID) }) {
			continue
		}
		subnet, err := arm.ParseID(rule.ID)
		if err != nil {
			return err
		}
		has, err := p.subnets(tx, subnet, "Microsoft.Storage", "Microsoft.Storage.Global")
		switch e := arm.AsError(err); {
		case e != nil && e.Status == http.StatusNotFound:
			return noACL("SubnetsNotFound:Subnet %s of virtual network %s does not exist", subnet.Name(), subnet.Parent())
		case err != nil:
			return err
		case !has:
			return noACL("SubnetsHaveNoServiceEndpointsConfigured:Subnets %s of virtual network %s do not have ServiceEndpoints for Microsoft.Storage resources configured. Add Microsoft.Storage to subnet's ServiceEndpoints collection before trying to ACL Microsoft.Storage resources to these subnets.", subnet.Name(), subnet.Parent())
		}
	}
	return nil
}

func noACL(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "NetworkAclsValidationFailure", "Validation of network acls failure: "+format+".", args...)
}
