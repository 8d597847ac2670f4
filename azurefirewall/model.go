// Package azurefirewall is what an Azure Firewall decides: which rule of which collection and group a
// packet, a TLS handshake or an HTTP request meets first, and what becomes of it. It is pure: no socket,
// no kernel, no clock. The packet path is compiled from the same model by fabric, the proxies that ask it
// are in azurefirewall/proxy.
package azurefirewall

import (
	"cmp"
	"net/netip"
	"slices"
)

// Firewall is one Microsoft.Network/azureFirewalls with the rules of its policy and of the policies that
// it inherits from, or with its own classic rules.
type Firewall struct {
	ID string
	// Groups in any order: Level and Priority say which comes first.
	Groups []Group
	// DNSProxy: clients may ask the firewall for names (dnsSettings.enableProxy). Names in network rules
	// need it.
	DNSProxy bool
	// DNSServers that the firewall itself asks; none for Azure's.
	DNSServers []netip.Addr
	// PrivateRanges are destinations that packets go to with their own source (snat.privateRanges).
	PrivateRanges []netip.Prefix
	// Addrs are its private addresses, the first of which routes name and clients ask for names.
	Addrs []netip.Addr
	// Publics are its public addresses, each with the private one that stands for it in the VNet.
	Publics []PublicAddress
	// Inspects: it has an intermediate certificate authority to inspect TLS with.
	Inspects bool
}

// PublicAddress of a firewall. What arrives for Public comes to the firewall with Private as its destination.
type PublicAddress struct{ Private, Public netip.Addr }

// Group is a rule collection group.
type Group struct {
	Policy   string // id of the policy that it is of; of the firewall itself for classic rules
	Level    int    // 0 for the policy that all others inherit from
	Name     string // "" for classic rules
	Priority int

	Collections []Collection
}

// Collection of rules of one kind; the other two lists are empty.
type Collection struct {
	Name     string
	Priority int
	Deny     bool // the action of a filter collection

	NAT         []NATRule
	Network     []NetworkRule
	Application []ApplicationRule
}

// Addresses of rules are texts: "*", an address, a CIDR, a range "10.0.0.1-10.0.0.9", and as destinations
// service tags. Ports are "*", "443" or "100-200".

// NATRule leads what arrives at a public address of the firewall to another one (DNAT).
type NATRule struct {
	Name                         string
	Protocols                    []Protocol // TCP, UDP
	Sources, Destinations, Ports []string
	Address                      netip.Addr // where to
	Port                         uint16
}

// NetworkRule judges packets by addresses and ports.
type NetworkRule struct {
	Name                         string
	Protocols                    []Protocol
	Sources, Destinations, Ports []string
	FQDNs                        []string // destinations by name, without wildcards
}

// ApplicationRule judges HTTP requests and TLS handshakes by the host's name.
type ApplicationRule struct {
	Name      string
	Protocols []ApplicationProtocol
	Sources   []string
	// FQDNs may begin with an asterisk; those of FQDN tags are among them.
	FQDNs []string
	// URLs are hosts with paths, without a scheme.
	URLs []string
	// TerminateTLS: the firewall answers the handshake itself and reads what is inside.
	TerminateTLS bool
	// Headers are set in requests that the rule allows (httpHeadersToInsert).
	Headers []Header
}

// Header of an HTTP request.
type Header struct{ Name, Value string }

// Protocol of a network or NAT rule, as the API spells it.
type Protocol string

// Protocols of packets.
const (
	Any  Protocol = "Any"
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	ICMP Protocol = "ICMP"
)

// ApplicationProtocol is a protocol that application rules understand, and the port that it is spoken on.
type ApplicationProtocol struct {
	Type string // HTTP or HTTPS
	Port uint16
}

// The types of an ApplicationProtocol.
const (
	HTTP  = "Http"
	HTTPS = "Https"
)

// Ref names a rule; the zero value is the default action, which denies.
type Ref struct {
	Kind       Kind
	Policy     string // id
	Group      string // "" for classic rules
	Collection string
	Rule       string
}

// Kind of a rule.
type Kind string

// Kinds of rules, in the order in which they are asked.
const (
	NATKind         Kind = "NAT"
	NetworkKind     Kind = "Network"
	ApplicationKind Kind = "Application"
)

// DefaultAction is what a log says where no rule matched.
const DefaultAction = "Default Action"

// Path is GROUP/COLLECTION/RULE, or COLLECTION/RULE for classic rules, or "Default Action".
func (r Ref) Path() string {
	switch {
	case r == Ref{}:
		return DefaultAction
	case r.Group == "":
		return r.Collection + "/" + r.Rule
	}
	return r.Group + "/" + r.Collection + "/" + r.Rule
}

func (r Ref) String() string {
	if (r == Ref{}) {
		return "the default action of the firewall: no rule matched"
	}
	text := "rule " + r.Rule + " of rule collection " + r.Collection
	if r.Group != "" {
		text += " in rule collection group " + r.Group
	}
	return text
}

// collections are all collections in the order in which rules of any one kind are asked: those of the
// parent policy before the child's, then by the priority of the group, then by that of the collection. Names
// break ties, which the API forbids.
// https://learn.microsoft.com/azure/firewall/rule-processing
func (f *Firewall) collections(yield func(Group, Collection) bool) {
	groups := slices.SortedStableFunc(slices.Values(f.Groups), func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	for _, g := range groups {
		list := slices.SortedStableFunc(slices.Values(g.Collections), func(a, b Collection) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
		})
		for _, c := range list {
			if !yield(g, c) {
				return
			}
		}
	}
}

// Placed is a rule with its name and the action of its collection.
type Placed[T any] struct {
	Ref  Ref
	Deny bool
	Rule T
}

// NATRules are the firewall's NAT rules in the order in which they are asked.
func (f *Firewall) NATRules() (out []Placed[NATRule]) {
	for g, c := range f.collections {
		for _, r := range c.NAT {
			out = append(out, Placed[NATRule]{Ref{NATKind, g.Policy, g.Name, c.Name, r.Name}, false, r})
		}
	}
	return out
}

// NetworkRules are the firewall's network rules in the order in which they are asked.
func (f *Firewall) NetworkRules() (out []Placed[NetworkRule]) {
	for g, c := range f.collections {
		for _, r := range c.Network {
			out = append(out, Placed[NetworkRule]{Ref{NetworkKind, g.Policy, g.Name, c.Name, r.Name}, c.Deny, r})
		}
	}
	return out
}

// ApplicationRules are the firewall's application rules in the order in which they are asked.
func (f *Firewall) ApplicationRules() (out []Placed[ApplicationRule]) {
	for g, c := range f.collections {
		for _, r := range c.Application {
			out = append(out, Placed[ApplicationRule]{Ref{ApplicationKind, g.Policy, g.Name, c.Name, r.Name}, c.Deny, r})
		}
	}
	return out
}

// DefaultPrivateRanges are those that "IANAPrivateRanges" stands for: RFC 1918 and RFC 6598.
// https://learn.microsoft.com/azure/firewall/snat-private-range
func DefaultPrivateRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	}
}
