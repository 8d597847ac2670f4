package network

import (
	"context"
	"net/netip"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// VNet is the properties of a virtual network (Network REST: VirtualNetworkPropertiesFormat).
type VNet struct {
	ResourceGUID         string       `json:"resourceGuid,omitempty" rp:"readonly"`
	AddressSpace         AddressSpace `json:"addressSpace"`
	DHCPOptions          *DHCPOptions `json:"dhcpOptions,omitempty"`
	EnableDDoSProtection bool         `json:"enableDdosProtection"`
	EndpointPolicies     string       `json:"privateEndpointVNetPolicies,omitempty"`
	EnableVMProtection   *bool        `json:"enableVmProtection,omitempty"` // of no effect; old versions always show it
}

// AddressSpace is the prefixes of a virtual network.
type AddressSpace struct {
	AddressPrefixes []string `json:"addressPrefixes"`
}

// DHCPOptions name custom DNS servers; none means Azure's.
type DHCPOptions struct {
	DNSServers []string `json:"dnsServers"`
}

const (
	networkName     = `^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`
	networkNameRule = "The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."
)

func (p *Provider) vnetType() rp.Registration {
	return rp.Of(rp.Type[VNet]{
		Move: movedVNet,
		Name: VNetType, Kind: rp.Tracked, Versions: rp.Versions[VNet](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Inline: map[string]string{"subnets": SubnetType, "virtualNetworkPeerings": PeeringType},
		Default: func(version string, r *rp.Resource[VNet]) {
			if r.Properties.EnableVMProtection == nil && version < "2019-06-01" {
				r.Properties.EnableVMProtection = new(bool)
			}
			if d := r.Properties.DHCPOptions; d != nil {
				d.DNSServers = withoutBlanks(d.DNSServers)
			}
		},
		Validate:  validateVNet,
		Admit:     p.admitVNet,
		Reconcile: applied[VNet](p),
		Finalize:  applied[VNet](p),
	})
}

func validateVNet(_ rp.Op, new, _ *rp.Resource[VNet]) error {
	texts := new.Properties.AddressSpace.AddressPrefixes
	if len(texts) == 0 {
		return bad("AddressSpaceNotSpecified", "Virtual network %s must have at least one address prefix in properties.addressSpace.addressPrefixes.", new.ID)
	}
	space, err := parsePrefixes(texts, new.ID)
	if err != nil {
		return err
	}
	for i, a := range space {
		if a.Bits() < 2 || a.Bits() > 29 {
			return bad("InvalidAddressPrefixLength", "Address prefix %s of resource %s: the smallest prefix is /29 and the largest is /2.", a, new.ID)
		}
		for _, f := range forbidden {
			if a.Overlaps(f) {
				return bad("VnetAddressPrefixNotAllowed", "Address prefix %s of resource %s is not allowed: it overlaps with %s, which the platform uses.", a, new.ID, f)
			}
		}
		for _, b := range space[:i] {
			if a.Overlaps(b) {
				return bad("NetcfgInvalidVirtualNetworkAddressSpace", "Address prefixes %s and %s of virtual network %s overlap.", b, a, new.ID)
			}
		}
	}
	for _, s := range new.Properties.dnsServers() {
		if _, err := netip.ParseAddr(s); err != nil {
			return bad("InvalidRequestFormat", "DNS server address '%s' of resource %s is not an IP address.", clip(s), new.ID)
		}
	}
	return nil
}

// forbidden are the ranges that a virtual network cannot have.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
var forbidden = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("168.63.129.16/32"),
}

// admitVNet checks the subnets as they will be: inside the address space and apart from each other.
func (p *Provider) admitVNet(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[VNet]) error {
	if op == rp.Create {
		new.Properties.ResourceGUID = uuid.NewString()
	}
	if p.cfg.Watch != nil {
		if err := p.cfg.Watch(tx, new.ID, new.Location); err != nil {
			return err
		}
	}
	subnets, err := rp.List[Subnet](tx, SubnetType, new.ID)
	if err != nil {
		return err
	}
	for _, s := range subnets {
		if s.State == arm.Deleting {
			continue
		}
		if err := fits(new, s); err != nil {
			return err
		}
		if err := noOverlap(s, subnets); err != nil {
			return err
		}
	}
	if op == rp.Create {
		return nil
	}
	return admitPeeredSpace(tx, new, old)
}

func (v *VNet) dnsServers() []string {
	if v.DHCPOptions == nil {
		return nil
	}
	return v.DHCPOptions.DNSServers
}

// DNSServers are the custom DNS servers of a virtual network; none means Azure's resolver.
func DNSServers(tx *rp.Tx, vnet arm.ID) ([]netip.Addr, error) {
	v, err := rp.Get[VNet](tx, vnet)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, s := range v.Properties.dnsServers() {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, a)
		}
	}
	return list, nil
}
