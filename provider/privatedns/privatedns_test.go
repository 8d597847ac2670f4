package privatedns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/fabric/dns"
	"vauban.dev/provider/privatedns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.Network/"
	zone  = group + "privateDnsZones/corp.test"
	vnet  = group + "virtualNetworks/"
	api   = "?api-version=2024-06-01"
)

// rig is a region of private zones, whose virtual networks and machines are played.
type rig struct {
	*rptest.Region
	zones *privatedns.Provider

	mu    sync.Mutex
	vnets map[string]map[string][]netip.Addr // by name: its machines
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{vnets: map[string]map[string][]netip.Addr{"hub": {}, "spoke": {}}}
	r.zones = privatedns.New(privatedns.Config{Sync: r, VNetExists: func(_ *rp.Tx, id arm.ID) (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, ok := r.vnets[id.Name()]
		return ok, nil
	}})
	joined := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Network/virtualNetworks", Versions: rp.Versions[struct{}]("2024-07-01")})
	r.Region = rptest.New(t, rp.Config{Locations: []string{"westeurope", "global"}}, append(r.zones.Types(), joined)...)
	r.Must(http.MethodPut, zone+api, `{"location":"global"}`)
	return r
}

// Sync registers machines, as the network's does.
func (r *rig) Sync(ctx context.Context) error {
	if r.Region == nil { // a test that restarts
		return nil
	}
	return r.Engine.Update(ctx, func(tx *rp.Tx) error {
		_, err := r.zones.Register(tx, func(id arm.ID) map[string][]netip.Addr {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.vnets[id.Name()]
		}, false)
		return err
	})
}

// machines sets those of a virtual network; nil removes it.
func (r *rig) machines(name string, hosts map[string][]netip.Addr) {
	r.mu.Lock()
	if hosts == nil {
		delete(r.vnets, name)
	} else {
		r.vnets[name] = hosts
	}
	r.mu.Unlock()
}

