package fabric

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/interval"
)

// This file is the way between peered VNets. Each pair has a link between its two routers: the sender's gates
// are judged in the sender's router, the receiver's in the receiver's. A user route that leads to an appliance
// of a peered VNet, or a gateway's route that is taken over, has a link of its own for each such NIC: by it
// packets of any destination come to that NIC.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-peering-overview

// peer is a peered VNet: both sides have a peering that names the other.
type peer struct {
	side, back *Peering // this VNet's and the other's
	vnet       *VNet
	// prefixes of the other as this side knows them, without those that overlap: Azure refuses them.
	prefixes []netip.Prefix
}

// peersOf are the peered VNets, by the ids of the peerings.
func (t *Topology) peersOf(v *VNet) (out []peer) {
	taken := interval.Of(v.Prefixes...)
	sides := make([]*Peering, 0, len(v.Peerings))
	for i := range v.Peerings {
		sides = append(sides, &v.Peerings[i])
	}
	slices.SortFunc(sides, func(a, b *Peering) int { return compareText(a.ID, b.ID) })
	for _, side := range sides {
		u := t.vnet(side.Remote)
		i := slices.IndexFunc(u.Peerings, func(p Peering) bool { return p.Remote == v.ID })
		if i < 0 || u.ID == v.ID || slices.ContainsFunc(out, func(p peer) bool { return p.vnet.ID == u.ID }) {
			continue
		}
		p := peer{side: side, back: &u.Peerings[i], vnet: u}
		for _, prefix := range side.Prefixes {
			if set := interval.Of(prefix); len(set) > 0 && !set.Overlaps(taken) {
				p.prefixes = append(p.prefixes, prefix.Masked())
				taken = taken.Union(set)
			}
		}
		out = append(out, p)
	}
	return out
}

// usesGateway: this VNet takes over the routes of the other's gateway.
func (p *peer) usesGateway() bool { return p.side.RemoteGateways && p.back.GatewayTransit }

// gatewayPrefixes lie behind the other's gateway, for this VNet too.
func (p *peer) gatewayPrefixes() (out []netip.Prefix) {
	if p.usesGateway() {
		for _, g := range p.vnet.GatewayRoutes {
			out = append(out, g.Prefix)
		}
	}
	return out
}

// PeeringInterface names both ends of the link between two peered VNets.
func PeeringInterface(vnetID, otherID string) string {
	return "p-" + digest(10, min(vnetID, otherID), max(vnetID, otherID))
}

// ApplianceInterface names both ends of the link from a VNet to a NIC of a peered one that is a next hop.
func ApplianceInterface(vnetID, nicID string) string { return "a-" + digest(10, vnetID, nicID) }

// peeringPool is cut into pairs for the links between routers. It has none of the platform's addresses.
func peeringPool() netip.Prefix { return netip.MustParsePrefix("169.254.192.0/18") }

// ends are the two addresses of a link between routers: of the VNet with the lower id, or where packets to
// an appliance come from, and the other.
type ends struct{ from, to netip.Addr }

// planPeerings gives each link between routers its addresses.
func (p *plan) planPeerings(t *Topology) error {
	names := map[string]bool{}
	for i := range t.VNets {
		v := &t.VNets[i]
		for _, u := range t.peersOf(v) {
			names[PeeringInterface(v.ID, u.vnet.ID)] = true
		}
		for _, n := range t.remoteHops(v) {
			names[ApplianceInterface(v.ID, n.nic.ID)] = true
		}
	}
	pool := interval.Of(peeringPool())
	pairs, first := pool.Size()/2, pool[0].Lo
	taken := map[uint64]bool{}
	p.links = map[string]ends{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		slot, ok := probe(name, pairs, func(i uint64) bool { return taken[i] })
		if !ok {
			return invalid(name, "there are more peerings and remote appliances than addresses for their links (%d)", pairs)
		}
		taken[slot] = true
		even := first + 2*uint32(slot)
		p.links[name] = ends{interval.Addr(even), interval.Addr(even + 1)}
	}
	return nil
}

// remoteHop is a forwarding NIC of a peered VNet that a VNet's routes lead to.
type remoteHop struct {
	vnet *VNet
	nic  *NIC
}

// remoteHops are all of them, by the NICs' ids.
func (t *Topology) remoteHops(v *VNet) []remoteHop {
	found := map[string]remoteHop{}
	add := func(u *VNet, n *NIC) {
		if n != nil && n.forwards() {
			found[n.ID] = remoteHop{u, n}
		}
	}
	peers := t.peersOf(v)
	for i := range peers {
		if !peers[i].usesGateway() {
			continue
		}
		u := peers[i].vnet
		for _, g := range u.GatewayRoutes {
			add(u, u.nic(g.NIC))
		}
	}
	for i := range v.Subnets {
		table := t.RouteTables[v.Subnets[i].RouteTable]
		if table == nil {
			continue
		}
		for _, r := range table.Routes {
			u, n := t.hopAt(v, peers, r.Appliance)
			if r.Hop != HopAppliance || u.ID == v.ID {
				continue
			}
			add(u, n)
			for _, m := range t.balancedHops(u, r.Appliance) {
				add(u, m)
			}
		}
	}
	out := make([]remoteHop, 0, len(found))
	for _, id := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[id])
	}
	return out
}

