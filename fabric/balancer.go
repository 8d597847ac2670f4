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

// This file is load balancers on their way in: a flow to a frontend gets one backend by a hash, when it
// begins, and keeps it. The sender's NSGs judge it before, by the frontend's address; the backend's after, by
// the backend's address and port (with a floating IP by the frontend's: the backend has it on lo).
// https://learn.microsoft.com/azure/load-balancer/components

// Bits of marks. A packet to an internal frontend has been judged by its sender's NSGs; a balanced flow's
// route was chosen by the frontend's address, not by the backend's; one with a floating IP goes to the
// member that bits 20 to 25 name. Appliances have the other bits (appliance.go).
const (
	egressJudged = 0x20000
	balanced     = 0x40000
	memberShift  = 20
	memberMask   = MaxFloating << memberShift
	memberRule   = 91
)

// balancer is what a router knows of the load balancers of its VNet.
type balancer struct {
	internal, public []string          // elements of the rule maps
	ports            []string          // of rules for all ports
	frontends        []netip.Addr      // all of them
	private          []string          // the internal ones
	members          map[string]uint32 // by NIC that has a floating IP: the number in marks
	floating         []string          // backends and the frontends that they have on lo
	own              map[string][]netip.Addr
	probes           []string
}

func (b *balancer) any() bool { return len(b.frontends) > 0 }

// balancers writes the chains that choose backends, and gathers what the hooks need.
func (r *router) balancers() {
	r.lb = balancer{members: floatingMembers(r.t, r.v), own: r.t.floatingOf(r.v.ID)}
	for nic, own := range r.lb.own {
		for _, a := range own {
			r.lb.floating = append(r.lb.floating, fmt.Sprintf("%q . %s", NICNS(nic), a))
		}
	}
	for i := range r.t.LoadBalancers {
		if b := &r.t.LoadBalancers[i]; b.VNet == r.v.ID {
			r.balance(b)
		}
	}
	if !r.lb.any() {
		return
	}
	for _, list := range [][]string{r.lb.internal, r.lb.public, r.lb.ports, r.lb.private, r.lb.floating, r.lb.probes} {
		slices.Sort(list)
	}
	r.lb.floating, r.lb.probes = slices.Compact(r.lb.floating), slices.Compact(r.lb.probes)
	slices.SortFunc(r.lb.frontends, netip.Addr.Compare)
	const key = "ipv4_addr . inet_proto . inet_service : verdict"
	r.mapping("internal_rules", key, r.lb.internal)
	r.mapping("public_rules", key, r.lb.public)
	r.mapping("all_ports", "ipv4_addr : verdict", r.lb.ports)
	r.set("frontends", "ipv4_addr", addrTexts(r.lb.frontends))
	r.set("internal_frontends", "ipv4_addr", r.lb.private)
	r.set("floating", "ifname . ipv4_addr", r.lb.floating)
	r.set("elsewhere", "ifname . ipv4_addr", r.elsewhere())
	r.set("probes", "ipv4_addr . inet_service", r.lb.probes)
}

func (r *router) balance(b *LoadBalancer) {
	at := map[string]*Frontend{}
	for i := range b.Frontends {
		f := &b.Frontends[i]
		at[f.ID] = f
		r.lb.frontends = append(r.lb.frontends, f.Addr)
		if f.Subnet != "" {
			r.lb.private = append(r.lb.private, f.Addr.String())
		}
	}
	for i := range b.Rules {
		x := &b.Rules[i]
		r.balancingRule(at[x.Frontend], x)
		for _, p := range b.Probes {
			if p.ID == x.Probe {
				for _, m := range x.Backends {
					r.lb.probes = append(r.lb.probes, fmt.Sprintf("%s . %d", m.Addr, p.Port))
				}
			}
		}
	}
	for i := range b.NATRules {
		r.balancingRule(at[b.NATRules[i].Frontend], b.NATRules[i].asRule())
	}
}

// asRule is an inbound NAT rule as a balancing rule with one backend.
func (n *InboundNATRule) asRule() *BalancingRule {
	return &BalancingRule{ID: n.ID, Frontend: n.Frontend, Protocol: n.Protocol, Port: n.Port, BackendPort: n.BackendPort,
		FloatingIP: n.FloatingIP, Backends: []Backend{n.Backend}}
}

func (r *router) balancingRule(f *Frontend, x *BalancingRule) {
	name := "b_" + digest(12, x.ID)
	var choices []string
	for i, m := range x.healthy() {
		choices = append(choices, fmt.Sprintf("%d : goto %s", i, r.member(f, x, m)))
	}
	switch n := len(choices); n {
	case 0:
		r.chain(name, r.drop(FabricRule(RuleNoBackend)))
	case 1:
		r.chain(name, strings.TrimPrefix(choices[0], "0 : "))
	default:
		r.chain(name, fmt.Sprintf("jhash %s mod %d seed %#x vmap { %s }", x.hashed(), n, seed(x.ID), strings.Join(choices, ", ")))
	}
	element := fmt.Sprintf("%s . %d . %d : goto %s", f.Addr, x.Protocol, x.Port, name)
	switch {
	case x.Port == 0:
		r.lb.ports = append(r.lb.ports, fmt.Sprintf("%s : goto %s", f.Addr, name))
	case f.Subnet == "":
		r.lb.public = append(r.lb.public, element)
	default:
		r.lb.internal = append(r.lb.internal, element)
	}
}

