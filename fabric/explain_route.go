package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// This file is the choice of a route, written down a second time: it asks each route of a subnet whether it
// has the one address, and takes the best of those. It shares no code with EffectiveRoutes, which sorts
// whole prefixes.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#how-azure-selects-a-route

// route takes the way that the routes of a NIC's subnet have for the packet.
func (w *walk) route(v *VNet, n *NIC) bool {
	if w.p.Destination.IsLinkLocalUnicast() {
		return w.deny(v.ID, "link-local addresses are not routed", FabricRule(RuleNoRoute))
	}
	r := w.t.routeFor(v, v.subnet(n.Subnet), w.p.Destination)
	w.e.Steps = append(w.e.Steps, Step{Where: n.Subnet, What: r.what(), Verdict: Allowed, Route: &r})
	if w.invalid {
		return w.unknown(v.ID)
	}
	if w.known && w.carrying && w.leavesFor(v, &r) && !w.carriedBack(v, n) {
		return false
	}
	switch {
	case r.Hop == HopVNet && r.Source == UserRouted && !v.has(w.p.Destination):
		return w.deny(v.ID, "the route's next hop is the VNet, which does not have this address", r.denial())
	case r.Hop == HopPeering, r.Hop == HopEndpoint && r.VNet != v.ID:
		return w.toPeer(v, r.VNet, nil)
	case r.Hop == HopVNet, r.Hop == HopEndpoint:
		return w.within(v)
	case r.Hop == HopService && !w.known && slices.Contains(n.Addrs, w.p.Source) && v.ServiceEndpoint(v.subnet(n.Subnet), w.p.Destination):
		return w.byServiceEndpoint(v)
	case r.Hop == HopInternet, r.Hop == HopService:
		return w.leave(v, n)
	case r.Source == DefaultRoute:
		return w.deny(v.ID, "the system route for this address is None", FabricRule(RuleNoRoute))
	case len(r.Balanced) > 0:
		return w.balancedHop(v, &r)
	case r.NIC != "" && r.VNet != v.ID:
		return w.toPeer(v, r.VNet, w.t.vnet(r.VNet).nic(r.NIC))
	case r.NIC != "":
		return w.hand(v, v.nic(r.NIC))
	case r.Hop == HopNone:
		return w.deny(v.ID, "the route leads nowhere", r.denial())
	}
	return w.deny(v.ID, "nobody at the next hop passes packets on", r.denial())
}

// within is the way to an address of the VNet itself.
func (w *walk) within(v *VNet) bool {
	to := v.nicAt(w.p.Destination)
	b, f := w.frontend(v, true)
	switch {
	case b != nil && !w.known:
		return w.balance(v, b, f)
	case to == nil:
		return w.deny(v.ID, "no NIC of the VNet has this address", FabricRule(RuleNoRoute))
	case to.Kind == Endpoint && w.known:
		return w.arrive(to.ID, Destination{Kind: ToEndpoint, ID: to.ID, Addr: w.p.Destination})
	case to.Kind == Endpoint:
		return w.toEndpoint(v, to)
	}
	return w.toNIC(v, to)
}

// denial is the rule that refuses what the route leads nowhere.
func (r *EffectiveRoute) denial() RuleRef {
	if r.Source == UserRouted {
		return RuleRef{Owner: r.Table, Direction: Routing, Rule: r.Name}
	}
	return FabricRule(RuleNoRoute)
}

// what is the route in words.
func (r *EffectiveRoute) what() string {
	text := fmt.Sprintf("%s route %s to %s", strings.ToLower(r.Source.String()), r.Prefix, r.Hop)
	switch r.Source {
	case UserRouted:
		text = fmt.Sprintf("route %s of %s, %s to %s", r.Name, r.Table, r.Prefix, r.Hop)
	case GatewayRouted:
		text = fmt.Sprintf("the gateway's route %s", r.Prefix)
	}
	if r.Appliance.IsValid() {
		text += " " + r.Appliance.String()
	}
	return text
}

// routeFor is the route that packets from a subnet take to an address.
func (t *Topology) routeFor(v *VNet, s *Subnet, dst netip.Addr) (best EffectiveRoute) {
	found := t.candidates(v, s, dst)
	for i, r := range found {
		if i == 0 || t.better(&r, &best, found) {
			best = r
		}
	}
	return best
}

