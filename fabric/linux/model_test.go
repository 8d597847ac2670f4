package linux

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"vauban.dev/fabric"
)

// TestModelIsKernel sends random packets through random topologies: what becomes of each, and which
// rule's counter rises, is what fabric.Explain says.
func TestModelIsKernel(t *testing.T) {
	const probes = 1250
	for seed := range max(6, soak(t)/probes) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 7)), plain: seed%3 == 0, linked: seed%3 == 2}
			topo := g.topology()
			d := newTestDriver(t, Config{})
			apply(t, d, compile(t, topo))
			p := newProber(t, d)
			if !g.plain {
				p.silence(t)
			}
			for range 4 {
				checkProbes(t, p, topo, g.probes(topo, 250))
			}
			// Other rules on the same network: what was allowed stays allowed only for the flows that were.
			g.rules(topo)
			if g.linked {
				g.link(topo)
			}
			if !g.plain {
				g.routes(topo)
			}
			apply(t, d, compile(t, topo))
			p.tunnels(t)
			if err := d.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkProbes(t, p, topo, g.probes(topo, 250))
		})
	}
}

func checkProbes(t *testing.T, p *prober, topo *fabric.Topology, probes []probe) {
	t.Helper()
	refused, arrived := 0, 0
	want := make([]fabric.Explanation, len(probes))
	for i := range probes {
		if probes[i].sport == 0 {
			probes[i].sport = p.port()
		}
		want[i] = fabric.Explain(topo, fabric.Flow{
			From: probes[i].from, Source: probes[i].src, Dst: probes[i].dst, Protocol: probes[i].proto,
			SrcPort: probes[i].sport, DstPort: probes[i].dport,
		})
	}
	var wrong []probe
	all := p.send(t, probes)
	for i, got := range all {
		if !slices.ContainsFunc(outcomes(topo, want[i]), got.is) {
			t.Errorf("%v: %s, but the model says: %v", probes[i], got, want[i])
			wrong = append(wrong, probes[i])
		} else if got.at != "" {
			arrived++
		} else {
			refused++
		}
	}
	if arrived < len(probes)/20 || refused < len(probes)/20 {
		t.Errorf("only %d probes arrived and %d were refused: they prove little", arrived, refused)
	}
	if len(wrong) > 0 && soak(t) > 0 {
		reportSmallest(t, topo, wrong[0])
		t.FailNow()
	}
	if p.silent.Load() && len(wrong) == 0 {
		checkAnswers(t, p, topo, probes, want, all)
	}
}

// outcomes are what may become of a flow: several where a load balancer chooses.
func outcomes(topo *fabric.Topology, e fabric.Explanation) (out []outcome) {
	for _, one := range e.Either {
		out = append(out, outcomeOf(topo, one))
	}
	if out == nil {
		out = append(out, outcomeOf(topo, e))
	}
	return out
}

func outcomeOf(topo *fabric.Topology, e fabric.Explanation) outcome {
	if e.Verdict == fabric.Denied && e.Destination.Kind == fabric.ToNothing { // an answer may arrive where it is not meant
		return outcome{by: e.By}
	}
	switch e.Destination.Kind {
	case fabric.ToNIC:
		return outcome{at: fabric.NICNS(e.Destination.ID)}
	case fabric.ToTunnel:
		return outcome{at: fabric.TunnelInterface(e.Destination.ID)}
	case fabric.ToHost:
		return outcome{at: fabric.HostNS(e.Destination.ID)}
	case fabric.ToService:
		if e.Destination.VNet != "" {
			return outcome{at: fabric.RouterNS(e.Destination.VNet)}
		}
		return outcome{at: fabric.InternetNS}
	}
	at := e.Destination.ID // of a private endpoint
	if at == "" {
		at = e.Flow.From.ID
	}
	for _, v := range topo.VNets {
		for _, n := range v.NICs {
			if n.ID == at {
				return outcome{at: fabric.RouterNS(v.ID)}
			}
		}
	}
	return outcome{at: fabric.InternetNS} // a host
}