// healthy are the backends that a flow may get, each once.
func (x *BalancingRule) healthy() []Backend {
	up := slices.DeleteFunc(slices.Clone(x.Backends), func(m Backend) bool { return m.Down })
	slices.SortFunc(up, func(a, b Backend) int { return cmp.Or(compareText(a.NIC, b.NIC), a.Addr.Compare(b.Addr)) })
	return slices.CompactFunc(up, func(a, b Backend) bool { return a.NIC == b.NIC && a.Addr == b.Addr })
}

// hashed is what of a flow chooses its backend; the frontend is the same for all flows of a rule.
func (x *BalancingRule) hashed() string {
	switch {
	case x.Affinity == SourceIP:
		return "ip saddr"
	case x.Affinity == SourceProtocol:
		return "ip saddr . ip protocol"
	case x.Port == 0:
		return "ip saddr . ip protocol . th sport . th dport"
	}
	return "ip saddr . th sport"
}

// seed makes the hash of a rule its own, and the same after every compilation.
func seed(id string) uint32 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint32(sum[:4]) | 1
}

// member writes the chain that gives a flow to a backend and returns its name.
func (r *router) member(f *Frontend, x *BalancingRule, m Backend) string {
	var lines []string
	if f.Subnet != "" {
		lines = append(lines, fmt.Sprintf("iifname %q %s", NICNS(m.NIC), r.drop(FabricRule(RuleHairpin))))
	}
	switch {
	case x.FloatingIP:
		bits := fmt.Sprintf("%#x", r.lb.members[m.NIC]<<memberShift)
		lines = append(lines, "meta mark set meta mark or "+bits+" ct mark set ct mark or "+bits+" accept")
	case x.Port == 0 || x.Port == x.BackendPort:
		lines = append(lines, r.routedOnce(f)...)
		lines = append(lines, "dnat ip to "+m.Addr.String())
	default:
		lines = append(lines, r.routedOnce(f)...)
		lines = append(lines, fmt.Sprintf("meta l4proto %d dnat ip to %s", x.Protocol, netip.AddrPortFrom(m.Addr, x.BackendPort)))
	}
	return r.content(ChainObject, "t", nil, lines)
}

// routedOnce takes the packet off its subnet's routes, which have led it to the frontend already.
func (r *router) routedOnce(f *Frontend) []string {
	if f.Subnet == "" || len(r.routed) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("meta mark set meta mark and %#x ct mark set ct mark or %#x", ^uint32(routeMarks), balanced)}
}

