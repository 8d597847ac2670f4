package deployments

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
	"vauban.dev/authz"
)

// plan reads a template for a request and checks all that can be known before: the scope, the types and api-versions
// of its resources, and what the caller may write.
func (p *Provider) plan(ctx context.Context, q *request, s session) (*template.Deployment, error) {
	h := host{p, s}
	scope := q.id.Scope()
	if scope.ResourceGroup() != "" {
		if _, err := h.Facts(ctx, "resourceGroup", scope.String()); err != nil {
			return nil, err
		}
	}
	d, err := template.Read(ctx, h, p.source(q))
	if err != nil {
		return nil, err
	}
	if err := p.resolve(ctx, d); err != nil {
		return nil, err
	}
	return d, p.authorize(ctx, d, s)
}

// checked is plan and preflight: all that refuses a deployment before it begins.
func (p *Provider) checked(ctx context.Context, q *request, s session) (*template.Deployment, error) {
	d, err := p.plan(ctx, q, s)
	if err != nil {
		return nil, err
	}
	return d, p.preflight(ctx, d, s)
}

// deployed are the resources that the deployment writes.
func deployed(d *template.Deployment) []*template.Resource {
	var all []*template.Resource
	for _, r := range d.Resources {
		if r.Condition && !r.Existing {
			all = append(all, r)
		}
	}
	return all
}

// absent are types of this namespace that the region does not have, with what they are.
var absent = map[string]string{"microsoft.resources/deploymentstacks": "deployment stacks"}

