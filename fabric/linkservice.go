package fabric

import (
	"fmt"
	"net/netip"
	"slices"
)

// This file is private link services: what connections to private endpoints do in the provider's VNet. The
// region accepts them at the endpoint and begins them again from an address of the service, which is on lo of
// the provider's router, to a frontend of its internal load balancer. Nothing else may begin there, and the
// backend's gates judge it as any other caller.
// https://learn.microsoft.com/azure/private-link/private-link-service-overview

// LinkService is a private link service (Microsoft.Network privateLinkServices). Endpoints lead to it whose
// Service.Target is its id. Its own addresses are those of a NIC of kind Endpoint with the same id, behind
// which nothing answers.
type LinkService struct {
	ID       string
	VNet     string // id: the provider's
	Frontend string // id of a private frontend of a load balancer of the VNet; its rules are for TCP, without floating IP
}

// LinkWay is where connections to a private link service go on.
type LinkWay struct {
	VNet     string       // id
	Sources  []netip.Addr // the service's own addresses
	Frontend netip.Addr
}

// LinkWay finds the way of a private link service by its id; ok is false if there is no such service.
func (t *Topology) LinkWay(service string) (way LinkWay, ok bool) {
	s := t.linkService(service)
	if s == nil {
		return LinkWay{}, false
	}
	n, _, f := t.link(s)
	return LinkWay{VNet: s.VNet, Sources: n.Addrs, Frontend: f.Addr}, true
}

// linkService is the one with that id, nil if there is none.
func (t *Topology) linkService(id string) *LinkService {
	for i := range t.LinkServices {
		if t.LinkServices[i].ID == id {
			return &t.LinkServices[i]
		}
	}
	return nil
}

// link is the NIC that has a service's addresses, and the frontend that it leads to; nil what is not there.
func (t *Topology) link(s *LinkService) (*NIC, *LoadBalancer, *Frontend) {
	n := t.vnet(s.VNet).nic(s.ID)
	for i := range t.LoadBalancers {
		b := &t.LoadBalancers[i]
		for j := range b.Frontends {
			if f := &b.Frontends[j]; f.ID == s.Frontend && f.Subnet != "" && b.VNet == s.VNet {
				return n, b, f
			}
		}
	}
	return n, nil, nil
}

// linkServices checks that services have addresses of their own and a frontend to lead to.
func (v *validator) linkServices(t *Topology) error {
	for i := range t.LinkServices {
		s := &t.LinkServices[i]
		n, b, f := t.link(s)
		switch {
		case t.linkService(s.ID) != s:
			return invalid(s.ID, "two private link services have this id")
		case n == nil || n.Kind != Endpoint || n.Service != nil:
			return invalid(s.ID, "VNet %q has no NIC for its addresses", s.VNet)
		case f == nil:
			return invalid(s.ID, "no load balancer of VNet %q has the private frontend %q", s.VNet, s.Frontend)
		}
		for _, x := range b.Rules {
			if x.Frontend == f.ID && (x.Protocol != TCP || x.FloatingIP) {
				return invalid(s.ID, "rule %s of its frontend is not for TCP, or has a floating IP", x.ID)
			}
		}
	}
	return nil
}

// links writes what services of the VNet may reach: their frontend, and the healthy backends of its rules, by
// address. The hooks of what the router sends know the interface of the first route only, not of the backend.
func (r *router) links() error {
	var ways, flows []string
	gates := linkGates{r: r, seen: map[netip.Addr]bool{}}
	for i := range r.t.LinkServices {
		s := &r.t.LinkServices[i]
		if s.VNet != r.v.ID {
			continue
		}
		n, b, f := r.t.link(s)
		for _, a := range n.Addrs {
			ways = append(ways, fmt.Sprintf("%s . %s", a, f.Addr))
		}
		for j := range b.Rules {
			x := &b.Rules[j]
			if x.Frontend != f.ID {
				continue
			}
			for _, m := range x.healthy() {
				if err := gates.add(m); err != nil {
					return err
				}
				for _, a := range n.Addrs {
					flows = append(flows, fmt.Sprintf("%s . %s . %d", a, m.Addr, x.BackendPort))
				}
			}
		}
	}
	if r.linked = len(ways) > 0; !r.linked {
		return nil
	}
	for _, list := range [][]string{ways, flows, gates.subnet, gates.nic} {
		slices.Sort(list)
	}
	r.set("links", "ipv4_addr . ipv4_addr", ways)
	r.set("link_flows", "ipv4_addr . ipv4_addr . inet_service", slices.Compact(flows))
	r.mapping("link_subnet", "ipv4_addr : verdict", gates.subnet)
	r.mapping("link_nic", "ipv4_addr : verdict", gates.nic)
	r.base("output_nat", "nat hook output priority -100; policy accept;",
		"ip saddr . ip daddr @links ip daddr . meta l4proto . th dport vmap @internal_rules")
	return nil
}

// linkGates are the gates of backends that services lead to, by address.
type linkGates struct {
	r           *router
	seen        map[netip.Addr]bool
	subnet, nic []string
}

func (g *linkGates) add(m Backend) error {
	if g.seen[m.Addr] {
		return nil
	}
	g.seen[m.Addr] = true
	n := g.r.v.nic(m.NIC)
	for _, x := range []struct {
		nsg string
		to  *[]string
	}{{g.r.subnets[n.Subnet].NSG, &g.subnet}, {n.NSG, &g.nic}} {
		if x.nsg == "" {
			continue
		}
		root, err := g.r.rootOf(x.nsg, g.r.subnets[n.Subnet], Inbound)
		if err != nil {
			return err
		}
		*x.to = append(*x.to, fmt.Sprintf("%s : jump %s", m.Addr, root))
	}
	return nil
}

// linking lets services begin connections to their backends, through the backends' gates.
func (r *router) linking() []string {
	if !r.linked {
		return nil
	}
	r.chain("link", "ip daddr vmap @link_subnet", "ip daddr vmap @link_nic", "goto pass")
	return []string{
		"ct status dnat ip saddr . ip daddr . tcp dport @link_flows goto link",
		"ip saddr . ip daddr @links " + r.drop(FabricRule(RuleNoBackend)),
	}
}

// throughLink follows a connection that a private endpoint has accepted into the provider's VNet: there it is
// another one, which begins in the router, from one of the service's addresses.
func (w *walk) throughLink(s *LinkService, from netip.Addr) bool {
	_, b, f := w.t.link(s)
	w.ns, w.linked, w.passed, w.crossed = RouterNS(s.VNet), true, map[string]bool{}, map[string]bool{}
	w.p.Source, w.p.Destination, w.e.Linked = from, f.Addr, true
	w.enter(w.ns, s.VNet)
	w.began()
	w.step(s.ID, fmt.Sprintf("goes on from %s to %s of a load balancer", w.p.Source, f.Addr), RuleRef{}, Allowed)
	return w.balance(w.t.vnet(s.VNet), b, f)
}

// linkFrom is the service that sends from an address of the VNet to the packet's destination, nil for none.
func (w *walk) linkFrom(v *VNet) *LinkService {
	for i := range w.t.LinkServices {
		s := &w.t.LinkServices[i]
		if n, _, f := w.t.link(s); s.VNet == v.ID && slices.Contains(n.Addrs, w.p.Source) && f.Addr == w.p.Destination {
			return s
		}
	}
	return nil
}