// elsewhere are the frontends that some subnets have other routes to: their packets are not balanced here.
func (r *router) elsewhere() (out []string) {
	for _, s := range r.subnets {
		if s.RouteTable == "" && len(r.v.GatewayRoutes) == 0 {
			continue
		}
		active := r.active(s)
		here := decided(active, func(e *EffectiveRoute) bool { return e.Hop == HopVNet })
		for i := range r.v.NICs {
			for _, f := range r.lb.frontends {
				if n := &r.v.NICs[i]; n.Kind == Guest && n.Subnet == s.ID && r.scope.space.Contains(interval.Number(f)) && !here.Contains(interval.Number(f)) {
					out = append(out, fmt.Sprintf("%q . %s", NICNS(n.ID), f))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// notBalanced are the rules for packets that go past the frontends: those that another route leads elsewhere,
// and those that an appliance passes on, whose flow the router has seen before and cannot translate any more.
func (r *router) notBalanced() []string {
	lines := []string{"iifname . ip daddr @elsewhere accept"}
	if r.passing {
		lines = append(lines, isCarried+" accept")
	}
	if r.arriving {
		lines = append(lines, "iifname @arrivals accept")
	}
	return lines
}

// floatingMembers numbers the NICs that have a floating IP of some rule: by the hash of their id, or the next
// free number, so that running flows stay where they are when others come and go.
func floatingMembers(t *Topology, v *VNet) map[string]uint32 {
	out, taken := map[string]uint32{}, map[uint64]bool{}
	for _, nic := range slices.Sorted(maps.Keys(t.floatingOf(v.ID))) {
		if slot, ok := probe(nic, MaxFloating, func(i uint64) bool { return taken[i] }); ok {
			taken[slot] = true
			out[nic] = uint32(slot) + 1
		}
	}
	return out
}

// MaxFloating is how many members with a floating IP a VNet can have: their numbers have 6 bits of the marks.
const MaxFloating = 63

// floatingOf are the frontends that the NICs of a VNet have on lo, by NIC.
func (t *Topology) floatingOf(vnet string) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for i := range t.LoadBalancers {
		b := &t.LoadBalancers[i]
		if b.VNet != vnet {
			continue
		}
		add := func(frontend string, m Backend) {
			for _, f := range b.Frontends {
				if f.ID == frontend && !slices.Contains(out[m.NIC], f.Addr) {
					out[m.NIC] = append(out[m.NIC], f.Addr)
				}
			}
		}
		for _, x := range b.Rules {
			for _, m := range x.Backends {
				if x.FloatingIP {
					add(x.Frontend, m)
				}
			}
		}
		for _, x := range b.NATRules {
			if x.FloatingIP {
				add(x.Frontend, x.Backend)
			}
		}
	}
	for _, list := range out {
		slices.SortFunc(list, netip.Addr.Compare)
	}
	return out
}

// routeMembers leads flows with a floating IP to the member that their mark names.
func (r *router) routeMembers(ns *Namespace) {
	for nic, n := range floatingMembers(r.t, r.v) {
		table := int(n+1) << 16 // no table of a subnet's routes, nor that of service endpoints
		ns.Rules = append(ns.Rules, PolicyRule{Priority: memberRule, FwMark: n << memberShift, FwMask: memberMask, Table: table})
		ns.Routes = append(ns.Routes, Route{Type: "unicast", Dst: anywhere, Dev: NICNS(nic), Table: table})
	}
	slices.SortFunc(ns.Rules, func(a, b PolicyRule) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Table, b.Table))
	})
}

// balanceEgress judges what goes to internal frontends before it is translated.
func (r *router) balanceEgress() {
	if len(r.lb.private) == 0 {
		return
	}
	r.chain("to_frontend",
		"iifname . ip saddr @floating "+r.drop(FabricRule(RuleAntiSpoof)),
		"iifname vmap @egress_nic",
		"iifname vmap @egress_subnet",
		fmt.Sprintf("meta mark set meta mark or %#x", egressJudged))
	r.base("prerouting_frontends", "filter hook prerouting priority -110; policy accept;", append(r.notBalanced(),
		"ip daddr @internal_frontends ct state new ct mark and "+judged+" != "+judged+" goto to_frontend")...)
}

// balanceNAT are the rules of the nat hook that choose backends.
func (r *router) balanceNAT() []string {
	if !r.lb.any() {
		return nil
	}
	const rules = " ip daddr . meta l4proto . th dport vmap @"
	return append(r.notBalanced(),
		`iifname "`+UplinkInterface+`"`+rules+"public_rules",
		`iifname != "`+UplinkInterface+`"`+rules+"internal_rules",
		fmt.Sprintf(`iifname != "%s" meta l4proto { %d, %d } ip daddr vmap @all_ports`, UplinkInterface, TCP, UDP))
}

// keepMember are the rules that lead the later packets of a flow as its first one.
func (r *router) keepMember() (lines []string) {
	if len(r.lb.private) > 0 && len(r.routed) > 0 {
		lines = append(lines, fmt.Sprintf("ct direction original ct mark and %#x == %#[1]x meta mark set meta mark and %#x", balanced, ^uint32(routeMarks)))
	}
	if len(r.lb.floating) == 0 {
		return lines
	}
	return append(lines, fmt.Sprintf("ct direction original ct mark and %#x != 0x0 meta mark set ct mark and %#[1]x accept", memberMask))
}

// notFloating refuses flows that a backend begins as a frontend: it may only answer as one. Unknown is the
// condition for packets that belong to no flow yet, if that is not clear where the rule stands.
func (r *router) notFloating(unknown string) []string {
	if len(r.lb.floating) == 0 {
		return nil
	}
	return []string{unknown + "iifname . ip saddr @floating " + r.drop(FabricRule(RuleAntiSpoof))}
}

// egressGates are the gates of what leaves a NIC, unless they have judged it as it went to a frontend.
func (r *router) egressGates() []string {
	unless := ""
	if len(r.lb.private) > 0 {
		unless = fmt.Sprintf("meta mark and %#x != %#[1]x ", egressJudged)
	}
	return []string{unless + "iifname vmap @egress_nic", unless + "iifname vmap @egress_subnet"}
}

// noBackend refuses what goes to a frontend and was not translated.
func (r *router) noBackend() []string {
	if !r.lb.any() {
		return nil
	}
	drop := r.drop(FabricRule(RuleNoBackend))
	return []string{"ip daddr @internal_frontends " + drop, `iifname "` + UplinkInterface + `" ip daddr @frontends ` + drop}
}

// probing lets the platform's probes to the backends, through their gates.
func (r *router) probing() []string {
	if len(r.lb.probes) == 0 {
		return nil
	}
	r.chain("probe", "oifname vmap @ingress_subnet", "oifname vmap @ingress_nic", "goto pass")
	return []string{fmt.Sprintf("ip saddr %s ip daddr . tcp dport @probes goto probe", WireServer)}
}