func (r *rig) sync(t *testing.T) {
	t.Helper()
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// all are the record sets as ALL lists them: type/name and the addresses.
func (r *rig) all(t *testing.T, query string) (out []string) {
	t.Helper()
	for link := zone + "/ALL" + api + query; link != ""; {
		a := r.Request(http.MethodGet, link, "")
		if a.Status != http.StatusOK {
			t.Fatalf("GET %s: %d %s", link, a.Status, a.Text)
		}
		for _, v := range a.At("value").([]any) {
			set := v.(map[string]any)
			out = append(out, strings.TrimPrefix(set["type"].(string), privatedns.ZoneType+"/")+" "+set["name"].(string))
		}
		link = a.String("nextLink")
		if u, err := url.Parse(link); err != nil {
			t.Fatal(err)
		} else if link != "" {
			link = u.RequestURI()
		}
	}
	return out
}

func link(vnetName, more string) string {
	return fmt.Sprintf(`{"location":"global","properties":{"virtualNetwork":{"id":%q}%s}}`, vnet+vnetName, more)
}

const registering = `,"registrationEnabled":true`

// Each type of record sets: what is written is shown, in Azure's form, and resolved.
func TestRecordTypes(t *testing.T) {
	r := newRig(t)
	r.Must(http.MethodPut, zone+"/virtualNetworkLinks/l"+api, link("hub", `,"registrationEnabled":false`))
	for _, c := range []struct{ path, records, resolved string }{
		{"A/web", `"aRecords":[{"ipv4Address":"10.0.0.4"},{"ipv4Address":"10.0.0.5"}]`, "web.corp.test A 10.0.0.4; web.corp.test A 10.0.0.5"},
		{"AAAA/web", `"aaaaRecords":[{"ipv6Address":"fd00::4"}]`, "web.corp.test AAAA fd00::4"},
		{"CNAME/www", `"cnameRecord":{"cname":"web.corp.test"}`, "www.corp.test CNAME web.corp.test"},
		{"MX/@", `"mxRecords":[{"preference":10,"exchange":"mail.corp.test"}]`, "corp.test MX 10 mail.corp.test"},
		{"PTR/4", `"ptrRecords":[{"ptrdname":"web.corp.test"}]`, "4.corp.test PTR web.corp.test"},
		{"SRV/_ldap._tcp", `"srvRecords":[{"priority":1,"weight":2,"port":389,"target":"dc.corp.test"}]`, "_ldap._tcp.corp.test SRV 1 2 389 dc.corp.test"},
		{"TXT/@", `"txtRecords":[{"value":["a","b c"]}]`, `corp.test TXT ["a" "b c"]`},
		{"A/*", `"aRecords":[{"ipv4Address":"10.0.0.9"}]`, "x.y.corp.test A 10.0.0.9"},
		{"A/@", `"aRecords":[{"ipv4Address":"10.0.0.1"}]`, "corp.test A 10.0.0.1"},
		{"A/empty", `"aRecords":[]`, ""},
	} {
		kind, name, _ := strings.Cut(c.path, "/")
		a := r.Must(http.MethodPut, zone+"/"+c.path+api, `{"properties":{"ttl":3600,"metadata":{"k":"v"},`+c.records+`}}`)
		if a.Status != http.StatusCreated || a.String("etag") == "" || a.String("type") != privatedns.ZoneType+"/"+kind {
			t.Errorf("%s: %d %s", c.path, a.Status, a.Text)
		}
		want := map[string]any{"ttl": 3600., "metadata": map[string]any{"k": "v"}, "isAutoRegistered": false, "fqdn": strings.TrimPrefix(name+".corp.test.", "@.")}
		var records map[string]any
		if err := json.Unmarshal([]byte("{"+c.records+"}"), &records); err != nil {
			t.Fatal(err)
		}
		for k, v := range records {
			want[k] = v
		}
		if diff := cmp.Diff(want, r.Request(http.MethodGet, zone+"/"+c.path+api, "").At("properties")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
		if c.resolved == "" {
			continue
		}
		var got []string
		for _, rec := range r.resolve(t, strings.Fields(c.resolved)[0], mdns.StringToType[kind]).Records {
			got = append(got, rec.String())
		}
		if s := strings.Join(got, "; "); s != c.resolved {
			t.Errorf("%s: resolved %q, want %q", c.path, s, c.resolved)
		}
	}
	if n := r.Request(http.MethodGet, zone+api, "").At("properties", "numberOfRecordSets"); n != 11. {
		t.Errorf("%v record sets", n)
	}
}

func (r *rig) resolve(t *testing.T, name string, qtype uint16) (a dns.Answer) {
	t.Helper()
	err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		zones, err := privatedns.Zones(tx)
		if err != nil {
			return err
		}
		links, err := privatedns.Links(tx, func(id arm.ID) (string, bool, error) { return id.Name(), true, nil })
		if err != nil {
			return err
		}
		m, err := dns.NewModel(dns.Config{Zones: zones, Links: links})
		if err != nil {
			return err
		}
		a = m.Resolve("hub", name, qtype)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	set := func(body string) string { return `{"properties":{"ttl":60,` + body + `}}` }
	r.Must(http.MethodPut, zone+"/CNAME/alias"+api, set(`"cnameRecord":{"cname":"x.test"}`))
	r.Must(http.MethodPut, zone+"/MX/host"+api, set(`"mxRecords":[]`))
	r.Must(http.MethodPut, group+"privateDnsZones/other.test"+api, `{"location":"global"}`)
	r.Must(http.MethodPut, group+"privateDnsZones/other.test/virtualNetworkLinks/l"+api, link("spoke", registering))
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf(`{"ipv4Address":"10.0.0.%d"}`, i)
	}
	for why, c := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"no address":              {"PUT", "A/x", set(`"aRecords":[{"ipv4Address":"300.1.1.1"}]`), 400, "BadRequest"},
		"IPv6 in A":               {"PUT", "A/x", set(`"aRecords":[{"ipv4Address":"::1"}]`), 400, "BadRequest"},
		"IPv4 in AAAA":            {"PUT", "AAAA/x", set(`"aaaaRecords":[{"ipv6Address":"10.0.0.1"}]`), 400, "BadRequest"},
		"mapped IPv4 in AAAA":     {"PUT", "AAAA/x", set(`"aaaaRecords":[{"ipv6Address":"::ffff:10.0.0.1"}]`), 400, "BadRequest"},
		"twice":                   {"PUT", "A/x", set(`"aRecords":[{"ipv4Address":"10.0.0.1"},{"ipv4Address":"10.0.0.1"}]`), 400, "BadRequest"},
		"twice but for the dot":   {"PUT", "PTR/x", set(`"ptrRecords":[{"ptrdname":"A.test"},{"ptrdname":"a.test."}]`), 400, "BadRequest"},
		"21 records":              {"PUT", "A/x", set(`"aRecords":[` + strings.Join(many, ",") + `]`), 400, "BadRequest"},
		"TTL 0":                   {"PUT", "A/x", `{"properties":{"ttl":0}}`, 400, "BadRequest"},
		"TTL too long":            {"PUT", "A/x", `{"properties":{"ttl":2147483648}}`, 400, "BadRequest"},
		"records of another type": {"PUT", "A/x", set(`"mxRecords":[{"preference":1,"exchange":"a.test"}]`), 400, "BadRequest"},
		"preference":              {"PUT", "MX/x", set(`"mxRecords":[{"preference":70000,"exchange":"a.test"}]`), 400, "BadRequest"},
		"port":                    {"PUT", "SRV/x", set(`"srvRecords":[{"priority":1,"weight":1,"port":-1,"target":"a.test"}]`), 400, "BadRequest"},
		"long string":             {"PUT", "TXT/x", set(`"txtRecords":[{"value":["` + strings.Repeat("x", 256) + `"]}]`), 400, "BadRequest"},
		"long text":               {"PUT", "TXT/x", set(`"txtRecords":[{"value":["` + strings.Repeat(strings.Repeat("x", 250)+`","`, 5) + `"]}]`), 400, "BadRequest"},
		"alias of nothing":        {"PUT", "CNAME/x", set(`"cnameRecord":{"cname":"a..b"}`), 400, "BadRequest"},
		"alias at the apex":       {"PUT", "CNAME/@", set(`"cnameRecord":{"cname":"a.test"}`), 400, "BadRequest"},
		"wildcard within":         {"PUT", "A/a.*", set(`"aRecords":[]`), 400, "BadRequest"},
		"alias beside others":     {"PUT", "CNAME/host", set(`"cnameRecord":{"cname":"a.test"}`), 409, "Conflict"},
		"others beside an alias":  {"PUT", "TXT/alias", set(`"txtRecords":[]`), 409, "Conflict"},
		"a second SOA":            {"PUT", "SOA/x", set(`"soaRecord":{"email":"a.test"}`), 400, "BadRequest"},
		"SOA without its record":  {"PUT", "SOA/@", `{"properties":{"ttl":60,"soaRecord":null}}`, 400, "BadRequest"},
		"SOA's time":              {"PATCH", "SOA/@", `{"properties":{"soaRecord":{"refreshTime":-1}}}`, 400, "BadRequest"},
		"no such zone":            {"PUT", "../none.test/A/x", set(`"aRecords":[]`), 404, "ParentResourceNotFound"},
		"one-label zone":          {"PUT", "../single", `{"location":"global"}`, 400, "InvalidResourceName"},
		"zone elsewhere":          {"PUT", "../a.test", `{"location":"westeurope"}`, 400, "LocationNotAvailableForResourceType"},
		"reserved zone":           {"PUT", "../azure.com", `{"location":"global"}`, 400, "BadRequest"},
		"link to nothing":         {"PUT", "virtualNetworkLinks/l", link("none", ""), 400, "BadRequest"},
		"redirect elsewhere":      {"PUT", "virtualNetworkLinks/l", link("hub", `,"resolutionPolicy":"NxDomainRedirect"`), 400, "BadRequest"},
		"unknown policy":          {"PUT", "virtualNetworkLinks/l", link("hub", `,"resolutionPolicy":"Sometimes"`), 400, "BadRequest"},
		"second registration":     {"PUT", "virtualNetworkLinks/l", link("spoke", registering), 409, "Conflict"},
		"zone with links":         {"DELETE", "../other.test", "", 409, "CannotDeleteResource"},
		"suffix of no number":     {"GET", "ALL?$top=x", "", 400, "InvalidTopQueryString"},
	} {
		path, query, _ := strings.Cut(zone+"/"+c.path, "?")
		path = strings.ReplaceAll(path, "corp.test/../", "")
		a := r.Request(c.method, path+api+"&"+query, c.body)
		if a.Status != c.status || a.Code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", why, a.Status, a.Text, c.status, c.code)
		}
	}
}

