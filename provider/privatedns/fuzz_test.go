package privatedns

import (
	"encoding/json"
	"testing"

	mdns "github.com/miekg/dns"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
)

// FuzzRecordSet: what the API accepts, the resolver compiles and can say. A set that it did not compile would
// stop the names of the whole region.
func FuzzRecordSet(f *testing.F) {
	for _, s := range [][3]string{
		{"A", "web", `{"ttl":60,"aRecords":[{"ipv4Address":"10.0.0.1"}]}`},
		{"AAAA", "web", `{"ttl":60,"aaaaRecords":[{"ipv6Address":"fd00::1"}]}`},
		{"CNAME", "*.a", `{"ttl":60,"cnameRecord":{"cname":"x.test."}}`},
		{"MX", "@", `{"ttl":60,"mxRecords":[{"preference":1,"exchange":"m.test"}]}`},
		{"PTR", "4", `{"ttl":60,"ptrRecords":[{"ptrdname":"a.test"}]}`},
		{"SRV", "_x._tcp", `{"ttl":60,"srvRecords":[{"priority":1,"weight":2,"port":3,"target":"a.test"}]}`},
		{"TXT", "t", `{"ttl":60,"txtRecords":[{"value":["a\\","\"b\"","\u0000é"]}]}`},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, kindName, name, body string) {
		id, err := arm.ParseID("/subscriptions/s/resourceGroups/g/providers/" + ZoneType + "/corp.test/" + kindName + "/" + name)
		if err != nil || len(id.Type().Types) != 2 || kindName == "SOA" {
			return
		}
		var k *kind
		for i := range kinds {
			if kinds[i].name == kindName {
				k = &kinds[i]
			}
		}
		r := &rp.Resource[RecordSet]{ID: id}
		if k == nil || json.Unmarshal([]byte(body), &r.Properties) != nil || validateSet(rp.Create, r, nil) != nil {
			return
		}
		set, err := r.Properties.model(id)
		if err != nil {
			t.Fatalf("%s %s %s: %v", kindName, name, body, err)
		}
		if set.Type == mdns.TypeCNAME && len(set.Data) == 0 {
			return
		}
		m, err := dns.NewModel(dns.Config{Zones: []dns.Zone{{ID: "z", Name: "corp.test", Sets: []dns.Set{set}}}, Links: []dns.Link{{VNet: "v", Zone: "z"}}})
		if err != nil {
			t.Fatalf("%s %s %s: %v", kindName, name, body, err)
		}
		asked := name + ".corp.test"
		if name == "@" {
			asked = "corp.test"
		}
		if got := m.Resolve("v", asked, k.t).Records; len(got) == 0 && k.count(&r.Properties) > 0 {
			t.Errorf("%s %s %s: nothing is resolved", kindName, name, body)
		}
	})
}
