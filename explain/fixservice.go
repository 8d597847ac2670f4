package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/fabric"
	"vauban.dev/firewall"
)

// fixService takes a connection past the service's firewall: from a VNet by a private endpoint or, for a
// caller by service endpoint, a rule for its subnet; from the internet by an IP rule.
func fixService(q Question, s situation, a Answer) []candidate {
	id, err := arm.ParseID(s.service.ID)
	if err != nil {
		return nil
	}
	vnet, nic := at(s.topology, q.From)
	var out []candidate
	if a.flow.Destination.Kind != fabric.ToEndpoint {
		if a.flow.Destination.VNet != "" {
			out = append(out, nameInPolicy(s, nic.Subnet)...)
			out = append(out, openSubnet(s, id, nic.Subnet)...)
		}
		if vnet != "" {
			out = append(out, privateEndpoint(s, vnet, nic)...)
		}
		out = append(out, openAddress(s, id, a.flow.Source)...)
	}
	if len(out) == 0 {
		return advise("the private endpoint leads elsewhere: %s", a.Service)
	}
	return out
}

// opened is the situation with the service's public access enabled and its rules changed.
func (s situation) opened(change func(*firewall.Rules)) *situation {
	service := *s.service
	service.Rules.PublicNetworkAccess = firewall.Enabled
	change(&service.Rules)
	s.service = &service
	return &s
}

func openAddress(s situation, id arm.ID, source netip.Addr) []candidate {
	if !source.Is4() {
		return nil
	}
	after := s.opened(func(r *firewall.Rules) {
		if r.DefaultAction == firewall.Deny || s.service.Kind != Workspace {
			r.DefaultAction, r.IPRules = firewall.Deny, append(slices.Clone(r.IPRules), one(source))
		}
	})
	ids, name := "--ids "+id.String(), id.Name()
	var f Fix
	switch s.service.Kind {
	case Blob, File, Queue, Table:
		f = Fix{fmt.Sprintf("let storage account %s take public connections from %s alone", name, source), []string{
			"az storage account update " + ids + " --public-network-access Enabled --default-action Deny",
			fmt.Sprintf("az storage account network-rule add %s --ip-address %s", named("--account-name", id.String()), source),
		}}
	case Vault:
		f = Fix{fmt.Sprintf("let vault %s take public connections from %s alone", name, source), []string{
			fmt.Sprintf("az keyvault update %s --public-network-access Enabled --default-action Deny", named("-n", id.String())),
			fmt.Sprintf("az keyvault network-rule add %s --ip-address %s/32", named("-n", id.String()), source),
		}}
	case Workspace:
		f = Fix{fmt.Sprintf("open workspace %s to the internet", name), []string{
			fmt.Sprintf("az ml workspace update %s --public-network-access Enabled", named("-n", id.String())),
		}}
	}
	return []candidate{{f, after}}
}

func openSubnet(s situation, id arm.ID, subnet string) []candidate {
	after := s.opened(func(r *firewall.Rules) {
		r.DefaultAction, r.SubnetRules = firewall.Deny, append(slices.Clone(r.SubnetRules), subnet)
	})
	command := ""
	switch s.service.Kind {
	case Blob, File, Queue, Table:
		command = fmt.Sprintf("az storage account network-rule add %s --subnet %s", named("--account-name", id.String()), subnet)
	case Vault:
		command = fmt.Sprintf("az keyvault network-rule add %s --subnet %s", named("-n", id.String()), subnet)
	default:
		return nil
	}
	return []candidate{{Fix{fmt.Sprintf("add a virtual network rule for subnet %s, which has the service endpoint", subnet), []string{command}}, after}}
}

// nameInPolicy lets the subnet's service endpoint reach the resource, where its policies name others.
func nameInPolicy(s situation, subnet string) []candidate {
	if s.service.Rules.Policies == nil {
		return nil
	}
	policies, err := s.service.Rules.Policies(subnet)
	if err != nil || len(policies) == 0 {
		return nil
	}
	changed := slices.Clone(policies)
	changed[0].Resources = append(slices.Clone(changed[0].Resources), s.service.ID)
	service := *s.service
	service.Rules.Policies = func(string) ([]firewall.EndpointPolicy, error) { return changed, nil }
	after := s
	after.service = &service
	return []candidate{{Fix{
		What: fmt.Sprintf("service endpoint policy %s of the subnet does not name %s: add it", policies[0].ID, s.service.ID),
		Commands: []string{fmt.Sprintf("az network service-endpoint policy-definition create %s -n allow --service Microsoft.Storage --service-resources %s",
			named("--policy-name", policies[0].ID), s.service.ID)},
	}, &after}}
}

// privateEndpoint puts an endpoint beside the caller, and its address under the service's name.
func privateEndpoint(s situation, vnet string, nic fabric.NIC) []candidate {
	t := *s.topology
	t.VNets = slices.Clone(t.VNets)
	i := slices.IndexFunc(t.VNets, func(v fabric.VNet) bool { return v.ID == vnet })
	addr, ok := FreeAddress(&t.VNets[i], nic.Subnet)
	subnet, err := arm.ParseID(nic.Subnet)
	if !ok || err != nil {
		return nil
	}
	target, err := arm.ParseID(s.service.ID)
	if err != nil {
		return nil
	}
	name := "pe-" + target.Name()
	t.VNets[i].NICs = append(slices.Clone(t.VNets[i].NICs), fabric.NIC{
		ID: vnet + "/fix/" + name, Kind: fabric.Endpoint, Subnet: nic.Subnet, Addrs: []netip.Addr{addr},
		Service: &fabric.Service{Target: s.service.ID, GroupID: string(s.service.Kind), Ports: []uint16{443}},
	})
	after := s.changed(&t)
	after.addr = addr
	scope := fmt.Sprintf("--subscription %s -g %s", subnet.Subscription(), subnet.ResourceGroup())
	zone := zoneOf(s.service.Kind)
	return []candidate{{Fix{
		What: fmt.Sprintf("give %s a private endpoint in the caller's virtual network, under its own name", s.service.ID),
		Commands: []string{
			fmt.Sprintf("az network private-endpoint create %s -n %s --vnet-name %s --subnet %s --connection-name %s --private-connection-resource-id %s --group-id %s",
				scope, name, subnet.Parent().Name(), subnet.Name(), name, s.service.ID, s.service.Kind),
			fmt.Sprintf("az network private-dns zone create %s -n %s", scope, zone),
			fmt.Sprintf("az network private-dns link vnet create %s -z %s -n %s -v %s -e false", scope, zone, subnet.Parent().Name(), vnet),
			fmt.Sprintf("az network private-endpoint dns-zone-group create %s --endpoint-name %s -n default --private-dns-zone %s --zone-name %s", scope, name, zone, s.service.Kind),
		},
	}, after}}
}

// FreeAddress is one that a NIC could get in a subnet: not one of Azure's five, not taken.
func FreeAddress(v *fabric.VNet, subnet string) (netip.Addr, bool) {
	taken := map[netip.Addr]bool{}
	for _, n := range v.NICs {
		for _, a := range n.Addrs {
			taken[a] = true
		}
	}
	for _, s := range v.Subnets {
		if s.ID != subnet {
			continue
		}
		for _, p := range s.Prefixes {
			a := p.Masked().Addr()
			for range 4 {
				a = a.Next()
			}
			for ; p.Contains(a.Next()); a = a.Next() {
				if !taken[a] {
					return a, true
				}
			}
		}
	}
	return netip.Addr{}, false
}
