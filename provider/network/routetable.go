package network

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// RouteTable is the properties of a route table (Network REST: RouteTablePropertiesFormat). Its routes
// are resources of their own.
type RouteTable struct {
	ResourceGUID string `json:"resourceGuid,omitempty" rp:"readonly"`
	// DisableBGP keeps the routes that a gateway learned from the table's subnets.
	DisableBGP bool  `json:"disableBgpRoutePropagation"`
	Subnets    []Ref `json:"subnets,omitempty" rp:"readonly"`
}

// maxRoutes is what one table may hold.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits
const maxRoutes = 400

func (p *Provider) routeTableType() rp.Registration {
	return rp.Of(rp.Type[RouteTable]{
		Move: moved[RouteTable],
		Name: RouteTableType, Kind: rp.Tracked, Versions: rp.Versions[RouteTable](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Inline:    map[string]string{"routes": RouteType},
		Admit:     admitRouteTable,
		Reconcile: applied[RouteTable](p),
		Present:   presentRouteTable,
		Kept:      true,
		Release:   releaseRouteTable,
		Finalize:  applied[RouteTable](p),
	})
}

// admitRouteTable checks the routes as they will be.
func admitRouteTable(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[RouteTable]) error {
	if op == rp.Create {
		new.Properties.ResourceGUID = uuid.NewString()
	}
	routes, err := rp.List[Route](tx, RouteType, new.ID)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.State == arm.Deleting {
			continue
		}
		if err := routeFits(r, routes); err != nil {
			return err
		}
	}
	return nil
}

func presentRouteTable(_ context.Context, tx *rp.Tx, r *rp.Resource[RouteTable]) error {
	var err error
	r.Properties.Subnets, err = subnetsWith(tx, func(s *Subnet) bool { return s.RouteTable.is(r.ID) })
	return err
}

// subnetsWith are the subnets that use something, in the order of their ids.
func subnetsWith(tx *rp.Tx, uses func(*Subnet) bool) ([]Ref, error) {
	all, err := rp.List[Subnet](tx, SubnetType, root)
	if err != nil {
		return nil, err
	}
	var list []Ref
	for _, s := range all {
		if s.State != arm.Deleting && uses(&s.Properties) {
			list = append(list, Ref{ID: s.ID.String()})
		}
	}
	return list, nil
}

func releaseRouteTable(_ context.Context, tx *rp.Tx, r *rp.Resource[RouteTable]) error {
	subnets, err := subnetsWith(tx, func(s *Subnet) bool { return s.RouteTable.is(r.ID) })
	if err != nil || len(subnets) == 0 {
		return err
	}
	return bad("InUseRouteTableCannotBeDeleted", "Route table %s is in use and cannot be deleted. It is associated with %s.", r.ID.Name(), inUse(ids(subnets)))
}

// ids are the ids of references.
func ids(refs []Ref) []string {
	list := make([]string, len(refs))
	for i, r := range refs {
		list[i] = r.ID
	}
	return list
}

// routeTables are the tables of the topology.
func (b *builder) routeTables() error {
	tables, err := rp.List[RouteTable](b.tx, RouteTableType, root)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.State != arm.Deleting {
			b.tables[t.ID.Key()] = &fabric.RouteTable{ID: t.ID.String(), IgnoreGateway: t.Properties.DisableBGP}
		}
	}
	routes, err := rp.List[Route](b.tx, RouteType, root)
	if err != nil {
		return err
	}
	for _, r := range routes {
		t := b.tables[r.ID.Parent().Key()]
		if t == nil || r.State == arm.Deleting {
			continue
		}
		t.Routes = append(t.Routes, r.Properties.compile(r.ID.Name()))
	}
	return nil
}

// table is the id of a referenced route table as the topology has it.
func (b *builder) table(ref *Ref) (string, error) {
	if ref == nil {
		return "", nil
	}
	t := b.tables[strings.ToLower(ref.ID)]
	if t == nil { // in-use checks keep this from happening; never run a network without its routes
		return "", absent("route table", ref.ID)
	}
	return t.ID, nil
}
