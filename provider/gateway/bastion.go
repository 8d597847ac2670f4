package gateway

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// BastionType is the resource type of bastions, BastionSubnet the name of the subnet that they stand in.
const (
	BastionType   = "Microsoft.Network/bastionHosts"
	BastionSubnet = network.BastionSubnet
)

// BastionSuffix is that of bastions' DNS names.
const BastionSuffix = "bastion.azure.com"

// bastionBits is the longest prefix of the subnet.
// https://learn.microsoft.com/azure/bastion/configuration-settings#subnet
const bastionBits = 26

// Bastion is the properties of a bastion (Network REST: BastionHostPropertiesFormat).
type Bastion struct {
	IPConfigurations []IPConfig  `json:"ipConfigurations"`
	DNSName          string      `json:"dnsName,omitempty" rp:"readonly"`
	VNet             *Ref        `json:"virtualNetwork,omitempty"`
	ACLs             *BastionACL `json:"networkAcls,omitempty"`
	ScaleUnits       int         `json:"scaleUnits"`
	DisableCopyPaste bool        `json:"disableCopyPaste"`
	FileCopy         bool        `json:"enableFileCopy"`
	IPConnect        bool        `json:"enableIpConnect"`
	ShareableLink    bool        `json:"enableShareableLink"`
	Tunneling        bool        `json:"enableTunneling"`
	Kerberos         bool        `json:"enableKerberos"`
	Recording        bool        `json:"enableSessionRecording"`
	PrivateOnly      bool        `json:"enablePrivateOnlyBastion"`

	Public netip.Addr `json:"public,omitzero" rp:"private"`
}

// BastionACL lists the client addresses that may connect.
type BastionACL struct {
	Rules []struct {
		Prefix string `json:"addressPrefix"`
	} `json:"ipRules"`
}

// Prefixes are the client addresses that may connect; empty: all.
func (a *BastionACL) Prefixes() (list []netip.Prefix) {
	if a == nil {
		return nil
	}
	for _, r := range a.Rules {
		if p, err := netip.ParsePrefix(r.Prefix); err == nil {
			list = append(list, p.Masked())
		} else if one, err := netip.ParseAddr(r.Prefix); err == nil {
			list = append(list, netip.PrefixFrom(one, one.BitLen()))
		}
	}
	return list
}

var bastionSKUs = []string{"Basic", "Standard", "Premium"}

