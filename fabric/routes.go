package fabric

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// RouteSource tells who made a route (Microsoft.Network effectiveRoutes, source).
type RouteSource uint8

const (
	DefaultRoute  RouteSource = iota // Azure's own
	UserRouted                       // a route of the subnet's route table
	GatewayRouted                    // a virtual network gateway
)

func (s RouteSource) String() string {
	return [...]string{"Default", "User", "VirtualNetworkGateway"}[s]
}

// EffectiveRoute is one route of a subnet: one prefix and where it leads. A user route whose prefix is a
// service tag stands once for each prefix of the tag.
type EffectiveRoute struct {
	Prefix netip.Prefix
	Source RouteSource
	Hop    HopType
	// Table and Name of a user route; Tag is its service tag, "" where its prefix is written out.
	Table, Name, Tag string
	// VNet is the one that the route leads to (HopVNet, HopPeering, HopEndpoint) or that has NIC.
	VNet string
	// Peering is the id of this side's peering where the route came with it.
	Peering string
	// Appliance is the next hop's address, and NIC who has it: "" where nobody has, or nobody who may
	// forward, and packets are dropped (HopAppliance, HopGateway). NIC of a HopEndpoint is the endpoint.
	Appliance netip.Addr
	NIC       string
	// Balanced are the NICs that share what comes to Appliance where that is the frontend of an internal load
	// balancer with a rule for all ports: its healthy backends that may forward.
	Balanced []string
	// Active: no other route takes precedence for the whole prefix. Packets follow the active route
	// with the longest prefix.
	Active bool
}

// EffectiveRoutes are the routes that packets from a subnet's NICs choose from: by prefix, the active one
// first. A subnet that the topology lacks has none.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#how-azure-selects-a-route
func EffectiveRoutes(t *Topology, subnetID string) []EffectiveRoute {
	for i := range t.VNets {
		v := &t.VNets[i]
		if s := v.subnet(subnetID); s.ID != "" {
			return effectiveRoutes(t, v, s)
		}
	}
	return nil
}

func effectiveRoutes(t *Topology, v *VNet, s *Subnet) []EffectiveRoute {
	f := routeFinder{t: t, v: v, s: s, peers: t.peersOf(v), table: t.RouteTables[s.RouteTable]}
	f.system()
	f.gateway()
	f.user()
	slices.SortStableFunc(f.routes, func(a, b EffectiveRoute) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
			cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Name, b.Name), cmp.Compare(a.NIC, b.NIC))
	})
	f.overrule()
	return f.routes
}

// rank orders routes with the same prefix: the lowest wins. Of user routes a written prefix goes before a
// regional tag, a tag, AzureCloud's regions and AzureCloud.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#service-tags-for-user-defined-routes
func (r *EffectiveRoute) rank() int {
	cloud := strings.HasPrefix(strings.ToLower(r.Tag), "azurecloud")
	regional := strings.Contains(r.Tag, ".")
	switch {
	case r.Source == UserRouted && r.Tag == "":
		return 0
	case r.Source == UserRouted && regional && !cloud:
		return 1
	case r.Source == UserRouted && !cloud:
		return 2
	case r.Source == UserRouted && regional:
		return 3
	case r.Source == UserRouted:
		return 4
	case r.preferred():
		return 5
	case r.Source == GatewayRouted:
		return 6
	}
	return 7
}

// preferred are the system routes that beat even more specific ones of a gateway.
func (r *EffectiveRoute) preferred() bool {
	return r.Source == DefaultRoute && slices.Contains([]HopType{HopVNet, HopPeering, HopService, HopEndpoint}, r.Hop)
}

type routeFinder struct {
	peers  []peer
	t      *Topology
	v      *VNet
	s      *Subnet
	table  *RouteTable // nil for none
	routes []EffectiveRoute
}

func (f *routeFinder) add(r EffectiveRoute) {
	if r.Prefix = r.Prefix.Masked(); r.Prefix.Addr().Is4() {
		r.Active = true
		f.routes = append(f.routes, r)
	}
}