// A client may leave out what it does not change; the name server and the serial are the service's.
func TestSOA(t *testing.T) {
	r := newRig(t)
	a := r.Must(http.MethodPut, zone+"/SOA/@"+api, `{"properties":{"ttl":60,"soaRecord":{"email":"me.corp.test","refreshTime":7,"host":"mine.test","serialNumber":9}}}`)
	want := map[string]any{"host": "azureprivatedns.net", "email": "me.corp.test", "serialNumber": 1., "refreshTime": 7., "retryTime": 300., "expireTime": 2419200., "minimumTtl": 10.}
	if diff := cmp.Diff(want, a.At("properties", "soaRecord")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := r.Request(http.MethodDelete, zone+"/SOA/@"+api, ""); a.Status != http.StatusMethodNotAllowed {
		t.Errorf("delete: %d %s", a.Status, a.Text)
	}
}

func TestListing(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"a.eu", "b.eu", "c.us"} {
		r.Must(http.MethodPut, zone+"/A/"+name+api, `{"properties":{"ttl":60}}`)
	}
	r.Must(http.MethodPut, zone+"/TXT/d.eu"+api, `{"properties":{"ttl":60}}`)
	everything := []string{"A a.eu", "A b.eu", "A c.us", "SOA @", "TXT d.eu"}
	for query, want := range map[string][]string{
		"": everything, "&$top=2": everything, "&$top=1000": everything,
		"&$recordsetnamesuffix=EU": {"A a.eu", "A b.eu", "TXT d.eu"}, "&$top=1&$recordsetnamesuffix=.eu": {"A a.eu", "A b.eu", "TXT d.eu"},
		"&$recordsetnamesuffix=none": nil,
	} {
		if diff := cmp.Diff(want, r.all(t, query)); diff != "" {
			t.Errorf("ALL%s (-want +got):\n%s", query, diff)
		}
	}
	var names []string
	for _, v := range r.Request(http.MethodGet, zone+"/A"+api+"&$recordsetnamesuffix=eu", "").At("value").([]any) {
		names = append(names, v.(map[string]any)["name"].(string))
	}
	if !slices.Equal(names, []string{"a.eu", "b.eu"}) {
		t.Errorf("A: %v", names)
	}
}

