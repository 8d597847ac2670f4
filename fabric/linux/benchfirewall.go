package linux

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

// MeasureFirewall measures what an Azure Firewall with so many network rules by name costs a new connection that the last
// of them allows, as a ratio to an appliance in the same place that passes everything on.
func MeasureFirewall(ctx context.Context, rules int) (result SetupResult, err error) {
	result = SetupResult{Kind: "firewall", Rules: rules}
	err = withBenchDriver(ctx, func(d *Driver) error {
		start := time.Now()
		s, err := fabric.Compile(firewallBench(rules))
		if err != nil {
			return err
		}
		if err := d.Apply(ctx, s); err != nil {
			return err
		}
		at := fabric.Place{Kind: fabric.AtNIC, ID: "filtered/appliance"}
		if err := d.Learn(at, fabric.LearnedSet([]string{benchName(rules - 1)}), []netip.Addr{benchServer}, time.Hour); err != nil {
			return err
		}
		result.Load = time.Since(start)
		plain, err := d.newDialer(ctx, "plain", wayOut(""))
		if err != nil {
			return err
		}
		defer plain.close()
		filtered, err := d.newDialer(ctx, "filtered", wayOut(""))
		if err != nil {
			return err
		}
		defer filtered.close()
		return result.measure(ctx, plain, filtered)
	})
	return result, err
}

func benchName(i int) string { return fmt.Sprintf("host%d.example", i) }

// firewallBench is two VNets with the same addresses, whose clients and servers reach each other through an appliance:
// "filtered" by a firewall, "plain" by one that judges nothing.
func firewallBench(rules int) *fabric.Topology {
	appliance := netip.AddrFrom4([4]byte{10, 200, 3, 4})
	f := &azurefirewall.Firewall{ID: "filtered", Addrs: []netip.Addr{appliance}, DNSProxy: true, PrivateRanges: azurefirewall.DefaultPrivateRanges()}
	c := azurefirewall.Collection{Name: "names", Priority: 100}
	for i := range rules {
		c.Network = append(c.Network, azurefirewall.NetworkRule{Name: fmt.Sprint(i), Protocols: []azurefirewall.Protocol{azurefirewall.TCP}, Sources: []string{"10.200.0.0/16"},
			FQDNs: []string{benchName(i)}, Ports: []string{fmt.Sprint(benchPort)}})
	}
	f.Groups = []azurefirewall.Group{{Name: "g", Priority: 100, Collections: []azurefirewall.Collection{c}}}
	route := func(name, to string) fabric.UserRoute {
		return fabric.UserRoute{Name: name, Prefix: to, Hop: fabric.HopAppliance, Appliance: appliance}
	}
	vnet := func(id string, f *azurefirewall.Firewall) fabric.VNet {
		return fabric.VNet{
			ID: id, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Subnets: []fabric.Subnet{
				{ID: id + "/clients", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.200.1.0/24")}, RouteTable: "out"},
				{ID: id + "/servers", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.200.2.0/24")}, RouteTable: "back"},
				{ID: id + "/appliances", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.200.3.0/24")}},
			},
			NICs: []fabric.NIC{
				{ID: id + "/client", Subnet: id + "/clients", Addrs: []netip.Addr{benchClient}},
				{ID: id + "/server", Subnet: id + "/servers", Addrs: []netip.Addr{benchServer}},
				{ID: id + "/appliance", Subnet: id + "/appliances", Addrs: []netip.Addr{appliance}, Forwarding: true, Firewall: f},
			},
		}
	}
	return &fabric.Topology{
		VNets: []fabric.VNet{vnet("plain", nil), vnet("filtered", f)},
		RouteTables: map[string]*fabric.RouteTable{
			"out":  {ID: "out", Routes: []fabric.UserRoute{route("servers", "10.200.2.0/24")}},
			"back": {ID: "back", Routes: []fabric.UserRoute{route("clients", "10.200.1.0/24")}},
		},
	}
}
