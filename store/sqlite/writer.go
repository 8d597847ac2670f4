package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"

	"vauban.dev/store"
)

const (
	maxBatch   = 256
	queueDepth = 1024
)

// request is one Update: a function and where its outcome goes.
type request struct {
	ctx     context.Context
	f       func(store.Tx) error
	err     error
	changes []store.Change
	done    chan error
}

// writer owns the writing connection.
type writer struct {
	*session
	commit    *sql.Stmt
	savepoint *sql.Stmt
	release   *sql.Stmt
	undo      *sql.Stmt
	put       *sql.Stmt
	del       *sql.Stmt
	stored    *sql.Stmt
	tick      *sql.Stmt

	version  int64 // of the latest write
	latest   latest
	watch    *hub
	requests chan *request
	stopping chan struct{}
	stopped  chan struct{}
}

func newWriter(ctx context.Context, conn *sql.Conn, watch *hub) (*writer, error) {
	ses, err := newSession(ctx, conn, "BEGIN IMMEDIATE")
	if err != nil {
		return nil, err
	}
	w := &writer{session: ses, watch: watch, requests: make(chan *request, queueDepth), stopping: make(chan struct{}), stopped: make(chan struct{})}
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&w.commit, "COMMIT"},
		{&w.savepoint, "SAVEPOINT one"},
		{&w.release, "RELEASE one"},
		{&w.undo, "ROLLBACK TO one"},
		{&w.put, "INSERT INTO doc (kind, key, version, value) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, value = excluded.value"},
		{&w.del, "DELETE FROM doc WHERE kind = ? AND key = ?"},
		{&w.stored, "SELECT version FROM doc WHERE kind = ? AND key = ?"},
		{&w.tick, "UPDATE clock SET version = ?"},
	} {
		if err := w.prepare(ctx, p.to, p.text); err != nil {
			return nil, err
		}
	}
	if err := conn.QueryRowContext(ctx, "SELECT version FROM clock").Scan(&w.version); err != nil {
		return nil, fmt.Errorf("sqlite: read the version: %w", err)
	}
	w.latest.any.Store(w.version)
	return w, nil
}

// update hands f to the writer and waits. Once the writer has begun f, the answer is its outcome, whatever
// ctx does.
func (w *writer) update(ctx context.Context, f func(store.Tx) error) error {
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

// run works the queue until stop.
func (w *writer) run() {
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
					w.session.close()
					return
				}
			}
		}
	}
}

func (w *writer) stop() {
	close(w.stopping)
	<-w.stopped
}

// batch runs first and what else waits in one SQLite transaction, and answers after the commit.
func (w *writer) batch(first *request) {
	start := w.version
	if _, err := w.begin.Exec(); err != nil {
		first.done <- fmt.Errorf("sqlite: begin: %w", err)
		return
	}
	batch := append(make([]*request, 0, 16), first)
	broken := w.one(first)
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
	if broken == nil && w.version != start {
		_, broken = w.tick.Exec(w.version)
	}
	if broken == nil {
		_, broken = w.commit.Exec()
	}
	if broken != nil {
		w.version = start
		if _, err := w.rollback.Exec(); err != nil {
			broken = errors.Join(broken, err)
		}
		broken = fmt.Errorf("sqlite: commit: %w", broken)
	}
	var changes []store.Change
	for _, r := range batch {
		if broken == nil {
			changes = append(changes, r.changes...)
		} else if r.err == nil {
			r.err = broken
		}
	}
	w.latest.record(changes)
	w.watch.publish(changes) // before the answers: who knows of a write finds it in a watch
	for _, r := range batch {
		r.done <- r.err
	}
}

// one runs a request in a savepoint. The error returned is SQLite's own and spoils the whole batch.
func (w *writer) one(r *request) error {
	if r.err = r.ctx.Err(); r.err != nil {
		return nil
	}
	if _, err := w.savepoint.Exec(); err != nil {
		return err
	}
	t := &tx{ses: w.session, w: w}
	before := w.version
	r.err = call(r.f, t)
	t.ses = nil
	if r.err != nil {
		w.version = before
		if _, err := w.undo.Exec(); err != nil {
			return err
		}
	} else {
		r.changes = t.changes
	}
	_, err := w.release.Exec()
	return err
}

// call runs f; a panic of one caller must not take the writer from all others.
func call(f func(store.Tx) error, t store.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sqlite: panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	return f(t)
}
