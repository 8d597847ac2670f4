package fabric

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric/internal/diagram"
	"vauban.dev/fabric/internal/interval"
)

// This file compiles an Azure Firewall into the namespace of its NIC. A flow is judged by its first packet before
// any address is translated: NAT rules, network rules, then whether application rules speak of its source
// and port. Those flows end in the firewall's transparent proxy (FirewallProxy), all others are forwarded or
// dropped. Unlike a security group, a firewall judges running flows again when its rules change.
// https://learn.microsoft.com/azure/firewall/rule-processing

// FirewallProxy is where the transparent proxy of a firewall listens in its namespace: connections come to it
// with the address and port that the client called.
var FirewallProxy = netip.MustParseAddrPort("127.0.0.1:15443")

// PassGroup is the nflog group that first packets which firewalls allow are logged to, with the counter
// name of the rule as prefix.
const PassGroup = 6

// Marks of a firewall's connections: what was decided, in the low byte, and above it by which rules. fwCapture is the
// mark of packets too that go to the proxy.
const (
	fwPass    = 1
	fwCapture = 2
)

// captureTable routes everything to the namespace itself.
const captureTable = 100

// FirewallRule is the reference to a rule of a firewall.
func FirewallRule(id string, r azurefirewall.Ref) RuleRef {
	return RuleRef{Owner: id, Direction: Through, Rule: r.Path()}
}

// LearnedSet names the set of addresses that some names have resolved to for a firewall's network rules.
func LearnedSet(fqdns []string) string {
	list := make([]string, len(fqdns))
	for i, f := range fqdns {
		list[i] = strings.ToLower(f)
	}
	slices.Sort(list)
	return "l_" + digest(12, slices.Compact(list)...)
}

// firewall writes the rules of one.
type firewall struct {
	*table
	f     *azurefirewall.Firewall
	scope *scope
	gen   uint32 // of the rules, in the upper three bytes
}

// firewall adds a firewall's rules to its NIC's namespace, and tells what they may refuse by.
func (ns *Namespace) firewall(n *NIC, s *scope) (map[string]RuleRef, error) {
	w := &firewall{table: newTable(), f: n.Firewall, scope: s}
	if err := w.rules(n); err != nil {
		return nil, &TopologyError{Object: n.ID, Reason: err.Error()}
	}
	w.generation()
	w.table = newTable()
	if err := w.rules(n); err != nil {
		return nil, &TopologyError{Object: n.ID, Reason: err.Error()}
	}
	ns.Rules = append(ns.Rules, PolicyRule{Priority: preferTables, FwMark: fwCapture, FwMask: fwCapture, Table: captureTable})
	ns.Routes = append(ns.Routes, Route{Type: "local", Dst: anywhere, Dev: loopback, Table: captureTable})
	ns.Objects = w.finish()
	ns.NFT = ruleset(ns.Objects)
	return w.refused, nil
}

// generation is a number for the rules: other rules, another number.
func (w *firewall) generation() {
	h := sha256.New()
	for _, o := range w.objects {
		fmt.Fprintln(h, o.Kind, o.Name, o.Spec, o.Lines)
	}
	w.gen = binary.BigEndian.Uint32(h.Sum(nil)) &^ 0xff
}

func (w *firewall) mark(decision uint32) string { return fmt.Sprintf("%#x", w.gen|decision) }

// rules writes what is looked up, then the chains.
func (w *firewall) rules(n *NIC) error {
	w.set("own", "ipv4_addr", addrTexts(n.Addrs))
	w.intervals("private", texts(interval.Of(w.f.PrivateRanges...)))
	w.intervals("inside", texts(interval.Of(append(w.f.PrivateRanges, azurefirewall.DefaultPrivateRanges()...)...)))
	w.chain("captured", "ct mark set "+w.mark(fwCapture),
		fmt.Sprintf("meta l4proto tcp tproxy ip to %s meta mark set %d accept", FirewallProxy, fwCapture))
	translations, err := w.own(n)
	if err != nil {
		return err
	}
	if err := w.network(); err != nil {
		return err
	}
	w.base("judge", "filter hook prerouting priority -150; policy drop;",
		`iifname "lo" accept`,
		"meta nfproto ipv6 "+w.drop(FabricRule(RuleInvalid)),
		"ct state related accept",
		"ct direction reply ct state established accept",
		"ct state invalid "+w.drop(FabricRule(RuleInvalid)),
		"ct mark "+w.mark(fwPass)+" accept",
		"ct mark "+w.mark(fwCapture)+" goto captured",
		"ip daddr @own goto to_own",
		"goto network")
	if len(translations) > 0 {
		w.base("translate", "nat hook prerouting priority -100; policy accept;", translations...)
	}
	w.base("arrive", "filter hook input priority 0; policy drop;",
		`iifname "lo" accept`,
		"ct state established,related accept",
		fmt.Sprintf("ct mark and 0xff == %d accept", fwCapture),
		"ip daddr @own th dport 53 accept", // judged in to_own
		w.drop(w.byDefault()))
	w.base("pass_on", "filter hook forward priority 0; policy drop;",
		"ct direction reply ct state established,related accept",
		"ct state related accept",
		fmt.Sprintf("ct mark and 0xff == %d accept", fwPass),
		w.drop(w.byDefault()))
	w.base("leave_as", "nat hook postrouting priority 100; policy accept;", w.source(n)...)
	return nil
}