func TestPreconditions(t *testing.T) {
	r := newRig(t)
	const body = `{"properties":{"ttl":60,"aRecords":[{"ipv4Address":"10.0.0.1"}]}}`
	path := zone + "/A/x" + api
	etag := r.Must(http.MethodPut, path, body).String("etag")
	for _, c := range []struct {
		why, header, value string
		status             int
	}{
		{"exists", "If-None-Match", "*", http.StatusPreconditionFailed},
		{"stale", "If-Match", "00000000-0000-0000-0000-000000000000", http.StatusPreconditionFailed},
		{"unchanged", "If-Match", etag, http.StatusOK},
		{"any at all", "If-Match", "*", http.StatusOK},
	} {
		if a := r.Request(http.MethodPut, path, body, c.header, c.value); a.Status != c.status {
			t.Errorf("%s: %d %s, want %d", c.why, a.Status, a.Text, c.status)
		}
	}
	if a := r.Request(http.MethodDelete, path, "", "If-Match", "00000000-0000-0000-0000-000000000000"); a.Status != http.StatusPreconditionFailed {
		t.Errorf("delete of a stale one: %d", a.Status)
	}
	if a := r.Request(http.MethodDelete, path, ""); a.Status != http.StatusOK {
		t.Errorf("delete: %d", a.Status)
	}
	if a := r.Request(http.MethodDelete, path, ""); a.Status != http.StatusNoContent {
		t.Errorf("second delete: %d", a.Status)
	}
}

