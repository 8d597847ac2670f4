package fabric

import (
	"fmt"
	"net/netip"
	"slices"
)

// This file reads Azure's pages on outbound access a second time, for explanations.

// exit is the public address that the flow under way leaves by, and why it is that one; zero for none.
func (w *walk) exit(v *VNet, n *NIC) (netip.Addr, string) {
	s := v.subnet(n.Subnet)
	ports := w.p.Protocol == TCP || w.p.Protocol == UDP
	if g, ok := w.t.NATGateways[s.NATGateway]; ok && len(g.Addresses) > 0 {
		if !ports {
			return netip.Addr{}, fmt.Sprintf("NAT gateway %s translates TCP and UDP only", g.ID)
		}
		return spread(w.p.Source, g.Addresses), "leaves by NAT gateway " + g.ID + " as"
	}
	for _, a := range n.Public {
		if a.Private == w.p.Source {
			return a.Public, "leaves by its public address"
		}
	}
	if a, how := w.balancedExit(v, n); how != "" {
		return a, how
	}
	switch {
	case !s.DefaultOutbound:
		return netip.Addr{}, "neither a NAT gateway, a public address, a load balancer's outbound rule nor default outbound access"
	case len(n.Public) > 0:
		return netip.Addr{}, "default outbound access is not for interfaces with a public address"
	case !ports:
		return netip.Addr{}, "default outbound access is for TCP and UDP only"
	}
	return w.plan.outbound[v.ID], "leaves by the default outbound address"
}

// balancedExit is the way out by load balancers; how is "" for a NIC that is in no pool.
func (w *walk) balancedExit(v *VNet, n *NIC) (a netip.Addr, how string) {
	is := func(m Backend) bool { return m.NIC == n.ID && m.Addr == w.p.Source }
	serves := func(p Protocol) bool {
		return p == w.p.Protocol && (p == TCP || p == UDP) || p == AnyProtocol && (w.p.Protocol == TCP || w.p.Protocol == UDP)
	}
	public := func(b *LoadBalancer, ids []string) (out []netip.Addr) {
		for _, f := range b.Frontends {
			if slices.Contains(ids, f.ID) && f.Subnet == "" {
				out = append(out, f.Addr)
			}
		}
		return out
	}
	var first, second []netip.Addr
	for i := range w.t.LoadBalancers {
		b := &w.t.LoadBalancers[i]
		if b.VNet != v.ID {
			continue
		}
		for m := range b.members() {
			if m.NIC == n.ID {
				how = "backends of a load balancer have no default outbound access, and no outbound rule names it for this protocol"
			}
		}
		for _, o := range b.Outbound {
			if serves(o.Protocol) && slices.ContainsFunc(o.Backends, is) {
				first = append(first, public(b, o.Frontends)...)
			}
		}
		for _, o := range b.Rules {
			if o.ImplicitOutbound && serves(o.Protocol) && slices.ContainsFunc(o.Backends, is) {
				second = append(second, public(b, []string{o.Frontend})...)
			}
		}
	}
	switch {
	case len(first) > 0:
		return spread(w.p.Source, first), "leaves by a load balancer's outbound rule as"
	case len(second) > 0:
		return spread(w.p.Source, second), "leaves by a load balancer's frontend"
	}
	return netip.Addr{}, how
}

// owner is the VNet that has a public address, the NIC and private address behind it if it is a NIC's, and
// what it is for.
func (w *walk) owner(a netip.Addr) (v *VNet, n *NIC, private netip.Addr, what string) {
	for i := range w.t.VNets {
		v := &w.t.VNets[i]
		if a == w.plan.outbound[v.ID] {
			return v, nil, a, "a default outbound address"
		}
		for j := range v.NICs {
			for _, x := range v.NICs[j].Public {
				if x.Public == a {
					return v, &v.NICs[j], x.Private, "a public address"
				}
			}
		}
		for _, s := range v.Subnets {
			if g, ok := w.t.NATGateways[s.NATGateway]; ok && slices.Contains(g.Addresses, a) {
				return v, nil, a, "an address of NAT gateway " + g.ID
			}
		}
		for _, b := range w.t.LoadBalancers {
			for _, f := range b.Frontends {
				if b.VNet == v.ID && f.Subnet == "" && f.Addr == a {
					return v, nil, a, "a frontend without a rule"
				}
			}
		}
	}
	return nil, nil, a, ""
}
