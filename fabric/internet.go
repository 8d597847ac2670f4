package fabric

import (
	"fmt"
	"net/netip"
	"slices"

	"vauban.dev/fabric/internal/interval"
)

// internet compiles the namespace between the VNets, the services and the hosts. It has the services'
// prefixes as its own addresses; what is nobody's is routed to lo, where it is counted and dropped
// without a word, as on the real internet.
func internet(t *Topology, p *plan) (Namespace, map[string]RuleRef) {
	ns := Namespace{
		Name:    InternetNS,
		Sysctls: forwarding(),
		Addrs:   []netip.Prefix{host(WireServer), host(Gateway)},
		Local:   localPrefixes(t, p),
		Routes:  []Route{{Type: "unicast", Dst: anywhere, Dev: "lo"}},
	}
	sortPrefixes(ns.Addrs)
	own := internetSource(ns.Local)
	var sources []string
	for _, h := range t.Internet.Hosts {
		ns.Routes = append(ns.Routes, Route{Type: "unicast", Dst: host(h.Addr), Dev: HostNS(h.Name), Src: own})
		sources = append(sources, fmt.Sprintf("%q . %s", HostNS(h.Name), h.Addr))
	}
	for i := range t.VNets {
		id := t.VNets[i].ID
		for _, x := range p.public[id] {
			for a := x.Lo; ; a++ {
				ns.Routes = append(ns.Routes, Route{Type: "unicast", Dst: host(interval.Addr(a)), Via: p.transfer[id].router, Dev: RouterNS(id), Src: own})
				sources = append(sources, fmt.Sprintf("%q . %s", RouterNS(id), interval.Addr(a)))
				if a == x.Hi {
					break
				}
			}
		}
	}
	sortRoutes(ns.Routes)
	slices.Sort(sources)
	tb := newTable()
	tb.set("sources", "ifname . ipv4_addr", sources)
	tb.base("prerouting_raw", "filter hook prerouting priority -300; policy drop;",
		`iifname "lo" accept`,
		"iifname . ip saddr != @sources "+tb.drop(FabricRule(RuleAntiSpoof)),
		"ip daddr 169.254.0.0/16 "+tb.drop(FabricRule(RuleNoRoute)),
		"meta nfproto ipv4 accept")
	tb.base("forward", "filter hook forward priority 0; policy accept;",
		`oifname "lo" `+tb.drop(FabricRule(RuleNoRoute)))
	tb.base("output", "filter hook output priority 0; policy accept;",
		"ip daddr 169.254.0.0/16 "+tb.drop(FabricRule(RuleNoRoute)),
		`oifname "lo" fib daddr type != local `+tb.drop(FabricRule(RuleNoRoute)))
	ns.Objects = tb.finish()
	ns.NFT = ruleset(ns.Objects)
	return ns, tb.refused
}

// localPrefixes are the services' addresses: their prefixes without the addresses in them that hosts and
// VNets have.
func localPrefixes(t *Topology, p *plan) []netip.Prefix {
	others := []interval.Interval{}
	for _, h := range t.Internet.Hosts {
		others = append(others, interval.Of(host(h.Addr))...)
	}
	for _, s := range p.public {
		others = append(others, s...)
	}
	return interval.Of(t.Internet.ServicePrefixes...).Minus(interval.New(others...)).Prefixes()
}

// internetSource is the address that the internet namespace itself speaks from: one of the services',
// zero if there are none. Its transfer addresses would be taken for spoofed ones.
func internetSource(local []netip.Prefix) netip.Addr {
	for _, p := range local {
		if p.Bits() < 31 {
			return p.Addr().Next()
		}
	}
	if len(local) > 0 {
		return local[0].Addr()
	}
	return netip.Addr{}
}
