package fabric

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// This file is the meaning of an NSG, written down a second time: one rule after the other, one text
// after the other, without sets, sorting tricks or anything else of the compiler's. Tests hold the two
// against each other.

// Packet is what security rules see of the first packet of a flow.
type Packet struct {
	Source, Destination netip.Addr
	Protocol            Protocol
	// Ports of TCP and UDP; not looked at for other protocols.
	SourcePort, DestinationPort uint16
}

// Evaluate returns the rule of an NSG that decides about a packet in one direction, and whether it
// allows. At is the id of the subnet that the NSG stands at, itself or at a NIC of it: VirtualNetwork means
// what the subnet's routes make of it; with a VNet's id it means what it does where no route table is. An
// NSG that the topology does not have refuses everything, and a rule that cannot be understood refuses what
// reaches it.
func (t *Topology) Evaluate(nsg, at string, d Direction, p Packet) (RuleRef, bool) {
	g := t.NSGs[nsg]
	if g == nil {
		return RuleRef{Owner: nsg, Direction: d}, false
	}
	place := t.placeOf(at)
	for _, r := range inOrder(g, d) {
		if matches, ok := t.ruleMatches(place, &r, p); matches || !ok {
			return RuleRef{Owner: nsg, Direction: d, Rule: r.Name}, r.Allow && ok
		}
	}
	return RuleRef{Owner: nsg, Direction: d}, false
}

// evaluatePlatform is Evaluate for a packet to one of the platform's addresses, which only rules judge
// that name it by its own tag. Without one it is allowed, and the reference is zero.
func (t *Topology) evaluatePlatform(nsg, at string, p Packet) (RuleRef, bool) {
	g := t.NSGs[nsg]
	if g == nil {
		return RuleRef{Owner: nsg, Direction: Outbound}, false
	}
	tag := TagPlatformDNS
	if p.Destination == IMDS {
		tag = TagPlatformIMDS
	}
	named := func(peer string) bool { return strings.EqualFold(peer, tag) }
	place := t.placeOf(at)
	for _, r := range inOrder(g, Outbound) {
		if !slices.ContainsFunc(r.Destination, named) {
			continue
		}
		if matches, ok := t.ruleMatches(place, &r, p); matches || !ok {
			return RuleRef{Owner: nsg, Direction: Outbound, Rule: r.Name}, r.Allow && ok
		}
	}
	return RuleRef{}, true
}

func inOrder(g *NSG, d Direction) []Rule {
	var out []Rule
	for _, r := range slices.Concat(g.Rules, DefaultRules()) {
		if r.Direction == d {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Rule) int {
		return cmp.Or(a.Priority-b.Priority, strings.Compare(a.Name, b.Name))
	})
	return out
}

// place is where an NSG stands.
type place struct {
	*VNet
	at *Subnet // nil where only the VNet is known
}

func (t *Topology) placeOf(id string) place {
	for i := range t.VNets {
		v := &t.VNets[i]
		for j := range v.Subnets {
			if v.Subnets[j].ID == id {
				return place{v, &v.Subnets[j]}
			}
		}
	}
	return place{t.vnet(id), nil}
}

// inVirtualNetwork tells whether the tag VirtualNetwork has the address.
func (t *Topology) inVirtualNetwork(v place, a netip.Addr) bool {
	behind := func(u *VNet) bool {
		return slices.ContainsFunc(u.GatewayRoutes, func(g GatewayRoute) bool { return g.Prefix.Contains(a) })
	}
	if v.has(a) || behind(v.VNet) {
		return true
	}
	for _, p := range t.sides(v.VNet) {
		if _, has := t.peeringHas(v.VNet, p, a); has && p.Access || t.behindRemoteGateway(v.VNet, p, a) {
			return true
		}
	}
	if v.at == nil || t.RouteTables[v.at.RouteTable] == nil {
		return false
	}
	return slices.ContainsFunc(t.RouteTables[v.at.RouteTable].Routes, func(u UserRoute) bool {
		if u.Hop == HopInternet {
			return false
		}
		if p, err := netip.ParsePrefix(u.Prefix); err == nil || t.Tags == nil {
			return err == nil && p.Masked().Contains(a)
		}
		list, _ := t.Tags.Prefixes(u.Prefix)
		return inside(list, a)
	})
}

