package azurefirewall

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	model "vauban.dev/azurefirewall"
	"vauban.dev/provider/network"
)

var defaultRanges = model.DefaultPrivateRanges()

// Firewall is the properties of an Azure Firewall (Network REST: AzureFirewallPropertiesFormat).
type Firewall struct {
	SKU             *SKU          `json:"sku,omitempty"`
	ThreatIntelMode string        `json:"threatIntelMode,omitempty"`
	Policy          *network.Ref  `json:"firewallPolicy,omitempty"`
	VirtualHub      *network.Ref  `json:"virtualHub,omitempty"`
	Configs         []IPConfig    `json:"ipConfigurations"`
	Management      *IPConfig     `json:"managementIpConfiguration,omitempty"`
	IPGroups        []network.Ref `json:"ipGroups" rp:"readonly"`

	Application []ClassicCollection `json:"applicationRuleCollections"`
	NAT         []ClassicCollection `json:"natRuleCollections"`
	Network     []ClassicCollection `json:"networkRuleCollections"`
	// Additional are settings of classic firewalls: Network.DNS.EnableProxy, Network.DNS.Servers,
	// Network.SNAT.PrivateRanges.
	Additional map[string]string `json:"additionalProperties"`

	Held []Held `json:"held,omitempty" rp:"private"`
}

// SKU of a firewall.
type SKU struct {
	Name string `json:"name"` // AZFW_VNet
	Tier string `json:"tier"`
}

// IPConfig is an ip configuration: the first has the subnet, each has a public address.
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
	Subnet     *network.Ref `json:"subnet,omitempty"`
	PublicIP   *network.Ref `json:"publicIPAddress,omitempty"`
}

// Held is what an ip configuration holds: a private address for each, and its public one.
type Held struct {
	Config     string     `json:"config"`
	Management bool       `json:"management,omitempty"`
	Subnet     string     `json:"subnet"`
	Address    netip.Addr `json:"address"`
	PublicIP   string     `json:"publicIP,omitempty"`
	Public     netip.Addr `json:"public,omitzero"`
}

const (
	firewallSubnet   = "AzureFirewallSubnet"
	managementSubnet = "AzureFirewallManagementSubnet"
	// smallest is the narrowest prefix that a firewall's subnet may have.
	smallest = 26
)