// candidates are all routes that have the address.
func (t *Topology) candidates(v *VNet, s *Subnet, dst netip.Addr) (out []EffectiveRoute) {
	add := func(p netip.Prefix, r EffectiveRoute) {
		if p.Contains(dst) {
			r.Prefix, r.Active = p.Masked(), true
			out = append(out, r)
		}
	}
	for _, p := range v.Prefixes {
		add(p, EffectiveRoute{Hop: HopVNet, VNet: v.ID})
	}
	if n := v.nicAt(dst); n != nil && n.Kind == Endpoint {
		add(netip.PrefixFrom(dst, 32), EffectiveRoute{Hop: HopEndpoint, VNet: v.ID, NIC: n.ID})
	}
	for _, side := range t.sides(v) {
		p, has := t.peeringHas(v, side, dst)
		if !has {
			continue
		}
		add(p, EffectiveRoute{Hop: HopPeering, VNet: side.Remote, Peering: side.ID})
		if n := t.vnet(side.Remote).nicAt(dst); n != nil && n.Kind == Endpoint {
			add(netip.PrefixFrom(dst, 32), EffectiveRoute{Hop: HopEndpoint, VNet: side.Remote, NIC: n.ID, Peering: side.ID})
		}
	}
	for _, e := range s.ServiceEndpoints {
		for _, p := range e.Prefixes {
			add(p, EffectiveRoute{Hop: HopService, Name: e.Service})
		}
	}
	add(netip.MustParsePrefix("0.0.0.0/0"), EffectiveRoute{Hop: HopInternet})
	for _, text := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"} {
		add(netip.MustParsePrefix(text), EffectiveRoute{Hop: HopNone})
	}
	table := t.RouteTables[s.RouteTable]
	if table == nil || !table.IgnoreGateway {
		learned := func(u *VNet, peering string) {
			for _, g := range u.GatewayRoutes {
				if g.Prefix.Bits() < 8 && slices.ContainsFunc(v.NICs, func(n NIC) bool { return n.Subnet == s.ID && v.isGateway(n.ID) }) {
					continue // no gateway goes by the default route that it has for others
				}
				r := EffectiveRoute{Source: GatewayRouted, Hop: HopGateway, VNet: u.ID, Peering: peering}
				r.passTo(u, func(n *NIC) bool { return n.ID == g.NIC })
				add(g.Prefix, r)
			}
		}
		learned(v, "")
		for _, side := range t.sides(v) {
			if back, u := t.connected(v, side); side.RemoteGateways && back.GatewayTransit {
				learned(u, side.ID)
			}
		}
	}
	if table == nil {
		return out
	}
	for _, u := range table.Routes {
		r := EffectiveRoute{Source: UserRouted, Hop: u.Hop, Table: table.ID, Name: u.Name}
		switch u.Hop {
		case HopAppliance:
			r.Appliance = u.Appliance
			at := v
			for _, side := range t.sides(v) {
				if _, has := t.peeringHas(v, side, u.Appliance); has && v.nicAt(u.Appliance) == nil {
					at = t.vnet(side.Remote)
				}
			}
			r.passTo(at, func(n *NIC) bool { return slices.Contains(n.Addrs, u.Appliance) })
			if at.nicAt(u.Appliance) == nil {
				r.balanceAmong(t, at)
			}
		case HopGateway:
			at := v
			for _, side := range slices.Backward(t.sides(v)) {
				back, u := t.connected(v, side)
				if side.RemoteGateways && back.GatewayTransit && v.nic(gatewayID(v)) == nil && u.nic(gatewayID(u)) != nil {
					at = u
				}
			}
			r.passTo(at, func(n *NIC) bool { return n.ID == gatewayID(at) })
		}
		if one, err := netip.ParsePrefix(u.Prefix); err == nil {
			add(one, r)
			continue
		}
		r.Tag = u.Prefix
		list, _ := t.Tags.Prefixes(u.Prefix)
		for _, p := range list {
			add(p, r)
		}
	}
	return out
}

// passTo makes a NIC the next hop, if it is one that passes packets on.
func (r *EffectiveRoute) passTo(v *VNet, is func(*NIC) bool) {
	for i := range v.NICs {
		if n := &v.NICs[i]; is(n) && n.Forwarding && n.Kind == Guest {
			r.VNet, r.NIC = v.ID, n.ID
			if r.Hop == HopGateway {
				r.Appliance = n.Addrs[0]
			}
		}
	}
}

