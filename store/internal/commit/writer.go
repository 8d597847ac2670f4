// Package commit is what the backends of package store have in common: the one goroutine that commits waiting
// transactions together, the transactions themselves, the watches, and what was written last.
package commit

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"vauban.dev/store"
)

const (
	maxBatch   = 256
	queueDepth = 1024
)

// Writable is the connection that writes. Its methods are called by one goroutine at a time.
type Writable interface {
	Rows
	// Version is the version of the document, 0 when there is none.
	Version(kind, key string) (int64, error)
	Put(store.Doc) error
	// Delete removes a document that is there.
	Delete(kind, key string) error

	// Begin opens the transaction of a batch. It returns the version of the latest write, and what others have
	// committed since the last batch.
	Begin() (version int64, others []store.Change, err error)
	// Savepoint, Undo and Release keep one caller's writes apart from those before it in the batch.
	Savepoint() error
	Undo() error
	Release() error
	// Commit makes the batch durable. version is that of its last change; an error means that nothing of it is kept.
	Commit(version int64, changes []store.Change) error
	Rollback() error
	// Settle is called after changes were published here and before anybody is told that they are committed: it
	// returns when every other server on the store knows of them.
	Settle(version int64)
	Close()
}

// request is one Update: a function and where its outcome goes.
type request struct {
	ctx     context.Context
	f       func(store.Tx) error
	err     error
	changes []store.Change
	done    chan error
}

// Writer owns the writing connection. It takes as many waiting transactions as there are, up to 256, runs each in a
// savepoint, commits them together, publishes their changes, and then answers.
type Writer struct {
	name   string // of the backend, in errors
	rows   Writable
	latest *Latest
	hub    *Hub

	publishing sync.Mutex // from the begin of a batch until its changes are published: changes are published in order
	version    int64      // of the latest write that was published or is in the batch

	requests chan *request
	stopping chan struct{}
	stopped  chan struct{}
}

// NewWriter makes a writer that begins after version. Run works its queue.
func NewWriter(name string, rows Writable, version int64, latest *Latest, hub *Hub) *Writer {
	latest.any.Store(version)
	return &Writer{
		name: name, rows: rows, version: version, latest: latest, hub: hub,
		requests: make(chan *request, queueDepth), stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// Update hands f to the writer and waits. Once the writer has begun f, the answer is its outcome, whatever
// ctx does.
func (w *Writer) Update(ctx context.Context, f func(store.Tx) error) error {
	select {
	case <-w.stopping: // not left to the choice of the next select
		return store.ErrClosed
	default:
	}
	r := &request{ctx: ctx, f: f, done: make(chan error, 1)}
	select {
	case w.requests <- r:
	case <-w.stopping:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-w.stopped:
		select {
		case err := <-r.done:
			return err
		default:
			return store.ErrClosed // queued after the writer looked for the last time
		}
	}
}

// Run works the queue until Stop, then closes the connection.
func (w *Writer) Run() {
	defer close(w.stopped)
	for {
		select {
		case r := <-w.requests:
			w.batch(r)
		case <-w.stopping:
			for {
				select {
				case r := <-w.requests:
					w.batch(r)
				default:
					w.rows.Close()
					return
				}
			}
		}
	}
}

// Stop ends Run after what was accepted, and waits for it.
func (w *Writer) Stop() {
	close(w.stopping)
	<-w.stopped
}

// Published is the version of the latest change that was published. The backend asks it in Begin.
func (w *Writer) Published() int64 { return w.version }

// Others publishes what other servers have committed: load returns the changes after a version, in order. It returns
// the version up to which all changes are published.
func (w *Writer) Others(load func(after int64) ([]store.Change, error)) (int64, error) {
	w.publishing.Lock()
	defer w.publishing.Unlock()
	changes, err := load(w.version)
	if err != nil {
		return w.version, err
	}
	w.publish(changes)
	return w.version, nil
}

// publish tells watches and Changed; w.publishing is held.
func (w *Writer) publish(changes []store.Change) {
	if len(changes) == 0 {
		return
	}
	w.version = changes[len(changes)-1].Version
	w.latest.record(changes)
	w.hub.publish(changes)
}

// batch runs first and what else waits in one transaction, and answers after the commit.
func (w *Writer) batch(first *request) {
	batch, version, broken := w.commit(first)
	if broken == nil {
		w.rows.Settle(version)
	}
	for _, r := range batch {
		if broken != nil && r.err == nil {
			r.err = broken
		}
		r.done <- r.err
	}
}

// commit returns the requests that it ran, and the version after them or why none of them was kept.
func (w *Writer) commit(first *request) (batch []*request, after int64, broken error) {
	w.publishing.Lock()
	defer w.publishing.Unlock()
	batch = append(make([]*request, 0, 16), first)
	version, others, err := w.rows.Begin()
	if err != nil {
		return batch, 0, fmt.Errorf("%s: begin: %w", w.name, err)
	}
	w.publish(others)
	w.version = version
	broken = w.one(first)
	for broken == nil && len(batch) < maxBatch {
		select {
		case r := <-w.requests:
			batch = append(batch, r)
			broken = w.one(r)
			continue
		default:
		}
		break
	}
	var changes []store.Change
	for _, r := range batch {
		changes = append(changes, r.changes...)
	}
	if broken == nil {
		broken = w.rows.Commit(w.version, changes)
	}
	if broken != nil {
		w.version = version
		if err := w.rows.Rollback(); err != nil {
			broken = errors.Join(broken, err)
		}
		return batch, 0, fmt.Errorf("%s: commit: %w", w.name, broken)
	}
	w.publish(changes) // before the answers: who knows of a write finds it in a watch
	return batch, w.version, nil
}

// one runs a request in a savepoint. The error returned is the backend's own and spoils the whole batch.
func (w *Writer) one(r *request) error {
	if r.err = r.ctx.Err(); r.err != nil {
		return nil
	}
	if err := w.rows.Savepoint(); err != nil {
		return err
	}
	t := &Tx{name: w.name, rows: w.rows, w: w}
	before := w.version
	r.err = w.call(r.f, t)
	t.End()
	if r.err != nil {
		w.version = before
		if err := w.rows.Undo(); err != nil {
			return err
		}
	} else {
		r.changes = t.changes
	}
	return w.rows.Release()
}

// call runs f; a panic of one caller must not take the writer from all others.
func (w *Writer) call(f func(store.Tx) error, t store.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic in a transaction: %v\n%s", w.name, p, debug.Stack())
		}
	}()
	return f(t)
}