// resolve refuses types and api-versions that the region does not have.
func (p *Provider) resolve(ctx context.Context, d *template.Deployment) error {
	own := strings.ToLower(prefix(arm.MustParseID(d.Source.Scope.ID)) + d.Source.Name)
	for _, r := range deployed(d) {
		if strings.ToLower(r.ID) == own {
			return arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: 'The nested deployment '%s' has the name and the scope of the deployment in which it stands.'.", r.Name)
		}
		if what := absent[lower(r.Type)]; what != "" {
			return arm.NotImplemented("The template resource '%s' of type '%s': %s are not implemented.", r.Name, r.Type, what)
		}
		_, err := p.engine.Resolve(ctx, http.MethodPut, r.ID, r.Version)
		e := arm.AsError(err)
		if e != nil && e.Code == "SubscriptionNotFound" && !strings.EqualFold(d.Source.Scope.ID, "/subscriptions/"+d.Source.Scope.Subscription) {
			continue // told when it is deployed
		}
		if e != nil {
			refusal := *e
			refusal.Status = http.StatusBadRequest
			refusal.Target = r.ID
			return &refusal
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// allowed says whether the caller may do action on scope, and why not.
func (p *Provider) allowed(ctx context.Context, who authz.Principal, action string, scope arm.ID) (bool, string, error) {
	if p.cfg.Authorizer == nil {
		return false, "The permission cannot be checked.", nil
	}
	d, err := p.cfg.Authorizer.Check(ctx, who, authz.Request{Action: action, Scope: scope.String()})
	return d.Allowed, d.By, err
}

// unasked are types of which the role to create is asked for elsewhere than at the resource.
var unasked = []string{"microsoft.management/managementgroups", "microsoft.subscription/aliases"}

// authorize refuses before anything is written what the caller may not write.
func (p *Provider) authorize(ctx context.Context, d *template.Deployment, s session) error {
	var refused []string
	for _, r := range deployed(d) {
		id, err := arm.ParseID(r.ID)
		if err != nil {
			return err
		}
		if slices.Contains(unasked, id.Type().Key()) {
			continue
		}
		action := permission(id.Type()) + "/write"
		ok, why, err := p.allowed(ctx, s.caller, action, id)
		if err != nil {
			return err
		}
		if !ok {
			refused = append(refused, fmt.Sprintf("Authorization failed for template resource '%s' of type '%s'. The client '%s' with object id '%s' does not have permission to perform action '%s' at scope '%s'. %s", r.Name, r.Type, s.caller.Name, s.caller.ObjectID, action, r.ID, why))
		}
	}
	switch len(refused) {
	case 0:
		return nil
	case 1:
		return arm.Errorf(http.StatusForbidden, "InvalidTemplateDeployment", "The template deployment failed with error: '%s'.", refused[0])
	}
	return arm.Errorf(http.StatusForbidden, "InvalidTemplateDeployment", "Deployment failed with multiple errors: '%s'", strings.Join(refused, ":"))
}

// permission is the name of a type in actions: resource groups are spelled as subscriptions' children there.
func permission(t arm.TypeName) string {
	if t.Key() == "microsoft.resources/resourcegroups" {
		return "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return t.String()
}

// recordOf is the record of a deployment that has been read.
func (p *Provider) recordOf(q *request, d *template.Deployment, s session) (*record, *content, error) {
	now := p.cfg.Clock.Now()
	r := &record{
		ID: q.id.String(), Location: q.location, Tags: q.tags, Mode: q.mode, State: accepted, Start: now, Changed: now, CorrelationID: s.correlation,
		Hash: template.Hash(q.template), OnError: q.onError, Caller: s.caller, Base: s.base, Address: s.address,
	}
	c := &content{Secrets: d.Secrets()}
	for _, m := range []struct {
		to *json.RawMessage
		v  *expr.Object
	}{
		{&r.TemplateLink, q.link}, {&r.ParametersLink, q.paramsLink}, {&r.Parameters, d.Shown()}, {&c.Template, q.template}, {&c.Parameters, d.Parameters()}, {&c.Sent, d.Sent()},
	} {
		if m.v == nil {
			continue
		}
		b, err := expr.Encode(m.v, 2*maxTemplate)
		if err != nil {
			return nil, nil, arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: 'The template or its parameters have more than 4 MB after evaluation.'.")
		}
		*m.to = b
	}
	var err error
	if r.Providers, err = json.Marshal(providersOf(d)); err != nil {
		return nil, nil, err
	}
	r.Dependencies, err = json.Marshal(dependenciesOf(d))
	return r, c, err
}

type resourceTypeShown struct {
	Type      string    `json:"resourceType"`
	Locations []*string `json:"locations"`
}

type providerShown struct {
	Namespace string               `json:"namespace"`
	Types     []*resourceTypeShown `json:"resourceTypes"`
}

// providersOf are the namespaces and types of a deployment, with the locations of their resources.
func providersOf(d *template.Deployment) []*providerShown {
	all := []*providerShown{}
	for _, r := range deployed(d) {
		namespace, typ, _ := strings.Cut(r.Type, "/")
		i := slices.IndexFunc(all, func(p *providerShown) bool { return strings.EqualFold(p.Namespace, namespace) })
		if i < 0 {
			i = len(all)
			all = append(all, &providerShown{Namespace: namespace})
		}
		p := all[i]
		j := slices.IndexFunc(p.Types, func(t *resourceTypeShown) bool { return strings.EqualFold(t.Type, typ) })
		if j < 0 {
			j = len(p.Types)
			p.Types = append(p.Types, &resourceTypeShown{Type: typ})
		}
		var at *string
		if l := strings.ToLower(strings.ReplaceAll(r.Location, " ", "")); l != "" {
			at = &l
		}
		if !slices.ContainsFunc(p.Types[j].Locations, func(l *string) bool { return (l == nil) == (at == nil) && (l == nil || *l == *at) }) {
			p.Types[j].Locations = append(p.Types[j].Locations, at)
		}
	}
	return all
}

type resourceShown struct {
	ID   string `json:"id"`
	Type string `json:"resourceType"`
	Name string `json:"resourceName"`
}

type dependencyShown struct {
	DependsOn []resourceShown `json:"dependsOn"`
	resourceShown
}

func shownResource(r *template.Resource) resourceShown {
	return resourceShown{ID: r.ID, Type: r.Type, Name: r.Name}
}

func dependenciesOf(d *template.Deployment) []dependencyShown {
	all := []dependencyShown{}
	for _, r := range deployed(d) {
		if len(r.DependsOn) == 0 {
			continue
		}
		x := dependencyShown{resourceShown: shownResource(r), DependsOn: []resourceShown{}}
		for _, on := range r.DependsOn {
			if on.Condition && !on.Existing {
				x.DependsOn = append(x.DependsOn, shownResource(on))
			}
		}
		if len(x.DependsOn) > 0 {
			all = append(all, x)
		}
	}
	return all
}

// activeError is the refusal of a change of a deployment under way.
func activeError(r *record) *arm.Error {
	return arm.Errorf(http.StatusConflict, "DeploymentActive", "Unable to edit or replace deployment '%s': previous deployment from '%s' is still active (expiration time is '%s'). Please see https://aka.ms/arm-deploy for usage details.", r.name(), azureTime(r.Start), azureTime(expires(r)))
}

// begin stores a new deployment, in place of an earlier one of its name, which must have ended. created is false when
// there was one.
func (p *Provider) begin(ctx context.Context, r *record, c *content) (created bool, err error) {
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		old, err := read[record](tx, recordKind, r.key())
		created = err != nil
		switch {
		case err == nil && old.active():
			return activeError(old)
		case err == nil:
			r.ID = old.ID
			if err := erase(tx, old.key()); err != nil {
				return err
			}
		}
		if scope := r.scope(); scope.ResourceGroup() != "" {
			if err := standing(tx, scope); err != nil {
				return err
			}
		}
		if err := trim(tx, r.scope()); err != nil {
			return err
		}
		if err := put(tx, contentKind, r.key(), c); err != nil {
			return err
		}
		return put(tx, recordKind, r.key(), r)
	})
	return created, err
}
