package dns

import (
	"net/netip"
	"testing"
)

// TestSharedPrivate: a workspace's cert name is an alias of the record that its api name has.
func TestSharedPrivate(t *testing.T) {
	z := &PublicZone{}
	lookup := func(string) (exists, private bool) { return true, true }
	for _, suffix := range []string{"ws.api.example", "ws.cert.api.example"} {
		s := Service{Suffix: suffix, Private: "ws.privatelink.example", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Lookup: lookup}
		if err := z.Service(s); err != nil {
			t.Fatal(err)
		}
		r, ok := z.Lookup("g." + suffix)
		if !ok || len(r) != 1 || r[0].Target != "g.ws.privatelink.example" {
			t.Errorf("%s: %v", suffix, r)
		}
	}
	if err := z.Service(Service{Suffix: "ws.privatelink.example", Lookup: lookup}); err == nil {
		t.Error("a service took the private names of another")
	}
}
