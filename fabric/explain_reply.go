package fabric

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// This file follows the answer to a flow back to who began it. Security rules let answers pass, routes do not know
// them: where they lead an answer past a router or firewall that has seen the flow, or to one that has not, the
// connection ends. Linux's connection tracking takes the answer of an unknown TCP connection, or to an unknown ping,
// for invalid; a datagram begins a flow of its own.
// https://learn.microsoft.com/azure/firewall/integrate-lb#asymmetric-routing

// memory is what the namespaces on a flow's way keep of it.
type memory struct {
	tracks []track
	at     int    // the track of the flow where it is now, -1 for none
	raw    Packet // as it came there
	legs   []leg
	picked []picked
	// Of an answer: what it answers; nil for a flow.
	answers *Explanation
	known   bool // it belongs to a flow that has passed here
	invalid bool // it belongs to none, and can begin none
	// Where it is: carrying, passed on by a forwarding NIC; direct, straight from who sent it.
	carrying, direct bool
}

// track is one namespace's entry of a flow.
type track struct {
	ns, where string
	in, out   Packet // as it came, and as it left after translation
	begun     bool   // by a sender whose own gates judged it
	answered  bool
	// Forwarding NICs whose inbound and outbound rules have let it pass.
	inbound, outbound map[string]bool
	// passedBack: an answer came to a NIC that the flow had not passed.
	passedBack bool
}

// leg is a connection that somebody on the way has accepted, to make another one.
type leg struct {
	by     Destination // where that one begins
	packet Packet      // as it was accepted
	resume func(*walk) bool
}

// picked is the appliance that a flow got of several.
type picked struct {
	raw Packet
	of  []string
	nic int
}

func (m memory) clone() memory {
	m.tracks = slices.Clone(m.tracks)
	for i := range m.tracks {
		m.tracks[i].inbound, m.tracks[i].outbound = maps.Clone(m.tracks[i].inbound), maps.Clone(m.tracks[i].outbound)
	}
	m.legs, m.picked = slices.Clone(m.legs), slices.Clone(m.picked)
	return m
}

func (p Packet) inverse() Packet {
	p.Source, p.Destination, p.SourcePort, p.DestinationPort = p.Destination, p.Source, p.DestinationPort, p.SourcePort
	return p
}

// enter is where a packet comes to connection tracking. where names the place for people.
func (w *walk) enter(ns, where string) {
	w.ns, w.raw, w.direct, w.carrying = ns, w.p, true, false
	if w.answers == nil {
		w.at = slices.IndexFunc(w.tracks, func(t track) bool { return t.ns == ns && t.in == w.p })
		if w.at < 0 {
			w.at = len(w.tracks)
			w.tracks = append(w.tracks, track{ns: ns, where: where, in: w.p, out: w.p, inbound: map[string]bool{}, outbound: map[string]bool{}})
		}
		return
	}
	w.at = w.answered(ns)
	w.known = w.at >= 0
	w.invalid = !w.known && (w.p.Protocol == TCP || w.p.Protocol == ICMP)
	if w.known {
		t := &w.tracks[w.at]
		t.answered = true
		w.p.Destination, w.p.DestinationPort = t.in.Source, t.in.SourcePort
		w.step(where, "knows the flow that this answers: security rules let it pass", RuleRef{}, Allowed)
	}
}

// answered is the track that the packet answers: the last one, of those that no answer has met if there are some.
func (w *walk) answered(ns string) int {
	found := -1
	for i, t := range slices.Backward(w.tracks) {
		if t.ns == ns && t.out.inverse() == w.p && (found < 0 || w.tracks[found].answered && !t.answered) {
			found = i
		}
	}
	return found
}

// began notes that the sender's own gates judge the flow here.
func (w *walk) began() {
	if w.answers == nil {
		w.tracks[w.at].begun = true
	}
}

// translated notes what became of a flow's addresses here.
func (w *walk) translated() {
	if w.answers == nil && w.at >= 0 {
		w.tracks[w.at].out = w.p
	}
}

// restored gives an answer, where it leaves a namespace, the source that was called there.
func (w *walk) restored() {
	if !w.known {
		return
	}
	t := &w.tracks[w.at]
	if t.in.Destination != w.p.Source {
		w.step(t.where, fmt.Sprintf("%s is translated back to %s", w.p.Source, t.in.Destination), RuleRef{}, Allowed)
	}
	w.p.Source, w.p.SourcePort = t.in.Destination, t.in.DestinationPort
}

