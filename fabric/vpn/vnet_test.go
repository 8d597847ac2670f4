package vpn

import (
	"net/netip"
	"testing"

	"vauban.dev/fabric"
)

const webNIC = "web"

// hub is the topology of a gateway with a machine behind it, whose NSG knows the clients' addresses.
func hub(tunnels ...fabric.Tunnel) *fabric.Topology {
	t := topology(tunnels...)
	v := &t.VNets[0]
	v.Subnets = append(v.Subnets, fabric.Subnet{ID: "web", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, NSG: "nsg"})
	v.NICs = append(v.NICs, fabric.NIC{ID: webNIC, Subnet: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.4")}},
		fabric.NIC{ID: "endpoint", Subnet: "web", Kind: fabric.Endpoint, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.5")}, Service: &fabric.Service{Ports: []uint16{443}}})
	for _, x := range tunnels {
		for _, p := range x.Prefixes {
			v.GatewayRoutes = append(v.GatewayRoutes, fabric.GatewayRoute{Prefix: p, NIC: gatewayNIC})
		}
	}
	any := []string{"*"}
	rule := func(name string, priority int, allow bool, source, port string) fabric.Rule {
		return fabric.Rule{Name: name, Priority: priority, Direction: fabric.Inbound, Allow: allow, Protocol: fabric.TCP,
			Source: []string{source}, Destination: any, SourcePorts: any, DestinationPorts: []string{port}}
	}
	t.NSGs["nsg"] = &fabric.NSG{ID: "nsg", Rules: []fabric.Rule{
		rule("no-clients-on-81", 100, false, pool.String(), "81"),
		rule("network-on-80-and-81", 110, true, "VirtualNetwork", "80-81"),
		rule("nobody-else", 120, false, "*", "*"),
	}}
	return t
}

func TestClientInTheNetwork(t *testing.T) {
	p2sTunnel := fabric.Tunnel{Name: p2s, Prefixes: []netip.Prefix{pool}}
	r := newRig(t, p2sTunnel)
	s, err := fabric.Compile(hub(p2sTunnel))
	if err == nil {
		err = r.driver.Apply(t.Context(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"80", "81", "82"} {
		r.serveAt(webNIC, "10.0.1.4:"+port)
	}
	r.listen(fabric.Place{Kind: fabric.AtRouter, ID: "vnet"}, "10.0.1.5:443")
	gateway, alice := NewPrivateKey(), NewPrivateKey()
	r.set(Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway, Peers: []Peer{client(alice, "172.20.0.2")}})
	r.join(r.profile(gateway, alice, "172.20.0.2"))

	// The pool is in VirtualNetwork, and the machine sees the client's own address.
	got, err := r.call("10.0.1.4:80", patient)
	if err != nil || got != "172.20.0.2" {
		t.Fatalf("the machine saw %q, %v", got, err)
	}
	// So does a private endpoint, whose answers go back by the gateway.
	if got, err := r.call("10.0.1.5:443", patient); err != nil || got != "172.20.0.2" {
		t.Errorf("the private endpoint saw %q, %v", got, err)
	}
	// What a rule denies is counted there, and the model says so too.
	for _, c := range []struct {
		port uint16
		by   fabric.RuleRef
	}{
		{81, fabric.RuleRef{Owner: "nsg", Direction: fabric.Inbound, Rule: "no-clients-on-81"}},
		{82, fabric.RuleRef{Owner: "nsg", Direction: fabric.Inbound, Rule: "nobody-else"}},
	} {
		before := r.count(c.by)
		to := netip.AddrPortFrom(netip.MustParseAddr("10.0.1.4"), c.port)
		if _, err := r.call(to.String(), quick); err == nil {
			t.Errorf("port %d is open", c.port)
		}
		if r.count(c.by) == before {
			t.Errorf("port %d: %s counted nothing", c.port, c.by)
		}
		e := fabric.Explain(hub(p2sTunnel), fabric.Flow{From: fabric.Place{Kind: fabric.AtNIC, ID: gatewayNIC}, Source: netip.MustParseAddr("172.20.0.2"),
			Dst: to.Addr(), Protocol: fabric.TCP, SrcPort: 40000, DstPort: c.port})
		if e.Verdict != fabric.Denied || e.By != c.by {
			t.Errorf("port %d: the model says %s", c.port, e)
		}
	}
	// The platform's addresses are not the clients', whatever routes they have.
	spoof := fabric.FabricRule(fabric.RuleAntiSpoof)
	before := r.count(spoof)
	r.configure("wg-"+t.Name(), []netip.Prefix{netip.MustParsePrefix("172.20.0.2/32")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.PrefixFrom(fabric.IMDS, 32)})
	if err := r.everywhere(gateway.Public()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.call(netip.AddrPortFrom(fabric.IMDS, 80).String(), quick); err == nil {
		t.Error("a client reached the metadata service")
	}
	if r.count(spoof) == before {
		t.Error("nothing counted what went to the metadata service")
	}
	// Revoked, she is cut off at once.
	r.set(Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway})
	if _, err := r.call("10.0.1.4:80", quick); err == nil {
		t.Error("a revoked client still got through")
	}
}
