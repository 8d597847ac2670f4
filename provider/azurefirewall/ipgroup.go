package azurefirewall

import (
	"context"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	model "vauban.dev/azurefirewall"
	"vauban.dev/provider/network"
)

// IPGroup is the properties of an IP group (Network REST: IpGroupPropertiesFormat).
type IPGroup struct {
	IPAddresses []string `json:"ipAddresses"`

	Firewalls        []network.Ref `json:"firewalls" rp:"readonly"`
	FirewallPolicies []network.Ref `json:"firewallPolicies" rp:"readonly"`
}

// maxIPGroup is how many addresses, prefixes and ranges a group may have.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits#azure-firewall-limits
const maxIPGroup = 5000

func (p *Provider) ipGroupType() rp.Registration {
	return rp.Of(rp.Type[IPGroup]{
		Name: IPGroupType, Kind: rp.Tracked, Versions: rp.Versions[IPGroup](network.VersionsSince("2019-09-01")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default: func(_ string, r *rp.Resource[IPGroup]) {
			if r.Properties.IPAddresses == nil {
				r.Properties.IPAddresses = []string{}
			}
		},
		Validate:  validateIPGroup,
		Reconcile: applied[IPGroup](p),
		Present:   presentIPGroup,
		Release:   releaseIPGroup,
	})
}

func validateIPGroup(_ rp.Op, new, _ *rp.Resource[IPGroup]) error {
	if n := len(new.Properties.IPAddresses); n > maxIPGroup {
		return bad("IpGroupsIpAddressesLimitExceeded", "IpGroups %s has %d ipAddresses; at most %d are allowed.", new.ID, n, maxIPGroup)
	}
	for _, text := range new.Properties.IPAddresses {
		if _, _, err := model.ParseAddress(text); err != nil {
			return bad("IpGroupsInvalidIpAddressOrRangeFormat", "IpGroups %s: Invalid IP address value or range %s.", new.ID, clip(text))
		}
	}
	return nil
}

// ipGroupUsers are the policies whose rules name the group, and the firewalls that do: by classic rules, or
// by their policies.
func ipGroupUsers(tx *rp.Tx, id arm.ID) (firewalls, policies []network.Ref, err error) {
	groups, err := rp.List[Group](tx, GroupType, root)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, g := range groups {
		if g.State != arm.Deleting && g.Properties.names(id) {
			names = append(names, g.ID.Parent().String())
		}
	}
	policies = []network.Ref{}
	for _, n := range dedupe(names) {
		policies = append(policies, network.Ref{ID: n})
	}
	firewalls, err = referring(tx, FirewallType, func(f *rp.Resource[Firewall]) bool {
		for i := range policies {
			if is(f.Properties.Policy, arm.MustParseID(policies[i].ID)) {
				return true
			}
		}
		return f.Properties.names(id)
	})
	return firewalls, policies, err
}

func presentIPGroup(_ context.Context, tx *rp.Tx, r *rp.Resource[IPGroup]) (err error) {
	r.Properties.Firewalls, r.Properties.FirewallPolicies, err = ipGroupUsers(tx, r.ID)
	return err
}

func releaseIPGroup(_ context.Context, tx *rp.Tx, r *rp.Resource[IPGroup]) error {
	firewalls, policies, err := ipGroupUsers(tx, r.ID)
	switch {
	case err != nil:
		return err
	case len(policies) > 0:
		return bad("IpGroupsHasFirewallPolicyReferences", "IpGroups '%s' cannot be deleted since there are firewall policies using this resource: %s.", r.ID, ids(policies))
	case len(firewalls) > 0:
		return bad("IpGroupsHasResourceReferences", "IpGroups '%s' cannot be deleted since there are other Azure Resources using this resource: %s.", r.ID, ids(firewalls))
	}
	return nil
}
