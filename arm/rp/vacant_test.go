package rp_test

import (
	"errors"
	"slices"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
)

// TestTypesInUse: what looks through all types finds the first resource of one: in the transaction that writes it, not after
// one that was undone, and whichever server of the store has written it.
func TestTypesInUse(t *testing.T) {
	type thing struct{}
	types := []rp.Registration{
		rp.Of(rp.Type[thing]{Name: "Microsoft.Test/books", Versions: rp.Versions[thing]("2024-01-01")}),
		rp.Of(rp.Type[thing]{Name: "Microsoft.Test/discs", Versions: rp.Versions[thing]("2024-01-01")}),
	}
	r := rptest.New(t, rp.Config{}, types...)
	other := rp.New(rp.Config{Store: r.Store})
	if err := other.Register(types...); err != nil {
		t.Fatal(err)
	}
	const group = "/subscriptions/s/resourceGroups/g"
	save := func(tx *rp.Tx, name string) error {
		return rp.Save(tx, &rp.Resource[thing]{ID: arm.MustParseID(group + "/providers/Microsoft.Test/" + name), Location: "x"})
	}
	found := func(tx *rp.Tx) (names []string) {
		if err := rp.EachEnvelope(tx, arm.MustParseID(group), func(e rp.Envelope) error {
			names = append(names, e.ID.Name())
			return nil
		}); err != nil {
			t.Error(err)
		}
		return names
	}
	want := func(what string, names ...string) {
		t.Helper()
		if err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
			if got := found(tx); !slices.Equal(got, names) {
				t.Errorf("%s: %v, want %v", what, got, names)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want("new")
	undone := errors.New("undone")
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		if err := save(tx, "books/a"); err != nil {
			return err
		}
		if got := found(tx); !slices.Equal(got, []string{"a"}) {
			t.Errorf("in its transaction: %v", got)
		}
		return undone
	}); !errors.Is(err, undone) {
		t.Fatal(err)
	}
	want("undone")
	if err := other.Update(t.Context(), func(tx *rp.Tx) error { return save(tx, "discs/b") }); err != nil {
		t.Fatal(err)
	}
	want("another server's", "b")
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return save(tx, "books/c") }); err != nil {
		t.Fatal(err)
	}
	want("its own", "c", "b")
}
