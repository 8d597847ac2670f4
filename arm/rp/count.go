package rp

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// countKind are how many resources of a type a subscription has in a location, of the types whose number is limited; by
// type|subscription|location. They change in the transactions of their resources.
const countKind = "resource.count"

// Limiter refuses the creation of a resource that is one too many. It runs after Validate; the
// resource is not counted yet.
type Limiter func(ctx context.Context, tx *Tx, e Envelope) error

// Limit has the creation of resources of these types decided by f, and counts them. Before the engine runs.
func (e *Engine) Limit(f Limiter, types ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range types {
		e.limiters[arm.ParseTypeName(t).Key()] = f
	}
}

func (e *Engine) limiter(t arm.TypeName) Limiter {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.limiters[t.Key()]
}

func countKey(t arm.TypeName, subscription, location string) string {
	return t.Key() + "|" + strings.ToLower(subscription) + "|" + location
}

// Count is how many resources of a limited type the subscription has in the location.
func Count(tx *Tx, typeName, subscription, location string) (int, error) {
	t := arm.ParseTypeName(typeName)
	doc, err := tx.Get(countKind, countKey(t, subscription, normalLocation(location)))
	if errors.Is(err, store.ErrNotFound) {
		return tx.recount(t, subscription, normalLocation(location))
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(doc.Value))
}

// Number is how many resources of a type lie in the scope, in all locations. It looks at each of them.
func Number(tx *Tx, typeName string, scope arm.ID) (n int, err error) {
	prefix := scope.Key() + "/"
	err = tx.Scan(storeKind(arm.ParseTypeName(typeName)), prefix, "", func(store.Doc) bool { n++; return true })
	return n, err
}

// recount reads the resources: there is no count until the first of a type is written.
func (tx *Tx) recount(t arm.TypeName, subscription, location string) (int, error) {
	d, err := tx.engine.definition(t)
	if err != nil {
		return 0, nil // a region without the type
	}
	scope, err := arm.ParseID("/subscriptions/" + subscription)
	if err != nil {
		return 0, err
	}
	recs, err := tx.scan(d, scope)
	n := 0
	for _, rec := range recs {
		if rec.Location == location {
			n++
		}
	}
	return n, err
}

// counted notes that a resource of a limited type came or went, once the store has it so.
func (tx *Tx) counted(rec *record, by int) error {
	t := rec.id.Type()
	if tx.engine.limiter(t) == nil {
		return nil
	}
	key := countKey(t, rec.id.Subscription(), rec.Location)
	doc, err := tx.Get(countKind, key)
	n := 0
	switch {
	case errors.Is(err, store.ErrNotFound):
		n, err = tx.recount(t, rec.id.Subscription(), rec.Location)
	case err == nil:
		n, err = strconv.Atoi(string(doc.Value))
		n += by
	}
	if err != nil {
		return err
	}
	_, err = tx.Put(countKind, key, []byte(strconv.Itoa(n)), store.Any)
	return err
}
