package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"vauban.dev/internal/testkit/smalldisk"
	"vauban.dev/store"
)

// TestFullDisk: on a full disk writes are refused with ErrFull and leave nothing, what was acknowledged is there and
// can be read, and writes go on as soon as there is room, without a restart.
func TestFullDisk(t *testing.T) {
	const size = 6 << 20
	smalldisk.Run(t, size, func(t *testing.T, d *smalldisk.Disk) {
		path := filepath.Join(d.Dir, "state.db")
		s := open(t, path)
		var mu sync.Mutex
		outcome := map[string]error{} // what each Update returned
		write := func(key string) error {
			err := s.Update(t.Context(), func(tx store.Tx) error {
				for _, kind := range []string{"resource", "operation"} {
					if _, err := tx.Put(kind, key, []byte(strings.Repeat("x", 5000)), store.None); err != nil {
						return err
					}
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			outcome[key] = err
			return err
		}
		fill := func(round int) {
			t.Helper()
			var all sync.WaitGroup
			for w := range 4 {
				all.Go(func() {
					for i := range 10_000 {
						if err := write(fmt.Sprintf("%d/%d/%d", round, w, i)); err != nil {
							if !errors.Is(err, store.ErrFull) {
								t.Errorf("on a full disk: %v, want ErrFull", err)
							}
							return
						}
					}
					t.Error("the disk was never full")
				})
			}
			all.Wait()
		}
		check := func(s *Store) {
			t.Helper()
			err := s.View(t.Context(), func(tx store.Tx) error {
				for key, outcome := range outcome {
					for _, kind := range []string{"resource", "operation"} {
						_, err := tx.Get(kind, key)
						if outcome == nil && err != nil {
							return fmt.Errorf("acknowledged %s %s: %w", kind, key, err)
						}
						if outcome != nil && !errors.Is(err, store.ErrNotFound) {
							return fmt.Errorf("%s %s was refused (%w), and is there: %w", kind, key, outcome, err)
						}
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}

		// More than SQLite keeps in memory, so that it finds no room before the commit.
		err := s.Update(t.Context(), func(tx store.Tx) error {
			for i := range 70 {
				if _, err := tx.Put("k", fmt.Sprint(i), make([]byte, 1<<20), store.Any); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("70 MiB on a disk of 6: %v, want ErrFull", err)
		}
		fill(0)
		check(s)
		d.Resize(t, 2*size)
		if err := write("room"); err != nil {
			t.Errorf("with room again: %v", err)
		}
		fill(1)
		check(s)
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}

		// A start on a full disk reads what is there, or says why it does not; afterwards nothing is amiss.
		if err := os.WriteFile(filepath.Join(d.Dir, "rest"), make([]byte, 2*size), 0o600); err == nil {
			t.Fatal("the rest of the disk was not filled")
		}
		if again, err := Open(path); err == nil {
			check(again)
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, store.ErrFull) {
			t.Errorf("open on a full disk: %v, want ErrFull", err)
		}
		if err := os.Remove(filepath.Join(d.Dir, "rest")); err != nil {
			t.Fatal(err)
		}
		d.Resize(t, 4*size)
		s = open(t, path)
		check(s)
		if err := s.Update(context.Background(), func(tx store.Tx) error { _, err := tx.Put("k", "last", nil, store.None); return err }); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
