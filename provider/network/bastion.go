package network

import (
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// BastionSubnet is the name of the subnet that Azure Bastion stands in.
const BastionSubnet = "AzureBastionSubnet"

// bastionRule is one of the rules that a network security group must have before Azure puts it on
// AzureBastionSubnet. Default rules do not count.
// https://learn.microsoft.com/azure/bastion/bastion-nsg
type bastionRule struct {
	direction fabric.Direction
	peer      string // the other side: source of an inbound rule, destination of an outbound one
	ports     []uint16
}

var bastionRules = []bastionRule{
	{fabric.Inbound, "Internet", []uint16{443}},
	{fabric.Inbound, "GatewayManager", []uint16{443}},
	{fabric.Inbound, "AzureLoadBalancer", []uint16{443}},
	{fabric.Inbound, "VirtualNetwork", []uint16{8080, 5701}},
	{fabric.Outbound, "VirtualNetwork", []uint16{22, 3389}},
	{fabric.Outbound, "AzureCloud", []uint16{443}},
	{fabric.Outbound, "VirtualNetwork", []uint16{8080, 5701}},
	{fabric.Outbound, "Internet", []uint16{80}},
}

// BastionCompliant refuses AzureBastionSubnet with a network security group that would cut a bastion off
// (400 NetworkSecurityGroupNotCompliantForAzureBastionSubnet). Other subnets, and one without a group, pass.
func BastionCompliant(tx *rp.Tx, s *rp.Resource[Subnet]) error {
	if s.ID.Name() != BastionSubnet || s.Properties.NSG == nil {
		return nil
	}
	group, err := arm.ParseID(s.Properties.NSG.ID)
	if err != nil {
		return err
	}
	list, err := rp.List[Rule](tx, RuleType, group)
	if err != nil {
		return err
	}
	var rules []fabric.Rule
	for _, r := range list {
		if rule, ok := r.Properties.compile(r.ID.Name()); ok && r.State != arm.Deleting {
			rules = append(rules, rule)
		}
	}
	for _, want := range bastionRules {
		for _, port := range want.ports {
			if !slices.ContainsFunc(rules, func(r fabric.Rule) bool { return want.met(&r, port) }) {
				return bad("NetworkSecurityGroupNotCompliantForAzureBastionSubnet", "Network security group %s does not have necessary rules for Azure Bastion Subnet %s: nothing allows %s traffic with %s on port %d.",
					group.Name(), BastionSubnet, strings.ToLower(want.direction.String()), want.peer, port)
			}
		}
	}
	return nil
}

func (w bastionRule) met(r *fabric.Rule, port uint16) bool {
	peers := r.Source
	if w.direction == fabric.Outbound {
		peers = r.Destination
	}
	return r.Allow && r.Direction == w.direction && (r.Protocol == fabric.TCP || r.Protocol == fabric.AnyProtocol) &&
		slices.ContainsFunc(peers, func(p string) bool { return p == "*" || strings.EqualFold(p, w.peer) }) &&
		slices.ContainsFunc(r.DestinationPorts, func(t string) bool { return hasPort(t, port) })
}

// hasPort tells whether a port is in "*", "80" or "80-90".
func hasPort(text string, port uint16) bool {
	if text == "*" {
		return true
	}
	low, high, isRange := strings.Cut(text, "-")
	a, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return false
	}
	b := a
	if isRange {
		if b, err = strconv.ParseUint(high, 10, 16); err != nil {
			return false
		}
	}
	return uint64(port) >= a && uint64(port) <= b
}
