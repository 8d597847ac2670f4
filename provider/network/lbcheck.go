package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// check refuses a load balancer whose parts do not go together.
func (b *balancer) check(tx *rp.Tx) error {
	for _, step := range []func() error{b.checkFrontends, b.checkReferences, b.checkBackendPorts, b.checkFrontendPorts, b.checkOutbound} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := b.checkMembers(tx); err != nil {
		return err
	}
	if err := b.checkFloating(tx, ""); err != nil {
		return err
	}
	for _, f := range b.frontends {
		services, err := linkServicesOf(tx, f.ID)
		if err != nil {
			return err
		}
		for _, s := range services {
			if err := b.servable(f.ID, s.ID); err != nil {
				return err
			}
			if sub := s.Properties.Configs[0].Properties.Subnet; f.Properties.Subnet == nil || !sameVNet(sub, f.Properties.Subnet) {
				return bad("InvalidRequestFormat", "Frontend IP configuration %s must stay in the virtual network of private link service %s, which uses it.", f.ID, s.ID)
			}
		}
	}
	return b.checkAddresses(tx)
}

func (b *balancer) checkFrontends() error {
	if len(b.frontends) == 0 {
		if n := len(b.pools) + len(b.rules) + len(b.probes) + len(b.nat) + len(b.outbound); n > 0 {
			return bad("LoadBalancerWithoutFrontendIPCantHaveChildResources", "Load balancer %s has no frontend IP configuration and cannot have child resources; it has %d.", b.lb.ID, n)
		}
		return nil
	}
	var vnet arm.ID
	for _, f := range b.frontends {
		if (f.Properties.Subnet != nil) != b.internal() {
			return bad("InvalidRequestFormat", "Load balancer %s must have frontend IP configurations of one kind: %s and %s are a public and a private one.", b.lb.ID, b.frontends[0].ID, f.ID)
		}
		if f.Properties.Subnet == nil {
			continue
		}
		subnet, err := arm.ParseID(f.Properties.Subnet.ID)
		if err != nil {
			return err
		}
		if vnet.IsZero() {
			vnet = subnet.Parent()
		}
		if subnet.Parent().Key() != vnet.Key() {
			return bad("InvalidRequestFormat", "The frontend IP configurations of load balancer %s must be in one virtual network, not in %s and %s.", b.lb.ID, vnet, subnet.Parent())
		}
	}
	return nil
}

// part checks that a reference of a rule names one of the load balancer's own parts.
func part[T any](list []*rp.Resource[T], ref *Ref, property string, of arm.ID) error {
	if ref == nil {
		return nil
	}
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return bad("InvalidReferenceId", "Value for reference id is not valid. Property %s of resource %s is '%s'.", property, of, clip(ref.ID))
	}
	if byRef(list, ref) == nil {
		return missing(id, of)
	}
	return nil
}

func (b *balancer) checkReferences() error {
	for _, r := range b.rules {
		v := &r.Properties
		if v.Frontend == nil {
			return bad("InvalidRequestFormat", "Load balancing rule %s needs a frontendIPConfiguration.", r.ID)
		}
		if err := part(b.frontends, v.Frontend, "frontendIPConfiguration", r.ID); err != nil {
			return err
		}
		if err := b.inbound(v.Frontend, r.ID); err != nil {
			return err
		}
		if err := part(b.pools, v.Pool, "backendAddressPool", r.ID); err != nil {
			return err
		}
		if err := part(b.probes, v.Probe, "probe", r.ID); err != nil {
			return err
		}
		if v.Protocol == "All" && !b.internal() {
			return bad("InvalidRequestFormat", "Load balancing rule %s: the protocol All (HA ports) is for internal load balancers, and %s is public.", r.ID, b.lb.ID)
		}
	}
	for _, r := range b.nat {
		if r.Properties.Frontend == nil {
			return bad("InvalidRequestFormat", "Inbound NAT rule %s needs a frontendIPConfiguration.", r.ID)
		}
		if err := part(b.frontends, r.Properties.Frontend, "frontendIPConfiguration", r.ID); err != nil {
			return err
		}
		if err := b.inbound(r.Properties.Frontend, r.ID); err != nil {
			return err
		}
		if err := part(b.pools, r.Properties.Pool, "backendAddressPool", r.ID); err != nil {
			return err
		}
	}
	for _, r := range b.outbound {
		if err := part(b.pools, r.Properties.Pool, "backendAddressPool", r.ID); err != nil {
			return err
		}
		for i := range r.Properties.Frontends {
			if err := part(b.frontends, &r.Properties.Frontends[i], "frontendIPConfigurations", r.ID); err != nil {
				return err
			}
		}
		if err := b.outboundPorts(r); err != nil {
			return err
		}
	}
	return nil
}

