package rp

import (
	"context"
	"net/http"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/authz"
)

// assignIdentity is what a caller needs on each user-assigned identity that a resource is given: whoever runs
// on the resource acts as it ("Managed identities for Azure resources": Managed Identity Operator).
const assignIdentity = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"

// linked says whether a write of the type may use other resources, itself or in what it embeds, besides the
// identities that it is given.
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

// assigns says whether the body gives the resource user-assigned identities.
func (b *body) assigns() bool { return b.identity != nil && len(b.identity.UserAssignedIdentities) > 0 }

// checkLinks refuses a write that uses resources on which the caller lacks the permission (403
// LinkedAuthorizationFailed). It runs before the write transaction: a role is looked up in the store. A PUT
// states everything and is checked for everything; of a PATCH what the resource uses already is not: the
// caller has not asked for it.
func (e *Engine) checkLinks(ctx context.Context, t *Target, r *Request, w *write, patch bool) error {
	links, err := w.collectLinks(ctx)
	if err != nil {
		return err
	}
	var asked []Link
	for _, l := range links {
		if !l.ID.IsZero() && !(patch && l.kept) {
			asked = append(asked, l.Link)
		}
	}
	return checkAll(ctx, t, r, asked)
}

// checkAll refuses a caller who lacks one of the permissions.
func checkAll(ctx context.Context, t *Target, r *Request, links []Link) error {
	for _, l := range links {
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
	e.AdditionalInfo = []arm.AdditionalInfo{{Type: "RoleDecision", Info: decision.Info()}}
	return e
}

// usedLink is a Link, and whether the resource had it before.
type usedLink struct {
	Link
	kept bool
}

// usedLinks marks those of links that are among old.
func usedLinks(links, old []Link) (out []usedLink) {
	for _, l := range links {
		kept := slices.ContainsFunc(old, func(o Link) bool { return o.Action == l.Action && o.ID.Key() == l.ID.Key() })
		out = append(out, usedLink{l, kept})
	}
	return out
}

// identityLinks are those of an identity block. What is no id is refused later.
func identityLinks(i *arm.Identity) (links []Link) {
	if i == nil {
		return nil
	}
	for text := range i.UserAssignedIdentities {
		if id, err := arm.ParseID(text); err == nil {
			links = append(links, Link{Action: assignIdentity, ID: id})
		}
	}
	return links
}

// collectLinks decodes the body as far as its links need, also those of embedded children.
func (w *write) collectLinks(ctx context.Context) ([]usedLink, error) {
	w.rec = &record{ID: w.id.String(), id: w.id}
	var before []Link // nothing when it is not there yet
	if old, err := w.tx.read(w.d, w.id); err == nil {
		if w.oldRes, err = w.d.load(old); err != nil {
			return nil, err
		}
		before = identityLinks(old.Identity)
		if w.d.links != nil {
			before = append(before, w.d.links(w.oldRes)...)
		}
	}
	inline := w.body.inline
	if err := w.interpret(ctx); err != nil {
		return nil, err
	}
	now := identityLinks(w.body.identity)
	if w.d.links != nil {
		now = append(now, w.d.links(w.res)...)
	}
	links := usedLinks(now, before)
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
