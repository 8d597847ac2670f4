package rulegen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/audit"
	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

// This file proves an Egress on a network made for it: a subnet with the security group, its routes and a firewall with
// the rules. Each requirement is a flow there and back, which must leave by the firewall's public address.

// Ids and addresses of the proof's network.
const (
	proofVNet, proofNode, proofFirewall = "proof", "node", "firewall"
	proofStranger                       = "stranger.example"
)

var (
	nodePublic     = netip.MustParseAddr("203.0.113.201")
	firewallPublic = netip.MustParseAddr("203.0.113.202")
	strangerPublic = netip.MustParseAddr("203.0.113.203")
)

// ground is the proof's network.
type ground struct {
	tags   fabric.TagSource
	n      Network
	public bool
	group  []Rule
	p      *audit.Profile
	names  map[string]netip.Addr
}

// ProveEgress tries the rules and routes with a security group: every outbound requirement passes by the firewall, calls of
// the service arrive and are answered, a stranger is reached by nobody; and without any one of them something fails,
// which is noted in it.
func ProveEgress(tags fabric.TagSource, p *audit.Profile, o Options, n Network, group []Rule, e Egress) (Egress, error) {
	g := &ground{tags: tags, n: n, public: o.PublicIP, group: group, p: p, names: map[string]netip.Addr{}}
	whole := GenerateEgress(p, o, n)
	if broken := g.broken(whole, e); len(broken) > 0 {
		return e, fmt.Errorf("rulegen: the firewall's rules and routes are not enough, or too many: %s", strings.Join(broken, "; "))
	}
	out := e
	out.Rules, out.Routes = slices.Clone(e.Rules), slices.Clone(e.Routes)
	covered := []string{"today the other rules cover it, a route leads past the firewall, or the region's list does not know the tag"}
	for i := range out.Rules {
		less := e
		less.Rules = slices.Delete(slices.Clone(e.Rules), i, i+1)
		if out.Rules[i].Breaks = g.broken(whole, less); len(out.Rules[i].Breaks) == 0 {
			out.Rules[i].Breaks = covered
		}
	}
	for i := range out.Routes {
		less := e
		less.Routes = slices.Delete(slices.Clone(e.Routes), i, i+1)
		if out.Routes[i].Breaks = g.broken(whole, less); len(out.Routes[i].Breaks) == 0 {
			return e, fmt.Errorf("rulegen: nothing needs route %s", out.Routes[i].Name)
		}
	}
	return out, nil
}

// addressOf is one of a tag's addresses; invalid for a tag that the region's list does not know.
func (g *ground) addressOf(tag string) netip.Addr {
	list, _ := g.tags.Prefixes(tag)
	for _, p := range list {
		if p.Addr().Is4() {
			return p.Masked().Addr()
		}
	}
	return netip.Addr{}
}

// model is the network with some of the rules and routes.
func (g *ground) model(e Egress, callers []netip.Addr) *fabric.Topology {
	space := netip.PrefixFrom(g.n.Firewall, 26).Masked()
	fw := &azurefirewall.Firewall{ID: proofFirewall, DNSProxy: true, PrivateRanges: azurefirewall.DefaultPrivateRanges(), Addrs: []netip.Addr{g.n.Firewall},
		Publics: []azurefirewall.PublicAddress{{Private: g.n.Firewall, Public: firewallPublic}}}
	network, application := azurefirewall.Collection{Name: "network", Priority: 100}, azurefirewall.Collection{Name: "application", Priority: 200}
	for _, r := range e.Rules {
		if r.Kind == NetworkRule {
			tags := slices.DeleteFunc(slices.Clone(r.Tags), func(tag string) bool {
				_, err := netip.ParsePrefix(tag)
				return err != nil && !g.addressOf(tag).IsValid()
			})
			if len(tags)+len(r.Names) > 0 {
				network.Network = append(network.Network, azurefirewall.NetworkRule{Name: r.Name, Protocols: []azurefirewall.Protocol{azurefirewall.Protocol(r.Protocols[0])},
					Sources: r.Sources, Destinations: tags, FQDNs: r.Names, Ports: r.Ports})
			}
			continue
		}
		a := azurefirewall.ApplicationRule{Name: r.Name, Sources: r.Sources, FQDNs: r.FQDNs}
		for _, p := range r.Protocols {
			kind, port := azurefirewall.HTTPS, uint16(443)
			if strings.HasPrefix(p, azurefirewall.HTTP+":") {
				kind, port = azurefirewall.HTTP, 80
			}
			a.Protocols = append(a.Protocols, azurefirewall.ApplicationProtocol{Type: kind, Port: port})
		}
		application.Application = append(application.Application, a)
	}
	fw.Groups = []azurefirewall.Group{{Name: "proof", Priority: 100, Collections: []azurefirewall.Collection{network, application}}}
	node := fabric.NIC{ID: proofNode, Subnet: "nodes", Addrs: []netip.Addr{g.n.node()}}
	if g.public {
		node.Public = []fabric.PublicAddress{{Private: node.Addrs[0], Public: nodePublic}}
	}
	table := &fabric.RouteTable{ID: "table"}
	for _, r := range e.Routes {
		u := fabric.UserRoute{Name: r.Name, Prefix: r.Prefix, Hop: fabric.HopInternet}
		if r.Address != "" {
			u.Hop, u.Appliance = fabric.HopAppliance, g.n.Firewall
		}
		table.Routes = append(table.Routes, u)
	}
	t := &fabric.Topology{Tags: g.tags, NSGs: map[string]*fabric.NSG{proofGroup: model(proofGroup, g.group)}, RouteTables: map[string]*fabric.RouteTable{"table": table},
		Names: func(_, name string) []netip.Addr {
			if a, ok := g.names[name]; ok {
				return []netip.Addr{a}
			}
			return nil
		},
		VNets: []fabric.VNet{{ID: proofVNet, Prefixes: []netip.Prefix{space, g.n.Subnet.Masked()}, Subnets: []fabric.Subnet{
			{ID: "AzureFirewallSubnet", Prefixes: []netip.Prefix{space}},
			{ID: "nodes", Prefixes: []netip.Prefix{g.n.Subnet.Masked()}, NSG: proofGroup, RouteTable: "table"}},
			NICs: []fabric.NIC{node, {ID: proofFirewall, Subnet: "AzureFirewallSubnet", Addrs: fw.Addrs, Forwarding: true, Firewall: fw,
				Public: []fabric.PublicAddress{{Private: g.n.Firewall, Public: firewallPublic}}}}}}}
	for i, a := range callers {
		t.Internet.Hosts = append(t.Internet.Hosts, fabric.InternetHost{Name: fmt.Sprint("caller-", i), Addr: a})
	}
	t.Internet.Hosts = append(t.Internet.Hosts, fabric.InternetHost{Name: "stranger", Addr: strangerPublic})
	if space.Overlaps(g.n.Subnet) { // one of the address spaces is enough
		t.VNets[0].Prefixes = []netip.Prefix{g.n.Subnet.Masked()}
	}
	return t
}

