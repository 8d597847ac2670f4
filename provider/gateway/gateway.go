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
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/network"
)

// Gateway is the properties of a virtual network gateway (Network REST:
// VirtualNetworkGatewayPropertiesFormat).
type Gateway struct {
	ResourceGUID     string        `json:"resourceGuid,omitempty" rp:"readonly"`
	IPConfigurations []IPConfig    `json:"ipConfigurations"`
	SKU              SKU           `json:"sku"`
	GatewayType      string        `json:"gatewayType"`
	VPNType          string        `json:"vpnType,omitempty"`
	Generation       string        `json:"vpnGatewayGeneration,omitempty"`
	EnableBGP        bool          `json:"enableBgp"`
	PrivateAddress   bool          `json:"enablePrivateIpAddress"`
	ActiveActive     bool          `json:"activeActive"`
	DefaultSite      *Ref          `json:"gatewayDefaultSite,omitempty"`
	Clients          *ClientConfig `json:"vpnClientConfiguration,omitempty"`
	BGP              *BGPSettings  `json:"bgpSettings,omitempty"`
	CustomRoutes     *AddressSpace `json:"customRoutes,omitempty"`
	NATRules         []any         `json:"natRules"`
	PolicyGroups     []any         `json:"virtualNetworkGatewayPolicyGroups"`
	// What Azure shows of every gateway; true is refused.
	NoReplayProtection bool `json:"disableIPSecReplayProtection"`
	TranslateForNAT    bool `json:"enableBgpRouteTranslationForNat"`
	VirtualWANTraffic  bool `json:"allowVirtualWanTraffic"`
	RemoteVNetTraffic  bool `json:"allowRemoteVnetTraffic"`

	ClientPolicy *ClientPolicy  `json:"clientPolicy,omitempty" rp:"private"`
	Key          vpn.PrivateKey `json:"key,omitzero" rp:"private"` // of its point-to-site tunnel
	Address      netip.Addr     `json:"address,omitzero" rp:"private"`
	Public       netip.Addr     `json:"public,omitzero" rp:"private"`
}

// IPConfig is one instance of a gateway, or a bastion's.
type IPConfig struct {
	ID         string         `json:"id,omitempty"`
	Name       string         `json:"name"`
	ETag       string         `json:"etag,omitempty"`
	Type       string         `json:"type,omitempty"`
	Properties IPConfigFields `json:"properties"`
}

// IPConfigFields are the properties of an IPConfig.
type IPConfigFields struct {
	State      string `json:"provisioningState,omitempty"`
	Allocation string `json:"privateIPAllocationMethod"`
	PublicIP   *Ref   `json:"publicIPAddress,omitempty"`
	Subnet     *Ref   `json:"subnet,omitempty"`
	Address    string `json:"privateIPAddress,omitempty"`
}

// SKU of a gateway.
type SKU struct {
	Name     string `json:"name"`
	Tier     string `json:"tier"`
	Capacity int    `json:"capacity,omitempty"`
}

// BGPSettings of a gateway or of what it is connected to.
type BGPSettings struct {
	ASN       uint32       `json:"asn"`
	Address   string       `json:"bgpPeeringAddress,omitempty"`
	Weight    int          `json:"peerWeight"`
	Addresses []BGPAddress `json:"bgpPeeringAddresses,omitempty"`
}

// BGPAddress is where one instance speaks BGP.
type BGPAddress struct {
	Config  string   `json:"ipconfigurationId"`
	Default []string `json:"defaultBgpIpAddresses"`
	Custom  []string `json:"customBgpIpAddresses"`
	Tunnels []string `json:"tunnelIpAddresses"`
}

// custom are the addresses that a client chose for BGP, which VPN connections here do not speak.
func (b *BGPSettings) custom() []string {
	out := []string{}
	for _, a := range b.Addresses {
		out = append(out, a.Custom...)
	}
	return out
}

// azureASN is the autonomous system number of Azure's gateways, unless one chooses another.
const azureASN = 65515

