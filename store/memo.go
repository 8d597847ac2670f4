package store

import (
	"context"
	"slices"
	"sync"
)

// maxMemo bounds how many keys a Memo keeps: callers on the network choose them.
const maxMemo = 4096

// Memo keeps what Views found, by key, until a document of a kind that they have read is written: an answer is
// never older than the latest acknowledged write. It is for what every request asks and few writes change, such as
// the account behind a host name. What it keeps must follow from documents alone, not from the time or the caller.
type Memo[V any] struct {
	store Store
	read  func(ctx context.Context, tx Tx, key string) (V, error)

	mu   sync.RWMutex
	kept map[string]found[V]
}

// found is a value, the kinds that were read for it, and a version of the store that it is not older than.
type found[V any] struct {
	value V
	kinds []string
	at    int64
}

// NewMemo makes a memo of read, whose errors are not kept. read may ask another memo by its tx (See), but not the
// store.
func NewMemo[V any](s Store, read func(ctx context.Context, tx Tx, key string) (V, error)) *Memo[V] {
	return &Memo[V]{store: s, read: read, kept: map[string]found[V]{}}
}

// Get returns what read finds for key. The value is shared: it must not be changed.
func (m *Memo[V]) Get(ctx context.Context, key string) (V, error) {
	if f, ok := m.fresh(key); ok {
		return f.value, nil
	}
	f := found[V]{at: m.store.Changed()}
	err := m.store.View(ctx, func(tx Tx) (err error) {
		reads := &recorder{Tx: tx}
		f.value, err = m.read(ctx, reads, key)
		f.kinds = reads.kinds
		return err
	})
	if err == nil {
		m.keep(key, f)
	}
	return f.value, err
}

// See is Get in the transaction of another memo's read, whose answer then lasts no longer than this one.
func (m *Memo[V]) See(ctx context.Context, tx Tx, key string) (V, error) {
	f, ok := m.fresh(key)
	if !ok {
		reads := &recorder{Tx: tx}
		var err error
		if f.value, err = m.read(ctx, reads, key); err != nil {
			return f.value, err
		}
		f.kinds = reads.kinds
	}
	if outer, ok := tx.(*recorder); ok {
		outer.note(f.kinds...)
	}
	return f.value, nil
}

func (m *Memo[V]) fresh(key string) (found[V], bool) {
	m.mu.RLock()
	f, ok := m.kept[key]
	m.mu.RUnlock()
	return f, ok && m.store.Changed(f.kinds...) <= f.at
}

func (m *Memo[V]) keep(key string, f found[V]) {
	if len(f.kinds) == 0 { // no kinds would mean all
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.kept[key]; !ok && len(m.kept) >= maxMemo {
		clear(m.kept)
	}
	m.kept[key] = f
}

// recorder notes the kinds that are read through it.
type recorder struct {
	Tx
	kinds []string
}

func (r *recorder) note(kinds ...string) {
	for _, k := range kinds {
		if !slices.Contains(r.kinds, k) {
			r.kinds = append(r.kinds, k)
		}
	}
}

// Reads tells a memo, if it is one that reads through tx, that what it reads hangs on a kind for which the store is not asked.
func Reads(tx Tx, kind string) {
	if r, ok := tx.(*recorder); ok {
		r.note(kind)
	}
}

func (r *recorder) Get(kind, key string) (Doc, error) {
	r.note(kind)
	return r.Tx.Get(kind, key)
}

func (r *recorder) Scan(kind, prefix, after string, yield func(Doc) bool) error {
	r.note(kind)
	return r.Tx.Scan(kind, prefix, after, yield)
}
