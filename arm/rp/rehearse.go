package rp

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/locks"
	"vauban.dev/store"
)

// Removal is a deletion that works, in its place among others.
type Removal struct {
	ID   arm.ID
	Type string // as registered
	// Waited is what refused the deletion until those before it were gone; nil: nothing.
	Waited *arm.Error
	// Async deletions go on after they were accepted.
	Async bool
}

// Obstacle is a deletion that does not work whatever goes before.
type Obstacle struct {
	ID    arm.ID
	Type  string
	Error *arm.Error
}

// errRehearsed undoes a transaction that was a rehearsal.
var errRehearsed = errors.New("rp: rehearsed")

// maxRehearsal bounds how many resources a rehearsal takes.
const maxRehearsal = 2000

// Rehearse finds the order in which first, and then all that is in scope, can be deleted, by deleting it in transactions
// that are undone: the refusals are those of the types themselves. Of a scope that is a resource it goes itself, with what
// is in it. A lock that holds scope refuses it whole, as it does at the door. What a Finalize would meet is not
// rehearsed.
func (e *Engine) Rehearse(ctx context.Context, scope arm.ID, first ...arm.ID) (done []Removal, left []Obstacle, err error) {
	r := &rehearsal{e: e, waited: map[string]*arm.Error{}}
	if err := e.View(ctx, func(tx *Tx) error { return r.list(tx, scope, first) }); err != nil {
		return nil, nil, err
	}
	if err := e.CheckLocks(ctx, locks.Delete, scope); err != nil {
		failure := arm.AsError(err)
		if failure == nil {
			return nil, nil, err
		}
		left = append(left, Obstacle{scope, scope.Type().String(), failure})
	}
	for {
		failed, at, err := r.attempt(ctx)
		if err != nil {
			return nil, nil, err
		}
		if failed == nil {
			break
		}
		key := at.id.Key()
		r.waited[key] = failed
		r.put(at)
	}
	for _, o := range r.stuck {
		left = append(left, Obstacle{o.id, o.d.name.String(), r.waited[o.id.Key()]})
	}
	for _, o := range r.order {
		done = append(done, Removal{ID: o.id, Type: o.d.name.String(), Waited: r.waited[o.id.Key()], Async: o.d.finalize != nil})
	}
	return done, left, nil
}

// doomed is a resource that is to go.
type doomed struct {
	id arm.ID
	d  *definition
}

// rehearsal is what is known of an order while it is looked for.
type rehearsal struct {
	e      *Engine
	order  []doomed // works up to here
	todo   []doomed // not tried since the last success
	stuck  []doomed // refused since the last success
	waited map[string]*arm.Error
}

// list finds what is to go, outermost first.
func (r *rehearsal) list(tx *Tx, scope arm.ID, first []arm.ID) error {
	for _, id := range first {
		_, d, err := tx.find(id)
		if err != nil {
			return err
		}
		r.todo = append(r.todo, doomed{id, d})
	}
	rec, d, err := tx.find(scope)
	if err != nil {
		return err
	}
	if !scopeType(d) {
		r.todo = append(r.todo, doomed{rec.id, d})
		return nil
	}
	under, err := tx.under(rec.id)
	if err != nil {
		return err
	}
	if len(under) > maxRehearsal {
		return arm.Errorf(http.StatusRequestEntityTooLarge, "TooManyResources", "%d resources are in '%s': a rehearsal takes up to %d.", len(under), scope, maxRehearsal)
	}
	for _, o := range slices.Backward(under) {
		r.todo = append(r.todo, doomed{o.rec.id, o.d})
	}
	return nil
}

// put notes that a deletion was refused: it is tried again once another one has worked.
func (r *rehearsal) put(at doomed) {
	r.todo = slices.DeleteFunc(r.todo, func(o doomed) bool { return o.id.Key() == at.id.Key() })
	r.stuck = append(r.stuck, at)
}

// attempt deletes what is known to work, and then what is to be tried, up to the first refusal: what that left behind
// is undone with the rest.
func (r *rehearsal) attempt(ctx context.Context) (failed *arm.Error, at doomed, err error) {
	order, todo, stuck := slices.Clone(r.order), slices.Clone(r.todo), slices.Clone(r.stuck)
	err = r.e.Update(ctx, func(tx *Tx) error {
		for _, o := range order {
			if _, err := tx.forget(ctx, o); err != nil {
				return err
			}
		}
		for len(todo) > 0 {
			o := todo[0]
			gone, err := tx.forget(ctx, o)
			if failure := arm.AsError(err); failure != nil {
				failed, at = failure, o
				return errRehearsed
			}
			if err != nil {
				return err
			}
			todo = todo[1:]
			if gone {
				order = append(order, o)
				todo, stuck = append(todo, stuck...), nil
			}
		}
		return errRehearsed
	})
	if !errors.Is(err, errRehearsed) {
		return nil, doomed{}, err
	}
	r.order, r.todo, r.stuck = order, todo, stuck
	return failed, at, nil
}

// forget removes a resource as if its Finalize were done; gone is false for one that went with its parent.
func (tx *Tx) forget(ctx context.Context, o doomed) (gone bool, err error) {
	rec, err := tx.read(o.d, o.id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	pending, err := tx.remove(ctx, o.d, rec, nil)
	if err != nil || !pending {
		return err == nil, err
	}
	under, err := tx.under(o.id)
	if err != nil {
		return false, err
	}
	for _, x := range append(under, owned{o.d, rec}) {
		cur, err := tx.read(x.d, x.rec.id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = tx.erase(ctx, x.d, cur)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
