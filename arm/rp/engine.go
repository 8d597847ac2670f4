package rp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/internal/clock"
	"vauban.dev/locks"
	"vauban.dev/reconcile"
	"vauban.dev/store"
)

const (
	groupKey        = "microsoft.resources/resourcegroups"
	subscriptionKey = "microsoft.resources/subscriptions"
)

// Identities gives resources their managed identities. The methods run in the transaction of the write.
type Identities interface {
	// EnsureSystem returns the service principal of the resource's system-assigned identity, which it
	// makes when there is none. Its name is the resource's.
	EnsureSystem(tx store.Tx, id arm.ID) (principalID, tenantID string, err error)
	// Remove deletes the system-assigned identity of the resource, if it has one.
	Remove(tx store.Tx, id arm.ID) error
	// Resolve returns the ids of a user-assigned identity; *arm.Error when there is none of that id.
	Resolve(tx store.Tx, userAssigned arm.ID) (principalID, clientID string, err error)
}

// Config of an Engine.
type Config struct {
	Store      store.Store
	Clock      clock.Clock
	Log        *slog.Logger // nil: none
	Identities Identities   // nil: a resource that asks for an identity is refused
	// Locations are the regions' names ("westeurope"), first the one where the platform itself is; a location
	// that is not among them is refused.
	Locations []string
	// LocationName is what people call a location ("West Europe"), as providers list it; nil: its name.
	LocationName func(location string) string
	TenantID     string
	Activity     *activity.Log // nil: one without a key
	Workers      int           // reconciles at a time; 0 = 8
}

// Engine serves the registered resource types.
type Engine struct {
	store      store.Store
	clock      clock.Clock
	log        *slog.Logger
	identities Identities
	locations  []string
	display    func(location string) string
	tenant     string
	activity   *activity.Log
	vacancy    vacancy
	queue      *reconcile.Queue
	waiters    waiters
	shown      *Memo[shown]             // answers to GETs
	known      *Memo[subscriptionState] // subscriptions, by lower-case id
	locks      *Memo[*locks.Set]        // all of them, under ""

	mu         sync.RWMutex
	types      map[string]*definition // by lower-case name
	sorted     []*definition          // all of types, in the order of their names
	namespaces map[string]string      // lower-case name to the registered spelling
	routes     router
	operations []Operation        // registered as such
	limiters   map[string]Limiter // by lower-case type
}

// New makes an engine without types. Register adds them; Run works their reconciles.
func New(cfg Config) *Engine {
	e := &Engine{
		store: cfg.Store, clock: cfg.Clock, log: cfg.Log, identities: cfg.Identities, tenant: cfg.TenantID, activity: cfg.Activity, display: cfg.LocationName,
		types: map[string]*definition{}, namespaces: map[string]string{}, limiters: map[string]Limiter{},
	}
	for _, l := range cfg.Locations {
		e.locations = append(e.locations, normalLocation(l))
	}
	if e.clock == nil {
		e.clock = &clock.Region{}
	}
	if e.activity == nil {
		e.activity = activity.NewLog(nil)
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.queue = reconcile.New(reconcile.Config{Do: e.reconcile, Workers: cfg.Workers, Log: e.log})
	e.shown = shownOf(e)
	e.known = NewMemo(e, e.findSubscription)
	e.locks = NewMemo(e, lockSet)
	e.builtin()
	return e
}

// Register adds types and routes. It refuses, naming all that is wrong, a type without a valid name or
// api-version, a type registered twice, an inlined child that is not a registered child type, and a route
// without a permission. Nothing is added when anything is refused.
func (e *Engine) Register(regs ...Registration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var bad []error
	added := map[string]*definition{}
	for _, r := range regs {
		bad = append(bad, r.err)
		for _, d := range r.types {
			if e.types[d.name.Key()] != nil || added[d.name.Key()] != nil {
				bad = append(bad, fmt.Errorf("rp: type %s is registered twice", d.name))
			}
			added[d.name.Key()] = d
		}
		for _, route := range r.routes {
			bad = append(bad, checkRoute(route))
		}
	}
	for _, d := range added {
		for property, child := range d.inline {
			key := strings.ToLower(child)
			if added[key] == nil && e.types[key] == nil || !strings.HasPrefix(key, d.name.Key()+"/") {
				bad = append(bad, fmt.Errorf("rp: type %s: property %s inlines %s, which is not a registered child type", d.name, property, child))
			}
		}
	}
	if err := errors.Join(bad...); err != nil {
		return err
	}
	for key, d := range added {
		e.types[key] = d
		e.namespaces[strings.ToLower(d.name.Namespace)] = d.name.Namespace
	}
	e.sorted = make([]*definition, 0, len(e.types))
	for _, key := range slices.Sorted(maps.Keys(e.types)) {
		e.sorted = append(e.sorted, e.types[key])
	}
	e.vacancy.used.Store(nil)
	for _, r := range regs {
		for _, route := range r.routes {
			e.routes.add(e.public(route))
		}
		e.operations = append(e.operations, r.operations...)
	}
	return nil
}

// Wake has the resource's Reconcile called soon.
func (e *Engine) Wake(id arm.ID) { e.queue.Add(id.Key()) }

// definition returns the type of that name; 404 InvalidResourceNamespace or InvalidResourceType.
func (e *Engine) definition(t arm.TypeName) (*definition, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if d := e.types[t.Key()]; d != nil {
		return d, nil
	}
	if _, known := e.namespaces[strings.ToLower(t.Namespace)]; !known {
		return nil, arm.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", t.Namespace)
	}
	return nil, arm.Errorf(http.StatusNotFound, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s'.", strings.Join(t.Types, "/"), t.Namespace)
}

func (e *Engine) locationName(l string) string {
	if e.display == nil {
		return l
	}
	return e.display(l)
}

// normalLocation is a location as ids and resources spell it: "West Europe" is westeurope.
func normalLocation(l string) string { return strings.ToLower(strings.ReplaceAll(l, " ", "")) }

// Run resumes what a previous process left undone and works reconciles until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.resume(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("rp: resume: %w", err)
	}
	e.queue.Run(ctx)
	return nil
}

// StoreKinds are the document kinds of all types: what follows every resource watches.
func (e *Engine) StoreKinds() []string {
	var all []string
	for _, d := range e.definitions() {
		all = append(all, d.stored)
	}
	return all
}

// definitions returns all types, in the order of their names. The slice is shared.
func (e *Engine) definitions() []*definition {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.sorted
}
