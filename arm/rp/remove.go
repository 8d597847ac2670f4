package rp

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/store"
)

type removingKey struct{}

// Removing returns the resource whose deletion a Release is called for: the one itself, or what encloses it. What
// holds a resource back when it alone is deleted (a job that runs) need not hold back what goes with its parent.
// It is the zero ID in any other context.
func Removing(ctx context.Context) arm.ID {
	id, _ := ctx.Value(removingKey{}).(arm.ID)
	return id
}

// remove deletes rec and all that lies under it, innermost first. Records without a Finalize and without
// unfinished records under them go at once; the others are left Deleting and their Finalize is called after
// the commit. It reports whether anything is left. begin, if given, starts the operation when that is so.
func (tx *Tx) remove(ctx context.Context, d *definition, rec *record, begin func() error) (pending bool, err error) {
	under, err := tx.under(rec.id)
	if err != nil {
		return false, err
	}
	doomed := append(under, owned{d, rec})
	ctx = context.WithValue(ctx, removingKey{}, rec.id)
	for _, o := range doomed {
		if o.rec.State == arm.Deleting {
			continue
		}
		if err := tx.releaseOne(ctx, o); err != nil {
			return false, err
		}
	}
	left := map[string]bool{} // ids that have something unfinished under them
	for _, o := range doomed {
		// Release may have written to resources of this list.
		if o.rec, err = tx.read(o.d, o.rec.id); errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return false, err
		}
		if o.d.finalize == nil && !left[o.rec.id.Key()] {
			if err := tx.erase(ctx, o.d, o.rec); err != nil {
				return false, err
			}
			continue
		}
		for p := o.rec.id.Parent(); !p.IsZero() && p.Within(rec.id); p = p.Parent() {
			left[p.Key()] = true
		}
		pending = true
		if o.rec.id.Key() == rec.id.Key() {
			*rec = *o.rec
			break // the last one; written below, with its operation
		}
		o.rec.State = arm.Deleting
		if err := tx.rewrite(o.rec); err != nil {
			return false, err
		}
		tx.Wake(o.rec.id)
	}
	if !pending {
		return false, nil
	}
	if err := tx.end(rec, arm.Canceled, superseded()); err != nil {
		return false, err
	}
	rec.State, rec.Error = arm.Deleting, nil
	if begin != nil {
		if err := begin(); err != nil {
			return false, err
		}
	}
	tx.Wake(rec.id)
	return true, tx.rewrite(rec)
}

// superseded is what Microsoft.Network answers for an operation that a later one took over.
func superseded() *arm.Error {
	return &arm.Error{
		Status: http.StatusConflict, Code: "Canceled", Message: "Operation was canceled.",
		Details: []*arm.Error{{Code: "CanceledAndSupersededDueToAnotherOperation", Message: "The operation was canceled and superseded by another operation."}},
	}
}

// owned is a record with its type.
type owned struct {
	d   *definition
	rec *record
}

// under returns all resources below id, extensions included, innermost first.
func (tx *Tx) under(id arm.ID) ([]owned, error) {
	var all []owned
	for _, d := range tx.inUse() {
		recs, err := tx.scan(d, id)
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			if rec.id.Key() != id.Key() {
				all = append(all, owned{d, rec})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b owned) int {
		return strings.Count(b.rec.id.Key(), "/") - strings.Count(a.rec.id.Key(), "/")
	})
	return all, nil
}

func (tx *Tx) releaseOne(ctx context.Context, o owned) error {
	if o.d.release != nil {
		res, err := o.d.load(o.rec)
		if err != nil {
			return err
		}
		if err := o.d.release(ctx, tx, res); err != nil {
			return err
		}
	}
	if tx.engine.identities != nil && hasSystem(o.rec.Identity) {
		return tx.engine.identities.Remove(tx.Tx, o.rec.id)
	}
	return nil
}

// erase deletes the document of rec, ends its operation, tells the world and wakes what waited for it.
func (tx *Tx) erase(ctx context.Context, d *definition, rec *record) error {
	if d.erase != nil {
		res, err := d.load(rec)
		if err != nil {
			return err
		}
		if err := d.erase(ctx, tx, res); err != nil {
			return err
		}
	}
	if err := tx.end(rec, arm.Succeeded, nil); err != nil {
		return err
	}
	if err := tx.Delete(storeKind(rec.id.Type()), rec.id.Key(), rec.version); err != nil {
		return err
	}
	if err := tx.counted(rec, -1); err != nil {
		return err
	}
	if err := tx.event("Microsoft.Resources.ResourceDeleteSuccess", rec); err != nil {
		return err
	}
	for p := rec.id.Parent(); !p.IsZero(); p = p.Parent() {
		above, _, err := tx.find(p)
		if arm.AsError(err) != nil {
			continue
		}
		if err != nil {
			return err
		}
		if !above.State.Terminal() { // it is Deleting, or its write waits for embedded children that go
			tx.Wake(p)
		}
		return nil
	}
	return nil
}

// rewrite stores rec with a new ETag.
func (tx *Tx) rewrite(rec *record) error {
	rec.ETag = newETag()
	return rec.write(tx.Tx)
}

