package rp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/origin"
	"vauban.dev/store"
)

type serveFunc = func(ctx context.Context, t *Target, r *Request) (*Response, error)

func (e *Engine) get(d *definition) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		res := &Response{Status: http.StatusOK}
		ctx = context.WithValue(ctx, queryKey{}, r.Query)
		var a shown
		var err error
		if len(r.Query) == 1 && e.keepsShown(d) { // the api-version alone
			a, err = e.kept(ctx, d, t)
		} else {
			err = e.View(ctx, func(tx *Tx) (err error) {
				a, err = tx.show(ctx, d, t)
				return err
			})
		}
		if err != nil {
			return nil, err
		}
		res.set("ETag", a.etag)
		res.Body = a.body
		return res, nil
	}
}

// head is the existence check: 204 or 404.
func (e *Engine) head(d *definition) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		res := &Response{Status: http.StatusNoContent}
		return res, e.View(ctx, func(tx *Tx) error {
			rec, err := tx.existing(d, t.ID)
			if err != nil {
				return err
			}
			res.set("ETag", rec.ETag)
			return nil
		})
	}
}

// existing reads a resource; a missing resource group is told before a missing resource.
func (tx *Tx) existing(d *definition, id arm.ID) (*record, error) {
	rec, err := tx.read(d, id)
	if !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	if group := groupOf(id); !group.IsZero() && d.name.Key() != groupKey {
		_, _, err := tx.find(group)
		if e := arm.AsError(err); e != nil && e.Code == "ResourceGroupNotFound" {
			return nil, e
		}
	}
	if d.notFound != nil {
		return nil, d.notFound(id)
	}
	return nil, arm.NotFound(id)
}

// groupOf is the resource group that id lies in, or zero.
func groupOf(id arm.ID) arm.ID {
	if id.ResourceGroup() == "" {
		return arm.ID{}
	}
	group, err := arm.ParseID("/subscriptions/" + id.Subscription() + "/resourceGroups/" + id.ResourceGroup())
	if err != nil {
		return arm.ID{}
	}
	return group
}

func (e *Engine) put(d *definition) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		b, err := parseBody(d, t.ID, r.Body)
		if err != nil {
			return nil, err
		}
		if d.linked(e) || b.assigns() {
			if err := e.View(ctx, func(tx *Tx) error {
				return e.checkLinks(ctx, t, r, &write{tx: tx, d: d, id: t.ID, version: t.Version, body: b}, false)
			}); err != nil {
				return nil, err
			}
			if b, err = parseBody(d, t.ID, r.Body); err != nil { // the first was used up
				return nil, err
			}
		}
		return e.write(ctx, t, r, d, func(*Tx) (*body, error) { return b, nil })
	}
}

// patch applies a JSON merge patch (RFC 7396) to the resource as the api-version shows it, and goes on as PUT.
func (e *Engine) patch(d *definition) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		merged := func(tx *Tx) (*body, error) {
			rec, err := tx.existing(d, t.ID)
			if err != nil {
				return nil, err
			}
			data, err := d.patched(rec, t.Version, r.Body)
			if err != nil {
				return nil, err
			}
			return parseBody(d, t.ID, data)
		}
		if err := e.View(ctx, func(tx *Tx) error {
			b, err := merged(tx)
			if err != nil || !d.linked(e) && !b.assigns() {
				return err
			}
			return e.checkLinks(ctx, t, r, &write{tx: tx, d: d, id: t.ID, version: t.Version, body: b}, true)
		}); err != nil {
			return nil, err
		}
		return e.write(ctx, t, r, d, merged)
	}
}

// patched returns the JSON of rec after a merge patch.
func (d *definition) patched(rec *record, version string, patch []byte) ([]byte, error) {
	if d.patchForm != nil {
		var err error
		if patch, err = d.patchForm(patch); err != nil {
			return nil, err
		}
	}
	p, err := decodeTree(patch)
	if err != nil {
		return nil, badContent("", "a JSON object is expected")
	}
	res, err := d.load(rec)
	if err != nil {
		return nil, err
	}
	known, err := d.encode(version, res)
	if err != nil {
		return nil, err
	}
	now := rec.envelope()
	now["properties"] = overlay(known, map[string]any(rec.Sent))
	b, err := json.Marshal(now)
	if err != nil {
		return nil, err
	}
	tree, err := decodeTree(b)
	if err != nil {
		return nil, err
	}
	return json.Marshal(patchEnvelope(tree, p))
}

