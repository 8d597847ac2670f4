package authorization

import (
	"context"
	"encoding/json"
	"fmt"

	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// Index keeps x equal to the stored role assignments: filled when Index returns, then followed by run
// until its context ends.
func Index(ctx context.Context, db store.Store, x *authz.Index) (run func(context.Context), err error) {
	kind := rp.StoreKind(AssignmentType)
	watch, stop := context.WithCancel(ctx)
	changes := db.Watch(watch, kind)
	err = db.View(ctx, func(tx store.Tx) error {
		var bad error
		err := tx.Scan(kind, "", "", func(d store.Doc) bool {
			bad = put(x, d.Key, d.Value)
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		return err
	})
	if err != nil {
		stop()
		return nil, err
	}
	return func(ctx context.Context) {
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return
			case cs, ok := <-changes:
				if !ok {
					return
				}
				for _, c := range cs {
					// An assignment that cannot be read grants nothing.
					if c.Value == nil || put(x, c.Key, c.Value) != nil {
						x.Remove(c.Key)
					}
				}
			}
		}
	}, nil
}

func put(x *authz.Index, key string, value []byte) error {
	var d struct {
		Properties Assignment `json:"properties"`
	}
	if err := json.Unmarshal(value, &d); err != nil {
		return fmt.Errorf("role assignment %s: %w", key, err)
	}
	p := d.Properties
	x.Put(authz.Assignment{ID: key, PrincipalID: p.PrincipalID, Definition: p.RoleDefinitionID, Scope: p.Scope, Condition: p.Condition})
	return nil
}
