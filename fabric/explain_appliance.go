package fabric

import (
	"fmt"
	"net/netip"
	"slices"
)

// carried is the way from a forwarding NIC of a packet that another sent.
func (w *walk) carried(v *VNet, n *NIC) bool {
	w.ns = RouterNS(v.ID)
	never := []string{"0.0.0.0/8", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "224.0.0.0/3"}
	owner := v.nicAt(w.p.Source)
	switch {
	case slices.ContainsFunc(never, func(p string) bool { return netip.MustParsePrefix(p).Contains(w.p.Source) }):
		return w.deny(n.ID, fmt.Sprintf("nobody has the address %s", w.p.Source), FabricRule(RuleAntiSpoof))
	case owner != nil && owner.Kind == Endpoint:
		return w.deny(n.ID, fmt.Sprintf("%s is a private endpoint, which answers by itself", w.p.Source), FabricRule(RuleAntiSpoof))
	case !w.p.Protocol.carried():
		return w.carriedProtocol(n)
	case w.p.Destination == WireServer || w.p.Destination.IsLinkLocalUnicast():
		return w.deny(n.ID, "the platform answers for one's own addresses only", FabricRule(RuleAntiSpoof))
	case w.ttl < lowTTL:
		w.e.Steps = w.e.Steps[:w.again]
		return w.loop(n.ID, "it has passed the packet on before, and so on until the hop limit")
	}
	if w.passed[n.ID] && w.again == 0 {
		w.again = len(w.e.Steps)
	}
	w.passed[n.ID] = true
	w.step(n.ID, fmt.Sprintf("the appliance passes on what %s sent", w.p.Source), RuleRef{}, Allowed)
	w.enter(RouterNS(v.ID), v.ID)
	w.direct, w.carrying = false, true
	if !w.egress(v, n) {
		return false
	}
	if w.answers == nil {
		w.tracks[w.at].outbound[n.ID] = true
	}
	return w.route(v, n)
}

// hand is the way to a forwarding NIC that is the next hop.
func (w *walk) hand(v *VNet, n *NIC) bool {
	if slices.Contains(n.Addrs, w.p.Destination) || w.floats(v, n, w.p.Destination) {
		return w.toNIC(v, n)
	}
	if slices.Contains(n.Addrs, w.p.Source) || w.floats(v, n, w.p.Source) {
		return w.loop(n.ID, "the route leads back to the sender")
	}
	switch {
	case w.invalid:
		return w.unknown(v.ID)
	case w.known:
		if !w.handedBack(v, n) {
			return false
		}
		w.restored()
		if slices.Contains(n.Addrs, w.p.Source) || w.floats(v, n, w.p.Source) {
			w.stop(n.ID, fmt.Sprintf("%s is an address of the appliance's own, from which it takes no packets", w.p.Source))
			return false
		}
	default:
		if !w.ingress(v, n) {
			return false
		}
		if w.answers == nil {
			w.tracks[w.at].inbound[n.ID] = true
		}
	}
	w.crossed[v.ID] = true
	w.ttl -= 2 // the router's and the appliance's
	if w.intoTunnel(v, n, true) {
		return false
	}
	return w.fromNIC(v, n)
}

func (w *walk) loop(where, what string) bool { return w.deny(where, what, FabricRule(RuleLoop)) }