// patchEnvelope is a merge patch, but for tags: Azure's providers take those of a PATCH for all that there shall be.
func patchEnvelope(tree, patch map[string]any) map[string]any {
	tags, patched := fold(patch, "tags")
	merged, _ := mergePatch(tree, patch).(map[string]any)
	if sent, ok := tags.(map[string]any); patched && ok {
		deleteFold(merged, "tags")
		merged["tags"] = dropNulls(sent)
	}
	return merged
}

// write runs a write in its transaction and answers.
func (e *Engine) write(ctx context.Context, t *Target, r *Request, d *definition, bodyOf func(*Tx) (*body, error)) (*Response, error) {
	var w *write
	var res *Response
	ctx = context.WithValue(ctx, queryKey{}, r.Query)
	err := e.Update(ctx, func(tx *Tx) error {
		b, err := bodyOf(tx)
		if err != nil {
			return err
		}
		if err := tx.registered(t.ID, d); err != nil {
			return err
		}
		entry := r.Entry(ctx, t)
		w = &write{tx: tx, d: d, id: t.ID, version: t.Version, body: b, header: r.Header, entry: &entry}
		if err := w.run(ctx); err != nil {
			return err
		}
		res = &Response{Status: w.status()}
		if r.Method == http.MethodPatch {
			res.Status = http.StatusOK
		}
		res.set("ETag", w.rec.ETag)
		res.Body, err = tx.render(ctx, d, w.rec, t.Version)
		return err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case w.op == nil:
	case w.op.Status.Terminal():
		res.Body = nil
		res.set("Location", e.operationURL(r, t, w.rec, "operationResults", w.op.ID))
		res.set("Retry-After", "1")
	default:
		e.poll(res, r, t, w.rec, w.op.ID)
	}
	return res, nil
}

// poll tells the client where it finds the operation.
func (e *Engine) poll(res *Response, r *Request, t *Target, rec *record, operation string) {
	res.set("Azure-AsyncOperation", e.operationURL(r, t, rec, "operations", operation))
	res.set("Retry-After", "1")
	if res.Status == http.StatusAccepted { // which has a Location (ARM RPC, asynchronous operations)
		res.set("Location", e.operationURL(r, t, rec, "operationResults", operation))
	}
}

func (e *Engine) operationURL(r *Request, t *Target, rec *record, kind, operation string) string {
	location := rec.Location
	if location == "" && len(e.locations) > 0 {
		location = e.locations[0]
	}
	if location == "" {
		location = "global"
	}
	base := r.Base
	if s := rec.id.Subscription(); s != "" {
		base += "/subscriptions/" + s
	}
	return base + "/providers/" + rec.id.Type().Namespace + "/locations/" + location + "/" + kind + "/" + operation + "?api-version=" + url.QueryEscape(t.Version)
}

// delete answers 204 for what does not exist, 200 for what is gone at once, else 202 with an operation.
func (e *Engine) delete(d *definition) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		var rec *record
		var op *operation
		var done *Tx
		var deleted any
		pending := false
		err := e.Update(ctx, func(tx *Tx) error {
			rec, op, done, pending, deleted = nil, nil, tx, false, nil
			cur, err := tx.existing(d, t.ID)
			if failure := arm.AsError(err); failure != nil && (d.name.Key() == groupKey || failure.Code != "ResourceGroupNotFound") {
				if d.name.Key() == groupKey {
					return failure // Azure answers 404 for a group, 204 for what is in one
				}
				return nil
			}
			if err != nil {
				return err
			}
			rec = cur
			if err := precondition(r.Header, t.ID, cur); err != nil {
				return err
			}
			entry := r.Entry(ctx, t)
			entry.Resource, entry.HTTPStatus, entry.Status = cur.ID, http.StatusAccepted, activity.Accepted
			if cur.State == arm.Deleting { // under way: the same operation again
				if cur.Operation != "" {
					op, err = tx.operation(cur.Operation)
				}
				pending = true
				return err
			}
			if d.showDeleted {
				if deleted, err = tx.render(ctx, d, cur, t.Version); err != nil {
					return err
				}
			}
			begin := func() error {
				op, err = tx.begin(cur, "delete", t.Version, arm.Deleting, entry)
				return err
			}
			if scopeType(d) {
				pending, err = tx.beginClearing(ctx, d, cur, begin)
			} else {
				pending, err = tx.remove(ctx, d, cur, begin)
			}
			if err != nil {
				return err
			}
			if !pending {
				entry.Status = activity.Succeeded
				if d.syncDelete {
					entry.HTTPStatus = http.StatusOK
				} else if op, err = tx.begun(cur, "delete", t.Version, entry); err != nil {
					return err
				}
			}
			return tx.logged(entry)
		})
		switch {
		case err != nil:
			return nil, err
		case rec == nil:
			return &Response{Status: http.StatusNoContent}, nil
		case !pending && d.syncDelete:
			res := &Response{Status: http.StatusOK, Body: deleted}
			res.warn(done)
			return res, nil
		}
		if d.syncDelete && op != nil {
			ended, err := e.ended(ctx, op.ID, syncDelete)
			switch {
			case err != nil:
				return nil, err
			case ended.Error != nil:
				return nil, ended.Error
			case ended.Status.Terminal():
				return &Response{Status: http.StatusOK}, nil
			}
		}
		res := &Response{Status: http.StatusAccepted}
		if op != nil {
			e.poll(res, r, t, rec, op.ID)
		}
		return res, nil
	}
}

