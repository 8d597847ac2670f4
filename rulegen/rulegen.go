// Package rulegen writes the least security rules that a subnet of Azure Machine Learning's nodes needs: one for
// each tag of a dated profile, and nothing else to the internet. Each rule is proved on the model: with all of them
// every requirement passes, and without any one of them some requirement does not. And from what nodes have
// reached while they were watched, the rules for that alone. It is pure.
package rulegen

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/audit"
	"vauban.dev/fabric"
)

// Options say what the nodes are like.
type Options struct {
	Region      string // the workspace's location
	PublicIP    bool
	HBI         bool
	Situational bool // the requirements of some features as well
}

// Rule is a security rule with what it is for.
type Rule struct {
	Name        string   `json:"name"`
	Priority    int      `json:"priority"`
	Direction   string   `json:"direction"`
	Access      string   `json:"access"`
	Protocol    string   `json:"protocol"`
	Source      string   `json:"sourceAddressPrefix"`
	Destination string   `json:"destinationAddressPrefix"`
	Ports       []string `json:"destinationPortRanges"`
	Purpose     string   `json:"purpose"`
	// Breaks are the requirements that fail without the rule.
	Breaks []string `json:"breaksWithout,omitempty"`
}

// Priorities: rules begin at the first, step apart, so that others fit between; the last closes.
const (
	firstPriority = 100
	priorityStep  = 10
	lastPriority  = 4096
)

// closing is the name of the rule that leaves nothing else open.
const closing = "DenyInternetOutBound"

// Generate makes the rules of a profile.
func Generate(p *audit.Profile, o Options) []Rule {
	type key struct{ direction, protocol, tag string }
	merged := map[key]*Rule{}
	var order []key
	for _, q := range p.Requirements {
		if q.Situational && !o.Situational || !o.concerned(q.When) {
			continue
		}
		tag := q.Tag
		if head, ok := strings.CutSuffix(tag, ".region"); ok {
			tag = head + "." + o.Region
		}
		k := key{q.Direction, q.Protocol, tag}
		r := merged[k]
		if r == nil {
			r = &Rule{Direction: q.Direction, Access: "Allow", Protocol: q.Protocol, Source: fabric.TagVirtualNetwork, Destination: tag}
			if q.Direction == "Inbound" {
				r.Source, r.Destination = tag, fabric.TagVirtualNetwork
			}
			merged[k] = r
			order = append(order, k)
		}
		for _, port := range q.Ports {
			if text := strconv.Itoa(int(port)); !slices.Contains(r.Ports, text) {
				r.Ports = append(r.Ports, text)
			}
		}
		if !strings.Contains(r.Purpose, q.Purpose) {
			r.Purpose = strings.TrimPrefix(r.Purpose+"; "+q.Purpose, "; ")
		}
	}
	next := map[string]int{}
	var out []Rule
	for _, k := range order {
		r := merged[k]
		r.Priority = firstPriority + priorityStep*next[r.Direction]
		next[r.Direction]++
		r.Name = ruleName(*r)
		out = append(out, *r)
	}
	slices.SortStableFunc(out, func(a, b Rule) int { return cmp.Or(cmp.Compare(a.Direction, b.Direction), a.Priority-b.Priority) })
	return append(out, Rule{Name: closing, Priority: lastPriority, Direction: "Outbound", Access: "Deny", Protocol: "*", Source: "*",
		Destination: fabric.TagInternet, Ports: []string{"*"}, Purpose: "nothing else leaves for the internet"})
}

func (o Options) concerned(c audit.Condition) bool {
	switch c {
	case audit.WithPublicIP:
		return o.PublicIP
	case audit.WithoutPublicIP:
		return !o.PublicIP
	case audit.HighImpact:
		return o.HBI
	}
	return true
}

func ruleName(r Rule) string {
	tag := r.Destination
	if r.Direction == "Inbound" {
		tag = r.Source
	}
	protocol := map[string]string{"*": "Any"}[r.Protocol]
	if protocol == "" {
		protocol = r.Protocol
	}
	return "Allow" + strings.ReplaceAll(tag, ".", "-") + protocol + r.Direction
}

