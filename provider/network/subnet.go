package network

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Subnet is the properties of a subnet (Network REST: SubnetPropertiesFormat).
type Subnet struct {
	AddressPrefix    string            `json:"addressPrefix,omitempty"`
	AddressPrefixes  []string          `json:"addressPrefixes,omitempty"`
	NSG              *Ref              `json:"networkSecurityGroup,omitempty"`
	RouteTable       *Ref              `json:"routeTable,omitempty"`
	NATGateway       *Ref              `json:"natGateway,omitempty"`
	ServiceEndpoints []ServiceEndpoint `json:"serviceEndpoints,omitempty"`
	// ServiceEndpointPolicies say which resources the service endpoints reach; none: all.
	ServiceEndpointPolicies []Ref        `json:"serviceEndpointPolicies,omitempty"`
	Delegations             []Delegation `json:"delegations"`
	DefaultOutboundAccess   *bool        `json:"defaultOutboundAccess,omitempty"`
	EndpointPolicies        string       `json:"privateEndpointNetworkPolicies,omitempty"`
	LinkServicePolicies     string       `json:"privateLinkServiceNetworkPolicies,omitempty"`

	IPConfigurations []Ref `json:"ipConfigurations,omitempty" rp:"readonly"`
	PrivateEndpoints []Ref `json:"privateEndpoints,omitempty" rp:"readonly"`
	// ServiceLinks are the service association links: a service's resources stand in the subnet.
	ServiceLinks []map[string]any `json:"serviceAssociationLinks,omitempty" rp:"readonly"`
}

// prefixes are the subnet's prefixes, whichever property has them.
func (s *Subnet) prefixes() []string {
	if len(s.AddressPrefixes) > 0 {
		return s.AddressPrefixes
	}
	return []string{s.AddressPrefix}
}

// judgesEndpoints says whether the subnet's security group applies to its private endpoints.
func (s *Subnet) judgesEndpoints() bool {
	return strings.EqualFold(s.EndpointPolicies, "Enabled") || strings.EqualFold(s.EndpointPolicies, "NetworkSecurityGroupEnabled")
}

// routesEndpoints says whether routes broader than /32 apply to what goes to the subnet's private endpoints.
func (s *Subnet) routesEndpoints() bool {
	return strings.EqualFold(s.EndpointPolicies, "Enabled") || strings.EqualFold(s.EndpointPolicies, "RouteTableEnabled")
}

func (p *Provider) subnetType() rp.Registration {
	list := make([]rp.Version[Subnet], len(versions))
	for i, name := range versions {
		list[i].Name = name
		if name < privateSubnets {
			list[i].Encode = encodeOldSubnet
		}
	}
	return rp.Of(rp.Type[Subnet]{
		Name: SubnetType, Kind: rp.Proxy, Versions: list, ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultSubnet,
		Validate:  validateSubnet,
		Admit:     admitSubnet,
		Links:     subnetLinks,
		Reconcile: applied[Subnet](p),
		Present:   presentSubnet,
		Kept:      true,
		Release:   p.releaseSubnet,
		Finalize:  applied[Subnet](p),
		Actions: map[string]rp.Action[Subnet]{
			"PrepareNetworkPolicies": {Do: networkPolicies}, "UnprepareNetworkPolicies": {Do: networkPolicies},
		},
	})
}

// encodeOldSubnet leaves out defaultOutboundAccess where it says what the old versions took for granted.
func encodeOldSubnet(s *Subnet) (map[string]any, error) {
	old := *s
	if old.DefaultOutboundAccess != nil && *old.DefaultOutboundAccess {
		old.DefaultOutboundAccess = nil
	}
	return tree(&old)
}

func defaultSubnet(version string, r *rp.Resource[Subnet]) {
	s := &r.Properties
	if s.DefaultOutboundAccess == nil {
		open := version < privateSubnets
		s.DefaultOutboundAccess = &open
	}
	if s.EndpointPolicies == "" {
		s.EndpointPolicies = "Disabled"
	}
	if s.LinkServicePolicies == "" {
		s.LinkServicePolicies = "Enabled"
	}
	s.spellServiceEndpoints()
	s.completeDelegations(r.ID)
}

var endpointPolicies = []string{"Disabled", "Enabled", "NetworkSecurityGroupEnabled", "RouteTableEnabled"}

