package fabric

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/interval"
)

// A subnet whose routes are not Azure's own only has a routing table of its own in its VNet's router.
// Packets get there by a mark that they are given for the interface they come in by. What the table has
// no route for, or a throw, goes on to the router's own routes, which are Azure's.

// routeMarks are the bits of the packet mark that choose a routing table. Others may use the rest.
const routeMarks = 0xffff

// Preferences of the policy rules. The tables of subnets come before the router's own addresses, because a
// user route may lead to a private endpoint's.
const (
	preferTables  = 100
	preferLocal   = 200
	preferAnswers = 300
)

// routed is one such table.
type routed struct {
	mark    uint32
	routes  []Route
	refused []refusal
	ifaces  []string // whose packets take it
	// A subnet with a load balancer as next hop has several tables, which differ in the backend. Packets
	// take one by a hash of their flow that is the same for both directions.
	of, among int
	// answers: it is for what the router itself sends, in the names of private endpoints.
	answers bool
}

// refusal are addresses that routes lead nowhere, and the rule that counts their packets.
type refusal struct {
	ref    RuleRef
	within interval.Set
}

// routes compiles the tables of all subnets that need one.
func (r *router) routes() {
	names := map[string]*routed{}
	for _, s := range r.subnets {
		var ifaces []string
		for i := range r.v.NICs {
			if n := &r.v.NICs[i]; n.Kind == Guest && n.Subnet == s.ID {
				ifaces = append(ifaces, NICNS(n.ID))
			}
		}
		if ifaces == nil {
			continue
		}
		active := r.active(s)
		among := variants(active)
		for i := range among {
			if table := r.subnetTable(active, i); len(table.routes) > 0 {
				table.ifaces, table.of, table.among = ifaces, i, among
				names[fmt.Sprintf("%s\x00%d", s.ID, i)] = table
			}
		}
	}
	r.arrivals(names)
	if t := r.answers(); t != nil {
		names["\x00answers"] = t
	}
	taken := map[uint64]bool{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		// There are fewer subnets than numbers: Azure has 3,000 a VNet.
		slot, _ := probe(name, routeMarks, func(i uint64) bool { return taken[i] })
		taken[slot] = true
		names[name].mark = uint32(slot) + 1
		r.routed = append(r.routed, names[name])
	}
}

// answers is the table by which private endpoints answer who is behind a gateway: by Azure's own routes, of which
// route tables of users are no part. nil if there is none of either.
func (r *router) answers() *routed {
	if !slices.ContainsFunc(r.v.NICs, func(n NIC) bool { return n.Kind == Endpoint }) {
		return nil
	}
	table := r.subnetTable(r.active(&Subnet{}), 0)
	table.routes = slices.DeleteFunc(table.routes, func(x Route) bool { return x.Dev == loopback })
	table.refused, table.answers = nil, true
	if !slices.ContainsFunc(table.routes, func(x Route) bool { return x.Type == "unicast" }) {
		return nil
	}
	return table
}

// maxVariants bounds the tables of a subnet.
const maxVariants = 60

// variants is how many tables the routes need, so that each load balancer's backends have equal shares: as far
// as that is possible.
func variants(active []EffectiveRoute) int {
	n := 1
	for i := range active {
		if m := len(active[i].Balanced); m > 0 {
			a, b := n, m
			for b != 0 {
				a, b = b, a%b
			}
			n = min(n/a*m, maxVariants)
		}
	}
	return n
}

