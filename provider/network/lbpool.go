package network

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Pool is the properties of a backend address pool (Network REST: BackendAddressPoolPropertiesFormat). Its
// members are the IP configurations of interfaces that name it, or addresses that are listed here.
type Pool struct {
	Addresses    []PoolAddress `json:"loadBalancerBackendAddresses,omitempty"`
	VNet         *Ref          `json:"virtualNetwork,omitempty"`
	SyncMode     string        `json:"syncMode,omitempty"`
	DrainSeconds int           `json:"drainPeriodInSeconds,omitempty"`
	Tunnels      []any         `json:"tunnelInterfaces,omitempty"`

	IPConfigurations []Ref `json:"backendIPConfigurations,omitempty" rp:"readonly"`
	Rules            []Ref `json:"loadBalancingRules,omitempty" rp:"readonly"`
	OutboundRules    []Ref `json:"outboundRules,omitempty" rp:"readonly"`
	InboundNATRules  []Ref `json:"inboundNatRules,omitempty" rp:"readonly"`
}

// PoolAddress is one member of a pool.
type PoolAddress struct {
	Name       string            `json:"name"`
	Properties PoolAddressFields `json:"properties"`
}

// PoolAddressFields are the properties of a PoolAddress.
type PoolAddressFields struct {
	Address    string `json:"ipAddress,omitempty"`
	VNet       *Ref   `json:"virtualNetwork,omitempty"`
	Subnet     *Ref   `json:"subnet,omitempty"`
	AdminState string `json:"adminState,omitempty"` // None, Up, Down
	Frontend   *Ref   `json:"loadBalancerFrontendIPConfiguration,omitempty"`
	// IPConfiguration of an interface that names the pool: the server's to show.
	IPConfiguration *Ref `json:"networkInterfaceIPConfiguration,omitempty"`
}