func validateSubnet(_ rp.Op, new, _ *rp.Resource[Subnet]) error {
	s := &new.Properties
	if s.AddressPrefix == "" && len(s.AddressPrefixes) == 0 {
		return bad("AddressPrefixStringCannotBeNullOrEmpty", "Address prefix string for resource %s cannot be null or empty.", new.ID)
	}
	own, err := parsePrefixes(s.prefixes(), new.ID)
	if err != nil {
		return err
	}
	for i, a := range own {
		if a.Bits() > 29 {
			return bad("NetcfgInvalidSubnet", "Subnet '%s' is not valid in virtual network '%s'. The smallest subnet is a /29, %s is smaller.", new.ID.Name(), new.ID.Parent().Name(), a)
		}
		for _, b := range own[:i] {
			if a.Overlaps(b) {
				return bad("NetcfgSubnetRangesOverlap", "Subnet '%s' is not valid because its IP address ranges overlap: %s and %s.", new.ID.Name(), b, a)
			}
		}
	}
	if !slices.ContainsFunc(endpointPolicies, func(v string) bool { return strings.EqualFold(v, s.EndpointPolicies) }) {
		return bad("InvalidRequestFormat", "Cannot parse the request: privateEndpointNetworkPolicies of subnet %s is '%s'; it must be one of %s.", new.ID, clip(s.EndpointPolicies), strings.Join(endpointPolicies, ", "))
	}
	if err := s.validateServiceEndpoints(new.ID); err != nil {
		return err
	}
	if err := s.validateDelegations(new.ID); err != nil {
		return err
	}
	for _, u := range s.uses() {
		if _, err := parseRef(u.ref, u.typ, u.property, new.ID); err != nil {
			return err
		}
	}
	return nil
}

// use is a reference of a subnet to something that is in its region.
type use struct {
	property, typ string
	ref           *Ref
}

// uses are the references that the subnet has.
func (s *Subnet) uses() []use {
	all := []use{
		{"networkSecurityGroup", NSGType, s.NSG}, {"routeTable", RouteTableType, s.RouteTable}, {"natGateway", NATGatewayType, s.NATGateway},
	}
	for i := range s.ServiceEndpointPolicies {
		all = append(all, use{"serviceEndpointPolicies", EndpointPolicyType, &s.ServiceEndpointPolicies[i]})
	}
	return slices.DeleteFunc(all, func(u use) bool { return u.ref == nil })
}

// subnetLinks: attaching something to a subnet needs join/action on it.
func subnetLinks(r *rp.Resource[Subnet]) []rp.Link {
	var links []rp.Link
	for _, u := range r.Properties.uses() {
		if id, err := arm.ParseID(u.ref.ID); err == nil { // else Validate has its say
			links = append(links, rp.Link{Action: u.typ + "/join/action", ID: id})
		}
	}
	return links
}

