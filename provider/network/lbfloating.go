package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// checkFloating refuses more members with a floating IP in one virtual network than packets can be told apart
// for. Joining is a configuration that is about to be one, "" for none.
func (b *balancer) checkFloating(tx *rp.Tx, joining string) error {
	if !b.floats() {
		return nil
	}
	vnet, err := b.network(tx, "")
	if err != nil || vnet.IsZero() {
		return err
	}
	lbs, err := staying[LoadBalancer](tx, LoadBalancerType, root)
	if err != nil {
		return err
	}
	members := map[string]bool{}
	if joining != "" {
		members[strings.ToLower(joining)] = true
	}
	for _, lb := range lbs {
		other := b
		if lb.ID.Key() != b.lb.ID.Key() {
			if other, err = balancerOf(tx, lb); err != nil {
				return err
			}
		}
		if own, err := other.network(tx, ""); err != nil || !other.floats() || own.Key() != vnet.Key() {
			if err != nil {
				return err
			}
			continue
		}
		if err := other.floating(tx, members); err != nil {
			return err
		}
	}
	if len(members) > fabric.MaxFloating {
		return arm.NotImplemented("Virtual network %s would have more than %d members of load balancers with enableFloatingIP.", vnet, fabric.MaxFloating)
	}
	return nil
}

// floats says whether a rule has a floating IP.
func (b *balancer) floats() bool {
	return len(using(b.rules, func(r *BalancingRule) bool { return r.FloatingIP }))+len(using(b.nat, func(r *InboundNATRule) bool { return r.FloatingIP })) > 0
}

// floating adds the members that rules with a floating IP lead to.
func (b *balancer) floating(tx *rp.Tx, members map[string]bool) error {
	for _, r := range b.rules {
		pool := byRef(b.pools, r.Properties.Pool)
		if !r.Properties.FloatingIP || pool == nil {
			continue
		}
		list, err := b.members(tx, pool)
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.config == "" {
				m.config = m.addr.String()
			}
			members[strings.ToLower(m.config)] = true
		}
	}
	for _, r := range b.nat {
		if !r.Properties.FloatingIP {
			continue
		}
		if m, err := natMember(tx, r.ID); err != nil {
			return err
		} else if m != nil {
			members[strings.ToLower(m.id())] = true
		}
	}
	return nil
}
