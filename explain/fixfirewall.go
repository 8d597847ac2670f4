package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

// fixFirewall lets a connection through the firewall that refused it: by an application rule for its name, or by a
// network rule, in the rule collection group that is asked first.
func fixFirewall(s situation, e fabric.Explanation) []candidate {
	vnet, nic := firewallOf(s.topology, e.By.Owner)
	if nic == nil {
		return advise("firewall %s is not in the network", e.By.Owner)
	}
	if slices.ContainsFunc(nic.Addrs, func(a netip.Addr) bool { return a == e.Flow.Dst }) || isPublicOf(nic, e.Flow.Dst) {
		return advise("a NAT rule of %s must say where connections to %s go", e.By.Owner, e.Flow.Dst)
	}
	g, policy := firstGroup(nic.Firewall)
	if g < 0 {
		return advise("the rules of %s are in no rule collection group of a policy: allow it there", e.By.Owner)
	}
	var out []candidate
	if fits, args := asApplicationRule(e); fits != nil {
		out = append(out, withRule(s, vnet, nic, g, policy, e.By.Rule, *fits, args))
	}
	fits, args := asNetworkRule(e)
	return append(out, withRule(s, vnet, nic, g, policy, e.By.Rule, fits, args))
}

// firewallOf finds the NIC of a firewall, and its VNet's place in the topology.
func firewallOf(t *fabric.Topology, id string) (vnet int, nic *fabric.NIC) {
	for i := range t.VNets {
		for j := range t.VNets[i].NICs {
			if n := &t.VNets[i].NICs[j]; n.Firewall != nil && n.Firewall.ID == id {
				return i, n
			}
		}
	}
	return 0, nil
}

func isPublicOf(n *fabric.NIC, a netip.Addr) bool {
	return slices.ContainsFunc(n.Public, func(p fabric.PublicAddress) bool { return p.Public == a })
}

// firstGroup is the rule collection group that is asked first, of those of policies; -1 if there is none.
func firstGroup(f *azurefirewall.Firewall) (at int, policy string) {
	at = -1
	for i, g := range f.Groups {
		if g.Name == "" {
			continue
		}
		if b := at; b < 0 || g.Level < f.Groups[b].Level || g.Level == f.Groups[b].Level && g.Priority < f.Groups[b].Priority {
			at, policy = i, g.Policy
		}
	}
	return at, policy
}

// asApplicationRule is a rule for the name that the connection is for; nil where no application rule would do.
func asApplicationRule(e fabric.Explanation) (*azurefirewall.Collection, string) {
	kind := map[uint16]string{80: azurefirewall.HTTP, 443: azurefirewall.HTTPS}[e.Flow.DstPort]
	if e.Flow.Protocol != fabric.TCP || e.Flow.Host == "" || kind == "" {
		return nil, ""
	}
	c := azurefirewall.Collection{Application: []azurefirewall.ApplicationRule{{
		Name: "Allow-" + strings.ReplaceAll(e.Flow.Host, ".", "-"), Sources: []string{e.Source.String()}, FQDNs: []string{e.Flow.Host},
		Protocols: []azurefirewall.ApplicationProtocol{{Type: kind, Port: e.Flow.DstPort}}}}}
	return &c, fmt.Sprintf("--rule-name %s --rule-type ApplicationRule --protocols %s=%d --source-addresses %s --target-fqdns %s",
		c.Application[0].Name, kind, e.Flow.DstPort, e.Source, e.Flow.Host)
}

func asNetworkRule(e fabric.Explanation) (azurefirewall.Collection, string) {
	protocol, port := azurefirewall.Any, "*"
	switch e.Flow.Protocol {
	case fabric.TCP, fabric.UDP:
		protocol, port = azurefirewall.Protocol(strings.ToUpper(e.Flow.Protocol.String())), strconv.Itoa(int(e.Flow.DstPort))
	case fabric.ICMP:
		protocol = azurefirewall.ICMP
	}
	c := azurefirewall.Collection{Network: []azurefirewall.NetworkRule{{
		Name: "Allow-" + ruleName(e.Flow), Protocols: []azurefirewall.Protocol{protocol}, Sources: []string{e.Source.String()},
		Destinations: []string{e.Flow.Dst.String()}, Ports: []string{port}}}}
	return c, fmt.Sprintf("--rule-name %s --rule-type NetworkRule --ip-protocols %s --source-addresses %s --destination-addresses %s --destination-ports %s",
		c.Network[0].Name, protocol, e.Source, e.Flow.Dst, quote(port))
}

// freeCollection is a priority in a group: after all its collections where no rule refused, before them where one
// did; 0 if none is left.
func freeCollection(g azurefirewall.Group, refused string) int {
	first, last := 65001, 99
	for _, c := range g.Collections {
		first, last = min(first, c.Priority), max(last, c.Priority)
	}
	switch {
	case refused == azurefirewall.DefaultAction && last < 65000:
		return last + 1
	case first > 100:
		return first - 1
	}
	return 0
}

// withRule is the situation with a collection of one rule in a group.
func withRule(s situation, vnet int, nic *fabric.NIC, g int, policy, refused string, c azurefirewall.Collection, args string) candidate {
	group := nic.Firewall.Groups[g]
	c.Priority = freeCollection(group, refused)
	if c.Priority == 0 {
		return advise("no priority is left in rule collection group %s of %s: change its collections", group.Name, policy)[0]
	}
	c.Name = "allow-" + strconv.Itoa(c.Priority)
	group.Collections = append(slices.Clone(group.Collections), c)
	f := *nic.Firewall
	f.Groups = slices.Clone(f.Groups)
	f.Groups[g] = group
	t := *s.topology
	t.VNets = slices.Clone(t.VNets)
	v := &t.VNets[vnet]
	v.NICs = slices.Clone(v.NICs)
	for i := range v.NICs {
		if v.NICs[i].ID == nic.ID {
			v.NICs[i].Firewall = &f
		}
	}
	return candidate{Fix{
		What: fmt.Sprintf("allow it in rule collection group %s of %s", group.Name, policy),
		Commands: []string{fmt.Sprintf("az network firewall policy rule-collection-group collection add-filter-collection %s --rcg-name %s -n %s --collection-priority %d --action Allow %s",
			named("--policy-name", policy), group.Name, c.Name, c.Priority, args)},
	}, s.changed(&t)}
}
