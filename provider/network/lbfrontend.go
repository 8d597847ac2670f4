package network

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Frontend is the properties of a frontend IP configuration (Network REST:
// FrontendIPConfigurationPropertiesFormat): an address of a subnet, or a public one.
type Frontend struct {
	Address    string `json:"privateIPAddress,omitempty"`
	Allocation string `json:"privateIPAllocationMethod,omitempty"`
	Version    string `json:"privateIPAddressVersion,omitempty"`
	Subnet     *Ref   `json:"subnet,omitempty"`
	PublicIP   *Ref   `json:"publicIPAddress,omitempty"`
	Prefix     *Ref   `json:"publicIPPrefix,omitempty"`
	Gateway    *Ref   `json:"gatewayLoadBalancer,omitempty"`

	Rules           []Ref `json:"loadBalancingRules,omitempty" rp:"readonly"`
	InboundNATRules []Ref `json:"inboundNatRules,omitempty" rp:"readonly"`
	OutboundRules   []Ref `json:"outboundRules,omitempty" rp:"readonly"`
}

func (p *Provider) frontendType() rp.Registration {
	return rp.Of(rp.Type[Frontend]{
		Name: FrontendType, Kind: rp.Proxy, Versions: rp.Versions[Frontend](versions...), ShowETag: true, NoPut: true, NoDelete: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:  defaultFrontend,
		Validate: validateFrontend,
		Admit:    p.admitFrontend,
		Links:    frontendLinks,
		Present:  presentFrontend,
		Kept:     true,
		Release:  releaseFrontend,
	})
}

func defaultFrontend(_ string, r *rp.Resource[Frontend]) {
	v := &r.Properties
	if strings.EqualFold(v.Allocation, "Static") {
		v.Allocation = "Static"
	} else {
		v.Allocation = "Dynamic"
	}
	if v.Version == "" && v.Subnet != nil {
		v.Version = "IPv4"
	}
}

func validateFrontend(_ rp.Op, new, _ *rp.Resource[Frontend]) error {
	v := &new.Properties
	switch {
	case v.Gateway != nil:
		return arm.NotImplemented("Frontend IP configuration %s: gateway load balancers are not implemented.", new.ID)
	case v.Version != "" && !strings.EqualFold(v.Version, "IPv4"):
		return arm.NotImplemented("Frontend IP configuration %s: version %s is not implemented.", new.ID, clip(v.Version))
	case v.Subnet != nil && (v.PublicIP != nil || v.Prefix != nil):
		return bad("FrontendIPConfigHasBothSubnetAndPublicIP", "Frontend IP Configuration %s must not reference both a Subnet and a Public IP Address.", new.ID)
	case v.Subnet == nil && v.PublicIP == nil && v.Prefix == nil:
		return bad("FrontendIPConfigHasNoSubnetOrPublicIP", "Frontend IP Configuration %s must reference either a Subnet or a Public IP Address.", new.ID)
	case v.PublicIP != nil && v.Prefix != nil:
		return bad("InvalidRequestFormat", "Frontend IP configuration %s must not reference both a public IP address and a public IP prefix.", new.ID)
	case v.Prefix != nil:
		_, err := parseRef(v.Prefix, PublicIPPrefixType, "publicIPPrefix", new.ID)
		return err
	case v.PublicIP != nil:
		_, err := parseRef(v.PublicIP, PublicIPType, "publicIPAddress", new.ID)
		return err
	}
	if _, err := parseRef(v.Subnet, SubnetType, "subnet", new.ID); err != nil {
		return err
	}
	_, err := v.static(new.ID)
	return err
}

// static is the address that a static frontend asks for; invalid for a dynamic one.
func (v *Frontend) static(of arm.ID) (netip.Addr, error) {
	if v.Allocation != "Static" || v.Subnet == nil {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(v.Address)
	if err != nil || !a.Is4() {
		return netip.Addr{}, bad("InvalidIPAddressFormat", "Frontend IP configuration %s is static and needs an IPv4 address in privateIPAddress, not '%s'.", of, clip(v.Address))
	}
	return a, nil
}

func frontendLinks(r *rp.Resource[Frontend]) (links []rp.Link) {
	for _, use := range []struct {
		ref    *Ref
		action string
	}{{r.Properties.Subnet, SubnetType + "/join/action"}, {r.Properties.PublicIP, PublicIPType + "/join/action"}, {r.Properties.Prefix, PublicIPPrefixType + "/join/action"}} {
		if use.ref == nil {
			continue
		}
		if id, err := arm.ParseID(use.ref.ID); err == nil {
			links = append(links, rp.Link{Action: use.action, ID: id})
		}
	}
	return links
}

// admitFrontend gives the frontend its address. What it had and no longer has goes back first.
func (p *Provider) admitFrontend(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Frontend]) error {
	lb, err := rp.Get[LoadBalancer](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	samePublic := op == rp.Update && new.Properties.PublicIP != nil && old.Properties.PublicIP != nil && strings.EqualFold(new.Properties.PublicIP.ID, old.Properties.PublicIP.ID)
	if op == rp.Update && !samePublic { // a dynamic public address stays with who keeps it
		if err := giveFrontend(tx, &old.Properties); err != nil {
			return err
		}
	}
	switch {
	case new.Properties.PublicIP != nil:
		return p.publicFrontend(tx, lb, new)
	case new.Properties.Prefix != nil:
		return prefixFrontend(tx, lb, new)
	}
	return privateFrontend(tx, lb, new, old)
}

func (p *Provider) publicFrontend(tx *rp.Tx, lb *rp.Resource[LoadBalancer], r *rp.Resource[Frontend]) error {
	v := &r.Properties
	v.Address = ""
	if err := inRegion[PublicIP](tx, v.PublicIP, lb.Location, lb.ID); err != nil {
		return err
	}
	ip, err := live[PublicIP](tx, v.PublicIP, lb.ID)
	if err != nil {
		return err
	}
	var sku struct{ Name string }
	if err := json.Unmarshal(ip.SKU, &sku); err != nil {
		return err
	}
	if want := skuOf(lb.SKU).Name; !strings.EqualFold(sku.Name, want) {
		return bad("PublicIPAndLBSkuDoNotMatch", "%s sku load balancer %s cannot reference %s sku publicIP %s.", want, lb.ID, sku.Name, ip.ID)
	}
	return p.associate(tx, v.PublicIP, r.ID.String(), r.ID)
}

// prefixFrontend gives the frontend a whole prefix, for outbound rules.
func prefixFrontend(tx *rp.Tx, lb *rp.Resource[LoadBalancer], r *rp.Resource[Frontend]) error {
	v := &r.Properties
	v.Address = ""
	if err := inRegion[PublicIPPrefix](tx, v.Prefix, lb.Location, lb.ID); err != nil {
		return err
	}
	pre, err := live[PublicIPPrefix](tx, v.Prefix, lb.ID)
	if err != nil {
		return err
	}
	if sku := skuOf(lb.SKU).Name; !strings.EqualFold(sku, "Standard") {
		return bad("PublicIPAndLBSkuDoNotMatch", "%s sku load balancer %s cannot reference Standard sku publicIPPrefix %s.", sku, lb.ID, pre.ID)
	}
	if err := prefixFree(tx, pre, r.ID); err != nil {
		return err
	}
	pre.Properties.Frontend = &Ref{ID: r.ID.String()}
	return rp.Save(tx, pre)
}

// givePrefix returns the prefix that a frontend has.
func givePrefix(tx *rp.Tx, ref *Ref) error {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return err
	}
	pre, err := rp.Get[PublicIPPrefix](tx, id)
	if err != nil {
		return err
	}
	pre.Properties.Frontend = nil
	return rp.Save(tx, pre)
}

func privateFrontend(tx *rp.Tx, lb *rp.Resource[LoadBalancer], new, old *rp.Resource[Frontend]) error {
	v := &new.Properties
	s, err := live[Subnet](tx, v.Subnet, new.ID)
	if err != nil {
		return err
	}
	if err := inRegion[VNet](tx, &Ref{ID: s.ID.Parent().String()}, lb.Location, new.ID); err != nil {
		return err
	}
	if err := s.Properties.notDelegated(s.ID, new.ID.String()); err != nil {
		return err
	}
	want, err := v.static(new.ID)
	if err != nil {
		return err
	}
	if !want.IsValid() && old != nil && old.Properties.Subnet.is(s.ID) { // a dynamic one keeps what it had
		want, _ = netip.ParseAddr(old.Properties.Address)
	}
	a, err := take(tx, s, want, allocation{Owner: new.ID.String()}, nil)
	if err != nil {
		return err
	}
	v.Address = a.String()
	return nil
}

// giveFrontend returns the address that a frontend has.
func giveFrontend(tx *rp.Tx, v *Frontend) error {
	switch {
	case v.PublicIP != nil:
		return dissociate(tx, v.PublicIP)
	case v.Prefix != nil:
		return givePrefix(tx, v.Prefix)
	}
	subnet, err := arm.ParseID(v.Subnet.ID)
	if err != nil {
		return err
	}
	a, err := netip.ParseAddr(v.Address)
	if err != nil {
		return err
	}
	return give(tx, subnet, a)
}

func releaseFrontend(_ context.Context, tx *rp.Tx, r *rp.Resource[Frontend]) error {
	services, err := linkServicesOf(tx, r.ID)
	if err != nil {
		return err
	}
	if len(services) > 0 {
		return bad("CannotDeleteLoadBalancerWithPrivateLinkService", "Cannot delete load balancer %s since it is referenced by private link service %s. Please delete private link service prior to deleting load balancer.", r.ID.Parent(), services[0].ID)
	}
	return giveFrontend(tx, &r.Properties)
}

func presentFrontend(_ context.Context, tx *rp.Tx, r *rp.Resource[Frontend]) error {
	b, err := siblings(tx, r.ID)
	if err != nil {
		return err
	}
	v := &r.Properties
	v.Rules = using(b.rules, func(x *BalancingRule) bool { return x.Frontend.is(r.ID) })
	v.InboundNATRules = using(b.nat, func(x *InboundNATRule) bool { return x.Frontend.is(r.ID) })
	v.OutboundRules = using(b.outbound, func(x *OutboundRule) bool { return refsTo(x.Frontends, r.ID) })
	return nil
}

// refsTo says whether one of the references names id.
func refsTo(refs []Ref, id arm.ID) bool {
	for i := range refs {
		if refs[i].is(id) {
			return true
		}
	}
	return false
}
