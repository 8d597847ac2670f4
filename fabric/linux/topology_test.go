package linux

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/fabric"
)

// tagMap is a fabric.TagSource of a few made-up prefixes.
type tagMap map[string][]netip.Prefix

func (m tagMap) Prefixes(tag string) ([]netip.Prefix, bool) {
	p, ok := m[strings.ToLower(tag)]
	return p, ok
}

func testTags() tagMap {
	return tagMap{
		"storage": {pfx("20.60.0.0/16"), pfx("52.239.128.0/17")},
		"sql":     {pfx("13.66.0.0/16"), pfx("40.79.84.180/32")},
	}
}

func rule(name string, priority int, dir fabric.Direction, allow bool, proto fabric.Protocol, src, dst, ports string) fabric.Rule {
	return fabric.Rule{
		Name: name, Priority: priority, Direction: dir, Allow: allow, Protocol: proto,
		Source: strings.Split(src, ","), Destination: strings.Split(dst, ","),
		SourcePorts: []string{"*"}, DestinationPorts: strings.Split(ports, ","),
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Ids of the test topology.
const (
	vnet1, vnet2             = "vnet-1", "vnet-2"
	web1, web2, data1, lone1 = "web-1", "web-2", "data-1", "lone-1"
	twin1, twin2             = "twin-web-1", "twin-data-1"
	publicNIC                = "public-1"
	endpoint                 = "storage-endpoint"
	attacker                 = "attacker"
)

// testTopology has two VNets with the same addresses. In the first: a web and a data subnet with an
// NSG each, a subnet with a private endpoint whose NSG applies, one without NSG and without
// outbound access, and one with a public address.
func testTopology() *fabric.Topology {
	any := fabric.AnyProtocol
	return &fabric.Topology{
		Tags: testTags(),
		NSGs: map[string]*fabric.NSG{
			"nsg-web": {ID: "nsg-web", Rules: []fabric.Rule{
				rule("no-telnet", 100, fabric.Inbound, false, fabric.TCP, "*", "*", "23"),
				rule("no-sql", 110, fabric.Outbound, false, any, "*", "Sql", "*"),
				rule("no-8443-to-endpoint", 120, fabric.Outbound, false, fabric.TCP, "10.0.1.5", "10.0.3.0/24", "*"),
				rule("internet-only-storage", 200, fabric.Outbound, true, fabric.TCP, "*", "Storage", "443"),
				rule("no-internet", 210, fabric.Outbound, false, any, "*", "Internet", "*"),
			}},
			"nsg-data": {ID: "nsg-data", Rules: []fabric.Rule{
				rule("sql-from-web", 100, fabric.Inbound, true, fabric.TCP, "10.0.1.0/24", "10.0.2.0/24", "1433"),
				rule("no-vnet", 200, fabric.Inbound, false, any, "VirtualNetwork", "*", "*"),
			}},
			"nsg-endpoint": {ID: "nsg-endpoint", Rules: []fabric.Rule{
				rule("not-from-data", 100, fabric.Inbound, false, any, "10.0.2.0/24", "*", "*"),
			}},
			"nsg-public": {ID: "nsg-public", Rules: []fabric.Rule{
				rule("ssh", 100, fabric.Inbound, true, fabric.TCP, "Internet", "*", "22"),
			}},
		},
		Internet: fabric.Internet{
			ServicePrefixes: []netip.Prefix{pfx("20.60.0.0/16"), pfx("13.66.0.0/16")},
			Hosts:           []fabric.InternetHost{{Name: attacker, Addr: addr("198.51.100.7")}},
		},
		VNets: []fabric.VNet{
			{
				ID: vnet1, Prefixes: []netip.Prefix{pfx("10.0.0.0/16")},
				Subnets: []fabric.Subnet{
					{ID: "web", Prefixes: []netip.Prefix{pfx("10.0.1.0/24")}, NSG: "nsg-web", DefaultOutbound: true},
					{ID: "data", Prefixes: []netip.Prefix{pfx("10.0.2.0/24")}, NSG: "nsg-data", DefaultOutbound: true},
					{ID: "endpoints", Prefixes: []netip.Prefix{pfx("10.0.3.0/24")}, NSG: "nsg-endpoint", EndpointPolicies: true},
					{ID: "lone", Prefixes: []netip.Prefix{pfx("10.0.4.0/24")}},
					{ID: "public", Prefixes: []netip.Prefix{pfx("10.0.5.0/24")}, NSG: "nsg-public"},
				},
				NICs: []fabric.NIC{
					{ID: web1, Subnet: "web", Addrs: []netip.Addr{addr("10.0.1.4")}},
					{ID: web2, Subnet: "web", Addrs: []netip.Addr{addr("10.0.1.5")}},
					{ID: data1, Subnet: "data", Addrs: []netip.Addr{addr("10.0.2.4")}},
					{ID: lone1, Subnet: "lone", Addrs: []netip.Addr{addr("10.0.4.4")}},
					{ID: publicNIC, Subnet: "public", Addrs: []netip.Addr{addr("10.0.5.4")}, Public: []fabric.PublicAddress{{Private: addr("10.0.5.4"), Public: addr("20.50.0.9")}}},
					{ID: endpoint, Subnet: "endpoints", Kind: fabric.Endpoint, Addrs: []netip.Addr{addr("10.0.3.4")},
						Service: &fabric.Service{Target: "account", GroupID: "blob", Ports: []uint16{443}}},
				},
			},
			{
				ID: vnet2, Prefixes: []netip.Prefix{pfx("10.0.0.0/16")},
				Subnets: []fabric.Subnet{{ID: "twin", Prefixes: []netip.Prefix{pfx("10.0.0.0/16")}, DefaultOutbound: true}},
				NICs: []fabric.NIC{
					{ID: twin1, Subnet: "twin", Addrs: []netip.Addr{addr("10.0.1.4")}},
					{ID: twin2, Subnet: "twin", Addrs: []netip.Addr{addr("10.0.2.4")}},
				},
			},
		},
	}
}

func compile(t testing.TB, topo *fabric.Topology) *fabric.State {
	t.Helper()
	s, err := fabric.Compile(topo)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fabricRule(name string) *fabric.RuleRef {
	r := fabric.FabricRule(name)
	return &r
}

func nsgRule(owner string, d fabric.Direction, name string) *fabric.RuleRef {
	return &fabric.RuleRef{Owner: owner, Direction: d, Rule: name}
}

// What each probe must meet: the namespace that it arrives in, or the rule that refuses it.
func TestProbes(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := newProber(t, d)
	internet := fabric.Place{Kind: fabric.AtInternet}
	host := fabric.Place{Kind: fabric.AtHost, ID: attacker}
	for _, c := range []struct {
		from  fabric.Place
		src   string
		dst   string
		proto fabric.Protocol
		port  uint16
		to    fabric.Place    // where it must arrive
		by    *fabric.RuleRef // or what must refuse it
	}{
		// Within the VNet.
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.1.5", proto: fabric.TCP, port: 80, to: nic(web2)},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.1.5", proto: fabric.TCP, port: 23, by: nsgRule("nsg-web", fabric.Inbound, "no-telnet")},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.2.4", proto: fabric.TCP, port: 1433, to: nic(data1)},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.2.4", proto: fabric.UDP, port: 1433, by: nsgRule("nsg-data", fabric.Inbound, "no-vnet")},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.2.4", proto: fabric.ICMP, by: nsgRule("nsg-data", fabric.Inbound, "no-vnet")},
		{from: nic(data1), src: "10.0.2.4", dst: "10.0.1.4", proto: fabric.ICMP, to: nic(web1)},
		{from: nic(lone1), src: "10.0.4.4", dst: "10.0.1.4", proto: fabric.UDP, port: 53, to: nic(web1)},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.4.4", proto: fabric.TCP, port: 1, to: nic(lone1)},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.9.9", proto: fabric.TCP, port: 1, by: fabricRule(fabric.RuleNoRoute)},
		// Spoofed sources.
		{from: nic(web1), src: "10.0.1.5", dst: "10.0.4.4", proto: fabric.UDP, port: 53, by: fabricRule(fabric.RuleAntiSpoof)},
		{from: nic(web1), src: "10.0.2.4", dst: "10.0.3.4", proto: fabric.TCP, port: 443, by: fabricRule(fabric.RuleAntiSpoof)},
		{from: nic(web1), src: "8.8.8.8", dst: "20.60.0.1", proto: fabric.TCP, port: 443, by: fabricRule(fabric.RuleAntiSpoof)},
		{from: host, src: "10.0.1.4", dst: "20.50.0.9", proto: fabric.TCP, port: 22, by: fabricRule(fabric.RuleAntiSpoof)},
		// The private endpoint: its port only, filtered by the client's outbound and its own inbound rules.
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.3.4", proto: fabric.TCP, port: 443, to: router(vnet1)},
		{from: nic(lone1), src: "10.0.4.4", dst: "10.0.3.4", proto: fabric.TCP, port: 443, to: router(vnet1)},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.3.4", proto: fabric.TCP, port: 444, by: fabricRule(fabric.RuleEndpointPort)},
		{from: nic(web1), src: "10.0.1.4", dst: "10.0.3.4", proto: fabric.UDP, port: 443, by: fabricRule(fabric.RuleEndpointPort)},
		{from: nic(web2), src: "10.0.1.5", dst: "10.0.3.4", proto: fabric.TCP, port: 443, by: nsgRule("nsg-web", fabric.Outbound, "no-8443-to-endpoint")},
		{from: nic(data1), src: "10.0.2.4", dst: "10.0.3.4", proto: fabric.TCP, port: 443, by: nsgRule("nsg-endpoint", fabric.Inbound, "not-from-data")},
		// The platform.
		{from: nic(web1), src: "10.0.1.4", dst: "168.63.129.16", proto: fabric.UDP, port: 53, to: router(vnet1)},
		{from: nic(web1), src: "10.0.1.4", dst: "169.254.169.254", proto: fabric.TCP, port: 80, to: router(vnet1)},
		{from: nic(web1), src: "10.0.1.4", dst: "169.254.169.254", proto: fabric.TCP, port: 81, by: fabricRule(fabric.RulePlatform)},
		// The internet.
		{from: nic(web1), src: "10.0.1.4", dst: "20.60.7.7", proto: fabric.TCP, port: 443, to: internet},
		{from: nic(web1), src: "10.0.1.4", dst: "20.60.7.7", proto: fabric.TCP, port: 80, by: nsgRule("nsg-web", fabric.Outbound, "no-internet")},
		{from: nic(web1), src: "10.0.1.4", dst: "13.66.1.1", proto: fabric.TCP, port: 1433, by: nsgRule("nsg-web", fabric.Outbound, "no-sql")},
		{from: nic(data1), src: "10.0.2.4", dst: "13.66.1.1", proto: fabric.TCP, port: 1433, to: internet},
		{from: nic(data1), src: "10.0.2.4", dst: "198.51.100.7", proto: fabric.UDP, port: 9, to: host},
		{from: nic(data1), src: "10.0.2.4", dst: "198.51.100.7", proto: fabric.ICMP, by: fabricRule(fabric.RuleNoOutbound)},
		{from: nic(lone1), src: "10.0.4.4", dst: "198.51.100.7", proto: fabric.UDP, port: 9, by: fabricRule(fabric.RuleNoOutbound)},
		{from: nic(publicNIC), src: "10.0.5.4", dst: "198.51.100.7", proto: fabric.UDP, port: 9, to: host},
		{from: host, src: "198.51.100.7", dst: "20.50.0.9", proto: fabric.TCP, port: 22, to: nic(publicNIC)},
		{from: host, src: "198.51.100.7", dst: "20.50.0.9", proto: fabric.TCP, port: 23, by: nsgRule("nsg-public", fabric.Inbound, "DenyAllInBound")},
		{from: host, src: "198.51.100.7", dst: "20.60.1.1", proto: fabric.TCP, port: 443, to: internet},
		{from: host, src: "198.51.100.7", dst: "9.9.9.9", proto: fabric.TCP, port: 443, by: fabricRule(fabric.RuleNoRoute)},
		// The second VNet has the same addresses, no rules, and nothing to do with the first.
		{from: nic(twin1), src: "10.0.1.4", dst: "10.0.2.4", proto: fabric.UDP, port: 9, to: nic(twin2)},
		{from: nic(twin1), src: "10.0.1.4", dst: "10.0.4.4", proto: fabric.UDP, port: 9, by: fabricRule(fabric.RuleNoRoute)},
		{from: nic(twin1), src: "10.0.1.4", dst: "20.60.7.7", proto: fabric.TCP, port: 80, to: internet},
	} {
		name := fmt.Sprintf("%s %s to %s:%d %d", c.from.ID, c.src, c.dst, c.port, c.proto)
		pr := probe{from: c.from, src: addr(c.src), dst: addr(c.dst), proto: c.proto, dport: c.port}
		got := p.send(t, []probe{pr})[0]
		want := outcome{at: fabric.NSName(c.to)}
		if c.by != nil {
			want = outcome{by: *c.by}
		}
		if !got.is(want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
