package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Source supplies what is decided on. It is safe for concurrent use.
type Source interface {
	// Assignments returns the role assignments of these principals, at every scope. The caller
	// does not change them.
	Assignments(ctx context.Context, principalIDs []string) ([]Assignment, error)
	// Definition returns the role definition with this GUID or resource id.
	Definition(ctx context.Context, id string) (Definition, bool, error)
}

// Hierarchy tells which management groups enclose a subscription, as scopes, nearest first.
type Hierarchy interface {
	ManagementGroups(ctx context.Context, subscriptionID string) ([]string, error)
}

// Evaluator decides by role assignments. The zero Hierarchy means that there are no management groups.
type Evaluator struct {
	Source    Source
	Hierarchy Hierarchy
}

var errNoSource = errors.New("authz: no source of role assignments")

// Check implements Authorizer. It fails closed: no principal, no scope or no action is a refusal, and
// what the source cannot tell is an error.
func (e *Evaluator) Check(ctx context.Context, p Principal, r Request) (Decision, error) {
	if e.Source == nil {
		return Decision{}, errNoSource
	}
	if p.ObjectID == "" {
		return Decision{By: "the caller has no object id, so no role can be assigned to it"}, nil
	}
	var one [1]string
	ids := append(one[:0], p.ObjectID)
	ids = append(ids, p.Groups...)
	assignments, err := e.Source.Assignments(ctx, ids)
	if err != nil {
		return Decision{}, fmt.Errorf("authz: role assignments: %w", err)
	}
	enclosing, err := e.managementGroups(ctx, r.Scope)
	if err != nil {
		return Decision{}, err
	}
	var failed error
	d := Evaluate(r, enclosing, assignments, func(id string) (Definition, bool) {
		def, ok, err := e.Source.Definition(ctx, id)
		if err != nil {
			failed = fmt.Errorf("authz: role definition %s: %w", id, err)
		}
		return def, ok && err == nil
	})
	// what grants, grants, but a refusal may come from what could not be read
	if failed != nil && !d.Allowed {
		return Decision{}, failed
	}
	return d, nil
}

func (e *Evaluator) managementGroups(ctx context.Context, scope string) ([]string, error) {
	if e.Hierarchy == nil {
		return nil, nil
	}
	const head = "/subscriptions/"
	if len(scope) <= len(head) || !strings.EqualFold(scope[:len(head)], head) {
		return nil, nil
	}
	sub, _, _ := strings.Cut(scope[len(head):], "/")
	groups, err := e.Hierarchy.ManagementGroups(ctx, sub)
	if err != nil {
		return nil, fmt.Errorf("authz: management groups of subscription %s: %w", sub, err)
	}
	return groups, nil
}

// Evaluate decides on a request by the assignments of one principal and of its groups. enclosing are
// scopes that enclose the request's without being a prefix of it (management groups). It is pure.
func Evaluate(r Request, enclosing []string, assignments []Assignment, definition func(id string) (Definition, bool)) Decision {
	action, scope := lower(r.Action), ScopeKey(r.Scope)
	if action == "" || scope == "" {
		return Decision{By: "the request names no action or no scope"}
	}
	if strings.IndexByte(action, '*') >= 0 {
		return Decision{By: "the action " + r.Action + " holds a wildcard; only roles may"}
	}
	for i := range assignments {
		a := &assignments[i]
		if !reaches(a, scope, enclosing) || a.Condition != "" {
			continue
		}
		d, ok := definition(a.Definition)
		if ok && d.check(action, r.Data).granted {
			return Decision{Allowed: true, By: "role '" + d.RoleName + "' assigned at " + a.Scope}
		}
	}
	return Decision{By: explain(r, scope, enclosing, assignments, definition)}
}

func reaches(a *Assignment, scope string, enclosing []string) bool {
	key := a.scopeKey()
	if covers(key, scope) {
		return true
	}
	for _, e := range enclosing {
		if key == ScopeKey(e) {
			return true
		}
	}
	return false
}