func (p *Provider) bastionType() rp.Registration {
	return rp.Of(rp.Type[Bastion]{
		Name: BastionType, Kind: rp.Tracked, Versions: rp.Versions[Bastion](network.VersionsSince("2019-04-01")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultBastion,
		Validate:  validateBastion,
		Admit:     p.admitBastion,
		Links:     bastionLinks,
		Reconcile: applied[Bastion](p),
		Present:   presentBastion,
		Release:   p.releaseBastion,
		Finalize:  applied[Bastion](p),
		Actions:   bastionActions(),
	})
}

// sku is the name of a bastion's SKU.
func bastionSKU(r *rp.Resource[Bastion]) string {
	var s struct{ Name string }
	if json.Unmarshal(r.SKU, &s) != nil {
		return ""
	}
	spell(&s.Name, bastionSKUs...)
	return s.Name
}

func defaultBastion(_ string, r *rp.Resource[Bastion]) {
	if len(r.SKU) == 0 {
		r.SKU = json.RawMessage(`{"name":"Standard"}`)
	}
	if r.Properties.ScaleUnits == 0 {
		r.Properties.ScaleUnits = 2
	}
	for i := range r.Properties.IPConfigurations {
		r.Properties.IPConfigurations[i].Properties.Allocation = "Dynamic"
	}
}

func validateBastion(_ rp.Op, new, _ *rp.Resource[Bastion]) error {
	v, sku := &new.Properties, bastionSKU(new)
	switch {
	case strings.Contains(strings.ToLower(string(new.SKU)), `"developer"`) || strings.Contains(strings.ToLower(string(new.SKU)), `"quickconnect"`):
		return arm.NotImplemented("Bastions of SKU Developer are not implemented; sku.name of %s must be Basic, Standard or Premium.", new.ID)
	case !slices.Contains(bastionSKUs, sku):
		return bad("InvalidRequestFormat", "sku.name of %s must be one of %s.", new.ID, strings.Join(bastionSKUs, ", "))
	case len(v.IPConfigurations) != 1:
		return bad("BastionHostMustHaveMaximumOneHostIpConfiguration", "BastionHost %s must contain 1 IP Configuration. It currently contains %d.", new.ID, len(v.IPConfigurations))
	case v.Kerberos || v.Recording || v.PrivateOnly || v.FileCopy:
		return arm.NotImplemented("Kerberos, session recording, file copy and private-only bastions are not implemented (%s).", new.ID)
	case v.ScaleUnits < 2 || v.ScaleUnits > 50:
		return bad("InvalidRequestFormat", "scaleUnits of %s must be 2 to 50.", new.ID)
	}
	if sku == "Basic" {
		for feature, on := range map[string]bool{"enableTunneling": v.Tunneling, "enableIpConnect": v.IPConnect, "enableShareableLink": v.ShareableLink, "disableCopyPaste": v.DisableCopyPaste, "scaleUnits": v.ScaleUnits != 2} {
			if on {
				return bad("BastionHostFeatureNotSupportedForSku", "%s of %s needs SKU Standard; it is Basic.", feature, new.ID)
			}
		}
	}
	if v.ACLs != nil && len(v.ACLs.Prefixes()) != len(v.ACLs.Rules) {
		return bad("InvalidAddressPrefixFormat", "networkAcls.ipRules of %s has an addressPrefix that is neither an address nor a prefix.", new.ID)
	}
	c := v.IPConfigurations[0]
	subnet, err := parseRef(c.Properties.Subnet, network.SubnetType, "ipConfigurations.subnet", new.ID)
	if err != nil {
		return err
	}
	if subnet.Name() != BastionSubnet {
		return bad("SubnetNameMustBeAzureBastionSubnet", "Subnet name %s is invalid for Azure Bastion. Azure Bastion can only be created in subnet with name '%s'.", subnet, BastionSubnet)
	}
	if c.Name == "" {
		return bad("InvalidRequestFormat", "An IP configuration of %s has no name.", new.ID)
	}
	_, err = parseRef(c.Properties.PublicIP, network.PublicIPType, "ipConfigurations.publicIPAddress", new.ID)
	return err
}

func bastionLinks(r *rp.Resource[Bastion]) (list []rp.Link) {
	for _, c := range r.Properties.IPConfigurations {
		list = link(list, "join/action", c.Properties.Subnet)
		list = link(list, "join/action", c.Properties.PublicIP)
	}
	return list
}

func (p *Provider) admitBastion(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Bastion]) error {
	v := &new.Properties
	if op == rp.Create {
		v.DNSName = "bst-" + uuid.NewString() + "." + BastionSuffix
	}
	c := v.IPConfigurations[0]
	subnet, err := live[network.Subnet](tx, c.Properties.Subnet, new.ID)
	if err != nil {
		return err
	}
	vnet, err := live[network.VNet](tx, &Ref{ID: subnet.ID.Parent().String()}, new.ID)
	if err != nil {
		return err
	}
	ip, err := live[network.PublicIP](tx, c.Properties.PublicIP, new.ID)
	if err != nil {
		return err
	}
	for _, at := range []string{vnet.Location, ip.Location} {
		if at != new.Location {
			return bad("InvalidResourceReference", "Resource %s is in %s, but its network and its public address must be in the same region: %s, %s.", new.ID, new.Location, vnet.ID, ip.ID)
		}
	}
	if !standard(ip) {
		return bad("BastionHostPublicIpMustBeStandard", "Public IP address %s of bastion %s must be of SKU Standard.", ip.ID, new.ID)
	}
	if err := largeEnough(subnet, new.ID); err != nil {
		return err
	}
	if err := network.BastionCompliant(tx, subnet); err != nil {
		return err
	}
	if err := aloneIn(tx, subnet.ID, new.ID); err != nil {
		return err
	}
	if op == rp.Update && !sameConfig(c, old.Properties.IPConfigurations[0]) {
		return bad("InvalidRequestFormat", "The IP configuration of bastion %s cannot be changed.", new.ID)
	}
	nic, err := p.cfg.Network.AllocateNIC(tx, network.NICRequest{Subnet: subnet.ID, Owner: bastionConfigID(new.ID, c), Kind: "bastion", PublicIP: c.Properties.PublicIP, Managed: true})
	v.Public = nic.Public
	return err
}