// hopAt is the NIC with an address, in the VNet or a peered one; nil if there is none.
func (t *Topology) hopAt(v *VNet, peers []peer, a netip.Addr) (*VNet, *NIC) {
	if n := v.nicAt(a); n != nil {
		return v, n
	}
	for _, p := range peers {
		if inside(p.prefixes, a) {
			return p.vnet, p.vnet.nicAt(a)
		}
	}
	return v, nil
}

// balancedHops are the forwarding NICs behind a private frontend of a VNet's load balancers: the healthy
// backends of its rule for all ports, by id.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-ha-ports-overview
func (t *Topology) balancedHops(v *VNet, frontend netip.Addr) (out []*NIC) {
	for i := range t.LoadBalancers {
		b := &t.LoadBalancers[i]
		for _, f := range b.Frontends {
			for j := range b.Rules {
				x := &b.Rules[j]
				if b.VNet != v.ID || f.Addr != frontend || f.Subnet == "" || x.Frontend != f.ID || x.Port != 0 {
					continue
				}
				for _, m := range x.healthy() {
					if n := v.nic(m.NIC); n != nil && n.forwards() && !slices.Contains(out, n) {
						out = append(out, n)
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b *NIC) int { return compareText(a.ID, b.ID) })
	return out
}

// peerings adds what leads to other VNets, and from them to this one's forwarding NICs.
func (r *router) peerings(ns *Namespace) {
	for _, p := range r.peers {
		name := PeeringInterface(r.v.ID, p.vnet.ID)
		link := r.plan.links[name]
		via := link.to
		if r.v.ID > p.vnet.ID {
			via = link.from
		}
		for _, prefix := range p.prefixes {
			ns.Routes = append(ns.Routes, Route{Type: "unicast", Dst: prefix, Via: via, Dev: name})
		}
	}
}

// arrivals are the tables of links that lead to this VNet's forwarding NICs.
func (r *router) arrivals(tables map[string]*routed) {
	for _, p := range r.peers {
		for _, h := range r.t.remoteHops(p.vnet) {
			if h.vnet.ID != r.v.ID {
				continue
			}
			name := ApplianceInterface(p.vnet.ID, h.nic.ID)
			routes := []Route{{Type: "unicast", Dst: anywhere, Via: h.nic.Addrs[0], Dev: NICNS(h.nic.ID)}}
			for _, platform := range platformPrefixes() {
				routes = append(routes, Route{Type: "throw", Dst: platform})
			}
			tables[name] = &routed{routes: routes, ifaces: []string{name}}
		}
	}
}

// peerLinks are the interfaces to a peered VNet's router.
func (r *router) peerLinks(p *peer) []string {
	out := []string{PeeringInterface(r.v.ID, p.vnet.ID)}
	for _, h := range r.t.remoteHops(r.v) {
		if h.vnet.ID == p.vnet.ID {
			out = append(out, ApplianceInterface(r.v.ID, h.nic.ID))
		}
	}
	for _, h := range r.t.remoteHops(p.vnet) {
		if h.vnet.ID == r.v.ID {
			out = append(out, ApplianceInterface(p.vnet.ID, h.nic.ID))
		}
	}
	return out
}

// fromPeers writes what a peered VNet may send here, and returns the rule that judges it.
func (r *router) fromPeers(admit string) []string {
	if len(r.peers) == 0 {
		return nil
	}
	var links, entries []string
	for i := range r.peers {
		p := &r.peers[i]
		forwarded := r.drop(FabricRule(RuleForwarded))
		if p.side.Forwarded {
			forwarded = admit
		}
		known := interval.Of(append(slices.Clone(p.prefixes), p.gatewayPrefixes()...)...)
		var lines []string
		if len(known) > fewLinks {
			lines = append(lines, "ip saddr @"+r.content(SetObject, "s", []string{"type ipv4_addr", "flags interval"}, texts(known))+" "+admit)
		} else {
			for _, text := range texts(known) {
				lines = append(lines, "ip saddr "+text+" "+admit)
			}
		}
		chain := r.list("v", append(lines,
			"ip saddr { "+joinPrefixes(unsendable())+" } "+r.drop(FabricRule(RuleAntiSpoof)),
			"ip saddr @endpoints "+r.drop(FabricRule(RuleAntiSpoof)),
			forwarded))
		for _, name := range r.peerLinks(p) {
			links = append(links, fmt.Sprintf("%q", name))
			entries = append(entries, fmt.Sprintf("%q goto %s", name, chain))
		}
	}
	var arrivals []string
	for _, t := range r.routed {
		for _, name := range t.ifaces {
			if slices.Contains(links, fmt.Sprintf("%q", name)) {
				arrivals = append(arrivals, fmt.Sprintf("%q", name))
			}
		}
	}
	r.arriving = len(arrivals) > 0
	slices.Sort(arrivals)
	slices.Sort(links)
	slices.Sort(entries)
	r.set("arrivals", "ifname", arrivals)
	r.toPeers = links
	r.set("peer_links", "ifname", links)
	var lines []string
	if len(links) <= fewLinks {
		for _, e := range entries {
			lines = append(lines, "meta nfproto ipv4 iifname "+e)
		}
		return lines
	}
	for i, e := range entries {
		entries[i] = strings.Replace(e, " goto ", " : goto ", 1)
	}
	r.mapping("from_peer", "ifname : verdict", entries)
	return []string{"meta nfproto ipv4 iifname vmap @from_peer"}
}

// fewLinks are compared one by one: a look into a set costs as much as some ten comparisons.
const fewLinks = 4

// onLink writes a rule for packets that come or go by a link to a peered VNet.
func (r *router) onLink(field, then string) (lines []string) {
	if len(r.toPeers) > fewLinks {
		return []string{field + " @peer_links " + then}
	}
	for _, name := range r.toPeers {
		lines = append(lines, field+" "+name+" "+then)
	}
	return lines
}

// fromPeersIn refuses what is not for a private endpoint: the platform's addresses are each VNet's own.
func (r *router) fromPeersIn() []string {
	return r.onLink("iifname", "ip daddr != @endpoints "+r.drop(FabricRule(RulePeering)))
}

// crossPeerings writes the ways to peered VNets and from them, and returns the rules of the forward hook that lead
// there. They have marks of their own, not those of direct ways: a flow may leave for a peered VNet's appliance
// and come back by it.
func (r *router) crossPeerings() []string {
	if len(r.peers) == 0 {
		return nil
	}
	judged := func(bit string) []string {
		return []string{"ct state established accept", r.related(), "ct mark and " + bit + " == " + bit + " accept",
			"ct state invalid " + r.drop(FabricRule(RuleInvalid))}
	}
	r.chain("to_peer", append(append(judged(judgedLeaving), r.notFloating("")...),
		"iifname vmap @egress_nic",
		"iifname vmap @egress_subnet",
		`iifname "`+UplinkInterface+`" `+r.drop(FabricRule(RuleNoInbound)),
		"ip daddr 169.254.0.0/16 "+r.drop(FabricRule(RuleNoRoute)),
		r.connectionLimit(),
		"ct mark set ct mark or "+judgedLeaving+" accept")...)
	// What comes from a peered VNet goes to no other, whatever was let pass before, and nobody takes packets from himself.
	r.chain("entering", append(append(r.onLink("oifname", r.drop(FabricRule(RulePeering))), judged(judgedEntering)...),
		"oifname . ip saddr @sources "+r.drop(FabricRule(RuleLoop)),
		`oifname "`+UplinkInterface+`" goto leave`,
		"oifname vmap @ingress_subnet",
		"oifname vmap @ingress_nic",
		"ct mark set ct mark or "+judgedEntering+" accept")...)
	return append(r.onLink("iifname", "goto entering"), r.onLink("oifname", "goto to_peer")...)
}

// notBeyond keeps what comes from a peered VNet from the internet.
func (r *router) notBeyond() []string {
	if len(r.peers) == 0 {
		return nil
	}
	return r.onLink("iifname", r.drop(FabricRule(RulePeering)))
}

// peeringVeths are the links that a VNet brings: to peered VNets with a higher id, and to remote appliances.
func (s *State) peeringVeths(t *Topology, v *VNet, p *plan) {
	add := func(u *VNet, name string) {
		link := p.links[name]
		s.Veths = append(s.Veths, Veth{
			A: End{RouterNS(v.ID), name}, B: End{RouterNS(u.ID), name}, MAC: gatewayMAC, MACB: NICMAC(name),
			AddrA: []netip.Prefix{netip.PrefixFrom(link.from, 31)}, AddrB: []netip.Prefix{netip.PrefixFrom(link.to, 31)},
		})
	}
	for _, u := range t.peersOf(v) {
		if v.ID < u.vnet.ID {
			add(u.vnet, PeeringInterface(v.ID, u.vnet.ID))
		}
	}
	for _, h := range t.remoteHops(v) {
		add(h.vnet, ApplianceInterface(v.ID, h.nic.ID))
	}
}