// generator makes topologies of two VNets with overlapping addresses and random rules.
type generator struct {
	*rand.Rand
	plain    bool                   // no routes but Azure's own
	linked   bool                   // three peered VNets with addresses of their own
	portless map[[2]netip.Addr]bool // pairs that have spoken a protocol without ports
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) topology() *fabric.Topology {
	topo := &fabric.Topology{
		Tags: testTags(),
		NSGs: map[string]*fabric.NSG{},
		Internet: fabric.Internet{
			ServicePrefixes: []netip.Prefix{pfx("20.60.0.0/16"), pfx("13.66.0.0/16")},
			Hosts:           []fabric.InternetHost{{Name: attacker, Addr: addr("198.51.100.7")}, {Name: "other", Addr: addr("52.239.130.1")}},
		},
	}
	for i := range 5 {
		id := fmt.Sprint("nsg-", i)
		topo.NSGs[id] = &fabric.NSG{ID: id}
	}
	nsg := func() string {
		if g.chance(30) || g.linked && g.chance(60) { // packets that cross several VNets meet many groups
			return ""
		}
		return fmt.Sprint("nsg-", g.IntN(5))
	}
	vnets := 2
	if g.linked {
		vnets = 3
	}
	for v := range vnets {
		net := g.net(v)
		vnet := fabric.VNet{ID: fmt.Sprint("v", v), Prefixes: []netip.Prefix{pfx(fmt.Sprintf("10.%d.0.0/16", net))}}
		for s := range 3 {
			subnet := fmt.Sprintf("v%d-s%d", v, s)
			vnet.Subnets = append(vnet.Subnets, fabric.Subnet{
				ID: subnet, Prefixes: []netip.Prefix{pfx(fmt.Sprintf("10.%d.%d.0/24", net, s))}, NSG: nsg(),
				DefaultOutbound: g.chance(70), EndpointPolicies: g.chance(50),
			})
			for n := range 2 {
				nic := fabric.NIC{ID: fmt.Sprintf("%s-n%d", subnet, n), Subnet: subnet, NSG: nsg(),
					Addrs: []netip.Addr{addr(fmt.Sprintf("10.%d.%d.%d", net, s, 4+n))}}
				if g.chance(30) {
					nic.Public = []fabric.PublicAddress{{Private: nic.Addrs[0], Public: addr(fmt.Sprintf("20.50.%d.%d", v, s*10+n+1))}}
					nic.Managed = g.chance(30)
				}
				if g.chance(40) {
					nic.ASGs = []string{pick(g, "asg-a", "asg-b")}
				}
				if n == 1 && g.chance(40) {
					nic.Addrs = append(nic.Addrs, addr(fmt.Sprintf("10.%d.%d.9", net, s)))
				}
				vnet.NICs = append(vnet.NICs, nic)
			}
			vnet.NICs = append(vnet.NICs, fabric.NIC{ID: subnet + "-pe", Subnet: subnet, Kind: fabric.Endpoint, NSG: nsg(),
				Addrs:   []netip.Addr{addr(fmt.Sprintf("10.%d.%d.20", net, s))},
				Service: &fabric.Service{Target: "t", GroupID: "blob", Ports: []uint16{443}}})
		}
		topo.VNets = append(topo.VNets, vnet)
	}
	g.outbound(topo)
	g.serviceEndpoints(topo)
	g.balancers(topo)
	if g.linked {
		g.link(topo)
	}
	if !g.plain {
		g.routes(topo)
	}
	g.rules(topo)
	return topo
}

