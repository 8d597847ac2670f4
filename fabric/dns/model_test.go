package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

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
	m, err := NewModel(&pub, []Zone{
		{ID: "z1", Name: "PrivateLink.blob.core.windows.net", Sets: []Set{{Name: "ACCT", TTL: 10, Addrs: []netip.Addr{addr("10.0.0.5")}}}},
		{ID: "z2", Name: "corp.test", Sets: []Set{
			{Name: "@", TTL: 60, Addrs: []netip.Addr{addr("10.1.0.1")}},
			{Name: "*", TTL: 60, Addrs: []netip.Addr{addr("10.1.0.9"), addr("10.1.0.10")}},
			{Name: "db", TTL: 60, CNAME: "srv.dc.corp.test."},
			{Name: "srv.dc", TTL: 60, Addrs: []netip.Addr{addr("10.1.0.2")}},
			{Name: "data", TTL: 60, CNAME: "acct.blob.core.windows.net"},
			{Name: "out", TTL: 60, CNAME: "nowhere.example"},
		}},
		{ID: "z3", Name: "eu.corp.test"},
	}, []Link{
		{VNet: "hub", Zone: "z1"}, {VNet: "hub", Zone: "z2"}, {VNet: "hub", Zone: "z3"},
		{VNet: "soft", Zone: "z1", NXDomainRedirect: true},
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

func TestNewModelRefuses(t *testing.T) {
	for _, c := range []struct {
		why   string
		zones []Zone
		links []Link
	}{
		{"link to no zone", nil, []Link{{VNet: "v", Zone: "z"}}},
		{"two zones of one name", []Zone{{ID: "a", Name: "x.test"}, {ID: "b", Name: "X.test"}}, []Link{{VNet: "v", Zone: "a"}, {VNet: "v", Zone: "b"}}},
		{"alias and address", []Zone{{ID: "a", Name: "x.test", Sets: []Set{{Name: "h", CNAME: "y", Addrs: []netip.Addr{addr("10.0.0.1")}}}}}, nil},
		{"two sets", []Zone{{ID: "a", Name: "x.test", Sets: []Set{{Name: "h"}, {Name: "H"}}}}, nil},
		{"IPv6", []Zone{{ID: "a", Name: "x.test", Sets: []Set{{Name: "h", Addrs: []netip.Addr{addr("::1")}}}}}, nil},
	} {
		if _, err := NewModel(nil, c.zones, c.links); err == nil {
			t.Errorf("%s: no error", c.why)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	m := testModel(b)
	for b.Loop() {
		m.Resolve("hub", "acct.blob.core.windows.net.", mdns.TypeA)
	}
}
