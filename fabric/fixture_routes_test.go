package fabric

import (
	"fmt"
	"net/netip"
)

// scenarioTables are the scenario's route tables.
func scenarioTables() map[string]*RouteTable {
	return map[string]*RouteTable{
		"rt-routed": {ID: "rt-routed", Routes: []UserRoute{
			{Name: "no-web", Prefix: "93.184.216.0/24", Hop: HopNone},
			{Name: "ml", Prefix: "AzureMachineLearning", Hop: HopInternet},
			{Name: "no-vault", Prefix: "10.20.2.4/32", Hop: HopNone},
			{Name: "no-training", Prefix: "10.20.4.0/24", Hop: HopNone},
			{Name: "one-node", Prefix: "10.20.4.5/32", Hop: HopVNet},
			{Name: "elsewhere", Prefix: "10.99.0.0/16", Hop: HopVNet},
			{Name: "by-nva", Prefix: "10.20.5.0/24", Hop: HopAppliance, Appliance: addr("10.20.10.4")},
			{Name: "outside", Prefix: "20.61.7.7/32", Hop: HopAppliance, Appliance: addr("10.20.10.4")},
			{Name: "circle", Prefix: "10.97.0.0/16", Hop: HopAppliance, Appliance: addr("10.20.10.4")},
			{Name: "lost", Prefix: "10.98.0.0/16", Hop: HopAppliance, Appliance: addr("10.20.5.5")},
		}},
		"rt-east": {ID: "rt-east", Routes: []UserRoute{{Name: "all", Prefix: "0.0.0.0/0", Hop: HopAppliance, Appliance: addr("10.50.1.4")}}},
		"rt-west": {ID: "rt-west", Routes: []UserRoute{{Name: "east", Prefix: "10.51.0.0/16", Hop: HopAppliance, Appliance: addr("10.50.1.4")}}},
		"rt-nva": {ID: "rt-nva", Routes: []UserRoute{
			{Name: "circle", Prefix: "10.97.0.0/16", Hop: HopAppliance, Appliance: addr("10.20.10.4")},
		}},
	}
}

// routes gives most subnets a route table.
func (c *chance) routes(t *Topology) {
	t.RouteTables = map[string]*RouteTable{}
	for i := range t.VNets {
		for k := range t.VNets[i].NICs {
			n := &t.VNets[i].NICs[k]
			n.Forwarding = n.Kind == Guest && c.IntN(4) == 0
		}
	}
	for i := range t.VNets {
		v := &t.VNets[i]
		for j := range v.Subnets {
			v.Subnets[j].EndpointRoutes = c.IntN(2) == 0
			if c.IntN(3) == 0 {
				continue
			}
			from := v
			if c.linked && c.IntN(2) == 0 {
				from = &t.VNets[c.IntN(len(t.VNets))]
			}
			table := &RouteTable{ID: fmt.Sprintf("rt%d%d", i, j), IgnoreGateway: c.IntN(3) == 0}
			for n := range c.IntN(9) {
				table.Routes = append(table.Routes, c.userRoute(fmt.Sprintf("u%d", n), v, from))
			}
			t.RouteTables[table.ID] = table
			v.Subnets[j].RouteTable = table.ID
		}
	}
}

// userRoute leads to places of one VNet by appliances of another, or the same.
func (c *chance) userRoute(name string, of, v *VNet) UserRoute {
	to := of.NICs[c.IntN(len(v.NICs))]
	u := UserRoute{Name: name, Hop: pick(c, HopNone, HopVNet, HopInternet, HopAppliance, HopAppliance, HopAppliance, HopGateway)}
	switch c.IntN(6) {
	case 0:
		u.Prefix = pick(c, "0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/8", "192.168.0.0/16")
	case 1:
		u.Prefix = fmt.Sprintf("Tag%d", c.IntN(5))
	case 2:
		u.Prefix = host(to.Addrs[0]).String()
	case 3:
		u.Prefix = pick(c, "10.20.0.0/16", "10.21.0.0/16", "10.22.0.0/16", "10.22.0.0/15", "10.16.0.0/12", "51.1.0.0/24", "93.184.0.0/16", "20.0.0.0/10")
	default:
		u.Prefix = netip.PrefixFrom(to.Addrs[0], 20+c.IntN(12)).String()
	}
	if u.Hop == HopAppliance {
		n := v.NICs[c.IntN(len(v.NICs))]
		if f := passers(v); len(f) > 0 && c.IntN(8) > 0 {
			n = pick(c, f...)
		}
		u.Appliance = pick(c, n.Addrs...)
		if c.IntN(5) == 0 { // the first frontend of the VNet's load balancer
			b := n.Addrs[0].As4()
			u.Appliance = netip.AddrFrom4([4]byte{b[0], b[1], 0, 99})
		}
	}
	return u
}

// passers are the VNet's NICs that pass on the packets of others.
func passers(v *VNet) (out []NIC) {
	for _, n := range v.NICs {
		if n.forwards() {
			out = append(out, n)
		}
	}
	return out
}
