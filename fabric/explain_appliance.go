package fabric

import (
	"fmt"
	"net/netip"
	"slices"
)

// carried is the way from a forwarding NIC of a packet that another sent.
func (w *walk) carried(v *VNet, n *NIC) bool {
	never := []string{"0.0.0.0/8", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "224.0.0.0/3"}
	owner := v.nicAt(w.p.Source)
	switch {
	case slices.ContainsFunc(never, func(p string) bool { return netip.MustParsePrefix(p).Contains(w.p.Source) }):
		return w.deny(n.ID, fmt.Sprintf("nobody has the address %s", w.p.Source), FabricRule(RuleAntiSpoof))
	case owner != nil && owner.Kind == Endpoint:
		return w.deny(n.ID, fmt.Sprintf("%s is a private endpoint, which answers by itself", w.p.Source), FabricRule(RuleAntiSpoof))
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
	return w.egress(v, n) && w.route(v, n)
}

// hand is the way to a forwarding NIC that is the next hop.
func (w *walk) hand(v *VNet, n *NIC) bool {
	if slices.Contains(n.Addrs, w.p.Destination) || w.floats(v, n, w.p.Destination) {
		return w.toNIC(v, n)
	}
	if slices.Contains(n.Addrs, w.p.Source) {
		return w.loop(n.ID, "the route leads back to the sender")
	}
	if !w.ingress(v, n) {
		return false
	}
	w.crossed[v.ID] = true
	w.ttl -= 2 // the router's and the appliance's
	return w.fromNIC(v, n)
}

func (w *walk) loop(where, what string) bool { return w.deny(where, what, FabricRule(RuleLoop)) }