// inbound refuses a frontend that a public IP prefix makes: it is for outbound rules only.
// https://learn.microsoft.com/azure/load-balancer/outbound-rules
func (b *balancer) inbound(ref *Ref, of arm.ID) error {
	if f := byRef(b.frontends, ref); f != nil && f.Properties.Prefix != nil {
		return bad("InvalidRequestFormat", "%s references frontend IP configuration %s, which has a public IP prefix and is for outbound rules only.", of, f.ID)
	}
	return nil
}

// outboundPorts refuses an outbound rule that wants more ports than its frontends' addresses have.
func (b *balancer) outboundPorts(r *rp.Resource[OutboundRule]) error {
	addresses := 0
	for i := range r.Properties.Frontends {
		addresses++
		if f := byRef(b.frontends, &r.Properties.Frontends[i]); f != nil && f.Properties.Prefix != nil {
			addresses += 1<<(32-shortestPublicPrefix) - 1
		}
	}
	if ports := r.Properties.Ports; ports > portsPerFrontend*addresses {
		return bad("SpecifiedAllocatedOutboundPortsForOutboundRuleExceedsTotalNumberOfAllowedPortsPerRule", "allocatedOutboundPorts of outbound rule %s is %d; its %d frontend IP configurations have %d ports.", r.ID, ports, len(r.Properties.Frontends), portsPerFrontend*addresses)
	}
	return nil
}

// portUse is a range of ports of a frontend that a rule has.
type portUse struct {
	rule     arm.ID
	frontend *Ref
	protocol string
	from, to int
}

func (u portUse) clashes(o portUse) bool {
	return strings.EqualFold(u.frontend.ID, o.frontend.ID) && (u.protocol == o.protocol || u.protocol == "All" || o.protocol == "All") &&
		u.from <= o.to && o.from <= u.to
}

func (b *balancer) checkFrontendPorts() error {
	var uses []portUse
	for _, r := range b.rules {
		u := portUse{r.ID, r.Properties.Frontend, r.Properties.Protocol, r.Properties.FrontendPort, r.Properties.FrontendPort}
		if u.protocol == "All" {
			u.from, u.to = 0, 65535
		}
		uses = append(uses, u)
	}
	for _, r := range b.nat {
		from, to := r.Properties.ports()
		uses = append(uses, portUse{r.ID, r.Properties.Frontend, r.Properties.Protocol, from, to})
	}
	for i, u := range uses {
		for _, o := range uses[:i] {
			if u.clashes(o) {
				return bad("InvalidRequestFormat", "Rules %s and %s use the same frontend port and protocol (%s %d) of frontend IP configuration %s.", o.rule, u.rule, u.protocol, max(u.from, o.from), u.frontend.ID)
			}
		}
	}
	return nil
}

// checkBackendPorts: a backend could not tell two rules apart that reach it at one port by one protocol. With
// floating IP it tells them apart by the frontend's address.
func (b *balancer) checkBackendPorts() error {
	for i, r := range b.rules {
		for _, o := range b.rules[:i] {
			v, w := &r.Properties, &o.Properties
			if v.Pool == nil || w.Pool == nil || !strings.EqualFold(v.Pool.ID, w.Pool.ID) || v.Protocol != w.Protocol || v.BackendPort != w.BackendPort || v.FloatingIP != w.FloatingIP {
				continue
			}
			switch {
			case !v.FloatingIP:
				return bad("RulesUseSameBackendPortProtocolAndPool", "Load balancing rules %s and %s with floating IP disabled use the same protocol %s and backend port %d, and must not be used with the same backend address pool %s.", o.ID, r.ID, v.Protocol, v.BackendPort, v.Pool.ID)
			case strings.EqualFold(v.Frontend.ID, w.Frontend.ID):
				return bad("RulesUseSameBackendPortProtocolAndPoolAndFrontendIPWithFloatingIPEnabled", "Load balancing rules %s and %s with floating IP enabled use the same protocol %s and backend port %d and frontend IP %s, and must not be used with the same backend address pool %s.", o.ID, r.ID, v.Protocol, v.BackendPort, v.Frontend.ID, v.Pool.ID)
			}
		}
	}
	return nil
}

