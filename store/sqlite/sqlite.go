// Package sqlite is the store on one SQLite file: write-ahead log, synchronous=FULL. One goroutine owns the
// only connection that writes and commits what waits with one fsync. Readers have snapshots of their own and
// wait for nobody.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"sync"

	_ "modernc.org/sqlite" // the driver

	"vauban.dev/store"
	"vauban.dev/store/internal/commit"
)

const schema = `
CREATE TABLE IF NOT EXISTS doc (kind BLOB NOT NULL, key BLOB NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS doc_address ON doc (kind, key);
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
PRAGMA user_version = 1;
`

// formatVersion is the layout of the file that this code reads and writes.
const formatVersion = 1

// Store is a store.Store on a file.
type Store struct {
	writer  *sql.DB
	readers *sql.DB
	idle    chan *session // readers' sessions, at most maxReaders
	w       *commit.Writer
	hub     *commit.Hub
	latest  commit.Latest

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup // Views under way
}

var _ store.Store = (*Store)(nil)

// Open opens or creates the file, which only its owner may read.
func Open(path string) (*Store, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	ctx := context.Background()
	s := &Store{hub: commit.NewHub()}
	var err error
	s.writer, err = sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(0)", "cache_size(-65536)"))
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	fail := func(err error) (*Store, error) {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: %w", path, full(err)), s.writer.Close())
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return fail(err)
	}
	var format int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&format); err != nil {
		return fail(err)
	}
	if format > formatVersion {
		return fail(fmt.Errorf("the file has format %d, this program knows %d", format, formatVersion))
	}
	if format < formatVersion { // else nothing is written: a full disk is read
		if _, err := conn.ExecContext(ctx, schema); err != nil {
			return fail(err)
		}
	}
	rows, err := newWritable(ctx, conn)
	if err != nil {
		return fail(err)
	}
	s.w = commit.NewWriter("sqlite", rows, rows.version, &s.latest, s.hub)
	s.readers, err = sql.Open("sqlite", dsn(path, "query_only(1)", "busy_timeout(10000)", "cache_size(-16384)"))
	if err != nil {
		return fail(err)
	}
	s.idle = make(chan *session, maxReaders())
	go s.w.Run()
	return s, nil
}

// Reader reads the file of a Store, also of one that another process has open, and changes nothing.
type Reader struct{ s *Store }

// OpenReader opens the file at path, which must exist, for reading.
func OpenReader(path string) (*Reader, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "query_only(1)", "busy_timeout(10000)")+"&mode=ro")
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	var format int
	if err := db.QueryRow("PRAGMA user_version").Scan(&format); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: %w", path, err), db.Close())
	}
	if format > formatVersion {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: the file has format %d, this program knows %d", path, format, formatVersion), db.Close())
	}
	return &Reader{&Store{readers: db, idle: make(chan *session, 1)}}, nil
}

// View runs f on a consistent snapshot.
func (r *Reader) View(ctx context.Context, f func(store.Tx) error) error { return r.s.View(ctx, f) }

// Close closes the file.
func (r *Reader) Close() error {
	close(r.s.idle)
	for ses := range r.s.idle {
		ses.close()
	}
	return r.s.readers.Close()
}

func maxReaders() int { return 2 * runtime.GOMAXPROCS(0) }

// private makes the file with mode 0600 before SQLite does: it gives the write-ahead log the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return nil
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// View runs f on a snapshot.
func (s *Store) View(ctx context.Context, f func(store.Tx) error) error {
	if !s.enter() {
		return store.ErrClosed
	}
	defer s.users.Done()
	ses, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer s.giveBack(ses)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := run(ses.begin); err != nil { // not by ctx: cut short, it might have begun all the same; it waits for nothing
		ses.broken = true
		return fmt.Errorf("sqlite: begin: %w", full(err))
	}
	t := commit.View("sqlite", ses)
	defer func() { // also when f panics: the connection must not stay in the transaction
		t.End()
		if err := run(ses.rollback); err != nil {
			ses.broken = true
		}
	}()
	return f(t)
}

func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.users.Add(1)
	return true
}

func (s *Store) reader(ctx context.Context) (*session, error) {
	select {
	case ses := <-s.idle:
		return ses, nil
	default:
	}
	conn, err := s.readers.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	ses, err := newSession(ctx, conn, "BEGIN")
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return ses, nil
}

func (s *Store) giveBack(ses *session) {
	if !ses.broken {
		select {
		case s.idle <- ses:
			return
		default:
		}
	}
	ses.close()
}

// Update runs f in the writer.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.w.Update(ctx, f)
}

// Watch delivers committed changes.
func (s *Store) Watch(ctx context.Context, kinds ...string) <-chan []store.Change {
	return s.hub.Watch(ctx, kinds)
}

// Changed answers from memory.
func (s *Store) Changed(kinds ...string) int64 { return s.latest.Of(kinds...) }

// Kinds answers from memory.
func (s *Store) Kinds() int64 { return s.latest.Kinds() }

// Close finishes the transactions that were accepted, ends the watches and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.users.Wait()
	s.w.Stop()
	s.hub.Close()
	close(s.idle)
	for ses := range s.idle {
		ses.close()
	}
	return errors.Join(s.readers.Close(), s.writer.Close())
}
