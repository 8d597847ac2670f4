package commit

import (
	"math"
	"sync"
	"sync/atomic"

	"vauban.dev/store"
)

// Latest knows the version of the latest write to each kind.
type Latest struct {
	any   atomic.Int64
	ended atomic.Int64 // how often it was asked after End
	over  atomic.Bool
	kinds sync.Map     // string → *atomic.Int64
	count atomic.Int64 // of kinds
}

// record is called by one goroutine at a time, after the commit and before its answers.
func (l *Latest) record(changes []store.Change) {
	for _, c := range changes {
		v, ok := l.kinds.Load(c.Kind)
		if !ok {
			v, _ = l.kinds.LoadOrStore(c.Kind, new(atomic.Int64))
			l.count.Add(1)
		}
		v.(*atomic.Int64).Store(c.Version)
		l.any.Store(c.Version)
	}
}

// Of is store.Store.Changed.
func (l *Latest) Of(kinds ...string) (version int64) {
	if l.over.Load() {
		return math.MaxInt64/2 + l.ended.Add(1)
	}
	if len(kinds) == 0 {
		return l.any.Load()
	}
	for _, k := range kinds {
		if v, ok := l.kinds.Load(k); ok {
			version = max(version, v.(*atomic.Int64).Load())
		}
	}
	return version
}

// Kinds is store.Store.Kinds.
func (l *Latest) Kinds() int64 {
	if l.over.Load() {
		return math.MaxInt64/2 + l.ended.Add(1)
	}
	return l.count.Load()
}

// End says that changes are not recorded any more: from now on every answer of Of is higher than all before, and nothing
// that is kept under one holds.
func (l *Latest) End() { l.over.Store(true) }
