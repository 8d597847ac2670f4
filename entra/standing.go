package entra

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"vauban.dev/store"
)

// finding is what the store said, at a version, of the principal that a token names.
type finding struct {
	at     int64 // Changed(standingKinds...) before the store was read
	caller Caller
	err    error // *TokenError
}

// standingKinds are the documents that a token hangs on.
var standingKinds = []string{kindPrincipal, kindFamily}

// standing finds out whether what a token hangs on still stands: its principal exists and is enabled, its
// sessions were not revoked, its credential or its family of refresh tokens was not taken away. It also reads the
// groups, so that a membership that ended gives nothing from the next request on. While none of those documents
// is written, the answer of the last time holds: it costs a comparison (Store.Changed).
func (d *Directory) standing(ctx context.Context, t *knownToken) (Caller, error) {
	at := d.store.Changed(standingKinds...)
	if f := t.last.Load(); f != nil && f.at >= at {
		return f.caller, f.err
	}
	f := &finding{at: at, caller: t.caller}
	err := d.store.View(ctx, func(tx store.Tx) error { return d.stands(tx, t.stamp, &f.caller) })
	if refused := new(TokenError); errors.As(err, &refused) {
		f.caller, f.err = Caller{}, refused
	} else if err != nil {
		return Caller{}, fmt.Errorf("entra: principal of a token: %w", err)
	}
	t.last.Store(f)
	return f.caller, f.err
}

// stands completes the caller by what the directory says of him now.
func (d *Directory) stands(tx store.Tx, st stamp, c *Caller) error {
	revoked := func(why string) error {
		return &TokenError{Reason: Revoked, Detail: why, Now: d.clock.Now(), Challenge: slices.Contains(c.Capabilities, "CP1")}
	}
	p, err := d.ByObjectID(tx, c.ObjectID)
	if errors.Is(err, ErrNoPrincipal) {
		return revoked("its principal " + c.ObjectID + " does not exist any more")
	}
	if err != nil {
		return err
	}
	c.Name = p.DisplayName
	if st.kind == ofCredential && !p.hasCredential(st.ref) {
		return revoked("the credential by which it was obtained was removed")
	}
	return nil
}
