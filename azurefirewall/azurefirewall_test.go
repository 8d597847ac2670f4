package azurefirewall

import (
	"net/netip"
	"slices"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func ruleset(t testing.TB, f *Firewall) *Ruleset {
	t.Helper()
	s, err := New(f, func(tag string) ([]netip.Prefix, bool) {
		return []netip.Prefix{netip.MustParsePrefix("20.60.0.0/16")}, tag == "Storage.WestEurope"
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// order is the example of Azure's page on rule processing.
func order() *Firewall {
	any := []string{"*"}
	net := func(name string, priority int) Collection {
		return Collection{Name: name, Priority: priority, Network: []NetworkRule{{Name: "r", Protocols: []Protocol{Any}, Sources: any, Destinations: any, Ports: any}}}
	}
	app := func(name string, priority int) Collection {
		return Collection{Name: name, Priority: priority, Application: []ApplicationRule{{Name: "r", Protocols: []ApplicationProtocol{{HTTPS, 443}}, Sources: any, FQDNs: any}}}
	}
	nat := func(name string, priority int) Collection {
		return Collection{Name: name, Priority: priority, NAT: []NATRule{{Name: "r", Protocols: []Protocol{TCP}, Sources: any, Destinations: any, Ports: any, Address: addr("10.0.2.4"), Port: 22}}}
	}
	return &Firewall{ID: "fw", Groups: []Group{
		{Policy: "child", Level: 1, Name: "ChildRCG2", Priority: 650, Collections: []Collection{net("ChNetRC2", 1100), app("ChAppRC2", 2000), nat("ChDNATRC3", 3000)}},
		{Policy: "child", Level: 1, Name: "ChildRCG1", Priority: 100, Collections: []Collection{net("ChNetRC1", 700), app("ChAppRC1", 900)}},
		{Policy: "parent", Name: "BaseRCG2", Priority: 300, Collections: []Collection{app("AppRC2", 1200), net("NetworkRC2", 1300)}},
		{Policy: "parent", Name: "BaseRCG1", Priority: 200, Collections: []Collection{net("NetworkRC1", 800), nat("DNATRC3", 610), nat("DNATRC1", 600)}},
	}}
}

func TestOrderOfRules(t *testing.T) {
	f := order()
	var got []string
	for _, r := range f.NATRules() {
		got = append(got, r.Ref.Collection)
	}
	for _, r := range f.NetworkRules() {
		got = append(got, r.Ref.Collection)
	}
	for _, r := range f.ApplicationRules() {
		got = append(got, r.Ref.Collection)
	}
	want := []string{"DNATRC1", "DNATRC3", "ChDNATRC3", "NetworkRC1", "NetworkRC2", "ChNetRC1", "ChNetRC2", "AppRC2", "ChAppRC1", "ChAppRC2"}
	if !slices.Equal(got, want) {
		t.Errorf("rules are asked in the order %v, want %v", got, want)
	}
}

func sample() *Firewall {
	return &Firewall{ID: "fw", DNSProxy: true, PrivateRanges: DefaultPrivateRanges(), Addrs: []netip.Addr{addr("10.0.1.4")}, Publics: []PublicAddress{{addr("10.0.1.4"), addr("20.56.1.1")}}, Groups: []Group{{
		Policy: "p", Name: "g", Priority: 100, Collections: []Collection{
			{Name: "nat", Priority: 100, NAT: []NATRule{{Name: "ssh", Protocols: []Protocol{TCP}, Sources: []string{"20.9.0.0/16"}, Destinations: []string{"20.56.1.1"}, Ports: []string{"2222"}, Address: addr("10.0.2.4"), Port: 22}}},
			{Name: "deny", Priority: 110, Deny: true, Network: []NetworkRule{{Name: "bad", Protocols: []Protocol{Any}, Sources: []string{"*"}, Destinations: []string{"20.61.0.1-20.61.0.9"}, Ports: []string{"*"}}}},
			{Name: "net", Priority: 120, Network: []NetworkRule{
				{Name: "storage", Protocols: []Protocol{TCP}, Sources: []string{"10.0.2.0/24"}, Destinations: []string{"Storage.WestEurope"}, Ports: []string{"445"}},
				{Name: "spoke", Protocols: []Protocol{TCP, ICMP}, Sources: []string{"*"}, Destinations: []string{"10.1.0.0/16"}, Ports: []string{"*"}},
				{Name: "tundra", Protocols: []Protocol{UDP}, Sources: []string{"*"}, FQDNs: []string{"westeurope.tundra.azureml.ms"}, Ports: []string{"5831"}},
				{Name: "wide", Protocols: []Protocol{TCP}, Sources: []string{"*"}, Destinations: []string{"20.61.0.0/16"}, Ports: []string{"1000-2000"}},
			}},
			{Name: "app", Priority: 130, Application: []ApplicationRule{
				{Name: "torch", Protocols: []ApplicationProtocol{{HTTPS, 443}}, Sources: []string{"10.0.2.0/24"}, FQDNs: []string{"*.pytorch.org"}},
				{Name: "conda", Protocols: []ApplicationProtocol{{HTTP, 80}, {HTTPS, 443}}, Sources: []string{"*"}, FQDNs: []string{"*anaconda.com"}},
				{Name: "path", Protocols: []ApplicationProtocol{{HTTPS, 443}, {HTTP, 80}}, Sources: []string{"*"}, URLs: []string{"raw.githubusercontent.com/microsoft/vscode-tools-for-ai/*"}, TerminateTLS: true},
			}},
		},
	}}}
}

func TestPackets(t *testing.T) {
	names := func(n string) []netip.Addr {
		return map[string][]netip.Addr{"westeurope.tundra.azureml.ms": {addr("20.62.0.7")}}[n]
	}
	for _, c := range []struct {
		name     string
		src, dst string
		proto    Protocol
		port     uint16
		verdict  Verdict
		by       string
		snat     bool
	}{
		{"tag", "10.0.2.9", "20.60.3.3", TCP, 445, Allow, "g/net/storage", true},
		{"other source", "10.0.3.9", "20.60.3.3", TCP, 445, Deny, DefaultAction, false},
		{"denied before the wider rule", "10.0.2.9", "20.61.0.5", TCP, 1500, Deny, "g/deny/bad", false},
		{"wider rule", "10.0.2.9", "20.61.0.10", TCP, 1500, Allow, "g/net/wide", true},
		{"private destination keeps the source", "10.0.2.9", "10.1.0.5", TCP, 9999, Allow, "g/net/spoke", false},
		{"ICMP", "10.0.2.9", "10.1.0.5", ICMP, 0, Allow, "g/net/spoke", false},
		{"ICMP is no TCP", "10.0.2.9", "20.61.0.10", ICMP, 0, Deny, DefaultAction, false},
		{"by name", "10.0.2.9", "20.62.0.7", UDP, 5831, Allow, "g/net/tundra", true},
		{"by name, other address", "10.0.2.9", "20.62.0.8", UDP, 5831, Deny, DefaultAction, false},
		{"application rules have a say", "10.0.9.9", "20.99.0.1", TCP, 80, Proxy, DefaultAction, true},
		{"application rules speak TCP", "10.0.9.9", "20.99.0.1", UDP, 443, Deny, DefaultAction, false},
		{"application rules name ports", "10.0.9.9", "20.99.0.1", TCP, 8787, Deny, DefaultAction, false},
		{"DNS", "10.0.2.9", "10.0.1.4", UDP, 53, Answer, DefaultAction, false},
		{"no DNS in public", "20.9.1.1", "10.0.1.4", UDP, 53, Deny, DefaultAction, false},
		{"DNAT", "20.9.1.1", "10.0.1.4", TCP, 2222, Allow, "g/nat/ssh", true},
		{"DNAT, other source", "20.10.1.1", "10.0.1.4", TCP, 2222, Deny, DefaultAction, false},
		{"nothing else in public", "20.9.1.1", "10.0.1.4", TCP, 443, Deny, DefaultAction, false},
	} {
		d := ruleset(t, sample()).Packet(Packet{addr(c.src), addr(c.dst), c.proto, c.port}, names)
		if d.Verdict != c.verdict || d.Ref.Path() != c.by || d.SNAT != c.snat {
			t.Errorf("%s: %v by %s, SNAT %v", c.name, d.Verdict, d.Ref.Path(), d.SNAT)
		}
	}
	d := ruleset(t, sample()).Packet(Packet{addr("20.9.1.1"), addr("10.0.1.4"), TCP, 2222}, names)
	if d.To != netip.MustParseAddrPort("10.0.2.4:22") {
		t.Errorf("DNAT leads to %s", d.To)
	}
}

func TestRequests(t *testing.T) {
	f := sample()
	for _, c := range []struct {
		name, src, host, path string
		port                  uint16
		tls                   bool
		verdict               Verdict
		by                    string
	}{
		{"wildcard", "10.0.2.9", "download.pytorch.org", "", 443, true, Allow, "g/app/torch"},
		{"wildcard, deep and loud", "10.0.2.9", "A.b.PyTorch.org.", "", 443, true, Allow, "g/app/torch"},
		{"*. is not the name itself", "10.0.2.9", "pytorch.org", "", 443, true, Deny, DefaultAction},
		{"*. is not another name", "10.0.2.9", "evilpytorch.org", "", 443, true, Deny, DefaultAction},
		{"* is the name itself", "10.0.9.9", "anaconda.com", "", 443, true, Allow, "g/app/conda"},
		{"* is any name that ends so", "10.0.9.9", "repo.anaconda.com", "/x", 80, false, Allow, "g/app/conda"},
		{"source", "10.0.9.9", "download.pytorch.org", "", 443, true, Deny, DefaultAction},
		{"protocol", "10.0.2.9", "download.pytorch.org", "/", 443, false, Deny, DefaultAction},
		{"port", "10.0.2.9", "download.pytorch.org", "", 8443, true, Deny, DefaultAction},
		{"no SNI", "10.0.2.9", "", "", 443, true, Deny, DefaultAction},
		{"address", "10.0.2.9", "20.60.1.1", "/", 80, false, Deny, DefaultAction},
		{"address as a number", "10.0.2.9", "0x7f.1", "/", 80, false, Deny, DefaultAction},
		{"path needs inspection", "10.0.9.9", "raw.githubusercontent.com", "", 443, true, Inspect, "g/app/path"},
		{"path inside", "10.0.9.9", "raw.githubusercontent.com", "/microsoft/vscode-tools-for-ai/a", 443, true, Allow, "g/app/path"},
		{"another path inside", "10.0.9.9", "raw.githubusercontent.com", "/torvalds/linux", 443, true, Deny, DefaultAction},
		{"path with dots", "10.0.9.9", "raw.githubusercontent.com", "/microsoft/vscode-tools-for-ai/../../torvalds/linux", 443, true, Deny, "g/app/path"},
		{"path with encoded dots", "10.0.9.9", "raw.githubusercontent.com", "/microsoft/vscode-tools-for-ai/%2e%2e/%2E./torvalds/linux", 443, true, Deny, "g/app/path"},
		{"path with an encoded slash", "10.0.9.9", "raw.githubusercontent.com", "/microsoft/vscode-tools-for-ai/..%2f..%2ftorvalds", 443, true, Deny, "g/app/path"},
		{"path encoded twice", "10.0.9.9", "raw.githubusercontent.com", "/microsoft/vscode-tools-for-ai/%252e%252e/x", 443, true, Deny, "g/app/path"},
		{"path, a letter encoded", "10.0.9.9", "raw.githubusercontent.com", "/%6dicrosoft/vscode-tools-for-ai/a", 443, true, Allow, "g/app/path"},
		{"any path of a host", "10.0.2.9", "download.pytorch.org", "/a/../b", 443, true, Allow, "g/app/torch"},
		{"path in plain", "10.0.9.9", "raw.githubusercontent.com", "/microsoft/vscode-tools-for-ai/", 80, false, Allow, "g/app/path"},
	} {
		f.Inspects = true
		d := ruleset(t, f).Request(Request{addr(c.src), c.port, c.tls, c.host, c.path})
		if d.Verdict != c.verdict || d.Ref.Path() != c.by {
			t.Errorf("%s: %v by %s (%s)", c.name, d.Verdict, d.Ref.Path(), d)
		}
	}
	f.Inspects = false
	d := ruleset(t, f).Request(Request{addr("10.0.9.9"), 443, true, "raw.githubusercontent.com", ""})
	if d.Verdict != Deny || d.Ref.Path() != "g/app/path" || d.Reason == "" {
		t.Errorf("without a certificate authority: %v by %s: %q", d.Verdict, d.Ref.Path(), d.Reason)
	}
}

func TestDenyInApplicationRules(t *testing.T) {
	any := []string{"*"}
	https := []ApplicationProtocol{{HTTPS, 443}}
	f := &Firewall{Groups: []Group{{Name: "g", Collections: []Collection{
		{Name: "all", Priority: 200, Application: []ApplicationRule{{Name: "r", Protocols: https, Sources: any, FQDNs: any}}},
		{Name: "not", Priority: 100, Deny: true, Application: []ApplicationRule{{Name: "r", Protocols: https, Sources: any, FQDNs: []string{"*.evil.example"}}}},
	}}}}
	s := ruleset(t, f)
	if d := s.Request(Request{addr("10.0.0.4"), 443, true, "a.evil.example", ""}); d.Verdict != Deny || d.Ref.Path() != "g/not/r" {
		t.Errorf("denied name: %v by %s", d.Verdict, d.Ref.Path())
	}
	if d := s.Request(Request{addr("10.0.0.4"), 443, true, "a.example", ""}); d.Verdict != Allow || d.Ref.Path() != "g/all/r" {
		t.Errorf("other name: %v by %s", d.Verdict, d.Ref.Path())
	}
}

// The whole range of ports is any port, which packets without ports have too.
func TestAnyPort(t *testing.T) {
	for ports, want := range map[string]Verdict{"*": Allow, "0-65535": Allow, "1-65535": Deny} {
		f := &Firewall{Groups: []Group{{Name: "g", Collections: []Collection{{Network: []NetworkRule{{Name: "r", Protocols: []Protocol{Any}, Sources: []string{"*"}, Destinations: []string{"*"}, Ports: []string{ports}}}}}}}}
		if d := ruleset(t, f).Packet(Packet{addr("10.0.2.9"), addr("20.1.1.1"), ICMP, 0}, nil); d.Verdict != want {
			t.Errorf("ICMP and ports %s: %v", ports, d.Verdict)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, ok := range []string{"*", "*.pytorch.org", "*pytorch.org", "a.b", "x-1.example.com", "_dmarc.example.com", "*."} {
		if err := ParseFQDN(ok); err != nil {
			t.Error(err)
		}
	}
	for _, no := range []string{"", ".", ".com", "a..b", "a.*.b", "a.*", "10.0.0.1", "a b", "-a.b", "a/b", "**.a", "1.2", "http://a.b"} {
		if ParseFQDN(no) == nil {
			t.Errorf("%q is taken for a target", no)
		}
	}
	for _, ok := range []string{"a.b", "a.b/", "a.b/c/*", "*.a.b/c", "a.b/c*"} {
		if err := ParseURL(ok); err != nil {
			t.Error(err)
		}
	}
	for _, no := range []string{"https://a.b/c", "a.b/*/c", "a.b/c?d=e", "a.*/c", "/c"} {
		if ParseURL(no) == nil {
			t.Errorf("%q is taken for a target URL", no)
		}
	}
	for _, no := range []string{"", "*", "::1", "10.0.0.9-10.0.0.1", "10.0.0.0/33", "Storage", "10.0.0.1-::2"} {
		if _, _, err := ParseAddress(no); err == nil {
			t.Errorf("%q is taken for an address", no)
		}
	}
	if lo, hi, err := ParseAddress("10.0.0.77/26"); err != nil || lo != addr("10.0.0.64") || hi != addr("10.0.0.127") {
		t.Errorf("10.0.0.77/26 is %s to %s: %v", lo, hi, err)
	}
	for _, no := range []string{"", "x", "5-1", "65536", "-1", "1-"} {
		if _, _, err := ParsePort(no); err == nil {
			t.Errorf("%q is taken for a port", no)
		}
	}
}

// TestTagsAreTargets: what stands in the lists can stand in rules.
func TestTagsAreTargets(t *testing.T) {
	tags, date := FQDNTags()
	if len(date) != len("2026-11-01") || len(tags) < 5 {
		t.Fatalf("%d tags of %q", len(tags), date)
	}
	for _, tag := range tags {
		for _, name := range tag.FQDNs {
			if err := ParseFQDN(name); err != nil {
				t.Errorf("%s: %v", tag.Name, err)
			}
		}
	}
	if _, ok, _ := LookupFQDNTag("azurekubernetesservice"); !ok {
		t.Error("AzureKubernetesService is not found")
	}
	if _, ok, unpublished := LookupFQDNTag("HDInsight"); ok || !unpublished {
		t.Error("HDInsight is a tag that Microsoft does not publish")
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.b", "*.a.b", "10.0.0.1", "a.b.", "[::1]", "xn--a.b"} {
		f.Add(s)
	}
	s := ruleset(f, sample())
	f.Fuzz(func(t *testing.T, host string) {
		d := s.Request(Request{addr("10.0.2.9"), 443, true, host, ""})
		if d.Verdict != Allow {
			return
		}
		if _, ok := CanonicalHost(host); !ok {
			t.Errorf("%q is allowed by %s and is no host", host, d.Ref)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	f := &Firewall{}
	c := Collection{Name: "c"}
	for range 1000 {
		c.Application = append(c.Application, ApplicationRule{Name: "r", Protocols: []ApplicationProtocol{{HTTPS, 443}}, Sources: []string{"10.0.0.0/8"}, FQDNs: []string{"*.a.example", "b.example"}})
	}
	f.Groups = []Group{{Collections: []Collection{c}}}
	s := ruleset(b, f)
	for b.Loop() {
		if d := s.Request(Request{addr("10.0.0.9"), 443, true, "nobody.else.example", ""}); d.Verdict != Deny {
			b.Fatal(d)
		}
	}
}