func (f *routeFinder) system() {
	for _, p := range f.v.Prefixes {
		f.add(EffectiveRoute{Prefix: p, Hop: HopVNet, VNet: f.v.ID})
	}
	f.endpoints(f.v, "", prefixes("0.0.0.0/0"))
	for _, p := range f.peers {
		for _, prefix := range p.prefixes {
			f.add(EffectiveRoute{Prefix: prefix, Hop: HopPeering, VNet: p.vnet.ID, Peering: p.side.ID})
		}
		f.endpoints(p.vnet, p.side.ID, p.prefixes)
	}
	for _, e := range f.s.ServiceEndpoints {
		for _, p := range e.Prefixes {
			f.add(EffectiveRoute{Prefix: p, Hop: HopService, Name: e.Service})
		}
	}
	f.add(EffectiveRoute{Prefix: anywhere, Hop: HopInternet})
	for _, p := range systemNone().Prefixes() {
		covers := func(own netip.Prefix) bool { return covers(own, p) }
		if !slices.ContainsFunc(f.v.Prefixes, covers) {
			f.add(EffectiveRoute{Prefix: p, Hop: HopNone})
		}
	}
}

// endpoints adds the private endpoints of a VNet within some prefixes.
func (f *routeFinder) endpoints(v *VNet, peering string, within []netip.Prefix) {
	for i := range v.NICs {
		n := &v.NICs[i]
		if n.Kind != Endpoint {
			continue
		}
		for _, a := range n.Addrs {
			if !inside(within, a) {
				continue
			}
			f.add(EffectiveRoute{Prefix: host(a), Hop: HopEndpoint, VNet: v.ID, NIC: n.ID, Peering: peering})
		}
	}
}

// gateway adds what the VNet's own gateway learned, and that of a peered VNet whose gateway this one uses, if
// the subnet's table lets it. Gateways do not force their own subnet: their wires run over the internet.
func (f *routeFinder) gateway() {
	if f.table != nil && f.table.IgnoreGateway {
		return
	}
	learned := func(v *VNet, peering string) {
		for _, g := range v.GatewayRoutes {
			if forced(g.Prefix) && f.v.standsIn(f.s) {
				continue
			}
			r := EffectiveRoute{Prefix: g.Prefix, Source: GatewayRouted, Hop: HopGateway, VNet: v.ID, Peering: peering}
			f.via(&r, v, v.nic(g.NIC))
			f.add(r)
		}
	}
	learned(f.v, "")
	for i := range f.peers {
		if p := &f.peers[i]; p.usesGateway() {
			learned(p.vnet, p.side.ID)
		}
	}
}

func (f *routeFinder) user() {
	if f.table == nil {
		return
	}
	for _, u := range f.table.Routes {
		prefixes, tag, _ := f.t.routePrefixes(u.Prefix)
		r := EffectiveRoute{Source: UserRouted, Hop: u.Hop, Table: f.table.ID, Name: u.Name, Tag: tag}
		switch u.Hop {
		case HopAppliance:
			r.Appliance = u.Appliance
			at, n := f.t.hopAt(f.v, f.peers, u.Appliance)
			f.via(&r, at, n)
			for _, m := range f.t.balancedHops(at, u.Appliance) {
				r.VNet, r.Balanced = at.ID, append(r.Balanced, m.ID)
			}
		case HopGateway:
			at, n := f.nextGateway()
			f.via(&r, at, n)
		}
		for _, p := range prefixes {
			r.Prefix = p
			f.add(r)
		}
	}
}

// nextGateway is the gateway that user routes lead to: the VNet's own, or that of a peered VNet.
func (f *routeFinder) nextGateway() (*VNet, *NIC) {
	if n := f.v.gateway(); n != nil {
		return f.v, n
	}
	for i := range f.peers {
		if p := &f.peers[i]; p.usesGateway() && p.vnet.gateway() != nil {
			return p.vnet, p.vnet.gateway()
		}
	}
	return f.v, nil
}

// via makes a NIC the next hop if it passes packets on.
func (f *routeFinder) via(r *EffectiveRoute, v *VNet, n *NIC) {
	if n != nil && n.forwards() {
		r.VNet, r.NIC = v.ID, n.ID
		if !r.Appliance.IsValid() {
			r.Appliance = n.Addrs[0]
		}
	}
}

// routePrefixes are those of a user route, and its tag if it is one; ok is false for a text that is
// neither.
func (t *Topology) routePrefixes(text string) (p []netip.Prefix, tag string, ok bool) {
	if one, err := netip.ParsePrefix(text); err == nil {
		return []netip.Prefix{one}, "", true
	}
	if t.Tags != nil {
		p, ok = t.Tags.Prefixes(text)
	}
	return p, text, ok
}

// gateway is the NIC of the VNet's gateway, nil if it has none.
func (v *VNet) gateway() *NIC {
	if len(v.GatewayRoutes) == 0 {
		return nil
	}
	return v.nic(slices.MinFunc(v.GatewayRoutes, func(a, b GatewayRoute) int { return strings.Compare(a.NIC, b.NIC) }).NIC)
}

