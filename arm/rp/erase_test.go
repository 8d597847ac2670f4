package rp_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/store"
)

// TestEraseRunsWhenTheRecordGoes: Release is called when a deletion is accepted, Finalize then, and Erase in the
// transaction in which the record goes; Release knows what it goes with.
func TestEraseRunsWhenTheRecordGoes(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	step := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, s)
	}
	there := func(tx *rp.Tx, id arm.ID) string {
		if rp.Exists(tx, id) != nil {
			return " (gone)"
		}
		return ""
	}
	gate := make(chan struct{})
	typ := func(name string, finalize func(context.Context, *rp.Resource[struct{}]) (rp.Result, error)) rp.Registration {
		return rp.Of(rp.Type[struct{}]{
			Name: name, Kind: rp.Proxy, Versions: rp.Versions[struct{}]("2024-01-01"), SyncDelete: finalize == nil, Finalize: finalize,
			Release: func(ctx context.Context, tx *rp.Tx, r *rp.Resource[struct{}]) error {
				step("release " + r.ID.Name() + " with " + rp.Removing(ctx).Name() + there(tx, r.ID))
				return nil
			},
			Erase: func(_ context.Context, tx *rp.Tx, r *rp.Resource[struct{}]) error {
				step("erase " + r.ID.Name() + there(tx, r.ID))
				_, err := tx.Put("erased", r.ID.Key(), []byte("{}"), store.None)
				return err
			},
		})
	}
	r := rptest.New(t, rp.Config{},
		typ("Microsoft.Toys/boxes", func(_ context.Context, r *rp.Resource[struct{}]) (rp.Result, error) {
			<-gate
			step("finalize " + r.ID.Name())
			return rp.Result{}, nil
		}),
		typ("Microsoft.Toys/boxes/toys", nil))
	box := sub + "/providers/Microsoft.Toys/boxes/box"
	r.Must("PUT", box+v1, `{}`)
	r.Must("PUT", box+"/toys/toy"+v1, `{}`)
	r.Must("PUT", box+"/toys/other"+v1, `{}`)
	r.Must("DELETE", box+"/toys/other"+v1, "")
	a := r.Request("DELETE", box+v1, "")
	if a.Status != 202 {
		t.Fatalf("DELETE: %d %s", a.Status, a.Text)
	}
	close(gate)
	if end := r.Wait(a); end.String("status") != "Succeeded" {
		t.Fatal(end.Text)
	}
	want := []string{
		"release other with other", "erase other", // by itself
		"release toy with box", "release box with box", "erase toy", "finalize box", "erase box",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(steps, "\n"), strings.Join(want, "\n"))
	}
}
