package e2e

import (
	"net"
	"path"
	"strings"
	"testing"
)

// TestOutbound: what a server on the internet sees of a subnet follows Azure's order: the NAT gateway's address,
// else the outbound rule's, else the default outbound one, else nothing comes.
func TestOutbound(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	net0 := w.group + "/providers/Microsoft.Network/"
	standard := obj{"name": "Standard", "tier": "Regional"}
	public := func(name string) string {
		t.Helper()
		ip := w.put(net0+"publicIPAddresses/"+name, vNetwork, obj{"location": location, "sku": standard, "properties": obj{"publicIPAllocationMethod": "Static"}})
		return w.text(ip, "properties.ipAddress")
	}
	byGateway, byRule := public("gateway"), public("rule")
	w.put(net0+"natGateways/nat", vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{
		"publicIpAddresses": []obj{{"id": net0 + "publicIPAddresses/gateway"}}}})
	subnet := path.Dir(w.vnet) + "/other/subnets/default"
	set := func(outbound bool, gateway bool) {
		t.Helper()
		properties := obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": outbound}
		if gateway {
			properties["natGateway"] = obj{"id": net0 + "natGateways/nat"}
		}
		w.put(subnet, vNetwork, obj{"properties": properties})
	}
	const place, stranger = "other/default", "https://www.example.com/"
	seen := func() string {
		t.Helper()
		a, err := w.sendFrom(place, "-token", "-", "GET", stranger)
		if err != nil || !a.ok() {
			t.Fatalf("from %s: %v %v", place, a, err)
		}
		_, from, _ := strings.Cut(strings.TrimSpace(string(a.Body)), "you came from ")
		host, _, err := net.SplitHostPort(from)
		if err != nil {
			t.Fatalf("%s: %v", a.Body, err)
		}
		return host
	}
	byDefault := seen()
	if byDefault == byGateway || byDefault == byRule || strings.HasPrefix(byDefault, "10.") {
		t.Errorf("default outbound access is by %s", byDefault)
	}
	lb := net0 + "loadBalancers/out"
	ref := func(kind, name string) obj { return obj{"id": lb + "/" + kind + "/" + name} }
	address, err := g.output(g.at(place, "probe", "address"))
	if err != nil {
		t.Fatal(err)
	}
	w.put(lb, vNetwork, obj{"location": location, "sku": standard, "properties": obj{
		"frontendIPConfigurations": []obj{{"name": "front", "properties": obj{"publicIPAddress": obj{"id": net0 + "publicIPAddresses/rule"}}}},
		"backendAddressPools": []obj{{"name": "pool", "properties": obj{"virtualNetwork": obj{"id": path.Dir(w.vnet) + "/other"},
			"loadBalancerBackendAddresses": []obj{{"name": "one", "properties": obj{"ipAddress": strings.TrimSpace(address)}}}}}},
		"outboundRules": []obj{{"name": "out", "properties": obj{"protocol": "Tcp",
			"frontendIPConfigurations": []obj{ref("frontendIPConfigurations", "front")}, "backendAddressPool": ref("backendAddressPools", "pool")}}},
	}})
	if from := seen(); from != byRule {
		t.Errorf("with an outbound rule it is seen as %s, want %s", from, byRule)
	}
	set(false, true)
	if from := seen(); from != byGateway {
		t.Errorf("with a NAT gateway it is seen as %s, want %s", from, byGateway)
	}
	if e := g.explain(place, "icmp", "198.51.100.80"); e.Allowed || e.Rule == nil || e.Rule.Rule != "no-outbound" {
		t.Errorf("ping by a NAT gateway: %+v", e)
	}
	set(false, false)
	if from := seen(); from != byRule {
		t.Errorf("without the gateway it is seen as %s, want %s", from, byRule)
	}
	g.reaches(place, "udp", "198.51.100.80:443", "dropped") // the rule is for TCP, and a backend has no default outbound access
}
