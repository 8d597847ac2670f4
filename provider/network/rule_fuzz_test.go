package network

import (
	"net/netip"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

type noTags struct{}

func (noTags) Prefixes(tag string) ([]netip.Prefix, bool) { return nil, false }

// What the API accepts the fabric must compile: one rule that it refuses would stop the whole network from
// being applied.
func FuzzRule(f *testing.F) {
	for _, s := range [][6]string{
		{"tcp", "*", "443", "*", "VirtualNetwork", "Inbound"}, {"*", "0-65535", " 80 - 90 ", "10.0.0.0/8", "10.0.0.1", "outbound"},
		{"Icmp", "*", "*", "fd00::1", "::/0", "Inbound"}, {"Ah", "007", "80-80", "0.0.0.0/0", "internet", "Inbound"}, {"Udp", "+1", "1-", "::ffff:10.0.0.1", "fe80::1%eth0", "Inbound"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4], s[5], 100)
	}
	p := New(Config{Tags: noTags{}})
	f.Fuzz(func(t *testing.T, protocol, from, to, source, destination, direction string, priority int) {
		r := &rp.Resource[Rule]{ID: arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n/securityRules/r"), Properties: Rule{
			Protocol: protocol, SourcePortRange: from, DestinationPortRange: to, SourceAddressPrefix: source, DestinationAddressPrefix: destination,
			Access: "Deny", Direction: direction, Priority: priority,
		}}
		r.Properties.normalise()
		if p.validateRule(r) != nil {
			return
		}
		rule, ok := r.Properties.compile("r")
		if !ok {
			return
		}
		top := &fabric.Topology{
			Tags: noTags{}, NSGs: map[string]*fabric.NSG{"n": {ID: "n", Rules: []fabric.Rule{rule}}},
			VNets: []fabric.VNet{{ID: "v", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Subnets: []fabric.Subnet{{ID: "s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, NSG: "n"}},
				NICs: []fabric.NIC{{ID: "i", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}}}}},
		}
		if _, err := fabric.Compile(top); err != nil {
			t.Errorf("accepted, but does not compile: %+v: %v", rule, err)
		}
	})
}

// Every address that is given lies in its prefix and is not one of Azure's.
func FuzzUsable(f *testing.F) {
	f.Add(uint32(0x0a000000), 29)
	f.Add(uint32(0xffffffff), 30)
	f.Add(uint32(0xffffff00), 24)
	f.Fuzz(func(t *testing.T, n uint32, bits int) {
		if bits < 20 || bits > 32 {
			return
		}
		pre := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), bits).Masked()
		count := 0
		for a := range usable(pre) {
			if !pre.Contains(a) || isReserved(pre, a) {
				t.Errorf("%s gives %s", pre, a)
			}
			count++
		}
		if want := max(1<<(32-bits)-5, 0); count != want {
			t.Errorf("%s gives %d addresses, want %d", pre, count, want)
		}
	})
}
