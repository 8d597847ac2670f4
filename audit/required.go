package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/reach"
)

// Subject is a subnet that nodes of a workspace stand in.
type Subject struct {
	Place
	PublicIP bool
	Region   string // the workspace's location
	HBI      bool
}

// Required checks the traffic that a profile asks for against the rules, routes and addresses of a subnet.
func Required(ctx context.Context, w *World, s Subject, p *Profile) (*Report, error) {
	r := &Report{Audit: "required", Subject: s.Title, Profile: p.Name}
	v, nic := standing(w.Topology, s.At)
	if v == nil {
		return nil, fmt.Errorf("audit: the network has no interface %s", s.At.ID)
	}
	c := &requirements{w: w, s: s, v: v, nic: nic, r: r}
	for _, q := range p.Requirements {
		if !s.concerns(q.When) {
			continue
		}
		f := c.outbound
		if q.Direction == "Inbound" {
			f = c.inbound
		}
		if err := f(ctx, q); err != nil {
			return nil, err
		}
	}
	return r, c.hosts(ctx, p.Hosts)
}

func (s Subject) concerns(c Condition) bool {
	switch c {
	case WithPublicIP:
		return s.PublicIP
	case WithoutPublicIP:
		return !s.PublicIP
	case HighImpact:
		return s.HBI
	}
	return true
}

type requirements struct {
	w   *World
	s   Subject
	v   *fabric.VNet
	nic fabric.NIC
	r   *Report
}

// tag is the requirement's service tag in the workspace's region.
func (c *requirements) tag(q Requirement) string {
	if head, ok := strings.CutSuffix(q.Tag, ".region"); ok {
		return head + "." + c.s.Region
	}
	return q.Tag
}

func protocols(q Requirement) []fabric.Protocol {
	switch q.Protocol {
	case "Udp":
		return []fabric.Protocol{fabric.UDP}
	case "*":
		return []fabric.Protocol{fabric.TCP, fabric.UDP}
	}
	return []fabric.Protocol{fabric.TCP}
}

func (c *requirements) outbound(ctx context.Context, q Requirement) error {
	tag := c.tag(q)
	prefixes := c.prefixes(tag)
	if len(prefixes) == 0 {
		c.add(Item{Level: Note, Kind: q.Component, What: fmt.Sprintf("service tag %s has no IPv4 addresses in the list that the region knows: %s", tag, q.Purpose)})
		return nil
	}
	dst := c.representative(prefixes)
	for _, protocol := range protocols(q) {
		for _, port := range q.Ports {
			a, err := c.w.ask(ctx, c.s.Place, dst.String(), protocol, port)
			if err != nil {
				return err
			}
			item := Item{Kind: q.Component, From: c.s.From, Answer: &a, What: fmt.Sprintf("outbound %s %d to %s, for %s", strings.ToUpper(protocol.String()), port, tag, q.Purpose)}
			switch {
			case passes(&a):
				item.Level, item.Answer = Passed, bare(a)
				c.drift(q, tag, prefixes, protocol, port)
			default:
				item.Level, item.Fixes = level(q), a.Fixes
				item.What += " is refused"
				item.Text = c.missing(q, &a, protocol, port)
				item.Answer = bare(a) // the item has its fixes
			}
			c.add(item)
		}
	}
	return nil
}

func level(q Requirement) Level {
	if q.Situational {
		return Note
	}
	return Finding
}

func (c *requirements) add(i Item) { c.r.Items = append(c.r.Items, i) }

// passes: the packet leaves for the internet, whether or not the region plays somebody at the address.
func passes(a *explain.Answer) bool {
	e := a.Flow()
	return e.Refused() == nil || e.Namespace == fabric.InternetNS && e.By == fabric.FabricRule(fabric.RuleNoRoute)
}

func (c *requirements) prefixes(tag string) []netip.Prefix {
	if c.w.Topology.Tags == nil {
		return nil
	}
	p, _ := c.w.Topology.Tags.Prefixes(tag)
	return slices.DeleteFunc(slices.Clone(p), func(p netip.Prefix) bool { return !p.Addr().Is4() })
}

// representative is an address that the region's services answer at, or the first.
func (c *requirements) representative(prefixes []netip.Prefix) netip.Addr {
	for _, s := range c.w.Topology.Internet.ServicePrefixes {
		for _, p := range prefixes {
			if p.Contains(s.Addr()) {
				return s.Addr()
			}
		}
	}
	return prefixes[0].Masked().Addr()
}