// ruleMatches: ok is false for a rule that has no meaning.
func (t *Topology) ruleMatches(v place, r *Rule, p Packet) (matches, ok bool) {
	proto := r.Protocol == AnyProtocol || r.Protocol == p.Protocol
	src, ok1 := t.anyPeer(v, r.Source, r.SourceASGs, p.Source)
	dst, ok2 := t.anyPeer(v, r.Destination, r.DestinationASGs, p.Destination)
	sport, ok3 := anyPort(r.SourcePorts, p, p.SourcePort)
	dport, ok4 := anyPort(r.DestinationPorts, p, p.DestinationPort)
	return proto && src && dst && sport && dport, ok1 && ok2 && ok3 && ok4 && r.Protocol >= AnyProtocol && r.Protocol < 256
}

func (t *Topology) anyPeer(v place, peers, groups []string, a netip.Addr) (matches, ok bool) {
	for _, peer := range peers {
		m, known := t.peerHas(v, peer, a)
		if !known {
			return false, false
		}
		matches = matches || m
	}
	for _, g := range groups {
		matches = matches || v.inGroup(g, a)
	}
	return matches, len(peers)+len(groups) > 0
}

func (t *Topology) peerHas(v place, peer string, a netip.Addr) (has, known bool) {
	switch strings.ToLower(peer) {
	case "*", "any":
		return true, true
	case "virtualnetwork":
		return t.inVirtualNetwork(v, a) || a == WireServer, true
	case "internet":
		return isPublic(a) && !t.inVirtualNetwork(v, a), true
	case "azureloadbalancer", "azureplatformdns":
		return a == WireServer, true
	case "azureplatformimds":
		return a == IMDS, true
	case "azureplatformlkm":
		return slices.Contains([]string{"20.118.99.224", "23.102.135.246", "40.83.235.53"}, a.String()), true
	}
	if one, err := netip.ParseAddr(peer); err == nil {
		return one == a, true
	}
	if p, err := netip.ParsePrefix(peer); err == nil {
		return p.Masked().Contains(a), true
	}
	if t.Tags == nil {
		return false, false
	}
	list, ok := t.Tags.Prefixes(peer)
	return ok && inside(list, a), ok
}

// isPublic tells whether an address is reachable over the internet.
func isPublic(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	switch {
	case a.IsPrivate(), a.IsLoopback(), a.IsLinkLocalUnicast(), a == WireServer:
		return false
	case b[0] == 0, b[0] >= 224, b[0] == 100 && b[1]&0xc0 == 64:
		return false
	}
	return true
}

// anyPort: any port is also what a protocol without ports has; no other list matches it.
func anyPort(list []string, p Packet, port uint16) (matches, ok bool) {
	portless := p.Protocol != TCP && p.Protocol != UDP
	for _, text := range list {
		if text == "*" {
			matches = true
			continue
		}
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = from
		}
		lo, err1 := strconv.ParseUint(from, 10, 16)
		hi, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || lo > hi {
			return false, false
		}
		within := uint64(port) >= lo && uint64(port) <= hi
		matches = matches || lo == 0 && hi == 65535 || within && !portless
	}
	return matches, len(list) > 0
}

func (t *Topology) vnet(id string) *VNet {
	for i := range t.VNets {
		if t.VNets[i].ID == id {
			return &t.VNets[i]
		}
	}
	return &VNet{}
}

func (v *VNet) has(a netip.Addr) bool { return inside(v.Prefixes, a) }

func (v *VNet) inGroup(group string, a netip.Addr) bool {
	for _, n := range v.NICs {
		if slices.Contains(n.ASGs, group) && slices.Contains(n.Addrs, a) {
			return true
		}
	}
	return false
}

func (v *VNet) nicAt(a netip.Addr) *NIC {
	for i := range v.NICs {
		if slices.Contains(v.NICs[i].Addrs, a) {
			return &v.NICs[i]
		}
	}
	return nil
}

func (v *VNet) subnet(id string) *Subnet {
	for i := range v.Subnets {
		if v.Subnets[i].ID == id {
			return &v.Subnets[i]
		}
	}
	return &Subnet{}
}
