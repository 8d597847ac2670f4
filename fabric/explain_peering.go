package fabric

import (
	"fmt"
	"net/netip"
	"slices"
)

// connected is the other side of a peering, nil where the other VNet has none back.
func (t *Topology) connected(v *VNet, p *Peering) (back *Peering, u *VNet) {
	for i := range t.VNets {
		if u := &t.VNets[i]; u.ID == p.Remote && u.ID != v.ID {
			for j := range u.Peerings {
				if u.Peerings[j].Remote == v.ID {
					return &u.Peerings[j], u
				}
			}
		}
	}
	return nil, nil
}

// sides are the connected peerings of a VNet, by id, one a VNet.
func (t *Topology) sides(v *VNet) (out []*Peering) {
	seen := map[string]bool{}
	for {
		var next *Peering
		for i := range v.Peerings {
			p := &v.Peerings[i]
			if back, _ := t.connected(v, p); back != nil && !seen[p.Remote] && (next == nil || p.ID < next.ID) {
				next = p
			}
		}
		if next == nil {
			return out
		}
		seen[next.Remote] = true
		out = append(out, next)
	}
}

// peeringHas tells whether a peering leads to the address: by a prefix that overlaps nothing before it.
func (t *Topology) peeringHas(v *VNet, p *Peering, a netip.Addr) (by netip.Prefix, has bool) {
	taken := slices.Clone(v.Prefixes)
	for _, side := range t.sides(v) {
		for _, prefix := range side.Prefixes {
			if !prefix.Addr().Is4() || slices.ContainsFunc(taken, prefix.Overlaps) {
				continue
			}
			if side == p && prefix.Contains(a) {
				return prefix, true
			}
			taken = append(taken, prefix)
		}
	}
	return netip.Prefix{}, false
}

// behindRemoteGateway tells whether a peering takes over a gateway's route that has the address.
func (t *Topology) behindRemoteGateway(v *VNet, p *Peering, a netip.Addr) bool {
	back, u := t.connected(v, p)
	return back != nil && back.GatewayTransit && p.RemoteGateways &&
		slices.ContainsFunc(u.GatewayRoutes, func(g GatewayRoute) bool { return g.Prefix.Contains(a) })
}

// toPeer is the way over a peering to the peered VNet, or to one of its NICs that is the next hop.
func (w *walk) toPeer(v *VNet, remote string, hop *NIC) bool {
	u := w.t.vnet(remote)
	i := slices.IndexFunc(u.Peerings, func(p Peering) bool { return p.Remote == v.ID })
	side := &u.Peerings[i]
	w.crossed[v.ID] = true
	w.restored()
	w.ttl--
	w.ns = RouterNS(u.ID)
	_, own := w.t.peeringHas(u, side, w.p.Source)
	endpoint := u.nicAt(w.p.Source)
	switch what := fmt.Sprintf("from %s by the peering", v.ID); {
	case own || w.t.behindRemoteGateway(u, side, w.p.Source):
		w.step(side.ID, what, RuleRef{}, Allowed)
	case endpoint != nil && endpoint.Kind == Endpoint:
		return w.deny(side.ID, fmt.Sprintf("%s is a private endpoint, which answers by itself", w.p.Source), FabricRule(RuleAntiSpoof))
	case !side.Forwarded:
		return w.deny(side.ID, fmt.Sprintf("%s is not of %s, and the peering does not allow forwarded traffic", w.p.Source, v.ID), FabricRule(RuleForwarded))
	default:
		w.step(side.ID, what+", which allows forwarded traffic", RuleRef{}, Allowed)
	}
	w.enter(RouterNS(u.ID), u.ID)
	w.direct = false
	if hop != nil {
		return w.hand(u, hop)
	}
	return w.entered(u)
}

// entered is the way of a packet that came by a peering.
func (w *walk) entered(v *VNet) bool {
	dst := w.p.Destination
	to := v.nicAt(dst)
	elsewhere := slices.ContainsFunc(w.t.sides(v), func(p *Peering) bool {
		_, has := w.t.peeringHas(v, p, dst)
		return has
	})
	b, f := w.frontend(v, true)
	switch {
	case w.invalid && (to != nil || !elsewhere):
		return w.unknown(v.ID)
	case b != nil && !w.known:
		return w.balance(v, b, f)
	case to != nil && to.Kind == Endpoint:
		return w.toEndpoint(v, to)
	case to != nil:
		return w.toNIC(v, to)
	case elsewhere:
		return w.deny(v.ID, "peering is not transitive", FabricRule(RulePeering))
	case v.has(dst) || !isPublic(dst):
		return w.deny(v.ID, "no NIC of the VNet has this address", FabricRule(RuleNoRoute))
	case w.known:
		return w.leaveBack(v)
	}
	return w.deny(v.ID, "a peering leads to the peered VNet only, not to the internet", FabricRule(RulePeering))
}
