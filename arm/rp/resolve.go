package rp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// Resolve finds the operation that a request is for. path is normalised and unescaped. Errors are Azure's:
// 400 MissingApiVersionParameter, InvalidApiVersionParameter and NoRegisteredProviderFound, 404
// InvalidResourceNamespace, InvalidResourceType and SubscriptionNotFound, 405 MethodNotAllowed.
func (e *Engine) Resolve(ctx context.Context, method, path, version string) (*Target, error) {
	t, versions, err := e.target(method, path)
	if err != nil {
		return nil, err
	}
	if version == "" {
		return nil, arm.Errorf(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	t.Version = strings.ToLower(version)
	if !versionPattern.MatchString(t.Version) || len(versions) > 0 && !slices.Contains(versions, t.Version) {
		return nil, e.badVersion(t, version, versions)
	}
	creates := method == http.MethodPut && t.ID.Type().Key() == subscriptionKey
	if s := t.ID.Subscription(); s != "" && !creates {
		if err := e.subscriptionExists(ctx, s); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// target finds the operation; versions are those it knows, none means that it takes any.
func (e *Engine) target(method, path string) (t *Target, versions []string, err error) {
	if r, values := e.route(method, path); r != nil {
		scope := e.scopeOf(path)
		t := &Target{ID: scope, Permission: fill(r.permission, values), Scope: scope, Write: !r.reads, Lenient: r.lenient, typ: typeIn(path)}
		if id, err := arm.ParseID(path); r.own && err == nil {
			t.ID = id
		}
		t.serve = func(ctx context.Context, t *Target, req *Request) (*Response, error) {
			if r.links != nil {
				links, err := r.links(ctx, values, req.Body)
				if err != nil {
					return nil, err
				}
				if err := checkAll(ctx, t, req, links); err != nil {
					return nil, err
				}
			}
			return r.serve(ctx, req, values)
		}
		return t, r.versions, nil
	}
	if method == http.MethodPost {
		return e.actionTarget(method, path)
	}
	if id, err := arm.ParseID(path); err == nil && !id.Type().IsZero() {
		d, err := e.definition(id.Type())
		if err != nil {
			return nil, nil, e.unknown(method, path, err)
		}
		return e.verb(method, d, id)
	}
	parent, typ, err := arm.ParseCollection(path)
	if err != nil {
		return nil, nil, e.unknown(method, path, notFound(path))
	}
	d, err := e.definition(typ)
	if err != nil { // not a type: then perhaps an action that is a GET (privateLinkResources)
		return e.actionTargetOr(method, path, e.unknown(method, path, err))
	}
	if method != http.MethodGet {
		return e.actionTargetOr(method, path, methodNotAllowed(method, typ))
	}
	return e.listTarget(d, parent), d.versions, nil
}

// route looks a route up; a HEAD is answered by the GET route.
func (e *Engine) route(method, path string) (*route, map[string]string) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return e.routes.match(method, path)
}

// unknown gives a chance to actions that are not a POST before it answers failure.
func (e *Engine) unknown(method, path string, failure error) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, m := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete} {
		if r, _ := e.routes.match(m, path); r != nil {
			return methodNotAllowed(method, arm.TypeName{})
		}
	}
	return failure
}

// verb makes the target of a request on a resource.
func (e *Engine) verb(method string, d *definition, id arm.ID) (*Target, []string, error) {
	t := &Target{ID: id, Scope: id, Logged: true, definition: d}
	right := permissionName(d.name)
	switch method {
	case http.MethodGet:
		t.Permission, t.serve = right+"/read", e.get(d)
	case http.MethodHead:
		t.Permission, t.serve = right+"/read", e.head(d)
	case http.MethodPut:
		t.Permission, t.Write, t.serve = right+"/write", true, e.put(d)
		if d.createScope != nil {
			t.roleScope = e.createScope(d, id)
		}
	case http.MethodPatch:
		t.Permission, t.Write, t.serve = right+"/write", true, e.patch(d)
	case http.MethodDelete:
		t.Permission, t.Write, t.serve = right+"/delete", true, e.delete(d)
	default:
		return nil, nil, methodNotAllowed(method, d.name)
	}
	if d.noPut && (method == http.MethodPut || method == http.MethodPatch) || d.noDelete && method == http.MethodDelete {
		return nil, nil, methodNotAllowed(method, d.name)
	}
	if d.attributes != nil && t.Write {
		t.attributes = func(ctx context.Context, body []byte) (all map[authz.Attribute][]string, err error) {
			err = e.View(ctx, func(tx *Tx) error {
				all, err = d.attributes(tx, method, id, body)
				return err
			})
			return all, err
		}
	}
	return t, d.versions, nil
}

// createScope looks up where the role for a PUT on id is checked, of a type that has an answer of its own.
func (e *Engine) createScope(d *definition, id arm.ID) func(context.Context, []byte) (arm.ID, error) {
	return func(ctx context.Context, body []byte) (scope arm.ID, err error) {
		err = e.View(ctx, func(tx *Tx) error {
			if _, err := tx.read(d, id); !errors.Is(err, store.ErrNotFound) {
				scope = id
				return err
			}
			scope, err = d.createScope(tx, id, body)
			return err
		})
		return scope, err
	}
}

// actionTarget is POST {id}/{action}.
func (e *Engine) actionTarget(method, path string) (*Target, []string, error) {
	return e.actionTargetOr(method, path, nil)
}

func (e *Engine) actionTargetOr(method, path string, otherwise error) (*Target, []string, error) {
	cut := strings.LastIndexByte(path, '/')
	id, err := arm.ParseID(path[:max(cut, 0)])
	if err != nil || id.Type().IsZero() {
		if otherwise == nil {
			otherwise = e.unknown(method, path, notFound(path))
			if id, err := arm.ParseID(path); err == nil && !id.Type().IsZero() {
				if _, err := e.definition(id.Type()); err != nil {
					otherwise = err
				} else {
					otherwise = methodNotAllowed(method, id.Type())
				}
			}
		}
		return nil, nil, otherwise
	}
	d, err := e.definition(id.Type())
	if err != nil {
		return nil, nil, err
	}
	a := d.action(path[cut+1:])
	if a == nil || a.method != method {
		if otherwise == nil {
			otherwise = notFound(path)
		}
		return nil, nil, otherwise
	}
	return &Target{ID: id, Scope: id, Permission: a.permission, Write: method != http.MethodGet, Logged: true, serve: e.act(d, a)}, d.versions, nil
}

func (e *Engine) listTarget(d *definition, parent arm.ID) *Target {
	t := &Target{ID: parent, Scope: parent, Permission: permissionName(d.name) + "/read", typ: d.name}
	if perCaller(d) {
		t.Permission = "-"
	}
	t.serve = e.list(d)
	return t
}

func notFound(path string) *arm.Error {
	if len(path) > 512 {
		path = path[:512] + "…"
	}
	return arm.Errorf(http.StatusNotFound, "NotFound", "No operation matches the request URI '%s'.", path)
}

func methodNotAllowed(method string, t arm.TypeName) *arm.Error {
	if t.IsZero() {
		return arm.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", method)
	}
	return arm.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource of type '%s' does not support http method '%s'.", t, method)
}

// badVersion is Azure's refusal of an api-version: Resource Manager's own types have another one than those
// of resource providers.
func (e *Engine) badVersion(t *Target, version string, known []string) *arm.Error {
	typ := t.typ
	if typ.IsZero() {
		typ = t.ID.Type()
	}
	if len(known) == 0 || !versionPattern.MatchString(strings.ToLower(version)) || strings.EqualFold(typ.Namespace, "Microsoft.Resources") {
		return arm.Errorf(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported versions are '%s'.", version, strings.Join(known, ","))
	}
	return arm.Errorf(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for location '*' and API version '%s' for type '%s'. The supported api-versions are '%s'. The supported locations are '%s'.",
		version, strings.Join(typ.Types, "/"), strings.Join(known, ", "), strings.Join(e.locations, ", "))
}

// subscriptionExists answers 404 for an unknown subscription, as Azure does before it looks at roles.
func (e *Engine) subscriptionExists(ctx context.Context, subscription string) error {
	if _, err := e.definition(arm.ParseTypeName(subscriptionKey)); err != nil {
		return nil // a region without subscriptions of its own, in tests of a provider
	}
	_, err := e.known.Get(ctx, strings.ToLower(subscription))
	if errors.Is(err, store.ErrNotFound) {
		return arm.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", subscription)
	}
	return err
}

// subscriptionState is what every request asks of its subscription.
type subscriptionState struct{ disabled bool }

func (e *Engine) findSubscription(tx *Tx, subscription string) (state subscriptionState, err error) {
	doc, err := tx.Tx.Get(storeKind(arm.ParseTypeName(subscriptionKey)), "/subscriptions/"+subscription)
	if err != nil {
		return state, err
	}
	rec, err := parseRecord(doc)
	if err != nil {
		return state, err
	}
	var p struct {
		Disabled bool `json:"disabled"`
	}
	err = json.Unmarshal(rec.Properties, &p)
	return subscriptionState{disabled: p.Disabled}, err
}

// CheckEnabled refuses a write in a subscription that was cancelled: 409 ReadOnlyDisabledSubscription. What enables it
// again is let through.
func (e *Engine) CheckEnabled(ctx context.Context, t *Target) error {
	s := t.ID.Subscription()
	if s == "" || !t.Write || strings.EqualFold(t.typ.Namespace, "Microsoft.Subscription") {
		return nil
	}
	state, err := e.known.Get(ctx, strings.ToLower(s))
	if errors.Is(err, store.ErrNotFound) {
		return nil // it is about to be made
	}
	if err != nil || !state.disabled {
		return err
	}
	return arm.Errorf(http.StatusConflict, "ReadOnlyDisabledSubscription", "The subscription '%s' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled.", s)
}

// typeIn is the type that a path names after its last /providers/, whether or not a name follows it.
func typeIn(path string) arm.TypeName {
	segments := split(path)
	for i, s := range slices.Backward(segments) {
		if !strings.EqualFold(s, "providers") || i+2 >= len(segments) {
			continue
		}
		t := arm.TypeName{Namespace: segments[i+1]}
		for j := i + 2; j < len(segments); j += 2 {
			t.Types = append(t.Types, segments[j])
		}
		return t
	}
	return arm.TypeName{}
}

// fill puts the values of a route's segments into its permission ("{namespace}/register/action").
func fill(permission string, values map[string]string) string {
	for name, v := range values {
		permission = strings.ReplaceAll(permission, "{"+name+"}", v)
	}
	return permission
}