// model is the rules as the fabric has them.
func model(id string, rules []Rule) *fabric.NSG {
	g := &fabric.NSG{ID: id}
	for _, r := range rules {
		p := map[string]fabric.Protocol{"Tcp": fabric.TCP, "Udp": fabric.UDP, "Icmp": fabric.ICMP, "Esp": fabric.ESP, "Ah": fabric.AH, "*": fabric.AnyProtocol}[r.Protocol]
		d := fabric.Outbound
		if r.Direction == "Inbound" {
			d = fabric.Inbound
		}
		g.Rules = append(g.Rules, fabric.Rule{Name: r.Name, Priority: r.Priority, Direction: d, Allow: r.Access == "Allow", Protocol: p,
			Source: []string{r.Source}, Destination: []string{r.Destination}, SourcePorts: []string{"*"}, DestinationPorts: r.Ports})
	}
	return g
}

// Prove tries the rules on a copy of the model, in the place of the subject's subnet's security group and of its
// interface's: with all of them nothing that the profile requires is refused, and the internet is not reached; without any one of them
// something is refused, which is noted in the rule, or the internet is reached; tags that overlap are told. Routes and addresses are left out:
// the subnet is taken to have a way to the internet.
func Prove(ctx context.Context, w *audit.World, s audit.Subject, p *audit.Profile, rules []Rule) ([]Rule, error) {
	findings, open, err := try(ctx, w, s, p, rules)
	if err != nil {
		return nil, err
	}
	if len(findings) > 0 || open {
		return nil, fmt.Errorf("rulegen: the rules are not enough, or too many: the internet is reached: %v; %s", open, strings.Join(findings, "; "))
	}
	out := slices.Clone(rules)
	for i := range out {
		less := slices.Delete(slices.Clone(rules), i, i+1)
		breaks, open, err := try(ctx, w, s, p, less)
		if err != nil {
			return nil, err
		}
		if open {
			breaks = append(breaks, "any host of the internet is reached")
		}
		if len(breaks) == 0 { // tags overlap: the rule stays, since their addresses change
			breaks = []string{"today the other rules cover its addresses, or the region's list does not know the tag"}
		}
		out[i].Breaks = breaks
	}
	return out, nil
}

// proofGroup is the id of the security group that stands in the copy.
const proofGroup = "rulegen"

// try audits a copy of the model whose subnet has the rules; a situational requirement that is refused is no
// finding of the audit.
func try(ctx context.Context, w *audit.World, s audit.Subject, p *audit.Profile, rules []Rule) (findings []string, open bool, err error) {
	copied := *w
	t := *w.Topology
	t.NSGs = maps.Clone(t.NSGs)
	if t.NSGs == nil {
		t.NSGs = map[string]*fabric.NSG{}
	}
	t.NSGs[proofGroup] = model(proofGroup, slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return !known(w.Topology, r) }))
	t.VNets = slices.Clone(t.VNets)
	for i := range t.VNets {
		v := &t.VNets[i]
		v.Subnets, v.NICs = slices.Clone(v.Subnets), slices.Clone(v.NICs)
		for j := range v.NICs {
			if v.NICs[j].ID != s.At.ID {
				continue
			}
			v.NICs[j].NSG = ""
			for k := range v.Subnets {
				if sub := &v.Subnets[k]; sub.ID == v.NICs[j].Subnet {
					sub.NSG, sub.RouteTable, sub.NATGateway, sub.DefaultOutbound, sub.ServiceEndpoints = proofGroup, "", "", true, nil
				}
			}
		}
	}
	copied.Topology = &t
	required, err := audit.Required(ctx, &copied, s, required(p))
	if err != nil {
		return nil, false, err
	}
	for _, x := range required.Findings() {
		findings = append(findings, x.What)
	}
	exfil, err := audit.Exfil(ctx, &copied, s.Place)
	if err != nil {
		return nil, false, err
	}
	for _, x := range exfil.Findings() {
		open = open || x.Kind == audit.KindInternet
	}
	return findings, open, nil
}

// known reports whether the region's list has the rule's tags: a rule that names others cannot be enforced.
func known(t *fabric.Topology, r Rule) bool {
	for _, tag := range []string{r.Source, r.Destination} {
		if slices.Contains([]string{"*", fabric.TagVirtualNetwork, fabric.TagInternet, fabric.TagLoadBalancer}, tag) {
			continue
		}
		if t.Tags == nil {
			return false
		}
		if _, ok := t.Tags.Prefixes(tag); !ok {
			return false
		}
	}
	return true
}

// required is the profile without what no security rule decides: hosts that have no tag.
func required(p *audit.Profile) *audit.Profile {
	out := *p
	out.Hosts = nil
	return &out
}
