package rp

import (
	"context"
	"encoding/json"
	"errors"

	"vauban.dev/arm"
	"vauban.dev/locks"
	"vauban.dev/store"
)

// lockSet reads the stored locks.
func lockSet(tx *Tx, _ string) (*locks.Set, error) {
	var all []locks.Lock
	var bad error
	err := tx.Scan(StoreKind(locks.Type), "", "", func(doc store.Doc) bool {
		rec, err := parseRecord(doc)
		if err != nil {
			bad = err
			return false
		}
		var p struct {
			Level locks.Level `json:"level"`
		}
		bad = json.Unmarshal(rec.Properties, &p)
		all = append(all, locks.Lock{ID: rec.id, Level: p.Level})
		return bad == nil
	})
	return locks.NewSet(all), errors.Join(err, bad)
}

// CheckLocks refuses what a management lock holds: 409 ScopeLocked. Only requests of clients are asked; what the region
// does by itself is not bound.
func (e *Engine) CheckLocks(ctx context.Context, v locks.Verb, target arm.ID) error {
	set, err := e.locks.Get(ctx, "")
	if err != nil {
		return err
	}
	return set.Check(v, target)
}

// Locks are all of the region's, as a transaction sees them.
func Locks(tx *Tx) (*locks.Set, error) { return lockSet(tx, "") }

// CheckLocks is Engine.CheckLocks in a transaction, for what a provider does to other resources on behalf of its own.
func CheckLocks(tx *Tx, v locks.Verb, targets ...arm.ID) error {
	set, err := lockSet(tx, "")
	if err != nil {
		return err
	}
	for _, target := range targets {
		if err := set.Check(v, target); err != nil {
			return err
		}
	}
	return nil
}
