package linux

import (
	"net/netip"

	"vauban.dev/fabric"
)

// benchTarget is what a measured connection is for: where the server stands (the zero place is the NIC "server"),
// the address that it listens on, and the one that the client asks for.
type benchTarget struct {
	at          fabric.Place
	listens, to netip.Addr
}

// Addresses of the servers beside the VNet's own.
var (
	benchHost     = netip.AddrFrom4([4]byte{93, 184, 216, 34})
	benchService  = netip.AddrFrom4([4]byte{20, 60, 1, 1})
	benchFrontend = netip.AddrFrom4([4]byte{10, 200, 2, 100})
)

// wayOut is the server of a way of BenchmarkWays; of all other kinds it is the VNet's.
func wayOut(way string) benchTarget {
	switch way {
	case "nat":
		return benchTarget{fabric.Place{Kind: fabric.AtHost, ID: "bench"}, benchHost, benchHost}
	case "service-endpoint":
		return benchTarget{fabric.Place{Kind: fabric.AtRouter, ID: "filtered"}, benchService, benchService}
	case "load-balancer":
		return benchTarget{listens: benchServer, to: benchFrontend}
	}
	return benchTarget{listens: benchServer, to: benchServer}
}

// benchOut gives the measured VNet a way to such a server; nil for an unknown way.
func benchOut(way string, topo *fabric.Topology) *fabric.Topology {
	v := &topo.VNets[1]
	switch way {
	case "nat":
		topo.Internet.Hosts = []fabric.InternetHost{{Name: "bench", Addr: benchHost}}
		topo.NATGateways = map[string]*fabric.NATGateway{"bench": {ID: "bench", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{20, 51, 0, 1})}}}
		v.Subnets[0].NATGateway = "bench"
	case "service-endpoint":
		service := netip.PrefixFrom(benchService, 16).Masked()
		topo.Internet.ServicePrefixes = []netip.Prefix{service}
		v.Subnets[0].ServiceEndpoints = []fabric.ServiceEndpoint{{Service: "Microsoft.Storage", Prefixes: []netip.Prefix{service}}}
	case "load-balancer":
		server := &v.NICs[1]
		topo.LoadBalancers = []fabric.LoadBalancer{{
			ID: "bench", VNet: v.ID, Frontends: []fabric.Frontend{{ID: "front", Subnet: server.Subnet, Addr: benchFrontend}},
			Rules: []fabric.BalancingRule{{ID: "rule", Frontend: "front", Protocol: fabric.TCP, Port: benchPort, BackendPort: benchPort,
				Backends: []fabric.Backend{{NIC: server.ID, Addr: benchServer}}}},
		}}
	default:
		return nil
	}
	return topo
}
