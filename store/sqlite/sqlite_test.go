package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/store"
	"vauban.dev/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("SQLITE_TEST_WRITER"); path != "" {
		if err := writeForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "s?t#a %20te.db") // characters that mean something in a URI
		return func() store.Store { return open(t, path) }
	})
}

func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "state.db"))
	defer s.Close()
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put("k", "a", nil, store.Any)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || seen < 2 {
		t.Errorf("%d files, %v", seen, err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if _, err := s.writer.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path); err == nil {
		s.Close()
		t.Error("a file of format 99 was opened")
	}
}

// TestKill kills a process in the midst of its writes and finds every write that it had acknowledged.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SQLITE_TEST_WRITER="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == 500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	s := open(t, path)
	defer s.Close()
	err = s.View(t.Context(), func(tx store.Tx) error {
		for _, key := range acknowledged {
			for _, kind := range []string{"resource", "operation"} { // one transaction: both
				if _, err := tx.Get(kind, key); err != nil {
					return fmt.Errorf("acknowledged %s %s: %w", kind, key, err)
				}
			}
		}
		torn := 0
		return errors.Join(tx.Scan("resource", "", "", func(d store.Doc) bool {
			if _, err := tx.Get("operation", d.Key); err != nil {
				torn++
			}
			return true
		}), func() error {
			if torn > 0 {
				return fmt.Errorf("%d transactions are there by half", torn)
			}
			return nil
		}())
	})
	if err != nil {
		t.Error(err)
	}
}

// writeForever is the process that TestKill kills: it prints each key once its write is acknowledged.
func writeForever(path string) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%d", w, i)
				err := s.Update(context.Background(), func(tx store.Tx) error {
					for _, kind := range []string{"resource", "operation"} {
						if _, err := tx.Put(kind, key, []byte(strings.Repeat("x", 500)), store.None); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.New("the writers stopped")
}

func BenchmarkPut(b *testing.B) {
	body := []byte(strings.Repeat("x", 1500))
	for _, c := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("c=%d", c), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "state.db"))
			defer s.Close()
			work := make(chan int)
			var all sync.WaitGroup
			for range c {
				all.Go(func() {
					for i := range work {
						key := fmt.Sprint(i % 5000)
						err := s.Update(context.Background(), func(tx store.Tx) error { // what a PUT writes
							if _, err := tx.Put("resource", key, body, store.Any); err != nil {
								return err
							}
							if _, err := tx.Put("operation", key, body, store.Any); err != nil {
								return err
							}
							if _, err := tx.Put("event", fmt.Sprint(i), body[:400], store.Any); err != nil {
								return err
							}
							_, err := tx.Put("activity", fmt.Sprint(i), body[:400], store.Any)
							return err
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := 0; b.Loop(); i++ {
				work <- i
			}
			close(work)
			all.Wait()
		})
	}
}

// TestHungUp: a reader whose context ends at any moment leaves no transaction behind to those who read after it.
func TestHungUp(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer s.Close()
	read := func(store.Tx) error { return nil }
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%60)*time.Microsecond)
				_ = s.View(ctx, read) // it may be cut short or not
				cancel()
				if err := s.View(context.Background(), read); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "state.db"))
	defer s.Close()
	if err := s.Update(context.Background(), func(tx store.Tx) error {
		_, err := tx.Put("resource", "a", []byte(strings.Repeat("x", 1500)), store.Any)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.View(context.Background(), func(tx store.Tx) error {
				_, err := tx.Get("resource", "a")
				return err
			}); err != nil {
				b.Error(err)
			}
		}
	})
}