func (w *firewall) byDefault() RuleRef { return FirewallRule(w.f.ID, azurefirewall.Ref{}) }

// pass lets a flow through in a rule's name.
func (w *firewall) pass(ref azurefirewall.Ref) string {
	return fmt.Sprintf("ct mark set %s log prefix %q group %d snaplen 128 accept", w.mark(fwPass), FirewallRule(w.f.ID, ref).Counter(), PassGroup)
}

// own writes what may reach the firewall's own addresses, and returns the translations of NAT rules.
func (w *firewall) own(n *NIC) (translations []string, err error) {
	var lines []string
	for _, r := range w.f.NATRules() {
		to := r.Rule.Destinations
		for _, a := range n.Public { // a rule for the public address is one for what stands for it
			if slices.Contains(to, a.Public.String()) {
				to = append(slices.Clone(to), a.Private.String())
			}
		}
		match, ok, err := w.match(r.Rule.Protocols, r.Rule.Sources, to, r.Rule.Ports, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Ref, err)
		}
		if !ok {
			continue
		}
		lines = append(lines, match+w.pass(r.Ref))
		translations = append(translations, fmt.Sprintf("%sip daddr @own dnat ip to %s:%d", match, r.Rule.Address, r.Rule.Port))
	}
	if w.f.DNSProxy {
		lines = append(lines, fmt.Sprintf("ip saddr @inside meta l4proto { %d, %d } th dport 53 ct mark set %s accept", TCP, UDP, w.mark(fwPass)))
	}
	w.chain("to_own", append(lines, w.drop(w.byDefault()))...)
	return translations, nil
}

// network writes the network rules, what application rules have a say in, and the default action. Rules by name that
// follow each other and differ in the name alone stand in a chain of their own: what they share is tested once.
func (w *firewall) network() error {
	var lines, named []string
	shared := "" // by the rules in named
	end := func() {
		if len(named) > 1 {
			lines = append(lines, shared+"jump "+w.list("w", named))
		} else if len(named) == 1 {
			lines = append(lines, shared+named[0])
		}
		named = nil
	}
	for _, r := range w.f.NetworkRules() {
		then := w.pass(r.Ref)
		if r.Deny {
			then = w.drop(FirewallRule(w.f.ID, r.Ref))
		}
		match, ok, err := w.match(r.Rule.Protocols, r.Rule.Sources, r.Rule.Destinations, r.Rule.Ports, false)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", r.Ref, err)
		case !ok:
			continue
		}
		if len(r.Rule.FQDNs) > 0 {
			if match != shared {
				end()
				shared = match
			}
			named = append(named, "ip daddr @"+w.learned(r.Rule.FQDNs)+" "+then)
			continue
		}
		end()
		lines = append(lines, match+then)
	}
	end()
	seen := map[string]bool{}
	for _, r := range w.f.ApplicationRules() {
		sources, err := w.peers(r.Rule.Sources)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Ref, err)
		}
		for _, x := range r.Rule.Protocols {
			port := interval.Set{{Lo: uint32(x.Port), Hi: uint32(x.Port)}}
			line := fmt.Sprintf("meta l4proto %d ", TCP) + w.table.match(diagram.Values{diagram.Source: sources, diagram.DestinationPort: port}) + "goto captured"
			if sources != nil && len(sources) == 0 || seen[line] {
				continue
			}
			seen[line] = true
			lines = append(lines, line)
		}
	}
	w.tail("network", append(lines, w.drop(w.byDefault())))
	return nil
}

