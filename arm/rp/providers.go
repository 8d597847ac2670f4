package rp

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/store"
)

const registrationKind = "registration" // documents of namespaces that a subscription unregistered

// provider is a namespace as "Providers - Get" shows it.
type provider struct {
	ID                 string         `json:"id"`
	Namespace          string         `json:"namespace"`
	RegistrationPolicy string         `json:"registrationPolicy"`
	RegistrationState  string         `json:"registrationState,omitempty"`
	ResourceTypes      []resourceType `json:"resourceTypes"`
}

// resourceType is what clients choose an api-version from.
type resourceType struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"`
	Capabilities string   `json:"capabilities"`
}

// TypeInfo describes a registered type, for listings, policy aliases and documentation.
type TypeInfo struct {
	Name       arm.TypeName
	Kind       Kind
	Versions   []string // newest first
	Permission string   // the type as RBAC actions spell it
	Actions    []string // permissions of its actions
	Calls      []Call
	Inline     map[string]string
	Locations  []string
	Async      bool // writes end in an operation
	NoPut      bool
	NoDelete   bool
	Fields     []Field // properties that the type interprets
}

// Call is an operation as clients make it: of a type's action Pattern is what follows the resource's id, of a route the
// whole path with its "{name}" segments.
type Call struct {
	Method, Pattern, Permission string
	Versions                    []string // none: any
	Reads                       bool     // it changes nothing
}

// Calls returns the operations that are not on a stored resource.
func (e *Engine) Calls() []Call {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]Call, 0, len(e.routes.routes))
	for _, r := range e.routes.routes {
		all = append(all, Call{Method: r.method, Pattern: "/" + strings.Join(r.segments, "/"), Permission: r.permission, Versions: r.versions, Reads: r.reads})
	}
	return all
}

// Describe returns the registered types, ordered by name.
func (e *Engine) Describe() []TypeInfo {
	var all []TypeInfo
	for _, d := range e.definitions() {
		all = append(all, e.info(d))
	}
	return all
}

func (e *Engine) info(d *definition) TypeInfo {
	info := TypeInfo{
		Name: d.name, Kind: d.kind, Versions: slices.Clone(d.versions), Permission: permissionName(d.name),
		Inline: maps.Clone(d.inline), Locations: e.locationsOf(d), Async: e.async(d), NoPut: d.noPut, NoDelete: d.noDelete,
		Fields: d.fields,
	}
	for _, name := range slices.Sorted(maps.Keys(d.actions)) {
		info.Actions = append(info.Actions, d.actions[name].permission)
		info.Calls = append(info.Calls, Call{Method: d.actions[name].method, Pattern: d.actions[name].name, Permission: d.actions[name].permission, Versions: info.Versions})
	}
	return info
}

// describe makes the provider of a namespace, or nil when there is none of that name.
func (e *Engine) describe(namespace, subscription string, registered func(namespace string) bool) *provider {
	var p *provider
	for _, d := range e.definitions() {
		if !strings.EqualFold(d.name.Namespace, namespace) {
			continue
		}
		info := e.info(d)
		if p == nil {
			p = &provider{ID: "/providers/" + info.Name.Namespace, Namespace: info.Name.Namespace, RegistrationPolicy: "RegistrationRequired"}
			if subscription != "" {
				p.ID = "/subscriptions/" + subscription + p.ID
				p.RegistrationState = "Registered"
				if !registered(info.Name.Namespace) {
					p.RegistrationState = "NotRegistered"
				}
			}
		}
		p.ResourceTypes = append(p.ResourceTypes, e.describeType(info))
	}
	return p
}

func (e *Engine) describeType(info TypeInfo) resourceType {
	t := resourceType{ResourceType: strings.Join(info.Name.Types, "/"), Locations: []string{}, APIVersions: info.Versions, Capabilities: "None"}
	if info.Kind == Tracked {
		t.Locations = info.Locations
		t.Capabilities = "SupportsTags, SupportsLocation"
	}
	if info.Kind == Extension {
		t.Capabilities = "SupportsExtension"
	}
	return t
}

// providers is GET [/subscriptions/{subscription}]/providers.
func (e *Engine) providers(ctx context.Context, _ *Request, path map[string]string) (*Response, error) {
	registered, err := e.registrations(ctx, path["subscription"])
	if err != nil {
		return nil, err
	}
	body := page{Value: []any{}}
	for _, namespace := range e.namespaceNames() {
		body.Value = append(body.Value, e.describe(namespace, path["subscription"], registered))
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}

func (e *Engine) namespaceNames() []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Sorted(maps.Values(e.namespaces))
}

// provider is GET [/subscriptions/{subscription}]/providers/{namespace}.
func (e *Engine) provider(ctx context.Context, _ *Request, path map[string]string) (*Response, error) {
	registered, err := e.registrations(ctx, path["subscription"])
	if err != nil {
		return nil, err
	}
	p := e.describe(path["namespace"], path["subscription"], registered)
	if p == nil {
		return nil, arm.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", path["namespace"])
	}
	return &Response{Status: http.StatusOK, Body: p}, nil
}

// setRegistration is POST …/providers/{namespace}/register and /unregister. Namespaces are registered
// unless they were unregistered.
func (e *Engine) setRegistration(register bool) func(context.Context, *Request, map[string]string) (*Response, error) {
	return func(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
		key := registrationKey(path["subscription"], path["namespace"])
		if e.describe(path["namespace"], "", nil) == nil {
			return e.provider(ctx, r, path)
		}
		err := e.Update(ctx, func(tx *Tx) error {
			if !register {
				_, err := tx.Put(registrationKind, key, []byte(`{}`), store.Any)
				return err
			}
			if err := tx.Delete(registrationKind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return e.provider(ctx, r, path)
	}
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
	return arm.Errorf(http.StatusConflict, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace '%s'. See https://aka.ms/rps-not-found for how to register subscriptions.", d.name.Namespace)
}