// Machines come and go in the zone that their network registers in; what a user writes wins.
func TestRegistration(t *testing.T) {
	r := newRig(t)
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	show := func() string {
		t.Helper()
		var out []string
		for _, v := range r.Request(http.MethodGet, zone+"/A"+api, "").At("value").([]any) {
			set := v.(map[string]any)
			p := set["properties"].(map[string]any)
			s := set["name"].(string)
			for _, rec := range p["aRecords"].([]any) {
				s += " " + rec.(map[string]any)["ipv4Address"].(string)
			}
			if p["isAutoRegistered"] == true {
				s += fmt.Sprintf(" auto %v", p["ttl"])
			}
			out = append(out, s)
		}
		return strings.Join(out, "; ")
	}
	expect := func(why, want string) {
		t.Helper()
		if got := show(); got != want {
			t.Errorf("%s: %q, want %q", why, got, want)
		}
	}
	r.machines("hub", map[string][]netip.Addr{"vm1": addrs("10.0.0.4"), "taken": addrs("10.0.0.5"), "alias": addrs("10.0.0.6")})
	r.Must(http.MethodPut, zone+"/A/taken"+api, `{"properties":{"ttl":60,"aRecords":[{"ipv4Address":"192.168.0.1"}]}}`)
	r.Must(http.MethodPut, zone+"/CNAME/alias"+api, `{"properties":{"ttl":60,"cnameRecord":{"cname":"x.test"}}}`)
	r.Must(http.MethodPut, zone+"/virtualNetworkLinks/l"+api, link("hub", registering))
	expect("after the link", "taken 192.168.0.1; vm1 10.0.0.4 auto 10")
	a := r.Request(http.MethodGet, zone+"/virtualNetworkLinks/l"+api, "")
	if a.String("properties", "virtualNetworkLinkState") != "Completed" || a.At("properties", "registrationEnabled") != true {
		t.Errorf("link: %s", a.Text)
	}
	if n := r.Request(http.MethodGet, zone+api, "").At("properties", "numberOfVirtualNetworkLinksWithRegistration"); n != 1. {
		t.Errorf("%v registering links", n)
	}

	r.machines("hub", map[string][]netip.Addr{"vm1": addrs("10.0.0.7"), "vm2": addrs("10.0.0.8")})
	r.sync(t)
	expect("another address and machine", "taken 192.168.0.1; vm1 10.0.0.7 auto 10; vm2 10.0.0.8 auto 10")

	r.Must(http.MethodPut, zone+"/A/vm1"+api, `{"properties":{"ttl":60,"aRecords":[{"ipv4Address":"192.168.0.2"}]}}`)
	r.sync(t)
	expect("written over", "taken 192.168.0.1; vm1 192.168.0.2; vm2 10.0.0.8 auto 10")
	r.Must(http.MethodDelete, zone+"/A/vm1"+api, "")
	r.sync(t)
	expect("registered again", "taken 192.168.0.1; vm1 10.0.0.7 auto 10; vm2 10.0.0.8 auto 10")

	r.Must(http.MethodPatch, zone+"/virtualNetworkLinks/l"+api, `{"properties":{"registrationEnabled":false}}`)
	expect("registration switched off", "taken 192.168.0.1")
	r.Must(http.MethodPatch, zone+"/virtualNetworkLinks/l"+api, `{"properties":{"registrationEnabled":true}}`)
	r.machines("hub", nil)
	r.sync(t)
	expect("without its network", "taken 192.168.0.1")
	if a := r.Request(http.MethodGet, zone+"/virtualNetworkLinks/l"+api, ""); a.Status != http.StatusNotFound && a.String("properties", "provisioningState") != "Deleting" {
		t.Errorf("the link of a deleted network: %d %s", a.Status, a.Text)
	}
}
