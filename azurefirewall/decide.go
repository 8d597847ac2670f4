package azurefirewall

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Ruleset is a Firewall whose texts have been read: what decisions are made by. It does not change and may be used
// by many at a time.
type Ruleset struct {
	firewall    *Firewall
	own         map[netip.Addr]netip.Addr // private addresses, with the public one of each
	private     addresses
	inside      addresses // who may ask for names
	nat         []natRule
	network     []networkRule
	application []applicationRule
	lists       map[string][][]string // of network rules, by each canonical name in them
}

type natRule struct {
	Placed[NATRule]
	sources, destinations addresses
	ports                 ports
}

type networkRule struct {
	Placed[NetworkRule]
	sources, destinations addresses
	ports                 ports
}

type applicationRule struct {
	Placed[ApplicationRule]
	sources addresses
	hosts   fqdns
	urls    []url
}

// New reads a firewall's rules. The error names the rule that cannot be understood.
func New(f *Firewall, tags TagSource) (*Ruleset, error) {
	s := &Ruleset{firewall: f, own: map[netip.Addr]netip.Addr{}, lists: map[string][][]string{}, private: spansOf(f.PrivateRanges)}
	s.inside = spansOf(append(f.PrivateRanges, DefaultPrivateRanges()...))
	for _, a := range f.Addrs {
		s.own[a] = netip.Addr{}
	}
	for _, a := range f.Publics {
		s.own[a.Private] = a.Public
	}
	for _, r := range f.NATRules() {
		n, err := readNAT(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Ref, err)
		}
		s.nat = append(s.nat, n)
	}
	for _, r := range f.NetworkRules() {
		n, err := readNetwork(r, tags)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Ref, err)
		}
		s.network = append(s.network, n)
		s.name(r.Rule.FQDNs)
	}
	for _, r := range f.ApplicationRules() {
		a, err := readApplication(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Ref, err)
		}
		s.application = append(s.application, a)
	}
	return s, nil
}

// name notes in which list each name of a network rule stands.
func (s *Ruleset) name(list []string) {
	for _, fqdn := range list {
		key := strings.ToLower(strings.TrimSuffix(fqdn, "."))
		s.lists[key] = append(s.lists[key], list)
	}
}

func readNAT(r Placed[NATRule]) (n natRule, err error) {
	n.Placed = r
	if n.sources, err = parseAddresses(r.Rule.Sources, nil); err != nil {
		return n, err
	}
	if n.destinations, err = parseAddresses(r.Rule.Destinations, nil); err != nil {
		return n, err
	}
	n.ports, err = parsePorts(r.Rule.Ports)
	return n, err
}

func readNetwork(r Placed[NetworkRule], tags TagSource) (n networkRule, err error) {
	n.Placed = r
	if n.sources, err = parseAddresses(r.Rule.Sources, nil); err != nil {
		return n, err
	}
	if n.destinations, err = parseAddresses(r.Rule.Destinations, tags); err != nil {
		return n, err
	}
	n.ports, err = parsePorts(r.Rule.Ports)
	return n, err
}

func readApplication(r Placed[ApplicationRule]) (a applicationRule, err error) {
	a.Placed = r
	if a.sources, err = parseAddresses(r.Rule.Sources, nil); err != nil {
		return a, err
	}
	if a.hosts, err = parseFQDNs(r.Rule.FQDNs); err != nil {
		return a, err
	}
	for _, text := range r.Rule.URLs {
		u, err := parseURL(text)
		if err != nil {
			return a, err
		}
		a.urls = append(a.urls, u)
	}
	return a, nil
}

// Firewall is what the rules were read from.
func (s *Ruleset) Firewall() *Firewall { return s.firewall }

// Packet is the first one of a flow that comes to the firewall.
type Packet struct {
	Source, Destination netip.Addr
	Protocol            Protocol // TCP, UDP, ICMP, or any other text for any other protocol
	Port                uint16   // of the destination; 0 without ports
}

