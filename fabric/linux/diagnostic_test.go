package linux

import (
	"testing"

	"vauban.dev/fabric"
)

// The platform's two addresses are reached past groups that refuse everything, past routes that lead all and
// each of them nowhere, and by a NIC that has no way out; only a rule that names an address's own tag refuses it.
// https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
func TestDiagnosticAddresses(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := testTopology()
	any := fabric.AnyProtocol
	topo.NSGs["nsg-nothing"] = &fabric.NSG{ID: "nsg-nothing", Rules: []fabric.Rule{
		rule("out", 100, fabric.Outbound, false, any, "*", "*", "*"), rule("in", 100, fabric.Inbound, false, any, "*", "*", "*"),
		rule("by-address", 110, fabric.Outbound, false, any, "*", "168.63.129.16,169.254.169.254", "*"),
	}}
	topo.NSGs["nsg-no-dns"] = &fabric.NSG{ID: "nsg-no-dns", Rules: []fabric.Rule{rule("no-dns", 100, fabric.Outbound, false, any, "*", "AzurePlatformDNS", "*")}}
	topo.NSGs["nsg-no-imds"] = &fabric.NSG{ID: "nsg-no-imds", Rules: []fabric.Rule{rule("no-imds", 100, fabric.Outbound, false, any, "*", "AzurePlatformIMDS", "*")}}
	topo.RouteTables = map[string]*fabric.RouteTable{"rt": {ID: "rt", Routes: []fabric.UserRoute{
		{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopNone}, {Name: "dns", Prefix: "168.63.129.16/32", Hop: fabric.HopNone},
		{Name: "imds", Prefix: "169.254.169.254/32", Hop: fabric.HopAppliance, Appliance: addr("10.0.1.5")},
	}}}
	for i := range topo.VNets[0].Subnets {
		topo.VNets[0].Subnets[i].RouteTable = "rt"
	}
	groups := map[string]string{web1: "nsg-nothing", web2: "nsg-no-dns", data1: "nsg-no-imds", lone1: "nsg-nothing"}
	for i := range topo.VNets[0].NICs {
		n := &topo.VNets[0].NICs[i]
		if g := groups[n.ID]; g != "" {
			n.NSG = g
		}
	}
	apply(t, d, compile(t, topo))
	here := router(vnet1)
	var probes []probe
	var want []outcome
	for _, c := range []struct {
		nic, src string
		proto    fabric.Protocol
		port     uint16
		dns      bool
		by       *fabric.RuleRef
	}{
		{nic: web1, src: "10.0.1.4", proto: fabric.UDP, port: 53, dns: true},
		{nic: web1, src: "10.0.1.4", proto: fabric.TCP, port: 53, dns: true},
		{nic: web1, src: "10.0.1.4", proto: fabric.TCP, port: 80},
		{nic: lone1, src: "10.0.4.4", proto: fabric.UDP, port: 53, dns: true},
		{nic: lone1, src: "10.0.4.4", proto: fabric.TCP, port: 80},
		{nic: web2, src: "10.0.1.5", proto: fabric.UDP, port: 53, dns: true, by: nsgRule("nsg-no-dns", fabric.Outbound, "no-dns")},
		{nic: web2, src: "10.0.1.5", proto: fabric.TCP, port: 80},
		{nic: data1, src: "10.0.2.4", proto: fabric.UDP, port: 53, dns: true},
		{nic: data1, src: "10.0.2.4", proto: fabric.TCP, port: 80, by: nsgRule("nsg-no-imds", fabric.Outbound, "no-imds")},
		{nic: web1, src: "10.0.1.4", proto: fabric.TCP, port: 22, dns: true, by: fabricRule(fabric.RulePlatform)},
	} {
		p := probe{from: nic(c.nic), src: addr(c.src), dst: fabric.IMDS, proto: c.proto, dport: c.port}
		if c.dns {
			p.dst = fabric.WireServer
		}
		o := outcome{at: fabric.NSName(here)}
		if c.by != nil {
			o = outcome{by: *c.by}
		}
		probes, want = append(probes, p), append(want, o)
	}
	for i, got := range newProber(t, d).send(t, probes) {
		if !got.is(want[i]) {
			t.Errorf("%v: %s, want %s", probes[i], got, want[i])
		}
		e := fabric.Explain(topo, fabric.Flow{From: probes[i].from, Source: probes[i].src, Dst: probes[i].dst, Protocol: probes[i].proto, SrcPort: probes[i].sport, DstPort: probes[i].dport})
		if (e.Verdict == fabric.Allowed) != (want[i].at != "") || e.By != want[i].by {
			t.Errorf("the model says %v", e)
		}
	}
}
