package rp

import (
	"context"
	"slices"
	"sync"

	"vauban.dev/store"
)

// maxMemo bounds how many keys a Memo keeps: callers on the network choose them.
const maxMemo = 4096

// Memo keeps what Views found, by key, until a document of a kind that they have read is written: an answer is
// never older than the latest acknowledged write. It is for what every request asks and few writes change, such as
// the account behind a host name. What it keeps must follow from documents alone, not from the time or the caller.
type Memo[V any] struct {
	engine *Engine
	read   func(tx *Tx, key string) (V, error)

	mu   sync.RWMutex
	kept map[string]found[V]
}

// found is a value, the kinds that were read for it, and a version of the store that it is not older than.
type found[V any] struct {
	value V
	kinds []string
	at    int64
}

// NewMemo makes a memo of read, whose errors are not kept.
func NewMemo[V any](e *Engine, read func(tx *Tx, key string) (V, error)) *Memo[V] {
	return &Memo[V]{engine: e, read: read, kept: map[string]found[V]{}}
}

// Get returns what read finds for key. The value is shared: it must not be changed.
func (m *Memo[V]) Get(ctx context.Context, key string) (V, error) {
	m.mu.RLock()
	f, ok := m.kept[key]
	m.mu.RUnlock()
	if ok && m.engine.store.Changed(f.kinds...) <= f.at {
		return f.value, nil
	}
	f = found[V]{at: m.engine.store.Changed()}
	err := m.engine.store.View(ctx, func(s store.Tx) (err error) {
		reads := &recorder{Tx: s}
		f.value, err = m.read(m.engine.tx(ctx, reads), key)
		f.kinds = reads.kinds
		return err
	})
	if err != nil || len(f.kinds) == 0 { // no kinds would mean all
		return f.value, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.kept[key]; !ok && len(m.kept) >= maxMemo {
		clear(m.kept)
	}
	m.kept[key] = f
	return f.value, nil
}

// recorder notes the kinds that are read through it.
type recorder struct {
	store.Tx
	kinds []string
}

func (r *recorder) note(kind string) {
	if !slices.Contains(r.kinds, kind) {
		r.kinds = append(r.kinds, kind)
	}
}

func (r *recorder) Get(kind, key string) (store.Doc, error) {
	r.note(kind)
	return r.Tx.Get(kind, key)
}

func (r *recorder) Scan(kind, prefix, after string, yield func(store.Doc) bool) error {
	r.note(kind)
	return r.Tx.Scan(kind, prefix, after, yield)
}
