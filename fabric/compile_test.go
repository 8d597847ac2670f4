package fabric

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/fabric/internal/diagram"
)

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Topology)
		want  string
	}{
		{"unknown tag", withRule(rule("x", 100, Inbound, true, TCP, "Storage.Atlantis", "*", "*")), `nsg-training: rule x: source: "Storage.Atlantis" is no address`},
		{"unknown tag behind any", withRule(rule("x", 100, Inbound, true, TCP, "*,Nope", "*", "*")), `rule x: source: "Nope"`},
		{"bad port", withRule(rule("x", 100, Outbound, true, TCP, "*", "*", "80,90-70")), `rule x: destination port: "90-70" is no port`},
		{"port too large", withRule(rule("x", 100, Outbound, true, TCP, "*", "*", "65536")), `rule x: destination port: "65536" is no port`},
		{"bad protocol", withRule(rule("x", 100, Outbound, true, 256, "*", "*", "*")), "rule x: 256 is no IP protocol"},
		{"no ports", withRule(Rule{Name: "x", Source: []string{"*"}, Destination: []string{"*"}}), "rule x: source port: no port"},
		{"unknown NSG", func(t *Topology) { t.VNets[0].Subnets[0].NSG = "gone" }, `hub/endpoints: there is no network security group "gone"`},
		{"unknown subnet", func(t *Topology) { t.VNets[0].NICs[0].Subnet = "gone" }, `blob: its VNet has no subnet "gone"`},
		{"no address", func(t *Topology) { t.VNets[0].NICs[0].Addrs = nil }, "blob: has no address"},
		{"foreign address", func(t *Topology) { t.VNets[0].NICs[0].Addrs[0] = addr("10.20.9.4") }, "no IPv4 address of subnet"},
		{"two NICs", func(t *Topology) { t.VNets[0].NICs[1].ID = "blob" }, "has the same id"},
		{"one address twice", func(t *Topology) { t.VNets[0].NICs[4].Addrs[0] = addr("10.20.4.4") }, "the address 10.20.4.4 belongs to node0"},
		{"private public address", func(t *Topology) { t.VNets[0].NICs[2].Public[0].Public = addr("192.168.1.1") }, "no public IPv4 address"},
		{"public address twice", func(t *Topology) { t.Internet.Hosts[0].Addr = addr("20.61.1.1") }, "belongs to example.org"},
		{"public endpoint", func(t *Topology) { t.VNets[0].NICs[0].Public = t.VNets[0].NICs[2].Public }, "a private endpoint has no public address"},
		{"public address for nobody", func(t *Topology) { t.VNets[0].NICs[2].Public[0].Private = addr("10.20.3.9") }, "which is not one of its addresses"},
		{"unknown NAT gateway", func(t *Topology) { t.VNets[0].Subnets[0].NATGateway = "gone" }, `hub/endpoints: there is no NAT gateway "gone"`},
		{"NAT gateway of two VNets", func(t *Topology) { t.VNets[1].Subnets[0].NATGateway = "nat" }, "nat: it has subnets in hub and in spoke"},
		{"NAT gateway with another's address", func(t *Topology) { t.NATGateways["nat"].Addresses[0] = addr("20.61.1.1") }, "20.61.1.1 belongs to"},
		{"frontend with another's address", func(t *Topology) { t.LoadBalancers[0].Frontends[0].Addr = addr("20.61.1.1") }, "20.61.1.1 belongs to"},
		{"load balancer nowhere", func(t *Topology) { t.LoadBalancers[1].VNet = "gone" }, `ilb: there is no VNet "gone"`},
		{"frontend outside its subnet", func(t *Topology) { t.LoadBalancers[1].Frontends[0].Addr = addr("10.20.9.100") }, "no IPv4 address of subnet hub/training"},
		{"frontend on a NIC's address", func(t *Topology) { t.LoadBalancers[1].Frontends[0].Addr = addr("10.20.4.4") }, "the address 10.20.4.4 belongs to node0"},
		{"two frontends on one address", func(t *Topology) { t.LoadBalancers[1].Frontends[1].Addr = addr("10.20.4.100") }, "another frontend has the address"},
		{"two frontends of one id", func(t *Topology) { t.LoadBalancers[1].Frontends[1].ID = "ilb/in" }, "two frontends of ilb have this id"},
		{"rule without frontend", func(t *Topology) { t.LoadBalancers[1].Rules[0].Frontend = "gone" }, `ilb has no frontend "gone"`},
		{"rule for ping", func(t *Topology) { t.LoadBalancers[1].Rules[0].Protocol = ICMP }, "a rule is for TCP"},
		{"rule without a port", func(t *Topology) { t.LoadBalancers[1].Rules[0].Port = 0 }, "only a rule for all ports has none"},
		{"all ports in public", func(t *Topology) { t.LoadBalancers[1].Rules[2].Frontend = "ilb/out" }, "only internal frontends have rules for all ports"},
		{"floating IP that moves the port", func(t *Topology) { t.LoadBalancers[1].Rules[0].FloatingIP = true }, "the backend port is the frontend's"},
		{"rules for one port", func(t *Topology) { t.LoadBalancers[1].Rules[1].Port = 443 }, "ilb/https is for the same port"},
		{"unknown backend", func(t *Topology) { t.LoadBalancers[1].Rules[0].Backends[0].NIC = "node1" }, "no NIC node1 of hub has the address"},
		{"backend of a rule out", func(t *Topology) { t.LoadBalancers[0].Outbound[0].Backends[0].Addr = addr("10.20.4.99") }, "no NIC pooled of hub has the address"},
		{"unknown probe", func(t *Topology) { t.LoadBalancers[1].Rules[0].Probe = "gone" }, `ilb has no probe "gone"`},
		{"two VNets", func(t *Topology) { t.VNets[1].ID = "hub" }, "has the same id"},
		{"small pool", func(t *Topology) { t.Internet.OutboundPool = prefixes("20.56.0.1/32") }, "pool of default outbound addresses is exhausted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := scenario()
			c.spoil(topology)
			_, err := Compile(topology)
			var typed *TopologyError
			if !errors.As(err, &typed) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %s", err, c.want)
			}
			e := Explain(topology, Flow{From: Place{AtNIC, "node0"}, Dst: addr("10.20.3.4"), Protocol: TCP, DstPort: 22})
			if e.Verdict != Denied && !strings.Contains(c.want, "rule x") {
				t.Errorf("explained as allowed:\n%s", e)
			}
		})
	}
}