// subnetTable writes a subnet's routes, as far as they differ from what the router does anyway, for one of
// its variants.
func (r *router) subnetTable(active []EffectiveRoute, variant int) *routed {
	out := &routed{}
	var own []netip.Prefix // prefixes that the table decides about
	refused := map[netip.Prefix]RuleRef{}
	for i := range active {
		e := &active[i]
		if slices.ContainsFunc(platformPrefixes(), func(p netip.Prefix) bool { return covers(p, e.Prefix) }) {
			continue
		}
		if route, ok := r.hop(e, variant); ok {
			out.routes = append(out.routes, route)
			own = append(own, e.Prefix)
			if route.Dev == loopback {
				refused[e.Prefix] = e.refusal()
			}
			continue
		}
		if slices.ContainsFunc(own, func(p netip.Prefix) bool { return covers(p, e.Prefix) }) {
			out.routes = append(out.routes, Route{Type: "throw", Dst: e.Prefix})
		}
	}
	if len(out.routes) > 0 {
		for _, p := range platformPrefixes() {
			out.routes = append(out.routes, Route{Type: "throw", Dst: p})
		}
	}
	sortRoutes(out.routes)
	for _, ref := range slices.SortedFunc(maps.Values(refused), func(a, b RuleRef) int { return compareText(a.Counter(), b.Counter()) }) {
		if n := len(out.refused); n == 0 || out.refused[n-1].ref != ref {
			out.refused = append(out.refused, refusal{ref, decided(active, func(e *EffectiveRoute) bool { return refused[e.Prefix] == ref })})
		}
	}
	return out
}

// active are the subnet's routes that decide, the shortest prefixes first.
func (r *router) active(s *Subnet) []EffectiveRoute {
	if known, ok := r.effective[s.ID]; ok {
		return known
	}
	active := slices.DeleteFunc(effectiveRoutes(r.t, r.v, s), func(e EffectiveRoute) bool { return !e.Active })
	slices.SortStableFunc(active, func(a, b EffectiveRoute) int { return cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()) })
	r.effective[s.ID] = active
	return active
}

// loopback is where packets are routed to that are refused: the forward hook counts them.
const loopback = "lo"

// platformPrefixes are never routed by tables of the user's.
// https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
func platformPrefixes() []netip.Prefix { return prefixes("168.63.129.16/32", "169.254.0.0/16") }

// hop is the route of a subnet's table for an effective route; ok is false where the router's own routes
// do the same.
func (r *router) hop(e *EffectiveRoute, variant int) (route Route, ok bool) {
	route = Route{Type: "unicast", Dst: e.Prefix, Dev: loopback}
	nic, via := e.NIC, e.Appliance
	if n := len(e.Balanced); n > 0 {
		nic = e.Balanced[variant%n]
		via = r.t.vnet(e.VNet).nic(nic).Addrs[0]
	}
	switch {
	case e.Source == DefaultRoute:
		return Route{}, false
	case e.Hop == HopVNet && interval.Of(e.Prefix).SubsetOf(r.scope.space):
		return Route{}, false
	case e.Hop == HopInternet && interval.Of(e.Prefix).SubsetOf(neverPublic().Union(r.scope.space)):
		return route, true // nothing there: not on the internet
	case (e.Hop == HopAppliance || e.Hop == HopGateway) && nic != "":
		route.Via, route.Dev = via, NICNS(nic)
		if e.VNet != r.v.ID {
			route.Dev = ApplianceInterface(r.v.ID, nic)
			route.Via = r.plan.links[route.Dev].to
		}
	case e.Hop == HopInternet:
		route.Via, route.Dev = r.plan.transfer[r.v.ID].internet, UplinkInterface
	}
	return route, true
}

// refusal is the rule that counts what a route drops.
func (e *EffectiveRoute) refusal() RuleRef {
	if e.Source == UserRouted && e.Hop != HopInternet {
		return e.ref()
	}
	return FabricRule(RuleNoRoute)
}

// decided are the addresses that some of the active routes decide about, those that by returns true for.
func decided(active []EffectiveRoute, by func(*EffectiveRoute) bool) (out interval.Set) {
	for bits := 0; bits <= 32; bits++ {
		var yes, no []netip.Prefix
		for i := range active {
			switch r := &active[i]; {
			case r.Prefix.Bits() != bits:
			case by(r):
				yes = append(yes, r.Prefix)
			default:
				no = append(no, r.Prefix)
			}
		}
		out = out.Union(interval.Of(yes...)).Minus(interval.Of(no...))
	}
	return out
}