// rules gives every NSG new rules.
func (g *generator) rules(topo *fabric.Topology) {
	peers := []string{"*", "VirtualNetwork", "Internet", "Storage", "Sql", "AzureLoadBalancer", "10.0.0.0/24", "10.0.1.4", "10.0.1.0/24",
		"10.0.2.0/23", "10.0.0.20", "10.0.1.20", "198.51.100.7", "198.51.100.0/24", "52.0.0.0/8", "20.60.0.0/17", "10.0.0.0/16", "10.0.2.9"}
	if g.linked {
		peers = append(peers, "10.1.0.0/16", "10.2.1.0/24", "10.1.1.4", "10.2.0.0/15", "10.1.2.0/24")
	}
	ports := []string{"*", "22", "80", "443", "53", "80-443", "1000-2000", "0-1023", "20000-40000", "8080"}
	some := func(from []string) []string {
		var out []string
		for range 1 + g.IntN(3) {
			out = append(out, from[g.IntN(len(from))])
		}
		return out
	}
	for _, id := range []string{"nsg-0", "nsg-1", "nsg-2", "nsg-3", "nsg-4"} {
		n := topo.NSGs[id]
		n.Rules = nil
		for i := range 4 + g.IntN(24) {
			r := fabric.Rule{
				Name: fmt.Sprint("rule-", i), Priority: 100 + i*10, Direction: pick(g, fabric.Inbound, fabric.Outbound), Allow: g.chance(55),
				Protocol: pick(g, fabric.AnyProtocol, fabric.AnyProtocol, fabric.TCP, fabric.TCP, fabric.UDP, fabric.ICMP, fabric.ESP),
				Source:   some(peers), Destination: some(peers), SourcePorts: []string{"*"}, DestinationPorts: []string{"*"},
			}
			if g.chance(15) {
				r.Source, r.SourceASGs = nil, []string{pick(g, "asg-a", "asg-b")}
			}
			if g.chance(15) {
				r.Destination, r.DestinationASGs = nil, []string{pick(g, "asg-a", "asg-b")}
			}
			if r.Protocol != fabric.ICMP && r.Protocol != fabric.ESP {
				r.DestinationPorts = some(ports)
				if g.chance(20) {
					r.SourcePorts = some(ports)
				}
			}
			n.Rules = append(n.Rules, r)
		}
		if g.chance(30) {
			n.Rules = append(n.Rules, rule("platform", 3000, fabric.Outbound, false, pick(g, fabric.AnyProtocol, fabric.UDP),
				"*", pick(g, "AzurePlatformDNS", "AzurePlatformIMDS"), "*"))
		}
	}
}

func (g *generator) probes(topo *fabric.Topology, n int) []probe {
	if g.portless == nil {
		g.portless = map[[2]netip.Addr]bool{}
	}
	targets := []netip.Addr{fabric.WireServer, fabric.IMDS, addr("20.60.3.4"), addr("20.60.200.4"), addr("13.66.0.9"), addr("198.51.100.7"), addr("52.239.130.1"),
		addr("8.8.8.8"), addr("10.0.77.1"), addr("10.0.1.77"), addr("192.168.1.1"), addr("10.9.9.9"), addr("10.1.77.1"), addr("10.2.1.77")}
	var senders []fabric.NIC
	for _, b := range topo.LoadBalancers {
		for _, f := range b.Frontends {
			targets = append(targets, f.Addr, f.Addr, f.Addr)
		}
	}
	for _, v := range topo.VNets {
		for _, nic := range v.NICs {
			targets = append(targets, nic.Addrs...)
			for _, a := range nic.Public {
				targets = append(targets, a.Public)
			}
			if nic.Kind == fabric.Guest {
				senders = append(senders, nic)
			}
		}
	}
	var out []probe
	for len(out) < n {
		var own []netip.Addr
		pr := probe{dst: pick(g, targets...), proto: pick(g, fabric.TCP, fabric.TCP, fabric.UDP, fabric.UDP, fabric.ICMP, fabric.ESP)}
		if g.chance(15) {
			h := pick(g, topo.Internet.Hosts...)
			pr.from, pr.src = fabric.Place{Kind: fabric.AtHost, ID: h.Name}, h.Addr
			own = []netip.Addr{h.Addr}
		} else {
			s := pick(g, senders...)
			pr.from, pr.src = nic(s.ID), pick(g, s.Addrs...)
			own = append(slices.Clone(s.Addrs), floating(topo, s.ID)...)
		}
		if g.chance(5) {
			pr.src = pick(g, addr("10.0.1.77"), addr("10.0.0.4"), addr("8.8.8.8"))
		}
		if pr.proto == fabric.TCP || pr.proto == fabric.UDP {
			pr.dport = pick[uint16](g, 22, 53, 80, 443, 444, 1500, 8080, 9000)
		}
		if slices.Contains(own, pr.dst) {
			continue // stays in its namespace
		}
		if pr.proto == fabric.ESP {
			// One flow a pair of addresses, and the way back is its answer. Address translation cannot
			// tell two flows without ports apart: within the VNet only.
			if !pfx("10.0.0.0/14").Contains(pr.dst) || pr.from.Kind == fabric.AtHost {
				continue
			}
			pair := [2]netip.Addr{pr.src, pr.dst}
			if g.portless[pair] || g.portless[[2]netip.Addr{pr.dst, pr.src}] {
				continue
			}
			g.portless[pair] = true
		}
		out = append(out, pr)
	}
	return out
}
