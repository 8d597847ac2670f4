package directory

import (
	"errors"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// TestMoveIdentity: an identity follows its resource, and is not left for who takes the old id.
func TestMoveIdentity(t *testing.T) {
	w := newWorld(t)
	from := arm.MustParseID("/subscriptions/s/resourceGroups/a/providers/A.B/things/X")
	to := arm.MustParseID("/subscriptions/s/resourceGroups/b/providers/A.B/things/X")
	w.update(t, func(tx store.Tx) error {
		before, _, err := w.EnsureSystem(tx, from)
		if err != nil {
			return err
		}
		if err := w.Move(tx, from, to); err != nil {
			return err
		}
		if _, err := w.ByResource(tx, from); !errors.Is(err, ErrNoPrincipal) {
			t.Errorf("the old id: %v", err)
		}
		p, err := w.ByResource(tx, to)
		if err != nil || p.ObjectID != before || p.Resource != to.String() {
			t.Errorf("the new id: %+v, %v", p, err)
		}
		return w.Move(tx, from, to) // without an identity
	})
}
