package rp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// Document is a stored resource as the newest api-version of its type shows it: plain JSON, with the children that
// it embeds and without what no answer shows.
type Document struct {
	ID      arm.ID
	Type    string // as registered
	Kind    Kind
	Version string // api-version
	State   arm.ProvisioningState
	Body    map[string]any
}

// ReadDocument reads any resource. A resource that does not exist is arm.NotFound (404).
func ReadDocument(ctx context.Context, tx *Tx, id arm.ID) (*Document, error) {
	rec, d, err := tx.find(id)
	if err != nil {
		return nil, err
	}
	return tx.document(ctx, d, rec)
}

// EachDocument calls yield for the resources of a type ("" = of all types) that are scope or lie under it, those
// whose deletion is under way excepted, until it returns an error. A type that this engine does not have has none.
func EachDocument(ctx context.Context, tx *Tx, scope arm.ID, typeName string, yield func(*Document) error) error {
	if typeName == "" {
		return EachDocumentOf(ctx, tx, scope, func(string) bool { return true }, yield)
	}
	d, err := tx.engine.definition(arm.ParseTypeName(typeName))
	if err != nil {
		return nil
	}
	return tx.eachDocument(ctx, d, scope, yield)
}

// EachDocumentOf is EachDocument for the types that wanted chooses by their names as registered.
func EachDocumentOf(ctx context.Context, tx *Tx, scope arm.ID, wanted func(typeName string) bool, yield func(*Document) error) error {
	for _, d := range tx.inUse() {
		if !wanted(d.name.String()) {
			continue
		}
		if err := tx.eachDocument(ctx, d, scope, yield); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) eachDocument(ctx context.Context, d *definition, scope arm.ID, yield func(*Document) error) error {
	recs, err := tx.scan(d, scope)
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if rec.State == arm.Deleting {
			continue
		}
		doc, err := tx.document(ctx, d, rec)
		if err != nil {
			return err
		}
		if err := yield(doc); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) document(ctx context.Context, d *definition, rec *record) (*Document, error) {
	shown, err := tx.render(ctx, d, rec, d.versions[0])
	if err != nil {
		return nil, err
	}
	body, err := plain(shown)
	return &Document{ID: rec.id, Type: d.name.String(), Kind: d.kind, Version: d.versions[0], State: rec.State, Body: body}, err
}

// plain makes maps and slices of whatever encodes to a JSON object.
func plain(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return decodeTree(b)
}

// Change is what a request is about to do to a stored resource.
type Change struct {
	Method string // PUT, PATCH, DELETE
	ID     arm.ID
	Type   string
	Kind   Kind
	// Body is the resource as the request leaves it: what a PUT sends, what a PATCH makes of the resource, what a
	// DELETE removes.
	Body map[string]any
}

// Writes returns the type of the stored resource that the request puts, patches or deletes; ok is false for every
// other operation.
func (t *Target) Writes() (typeName string, kind Kind, ok bool) {
	if t.definition == nil || !t.Write {
		return "", 0, false
	}
	return t.definition.name.String(), t.definition.kind, true
}

// Change reads what the request of a Target that Writes is about to do. It is nil when there is nothing to change,
// or the body is none that the provider takes: the provider will say so.
func (e *Engine) Change(ctx context.Context, t *Target, r *Request) (*Change, error) {
	d := t.definition
	c := &Change{Method: r.Method, ID: t.ID, Type: d.name.String(), Kind: d.kind}
	if r.Method == http.MethodPut {
		body, err := decodeTree(r.Body)
		if err != nil || len(r.Body) == 0 {
			return nil, nil
		}
		c.Body = body
		return c, nil
	}
	err := e.View(ctx, func(tx *Tx) error {
		rec, err := tx.read(d, t.ID)
		if err != nil {
			return err
		}
		c.ID = rec.id
		if r.Method == http.MethodDelete {
			doc, err := tx.document(ctx, d, rec)
			if err == nil {
				c.Body = doc.Body
			}
			return err
		}
		merged, err := d.patched(rec, t.Version, r.Body)
		if err != nil {
			return err
		}
		if c.Body, err = decodeTree(merged); err != nil {
			return err
		}
		return tx.embed(ctx, d, rec, t.Version, c.Body)
	})
	if errors.Is(err, store.ErrNotFound) || arm.AsError(err) != nil {
		return nil, nil
	}
	return c, err
}

// embed adds the children that the resource embeds to a body that does not say anything of them.
func (tx *Tx) embed(ctx context.Context, d *definition, rec *record, version string, body map[string]any) error {
	properties, _ := body["properties"].(map[string]any)
	for property, child := range d.inline {
		if _, sent := fold(properties, property); sent || properties == nil {
			continue
		}
		list, err := tx.embedded(ctx, child, rec.id, version)
		if err != nil {
			return err
		}
		all, err := plain(map[string]any{property: list})
		if err != nil {
			return err
		}
		properties[property] = all[property]
	}
	return nil
}
