package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// member is an IP configuration of an interface that names a part of a load balancer.
type member struct {
	nic    *rp.Resource[Interface]
	config *IPConfig
}

func (m member) id() string { return configID(m.nic.ID, m.config.Name) }

// configsWhere are the IP configurations of interfaces that satisfy want, in the order of their ids.
func configsWhere(tx *rp.Tx, want func(*IPConfigFields) bool) ([]member, error) {
	nics, err := staying[Interface](tx, NICType, root)
	if err != nil {
		return nil, err
	}
	var list []member
	for _, n := range nics {
		for i := range n.Properties.IPConfigurations {
			if c := &n.Properties.IPConfigurations[i]; want(&c.Properties) {
				list = append(list, member{n, c})
			}
		}
	}
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(strings.ToLower(a.id()), strings.ToLower(b.id())) })
	return list, nil
}

// poolMembers are the IP configurations that name a pool.
func poolMembers(tx *rp.Tx, pool arm.ID) ([]member, error) {
	return configsWhere(tx, func(c *IPConfigFields) bool { return refsTo(c.Pools, pool) })
}

// natMember is the IP configuration that names an inbound NAT rule, nil for none.
func natMember(tx *rp.Tx, rule arm.ID) (*member, error) {
	list, err := configsWhere(tx, func(c *IPConfigFields) bool { return refsTo(c.NATRules, rule) })
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// backend is a member of a pool as a load balancer sees it.
type backend struct {
	config string // id of the IP configuration, "" for an address
	nic    arm.ID // zero for an address
	addr   netip.Addr
	vnet   arm.ID
	down   bool // adminState Down
}

// members are the backends of a pool, in a stable order.
func (b *balancer) members(tx *rp.Tx, pool *rp.Resource[Pool]) ([]backend, error) {
	configs, err := poolMembers(tx, pool.ID)
	if err != nil {
		return nil, err
	}
	var list []backend
	for _, m := range configs {
		one, err := m.backend()
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	for i := range pool.Properties.Addresses {
		a := &pool.Properties.Addresses[i]
		vnet, err := a.network(&pool.Properties)
		if err != nil {
			return nil, err
		}
		ip, err := netip.ParseAddr(a.Properties.Address)
		if err != nil {
			return nil, fmt.Errorf("stored address of %s: %w", pool.ID, err)
		}
		list = append(list, backend{addr: ip, vnet: vnet, down: strings.EqualFold(a.Properties.AdminState, "Down")})
	}
	return list, nil
}

func (m member) backend() (backend, error) {
	subnet, err := arm.ParseID(m.config.Properties.Subnet.ID)
	if err != nil {
		return backend{}, err
	}
	a, err := netip.ParseAddr(m.config.Properties.Address)
	if err != nil {
		return backend{}, fmt.Errorf("stored address of %s: %w", m.id(), err)
	}
	return backend{config: m.id(), nic: m.nic.ID, addr: a, vnet: subnet.Parent()}, nil
}

// balancedNICs lists the interfaces that name a part of the load balancer.
func balancedNICs(_ context.Context, tx *rp.Tx, lb *rp.Resource[LoadBalancer], _ []byte) (any, error) {
	b, err := balancerOf(tx, lb)
	if err != nil {
		return nil, err
	}
	within := func(refs []Ref, ids func(Ref) bool) bool { return slices.ContainsFunc(refs, ids) }
	list, err := configsWhere(tx, func(c *IPConfigFields) bool {
		return within(c.Pools, func(r Ref) bool { return byRef(b.pools, &r) != nil }) || within(c.NATRules, func(r Ref) bool { return byRef(b.nat, &r) != nil })
	})
	if err != nil {
		return nil, err
	}
	value, seen := []any{}, map[string]bool{}
	for _, m := range list {
		if seen[m.nic.ID.Key()] {
			continue
		}
		seen[m.nic.ID.Key()] = true
		if err := presentNIC(context.Background(), tx, m.nic); err != nil {
			return nil, err
		}
		value = append(value, map[string]any{
			"id": m.nic.ID.String(), "name": m.nic.ID.Name(), "type": NICType, "location": m.nic.Location, "etag": m.nic.ETag,
			"properties": struct {
				Interface
				State arm.ProvisioningState `json:"provisioningState"`
			}{m.nic.Properties, m.nic.State},
		})
	}
	return map[string]any{"value": value}, nil
}
