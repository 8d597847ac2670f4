package fabric

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// gatewayMAC is the hardware address of every router-side end: guests may move between hosts and
// restarts without a stale neighbour entry.
const gatewayMAC = "ee:ee:ee:ee:ee:ee"

// closedSysctls are for every namespace: no IPv6, no reverse path filter, which would drop what the anti-spoofing
// rules judge better, and nothing that the host may have switched on: a namespace begins with the host's values.
func closedSysctls() map[string]string {
	s := map[string]string{
		"net.ipv4.ip_forward":                "0",
		"net.ipv6.conf.all.disable_ipv6":     "1",
		"net.ipv6.conf.default.disable_ipv6": "1",
	}
	for _, key := range []string{"rp_filter", "accept_source_route", "accept_redirects", "accept_local", "arp_accept", "bc_forwarding", "route_localnet", "proxy_arp"} {
		s["net.ipv4.conf.all."+key], s["net.ipv4.conf.default."+key] = "0", "0"
	}
	return s
}

// forwarding are those of a router. Proxy ARP answers guests that look for a neighbour, whose subnet is
// routed here too; redirects would tell them to go around the router.
func forwarding() map[string]string {
	s := closedSysctls()
	s["net.ipv4.ip_forward"] = "1"
	s["net.ipv4.conf.all.proxy_arp"] = "1"
	s["net.ipv4.conf.default.proxy_arp"] = "1"
	s["net.ipv4.conf.all.send_redirects"] = "0"
	s["net.ipv4.conf.default.send_redirects"] = "0"
	return s
}

// guest is a namespace with one interface and the fixed gateway as its only neighbour. The gateway is
// the same link-local address everywhere, on lo of each router, for reasons Calico gives too: the
// guest's configuration depends on nothing but its address, no address of the subnet is spent, and
// every packet goes to the router, where the rules are.
// https://docs.tigera.io/calico/latest/reference/faq
func guest(name string, source netip.Addr) Namespace {
	sysctls := closedSysctls()
	sysctls["net.ipv4.ip_unprivileged_port_start"] = "0" // whoever stands here may serve DNS, as on a machine of his own
	return Namespace{
		Name:    name,
		Sysctls: sysctls,
		Routes: []Route{
			{Type: "unicast", Dst: host(Gateway), Dev: GuestInterface},
			{Type: "unicast", Dst: anywhere, Via: Gateway, Dev: GuestInterface, Src: source},
		},
	}
}

// passesOn lets the namespace of a forwarding NIC pass packets on, back out of the interface they came by.
func (ns *Namespace) passesOn() {
	ns.Sysctls["net.ipv4.ip_forward"] = "1"
	ns.Sysctls["net.ipv4.conf.all.send_redirects"] = "0"
	ns.Sysctls["net.ipv4.conf.default.send_redirects"] = "0"
}

// anywhere is the default route.
var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func hosts(addrs []netip.Addr) (out []netip.Prefix) {
	for _, a := range addrs {
		out = append(out, host(a))
	}
	return out
}

func sortPrefixes(p []netip.Prefix) {
	slices.SortFunc(p, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
}

func sortRoutes(r []Route) {
	slices.SortFunc(r, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()))
	})
}

func compareText(a, b string) int { return strings.Compare(a, b) }
