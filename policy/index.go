package policy

import (
	"strings"
	"time"
)

// Index is all that is in force, ready to be asked. It does not change; make a new one when a document does.
type Index struct {
	byScope    map[string][]*Bound     // by lower-case scope
	exemptions map[string][]*Exemption // by lower-case assignment
	all        []*Bound
	secrets    func(resourceType, path string) bool
}

// NewIndex makes an index. An assignment that can no longer be bound is kept as Broken. secrets says whether a
// property may not be told, by its path in the properties; nil: all may.
func NewIndex(lib Library, assignments []*Assignment, exemptions []*Exemption, secrets func(resourceType, path string) bool) *Index {
	x := &Index{byScope: map[string][]*Bound{}, exemptions: map[string][]*Exemption{}, secrets: secrets}
	for _, a := range assignments {
		bound, err := Bind(lib, a)
		if err != nil {
			bound = []*Bound{{Assignment: a, Definition: &Compiled{Definition: &Definition{ID: a.DefinitionID}}, Effect: Deny, Broken: err}}
		}
		scope := scopeKey(a.Scope)
		for _, b := range bound {
			b.index = x
			x.byScope[scope] = append(x.byScope[scope], b)
			x.all = append(x.all, b)
		}
	}
	for _, e := range exemptions {
		key := strings.ToLower(e.AssignmentID)
		x.exemptions[key] = append(x.exemptions[key], e)
	}
	return x
}

// All are the definitions in force, in the order of their assignments.
func (x *Index) All() []*Bound { return x.all }

func scopeKey(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "/"))
	if s == "" {
		return "/"
	}
	return s
}

func (x *Index) secret(f *field) bool {
	if x.secrets == nil || f == nil || f.kind != fieldAlias {
		return false
	}
	var b strings.Builder
	for i, s := range f.steps {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strings.ToLower(s.name))
	}
	return x.secrets(f.typ, b.String())
}

// May says whether anything in force could concern a resource of the type in one of the scopes. It is cheap.
func (x *Index) May(scopes []string, resourceType string) bool {
	typ := strings.ToLower(resourceType)
	for _, scope := range scopes {
		for _, b := range x.byScope[scopeKey(scope)] {
			if b.types == nil || b.types[typ] {
				return true
			}
		}
	}
	return false
}

// reaching calls yield for what is in force for the resource, from the outermost of its scopes to the innermost.
// scopes are those that enclose it and its own id.
func (x *Index) reaching(scopes []string, res *Resource, yield func(*Bound, string) bool) {
	typ := strings.ToLower(res.Type)
	for _, scope := range scopes {
		for _, b := range x.byScope[scopeKey(scope)] {
			if b.types != nil && !b.types[typ] || !b.sees(res, typ) || excluded(b.Assignment, res.ID) || !reaches(b.Assignment.ResourceSelectors, res) {
				continue
			}
			effect := b.effectFor(res)
			if effect == Disabled {
				continue
			}
			if !yield(b, effect) {
				return
			}
		}
	}
}

// sees applies the definition's mode. Of Microsoft.Resources only subscriptions and groups are evaluated.
func (b *Bound) sees(res *Resource, typ string) bool {
	scope := typ == "microsoft.resources/subscriptions" || typ == "microsoft.resources/subscriptions/resourcegroups" || typ == "microsoft.resources/resourcegroups"
	if strings.HasPrefix(typ, "microsoft.resources/") && !scope {
		return false
	}
	switch {
	case b.Broken != nil:
		return true
	case indexed(b.Definition.Mode):
		return res.Tracked && !scope
	}
	return b.Definition.ResourceMode()
}

// indexed says whether a mode leaves out what has no tags and location; no mode is as old definitions were.
func indexed(mode string) bool { return mode == "" || strings.EqualFold(mode, "Indexed") }

// excluded applies notScopes.
func excluded(a *Assignment, id string) bool {
	if len(a.NotScopes) == 0 {
		return false
	}
	key := strings.ToLower(id)
	for _, s := range a.NotScopes {
		s = scopeKey(s)
		if key == s || strings.HasPrefix(key, s+"/") {
			return true
		}
	}
	return false
}

// Exempt are the exemptions that free the resource of the definition now.
func (x *Index) Exempt(b *Bound, scopes []string, res *Resource, now time.Time) []*Exemption {
	if len(x.exemptions) == 0 {
		return nil
	}
	var found []*Exemption
	for _, e := range x.exemptions[strings.ToLower(b.Assignment.ID)] {
		if e.ExpiresOn != nil && !now.Before(*e.ExpiresOn) || !reaches(e.ResourceSelectors, res) {
			continue
		}
		if len(e.ReferenceIDs) > 0 && !containsFold(e.ReferenceIDs, b.ReferenceID) {
			continue
		}
		at := scopeKey(ExemptionScope(e.ID))
		for _, s := range scopes {
			if scopeKey(s) == at {
				found = append(found, e)
				break
			}
		}
	}
	return found
}

func containsFold(all []string, s string) bool {
	for _, e := range all {
		if strings.EqualFold(e, s) {
			return true
		}
	}
	return false
}

// ExemptionScope is what an exemption, an assignment or an attestation is made on.
func ExemptionScope(id string) string {
	cut := strings.LastIndex(strings.ToLower(id), "/providers/")
	if cut <= 0 {
		return "/"
	}
	return id[:cut]
}

// Concerns says whether anything in force, at whatever scope, could hold for a resource of the type.
func (x *Index) Concerns(resourceType string) bool {
	typ := strings.ToLower(resourceType)
	for _, b := range x.all {
		if b.types == nil || b.types[typ] {
			return true
		}
	}
	return false
}

// Find returns what an assignment puts in force under a reference; "" is a definition assigned by itself.
func (x *Index) Find(assignment, reference string) (*Bound, bool) {
	for _, b := range x.all {
		if strings.EqualFold(b.Assignment.ID, assignment) && strings.EqualFold(b.ReferenceID, reference) {
			return b, true
		}
	}
	return nil, false
}
