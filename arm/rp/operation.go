package rp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/store"
)

const operationKind = "operation"

// operation is an asynchronous operation as the store keeps it, under its id.
type operation struct {
	ID       string                `json:"id"`
	Resource string                `json:"resource"` // id
	Verb     string                `json:"verb"`     // write, delete, action
	Version  string                `json:"version"`  // api-version of the request
	Status   arm.ProvisioningState `json:"status"`   // Creating, Updating, Deleting while it runs; then an end state
	Start    time.Time             `json:"start"`
	End      time.Time             `json:"end,omitzero"`
	Error    *arm.Error            `json:"error,omitempty"`
	Entry    activity.Entry        `json:"entry"` // of the request; its end is logged with the same correlation id

	// Of an asynchronous action (Verb action): its name, the body of the request while it runs, then its result
	// or the status of its error, which Error does not keep.
	Action      string          `json:"action,omitempty"`
	Body        json.RawMessage `json:"body,omitempty"`
	Result      json.RawMessage `json:"result,omitempty"`
	ErrorStatus int             `json:"errorStatus,omitempty"`
}

func (o *operation) write(tx store.Tx) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = tx.Put(operationKind, o.ID, b, store.Any)
	return err
}

// begin writes a new operation on rec.
func (tx *Tx) begin(rec *record, verb, version string, status arm.ProvisioningState, entry activity.Entry) (*operation, error) {
	o := &operation{ID: uuid.NewString(), Resource: rec.ID, Verb: verb, Version: version, Status: status, Start: tx.Now, Entry: entry}
	rec.Operation = o.ID
	return o, o.write(tx)
}

// operation reads an operation; store.ErrNotFound.
func (tx *Tx) operation(id string) (*operation, error) {
	doc, err := tx.Get(operationKind, id)
	if err != nil {
		return nil, err
	}
	o := &operation{}
	if err := json.Unmarshal(doc.Value, o); err != nil {
		return nil, fmt.Errorf("rp: stored operation %s: %w", id, err)
	}
	return o, nil
}

// end ends the operation under way on rec, if there is one, with its activity entry.
func (tx *Tx) end(rec *record, status arm.ProvisioningState, failure *arm.Error) error {
	if rec.Operation == "" {
		return nil
	}
	o, err := tx.operation(rec.Operation)
	rec.Operation = ""
	if errors.Is(err, store.ErrNotFound) {
		return nil // expired
	}
	if err != nil || o.Status.Terminal() {
		return err
	}
	o.Status, o.End, o.Error = status, tx.Now, failure
	if err := o.write(tx); err != nil {
		return err
	}
	tx.ended = append(tx.ended, o.ID)
	entry := o.Entry
	entry.ID, entry.Time, entry.Status = uuid.NewString(), tx.Now, activity.Status(status)
	if failure != nil {
		entry.Code, entry.Message = failure.Code, failure.Message
	}
	return tx.append(entry)
}

// Await waits for the end of an operation, as the last segment of its Azure-AsyncOperation names it. failure is
// its error; an operation that is gone has ended well. It asks for no permission: the caller began it.
func (e *Engine) Await(ctx context.Context, id string) (state arm.ProvisioningState, failure *arm.Error, err error) {
	for {
		o, err := e.ended(ctx, id, syncDelete)
		switch {
		case arm.AsError(err) != nil:
			return arm.Succeeded, nil, nil
		case err != nil:
			return "", nil, err
		case o.Status.Terminal():
			return o.Status, o.Error, nil
		}
	}
}

// waiters wakes the requests that wait for the end of an operation.
type waiters struct {
	mu sync.Mutex
	m  map[string]*waiter
}

type waiter struct {
	done  chan struct{}
	users int
}

// wait returns a channel that is closed when the operation ends after the call, and a function that
// gives it back.
func (w *waiters) wait(id string) (<-chan struct{}, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[string]*waiter{}
	}
	x := w.m[id]
	if x == nil {
		x = &waiter{done: make(chan struct{})}
		w.m[id] = x
	}
	x.users++
	return x.done, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if x.users--; x.users == 0 && w.m[id] == x {
			delete(w.m, id)
		}
	}
}

func (w *waiters) end(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.m[id]; x != nil {
		close(x.done)
		delete(w.m, id)
	}
}
