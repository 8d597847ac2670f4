package linux

import (
	"fmt"
	"net/netip"

	"vauban.dev/fabric"
)

// BenchmarkWays are the ways between two NICs that MeasureTCPSetup knows beside the security groups: with 100
// user routes beside the way, to a peered virtual network, and through an appliance of the same one, there and
// back; and those to other servers: on the internet by a NAT gateway, by a service endpoint, and by the internal
// frontend of a load balancer. Each NIC has a security group of the default rules.
var BenchmarkWays = [...]string{"routes", "peering", "appliance", "nat", "service-endpoint", "load-balancer"}

// benchWay is the measured pair with one of the ways between, beside the plain one; nil for an unknown way.
func benchWay(way string) *fabric.Topology {
	nsg := &fabric.NSG{ID: "bench-" + way}
	topo := benchTopology(nsg, nil)
	v := &topo.VNets[1]
	for i := range v.Subnets {
		v.Subnets[i].NSG = ""
	}
	table := &fabric.RouteTable{ID: "bench-" + way}
	switch way {
	case "routes":
		for i := range 100 {
			table.Routes = append(table.Routes, fabric.UserRoute{Name: fmt.Sprint("route-", i), Prefix: fmt.Sprintf("10.201.%d.0/24", i), Hop: fabric.HopNone})
		}
	case "peering":
		near, far := netip.MustParsePrefix("10.200.1.0/24"), netip.MustParsePrefix("10.200.2.0/24")
		other := fabric.VNet{ID: "far", Prefixes: []netip.Prefix{far}, Subnets: v.Subnets[1:], NICs: v.NICs[1:]}
		v.Prefixes, v.Subnets, v.NICs = []netip.Prefix{near}, v.Subnets[:1], v.NICs[:1]
		v.Peerings = []fabric.Peering{{ID: "there", Remote: "far", Prefixes: other.Prefixes, Access: true}}
		other.Peerings = []fabric.Peering{{ID: "back", Remote: v.ID, Prefixes: v.Prefixes, Access: true}}
		topo.VNets = append(topo.VNets, other)
		return topo
	case "appliance":
		hop := netip.AddrFrom4([4]byte{10, 200, 3, 4})
		v.Subnets = append(v.Subnets, fabric.Subnet{ID: "appliances", Prefixes: []netip.Prefix{netip.PrefixFrom(hop, 24)}})
		v.NICs = append(v.NICs, fabric.NIC{ID: "appliance", Subnet: "appliances", NSG: nsg.ID, Addrs: []netip.Addr{hop}, Forwarding: true})
		for i, prefix := range []string{"10.200.1.0/24", "10.200.2.0/24"} {
			table.Routes = append(table.Routes, fabric.UserRoute{Name: fmt.Sprint("route-", i), Prefix: prefix, Hop: fabric.HopAppliance, Appliance: hop})
		}
	default:
		return benchOut(way, topo)
	}
	topo.RouteTables = map[string]*fabric.RouteTable{table.ID: table}
	v.Subnets[0].RouteTable, v.Subnets[1].RouteTable = table.ID, table.ID
	return topo
}
