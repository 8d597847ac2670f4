package fabric

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/interval"
)

// tagTable is a TagSource of a few tags.
type tagTable map[string][]netip.Prefix

func (t tagTable) Prefixes(tag string) ([]netip.Prefix, bool) {
	p, ok := t[strings.ToLower(tag)]
	return p, ok
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// rule in short: "Tcp 10.0.0.0/8,Storage 443,8000-8080" with every source and source port.
func rule(name string, priority int, d Direction, allow bool, p Protocol, from, to, ports string) Rule {
	return Rule{
		Name: name, Priority: priority, Direction: d, Allow: allow, Protocol: p,
		Source: strings.Split(from, ","), Destination: strings.Split(to, ","),
		SourcePorts: []string{"*"}, DestinationPorts: strings.Split(ports, ","),
	}
}

// scenario is a small secured network with one of everything.
func scenario() *Topology {
	blob := &Service{Target: "sa", GroupID: "blob", Ports: []uint16{443}}
	t := &Topology{
		Tags: tagTable{
			"storage":            prefixes("20.60.0.0/16", "52.239.128.0/18"),
			"storage.westeurope": prefixes("20.60.26.0/23"),
			"azuremachinelearning": prefixes("13.66.87.135/32", "13.66.140.80/28", "20.36.106.96/28", "20.37.67.80/28",
				"20.37.68.36/30", "20.38.80.96/28", "20.39.1.205/32", "20.39.11.80/28", "20.40.141.171/32", "20.41.0.240/28",
				"20.41.64.64/28", "20.41.197.0/28", "20.42.0.240/28", "20.42.129.16/28", "20.42.227.48/28", "20.43.40.96/28",
				"20.43.65.96/28", "20.43.120.112/28"),
		},
		NSGs: map[string]*NSG{
			"nsg-training": {ID: "nsg-training", Rules: []Rule{
				rule("ssh", 100, Inbound, true, TCP, "10.20.3.0/24", "*", "22"),
				rule("no-telnet", 110, Inbound, false, TCP, "VirtualNetwork", "*", "23,2323"),
				rule("storage", 100, Outbound, true, TCP, "*", "Storage.WestEurope", "443"),
				rule("ml", 110, Outbound, true, TCP, "*", "AzureMachineLearning", "443,8787,18881"),
				rule("ping", 120, Outbound, true, ICMP, "*", "VirtualNetwork", "*"),
				rule("no-internet", 4000, Outbound, false, AnyProtocol, "*", "Internet", "*"),
			}},
			"nsg-jumpbox": {ID: "nsg-jumpbox", Rules: []Rule{
				rule("ssh", 100, Inbound, true, TCP, "Internet", "10.20.3.4", "22"),
				rule("no-imds", 100, Outbound, false, AnyProtocol, "*", "AzurePlatformIMDS", "*"),
				{
					Name: "workers", Priority: 200, Direction: Outbound, Protocol: ESP,
					Source: []string{"*"}, DestinationASGs: []string{"workers"}, SourcePorts: []string{"*"}, DestinationPorts: []string{"*"},
				},
			}},
			"nsg-nva": {ID: "nsg-nva", Rules: []Rule{
				rule("no-smtp", 100, Inbound, false, TCP, "*", "*", "25"),
				rule("no-ftp", 100, Outbound, false, TCP, "*", "*", "21"),
			}},
			"nsg-endpoints": {ID: "nsg-endpoints", Rules: []Rule{
				rule("only-training", 100, Inbound, false, TCP, "10.20.3.0/24", "*", "443"),
			}},
		},
		NATGateways: map[string]*NATGateway{"nat": {ID: "nat", Addresses: []netip.Addr{addr("20.61.2.1"), addr("20.61.2.2"), addr("20.61.2.3")}}},
		RouteTables: scenarioTables(),
		LoadBalancers: []LoadBalancer{{
			ID: "lb", VNet: "hub", Frontends: []Frontend{{ID: "lb/out", Addr: addr("20.61.3.1")}},
			Outbound: []OutboundRule{{ID: "lb/tcp", Frontends: []string{"lb/out"}, Protocol: TCP, Backends: []Backend{{NIC: "pooled", Addr: addr("10.20.5.6")}}}},
		}, scenarioBalancer()},
		LinkServices: []LinkService{{ID: "pls", VNet: "hub", Frontend: "ilb/offered"}},
		VNets: []VNet{
			{
				ID: "hub", Prefixes: prefixes("10.20.0.0/16"),
				Subnets: []Subnet{
					{ID: "hub/endpoints", Prefixes: prefixes("10.20.1.0/24"), NSG: "nsg-endpoints"},
					{ID: "hub/judged", Prefixes: prefixes("10.20.2.0/24"), NSG: "nsg-endpoints", EndpointPolicies: true},
					{ID: "hub/jumpbox", Prefixes: prefixes("10.20.3.0/24"), NSG: "nsg-jumpbox"},
					{ID: "hub/training", Prefixes: prefixes("10.20.4.0/24"), NSG: "nsg-training", DefaultOutbound: true},
					{ID: "hub/bare", Prefixes: prefixes("10.20.5.0/24"), DefaultOutbound: true},
					{ID: "hub/closed", Prefixes: prefixes("10.20.6.0/24")},
					{ID: "hub/routed", Prefixes: prefixes("10.20.9.0/24"), RouteTable: "rt-routed", DefaultOutbound: true},
					{ID: "hub/nva", Prefixes: prefixes("10.20.10.0/24"), NSG: "nsg-nva", RouteTable: "rt-nva", DefaultOutbound: true},
					{ID: "hub/natted", Prefixes: prefixes("10.20.7.0/24"), NATGateway: "nat", DefaultOutbound: true},
					{ID: "hub/served", Prefixes: prefixes("10.20.8.0/24"), NSG: "nsg-training", ServiceEndpoints: []ServiceEndpoint{
						{Service: "Microsoft.Storage", Prefixes: prefixes("20.60.26.0/23", "52.239.128.0/18")}}},
				},
				NICs: []NIC{
					{ID: "blob", Kind: Endpoint, Subnet: "hub/endpoints", Addrs: []netip.Addr{addr("10.20.1.4")}, Service: blob},
					{ID: "vault", Kind: Endpoint, Subnet: "hub/judged", Addrs: []netip.Addr{addr("10.20.2.4"), addr("10.20.2.5")}, Service: blob},
					{ID: "jump", Subnet: "hub/jumpbox", Addrs: []netip.Addr{addr("10.20.3.4")}, Public: []PublicAddress{{addr("10.20.3.4"), addr("20.61.1.1")}}},
					{ID: "node0", Subnet: "hub/training", Addrs: []netip.Addr{addr("10.20.4.4")}, ASGs: []string{"workers"}},
					{ID: "node1", Subnet: "hub/training", Addrs: []netip.Addr{addr("10.20.4.5"), addr("10.20.4.6")}, NSG: "nsg-jumpbox", ASGs: []string{"workers"}},
					{ID: "bare", Subnet: "hub/bare", Addrs: []netip.Addr{addr("10.20.5.4")}, Public: []PublicAddress{{addr("10.20.5.4"), addr("20.61.1.2")}}},
					{ID: "free", Subnet: "hub/bare", Addrs: []netip.Addr{addr("10.20.5.5")}},
					{ID: "closed", Subnet: "hub/closed", Addrs: []netip.Addr{addr("10.20.6.4")}},
					{ID: "natted", Subnet: "hub/natted", Addrs: []netip.Addr{addr("10.20.7.4"), addr("10.20.7.5")}, NSG: "nsg-training",
						Public: []PublicAddress{{addr("10.20.7.4"), addr("20.61.1.3")}}},
					{ID: "served", Subnet: "hub/served", Addrs: []netip.Addr{addr("10.20.8.4")}},
					{ID: "routed", Subnet: "hub/routed", Addrs: []netip.Addr{addr("10.20.9.4")}},
					{ID: "nva", Subnet: "hub/nva", Addrs: []netip.Addr{addr("10.20.10.4")}, Forwarding: true},
					{ID: "web0", Subnet: "hub/training", Addrs: []netip.Addr{addr("10.20.4.8")}},
					{ID: "web1", Subnet: "hub/training", Addrs: []netip.Addr{addr("10.20.4.9"), addr("10.20.4.10")}, NSG: "nsg-jumpbox"},
					{ID: "pooled", Subnet: "hub/bare", Addrs: []netip.Addr{addr("10.20.5.6"), addr("10.20.5.7")}},
					{ID: "pls", Kind: Endpoint, Subnet: "hub/endpoints", Addrs: []netip.Addr{addr("10.20.1.5"), addr("10.20.1.6")}},
				},
			},
			{
				ID: "spoke", Prefixes: prefixes("10.20.0.0/16", "172.16.0.0/24"),
				Subnets: []Subnet{{ID: "spoke/default", Prefixes: prefixes("10.20.3.0/24"), DefaultOutbound: true}},
				NICs: []NIC{
					{ID: "other", Subnet: "spoke/default", Addrs: []netip.Addr{addr("10.20.3.4")}},
					{ID: "offer", Kind: Endpoint, Subnet: "spoke/default", Addrs: []netip.Addr{addr("10.20.3.5")}, Service: &Service{Target: "pls", Ports: []uint16{22, 80}}},
				},
			},
		},
		Internet: Internet{
			ServicePrefixes: prefixes("20.60.0.0/16", "20.61.0.0/16"),
			Hosts:           []InternetHost{{Name: "example.org", Addr: addr("93.184.216.34")}, {Name: "client", Addr: addr("20.61.7.7")}},
		},
	}
	t.VNets = append(t.VNets, scenarioPeers()...)
	return t
}

// chance makes random topologies and flows through them.
type chance struct {
	*rand.Rand
	tags   tagTable
	linked bool // VNets with addresses of their own, peered
}

func newChance(seed uint64) *chance {
	c := &chance{Rand: rand.New(rand.NewPCG(seed, 2)), tags: tagTable{}}
	for i, n := range []int{1, 5, 20, 60, 400} { // more than 256 elements: faults of large maps show there only
		var p []netip.Prefix
		for range n {
			p = append(p, netip.PrefixFrom(interval.Addr(uint32(20+c.IntN(30))<<24|c.Uint32()>>8), 14+c.IntN(15)).Masked())
		}
		c.tags[fmt.Sprintf("tag%d", i)] = p
	}
	return c
}

func pick[T any](c *chance, from ...T) T { return from[c.IntN(len(from))] }

func (c *chance) topology() *Topology {
	t := &Topology{Tags: c.tags, NSGs: map[string]*NSG{}}
	vnets, rules := 2, 30
	if c.linked = c.IntN(2) == 0; c.linked {
		vnets, rules = 3, pick(c, 3, 6, 30) // packets that cross several VNets meet many groups
	}
	for i := range 4 {
		id := fmt.Sprintf("nsg%d", i)
		t.NSGs[id] = &NSG{ID: id, Rules: c.rules(c.IntN(rules))}
	}
	for i := range vnets {
		t.VNets = append(t.VNets, c.vnet(fmt.Sprintf("vnet%d", i), i))
	}
	t.Internet = Internet{
		ServicePrefixes: prefixes("20.0.0.0/8", "40.0.0.0/12"),
		Hosts:           []InternetHost{{Name: "h0", Addr: addr("93.184.216.34")}, {Name: "h1", Addr: addr("20.9.9.9")}},
	}
	c.outbound(t)
	c.serviceEndpoints(t)
	c.routes(t)
	if c.linked {
		c.link(t)
	}
	c.balancers(t)
	return t
}

func (c *chance) vnet(id string, i int) VNet {
	v := VNet{ID: id, Prefixes: prefixes(fmt.Sprintf("10.%d.0.0/16", c.octet(i)), fmt.Sprintf("51.%d.0.0/24", c.octet(i)-19))}
	nsg := func() string { return pick(c, "", "nsg0", "nsg1", "nsg2", "nsg3") }
	for s := range 4 {
		v.Subnets = append(v.Subnets, Subnet{
			ID: fmt.Sprintf("%s/s%d", id, s), NSG: nsg(), DefaultOutbound: c.IntN(2) == 0, EndpointPolicies: c.IntN(2) == 0,
			Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, c.octet(i), byte(s), 0}), 24)},
		})
		for n := range 3 {
			nic := NIC{
				ID: fmt.Sprintf("%s/s%d/n%d", id, s, n), Subnet: v.Subnets[s].ID, NSG: nsg(),
				Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, c.octet(i), byte(s), byte(4 + 2*n)})},
			}
			switch c.IntN(4) {
			case 0:
				nic.Kind = Endpoint
				nic.Service = &Service{Ports: pick(c, []uint16{443}, []uint16{80, 443}, nil)}
			case 1:
				nic.Public = c.public(nic.Addrs[0], i, s, n)
			case 2:
				nic.Addrs = append(nic.Addrs, nic.Addrs[0].Next())
				if c.IntN(2) == 0 {
					nic.Public = c.public(pick(c, nic.Addrs...), i, s, n)
				}
			}
			if c.IntN(2) == 0 {
				nic.ASGs = []string{pick(c, "asg0", "asg1")}
			}
			v.NICs = append(v.NICs, nic)
		}
	}
	return v
}