func (p *Provider) poolType() rp.Registration {
	return rp.Of(rp.Type[Pool]{
		Name: PoolType, Kind: rp.Proxy, Versions: rp.Versions[Pool](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default: func(_ string, r *rp.Resource[Pool]) {
			v := &r.Properties
			v.Addresses = slices.DeleteFunc(v.Addresses, PoolAddress.shown)
		},
		Validate:  validatePool,
		Admit:     admitPool,
		Links:     poolLinks,
		Reconcile: applied[Pool](p),
		Finalize:  applied[Pool](p),
		Present:   presentPool,
		Kept:      true,
		Release:   releasePool,
		Actions:   map[string]rp.Action[Pool]{"queryInboundNatRulePortMapping": {Do: portMapping}},
	})
}

// shown says that the element is one that answers show for an interface, written back: clients that know
// networkInterfaceIPConfiguration as read-only leave the name alone.
func (a PoolAddress) shown() bool {
	v := &a.Properties
	return v.IPConfiguration != nil || v.Address == "" && v.VNet == nil && v.Subnet == nil && v.Frontend == nil
}

func validatePool(_ rp.Op, new, _ *rp.Resource[Pool]) error {
	v := &new.Properties
	switch {
	case len(v.Tunnels) > 0:
		return arm.NotImplemented("Backend address pool %s: tunnelInterfaces are for gateway load balancers, which are not implemented.", new.ID)
	case v.SyncMode != "":
		return arm.NotImplemented("Backend address pool %s: syncMode %s is not implemented.", new.ID, clip(v.SyncMode))
	}
	if v.VNet != nil {
		if _, err := parseRef(v.VNet, VNetType, "virtualNetwork", new.ID); err != nil {
			return err
		}
	}
	names, addrs := map[string]bool{}, map[string]bool{}
	for _, a := range v.Addresses {
		key := strings.ToLower(a.Name)
		if a.Name == "" || names[key] {
			return bad("DuplicateResourceName", "Each element of loadBalancerBackendAddresses of %s needs a name of its own, not '%s'.", new.ID, clip(a.Name))
		}
		names[key] = true
		if err := a.validate(new.ID, v.VNet); err != nil {
			return err
		}
		if addrs[a.Properties.Address] {
			return bad("InvalidRequestFormat", "Backend address pool %s has the address %s twice.", new.ID, a.Properties.Address)
		}
		addrs[a.Properties.Address] = true
	}
	return nil
}

// poolLinks: who balances to a network's addresses needs joinLoadBalancer/action on the network, or on the subnet that
// names it: the machines get what comes to the frontend, and may leave by it.
// https://learn.microsoft.com/azure/role-based-access-control/permissions/networking
func poolLinks(r *rp.Resource[Pool]) (links []rp.Link) {
	add := func(typ string, ref *Ref) {
		if ref == nil {
			return
		}
		if id, err := arm.ParseID(ref.ID); err == nil { // else Validate has its say
			links = append(links, rp.Link{Action: typ + "/joinLoadBalancer/action", ID: id})
		}
	}
	add(VNetType, r.Properties.VNet)
	for _, a := range r.Properties.Addresses {
		add(VNetType, a.Properties.VNet)
		add(SubnetType, a.Properties.Subnet)
	}
	return links
}

func (a *PoolAddress) validate(pool arm.ID, vnet *Ref) error {
	v := &a.Properties
	if v.Frontend != nil {
		return arm.NotImplemented("Backend address %s of %s: cross-region load balancers are not implemented.", a.Name, pool)
	}
	if ip, err := netip.ParseAddr(v.Address); err != nil || !ip.Is4() {
		return bad("InvalidIPAddressFormat", "Backend address %s of %s needs an IPv4 address in ipAddress, not '%s'.", a.Name, pool, clip(v.Address))
	}
	if !slices.ContainsFunc([]string{"", "None", "Up", "Down"}, func(s string) bool { return strings.EqualFold(s, v.AdminState) }) {
		return bad("InvalidRequestFormat", "adminState of backend address %s of %s must be None, Up or Down, not '%s'.", a.Name, pool, clip(v.AdminState))
	}
	if v.VNet == nil && v.Subnet == nil && vnet == nil {
		return bad("InvalidRequestFormat", "Backend address %s of %s needs a virtualNetwork or a subnet.", a.Name, pool)
	}
	if v.VNet != nil {
		if _, err := parseRef(v.VNet, VNetType, "virtualNetwork", pool); err != nil {
			return err
		}
	}
	if v.Subnet != nil {
		_, err := parseRef(v.Subnet, SubnetType, "subnet", pool)
		return err
	}
	return nil
}

// network is the id of the virtual network that the address is in.
func (a *PoolAddress) network(pool *Pool) (arm.ID, error) {
	switch {
	case a.Properties.Subnet != nil:
		id, err := arm.ParseID(a.Properties.Subnet.ID)
		return id.Parent(), err
	case a.Properties.VNet != nil:
		return arm.ParseID(a.Properties.VNet.ID)
	}
	return arm.ParseID(pool.VNet.ID)
}

func admitPool(ctx context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Pool]) error {
	lb, err := rp.Get[LoadBalancer](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	v := &new.Properties
	if len(v.Addresses) == 0 {
		return checkSiblings(ctx, tx, new)
	}
	if skuOf(lb.SKU).Name != "Standard" {
		return bad("InvalidRequestFormat", "Backend address pool %s: only load balancers of the sku Standard take addresses in loadBalancerBackendAddresses.", new.ID)
	}
	members, err := poolMembers(tx, new.ID)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		return bad("InvalidRequestFormat", "Backend address pool %s has interfaces as members (%s) and takes no addresses beside them.", new.ID, members[0].id())
	}
	var first arm.ID
	for i := range v.Addresses {
		vnet, err := v.Addresses[i].network(v)
		if err != nil {
			return err
		}
		if first.IsZero() {
			first = vnet
		}
		if vnet.Key() != first.Key() {
			return bad("InvalidRequestFormat", "The addresses of backend address pool %s must be in one virtual network, not in %s and %s.", new.ID, first, vnet)
		}
	}
	if err := admitAddresses(tx, lb, new, first); err != nil {
		return err
	}
	return checkSiblings(ctx, tx, new)
}