// node is an address of the subnet that a node may have.
func (n Network) node() netip.Addr { return n.Subnet.Masked().Addr().Next().Next().Next().Next() }

// broken are the requirements of a whole egress that some of its rules and routes do not fulfil.
func (g *ground) broken(whole, e Egress) (out []string) {
	var callers []netip.Addr
	var inbound []audit.Requirement
	for _, q := range g.p.Requirements {
		if a := g.addressOf(q.Tag); q.Direction == "Inbound" && g.public && q.When == audit.WithPublicIP && a.IsValid() {
			inbound = append(inbound, q)
			if !slices.Contains(callers, a) {
				callers = append(callers, a)
			}
		}
	}
	flows := g.flows(whole)
	t := g.model(e, callers)
	for _, f := range flows {
		x := fabric.Explain(t, f.flow)
		left := x.Verdict == fabric.Allowed && x.Refused() == nil || x.Namespace == fabric.InternetNS
		if past := g.past(e, f.flow.Dst); !left || x.Source != firewallPublic && !(past && x.Source == nodePublic) {
			out = append(out, f.what+" does not leave by the firewall")
		}
	}
	for _, q := range inbound {
		i := slices.Index(callers, g.addressOf(q.Tag))
		for _, port := range q.Ports {
			x := fabric.Explain(t, fabric.Flow{From: fabric.Place{Kind: fabric.AtHost, ID: fmt.Sprint("caller-", i)}, Dst: nodePublic, Protocol: fabric.TCP, SrcPort: sourcePort, DstPort: port})
			switch {
			case x.Verdict == fabric.Denied:
				out = append(out, fmt.Sprintf("inbound TCP %d from %s is refused", port, q.Tag))
			case x.Refused() != nil:
				out = append(out, fmt.Sprintf("inbound TCP %d from %s is not answered: %s", port, q.Tag, x.Refused().By))
			}
		}
	}
	for _, port := range []uint16{80, 443, 5831, 8787} {
		for _, protocol := range []fabric.Protocol{fabric.TCP, fabric.UDP} {
			x := fabric.Explain(t, fabric.Flow{From: fabric.Place{Kind: fabric.AtNIC, ID: proofNode}, Dst: strangerPublic, Protocol: protocol, SrcPort: sourcePort, DstPort: port, Host: proofStranger})
			if x.Verdict == fabric.Allowed {
				out = append(out, fmt.Sprintf("a stranger is reached at %s %d", protocol, port))
			}
		}
	}
	return out
}

// past tells whether a route leads to the address past the firewall.
func (g *ground) past(e Egress, a netip.Addr) bool {
	return slices.ContainsFunc(e.Routes, func(r Route) bool {
		list, _ := g.tags.Prefixes(r.Prefix)
		return r.Hop == "Internet" && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// sourcePort stands for one that a node's kernel chooses.
const sourcePort = 40000

type proofFlow struct {
	what string
	flow fabric.Flow
}

// flows are those of all rules: each name, protocol and port once. What a rule by name is for has an address of the tag
// that the security group opens.
func (g *ground) flows(e Egress) (out []proofFlow) {
	for _, r := range e.Rules {
		to := g.addressOf(r.requirement.tag)
		if r.requirement.tag == "" {
			to = strangerPublic // whose own name no rule has
		} else if !to.IsValid() {
			continue // a tag that the region's list does not know
		}
		add := func(protocol fabric.Protocol, port uint16, host, what string) {
			if host != "" {
				g.names[host] = to
			}
			out = append(out, proofFlow{what, fabric.Flow{From: fabric.Place{Kind: fabric.AtNIC, ID: proofNode}, Dst: to, Protocol: protocol, SrcPort: sourcePort, DstPort: port, Host: host}})
		}
		for _, host := range r.FQDNs {
			for _, p := range r.Protocols {
				port := uint16(443)
				if p == "Http:80" {
					port = 80
				}
				add(fabric.TCP, port, sample(host), fmt.Sprintf("%s to %s", p, host))
			}
		}
		for _, text := range r.Ports {
			protocol := fabric.TCP
			if r.Protocols[0] == "UDP" {
				protocol = fabric.UDP
			}
			var port uint16
			fmt.Sscan(text, &port)
			host := ""
			if len(r.Names) > 0 {
				host = r.Names[0]
			}
			add(protocol, port, host, fmt.Sprintf("%s %s to %s", r.Protocols[0], text, slices.Concat(r.Names, r.Tags)[0]))
		}
	}
	return out
}