func (c *chance) rules(n int) []Rule {
	var out []Rule
	for i := range n {
		r := Rule{
			Name: fmt.Sprintf("r%d", i), Priority: 100 + c.IntN(4000), Direction: pick(c, Inbound, Outbound), Allow: c.IntN(2) == 0,
			Protocol: pick(c, AnyProtocol, AnyProtocol, TCP, TCP, UDP, ICMP, ESP, Protocol(99)),
			Source:   c.peers(), Destination: c.peers(), SourcePorts: []string{"*"}, DestinationPorts: c.ports(),
		}
		if c.IntN(6) == 0 {
			r.SourcePorts = c.ports()
		}
		if c.IntN(6) == 0 {
			r.SourceASGs, r.Source = []string{pick(c, "asg0", "asg1", "asg2")}, nil
		}
		out = append(out, r)
	}
	return out
}

func (c *chance) peers() []string {
	var out []string
	for range 1 + c.IntN(2)*c.IntN(4) {
		out = append(out, c.peer())
	}
	return out
}

func (c *chance) peer() string {
	switch c.IntN(8) {
	case 0, 1:
		return "*"
	case 2:
		return pick(c, "VirtualNetwork", "Internet", "AZURELOADBALANCER", "virtualnetwork")
	case 3:
		return fmt.Sprintf("Tag%d", c.IntN(5))
	case 4:
		return pick(c, TagPlatformDNS, TagPlatformIMDS, TagPlatformLKM)
	case 5:
		return fmt.Sprintf("10.%d.%d.0/%d", c.octet(c.IntN(3)), c.IntN(4), 20+c.IntN(9))
	case 6:
		return c.local()
	}
	return pick(c, "0.0.0.0/0", "20.0.0.0/9", "2001:db8::/32", "93.184.216.34", "20.9.0.0/16", "0.0.0.0/1")
}

