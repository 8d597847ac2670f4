package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Interface is the properties of a network interface (Network REST:
// NetworkInterfacePropertiesFormat).
type Interface struct {
	ResourceGUID          string      `json:"resourceGuid,omitempty" rp:"readonly"`
	IPConfigurations      []IPConfig  `json:"ipConfigurations"`
	DNS                   DNSSettings `json:"dnsSettings"`
	NSG                   *Ref        `json:"networkSecurityGroup,omitempty"`
	AcceleratedNetworking bool        `json:"enableAcceleratedNetworking"`
	IPForwarding          bool        `json:"enableIPForwarding"`
	HostedWorkloads       []string    `json:"hostedWorkloads" rp:"readonly"`
	TapConfigurations     []any       `json:"tapConfigurations" rp:"readonly"`
	NICType               string      `json:"nicType,omitempty" rp:"readonly"`
	MACAddress            string      `json:"macAddress,omitempty" rp:"readonly"`
	PrivateEndpoint       *Ref        `json:"privateEndpoint,omitempty" rp:"readonly"`
	LinkService           *Ref        `json:"privateLinkService,omitempty" rp:"readonly"`
	VirtualMachine        *Ref        `json:"virtualMachine,omitempty" rp:"readonly"`
	Primary               bool        `json:"primary,omitempty" rp:"readonly"` // of its virtual machine
}

// DNSSettings of an interface.
type DNSSettings struct {
	Servers        []string `json:"dnsServers"` // addresses, or AzureProvidedDNS; none: the virtual network's
	AppliedServers []string `json:"appliedDnsServers" rp:"readonly"`
	Label          string   `json:"internalDnsNameLabel,omitempty"`
	FQDN           string   `json:"internalFqdn,omitempty" rp:"readonly"`
	Suffix         string   `json:"internalDomainNameSuffix,omitempty" rp:"readonly"`
}

// IPConfig is one address of an interface.
type IPConfig struct {
	Name       string         `json:"name"`
	ID         string         `json:"id,omitempty"`
	ETag       string         `json:"etag,omitempty"`
	Type       string         `json:"type,omitempty"`
	Properties IPConfigFields `json:"properties"`
}

// IPConfigFields are the properties of an IPConfig.
type IPConfigFields struct {
	State      string       `json:"provisioningState,omitempty"`
	Address    string       `json:"privateIPAddress,omitempty"`
	Allocation string       `json:"privateIPAllocationMethod,omitempty"`
	Subnet     *Ref         `json:"subnet,omitempty"`
	PublicIP   *Ref         `json:"publicIPAddress,omitempty"`
	Primary    bool         `json:"primary"`
	Version    string       `json:"privateIPAddressVersion,omitempty"`
	ASGs       []Ref        `json:"applicationSecurityGroups,omitempty"`
	Pools      []Ref        `json:"loadBalancerBackendAddressPools,omitempty"`
	NATRules   []Ref        `json:"loadBalancerInboundNatRules,omitempty"`
	Link       *LinkDetails `json:"privateLinkConnectionProperties,omitempty"`
}

// LinkDetails say which member of a private endpoint's target an address is for.
type LinkDetails struct {
	GroupID    string   `json:"groupId"`
	MemberName string   `json:"requiredMemberName"`
	FQDNs      []string `json:"fqdns"`
}

func configID(nic arm.ID, name string) string { return nic.String() + "/ipConfigurations/" + name }

func (p *Provider) nicType() rp.Registration {
	return rp.Of(rp.Type[Interface]{
		Move: moved[Interface],
		Name: NICType, Kind: rp.Tracked, Versions: rp.Versions[Interface](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultNIC,
		Validate:  validateNIC,
		Admit:     p.admitNIC,
		Links:     nicLinks,
		Reconcile: applied[Interface](p),
		Present:   presentNIC,
		Kept:      true,
		Release:   releaseNIC,
		Finalize:  applied[Interface](p),
		Actions:   p.cfg.InterfaceActions,
	})
}

func defaultNIC(_ string, r *rp.Resource[Interface]) {
	v := &r.Properties
	primary := slices.ContainsFunc(v.IPConfigurations, func(c IPConfig) bool { return c.Properties.Primary })
	for i := range v.IPConfigurations {
		c := &v.IPConfigurations[i].Properties
		c.Primary = c.Primary || (!primary && i == 0)
		if c.Version == "" {
			c.Version = "IPv4"
		}
		if strings.EqualFold(c.Allocation, "Static") {
			c.Allocation = "Static"
		} else {
			c.Allocation = "Dynamic"
		}
		c.State, c.Link = "", nil
		v.IPConfigurations[i].ID, v.IPConfigurations[i].ETag, v.IPConfigurations[i].Type = "", "", ""
	}
	v.DNS.Servers = withoutBlanks(v.DNS.Servers)
}

func validateNIC(_ rp.Op, new, old *rp.Resource[Interface]) error {
	v := &new.Properties
	if v.PrivateEndpoint != nil {
		return bad("CannotModifyNicAttachedToPrivateEndpoint", "Network interface %s is attached to private endpoint %s. It can not be modified by user.", new.ID, v.PrivateEndpoint.ID)
	}
	if v.LinkService != nil {
		return bad("CannotModifyNicAttachedToPrivateLinkService", "Network interface %s is attached to private link service %s. It can not be modified by user.", new.ID, v.LinkService.ID)
	}
	if len(v.IPConfigurations) == 0 {
		return bad("NetworkInterfaceMustHaveAtLeastOneIpConfiguration", "Network interface %s must have at least one IP configuration.", new.ID)
	}
	if err := v.DNS.validate(new.ID); err != nil {
		return err
	}
	names, primaries := map[string]bool{}, 0
	var vnet string
	for _, c := range v.IPConfigurations {
		key := strings.ToLower(c.Name)
		switch {
		case c.Name == "":
			return bad("InvalidRequestFormat", "An IP configuration of network interface %s has no name.", new.ID)
		case names[key]:
			return bad("DuplicateResourceName", "Resource %s has two child resources with the same name (%s).", new.ID, c.Name)
		case c.Properties.Version != "IPv4":
			return arm.NotImplemented("IP configuration %s: version %s is not implemented.", configID(new.ID, c.Name), clip(c.Properties.Version))
		case c.Properties.Subnet == nil:
			return bad("SubnetNotSpecified", "IP configuration %s must have a subnet.", configID(new.ID, c.Name))
		}
		names[key] = true
		if c.Properties.Primary {
			primaries++
		}
		subnet, err := parseRef(c.Properties.Subnet, SubnetType, "subnet", new.ID)
		if err != nil {
			return err
		}
		if vnet != "" && vnet != subnet.Parent().Key() {
			return bad("IpConfigurationsOnSameNicCannotUseDifferentVirtualNetworks", "IP configurations of network interface %s are in different virtual networks.", new.ID)
		}
		vnet = subnet.Parent().Key()
		if c.Properties.PublicIP != nil {
			if _, err := parseRef(c.Properties.PublicIP, PublicIPType, "publicIPAddress", new.ID); err != nil {
				return err
			}
		}
		for _, ref := range c.Properties.ASGs {
			if _, err := parseRef(&ref, ASGType, "applicationSecurityGroups", new.ID); err != nil {
				return err
			}
		}
		if _, err := staticAddress(c); err != nil {
			return err
		}
		if err := c.validateBalanced(new.ID); err != nil {
			return err
		}
	}
	if primaries != 1 {
		return bad("NetworkInterfaceMustHaveOnePrimaryIpConfiguration", "Network interface %s must have exactly one primary IP configuration.", new.ID)
	}
	if v.NSG != nil {
		if _, err := parseRef(v.NSG, NSGType, "networkSecurityGroup", new.ID); err != nil {
			return err
		}
	}
	return nil
}

// staticAddress is the address that a static configuration asks for; invalid for a dynamic one.
func staticAddress(c IPConfig) (netip.Addr, error) {
	if c.Properties.Allocation != "Static" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(c.Properties.Address)
	if err != nil || !a.Is4() {
		return netip.Addr{}, bad("InvalidIPAddressFormat", "IP configuration %s is static and needs an IPv4 address in privateIPAddress, not '%s'.", c.Name, clip(c.Properties.Address))
	}
	return a, nil
}

func nicLinks(r *rp.Resource[Interface]) []rp.Link {
	var links []rp.Link
	add := func(action string, refs ...*Ref) {
		for _, ref := range refs {
			if ref == nil {
				continue
			}
			if id, err := arm.ParseID(ref.ID); err == nil {
				links = append(links, rp.Link{Action: action, ID: id})
			}
		}
	}
	for _, c := range r.Properties.IPConfigurations {
		add(SubnetType+"/join/action", c.Properties.Subnet)
		add(PublicIPType+"/join/action", c.Properties.PublicIP)
		for _, ref := range c.Properties.ASGs {
			add(ASGType+"/joinIpConfiguration/action", &ref)
		}
		links = append(links, c.Properties.balancedLinks()...)
	}
	add(NSGType+"/join/action", r.Properties.NSG)
	return links
}

func (p *Provider) admitNIC(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Interface]) error {
	v := &new.Properties
	var before []IPConfig
	if op == rp.Create {
		v.ResourceGUID, v.NICType = uuid.NewString(), "Standard"
		v.HostedWorkloads, v.TapConfigurations = []string{}, []any{}
	} else {
		before = old.Properties.IPConfigurations
	}
	if err := inRegion[NSG](tx, v.NSG, new.Location, new.ID); err != nil {
		return err
	}
	for _, c := range v.IPConfigurations {
		if err := c.Properties.inRegion(tx, new); err != nil {
			return err
		}
		if err := c.admitBalanced(tx, new); err != nil {
			return err
		}
		vnet, err := networkOf(c.Properties.Subnet)
		if err != nil {
			return err
		}
		if err := oneNetwork(tx, new.ID, vnet, new.ID, c.Properties.ASGs); err != nil {
			return err
		}
	}
	if err := p.assign(tx, new.ID, v.IPConfigurations, before); err != nil {
		return err
	}
	v.MACAddress = mac(v.primary())
	return nil
}

// inRegion refuses a configuration that uses something of another region than its interface's.
func (c *IPConfigFields) inRegion(tx *rp.Tx, nic *rp.Resource[Interface]) error {
	for _, ref := range c.ASGs {
		if err := inRegion[ASG](tx, &ref, nic.Location, nic.ID); err != nil {
			return err
		}
	}
	if err := inRegion[PublicIP](tx, c.PublicIP, nic.Location, nic.ID); err != nil {
		return err
	}
	subnet, err := live[Subnet](tx, c.Subnet, nic.ID)
	if err != nil {
		return err
	}
	return inRegion[VNet](tx, &Ref{ID: subnet.ID.Parent().String()}, nic.Location, nic.ID)
}

// assign gives the configurations their addresses. What they had and no longer have goes back first;
// static addresses are taken before dynamic ones.
func (p *Provider) assign(tx *rp.Tx, nic arm.ID, now, before []IPConfig) error {
	for _, b := range before {
		i := slices.IndexFunc(now, func(c IPConfig) bool { return strings.EqualFold(c.Name, b.Name) })
		if i >= 0 && keep(&now[i], b) {
			continue
		}
		if err := unassign(tx, b); err != nil {
			return err
		}
	}
	for _, static := range []bool{true, false} {
		for i := range now {
			if (now[i].Properties.Allocation == "Static") != static {
				continue
			}
			if err := p.assignOne(tx, nic, &now[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep lets a configuration that stays in its subnet keep its address, and reports whether it does.
func keep(c *IPConfig, b IPConfig) bool {
	same := strings.EqualFold(c.Properties.Subnet.ID, b.Properties.Subnet.ID) &&
		(c.Properties.Allocation != "Static" || c.Properties.Address == b.Properties.Address)
	public := func(r *Ref) string {
		if r == nil {
			return ""
		}
		return strings.ToLower(r.ID)
	}
	if !same || public(c.Properties.PublicIP) != public(b.Properties.PublicIP) {
		return false
	}
	c.Properties.Address = b.Properties.Address
	return true
}

func (p *Provider) assignOne(tx *rp.Tx, nic arm.ID, c *IPConfig) error {
	subnetID, err := arm.ParseID(c.Properties.Subnet.ID)
	if err != nil {
		return err
	}
	s, err := live[Subnet](tx, c.Properties.Subnet, nic)
	if err != nil {
		return err
	}
	if s.ID.Name() == gatewaySubnet {
		return bad("GatewaySubnet", "Subnet with name '%s' can be used only for the Gateway resource.", gatewaySubnet)
	}
	if err := s.Properties.notDelegated(s.ID, nic.String()); err != nil {
		return err
	}
	owner := configID(nic, c.Name)
	if err := notBasic(tx, s, c.Properties.PublicIP, owner); err != nil {
		return err
	}
	want, err := staticAddress(*c)
	if err != nil {
		return err
	}
	if !want.IsValid() && c.Properties.Address != "" { // a dynamic one that keeps what it has
		if a, err := netip.ParseAddr(c.Properties.Address); err == nil && holds(tx, subnetID, a, owner) {
			want = a
		}
	}
	a, err := take(tx, s, want, allocation{Owner: owner}, nil)
	if err != nil {
		return err
	}
	c.Properties.Address = a.String()
	if c.Properties.PublicIP == nil {
		return nil
	}
	return p.associate(tx, c.Properties.PublicIP, owner, nic)
}

func holds(tx *rp.Tx, subnet arm.ID, a netip.Addr, owner string) bool {
	held, err := allocations(tx, subnet)
	return err == nil && slices.ContainsFunc(held, func(h allocation) bool { return h.Addr == a && strings.EqualFold(h.Owner, owner) })
}

// associate makes a public address the configuration's.
func (p *Provider) associate(tx *rp.Tx, ref *Ref, owner string, nic arm.ID) error {
	ip, err := live[PublicIP](tx, ref, nic)
	if err != nil {
		return err
	}
	if c := ip.Properties.holder(); c != nil && !strings.EqualFold(c.ID, owner) {
		return publicInUse(owner, ip.ID, c.ID)
	}
	if err := p.ensureAddress(tx, ip); err != nil {
		return err
	}
	ip.Properties.IPConfiguration = &Ref{ID: owner}
	return rp.Save(tx, ip)
}

// unassign gives back what a configuration holds.
func unassign(tx *rp.Tx, c IPConfig) error {
	subnet, err := arm.ParseID(c.Properties.Subnet.ID)
	if err != nil {
		return err
	}
	a, err := netip.ParseAddr(c.Properties.Address)
	if err != nil {
		return fmt.Errorf("network: stored address of %s: %w", c.Name, err)
	}
	if err := give(tx, subnet, a); err != nil {
		return err
	}
	if c.Properties.PublicIP == nil {
		return nil
	}
	return dissociate(tx, c.Properties.PublicIP)
}

// dissociate takes a public address from what it is associated with.
func dissociate(tx *rp.Tx, ref *Ref) error {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return err
	}
	ip, err := rp.Get[PublicIP](tx, id)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ip.Properties.IPConfiguration = nil
	if ip.Properties.Allocation == "Dynamic" {
		if err := releaseAddress(tx, &ip.Properties); err != nil {
			return err
		}
	}
	return rp.Save(tx, ip)
}

func presentNIC(_ context.Context, tx *rp.Tx, r *rp.Resource[Interface]) error {
	for i := range r.Properties.IPConfigurations {
		c := &r.Properties.IPConfigurations[i]
		c.ID, c.ETag, c.Type = configID(r.ID, c.Name), r.ETag, NICType+"/ipConfigurations"
		c.Properties.State = string(arm.Succeeded)
	}
	if r.Properties.DNS.AppliedServers == nil {
		r.Properties.DNS.AppliedServers = []string{}
	}
	return presentNames(tx, r)
}

func releaseNIC(ctx context.Context, tx *rp.Tx, r *rp.Resource[Interface]) error {
	if vm := r.Properties.VirtualMachine; vm != nil {
		if id, err := arm.ParseID(vm.ID); err != nil || !id.Within(rp.Removing(ctx)) { // with its group, both go
			return nicInUse(r)
		}
	}
	if pe := r.Properties.PrivateEndpoint; pe != nil {
		return bad("NicInUseWithPrivateEndpoint", "Network interface %s cannot be deleted because it is currently in use with an private endpoint (%s).", r.ID, pe.ID)
	}
	if pls := r.Properties.LinkService; pls != nil {
		return bad("NicInUseWithPrivateLinkService", "Network interface %s cannot be deleted because it is currently in use with a private link service (%s).", r.ID, pls.ID)
	}
	for _, c := range r.Properties.IPConfigurations {
		if err := unassign(tx, c); err != nil {
			return err
		}
	}
	return nil
}

// primary is the primary address.
func (v *Interface) primary() netip.Addr {
	for _, c := range v.IPConfigurations {
		if c.Properties.Primary {
			if a, err := netip.ParseAddr(c.Properties.Address); err == nil {
				return a
			}
		}
	}
	return netip.Addr{}
}

// mac is a stable address of Microsoft's range that goes with an IPv4 address.
func mac(a netip.Addr) string {
	if !a.Is4() {
		return ""
	}
	b := a.As4()
	return fmt.Sprintf("00-0D-3A-%02X-%02X-%02X", b[1], b[2], b[3])
}
