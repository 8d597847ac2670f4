package fabric

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/fabric/internal/diagram"
	"vauban.dev/fabric/internal/interval"
)

// resolved is a security rule with its tags, groups and texts turned into sets.
type resolved struct {
	ref   RuleRef
	allow bool
	proto Protocol
	match diagram.Values
	// platform are the platform's addresses that the rule names by their own tags: only such rules
	// judge packets to them.
	platform interval.Set
}

// hasPorts tells whether the rule asks for ports: such a rule matches TCP and UDP only.
func (r *resolved) hasPorts() bool {
	return r.match[diagram.SourcePort] != nil || r.match[diagram.DestinationPort] != nil
}

// canMatch tells whether there is any packet that the rule matches.
func (r *resolved) canMatch() bool {
	for _, set := range r.match {
		if set != nil && len(set) == 0 {
			return false
		}
	}
	return r.proto == AnyProtocol || r.appliesTo(r.proto)
}

// appliesTo tells whether the rule can match packets of a protocol at all.
func (r *resolved) appliesTo(p Protocol) bool {
	if r.proto != AnyProtocol && r.proto != p {
		return false
	}
	return p == TCP || p == UDP || !r.hasPorts()
}

// scope is where rules are resolved, a VNet or a subnet of it: what VirtualNetwork, Internet and application security
// groups mean depends on it.
type scope struct {
	tags    TagSource
	space   interval.Set // the VNet's own
	virtual interval.Set // VirtualNetwork
	name    string       // "" where VirtualNetwork is the VNet's; else a hash of the subnet's
	subnets map[string]*scope
	groups  map[string][]interval.Interval
	known   map[string]interval.Set // service tags seen so far
}

func newScope(t *Topology, v *VNet) *scope {
	s := &scope{tags: t.Tags, space: interval.Of(v.Prefixes...), virtual: virtualNetwork(t, v, nil), subnets: map[string]*scope{}, groups: map[string][]interval.Interval{}, known: map[string]interval.Set{}}
	for _, n := range v.NICs {
		for _, g := range n.ASGs {
			for _, a := range n.Addrs {
				x := interval.Number(a)
				s.groups[g] = append(s.groups[g], interval.Interval{Lo: x, Hi: x})
			}
		}
	}
	return s
}

// rules resolves one direction of an NSG, default rules included, first match first.
func (s *scope) rules(g *NSG, d Direction) ([]resolved, error) {
	list := slices.DeleteFunc(append(DefaultRules(), g.Rules...), func(r Rule) bool { return r.Direction != d })
	slices.SortStableFunc(list, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	out := make([]resolved, 0, len(list))
	for i := range list {
		r, err := s.rule(&list[i])
		if err != nil {
			return nil, &TopologyError{Object: g.ID, Rule: list[i].Name, Reason: err.Error()}
		}
		r.ref = RuleRef{Owner: g.ID, Direction: d, Rule: list[i].Name}
		out = append(out, r)
	}
	return out, nil
}

// Validate tells whether Compile understands the rule: its protocol, addresses, tags and ports. The error
// says which property it does not, and why.
func (r *Rule) Validate(tags TagSource) error {
	_, err := newScope(&Topology{Tags: tags}, &VNet{}).rule(r)
	return err
}

func (s *scope) rule(r *Rule) (resolved, error) {
	out := resolved{allow: r.Allow, proto: r.Protocol}
	if r.Protocol < AnyProtocol || r.Protocol > 255 {
		return out, fmt.Errorf("%d is no IP protocol", r.Protocol)
	}
	var err error
	if out.match[diagram.Source], err = s.peers(r.Source, r.SourceASGs); err != nil {
		return out, fmt.Errorf("source: %w", err)
	}
	if out.match[diagram.Destination], err = s.peers(r.Destination, r.DestinationASGs); err != nil {
		return out, fmt.Errorf("destination: %w", err)
	}
	if out.match[diagram.SourcePort], err = ports(r.SourcePorts); err != nil {
		return out, fmt.Errorf("source port: %w", err)
	}
	if out.match[diagram.DestinationPort], err = ports(r.DestinationPorts); err != nil {
		return out, fmt.Errorf("destination port: %w", err)
	}
	for _, p := range r.Destination {
		if set, ok := platformTag(p); ok {
			out.platform = out.platform.Union(set)
		}
	}
	return out, nil
}

// peers is the union of texts and groups, nil for any address.
func (s *scope) peers(list, groups []string) (interval.Set, error) {
	if len(list) == 0 && len(groups) == 0 {
		return nil, fmt.Errorf("no address, tag or application security group")
	}
	var in []interval.Interval
	for _, text := range list {
		set, err := s.peer(text)
		if err != nil {
			return nil, err
		}
		in = append(in, set...)
	}
	for _, g := range groups {
		in = append(in, s.groups[g]...)
	}
	switch set := interval.New(in...); {
	case len(set) == 0:
		return interval.Set{}, nil // of no address, as against any
	case slices.Equal(set, everything()):
		return nil, nil
	default:
		return set, nil
	}
}

func (s *scope) peer(text string) (interval.Set, error) {
	if text == "*" || strings.EqualFold(text, "any") {
		return everything(), nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return interval.Of(netip.PrefixFrom(a, a.BitLen())), nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return interval.Of(p), nil
	}
	return s.tag(text)
}

func (s *scope) tag(name string) (interval.Set, error) {
	switch {
	case strings.EqualFold(name, TagVirtualNetwork):
		return s.virtual.Union(interval.Of(prefixes("168.63.129.16/32")...)), nil
	case strings.EqualFold(name, TagInternet):
		return everything().Minus(neverPublic()).Minus(s.virtual), nil
	case strings.EqualFold(name, TagLoadBalancer):
		return interval.Of(prefixes("168.63.129.16/32")...), nil
	}
	if set, ok := platformTag(name); ok {
		return set, nil
	}
	key := strings.ToLower(name)
	if set, ok := s.known[key]; ok {
		return set, nil
	}
	if s.tags != nil {
		if p, ok := s.tags.Prefixes(name); ok {
			s.known[key] = interval.Of(p...)
			return s.known[key], nil
		}
	}
	return nil, fmt.Errorf("%q is no address, prefix or known service tag", name)
}

func platformTag(name string) (interval.Set, bool) {
	switch {
	case strings.EqualFold(name, TagPlatformDNS):
		return interval.Of(netip.PrefixFrom(WireServer, 32)), true
	case strings.EqualFold(name, TagPlatformIMDS):
		return interval.Of(netip.PrefixFrom(IMDS, 32)), true
	case strings.EqualFold(name, TagPlatformLKM):
		return interval.Of(keyManagement()...), true
	}
	return nil, false
}

// ports is the union of ports and ranges, nil for any port: "*", or the whole range in one piece.
func ports(list []string) (interval.Set, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("no port")
	}
	var in []interval.Interval
	any := false
	for _, text := range list {
		if text == "*" {
			any = true
			continue
		}
		lo, hi, isRange := strings.Cut(text, "-")
		if !isRange {
			hi = lo
		}
		from, err1 := strconv.ParseUint(lo, 10, 16)
		to, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("%q is no port or range of ports", text)
		}
		any = any || from == 0 && to == 65535
		in = append(in, interval.Interval{Lo: uint32(from), Hi: uint32(to)})
	}
	if any {
		return nil, nil
	}
	return interval.New(in...), nil
}
