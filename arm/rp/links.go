package rp

import (
	"context"
	"net/http"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/authz"
)

// linked says whether a write of the type may use other resources, itself or in what it embeds.
func (d *definition) linked(e *Engine) bool {
	if d.links != nil {
		return true
	}
	for _, child := range d.inline {
		if c, err := e.definition(arm.ParseTypeName(child)); err == nil && c.linked(e) {
			return true
		}
	}
	return false
}

// checkLinks refuses a write that uses resources on which the caller lacks the permission (403
// LinkedAuthorizationFailed). It runs before the write transaction: a role is looked up in the store.
func (e *Engine) checkLinks(ctx context.Context, t *Target, r *Request, w *write) error {
	links, err := w.collectLinks(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.ID.IsZero() {
			continue
		}
		if r.Check == nil {
			return arm.Errorf(http.StatusForbidden, "LinkedAuthorizationFailed", "The permission '%s' on '%s' cannot be checked.", l.Action, l.ID)
		}
		decision, err := r.Check(ctx, l.Action, l.ID)
		if err != nil {
			return err
		}
		if !decision.Allowed {
			return linkRefused(ctx, t, l, decision)
		}
	}
	return nil
}

func linkRefused(ctx context.Context, t *Target, l Link, decision authz.Decision) *arm.Error {
	p, _ := authz.FromContext(ctx)
	e := arm.Errorf(http.StatusForbidden, "LinkedAuthorizationFailed", "The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, it does not have permission to perform action '%s' on the linked scope(s) '%s' or the linked scope(s) are invalid.",
		p.Name, p.ObjectID, t.Permission, t.ID, l.Action, l.ID)
	e.AdditionalInfo = []arm.AdditionalInfo{{Type: "RoleDecision", Info: map[string]string{"reason": decision.By}}}
	return e
}

// collectLinks decodes the body as far as its links need, also those of embedded children.
func (w *write) collectLinks(ctx context.Context) ([]Link, error) {
	w.rec = &record{ID: w.id.String(), id: w.id}
	if old, err := w.tx.read(w.d, w.id); err == nil { // not there yet: nothing to keep
		if w.oldRes, err = w.d.load(old); err != nil {
			return nil, err
		}
	}
	inline := w.body.inline
	if err := w.interpret(ctx); err != nil {
		return nil, err
	}
	var links []Link
	if w.d.links != nil {
		links = w.d.links(w.res)
	}
	for property, list := range inline {
		d, err := w.tx.engine.definition(arm.ParseTypeName(w.d.inline[property]))
		if err != nil {
			return nil, err
		}
		children, err := embeddedWrites(w, d, property, slices.Clone(list))
		if err != nil {
			return nil, err
		}
		for _, c := range children {
			more, err := c.collectLinks(ctx)
			if err != nil {
				return nil, err
			}
			links = append(links, more...)
		}
	}
	return links, nil
}