func (p *Provider) firewallType() rp.Registration {
	return rp.Of(rp.Type[Firewall]{
		Name: FirewallType, Kind: rp.Tracked, Versions: rp.Versions[Firewall](network.VersionsSince("2018-04-01")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultFirewall,
		Validate:  p.validateFirewall,
		Admit:     p.admitFirewall,
		Links:     firewallLinks,
		Reconcile: applied[Firewall](p),
		Present:   presentFirewall,
		Release:   releaseFirewall,
		Finalize:  applied[Firewall](p),
	})
}

func configID(firewall arm.ID, name string) string {
	return firewall.String() + "/azureFirewallIpConfigurations/" + name
}

func defaultFirewall(_ string, r *rp.Resource[Firewall]) {
	v := &r.Properties
	if v.SKU == nil {
		v.SKU = &SKU{}
	}
	if v.SKU.Name == "" {
		v.SKU.Name = "AZFW_VNet"
	}
	if v.SKU.Tier == "" {
		v.SKU.Tier = standard
	}
	if v.ThreatIntelMode == "" && v.Policy == nil {
		v.ThreatIntelMode = "Alert"
	}
	if v.Configs == nil {
		v.Configs = []IPConfig{}
	}
	if v.Additional == nil {
		v.Additional = map[string]string{}
	}
	for _, list := range []*[]ClassicCollection{&v.Application, &v.NAT, &v.Network} {
		if *list == nil {
			*list = []ClassicCollection{}
		}
		for i := range *list {
			c := &(*list)[i]
			c.ID, c.ETag, c.Properties.State = "", "", ""
			if c.Properties.Rules == nil {
				c.Properties.Rules = []ClassicRule{}
			}
		}
	}
	for i := range v.Configs {
		v.Configs[i].clear()
	}
	if v.Management != nil {
		v.Management.clear()
	}
}

// clear drops what the service says of a configuration.
func (c *IPConfig) clear() {
	c.ID, c.ETag, c.Type = "", "", ""
	c.Properties.State, c.Properties.Address, c.Properties.Allocation = "", "", ""
}

func invalid(format string, args ...any) error {
	return bad("AzureFirewallInvalidRequest", format, args...)
}

func (p *Provider) validateFirewall(op rp.Op, new, old *rp.Resource[Firewall]) error {
	v := &new.Properties
	if err := oneOf(&v.SKU.Name, new.ID, "sku.name", "AZFW_VNet", "AZFW_Hub"); err != nil {
		return err
	}
	if err := oneOf(&v.SKU.Tier, new.ID, "sku.tier", tiers...); err != nil {
		return err
	}
	switch {
	case v.SKU.Name == "AZFW_Hub":
		return arm.NotImplemented("Azure Firewalls in virtual hubs are not implemented: sku.name of %s must be AZFW_VNet.", new.ID)
	case v.VirtualHub != nil:
		return invalid("Request parameter VirtualHub can not be specified in current SKU AZFW_VNet for the Azure Firewall %s.", new.ID)
	case v.Policy != nil && len(v.Application)+len(v.NAT)+len(v.Network) > 0:
		return invalid("Azure Firewall %s cannot have rule collections of its own beside firewallPolicy %s.", new.ID, clip(v.Policy.ID))
	case v.Policy == nil && v.SKU.Tier != standard:
		return invalid("Azure Firewall %s of tier %s needs a firewallPolicy: classic rules are for the Standard tier.", new.ID, v.SKU.Tier)
	}
	if v.Policy != nil {
		if _, err := parseRef(v.Policy, PolicyType, "firewallPolicy", new.ID); err != nil {
			return err
		}
	}
	if v.ThreatIntelMode != "" {
		if err := validateThreatIntel(&v.ThreatIntelMode, new.ID); err != nil {
			return err
		}
	}
	if err := validateConfigs(new); err != nil {
		return err
	}
	if op == rp.Update {
		if a, b := v.subnet(), old.Properties.subnet(); a != "" && b != "" && !strings.EqualFold(a, b) {
			return invalid("Azure Firewall %s cannot move from subnet %s to %s: delete its ipConfigurations first.", new.ID, b, a)
		}
	}
	return p.validateClassic(new)
}

// subnet is the id of the firewall's subnet, "" where it is deallocated.
func (v *Firewall) subnet() string {
	if len(v.Configs) == 0 {
		return ""
	}
	return v.Configs[0].Properties.Subnet.ID
}

func validateConfigs(r *rp.Resource[Firewall]) error {
	v := &r.Properties
	names := map[string]bool{}
	for i, c := range v.Configs {
		switch f := c.Properties; {
		case c.Name == "" || names[strings.ToLower(c.Name)]:
			return invalid("Azure Firewall %s has an ipConfiguration without a name, or two of the name '%s'.", r.ID, clip(c.Name))
		case i == 0 && f.Subnet == nil:
			return bad("InvalidRequestFormat", "Cannot parse the request: Value for reference id is missing. Path properties.ipConfigurations[0].properties.subnet of %s.", r.ID)
		case i > 0 && f.Subnet != nil:
			return invalid("Azure Firewall %s: only the first ipConfiguration has a subnet, not %s.", r.ID, clip(c.Name))
		case f.PublicIP == nil && (i > 0 || v.Management == nil):
			return invalid("Azure Firewall %s: ipConfiguration %s needs a publicIPAddress; the first one can do without if there is a managementIpConfiguration.", r.ID, clip(c.Name))
		}
		names[strings.ToLower(c.Name)] = true
		if err := validateConfig(r.ID, c, firewallSubnet); err != nil {
			return err
		}
	}
	m := v.Management
	switch {
	case m == nil && v.SKU.Tier == basic && len(v.Configs) > 0:
		return invalid("Azure Firewall %s of tier Basic needs a managementIpConfiguration.", r.ID)
	case m == nil:
		return nil
	case len(v.Configs) == 0:
		return invalid("Azure Firewall %s has a managementIpConfiguration and no ipConfigurations.", r.ID)
	case m.Name == "" || names[strings.ToLower(m.Name)] || m.Properties.Subnet == nil || m.Properties.PublicIP == nil:
		return invalid("managementIpConfiguration of Azure Firewall %s needs a name of its own, a subnet and a publicIPAddress.", r.ID)
	}
	return validateConfig(r.ID, *m, managementSubnet)
}

func validateConfig(of arm.ID, c IPConfig, subnet string) error {
	if c.Properties.PublicIP != nil {
		if _, err := parseRef(c.Properties.PublicIP, network.PublicIPType, "publicIPAddress", of); err != nil {
			return err
		}
	}
	if c.Properties.Subnet == nil {
		return nil
	}
	id, err := parseRef(c.Properties.Subnet, network.SubnetType, "subnet", of)
	if err != nil {
		return err
	}
	if id.Name() != subnet {
		return invalid("Azure Firewall %s references subnet %s: the subnet of ipConfiguration %s must be called %s.", of, id, clip(c.Name), subnet)
	}
	return nil
}

func firewallLinks(r *rp.Resource[Firewall]) []rp.Link {
	v := &r.Properties
	links := joins(PolicyType, v.Policy)
	for _, c := range v.all() {
		links = append(links, joins(network.SubnetType, c.Properties.Subnet)...)
		links = append(links, joins(network.PublicIPType, c.Properties.PublicIP)...)
	}
	for _, id := range v.ipGroups() {
		links = append(links, joins(IPGroupType, &network.Ref{ID: id})...)
	}
	return links
}

// all are the ip configurations, the management one last.
func (v *Firewall) all() []IPConfig {
	if v.Management == nil {
		return v.Configs
	}
	return append(slices.Clone(v.Configs), *v.Management)
}

func (p *Provider) admitFirewall(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Firewall]) error {
	v := &new.Properties
	if v.Policy != nil {
		policy, err := live[Policy](tx, v.Policy, new.ID)
		if err != nil {
			return err
		}
		if rank(policy.Properties.tier()) > rank(v.SKU.Tier) || (policy.Properties.tier() == basic) != (v.SKU.Tier == basic) {
			return invalid("Azure Firewall %s of tier %s cannot have firewallPolicy %s of tier %s.", new.ID, v.SKU.Tier, policy.ID, policy.Properties.tier())
		}
	}
	for _, id := range v.ipGroups() {
		if _, err := live[IPGroup](tx, &network.Ref{ID: id}, new.ID); err != nil {
			return err
		}
	}
	if op == rp.Update {
		v.Held = old.Properties.Held
	}
	return p.hold(tx, new)
}

