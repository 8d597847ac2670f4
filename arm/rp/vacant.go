package rp

import (
	"sync"

	"vauban.dev/store"
)

// vacancy knows types of which there is no resource, so that what asks all types (listings of all resources, the
// deletion of a group) pays for those in use alone: most of Azure's are not.
type vacancy struct {
	empty   sync.Map // document kinds that had no document when they were looked at
	written sync.Map // kinds that this engine has written, in transactions that may not be committed
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
	tx.engine.vacancy.written.Store(kind, true)
	return tx.Tx.Put(kind, key, value, expect)
}
