package networkwatcher

import (
	"context"
	"net/netip"
	"slices"

	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// diagnosticQuestion is the body of networkConfigurationDiagnostic (Network REST:
// NetworkConfigurationDiagnosticParameters).
type diagnosticQuestion struct {
	Target   string    `json:"targetResourceId"`
	Profiles []profile `json:"profiles"`
}

type profile struct {
	Direction   string `json:"direction"`
	Protocol    string `json:"protocol"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Port        string `json:"destinationPort"`
}

func (q *diagnosticQuestion) check(tx *rp.Tx, w *rp.Resource[Watcher]) error {
	id, err := interfaceOf(tx, w, "targetResourceId", q.Target)
	if err != nil {
		return err
	}
	q.Target = id.String()
	if len(q.Profiles) == 0 {
		return bad("InvalidRequestFormat", "The property 'profiles' is empty.")
	}
	for _, p := range q.Profiles {
		if _, _, err := p.packet(); err != nil {
			return err
		}
	}
	return nil
}

func (p *profile) packet() (packet fabric.Packet, d fabric.Direction, err error) {
	if d, err = parseDirection(p.Direction); err != nil {
		return packet, d, err
	}
	packet.Protocol = fabric.TCP // what "*" and Any are tried with
	if p.Protocol != "*" && p.Protocol != "Any" {
		if packet.Protocol, err = explain.ParseProtocol(p.Protocol); err != nil {
			return packet, d, bad("InvalidRequestFormat", "The property 'protocol' is '%s': Tcp, Udp, Icmp or Any.", p.Protocol)
		}
	}
	if packet.Source, err = parseSpace("source", p.Source); err != nil {
		return packet, d, err
	}
	if packet.Destination, err = parseSpace("destination", p.Destination); err != nil {
		return packet, d, err
	}
	packet.SourcePort = anyPort
	packet.DestinationPort, err = parsePort("destinationPort", p.Port, true)
	return packet, d, err
}

// parseSpace is one address of what a profile names: an address, or the first of a prefix.
func parseSpace(property, s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
		return p.Masked().Addr(), nil
	}
	return parseAddr(property, s)
}

// diagnose is networkConfigurationDiagnostic: each group on the way of a flow, the rule that decides there, and
// how every rule before it compares.
// https://learn.microsoft.com/azure/network-watcher/nsg-diagnostics-overview
func (p *Provider) diagnose(_ context.Context, w explain.World, q *diagnosticQuestion) (any, error) {
	s, err := find(w.Topology, q.Target)
	if err != nil {
		return nil, err
	}
	results := []any{}
	for _, prof := range q.Profiles {
		packet, d, err := prof.packet()
		if err != nil {
			return nil, err
		}
		verdict, groups := "Allow", []any{}
		for _, g := range s.gates(d) {
			rule, allow := w.Topology.Evaluate(g.nsg, s.subnet.ID, d, packet)
			if !allow {
				verdict = "Deny"
			}
			groups = append(groups, map[string]any{
				"networkSecurityGroupId": g.nsg, "appliedTo": g.appliedTo,
				"matchedRule":           map[string]any{"ruleName": shortName(rule), "action": access(allow)},
				"rulesEvaluationResult": compared(w.Topology, s.subnet.ID, g.nsg, d, packet, rule),
			})
		}
		results = append(results, map[string]any{
			"profile":                    prof,
			"networkSecurityGroupResult": map[string]any{"securityRuleAccessResult": verdict, "evaluatedNetworkSecurityGroups": groups},
		})
	}
	return map[string]any{"results": results}, nil
}

func shortName(r fabric.RuleRef) string { return r.Rule }

// compared tells of each rule up to the one that decided which of its parts match the packet.
func compared(t *fabric.Topology, subnet, nsg string, d fabric.Direction, p fabric.Packet, decided fabric.RuleRef) []any {
	out := []any{}
	rules := slices.Concat(t.NSGs[nsg].Rules, fabric.DefaultRules())
	slices.SortStableFunc(rules, func(a, b fabric.Rule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		if r.Direction != d {
			continue
		}
		wild := fabric.Rule{Name: "probe", Priority: 100, Direction: d, Allow: true, Protocol: fabric.AnyProtocol, Source: star, Destination: star, SourcePorts: star, DestinationPorts: star}
		part := func(change func(*fabric.Rule)) bool {
			probe := wild
			change(&probe)
			alone := *t
			alone.NSGs = map[string]*fabric.NSG{nsg: {ID: nsg, Rules: []fabric.Rule{probe}}}
			matched, _ := alone.Evaluate(nsg, subnet, d, p)
			return matched.Rule == probe.Name
		}
		out = append(out, map[string]any{
			"name":                   r.Name,
			"protocolMatched":        part(func(x *fabric.Rule) { x.Protocol = r.Protocol }),
			"sourceMatched":          part(func(x *fabric.Rule) { x.Source, x.SourceASGs = r.Source, r.SourceASGs }),
			"sourcePortMatched":      part(func(x *fabric.Rule) { x.SourcePorts = r.SourcePorts }),
			"destinationMatched":     part(func(x *fabric.Rule) { x.Destination, x.DestinationASGs = r.Destination, r.DestinationASGs }),
			"destinationPortMatched": part(func(x *fabric.Rule) { x.DestinationPorts = r.DestinationPorts }),
		})
		if r.Name == decided.Rule {
			break
		}
	}
	return out
}

var star = []string{"*"}
