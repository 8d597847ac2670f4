package dnsresolver

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// Inbound is the properties of an inbound endpoint (InboundEndpointProperties): an address in the resolver's
// virtual network that answers as that network's 168.63.129.16 does.
type Inbound struct {
	IPConfigurations []IPConfiguration `json:"ipConfigurations"`
	ResourceGUID     string            `json:"resourceGuid,omitempty" rp:"readonly"`
}

// IPConfiguration of an inbound endpoint.
type IPConfiguration struct {
	Subnet     *Ref   `json:"subnet"`
	Address    string `json:"privateIpAddress,omitempty"`
	Allocation string `json:"privateIpAllocationMethod,omitempty"` // Dynamic or Static
}

// Outbound is the properties of an outbound endpoint (OutboundEndpointProperties): where queries leave that
// forwarding rules send to other servers.
type Outbound struct {
	Subnet       *Ref   `json:"subnet"`
	ResourceGUID string `json:"resourceGuid,omitempty" rp:"readonly"`
}

func (p *Provider) inboundType() rp.Registration {
	return rp.Of(rp.Type[Inbound]{
		Name: InboundType, Kind: rp.Tracked, Versions: rp.Versions[Inbound](versions...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default: func(_ string, r *rp.Resource[Inbound]) {
			for i := range r.Properties.IPConfigurations {
				c := &r.Properties.IPConfigurations[i]
				if c.Allocation == "" || strings.EqualFold(c.Allocation, "Dynamic") {
					c.Allocation = "Dynamic"
				} else if strings.EqualFold(c.Allocation, "Static") {
					c.Allocation = "Static"
				}
			}
		},
		Validate: validateInbound,
		Links: func(r *rp.Resource[Inbound]) []rp.Link {
			var refs []*Ref
			for _, c := range r.Properties.IPConfigurations {
				refs = append(refs, c.Subnet)
			}
			return joins(network.SubnetType+"/join/action", refs...)
		},
		Admit:     p.admitInbound,
		Reconcile: applied[Inbound](p),
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Inbound]) error {
			return p.cfg.Network.ReleaseNIC(tx, r.ID.String())
		},
		Finalize: applied[Inbound](p),
	})
}

func validateInbound(op rp.Op, new, old *rp.Resource[Inbound]) error {
	list := new.Properties.IPConfigurations
	if len(list) == 0 {
		return badRequest("The inbound endpoint '%s' needs an IP configuration.", new.ID.Name())
	}
	if len(list) > 1 {
		return arm.NotImplemented("The inbound endpoint '%s' has %d IP configurations; more than one is not implemented.", new.ID.Name(), len(list))
	}
	c := list[0]
	if _, err := parseRef(c.Subnet, network.SubnetType, "ipConfigurations.subnet", new.ID); err != nil {
		return err
	}
	switch c.Allocation {
	case "Dynamic":
	case "Static":
		if a, err := netip.ParseAddr(c.Address); err != nil || !a.Is4() {
			return badRequest("The inbound endpoint '%s' has a static address, and '%s' is no IPv4 address.", new.ID.Name(), clip(c.Address))
		}
	default:
		return badRequest("The privateIpAllocationMethod '%s' of inbound endpoint '%s' is not valid. Valid values: Dynamic, Static.", clip(c.Allocation), new.ID.Name())
	}
	if op == rp.Create {
		return nil
	}
	was := old.Properties.IPConfigurations[0]
	if !strings.EqualFold(was.Subnet.ID, c.Subnet.ID) || (c.Allocation == "Static" && c.Address != was.Address) {
		return conflict("The IP configuration of inbound endpoint '%s' cannot be changed.", new.ID.Name())
	}
	return nil
}

func (p *Provider) admitInbound(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Inbound]) error {
	c := &new.Properties.IPConfigurations[0]
	if op == rp.Update {
		c.Address = old.Properties.IPConfigurations[0].Address
		return nil
	}
	new.Properties.ResourceGUID = uuid.NewString()
	others, err := live[Inbound](tx, InboundType, new.ID.Parent())
	if err != nil {
		return err
	}
	if len(others) >= maxEndpoints {
		return badRequest("The DNS resolver '%s' has %d inbound endpoints; it can have no more.", new.ID.Parent().Name(), len(others))
	}
	var want netip.Addr
	if c.Allocation == "Static" {
		if want, err = netip.ParseAddr(c.Address); err != nil {
			return err
		}
	}
	nic, err := p.enter(tx, new.ID, new.Location, c.Subnet, "inbound", want)
	c.Address = nic.Addr.String()
	return err
}

