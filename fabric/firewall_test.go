package fabric

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vauban.dev/azurefirewall"
)

// firewalled is a VNet whose work subnet sends everything through a firewall.
func firewalled() *Topology {
	a := netip.MustParseAddr
	any, https := []string{"*"}, []azurefirewall.ApplicationProtocol{{Type: azurefirewall.HTTPS, Port: 443}}
	f := &azurefirewall.Firewall{
		ID: "fw", Addrs: []netip.Addr{a("10.0.9.4")}, Publics: []azurefirewall.PublicAddress{{Private: a("10.0.9.4"), Public: a("20.50.0.9")}}, DNSProxy: true,
		PrivateRanges: azurefirewall.DefaultPrivateRanges(),
		Groups: []azurefirewall.Group{{Policy: "p", Name: "g", Collections: []azurefirewall.Collection{
			{Name: "nat", Priority: 100, NAT: []azurefirewall.NATRule{{Name: "ssh", Protocols: []azurefirewall.Protocol{azurefirewall.TCP}, Sources: []string{"198.51.100.0/24"}, Destinations: []string{"20.50.0.9"}, Ports: []string{"2222"}, Address: a("10.0.2.4"), Port: 22}}},
			{Name: "no", Priority: 110, Deny: true, Network: []azurefirewall.NetworkRule{{Name: "bad", Protocols: []azurefirewall.Protocol{azurefirewall.Any}, Sources: any, Destinations: []string{"20.60.9.1-20.60.9.9"}, Ports: any}}},
			{Name: "net", Priority: 120, Network: []azurefirewall.NetworkRule{
				{Name: "tundra", Protocols: []azurefirewall.Protocol{azurefirewall.UDP}, Sources: any, FQDNs: []string{"tundra.example"}, Ports: []string{"5831"}},
				{Name: "east", Protocols: []azurefirewall.Protocol{azurefirewall.TCP}, Sources: any, Destinations: []string{"10.0.2.0/24"}, Ports: []string{"1433"}}}},
			{Name: "app", Priority: 130, Application: []azurefirewall.ApplicationRule{{Name: "blob", Protocols: https, Sources: []string{"10.0.1.0/24"}, FQDNs: []string{"*.blob.core.windows.net"}}}},
		}}},
	}
	all := UserRoute{Name: "all", Prefix: "0.0.0.0/0", Hop: HopAppliance, Appliance: a("10.0.9.4")}
	return &Topology{
		Tags: tagTable{},
		RouteTables: map[string]*RouteTable{
			"out":  {ID: "out", Routes: []UserRoute{all, {Name: "east", Prefix: "10.0.2.0/24", Hop: HopAppliance, Appliance: a("10.0.9.4")}}},
			"back": {ID: "back", Routes: []UserRoute{{Name: "west", Prefix: "10.0.1.0/24", Hop: HopAppliance, Appliance: a("10.0.9.4")}}},
		},
		Names: func(nic, name string) []netip.Addr {
			if nic != "fw-nic" {
				return nil
			}
			return map[string][]netip.Addr{"tundra.example": {a("20.60.1.1")}, "mine.blob.core.windows.net": {a("20.60.1.2")}}[name]
		},
		Internet: Internet{ServicePrefixes: prefixes("20.60.0.0/16"), Hosts: []InternetHost{{Name: "stranger", Addr: a("198.51.100.7")}}},
		VNets: []VNet{{
			ID: "v", Prefixes: prefixes("10.0.0.0/16"),
			Subnets: []Subnet{
				{ID: "work", Prefixes: prefixes("10.0.1.0/24"), RouteTable: "out"}, {ID: "data", Prefixes: prefixes("10.0.2.0/24"), RouteTable: "back"},
				{ID: "AzureFirewallSubnet", Prefixes: prefixes("10.0.9.0/26")},
			},
			NICs: []NIC{
				{ID: "worker", Subnet: "work", Addrs: []netip.Addr{a("10.0.1.4")}}, {ID: "db", Subnet: "data", Addrs: []netip.Addr{a("10.0.2.4")}},
				{ID: "fw-nic", Subnet: "AzureFirewallSubnet", Addrs: f.Addrs, Forwarding: true, Public: []PublicAddress{{Private: a("10.0.9.4"), Public: a("20.50.0.9")}}, Firewall: f},
			},
		}},
	}
}

