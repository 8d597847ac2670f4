package fabric

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric/internal/diagram"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

// golden compares with testdata/name.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-update writes it):\n%s", file, diff)
	}
}

func TestGoldenNSG(t *testing.T) {
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprint(1000 + 2*i)
	}
	for name, rules := range map[string][]Rule{
		"defaults": nil,
		"ports": {
			rule("web", 100, Inbound, true, TCP, "Internet", "*", "80,443,8000-8080"),
			rule("many", 110, Inbound, true, UDP, "*", "*", strings.Join(many, ",")),
			rule("any-protocol", 120, Inbound, false, AnyProtocol, "*", "*", "22"),
		},
		"protocols": {
			rule("ping", 100, Inbound, true, ICMP, "*", "*", "*"),
			rule("never", 110, Inbound, true, ICMP, "*", "*", "80"),
			rule("vpn", 120, Inbound, true, ESP, "203.0.113.9", "*", "*"),
			rule("gre", 130, Inbound, false, Protocol(47), "*", "*", "*"),
		},
		"tags": {
			rule("out", 100, Outbound, true, TCP, "*", "Storage.WestEurope,AzureMachineLearning", "443"),
			rule("no-dns", 200, Outbound, false, AnyProtocol, "*", "AzurePlatformDNS", "*"),
			rule("closed", 4096, Outbound, false, AnyProtocol, "*", "*", "*"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			topology := scenario()
			g := gate{table: newTable(), scope: newScope(topology, &topology.VNets[0]), build: diagram.Build}
			nsg := &NSG{ID: name, Rules: rules}
			for _, d := range []Direction{Inbound, Outbound} {
				if _, err := g.root(nsg, d); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := g.platform(nsg); err != nil {
				t.Fatal(err)
			}
			golden(t, "nsg-"+name, ruleset(g.finish()))
		})
	}
}

func TestGoldenState(t *testing.T) {
	state, err := Compile(scenario())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "state", stateText(state))
}

// stateText is all of a State, for people to compare.
func stateText(s *State) string {
	var b strings.Builder
	for _, n := range s.Namespaces {
		fmt.Fprintf(&b, "namespace %s\n", n.Name)
		for _, k := range slices.Sorted(maps.Keys(n.Sysctls)) {
			fmt.Fprintf(&b, "  sysctl %s = %s\n", k, n.Sysctls[k])
		}
		for _, a := range n.Addrs {
			fmt.Fprintf(&b, "  address %s\n", a)
		}
		for _, p := range n.Local {
			fmt.Fprintf(&b, "  local %s\n", p)
		}
		for _, r := range n.Routes {
			fmt.Fprintf(&b, "  route %s %s via %v dev %s src %v", r.Type, r.Dst, r.Via, r.Dev, r.Src)
			if r.Table != 0 {
				fmt.Fprintf(&b, " table %#x", r.Table)
			}
			b.WriteByte('\n')
		}
		for _, r := range n.Rules {
			fmt.Fprintf(&b, "  rule %d iif %q mark %#x/%#x table %#x\n", r.Priority, r.IIF, r.FwMark, r.FwMask, r.Table)
		}
		b.WriteString(n.NFT)
	}
	for _, v := range s.Veths {
		fmt.Fprintf(&b, "veth %s/%s %s %v - %s/%s %s %v\n", v.A.Namespace, v.A.Interface, v.MAC, v.AddrA, v.B.Namespace, v.B.Interface, v.MACB, v.AddrB)
	}
	for _, c := range slices.Sorted(maps.Keys(s.Counters)) {
		fmt.Fprintf(&b, "counter %s: %s\n", c, s.Counters[c])
	}
	return b.String()
}