// table is the number of a kernel table: that of the mark, and a hash of the routes. So other routes are
// another table, which is filled before the policy rule leads to it.
func (t *routed) table() int {
	h := sha256.New()
	for _, r := range t.routes {
		fmt.Fprintln(h, r.Type, r.Dst, r.Via, r.Dev)
	}
	content := binary.BigEndian.Uint16(h.Sum(nil)) >> 1
	return (1+int(content))<<16 | int(t.mark)
}

// routeTables adds the tables and the rules that lead to them.
func (r *router) routeTables(ns *Namespace) {
	// Early demultiplexing hands packets of connections to private endpoints to their sockets before they
	// are routed.
	ns.Sysctls["net.ipv4.ip_early_demux"] = "1"
	if len(r.routed) > 0 {
		ns.Sysctls["net.ipv4.ip_early_demux"] = "0"
	}
	for _, t := range r.routed {
		number := t.table()
		for _, route := range t.routes {
			route.Table = number
			ns.Routes = append(ns.Routes, route)
		}
		rule := PolicyRule{Priority: preferTables, FwMark: t.mark, FwMask: routeMarks, Table: number}
		if t.answers {
			rule = PolicyRule{Priority: preferAnswers, IIF: loopback, Table: number}
		}
		ns.Rules = append(ns.Rules, rule)
	}
	if len(r.routed) > 0 {
		ns.Rules = append(ns.Rules, PolicyRule{Priority: preferLocal, Table: LocalTable})
	}
}

// routeMarking writes which packets get which mark, and what is refused of those that are routed nowhere.
// It returns the statement for packets whose source is the sender's own.
func (r *router) routeMarking() string {
	if len(r.routed) == 0 {
		return "accept"
	}
	var marks, refusals []string
	spread := map[string][]string{} // marks of the variants, by interface
	for _, t := range r.routed {
		for _, name := range t.ifaces {
			if t.among > 1 {
				spread[name] = append(spread[name], fmt.Sprintf("%d : %#x", t.of, t.mark))
				continue
			}
			marks = append(marks, fmt.Sprintf("%q : %#x", name, t.mark))
		}
		if chain := r.refusals(t); chain != "" {
			refusals = append(refusals, fmt.Sprintf("%#x : goto %s", t.mark, chain))
		}
	}
	slices.Sort(marks)
	r.mapping("routed", "ifname : mark", marks)
	r.mapping("refused", "mark : verdict", refusals)
	lines := []string{"meta mark set iifname map @routed"}
	if len(spread) > 0 {
		r.mapping("balanced", "ifname : verdict", r.spreads(spread))
		lines = append(lines, "iifname vmap @balanced")
	}
	r.chain("admit", append(lines, "accept")...)
	return "goto admit"
}

// spreads writes the choice among the tables of subnets that have several.
func (r *router) spreads(marks map[string][]string) (elements []string) {
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		of := marks[name]
		slices.Sort(of)
		chain := r.list("n", []string{fmt.Sprintf("meta mark set symhash mod %d map { %s } accept", len(of), strings.Join(of, ", "))})
		elements = append(elements, fmt.Sprintf("%q : goto %s", name, chain))
	}
	return elements
}

// refusals writes the chain that drops what a table routes to lo, each route with its counter.
func (r *router) refusals(t *routed) string {
	var elements []string
	for _, x := range t.refused {
		chain := r.list("n", []string{r.drop(x.ref)})
		for _, i := range x.within {
			elements = append(elements, addressText(i)+" : goto "+chain)
		}
	}
	if elements == nil {
		return ""
	}
	name := r.content(MapObject, "m", []string{"type ipv4_addr : verdict", "flags interval"}, elements)
	return r.list("n", []string{"ip daddr vmap @" + name})
}

// nowhere writes the chain for packets that are routed to lo. They are refused after the sender's gates, as
// everywhere, and also where their flow was let through before: routes have no memory.
func (r *router) nowhere() {
	r.chain("nowhere", slices.Concat([]string{"ct state invalid " + r.drop(FabricRule(RuleInvalid))}, r.notFloating("ct state new "), []string{
		"ct state new iifname vmap @egress_nic",
		"ct state new iifname vmap @egress_subnet",
		"meta mark vmap @refused",
		r.drop(FabricRule(RuleNoRoute))})...)
}
