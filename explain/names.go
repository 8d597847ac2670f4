package explain

import (
	"fmt"
	"net/netip"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
)

// Lookup is how a name is resolved where a connection begins.
type Lookup struct {
	Addr  netip.Addr // zero: it has none there, or nobody here knows it
	Steps []string   // for people
	// Unknown: a DNS server answers that is no part of the region: a user's own. Only asking it tells.
	Unknown bool
}

// dnsPort is where DNS servers listen.
const dnsPort = 53

// maxRounds is how many resolvers may send a name on to each other.
const maxRounds = 4

// Lookup follows a name from a place: to the custom DNS servers of its NIC in their order, if they can be
// reached, else to Azure's resolver; over the rules of DNS forwarding rulesets to where they lead.
func (w World) Lookup(t *fabric.Topology, from fabric.Place, host string) Lookup {
	if a, err := netip.ParseAddr(host); err == nil {
		return Lookup{Addr: a}
	}
	if w.Resolve == nil {
		return Lookup{}
	}
	vnet, nic := at(t, from)
	var l Lookup
	var servers []netip.Addr
	if w.Servers != nil && nic.ID != "" {
		servers = w.Servers(vnet, nic.ID)
	}
	if len(servers) == 0 {
		w.inVNet(&l, t, vnet, host, 0)
		return l
	}
	for _, s := range servers {
		if w.atServer(&l, t, from, vnet, netip.AddrPortFrom(s, dnsPort), "custom DNS server", host, 0) {
			return l
		}
	}
	return l
}

func (l *Lookup) note(format string, args ...any) {
	l.Steps = append(l.Steps, fmt.Sprintf(format, args...))
}

// atServer asks one server; false means that it does not answer, and the next one is asked.
func (w World) atServer(l *Lookup, t *fabric.Topology, from fabric.Place, vnet string, server netip.AddrPort, what, host string, round int) bool {
	e := fabric.Explain(t, fabric.Flow{From: from, Dst: server.Addr(), Protocol: fabric.UDP, SrcPort: clientPort, DstPort: server.Port()})
	if refused := e.Refused(); refused != nil {
		l.note("%s: %s %s cannot be asked: %s", host, what, server, denial(*refused))
		return false
	}
	switch d := e.Destination; {
	case d.Kind == fabric.ToPlatform:
		w.inVNet(l, t, vnet, host, round)
	case d.Kind == fabric.ToNIC && w.Inbound != nil && w.Inbound(d.ID) != "":
		l.note("%s: %s %s is the inbound endpoint %s", host, what, server, d.ID)
		w.inVNet(l, t, w.Inbound(d.ID), host, round+1)
	case d.Kind == fabric.ToNIC && dnsProxy(t, d.ID) != nil:
		l.note("%s: %s %s is the DNS proxy of firewall %s", host, what, server, d.ID)
		w.atFirewall(l, t, d.ID, host, round+1)
	default:
		l.note("%s: %s %s is asked, whose answer the region does not know: --live asks it", host, what, server)
		l.Unknown = true
	}
	return true
}

// dnsProxy is the firewall behind a NIC that answers clients' questions for names, or nil.
func dnsProxy(t *fabric.Topology, nic string) *azurefirewall.Firewall {
	if _, n := at(t, fabric.Place{Kind: fabric.AtNIC, ID: nic}); n.Firewall != nil && n.Firewall.DNSProxy {
		return n.Firewall
	}
	return nil
}

// FirewallNames is how a firewall finds the names in its rules: with its own DNS servers, else with Azure's resolver.
func (w World) FirewallNames(t *fabric.Topology, nic, host string) []netip.Addr {
	var l Lookup
	w.atFirewall(&l, t, nic, host, 0)
	if !l.Addr.IsValid() {
		return nil
	}
	return []netip.Addr{l.Addr}
}

// atFirewall asks as a firewall does.
func (w World) atFirewall(l *Lookup, t *fabric.Topology, nic, host string, round int) {
	if round >= maxRounds {
		l.note("%s: resolvers send it round in a circle", host)
		return
	}
	from := fabric.Place{Kind: fabric.AtNIC, ID: nic}
	vnet, n := at(t, from)
	if n.Firewall == nil || len(n.Firewall.DNSServers) == 0 {
		w.inVNet(l, t, vnet, host, round)
		return
	}
	for _, s := range n.Firewall.DNSServers {
		if w.atServer(l, t, from, vnet, netip.AddrPortFrom(s, dnsPort), "the firewall's DNS server", host, round+1) {
			return
		}
	}
}

func denial(e fabric.Explanation) string {
	if e.By != (fabric.RuleRef{}) {
		return e.By.String()
	}
	return e.Steps[len(e.Steps)-1].What
}

// inVNet asks Azure's resolver of a VNet.
func (w World) inVNet(l *Lookup, t *fabric.Topology, vnet, host string, round int) {
	if round >= maxRounds {
		l.note("%s: resolvers send it round in a circle", host)
		return
	}
	a := w.Resolve(vnet, host)
	for _, s := range a.Steps {
		l.note("%s", nameStep(s))
	}
	if f := a.Forward; f != nil {
		for _, s := range f.Servers {
			for _, endpoint := range f.Endpoints {
				from := fabric.Place{Kind: fabric.AtNIC, ID: endpoint}
				home, _ := at(t, from)
				if w.atServer(l, t, from, home, s, "the rule's server", f.Name, round+1) {
					return
				}
			}
		}
		return
	}
	if addrs := a.Addrs(); len(addrs) > 0 {
		l.Addr = addrs[0].Addr
	}
}

func nameStep(s dns.Step) string {
	source := "the public names"
	switch {
	case s.Outcome == dns.Forwarded:
		source = "forwarding rule " + s.Zone
	case s.Public:
		source = "public zone " + s.Zone
	case s.Zone != "":
		source = "private zone " + s.Zone
	case s.Network:
		source = "the virtual network's own names"
	}
	text := fmt.Sprintf("%s: %s: %s", s.Name, source, s.Outcome)
	if s.Target != "" {
		text += " " + s.Target
	}
	return text
}
