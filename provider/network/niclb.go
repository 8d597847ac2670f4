package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// validateBalanced checks the form of a configuration's references to load balancers.
func (c *IPConfig) validateBalanced(nic arm.ID) error {
	for _, use := range c.Properties.balanced() {
		for _, ref := range use.refs {
			if _, err := parseRef(&ref, use.typ, use.property, nic); err != nil {
				return err
			}
		}
	}
	return nil
}

// balancedUse is one of the two ways in which a configuration stands behind a load balancer.
type balancedUse struct {
	property, typ string
	refs          []Ref
}

func (c *IPConfigFields) balanced() []balancedUse {
	return []balancedUse{
		{"loadBalancerBackendAddressPools", PoolType, c.Pools}, {"loadBalancerInboundNatRules", InboundNATRuleType, c.NATRules},
	}
}

func (c *IPConfigFields) balancedLinks() (links []rp.Link) {
	for _, use := range c.balanced() {
		for _, ref := range use.refs {
			if id, err := arm.ParseID(ref.ID); err == nil {
				links = append(links, rp.Link{Action: use.typ + "/join/action", ID: id})
			}
		}
	}
	return links
}

// admitBalanced checks that a configuration's pools and rules exist, in its region, and take it.
func (c *IPConfig) admitBalanced(tx *rp.Tx, nic *rp.Resource[Interface]) error {
	v := &c.Properties
	id := configID(nic.ID, c.Name)
	for i := range v.Pools {
		pool, err := live[Pool](tx, &v.Pools[i], nic.ID)
		if err != nil {
			return err
		}
		if err := inRegion[LoadBalancer](tx, &Ref{ID: pool.ID.Parent().String()}, nic.Location, nic.ID); err != nil {
			return err
		}
		if len(pool.Properties.Addresses) > 0 {
			return bad("InvalidRequestFormat", "IP configuration %s cannot join backend address pool %s, which has addresses in loadBalancerBackendAddresses.", id, pool.ID)
		}
	}
	for i := range v.NATRules {
		if err := admitNATRule(tx, nic, id, &v.NATRules[i]); err != nil {
			return err
		}
	}
	return checkMember(tx, id, v, nil)
}

// admitNATRule: an inbound NAT rule leads to one configuration.
func admitNATRule(tx *rp.Tx, nic *rp.Resource[Interface], config string, ref *Ref) error {
	rule, err := live[InboundNATRule](tx, ref, nic.ID)
	if err != nil {
		return err
	}
	if err := inRegion[LoadBalancer](tx, &Ref{ID: rule.ID.Parent().String()}, nic.Location, nic.ID); err != nil {
		return err
	}
	if rule.Properties.Pool != nil {
		return bad("InvalidRequestFormat", "IP configuration %s cannot use inbound NAT rule %s, which is for the members of pool %s.", config, rule.ID, rule.Properties.Pool.ID)
	}
	m, err := natMember(tx, rule.ID)
	if err != nil {
		return err
	}
	if m != nil && !strings.EqualFold(m.id(), config) {
		return bad("InboundNatRuleInUse", "Inbound NAT rule %s is used by IP configuration %s and cannot be used by %s.", rule.ID, m.id(), config)
	}
	return nil
}
