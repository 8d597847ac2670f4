package commit

import (
	"sync"
	"sync/atomic"

	"vauban.dev/store"
)

// Stamps says when kinds were written last, in stamps of this process that rise with every change.
type Stamps struct {
	now   atomic.Int64
	floor atomic.Int64
	blind atomic.Bool
	ended atomic.Bool
	kinds sync.Map // string → *atomic.Int64
}

// record is called by one goroutine at a time, after the commit and before its answers.
func (s *Stamps) record(changes []store.Change) {
	for _, c := range changes {
		v, ok := s.kinds.Load(c.Kind)
		if !ok {
			v, _ = s.kinds.LoadOrStore(c.Kind, new(atomic.Int64))
		}
		v.(*atomic.Int64).Store(s.now.Add(1))
	}
}

// Of is store.Store.Changed.
func (s *Stamps) Of(kinds ...string) (stamp int64) {
	if s.blind.Load() || s.ended.Load() {
		return s.now.Add(1) // higher than every stamp that was given: nothing that is kept holds
	}
	if len(kinds) == 0 {
		return s.now.Load()
	}
	stamp = s.floor.Load()
	for _, k := range kinds {
		if v, ok := s.kinds.Load(k); ok {
			stamp = max(stamp, v.(*atomic.Int64).Load())
		}
	}
	return stamp
}

// Blind says that changes may have been committed that were not recorded: until Sighted every answer of Of is
// higher than the ones before.
func (s *Stamps) Blind() { s.blind.Store(true) }

// Sighted ends Blind, after everything that was missed has been recorded: what was kept before holds no longer.
func (s *Stamps) Sighted() {
	if !s.blind.Load() {
		return
	}
	s.floor.Store(s.now.Add(1))
	s.blind.Store(false)
}

// End is Blind for good.
func (s *Stamps) End() { s.ended.Store(true) }