func (c *chance) ports() []string {
	switch c.IntN(5) {
	case 0, 1:
		return []string{"*"}
	case 2:
		return []string{pick(c, "443", "80", "22", "53")}
	case 3:
		lo := c.IntN(500)
		return []string{fmt.Sprintf("%d-%d", lo, lo+c.IntN(500)), "8080"}
	}
	return []string{"0-65535"}
}

func (c *chance) flow(t *Topology) Flow {
	f := Flow{
		From: c.place(t), Dst: c.destination(t), Protocol: pick(c, TCP, TCP, TCP, UDP, UDP, ICMP, ESP, AH, Protocol(99)),
		SrcPort: uint16(pick(c, 0, 22, 443, 40000, c.IntN(65536))), DstPort: uint16(pick(c, 22, 53, 80, 443, 8080, c.IntN(1100), c.IntN(65536))),
	}
	if c.IntN(20) == 0 {
		f.Source = c.destination(t)
	}
	if f.Protocol != TCP && f.Protocol != UDP {
		f.SrcPort, f.DstPort = 0, 0
	}
	return f
}

func (c *chance) place(t *Topology) Place {
	switch c.IntN(12) {
	case 0:
		return Place{AtInternet, ""}
	case 1, 2, 3:
		return Place{AtHost, t.Internet.Hosts[c.IntN(len(t.Internet.Hosts))].Name}
	case 4:
		return Place{AtRouter, t.VNets[c.IntN(len(t.VNets))].ID}
	}
	v := &t.VNets[c.IntN(len(t.VNets))]
	for {
		if n := v.NICs[c.IntN(len(v.NICs))]; n.Kind == Guest {
			return Place{AtNIC, n.ID}
		}
	}
}

