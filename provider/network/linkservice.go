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
	"vauban.dev/provider/privatelink"
)

// LinkServiceType is the type of private link services: what a user offers to others' private endpoints.
const LinkServiceType = "Microsoft.Network/privateLinkServices"

// LinkService is the properties of a private link service (Network REST: PrivateLinkServiceProperties): it
// leads connections of private endpoints to an internal load balancer, from addresses of its own.
type LinkService struct {
	Frontends     []Ref         `json:"loadBalancerFrontendIpConfigurations"`
	Destination   string        `json:"destinationIPAddress,omitempty"`
	Configs       []LinkConfig  `json:"ipConfigurations"`
	Visibility    Subscriptions `json:"visibility"`
	AutoApproval  Subscriptions `json:"autoApproval"`
	FQDNs         []string      `json:"fqdns"`
	ProxyProtocol bool          `json:"enableProxyProtocol"`

	Alias       string `json:"alias,omitempty" rp:"readonly"`
	NICs        []Ref  `json:"networkInterfaces" rp:"readonly"`
	Connections []any  `json:"privateEndpointConnections" rp:"readonly"`
}

// Subscriptions is a list of subscriptions; "*" is any.
type Subscriptions struct {
	Subscriptions []string `json:"subscriptions"`
}

func (s Subscriptions) has(subscription string) bool {
	return slices.ContainsFunc(s.Subscriptions, func(id string) bool { return id == "*" || strings.EqualFold(id, subscription) })
}

// LinkConfig is one address that a private link service sends from.
type LinkConfig struct {
	Name       string           `json:"name"`
	ID         string           `json:"id,omitempty"`
	ETag       string           `json:"etag,omitempty"`
	Type       string           `json:"type,omitempty"`
	Properties LinkConfigFields `json:"properties"`
}

// LinkConfigFields are the properties of a LinkConfig.
type LinkConfigFields struct {
	State      string `json:"provisioningState,omitempty"`
	Address    string `json:"privateIPAddress,omitempty"`
	Allocation string `json:"privateIPAllocationMethod"`
	Subnet     *Ref   `json:"subnet,omitempty"`
	Primary    bool   `json:"primary"`
	Version    string `json:"privateIPAddressVersion"`
}

// linkConfigs is how many addresses a private link service has at most.
// https://learn.microsoft.com/azure/private-link/private-link-service-overview#limitations
const linkConfigs = 8

