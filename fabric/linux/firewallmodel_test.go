package linux

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

// firewallNames are what the names of random rules resolve to.
var firewallNames = map[string][]netip.Addr{
	"one.example": {addr("20.60.1.1")}, "two.example": {addr("20.60.1.1"), addr("20.60.1.2")}, "east.example": {addr("10.0.2.4")}, "none.example": nil,
}

// TestFirewallModelIsKernel sends random packets through firewalls with random rules: NAT, network and deny collections in
// groups of several policies. What becomes of each, and which rule's counter rises, is what fabric.Explain says.
func TestFirewallModelIsKernel(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 11))}
			topo := hubAndSpoke()
			topo.Names = func(_, name string) []netip.Addr { return firewallNames[name] }
			d := newTestDriver(t, Config{})
			var p *prober
			for round := range 4 {
				g.firewall(topo)
				apply(t, d, compile(t, topo))
				for _, r := range topo.VNets[0].NICs[2].Firewall.NetworkRules() {
					for _, name := range r.Rule.FQDNs {
						if err := d.Learn(nic(fwNIC), fabric.LearnedSet(r.Rule.FQDNs), firewallNames[name], time.Hour); err != nil {
							t.Fatal(err)
						}
					}
				}
				if p == nil {
					p = newProber(t, d)
					p.silence(t)
				}
				checkProbes(t, p, topo, g.firewallProbes(250, round == 0))
			}
		})
	}
}

// firewall gives the firewall other rules.
func (g *generator) firewall(topo *fabric.Topology) {
	f := *topo.VNets[0].NICs[2].Firewall
	f.Groups, f.DNSProxy = nil, g.chance(50)
	f.PrivateRanges = pick(g, azurefirewall.DefaultPrivateRanges(), []netip.Prefix{pfx("255.255.255.255/32")}, []netip.Prefix{pfx("10.0.0.0/8"), pfx("20.60.1.0/24")})
	for i := range 1 + g.IntN(3) {
		group := azurefirewall.Group{Policy: fmt.Sprint("policy-", i), Level: g.IntN(2), Name: fmt.Sprint("g", i), Priority: 100 + g.IntN(9)*10 + i}
		for j := range 1 + g.IntN(4) {
			c := azurefirewall.Collection{Name: fmt.Sprint("c", j), Priority: 100 + g.IntN(9)*10 + j}
			if g.chance(20) {
				c.NAT = []azurefirewall.NATRule{{Name: "nat", Protocols: pick(g, []azurefirewall.Protocol{azurefirewall.TCP}, []azurefirewall.Protocol{azurefirewall.Any}), Sources: g.peers(),
					Destinations: pick(g, []string{"20.50.0.9"}, []string{"10.0.9.4"}, []string{"20.50.0.10"}), Ports: g.portTexts(), Address: pick(g, addr("10.0.2.4"), addr("10.0.1.4")), Port: pick[uint16](g, 22, 443)}}
			} else {
				c.Deny = g.chance(40)
				for k := range 1 + g.IntN(4) {
					r := g.networkRule(fmt.Sprint("r", k))
					if k > 0 && g.chance(40) { // the same but for the names
						r = c.Network[k-1]
						r.Name, r.Destinations, r.FQDNs = fmt.Sprint("r", k), nil, g.names()
					}
					for i, to := range r.Destinations {
						if c.Deny && slices.Contains([]string{"*", "10.0.0.0/16", "20.60.0.0/16", "Storage"}, to) { // else nothing arrives
							r.Destinations[i] = "20.60.1.1"
						}
					}
					c.Network = append(c.Network, r)
				}
			}
			group.Collections = append(group.Collections, c)
		}
		f.Groups = append(f.Groups, group)
	}
	wide := azurefirewall.NetworkRule{Name: "wide", Protocols: []azurefirewall.Protocol{azurefirewall.TCP, azurefirewall.UDP, azurefirewall.ICMP}, Sources: []string{"*"},
		Destinations: []string{"10.0.0.0/16", "20.60.0.0/16"}, Ports: pick(g, []string{"*"}, []string{"22-443"})}
	f.Groups = append(f.Groups, azurefirewall.Group{Policy: "last", Level: 2, Name: "last", Priority: 100, Collections: []azurefirewall.Collection{netRules("wide", 100, false, wide)}})
	topo.VNets[0].NICs[2].Firewall = &f
}

func (g *generator) networkRule(name string) azurefirewall.NetworkRule {
	r := azurefirewall.NetworkRule{Name: name, Sources: g.peers(), Ports: g.portTexts()}
	for _, p := range []azurefirewall.Protocol{azurefirewall.TCP, azurefirewall.UDP, azurefirewall.ICMP, azurefirewall.Any} {
		if g.chance(40) {
			r.Protocols = append(r.Protocols, p)
		}
	}
	if r.Protocols == nil {
		r.Protocols = []azurefirewall.Protocol{azurefirewall.TCP}
	}
	if g.chance(25) {
		r.FQDNs = g.names()
		return r
	}
	r.Destinations = g.peers()
	if g.chance(30) {
		r.Destinations = append(r.Destinations, pick(g, "Storage", "Sql"))
	}
	return r
}

func (g *generator) names() []string {
	return pick(g, []string{"one.example"}, []string{"two.example", "none.example"}, []string{"east.example", "one.example"})
}

func (g *generator) peers() (out []string) {
	for range 1 + g.IntN(3) {
		out = append(out, pick(g, "*", "10.0.1.0/24", "10.0.1.4", "10.0.2.0/24", "10.0.2.1-10.0.2.9", "10.1.0.0/16", "20.60.0.0/16", "20.60.1.1", "20.60.1.0-20.60.1.1", "198.51.100.0/24", "10.0.0.0/16"))
	}
	return out
}

func (g *generator) portTexts() (out []string) {
	for range 1 + g.IntN(2) {
		out = append(out, pick(g, "*", "53", "80", "443", "400-500", "1433", "2222", "1-65535"))
	}
	return out
}

// firewallProbes are packets from both sides of the firewall. Those of protocols without ports are first packets once only.
func (g *generator) firewallProbes(n int, first bool) (out []probe) {
	host := fabric.Place{Kind: fabric.AtHost, ID: attacker}
	for range n {
		pr := probe{from: nic(workNIC), src: addr("10.0.1.4"), proto: pick(g, fabric.TCP, fabric.UDP, fabric.ICMP, fabric.ESP), dst: pick(g, addr("20.60.1.1"), addr("20.60.1.2"), addr("20.60.7.7"),
			addr("198.51.100.7"), addr("10.0.2.4"), addr("10.0.9.4"), addr("13.66.0.9"))}
		switch g.IntN(5) {
		case 0:
			pr.from, pr.src, pr.dst = host, addr("198.51.100.7"), addr("20.50.0.9")
		case 1:
			pr.from, pr.src, pr.dst = nic(spokeNIC), addr("10.0.2.4"), addr("10.0.1.4")
		case 2: // of a peered VNet
			pr.from, pr.src = nic(spokeWork), addr("10.1.1.4")
		}
		if pr.proto == fabric.ESP && (!first || pr.from != nic(workNIC)) { // without ports, one direction would answer the other
			pr.proto = fabric.TCP
		}
		if pr.proto == fabric.TCP || pr.proto == fabric.UDP {
			pr.dport = pick[uint16](g, 22, 53, 80, 443, 450, 1433, 2222)
		}
		out = append(out, pr)
	}
	return out
}
