package rp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// shown is the answer to a GET of a resource.
type shown struct {
	etag string
	body json.RawMessage
}

// maxShown is the size of the largest answer that is kept.
const maxShown = 8 << 10

// unkept is an answer too large to be kept.
type unkept struct{ shown }

func (unkept) Error() string { return "rp: the answer is too large to be kept" }

// keepsShown says that what a GET of the type answers follows from documents alone, with that of all that it embeds.
func (e *Engine) keepsShown(d *definition) bool {
	if d.present != nil && !d.kept {
		return false
	}
	for _, child := range d.inline {
		if c, err := e.definition(arm.ParseTypeName(child)); err != nil || !e.keepsShown(c) {
			return false
		}
	}
	return true
}

// look is a GET under way, for the memo that reads it.
type look struct {
	d *definition
	t *Target
}

type lookKey struct{}

// shownOf makes the memo of answers, by api-version and id.
func shownOf(e *Engine) *Memo[shown] {
	return store.NewMemo(e.store, func(ctx context.Context, s store.Tx, _ string) (shown, error) {
		l := ctx.Value(lookKey{}).(look)
		a, err := e.tx(ctx, s).show(ctx, l.d, l.t)
		if err == nil && len(a.body) > maxShown {
			err = unkept{a}
		}
		return a, err
	})
}

// kept is the answer to a GET that asks for the resource and no more.
func (e *Engine) kept(ctx context.Context, d *definition, t *Target) (shown, error) {
	a, err := e.shown.Get(context.WithValue(ctx, lookKey{}, look{d, t}), t.Version+" "+t.ID.Key())
	var large unkept
	if errors.As(err, &large) {
		return large.shown, nil
	}
	return a, err
}

func (tx *Tx) show(ctx context.Context, d *definition, t *Target) (a shown, err error) {
	rec, err := tx.existing(d, t.ID)
	if err != nil {
		return a, err
	}
	body, err := tx.render(ctx, d, rec, t.Version)
	if err != nil {
		return a, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(body)
	return shown{etag: rec.ETag, body: b.Bytes()}, err
}
