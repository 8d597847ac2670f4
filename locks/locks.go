// Package locks decides what management locks refuse (Azure: "Lock your resources to protect your infrastructure"): a lock
// holds at its scope and at everything in it. It is pure; the engine supplies the locks.
package locks

import (
	"fmt"
	"slices"
	"strings"

	"vauban.dev/arm"
)

// Type is the resource type of locks.
const Type = "Microsoft.Authorization/locks"

// Level of a lock.
type Level string

const (
	CanNotDelete Level = "CanNotDelete" // reads and changes pass
	ReadOnly     Level = "ReadOnly"     // only reads pass; a POST is none, whatever it answers
)

// Lock is one lock; its scope is what its id is attached to.
type Lock struct {
	ID    arm.ID
	Level Level
}

const conflict = 409 // HTTP's

// Verb of a request that is no read.
type Verb string

const (
	Write  Verb = "write" // PUT, PATCH and POST
	Delete Verb = "delete"
)

// Set is the locks of a region, ready to be asked. It is never changed and safe for concurrent use; nil is no locks.
type Set struct {
	at     map[string][]Lock // by lower-case scope
	scopes []string          // sorted
}

// NewSet makes a set. A lock without a level that is known holds as ReadOnly: it is there to refuse.
func NewSet(all []Lock) *Set {
	s := &Set{at: map[string][]Lock{}}
	for _, l := range all {
		key := l.ID.Scope().Key()
		if s.at[key] == nil {
			s.scopes = append(s.scopes, key)
		}
		s.at[key] = append(s.at[key], l)
	}
	slices.Sort(s.scopes)
	return s
}

// Holding returns the locks that refuse the verb on target: those at it and around it, the nearest first, and for a
// deletion those on what would go with it. Locks themselves are not held: whoever has the permission removes them.
func (s *Set) Holding(v Verb, target arm.ID) (held []Lock) {
	if s == nil || len(s.scopes) == 0 || strings.EqualFold(target.Type().String(), Type) {
		return nil
	}
	key := target.Key()
	for at := key; at != "" && at != "/"; at = at[:strings.LastIndexByte(at, '/')] {
		for _, l := range s.at[at] {
			if v == Delete || l.Level != CanNotDelete {
				held = append(held, l)
			}
		}
	}
	if v != Delete {
		return held
	}
	under := strings.TrimSuffix(key, "/") + "/"
	first, _ := slices.BinarySearch(s.scopes, under)
	for _, scope := range s.scopes[first:] {
		if !strings.HasPrefix(scope, under) {
			break
		}
		held = append(held, s.at[scope]...)
	}
	return held
}

// Check refuses what a lock holds: 409 ScopeLocked in Azure's words, which name the scopes, and then the locks.
func (s *Set) Check(v Verb, target arm.ID) error {
	held := s.Holding(v, target)
	if len(held) == 0 {
		return nil
	}
	var scopes, names []string
	for _, l := range held {
		if scope := l.ID.Scope().String(); !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
		names = append(names, fmt.Sprintf("'%s' (%s) at '%s'", l.ID.Name(), l.Level, l.ID.Scope()))
	}
	const most = 5 // of a text that a person reads
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return arm.Errorf(conflict, "ScopeLocked", "The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. Please remove the lock and try again. Locked by: %s.",
		target, v, strings.Join(scopes, ","), strings.Join(names, ", "))
}
