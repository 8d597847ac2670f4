package fabric

import (
	"net/netip"
	"slices"

	"vauban.dev/fabric/internal/interval"
)

// validate finds what would make kernel state ambiguous. What Azure forbids beyond that (overlapping
// subnets, reserved priorities) is for who makes the topology.
func validate(t *Topology) error {
	v := validator{names: map[string]string{InternetNS: "the internet"}, public: map[netip.Addr]string{}}
	for _, h := range t.Internet.Hosts {
		if err := v.name(HostNS(h.Name), h.Name); err != nil {
			return err
		}
		if err := v.publicAddress(h.Name, h.Addr); err != nil {
			return err
		}
	}
	for i := range t.VNets {
		if err := v.vnet(t, &t.VNets[i]); err != nil {
			return err
		}
	}
	if err := v.outbound(t); err != nil {
		return err
	}
	if err := v.balancers(t); err != nil {
		return err
	}
	return v.linkServices(t)
}

// validator remembers what is taken in the whole topology.
type validator struct {
	names  map[string]string
	public map[netip.Addr]string
}

// name claims a namespace's name, a hash that two ids could have in common.
func (v *validator) name(name, owner string) error {
	if other, taken := v.names[name]; taken {
		return invalid(owner, "has the same id, or the same namespace name, as %s", other)
	}
	v.names[name] = owner
	return nil
}

func (v *validator) publicAddress(owner string, a netip.Addr) error {
	if !a.Is4() || neverPublic().Contains(interval.Number(a)) {
		return invalid(owner, "%s is no public IPv4 address", a)
	}
	if other, taken := v.public[a]; taken {
		return invalid(owner, "the public address %s belongs to %s", a, other)
	}
	v.public[a] = owner
	return nil
}

func (v *validator) vnet(t *Topology, n *VNet) error {
	if err := v.name(RouterNS(n.ID), n.ID); err != nil {
		return err
	}
	subnets := map[string]*Subnet{}
	for i := range n.Subnets {
		s := &n.Subnets[i]
		if subnets[s.ID] != nil {
			return invalid(s.ID, "two subnets have this id")
		}
		subnets[s.ID] = s
		if err := knownNSG(t, s.ID, s.NSG); err != nil {
			return err
		}
		if err := validateRoutes(t, s); err != nil {
			return err
		}
	}
	taken := map[netip.Addr]string{}
	for i := range n.NICs {
		if err := v.nic(t, &n.NICs[i], subnets, taken); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) nic(t *Topology, n *NIC, subnets map[string]*Subnet, taken map[netip.Addr]string) error {
	if err := v.name(NICNS(n.ID), n.ID); err != nil {
		return err
	}
	subnet := subnets[n.Subnet]
	if subnet == nil {
		return invalid(n.ID, "its VNet has no subnet %q", n.Subnet)
	}
	if err := knownNSG(t, n.ID, n.NSG); err != nil {
		return err
	}
	if len(n.Addrs) == 0 {
		return invalid(n.ID, "has no address")
	}
	for _, a := range n.Addrs {
		if !a.Is4() || !inside(subnet.Prefixes, a) {
			return invalid(n.ID, "%s is no IPv4 address of subnet %s", a, n.Subnet)
		}
		if other, dup := taken[a]; dup {
			return invalid(n.ID, "the address %s belongs to %s", a, other)
		}
		taken[a] = n.ID
	}
	if err := v.bridge(n); err != nil {
		return err
	}
	if err := v.tunnels(n); err != nil {
		return err
	}
	if n.Firewall != nil && (n.Kind != Guest || !n.Forwarding) {
		return invalid(n.ID, "a firewall needs a forwarding interface")
	}
	if n.Kind == Endpoint && len(n.Public) > 0 {
		return invalid(n.ID, "a private endpoint has no public address")
	}
	for _, a := range n.Public {
		if !slices.Contains(n.Addrs, a.Private) {
			return invalid(n.ID, "%s stands for %s, which is not one of its addresses", a.Public, a.Private)
		}
		if err := v.publicAddress(n.ID, a.Public); err != nil {
			return err
		}
	}
	return nil
}

func knownNSG(t *Topology, owner, id string) error {
	if id != "" && t.NSGs[id] == nil {
		return invalid(owner, "there is no network security group %q", id)
	}
	return nil
}

func inside(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
