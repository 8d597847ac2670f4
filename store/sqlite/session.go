package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"vauban.dev/store"
)

// session is a connection with its statements.
type session struct {
	conn     *sql.Conn
	begin    *sql.Stmt
	rollback *sql.Stmt
	get      *sql.Stmt
	scan     *sql.Stmt // with an upper bound of the key
	scanOpen *sql.Stmt // without
	broken   bool
	all      []*sql.Stmt
}

// statement is a text and where its prepared form goes.
type statement struct {
	to   **sql.Stmt
	text string
}

func newSession(ctx context.Context, conn *sql.Conn, begin string) (*session, error) {
	s := &session{conn: conn}
	return s, s.prepare(ctx, []statement{
		{&s.begin, begin},
		{&s.rollback, "ROLLBACK"},
		{&s.get, "SELECT version, value FROM doc WHERE kind = ? AND key = ?"},
		{&s.scan, "SELECT key, version, value FROM doc WHERE kind = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"},
		{&s.scanOpen, "SELECT key, version, value FROM doc WHERE kind = ? AND key >= ? ORDER BY key LIMIT ?"},
	})
}

func (s *session) prepare(ctx context.Context, statements []statement) (err error) {
	for _, p := range statements {
		if *p.to, err = s.conn.PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("sqlite: prepare %q: %w", p.text, err)
		}
		s.all = append(s.all, *p.to)
	}
	return nil
}

// close frees the connection; its errors have nobody to go to and nothing depends on them. A broken one is not given
// back to database/sql, which would hand it to the next reader with the transaction that it may be in.
func (s *session) close() {
	for _, st := range s.all {
		_ = st.Close()
	}
	if s.broken {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.conn.Close()
}

func (s *session) Get(kind, key string) (store.Doc, error) {
	d := store.Doc{Kind: kind, Key: key}
	err := s.get.QueryRow([]byte(kind), []byte(key)).Scan(&d.Version, &d.Value)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Doc{}, store.ErrNotFound
	}
	if err != nil {
		return store.Doc{}, fmt.Errorf("sqlite: get %s %s: %w", kind, key, err)
	}
	return d, nil
}

func (s *session) Page(kind, from string, to []byte, n int) (docs []store.Doc, err error) {
	var rows *sql.Rows
	if to != nil {
		rows, err = s.scan.Query([]byte(kind), []byte(from), to, n)
	} else {
		rows, err = s.scanOpen.Query([]byte(kind), []byte(from), n)
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d := store.Doc{Kind: kind}
		var key []byte
		if err := rows.Scan(&key, &d.Version, &d.Value); err != nil {
			return nil, err
		}
		d.Key = string(key)
		docs = append(docs, d)
	}
	return docs, rows.Err()
}

// writable is the connection that writes: a commit.Writable.
type writable struct {
	*session
	commit    *sql.Stmt
	savepoint *sql.Stmt
	release   *sql.Stmt
	undo      *sql.Stmt
	put       *sql.Stmt
	del       *sql.Stmt
	stored    *sql.Stmt
	tick      *sql.Stmt

	version int64 // of the latest write that was committed
	lack    error // of room, in this batch
}

func newWritable(ctx context.Context, conn *sql.Conn) (*writable, error) {
	ses, err := newSession(ctx, conn, "BEGIN IMMEDIATE")
	if err != nil {
		return nil, err
	}
	w := &writable{session: ses}
	err = w.prepare(ctx, []statement{
		{&w.commit, "COMMIT"},
		{&w.savepoint, "SAVEPOINT one"},
		{&w.release, "RELEASE one"},
		{&w.undo, "ROLLBACK TO one"},
		{&w.put, "INSERT INTO doc (kind, key, version, value) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, value = excluded.value"},
		{&w.del, "DELETE FROM doc WHERE kind = ? AND key = ?"},
		{&w.stored, "SELECT version FROM doc WHERE kind = ? AND key = ?"},
		{&w.tick, "UPDATE clock SET version = ?"},
	})
	if err != nil {
		return nil, err
	}
	if err := conn.QueryRowContext(ctx, "SELECT version FROM clock").Scan(&w.version); err != nil {
		return nil, fmt.Errorf("sqlite: read the version: %w", err)
	}
	return w, nil
}

// Begin: nobody else writes to the file, so its latest version is this connection's own.
func (w *writable) Begin() (int64, []store.Change, error) {
	w.lack = nil
	return w.version, nil, w.run(w.begin)
}

func (w *writable) Savepoint() error { return w.run(w.savepoint) }
func (w *writable) Release() error   { return w.run(w.release) }
func (w *writable) Settle(int64)     {}
func (w *writable) Close()           { w.close() }

// Undo fails when the lack of room has ended the whole transaction: then that is why.
func (w *writable) Undo() error {
	if err := w.run(w.undo); err != nil {
		return errors.Join(w.lack, err)
	}
	return nil
}

// Rollback ends the transaction, which SQLite may have done by itself.
func (w *writable) Rollback() error {
	err := w.run(w.rollback)
	if code(err) == sqlite3.SQLITE_ERROR { // cannot rollback - no transaction is active
		return nil
	}
	return err
}

func (w *writable) Commit(version int64, _ []store.Change) error {
	if version != w.version {
		if err := w.run(w.tick, version); err != nil {
			return err
		}
	}
	if err := w.run(w.commit); err != nil {
		return err
	}
	w.version = version
	return nil
}

func (w *writable) Put(d store.Doc) error {
	return w.run(w.put, []byte(d.Kind), []byte(d.Key), d.Version, d.Value)
}

func (w *writable) Delete(kind, key string) error { return w.run(w.del, []byte(kind), []byte(key)) }

func (w *writable) Version(kind, key string) (version int64, err error) {
	err = w.stored.QueryRow([]byte(kind), []byte(key)).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

// run notes a lack of room.
func (w *writable) run(st *sql.Stmt, args ...any) error {
	err := full(run(st, args...))
	if errors.Is(err, store.ErrFull) {
		w.lack = err
	}
	return err
}

// full says store.ErrFull of what SQLite says when it finds no room for its files.
func full(err error) error {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// code is SQLite's extended result code, 0 for an error that is not its own.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func run(st *sql.Stmt, args ...any) error {
	_, err := st.Exec(args...)
	return err
}