func admitSubnet(ctx context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Subnet]) error {
	vnet, err := rp.Get[VNet](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if err := idle(ctx, tx, vnet, new, old); err != nil {
		return err
	}
	if !rp.Embedded(ctx) { // else the virtual network's own admission checks all subnets together
		if err := fits(vnet, new); err != nil {
			return err
		}
		siblings, err := rp.List[Subnet](tx, SubnetType, vnet.ID)
		if err != nil {
			return err
		}
		if err := noOverlap(new, siblings); err != nil {
			return err
		}
	}
	new.Properties.placeServiceEndpoints(vnet.Location)
	for i := range new.Properties.ServiceEndpointPolicies {
		if err := inRegion[EndpointPolicy](tx, &new.Properties.ServiceEndpointPolicies[i], vnet.Location, new.ID); err != nil {
			return err
		}
	}
	if err := inRegion[NSG](tx, new.Properties.NSG, vnet.Location, new.ID); err != nil {
		return err
	}
	if err := BastionCompliant(tx, new); err != nil {
		return err
	}
	if err := inRegion[RouteTable](tx, new.Properties.RouteTable, vnet.Location, new.ID); err != nil {
		return err
	}
	if err := noGroupOfGateways(new); err != nil {
		return err
	}
	if err := admitSubnetNAT(tx, new, vnet.Location); err != nil {
		return err
	}
	if op == rp.Create {
		return nil
	}
	if err := keepsDelegation(tx, new, old); err != nil {
		return err
	}
	if err := keepsLinkServices(tx, new); err != nil {
		return err
	}
	return keepsAllocations(tx, new, old)
}

// fits refuses a subnet that lies outside of its virtual network.
func fits(vnet *rp.Resource[VNet], s *rp.Resource[Subnet]) error {
	own, err := parsePrefixes(s.Properties.prefixes(), s.ID)
	if err != nil {
		return err
	}
	space, err := parsePrefixes(vnet.Properties.AddressSpace.AddressPrefixes, vnet.ID)
	if err != nil {
		return err
	}
	for _, a := range own {
		if !slices.ContainsFunc(space, func(b netip.Prefix) bool { return b.Bits() <= a.Bits() && b.Contains(a.Addr()) }) {
			return bad("NetcfgSubnetRangeOutsideVnet", "Subnet '%s' is not valid because its IP address range is outside the IP address range of virtual network '%s'.", s.ID.Name(), vnet.ID.Name())
		}
	}
	return nil
}

// noOverlap refuses a subnet that overlaps with one of the others.
func noOverlap(s *rp.Resource[Subnet], others []*rp.Resource[Subnet]) error {
	own, err := parsePrefixes(s.Properties.prefixes(), s.ID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID.Key() == s.ID.Key() || o.State == arm.Deleting {
			continue
		}
		theirs, err := parsePrefixes(o.Properties.prefixes(), o.ID)
		if err != nil {
			return err
		}
		for _, a := range own {
			if slices.ContainsFunc(theirs, a.Overlaps) {
				return bad("NetcfgSubnetRangesOverlap", "Subnet '%s' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '%s'.", s.ID.Name(), s.ID.Parent().Name())
			}
		}
	}
	return nil
}

// keepsAllocations refuses to take away a prefix in which an address is in use; that another one would have the
// address is no help, as in Azure. What stands there for exec is no resource of a user's and gives its address back.
func keepsAllocations(tx *rp.Tx, new, old *rp.Resource[Subnet]) error {
	kept := new.Properties.prefixes()
	gone := slices.DeleteFunc(slices.Clone(old.Properties.prefixes()), func(p string) bool { return slices.Contains(kept, p) })
	prefixes, err := parsePrefixes(gone, new.ID)
	if err != nil || len(prefixes) == 0 {
		return err
	}
	held, err := allocations(tx, new.ID)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		for _, h := range held {
			if !p.Contains(h.Addr) {
				continue
			}
			n, hidden, err := hiddenNIC(tx, h.Owner)
			if err != nil {
				return err
			}
			if !hidden || n.Kind != ExecKind {
				return bad("InUsePrefixCannotBeDeleted", "IpPrefix %s on Subnet %s has active allocations and cannot be deleted. %s is held by %s.", p, new.ID.Name(), h.Addr, h.Owner)
			}
			if err := releaseHidden(tx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// noGroupOfGateways refuses a network security group on the subnet of gateways.
// https://github.com/MicrosoftDocs/azure-docs/issues/115804 has the error, which the documentation leaves out.
func noGroupOfGateways(s *rp.Resource[Subnet]) error {
	if s.Properties.NSG == nil || !strings.EqualFold(s.ID.Name(), gatewaySubnet) {
		return nil
	}
	name := s.Properties.NSG.ID[strings.LastIndexByte(s.Properties.NSG.ID, '/')+1:]
	return bad("NetworkSecurityGroupCannotBeAttachedToGatewaySubnet", "The operation failed because the network security group %s can not be associated to the %s. Please remove the network security group associated to the %s. No changes have occurred on the gateway at this time. See here for additional details: https://aka.ms/GatewaySubnet.", name, gatewaySubnet, gatewaySubnet)
}

// idle refuses a write of a subnet while an operation runs on its virtual network or on another of its subnets:
// Azure works on one at a time.
func idle(ctx context.Context, tx *rp.Tx, vnet *rp.Resource[VNet], new, old *rp.Resource[Subnet]) error {
	if rp.Embedded(ctx) { // the virtual network's own operation, which waits for none that it begins itself
		if old != nil && !old.State.Terminal() {
			return busy(old.ID, old.State)
		}
		return nil
	}
	if !vnet.State.Terminal() {
		return busy(vnet.ID, vnet.State)
	}
	siblings, err := rp.List[Subnet](tx, SubnetType, vnet.ID)
	if err != nil {
		return err
	}
	for _, s := range siblings {
		if s.ID.Key() != new.ID.Key() && !s.State.Terminal() {
			return busy(s.ID, s.State)
		}
	}
	return nil
}

func presentSubnet(_ context.Context, tx *rp.Tx, r *rp.Resource[Subnet]) error {
	held, err := allocations(tx, r.ID)
	if err != nil {
		return err
	}
	r.Properties.IPConfigurations, r.Properties.PrivateEndpoints = nil, nil
	for _, h := range held {
		r.Properties.IPConfigurations = append(r.Properties.IPConfigurations, Ref{ID: h.Owner})
		if ref := (Ref{ID: h.Endpoint}); h.Endpoint != "" && !slices.Contains(r.Properties.PrivateEndpoints, ref) {
			r.Properties.PrivateEndpoints = append(r.Properties.PrivateEndpoints, ref)
		}
	}
	r.Properties.ServiceLinks = nil
	if r.Properties.delegatedTo() == "" {
		return nil
	}
	r.Properties.ServiceLinks, err = shownLinks(tx, r)
	return err
}

func (p *Provider) releaseSubnet(_ context.Context, tx *rp.Tx, r *rp.Resource[Subnet]) error {
	if err := releaseExec(tx, r.ID); err != nil {
		return err
	}
	held, err := allocations(tx, r.ID)
	if err != nil || len(held) == 0 {
		return err
	}
	owners := make([]string, len(held))
	for i, h := range held {
		owners[i] = h.Owner
	}
	return bad("InUseSubnetCannotBeDeleted", "Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.", r.ID.Name(), inUse(owners))
}
