package network

import (
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// httpsPorts are what the region's services listen on behind a private endpoint.
var httpsPorts = []uint16{443}

// Topology builds the fabric's desired state from the store. Ids are those of the resources, in the
// spelling that the store has; the NIC of a private endpoint has the endpoint's id, hidden ones their
// owner's. Resources that are being deleted are not in it. Internet is the caller's to fill in.
func (p *Provider) Topology(tx *rp.Tx) (*fabric.Topology, error) {
	tags := p.tagsNow()
	b := &builder{tx: tx, tags: tags, regions: map[string]string{}, vnets: map[string]*fabric.VNet{}, subnets: map[string]string{}, nsgs: map[string]*fabric.NSG{}, tables: map[string]*fabric.RouteTable{}, gateways: map[string]*fabric.NATGateway{}}
	for _, step := range []func() error{b.groups, b.routeTables, b.natGateways, b.networks, b.peerings, b.interfaces, b.endpoints, b.hidden, b.balancers, b.linkServices} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("network: topology: %w", err)
		}
	}
	t := &fabric.Topology{NSGs: map[string]*fabric.NSG{}, RouteTables: map[string]*fabric.RouteTable{}, NATGateways: map[string]*fabric.NATGateway{}, Tags: tags}
	for _, g := range b.nsgs {
		t.NSGs[g.ID] = g
	}
	for _, r := range b.tables {
		t.RouteTables[r.ID] = r
	}
	for _, g := range b.gateways {
		t.NATGateways[g.ID] = g
	}
	t.LoadBalancers, t.LinkServices = b.loadBalancers, b.services
	for _, key := range b.order {
		t.VNets = append(t.VNets, *b.vnets[key])
	}
	return t, nil
}

// builder gathers a topology. Its maps are keyed by lower-case ids, since references may be written in
// any case.
type builder struct {
	tx       *rp.Tx
	tags     fabric.TagSource
	order    []string
	regions  map[string]string // the VNets' locations
	vnets    map[string]*fabric.VNet
	subnets  map[string]string // lower-case id to the id as it is stored
	nsgs     map[string]*fabric.NSG
	tables   map[string]*fabric.RouteTable
	gateways map[string]*fabric.NATGateway // those with addresses

	entered       map[string]*NIC // by the inbound NAT rule that leads to it, in lower case
	loadBalancers []fabric.LoadBalancer
	services      []fabric.LinkService
}

func (b *builder) groups() error {
	groups, err := rp.List[NSG](b.tx, NSGType, root)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.State != arm.Deleting {
			b.nsgs[g.ID.Key()] = &fabric.NSG{ID: g.ID.String()}
		}
	}
	rules, err := rp.List[Rule](b.tx, RuleType, root)
	if err != nil {
		return err
	}
	for _, r := range rules {
		g := b.nsgs[r.ID.Parent().Key()]
		if g == nil || r.State == arm.Deleting {
			continue
		}
		if rule, ok := r.Properties.compile(r.ID.Name()); ok {
			g.Rules = append(g.Rules, rule)
		}
	}
	return nil
}

// nsg is the id of a referenced security group as the topology has it.
func (b *builder) nsg(id string) (string, error) {
	if id == "" {
		return "", nil
	}
	g := b.nsgs[strings.ToLower(id)]
	if g == nil { // in-use checks keep this from happening; never run a network without its rules
		return "", absent("network security group", id)
	}
	return g.ID, nil
}

func (b *builder) networks() error {
	vnets, err := rp.List[VNet](b.tx, VNetType, root)
	if err != nil {
		return err
	}
	for _, v := range vnets {
		if v.State == arm.Deleting {
			continue
		}
		space, err := parsePrefixes(v.Properties.AddressSpace.AddressPrefixes, v.ID)
		if err != nil {
			return err
		}
		b.vnets[v.ID.Key()], b.regions[v.ID.Key()] = &fabric.VNet{ID: v.ID.String(), Prefixes: space}, v.Location
		b.order = append(b.order, v.ID.Key())
	}
	subnets, err := rp.List[Subnet](b.tx, SubnetType, root)
	if err != nil {
		return err
	}
	for _, s := range subnets {
		v := b.vnets[s.ID.Parent().Key()]
		if v == nil || s.State == arm.Deleting {
			continue
		}
		own, err := parsePrefixes(s.Properties.prefixes(), s.ID)
		if err != nil {
			return err
		}
		out := fabric.Subnet{
			ID: s.ID.String(), Prefixes: own, NATGateway: b.gateway(s.Properties.NATGateway), EndpointPolicies: s.Properties.judgesEndpoints(), EndpointRoutes: s.Properties.routesEndpoints(),
			DefaultOutbound:  s.Properties.DefaultOutboundAccess != nil && *s.Properties.DefaultOutboundAccess,
			ServiceEndpoints: s.Properties.endpoints(b.tags, b.regions[s.ID.Parent().Key()]),
		}
		if s.Properties.NSG != nil {
			if out.NSG, err = b.nsg(s.Properties.NSG.ID); err != nil {
				return err
			}
		}
		if out.RouteTable, err = b.table(s.Properties.RouteTable); err != nil {
			return err
		}
		v.Subnets = append(v.Subnets, out)
		b.subnets[s.ID.Key()] = s.ID.String()
	}
	return nil
}