// unknown refuses an answer where nobody knows what it answers.
func (w *walk) unknown(where string) bool {
	return w.deny(where, "has not seen the flow that this answers, and takes it for invalid", FabricRule(RuleInvalid))
}

// unjudged: a forwarding NIC alone has begun the flow, in another's name.
func (w *walk) unjudged() bool { return w.direct && !w.tracks[w.at].begun }

// handedBack judges an answer that comes to a forwarding NIC, unless the flow has passed it.
func (w *walk) handedBack(v *VNet, n *NIC) bool {
	t := &w.tracks[w.at]
	if t.inbound[n.ID] || t.outbound[n.ID] {
		return true
	}
	if !w.judgeIn(v, n) {
		return false
	}
	t.inbound[n.ID], t.passedBack = true, true
	return true
}

// carriedBack judges an answer that a forwarding NIC passes on.
func (w *walk) carriedBack(v *VNet, n *NIC) bool {
	t := &w.tracks[w.at]
	if t.outbound[n.ID] || t.inbound[n.ID] && !t.passedBack {
		return true
	}
	if !w.judgeOut(v, n) {
		return false
	}
	t.outbound[n.ID] = true
	return true
}

// leavesFor tells whether a route takes the packet anywhere, whatever is there.
func (w *walk) leavesFor(v *VNet, r *EffectiveRoute) bool {
	to := v.nicAt(w.p.Destination)
	none := v.has(w.p.Destination) || !isPublic(w.p.Destination)
	switch {
	case r.Hop == HopVNet && r.Source == UserRouted && !v.has(w.p.Destination):
		return false
	case r.Hop == HopPeering, r.Hop == HopEndpoint:
		return true
	case r.Hop == HopVNet:
		return to != nil
	case r.Hop == HopInternet, r.Hop == HopService:
		return !none
	}
	return r.NIC != "" || len(r.Balanced) > 0
}

// leaveBack is the way of an answer out of a VNet.
func (w *walk) leaveBack(v *VNet) bool {
	if v.has(w.p.Destination) || !isPublic(w.p.Destination) {
		return w.deny(v.ID, "no way leads to this address any more", FabricRule(RuleNoRoute))
	}
	w.restored()
	if u, _, _, _ := w.owner(w.p.Source); u == nil || u.ID != v.ID {
		w.ns = InternetNS
		return w.deny("the internet", fmt.Sprintf("%s has not the address %s", v.ID, w.p.Source), FabricRule(RuleAntiSpoof))
	}
	return w.acrossInternet()
}

// fromRouterBack is the way of what a router answers itself: for a private endpoint, a service endpoint, the platform.
func (w *walk) fromRouterBack(v *VNet) bool {
	w.enter(RouterNS(v.ID), v.ID)
	w.direct = false
	if n := v.nicAt(w.p.Destination); n != nil && n.Kind == Guest {
		return w.toNIC(v, n)
	}
	r := w.t.routeFor(v, &Subnet{}, w.p.Destination)
	w.e.Steps = append(w.e.Steps, Step{Where: v.ID, What: r.what(), Verdict: Allowed, Route: &r})
	switch {
	case r.Hop == HopPeering:
		return w.toPeer(v, r.VNet, nil)
	case r.Hop == HopGateway && r.NIC != "" && r.VNet != v.ID:
		return w.toPeer(v, r.VNet, w.t.vnet(r.VNet).nic(r.NIC))
	case r.Hop == HopGateway && r.NIC != "":
		w.restored()
		if n := v.nic(r.NIC); !w.intoTunnel(v, n, true) {
			return w.fromNIC(v, n)
		}
		return false
	}
	return w.deny(v.ID, "a private endpoint answers by itself, and no route of its network leads back", FabricRule(RuleNoRoute))
}

// firewallBack is the way of an answer into a firewall's namespace; decided is false where its rules judge it as a
// flow of its own.
func (w *walk) firewallBack(v *VNet, n *NIC) (decided bool) {
	w.enter(NICNS(n.ID), n.ID)
	switch {
	case w.invalid:
		w.unknown(n.ID)
	case !w.known:
		return false
	case slices.Contains(n.Addrs, w.p.Destination):
		w.arrive(n.ID, Destination{Kind: ToNIC, ID: n.ID, Addr: w.p.Destination})
	default:
		w.restored()
		if slices.Contains(n.Addrs, w.p.Source) {
			w.fromNIC(v, n)
		} else {
			w.carried(v, n)
		}
	}
	return true
}

