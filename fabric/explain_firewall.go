package fabric

import (
	"fmt"
	"net/netip"
	"slices"

	"vauban.dev/azurefirewall"
)

// firewall is the way through an Azure Firewall, which azurefirewall decides: its NAT and network rules by the
// packet, its application rules by the name that the connection is for.
func (w *walk) firewall(v *VNet, n *NIC) bool {
	rules, err := azurefirewall.New(n.Firewall, w.t.prefixes)
	if err != nil {
		w.stop(n.ID, err.Error())
		return false
	}
	if w.answers != nil && w.firewallBack(v, n) {
		return false
	}
	if w.answers == nil {
		w.enter(NICNS(n.ID), n.ID)
	}
	names := func(fqdn string) []netip.Addr { return w.t.namesAt(n.ID, fqdn) }
	p := azurefirewall.Packet{Source: w.p.Source, Destination: w.p.Destination, Protocol: firewallProtocol(w.p.Protocol), Port: w.p.DestinationPort}
	d := rules.Packet(p, names)
	ref := FirewallRule(n.Firewall.ID, d.Ref)
	w.ns = NICNS(n.ID)
	switch d.Verdict {
	case azurefirewall.Deny:
		return w.deny(n.ID, d.String(), ref)
	case azurefirewall.Answer:
		w.step(n.ID, "the firewall's DNS proxy answers", RuleRef{}, Allowed)
		return w.arrive(n.ID, Destination{Kind: ToNIC, ID: n.ID, Addr: w.p.Destination})
	case azurefirewall.Proxy:
		return w.proxied(v, n, rules)
	}
	w.step(n.ID, d.String(), ref, Allowed)
	switch {
	case d.To.IsValid():
		w.step(n.ID, fmt.Sprintf("%s is translated to %s", w.p.Destination, d.To), RuleRef{}, Allowed)
		w.p.Destination, w.p.DestinationPort = d.To.Addr(), d.To.Port()
		w.p.Source = n.Addrs[0]
		w.translated()
	case d.SNAT:
		w.p.Source = n.outside()
		w.translated()
	default:
		return w.carried(v, n)
	}
	return w.fromNIC(v, n)
}

// fromFirewall is what a firewall says itself: it knows the answer.
func (w *walk) fromFirewall(n *NIC) {
	if n.Firewall == nil {
		return
	}
	if !w.p.Source.IsValid() {
		w.p.Source = n.Addrs[0]
	}
	if slices.Contains(n.Addrs, w.p.Source) {
		w.enter(NICNS(n.ID), n.ID)
	}
}

// outside is the address that a firewall goes to the internet with. Of several it takes one by chance: the
// first stands for all.
func (n *NIC) outside() netip.Addr {
	if len(n.Public) > 0 {
		return n.Public[0].Private
	}
	return n.Addrs[0]
}

func firewallProtocol(p Protocol) azurefirewall.Protocol {
	switch p {
	case TCP:
		return azurefirewall.TCP
	case UDP:
		return azurefirewall.UDP
	case ICMP:
		return azurefirewall.ICMP
	}
	return azurefirewall.Protocol(p.String())
}

// prefixes is the topology's tags as azurefirewall asks for them.
func (t *Topology) prefixes(tag string) ([]netip.Prefix, bool) {
	if t.Tags == nil {
		return nil, false
	}
	return t.Tags.Prefixes(tag)
}

func (t *Topology) namesAt(nic, name string) []netip.Addr {
	if t.Names == nil {
		return nil
	}
	return t.Names(nic, name)
}

// proxied is the way of a connection that the firewall's transparent proxy takes: it is judged by its name, TLS
// unless it is for port 80, and made again from the firewall to where the firewall finds the name. What the proxy
// refuses is in the firewall's log, and in no counter of the kernel.
func (w *walk) proxied(v *VNet, n *NIC, rules *azurefirewall.Ruleset) bool {
	w.step(n.ID, "application rules speak of this port: the firewall reads what the client asks for", RuleRef{}, Allowed)
	w.ns = ""
	q := azurefirewall.Request{Source: w.p.Source, Port: w.p.DestinationPort, TLS: w.p.DestinationPort != 80, Host: w.e.Flow.Host}
	if !q.TLS {
		q.Path = "/"
	}
	d := rules.Request(q)
	ref := FirewallRule(n.Firewall.ID, d.Ref)
	if d.Verdict == azurefirewall.Deny {
		return w.deny(n.ID, d.String(), ref)
	}
	text := d.String()
	if d.Verdict == azurefirewall.Inspect {
		text += ", which inspects TLS: the path of each request decides further"
	}
	w.step(n.ID, text, ref, Allowed)
	w.legs = append(w.legs, leg{Destination{Kind: ToNIC, ID: n.ID}, w.p, func(back *walk) bool {
		sent := back.p
		back.enter(NICNS(n.ID), n.ID)
		back.p = sent
		return back.carried(v, n)
	}})
	if found := w.t.namesAt(n.ID, q.Host); len(found) > 0 {
		w.p.Destination = found[0]
	}
	w.step(n.ID, fmt.Sprintf("the firewall connects to %s at %s itself", q.Host, w.p.Destination), RuleRef{}, Allowed)
	w.p.Source = n.outside()
	w.enter(NICNS(n.ID), n.ID)
	return w.fromNIC(v, n)
}