// hold makes what the firewall holds what its configurations ask for. What it no longer needs goes back first.
func (p *Provider) hold(tx *rp.Tx, r *rp.Resource[Firewall]) error {
	v := &r.Properties
	var keep []Held
	for _, h := range v.Held {
		if !slices.ContainsFunc(v.all(), func(c IPConfig) bool { return h.serves(c) }) {
			if err := h.give(tx); err != nil {
				return err
			}
			continue
		}
		keep = append(keep, h)
	}
	v.Held = nil
	for i, c := range v.all() {
		if j := slices.IndexFunc(keep, func(h Held) bool { return h.serves(c) }); j >= 0 {
			v.Held = append(v.Held, keep[j])
			continue
		}
		subnet := c.Properties.Subnet
		if subnet == nil {
			subnet = v.Configs[0].Properties.Subnet
		}
		h, err := p.take(tx, r, c, subnet)
		if err != nil {
			return err
		}
		h.Management = i == len(v.Configs)
		v.Held = append(v.Held, h)
	}
	return nil
}

// serves tells whether what is held is what a configuration asks for.
func (h Held) serves(c IPConfig) bool {
	public := ""
	if c.Properties.PublicIP != nil {
		public = c.Properties.PublicIP.ID
	}
	return strings.EqualFold(h.Config, c.Name) && strings.EqualFold(h.PublicIP, public) &&
		(c.Properties.Subnet == nil || strings.EqualFold(c.Properties.Subnet.ID, h.Subnet))
}