func (p Packet) hasPorts() bool { return p.Protocol == TCP || p.Protocol == UDP }

// Verdict of the firewall.
type Verdict uint8

// Verdicts. The zero value is Deny.
const (
	Deny  Verdict = iota
	Allow         // it is passed on
	Proxy         // an application rule may allow it: the firewall accepts the connection and reads on
	// Inspect: the firewall answers the TLS handshake itself, and judges each request inside.
	Inspect
	// Answer: the firewall's own DNS proxy answers.
	Answer
)

func (v Verdict) String() string {
	return [...]string{"Deny", "Allow", "Proxy", "Inspect", "Answer"}[v]
}

// Decision is what becomes of a packet or a request, and why.
type Decision struct {
	Verdict Verdict
	Ref     Ref
	Reason  string // why it is denied, where the rule's name does not say it
	// To is the destination after a NAT rule's translation.
	To netip.AddrPort
	// SNAT: the next hop sees the firewall's address as the source.
	SNAT bool
	// Headers to set, of an allowed request.
	Headers []Header
}

func (d Decision) String() string {
	if d.Reason != "" {
		return d.Reason
	}
	return d.Ref.String()
}

// Names tells the addresses that a name has for the firewall, for rules that name their destinations.
type Names func(fqdn string) []netip.Addr

// Packet judges the first packet of a flow: NAT rules first, then network rules, then whether application
// rules have a say. What a NAT rule translates is allowed by it.
func (s *Ruleset) Packet(p Packet, names Names) Decision {
	if public, own := s.own[p.Destination]; own {
		return s.toOwn(p, public)
	}
	for i := range s.network {
		r := &s.network[i]
		if !r.matches(p, names) {
			continue
		}
		if r.Deny {
			return Decision{Ref: r.Ref}
		}
		return Decision{Verdict: Allow, Ref: r.Ref, SNAT: !s.private.contains(p.Destination)}
	}
	if p.Protocol == TCP && s.captures(p) {
		return Decision{Verdict: Proxy, SNAT: true}
	}
	return Decision{}
}

// toOwn judges what is for the firewall itself, whose public address is public where it has one: NAT rules, and its
// DNS proxy, which answers private addresses only.
func (s *Ruleset) toOwn(p Packet, public netip.Addr) Decision {
	for i := range s.nat {
		r := &s.nat[i]
		if !r.matches(p, public) {
			continue
		}
		return Decision{Verdict: Allow, Ref: r.Ref, To: netip.AddrPortFrom(r.Rule.Address, r.Rule.Port), SNAT: true}
	}
	if s.firewall.DNSProxy && p.hasPorts() && p.Port == 53 && s.inside.contains(p.Source) {
		return Decision{Verdict: Answer}
	}
	return Decision{Reason: "no NAT rule of the firewall translates it"}
}

func (r *natRule) matches(p Packet, public netip.Addr) bool {
	return p.hasPorts() && has(r.Rule.Protocols, p.Protocol) && r.ports.contains(p.Port) && r.sources.contains(p.Source) &&
		(r.destinations.contains(p.Destination) || public.IsValid() && r.destinations.contains(public))
}

func resolve(names Names, fqdn string) []netip.Addr {
	if names == nil {
		return nil
	}
	return names(strings.ToLower(fqdn))
}

func (r *networkRule) matches(p Packet, names Names) bool {
	switch {
	case !has(r.Rule.Protocols, p.Protocol) || !r.sources.contains(p.Source):
		return false
	case p.hasPorts() && !r.ports.contains(p.Port), !p.hasPorts() && !r.ports.any:
		return false
	case r.destinations.contains(p.Destination):
		return true
	}
	for _, name := range r.Rule.FQDNs {
		for _, a := range resolve(names, name) {
			if a == p.Destination {
				return true
			}
		}
	}
	return false
}

