package privatedns_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
	"vauban.dev/provider/privatedns"
)

const (
	publicZone = group + "dnsZones/shop.example"
	publicAPI  = "?api-version=2018-05-01"
)

// A public zone as Azure's service records it: its own spelling of properties, its name servers, no registration.
func TestPublicZone(t *testing.T) {
	r := newRig(t)
	a := r.Must(http.MethodPut, publicZone+publicAPI, `{"location":"global"}`)
	servers, _ := a.At("properties", "nameServers").([]any)
	if a.Status != http.StatusCreated || a.String("type") != "Microsoft.Network/dnszones" || len(servers) != 4 || !strings.HasSuffix(servers[0].(string), ".azure-dns.com.") {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	want := map[string]any{"maxNumberOfRecordSets": 10000., "maxNumberOfRecordsPerRecordSet": nil, "nameServers": servers, "numberOfRecordSets": 2., "zoneType": "Public"}
	if diff := cmp.Diff(want, a.At("properties")); diff != "" {
		t.Errorf("zone (-want +got):\n%s", diff)
	}
	for path, records := range map[string]string{
		"A/www": `"ARecords":[{"ipv4Address":"192.0.2.7"}]`, "AAAA/www": `"AAAARecords":[{"ipv6Address":"fd00::7"}]`, "CNAME/cdn": `"CNAMERecord":{"cname":"acct.test"}`,
		"CAA/@": `"caaRecords":[{"flags":0,"tag":"issue","value":"ca.test"}]`, "MX/@": `"MXRecords":[{"preference":1,"exchange":"mail.test"}]`, "NS/sub": `"NSRecords":[{"nsdname":"ns.test"}]`,
		"TXT/@": `"TXTRecords":[{"value":["x"]}]`, "PTR/4": `"PTRRecords":[{"ptrdname":"a.test"}]`, "SRV/_x._tcp": `"SRVRecords":[{"priority":1,"weight":2,"port":3,"target":"a.test"}]`,
		"A/empty": `"ARecords":[]`,
	} {
		_, name, _ := strings.Cut(path, "/")
		r.Must(http.MethodPut, publicZone+"/"+path+publicAPI, `{"properties":{"TTL":300,`+records+`}}`)
		var set map[string]any
		if err := json.Unmarshal([]byte(`{"TTL":300,"targetResource":{},"provisioningState":"Succeeded","fqdn":"`+strings.TrimPrefix(name+".shop.example.", "@.")+`",`+records+`}`), &set); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, r.Request(http.MethodGet, publicZone+"/"+path+publicAPI, "").At("properties")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	soa := r.Request(http.MethodGet, publicZone+"/SOA/@"+publicAPI, "").At("properties", "SOARecord")
	if diff := cmp.Diff(map[string]any{"email": "azuredns-hostmaster.microsoft.com", "expireTime": 2419200., "host": servers[0], "minimumTTL": 300., "refreshTime": 3600., "retryTime": 300., "serialNumber": 1.}, soa); diff != "" {
		t.Errorf("SOA (-want +got):\n%s", diff)
	}
	for _, list := range []string{"recordsets", "all"} {
		if n := len(r.Request(http.MethodGet, publicZone+"/"+list+publicAPI, "").At("value").([]any)); n != 12 {
			t.Errorf("%s: %d sets", list, n)
		}
	}
	r.Must(http.MethodPatch, publicZone+"/A/www"+publicAPI, `{"properties":{"ARecords":[{"ipv4Address":"192.0.2.7"},{"ipv4Address":"192.0.2.8"}]}}`)

	var m *dns.Model
	err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		zones, err := privatedns.PublicZones(tx)
		if err == nil {
			m, err = dns.NewModel(dns.Config{PublicZones: zones})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Resolve("", "www.shop.example", mdns.TypeA).Records; len(got) != 2 || got[1].Addr.String() != "192.0.2.8" {
		t.Errorf("resolved %v", got)
	}
	for why, c := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"no name servers": {"PUT", "/NS/@", `{"properties":{"TTL":60,"NSRecords":[{"nsdname":"ns.test"}]}}`, 400, "BadRequest"},
		"apex NS":         {"DELETE", "/NS/@", "", 400, "BadRequest"},
		"SOA":             {"DELETE", "/SOA/@", "", 405, "MethodNotAllowed"},
		"alias records":   {"PUT", "/A/x", `{"properties":{"TTL":60,"targetResource":{"id":"/subscriptions/s"}}}`, 501, "NotImplemented"},
		"CAA tag":         {"PUT", "/CAA/x", `{"properties":{"TTL":60,"caaRecords":[{"flags":0,"tag":"all","value":"x"}]}}`, 400, "BadRequest"},
		"made private":    {"PUT", "", `{"location":"global","properties":{"zoneType":"Private"}}`, 400, "BadRequest"},
		"private in one":  {"PUT", "x", `{"location":"global","properties":{"zoneType":"Private","resolutionVirtualNetworks":[{"id":"/subscriptions/s"}]}}`, 400, "BadRequest"},
		"public in one":   {"PUT", "x", `{"location":"global","properties":{"resolutionVirtualNetworks":[{"id":"` + group + `virtualNetworks/hub"}]}}`, 400, "BadRequest"},
		"private in none": {"PUT", "x", `{"location":"global","properties":{"zoneType":"Private","resolutionVirtualNetworks":[{"id":"` + group + `virtualNetworks/none"}]}}`, 400, "BadRequest"},
		"private twice":   {"PUT", "x", `{"location":"global","properties":{"zoneType":"Private","registrationVirtualNetworks":[{"id":"` + group + `virtualNetworks/hub"}],"resolutionVirtualNetworks":[{"id":"` + group + `virtualNetworks/hub"}]}}`, 400, "BadRequest"},
		"elsewhere":       {"PUT", "x", `{"location":"westeurope"}`, 400, "LocationNotAvailableForResourceType"},
	} {
		if a := r.Request(c.method, publicZone+c.path+publicAPI, c.body); a.Status != c.status || a.Code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", why, a.Status, a.Text, c.status, c.code)
		}
	}
	r.Must(http.MethodDelete, publicZone+"/NS/sub"+publicAPI, "")
	r.Must(http.MethodDelete, publicZone+publicAPI, "")
	if a := r.Request(http.MethodGet, publicZone+"/NS/@"+publicAPI, ""); a.Status != http.StatusNotFound {
		t.Errorf("the zone's NS set outlived it: %d", a.Status)
	}
}

// TestPrivateOfPublicType: a private zone of the public type has no name servers and no public name; the networks that
// it names see it, and the machines of the first are registered in it.
func TestPrivateOfPublicType(t *testing.T) {
	r := newRig(t)
	inner := strings.Replace(publicZone, "shop.example", "inner.example", 1)
	a := r.Must(http.MethodPut, inner+publicAPI, `{"location":"global","properties":{"zoneType":"private"}}`)
	if a.String("properties", "zoneType") != "Private" || a.At("properties", "nameServers") != nil || a.At("tags") == nil {
		t.Errorf("zone: %s", a.Text)
	}
	r.Must(http.MethodPut, inner+"/A/www"+publicAPI, `{"properties":{"TTL":60,"ARecords":[{"ipv4Address":"10.1.2.3"}]}}`)
	r.vnets["hub"]["vm1"] = []netip.Addr{netip.MustParseAddr("10.20.0.4")}
	named := `{"location":"global","properties":{"zoneType":"Private","registrationVirtualNetworks":[{"id":"` + group + `virtualNetworks/hub"}],"resolutionVirtualNetworks":[{"id":"` + group + `virtualNetworks/spoke"}]}}`
	r.Must(http.MethodPut, inner+publicAPI, named)
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var m *dns.Model
	if err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		public, err := privatedns.PublicZones(tx)
		if len(public) != 0 || err != nil {
			t.Errorf("it is public: %v %v", public, err)
		}
		zones, err := privatedns.Zones(tx)
		if err != nil {
			return err
		}
		links, err := privatedns.Links(tx, func(id arm.ID) (string, bool, error) { return id.Name(), true, nil })
		if err == nil {
			m, err = dns.NewModel(dns.Config{Zones: zones, Links: links, Networks: []dns.Network{{ID: "hub"}, {ID: "spoke"}, {ID: "other"}}})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ vnet, name, want string }{
		{"hub", "www", "10.1.2.3"}, {"spoke", "www", "10.1.2.3"}, {"spoke", "vm1", "10.20.0.4"}, {"other", "www", ""},
	} {
		got := ""
		for _, rec := range m.Resolve(c.vnet, c.name+".inner.example", mdns.TypeA).Records {
			got = rec.Addr.String()
		}
		if got != c.want {
			t.Errorf("%s asks %s: %q, want %q", c.vnet, c.name, got, c.want)
		}
	}
	// One network sees one zone of a name, whichever type says so.
	other := strings.Replace(zone, zone[strings.LastIndex(zone, "/")+1:], "inner.example", 1)
	r.Must(http.MethodPut, other+api, `{"location":"global"}`)
	link := `{"location":"global","properties":{"virtualNetwork":{"id":"` + group + `virtualNetworks/spoke"}}}`
	if a := r.Request(http.MethodPut, other+"/virtualNetworkLinks/l"+api, link); a.Status != http.StatusBadRequest {
		t.Errorf("two zones of one name: %d %s", a.Status, a.Text)
	}
}
