package rp

import (
	"sync"
	"sync/atomic"

	"vauban.dev/store"
)

// vacancy knows types of which there is no resource, so that what asks all types (listings of all resources, the
// deletion of a group) pays for those in use alone: most of Azure's are not.
type vacancy struct {
	empty   sync.Map // document kinds that had no document when they were looked at
	written sync.Map // kinds that this engine has written, in transactions that may not be committed
	kinds   atomic.Int64
	used    atomic.Pointer[used]
}

// used is what a look at all types found.
type used struct {
	written     int64         // vacancy.kinds before the look
	kinds       int64         // the store's, before the look
	definitions []*definition // that may have resources
	empty       []string      // kinds of the others
}

// inUse returns the types that may have resources, in the order of their names: all that whoever looks through the types has
// to scan. The slice is shared.
func (tx *Tx) inUse() []*definition {
	v := &tx.engine.vacancy
	now := used{written: v.kinds.Load()}
	if tx.engine.store != nil {
		now.kinds = tx.engine.store.Kinds()
	}
	if u := v.used.Load(); u != nil && u.written == now.written && u.kinds == now.kinds {
		for _, kind := range u.empty {
			store.Reads(tx.Tx, kind)
		}
		return u.definitions
	}
	u := &now
	for _, d := range tx.engine.definitions() {
		if tx.vacant(d.stored) {
			u.empty = append(u.empty, d.stored)
		} else {
			u.definitions = append(u.definitions, d)
		}
	}
	v.used.Store(u)
	return u.definitions
}

// vacant says that a type has no resource. It has none if it had none and its kind was not written since the store was
// opened, by whichever server.
func (tx *Tx) vacant(kind string) bool {
	v := &tx.engine.vacancy
	if _, is := v.written.Load(kind); is || tx.engine.store == nil || tx.engine.store.Changed(kind) != 0 {
		return false
	}
	if _, is := v.empty.Load(kind); is {
		store.Reads(tx.Tx, kind) // a memo is not to outlive the first document
		return true
	}
	none := true
	if err := tx.Scan(kind, "", "", func(store.Doc) bool { none = false; return false }); err != nil || !none {
		return false // the caller's own scan tells the error
	}
	v.empty.Store(kind, true)
	return true
}

// Put notes what is written before it is committed: a transaction sees its own writes.
func (tx *Tx) Put(kind, key string, value []byte, expect int64) (int64, error) {
	if _, known := tx.engine.vacancy.written.LoadOrStore(kind, true); !known {
		tx.engine.vacancy.kinds.Add(1)
	}
	return tx.Tx.Put(kind, key, value, expect)
}