func TestGoldenExplain(t *testing.T) {
	node, jump := Place{AtNIC, "node0"}, Place{AtNIC, "jump"}
	flows := []Flow{
		{From: node, Dst: addr("10.20.1.4"), Protocol: TCP, DstPort: 443},
		{From: node, Dst: addr("10.20.1.4"), Protocol: TCP, DstPort: 22},
		{From: node, Dst: addr("93.184.216.34"), Protocol: TCP, DstPort: 443},
		{From: node, Dst: addr("20.60.26.9"), Protocol: TCP, DstPort: 443},
		{From: node, Dst: WireServer, Protocol: UDP, DstPort: 53},
		{From: node, Dst: addr("10.20.4.5"), Protocol: ICMP},
		{From: node, Source: addr("10.20.4.9"), Dst: addr("10.20.4.5"), Protocol: ICMP},
		{From: jump, Dst: addr("10.20.4.4"), Protocol: TCP, DstPort: 22},
		{From: jump, Dst: addr("10.20.4.4"), Protocol: ESP},
		{From: jump, Dst: addr("10.20.2.4"), Protocol: TCP, DstPort: 443},
		{From: jump, Dst: IMDS, Protocol: TCP, DstPort: 80},
		{From: jump, Dst: addr("10.99.0.1"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "closed"}, Dst: addr("93.184.216.34"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "free"}, Dst: addr("93.184.216.34"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "other"}, Dst: addr("10.20.4.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtHost, "client"}, Dst: addr("20.61.1.1"), Protocol: TCP, DstPort: 22},
		{From: Place{AtHost, "client"}, Dst: addr("20.61.1.2"), Protocol: TCP, DstPort: 22},
		{From: Place{AtHost, "client"}, Dst: addr("10.20.4.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtHost, "client"}, Dst: addr("20.60.1.1"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "natted"}, Dst: addr("20.60.26.9"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "natted"}, Dst: addr("20.61.7.7"), Protocol: ICMP},
		{From: Place{AtNIC, "pooled"}, Dst: addr("93.184.216.34"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "pooled"}, Dst: addr("93.184.216.34"), Protocol: UDP, DstPort: 443},
		{From: Place{AtNIC, "free"}, Dst: addr("93.184.216.34"), Protocol: ICMP},
		{From: Place{AtHost, "client"}, Dst: addr("20.61.2.1"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "served"}, Dst: addr("20.60.26.9"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "served"}, Dst: addr("20.61.7.7"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "served"}, Dst: addr("52.239.130.1"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "routed"}, Dst: addr("93.184.216.34"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "routed"}, Dst: addr("13.66.87.135"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.2.4"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.2.5"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.4.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.4.5"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.98.0.1"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.5.5"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.5.5"), Protocol: TCP, DstPort: 25},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.20.5.5"), Protocol: TCP, DstPort: 21},
		{From: Place{AtNIC, "routed"}, Dst: addr("20.61.7.7"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "routed"}, Dst: addr("10.97.0.1"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "nva"}, Source: addr("10.20.9.4"), Dst: IMDS, Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "jump"}, Dst: addr("10.20.4.100"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "web0"}, Dst: addr("10.20.4.100"), Protocol: TCP, DstPort: 8443},
		{From: Place{AtNIC, "jump"}, Dst: addr("10.20.4.100"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "jump"}, Dst: addr("10.20.4.101"), Protocol: UDP, DstPort: 1433},
		{From: Place{AtHost, "client"}, Dst: addr("20.61.3.2"), Protocol: TCP, DstPort: 22},
		{From: Place{AtHost, "client"}, Dst: addr("20.61.3.2"), Protocol: TCP, DstPort: 80},
		{From: Place{AtRouter, "hub"}, Dst: addr("10.20.4.8"), Protocol: TCP, DstPort: 8080},
		{From: Place{AtNIC, "east-node"}, Dst: addr("10.50.1.4"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "east-node"}, Dst: addr("10.50.2.4"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "east-node"}, Dst: addr("10.52.0.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "west-node"}, Dst: addr("10.51.0.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "west-node"}, Dst: addr("192.168.3.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "east-node"}, Dst: addr("192.168.3.4"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "core-gateway"}, Source: addr("192.168.3.4"), Dst: addr("10.52.0.4"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "core-gateway"}, Source: addr("192.168.3.4"), Dst: addr("10.51.0.4"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "core-nva"}, Source: addr("10.51.0.4"), Dst: addr("93.184.216.34"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "other"}, Dst: addr("10.20.3.5"), Protocol: TCP, DstPort: 80},
		{From: Place{AtNIC, "other"}, Dst: addr("10.20.3.5"), Protocol: TCP, DstPort: 22},
		{From: Place{AtNIC, "other"}, Dst: addr("10.20.3.5"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "node0"}, Dst: addr("10.20.1.5"), Protocol: TCP, DstPort: 80},
		{From: Place{AtRouter, "hub"}, Source: addr("10.20.1.6"), Dst: addr("10.20.4.102"), Protocol: TCP, DstPort: 443},
		{From: Place{AtNIC, "nobody"}, Dst: addr("20.60.1.1"), Protocol: TCP, DstPort: 443},
	}
	var b strings.Builder
	for _, f := range flows {
		fmt.Fprintf(&b, "%s\n\n", Explain(scenario(), f))
	}
	golden(t, "explain", b.String())
}

// Equal topologies give equal states, in whatever order their parts come.
func TestOrderDoesNotMatter(t *testing.T) {
	want, err := Compile(scenario())
	if err != nil {
		t.Fatal(err)
	}
	c := newChance(5)
	for range 5 {
		topology := scenario()
		shuffle(c, topology.VNets)
		for i := range topology.VNets {
			shuffle(c, topology.VNets[i].NICs)
			shuffle(c, topology.VNets[i].Subnets)
		}
		for _, g := range topology.NSGs {
			shuffle(c, g.Rules)
		}
		shuffle(c, topology.Internet.Hosts)
		shuffle(c, topology.Internet.ServicePrefixes)
		got, err := Compile(topology)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stateText(want), stateText(got)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func shuffle[T any](c *chance, s []T) { c.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }

func TestLinksHaveNoPlatformAddress(t *testing.T) {
	for _, pool := range []netip.Prefix{transferPool(), peeringPool()} {
		for _, a := range []netip.Addr{WireServer, IMDS, Gateway} {
			if pool.Contains(a) || transferPool().Overlaps(peeringPool()) {
				t.Errorf("%s has %s, or a part of the other pool", pool, a)
			}
		}
	}
}

// A VNet more does not move the addresses of the others.
func TestAddressesStay(t *testing.T) {
	topology := scenario()
	before, err := newPlan(topology)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		topology.VNets = append(topology.VNets, VNet{ID: fmt.Sprintf("a%d", i), Subnets: []Subnet{{DefaultOutbound: true}}})
	}
	after, err := newPlan(topology)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]string{}
	for id, link := range after.transfer {
		for _, a := range []netip.Addr{link.internet, link.router, after.outbound[id]} {
			if a.IsValid() && seen[a] != "" {
				t.Errorf("%s belongs to %s and %s", a, seen[a], id)
			}
			seen[a] = id
		}
	}
	for id := range before.transfer {
		if before.transfer[id] != after.transfer[id] || before.outbound[id] != after.outbound[id] {
			t.Errorf("the addresses of %s moved", id)
		}
	}
}
