package origin_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/origin"
)

func TestContext(t *testing.T) {
	if o := origin.FromContext(context.Background()); o.Kind != origin.Unknown {
		t.Errorf("a context without an origin has %v", o)
	}
	want := origin.Origin{Kind: origin.PrivateEndpoint, Source: netip.MustParseAddr("10.0.0.4"), Endpoint: "/pe"}
	if got := origin.FromContext(origin.NewContext(context.Background(), want)); got != want {
		t.Errorf("got %v", got)
	}
}

// TestStrings: refusals name the caller by these.
func TestStrings(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.4")
	for kind, part := range map[origin.Kind]string{
		origin.Unknown: "unknown origin", origin.Internet: "from the internet", origin.ServiceEndpoint: "service endpoint of subnet /s",
		origin.PrivateEndpoint: "private endpoint /pe", origin.Loopback: "loopback", origin.Platform: "virtual network /v",
	} {
		s := origin.Origin{Kind: kind, Source: a, Subnet: "/s", Endpoint: "/pe", VNet: "/v"}.String()
		if !strings.Contains(s, part) {
			t.Errorf("%v: %q lacks %q", kind, s, part)
		}
		if kind.String() == "" {
			t.Errorf("kind %d has no name", kind)
		}
	}
}
