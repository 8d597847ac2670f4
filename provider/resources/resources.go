// Package resources is Microsoft.Resources: tenants, subscriptions, their locations, and resource groups.
package resources

import (
	"context"
	"net/http"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// The resource types.
const (
	SubscriptionType = "Microsoft.Resources/subscriptions"
	GroupType        = "Microsoft.Resources/resourceGroups"
)

// Group is the properties of a resource group: its provisioning state only.
type Group struct{}

var versions = []string{
	"2014-04-01", "2015-01-01", "2015-11-01", "2016-02-01", "2016-06-01", "2016-07-01", "2016-09-01", "2017-03-01", "2017-05-01", "2017-05-10",
	"2017-06-01", "2017-08-01", "2018-01-01", "2018-02-01", "2018-05-01", "2018-06-01", "2018-07-01", "2018-08-01", "2018-11-01", "2019-03-01",
	"2019-05-01", "2019-05-10", "2019-06-01", "2019-07-01", "2019-08-01", "2019-09-01", "2019-10-01", "2019-11-01", "2020-01-01", "2020-05-01",
	"2020-06-01", "2020-07-01", "2020-08-01", "2020-09-01", "2020-10-01", "2021-01-01", "2021-04-01", "2022-01-01", "2022-03-01-preview",
	"2022-05-01", "2022-06-01", "2022-09-01", "2022-12-01", "2023-03-01-preview", "2023-07-01", "2023-07-01-preview", "2024-03-01", "2024-07-01",
	"2024-11-01", "2025-03-01", "2025-04-01",
}

// Provider is Microsoft.Resources.
type Provider struct {
	tenant    Tenant
	locations []Location
	roles     authz.Source
	groups    authz.Hierarchy // nil: there are no management groups
	erase     []func(tx *rp.Tx, group arm.ID) error
	engine    *rp.Engine
}

// Attach gives the provider the engine in which it is registered. Before the engine runs.
func (p *Provider) Attach(e *rp.Engine) {
	p.engine = e
	e.Limit(limitGroups, GroupType)
}

// maxGroups are the resource groups of a subscription ("Azure subscription and service limits": subscription limits).
const maxGroups = 980

func limitGroups(_ context.Context, tx *rp.Tx, r rp.Envelope) error {
	n, err := rp.Number(tx, GroupType, r.ID.Parent())
	if err == nil && n >= maxGroups {
		return arm.Errorf(http.StatusConflict, "ResourceGroupQuotaExceeded", "Creating the resource group '%s' would exceed the quota of '%d'. The current resource group count is '%d', please delete some groups before creating a new one.", r.ID.Name(), maxGroups, n)
	}
	return err
}

// Erasing has f called in the transaction in which a resource group goes, for what is kept of the group without being
// a resource of it. Before Types.
func (p *Provider) Erasing(f func(tx *rp.Tx, group arm.ID) error) { p.erase = append(p.erase, f) }

// Tenant is the region's directory.
type Tenant struct{ ID, DisplayName, Domain string }

// New returns the provider. roles tells which subscriptions a caller sees.
func New(t Tenant, locations []Location, roles authz.Source) *Provider {
	return &Provider{tenant: t, locations: locations, roles: roles}
}

// Within has subscriptions shown also to whoever has a role in a management group over them.
func (p *Provider) Within(h authz.Hierarchy) *Provider {
	p.groups = h
	return p
}

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{
		rp.Of(rp.Type[Subscription]{Name: SubscriptionType, Kind: rp.Proxy, Versions: rp.Versions[Subscription](versions...), NoPut: true, NoDelete: true, StateProperty: "-"}),
		links(),
		rp.Of(rp.Type[Group]{
			Name: GroupType, Kind: rp.Tracked, Versions: rp.Versions[Group](versions...),
			NamePattern: `^[-\w._()]{0,89}[-\w_()]$`,
			Actions: map[string]rp.Action[Group]{
				"moveResources":         {Do: p.mayMove, Async: p.move, Links: moveLinks},
				"validateMoveResources": {Do: p.mayMove, Async: p.validateMove, Links: moveLinks},
			},
			Erase: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Group]) error {
				for _, f := range p.erase {
					if err := f(tx, r.ID); err != nil {
						return err
					}
				}
				return nil
			},
			NameRule: "Resource group names only allow up to 90 characters of alphanumerics, underscores, parentheses, hyphens and periods, and cannot end with a period.",
		}),
		rp.Routes(slices.Concat(p.subscriptionRoutes(), p.tagRoutes(), p.tagNameRoutes(), p.nameRoutes())...),
	}
}
