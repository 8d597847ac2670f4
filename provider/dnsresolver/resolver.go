package dnsresolver

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// Resolver is the properties of a DNS resolver (DNS Resolver REST: DnsResolverProperties).
type Resolver struct {
	VirtualNetwork *Ref   `json:"virtualNetwork"`
	State          string `json:"dnsResolverState,omitempty" rp:"readonly"`
	ResourceGUID   string `json:"resourceGuid,omitempty" rp:"readonly"`
}

func (p *Provider) resolverType() rp.Registration {
	return rp.Of(rp.Type[Resolver]{
		Name: Type, Kind: rp.Tracked, Versions: rp.Versions[Resolver](versions...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Validate: func(op rp.Op, new, old *rp.Resource[Resolver]) error {
			id, err := parseRef(new.Properties.VirtualNetwork, network.VNetType, "virtualNetwork", new.ID)
			if err != nil {
				return err
			}
			if op == rp.Update && !strings.EqualFold(id.String(), old.Properties.VirtualNetwork.ID) {
				return conflict("The virtual network of DNS resolver '%s' cannot be changed.", new.ID.Name())
			}
			return nil
		},
		Links: func(r *rp.Resource[Resolver]) []rp.Link {
			return joins(network.VNetType+"/join/action", r.Properties.VirtualNetwork)
		},
		Admit: admitResolver,
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Resolver]) error {
			r.Properties.State = "Connected"
			id, err := arm.ParseID(r.Properties.VirtualNetwork.ID)
			if err != nil {
				return err
			}
			exists, err := network.VNetExists(tx, id)
			if !exists {
				r.Properties.State = "Disconnected"
			}
			return err
		},
		Reconcile: applied[Resolver](p),
		Release:   releaseResolver,
		Finalize:  applied[Resolver](p),
	})
}

func admitResolver(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Resolver]) error {
	if op == rp.Update {
		return nil
	}
	new.Properties.ResourceGUID = uuid.NewString()
	id, err := arm.ParseID(new.Properties.VirtualNetwork.ID)
	if err != nil {
		return err
	}
	vnet, err := existing[network.VNet](tx, id, new.ID)
	if err != nil {
		return err
	}
	if !strings.EqualFold(vnet.Location, new.Location) {
		return badRequest("The DNS resolver '%s' is in '%s' and the virtual network '%s' in '%s'; they must be in the same region.", new.ID.Name(), new.Location, id, vnet.Location)
	}
	all, err := live[Resolver](tx, Type, root)
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.ID.Key() != new.ID.Key() && strings.EqualFold(r.Properties.VirtualNetwork.ID, id.String()) {
			return conflict("The virtual network '%s' is already used by the DNS resolver '%s'; a virtual network has at most one.", id, r.ID)
		}
	}
	return nil
}

// releaseResolver refuses to delete a resolver that has endpoints.
func releaseResolver(_ context.Context, tx *rp.Tx, r *rp.Resource[Resolver]) error {
	if n, err := nested[Inbound](tx, InboundType, r.ID); err != nil || n != nil {
		return cannotDelete(n, err)
	}
	if n, err := nested[Outbound](tx, OutboundType, r.ID); err != nil || n != nil {
		return cannotDelete(n, err)
	}
	return nil
}

// nested is a resource of a type under another, nil if there is none. One that is being deleted counts: it is
// when its parent's deletion asks, since what is inside is released first.
func nested[T any](tx *rp.Tx, typeName string, of arm.ID) (*arm.ID, error) {
	list, err := rp.List[T](tx, typeName, of)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0].ID, nil
}

func cannotDelete(id *arm.ID, err error) error {
	if err != nil {
		return err
	}
	path := id.String()[strings.Index(id.String(), "Microsoft.Network/"):]
	return arm.Errorf(http.StatusConflict, "CannotDeleteResource", "Cannot delete resource while nested resources exist. Some existing nested resource IDs include: '%s'. Please delete all nested resources before deleting this resource.", path)
}