func (b *balancer) checkOutbound() error {
	for i, r := range b.outbound {
		if b.internal() {
			return bad("InvalidRequestFormat", "Outbound rule %s: outbound rules are for public frontends, and load balancer %s is internal.", r.ID, b.lb.ID)
		}
		for _, ref := range r.Properties.Frontends {
			for _, o := range b.outbound[:i] {
				v, w := r.Properties.Protocol, o.Properties.Protocol
				if (v == w || v == "All" || w == "All") && refsTo(o.Properties.Frontends, arm.MustParseID(ref.ID)) {
					return bad("MoreThanOneOutboundRuleUsingSameFrontendIPConfigurationAndProtocolIsNotSupported", "It is not supported to have more than a single outbound rule using frontendIPConfiguration %s with same or overlapping protocol. This frontendIPConfiguration is used by the following outbound rules: %s,%s", ref.ID, o.ID, r.ID)
				}
			}
			for _, rule := range b.rules {
				if v := &rule.Properties; !v.DisableOutboundSNAT && strings.EqualFold(v.Frontend.ID, ref.ID) {
					return bad("LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule", "Load Balancing Rules %s must have disableOutboundSNAT set to true when same FrontendIPConfiguration %s is referenced by Outbound Rules %s.", rule.ID, ref.ID, r.ID)
				}
			}
		}
	}
	return nil
}

