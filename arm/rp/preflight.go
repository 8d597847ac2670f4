package rp

import (
	"context"
	"errors"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/locks"
	"vauban.dev/store"
)

// Preflight returns the drafts that would be refused by what can be known before any of them is written: by a lock, the
// name, the body and its location, the type's Validate, and the number of resources that there may be. What a write
// meets in other resources (Admit) is not asked: they may come with other drafts. Drafts of what is no stored type are
// skipped. Nothing is written.
func (e *Engine) Preflight(ctx context.Context, drafts []Draft) (refused []Refused, err error) {
	err = e.Update(ctx, func(tx *Tx) error {
		for _, d := range drafts {
			err := tx.preflight(ctx, d)
			if failure := arm.AsError(err); failure != nil {
				refused = append(refused, Refused{d.ID, failure})
				continue
			}
			if err != nil {
				return err
			}
		}
		return errRehearsed // what was counted is undone
	})
	if !errors.Is(err, errRehearsed) {
		return nil, err
	}
	return refused, nil
}

func (tx *Tx) preflight(ctx context.Context, draft Draft) error {
	d, err := tx.engine.definition(draft.ID.Type())
	if err != nil {
		return nil
	}
	if err := CheckLocks(tx, locks.Write, draft.ID); err != nil {
		return err
	}
	b, err := parseBody(d, draft.ID, draft.Body)
	if err != nil {
		return err
	}
	w := &write{tx: tx, d: d, id: draft.ID, version: draft.Version, body: b, header: http.Header{}, rec: &record{ID: draft.ID.String(), id: draft.ID}}
	for _, step := range []func(context.Context) error{w.known, w.locate, w.interpret, w.validate, w.limit} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if w.old != nil {
		return nil
	}
	return tx.counted(w.rec, 1)
}

// known is readOld for a resource whose scope and parent may not be there yet.
func (w *write) known(context.Context) error {
	old, err := w.tx.read(w.d, w.id)
	if errors.Is(err, store.ErrNotFound) {
		return w.d.checkName(w.id)
	}
	if err != nil {
		return err
	}
	w.old, w.id = old, old.id
	w.rec.ID, w.rec.id, w.rec.version, w.rec.SystemData = old.ID, old.id, old.version, old.SystemData
	w.oldRes, err = w.d.load(old)
	return err
}
