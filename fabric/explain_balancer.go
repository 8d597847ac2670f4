package fabric

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// This file follows flows through load balancers for explanations.

// frontend is the one of the VNet's load balancers that has the destination's address.
func (w *walk) frontend(v *VNet, internal bool) (*LoadBalancer, *Frontend) {
	for i := range w.t.LoadBalancers {
		b := &w.t.LoadBalancers[i]
		for j := range b.Frontends {
			f := &b.Frontends[j]
			if b.VNet == v.ID && f.Addr == w.p.Destination && (f.Subnet != "") == internal {
				return b, f
			}
		}
	}
	return nil, nil
}

// target is one backend of the rule that answers.
type target struct {
	nic  *NIC
	addr netip.Addr // what the packet is for: the backend's address, or the frontend's
	port uint16
}

// targets finds the rule for the packet. There is none for protocols without ports.
func (w *walk) targets(v *VNet, b *LoadBalancer, f *Frontend) (rule string, all int, up []target) {
	covers := func(p Protocol, port uint16) bool {
		return p == w.p.Protocol && port == w.p.DestinationPort && port != 0 && (p == TCP || p == UDP)
	}
	add := func(m Backend, floating bool, port uint16) {
		all++
		if m.Down {
			return
		}
		t := target{v.nicAt(m.Addr), m.Addr, port}
		if floating {
			t.addr = f.Addr
		}
		if !slices.Contains(up, t) || floating && !slices.ContainsFunc(up, func(o target) bool { return o.nic == t.nic }) {
			up = append(up, t)
		}
	}
	for _, x := range b.NATRules {
		if x.Frontend == f.ID && covers(x.Protocol, x.Port) {
			add(x.Backend, x.FloatingIP, x.BackendPort)
			return x.ID, all, up
		}
	}
	everything := -1
	for i, x := range b.Rules {
		switch {
		case x.Frontend != f.ID:
		case covers(x.Protocol, x.Port):
			for _, m := range x.Backends {
				add(m, x.FloatingIP, x.BackendPort)
			}
			return x.ID, all, up
		case x.Protocol == AnyProtocol && (w.p.Protocol == TCP || w.p.Protocol == UDP):
			everything = i
		}
	}
	if everything >= 0 {
		x := b.Rules[everything]
		for _, m := range x.Backends {
			add(m, x.FloatingIP, w.p.DestinationPort)
		}
		return x.ID, all, up
	}
	return "", 0, nil
}

// balance is the way from a frontend to a backend. Where several may be chosen, the flow is followed to
// each: it is allowed only if all of them take it.
func (w *walk) balance(v *VNet, b *LoadBalancer, f *Frontend) bool {
	for i := range v.NICs {
		if f.Subnet != "" && (w.passed[v.NICs[i].ID] || w.crossed[v.ID]) {
			return w.deny(f.ID, "a flow that has crossed the VNet on its way to an appliance is not balanced", FabricRule(RuleNoBackend))
		}
	}
	rule, all, up := w.targets(v, b, f)
	switch {
	case rule == "":
		return w.deny(f.ID, "the frontend has no rule for this port", FabricRule(RuleNoBackend))
	case len(up) == 0:
		return w.deny(rule, fmt.Sprintf("none of the %d backends is healthy", all), FabricRule(RuleNoBackend))
	case len(up) == 1:
		return w.toBackend(v, f, rule, up[0])
	}
	w.step(rule, fmt.Sprintf("chooses one of %d backends", len(up)), RuleRef{}, Allowed)
	return w.choose(len(up), func(way *walk, i int) { way.toBackend(v, f, rule, up[i]) })
}

