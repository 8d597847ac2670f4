package networkwatcher

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// viewQuestion is the body of securityGroupView.
type viewQuestion struct {
	Target string `json:"targetResourceId"`
}

func (q *viewQuestion) check(tx *rp.Tx, w *rp.Resource[Watcher]) error {
	id, err := interfaceOf(tx, w, "targetResourceId", q.Target)
	q.Target = id.String()
	return err
}

// securityView is securityGroupView: the groups of an interface and of its subnet, with their rules
// (Network REST: SecurityGroupViewResult).
func (p *Provider) securityView(_ context.Context, w explain.World, q *viewQuestion) (any, error) {
	s, err := find(w.Topology, q.Target)
	if err != nil {
		return nil, err
	}
	assoc := map[string]any{"defaultSecurityRules": []any{}, "effectiveSecurityRules": []any{}}
	if g := w.Topology.NSGs[s.nic.NSG]; g != nil {
		assoc["networkInterfaceAssociation"] = map[string]any{"id": s.nic.ID, "securityRules": ownRules(g)}
	}
	if g := w.Topology.NSGs[s.subnet.NSG]; g != nil {
		assoc["subnetAssociation"] = map[string]any{"id": s.subnet.ID, "securityRules": ownRules(g)}
	}
	var effective []any
	for _, gate := range s.gates(fabric.Outbound) {
		g := w.Topology.NSGs[gate.nsg]
		assoc["defaultSecurityRules"] = defaultRules(g)
		effective = append(effective, effectiveRules(w.Topology, s, g)...)
	}
	if effective != nil {
		assoc["effectiveSecurityRules"] = effective
	}
	return map[string]any{"networkInterfaces": []any{map[string]any{"id": s.nic.ID, "securityRuleAssociations": assoc}}}, nil
}

func ownRules(g *fabric.NSG) []any {
	out := []any{}
	for _, r := range g.Rules {
		out = append(out, ruleResource(g.ID+"/securityRules/"+r.Name, "Microsoft.Network/networkSecurityGroups/securityRules", r))
	}
	return out
}

func defaultRules(g *fabric.NSG) []any {
	out := []any{}
	for _, r := range fabric.DefaultRules() {
		out = append(out, ruleResource(g.ID+"/defaultSecurityRules/"+r.Name, "Microsoft.Network/networkSecurityGroups/defaultSecurityRules", r))
	}
	return out
}

// ruleResource is a rule as securityRules has it.
func ruleResource(id, typ string, r fabric.Rule) map[string]any {
	p := map[string]any{"provisioningState": "Succeeded", "access": access(r.Allow), "direction": r.Direction.String(), "priority": r.Priority, "protocol": r.Protocol.String()}
	list := func(one, many string, texts []string) {
		if len(texts) == 1 {
			p[one] = texts[0]
			p[many] = []string{}
			return
		}
		p[many] = append([]string{}, texts...)
	}
	list("sourceAddressPrefix", "sourceAddressPrefixes", r.Source)
	list("destinationAddressPrefix", "destinationAddressPrefixes", r.Destination)
	list("sourcePortRange", "sourcePortRanges", r.SourcePorts)
	list("destinationPortRange", "destinationPortRanges", r.DestinationPorts)
	return map[string]any{"id": id, "name": r.Name, "type": typ, "properties": p}
}

func access(allow bool) string {
	if allow {
		return "Allow"
	}
	return "Deny"
}