// checkMembers checks what interfaces make of the load balancer, since a change of rules may concern them.
func (b *balancer) checkMembers(tx *rp.Tx) error {
	list, err := configsWhere(tx, func(c *IPConfigFields) bool {
		for i := range c.Pools {
			if byRef(b.pools, &c.Pools[i]) != nil {
				return true
			}
		}
		for i := range c.NATRules {
			if byRef(b.nat, &c.NATRules[i]) != nil {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := checkMember(tx, m.id(), &m.config.Properties, b); err != nil {
			return err
		}
	}
	return nil
}

// backendUse is a port of an IP configuration that a rule leads to.
type backendUse struct {
	balancer *balancer
	rule     arm.ID
	protocol string
	port     int
}

// checkMember checks one IP configuration against all load balancers that it is behind. known is one of them
// as it will be, or nil.
func checkMember(tx *rp.Tx, id string, c *IPConfigFields, known *balancer) error {
	behind, err := balancersOf(tx, id, c, known)
	if err != nil {
		return err
	}
	var uses []backendUse
	var inside *balancer // the internal one
	for _, b := range behind {
		if err := b.sameNetwork(tx, id, c); err != nil {
			return err
		}
		if b.internal() && inside != nil {
			return bad("AnotherInternalLoadBalancerExists", "IP configuration %s is behind internal load balancers %s and %s. It may be in the backend of one internal load balancer only.", id, inside.lb.ID, b.lb.ID)
		}
		if b.internal() {
			inside = b
		}
		if err := b.checkFloating(tx, id); err != nil {
			return err
		}
		uses = append(uses, b.uses(c)...)
	}
	for i, u := range uses {
		for _, o := range uses[:i] {
			if u.protocol != o.protocol || u.port != o.port || u.rule.Key() == o.rule.Key() || u.balancer.internal() != o.balancer.internal() {
				continue
			}
			code := "RulesUseSameBackendPortProtocolAndIPConfig"
			if u.balancer != o.balancer {
				code = "RulesOfSameLoadBalancerTypeUseSameBackendPortProtocolAndIPConfig"
			}
			return bad(code, "Load balancer rules %s and %s with floating IP disabled use the same backend port %d and protocol %s, and must not be used with the same backend IP %s.", o.rule, u.rule, u.port, u.protocol, id)
		}
	}
	return nil
}

// uses are the ports of a configuration that rules without floating IP lead to.
func (b *balancer) uses(c *IPConfigFields) (list []backendUse) {
	for _, r := range b.rules {
		if v := &r.Properties; v.Pool != nil && refsTo(c.Pools, arm.MustParseID(v.Pool.ID)) && !v.FloatingIP {
			list = append(list, backendUse{b, r.ID, v.Protocol, v.BackendPort})
		}
	}
	for _, r := range b.nat {
		v := &r.Properties
		mine := refsTo(c.NATRules, r.ID) || v.Pool != nil && refsTo(c.Pools, arm.MustParseID(v.Pool.ID))
		if mine && !v.FloatingIP {
			list = append(list, backendUse{b, r.ID, v.Protocol, v.BackendPort})
		}
	}
	return list
}

// sameNetwork: the frontends of an internal load balancer and all members are in one virtual network.
func (b *balancer) sameNetwork(tx *rp.Tx, id string, c *IPConfigFields) error {
	own, err := arm.ParseID(c.Subnet.ID)
	if err != nil {
		return err
	}
	vnet, err := b.network(tx, id)
	if err != nil || vnet.IsZero() || own.Parent().Key() == vnet.Key() {
		return err
	}
	if b.internal() {
		return bad("NetworkInterfaceAndInternalLoadBalancerMustUseSameVnet", "IP configuration %s is in virtual network %s and internal load balancer %s in %s. They must use the same virtual network.", id, own.Parent(), b.lb.ID, vnet)
	}
	return bad("InvalidRequestFormat", "IP configuration %s is in virtual network %s, the other members of load balancer %s are in %s. They must be in one virtual network.", id, own.Parent(), b.lb.ID, vnet)
}

// network is the virtual network of the load balancer: of its private frontends, or of its members but one;
// zero while it has neither.
func (b *balancer) network(tx *rp.Tx, but string) (arm.ID, error) {
	if b.internal() {
		subnet, err := arm.ParseID(b.frontends[0].Properties.Subnet.ID)
		return subnet.Parent(), err
	}
	for _, pool := range b.pools {
		members, err := b.members(tx, pool)
		if err != nil {
			return arm.ID{}, err
		}
		for _, m := range members {
			if !strings.EqualFold(m.config, but) || but == "" {
				return m.vnet, nil
			}
		}
	}
	for _, rule := range b.nat {
		m, err := natMember(tx, rule.ID)
		if err != nil {
			return arm.ID{}, err
		}
		if m == nil || strings.EqualFold(m.id(), but) {
			continue
		}
		one, err := m.backend()
		return one.vnet, err
	}
	return arm.ID{}, nil
}

// checkAddresses: addresses of pools are in the load balancer's virtual network.
func (b *balancer) checkAddresses(tx *rp.Tx) error {
	vnet, err := b.network(tx, "")
	if err != nil {
		return err
	}
	for _, pool := range b.pools {
		members, err := b.members(tx, pool)
		if err != nil {
			return err
		}
		for _, m := range members {
			if m.vnet.Key() != vnet.Key() {
				return bad("InvalidRequestFormat", "Backend address pool %s has the address %s in virtual network %s; load balancer %s is in %s.", pool.ID, m.addr, m.vnet, b.lb.ID, vnet)
			}
		}
	}
	return nil
}

// balancersOf are the load balancers that an IP configuration is behind.
func balancersOf(tx *rp.Tx, id string, c *IPConfigFields, known *balancer) ([]*balancer, error) {
	var list []*balancer
	seen := map[string]bool{}
	for _, ref := range append(append([]Ref{}, c.Pools...), c.NATRules...) {
		part, err := arm.ParseID(ref.ID)
		if err != nil {
			return nil, err
		}
		if seen[part.Parent().Key()] {
			continue
		}
		seen[part.Parent().Key()] = true
		if known != nil && known.lb.ID.Key() == part.Parent().Key() {
			list = append(list, known)
			continue
		}
		b, err := siblings(tx, part)
		if notFound(err) {
			return nil, missing(part, arm.MustParseID(id))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// sameVNet says whether two references to subnets name one virtual network.
func sameVNet(a, b *Ref) bool {
	x, err1 := arm.ParseID(a.ID)
	y, err2 := arm.ParseID(b.ID)
	return err1 == nil && err2 == nil && x.Parent().Key() == y.Parent().Key()
}
