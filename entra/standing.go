package entra

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// finding is what the store said, at a version, of the principal that a token names.
type finding struct {
	at     int64 // Changed(standingKinds...) before the store was read
	caller Caller
	err    error // *TokenError
}

// standingKinds are the documents that a token hangs on.
var standingKinds = append(slices.Clone(directory.StandingKinds), kindFamily)

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
	err := d.stands(ctx, t.stamp, &f.caller)
	if refused := new(TokenError); errors.As(err, &refused) {
		f.caller, f.err = Caller{}, refused
	} else if err != nil {
		return Caller{}, fmt.Errorf("entra: principal of a token: %w", err)
	}
	t.last.Store(f)
	return f.caller, f.err
}

// stands completes the caller by what the directory says of him now.
func (d *Directory) stands(ctx context.Context, st stamp, c *Caller) error {
	revoked := func(why string) error {
		return &TokenError{Reason: Revoked, Detail: why, Now: d.clock.Now(), Challenge: slices.Contains(c.Capabilities, "CP1")}
	}
	s, err := d.Standing(ctx, c.ObjectID)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return revoked("its principal " + c.ObjectID + " does not exist any more")
	case err != nil:
		return err
	case !s.Enabled:
		return revoked("the account " + c.ObjectID + " is disabled")
	case st.validFrom != validAt(s.ValidFrom):
		return revoked("the sessions of " + c.ObjectID + " were revoked")
	}
	c.Name, c.Type, c.Groups, c.DirectoryRoles = s.Name, s.PrincipalType(), s.Groups, s.Roles
	if st.kind == 0 {
		return nil
	}
	return d.store.View(ctx, func(tx store.Tx) error {
		gone, err := d.gone(tx, st, c.ObjectID)
		if gone != "" {
			return revoked(gone)
		}
		return err
	})
}

// gone says what a token hung on and is there no more, "" when nothing is missing.
func (d *Directory) gone(tx store.Tx, st stamp, principal string) (string, error) {
	if st.kind == ofFamily {
		f, err := d.Family(tx, st.ref)
		if errors.Is(err, ErrNoSession) {
			return "the sign-in by which it was obtained has ended", nil
		}
		if err != nil || f.Account == "" || f.Account == f.UserID {
			return "", err
		}
		home, err := d.User(tx, f.Account) // of a guest: whoever employs him can end it too
		switch {
		case errors.Is(err, directory.ErrNotFound):
			return "the account of the guest's own organisation does not exist any more", nil
		case err != nil:
			return "", err
		case !home.AccountEnabled:
			return "the account of the guest's own organisation is disabled", nil
		case !home.SessionsValidFrom.Equal(f.AccountFrom):
			return "the sessions of the guest were revoked by his own organisation", nil
		}
		return "", nil
	}
	p, err := d.ByObjectID(tx, principal)
	if err != nil {
		return "", err
	}
	proofs, err := d.Credentials(tx, p)
	if err == nil && !proofs.Has(st.ref) {
		return "the credential by which it was obtained was removed", nil
	}
	return "", err
}
