package main

import (
	"net/netip"
	"testing"

	"vauban.dev/fabric/dns"
)

// A name is served where it leads, by its aliases, or led once: at no other service's address.
func TestPublicZoneLeads(t *testing.T) {
	storage, moved, login := netip.MustParseAddr("20.60.0.1"), netip.MustParseAddr("20.60.0.2"), netip.MustParseAddr("20.190.0.1")
	zone := func(front netip.Addr) *dns.PublicZone {
		z := &dns.PublicZone{}
		for _, err := range []error{
			z.Host("login.microsoftonline.com", login),
			z.Host("stamp.store.core.windows.net", front),
			z.Service(dns.Service{Suffix: "blob.core.windows.net", Front: "stamp.store.core.windows.net",
				Lookup: func(label string) (exists, private bool) { return label == "acct", true }, Private: "privatelink.blob.core.windows.net"}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return z
	}
	var z publicZone
	first := zone(storage)
	z.put(first)
	const acct = "acct.blob.core.windows.net"
	check := func(host string, at netip.Addr, want bool) {
		t.Helper()
		if got := z.leads(host, at); got != want {
			t.Errorf("%s at %s: %v", host, at, got)
		}
	}
	check(acct, storage, true)
	check(acct, login, false)
	check(acct, netip.Addr{}, false)
	check("none.blob.core.windows.net", storage, false)
	check("login.microsoftonline.com", login, true)
	check("login.microsoftonline.com", storage, false)
	z.put(zone(moved))
	check(acct, moved, true)
	check(acct, storage, true)
	z.put(first)
	check(acct, storage, true)
	if n := len(*z.all.Load()); n != 2 {
		t.Errorf("%d zones are kept", n)
	}
	if r, _ := z.Lookup("stamp.store.core.windows.net"); len(r) != 1 || r[0].Addr != storage {
		t.Errorf("the zone in force: %v", r)
	}
}
