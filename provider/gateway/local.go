package gateway

import (
	"context"
	"net/netip"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// Local is the properties of a local network gateway: the other end of a site-to-site connection and what
// lies behind it (Network REST: LocalNetworkGatewayPropertiesFormat).
type Local struct {
	ResourceGUID string        `json:"resourceGuid,omitempty" rp:"readonly"`
	Space        *AddressSpace `json:"localNetworkAddressSpace,omitempty"`
	Address      string        `json:"gatewayIpAddress,omitempty"`
	FQDN         string        `json:"fqdn,omitempty"`
	BGP          *BGPSettings  `json:"bgpSettings,omitempty"`
}

func (p *Provider) localType() rp.Registration {
	return rp.Of(rp.Type[Local]{
		Name: LocalType, Kind: rp.Tracked, Versions: rp.Versions[Local](network.VersionsSince("2015-06-15")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default: func(_ string, r *rp.Resource[Local]) {
			if r.Properties.Space == nil {
				r.Properties.Space = &AddressSpace{}
			}
			if r.Properties.Space.AddressPrefixes == nil {
				r.Properties.Space.AddressPrefixes = []string{}
			}
		},
		Validate: validateLocal,
		Admit: func(_ context.Context, _ *rp.Tx, op rp.Op, new, _ *rp.Resource[Local]) error {
			if op == rp.Create {
				new.Properties.ResourceGUID = uuid.NewString()
			}
			return nil
		},
		Reconcile: applied[Local](p),
		Release:   releaseLocal,
		Finalize:  applied[Local](p),
	})
}

func validateLocal(_ rp.Op, new, _ *rp.Resource[Local]) error {
	v := &new.Properties
	if v.FQDN != "" {
		return arm.NotImplemented("A local network gateway by name is not implemented (fqdn of %s): give its gatewayIpAddress.", new.ID)
	}
	if a, err := netip.ParseAddr(v.Address); err != nil || !a.Is4() {
		return bad("InvalidRequestFormat", "gatewayIpAddress of local network gateway %s is '%s', which is not an IPv4 address.", new.ID, clip(v.Address))
	}
	space, err := prefixes(v.Space, "localNetworkAddressSpace", new.ID)
	if err != nil {
		return err
	}
	return distinct(space, "localNetworkAddressSpace", new.ID)
}

func releaseLocal(_ context.Context, tx *rp.Tx, r *rp.Resource[Local]) error {
	all, err := rp.List[Gateway](tx, Type, root)
	if err != nil {
		return err
	}
	for _, g := range all {
		if is(g.Properties.DefaultSite, r.ID) && g.State != arm.Deleting {
			return bad("InUseLocalNetworkGatewayCannotBeDeleted", "Local network gateway %s cannot be deleted because it is the gatewayDefaultSite of %s.", r.ID, g.ID)
		}
	}
	users, err := connectionsOf(tx, r.ID)
	if err != nil || len(users) == 0 {
		return err
	}
	return bad("InUseLocalNetworkGatewayCannotBeDeleted", "Local network gateway %s cannot be deleted because it is in use by the following connections: %s.", r.ID, join(users))
}
