package rp

import (
	"context"

	"vauban.dev/store"
)

// Memo is store.Memo, for what is read by a Tx of the engine.
type Memo[V any] = store.Memo[V]

// NewMemo makes a memo of read, whose errors are not kept.
func NewMemo[V any](e *Engine, read func(tx *Tx, key string) (V, error)) *Memo[V] {
	return store.NewMemo(e.store, func(ctx context.Context, tx store.Tx, key string) (V, error) {
		return read(e.tx(ctx, tx), key)
	})
}
