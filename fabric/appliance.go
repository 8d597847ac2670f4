package fabric

import (
	"fmt"
	"maps"
	"slices"
)

// This file is the way through NICs that pass on the packets of others (enableIPForwarding): virtual
// appliances and gateways. A flow crosses its router once on its way to such a NIC, handed on, and again when
// the NIC has passed it on, carried: twice in one entry of connection tracking. So each end's gates and each
// forwarding NIC's have a bit of their own in the connection's mark, which says that they let the flow pass.
// A packet of an established flow, or an answer, is not judged by the ends again; but a forwarding NIC that
// has not seen the flow yet judges it, so that routing may differ by direction as it may on Azure. What it has
// let in, it may answer in the receiver's name: as a transparent proxy.

// Bits of the connection mark beside judged, which stands for direct ways.
const (
	judgedLeaving  = "0x2" // by the sender's gates, on the way to a forwarding NIC or a peered VNet
	judgedEntering = "0x4" // by the receiver's gates, on the way from one
	// judgedDirect are the bits of flows that the sender's gates have let pass.
	judgedDirect = "0x3"
	// answersEnter: answers come to a forwarding NIC that was not on the way there. It has not taken the
	// connection itself, so it is judged when it passes them on.
	answersEnter = "0x8000"
)

// applianceBits are for the gates of forwarding NICs: a pair for each. Bits 16 to 25 are for others; bit 31 alone
// is a prefix to nft, which lists it in a form of its own. Where a VNet has more forwarding NICs than pairs, some
// share one, and what one of them let pass another does not judge.
var applianceBits = []uint32{1 << 3, 1 << 5, 1 << 7, 1 << 9, 1 << 11, 1 << 13, 1 << 26, 1 << 28}

// lowTTL is where packets that go round in circles are stopped: before a forwarding NIC's own kernel would do
// it, whose drops nobody counts.
const lowTTL = 4

// forwards tells whether a NIC passes on what is not for it.
func (n *NIC) forwards() bool { return n.Kind == Guest && n.Forwarding }

// forwarders writes the forwarding NICs and the gates of each.
func (r *router) forwarders() {
	var names, hand, carry []string
	slots := r.applianceSlots()
	for _, id := range slices.Sorted(maps.Keys(slots)) {
		name, slot := NICNS(id), slots[id]
		names = append(names, fmt.Sprintf("%q", name))
		in, out := fmt.Sprintf("%#x", applianceBits[slot]), fmt.Sprintf("%#x", applianceBits[slot]<<1)
		hand = append(hand, fmt.Sprintf("%q : jump %s", name, r.list("t", []string{
			"ct mark and " + in + " == " + in + " return",
			"ct direction reply ct mark and " + out + " == " + out + " return",
			"oifname vmap @ingress_subnet",
			"oifname vmap @ingress_nic",
			"ct direction reply ct mark set ct mark or " + answersEnter,
			"ct mark set ct mark or " + in})))
		carry = append(carry, fmt.Sprintf("%q : jump %s", name, r.list("t", []string{
			"ct mark and " + out + " == " + out + " return",
			"ct direction reply ct mark and " + in + " == " + in + " ct mark and " + answersEnter + " == 0x0 return",
			"iifname vmap @egress_nic",
			"iifname vmap @egress_subnet",
			"ct mark set ct mark or " + out})))
	}
	r.passing = len(names) > 0
	if !r.passing {
		return
	}
	for _, list := range [][]string{names, hand, carry} {
		slices.Sort(list)
	}
	r.set("forwarders", "ifname", names)
	r.mapping("hand", "ifname : verdict", hand)
	r.mapping("carry", "ifname : verdict", carry)
}

// applianceSlots gives each forwarding NIC its pair of bits.
func (r *router) applianceSlots() map[string]uint64 {
	ids := map[string]bool{}
	for i := range r.v.NICs {
		if n := &r.v.NICs[i]; n.forwards() {
			ids[n.ID] = true
		}
	}
	slots, taken := map[string]uint64{}, map[uint64]bool{}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		full := len(taken) == len(applianceBits)
		slots[id], _ = probe(id, uint64(len(applianceBits)), func(i uint64) bool { return taken[i] && !full })
		taken[slots[id]] = true
	}
	return slots
}

