package networkwatcher

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/network"
)

// interfaceOf is the id of the interface that a target names: a virtual machine's, or, where Azure takes
// machines only, an interface itself.
func interfaceOf(tx *rp.Tx, w *rp.Resource[Watcher], property, id string) (arm.ID, error) {
	if id == "" {
		return arm.ID{}, bad("InvalidRequestFormat", "The property '%s' is missing.", property)
	}
	target, err := arm.ParseID(id)
	if err != nil {
		return arm.ID{}, err
	}
	if strings.EqualFold(target.Type().String(), compute.Type) {
		if target, err = compute.NICOf(tx, target); err != nil {
			return arm.ID{}, err
		}
	}
	if !strings.EqualFold(target.Type().String(), network.NICType) {
		return arm.ID{}, bad("InvalidRequestFormat", "The property '%s' is '%s', which is neither a virtual machine nor a network interface.", property, target)
	}
	nic, err := rp.Get[network.Interface](tx, target)
	if err != nil {
		return arm.ID{}, err
	}
	if !strings.EqualFold(target.Subscription(), w.ID.Subscription()) || !strings.EqualFold(nic.Location, w.Location) {
		return arm.ID{}, bad("InvalidResourceReference", "Resource %s referenced by resource %s must be in the same subscription and region.", nic.ID, w.ID)
	}
	return nic.ID, nil
}

// standing is an interface where it stands in the network.
type standing struct {
	nic    fabric.NIC
	subnet fabric.Subnet
	vnet   string
}

// find is the interface of the model with this id: that of a private endpoint has the endpoint's id there, and
// is none of which flows begin.
func find(t *fabric.Topology, id string) (standing, error) {
	for _, v := range t.VNets {
		for _, n := range v.NICs {
			if !strings.EqualFold(n.ID, id) {
				continue
			}
			i := slices.IndexFunc(v.Subnets, func(s fabric.Subnet) bool { return s.ID == n.Subnet })
			if i >= 0 {
				return standing{n, v.Subnets[i], v.ID}, nil
			}
		}
	}
	return standing{}, bad("InvalidResourceReference", "Resource %s is the interface of a private endpoint, or not in the network yet: no flow begins there.", id)
}

// gate is one security group that a flow passes, and where it stands.
type gate struct {
	nsg, appliedTo string
}

// gates are the groups that judge a direction, in Azure's order: inbound the subnet's before the interface's,
// outbound the other way round.
func (s standing) gates(d fabric.Direction) []gate {
	all := []gate{{s.nic.NSG, s.nic.ID}, {s.subnet.NSG, s.subnet.ID}}
	if d == fabric.Inbound {
		slices.Reverse(all)
	}
	return slices.DeleteFunc(all, func(g gate) bool { return g.nsg == "" })
}

// parseDirection reads Inbound or Outbound.
func parseDirection(s string) (fabric.Direction, error) {
	switch {
	case strings.EqualFold(s, "Inbound"):
		return fabric.Inbound, nil
	case strings.EqualFold(s, "Outbound"):
		return fabric.Outbound, nil
	}
	return 0, bad("InvalidRequestFormat", "The property 'direction' is '%s': Inbound or Outbound.", s)
}

// parsePort reads a port; "*" stands for any where a source's is meant.
func parsePort(property, s string, source bool) (uint16, error) {
	if source && s == "*" {
		return anyPort, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, bad("InvalidRequestFormat", "The property '%s' is '%s', which is no port.", property, s)
	}
	return uint16(n), nil
}

// anyPort stands for a port that the client's kernel chooses.
const anyPort = 40000

func parseAddr(property, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Addr{}, bad("InvalidRequestFormat", "The property '%s' is '%s', which is no IPv4 address.", property, s)
	}
	return a, nil
}

// ruleName is a rule as Network Watcher names it.
func ruleName(t *fabric.Topology, ref fabric.RuleRef) string {
	if ref.Rule == "" {
		return ""
	}
	for _, r := range fabric.DefaultRules() {
		if r.Name == ref.Rule && r.Direction == ref.Direction && !named(t.NSGs[ref.Owner], ref) {
			return "defaultSecurityRules/" + ref.Rule
		}
	}
	return "securityRules/" + ref.Rule
}

// named reports whether a group has a rule of its own of that name.
func named(g *fabric.NSG, ref fabric.RuleRef) bool {
	return g != nil && slices.ContainsFunc(g.Rules, func(r fabric.Rule) bool { return r.Name == ref.Rule && r.Direction == ref.Direction })
}
