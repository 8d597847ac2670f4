package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Azure's limits of a network security group: rules, addresses and ranges in all of them together, application
// security groups in all of them together.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits
const (
	maxRules         = 1000
	maxRuleAddresses = 4000
	maxRuleASGs      = 100
)

// withinLimits refuses a group whose rules are too many or too long.
func withinLimits(group arm.ID, rules []*rp.Resource[Rule]) error {
	count, addresses, asgs := 0, 0, map[string]bool{}
	for _, r := range rules {
		if r.State == arm.Deleting {
			continue
		}
		count++
		v := &r.Properties
		addresses += len(v.SourceAddressPrefixes) + len(v.DestinationAddressPrefixes)
		for _, key := range append(keys(v.SourceASGs), keys(v.DestinationASGs)...) {
			asgs[key] = true
		}
	}
	switch {
	case count > maxRules:
		return bad("SecurityRuleCountLimitReached", "Network security group %s cannot have more than %d security rules.", group, maxRules)
	case addresses > maxRuleAddresses:
		return bad("SecurityRuleAddressPrefixCountLimitReached", "Network security group %s has %d addresses and ranges in its security rules; it can have %d.", group, addresses, maxRuleAddresses)
	case len(asgs) > maxRuleASGs:
		return bad("SecurityRuleApplicationSecurityGroupCountLimitReached", "Network security group %s has %d application security groups in its security rules; it can have %d.", group, len(asgs), maxRuleASGs)
	}
	return nil
}

// asgNetwork is the virtual network whose interfaces are in an application security group, the zero ID when there
// are none. except is an interface or endpoint that does not count.
func asgNetwork(tx *rp.Tx, asg string, except arm.ID) (arm.ID, error) {
	nics, err := rp.List[Interface](tx, NICType, root)
	if err != nil {
		return arm.ID{}, err
	}
	for _, n := range nics {
		for _, c := range n.Properties.IPConfigurations {
			if n.State != arm.Deleting && n.ID.Key() != except.Key() && hasKey(c.Properties.ASGs, asg) {
				return networkOf(c.Properties.Subnet)
			}
		}
	}
	endpoints, err := rp.List[Endpoint](tx, EndpointType, root)
	if err != nil {
		return arm.ID{}, err
	}
	for _, e := range endpoints {
		if e.State != arm.Deleting && e.ID.Key() != except.Key() && hasKey(e.Properties.ASGs, asg) {
			return networkOf(e.Properties.Subnet)
		}
	}
	return arm.ID{}, nil
}

func hasKey(refs []Ref, key string) bool {
	for _, r := range refs {
		if strings.EqualFold(r.ID, key) {
			return true
		}
	}
	return false
}

func networkOf(subnet *Ref) (arm.ID, error) {
	if subnet == nil {
		return arm.ID{}, nil
	}
	id, err := arm.ParseID(subnet.ID)
	if err != nil {
		return arm.ID{}, err
	}
	return id.Parent(), nil
}

// oneNetwork refuses application security groups whose interfaces are in several virtual networks. want is the
// one that they have to be in, the zero ID: any.
// https://learn.microsoft.com/azure/virtual-network/application-security-groups
func oneNetwork(tx *rp.Tx, of, want, except arm.ID, asgs []Ref) error {
	for _, asg := range asgs {
		has, err := asgNetwork(tx, asg.ID, except)
		if err != nil {
			return err
		}
		switch {
		case has.IsZero():
		case want.IsZero():
			want = has
		case want.Key() != has.Key():
			return bad("ApplicationSecurityGroupsMustBeInSameVirtualNetwork", "Resource %s uses application security group %s, whose network interfaces are in virtual network %s and not in %s: all must be in one virtual network.", of, asg.ID, has, want)
		}
	}
	return nil
}
