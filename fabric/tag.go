package fabric

import (
	"net/netip"

	"vauban.dev/fabric/internal/interval"
)

// virtualNetwork is what the tag VirtualNetwork stands for at a subnet, or at the VNet as a whole where s is
// nil: the VNet's space, that of peered VNets it may access, what lies behind gateways, and the prefixes
// of the subnet's own user routes. Routes to the internet are not among them: what they lead to is nobody's
// network.
// https://learn.microsoft.com/azure/virtual-network/service-tags-overview#available-service-tags
func virtualNetwork(t *Topology, v *VNet, s *Subnet) interval.Set {
	set := interval.Of(v.Prefixes...)
	for _, g := range v.GatewayRoutes {
		set = set.Union(interval.Of(g.Prefix))
	}
	for _, p := range t.peersOf(v) {
		if p.side.Access {
			set = set.Union(interval.Of(p.prefixes...))
		}
		set = set.Union(interval.Of(p.gatewayPrefixes()...))
	}
	if s == nil || t.RouteTables[s.RouteTable] == nil {
		return set
	}
	for _, u := range t.RouteTables[s.RouteTable].Routes {
		if prefixes, _, _ := t.routePrefixes(u.Prefix); u.Hop != HopInternet {
			set = set.Union(interval.Of(prefixes...))
		}
	}
	return set
}

// at is the scope of a subnet's rules. Subnets whose VirtualNetwork is the same share one.
func (s *scope) at(t *Topology, v *VNet, subnet *Subnet) *scope {
	set := virtualNetwork(t, v, subnet)
	name := ""
	if set.Minus(s.virtual).Size()+s.virtual.Minus(set).Size() > 0 {
		name = digest(10, texts(set)...)
	}
	if s.subnets[name] == nil {
		made := *s
		made.virtual, made.name = set, name
		s.subnets[name] = &made
	}
	return s.subnets[name]
}

// VirtualNetworkAt are the prefixes that the tag VirtualNetwork stands for in the rules of a subnet, in order; none
// for a subnet that the topology lacks.
func (t *Topology) VirtualNetworkAt(subnetID string) []netip.Prefix {
	for i := range t.VNets {
		if s := t.VNets[i].subnet(subnetID); s.ID != "" {
			return virtualNetwork(t, &t.VNets[i], s).Prefixes()
		}
	}
	return nil
}