// answer follows what answers a flow that has arrived. It is nil where both ends are in one place.
func (w *walk) answer() *Explanation {
	if len(w.tracks) == 0 && len(w.legs) == 0 {
		return nil
	}
	r := walk{t: w.t, plan: w.plan, p: w.p.inverse(), ttl: 64, passed: map[string]bool{}, crossed: map[string]bool{}, memory: w.memory.clone()}
	r.answers, r.at = &w.e, -1
	d := w.e.Destination
	r.e.Flow = Flow{From: w.t.placeAt(d, w.e.Flow.From), Source: r.p.Source, Dst: r.p.Destination, Protocol: r.p.Protocol, SrcPort: r.p.SourcePort, DstPort: r.p.DestinationPort}
	r.begin()
	r.finish()
	return &r.e
}

// beginBack is the way from where a flow has arrived.
func (w *walk) beginBack() {
	d := w.answers.Destination
	switch v, n := w.t.find(w.e.Flow.From.ID); {
	case d.Kind == ToHost, d.Kind == ToService && d.VNet == "", d.Kind == ToPlatform && v == nil:
		w.ns = InternetNS
		w.onInternet()
	case d.Kind == ToTunnel:
		if !w.intoTunnel(v, n, false) {
			w.carried(v, n)
		}
	case d.Kind == ToNIC:
		if n.Firewall != nil {
			w.enter(NICNS(n.ID), n.ID)
		}
		w.fromNIC(v, n)
	default:
		w.fromRouterBack(v)
	}
}

// placeAt is where a destination is; from is where its flow began.
func (t *Topology) placeAt(d Destination, from Place) Place {
	switch d.Kind {
	case ToNIC:
		return Place{AtNIC, d.ID}
	case ToHost:
		return Place{AtHost, d.ID}
	case ToTunnel:
		for _, v := range t.VNets {
			for _, n := range v.NICs {
				if slices.ContainsFunc(n.Tunnels, func(x Tunnel) bool { return x.Name == d.ID }) {
					return Place{AtNIC, n.ID}
				}
			}
		}
	case ToEndpoint:
		v, _ := t.find(d.ID)
		return Place{AtRouter, v.ID}
	case ToService:
		if d.VNet != "" {
			return Place{AtRouter, d.VNet}
		}
	case ToPlatform:
		if v, _ := t.find(from.ID); v != nil {
			return Place{AtRouter, v.ID}
		}
	}
	return Place{Kind: AtInternet}
}

// find is the VNet with an id, or the NIC with it and its VNet.
func (t *Topology) find(id string) (*VNet, *NIC) {
	for i := range t.VNets {
		v := &t.VNets[i]
		if v.ID == id {
			return v, nil
		}
		if n := v.nic(id); n != nil {
			return v, n
		}
	}
	return nil, nil
}

// arriveBack is where an answer ends: with who waits for it, or elsewhere.
func (w *walk) arriveBack(where string, d Destination) bool {
	if n := len(w.legs); n > 0 {
		if l := w.legs[n-1]; d.Kind == l.by.Kind && d.ID == l.by.ID {
			w.legs = w.legs[:n-1]
			w.p = l.packet.inverse()
			w.step(where, "the answer to its own connection; it answers the one that it has accepted", RuleRef{}, Allowed)
			return l.resume(w)
		}
	}
	w.e.Destination = d
	asked := w.answers.Flow
	switch {
	case w.t.placeAt(d, asked.From) != asked.From:
		w.stop(where, "the answer comes to the "+d.Kind.String()+" here, where nobody waits for it")
	case w.p.Source != asked.Dst || w.p.SourcePort != asked.DstPort && (asked.Protocol == TCP || asked.Protocol == UDP):
		w.stop(where, fmt.Sprintf("the answer comes from %s, which was not called", netip.AddrPortFrom(w.p.Source, w.p.SourcePort)))
	default:
		w.e.Verdict = Allowed
		w.step(where, "the answer arrives", RuleRef{}, Allowed)
		w.e.Reply = w.next()
	}
	return false
}

// next is what the sender of a TCP connection says after the answer, where it is refused: by whoever has seen it begin,
// and no answer.
func (w *walk) next() *Explanation {
	i := slices.IndexFunc(w.tracks, func(t track) bool { return !t.answered })
	if w.answers.Flow.Protocol != TCP || i < 0 {
		return nil
	}
	t := w.tracks[i]
	e := &Explanation{Flow: w.answers.Flow, Source: w.answers.Source, By: FabricRule(RuleInvalid), Namespace: t.ns}
	e.Steps = []Step{{Where: t.where, What: "has seen the connection begin and no answer, which took another way: it takes what follows for invalid", Rule: e.By, Verdict: Denied}}
	return e
}
