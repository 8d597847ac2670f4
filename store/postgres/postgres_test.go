package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"vauban.dev/store"
	"vauban.dev/store/postgres/pgtest"
	"vauban.dev/store/storetest"
)

var (
	server *pgtest.Server
	root   string // file of the authority that has signed its certificate
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ca")
	if err == nil {
		server, root, err = startServer(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := errors.Join(server.Close(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var schemas atomic.Int64

// newSchema is the connection string of an empty store.
func newSchema(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", schemas.Add(1))
	conn, err := pgx.Connect(t.Context(), server.URL("public"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	return server.URL(name)
}

func mustOpen(t testing.TB, url string, lease time.Duration) *Store {
	t.Helper()
	s, err := open(t.Context(), url, lease, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func put(ctx context.Context, s store.Store, kind, key, value string) error {
	return s.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(kind, key, []byte(value), store.Any)
		return err
	})
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		url := newSchema(t)
		return func() store.Store { return mustOpen(t, url, lease) }
	})
}

// TestTwoServers runs the suite's promises across two servers on one database: counters that both raise, watches
// that see both, and Changed, which has risen when the other's write is acknowledged.
func TestTwoServers(t *testing.T) {
	url := newSchema(t)
	a, b := mustOpen(t, url, lease), mustOpen(t, url, lease)
	defer mustClose(t, b)
	defer mustClose(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watches := []<-chan []store.Change{a.Watch(ctx, "n"), b.Watch(ctx, "n")}

	const each = 100
	var all sync.WaitGroup
	for i, s := range []*Store{a, b} {
		other := []*Store{b, a}[i]
		all.Go(func() {
			for range each {
				before := other.Changed("n")
				err := s.Update(ctx, func(tx store.Tx) error {
					n := 0
					d, err := tx.Get("n", "n")
					if err == nil {
						if _, err = fmt.Sscan(string(d.Value), &n); err != nil {
							return err
						}
					}
					_, err = tx.Put("n", "n", fmt.Append(nil, n+1), d.Version)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if other.Changed("n") <= before {
					t.Error("a write was acknowledged that the other server does not know of")
				}
			}
		})
	}
	all.Wait()
	for i, changes := range watches {
		next := 1
		for next <= 2*each {
			for _, c := range <-changes {
				if string(c.Value) != fmt.Sprint(next) {
					t.Fatalf("server %d: change %s, want %d", i, c.Value, next)
				}
				next++
			}
		}
	}
}

// TestMemoOverServers: what one server keeps in memory under Changed is never older than what another has acknowledged.
func TestMemoOverServers(t *testing.T) {
	url := newSchema(t)
	a, b := mustOpen(t, url, lease), mustOpen(t, url, lease)
	defer mustClose(t, b)
	defer mustClose(t, a)
	var acknowledged atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for i := range int64(200) {
			if err := put(t.Context(), a, "k", "x", fmt.Sprint(i+1)); err != nil {
				t.Error(err)
			}
			acknowledged.Store(i + 1)
		}
	})
	memo, at := int64(0), int64(-1)
	for acknowledged.Load() < 200 && !t.Failed() {
		want := acknowledged.Load()
		if b.Changed("k") > at {
			at = b.Changed()
			if err := b.View(t.Context(), func(tx store.Tx) error {
				d, err := tx.Get("k", "x")
				if err == nil {
					_, err = fmt.Sscan(string(d.Value), &memo)
				}
				return err
			}); err != nil && err != store.ErrNotFound {
				t.Error(err)
			}
		}
		if memo < want {
			t.Errorf("kept %d after %d was acknowledged", memo, want)
		}
	}
	all.Wait()
}

// TestDeadServer: a server that died without a word holds up the others until its lease ends, no longer.
func TestDeadServer(t *testing.T) {
	url := newSchema(t)
	const lease = time.Second
	a, b := mustOpen(t, url, lease), mustOpen(t, url, lease)
	defer mustClose(t, a)
	b.stop() // its goroutine ends, and its lease is put back if it took it along: what a killed process leaves
	b.running.Wait()
	conn, err := a.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO server VALUES ($1, now() + $2, 0, 0)
		ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, seen = 0, committed = 0`, b.id, lease); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), a, "k", "a", "1"); err != nil {
		t.Fatal(err)
	}
	if b.left() > 0 {
		t.Errorf("acknowledged while the other's lease had %v to go", b.left())
	}
	before := b.Changed("k")
	if b.Changed("k") <= before {
		t.Error("a server without a lease trusts its memory")
	}
	mustClose(t, b)
}

// TestDatabaseRestarts kills PostgreSQL under writers: every acknowledged write is there, no update that failed is, and
// the store goes on by itself.
func TestDatabaseRestarts(t *testing.T) {
	other, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s := mustOpen(t, other.URL("public"), 20*time.Second)
	defer mustClose(t, s)
	var mu sync.Mutex
	outcome := map[string]error{}
	failed := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%d/%d", w, i)
				err := put(t.Context(), s, "k", key, strings.Repeat("x", 300))
				mu.Lock()
				outcome[key] = err
				mu.Unlock()
				if err != nil {
					select {
					case failed <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	for range 3 {
		if err := other.Restart(); err != nil {
			t.Fatal(err)
		}
		for err := error(context.Canceled); err != nil && ctx.Err() == nil; { // until it writes again
			err = put(t.Context(), s, "k", "again", "x")
			if s.Err() != nil {
				t.Fatal(s.Err())
			}
		}
	}
	cancel()
	all.Wait()
	lost, kept := 0, 0
	err = s.View(t.Context(), func(tx store.Tx) error {
		for key, err := range outcome {
			_, got := tx.Get("k", key)
			if err == nil && got != nil {
				lost++
			}
			if err != nil && got == nil {
				kept++
			}
		}
		return nil
	})
	if err != nil || lost > 0 || kept > 0 {
		t.Errorf("of %d writes %d acknowledged are lost, %d refused are there: %v", len(outcome), lost, kept, err)
	}
}

// TestPasswordStaysOut: an error of the connection does not show the password.
func TestPasswordStaysOut(t *testing.T) {
	for _, url := range []string{
		"postgres://u:s3cret-pass@/x?host=/nowhere", "host=/nowhere user=u password=s3cret-pass", "postgres://u:s3cret-pass@h:bad/x", "postgres://u:s3cret-pass@h/x?sslmode=wrong",
	} {
		if _, err := Open(t.Context(), url); err == nil || strings.Contains(err.Error(), "s3cret-pass") {
			t.Errorf("%v", err)
		}
	}
}

func TestOtherFormatIsRefused(t *testing.T) {
	url := newSchema(t)
	mustClose(t, mustOpen(t, url, lease))
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "UPDATE clock SET format = 99"); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), url); err == nil {
		mustClose(t, s)
		t.Error("tables of format 99 were taken")
	}
}

func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			s := mustOpen(b, newSchema(b), lease)
			defer mustClose(b, s)
			var n atomic.Int64
			b.SetParallelism(callers)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := put(context.Background(), s, "k", fmt.Sprint(n.Add(1)%1000), strings.Repeat("x", 1000)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := mustOpen(b, newSchema(b), lease)
	defer mustClose(b, s)
	if err := put(context.Background(), s, "k", "a", strings.Repeat("x", 1000)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.View(context.Background(), func(tx store.Tx) error { _, err := tx.Get("k", "a"); return err }); err != nil {
			b.Fatal(err)
		}
	}
}
