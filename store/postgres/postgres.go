// Package postgres is the store on a PostgreSQL database. Several servers may use one database: writers go one after
// the other by a row's lock, and a write is acknowledged only when every server that lives has seen it, so that what
// each keeps in memory is never older than an acknowledged write. A server that loses the database for longer than its
// lease ends, and its store fails every call.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"vauban.dev/store"
	"vauban.dev/store/internal/commit"
)

// lease is how long a server is waited for that does not answer, and how long it may be without its database.
const lease = 5 * time.Second

// Store is a store.Store on a database.
type Store struct {
	config  *pgx.ConnConfig
	id      uuid.UUID // of this server
	channel string    // of the notifications, one for each schema
	lease   time.Duration
	renewed atomic.Int64 // when the lease was, in nanoseconds after start
	start   time.Time

	readers  *pgxpool.Pool
	writer   *commit.Writer
	hub      *commit.Hub
	latest   commit.Latest
	progress chan struct{} // capacity 1: another server has seen more

	running sync.WaitGroup
	stop    context.CancelFunc
	closed  sync.Once
	users   sync.WaitGroup

	mu    sync.Mutex
	gone  bool // Close was called
	err   error
	ended chan struct{} // closed with err
}

var _ store.Store = (*Store)(nil)

// Open connects to the database that a connection string names, as libpq reads it (URL or key=value; what it lacks
// comes from PGHOST, PGPASSWORD, PGPASSFILE and their like), and makes the tables when they are not there.
func Open(ctx context.Context, connection string) (*Store, error) {
	return open(ctx, connection, lease, nil)
}

// OpenBy is Open where TCP connections are made by dial, which resolves host names too.
func OpenBy(ctx context.Context, connection string, dial Dial) (*Store, error) {
	return open(ctx, connection, lease, dial)
}

// Dial makes a connection to HOST:PORT.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

func open(ctx context.Context, connection string, lease time.Duration, dial Dial) (_ *Store, err error) {
	pool, err := pgxpool.ParseConfig(connection)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err) // pgx leaves the password out
	}
	if err := encrypted(pool.ConnConfig); err != nil {
		return nil, err
	}
	pool.ConnConfig.ConnectTimeout = lease
	if dial != nil {
		pool.ConnConfig.DialFunc = dial
		pool.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	}
	pool.MaxConns = int32(max(4, 2*runtime.GOMAXPROCS(0)))
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{
		config: pool.ConnConfig, id: uuid.New(), lease: lease, hub: commit.NewHub(), progress: make(chan struct{}, 1),
		stop: stop, ended: make(chan struct{}), start: time.Now(),
	}
	var conn *pgx.Conn
	defer func() {
		if err != nil {
			stop()
			closeQuietly(conn)
			err = fmt.Errorf("postgres: open: %w", err)
		}
	}()
	if conn, err = s.connect(ctx); err != nil {
		return nil, err
	}
	if err := prepareTables(ctx, conn); err != nil {
		return nil, err
	}
	if err := conn.QueryRow(ctx, "SELECT 'vauban:' || current_schema()").Scan(&s.channel); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		return nil, err
	}
	at := s.now()
	version, err := s.register(ctx, conn)
	if err != nil {
		return nil, err
	}
	s.renewed.Store(at)
	if s.readers, err = pgxpool.NewWithConfig(background, pool); err != nil {
		return nil, err
	}
	w := &writable{s: s, rows: rows{ctx: context.WithoutCancel(ctx)}}
	s.writer = commit.NewWriter("postgres", w, version, &s.latest, s.hub)
	w.published = s.writer.Published
	s.running.Add(1)
	go s.live(background, conn)
	go s.writer.Run()
	return s, nil
}

// encrypted refuses a connection that could go without TLS to another machine. pgx's own default (sslmode=prefer) would, when the
// server, or who stands before it, says that it has none.
func encrypted(c *pgx.ConnConfig) error {
	plain := func(host string, t *tls.Config) bool {
		ip, err := netip.ParseAddr(host)
		return t == nil && !filepath.IsAbs(host) && host != "localhost" && (err != nil || !ip.IsLoopback())
	}
	is := plain(c.Host, c.TLSConfig)
	for _, f := range c.Fallbacks {
		is = is || plain(f.Host, f.TLSConfig)
	}
	if !is {
		return nil
	}
	return fmt.Errorf("postgres: the database %s is on another machine and could be reached without TLS: write sslmode=verify-full, and sslrootcert=FILE for a certificate authority of your own", c.Host)
}

func (s *Store) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, s.config.Copy())
}

// Err says why this server has ended, nil while it has not.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Ended is closed when this server has lost its place at the database: nothing works any more, open it again.
func (s *Store) Ended() <-chan struct{} { return s.ended }

func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		s.latest.End()
		close(s.ended)
	}
}

// enter counts a View.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return store.ErrClosed
	}
	if s.err == nil {
		s.users.Add(1)
	}
	return s.err
}

// View runs f on a snapshot.
func (s *Store) View(ctx context.Context, f func(store.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.Done()
	return pgx.BeginTxFunc(ctx, s.readers, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		t := commit.View("postgres", rows{ctx, tx})
		defer t.End()
		return f(t)
	})
}

// Update runs f in the writer.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.writer.Update(ctx, f)
}

// Watch delivers committed changes, those of other servers too.
func (s *Store) Watch(ctx context.Context, kinds ...string) <-chan []store.Change {
	return s.hub.Watch(ctx, kinds)
}

// Changed answers from memory, which is trusted as long as the lease is.
func (s *Store) Changed(kinds ...string) int64 {
	if s.left() <= 0 {
		s.fail(errLease)
	}
	return s.latest.Of(kinds...)
}

// Kinds answers as Changed does.
func (s *Store) Kinds() int64 {
	if s.left() <= 0 {
		s.fail(errLease)
	}
	return s.latest.Kinds()
}

func (s *Store) now() int64 { return int64(time.Since(s.start)) }

// left is how much of the lease there is.
func (s *Store) left() time.Duration { return s.lease - time.Duration(s.now()-s.renewed.Load()) }

// Close finishes the transactions that were accepted, ends the watches and gives up this server's place.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.mu.Lock()
		s.gone = true
		s.mu.Unlock()
		s.users.Wait()
		s.writer.Stop()
		s.hub.Close()
		s.stop()
		s.running.Wait()
		s.readers.Close()
	})
	if err := s.Err(); err != nil && !errors.Is(err, errGap) && !errors.Is(err, errLease) {
		return err
	}
	return nil
}
