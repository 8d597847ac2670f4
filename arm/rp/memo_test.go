package rp_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/store"
)

// TestMemo: what is kept is asked once, until a kind that was read is written.
func TestMemo(t *testing.T) {
	r := rptest.New(t, rp.Config{})
	write := func(kind, key, value string) {
		t.Helper()
		if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
			_, err := tx.Put(kind, key, []byte(value), store.Any)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	reads := 0
	m := rp.NewMemo(r.Engine, func(tx *rp.Tx, key string) (string, error) {
		reads++
		to, err := tx.Get("alias", key)
		if err != nil {
			return "", err
		}
		d, err := tx.Get("name", string(to.Value))
		return string(d.Value), err
	})
	want := func(value string, n int) {
		t.Helper()
		got, err := m.Get(t.Context(), "a")
		if err != nil || got != value || reads != n {
			t.Errorf("got %q (%v) after %d reads, want %q after %d", got, err, reads, value, n)
		}
	}
	for range 2 { // an error is not kept
		if _, err := m.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("nothing there: %v", err)
		}
	}
	write("alias", "a", "one")
	write("name", "one", "1")
	want("1", 3)
	want("1", 3)
	write("other", "a", "x")
	want("1", 3)
	write("name", "one", "2") // the kind that was read last
	want("2", 4)
	want("2", 4)
	write("alias", "b", "one") // another key of a kind that was read
	want("2", 5)
}

// TestMemoIsNeverOld: who knows of a write finds it, whatever readers do meanwhile.
func TestMemoIsNeverOld(t *testing.T) {
	r := rptest.New(t, rp.Config{})
	m := rp.NewMemo(r.Engine, func(tx *rp.Tx, key string) (string, error) {
		d, err := tx.Get("name", key)
		return string(d.Value), err
	})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = m.Get(ctx, "a") // only to disturb
			}
		})
	}
	for i := range 200 {
		value := fmt.Sprint(i)
		if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
			_, err := tx.Put("name", "a", []byte(value), store.Any)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Get(t.Context(), "a"); err != nil || got != value {
			t.Fatalf("read %q (%v) after %q was written", got, err, value)
		}
	}
}

// TestMemoOfNothing: what was read of a type without a resource is read again when there is one.
func TestMemoOfNothing(t *testing.T) {
	type thing struct{}
	r := rptest.New(t, rp.Config{}, rp.Of(rp.Type[thing]{Name: "Microsoft.Test/things", Kind: rp.Extension, Versions: rp.Versions[thing]("2024-01-01")}))
	list := func(tx *rp.Tx, _ string) (int, error) {
		all, err := rp.List[thing](tx, "Microsoft.Test/things", arm.MustParseID("/"))
		return len(all), err
	}
	for _, m := range []*rp.Memo[int]{rp.NewMemo(r.Engine, list), rp.NewMemo(r.Engine, list)} { // the second is told from memory
		if n, err := m.Get(t.Context(), ""); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		defer func() {
			if n, err := m.Get(t.Context(), ""); n != 1 || err != nil {
				t.Errorf("%d after the first one was made (%v)", n, err)
			}
		}()
	}
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		return rp.Save(tx, &rp.Resource[thing]{ID: arm.MustParseID("/providers/Microsoft.Test/things/one")})
	}); err != nil {
		t.Fatal(err)
	}
}
