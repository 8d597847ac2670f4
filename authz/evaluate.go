package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Source supplies what is decided on. It is safe for concurrent use.
type Source interface {
	// Assignments returns the role assignments of these principals, at every scope. The caller
	// does not change them.
	Assignments(ctx context.Context, principalIDs []string) ([]Assignment, error)
	// AssignmentsAt returns those of them that are at one of these scopes, in the form of ScopeKey.
	AssignmentsAt(ctx context.Context, principalIDs, scopes []string) ([]Assignment, error)
	// Definition returns the role definition with this GUID or resource id.
	Definition(ctx context.Context, id string) (Definition, bool, error)
	// Denials returns all deny assignments, compiled. The caller does not change them.
	Denials(ctx context.Context) ([]DenyAssignment, error)
}

// Hierarchy tells which management groups enclose a scope, as scopes, nearest first. It is asked for subscriptions
// (/subscriptions/ID) and management groups (/providers/Microsoft.Management/managementGroups/NAME); a group does not
// enclose itself. What does not exist lies in the outermost group.
type Hierarchy interface {
	ManagementGroups(ctx context.Context, scope string) ([]string, error)
}

// Directory is what is known of a principal now, whatever its token says.
type Directory interface {
	// MemberOf returns the object ids of the groups that the principal is in, nested ones too.
	MemberOf(ctx context.Context, objectID string) ([]string, error)
	// SecurityAttribute returns the values of a custom security attribute, named set_attribute.
	SecurityAttribute(ctx context.Context, objectID, name string) (values []string, ok bool, err error)
}

// Evaluator decides by deny and role assignments. The zero Hierarchy means that there are no management groups, the zero
// Directory that a principal is in the groups that its token names and has no attributes.
type Evaluator struct {
	Source    Source
	Hierarchy Hierarchy
	Directory Directory
}

var errNoSource = errors.New("authz: no source of role assignments")

// Check implements Authorizer. It fails closed: no principal, no scope or no action is a refusal, and
// what the source cannot tell is an error.
func (e *Evaluator) Check(ctx context.Context, p Principal, r Request) (Decision, error) {
	f, refusal, err := e.facts(ctx, p, r)
	if err != nil || refusal != "" {
		return Decision{By: refusal}, err
	}
	return f.decide()
}

// Explain is Check with the whole reason, also of what is allowed.
func (e *Evaluator) Explain(ctx context.Context, p Principal, r Request) (Explanation, error) {
	f, refusal, err := e.facts(ctx, p, r)
	if err != nil {
		return Explanation{}, err
	}
	if refusal != "" {
		return Explanation{Principal: p.ObjectID, Action: r.Action, Data: r.Data, Scope: r.Scope, Reason: refusal}, nil
	}
	d, err := f.decide()
	if err != nil {
		return Explanation{}, err
	}
	return f.explain(d), nil
}

// Permissions are what the roles of the principal grant at a scope, each as its role has it.
func (e *Evaluator) Permissions(ctx context.Context, p Principal, scope string) ([]Permission, error) {
	f, refusal, err := e.facts(ctx, p, Request{Action: "Microsoft.Authorization/permissions/read", Scope: scope})
	if err != nil || refusal != "" {
		return nil, err
	}
	var all []Permission
	for i := range f.assignments {
		a := &f.assignments[i]
		d, ok := f.definition(a.Definition)
		if !ok {
			continue
		}
		for _, p := range d.Permissions {
			if a.Condition != "" {
				p.Condition, p.ConditionVersion = a.Condition, "2.0"
			}
			all = append(all, p)
		}
	}
	return all, f.failed
}

// facts are what one request is decided on.
type facts struct {
	request     Request
	action      string       // lower case
	scope       string       // as it is compared
	ids         []string     // the principal and its groups
	enclosing   []string     // scopes that enclose the request's without being a prefix of it: management groups, as they are compared
	assignments []Assignment // those that reach the scope
	others      func() ([]Assignment, error)
	denials     []DenyAssignment
	definition  func(id string) (Definition, bool)
	attributes  Attributes
	failed      error // what definition could not read
}