func (h Held) give(tx *rp.Tx) error {
	subnet, err := arm.ParseID(h.Subnet)
	if err != nil {
		return err
	}
	if err := network.GiveAddress(tx, subnet, h.Address); err != nil {
		return err
	}
	if h.PublicIP == "" {
		return nil
	}
	return network.DissociatePublicIP(tx, &network.Ref{ID: h.PublicIP})
}

func (p *Provider) take(tx *rp.Tx, r *rp.Resource[Firewall], c IPConfig, ref *network.Ref) (h Held, err error) {
	subnet, err := live[network.Subnet](tx, ref, r.ID)
	if err != nil {
		return h, err
	}
	if err := fits(tx, r, subnet); err != nil {
		return h, err
	}
	owner := configID(r.ID, c.Name)
	h = Held{Config: c.Name, Subnet: subnet.ID.String()}
	if h.Address, err = network.TakeAddress(tx, subnet, netip.Addr{}, owner); err != nil || c.Properties.PublicIP == nil {
		return h, err
	}
	ip, err := live[network.PublicIP](tx, c.Properties.PublicIP, r.ID)
	if err != nil {
		return h, err
	}
	if !strings.Contains(strings.ToLower(string(ip.SKU)), `"standard"`) {
		return h, invalid("Azure Firewall %s references public IP address %s: it must be of SKU Standard.", r.ID, ip.ID)
	}
	h.PublicIP = c.Properties.PublicIP.ID
	h.Public, err = p.cfg.Network.AssociatePublicIP(tx, c.Properties.PublicIP, owner, r.ID)
	return h, err
}

// fits refuses a subnet that is too small, has a security group, or is in another region.
func fits(tx *rp.Tx, r *rp.Resource[Firewall], subnet *rp.Resource[network.Subnet]) error {
	vnet, err := rp.Get[network.VNet](tx, subnet.ID.Parent())
	if err != nil {
		return err
	}
	if vnet.Location != r.Location {
		return bad("InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", vnet.ID, r.ID)
	}
	for _, text := range append(slices.Clone(subnet.Properties.AddressPrefixes), subnet.Properties.AddressPrefix) {
		if p, err := netip.ParsePrefix(text); err == nil && p.Bits() > smallest {
			return invalid("Azure Firewall %s references subnet %s: its prefix %s is smaller than /%d.", r.ID, subnet.ID, p, smallest)
		}
	}
	if subnet.Properties.NSG != nil {
		return invalid("Azure Firewall %s references subnet %s, which has network security group %s: network security groups are not supported there.", r.ID, subnet.ID, subnet.Properties.NSG.ID)
	}
	return nil
}

func presentFirewall(_ context.Context, _ *rp.Tx, r *rp.Resource[Firewall]) error {
	v := &r.Properties
	v.IPGroups = []network.Ref{}
	for _, id := range v.ipGroups() {
		v.IPGroups = append(v.IPGroups, network.Ref{ID: id})
	}
	present := func(c *IPConfig) {
		c.ID, c.ETag, c.Type = configID(r.ID, c.Name), r.ETag, FirewallType+"/azureFirewallIpConfigurations"
		c.Properties.State, c.Properties.Allocation = string(arm.Succeeded), "Dynamic"
		for _, h := range v.Held {
			if strings.EqualFold(h.Config, c.Name) && c.Properties.Subnet != nil {
				c.Properties.Address = h.Address.String()
			}
		}
	}
	for i := range v.Configs {
		present(&v.Configs[i])
	}
	if v.Management != nil {
		present(v.Management)
	}
	for kind, list := range map[string][]ClassicCollection{"applicationRuleCollections": v.Application, "natRuleCollections": v.NAT, "networkRuleCollections": v.Network} {
		for i := range list {
			c := &list[i]
			c.ID, c.ETag, c.Properties.State = fmt.Sprintf("%s/%s/%s", r.ID, kind, c.Name), r.ETag, string(arm.Succeeded)
		}
	}
	return nil
}

func releaseFirewall(_ context.Context, tx *rp.Tx, r *rp.Resource[Firewall]) error {
	for _, h := range r.Properties.Held {
		if err := h.give(tx); err != nil {
			return err
		}
	}
	return nil
}
