package sqlite

import (
	"sync"
	"sync/atomic"

	"vauban.dev/store"
)

// latest knows the version of the latest write to each kind.
type latest struct {
	any   atomic.Int64
	kinds sync.Map // string → *atomic.Int64
}

// record is called by one goroutine, after the commit and before its answers.
func (l *latest) record(changes []store.Change) {
	for _, c := range changes {
		v, ok := l.kinds.Load(c.Kind)
		if !ok {
			v, _ = l.kinds.LoadOrStore(c.Kind, new(atomic.Int64))
		}
		v.(*atomic.Int64).Store(c.Version)
		l.any.Store(c.Version)
	}
}

func (l *latest) of(kinds []string) (version int64) {
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
