package fabric

import (
	"fmt"
	"net/netip"
)

// EngineBridge is the network that a container engine makes for itself on every machine that it runs on, and with it
// on every compute node of Azure Machine Learning: a virtual network that has these addresses cannot be reached from
// there.
// https://learn.microsoft.com/azure/machine-learning/how-to-secure-workspace-vnet (172.17.0.0/16)
var EngineBridge = netip.MustParsePrefix("172.17.0.0/16")

// bridge keeps packets to the guest's own network inside, as a bridge without anybody on it does.
func (ns *Namespace) bridge(n *NIC) {
	if n.Bridge.IsValid() {
		ns.Routes = append(ns.Routes, Route{Type: "unreachable", Dst: n.Bridge})
	}
}

// keeps says that packets to an address never leave the NIC's guest.
func (n *NIC) keeps(a netip.Addr) bool { return n.Bridge.IsValid() && n.Bridge.Contains(a) }

// leaves stops a packet that stays in its guest, or whose answer would.
func (w *walk) leaves(n *NIC, to netip.Addr, what string) bool {
	if !n.keeps(to) {
		return true
	}
	w.stop(n.ID, fmt.Sprintf("%s to %s never leaves: %s is the bridge of its own container engine; give the virtual network other addresses", what, to, n.Bridge))
	return false
}

func (v *validator) bridge(n *NIC) error {
	switch b := n.Bridge; {
	case !b.IsValid():
	case n.Kind != Guest || !b.Addr().Is4() || b.Masked() != b:
		return invalid(n.ID, "%s cannot be the network of its own", b)
	}
	return nil
}