// begun writes an operation that has ended with the request, so that clients of an asynchronous verb have
// something to poll.
func (tx *Tx) begun(rec *record, verb, version string, entry activity.Entry) (*operation, error) {
	o, err := tx.begin(rec, verb, version, arm.Succeeded, entry)
	if err != nil {
		return nil, err
	}
	rec.Operation, o.End = "", tx.Now
	return o, o.write(tx)
}

// checkAction refuses an action whose links the caller may not use. It runs before the write transaction.
func (e *Engine) checkAction(ctx context.Context, t *Target, r *Request, d *definition, a *action) error {
	if a.links == nil {
		return nil
	}
	var links []Link
	err := e.View(ctx, func(tx *Tx) error {
		rec, err := tx.existing(d, t.ID)
		if err != nil {
			return err
		}
		res, err := d.load(rec)
		if err == nil {
			links = a.links(res, r.Body)
		}
		return err
	})
	if err != nil {
		return err
	}
	return checkAll(ctx, t, r, links)
}

// act runs an action on a resource, in a write transaction.
func (e *Engine) act(d *definition, a *action) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		if err := e.checkAction(ctx, t, r, d, a); err != nil {
			return nil, err
		}
		if a.async != nil {
			return e.accept(ctx, t, r, d, a)
		}
		var answer any
		err := e.Update(ctx, func(tx *Tx) error {
			rec, err := tx.existing(d, t.ID)
			if err != nil {
				return err
			}
			res, err := d.load(rec)
			if err != nil {
				return err
			}
			if answer, err = a.do(ctx, tx, res, r.Body); err != nil {
				return err
			}
			changed, err := tx.save(d, rec, res)
			if err != nil {
				return err
			}
			if changed && d.reconcile != nil {
				tx.Wake(rec.id)
			}
			if !t.Write {
				return nil
			}
			entry := r.Entry(ctx, t)
			entry.Resource, entry.HTTPStatus, entry.Status = rec.ID, http.StatusOK, activity.Succeeded
			return tx.logged(entry)
		})
		if err != nil {
			return nil, err
		}
		return answered(answer), nil
	}
}

// Entry is the activity entry of a request, without its outcome.
func (r *Request) Entry(ctx context.Context, t *Target) activity.Entry {
	caller, _ := authz.FromContext(ctx)
	return activity.Entry{
		Caller: caller, Address: r.ClientAddress, Origin: origin.FromContext(ctx).String(), Operation: t.Permission, Method: r.Method, URI: r.Base + r.Path,
		Resource: t.ID.String(), CorrelationID: r.CorrelationID, RequestID: r.RequestID, ClientID: r.Header.Get("x-ms-client-request-id"),
	}
}
