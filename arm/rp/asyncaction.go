package rp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/store"
)

// actionPrefix begins the queue keys of asynchronous actions; ids of resources start with /.
const actionPrefix = "action/"

// verbAction is the verb of an operation that is an asynchronous action.
const verbAction = "action"

// accept writes the operation of an asynchronous action and answers 202: Location gives its result when it
// has one (ARM RPC, "asynchronous operations").
func (e *Engine) accept(ctx context.Context, t *Target, r *Request, d *definition, a *action) (*Response, error) {
	var rec *record
	var o *operation
	err := e.Update(ctx, func(tx *Tx) (err error) {
		if rec, err = tx.existing(d, t.ID); err != nil {
			return err
		}
		if a.do != nil {
			res, err := d.load(rec)
			if err != nil {
				return err
			}
			if _, err := a.do(ctx, tx, res, r.Body); err != nil {
				return err
			}
		}
		entry := r.Entry(ctx, t)
		entry.Resource, entry.HTTPStatus, entry.Status = rec.ID, http.StatusAccepted, activity.Accepted
		o = &operation{
			ID: uuid.NewString(), Resource: rec.ID, Verb: verbAction, Version: t.Version, Status: arm.Updating, Start: tx.Now, Entry: entry,
			Action: a.name, Body: r.Body,
		}
		if err := o.write(tx); err != nil {
			return err
		}
		return tx.logged(entry)
	})
	if err != nil {
		return nil, err
	}
	e.queue.Add(actionPrefix + o.ID)
	res := &Response{Status: http.StatusAccepted}
	e.poll(res, r, t, rec, o.ID)
	res.set("Location", e.operationURL(r, t, rec, "operationResults", o.ID))
	return res, nil
}

// runAction works an asynchronous action and writes what came of it.
func (e *Engine) runAction(ctx context.Context, id string) (time.Duration, error) {
	var o *operation
	var a *action
	var res any
	err := e.View(ctx, func(tx *Tx) (err error) {
		if o, err = tx.operation(id); err != nil || o.Status.Terminal() {
			return err
		}
		target, err := arm.ParseID(o.Resource)
		if err != nil {
			return err
		}
		rec, d, err := tx.find(target)
		if err != nil {
			return err
		}
		if a = d.actions[strings.ToLower(o.Action)]; a == nil || a.async == nil {
			return arm.Errorf(http.StatusNotFound, "NotFound", "The action '%s' does not exist any more.", o.Action)
		}
		res, err = d.load(rec)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil // expired
	}
	if err == nil && a == nil {
		return 0, nil // it has ended
	}
	var result json.RawMessage
	if err == nil {
		result, err = marshalled(a.async(ctx, res, o.Body))
	}
	failure := arm.AsError(err)
	if err != nil && failure == nil {
		return 0, err // tried again
	}
	return 0, e.endAction(ctx, id, result, failure)
}

func marshalled(v any, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func (e *Engine) endAction(ctx context.Context, id string, result json.RawMessage, failure *arm.Error) error {
	return e.Update(ctx, func(tx *Tx) error {
		o, err := tx.operation(id)
		if err != nil || o.Status.Terminal() {
			return err
		}
		o.Status, o.End, o.Result, o.Error, o.Body = arm.Succeeded, tx.Now, result, failure, nil
		entry := o.Entry
		entry.ID, entry.Time = uuid.NewString(), tx.Now
		if failure != nil {
			o.Status, o.ErrorStatus = arm.Failed, failure.Status
			entry.Code, entry.Message = failure.Code, failure.Message
		}
		entry.Status = activity.Status(o.Status)
		if err := o.write(tx); err != nil {
			return err
		}
		tx.ended = append(tx.ended, o.ID)
		return tx.append(entry)
	})
}

// resumeActions queues the asynchronous actions that a previous process left undone.
func (e *Engine) resumeActions(tx *Tx) error {
	return tx.Scan(operationKind, "", "", func(doc store.Doc) bool {
		var o operation
		if json.Unmarshal(doc.Value, &o) == nil && o.Verb == verbAction && !o.Status.Terminal() {
			e.queue.Add(actionPrefix + o.ID)
		}
		return true
	})
}