// facts collects them; refusal says why there is nothing to decide.
func (e *Evaluator) facts(ctx context.Context, p Principal, r Request) (f *facts, refusal string, err error) {
	if e.Source == nil {
		return nil, "", errNoSource
	}
	f = &facts{request: r, action: lower(r.Action), scope: ScopeKey(r.Scope)}
	switch {
	case p.ObjectID == "":
		return nil, "the caller has no object id, so no role can be assigned to it", nil
	case f.action == "" || f.scope == "":
		return nil, "the request names no action or no scope", nil
	case strings.IndexByte(f.action, '*') >= 0:
		return nil, "the action " + r.Action + " holds a wildcard; only roles may", nil
	}
	groups := p.Groups
	if e.Directory != nil {
		if groups, err = e.Directory.MemberOf(ctx, p.ObjectID); err != nil {
			return nil, "", fmt.Errorf("authz: groups of %s: %w", p.ObjectID, err)
		}
	}
	f.ids = append(append(make([]string, 0, 1+len(groups)), p.ObjectID), groups...)
	if f.enclosing, err = e.managementGroups(ctx, r.Scope); err != nil {
		return nil, "", err
	}
	if f.assignments, err = e.Source.AssignmentsAt(ctx, f.ids, reaching(f.scope, f.enclosing)); err != nil {
		return nil, "", fmt.Errorf("authz: role assignments: %w", err)
	}
	f.others = func() ([]Assignment, error) { return e.Source.Assignments(ctx, f.ids) }
	if f.denials, err = e.Source.Denials(ctx); err != nil {
		return nil, "", fmt.Errorf("authz: deny assignments: %w", err)
	}
	f.definition = func(id string) (Definition, bool) {
		def, ok, err := e.Source.Definition(ctx, id)
		if err != nil {
			f.failed = fmt.Errorf("authz: role definition %s: %w", id, err)
		}
		return def, ok && err == nil
	}
	f.attributes = func(a Attribute) ([]string, bool, error) {
		switch {
		case a.Source == FromPrincipal:
			return e.principalAttribute(ctx, p, a.Name)
		case r.Attributes == nil:
			return nil, false, nil
		}
		return r.Attributes(a)
	}
	return f, "", nil
}

// securityAttributes begin @Principal[…].
const securityAttributes = "microsoft.directory/customsecurityattributes/id:"

func (e *Evaluator) principalAttribute(ctx context.Context, p Principal, name string) ([]string, bool, error) {
	if e.Directory == nil || len(name) <= len(securityAttributes) || lower(name[:len(securityAttributes)]) != securityAttributes {
		return nil, false, nil
	}
	return e.Directory.SecurityAttribute(ctx, p.ObjectID, name[len(securityAttributes):])
}

func (e *Evaluator) managementGroups(ctx context.Context, scope string) ([]string, error) {
	if e.Hierarchy == nil {
		return nil, nil
	}
	for _, head := range []string{"/subscriptions/", "/providers/Microsoft.Management/managementGroups/"} {
		if len(scope) <= len(head) || !strings.EqualFold(scope[:len(head)], head) {
			continue
		}
		name, _, _ := strings.Cut(scope[len(head):], "/")
		groups, err := e.Hierarchy.ManagementGroups(ctx, head+name)
		if err != nil {
			return nil, fmt.Errorf("authz: management groups of %s%s: %w", head, name, err)
		}
		keys := make([]string, len(groups))
		for i, g := range groups {
			keys[i] = ScopeKey(g)
		}
		return keys, nil
	}
	return nil, nil
}

// question is one to the conditions of the request.
func (f *facts) question(trace bool) *asked {
	return &asked{action: f.action, sub: f.request.SubOperations, attributes: f.attributes, trace: trace}
}

// decide looks for a deny assignment that refuses, then for a role assignment that grants.
func (f *facts) decide() (Decision, error) {
	for i := range f.denials {
		if d := &f.denials[i]; d.denies(f.ids, f.action, f.request.Data, f.scope, f.enclosing) {
			why := f.denied(d)
			return Decision{By: why.Reason, Why: &why}, nil
		}
	}
	q := f.question(false)
	var broken error
	for i := range f.assignments {
		a := &f.assignments[i]
		d, ok := f.definition(a.Definition)
		if !ok {
			continue
		}
		v := d.check(f.action, f.request.Data, q)
		if v.granted && a.guarded().holds(q) {
			return Decision{Allowed: true, By: "role '" + d.RoleName + "' assigned at " + a.Scope}, nil
		}
		broken, q.err = errors.Join(broken, q.err), nil
	}
	// what grants, grants, but a refusal may come from what could not be read
	if err := errors.Join(f.failed, broken); err != nil {
		return Decision{}, err
	}
	why, err := f.refused()
	if err != nil {
		return Decision{}, err
	}
	return Decision{By: why.Reason, Why: &why}, nil
}

// reaching are the scopes at which an assignment counts at scope: the root, all that scope lies in by its segments, it
// itself, and what encloses it.
func reaching(scope string, enclosing []string) []string {
	all := append(make([]string, 0, 16), "/")
	for i := 1; i < len(scope); i++ {
		if scope[i] == '/' {
			all = append(all, scope[:i])
		}
	}
	if scope != "/" {
		all = append(all, scope)
	}
	return append(all, enclosing...)
}

// reaches says whether what is assigned at one scope counts at another; all are keys (ScopeKey).
func reaches(at, scope string, enclosing []string) bool {
	return covers(at, scope) || slices.Contains(enclosing, at)
}