// drift finds a tag of which rules allow a part only: addresses were written down, and have changed.
func (c *requirements) drift(q Requirement, tag string, prefixes []netip.Prefix, protocol fabric.Protocol, port uint16) {
	for _, nsg := range []string{c.nic.NSG, c.subnetNSG()} {
		if nsg == "" {
			continue
		}
		refused := 0
		for _, p := range prefixes {
			_, allow := c.w.Topology.Evaluate(nsg, c.nic.Subnet, fabric.Outbound, fabric.Packet{
				Source: c.nic.Addrs[0], Destination: p.Masked().Addr(), Protocol: protocol, SourcePort: sourcePort, DestinationPort: port})
			if !allow {
				refused++
			}
		}
		if refused > 0 {
			c.add(Item{Level: level(q), Kind: "drift", What: fmt.Sprintf(
				"%s allows %d of the %d prefixes of %s for %s %d: addresses in place of the tag go out of date", nsg, len(prefixes)-refused, len(prefixes), tag, strings.ToUpper(protocol.String()), port)})
		}
	}
}

func (c *requirements) subnetNSG() string {
	for _, s := range c.v.Subnets {
		if s.ID == c.nic.Subnet {
			return s.NSG
		}
	}
	return ""
}

// inbound asks, of a node with a public address, for the service's call to it and the answer. Where no such node stands
// yet, or the region does not play the service, it asks the security rules of the subnet and the interface.
func (c *requirements) inbound(ctx context.Context, q Requirement) error {
	source := c.source(q)
	if q.When == WithPublicIP && c.called(0).IsValid() && c.played(source) {
		return c.call(ctx, q, source)
	}
	for _, protocol := range protocols(q) {
		for _, port := range q.Ports {
			item := Item{Level: Passed, Kind: q.Component, What: fmt.Sprintf("inbound %s %d from %s, for %s", strings.ToUpper(protocol.String()), port, c.tag(q), q.Purpose)}
			for _, nsg := range []string{c.subnetNSG(), c.nic.NSG} {
				if nsg == "" {
					continue
				}
				rule, allow := c.w.Topology.Evaluate(nsg, c.nic.Subnet, fabric.Inbound, fabric.Packet{
					Source: source, Destination: c.nic.Addrs[0], Protocol: protocol, SourcePort: sourcePort, DestinationPort: port})
				if !allow {
					item.Level = level(q)
					item.What += " is refused by rule " + explain.NameRule(rule).String()
					item.Text = c.text(q, rule, protocol, port)
					break
				}
			}
			c.add(item)
		}
	}
	return nil
}

// called is where the internet calls a port of a node of the subnet: at its own public address, or at the load balancer's
// port that leads there; invalid if no node has either. Port 0 is any.
func (c *requirements) called(port uint16) netip.AddrPort {
	for _, n := range c.v.NICs {
		if n.Subnet != c.nic.Subnet || n.Kind != fabric.Guest {
			continue
		}
		if len(n.Public) > 0 {
			return netip.AddrPortFrom(n.Public[0].Public, port)
		}
		for _, lb := range c.w.Topology.LoadBalancers {
			for _, r := range lb.NATRules {
				i := slices.IndexFunc(lb.Frontends, func(f fabric.Frontend) bool { return f.ID == r.Frontend && f.Subnet == "" })
				if i >= 0 && r.Backend.NIC == n.ID && (port == 0 || r.BackendPort == port) {
					return netip.AddrPortFrom(lb.Frontends[i].Addr, r.Port)
				}
			}
		}
	}
	return netip.AddrPort{}
}

