package network

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// PublicIP is the properties of a public address (Network REST: PublicIPAddressPropertiesFormat).
type PublicIP struct {
	ResourceGUID         string          `json:"resourceGuid,omitempty" rp:"readonly"`
	Version              string          `json:"publicIPAddressVersion"`
	Allocation           string          `json:"publicIPAllocationMethod"`
	IdleTimeoutInMinutes int             `json:"idleTimeoutInMinutes"`
	IPTags               []any           `json:"ipTags"`
	DNS                  json.RawMessage `json:"dnsSettings,omitempty"`
	Address              string          `json:"ipAddress,omitempty" rp:"readonly"`
	IPConfiguration      *Ref            `json:"ipConfiguration,omitempty" rp:"readonly"`
}

func (p *Provider) publicIPType() rp.Registration {
	return rp.Of(rp.Type[PublicIP]{
		Name: PublicIPType, Kind: rp.Tracked, Versions: rp.Versions[PublicIP](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:  defaultPublicIP,
		Validate: validatePublicIP,
		Admit:    p.admitPublicIP,
		Release:  releasePublicIP,
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
	if v.IPTags == nil {
		v.IPTags = []any{}
	}
	if len(r.SKU) == 0 {
		r.SKU = json.RawMessage(`{"name":"Basic","tier":"Regional"}`)
	}
}

func validatePublicIP(_ rp.Op, new, _ *rp.Resource[PublicIP]) error {
	v := &new.Properties
	var sku struct{ Name, Tier string }
	if err := json.Unmarshal(new.SKU, &sku); err != nil || (!strings.EqualFold(sku.Name, "Basic") && !strings.EqualFold(sku.Name, "Standard")) {
		return bad("InvalidRequestFormat", "The sku of public IP address %s must be Basic or Standard.", new.ID)
	}
	switch {
	case v.Version != "IPv4":
		return arm.NotImplemented("Public IP addresses of version %s are not implemented.", clip(v.Version))
	case v.Allocation != "Static" && v.Allocation != "Dynamic":
		return bad("InvalidRequestFormat", "publicIPAllocationMethod of %s must be Static or Dynamic.", new.ID)
	case strings.EqualFold(sku.Name, "Standard") && v.Allocation == "Dynamic":
		return bad("StandardSkuPublicIPAddressesMustBeStatic", "Standard sku publicIp %s must have AllocationMethod set to Static.", new.ID)
	case v.IdleTimeoutInMinutes < 4 || v.IdleTimeoutInMinutes > 30:
		return bad("InvalidIdleTimeoutInMinutes", "idleTimeoutInMinutes of %s must be between 4 and 30.", new.ID)
	}
	return nil
}

func (p *Provider) admitPublicIP(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[PublicIP]) error {
	v := &new.Properties
	if op == rp.Create {
		v.ResourceGUID = uuid.NewString()
	}
	if v.Allocation != "Static" {
		if op == rp.Update && old.Properties.Allocation == "Static" && v.IPConfiguration == nil {
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
	a, err := p.takePublic(tx, r.ID.Key())
	if err != nil {
		return err
	}
	r.Properties.Address = a.String()
	return nil
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
	if c := r.Properties.IPConfiguration; c != nil {
		return bad("PublicIPAddressCannotBeDeleted", "Public IP address %s can not be deleted since it is still allocated to resource %s. In order to delete the public IP, disassociate/detach the Public IP address from the resource.", r.ID, c.ID)
	}
	return releaseAddress(tx, &r.Properties)
}