// captures tells whether any application rule speaks of the packet's source and port.
func (s *Ruleset) captures(p Packet) bool {
	for i := range s.application {
		r := &s.application[i]
		if !r.sources.contains(p.Source) {
			continue
		}
		for _, x := range r.Rule.Protocols {
			if x.Port == p.Port {
				return true
			}
		}
	}
	return false
}

// Request is what a client asks for through the firewall: a TLS handshake, or an HTTP request.
type Request struct {
	Source netip.Addr
	Port   uint16 // of the client's destination
	// TLS: it is a handshake, or a request inside one that the firewall inspects.
	TLS bool
	// Host is the server name of the handshake or the request's Host, without a port; "" for none.
	Host string
	// Path of an HTTP request, escaped; "" for a handshake.
	Path string
}

// Request judges a handshake or request by the application rules. A handshake may be a case for Inspect; a
// request never is.
func (s *Ruleset) Request(q Request) Decision {
	host, ok := CanonicalHost(q.Host)
	if !ok {
		return Decision{Reason: noName(q)}
	}
	handshake := q.TLS && q.Path == ""
	path, plain := CanonicalPath(q.Path)
	for i := range s.application {
		r := &s.application[i]
		if !r.speaks(q) || !r.sources.contains(q.Source) {
			continue
		}
		switch {
		case r.hosts.matches(host):
		case handshake && r.anyURL(host, nil): // which path is asked for shows inside only
			return s.inspect(r)
		case !handshake && !plain && r.anyURL(host, nil):
			return Decision{Ref: r.Ref, Reason: r.Ref.String() + " judges by path, and the request's can be read in more than one way"}
		case !handshake && r.anyURL(host, &path):
		default:
			continue
		}
		if r.Deny {
			return Decision{Ref: r.Ref}
		}
		if handshake && r.Rule.TerminateTLS {
			return s.inspect(r)
		}
		return Decision{Verdict: Allow, Ref: r.Ref, SNAT: true, Headers: r.Rule.Headers}
	}
	return Decision{}
}

// inspect answers a handshake for a rule that has to see what is inside.
func (s *Ruleset) inspect(r *applicationRule) Decision {
	if !s.firewall.Inspects {
		return Decision{Ref: r.Ref, Reason: r.Ref.String() + " inspects TLS, and the policy has no certificate authority (transportSecurity)"}
	}
	return Decision{Verdict: Inspect, Ref: r.Ref, SNAT: true}
}

func noName(q Request) string {
	switch {
	case q.Host == "" && q.TLS:
		return "the TLS handshake names no server (SNI)"
	case q.Host == "":
		return "the request has no Host"
	}
	return fmt.Sprintf("%q is no host name that application rules could match", clip(q.Host))
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

func (r *applicationRule) speaks(q Request) bool {
	want := HTTP
	if q.TLS {
		want = HTTPS
	}
	for _, p := range r.Rule.Protocols {
		if p.Port == q.Port && strings.EqualFold(p.Type, want) {
			return true
		}
	}
	return false
}

// anyURL tells whether one of the rule's URLs is of the host, and of the path where one is given.
func (r *applicationRule) anyURL(host string, path *string) bool {
	for i := range r.urls {
		u := &r.urls[i]
		if path == nil && u.host.matches(host) || path != nil && u.matches(host, *path) {
			return true
		}
	}
	return false
}

// Owns tells whether an address is one of the firewall's own.
func (s *Ruleset) Owns(a netip.Addr) bool {
	for private, public := range s.own {
		if a == private || a == public {
			return true
		}
	}
	return false
}

// Named are the lists of names, as network rules have them, in which a name stands.
func (s *Ruleset) Named(host string) [][]string {
	return s.lists[strings.ToLower(strings.TrimSuffix(host, "."))]
}

// AllNames are the names of all network rules, each once, sorted.
func (s *Ruleset) AllNames() []string { return slices.Sorted(maps.Keys(s.lists)) }
