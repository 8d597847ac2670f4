package rp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"unicode"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// place checks that a resource may stand at id and returns id in the canonical spelling: the names of
// enclosing scopes and parents as they were created, the type as it is registered. Errors are Azure's: 404
// ResourceGroupNotFound and ParentResourceNotFound, 409 ResourceGroupBeingDeleted, 400 for a bad name.
func (tx *Tx) place(ctx context.Context, d *definition, id arm.ID, version string) (arm.ID, error) {
	if err := d.checkName(id); err != nil {
		return arm.ID{}, err
	}
	scope, err := tx.scopeExists(ctx, d, id)
	if err != nil {
		return arm.ID{}, err
	}
	switch d.name.Key() {
	case subscriptionKey:
		return arm.ParseID("/subscriptions/" + id.Name())
	case groupKey:
		return arm.ParseID(scope + "/resourceGroups/" + id.Name())
	}
	last := d.name.Types[len(d.name.Types)-1]
	if len(id.Names()) == 1 {
		return arm.ParseID(strings.TrimSuffix(scope, "/") + "/providers/" + d.name.Namespace + "/" + last + "/" + id.Name())
	}
	parent, err := tx.parentExists(ctx, d, id, version)
	if err != nil {
		return arm.ID{}, err
	}
	return arm.ParseID(parent + "/" + last + "/" + id.Name())
}

// scopeExists returns the canonical spelling of the scope that id lies in.
func (tx *Tx) scopeExists(ctx context.Context, d *definition, id arm.ID) (string, error) {
	scope := id.Scope()
	switch d.name.Key() {
	case subscriptionKey:
		return "/", nil
	case groupKey:
		scope = id.Parent()
	}
	if scope.Type().IsZero() {
		return scope.String(), nil
	}
	if d.kind == Tracked && d.name.Key() != groupKey && scope.Type().Key() != groupKey {
		return "", arm.Errorf(http.StatusBadRequest, "MissingResourceGroup", "A resource of type '%s' is created in a resource group. The request URI names none: '%s'.", d.name, id)
	}
	return tx.canonical(scope)
}

// canonical returns the spelling of a scope that exists. What lies under a resource and is kept by its data plane
// (a blob container) is a scope as well: roles are assigned there.
func (tx *Tx) canonical(scope arm.ID) (string, error) {
	rec, _, err := tx.find(scope)
	if e := arm.AsError(err); e != nil {
		unknown := e.Code == "InvalidResourceType" || e.Code == "InvalidResourceNamespace"
		if unknown && (scope.Namespace() == "" || scope.ManagementGroup() != "") {
			return scope.String(), nil // an engine that does not keep subscriptions, groups or management groups
		}
		if parent := scope.Parent(); unknown && len(scope.Names()) > 1 {
			above, err := tx.canonical(parent)
			return above + strings.TrimPrefix(scope.String(), parent.String()), err
		}
		return "", e
	}
	if err != nil {
		return "", err
	}
	if rec.State == arm.Deleting && scope.Type().Key() == groupKey {
		return "", arm.Errorf(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", scope.Name())
	}
	if rec.State == arm.Deleting {
		return "", beingDeleted(rec)
	}
	return rec.ID, nil
}

// parentExists returns the canonical spelling of the parent, which it creates when the type says so.
func (tx *Tx) parentExists(ctx context.Context, d *definition, id arm.ID, version string) (string, error) {
	parent := id.Parent()
	pd, err := tx.engine.definition(parent.Type())
	if err != nil {
		return "", err
	}
	rec, err := tx.read(pd, parent)
	switch {
	case errors.Is(err, store.ErrNotFound) && d.implicit:
		return tx.implicitParent(ctx, pd, parent, version)
	case errors.Is(err, store.ErrNotFound):
		return "", arm.Errorf(http.StatusNotFound, "ParentResourceNotFound", "Failed to perform '%s' on resource(s) of type '%s', because the parent resource '%s' could not be found.", "write", strings.Join(d.name.Types, "/"), parent)
	case err != nil:
		return "", err
	case rec.State == arm.Deleting:
		return "", beingDeleted(rec)
	}
	return rec.ID, nil
}

func (tx *Tx) implicitParent(ctx context.Context, d *definition, id arm.ID, version string) (string, error) {
	w := &write{tx: tx, d: d, id: id, version: version, body: &body{properties: map[string]any{}}}
	if err := w.run(ctx); err != nil {
		return "", err
	}
	return w.rec.ID, nil
}

// beingDeleted refuses a write under or on something that is on its way out.
func beingDeleted(rec *record) *arm.Error {
	return arm.Errorf(http.StatusConflict, "AnotherOperationInProgress", "The resource '%s' is being deleted.", rec.ID)
}

// checkName applies the type's rule; 400 with the code that Azure's providers give.
func (d *definition) checkName(id arm.ID) error {
	name := id.Name()
	if len(name) > 260 || strings.ContainsAny(name, "<>%&\\?/:#\x00") && d.kind != Extension || hasControl(name) {
		return arm.Errorf(http.StatusBadRequest, "InvalidResourceName", "Resource name '%s' is invalid. It contains characters that no resource name may have, or is longer than 260 characters.", name)
	}
	if strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Cf, r) }) {
		return arm.Errorf(http.StatusBadRequest, "InvalidResourceName", "Resource name '%s' is invalid. It begins or ends with a space or has characters that cannot be seen: it would look like another's.", name)
	}
	if d.pattern == nil || d.pattern.MatchString(name) {
		return nil
	}
	if d.nameError != nil {
		e := d.nameError(name)
		e.Target = name
		return e
	}
	rule := d.nameRule
	if rule == "" {
		rule = "It must match " + d.pattern.String()
	}
	code := "InvalidResourceName"
	if d.name.Key() == groupKey {
		code = "InvalidResourceGroup"
	}
	e := arm.Errorf(http.StatusBadRequest, code, "Resource name '%s' is invalid for type '%s'. %s", name, d.name, rule)
	e.Target = "name"
	return e
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
