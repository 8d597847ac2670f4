package linux

import (
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric"
)

// denied is the rule of a handmade state that refuses.
var denied = fabric.RuleRef{Owner: "nsg", Direction: fabric.Inbound, Rule: "DenyAll"}

// handState is a small network that does not come from fabric.Compile, to test the driver alone: the router of VNet
// "v" with a guest NIC for each address, whose id is its address. allow are the rules of the forward chain before everything
// else is dropped.
func handState(addrs []string, allow ...string) *fabric.State {
	r := fabric.RouterNS("v")
	ns := fabric.Namespace{
		Name:    r,
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.proxy_arp": "1", "net.ipv4.conf.default.proxy_arp": "1"},
		Addrs:   []netip.Prefix{netip.PrefixFrom(fabric.Gateway, 32), netip.PrefixFrom(fabric.IMDS, 32)},
		Local:   []netip.Prefix{pfx("20.0.0.0/16")},
		Rules: []fabric.PolicyRule{{Priority: 100, IIF: fabric.NICNS(addrs[0]), Table: 100}, {Priority: 101, FwMark: 7, Table: 101},
			{Priority: 102, FwMark: 0x10000, FwMask: 0x10000, Table: 102}, {Priority: 103, Table: fabric.LocalTable}},
		Routes: []fabric.Route{{Type: "local", Dst: pfx("0.0.0.0/0"), Dev: "lo", Table: 102}, {Type: "blackhole", Dst: pfx("9.0.0.0/8"), Table: 100}, {Type: "blackhole", Dst: pfx("9.1.0.0/16"), Table: 101}},
		Objects: []fabric.Object{
			counter(denied.Counter()),
			chain("allow", allow...),
			chain("refuse", `counter name "`+denied.Counter()+`" log prefix "`+denied.Counter()+`" group 5 drop`),
			baseChain("forward", "forward", "ct state established,related accept", "jump allow", "goto refuse"),
		},
	}
	s := &fabric.State{Counters: map[string]fabric.RuleRef{denied.Counter(): denied}}
	for _, a := range addrs {
		n := fabric.NICNS(a)
		p := pfx(a + "/32")
		s.Namespaces = append(s.Namespaces, fabric.Namespace{Name: n, Routes: []fabric.Route{
			{Type: "unicast", Dst: pfx("0.0.0.0/0"), Via: fabric.Gateway, Dev: fabric.GuestInterface},
			{Type: "unicast", Dst: netip.PrefixFrom(fabric.Gateway, 32), Dev: fabric.GuestInterface},
		}})
		s.Veths = append(s.Veths, fabric.Veth{
			A: fabric.End{Namespace: r, Interface: n}, B: fabric.End{Namespace: n, Interface: fabric.GuestInterface},
			MAC: "12:34:56:78:9a:bc", MACB: fabric.NICMAC(a), AddrB: []netip.Prefix{p}})
		ns.Routes = append(ns.Routes, fabric.Route{Type: "unicast", Dst: p, Dev: n})
	}
	s.Namespaces = append(s.Namespaces, ns)
	slices.SortFunc(s.Namespaces, func(a, b fabric.Namespace) int { return strings.Compare(a.Name, b.Name) })
	return s
}
