package rp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// longPoll is how long a GET of a running operation waits for its end. Clients poll at once and then at
// the pace of Retry-After, so most operations end within their first poll.
const longPoll = 2 * time.Second

// syncDelete is how long a DELETE that clients expect to be synchronous waits for a Finalize. After that it
// is answered as an operation.
const syncDelete = 30 * time.Second

// status is the body of an operation ("ARM RPC: asynchronous operations").
type status struct {
	ID         string                `json:"id"`
	Name       string                `json:"name"`
	ResourceID string                `json:"resourceId,omitempty"`
	Status     arm.ProvisioningState `json:"status"`
	StartTime  time.Time             `json:"startTime"`
	EndTime    time.Time             `json:"endTime,omitzero"`
	Percent    float64               `json:"percentComplete"`
	Error      *arm.Error            `json:"error,omitempty"`
	Properties json.RawMessage       `json:"properties,omitempty"` // the result of an action
}

// operationStatus is GET …/locations/{location}/operations/{operation}.
func (e *Engine) operationStatus(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	o, err := e.awaited(ctx, r, path["operation"])
	if err != nil {
		return nil, err
	}
	body := status{
		ID: r.Path, Name: o.ID, ResourceID: o.Resource, Status: o.Status, StartTime: o.Start, EndTime: o.End, Error: o.Error,
		Properties: o.Result,
	}
	res := &Response{Status: http.StatusOK, Body: &body}
	if o.Status.Terminal() {
		body.Percent = 100
		return res, nil
	}
	body.Status = "InProgress"
	res.set("Retry-After", "1")
	return res, nil
}

// operationResult is GET …/locations/{location}/operationResults/{operation}: 202 while it runs, then what
// the request would have answered had it been synchronous.
func (e *Engine) operationResult(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	o, err := e.awaited(ctx, r, path["operation"])
	if err != nil {
		return nil, err
	}
	switch {
	case !o.Status.Terminal():
		res := &Response{Status: http.StatusAccepted}
		res.set("Retry-After", "1")
		res.set("Location", r.Base+r.Path+"?"+r.Query.Encode())
		return res, nil
	case o.Error != nil:
		failure := *o.Error
		failure.Status = max(failure.Status, o.ErrorStatus)
		if failure.Status < http.StatusBadRequest {
			failure.Status = http.StatusConflict
		}
		return nil, &failure
	case o.Verb == verbAction && string(o.Result) == "null":
		return &Response{Status: http.StatusNoContent}, nil
	case o.Verb == verbAction:
		return &Response{Status: http.StatusOK, Body: o.Result}, nil
	case o.Verb == "delete":
		return &Response{Status: http.StatusNoContent}, nil
	}
	id, err := arm.ParseID(o.Resource)
	if err != nil {
		return nil, err
	}
	res := &Response{Status: http.StatusOK}
	return res, e.View(ctx, func(tx *Tx) error {
		rec, d, err := tx.find(id)
		if err != nil {
			return err
		}
		res.Body, err = tx.render(ctx, d, rec, o.Version)
		return err
	})
}

// awaited returns the operation, after its end or after longPoll. It is not found for a caller who neither
// started it nor may read its resource; an action's result is for who started it.
func (e *Engine) awaited(ctx context.Context, r *Request, id string) (*operation, error) {
	o, err := e.readOperation(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := mayPoll(ctx, r, o); err != nil {
		return nil, err
	}
	return e.ended(ctx, id, longPoll)
}

// ended waits for the end of an operation, but no longer than patience.
func (e *Engine) ended(ctx context.Context, id string, patience time.Duration) (*operation, error) {
	done, release := e.waiters.wait(id)
	defer release()
	o, err := e.readOperation(ctx, id)
	if err != nil {
		return nil, err
	}
	if o.Status.Terminal() {
		return o, nil
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return e.readOperation(ctx, id)
}

func (e *Engine) readOperation(ctx context.Context, id string) (*operation, error) {
	var o *operation
	err := e.View(ctx, func(tx *Tx) (err error) {
		o, err = tx.operation(strings.ToLower(id))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, operationNotFound(id)
	}
	return o, err
}

func operationNotFound(id string) *arm.Error {
	return arm.Errorf(http.StatusNotFound, "OperationNotFound", "The operation '%s' could not be found.", id)
}

func mayPoll(ctx context.Context, r *Request, o *operation) error {
	caller, _ := authz.FromContext(ctx)
	if caller.ObjectID != "" && caller.ObjectID == o.Entry.Caller.ObjectID {
		return nil
	}
	id, err := arm.ParseID(o.Resource)
	if err != nil || r.Check == nil || o.Verb == verbAction {
		return operationNotFound(o.ID)
	}
	decision, err := r.Check(ctx, permissionName(id.Type())+"/read", id)
	if err != nil {
		return err
	}
	if !decision.Allowed {
		return operationNotFound(o.ID)
	}
	return nil
}
