package rulegen

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/fabric"
)

// Tag is a service tag that rules may name.
type Tag struct {
	Name     string
	Prefixes []netip.Prefix
}

// Learned is a destination with the rule that lets it pass.
type Learned struct {
	Destination
	Tag  string `json:"serviceTag,omitempty"`
	Rule string `json:"rule,omitempty"`
	// Why is there no rule.
	Why string `json:"withoutRule,omitempty"`
}

// Learn makes the least outbound rules by which a subnet's nodes reach what was answered, and nothing else: of a
// service's address its tag with the fewest addresses, of any other the address itself. The rules are tried on the
// model in the place of the subnet's security group: each destination passes, and a host of the internet that was not
// reached does not; Breaks tells what is refused without a rule. Addresses of the platform need no rule: only its
// own tags close them.
func Learn(t *fabric.Topology, subnet string, tags []Tag, all []Destination) ([]Learned, []Rule, error) {
	out := make([]Learned, len(all))
	merged := map[ruleKey]*Rule{}
	for i, d := range all {
		out[i] = Learned{Destination: d}
		switch {
		case d.Addr == fabric.WireServer || d.Addr == fabric.IMDS || d.Addr == fabric.Gateway || !d.Addr.IsGlobalUnicast():
			out[i].Why = "of the platform or of the link: no security group closes it by addresses"
		case !d.Answered:
			out[i].Why = "nothing came back"
		default:
			if !inside(t, d.Addr) {
				out[i].Tag = least(tags, d.Addr)
			}
			out[i].Rule = allow(merged, &out[i])
		}
	}
	rules := slices.SortedFunc(maps.Values(merged), func(a, b *Rule) int {
		return cmp.Or(strings.Compare(a.Destination, b.Destination), strings.Compare(a.Protocol, b.Protocol))
	})
	if most := (lastPriority - firstPriority) / priorityStep; len(rules) > most {
		return nil, nil, fmt.Errorf("rulegen: %d rules, and there is room for %d", len(rules), most)
	}
	proposed := make([]Rule, 0, len(rules)+1)
	for i, r := range rules {
		r.Priority = firstPriority + priorityStep*i
		slices.SortFunc(r.Ports, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
		proposed = append(proposed, *r)
	}
	proposed = append(proposed, Rule{Name: "DenyAllElseOutbound", Priority: lastPriority, Direction: "Outbound", Access: "Deny", Protocol: "*", Source: "*",
		Destination: "*", Ports: []string{"*"}, Purpose: "nothing else was reached"})
	return out, proposed, proveLearned(t, subnet, out, proposed)
}

type ruleKey struct{ protocol, destination string }

// allow adds a destination to the rule of its tag or address, and names that.
func allow(merged map[ruleKey]*Rule, d *Learned) string {
	k := ruleKey{protocolName(d.Protocol), cmp.Or(d.Tag, d.Addr.String()+"/32")}
	r := merged[k]
	if r == nil {
		r = &Rule{Direction: "Outbound", Access: "Allow", Protocol: k.protocol, Source: fabric.TagVirtualNetwork, Destination: k.destination}
		r.Name = strings.ReplaceAll(ruleName(*r), "/", "-")
		merged[k] = r
	}
	port := "*"
	if d.Port != 0 {
		port = strconv.Itoa(int(d.Port))
	}
	if !slices.Contains(r.Ports, port) {
		r.Ports = append(r.Ports, port)
	}
	for _, name := range append(d.Names, d.Addr.String()) {
		if len(d.Names) > 0 && name == d.Addr.String() || strings.Contains(", "+r.Purpose+",", ", "+name+",") {
			continue
		}
		r.Purpose = strings.TrimPrefix(r.Purpose+", "+name, ", ")
	}
	return r.Name
}

// protocolName is a protocol as security rules have it (Network REST: SecurityRuleProtocol).
func protocolName(p fabric.Protocol) string {
	if name, ok := map[fabric.Protocol]string{fabric.TCP: "Tcp", fabric.UDP: "Udp", fabric.ICMP: "Icmp", fabric.ESP: "Esp", fabric.AH: "Ah"}[p]; ok {
		return name
	}
	return "*"
}

// inside reports whether an address is one of a virtual network's: no service's, whatever the tags say.
func inside(t *fabric.Topology, a netip.Addr) bool {
	return slices.ContainsFunc(t.VNets, func(v fabric.VNet) bool {
		return slices.ContainsFunc(v.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// least is the tag with the fewest IPv4 addresses that has the address. AzureCloud is none: it has everybody's
// machines as well.
func least(tags []Tag, a netip.Addr) (name string) {
	var fewest uint64
	for _, t := range tags {
		if strings.HasPrefix(strings.ToLower(t.Name), "azurecloud") || !slices.ContainsFunc(t.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			continue
		}
		var n uint64
		for _, p := range t.Prefixes {
			if p.Addr().Is4() {
				n += 1 << (32 - p.Bits())
			}
		}
		if name == "" || n < fewest || n == fewest && t.Name < name {
			name, fewest = t.Name, n
		}
	}
	return name
}

// proveLearned tries the rules on a copy of the model, and notes in each what is refused without it.
func proveLearned(t *fabric.Topology, subnet string, all []Learned, rules []Rule) error {
	passes := func(d Destination, rules []Rule) bool {
		copied := *t
		copied.NSGs = map[string]*fabric.NSG{proofGroup: model(proofGroup, rules)}
		_, ok := copied.Evaluate(proofGroup, subnet, fabric.Outbound, packetTo(t, subnet, d))
		return ok
	}
	for _, d := range all {
		if d.Rule == "" {
			continue
		}
		if !passes(d.Destination, rules) {
			return fmt.Errorf("rulegen: the rules refuse %s, which was reached", d.Destination)
		}
		i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == d.Rule })
		if !passes(d.Destination, slices.Delete(slices.Clone(rules), i, i+1)) {
			rules[i].Breaks = append(rules[i].Breaks, d.Destination.String())
		}
	}
	other := Destination{Addr: netip.MustParseAddr("198.51.100.1"), Protocol: fabric.TCP, Port: 1} // RFC 5737: nobody's
	for slices.ContainsFunc(all, func(d Learned) bool { return compareDestinations(d.Destination, other) == 0 }) {
		other.Port++
	}
	if passes(other, rules) {
		return fmt.Errorf("rulegen: the rules let %s pass, which was never reached", other)
	}
	last := len(rules) - 1
	if passes(other, rules[:last]) {
		rules[last].Breaks = []string{"any host of the internet is reached"}
	}
	return nil
}

// packetTo is a packet of a node in the subnet.
func packetTo(t *fabric.Topology, subnet string, d Destination) fabric.Packet {
	p := fabric.Packet{Destination: d.Addr, Protocol: d.Protocol, DestinationPort: d.Port}
	for _, v := range t.VNets {
		for _, s := range v.Subnets {
			if strings.EqualFold(s.ID, subnet) && len(s.Prefixes) > 0 {
				p.Source = s.Prefixes[0].Addr()
			}
		}
	}
	return p
}

// String is the destination as people write it.
func (d Destination) String() string {
	text := d.Addr.String()
	if d.Port != 0 {
		text += ":" + strconv.Itoa(int(d.Port))
	}
	return fmt.Sprintf("%s %s", protocolName(d.Protocol), text)
}