// skus by gateway type. https://learn.microsoft.com/azure/vpn-gateway/about-gateway-skus
var skus = map[string][]string{
	"Vpn":          {"Basic", "Standard", "HighPerformance", "VpnGw1", "VpnGw2", "VpnGw3", "VpnGw4", "VpnGw5", "VpnGw1AZ", "VpnGw2AZ", "VpnGw3AZ", "VpnGw4AZ", "VpnGw5AZ"},
	"ExpressRoute": {"Standard", "HighPerformance", "UltraPerformance", "ErGw1AZ", "ErGw2AZ", "ErGw3AZ", "ErGwScale"},
}

func (p *Provider) gatewayType() rp.Registration {
	return rp.Of(rp.Type[Gateway]{
		Name: Type, Kind: rp.Tracked, Versions: rp.Versions[Gateway](network.VersionsSince("2015-06-15")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultGateway,
		Validate:  validateGateway,
		Admit:     p.admitGateway,
		Links:     gatewayLinks,
		Reconcile: applied[Gateway](p),
		Present:   presentGateway,
		Release:   p.releaseGateway,
		Finalize:  applied[Gateway](p),
		Actions:   p.gatewayActions(),
	})
}

// spell brings a value into Azure's spelling.
func spell(v *string, values ...string) {
	for _, s := range values {
		if strings.EqualFold(*v, s) {
			*v = s
		}
	}
}

func defaultGateway(_ string, r *rp.Resource[Gateway]) {
	v := &r.Properties
	spell(&v.GatewayType, "Vpn", "ExpressRoute", "LocalGateway")
	if v.GatewayType == "" {
		v.GatewayType = "Vpn"
	}
	spell(&v.VPNType, "RouteBased", "PolicyBased")
	if v.VPNType == "" {
		v.VPNType = "RouteBased"
	}
	if v.Generation == "" {
		v.Generation = "None"
		if v.GatewayType == "Vpn" {
			v.Generation = "Generation1"
		}
	}
	spell(&v.SKU.Name, skus[v.GatewayType]...)
	if v.SKU.Name == "" {
		v.SKU.Name = map[string]string{"Vpn": "VpnGw1", "ExpressRoute": "Standard"}[v.GatewayType]
	}
	if v.SKU.Tier == "" {
		v.SKU.Tier = v.SKU.Name
	}
	if v.SKU.Capacity == 0 {
		v.SKU.Capacity = 2
	}
	if v.NATRules == nil {
		v.NATRules = []any{}
	}
	if v.PolicyGroups == nil {
		v.PolicyGroups = []any{}
	}
	if v.BGP == nil {
		v.BGP = &BGPSettings{}
	}
	if v.BGP.ASN == 0 {
		v.BGP.ASN = azureASN
	}
	if c := v.Clients; c != nil {
		if c.Roots == nil {
			c.Roots = []any{}
		}
		if c.Revoked == nil {
			c.Revoked = []Revoked{}
		}
	}
	for i := range v.IPConfigurations {
		v.IPConfigurations[i].Properties.Allocation = "Dynamic"
	}
}

func validateGateway(op rp.Op, new, old *rp.Resource[Gateway]) error {
	v := &new.Properties
	switch {
	case skus[v.GatewayType] == nil:
		return arm.NotImplemented("Gateways of type %s are not implemented; gatewayType of %s must be Vpn or ExpressRoute.", clip(v.GatewayType), new.ID)
	case op == rp.Update && v.GatewayType != old.Properties.GatewayType:
		return bad("InvalidRequestFormat", "gatewayType of %s cannot be changed from %s to %s.", new.ID, old.Properties.GatewayType, v.GatewayType)
	case !slices.Contains(skus[v.GatewayType], v.SKU.Name):
		return bad("InvalidRequestFormat", "properties.sku.name of %s is '%s'; a gateway of type %s has one of %s.", new.ID, clip(v.SKU.Name), v.GatewayType, strings.Join(skus[v.GatewayType], ", "))
	case v.VPNType != "RouteBased" && v.GatewayType == "Vpn":
		return arm.NotImplemented("vpnType %s is not implemented; that of %s must be RouteBased.", clip(v.VPNType), new.ID)
	case v.ActiveActive || len(v.IPConfigurations) > 1:
		return arm.NotImplemented("Active-active gateways are not implemented; %s must have one IP configuration and activeActive false.", new.ID)
	case len(v.NATRules) > 0:
		return arm.NotImplemented("NAT rules of gateways are not implemented (natRules of %s).", new.ID)
	case v.DefaultSite != nil && v.GatewayType != "Vpn":
		return bad("InvalidRequestFormat", "gatewayDefaultSite of %s is for gateways of type Vpn: an ExpressRoute circuit announces the default route by BGP.", new.ID)
	case len(v.IPConfigurations) == 0:
		return bad("InvalidRequestFormat", "Virtual network gateway %s must have an IP configuration in properties.ipConfigurations.", new.ID)
	}
	if err := v.unserved(new.ID); err != nil {
		return err
	}
	if err := v.IPConfigurations[0].validate(v.GatewayType == "Vpn", new.ID); err != nil {
		return err
	}
	if v.DefaultSite != nil {
		if _, err := parseRef(v.DefaultSite, LocalType, "gatewayDefaultSite", new.ID); err != nil {
			return err
		}
	}
	if _, err := prefixes(v.CustomRoutes, "customRoutes", new.ID); err != nil {
		return err
	}
	return v.validateClients(new.ID)
}

func (c *IPConfig) validate(public bool, of arm.ID) error {
	subnet, err := parseRef(c.Properties.Subnet, network.SubnetType, "ipConfigurations.subnet", of)
	if err != nil {
		return err
	}
	if subnet.Name() != SubnetName {
		return bad("InvalidRequestFormat", "Virtual network gateway %s can be created in a subnet with name '%s' only, not in %s.", of, SubnetName, subnet)
	}
	if c.Name == "" {
		return bad("InvalidRequestFormat", "An IP configuration of %s has no name.", of)
	}
	if c.Properties.PublicIP != nil || public {
		_, err = parseRef(c.Properties.PublicIP, network.PublicIPType, "ipConfigurations.publicIPAddress", of)
	}
	return err
}

func gatewayLinks(r *rp.Resource[Gateway]) (list []rp.Link) {
	for _, c := range r.Properties.IPConfigurations {
		list = link(list, "join/action", c.Properties.Subnet)
		list = link(list, "join/action", c.Properties.PublicIP)
	}
	return list
}

// configID is the id of an IP configuration: the owner of its interface.
func configID(of arm.ID, c IPConfig) string { return of.Child("ipConfigurations", c.Name).String() }

// vnet is the virtual network that the gateway stands in.
func (v *Gateway) vnet() (arm.ID, error) {
	subnet, err := arm.ParseID(v.IPConfigurations[0].Properties.Subnet.ID)
	return subnet.Parent(), err
}

func (p *Provider) admitGateway(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Gateway]) error {
	v := &new.Properties
	if op == rp.Create {
		v.ResourceGUID = uuid.NewString()
		v.Key = vpn.NewPrivateKey()
	}
	c := v.IPConfigurations[0]
	vnet, err := v.standsIn(tx, new)
	if err != nil {
		return err
	}
	if err := v.poolIsApart(vnet, new.ID); err != nil {
		return err
	}
	if v.DefaultSite != nil {
		if _, err := live[Local](tx, v.DefaultSite, new.ID); err != nil {
			return err
		}
	}
	if err := v.alone(tx, new.ID); err != nil {
		return err
	}
	if err := v.publicIsStandard(tx, c, new.ID); err != nil {
		return err
	}
	if op == rp.Update && !sameConfig(c, old.Properties.IPConfigurations[0]) {
		if err := p.cfg.Network.ReleaseNIC(tx, configID(new.ID, old.Properties.IPConfigurations[0])); err != nil {
			return err
		}
	}
	subnet, err := arm.ParseID(c.Properties.Subnet.ID)
	if err != nil {
		return err
	}
	nic, err := p.cfg.Network.AllocateNIC(tx, network.NICRequest{
		Subnet: subnet, Owner: configID(new.ID, c), Kind: "gateway", PublicIP: c.Properties.PublicIP, Forwarding: true, Managed: true,
	})
	v.Address, v.Public = nic.Addr, nic.Public
	return err
}

