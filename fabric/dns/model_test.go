package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// addrs is a set of addresses.
func addrs(name string, list ...string) Set {
	s := Set{Name: name, Type: mdns.TypeA, TTL: 60}
	for _, a := range list {
		s.Data = append(s.Data, Data{Addr: addr(a)})
	}
	return s
}

func alias(name, target string) Set {
	return Set{Name: name, Type: mdns.TypeCNAME, TTL: 60, Data: []Data{{Target: target}}}
}

func one(name string, t uint16, d ...Data) Set { return Set{Name: name, Type: t, TTL: 60, Data: d} }

// testModel has an account "open" without private endpoint connection, "acct" and "lost" with one, and
// three VNets: linked with the zone (record for acct only), linked by a redirecting link, unlinked.
func testModel(t testing.TB) *Model {
	t.Helper()
	private := map[string]bool{"open": false, "acct": true, "lost": true}
	var pub PublicZone
	for _, err := range []error{
		pub.Host("management.azure.com", addr("20.60.0.1")),
		pub.Alias("www.loop.test", "WWW2.loop.test."),
		pub.Alias("www2.loop.test", "www.loop.test"),
		pub.Service(Service{
			Suffix: "blob.core.windows.net", Private: "privatelink.blob.core.windows.net",
			Front: "blob.ams20prdstr01a.store.core.windows.net", Addrs: []netip.Addr{addr("20.60.0.4")},
			Lookup: func(label string) (bool, bool) { p, ok := private[label]; return ok, p },
		}),
		pub.Service(Service{Suffix: "vault.azure.net", Addrs: []netip.Addr{addr("20.60.0.5")}, Lookup: func(l string) (bool, bool) { return l == "kv", true }}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := NewModel(Config{
		Public: &pub,
		PublicZones: []Zone{
			{ID: "p1", Name: "shop.example", SOA: SOA{Host: "ns1.test", Email: "me.test", MinimumTTL: 300, TTL: 60}, Sets: []Set{addrs("www", "192.0.2.7"), alias("blob", "acct.blob.core.windows.net"), one("@", mdns.TypeNS, Data{Target: "ns1.test"})}},
			{ID: "p2", Name: "SHOP.example", Sets: []Set{addrs("www", "192.0.2.66")}},
			{ID: "p3", Name: "azure.com", Sets: []Set{addrs("management", "192.0.2.66"), addrs("own", "192.0.2.8")}},
		},
		Zones: []Zone{
			{ID: "z1", Name: "PrivateLink.blob.core.windows.net", Sets: []Set{addrs("ACCT", "10.0.0.5")}},
			{ID: "z2", Name: "corp.test", Sets: []Set{
				addrs("@", "10.1.0.1"),
				one("@", mdns.TypeMX, Data{Preference: 10, Target: "Mail.corp.test."}),
				one("@", mdns.TypeTXT, Data{Text: []string{`v=\spf "x"`, "y"}}),
				addrs("*", "10.1.0.9", "10.1.0.10"),
				alias("db", "srv.dc.corp.test."),
				addrs("srv.dc", "10.1.0.2"),
				one("srv.dc", mdns.TypeAAAA, Data{Addr: addr("fd00::2")}),
				alias("data", "acct.blob.core.windows.net"),
				alias("out", "nowhere.example"),
				alias("onprem", "app.contoso.com"),
				one("_ldap._tcp", mdns.TypeSRV, Data{Preference: 1, Weight: 2, Port: 389, Target: "srv.dc.corp.test"}),
			}},
			{ID: "z3", Name: "eu.corp.test"},
			{ID: "z4", Name: "hosts.test", Sets: []Set{addrs("vm1", "10.2.0.4")}},
			{ID: "z5", Name: "4.2.10.in-addr.arpa", Sets: []Set{one("7", mdns.TypePTR, Data{Target: "seven.test"})}},
			{ID: "z6", Name: "private.contoso.com", Sets: []Set{addrs("x", "10.2.0.9")}},
		},
		Links: []Link{
			{VNet: "hub", Zone: "z1"}, {VNet: "hub", Zone: "z2"}, {VNet: "hub", Zone: "z3"},
			{VNet: "soft", Zone: "z1", NXDomainRedirect: true},
			{VNet: "named", Zone: "z4", Registration: true}, {VNet: "named", Zone: "z5"}, {VNet: "named", Zone: "z6"}, {VNet: "named", Zone: "z2"},
		},
		Networks: []Network{
			{ID: "named", Suffix: "abc.ax.internal.cloudapp.net", Hosts: []Host{{Name: "VM1", Addrs: []netip.Addr{addr("10.2.0.4"), addr("fd00::4"), {}}}}},
			{ID: "spoke", Suffix: "def.ax.internal.cloudapp.net", Hosts: []Host{{Name: "vm1", Addrs: []netip.Addr{addr("10.3.0.4")}}}},
		},
		Rulesets: []Ruleset{{ID: "rs", VNets: []string{"named"}, Endpoints: []string{"out"}, Rules: []Rule{
			{ID: "contoso", Domain: "Contoso.com.", Servers: []netip.AddrPort{netip.MustParseAddrPort("10.9.0.1:53")}},
			{ID: "azure", Domain: "azure.contoso.com.", Servers: []netip.AddrPort{netip.MustParseAddrPort("10.9.0.2:53"), netip.MustParseAddrPort("10.9.0.3:5353")}},
			{ID: "wild", Domain: ".", Servers: []netip.AddrPort{netip.MustParseAddrPort("10.9.0.4:53")}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func show(a Answer) string {
	var b strings.Builder
	b.WriteString(mdns.RcodeToString[a.Rcode])
	for _, r := range a.Records {
		b.WriteString("; " + r.String())
	}
	return b.String()
}

func TestResolve(t *testing.T) {
	m := testModel(t)
	const front = "blob.ams20prdstr01a.store.core.windows.net"
	for _, c := range []struct {
		why, vnet, name string
		qtype           uint16
		want            string
	}{
		{"exact public host", "", "Management.Azure.com.", mdns.TypeA, "NOERROR; management.azure.com A 20.60.0.1"},
		{"unknown public name", "hub", "example.com", mdns.TypeA, "NXDOMAIN"},
		{"account without endpoint connection has no privatelink name", "", "open.blob.core.windows.net", mdns.TypeA,
			"NOERROR; open.blob.core.windows.net CNAME " + front + "; " + front + " A 20.60.0.4"},
		{"account with one: the whole chain", "", "acct.blob.core.windows.net", mdns.TypeA,
			"NOERROR; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net; acct.privatelink.blob.core.windows.net CNAME " + front + "; " + front + " A 20.60.0.4"},
		{"linked zone takes over at the alias", "hub", "acct.blob.core.windows.net", mdns.TypeA,
			"NOERROR; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net; acct.privatelink.blob.core.windows.net A 10.0.0.5"},
		{"unlinked VNet sees the public address", "spoke", "acct.blob.core.windows.net", mdns.TypeA,
			"NOERROR; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net; acct.privatelink.blob.core.windows.net CNAME " + front + "; " + front + " A 20.60.0.4"},
		{"zone without the record: NXDOMAIN after the alias", "hub", "lost.blob.core.windows.net", mdns.TypeA,
			"NXDOMAIN; lost.blob.core.windows.net CNAME lost.privatelink.blob.core.windows.net"},
		{"redirecting link falls back to the internet", "soft", "lost.blob.core.windows.net", mdns.TypeA,
			"NOERROR; lost.blob.core.windows.net CNAME lost.privatelink.blob.core.windows.net; lost.privatelink.blob.core.windows.net CNAME " + front + "; " + front + " A 20.60.0.4"},
		{"an account without connection is untouched by the zone", "hub", "open.blob.core.windows.net", mdns.TypeA,
			"NOERROR; open.blob.core.windows.net CNAME " + front + "; " + front + " A 20.60.0.4"},
		{"no account", "hub", "none.blob.core.windows.net", mdns.TypeA, "NXDOMAIN"},
		{"AAAA is no data, not no name", "", "management.azure.com", mdns.TypeAAAA, "NOERROR"},
		{"AAAA behind an alias", "hub", "acct.blob.core.windows.net", mdns.TypeAAAA, "NOERROR; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net"},
		{"CNAME asked: not followed", "hub", "acct.blob.core.windows.net", mdns.TypeCNAME, "NOERROR; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net"},
		{"zone apex", "hub", "corp.test", mdns.TypeA, "NOERROR; corp.test A 10.1.0.1"},
		{"wildcard", "hub", "any.thing.corp.test", mdns.TypeA, "NOERROR; any.thing.corp.test A 10.1.0.9; any.thing.corp.test A 10.1.0.10"},
		{"an empty non-terminal stops the wildcard", "hub", "dc.corp.test", mdns.TypeA, "NOERROR"},
		{"and so does it below itself", "hub", "other.dc.corp.test", mdns.TypeA, "NXDOMAIN"},
		{"alias within the zone", "hub", "db.corp.test", mdns.TypeA, "NOERROR; db.corp.test CNAME srv.dc.corp.test; srv.dc.corp.test A 10.1.0.2"},
		{"longest zone alone is asked", "hub", "x.eu.corp.test", mdns.TypeA, "NXDOMAIN"},
		{"alias from a private zone through a public name into another", "hub", "data.corp.test", mdns.TypeA,
			"NOERROR; data.corp.test CNAME acct.blob.core.windows.net; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net; acct.privatelink.blob.core.windows.net A 10.0.0.5"},
		{"alias to nothing", "hub", "out.corp.test", mdns.TypeA, "NXDOMAIN; out.corp.test CNAME nowhere.example"},
		{"alias loop", "", "www.loop.test", mdns.TypeA, "SERVFAIL"},
		{"service without private link", "", "kv.vault.azure.net", mdns.TypeA, "NOERROR; kv.vault.azure.net A 20.60.0.5"},
		{"MX", "hub", "corp.test", mdns.TypeMX, "NOERROR; corp.test MX 10 mail.corp.test"},
		{"TXT", "hub", "corp.test", mdns.TypeTXT, `NOERROR; corp.test TXT ["v=\\spf \"x\"" "y"]`},
		{"a type that the name lacks", "hub", "corp.test", mdns.TypeSRV, "NOERROR"},
		{"AAAA behind an alias in the zone", "hub", "db.corp.test", mdns.TypeAAAA, "NOERROR; db.corp.test CNAME srv.dc.corp.test; srv.dc.corp.test AAAA fd00::2"},
		{"SRV", "hub", "_ldap._tcp.corp.test", mdns.TypeSRV, "NOERROR; _ldap._tcp.corp.test SRV 1 2 389 srv.dc.corp.test"},
		{"internal name", "named", "vm1.abc.ax.internal.cloudapp.net", mdns.TypeA, "NOERROR; vm1.abc.ax.internal.cloudapp.net A 10.2.0.4"},
		{"internal name, short", "named", "vm1.internal.cloudapp.net", mdns.TypeA, "NOERROR; vm1.internal.cloudapp.net A 10.2.0.4"},
		{"internal names are the VNet's own", "spoke", "vm1.abc.ax.internal.cloudapp.net", mdns.TypeA, "NXDOMAIN"},
		{"reverse, with a registration zone", "named", "4.0.2.10.in-addr.arpa", mdns.TypePTR,
			"NOERROR; 4.0.2.10.in-addr.arpa PTR vm1.hosts.test; 4.0.2.10.in-addr.arpa PTR vm1.internal.cloudapp.net"},
		{"reverse, without", "spoke", "4.0.3.10.in-addr.arpa", mdns.TypePTR, "NOERROR; 4.0.3.10.in-addr.arpa PTR vm1.internal.cloudapp.net"},
		{"reverse of nobody", "spoke", "5.0.3.10.in-addr.arpa", mdns.TypePTR, "NXDOMAIN"},
		{"reverse is scoped to the VNet", "spoke", "4.0.2.10.in-addr.arpa", mdns.TypePTR, "NXDOMAIN"},
		{"reverse in a private zone", "named", "7.4.2.10.in-addr.arpa", mdns.TypePTR, "NOERROR; 7.4.2.10.in-addr.arpa PTR seven.test"},
		{"a user's public zone", "", "www.shop.example", mdns.TypeA, "NOERROR; www.shop.example A 192.0.2.7"},
		{"which a VNet sees too", "hub", "blob.shop.example", mdns.TypeA,
			"NOERROR; blob.shop.example CNAME acct.blob.core.windows.net; acct.blob.core.windows.net CNAME acct.privatelink.blob.core.windows.net; acct.privatelink.blob.core.windows.net A 10.0.0.5"},
		{"its name servers", "", "shop.example", mdns.TypeNS, "NOERROR; shop.example NS ns1.test"},
		{"what it lacks", "", "none.shop.example", mdns.TypeA, "NXDOMAIN"},
		{"it takes no name of the region's", "", "management.azure.com", mdns.TypeA, "NOERROR; management.azure.com A 20.60.0.1"},
		{"nor one below Azure's domains", "", "own.azure.com", mdns.TypeA, "NXDOMAIN"},
		{"a zone is not seen from the internet", "", "db.corp.test", mdns.TypeA, "NXDOMAIN"},
		{"the root", "hub", ".", mdns.TypeA, "NXDOMAIN"},
	} {
		t.Run(c.why, func(t *testing.T) {
			if diff := cmp.Diff(c.want, show(m.Resolve(c.vnet, c.name, c.qtype))); diff != "" {
				t.Errorf("Resolve(%q, %q) (-want +got):\n%s", c.vnet, c.name, diff)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	got := testModel(t).Resolve("soft", "lost.blob.core.windows.net", mdns.TypeA).Steps
	want := []Step{
		{Name: "lost.blob.core.windows.net", Outcome: Alias, Target: "lost.privatelink.blob.core.windows.net"},
		{Name: "lost.privatelink.blob.core.windows.net", Zone: "z1", Outcome: Redirect},
		{Name: "lost.privatelink.blob.core.windows.net", Outcome: Alias, Target: "blob.ams20prdstr01a.store.core.windows.net"},
		{Name: "blob.ams20prdstr01a.store.core.windows.net", Outcome: Address},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// Who is asked: the private zone before any rule, then the rule with the longest domain, then "." for what
// is not Azure's.
func TestForward(t *testing.T) {
	m := testModel(t)
	for _, c := range []struct{ name, rule, asked string }{
		{"www.contoso.com", "contoso", "www.contoso.com"},
		{"contoso.com", "contoso", "contoso.com"},
		{"secure.store.azure.contoso.com", "azure", "secure.store.azure.contoso.com"},
		{"x.private.contoso.com", "", ""},
		{"none.private.contoso.com", "", ""},
		{"notcontoso.com", "wild", "notcontoso.com"},
		{"example.com", "wild", "example.com"},
		{"management.azure.com", "", ""},
		{"vm1.internal.cloudapp.net", "", ""},
		{"onprem.corp.test", "contoso", "app.contoso.com"},
	} {
		a := m.Resolve("named", c.name, mdns.TypeA)
		got := Forward{}
		if a.Forward != nil {
			got = *a.Forward
		}
		if got.Rule != c.rule || got.Name != c.asked {
			t.Errorf("%s: rule %q for %q, want %q for %q", c.name, got.Rule, got.Name, c.rule, c.asked)
		}
	}
	if a := m.Resolve("hub", "www.contoso.com", mdns.TypeA); a.Forward != nil || a.Rcode != mdns.RcodeNameError {
		t.Errorf("an unlinked VNet forwards: %+v", a)
	}
	last := m.Resolve("named", "a.azure.contoso.com", mdns.TypeA).Steps
	want := []Step{{Name: "a.azure.contoso.com", Zone: "azure", Outcome: Forwarded, Target: "10.9.0.2:53, 10.9.0.3:5353"}}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestNewModelRefuses(t *testing.T) {
	server := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:53")}
	zone := func(sets ...Set) Config { return Config{Zones: []Zone{{ID: "a", Name: "x.test", Sets: sets}}} }
	for why, c := range map[string]Config{
		"link to no zone":       {Links: []Link{{VNet: "v", Zone: "z"}}},
		"two zones of one name": {Zones: []Zone{{ID: "a", Name: "x.test"}, {ID: "b", Name: "X.test"}}, Links: []Link{{VNet: "v", Zone: "a"}, {VNet: "v", Zone: "b"}}},
		"alias and address":     zone(alias("h", "y"), addrs("h", "10.0.0.1")),
		"address and alias":     zone(addrs("h", "10.0.0.1"), alias("H", "y")),
		"two sets":              zone(addrs("h"), addrs("H")),
		"IPv6 in A":             zone(addrs("h", "::1")),
		"IPv4 in AAAA":          zone(one("h", mdns.TypeAAAA, Data{Addr: addr("10.0.0.1")})),
		"two aliases":           zone(one("h", mdns.TypeCNAME, Data{Target: "a"}, Data{Target: "b"})),
		"MX to nothing":         zone(one("h", mdns.TypeMX, Data{})),
		"long TXT":              zone(one("h", mdns.TypeTXT, Data{Text: []string{strings.Repeat("x", 256)}})),
		"a type of no set":      zone(one("h", mdns.TypeHINFO, Data{Target: "y"})),
		"two rulesets": {Rulesets: []Ruleset{{ID: "a", VNets: []string{"v"}, Rules: []Rule{{ID: "1", Domain: "x.", Servers: server}}},
			{ID: "b", VNets: []string{"v"}, Rules: []Rule{{ID: "2", Domain: "y.", Servers: server}}}}},
		"two rules of a domain": {Rulesets: []Ruleset{{ID: "a", VNets: []string{"v"}, Rules: []Rule{{ID: "1", Domain: "x."}, {ID: "2", Domain: "X."}}}}},
	} {
		if _, err := NewModel(c); err == nil {
			t.Errorf("%s: no error", why)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	m := testModel(b)
	for b.Loop() {
		m.Resolve("hub", "acct.blob.core.windows.net.", mdns.TypeA)
	}
}
