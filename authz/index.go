package authz

import (
	"context"
	"sync"
)

// Index is a Source in memory: assignments by principal, custom definitions by GUID, the built-in ones, and deny
// assignments. Whoever owns the stored assignments keeps it up to date. The zero value is ready and safe for
// concurrent use.
type Index struct {
	mu          sync.RWMutex
	byPrincipal map[string]*held
	principalOf map[string]string // assignment id → principal
	custom      map[string]Definition
	denials     []DenyAssignment // replaced, never changed
}

// held are the assignments of one principal, also by their scopes. Slices grow and are replaced, what is in them is
// never changed: readers hold them.
type held struct {
	all []Assignment
	at  map[string][]Assignment // by ScopeKey
}

var _ Source = (*Index)(nil)

// Put adds the assignment, or replaces the one with its id.
func (x *Index) Put(a Assignment) {
	a = a.Compile()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byPrincipal == nil {
		x.byPrincipal, x.principalOf = map[string]*held{}, map[string]string{}
	}
	x.remove(a.ID)
	who := lower(a.PrincipalID)
	h := x.byPrincipal[who]
	if h == nil {
		h = &held{at: map[string][]Assignment{}}
		x.byPrincipal[who] = h
	}
	h.all = append(h.all, a)
	h.at[a.scope] = append(h.at[a.scope], a)
	x.principalOf[lower(a.ID)] = who
}

// Remove takes the assignment with this id away, if it is there.
func (x *Index) Remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(id)
}

func (x *Index) remove(id string) {
	who, ok := x.principalOf[lower(id)]
	if !ok {
		return
	}
	delete(x.principalOf, lower(id))
	h := x.byPrincipal[who]
	scope := ""
	other := func(list []Assignment) (rest []Assignment) {
		for _, a := range list {
			if lower(a.ID) != lower(id) {
				rest = append(rest, a)
			} else {
				scope = a.scope
			}
		}
		return rest
	}
	if h.all = other(h.all); h.all == nil {
		delete(x.byPrincipal, who)
		return
	}
	if h.at[scope] = other(h.at[scope]); h.at[scope] == nil {
		delete(h.at, scope)
	}
}

// PutDefinition adds or replaces a custom role. A built-in one cannot be replaced: it wins.
func (x *Index) PutDefinition(d Definition) {
	d = d.Compile()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.custom == nil {
		x.custom = map[string]Definition{}
	}
	x.custom[DefinitionName(d.Name)] = d
}

// RemoveDefinition takes a custom role away, if it is there.
func (x *Index) RemoveDefinition(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.custom, DefinitionName(id))
}

// Assignments implements Source; it never fails.
func (x *Index) Assignments(_ context.Context, principalIDs []string) ([]Assignment, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []Assignment
	for _, id := range principalIDs {
		if h := x.byPrincipal[lower(id)]; h != nil {
			out = append(out, h.all...)
		}
	}
	return out, nil
}

// AssignmentsAt implements Source; it never fails.
func (x *Index) AssignmentsAt(_ context.Context, principalIDs, scopes []string) ([]Assignment, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []Assignment
	for _, id := range principalIDs {
		h := x.byPrincipal[lower(id)]
		if h == nil {
			continue
		}
		for _, scope := range scopes {
			if list := h.at[scope]; out == nil {
				out = list[:len(list):len(list)] // full: appending the next one copies
			} else {
				out = append(out, list...)
			}
		}
	}
	return out, nil
}

// Definition implements Source; it never fails.
func (x *Index) Definition(_ context.Context, id string) (Definition, bool, error) {
	if d, ok := Builtin(id); ok {
		return d, true, nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	d, ok := x.custom[DefinitionName(id)]
	return d, ok, nil
}

// PutDenial adds the deny assignment, or replaces the one with its id.
func (x *Index) PutDenial(d DenyAssignment) {
	d = d.Compile()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.denials = append(x.without(d.ID), d)
}

// RemoveDenial takes the deny assignment with this id away, if it is there.
func (x *Index) RemoveDenial(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.denials = x.without(id)
}

func (x *Index) without(id string) []DenyAssignment {
	var rest []DenyAssignment
	for _, d := range x.denials {
		if lower(d.ID) != lower(id) {
			rest = append(rest, d)
		}
	}
	return rest
}

// Denials implements Source; it never fails.
func (x *Index) Denials(context.Context) ([]DenyAssignment, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.denials, nil
}
