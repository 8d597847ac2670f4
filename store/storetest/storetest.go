// Package storetest is the suite that every backend of package store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/store"
)

// Run tests a backend. open opens the same empty-at-first store again and again: what an earlier Store
// committed before its Close is there.
func Run(t *testing.T, open func(t *testing.T) (reopen func() store.Store)) {
	for name, test := range map[string]func(t *testing.T, s store.Store){
		"put and get":              putGet,
		"expected versions":        expectations,
		"versions rise":            versionsRise,
		"scan":                     scan,
		"scan many":                scanMany,
		"failed update is undone":  undone,
		"panic is undone":          panics,
		"update sees itself":       seesItself,
		"view is a snapshot":       snapshot,
		"view does not write":      viewReadOnly,
		"tx ends with its func":    txEnds,
		"cancelled before it runs": cancelled,
		"concurrent counters":      counters,
		"watch order":              watchOrder,
		"watch slow reader":        watchSlow,
		"watch ends":               watchEnds,
		"changed":                  changed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)()
			t.Cleanup(func() { mustClose(t, s) })
			test(t, s)
		})
	}
	t.Run("reopen", func(t *testing.T) { reopened(t, open(t)) })
	t.Run("closed", func(t *testing.T) { closed(t, open(t)) })
}

func mustClose(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func update(t *testing.T, s store.Store, f func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// put writes one document whatever was there.
func put(t *testing.T, s store.Store, kind, key, value string) (version int64) {
	t.Helper()
	update(t, s, func(tx store.Tx) (err error) {
		version, err = tx.Put(kind, key, []byte(value), store.Any)
		return err
	})
	return version
}

// get returns the value, or the error's text.
func get(t *testing.T, s store.Store, kind, key string) string {
	t.Helper()
	var value string
	err := s.View(t.Context(), func(tx store.Tx) error {
		d, err := tx.Get(kind, key)
		value = string(d.Value)
		return err
	})
	if err != nil {
		return err.Error()
	}
	return value
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func putGet(t *testing.T, s store.Store) {
	v := put(t, s, "k", "a", "1")
	put(t, s, "other", "a", "2")
	put(t, s, "k", "empty", "")
	err := s.View(t.Context(), func(tx store.Tx) error {
		d, err := tx.Get("k", "a")
		if diff := cmp.Diff(store.Doc{Kind: "k", Key: "a", Version: v, Value: []byte("1")}, d); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
		if _, err := tx.Get("k", "b"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("absent: %v", err)
		}
		if d, err := tx.Get("k", "empty"); err != nil || len(d.Value) != 0 {
			t.Errorf("empty value: %v %q", err, d.Value)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	put(t, s, "k", "a", "3")
	if got := get(t, s, "k", "a"); got != "3" {
		t.Errorf("after overwriting: %s", got)
	}
	update(t, s, func(tx store.Tx) error { return tx.Delete("k", "a", store.Any) })
	if got := get(t, s, "k", "a"); got != store.ErrNotFound.Error() {
		t.Errorf("after deleting: %s", got)
	}
}

func expectations(t *testing.T, s store.Store) {
	v := put(t, s, "k", "a", "1")
	update(t, s, func(tx store.Tx) error {
		_, err := tx.Put("k", "a", nil, store.None)
		wantError(t, "create what exists", err, store.ErrConflict)
		_, err = tx.Put("k", "a", nil, v+1)
		wantError(t, "put at a wrong version", err, store.ErrConflict)
		_, err = tx.Put("k", "b", nil, v)
		wantError(t, "put what is absent at a version", err, store.ErrConflict)
		wantError(t, "delete at a wrong version", tx.Delete("k", "a", v+1), store.ErrConflict)
		wantError(t, "delete what is absent", tx.Delete("k", "b", store.Any), store.ErrNotFound)
		wantError(t, "delete what is absent at a version", tx.Delete("k", "b", v), store.ErrNotFound)
		v2, err := tx.Put("k", "a", []byte("2"), v)
		if err != nil || v2 <= v {
			t.Errorf("put at its version: %d, %v", v2, err)
		}
		if err := tx.Delete("k", "a", v2); err != nil {
			t.Errorf("delete at its version: %v", err)
		}
		_, err = tx.Put("k", "a", []byte("3"), store.None)
		return err
	})
	if got := get(t, s, "k", "a"); got != "3" {
		t.Errorf("got %s", got)
	}
}

func versionsRise(t *testing.T, s store.Store) {
	var last int64
	for i := range 20 {
		v := put(t, s, "k", fmt.Sprint(i%3), "x")
		if v <= last {
			t.Fatalf("version %d after %d", v, last)
		}
		last = v
	}
}

func scanned(t *testing.T, tx store.Tx, kind, prefix, after string, limit int) []string {
	t.Helper()
	var keys []string
	err := tx.Scan(kind, prefix, after, func(d store.Doc) bool {
		keys = append(keys, d.Key+"="+string(d.Value))
		return len(keys) != limit
	})
	if err != nil {
		t.Errorf("scan: %v", err)
	}
	return keys
}

func scan(t *testing.T, s store.Store) {
	for _, k := range []string{"/a/2", "/a/10", "/b", "/a", "/ab", "/a/\xff", "\xff\xff", "\xff\xffz"} {
		put(t, s, "k", k, "v")
	}
	put(t, s, "l", "/a/3", "v")
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 0, []string{"/a=v", "/a/10=v", "/a/2=v", "/a/\xff=v", "/ab=v", "/b=v", "\xff\xff=v", "\xff\xffz=v"}},
		{"/a/", "", 0, []string{"/a/10=v", "/a/2=v", "/a/\xff=v"}},
		{"/a", "/a/10", 0, []string{"/a/2=v", "/a/\xff=v", "/ab=v"}},
		{"/a/", "/a/2", 1, []string{"/a/\xff=v"}},
		{"/c", "", 0, nil},
		{"\xff", "", 0, []string{"\xff\xff=v", "\xff\xffz=v"}},
		{"\xff\xff", "\xff\xff", 0, []string{"\xff\xffz=v"}},
	} {
		err := s.View(t.Context(), func(tx store.Tx) error {
			if diff := cmp.Diff(c.want, scanned(t, tx, "k", c.prefix, c.after, c.limit)); diff != "" {
				t.Errorf("scan %q after %q (-want +got):\n%s", c.prefix, c.after, diff)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func scanMany(t *testing.T, s store.Store) {
	var want []string
	update(t, s, func(tx store.Tx) error {
		for i := range 1000 {
			k := fmt.Sprintf("%04d", i)
			want = append(want, k+"=x")
			if _, err := tx.Put("k", k, []byte("x"), store.None); err != nil {
				return err
			}
		}
		if got := scanned(t, tx, "k", "", "", 0); !slices.Equal(got, want) {
			t.Errorf("scan in the writing transaction: %d documents", len(got))
		}
		return nil
	})
	err := s.View(t.Context(), func(tx store.Tx) error {
		if got := scanned(t, tx, "k", "", "", 0); !slices.Equal(got, want) {
			t.Errorf("scan: %d documents", len(got))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func undone(t *testing.T, s store.Store) {
	v := put(t, s, "k", "a", "1")
	bad := errors.New("bad")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Put("k", "a", []byte("2"), store.Any); err != nil {
			return err
		}
		if _, err := tx.Put("k", "b", []byte("2"), store.Any); err != nil {
			return err
		}
		return bad
	})
	wantError(t, "update", err, bad)
	if a, b := get(t, s, "k", "a"), get(t, s, "k", "b"); a != "1" || b != store.ErrNotFound.Error() {
		t.Errorf("after a failed update: %s, %s", a, b)
	}
	if w := put(t, s, "k", "a", "3"); w <= v {
		t.Errorf("version %d after %d", w, v)
	}
}

func panics(t *testing.T, s store.Store) {
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Put("k", "a", []byte("2"), store.Any); err != nil {
			return err
		}
		panic("boom")
	})
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("error %v", err)
	}
	if got := get(t, s, "k", "a"); got != store.ErrNotFound.Error() {
		t.Errorf("after a panic: %s", got)
	}
	put(t, s, "k", "a", "1")
}

func seesItself(t *testing.T, s store.Store) {
	update(t, s, func(tx store.Tx) error {
		v, err := tx.Put("k", "a", []byte("1"), store.None)
		if err != nil {
			return err
		}
		if d, err := tx.Get("k", "a"); err != nil || d.Version != v || string(d.Value) != "1" {
			t.Errorf("own write: %+v, %v", d, err)
		}
		if got := scanned(t, tx, "k", "", "", 0); !slices.Equal(got, []string{"a=1"}) {
			t.Errorf("scan of own write: %v", got)
		}
		if err := tx.Delete("k", "a", v); err != nil {
			return err
		}
		_, err = tx.Get("k", "a")
		wantError(t, "own delete", err, store.ErrNotFound)
		return nil
	})
}

func snapshot(t *testing.T, s store.Store) {
	put(t, s, "k", "a", "1")
	err := s.View(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Get("k", "a"); err != nil {
			return err
		}
		put(t, s, "k", "a", "2")
		put(t, s, "k", "b", "2")
		if got := scanned(t, tx, "k", "", "", 0); !slices.Equal(got, []string{"a=1"}) {
			t.Errorf("the snapshot moved: %v", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := get(t, s, "k", "a"); got != "2" {
		t.Errorf("later: %s", got)
	}
}

func viewReadOnly(t *testing.T, s store.Store) {
	err := s.View(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Put("k", "a", nil, store.Any); err == nil {
			t.Error("a view wrote")
		}
		if err := tx.Delete("k", "a", store.Any); err == nil {
			t.Error("a view deleted")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func txEnds(t *testing.T, s store.Store) {
	var leaked store.Tx
	keep := func(tx store.Tx) error { leaked = tx; return nil }
	update(t, s, keep)
	if _, err := leaked.Put("k", "a", nil, store.Any); err == nil {
		t.Error("an ended transaction wrote")
	}
	if err := s.View(t.Context(), keep); err != nil {
		t.Error(err)
	}
	if _, err := leaked.Get("k", "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("an ended transaction read: %v", err)
	}
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, func(store.Tx) error { t.Error("it ran"); return nil })
	wantError(t, "update", err, context.Canceled)
}

func counters(t *testing.T, s store.Store) {
	const workers, times = 16, 25
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range times {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					n := 0
					d, err := tx.Get("k", "n")
					if err == nil {
						_, err = fmt.Sscan(string(d.Value), &n)
					}
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					if i%5 == 4 {
						if _, err := tx.Put("k", "n", []byte("-1"), store.Any); err != nil {
							return err
						}
						return errors.New("never mind") // in the midst of others' commits
					}
					_, err = tx.Put("k", "n", fmt.Append(nil, n+1), d.Version)
					return err
				})
				if (err != nil) != (i%5 == 4) {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	all.Wait()
	if got, want := get(t, s, "k", "n"), fmt.Sprint(workers*times*4/5); got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
}

func watchOrder(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	put(t, s, "k", "before", "x")
	changes := s.Watch(ctx, "k", "l")
	put(t, s, "k", "a", "1")
	put(t, s, "other", "a", "1")
	update(t, s, func(tx store.Tx) error {
		if _, err := tx.Put("l", "b", []byte("2"), store.Any); err != nil {
			return err
		}
		return tx.Delete("k", "a", store.Any)
	})
	if err := s.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Put("k", "undone", nil, store.Any); err != nil {
			return err
		}
		return errors.New("no")
	}); err == nil {
		t.Error("no error")
	}
	put(t, s, "k", "last", "3")
	var got []string
	var last int64
	for len(got) == 0 || got[len(got)-1] != "k last 3 false" {
		for _, c := range <-changes {
			if c.Version <= last {
				t.Errorf("version %d after %d", c.Version, last)
			}
			last = c.Version
			got = append(got, fmt.Sprintf("%s %s %s %v", c.Kind, c.Key, c.Value, c.Value == nil))
		}
	}
	want := []string{"k a 1 false", "l b 2 false", "k a  true", "k last 3 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func watchSlow(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes := s.Watch(ctx, "k")
	const n = 300
	for i := range n { // nobody reads
		put(t, s, "k", fmt.Sprint(i), "x")
	}
	for seen := 0; seen < n; {
		for _, c := range <-changes {
			if c.Key != fmt.Sprint(seen) {
				t.Fatalf("change %d is of %s", seen, c.Key)
			}
			seen++
		}
	}
}

func watchEnds(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	changes := s.Watch(ctx, "k")
	put(t, s, "k", "a", "1")
	cancel()
	for range changes { // until it is closed
	}
	for range s.Watch(ctx, "k") {
		t.Error("a change after the end")
	}
}

func changed(t *testing.T, s store.Store) {
	want := func(what string, version int64, kinds ...string) {
		t.Helper()
		if got := s.Changed(kinds...); got != version {
			t.Errorf("%s: Changed(%v) = %d, want %d", what, kinds, got, version)
		}
	}
	want("new", 0, "k", "l")
	k := put(t, s, "k", "a", "1")
	want("first", k, "k")
	want("first", 0, "l")
	l := put(t, s, "l", "a", "1")
	want("second", k, "k")
	want("second", l, "l", "k")
	want("second", l)
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put("k", "undone", nil, store.Any)
		return errors.Join(err, errors.New("no"))
	}); err == nil {
		t.Error("no error")
	}
	want("undone", k, "k")
	update(t, s, func(tx store.Tx) error { return tx.Delete("k", "a", store.Any) })
	if s.Changed("k") <= l || s.Changed() != s.Changed("k") {
		t.Errorf("a deletion: Changed(k) = %d, Changed() = %d after %d", s.Changed("k"), s.Changed(), l)
	}
	if n := s.Kinds(); n != 2 {
		t.Errorf("%d kinds were written, not 2", n)
	}
}

func reopened(t *testing.T, open func() store.Store) {
	s := open()
	v := put(t, s, "k", "a", "1")
	gone := put(t, s, "k", "b", "2")
	update(t, s, func(tx store.Tx) error { return tx.Delete("k", "b", gone) })
	mustClose(t, s)
	s = open()
	defer mustClose(t, s)
	if a, b := get(t, s, "k", "a"), get(t, s, "k", "b"); a != "1" || b != store.ErrNotFound.Error() {
		t.Errorf("after reopening: %s, %s", a, b)
	}
	if w := put(t, s, "k", "c", "3"); w <= gone || gone <= v {
		t.Errorf("versions %d, %d, then %d", v, gone, w)
	}
}

func closed(t *testing.T, open func() store.Store) {
	s := open()
	changes := s.Watch(context.Background(), "k")
	mustClose(t, s)
	for range changes {
		t.Error("a change after Close")
	}
	wantError(t, "update", s.Update(t.Context(), func(store.Tx) error { return nil }), store.ErrClosed)
	wantError(t, "view", s.View(t.Context(), func(store.Tx) error { return nil }), store.ErrClosed)
	for range s.Watch(t.Context(), "k") {
		t.Error("a change after Close")
	}
	mustClose(t, s)
}