// bastionConfigID is the id of its configuration as Azure names it, and of its interface.
func bastionConfigID(of arm.ID, c IPConfig) string {
	return of.Child("bastionHostIpConfigurations", c.Name).String()
}

func largeEnough(subnet *rp.Resource[network.Subnet], of arm.ID) error {
	list := subnet.Properties.AddressPrefixes
	if len(list) == 0 {
		list = []string{subnet.Properties.AddressPrefix}
	}
	for _, text := range list {
		if p, err := netip.ParsePrefix(text); err == nil && p.Bits() <= bastionBits {
			return nil
		}
	}
	return bad("BastionHostSubnetTooSmall", "Subnet %s (%s) is too small for bastion %s: %s must be /%d or larger.", subnet.ID, strings.Join(list, ", "), of, BastionSubnet, bastionBits)
}

func aloneIn(tx *rp.Tx, subnet, id arm.ID) error {
	all, err := rp.List[Bastion](tx, BastionType, root)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.ID.Key() != id.Key() && is(b.Properties.IPConfigurations[0].Properties.Subnet, subnet) {
			return bad("BastionHostAlreadyExists", "Subnet %s has bastion %s already.", subnet, b.ID)
		}
	}
	return nil
}

func presentBastion(_ context.Context, _ *rp.Tx, r *rp.Resource[Bastion]) error {
	for i := range r.Properties.IPConfigurations {
		c := &r.Properties.IPConfigurations[i]
		c.ID, c.ETag, c.Type = bastionConfigID(r.ID, *c), r.ETag, BastionType+"/bastionHostIpConfigurations"
		c.Properties.State = string(arm.Succeeded)
	}
	return nil
}

func (p *Provider) releaseBastion(_ context.Context, tx *rp.Tx, r *rp.Resource[Bastion]) error {
	return p.cfg.Network.ReleaseNIC(tx, bastionConfigID(r.ID, r.Properties.IPConfigurations[0]))
}

func bastionActions() map[string]rp.Action[Bastion] {
	no := func(_ context.Context, _ *rp.Tx, r *rp.Resource[Bastion], _ []byte) (any, error) {
		return nil, arm.NotImplemented("Shareable links are not implemented (%s): they let in whoever has the link.", r.ID)
	}
	m := map[string]rp.Action[Bastion]{}
	for _, name := range []string{"createShareableLinks", "getShareableLinks", "deleteShareableLinks", "deleteShareableLinksByToken"} {
		m[name] = rp.Action[Bastion]{Do: no}
	}
	return m
}

// BastionNIC is the id of the bastion's interface.
func BastionNIC(r *rp.Resource[Bastion]) string {
	return bastionConfigID(r.ID, r.Properties.IPConfigurations[0])
}

// BastionByLabel finds a bastion by the first label of its DNS name, nil for none.
func BastionByLabel(tx *rp.Tx, label string) (*rp.Resource[Bastion], error) {
	all, err := rp.List[Bastion](tx, BastionType, root)
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		if b.State != arm.Deleting && strings.EqualFold(b.Properties.DNSName, label+"."+BastionSuffix) {
			return b, nil
		}
	}
	return nil, nil
}