func (p *Provider) outboundType() rp.Registration {
	return rp.Of(rp.Type[Outbound]{
		Name: OutboundType, Kind: rp.Tracked, Versions: rp.Versions[Outbound](versions...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Validate: func(op rp.Op, new, old *rp.Resource[Outbound]) error {
			id, err := parseRef(new.Properties.Subnet, network.SubnetType, "subnet", new.ID)
			if err != nil {
				return err
			}
			if op == rp.Update && !strings.EqualFold(old.Properties.Subnet.ID, id.String()) {
				return conflict("The subnet of outbound endpoint '%s' cannot be changed.", new.ID.Name())
			}
			return nil
		},
		Links: func(r *rp.Resource[Outbound]) []rp.Link {
			return joins(network.SubnetType+"/join/action", r.Properties.Subnet)
		},
		Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Outbound]) error {
			if op == rp.Update {
				return nil
			}
			new.Properties.ResourceGUID = uuid.NewString()
			others, err := live[Outbound](tx, OutboundType, new.ID.Parent())
			if err != nil {
				return err
			}
			if len(others) >= maxEndpoints {
				return badRequest("The DNS resolver '%s' has %d outbound endpoints; it can have no more.", new.ID.Parent().Name(), len(others))
			}
			_, err = p.enter(tx, new.ID, new.Location, new.Properties.Subnet, "outbound", netip.Addr{})
			return err
		},
		Reconcile: applied[Outbound](p),
		Release:   p.releaseOutbound,
		Finalize:  applied[Outbound](p),
	})
}

// releaseOutbound refuses to delete an endpoint that a ruleset leaves by.
func (p *Provider) releaseOutbound(_ context.Context, tx *rp.Tx, r *rp.Resource[Outbound]) error {
	rulesets, err := live[Ruleset](tx, RulesetType, root)
	if err != nil {
		return err
	}
	for _, s := range rulesets {
		if s.Properties.uses(r.ID) {
			return conflict("The outbound endpoint '%s' is used by the DNS forwarding ruleset '%s'. Delete the ruleset, or take the endpoint out of it, first.", r.ID.Name(), s.ID)
		}
	}
	return p.cfg.Network.ReleaseNIC(tx, r.ID.String())
}

// enter puts an endpoint into its subnet, alone, as an interface whose id is the endpoint's.
func (p *Provider) enter(tx *rp.Tx, id arm.ID, location string, subnet *Ref, what string, want netip.Addr) (network.NIC, error) {
	resolver, err := existing[Resolver](tx, id.Parent(), id)
	if err != nil {
		return network.NIC{}, err
	}
	if !strings.EqualFold(resolver.Location, location) {
		return network.NIC{}, badRequest("The %s endpoint '%s' is in '%s' and its DNS resolver in '%s'; they must be in the same region.", what, id.Name(), location, resolver.Location)
	}
	subnetID, err := arm.ParseID(subnet.ID)
	if err != nil {
		return network.NIC{}, err
	}
	s, err := existing[network.Subnet](tx, subnetID, id)
	if err != nil {
		return network.NIC{}, err
	}
	if !strings.EqualFold(s.ID.Parent().String(), resolver.Properties.VirtualNetwork.ID) {
		return network.NIC{}, badRequest("The subnet '%s' of %s endpoint '%s' is not in the virtual network of its DNS resolver, '%s'.", s.ID, what, id.Name(), resolver.Properties.VirtualNetwork.ID)
	}
	if err := fits(tx, s, what); err != nil {
		return network.NIC{}, err
	}
	return p.cfg.Network.AllocateNIC(tx, network.NICRequest{Subnet: s.ID, Owner: id.String(), Kind: "dnsresolver", Service: Type, Addr: want})
}

// fits refuses a subnet in which no endpoint can stand.
func fits(tx *rp.Tx, s *rp.Resource[network.Subnet], what string) error {
	texts := s.Properties.AddressPrefixes
	if len(texts) == 0 {
		texts = []string{s.Properties.AddressPrefix}
	}
	ok := len(texts) == 1
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		ok = ok && prefix.Addr().Is4() && prefix.Bits() >= 24 && prefix.Bits() <= 28 && !slices.ContainsFunc(unusable, prefix.Overlaps)
	}
	taken, err := standsIn(tx, s.ID)
	if err != nil {
		return err
	}
	if ok && !taken {
		return nil
	}
	reserved := make([]string, len(unusable))
	for i, p := range unusable {
		reserved[i] = p.String()
	}
	return badRequest("The specified subnet %s could not be used to provision the %s endpoint. Please make sure you use a subnet of at least /28 and at most /24 size, which is not currently in use by any other DNS resolver endpoint or any other Azure service workloads, and does not collide with the reserved subnet spaces of '%s'.", s.ID, what, strings.Join(reserved, ";"))
}

// standsIn tells whether an endpoint is in the subnet already.
func standsIn(tx *rp.Tx, subnet arm.ID) (bool, error) {
	inbound, err := live[Inbound](tx, InboundType, root)
	if err != nil {
		return false, err
	}
	outbound, err := live[Outbound](tx, OutboundType, root)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(inbound, func(r *rp.Resource[Inbound]) bool {
		return strings.EqualFold(r.Properties.IPConfigurations[0].Subnet.ID, subnet.String())
	}) || slices.ContainsFunc(outbound, func(r *rp.Resource[Outbound]) bool {
		return strings.EqualFold(r.Properties.Subnet.ID, subnet.String())
	}), nil
}