func admitAddresses(tx *rp.Tx, lb *rp.Resource[LoadBalancer], pool *rp.Resource[Pool], vnet arm.ID) error {
	if err := inRegion[VNet](tx, &Ref{ID: vnet.String()}, lb.Location, pool.ID); err != nil {
		return err
	}
	n, err := rp.Get[VNet](tx, vnet)
	if err != nil {
		return err
	}
	space, err := parsePrefixes(n.Properties.AddressSpace.AddressPrefixes, vnet)
	if err != nil {
		return err
	}
	for _, a := range pool.Properties.Addresses {
		ip, err := netip.ParseAddr(a.Properties.Address)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(space, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			return bad("InvalidRequestFormat", "Backend address %s (%s) of %s is not in the address space of virtual network %s.", a.Name, ip, pool.ID, vnet)
		}
	}
	return nil
}

func presentPool(_ context.Context, tx *rp.Tx, r *rp.Resource[Pool]) error {
	b, err := siblings(tx, r.ID)
	if err != nil {
		return err
	}
	v := &r.Properties
	v.Rules = using(b.rules, func(x *BalancingRule) bool { return x.Pool.is(r.ID) })
	v.OutboundRules = using(b.outbound, func(x *OutboundRule) bool { return x.Pool.is(r.ID) })
	v.InboundNATRules = using(b.nat, func(x *InboundNATRule) bool { return x.Pool.is(r.ID) })
	members, err := poolMembers(tx, r.ID)
	if err != nil {
		return err
	}
	v.IPConfigurations = nil
	for _, m := range members {
		ref := Ref{ID: m.id()}
		v.IPConfigurations = append(v.IPConfigurations, ref)
		a := PoolAddress{Name: m.nic.ID.ResourceGroup() + "_" + m.nic.ID.Name() + m.config.Name}
		a.Properties.IPConfiguration = &ref
		v.Addresses = append(v.Addresses, a)
	}
	return nil
}

// releasePool takes the pool from its members. A rule that needs the pool keeps it.
func releasePool(ctx context.Context, tx *rp.Tx, r *rp.Resource[Pool]) error {
	b, err := siblings(tx, r.ID)
	if err != nil {
		return err
	}
	if alone(ctx, r.ID) {
		for _, rule := range b.rules {
			if rule.Properties.Pool.is(r.ID) {
				return missing(r.ID, rule.ID)
			}
		}
		for _, rule := range b.outbound {
			if rule.Properties.Pool.is(r.ID) {
				return missing(r.ID, rule.ID)
			}
		}
		for _, rule := range b.nat {
			if rule.Properties.Pool.is(r.ID) {
				return missing(r.ID, rule.ID)
			}
		}
	}
	return leave(tx, func(c *IPConfigFields) *[]Ref { return &c.Pools }, r.ID)
}

// alone says that a part of a load balancer is deleted by itself, not with the load balancer or by a write of it.
func alone(ctx context.Context, part arm.ID) bool {
	return !rp.Embedded(ctx) && rp.Removing(ctx).Key() == part.Key()
}

// leave takes a part of a load balancer from the interfaces that name it in the list.
func leave(tx *rp.Tx, list func(*IPConfigFields) *[]Ref, part arm.ID) error {
	nics, err := rp.List[Interface](tx, NICType, root)
	if err != nil {
		return err
	}
	for _, n := range nics {
		changed := false
		for i := range n.Properties.IPConfigurations {
			refs := list(&n.Properties.IPConfigurations[i].Properties)
			rest := slices.DeleteFunc(slices.Clone(*refs), func(ref Ref) bool { return ref.is(part) })
			changed = changed || len(rest) < len(*refs)
			*refs = rest
		}
		if !changed {
			continue
		}
		if err := rp.Save(tx, n); err != nil {
			return err
		}
	}
	return nil
}