// attach puts an interface into the network of its subnet.
func (b *builder) attach(subnet string, n fabric.NIC) error {
	id, err := arm.ParseID(subnet)
	if err != nil {
		return err
	}
	v, stored := b.vnets[id.Parent().Key()], b.subnets[id.Key()]
	if v == nil || stored == "" {
		return nil // its network is going
	}
	n.Subnet = stored
	v.NICs = append(v.NICs, n)
	return nil
}

func (b *builder) interfaces() error {
	nics, err := rp.List[Interface](b.tx, NICType, root)
	if err != nil {
		return err
	}
	for _, r := range nics {
		v := &r.Properties
		if r.State == arm.Deleting || v.PrivateEndpoint != nil || v.LinkService != nil || len(v.IPConfigurations) == 0 {
			continue
		}
		n := fabric.NIC{ID: r.ID.String(), Kind: fabric.Guest, Forwarding: v.IPForwarding}
		var subnet string
		for _, c := range v.IPConfigurations {
			a, err := netip.ParseAddr(c.Properties.Address)
			if err != nil {
				return fmt.Errorf("stored address of %s: %w", configID(r.ID, c.Name), err)
			}
			if c.Properties.Primary {
				n.Addrs = append([]netip.Addr{a}, n.Addrs...)
				subnet = c.Properties.Subnet.ID
			} else {
				n.Addrs = append(n.Addrs, a)
			}
			n.ASGs = append(n.ASGs, keys(c.Properties.ASGs)...)
			if c.Properties.PublicIP != nil {
				public, err := b.public(c.Properties.PublicIP.ID)
				if err != nil {
					return err
				}
				n.Public = append(n.Public, fabric.PublicAddress{Private: a, Public: public})
			}
		}
		if v.NSG != nil {
			if n.NSG, err = b.nsg(v.NSG.ID); err != nil {
				return err
			}
		}
		if err := b.attach(subnet, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) public(ref string) (netip.Addr, error) {
	id, err := arm.ParseID(ref)
	if err != nil {
		return netip.Addr{}, err
	}
	ip, err := rp.Get[PublicIP](b.tx, id)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(ip.Properties.Address)
}

func (b *builder) endpoints() error {
	endpoints, err := rp.List[Endpoint](b.tx, EndpointType, root)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		v := &e.Properties
		if e.State == arm.Deleting || len(v.Members) == 0 {
			continue
		}
		n := fabric.NIC{ID: e.ID.String(), Kind: fabric.Endpoint, ASGs: keys(v.ASGs)}
		for _, m := range v.Members {
			n.Addrs = append(n.Addrs, m.Addr)
		}
		state, err := connectionState(b.tx, v)
		if err != nil {
			return err
		}
		if state.Status == "Approved" {
			target, err := v.target()
			if err != nil {
				return err
			}
			if n.Service, err = b.service(target, v.Members[0].GroupID); err != nil {
				return err
			}
		}
		if err := b.attach(v.Subnet.ID, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) hidden() error {
	nics, err := HiddenNICs(b.tx)
	if err != nil {
		return err
	}
	b.entered = map[string]*NIC{}
	for i, h := range nics {
		for _, in := range h.Inbound {
			b.entered[strings.ToLower(in.Rule)] = &nics[i]
		}
		n := fabric.NIC{ID: h.ID, Kind: fabric.Guest, Addrs: []netip.Addr{h.Addr}, Forwarding: h.Forwarding, Managed: h.Managed}
		if h.Kind == NodeKind { // its container engine has a network of its own
			n.Bridge = fabric.EngineBridge
		}
		if h.Public.IsValid() {
			n.Public = []fabric.PublicAddress{{Private: h.Addr, Public: h.Public}}
		}
		if n.NSG, err = b.nsg(h.NSG); err != nil {
			return err
		}
		if err := b.attach(h.Subnet, n); err != nil {
			return err
		}
	}
	return nil
}

// VNetExists is what privatedns asks before it links a virtual network.
func VNetExists(tx *rp.Tx, id arm.ID) (bool, error) {
	v, err := liveVNet(tx, id)
	return v != nil, err
}

// liveVNet returns nil for a virtual network that does not exist or is being deleted.
func liveVNet(tx *rp.Tx, id arm.ID) (*rp.Resource[VNet], error) {
	v, err := rp.Get[VNet](tx, id)
	switch {
	case notFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case v.State == arm.Deleting:
		return nil, nil
	}
	return v, nil
}