// standsIn tells whether a gateway of the VNet is in the subnet.
func (v *VNet) standsIn(s *Subnet) bool {
	return slices.ContainsFunc(v.GatewayRoutes, func(g GatewayRoute) bool {
		n := v.nic(g.NIC)
		return n != nil && n.Subnet == s.ID
	})
}

// overrule finds the routes that never decide. The routes are in order: of those with the same prefix the
// first is the best.
func (f *routeFinder) overrule() {
	away := false // a default route leads to an appliance or gateway
	var preferred []netip.Prefix
	for i := range f.routes {
		r := &f.routes[i]
		away = away || r.Prefix.Bits() == 0 && (r.Hop == HopAppliance || r.Hop == HopGateway)
		if r.preferred() {
			preferred = append(preferred, r.Prefix)
		}
	}
	for i := range f.routes {
		r := &f.routes[i]
		inside := func(p netip.Prefix) bool { return covers(p, r.Prefix) }
		switch {
		case i > 0 && f.routes[i-1].Prefix == r.Prefix:
			r.Active = false
		case r.Source == GatewayRouted:
			r.Active = !slices.ContainsFunc(preferred, inside)
		case r.Source == DefaultRoute && r.Hop == HopNone:
			// With a default route of their own, subnets reach private addresses by it: Azure's hybrid
			// networks need one route only. https://learn.microsoft.com/azure/firewall/tutorial-hybrid-portal
			r.Active = !away
		case r.Hop == HopEndpoint:
			r.Active = !f.overridesEndpoint(r)
		}
	}
}

// overridesEndpoint: a user route broader than /32 leads to a private endpoint's address only if the
// endpoint's subnet asks for it and the route is no wider than the VNet's space.
// https://learn.microsoft.com/azure/private-link/disable-private-endpoint-network-policy
func (f *routeFinder) overridesEndpoint(e *EffectiveRoute) bool {
	v := f.t.vnet(e.VNet)
	if !v.subnet(v.nic(e.NIC).Subnet).EndpointRoutes {
		return false
	}
	return slices.ContainsFunc(f.routes, func(u EffectiveRoute) bool {
		return u.Source == UserRouted && u.Prefix.Bits() > 0 && covers(u.Prefix, e.Prefix) &&
			slices.ContainsFunc(v.Prefixes, func(own netip.Prefix) bool { return covers(own, u.Prefix) })
	})
}

// covers tells whether p has all addresses of q.
func covers(p, q netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) }

// nic is the one with this id, nil if there is none.
func (v *VNet) nic(id string) *NIC {
	for i := range v.NICs {
		if v.NICs[i].ID == id {
			return &v.NICs[i]
		}
	}
	return nil
}

// String is the name that Azure's tools have for the type of a next hop.
func (h HopType) String() string {
	names := [...]string{"None", "VnetLocal", "VNetPeering", "VirtualNetworkGateway", "Internet", "VirtualAppliance",
		"VirtualNetworkServiceEndpoint", "InterfaceEndpoint"}
	if int(h) >= len(names) {
		return fmt.Sprintf("hop type %d", uint8(h))
	}
	return names[h]
}

// ref names a user route as a rule that refuses packets.
func (r *EffectiveRoute) ref() RuleRef {
	return RuleRef{Owner: r.Table, Direction: Routing, Rule: r.Name}
}

// validateRoutes refuses tables that cannot be meant.
func validateRoutes(t *Topology, subnet *Subnet) error {
	if subnet.RouteTable == "" {
		return nil
	}
	table := t.RouteTables[subnet.RouteTable]
	if table == nil {
		return invalid(subnet.ID, "there is no route table %q", subnet.RouteTable)
	}
	for _, u := range table.Routes {
		if reason := u.reason(t); reason != "" {
			return &TopologyError{Object: table.ID, Rule: u.Name, Reason: reason}
		}
	}
	return nil
}

// reason is what is wrong with a user route, "" if nothing is.
func (u *UserRoute) reason(t *Topology) string {
	if _, _, ok := t.routePrefixes(u.Prefix); !ok {
		return fmt.Sprintf("%q is no prefix or known service tag", u.Prefix)
	}
	switch u.Hop {
	case HopNone, HopVNet, HopInternet, HopGateway:
		return ""
	case HopAppliance:
		if !u.Appliance.Is4() {
			return "the appliance has no IPv4 address"
		}
		return ""
	}
	return fmt.Sprintf("%s is no next hop of user routes", u.Hop)
}