// effectiveRules are a group's rules in the order of their priorities, tags and lists spelled out
// (Network REST: EffectiveNetworkSecurityRule). The platform's addresses are not shown.
func effectiveRules(t *fabric.Topology, s standing, g *fabric.NSG) []any {
	var out []any
	rules := slices.Concat(g.Rules, fabric.DefaultRules())
	slices.SortStableFunc(rules, func(a, b fabric.Rule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		e := map[string]any{
			"name": ruleName(t, fabric.RuleRef{Owner: g.ID, Direction: r.Direction, Rule: r.Name}), "access": access(r.Allow),
			"direction": r.Direction.String(), "priority": r.Priority, "protocol": effectiveProtocol(r.Protocol),
		}
		peers := func(side string, texts, groups []string) {
			prefixes, expanded := effectivePeers(t, s, texts, groups)
			if len(prefixes) > 0 {
				e[side+"AddressPrefix"] = prefixes[0]
			}
			e[side+"AddressPrefixes"] = prefixes
			e["expanded"+strings.ToUpper(side[:1])+side[1:]+"AddressPrefix"] = expanded
		}
		peers("source", r.Source, r.SourceASGs)
		peers("destination", r.Destination, r.DestinationASGs)
		ports := func(side string, texts []string) {
			ranges := effectivePorts(texts)
			if len(ranges) > 0 {
				e[side+"PortRange"] = ranges[0]
			}
			e[side+"PortRanges"] = ranges
		}
		ports("source", r.SourcePorts)
		ports("destination", r.DestinationPorts)
		out = append(out, e)
	}
	return out
}

func effectiveProtocol(p fabric.Protocol) string {
	if p == fabric.AnyProtocol {
		return "All"
	}
	return p.String()
}

// effectivePorts: 443 is 443-443, and all are 0-65535.
func effectivePorts(texts []string) []string {
	out := []string{}
	for _, s := range texts {
		switch {
		case s == "*":
			s = "0-65535"
		case !strings.Contains(s, "-"):
			s += "-" + s
		}
		out = append(out, s)
	}
	return out
}

// effectivePeers spells out what a side of a rule names; expanded are the prefixes of its tags and groups,
// nil where nothing is to be spelled out.
func effectivePeers(t *fabric.Topology, at standing, texts, groups []string) (prefixes, expanded []string) {
	prefixes = []string{}
	for _, s := range texts {
		if s == "*" {
			prefixes = append(prefixes, "0.0.0.0/0")
			continue
		}
		if a, err := netip.ParseAddr(s); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()).String())
			continue
		}
		prefixes = append(prefixes, s)
		for _, p := range tagPrefixes(t, at, s) {
			expanded = append(expanded, p.String())
		}
	}
	for _, v := range t.VNets {
		for _, n := range v.NICs {
			if v.ID == at.vnet && slices.ContainsFunc(n.ASGs, func(g string) bool { return slices.Contains(groups, g) }) {
				for _, a := range n.Addrs {
					prefixes = append(prefixes, netip.PrefixFrom(a, 32).String())
				}
			}
		}
	}
	return prefixes, expanded
}

// tagPrefixes are the prefixes of a service tag in the rules of an interface; nil for what is no tag.
func tagPrefixes(t *fabric.Topology, at standing, tag string) []netip.Prefix {
	switch {
	case strings.EqualFold(tag, fabric.TagVirtualNetwork):
		return append(t.VirtualNetworkAt(at.subnet.ID), netip.PrefixFrom(fabric.WireServer, 32))
	case strings.EqualFold(tag, fabric.TagLoadBalancer):
		return []netip.Prefix{netip.PrefixFrom(fabric.WireServer, 32)}
	case strings.EqualFold(tag, fabric.TagInternet):
		return without(netip.MustParsePrefix("0.0.0.0/0"), slices.Concat(notInternet, t.VirtualNetworkAt(at.subnet.ID)))
	case t.Tags != nil:
		p, _ := t.Tags.Prefixes(tag)
		return slices.DeleteFunc(slices.Clone(p), func(p netip.Prefix) bool { return !p.Addr().Is4() })
	}
	return nil
}

// notInternet are the addresses that are on no internet (RFC 6890).
var notInternet = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

// without is what is left of a prefix: it is halved until no half holds both what stays and what goes.
func without(p netip.Prefix, gone []netip.Prefix) []netip.Prefix {
	whole := true
	for _, g := range gone {
		if g.Bits() <= p.Bits() && g.Contains(p.Addr()) {
			return nil
		}
		whole = whole && !g.Overlaps(p)
	}
	if whole {
		return []netip.Prefix{p}
	}
	b := p.Addr().As4()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	return append(without(netip.PrefixFrom(p.Addr(), p.Bits()+1), gone), without(netip.PrefixFrom(netip.AddrFrom4(b), p.Bits()+1), gone)...)
}
