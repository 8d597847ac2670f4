package network

import (
	"net/netip"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

type oneTag struct{}

func (oneTag) Prefixes(tag string) ([]netip.Prefix, bool) {
	return []netip.Prefix{netip.MustParsePrefix("20.60.0.0/16"), netip.MustParsePrefix("2603:1000::/32")}, tag == "Storage"
}

// A route that the API accepts compiles, and leads through an appliance exactly when its type says so.
func FuzzRoute(f *testing.F) {
	for _, s := range [][3]string{
		{"10.0.0.0/8", "None", ""}, {"Storage", "internet", ""}, {"0.0.0.0/0", "VirtualAppliance", "10.0.0.4"}, {"0.0.0.0/0", "VirtualAppliance", "::ffff:10.0.0.4"},
		{"10.0.0.1/8", "VnetLocal", "10.0.0.4"}, {"::/0", "VirtualNetworkGateway", ""}, {"10.0.0.0/08", "None", ""}, {"storage/8", "None", "%eth0"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	p := New(Config{Tags: oneTag{}})
	f.Fuzz(func(t *testing.T, prefix, hop, via string) {
		r := &rp.Resource[Route]{ID: arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/routeTables/t/routes/r"),
			Properties: Route{AddressPrefix: prefix, NextHopType: hop, NextHopAddress: via}}
		r.Properties.normalise()
		if p.validateRoute(r) != nil {
			return
		}
		u := r.Properties.compile("r")
		if (u.Hop == fabric.HopAppliance) != u.Appliance.IsValid() {
			t.Errorf("%+v", u)
		}
		top := &fabric.Topology{
			Tags: oneTag{}, RouteTables: map[string]*fabric.RouteTable{"t": {ID: "t", Routes: []fabric.UserRoute{u}}},
			VNets: []fabric.VNet{{ID: "v", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
				Subnets: []fabric.Subnet{{ID: "s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, RouteTable: "t"}},
				NICs:    []fabric.NIC{{ID: "i", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}, Forwarding: true}}}},
		}
		if _, err := fabric.Compile(top); err != nil {
			t.Errorf("accepted, but does not compile: %+v: %v", u, err)
		}
	})
}