func withRule(r Rule) func(*Topology) {
	return func(t *Topology) {
		g := t.NSGs["nsg-training"]
		g.Rules = append(g.Rules, r)
	}
}

func TestCounterNames(t *testing.T) {
	refs := []RuleRef{
		{"nsg", Inbound, "a"}, {"nsg", Outbound, "a"}, {"nsg", Inbound, "b"}, {"ns", Inbound, "ga"},
		{strings.Repeat("/subscriptions/x", 50), Outbound, "DenyAllOutBound"}, FabricRule(RuleNoRoute),
	}
	seen := map[string]bool{}
	for _, r := range refs {
		name := r.Counter()
		if len(name) > 31 || seen[name] || strings.ToLower(name) != name {
			t.Errorf("%v: %s", r, name)
		}
		seen[name] = true
	}
	for _, name := range []string{RouterNS("v"), NICNS("v"), HostNS("v")} {
		if len(name) > 15 || seen[name] {
			t.Errorf("interface %s", name)
		}
		seen[name] = true
	}
}

func TestStateNamespace(t *testing.T) {
	state, err := Compile(scenario())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Place{{AtRouter, "hub"}, {AtNIC, "node0"}, {AtHost, "client"}, {AtInternet, ""}} {
		if n := state.Namespace(NSName(p)); n == nil || n.Name != NSName(p) {
			t.Errorf("%v has no namespace", p)
		}
	}
	if state.Namespace(NICNS("blob")) != nil {
		t.Error("a private endpoint has a namespace")
	}
}

// A second compilation of almost the same topology builds what changed only, and gives what a first one
// would.
func TestCompilerKeepsDiagrams(t *testing.T) {
	c, topology := NewCompiler(), scenario()
	if _, err := c.Compile(topology); err != nil {
		t.Fatal(err)
	}
	build, builds := c.build, 0
	c.build = func(l []diagram.Rule) *diagram.Node {
		builds++
		return build(l)
	}
	withRule(rule("new", 300, Inbound, true, UDP, "10.20.4.0/24", "*", "5831"))(topology)
	got, err := c.Compile(topology)
	if err != nil {
		t.Fatal(err)
	}
	if builds != 3 { // VirtualNetwork is another in each of the three VNets where the group stands
		t.Errorf("%d diagrams were built for one rule of one protocol", builds)
	}
	want, err := Compile(topology)
	if err != nil {
		t.Fatal(err)
	}
	if stateText(want) != stateText(got) {
		t.Error("the kept diagrams changed the state")
	}
}

