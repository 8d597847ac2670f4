package resources

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// Subscription is what is stored of a subscription; its wire form is flat (Subscriptions REST: Subscription).
type Subscription struct {
	DisplayName string `json:"displayName"`
	// Disabled: it was cancelled. What is in it stays readable and cannot be changed.
	Disabled bool `json:"disabled,omitempty"`
}

// subscriptionVersions are those of Microsoft.Subscription.
var subscriptionVersions = []string{"2019-03-01-preview", "2019-10-01-preview", "2020-09-01", "2021-10-01", "2024-08-01-preview"}

func (p *Provider) subscriptionRoutes() []rp.Route {
	get := func(pattern, permission string, do func(ctx context.Context, tx *rp.Tx, path, query map[string]string) (any, error)) rp.Route {
		return rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: permission, Versions: versions,
			Do: func(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
				return do(ctx, tx, path, query)
			}}
	}
	change := func(verb string, do func(tx *rp.Tx, r *rp.Resource[Subscription], query map[string]string, body []byte) error) rp.Route {
		return rp.Route{Method: http.MethodPost, Pattern: subscriptionPath + "/providers/Microsoft.Subscription/" + verb,
			Permission: "Microsoft.Subscription/" + verb + "/action", Versions: subscriptionVersions,
			Do: func(_ context.Context, tx *rp.Tx, path, query map[string]string, body []byte) (any, error) {
				r, err := find(tx, path)
				if err != nil {
					return nil, err
				}
				if err := do(tx, r, query, body); err != nil {
					return nil, err
				}
				return map[string]any{"subscriptionId": r.ID.Name()}, rp.Save(tx, r)
			}}
	}
	read := SubscriptionType + "/read"
	return []rp.Route{
		get("/tenants", "-", p.tenants),
		get("/subscriptions", "-", p.subscriptions),
		get(subscriptionPath, read, p.subscription),
		get(subscriptionPath+"/locations", read, p.listLocations),
		change("rename", rename),
		change("cancel", cancel),
		change("enable", func(_ *rp.Tx, r *rp.Resource[Subscription], _ map[string]string, _ []byte) error {
			r.Properties.Disabled = false
			return nil
		}),
	}
}

// Ensure makes the subscription when it is not there.
func Ensure(tx *rp.Tx, id, displayName string) error {
	sub, err := arm.ParseID("/subscriptions/" + id)
	if err != nil {
		return err
	}
	_, err = rp.Get[Subscription](tx, sub)
	if e := arm.AsError(err); e == nil || e.Status != http.StatusNotFound {
		return err
	}
	return rp.Save(tx, &rp.Resource[Subscription]{ID: sub, State: arm.Succeeded, Properties: Subscription{DisplayName: displayName}})
}

func (p *Provider) tenants(context.Context, *rp.Tx, map[string]string, map[string]string) (any, error) {
	return list(map[string]any{
		"id": "/tenants/" + p.tenant.ID, "tenantId": p.tenant.ID, "displayName": p.tenant.DisplayName,
		"defaultDomain": p.tenant.Domain, "domains": []string{p.tenant.Domain}, "tenantCategory": "Home", "tenantType": "AAD",
	}), nil
}

func (p *Provider) show(r *rp.Resource[Subscription]) map[string]any {
	state := "Enabled"
	if r.Properties.Disabled {
		state = "Disabled"
	}
	shown := map[string]any{
		"id": "/subscriptions/" + r.ID.Name(), "subscriptionId": r.ID.Name(), "tenantId": p.tenant.ID,
		"displayName": r.Properties.DisplayName, "state": state, "authorizationSource": "RoleBased",
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
		"managedByTenants":     []any{},
	}
	if len(r.Tags) > 0 {
		shown["tags"] = r.Tags
	}
	return shown
}

// subscriptions lists those in which the caller has a role somewhere, as Azure does.
func (p *Provider) subscriptions(ctx context.Context, tx *rp.Tx, _, _ map[string]string) (any, error) {
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
	body := list(value...)
	body["count"] = tagCount{Type: "Total", Value: len(value)}
	return body, nil
}

// find reads the subscription of a route.
func find(tx *rp.Tx, path map[string]string) (*rp.Resource[Subscription], error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[Subscription](tx, id)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, arm.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id.Name())
	}
	return r, err
}

func (p *Provider) subscription(_ context.Context, tx *rp.Tx, path, _ map[string]string) (any, error) {
	r, err := find(tx, path)
	if err != nil {
		return nil, err
	}
	return p.show(r), nil
}

func (p *Provider) listLocations(_ context.Context, _ *rp.Tx, path, query map[string]string) (any, error) {
	value := []any{}
	for _, l := range p.locations {
		value = append(value, l.show(path["subscription"], query["api-version"]))
	}
	return list(value...), nil
}

// rename is POST …/providers/Microsoft.Subscription/rename (Subscription REST: Rename).
func rename(_ *rp.Tx, r *rp.Resource[Subscription], _ map[string]string, body []byte) error {
	var b struct {
		Name string `json:"subscriptionName"`
	}
	if err := json.Unmarshal(body, &b); err != nil || strings.TrimSpace(b.Name) == "" || len([]rune(b.Name)) > 64 {
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "subscriptionName: a name of 1 to 64 characters is expected.")
	}
	r.Properties.DisplayName = b.Name
	return nil
}

// cancel is POST …/providers/Microsoft.Subscription/cancel: refused while the subscription has resources, unless the
// query says IgnoreResourceCheck=true (Subscription REST: Cancel).
func cancel(tx *rp.Tx, r *rp.Resource[Subscription], query map[string]string, _ []byte) error {
	for name, v := range query {
		if strings.EqualFold(name, "IgnoreResourceCheck") && strings.EqualFold(v, "true") {
			r.Properties.Disabled = true
			return nil
		}
	}
	err := rp.EachEnvelope(tx, r.ID, func(e rp.Envelope) error {
		if e.Type == SubscriptionType || e.Type == GroupType {
			return nil
		}
		return arm.Errorf(http.StatusBadRequest, "SubscriptionHasResources", "The subscription '%s' cannot be cancelled: it has resources, such as '%s'. Delete them, or cancel with IgnoreResourceCheck=true.", r.ID.Name(), e.ID)
	})
	r.Properties.Disabled = err == nil
	return err
}

func list(value ...any) map[string]any {
	if value == nil {
		value = []any{}
	}
	return map[string]any{"value": value}
}
