package rp

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// describe collects what the engine serves of a namespace; nil for one that it does not have.
func (e *Engine) describe(namespace string) *provider {
	p := &provider{RegistrationPolicy: "RegistrationRequired"}
	if registrationFree(namespace) {
		p.RegistrationPolicy = "RegistrationFree"
	}
	var versions []string
	for _, d := range e.definitions() {
		if strings.EqualFold(d.name.Namespace, namespace) {
			info := e.info(d)
			p.Namespace = info.Name.Namespace
			p.ResourceTypes = append(p.ResourceTypes, e.describeType(info))
			versions = append(versions, info.Versions...)
		}
	}
	for _, c := range e.Calls() {
		if t := calledType(c.Pattern); strings.EqualFold(t.Namespace, namespace) {
			p.Namespace = cmp.Or(p.Namespace, t.Namespace)
			p.add(strings.Join(t.Types, "/"), c.Versions)
			versions = append(versions, c.Versions...)
		}
	}
	if p.Namespace == "" {
		return nil
	}
	known := newest(versions)
	for _, name := range []string{"operations", "locations", "locations/operations", "locations/operationResults"} {
		p.add(name, known)
	}
	for i := range p.ResourceTypes {
		if t := &p.ResourceTypes[i]; len(t.APIVersions) == 0 {
			t.APIVersions = known
		}
	}
	slices.SortStableFunc(p.ResourceTypes, func(a, b resourceType) int {
		return cmp.Or(strings.Count(a.ResourceType, "/")-strings.Count(b.ResourceType, "/"), strings.Compare(strings.ToLower(a.ResourceType), strings.ToLower(b.ResourceType)))
	})
	return p
}