func TestExplainThroughFirewall(t *testing.T) {
	topo := firewalled()
	worker, stranger := Place{Kind: AtNIC, ID: "worker"}, Place{Kind: AtHost, ID: "stranger"}
	for _, c := range []struct {
		name   string
		flow   Flow
		by     string // what refused, "" if nothing did
		where  string // whose counter rose
		to     DestinationKind
		source string
		says   string // in some step
	}{
		{"application rule", Flow{From: worker, Dst: netip.MustParseAddr("20.60.7.7"), Protocol: TCP, DstPort: 443, Host: "mine.blob.core.windows.net"}, "", "", ToService, "20.50.0.9", "connects to mine.blob.core.windows.net at 20.60.1.2 itself"},
		{"another name", Flow{From: worker, Dst: netip.MustParseAddr("20.60.1.2"), Protocol: TCP, DstPort: 443, Host: "evil.example"}, "fw rule Default Action", "", ToNothing, "10.0.1.4", "no rule matched"},
		{"no name", Flow{From: worker, Dst: netip.MustParseAddr("20.60.1.2"), Protocol: TCP, DstPort: 443}, "fw rule Default Action", "", ToNothing, "10.0.1.4", "names no server"},
		{"by name", Flow{From: worker, Dst: netip.MustParseAddr("20.60.1.1"), Protocol: UDP, DstPort: 5831}, "", "", ToService, "20.50.0.9", "rule tundra of rule collection net in rule collection group g"},
		{"by name, another address", Flow{From: worker, Dst: netip.MustParseAddr("20.60.1.3"), Protocol: UDP, DstPort: 5831}, "fw rule Default Action", NICNS("fw-nic"), ToNothing, "10.0.1.4", ""},
		{"denied", Flow{From: worker, Dst: netip.MustParseAddr("20.60.9.5"), Protocol: TCP, DstPort: 443}, "fw rule g/no/bad", NICNS("fw-nic"), ToNothing, "10.0.1.4", ""},
		{"private destination", Flow{From: worker, Dst: netip.MustParseAddr("10.0.2.4"), Protocol: TCP, DstPort: 1433}, "", "", ToNIC, "10.0.1.4", "g"},
		{"DNS proxy", Flow{From: worker, Dst: netip.MustParseAddr("10.0.9.4"), Protocol: UDP, DstPort: 53}, "", "", ToNIC, "10.0.1.4", "DNS proxy"},
		{"NAT rule", Flow{From: stranger, Dst: netip.MustParseAddr("20.50.0.9"), Protocol: TCP, DstPort: 2222}, "", "", ToNIC, "10.0.9.4", "translated to 10.0.2.4:22"},
		{"no NAT rule", Flow{From: stranger, Dst: netip.MustParseAddr("20.50.0.9"), Protocol: UDP, DstPort: 53}, "fw rule Default Action", NICNS("fw-nic"), ToNothing, "198.51.100.7", "no NAT rule"},
	} {
		e := Explain(topo, c.flow)
		by := ""
		if e.By != (RuleRef{}) {
			by = e.By.String()
		}
		if by != c.by || e.Namespace != c.where && c.by != "" || e.Destination.Kind != c.to || e.Source.String() != c.source {
			t.Errorf("%s: by %q in %q, to the %s, as %s:\n%s", c.name, by, e.Namespace, e.Destination.Kind, e.Source, e)
		}
		if !slices.ContainsFunc(e.Steps, func(s Step) bool { return strings.Contains(s.What, c.says) }) {
			t.Errorf("%s: no step says %q:\n%s", c.name, c.says, e)
		}
	}
}

func TestGoldenFirewall(t *testing.T) {
	s, err := Compile(firewalled())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "firewall", s.Namespace(NICNS("fw-nic")).NFT)
}

// Other rules are another generation: connections that run are judged again.
func TestFirewallGeneration(t *testing.T) {
	text := func(change func(*azurefirewall.Firewall)) string {
		topo := firewalled()
		change(topo.VNets[0].NICs[2].Firewall)
		s, err := Compile(topo)
		if err != nil {
			t.Fatal(err)
		}
		return s.Namespace(NICNS("fw-nic")).NFT
	}
	mark := func(nft string) string {
		_, rest, _ := strings.Cut(nft, "ct mark set ")
		word, _, _ := strings.Cut(rest, "\n")
		return word
	}
	same := text(func(*azurefirewall.Firewall) {})
	if a, b := mark(same), mark(text(func(*azurefirewall.Firewall) {})); a != b || a == "" {
		t.Errorf("equal rules have the marks %q and %q", a, b)
	}
	other := text(func(f *azurefirewall.Firewall) { f.Groups[0].Collections[1].Deny = false })
	if mark(same) == mark(other) {
		t.Errorf("other rules have the same mark %q", mark(same))
	}
}
