package authorization

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
)

// Source is the authz.Source of what is stored: it is never older than the latest acknowledged write, but for the
// delay that it was asked to rehearse.
type Source struct {
	db      store.Store
	clock   clock.Clock
	delay   time.Duration
	changes <-chan []store.Change
	kinds   []string

	index authz.Index
	at    atomic.Int64 // the version of the store that the index is not older than

	mu      sync.Mutex // who brings the index up to date
	pending []delayed
	waiting atomic.Bool // pending is not empty
}

// delayed is a change that counts from a time on.
type delayed struct {
	due    time.Time
	change store.Change
}

var _ authz.Source = (*Source)(nil)

// Open reads what is stored and follows it until ctx ends. A delay other than 0 has changes count that much later by the
// clock, as Azure's do ("Troubleshoot Azure RBAC": up to ten minutes); what is there when Open is called counts at once.
func Open(ctx context.Context, db store.Store, c clock.Clock, delay time.Duration) (*Source, error) {
	s := &Source{db: db, clock: c, delay: delay}
	for _, t := range []string{AssignmentType, DefinitionType, DenialType} {
		s.kinds = append(s.kinds, rp.StoreKind(t))
	}
	s.changes = db.Watch(ctx, s.kinds...)
	at := db.Changed(s.kinds...)
	err := db.View(ctx, func(tx store.Tx) error {
		for _, kind := range s.kinds {
			var bad error
			err := tx.Scan(kind, "", "", func(d store.Doc) bool {
				bad = s.put(kind, d.Key, d.Value)
				return bad == nil
			})
			if bad != nil {
				err = bad
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.at.Store(at)
	return s, nil
}

// Run takes changes in as they come, until ctx ends: what is put off counts from then, and nothing piles up where
// nobody asks.
func (s *Source) Run(ctx context.Context) {
	for range s.db.Watch(ctx, s.kinds...) {
		if s.follow(ctx) != nil {
			return
		}
	}
}

// CountNow has all that was written so far count at once, whatever the delay: what a region begins with.
func (s *Source) CountNow(ctx context.Context) error {
	if err := s.follow(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		s.apply(p.change)
	}
	s.pending = nil
	s.waiting.Store(false)
	return nil
}

// Assignments implements authz.Source.
func (s *Source) Assignments(ctx context.Context, principalIDs []string) ([]authz.Assignment, error) {
	if err := s.follow(ctx); err != nil {
		return nil, err
	}
	return s.index.Assignments(ctx, principalIDs)
}

// AssignmentsAt implements authz.Source.
func (s *Source) AssignmentsAt(ctx context.Context, principalIDs, scopes []string) ([]authz.Assignment, error) {
	if err := s.follow(ctx); err != nil {
		return nil, err
	}
	return s.index.AssignmentsAt(ctx, principalIDs, scopes)
}

// Definition implements authz.Source.
func (s *Source) Definition(ctx context.Context, id string) (authz.Definition, bool, error) {
	if err := s.follow(ctx); err != nil {
		return authz.Definition{}, false, err
	}
	return s.index.Definition(ctx, id)
}

// Denials implements authz.Source.
func (s *Source) Denials(ctx context.Context) ([]authz.DenyAssignment, error) {
	if err := s.follow(ctx); err != nil {
		return nil, err
	}
	return s.index.Denials(ctx)
}

// follow brings the index up to what was acknowledged before the call.
func (s *Source) follow(ctx context.Context) error {
	want := s.db.Changed(s.kinds...)
	if s.at.Load() >= want && !s.waiting.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.at.Load() < want {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case changes, ok := <-s.changes:
			if !ok {
				return store.ErrClosed
			}
			s.take(changes)
		}
	}
	s.settle()
	return nil
}

// take applies changes, or puts them off.
func (s *Source) take(changes []store.Change) {
	for _, c := range changes {
		if s.delay == 0 {
			s.apply(c)
		} else {
			s.pending = append(s.pending, delayed{s.clock.Now().Add(s.delay), c})
		}
		if c.Version > s.at.Load() {
			s.at.Store(c.Version)
		}
	}
	s.waiting.Store(len(s.pending) > 0)
}

// settle applies what has waited long enough, in order.
func (s *Source) settle() {
	now := s.clock.Now()
	n := 0
	for n < len(s.pending) && !s.pending[n].due.After(now) {
		s.apply(s.pending[n].change)
		n++
	}
	s.pending = s.pending[n:]
	s.waiting.Store(len(s.pending) > 0)
}

// apply changes the index. What cannot be read grants nothing, and what cannot be read of what denies is kept.
func (s *Source) apply(c store.Change) {
	if c.Value != nil && s.put(c.Kind, c.Key, c.Value) == nil {
		return
	}
	switch c.Kind {
	case rp.StoreKind(AssignmentType):
		s.index.Remove(c.Key)
	case rp.StoreKind(DefinitionType):
		s.index.RemoveDefinition(c.Key)
	case rp.StoreKind(DenialType):
		if c.Value == nil {
			s.index.RemoveDenial(c.Key)
		}
	}
}

func (s *Source) put(kind, key string, value []byte) error {
	var d struct {
		Properties json.RawMessage `json:"properties"`
	}
	err := json.Unmarshal(value, &d)
	switch {
	case err != nil:
	case kind == rp.StoreKind(AssignmentType):
		var p Assignment
		if err = json.Unmarshal(d.Properties, &p); err == nil {
			s.index.Put(authz.Assignment{ID: key, PrincipalID: p.PrincipalID, Definition: p.RoleDefinitionID, Scope: p.Scope, Condition: p.Condition})
		}
	case kind == rp.StoreKind(DefinitionType):
		var p Definition
		if err = json.Unmarshal(d.Properties, &p); err == nil {
			s.index.PutDefinition(p.role(authz.DefinitionName(key)))
		}
	default:
		var p Denial
		if err = json.Unmarshal(d.Properties, &p); err == nil {
			s.index.PutDenial(p.denial(key))
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}