// Packets that a forwarding NIC passes on, and those that are given to it to pass on.
const (
	isCarried = "iifname @forwarders iifname . ip saddr != @sources"
	isHanded  = "oifname @forwarders oifname . ip daddr != @sources"
)

// fromForwarder writes what a forwarding NIC may send in others' names, and returns the rule that goes there.
func (r *router) fromForwarder(admit string) []string {
	if !r.passing {
		return nil
	}
	r.chain("from_forwarder",
		"ip saddr { "+joinPrefixes(unsendable())+" } "+r.drop(FabricRule(RuleAntiSpoof)),
		"ip saddr @endpoints "+r.drop(FabricRule(RuleAntiSpoof)),
		fmt.Sprintf("meta l4proto != { %d, %d, %d, %d, %d } %s", ICMP, TCP, UDP, ESP, AH, r.drop(FabricRule(RuleProtocol))),
		"ip daddr { "+joinPrefixes(platformPrefixes())+" } "+r.drop(FabricRule(RuleAntiSpoof)),
		fmt.Sprintf("ip ttl < %d %s", lowTTL, r.drop(FabricRule(RuleLoop))),
		admit)
	return []string{"meta nfproto ipv4 iifname @forwarders goto from_forwarder"}
}

// passOn writes the ways to forwarding NICs and from them, and returns the rules of the forward hook that lead
// there.
func (r *router) passOn() []string {
	if !r.passing {
		return nil
	}
	invalid := "ct state invalid " + r.drop(FabricRule(RuleInvalid))
	loop := "oifname . ip saddr @sources " + r.drop(FabricRule(RuleLoop)) // nobody takes packets from himself
	r.chain("hand_on",
		loop,
		"oifname vmap @hand",
		"accept")
	r.chain("leaving",
		"iifname vmap @egress_nic",
		"iifname vmap @egress_subnet",
		r.connectionLimit(),
		"ct mark set ct mark or "+judgedLeaving)
	r.chain("handed", append(append([]string{invalid}, r.notFloating("ct state new ")...),
		"ct state new ct mark and "+judgedLeaving+" != "+judgedLeaving+" jump leaving",
		"goto hand_on")...)
	r.chain("carried", append(append([]string{
		invalid,
		"iifname vmap @carry",
		isHanded + " goto hand_on",
		loop,
		`oifname "` + UplinkInterface + `" goto leave`,
	}, r.onLink("oifname", "accept")...),
		"ct state established,related accept",
		"ct mark and "+judgedEntering+" == "+judgedEntering+" accept",
		"oifname vmap @ingress_subnet",
		"oifname vmap @ingress_nic",
		"ct mark set ct mark or "+judgedEntering+" accept")...)
	return []string{isCarried + " goto carried", isHanded + " goto handed"}
}

// carriedIn are the rules for what a forwarding NIC passes on to the router's own addresses.
func (r *router) carriedIn() []string {
	if !r.passing {
		return nil
	}
	return []string{isCarried + " iifname vmap @carry"}
}

// ownFlows returns the rule that comes before what lets the packets of known flows pass on direct ways: a flow that
// only a forwarding NIC has begun, in another's name, was never judged by that one's gates. They judge each packet,
// what it sends and the answers that it gets.
func (r *router) ownFlows(from string) []string {
	if !r.passing {
		return nil
	}
	const name = "not_begun"
	if !r.separated {
		r.separated = true
		r.chain(name,
			"ct direction original iifname vmap @egress_nic",
			"ct direction original iifname vmap @egress_subnet",
			"ct direction reply oifname vmap @ingress_subnet",
			"ct direction reply oifname vmap @ingress_nic",
			"accept")
	}
	return []string{from + "ct state established ct mark and " + judgedDirect + " == 0x0 goto " + name}
}

// passEndpoint is the chain for what may reach a private endpoint. What a forwarding NIC passes on there gets no mark
// of a direct way: the sender's own gates may not have seen it.
func (r *router) passEndpoint() string {
	if !r.passing {
		return "pass"
	}
	r.chain("pass_endpoint",
		isCarried+" "+r.connectionLimit(),
		isCarried+" ct mark set ct mark or "+judgedEntering+" accept",
		"goto pass")
	return "pass_endpoint"
}
