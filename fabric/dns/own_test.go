package dns

import (
	"net/netip"
	"strings"
	"testing"
)

// Names of a family may have a front, or addresses, of their own.
func TestOwnFront(t *testing.T) {
	family, own := netip.MustParseAddr("20.60.0.1"), netip.MustParseAddr("20.60.0.2")
	var z PublicZone
	if err := z.Host("stamp.north", own); err != nil {
		t.Fatal(err)
	}
	err := z.Service(Service{
		Suffix: "blob.test", Private: "privatelink.blob.test", Front: "stamp.west", Addrs: []netip.Addr{family},
		Lookup: func(label string) (exists, private bool) { return true, strings.HasPrefix(label, "private") },
		Own: func(label string) (string, []netip.Addr) {
			switch {
			case strings.HasSuffix(label, "north"):
				return "Stamp.North", nil
			case label == "alone":
				return "", []netip.Addr{own}
			}
			return "", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"west.blob.test": "stamp.west", "north.blob.test": "stamp.north", "alone.blob.test": own.String(),
		"privatenorth.blob.test": "privatenorth.privatelink.blob.test", "privatenorth.privatelink.blob.test": "stamp.north",
	} {
		r, ok := z.Lookup(name)
		if !ok || len(r) != 1 || (r[0].Target != want && r[0].Addr.String() != want) {
			t.Errorf("%s: %+v, want %s", name, r, want)
		}
	}
}