// tail declares a chain of any number of rules under its own name.
func (w *firewall) tail(name string, lines []string) {
	if len(lines) > chainLimit {
		rest := w.list("w", lines[chainLimit:])
		lines = append(slices.Clone(lines[:chainLimit]), "goto "+rest)
	}
	w.chain(name, lines...)
}

// learned declares the set of addresses of some names.
func (w *firewall) learned(fqdns []string) string {
	name := LearnedSet(fqdns)
	if !w.have[name] {
		w.have[name] = true
		w.objects = append(w.objects, Object{Kind: SetObject, Name: name, Spec: []string{"type ipv4_addr", "flags timeout"}, Learned: true})
	}
	return name
}

// match writes a rule's tests; it is false for a rule that no packet can match. ports: the rule asks for ports whatever
// they are.
func (w *firewall) match(protocols []azurefirewall.Protocol, sources, destinations, portTexts []string, needPorts bool) (string, bool, error) {
	var v diagram.Values
	var err error
	if v[diagram.Source], err = w.peers(sources); err != nil {
		return "", false, fmt.Errorf("source: %w", err)
	}
	if len(destinations) > 0 {
		if v[diagram.Destination], err = w.peers(destinations); err != nil {
			return "", false, fmt.Errorf("destination: %w", err)
		}
	}
	if v[diagram.DestinationPort], err = ports(portTexts); err != nil {
		return "", false, fmt.Errorf("destination port: %w", err)
	}
	for _, set := range v {
		if set != nil && len(set) == 0 {
			return "", false, nil
		}
	}
	proto, ok := protocolMatch(protocols, needPorts || v[diagram.DestinationPort] != nil)
	return proto + w.table.match(v), ok, nil
}

// protocolMatch writes the test of a packet's protocol; a rule with ports is for TCP and UDP alone.
func protocolMatch(protocols []azurefirewall.Protocol, ported bool) (string, bool) {
	numbers := map[azurefirewall.Protocol]Protocol{azurefirewall.TCP: TCP, azurefirewall.UDP: UDP, azurefirewall.ICMP: ICMP}
	var list []string
	for _, p := range protocols {
		switch {
		case p == azurefirewall.Any && ported:
			list = append(list, fmt.Sprint(TCP.number()), fmt.Sprint(UDP.number()))
		case p == azurefirewall.Any:
			return "", true
		case p == azurefirewall.ICMP && ported:
		default:
			list = append(list, fmt.Sprint(numbers[p].number()))
		}
	}
	slices.Sort(list)
	switch list = slices.Compact(list); len(list) {
	case 0:
		return "", false
	case 1:
		return "meta l4proto " + list[0] + " ", true
	}
	return "meta l4proto { " + strings.Join(list, ", ") + " } ", true
}

func (p Protocol) number() int { return int(p) }

// peers is the union of a rule's addresses, nil for any.
func (w *firewall) peers(list []string) (interval.Set, error) {
	var in []interval.Interval
	for _, text := range list {
		first, second, ranged := strings.Cut(text, "-")
		lo, err1 := netip.ParseAddr(strings.TrimSpace(first))
		hi, err2 := netip.ParseAddr(strings.TrimSpace(second))
		if ranged && err1 == nil && err2 == nil && lo.Is4() && hi.Is4() {
			in = append(in, interval.Interval{Lo: interval.Number(lo), Hi: interval.Number(hi)})
			continue
		}
		set, err := w.scope.peer(text)
		if err != nil {
			return nil, err
		}
		in = append(in, set...)
	}
	switch set := interval.New(in...); {
	case len(set) == 0:
		return interval.Set{}, nil
	case slices.Equal(set, everything()):
		return nil, nil
	default:
		return set, nil
	}
}

// source writes which address packets leave the firewall with: one of its own for what a NAT rule led on and for
// what goes to the internet, the sender's for private ranges.
func (w *firewall) source(n *NIC) []string {
	out := make([]netip.Addr, 0, len(n.Addrs))
	for _, a := range n.Public {
		out = append(out, a.Private)
	}
	if len(out) == 0 {
		out = n.Addrs[:1]
	}
	outside := out[0].String()
	if len(out) > 1 {
		var list []string
		for i, a := range out {
			list = append(list, fmt.Sprintf("%d : %s", i, a))
		}
		outside = fmt.Sprintf("numgen random mod %d map { %s }", len(out), strings.Join(list, ", "))
	}
	return []string{
		"ip saddr @own accept",
		"ct status dnat snat ip to " + n.Addrs[0].String(),
		"ip daddr != @private snat ip to " + outside,
	}
}