func (c *chance) destination(t *Topology) netip.Addr {
	v := &t.VNets[c.IntN(len(t.VNets))]
	n := &v.NICs[c.IntN(len(v.NICs))]
	switch c.IntN(12) {
	case 0, 1, 2, 3:
		return n.Addrs[c.IntN(len(n.Addrs))]
	case 4, 5:
		if len(n.Public) > 0 {
			return n.Public[0].Public
		}
		for a := range v.publicAddresses(t) {
			if c.IntN(3) == 0 {
				return a
			}
		}
	case 6:
		return t.Internet.Hosts[c.IntN(len(t.Internet.Hosts))].Addr
	case 7:
		p := c.tags[fmt.Sprintf("tag%d", c.IntN(5))]
		return p[c.IntN(len(p))].Addr().Next()
	case 8:
		return pick(c, WireServer, IMDS, Gateway)
	case 11:
		if b := t.LoadBalancers[c.IntN(len(t.LoadBalancers))]; c.IntN(2) == 0 {
			return b.Frontends[c.IntN(len(b.Frontends))].Addr
		}
	case 9:
		if p, err := newPlan(t); err == nil {
			out := []netip.Addr{p.transfer[v.ID].router, p.transfer[v.ID].internet}
			if p.outbound[v.ID].IsValid() {
				out = append(out, p.outbound[v.ID])
			}
			for _, name := range slices.Sorted(maps.Keys(p.links)) {
				out = append(out, p.links[name].from, p.links[name].to)
			}
			return pick(c, out...)
		}
	case 10:
		return pick(c, addr("10.20.9.9"), addr("10.1.2.3"), addr("10.23.1.1"), addr(c.local()), addr("192.168.1.1"), addr("100.64.0.9"), addr("51.1.0.7"), addr("8.8.8.8"))
	}
	return interval.Addr(uint32(20)<<24 | c.Uint32()>>8)
}
