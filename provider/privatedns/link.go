package privatedns

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Link is the properties of a virtual network link (Private DNS REST: VirtualNetworkLinkProperties).
type Link struct {
	VirtualNetwork      Ref    `json:"virtualNetwork"`
	RegistrationEnabled bool   `json:"registrationEnabled"`
	ResolutionPolicy    string `json:"resolutionPolicy,omitempty"`
	State               string `json:"virtualNetworkLinkState,omitempty" rp:"readonly"`
}

// The resolution policies.
// https://learn.microsoft.com/azure/dns/private-dns-fallback
const (
	policyDefault  = "Default"
	policyRedirect = "NxDomainRedirect"
)

func (p *Provider) linkType() rp.Registration {
	list := rp.Versions[Link](versions...)
	for i := range list {
		if list[i].Name < "2024-06-01" {
			list[i].Encode = encodeOldLink
		}
	}
	return rp.Of(rp.Type[Link]{
		Move: rp.Moved[Link],
		Name: LinkType, Kind: rp.Tracked, Versions: list, ShowETag: true,
		NamePattern: `^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`, NameRule: "The name can be up to 80 characters long: word characters, '.', '-', '_'.",
		Default: func(_ string, r *rp.Resource[Link]) {
			switch {
			case r.Properties.ResolutionPolicy == "" || strings.EqualFold(r.Properties.ResolutionPolicy, policyDefault):
				r.Properties.ResolutionPolicy = policyDefault
			case strings.EqualFold(r.Properties.ResolutionPolicy, policyRedirect):
				r.Properties.ResolutionPolicy = policyRedirect
			}
		},
		Validate: validateLink,
		Admit:    p.admitLink,
		Links: func(r *rp.Resource[Link]) []rp.Link {
			id, err := arm.ParseID(r.Properties.VirtualNetwork.ID)
			if err != nil {
				return nil
			}
			return []rp.Link{{Action: joinNetwork, ID: id}}
		},
		Reconcile: applied[Link](p),
		Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Link]) error {
			r.Properties.State = "InProgress"
			if r.State == arm.Succeeded {
				r.Properties.State = "Completed"
			}
			return nil
		},
		Finalize: applied[Link](p),
	})
}

// encodeOldLink leaves out what the versions before 2024-06-01 do not know.
func encodeOldLink(l *Link) (map[string]any, error) {
	return map[string]any{
		"virtualNetwork": map[string]any{"id": l.VirtualNetwork.ID}, "registrationEnabled": l.RegistrationEnabled, "virtualNetworkLinkState": l.State,
	}, nil
}

func validateLink(op rp.Op, new, old *rp.Resource[Link]) error {
	v := &new.Properties
	id, err := arm.ParseID(v.VirtualNetwork.ID)
	if err != nil || id.Type().Key() != "microsoft.network/virtualnetworks" {
		return badRequest("The virtual network resource ID '%s' of link '%s' is not valid.", v.VirtualNetwork.ID, new.ID.Name())
	}
	zone := new.ID.Parent().Name()
	switch {
	case !strings.EqualFold(new.Location, "global"):
		return arm.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is 'global'.", new.Location, LinkType)
	case v.ResolutionPolicy != policyDefault && v.ResolutionPolicy != policyRedirect:
		return badRequest("The resolution policy '%s' is not valid. Valid values: Default, NxDomainRedirect.", v.ResolutionPolicy)
	case v.ResolutionPolicy == policyRedirect && !strings.HasPrefix(strings.ToLower(zone), "privatelink."):
		return badRequest("The resolution policy NxDomainRedirect is only for zones of Private Link; '%s' is none.", zone)
	case op == rp.Update && !strings.EqualFold(old.Properties.VirtualNetwork.ID, v.VirtualNetwork.ID):
		return badRequest("The virtual network of link '%s' cannot be changed.", new.ID.Name())
	}
	return nil
}

func (p *Provider) admitLink(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Link]) error {
	id, err := arm.ParseID(new.Properties.VirtualNetwork.ID)
	if err != nil {
		return err
	}
	exists, err := p.cfg.VNetExists(tx, id)
	if err != nil {
		return err
	}
	if !exists {
		return badRequest("The virtual network '%s' of link '%s' was not found.", id, new.ID.Name())
	}
	if err := seesOne(tx, new.ID, id, new.Properties.RegistrationEnabled); err != nil {
		return err
	}
	zone, registering := new.ID.Parent(), 0
	siblings, err := rp.List[Link](tx, LinkType, zone)
	if err != nil {
		return err
	}
	siblings = slices.DeleteFunc(siblings, func(l *rp.Resource[Link]) bool { return l.ID.Key() == new.ID.Key() || l.State == arm.Deleting })
	for _, l := range siblings {
		registering += btoi(l.Properties.RegistrationEnabled)
	}
	switch {
	case op == rp.Create && len(siblings) >= maxLinks:
		return badRequest("The zone '%s' has %d virtual network links; it can have no more.", zone.Name(), len(siblings))
	case new.Properties.RegistrationEnabled && registering >= maxRegistering:
		return badRequest("The zone '%s' has %d virtual network links with registration; it can have no more.", zone.Name(), registering)
	}
	return nil
}

// Redirects tells whether names that the zone lacks are asked of the internet (NxDomainRedirect).
func (l *Link) Redirects() bool { return l.ResolutionPolicy == policyRedirect }