func sameConfig(a, b IPConfig) bool {
	text := func(r *Ref) string {
		if r == nil {
			return ""
		}
		return strings.ToLower(r.ID)
	}
	return strings.EqualFold(a.Name, b.Name) && text(a.Properties.Subnet) == text(b.Properties.Subnet) && text(a.Properties.PublicIP) == text(b.Properties.PublicIP)
}

// standsIn is the gateway's virtual network, which must be in its region.
func (v *Gateway) standsIn(tx *rp.Tx, new *rp.Resource[Gateway]) (*rp.Resource[network.VNet], error) {
	if _, err := live[network.Subnet](tx, v.IPConfigurations[0].Properties.Subnet, new.ID); err != nil {
		return nil, err
	}
	id, err := v.vnet()
	if err != nil {
		return nil, err
	}
	vnet, err := live[network.VNet](tx, &Ref{ID: id.String()}, new.ID)
	if err != nil {
		return nil, err
	}
	if vnet.Location != new.Location {
		return nil, bad("InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, new.ID)
	}
	return vnet, nil
}

// alone refuses a second gateway of the same type in a virtual network.
func (v *Gateway) alone(tx *rp.Tx, id arm.ID) error {
	vnet, err := v.vnet()
	if err != nil {
		return err
	}
	all, err := rp.List[Gateway](tx, Type, root)
	if err != nil {
		return err
	}
	for _, g := range all {
		other, err := g.Properties.vnet()
		if err != nil {
			return err
		}
		if g.ID.Key() != id.Key() && other.Key() == vnet.Key() && g.Properties.GatewayType == v.GatewayType {
			return bad("VirtualNetworkGatewayAlreadyExists", "A virtual network can't be associated with more than one gateway of type %s: %s has %s.", v.GatewayType, vnet, g.ID)
		}
	}
	return nil
}

func (v *Gateway) publicIsStandard(tx *rp.Tx, c IPConfig, of arm.ID) error {
	if c.Properties.PublicIP == nil || v.GatewayType != "Vpn" || v.SKU.Name == "Basic" {
		return nil
	}
	ip, err := live[network.PublicIP](tx, c.Properties.PublicIP, of)
	if err != nil {
		return err
	}
	if standard(ip) {
		return nil
	}
	return bad("PublicIpWithBasicSkuNotAllowedOnVPNGateways", "Basic IP configuration for VPN Virtual Network Gateways is not supported. Follow the link for more details : https://go.microsoft.com/fwlink/p/?linkid=2241350 %s", of)
}

// standard tells whether a public address is of SKU Standard.
func standard(ip *rp.Resource[network.PublicIP]) bool {
	var sku struct{ Name string }
	return json.Unmarshal(ip.SKU, &sku) == nil && strings.EqualFold(sku.Name, "Standard")
}

func presentGateway(_ context.Context, _ *rp.Tx, r *rp.Resource[Gateway]) error {
	v := &r.Properties
	for i := range v.IPConfigurations {
		c := &v.IPConfigurations[i]
		c.ID, c.ETag, c.Type = configID(r.ID, *c), r.ETag, Type+"/ipConfigurations"
		c.Properties.State, c.Properties.Address = string(arm.Succeeded), ""
		if v.PrivateAddress {
			c.Properties.Address = v.Address.String()
		}
		v.BGP.Address = v.Address.String()
		v.BGP.Addresses = []BGPAddress{{Config: c.ID, Default: []string{v.Address.String()}, Custom: v.BGP.custom(), Tunnels: []string{}}}
		if v.Public.IsValid() {
			v.BGP.Addresses[0].Tunnels = append(v.BGP.Addresses[0].Tunnels, v.Public.String())
		}
	}
	if v.Clients != nil {
		for i := range v.Clients.Revoked {
			c := &v.Clients.Revoked[i]
			c.ID, c.Properties.State = r.ID.Child("vpnClientRevokedCertificates", c.Name).String(), string(arm.Succeeded)
		}
	}
	return nil
}

func (p *Provider) releaseGateway(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway]) error {
	users, err := connectionsOf(tx, r.ID)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return bad("InUseVirtualNetworkGatewayCannotBeDeleted", "Virtual network gateway %s cannot be deleted because it is in use by the following connections: %s.", r.ID, join(users))
	}
	if err := removeClients(tx, r.ID); err != nil {
		return err
	}
	return p.cfg.Network.ReleaseNIC(tx, configID(r.ID, r.Properties.IPConfigurations[0]))
}

func join(list []*rp.Resource[Connection]) string {
	var out []string
	for _, c := range list {
		out = append(out, c.ID.String())
	}
	return strings.Join(out, ", ")
}
