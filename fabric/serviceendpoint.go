package fabric

import (
	"fmt"
	"net/netip"
	"slices"

	"vauban.dev/fabric/internal/interval"
)

// This file is the path of service endpoints: packets of a subnet to a service's public prefixes keep their
// private source and end in the VNet's own router, where the region's services listen. Two VNets with equal
// addresses so never meet. The marks and the route stand in every router, also where no subnet has an
// endpoint any more: connections go on by the path that they began on.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-service-endpoints-overview

// Bits of packet and connection marks (the low 16 of a packet's are the next hop's), and the table that
// leads packets by a service endpoint into the router.
const (
	byEndpoint      = 0x10000
	endpointTable   = 0x10000
	endpointRule    = 90 // before the next hops of user routes: they do not catch this traffic
	serviceSetClass = "v"
)

// routeServices leads marked packets into the router.
func routeServices(ns *Namespace) {
	ns.Rules = append(ns.Rules, PolicyRule{Priority: endpointRule, FwMark: byEndpoint, FwMask: byEndpoint, Table: endpointTable})
	ns.Routes = append(ns.Routes, Route{Type: "local", Dst: anywhere, Dev: "lo", Table: endpointTable})
}

// serviceEndpoints writes which packets go by a service endpoint: new flows of the NIC's own addresses to
// the subnet's services, and what belongs to flows that went by one before.
func (r *router) serviceEndpoints() {
	bit := fmt.Sprintf("%#x", byEndpoint)
	mark := "meta mark set meta mark or " + bit
	lines := append(r.keepMember(), "ct mark and "+bit+" == "+bit+" "+mark+" accept")
	chains := map[string]string{} // by subnet
	sets := map[string]interval.Set{}
	for id, s := range r.subnets {
		sets[id] = r.services(s)
	}
	var gates []string
	for i := range r.v.NICs {
		n := &r.v.NICs[i]
		services := sets[n.Subnet]
		if n.Kind != Guest || len(services) == 0 {
			continue
		}
		if chains[n.Subnet] == "" {
			set := r.content(SetObject, serviceSetClass, []string{"type ipv4_addr", "flags interval"}, texts(services))
			chains[n.Subnet] = r.list(serviceSetClass, []string{
				"iifname . ip saddr @sources ip daddr @" + set + " " + mark + " ct mark set ct mark or " + bit})
		}
		gates = append(gates, fmt.Sprintf("%q : jump %s", NICNS(n.ID), chains[n.Subnet]))
	}
	r.endpointed = len(gates) > 0
	if r.endpointed {
		r.mapping("service_endpoints", "ifname : verdict", gates)
		lines = append(lines, "ct state new ct mark and "+judged+" != "+judged+" iifname vmap @service_endpoints")
	}
	r.base("prerouting_services", "filter hook prerouting priority -150; policy accept;", lines...)
}

// services are the addresses that a subnet reaches by its service endpoints: those that no other route
// leads elsewhere.
func (r *router) services(s *Subnet) interval.Set {
	if len(s.ServiceEndpoints) == 0 {
		return nil
	}
	in := decided(r.active(s), func(e *EffectiveRoute) bool { return e.Hop == HopService })
	return in.Minus(neverPublic()).Minus(r.scope.space)
}

// toService judges what comes to the router by a service endpoint, and returns the rules of the input
// hook that send it there.
func (r *router) toService() []string {
	if !r.endpointed {
		return nil
	}
	r.intervals("services", texts(interval.Of(localPrefixes(r.t, r.plan)...)))
	r.chain("to_service",
		"iifname vmap @egress_nic",
		"iifname vmap @egress_subnet",
		"ip daddr != @services "+r.drop(FabricRule(RuleNoRoute)),
		"goto pass")
	return []string{fmt.Sprintf("meta mark and %#x == %#[1]x goto to_service", byEndpoint)}
}

// ServiceEndpoint tells whether a packet from the subnet to the address goes by a service endpoint: the service
// has to listen there in the VNet's router.
func (v *VNet) ServiceEndpoint(s *Subnet, a netip.Addr) bool {
	return isPublic(a) && !v.has(a) && slices.ContainsFunc(s.ServiceEndpoints, func(e ServiceEndpoint) bool { return inside(e.Prefixes, a) })
}