// balancedHop is the way to one of the appliances behind an internal load balancer that is the next hop.
func (w *walk) balancedHop(v *VNet, r *EffectiveRoute) bool {
	u := w.t.vnet(r.VNet)
	on := func(way *walk, i int) {
		way.picked = append(way.picked, picked{way.raw, r.Balanced, i})
		if u.ID != v.ID {
			way.toPeer(v, u.ID, u.nic(r.Balanced[i]))
			return
		}
		way.hand(v, u.nic(r.Balanced[i]))
	}
	// The choice is by a hash that is the same for both directions.
	same := func(p picked) bool { return p.raw.inverse() == w.raw && slices.Equal(p.of, r.Balanced) }
	if i := slices.IndexFunc(w.picked, same); w.answers != nil && i >= 0 {
		on(w, w.picked[i].nic)
		return false
	}
	w.step(r.Appliance.String(), fmt.Sprintf("the load balancer's frontend stands for %d appliances", len(r.Balanced)), RuleRef{}, Allowed)
	return w.choose(len(r.Balanced), on)
}

// choose follows the flow on each of several ways; it is allowed only if all of them allow it.
func (w *walk) choose(n int, on func(way *walk, i int)) bool {
	if n == 1 {
		on(w, 0)
		return false
	}
	for i := range n {
		way := *w
		way.e.Steps, way.e.Either = slices.Clone(w.e.Steps), nil
		way.passed, way.crossed, way.memory = maps.Clone(w.passed), maps.Clone(w.crossed), w.memory.clone()
		on(&way, i)
		way.finish()
		if way.e.Either == nil {
			way.e.Either = []Explanation{way.e}
		}
		w.e.Either = append(w.e.Either, way.e.Either...)
	}
	one := slices.IndexFunc(w.e.Either, func(e Explanation) bool { return e.Verdict == Denied })
	if one < 0 {
		one = max(0, slices.IndexFunc(w.e.Either, func(e Explanation) bool { return e.Refused() != nil }))
	}
	all := w.e.Either
	w.e = all[one]
	w.e.Either = all
	return false
}

func (w *walk) toBackend(v *VNet, f *Frontend, rule string, t target) bool {
	public := f.Subnet == ""
	if !public && !w.linked && w.e.Flow.From == (Place{AtNIC, t.nic.ID}) {
		return w.deny(rule, "a backend that is chosen for its own call of an internal frontend does not answer", FabricRule(RuleHairpin))
	}
	if t.addr == w.p.Destination {
		w.step(rule, fmt.Sprintf("goes to %s, which has the frontend's address (floating IP)", t.nic.ID), RuleRef{}, Allowed)
	} else {
		w.step(rule, fmt.Sprintf("is translated to %s", netip.AddrPortFrom(t.addr, t.port)), RuleRef{}, Allowed)
	}
	w.p.Destination, w.p.DestinationPort = t.addr, t.port
	w.translated()
	if public && t.nic.Firewall == nil && !t.nic.Managed && t.nic.NSG == "" && v.subnet(t.nic.Subnet).NSG == "" {
		return w.deny(t.nic.ID, "a public frontend is closed where no network security group opens the backend", FabricRule(RuleNoInbound))
	}
	return w.toNIC(v, t.nic)
}

// probed tells whether a load balancer's probe goes there.
func (w *walk) probed(v *VNet) bool {
	for _, b := range w.t.LoadBalancers {
		for _, x := range b.Rules {
			for _, p := range b.Probes {
				if b.VNet == v.ID && x.Probe == p.ID && p.Port == w.p.DestinationPort && w.p.Protocol == TCP &&
					slices.ContainsFunc(x.Backends, func(m Backend) bool { return m.Addr == w.p.Destination }) {
					return true
				}
			}
		}
	}
	return false
}

// floats tells whether the address is a frontend that the NIC has on lo: a floating IP.
func (w *walk) floats(v *VNet, n *NIC, a netip.Addr) bool {
	for i := range w.t.LoadBalancers {
		b := &w.t.LoadBalancers[i]
		for _, f := range b.Frontends {
			is := func(frontend string, floating bool, m Backend) bool {
				return floating && frontend == f.ID && m.NIC == n.ID && b.VNet == v.ID && f.Addr == a
			}
			for _, x := range b.Rules {
				if slices.ContainsFunc(x.Backends, func(m Backend) bool { return is(x.Frontend, x.FloatingIP, m) }) {
					return true
				}
			}
			for _, x := range b.NATRules {
				if is(x.Frontend, x.FloatingIP, x.Backend) {
					return true
				}
			}
		}
	}
	return false
}
