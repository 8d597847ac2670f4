package network

import (
	"context"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// PublicIP is the properties of a public address (Network REST: PublicIPAddressPropertiesFormat).
type PublicIP struct {
	ResourceGUID         string     `json:"resourceGuid,omitempty" rp:"readonly"`
	Version              string     `json:"publicIPAddressVersion"`
	Allocation           string     `json:"publicIPAllocationMethod"`
	IdleTimeoutInMinutes int        `json:"idleTimeoutInMinutes"`
	IPTags               []any      `json:"ipTags"`
	DNS                  *PublicDNS `json:"dnsSettings,omitempty"`
	// Prefix is the range that the address is taken from; nil: any of Azure's.
	Prefix          *Ref   `json:"publicIPPrefix,omitempty"`
	Address         string `json:"ipAddress,omitempty" rp:"readonly"`
	IPConfiguration *Ref   `json:"ipConfiguration,omitempty" rp:"readonly"`
	NATGateway      *Ref   `json:"natGateway,omitempty" rp:"readonly"`
}

// holder is what uses the address, nil for nothing.
func (v *PublicIP) holder() *Ref {
	if v.IPConfiguration != nil {
		return v.IPConfiguration
	}
	return v.NATGateway
}

func (p *Provider) publicIPType() rp.Registration {
	return rp.Of(rp.Type[PublicIP]{
		Move: moved[PublicIP],
		Name: PublicIPType, Kind: rp.Tracked, Versions: rp.Versions[PublicIP](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultPublicIP,
		Validate:  validatePublicIP,
		Links:     publicIPLinks,
		Admit:     p.admitPublicIP,
		Reconcile: applied[PublicIP](p),
		Release:   releasePublicIP,
	})
}

func defaultPublicIP(_ string, r *rp.Resource[PublicIP]) {
	v := &r.Properties
	if v.Version == "" {
		v.Version = "IPv4"
	}
	switch {
	case v.Allocation == "" || strings.EqualFold(v.Allocation, "Dynamic"):
		v.Allocation = "Dynamic"
	case strings.EqualFold(v.Allocation, "Static"):
		v.Allocation = "Static"
	}
	if v.IdleTimeoutInMinutes == 0 {
		v.IdleTimeoutInMinutes = 4
	}
	if v.DNS != nil {
		v.DNS.complete(r.Location)
	}
	if v.IPTags == nil {
		v.IPTags = []any{}
	}
	r.SKU = fullSKU(r.SKU, "Basic")
}

// publicIPLinks: an address of a prefix needs join/action on it.
func publicIPLinks(r *rp.Resource[PublicIP]) []rp.Link {
	if r.Properties.Prefix == nil {
		return nil
	}
	id, err := arm.ParseID(r.Properties.Prefix.ID)
	if err != nil { // Validate has its say
		return nil
	}
	return []rp.Link{{Action: PublicIPPrefixType + "/join/action", ID: id}}
}

func validatePublicIP(_ rp.Op, new, old *rp.Resource[PublicIP]) error {
	v := &new.Properties
	standard := isSKU(new.SKU, "Standard")
	switch {
	case !standard && !isSKU(new.SKU, "Basic"):
		return bad("InvalidRequestFormat", "The sku of public IP address %s must be Basic or Standard.", new.ID)
	case v.Version != "IPv4":
		return arm.NotImplemented("Public IP addresses of version %s are not implemented.", clip(v.Version))
	case v.Allocation != "Static" && v.Allocation != "Dynamic":
		return bad("InvalidRequestFormat", "publicIPAllocationMethod of %s must be Static or Dynamic.", new.ID)
	case standard && v.Allocation == "Dynamic":
		return bad("StandardSkuPublicIPAddressesMustBeStatic", "Standard sku publicIp %s must have AllocationMethod set to Static.", new.ID)
	case v.IdleTimeoutInMinutes < 4 || v.IdleTimeoutInMinutes > 30:
		return bad("InvalidIdleTimeoutInMinutes", "idleTimeoutInMinutes of %s must be between 4 and 30.", new.ID)
	case v.Prefix != nil && !standard:
		return bad("PublicIpPrefixRequiresStandardSku", "Public IP address %s is of a public IP prefix and must have the Standard sku.", new.ID)
	case old != nil && !sameRef(v.Prefix, old.Properties.Prefix) && old.Properties.Address != "":
		return bad("PublicIpPrefixCannotBeChanged", "publicIPPrefix of public IP address %s cannot be changed: it has the address %s.", new.ID, old.Properties.Address)
	}
	if v.Prefix != nil {
		if _, err := parseRef(v.Prefix, PublicIPPrefixType, "publicIPPrefix", new.ID); err != nil {
			return err
		}
	}
	return v.DNS.validate()
}

func (p *Provider) admitPublicIP(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[PublicIP]) error {
	v := &new.Properties
	if op == rp.Create {
		v.ResourceGUID = uuid.NewString()
		if err := withinQuota(tx, new); err != nil {
			return err
		}
	}
	if err := v.DNS.free(tx, new); err != nil {
		return err
	}
	if v.Allocation != "Static" {
		if op == rp.Update && old.Properties.Allocation == "Static" && v.holder() == nil {
			return releaseAddress(tx, v)
		}
		return nil
	}
	return p.ensureAddress(tx, new)
}

// ensureAddress gives the resource its address, if it has none yet.
func (p *Provider) ensureAddress(tx *rp.Tx, r *rp.Resource[PublicIP]) error {
	if r.Properties.Address != "" {
		return nil
	}
	a, err := p.takeAddress(tx, r)
	if err != nil {
		return err
	}
	r.Properties.Address = a.String()
	return nil
}

// takeAddress is an address for the resource: of its prefix, or of the pool.
func (p *Provider) takeAddress(tx *rp.Tx, r *rp.Resource[PublicIP]) (netip.Addr, error) {
	if r.Properties.Prefix == nil {
		return p.takePublic(tx, r.ID.Key())
	}
	if err := inRegion[PublicIPPrefix](tx, r.Properties.Prefix, r.Location, r.ID); err != nil {
		return netip.Addr{}, err
	}
	pre, err := live[PublicIPPrefix](tx, r.Properties.Prefix, r.ID)
	if err != nil {
		return netip.Addr{}, err
	}
	if users := pre.Properties.holders(); len(users) > 0 {
		return netip.Addr{}, bad("PublicIpPrefixInUse", "Public IP address %s references public IP prefix %s, which is in use by %s.", r.ID, pre.ID, users[0].ID)
	}
	return takeOfPrefix(tx, pre, r.ID.Key())
}

// publicInUse is the refusal of an address that something else has.
func publicInUse(by string, ip arm.ID, holder string) *arm.Error {
	return bad("PublicIPAddressInUse", "Resource %s is referencing public IP address %s that is already allocated to resource %s.", by, ip, holder)
}

func releaseAddress(tx *rp.Tx, v *PublicIP) error {
	a, err := netip.ParseAddr(v.Address)
	if err != nil { // it has none
		return nil
	}
	v.Address = ""
	return givePublic(tx, a)
}

func releasePublicIP(_ context.Context, tx *rp.Tx, r *rp.Resource[PublicIP]) error {
	if c := r.Properties.holder(); c != nil {
		return bad("PublicIPAddressCannotBeDeleted", "Public IP address %s can not be deleted since it is still allocated to resource %s. In order to delete the public IP, disassociate/detach the Public IP address from the resource.", r.ID, c.ID)
	}
	return releaseAddress(tx, &r.Properties)
}
