package rp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/store"
)

const (
	maintenance      = "maintenance" // queue key; no resource id, which starts with /
	maintainEvery    = time.Hour
	keepOperations   = 7 * 24 * time.Hour  // as long as Azure answers for an operation
	keepActivity     = 90 * 24 * time.Hour // Azure Monitor's retention of the activity log
	keepEvents       = 24 * time.Hour      // how long Event Grid retries a delivery
	trimmedAtOneTime = 1000
)

// reconcile is the queue's function: it takes one resource a step nearer to its desired state.
func (e *Engine) reconcile(ctx context.Context, key string) (time.Duration, error) {
	if key == maintenance {
		return maintainEvery, e.maintain(ctx)
	}
	if operation, ok := strings.CutPrefix(key, actionPrefix); ok {
		return e.runAction(ctx, operation)
	}
	id, err := arm.ParseID(key)
	if err != nil {
		return 0, nil // a Wake of something that is no resource
	}
	var rec *record
	var d *definition
	err = e.View(ctx, func(tx *Tx) (err error) {
		rec, d, err = tx.find(id)
		return err
	})
	if arm.AsError(err) != nil {
		return 0, nil // gone
	}
	if err != nil {
		return 0, err
	}
	if rec.State == arm.Deleting {
		return e.finalize(ctx, d, rec)
	}
	return e.advance(ctx, d, rec)
}

// advance calls the type's Reconcile and commits what came of it: properties, state, the end of the
// operation, event and activity entry in one transaction. When the resource was written meanwhile, nothing
// is kept of the call and the new desired state is reconciled.
func (e *Engine) advance(ctx context.Context, d *definition, rec *record) (time.Duration, error) {
	res, err := d.load(rec)
	if err != nil {
		return 0, err
	}
	var result Result
	if d.reconcile != nil {
		result, err = d.reconcile(ctx, res)
	}
	failure := arm.AsError(err)
	if err != nil && failure == nil {
		return 0, err
	}
	if failure != nil && rec.State.Terminal() {
		e.log.Warn("reconcile of a provisioned resource was refused", "resource", rec.ID, "code", failure.Code, "err", failure.Message)
	}
	err = e.Update(ctx, func(tx *Tx) error {
		cur, err := tx.read(d, rec.id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if cur.version != rec.version {
			tx.Wake(rec.id)
			return nil
		}
		return tx.settle(d, cur, res, result, failure)
	})
	return result.After, err
}

// settle writes the outcome of a Reconcile into rec.
func (tx *Tx) settle(d *definition, rec *record, res any, result Result, failure *arm.Error) error {
	before, state := rec.fingerprint(), rec.State
	data := rec.SystemData
	if err := d.unload(res, rec); err != nil {
		return err
	}
	rec.State, rec.SystemData = state, data // not the provider's to change here
	done := result.After == 0 || result.Ready
	if failure == nil && done && !state.Terminal() {
		var err error
		if done, failure, err = tx.inlineDone(d, rec); err != nil {
			return err
		}
	}
	switch {
	case state.Terminal():
	case failure != nil:
		if err := tx.fail(rec, failure); err != nil {
			return err
		}
		return tx.wakeEmbedder(rec)
	case done:
		rec.State, rec.Error = arm.Succeeded, nil
		if err := tx.end(rec, arm.Succeeded, nil); err != nil {
			return err
		}
		if err := tx.event("Microsoft.Resources.ResourceWriteSuccess", rec); err != nil {
			return err
		}
		if err := tx.wakeEmbedder(rec); err != nil {
			return err
		}
	}
	if bytes.Equal(before, rec.fingerprint()) {
		return nil
	}
	return tx.rewrite(rec)
}

// inlineDone says whether the embedded children have reached their end states, and the failure of one.
func (tx *Tx) inlineDone(d *definition, rec *record) (bool, *arm.Error, error) {
	for _, child := range d.inline {
		cd, err := tx.engine.definition(arm.ParseTypeName(child))
		if err != nil {
			return false, nil, err
		}
		recs, err := tx.scan(cd, rec.id)
		if err != nil {
			return false, nil, err
		}
		for _, c := range recs {
			if c.State == arm.Failed {
				return true, c.failure(), nil
			}
			if !c.State.Terminal() {
				return false, nil, nil // its end wakes this one
			}
		}
	}
	return true, nil, nil
}

// wakeEmbedder wakes the parent that embeds rec and may wait for it.
func (tx *Tx) wakeEmbedder(rec *record) error {
	parent := rec.id.Parent()
	above, d, err := tx.find(parent)
	if arm.AsError(err) != nil {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range d.inline {
		if strings.EqualFold(child, rec.id.Type().String()) && !above.State.Terminal() {
			tx.Wake(parent)
		}
	}
	return nil
}

// failure is why rec is Failed.
func (rec *record) failure() *arm.Error {
	if rec.Error != nil {
		return rec.Error
	}
	return arm.Errorf(http.StatusConflict, "ResourceDeploymentFailure", "The resource write operation failed to complete successfully, because it reached terminal provisioning state '%s'.", rec.State)
}

// fingerprint is all of rec that a change of must be stored.
func (rec *record) fingerprint() []byte {
	c := *rec
	c.ETag, c.SystemData = "", arm.SystemData{}
	b, err := json.Marshal(&c)
	if err != nil { // Properties that are not JSON: unload makes none
		return nil
	}
	return b
}

// resume queues everything that may need attention after a start: Reconcile is idempotent and what it
// derives (processes, listeners) may be gone.
func (e *Engine) resume(ctx context.Context) error {
	e.queue.Add(maintenance)
	return e.View(ctx, func(tx *Tx) error {
		for _, d := range tx.inUse() {
			err := tx.Scan(d.stored, "", "", func(doc store.Doc) bool {
				var head struct {
					State arm.ProvisioningState `json:"state"`
				}
				err := json.Unmarshal(doc.Value, &head)
				if err != nil || d.reconcile != nil || !head.State.Terminal() {
					e.queue.Add(doc.Key)
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return e.resumeActions(tx)
	})
}

// maintain deletes what has outlived its retention.
func (e *Engine) maintain(ctx context.Context) error {
	now := e.clock.Now()
	if err := e.activity.Trim(ctx, e.store, now.Add(-keepActivity)); err != nil {
		return err
	}
	if err := trimEvents(ctx, e.store, now.Add(-keepEvents)); err != nil {
		return err
	}
	return trimOperations(ctx, e.store, now.Add(-keepOperations))
}

func trimOperations(ctx context.Context, s store.Store, before time.Time) error {
	var old []string
	err := s.View(ctx, func(tx store.Tx) error {
		return tx.Scan(operationKind, "", "", func(doc store.Doc) bool {
			var o operation
			if json.Unmarshal(doc.Value, &o) != nil || o.Status.Terminal() && o.End.Before(before) {
				old = append(old, doc.Key)
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	return deleteAll(ctx, s, operationKind, old)
}

// deleteAll deletes documents in transactions that do not hold up other writers for long.
func deleteAll(ctx context.Context, s store.Store, kind string, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), trimmedAtOneTime)
		err := s.Update(ctx, func(tx store.Tx) error {
			for _, k := range keys[:n] {
				if err := tx.Delete(kind, k, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
