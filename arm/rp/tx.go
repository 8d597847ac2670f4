package rp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// Get returns a resource of any registered type. A resource that does not exist is arm.NotFound (404);
// a T that is not the type's own is an error of the program.
func Get[T any](tx *Tx, id arm.ID) (*Resource[T], error) {
	rec, d, err := tx.find(id)
	if err != nil {
		return nil, err
	}
	return cast[T](d, rec)
}

// List returns the resources of the type that are scope or lie under it, ordered by lower-case id.
// Resources whose deletion is under way are among them, with State Deleting.
func List[T any](tx *Tx, typeName string, scope arm.ID) ([]*Resource[T], error) {
	d, err := tx.engine.definition(arm.ParseTypeName(typeName))
	if err != nil {
		return nil, err
	}
	recs, err := tx.scan(d, scope)
	if err != nil {
		return nil, err
	}
	list := make([]*Resource[T], 0, len(recs))
	for _, rec := range recs {
		r, err := cast[T](d, rec)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// Save writes a resource as the system does, past validation and admission: it creates r.ID or replaces
// what T and the envelope say of it, keeps the members that T does not interpret, and has Reconcile called
// after the commit. r.ETag and r.SystemData are set. A new resource without a State is Creating when its
// type reconciles and Succeeded when not. Saving what is stored already changes nothing. An r that was read
// in another transaction and is no longer what is stored is refused (store.ErrConflict).
func Save[T any](tx *Tx, r *Resource[T]) error {
	d, err := tx.engine.definition(r.ID.Type())
	if err != nil {
		return err
	}
	rec, err := tx.read(d, r.ID)
	switch {
	case err == nil && r.ETag != "" && r.ETag != rec.ETag:
		return fmt.Errorf("rp: save %s: it was changed since it was read: %w", r.ID, store.ErrConflict)
	case err == nil:
	case errors.Is(err, store.ErrNotFound):
		rec = &record{ID: r.ID.String(), id: r.ID}
		if r.State == "" {
			r.State = arm.Succeeded
			if d.reconcile != nil && d.stateProperty != "-" {
				r.State = arm.Creating
			}
		}
	default:
		return err
	}
	changed, err := tx.save(d, rec, r)
	if err != nil {
		return err
	}
	r.ETag, r.SystemData = rec.ETag, rec.SystemData
	if changed && d.reconcile != nil {
		tx.Wake(r.ID)
	}
	return nil
}

// save moves res into rec and writes it when that changed anything.
func (tx *Tx) save(d *definition, rec *record, res any) (changed bool, err error) {
	before := rec.fingerprint()
	if err := d.unload(res, rec); err != nil {
		return false, err
	}
	if rec.version != store.None && bytes.Equal(before, rec.fingerprint()) {
		return false, nil
	}
	rec.ETag = newETag()
	rec.touch(tx)
	return true, rec.write(tx)
}

// Remove deletes a resource and everything under it as the system does: Release is called for each,
// innermost first, and Finalize after the commit. A resource that does not exist is no error.
func Remove(tx *Tx, id arm.ID) error {
	rec, d, err := tx.find(id)
	if e := arm.AsError(err); e != nil && e.Status == 404 {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = tx.remove(context.Background(), d, rec, nil)
	return err
}

// Exists answers nil for a resource or scope that is there or that this engine does not keep, else Azure's 404 for it.
func Exists(tx *Tx, id arm.ID) error { return tx.listable(id) }

// Wake has the resource's Reconcile called once the transaction is committed.
func (tx *Tx) Wake(id arm.ID) { tx.wake = append(tx.wake, id.Key()) }

// find reads the resource id and its type.
func (tx *Tx) find(id arm.ID) (*record, *definition, error) {
	d, err := tx.engine.definition(id.Type())
	if err != nil {
		return nil, nil, err
	}
	rec, err := tx.read(d, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, arm.NotFound(id)
	}
	return rec, d, err
}

// read returns the record, or store.ErrNotFound.
func (tx *Tx) read(d *definition, id arm.ID) (*record, error) {
	doc, err := tx.Get(d.stored, id.Key())
	if err != nil {
		return nil, err
	}
	return parseRecord(doc)
}

// scan returns the records of a type that are scope or lie under it.
func (tx *Tx) scan(d *definition, scope arm.ID) ([]*record, error) {
	prefix := scope.Key()
	if prefix == "/" {
		prefix = ""
	}
	if tx.vacant(d.stored) {
		return nil, nil
	}
	var recs []*record
	var bad error
	err := tx.Scan(d.stored, prefix, "", func(doc store.Doc) bool {
		if rest := doc.Key[len(prefix):]; rest != "" && rest[0] != '/' {
			return true // /…/vnet10 has the prefix /…/vnet1 and does not lie under it
		}
		rec, err := parseRecord(doc)
		if err != nil {
			bad = err
			return false
		}
		recs = append(recs, rec)
		return true
	})
	return recs, errors.Join(err, bad)
}

func cast[T any](d *definition, rec *record) (*Resource[T], error) {
	res, err := d.load(rec)
	if err != nil {
		return nil, err
	}
	r, ok := res.(*Resource[T])
	if !ok {
		return nil, fmt.Errorf("rp: %s is not registered with the type that was asked for, %T", d.name, *new(T))
	}
	return r, nil
}

// View runs f on a snapshot. The caller is the one that ctx carries.
func (e *Engine) View(ctx context.Context, f func(*Tx) error) error {
	return e.store.View(ctx, func(s store.Tx) error { return f(e.tx(ctx, s)) })
}

// Update runs f and commits. Like store.Store.Update, f must not block and must not call the engine.
func (e *Engine) Update(ctx context.Context, f func(*Tx) error) error {
	var tx *Tx
	err := e.store.Update(ctx, func(s store.Tx) error {
		tx = e.tx(ctx, s)
		return f(tx)
	})
	if err != nil {
		return err
	}
	e.committed(tx)
	return nil
}

// In is a transaction of the store as one of the engine, for those who have the store's only: to read resources and to Record.
// What is saved in it is not reconciled.
func (e *Engine) In(ctx context.Context, s store.Tx) *Tx { return e.tx(ctx, s) }

func (e *Engine) tx(ctx context.Context, s store.Tx) *Tx {
	caller, _ := authz.FromContext(ctx)
	return &Tx{Tx: s, Now: e.clock.Now(), Caller: caller, engine: e}
}

// committed does what waits for the commit of tx.
func (e *Engine) committed(tx *Tx) {
	slices.Sort(tx.wake)
	for _, key := range slices.Compact(tx.wake) {
		e.queue.Add(key)
	}
	for _, id := range tx.ended {
		e.waiters.end(id)
	}
}

// Warn has the answer to the client's write say something that it did not ask for and ought to know.
func (tx *Tx) Warn(format string, args ...any) {
	tx.warnings = append(tx.warnings, fmt.Sprintf(format, args...))
}
