package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"vauban.dev/store"
)

// writable is the connection that writes: a commit.Writable. It is made again when it was lost.
type writable struct {
	rows
	s         *Store
	conn      *pgx.Conn
	published func() int64 // the version up to which this server knows all changes
	version   int64        // at Begin
	others    bool         // other servers lived at Begin
}

// Begin takes the lock that every writer takes, and only then looks at what was written.
func (w *writable) Begin() (version int64, missed []store.Change, err error) {
	if err := w.s.Err(); err != nil {
		return 0, nil, err
	}
	if w.conn == nil || w.conn.IsClosed() {
		if err := w.connect(); err != nil {
			return 0, nil, err
		}
	}
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	b.Queue("SELECT version FROM clock FOR UPDATE").QueryRow(func(row pgx.Row) error { return row.Scan(&w.version) })
	b.Queue("SELECT EXISTS (SELECT FROM server WHERE id <> $1 AND expires > now())", w.s.id).QueryRow(func(row pgx.Row) error { return row.Scan(&w.others) })
	if err := full(w.conn.SendBatch(w.ctx, b).Close()); err != nil {
		return 0, nil, errors.Join(err, w.Rollback())
	}
	after := w.published()
	if w.version == after {
		return w.version, nil, nil
	}
	if missed, err = changes(w.ctx, w.conn, after); err == nil && (len(missed) == 0 || missed[len(missed)-1].Version != w.version) {
		err = errGap
	}
	if errors.Is(err, errGap) {
		w.s.fail(err)
	}
	if err != nil {
		return 0, nil, errors.Join(err, w.Rollback())
	}
	return w.version, missed, nil
}

func (w *writable) connect() (err error) {
	if w.conn, err = w.s.connect(w.ctx); err != nil {
		return err
	}
	w.on = w.conn
	// A server that stops in a transaction must not keep the others from writing.
	_, err = w.conn.Exec(w.ctx, "SET idle_in_transaction_session_timeout = '20s'; SET synchronous_commit = on")
	return err
}

func (w *writable) exec(text string, args ...any) error {
	_, err := w.conn.Exec(w.ctx, text, args...)
	return full(err)
}

// diskFull is PostgreSQL's error code for a table that cannot grow ("Appendix A. PostgreSQL Error Codes"). When there is no
// room for its log, it ends.
const diskFull = "53100"

// full says store.ErrFull of what PostgreSQL says when it finds no room.
func full(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == diskFull {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

func (w *writable) Savepoint() error { return w.exec("SAVEPOINT one") }
func (w *writable) Undo() error      { return w.exec("ROLLBACK TO one") }
func (w *writable) Release() error   { return w.exec("RELEASE one") }

func (w *writable) Rollback() error {
	if w.conn.IsClosed() {
		return nil // that ended the transaction
	}
	return w.exec("ROLLBACK")
}

func (w *writable) Put(d store.Doc) error {
	return w.exec("INSERT INTO doc (kind, key, version, value) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, value = excluded.value",
		[]byte(d.Kind), []byte(d.Key), d.Version, d.Value)
}

func (w *writable) Delete(kind, key string) error {
	return w.exec("DELETE FROM doc WHERE kind = $1 AND key = $2", []byte(kind), []byte(key))
}

func (w *writable) Version(kind, key string) (version int64, err error) {
	err = w.conn.QueryRow(w.ctx, "SELECT version FROM doc WHERE kind = $1 AND key = $2", []byte(kind), []byte(key)).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

// Commit sends what ends the transaction in one turn.
func (w *writable) Commit(version int64, changes []store.Change) error {
	if version == w.version {
		return w.exec("COMMIT")
	}
	b := &pgx.Batch{}
	b.Queue("UPDATE clock SET version = $1", version)
	b.Queue("UPDATE server SET committed = $1, seen = $1 WHERE id = $2", version, w.s.id)
	if w.others {
		for _, c := range changes {
			b.Queue("INSERT INTO change (version, kind, key, value) VALUES ($1, $2, $3, $4)", c.Version, []byte(c.Kind), []byte(c.Key), c.Value)
		}
		b.Queue("SELECT pg_notify($1, $2)", w.s.channel, committed)
	}
	b.Queue("COMMIT")
	err := full(w.conn.SendBatch(w.ctx, b).Close())
	if err != nil && w.conn.IsClosed() {
		return w.resolve(version, err)
	}
	return err
}

// resolve finds out what became of a commit whose answer was lost: the row of this server says how far it has come.
// It waits for the transaction's end by the lock that it holds.
func (w *writable) resolve(version int64, cause error) error {
	for end := time.Now().Add(w.s.lease); ; {
		done, err := w.resolved(version)
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			return cause
		case time.Now().After(end):
			err = fmt.Errorf("whether version %d was committed is not known: %w", version, errors.Join(cause, err))
			w.s.fail(err)
			return err
		}
		select {
		case <-w.s.ended:
			return cause
		case <-time.After(w.s.lease / 20):
		}
	}
}

func (w *writable) resolved(version int64) (done bool, err error) {
	if err := w.connect(); err != nil {
		return false, err
	}
	err = pgx.BeginFunc(w.ctx, w.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(w.ctx, "SELECT FROM clock FOR UPDATE"); err != nil {
			return err
		}
		return tx.QueryRow(w.ctx, "SELECT committed >= $1 FROM server WHERE id = $2", version, w.s.id).Scan(&done)
	})
	return done, err
}

// Settle waits until the other servers that live have seen version. One whose lease has ended keeps nothing for true.
func (w *writable) Settle(version int64) {
	if !w.others || version == w.version {
		return
	}
	for {
		var waiting bool
		var err error
		if w.conn.IsClosed() {
			err = w.connect()
		}
		if err == nil {
			err = w.conn.QueryRow(w.ctx, "SELECT EXISTS (SELECT FROM server WHERE id <> $1 AND expires > now() AND seen < $2)", w.s.id, version).Scan(&waiting)
		}
		if err == nil && !waiting {
			return
		}
		select {
		case <-w.s.ended:
			return
		case <-w.s.progress: // another server has seen more
		case <-time.After(w.s.lease / 10): // or its lease has ended, which nobody tells
		}
	}
}

func (w *writable) Close() {
	if w.conn != nil {
		_ = w.conn.Close(w.ctx) // nothing depends on it: what was acknowledged is committed
	}
}