// What Compile accepts as a rule, Evaluate understands, and the other way round.
func FuzzRule(f *testing.F) {
	for _, s := range []string{"*", "10.0.0.0/8", "10.0.0.5/24", "::/0", "Internet", "Storage", "Nope", "", "10.0.0.1-10.0.0.9"} {
		f.Add(s, "80", int16(6))
	}
	f.Add("*", "0-65535", int16(-1))
	f.Add("*", "90-80", int16(300))
	f.Fuzz(func(t *testing.T, peer, port string, protocol int16) {
		r := rule("x", 100, Inbound, true, Protocol(protocol), "*", "*", "*")
		r.Source, r.DestinationPorts = []string{peer}, []string{port}
		topology := scenario()
		err := r.Validate(topology.Tags)
		topology.NSGs["fuzz"] = &NSG{ID: "fuzz", Rules: []Rule{r}}
		p := Packet{Source: addr("20.60.1.1"), Destination: addr("10.20.3.4"), Protocol: Protocol(protocol), DestinationPort: 80}
		ref, allow := topology.Evaluate("fuzz", "hub", Inbound, p)
		if err != nil {
			if allow {
				t.Fatalf("%v, but %s allows", err, ref)
			}
			return
		}
		for i := range topology.VNets {
			for j := range topology.VNets[i].Subnets {
				topology.VNets[i].Subnets[j].NSG = "fuzz"
			}
		}
		state, err := Compile(topology)
		if err != nil {
			t.Fatal(err)
		}
		flow := Flow{From: Place{AtNIC, "node0"}, Dst: addr("10.20.3.4"), Protocol: TCP, DstPort: 80}
		if d := disagreement(newKernel(state), state, topology, flow); d != "" {
			t.Fatal(d)
		}
	})
}

// large is one NIC behind one NSG.
func large(rules []Rule, tags TagSource) *Topology {
	return &Topology{
		Tags: tags, NSGs: map[string]*NSG{"large": {ID: "large", Rules: rules}},
		VNets: []VNet{{
			ID: "v", Prefixes: prefixes("10.0.0.0/8"), Subnets: []Subnet{{ID: "s", Prefixes: prefixes("10.0.0.0/8"), NSG: "large"}},
			NICs: []NIC{{ID: "n", Subnet: "s", Addrs: []netip.Addr{addr("10.0.0.4")}}},
		}},
	}
}

// tagRules are n rules like those of real networks.
func (c *chance) tagRules(n int) []Rule {
	var out []Rule
	for i := range n {
		out = append(out, rule(fmt.Sprintf("r%d", i), 100+i, pick(c, Inbound, Outbound), c.IntN(2) == 0, pick(c, TCP, TCP, UDP, AnyProtocol),
			pick(c, "*", "VirtualNetwork", fmt.Sprintf("10.20.%d.0/24", c.IntN(16))), fmt.Sprintf("Tag%d", c.IntN(5)), pick(c, "443", "80", "1433", "8787,18881", "*")))
	}
	return out
}

// narrowRules are n rules like those of a firewall's list.
func (c *chance) narrowRules(n int) []Rule {
	var out []Rule
	for i := range n {
		from := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(c.IntN(256)), byte(c.IntN(256)), byte(c.IntN(256))}), pick(c, 24, 28, 32))
		to := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(c.IntN(256)), byte(c.IntN(256)), byte(c.IntN(256))}), pick(c, 24, 32))
		out = append(out, rule(fmt.Sprintf("r%d", i), 100+i, Outbound, c.IntN(2) == 0, pick(c, TCP, UDP, AnyProtocol), from.String(), to.String(), fmt.Sprint(1+c.IntN(65535))))
	}
	return out
}

func BenchmarkCompile(b *testing.B) {
	c := newChance(7)
	for name, topology := range map[string]*Topology{
		"tags-100":    large(c.tagRules(100), c.tags),
		"narrow-1000": large(c.narrowRules(1000), c.tags),
		"scenario":    scenario(),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(topology); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/unchanged", func(b *testing.B) {
			compiler := NewCompiler()
			for b.Loop() {
				if _, err := compiler.Compile(topology); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
