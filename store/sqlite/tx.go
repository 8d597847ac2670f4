package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

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

func newSession(ctx context.Context, conn *sql.Conn, begin string) (*session, error) {
	s := &session{conn: conn}
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.begin, begin},
		{&s.rollback, "ROLLBACK"},
		{&s.get, "SELECT version, value FROM doc WHERE kind = ? AND key = ?"},
		{&s.scan, "SELECT key, version, value FROM doc WHERE kind = ? AND key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"},
		{&s.scanOpen, "SELECT key, version, value FROM doc WHERE kind = ? AND key > ? AND key >= ? ORDER BY key LIMIT ?"},
	} {
		if err := s.prepare(ctx, p.to, p.text); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *session) prepare(ctx context.Context, to **sql.Stmt, text string) (err error) {
	if *to, err = s.conn.PrepareContext(ctx, text); err != nil {
		return fmt.Errorf("sqlite: prepare %q: %w", text, err)
	}
	s.all = append(s.all, *to)
	return nil
}

func (s *session) exec(ctx context.Context, st *sql.Stmt, args ...any) error {
	_, err := st.ExecContext(ctx, args...)
	return err
}

// close frees the connection; its errors have nobody to go to and nothing depends on them.
func (s *session) close() {
	for _, st := range s.all {
		_ = st.Close()
	}
	_ = s.conn.Close()
}

// tx is a transaction on a session; w is nil when it only reads.
type tx struct {
	ses     *session
	w       *writer
	changes []store.Change
}

var (
	errOver     = errors.New("sqlite: the transaction is over")
	errReadOnly = errors.New("sqlite: write in a read transaction")
)

func (t *tx) Get(kind, key string) (store.Doc, error) {
	if t.ses == nil {
		return store.Doc{}, errOver
	}
	d := store.Doc{Kind: kind, Key: key}
	err := t.ses.get.QueryRow([]byte(kind), []byte(key)).Scan(&d.Version, &d.Value)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Doc{}, store.ErrNotFound
	}
	if err != nil {
		return store.Doc{}, fmt.Errorf("sqlite: get %s %s: %w", kind, key, err)
	}
	return d, nil
}

func (t *tx) Put(kind, key string, value []byte, expect int64) (int64, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	if err := t.check(kind, key, expect, true); err != nil {
		return 0, err
	}
	if value == nil {
		value = []byte{} // a nil value would be NULL
	}
	t.w.version++
	if _, err := t.w.put.Exec([]byte(kind), []byte(key), t.w.version, value); err != nil {
		return 0, fmt.Errorf("sqlite: put %s %s: %w", kind, key, err)
	}
	t.changes = append(t.changes, store.Change{Kind: kind, Key: key, Version: t.w.version, Value: value})
	return t.w.version, nil
}

func (t *tx) Delete(kind, key string, expect int64) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := t.check(kind, key, expect, false); err != nil {
		return err
	}
	r, err := t.w.del.Exec([]byte(kind), []byte(key))
	if err != nil {
		return fmt.Errorf("sqlite: delete %s %s: %w", kind, key, err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return errors.Join(store.ErrNotFound, err)
	}
	t.w.version++
	t.changes = append(t.changes, store.Change{Kind: kind, Key: key, Version: t.w.version})
	return nil
}

func (t *tx) writable() error {
	switch {
	case t.ses == nil:
		return errOver
	case t.w == nil:
		return errReadOnly
	}
	return nil
}

// check compares the version of the document with the expected one.
func (t *tx) check(kind, key string, expect int64, absent bool) error {
	if expect == store.Any {
		return nil
	}
	var have int64
	err := t.w.stored.QueryRow([]byte(kind), []byte(key)).Scan(&have)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if expect == store.None && absent {
			return nil
		}
		if !absent {
			return store.ErrNotFound
		}
		return store.ErrConflict
	case err != nil:
		return fmt.Errorf("sqlite: get %s %s: %w", kind, key, err)
	case have != expect:
		return store.ErrConflict
	}
	return nil
}

// page is how many rows Scan reads at a time: no statement is open while yield runs.
const page = 128

func (t *tx) Scan(kind, prefix, after string, yield func(store.Doc) bool) error {
	for {
		if t.ses == nil {
			return errOver
		}
		docs, err := t.page(kind, prefix, after)
		if err != nil {
			return fmt.Errorf("sqlite: scan %s %s: %w", kind, prefix, err)
		}
		for _, d := range docs {
			if !yield(d) {
				return nil
			}
		}
		if len(docs) < page {
			return nil
		}
		after = docs[len(docs)-1].Key
	}
}

func (t *tx) page(kind, prefix, after string) ([]store.Doc, error) {
	var rows *sql.Rows
	var err error
	if end, bounded := successor(prefix); bounded {
		rows, err = t.ses.scan.Query([]byte(kind), []byte(after), []byte(prefix), end, page)
	} else {
		rows, err = t.ses.scanOpen.Query([]byte(kind), []byte(after), []byte(prefix), page)
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var docs []store.Doc
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

// successor is the least string greater than all that start with prefix; there is none after 0xff…
func successor(prefix string) (end []byte, ok bool) {
	end = []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1], true
		}
	}
	return nil, false
}
