package rp

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/locks"
)

// Draft is a resource that would be written.
type Draft struct {
	ID      arm.ID
	Version string // api-version
	Body    []byte // JSON
}

// Refused is a Draft that would be refused whatever else is written.
type Refused struct {
	ID    arm.ID
	Error *arm.Error
}

// RehearseWrites writes drafts in transactions that are undone, and returns those that are refused: by their types, by
// what is there, by a lock. One that needs others is tried again once these are there, so that any order will do. Roles
// and policies are the door's and are not asked; what Reconcile would meet is not rehearsed. Drafts of what is no stored
// type are skipped.
func (e *Engine) RehearseWrites(ctx context.Context, drafts []Draft) ([]Refused, error) {
	if len(drafts) > maxRehearsal {
		return nil, arm.Errorf(http.StatusRequestEntityTooLarge, "TooManyResources", "%d resources are more than the %d that a rehearsal takes.", len(drafts), maxRehearsal)
	}
	refused := map[string]*arm.Error{}
	order, todo, stuck := []Draft{}, slices.Clone(drafts), []Draft{}
	for {
		var failed *Draft
		var failure *arm.Error
		err := e.Update(ctx, func(tx *Tx) error {
			for _, d := range order {
				if err := tx.draft(ctx, d); err != nil {
					return err
				}
			}
			for len(todo) > 0 {
				d := todo[0]
				err := tx.draft(ctx, d)
				if failure = arm.AsError(err); failure != nil {
					failed = &d
					return errRehearsed
				}
				if err != nil {
					return err
				}
				order = append(order, d)
				todo, stuck = append(todo[1:], stuck...), nil
			}
			return errRehearsed
		})
		if !errors.Is(err, errRehearsed) {
			return nil, err
		}
		if failed == nil {
			break
		}
		refused[failed.ID.Key()] = failure
		todo, stuck = todo[1:], append(stuck, *failed)
	}
	var all []Refused
	for _, d := range stuck {
		all = append(all, Refused{d.ID, refused[d.ID.Key()]})
	}
	return all, nil
}

// draft writes one as if its operation had ended.
func (tx *Tx) draft(ctx context.Context, draft Draft) error {
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
	w := &write{tx: tx, d: d, id: draft.ID, version: draft.Version, body: b, header: http.Header{}}
	if err := w.run(ctx); err != nil {
		return err
	}
	under, err := tx.under(w.rec.id)
	if err != nil {
		return err
	}
	for _, o := range append(under, owned{d, w.rec}) {
		if o.rec.State == arm.Creating || o.rec.State == arm.Updating {
			o.rec.State = arm.Succeeded
			if err := tx.rewrite(o.rec); err != nil {
				return err
			}
		}
	}
	return nil
}