// finalize takes a resource that is being deleted one step further.
func (e *Engine) finalize(ctx context.Context, d *definition, rec *record) (time.Duration, error) {
	if scopeType(d) {
		if done, err := e.clear(ctx, d, rec); !done || err != nil {
			return 0, err
		}
	}
	waiting := false
	err := e.View(ctx, func(tx *Tx) error {
		under, err := tx.under(rec.id)
		waiting = len(under) > 0
		return err
	})
	if err != nil || waiting { // the last one to go wakes this one
		return 0, err
	}
	res, err := d.load(rec)
	if err != nil {
		return 0, err
	}
	var result Result
	if d.finalize != nil {
		if result, err = d.finalize(ctx, res); err != nil && arm.AsError(err) == nil {
			return 0, err
		}
	}
	failure := arm.AsError(err)
	return result.After, e.Update(ctx, func(tx *Tx) error {
		cur, err := tx.read(d, rec.id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil:
			return err
		case cur.version != rec.version:
			tx.Wake(rec.id)
			return nil
		case failure != nil:
			return tx.fail(cur, failure)
		case result.After > 0:
			return d.unload(res, cur)
		}
		return tx.erase(ctx, d, cur)
	})
}

// scopeType says that a resource of this type is a container whose deletion is a long job: its resources go
// one by one, in whatever order their uses of each other allow.
func scopeType(d *definition) bool {
	return d.name.Key() == groupKey || d.name.Key() == subscriptionKey
}

// beginClearing starts the deletion of a container: it is Deleting, and nothing can be created in it.
func (tx *Tx) beginClearing(ctx context.Context, d *definition, rec *record, begin func() error) (bool, error) {
	if err := tx.releaseOne(ctx, owned{d, rec}); err != nil {
		return false, err
	}
	if err := tx.end(rec, arm.Canceled, superseded()); err != nil {
		return false, err
	}
	rec.State, rec.Error = arm.Deleting, nil
	if err := begin(); err != nil {
		return false, err
	}
	tx.Wake(rec.id)
	return true, tx.rewrite(rec)
}

// clear deletes what is in a group that is being deleted; done when nothing is left. When no resource can
// go, the deletion has failed and the group is back.
func (e *Engine) clear(ctx context.Context, d *definition, rec *record) (done bool, err error) {
	for {
		var left []owned
		err := e.View(ctx, func(tx *Tx) (err error) {
			left, err = tx.under(rec.id)
			return err
		})
		if err != nil || len(left) == 0 {
			return err == nil, err
		}
		progress, underway := false, false
		var blocked []*arm.Error
		for _, o := range slices.Backward(left) { // outermost first: it takes its children along
			gone, pending, err := e.removeOne(ctx, o)
			if failure := arm.AsError(err); failure != nil {
				failure.Target = o.rec.ID
				blocked = append(blocked, failure)
				continue
			}
			if err != nil {
				return false, err
			}
			progress, underway = progress || gone, underway || pending
		}
		switch {
		case progress:
			continue
		case underway: // the last of them wakes the group
			return false, nil
		case len(blocked) == 0:
			continue
		}
		return false, e.Update(ctx, func(tx *Tx) error {
			cur, err := tx.read(d, rec.id)
			if err != nil {
				return err
			}
			if err := tx.end(cur, arm.Failed, deletionBlocked(rec.id, blocked)); err != nil {
				return err
			}
			cur.State = arm.Succeeded
			return tx.rewrite(cur)
		})
	}
}

// removeOne removes a resource of a group in a transaction of its own.
func (e *Engine) removeOne(ctx context.Context, o owned) (gone, pending bool, err error) {
	err = e.Update(ctx, func(tx *Tx) error {
		gone, pending = false, false
		cur, err := tx.read(o.d, o.rec.id)
		switch {
		case errors.Is(err, store.ErrNotFound): // went with its parent
			return nil
		case err != nil:
			return err
		case cur.State == arm.Deleting:
			pending = true
			return nil
		}
		pending, err = tx.remove(ctx, o.d, cur, nil)
		gone = !pending
		return err
	})
	return gone, pending, err
}

func deletionBlocked(group arm.ID, blocked []*arm.Error) *arm.Error {
	ids := make([]string, len(blocked))
	for i, b := range blocked {
		ids[i] = b.Target
	}
	e := arm.Errorf(http.StatusConflict, "ResourceGroupDeletionBlocked", "Deletion of resource group '%s' failed as resources with identifiers '%s' could not be deleted. The provisioning state of the resource group will be rolled back.", group.Name(), strings.Join(ids, ","))
	e.Details = blocked
	return e
}

// fail ends the operation on rec with an error.
func (tx *Tx) fail(rec *record, failure *arm.Error) error {
	rec.State, rec.Error = arm.Failed, failure
	if err := tx.end(rec, arm.Failed, failure); err != nil {
		return err
	}
	if err := tx.event("Microsoft.Resources.ResourceWriteFailure", rec); err != nil {
		return err
	}
	return tx.rewrite(rec)
}

// logged is the activity entry of something that a request does; the engine's own doings have no caller.
func (tx *Tx) logged(e activity.Entry) error {
	e.ID, e.Time = activity.NewID(), tx.Now
	return tx.append(e)
}
