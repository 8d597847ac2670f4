package network

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// NATGateway is the properties of a NAT gateway (Network REST: NatGatewayPropertiesFormat). Without an address
// it may be named by subnets and does nothing.
type NATGateway struct {
	ResourceGUID         string `json:"resourceGuid,omitempty" rp:"readonly"`
	IdleTimeoutInMinutes int    `json:"idleTimeoutInMinutes"`
	PublicIPs            []Ref  `json:"publicIpAddresses,omitempty"`
	PublicIPPrefixes     []Ref  `json:"publicIpPrefixes,omitempty"`
	Subnets              []Ref  `json:"subnets,omitempty" rp:"readonly"`
}

// maxNATAddresses is what one gateway may have, single ones and those of prefixes together.
// https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource
const maxNATAddresses = 16

func (p *Provider) natGatewayType() rp.Registration {
	return rp.Of(rp.Type[NATGateway]{
		Name: NATGatewayType, Kind: rp.Tracked, Versions: rp.Versions[NATGateway](since("2019-02-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultNATGateway,
		Validate:  validateNATGateway,
		Admit:     admitNATGateway,
		Links:     natGatewayLinks,
		Reconcile: applied[NATGateway](p),
		Present:   presentNATGateway,
		Kept:      true,
		Release:   releaseNATGateway,
		Finalize:  applied[NATGateway](p),
	})
}

func defaultNATGateway(_ string, r *rp.Resource[NATGateway]) {
	if r.Properties.IdleTimeoutInMinutes == 0 {
		r.Properties.IdleTimeoutInMinutes = 4
	}
	if len(r.SKU) == 0 {
		r.SKU = json.RawMessage(`{"name":"Standard"}`)
	}
}

func validateNATGateway(_ rp.Op, new, _ *rp.Resource[NATGateway]) error {
	v := &new.Properties
	switch {
	case isSKU(new.SKU, "StandardV2"):
		return arm.NotImplemented("NAT gateway %s: sku StandardV2 is not implemented.", new.ID)
	case !isSKU(new.SKU, "Standard"):
		return bad("InvalidRequestFormat", "The sku of NAT gateway %s must be Standard.", new.ID)
	case v.IdleTimeoutInMinutes < 4 || v.IdleTimeoutInMinutes > 120:
		return bad("InvalidIdleTimeoutInMinutes", "idleTimeoutInMinutes of NAT gateway %s is %d; it must be between 4 and 120.", new.ID, v.IdleTimeoutInMinutes)
	case len(new.Zones) > 1:
		return bad("InvalidRequestFormat", "NAT gateway %s has %d zones; it can be in one.", new.ID, len(new.Zones))
	}
	for _, ref := range v.PublicIPs {
		if _, err := parseRef(&ref, PublicIPType, "publicIpAddresses", new.ID); err != nil {
			return err
		}
	}
	for _, ref := range v.PublicIPPrefixes {
		if _, err := parseRef(&ref, PublicIPPrefixType, "publicIpPrefixes", new.ID); err != nil {
			return err
		}
	}
	return nil
}

func natGatewayLinks(r *rp.Resource[NATGateway]) []rp.Link {
	var links []rp.Link
	for typ, refs := range map[string][]Ref{PublicIPType: r.Properties.PublicIPs, PublicIPPrefixType: r.Properties.PublicIPPrefixes} {
		for _, ref := range refs {
			if id, err := arm.ParseID(ref.ID); err == nil {
				links = append(links, rp.Link{Action: typ + "/join/action", ID: id})
			}
		}
	}
	return links
}

func admitNATGateway(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[NATGateway]) error {
	var was NATGateway
	if op == rp.Create {
		new.Properties.ResourceGUID = uuid.NewString()
	} else {
		was = old.Properties
	}
	if err := leaveNAT(tx, without(was.PublicIPs, new.Properties.PublicIPs), without(was.PublicIPPrefixes, new.Properties.PublicIPPrefixes)); err != nil {
		return err
	}
	count := 0
	for _, ref := range new.Properties.PublicIPs {
		if err := joinNAT(tx, new, &ref); err != nil {
			return err
		}
		count++
	}
	for _, ref := range new.Properties.PublicIPPrefixes {
		bits, err := joinNATPrefix(tx, new, &ref)
		if err != nil {
			return err
		}
		count += 1 << (32 - bits)
	}
	if count > maxNATAddresses {
		return bad("NatGatewayPublicIpCountLimitReached", "NAT gateway %s has %d public IP addresses; it can have %d.", new.ID, count, maxNATAddresses)
	}
	return nil
}

// without are the references of list that are not in others.
func without(list, others []Ref) []Ref {
	return slices.DeleteFunc(slices.Clone(list), func(r Ref) bool {
		return slices.ContainsFunc(others, func(o Ref) bool { return strings.EqualFold(o.ID, r.ID) })
	})
}

// joinNAT makes a public address the gateway's.
func joinNAT(tx *rp.Tx, gateway *rp.Resource[NATGateway], ref *Ref) error {
	if err := inRegion[PublicIP](tx, ref, gateway.Location, gateway.ID); err != nil {
		return err
	}
	ip, err := live[PublicIP](tx, ref, gateway.ID)
	if err != nil {
		return err
	}
	v := &ip.Properties
	switch holder := v.holder(); {
	case !isSKU(ip.SKU, "Standard"):
		return bad("NatGatewayPublicIpAddressMustBeStandardSku", "NAT gateway %s references public IP address %s, which is not of the Standard sku.", gateway.ID, ip.ID)
	case holder != nil && !holder.is(gateway.ID):
		return publicInUse(gateway.ID.String(), ip.ID, holder.ID)
	}
	v.NATGateway = &Ref{ID: gateway.ID.String()}
	return rp.Save(tx, ip)
}

// joinNATPrefix makes a range of public addresses the gateway's, and returns its length.
func joinNATPrefix(tx *rp.Tx, gateway *rp.Resource[NATGateway], ref *Ref) (int, error) {
	if err := inRegion[PublicIPPrefix](tx, ref, gateway.Location, gateway.ID); err != nil {
		return 0, err
	}
	pre, err := live[PublicIPPrefix](tx, ref, gateway.ID)
	if err != nil {
		return 0, err
	}
	if err := prefixFree(tx, pre, gateway.ID); err != nil {
		return 0, err
	}
	pre.Properties.NATGateway = &Ref{ID: gateway.ID.String()}
	return pre.Properties.Length, rp.Save(tx, pre)
}

// prefixFree refuses a prefix that anything but by has, or has addresses of.
func prefixFree(tx *rp.Tx, pre *rp.Resource[PublicIPPrefix], by arm.ID) error {
	users, err := prefixUsers(tx, pre.ID)
	if err != nil {
		return err
	}
	for _, ref := range pre.Properties.holders() {
		if !ref.is(by) {
			users = append(users, ref)
		}
	}
	if len(users) > 0 {
		return bad("PublicIpPrefixInUse", "%s references public IP prefix %s, which is in use by %s.", by, pre.ID, inUse(ids(users)))
	}
	return nil
}

// leaveNAT gives addresses and ranges back; those that no longer exist are no error.
func leaveNAT(tx *rp.Tx, addresses, prefixes []Ref) error {
	for _, ref := range addresses {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		ip, err := rp.Get[PublicIP](tx, id)
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		ip.Properties.NATGateway = nil
		if err := rp.Save(tx, ip); err != nil {
			return err
		}
	}
	for _, ref := range prefixes {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		pre, err := rp.Get[PublicIPPrefix](tx, id)
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		pre.Properties.NATGateway = nil
		if err := rp.Save(tx, pre); err != nil {
			return err
		}
	}
	return nil
}

func presentNATGateway(_ context.Context, tx *rp.Tx, r *rp.Resource[NATGateway]) error {
	var err error
	r.Properties.Subnets, err = subnetsWith(tx, func(s *Subnet) bool { return s.NATGateway.is(r.ID) })
	return err
}

func releaseNATGateway(_ context.Context, tx *rp.Tx, r *rp.Resource[NATGateway]) error {
	subnets, err := subnetsWith(tx, func(s *Subnet) bool { return s.NATGateway.is(r.ID) })
	if err != nil {
		return err
	}
	if len(subnets) > 0 {
		return bad("CannotDeleteNatGatewayAssociatedToSubnet", "NAT Gateway %s is still configured on %d subnets. Remove NAT Gateway from all referenced subnets and then delete NAT Gateway.", r.ID, len(subnets))
	}
	return leaveNAT(tx, r.Properties.PublicIPs, r.Properties.PublicIPPrefixes)
}

// noBasicBehindNAT refuses a NAT gateway for a subnet in which an interface has a public address of the Basic
// sku.
func noBasicBehindNAT(tx *rp.Tx, subnet *rp.Resource[Subnet]) error {
	if subnet.Properties.NATGateway == nil {
		return nil
	}
	nics, err := rp.List[Interface](tx, NICType, root)
	if err != nil {
		return err
	}
	for _, n := range nics {
		for _, c := range n.Properties.IPConfigurations {
			if n.State == arm.Deleting || !c.Properties.Subnet.is(subnet.ID) {
				continue
			}
			if err := notBasic(tx, subnet, c.Properties.PublicIP, configID(n.ID, c.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// notBasic refuses a public address of the Basic sku in a subnet with a NAT gateway.
func notBasic(tx *rp.Tx, subnet *rp.Resource[Subnet], ref *Ref, config string) error {
	if ref == nil || subnet.Properties.NATGateway == nil {
		return nil
	}
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return err
	}
	ip, err := rp.Get[PublicIP](tx, id)
	if err != nil || !isSKU(ip.SKU, "Basic") {
		return err
	}
	return bad("SubnetWithNatGatewayAndBasicSkuResourceNotAllowed", "NAT Gateway %s cannot be deployed on subnet containing Basic SKU Public IP addresses or Basic SKU Load Balancer. NIC %s in subnet %s has reference to Basic SKU Public IP address or Load Balancer.", subnet.Properties.NATGateway.ID, config, subnet.ID)
}

// natGateways are those of the topology that have addresses: Azure passes the others by.
func (b *builder) natGateways() error {
	gateways, err := rp.List[NATGateway](b.tx, NATGatewayType, root)
	if err != nil {
		return err
	}
	for _, g := range gateways {
		if g.State == arm.Deleting {
			continue
		}
		out := &fabric.NATGateway{ID: g.ID.String()}
		for _, ref := range g.Properties.PublicIPs {
			a, err := b.public(ref.ID)
			if err != nil {
				return err
			}
			out.Addresses = append(out.Addresses, a)
		}
		for _, ref := range g.Properties.PublicIPPrefixes {
			list, err := prefixAddresses(b.tx, &ref)
			if err != nil {
				return err
			}
			out.Addresses = append(out.Addresses, list...)
		}
		if len(out.Addresses) > 0 {
			b.gateways[g.ID.Key()] = out
		}
	}
	return nil
}

// prefixAddresses are the addresses of a public IP prefix.
func prefixAddresses(tx *rp.Tx, ref *Ref) (list []netip.Addr, err error) {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[PublicIPPrefix](tx, id)
	if err != nil {
		return nil, err
	}
	pre, err := netip.ParsePrefix(r.Properties.IPPrefix)
	if err != nil {
		return nil, err
	}
	for a := pre.Addr(); pre.Contains(a); a = a.Next() {
		list = append(list, a)
	}
	return list, nil
}

// gateway is the id of a referenced NAT gateway as the topology has it, "" for one without addresses.
func (b *builder) gateway(ref *Ref) string {
	if ref == nil {
		return ""
	}
	if g := b.gateways[strings.ToLower(ref.ID)]; g != nil {
		return g.ID
	}
	return ""
}

// admitSubnetNAT checks a subnet's NAT gateway: it is in the subnet's region, serves no other virtual network,
// and the subnet is one that may have it.
// https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource
func admitSubnetNAT(tx *rp.Tx, subnet *rp.Resource[Subnet], location string) error {
	ref := subnet.Properties.NATGateway
	if ref == nil {
		return nil
	}
	if err := inRegion[NATGateway](tx, ref, location, subnet.ID); err != nil {
		return err
	}
	if strings.EqualFold(subnet.ID.Name(), gatewaySubnet) {
		return bad("GatewaySubnetCannotHaveNatGateway", "Subnet %s is a gateway subnet and cannot have NAT gateway %s.", subnet.ID, ref.ID)
	}
	others, err := subnetsWith(tx, func(s *Subnet) bool { return sameRef(s.NATGateway, ref) })
	if err != nil {
		return err
	}
	for _, o := range others {
		id, err := arm.ParseID(o.ID)
		if err != nil {
			return err
		}
		if id.Parent().Key() != subnet.ID.Parent().Key() {
			return bad("NatGatewayCannotSpanVirtualNetworks", "NAT gateway %s is configured on subnet %s and cannot be configured on subnet %s of another virtual network.", ref.ID, o.ID, subnet.ID)
		}
	}
	return noBasicBehindNAT(tx, subnet)
}

// gatewaySubnet is the name of the subnet that virtual network gateways stand in.
const gatewaySubnet = "GatewaySubnet"