// balanceAmong makes the backends of an internal load balancer the next hop, if the appliance's address is a
// frontend with a rule for all ports.
func (r *EffectiveRoute) balanceAmong(t *Topology, at *VNet) {
	for i := range at.NICs {
		n := &at.NICs[i]
		behind := slices.ContainsFunc(t.LoadBalancers, func(b LoadBalancer) bool {
			return b.VNet == at.ID && slices.ContainsFunc(b.Rules, func(x BalancingRule) bool {
				return x.Port == 0 &&
					slices.ContainsFunc(b.Frontends, func(f Frontend) bool { return f.ID == x.Frontend && f.Subnet != "" && f.Addr == r.Appliance }) &&
					slices.ContainsFunc(x.Backends, func(m Backend) bool { return m.NIC == n.ID && !m.Down })
			})
		})
		if behind && n.Forwarding && n.Kind == Guest {
			r.VNet, r.Balanced = at.ID, append(r.Balanced, n.ID)
		}
	}
	slices.Sort(r.Balanced)
}

// gatewayID is the NIC of the VNet's gateway: of several the one with the first id.
func gatewayID(v *VNet) (first string) {
	for _, g := range v.GatewayRoutes {
		if first == "" || g.NIC < first {
			first = g.NIC
		}
	}
	return first
}

// isGateway tells whether routes of the VNet's lead to the NIC.
func (v *VNet) isGateway(nic string) bool {
	for _, g := range v.GatewayRoutes {
		if g.NIC == nic {
			return true
		}
	}
	return false
}

// intoTunnel sends a packet into the tunnel of a gateway that has the longest prefix for it; left is false where none
// leads there. given says that the VNet's routes led to the gateway: only that goes by a default route.
func (w *walk) intoTunnel(v *VNet, n *NIC, given bool) (left bool) {
	to := w.p.Destination
	if inside(v.Prefixes, to) {
		return false
	}
	for _, side := range w.t.sides(v) {
		if _, has := w.t.peeringHas(v, side, to); has {
			return false
		}
	}
	name, bits := "", -1
	for _, t := range n.Tunnels {
		for _, p := range t.Prefixes {
			if p.Contains(to) && p.Bits() > bits && (given || p.Bits() >= 8) {
				name, bits = t.Name, p.Bits()
			}
		}
	}
	if bits < 0 {
		return false
	}
	w.arrive(n.ID, Destination{Kind: ToTunnel, ID: name, Addr: to})
	return true
}

// better tells whether packets prefer a to b, of the routes that have their destination.
func (t *Topology) better(a, b *EffectiveRoute, all []EffectiveRoute) bool {
	switch x, y := t.ignored(a, all), t.ignored(b, all); {
	case x != y:
		return y
	case a.Prefix.Bits() != b.Prefix.Bits():
		return a.Prefix.Bits() > b.Prefix.Bits()
	case a.order() != b.order():
		return a.order() < b.order()
	}
	return a.Name < b.Name || a.Name == b.Name && a.NIC < b.NIC
}

// ignored are routes that do not count beside others.
func (t *Topology) ignored(r *EffectiveRoute, all []EffectiveRoute) bool {
	return slices.ContainsFunc(all, func(o EffectiveRoute) bool {
		user, system := o.Source == UserRouted, o.Source == DefaultRoute
		switch {
		case r.Source == GatewayRouted:
			return system && o.Hop != HopInternet && o.Hop != HopNone && o.Prefix.Bits() <= r.Prefix.Bits()
		case r.Source == DefaultRoute && r.Hop == HopNone:
			return !system && o.Prefix.Bits() == 0 && (o.Hop == HopAppliance || o.Hop == HopGateway) ||
				system && o.Hop == HopVNet && o.Prefix.Bits() <= r.Prefix.Bits()
		case r.Hop == HopEndpoint && user && o.Prefix.Bits() > 0:
			v := t.vnet(r.VNet)
			return v.subnet(v.nicAt(r.Prefix.Addr()).Subnet).EndpointRoutes &&
				slices.ContainsFunc(v.Prefixes, func(own netip.Prefix) bool {
					return own.Bits() <= o.Prefix.Bits() && own.Contains(o.Prefix.Addr())
				})
		}
		return false
	})
}

// order is Azure's for routes with the same prefix.
func (r *EffectiveRoute) order() int {
	tag := strings.ToLower(r.Tag)
	before, _, _ := strings.Cut(tag, ".")
	score := 0
	switch r.Source {
	case UserRouted:
		if tag == before && tag != "" {
			score++
		}
		if before == "azurecloud" {
			score += 2
		}
		if tag != "" {
			score++
		}
	case GatewayRouted:
		score = 10
	case DefaultRoute:
		score = 11
	}
	return score
}