// played tells whether the region's services have the address: packets come from it.
func (c *requirements) played(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(c.w.Topology.Internet.ServicePrefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// call asks for a call of the service to a node.
func (c *requirements) call(ctx context.Context, q Requirement, source netip.Addr) error {
	tag := c.tag(q)
	for _, protocol := range protocols(q) {
		for _, port := range q.Ports {
			to := c.called(port)
			if !to.IsValid() {
				c.add(Item{Level: level(q), Kind: q.Component, What: fmt.Sprintf("inbound %s %d from %s, for %s: no port of the load balancer leads to the node", strings.ToUpper(protocol.String()), port, tag, q.Purpose)})
				continue
			}
			a, err := c.w.Explain(ctx, explain.Question{From: fabric.Place{Kind: fabric.AtInternet}, Title: tag, Source: source, Host: to.Addr().String(), Protocol: protocol, Port: to.Port()})
			if err != nil {
				return err
			}
			item := Item{Level: Passed, Kind: q.Component, From: TagPlace + tag, Answer: bare(a),
				What: fmt.Sprintf("inbound %s %d from %s to a node at %s, for %s", strings.ToUpper(protocol.String()), port, tag, to.Addr(), q.Purpose)}
			switch {
			case a.Refused == explain.ByReply:
				item.Level, item.Fixes = level(q), a.Fixes
				item.What += " arrives, and is not answered: " + reach.ShortIDs(a.By)
			case !a.Allowed:
				item.Level, item.Fixes = level(q), a.Fixes
				item.What += " is refused by " + refusal(&a)
				if by := a.Flow().By; by.Owner != "" && by.Owner != fabric.FabricOwner {
					item.Text = c.text(q, by, protocol, port)
				}
			}
			c.add(item)
		}
	}
	return nil
}

// TagPlace begins the name of a place that stands for a service: an address of its tag on the region's internet.
const TagPlace = "tag:"

func (c *requirements) source(q Requirement) netip.Addr {
	switch q.Tag {
	case fabric.TagVirtualNetwork:
		return c.nic.Addrs[0].Prev()
	case fabric.TagLoadBalancer:
		return fabric.WireServer
	}
	if p := c.prefixes(c.tag(q)); len(p) > 0 {
		return c.representative(p)
	}
	return netip.Addr{}
}

// missing is Azure's text for a rule of a security group that refuses; other refusals have none.
func (c *requirements) missing(q Requirement, a *explain.Answer, protocol fabric.Protocol, port uint16) string {
	refused := a.Refusal()
	if refused == nil {
		return ""
	}
	by := refused.By
	if by.Owner == "" || by.Owner == fabric.FabricOwner || by.Direction == fabric.Routing {
		return ""
	}
	return c.text(q, by, protocol, port)
}

// text is what the allocation of nodes says of a subnet whose security group lacks a rule (AzureTRE#2780).
func (c *requirements) text(q Requirement, by fabric.RuleRef, protocol fabric.Protocol, port uint16) string {
	name, region := q.Tag, ""
	if head, ok := strings.CutSuffix(q.Tag, ".region"); ok {
		name, region = head, " OR "+head+"."+c.s.Region
	}
	peer := name
	if q.Direction == "Outbound" {
		peer = name + " OR Internet" + region
	}
	source, destination := "VirtualNetwork", peer
	if q.Direction == "Inbound" {
		source, destination = name, "VirtualNetwork"
	}
	rule, err := json.MarshalIndent(struct {
		Name       string `json:"name"`
		Properties any    `json:"properties"`
	}{
		fmt.Sprintf("%s %s %d", q.Direction, name, port),
		struct {
			Protocol    string `json:"protocol"`
			SourcePort  string `json:"sourcePortRange"`
			Port        string `json:"destinationPortRange"`
			Source      string `json:"sourceAddressPrefix"`
			Destination string `json:"destinationAddressPrefix"`
			Priority    string `json:"priority"`
			Direction   string `json:"direction"`
		}{strings.ToUpper(protocol.String()), "*", strconv.Itoa(int(port)), source, destination, fmt.Sprintf("Higher than %d", c.priority(by)), q.Direction},
	}, "", "  ")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("The subnet has a network security group (%s) that is missing the following rules below. Please add those rules or increase the priority to allow traffic if the rules already exist. For network security group requirements, please refer to https://docs.microsoft.com/azure/machine-learning/how-to-secure-training-vnet.\n%s", by.Owner, rule)
}

func (c *requirements) priority(by fabric.RuleRef) int {
	g := c.w.Topology.NSGs[by.Owner]
	if g == nil {
		return 0
	}
	for _, r := range slices.Concat(g.Rules, fabric.DefaultRules()) {
		if r.Name == by.Rule && r.Direction == by.Direction {
			return r.Priority
		}
	}
	return 0
}

// hosts are checked by the way to the internet alone: the region plays none of them.
func (c *requirements) hosts(ctx context.Context, all []Hosts) error {
	asked := map[uint16]*explain.Answer{}
	for _, h := range all {
		ports := h.Ports
		if len(ports) == 0 {
			ports = []uint16{443}
		}
		for _, port := range ports {
			if asked[port] == nil {
				a, err := c.w.ask(ctx, c.s.Place, c.w.Stranger, fabric.TCP, port)
				if err != nil {
					return err
				}
				asked[port] = &a
			}
			a := asked[port]
			item := Item{Level: Passed, Kind: "hosts", What: fmt.Sprintf("hosts %s at TCP %d, for %s: the internet is open", strings.Join(h.Hosts, ", "), port, h.Purpose)}
			if !passes(a) {
				item.Level = Note
				item.What = fmt.Sprintf("hosts %s at TCP %d, for %s: the internet is closed, by %s; a firewall's rule may open them by name", strings.Join(h.Hosts, ", "), port, h.Purpose, refusal(a))
			}
			c.add(item)
		}
	}
	return nil
}

func refusal(a *explain.Answer) string {
	if a.Rule != nil {
		return a.Rule.String()
	}
	return reach.ShortIDs(a.By)
}
