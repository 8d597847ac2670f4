package network

import (
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// linkConfigID is the id of one of a service's addresses, as in-use messages name it.
func linkConfigID(service arm.ID, name string) string {
	return service.String() + "/ipConfigurations/" + name
}

// assignLinkConfigs gives the configurations their addresses, static ones first.
func assignLinkConfigs(tx *rp.Tx, new, old *rp.Resource[LinkService], vnet arm.ID) error {
	taken := map[netip.Addr]bool{}
	for _, c := range new.Properties.Configs {
		if a, err := c.static(new.ID); err == nil && a.IsValid() {
			taken[a] = true
		}
	}
	for i := range new.Properties.Configs {
		c := &new.Properties.Configs[i]
		s, err := live[Subnet](tx, c.Properties.Subnet, new.ID)
		if err != nil {
			return err
		}
		switch {
		case s.ID.Parent().Key() != vnet.Key():
			return bad("InvalidRequestFormat", "IP configuration %s of private link service %s must be in the virtual network of its load balancer, %s.", c.Name, new.ID, vnet)
		case !strings.EqualFold(s.Properties.LinkServicePolicies, "Disabled"):
			return bad("PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled", "Private link service %s cannot be created in a subnet %s since it has private link service network policies enabled.", new.ID, s.ID)
		}
		if err := s.Properties.notDelegated(s.ID, new.ID.String()); err != nil {
			return err
		}
		want, err := c.static(new.ID)
		if err != nil {
			return err
		}
		if !want.IsValid() {
			want = before(c, old)
		}
		a, err := take(tx, s, want, allocation{Owner: linkConfigID(new.ID, c.Name)}, taken)
		if err != nil {
			return err
		}
		c.Properties.Address = a.String()
	}
	return nil
}

// before is the address that a dynamic configuration had in its subnet; invalid if it had none.
func before(c *LinkConfig, old *rp.Resource[LinkService]) netip.Addr {
	if old == nil {
		return netip.Addr{}
	}
	for _, o := range old.Properties.Configs {
		if strings.EqualFold(o.Name, c.Name) && strings.EqualFold(o.Properties.Subnet.ID, c.Properties.Subnet.ID) {
			a, _ := netip.ParseAddr(o.Properties.Address)
			return a
		}
	}
	return netip.Addr{}
}

func giveLinkConfigs(tx *rp.Tx, v *LinkService) error {
	for _, c := range v.Configs {
		subnet, err := arm.ParseID(c.Properties.Subnet.ID)
		if err != nil {
			return err
		}
		a, err := netip.ParseAddr(c.Properties.Address)
		if err != nil {
			return err
		}
		if err := give(tx, subnet, a); err != nil {
			return err
		}
	}
	return nil
}

// saveLinkNIC makes the service's interface show its addresses.
func saveLinkNIC(tx *rp.Tx, r *rp.Resource[LinkService]) error {
	id, err := arm.ParseID(r.Properties.NICs[0].ID)
	if err != nil {
		return err
	}
	nic, err := rp.Get[Interface](tx, id)
	if notFound(err) {
		nic, err = &rp.Resource[Interface]{ID: id, Location: r.Location, Properties: Interface{
			ResourceGUID: uuid.NewString(), NICType: "Standard", HostedWorkloads: []string{}, TapConfigurations: []any{},
			DNS: DNSSettings{Servers: []string{}, AppliedServers: []string{}}, LinkService: &Ref{ID: r.ID.String()},
		}}, nil
	}
	if err != nil {
		return err
	}
	nic.Properties.IPConfigurations = nil
	for _, c := range r.Properties.Configs {
		nic.Properties.IPConfigurations = append(nic.Properties.IPConfigurations, IPConfig{Name: c.Name, Properties: IPConfigFields{
			Address: c.Properties.Address, Allocation: c.Properties.Allocation, Subnet: c.Properties.Subnet, Primary: c.Properties.Primary, Version: "IPv4",
		}})
	}
	return rp.Save(tx, nic)
}

// keepsLinkServices refuses network policies where a private link service has its addresses.
func keepsLinkServices(tx *rp.Tx, s *rp.Resource[Subnet]) error {
	if strings.EqualFold(s.Properties.LinkServicePolicies, "Disabled") {
		return nil
	}
	services, err := staying[LinkService](tx, LinkServiceType, root)
	if err != nil {
		return err
	}
	for _, r := range services {
		for _, c := range r.Properties.Configs {
			if c.Properties.Subnet.is(s.ID) {
				return bad("PrivateLinkServiceNetworkPoliciesCannotBeEnabledOnPrivateLinkServiceSubnet", "Private link service network policies cannot be enabled on subnet %s since it contains private link service %s.", s.ID, r.ID)
			}
		}
	}
	return nil
}