// namespaceNames are the lower-case names of all namespaces, in their order.
func (e *Engine) namespaceNames() []string {
	names := map[string]bool{}
	for _, d := range e.definitions() {
		names[strings.ToLower(d.name.Namespace)] = true
	}
	for _, c := range e.Calls() {
		if t := calledType(c.Pattern); !t.IsZero() {
			names[strings.ToLower(t.Namespace)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// add adds what is called but not stored (checkNameAvailability, locations/usages), or its further versions.
func (p *provider) add(name string, versions []string) {
	for i := range p.ResourceTypes {
		t := &p.ResourceTypes[i]
		if strings.EqualFold(t.ResourceType, name) {
			if t.called {
				t.APIVersions = newest(append(slices.Clone(t.APIVersions), versions...))
			}
			return
		}
	}
	p.ResourceTypes = append(p.ResourceTypes, resourceType{ResourceType: name, Locations: []string{}, APIVersions: newest(versions), called: true})
}

// newest are versions without doubles, the newest first.
func newest(versions []string) []string {
	s := slices.Clone(versions)
	slices.SortFunc(s, func(a, b string) int { return strings.Compare(b, a) })
	return append([]string{}, slices.Compact(s)...)
}

// calledType is the type that a route's pattern names, as providers list it: the words of its path after /providers/, or
// for Resource Manager's own the words of the whole path. Zero for one that is in no namespace of its own.
func calledType(pattern string) arm.TypeName {
	segments := split(pattern)
	from, namespace := 0, "Microsoft.Resources"
	for i, s := range slices.Backward(segments) {
		if strings.EqualFold(s, "providers") && i+1 < len(segments) {
			if wildcard(segments[i+1]) {
				return arm.TypeName{}
			}
			from, namespace = i+2, segments[i+1]
			break
		}
	}
	t := arm.TypeName{Namespace: namespace}
	for i := from; i < len(segments); i++ {
		if !wildcard(segments[i]) {
			t.Types = append(t.Types, segments[i])
		}
	}
	if len(t.Types) == 0 {
		return arm.TypeName{}
	}
	return t
}

// registrationFree are the namespaces that every subscription has without asking.
// https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types
func registrationFree(namespace string) bool {
	switch strings.ToLower(namespace) {
	case "microsoft.resources", "microsoft.authorization", "microsoft.features", "microsoft.subscription":
		return true
	}
	return false
}

func (e *Engine) describeType(info TypeInfo) resourceType {
	t := resourceType{ResourceType: strings.Join(info.Name.Types, "/"), Locations: []string{}, APIVersions: info.Versions, Capabilities: "None"}
	switch {
	case info.Kind == Extension:
		t.Capabilities = "SupportsExtension"
	case info.Kind == Tracked:
		var c []string
		if info.Moves {
			c = append(c, "CrossResourceGroupResourceMove", "CrossSubscriptionResourceMove")
		}
		t.Capabilities = strings.Join(append(c, "SupportsTags", "SupportsLocation"), ", ")
	}
	if info.Kind == Tracked || info.Kind == Proxy && len(info.Name.Types) > 1 {
		for _, l := range info.Locations {
			t.Locations = append(t.Locations, e.locationName(l))
		}
	}
	return t
}

// registration is the state of a namespace in a subscription.
const (
	registered   = "Registered"
	unregistered = "Unregistered"
)

// in is the provider as a subscription shows it; "" is the tenant.
func (p *provider) in(subscription string, isRegistered func(string) bool) *provider {
	shown := *p
	shown.ID = "/providers/" + p.Namespace
	if subscription == "" {
		return &shown
	}
	shown.ID, shown.RegistrationState = "/subscriptions/"+subscription+shown.ID, registered
	if !isRegistered(p.Namespace) {
		shown.RegistrationState = unregistered
	}
	return &shown
}

// Registered reports whether a subscription is registered for a namespace.
func (e *Engine) Registered(ctx context.Context, subscription, namespace string) (bool, error) {
	is, err := e.registrations(ctx, subscription)
	return err == nil && is(namespace), err
}

// providers is GET [/subscriptions/{subscription}]/providers.
func (e *Engine) providers(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	top, after, err := paging(r.Query)
	if err != nil {
		return nil, err
	}
	isRegistered, err := e.registrations(ctx, path["subscription"])
	if err != nil {
		return nil, err
	}
	body := page{Value: []any{}}
	last := ""
	for _, key := range e.namespaceNames() {
		if key <= after {
			continue
		}
		if len(body.Value) == top {
			body.NextLink = next(r, last)
			break
		}
		p := e.describe(key)
		e.expand(p, r)
		body.Value, last = append(body.Value, p.in(path["subscription"], isRegistered)), key
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}

// provider is GET [/subscriptions/{subscription}]/providers/{namespace}.
func (e *Engine) provider(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	isRegistered, err := e.registrations(ctx, path["subscription"])
	if err != nil {
		return nil, err
	}
	p := e.describe(path["namespace"])
	if p == nil {
		return nil, arm.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", path["namespace"])
	}
	e.expand(p, r)
	return &Response{Status: http.StatusOK, Body: p.in(path["subscription"], isRegistered)}, nil
}

// resourceTypes is GET /subscriptions/{subscription}/providers/{namespace}/resourceTypes ("Provider Resource Types - List").
func (e *Engine) resourceTypes(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	res, err := e.provider(ctx, r, path)
	if err != nil {
		return nil, err
	}
	return &Response{Status: http.StatusOK, Body: map[string]any{"value": res.Body.(*provider).ResourceTypes}}, nil
}

// providerPermissions is GET /subscriptions/{subscription}/providers/{namespace}/providerPermissions: applications of
// Microsoft's to which a provider gives rights. No provider of a region acts by another's application.
func (e *Engine) providerPermissions(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	if _, err := e.provider(ctx, r, path); err != nil {
		return nil, err
	}
	return &Response{Status: http.StatusOK, Body: page{Value: []any{}}}, nil
}

// setRegistration is POST …/providers/{namespace}/register and /unregister. Namespaces are registered
// unless they were unregistered.
func (e *Engine) setRegistration(register bool) func(context.Context, *Request, map[string]string) (*Response, error) {
	return func(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
		res, err := e.provider(ctx, r, path)
		if err != nil {
			return nil, err
		}
		p := res.Body.(*provider)
		if !register && p.RegistrationPolicy == "RegistrationFree" {
			return nil, arm.Errorf(http.StatusConflict, "ResourceProviderCannotBeUnregistered", "The resource provider '%s' is registered for every subscription and cannot be unregistered.", p.Namespace)
		}
		err = e.Update(ctx, func(tx *Tx) error { return tx.register(path["subscription"], p.Namespace, register) })
		if err != nil {
			return nil, err
		}
		switch { // the change is under way in the answer, and done in the next
		case register && p.RegistrationState != registered:
			p.RegistrationState = "Registering"
		case !register && p.RegistrationState == registered:
			p.RegistrationState = "Unregistering"
		}
		return res, nil
	}
}

func (tx *Tx) register(subscription, namespace string, register bool) error {
	key := registrationKey(subscription, namespace)
	if register {
		if err := tx.Delete(registrationKind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	}
	scope, err := arm.ParseID("/subscriptions/" + subscription)
	if err != nil {
		return err
	}
	for _, d := range tx.inUse() {
		if !strings.EqualFold(d.name.Namespace, namespace) || d.kind != Tracked {
			continue
		}
		recs, err := tx.scan(d, scope)
		if err != nil {
			return err
		}
		if len(recs) > 0 {
			return arm.Errorf(http.StatusConflict, "ResourceProviderHasResources", "The resource provider '%s' cannot be unregistered: the subscription has resources of it, such as '%s'. Delete them first.", namespace, recs[0].ID)
		}
	}
	_, err = tx.Put(registrationKind, key, []byte(`{}`), store.Any)
	return err
}

func registrationKey(subscription, namespace string) string {
	return strings.ToLower(subscription + "/" + namespace)
}

// registrations returns whether a namespace is registered in the subscription.
func (e *Engine) registrations(ctx context.Context, subscription string) (func(string) bool, error) {
	not := map[string]bool{}
	err := e.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(registrationKind, strings.ToLower(subscription)+"/", "", func(d store.Doc) bool {
			not[d.Key] = true
			return true
		})
	})
	return func(namespace string) bool { return !not[registrationKey(subscription, namespace)] }, err
}

// registered refuses writes of a namespace that the subscription unregistered.
func (tx *Tx) registered(id arm.ID, d *definition) error {
	if id.Subscription() == "" {
		return nil
	}
	_, err := tx.Get(registrationKind, registrationKey(id.Subscription(), d.name.Namespace))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	const why = "The subscription is not registered to use namespace '%s'. See https://aka.ms/rps-not-found for how to register subscriptions."
	e := arm.Errorf(http.StatusConflict, "MissingSubscriptionRegistration", why, d.name.Namespace)
	e.Details = []*arm.Error{{Code: e.Code, Target: d.name.Namespace, Message: e.Message}} // clients read the namespace there
	return e
}
