// Package resources is Microsoft.Resources: tenants, subscriptions, their locations, and resource groups.
package resources

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// The resource types.
const (
	SubscriptionType = "Microsoft.Resources/subscriptions"
	GroupType        = "Microsoft.Resources/resourceGroups"
)

// Subscription is what is stored of a subscription; its wire form is flat (Resources REST: Subscription).
type Subscription struct {
	DisplayName string `json:"displayName"`
}

// Group is the properties of a resource group: its provisioning state only.
type Group struct{}

var versions = []string{
	"2014-04-01", "2015-01-01", "2015-11-01", "2016-02-01", "2016-06-01", "2016-09-01", "2017-05-10", "2018-01-01", "2018-02-01",
	"2018-05-01", "2019-03-01", "2019-05-01", "2019-05-10", "2019-06-01", "2019-07-01", "2019-08-01", "2019-10-01", "2019-11-01",
	"2020-01-01", "2020-06-01", "2020-08-01", "2020-10-01", "2021-01-01", "2021-04-01", "2022-01-01", "2022-09-01", "2022-12-01",
	"2023-07-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01",
}

// Provider is Microsoft.Resources.
type Provider struct {
	tenant    Tenant
	locations []Location
	roles     authz.Source
	groups    authz.Hierarchy // nil: there are no management groups
	erase     []func(tx *rp.Tx, group arm.ID) error
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
	get := func(pattern, permission string, do func(context.Context, *rp.Tx, map[string]string) (any, error)) rp.Route {
		return rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: permission, Versions: versions,
			Do: func(ctx context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
				return do(ctx, tx, path)
			}}
	}
	read := SubscriptionType + "/read"
	return []rp.Registration{
		rp.Of(rp.Type[Subscription]{Name: SubscriptionType, Kind: rp.Proxy, Versions: rp.Versions[Subscription](versions...), NoPut: true, NoDelete: true, StateProperty: "-"}),
		rp.Of(rp.Type[Group]{
			Name: GroupType, Kind: rp.Tracked, Versions: rp.Versions[Group](versions...),
			NamePattern: `^[-\w._()]{0,89}[-\w_()]$`,
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
		rp.Routes(
			get("/tenants", "-", p.tenants),
			get("/subscriptions", "-", p.subscriptions),
			get("/subscriptions/{subscription}", read, p.subscription),
			get("/subscriptions/{subscription}/locations", read, p.listLocations),
		),
	}
}

// Ensure makes the subscription when it is not there.
func Ensure(tx *rp.Tx, id, displayName string) error {
	sub, err := arm.ParseID("/subscriptions/" + id)
	if err != nil {
		return err
	}
	return rp.Save(tx, &rp.Resource[Subscription]{ID: sub, State: arm.Succeeded, Properties: Subscription{DisplayName: displayName}})
}

func (p *Provider) tenants(context.Context, *rp.Tx, map[string]string) (any, error) {
	return list(map[string]any{
		"id": "/tenants/" + p.tenant.ID, "tenantId": p.tenant.ID, "displayName": p.tenant.DisplayName,
		"defaultDomain": p.tenant.Domain, "domains": []string{p.tenant.Domain}, "tenantCategory": "Home", "tenantType": "AAD",
	}), nil
}

func (p *Provider) show(r *rp.Resource[Subscription]) map[string]any {
	return map[string]any{
		"id": "/subscriptions/" + r.ID.Name(), "subscriptionId": r.ID.Name(), "tenantId": p.tenant.ID,
		"displayName": r.Properties.DisplayName, "state": "Enabled", "authorizationSource": "RoleBased",
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
		"managedByTenants":     []any{},
	}
}

// subscriptions lists those in which the caller has a role somewhere, as Azure does.
func (p *Provider) subscriptions(ctx context.Context, tx *rp.Tx, _ map[string]string) (any, error) {
	all, err := rp.List[Subscription](tx, SubscriptionType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	held, err := p.roles.Assignments(ctx, append([]string{tx.Caller.ObjectID}, tx.Caller.Groups...))
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, r := range all {
		above := map[string]bool{"/": true, r.ID.Key(): true}
		if p.groups != nil {
			groups, err := p.groups.ManagementGroups(ctx, r.ID.Key())
			if err != nil {
				return nil, err
			}
			for _, g := range groups {
				above[authz.ScopeKey(g)] = true
			}
		}
		for _, a := range held {
			scope := authz.ScopeKey(a.Scope)
			if above[scope] || strings.HasPrefix(scope, r.ID.Key()+"/") {
				value = append(value, p.show(r))
				break
			}
		}
	}
	return list(value...), nil
}

func (p *Provider) subscription(_ context.Context, tx *rp.Tx, path map[string]string) (any, error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[Subscription](tx, id)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, arm.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id.Name())
	}
	if err != nil {
		return nil, err
	}
	return p.show(r), nil
}

func (p *Provider) listLocations(_ context.Context, _ *rp.Tx, path map[string]string) (any, error) {
	value := []any{}
	for _, l := range p.locations {
		value = append(value, l.show(path["subscription"]))
	}
	return list(value...), nil
}

func list(value ...any) map[string]any {
	if value == nil {
		value = []any{}
	}
	return map[string]any{"value": value}
}