func (p *Provider) linkServiceType() rp.Registration {
	return rp.Of(rp.Type[LinkService]{
		Name: LinkServiceType, Kind: rp.Tracked, Versions: rp.Versions[LinkService](since("2019-04-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultLinkService,
		Validate:  validateLinkService,
		Admit:     p.admitLinkService,
		Links:     linkServiceLinks,
		Reconcile: applied[LinkService](p),
		Present:   presentLinkService,
		Kept:      true,
		Release:   releaseLinkService,
		Finalize:  applied[LinkService](p),
	})
}

func defaultLinkService(_ string, r *rp.Resource[LinkService]) {
	v := &r.Properties
	for _, list := range []*[]string{&v.Visibility.Subscriptions, &v.AutoApproval.Subscriptions, &v.FQDNs} {
		if *list == nil {
			*list = []string{}
		}
	}
	primary := slices.ContainsFunc(v.Configs, func(c LinkConfig) bool { return c.Properties.Primary })
	for i := range v.Configs {
		c := &v.Configs[i]
		c.ID, c.ETag, c.Type, c.Properties.State = "", "", "", ""
		c.Properties.Primary = c.Properties.Primary || !primary && i == 0
		if c.Properties.Version == "" {
			c.Properties.Version = "IPv4"
		}
		if strings.EqualFold(c.Properties.Allocation, "Static") {
			c.Properties.Allocation = "Static"
		} else {
			c.Properties.Allocation = "Dynamic"
		}
	}
}

func validateLinkService(_ rp.Op, new, _ *rp.Resource[LinkService]) error {
	v := &new.Properties
	switch {
	case v.Destination != "":
		return arm.NotImplemented("Private link service %s: destinationIPAddress is not implemented, use a load balancer.", new.ID)
	case len(v.Frontends) != 1:
		return bad("InvalidRequestFormat", "Private link service %s must have one element in loadBalancerFrontendIpConfigurations, not %d.", new.ID, len(v.Frontends))
	case len(v.Configs) == 0 || len(v.Configs) > linkConfigs:
		return bad("InvalidRequestFormat", "Private link service %s must have 1 to %d ipConfigurations, not %d.", new.ID, linkConfigs, len(v.Configs))
	}
	if _, err := parseRef(&v.Frontends[0], FrontendType, "loadBalancerFrontendIpConfigurations", new.ID); err != nil {
		return err
	}
	names, primaries := map[string]bool{}, 0
	for i := range v.Configs {
		c := &v.Configs[i]
		key := strings.ToLower(c.Name)
		if c.Name == "" || names[key] {
			return bad("DuplicateResourceName", "Each element of ipConfigurations of %s needs a name of its own, not '%s'.", new.ID, clip(c.Name))
		}
		names[key] = true
		if c.Properties.Primary {
			primaries++
		}
		if err := c.validate(new.ID); err != nil {
			return err
		}
		if !strings.EqualFold(c.Properties.Subnet.ID, v.Configs[0].Properties.Subnet.ID) {
			return arm.NotImplemented("Private link service %s: ipConfigurations in several subnets are not implemented.", new.ID)
		}
	}
	if primaries != 1 {
		return bad("InvalidRequestFormat", "Private link service %s must have exactly one primary IP configuration.", new.ID)
	}
	return nil
}

func (c *LinkConfig) validate(service arm.ID) error {
	v := &c.Properties
	switch {
	case v.Version != "IPv4":
		return arm.NotImplemented("IP configuration %s of %s: version %s is not implemented.", c.Name, service, clip(v.Version))
	case v.Subnet == nil:
		return bad("SubnetNotSpecified", "IP configuration %s of %s must have a subnet.", c.Name, service)
	}
	if _, err := parseRef(v.Subnet, SubnetType, "subnet", service); err != nil {
		return err
	}
	_, err := c.static(service)
	return err
}

// static is the address that a static configuration asks for; invalid for a dynamic one.
func (c *LinkConfig) static(service arm.ID) (netip.Addr, error) {
	if c.Properties.Allocation != "Static" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(c.Properties.Address)
	if err != nil || !a.Is4() {
		return netip.Addr{}, bad("InvalidIPAddressFormat", "IP configuration %s of %s is static and needs an IPv4 address in privateIPAddress, not '%s'.", c.Name, service, clip(c.Properties.Address))
	}
	return a, nil
}

func linkServiceLinks(r *rp.Resource[LinkService]) (links []rp.Link) {
	add := func(action string, ref *Ref) {
		if ref == nil {
			return
		}
		if id, err := arm.ParseID(ref.ID); err == nil {
			links = append(links, rp.Link{Action: action, ID: id})
		}
	}
	for i := range r.Properties.Frontends {
		add(FrontendType+"/join/action", &r.Properties.Frontends[i])
	}
	for _, c := range r.Properties.Configs {
		add(SubnetType+"/join/action", c.Properties.Subnet)
	}
	return links
}

func (p *Provider) admitLinkService(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[LinkService]) error {
	v := &new.Properties
	if op == rp.Create {
		v.Alias = fmt.Sprintf("%s.%s.%s.azure.privatelinkservice", strings.ToLower(new.ID.Name()), uuid.NewString(), new.Location)
		v.NICs = []Ref{{ID: new.ID.Scope().String() + "/providers/" + NICType + "/" + new.ID.Name() + ".nic." + uuid.NewString()}}
	}
	frontend, err := servedFrontend(tx, new)
	if err != nil {
		return err
	}
	vnet, err := arm.ParseID(frontend.Properties.Subnet.ID)
	if err != nil {
		return err
	}
	if op == rp.Update {
		if err := giveLinkConfigs(tx, &old.Properties); err != nil {
			return err
		}
	}
	if err := assignLinkConfigs(tx, new, old, vnet.Parent()); err != nil {
		return err
	}
	return saveLinkNIC(tx, new)
}

// servedFrontend is the frontend that the service leads to: a private one of a load balancer of SKU Standard in
// the service's region, which no other service has.
func servedFrontend(tx *rp.Tx, r *rp.Resource[LinkService]) (*rp.Resource[Frontend], error) {
	ref := &r.Properties.Frontends[0]
	frontend, err := live[Frontend](tx, ref, r.ID)
	if err != nil {
		return nil, err
	}
	lb, err := rp.Get[LoadBalancer](tx, frontend.ID.Parent())
	if err != nil {
		return nil, err
	}
	switch {
	case lb.State == arm.Deleting || lb.Location != r.Location:
		return nil, missing(frontend.ID, r.ID)
	case skuOf(lb.SKU).Name != "Standard" || frontend.Properties.Subnet == nil:
		return nil, bad("InvalidRequestFormat", "Private link service %s must be behind a private frontend of a load balancer of SKU Standard; %s is not one.", r.ID, frontend.ID)
	}
	b, err := balancerOf(tx, lb)
	if err != nil {
		return nil, err
	}
	if err := b.servable(frontend.ID, r.ID); err != nil {
		return nil, err
	}
	others, err := linkServicesOf(tx, frontend.ID)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.ID.Key() != r.ID.Key() {
			return nil, bad("InvalidRequestFormat", "Frontend IP configuration %s is used by private link service %s and cannot be used by %s.", frontend.ID, o.ID, r.ID)
		}
	}
	return frontend, nil
}

// servable refuses a frontend with rules that a private link service does not go with.
func (b *balancer) servable(frontend, service arm.ID) error {
	for _, r := range b.nat {
		if r.Properties.Frontend.is(frontend) {
			return bad("InvalidRequestFormat", "Frontend IP configuration %s has inbound NAT rule %s and cannot be used by private link service %s.", frontend, r.ID, service)
		}
	}
	for _, r := range b.rules {
		v := &r.Properties
		if v.Frontend.is(frontend) && (v.Protocol != "Tcp" || v.FloatingIP) {
			return arm.NotImplemented("Private link service %s: load balancing rule %s of its frontend is not of protocol Tcp, or has enableFloatingIP. Only TCP without floating IP is implemented.", service, r.ID)
		}
	}
	return nil
}

// linkServicesOf are the private link services behind a frontend.
func linkServicesOf(tx *rp.Tx, frontend arm.ID) ([]*rp.Resource[LinkService], error) {
	all, err := staying[LinkService](tx, LinkServiceType, root)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r *rp.Resource[LinkService]) bool { return !refsTo(r.Properties.Frontends, frontend) }), nil
}

func presentLinkService(_ context.Context, tx *rp.Tx, r *rp.Resource[LinkService]) error {
	v := &r.Properties
	for i := range v.Configs {
		c := &v.Configs[i]
		c.ID, c.ETag, c.Type, c.Properties.State = linkConfigID(r.ID, c.Name), r.ETag, LinkServiceType+"/ipConfigurations", string(arm.Succeeded)
	}
	connections, err := privatelink.Present(tx, r.ID)
	v.Connections = append([]any{}, connections...)
	return err
}

func releaseLinkService(_ context.Context, tx *rp.Tx, r *rp.Resource[LinkService]) error {
	connections, err := privatelink.Connections(tx, r.ID)
	if err != nil {
		return err
	}
	if n := len(connections); n > 0 {
		return bad("PrivateLinkServiceWithPrivateEndpointConnectionsCannotBeDeleted", "Private link service %s cannot be deleted since it has %d private endpoint connection. Please delete all private endpoint connections before deleting the private link service.", r.ID, n)
	}
	if err := giveLinkConfigs(tx, &r.Properties); err != nil {
		return err
	}
	for _, ref := range r.Properties.NICs {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		if err := removeOwnNIC(tx, id); err != nil {
			return err
		}
	}
	return nil
}
