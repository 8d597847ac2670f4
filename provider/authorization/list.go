package authorization

import (
	"context"
	"errors"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// shown is a role assignment as listings show it (Authorization REST: RoleAssignment).
type shown struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Properties Assignment `json:"properties"`
}

// listAssignments lists the assignments at, above and below a scope ("Role Assignments - List For Scope"):
// $filter=atScope() leaves out those below, principalId eq '…' and assignedTo('…') those of others; the latter keeps those
// of the principal's groups.
func (p *Provider) listAssignments(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	terms, err := parseFilter(query["$filter"])
	if err != nil {
		return nil, err
	}
	below, who := true, ""
	var whose []string
	for _, t := range terms {
		switch t.name {
		case "atscope()":
			below = false
		case "principalid", "assignedto()":
			if !guid.MatchString(t.value) || who != "" && !strings.EqualFold(who, t.value) {
				return nil, badFilter(query["$filter"], "one object id of a principal")
			}
			who, whose = t.value, []string{t.value}
			if t.name == "assignedto()" {
				if whose, err = p.withGroups(ctx, t.value); err != nil {
					return nil, err
				}
			}
		default:
			return nil, badFilter(query["$filter"], "atScope(), principalId eq '…', assignedTo('…')")
		}
	}
	scope, err := scopeOf(path)
	if err != nil {
		return nil, err
	}
	if err := rp.Exists(tx, scope); err != nil {
		return nil, err
	}
	ids, err := p.reaching(tx, scope, below)
	if err != nil {
		return nil, err
	}
	value := []shown{}
	for _, id := range ids {
		a, err := rp.Get[Assignment](tx, id)
		if err != nil {
			return nil, err
		}
		if who == "" || slices.ContainsFunc(whose, func(id string) bool { return strings.EqualFold(id, a.Properties.PrincipalID) }) {
			value = append(value, shown{a.ID.String(), a.ID.Name(), AssignmentType, a.Properties})
		}
	}
	return map[string]any{"value": value}, nil
}

// own is the prefix of the keys of the assignments at a scope itself.
func own(scope arm.ID) string {
	return strings.TrimSuffix(scope.Key(), "/") + "/providers/" + strings.ToLower(AssignmentType) + "/"
}

// under returns the ids of the assignments whose key has the prefix, but for those with the other one.
func under(tx store.Tx, prefix, except string) (ids []arm.ID, err error) {
	var bad error
	err = tx.Scan(rp.StoreKind(AssignmentType), prefix, "", func(d store.Doc) bool {
		if except != "" && strings.HasPrefix(d.Key, except) {
			return true
		}
		var id arm.ID
		if id, bad = arm.ParseID(d.Key); bad != nil {
			return false
		}
		ids = append(ids, id)
		return true
	})
	return ids, errors.Join(err, bad)
}

// withGroups are a principal and the groups that it is in.
func (p *Provider) withGroups(ctx context.Context, objectID string) ([]string, error) {
	if p.MemberOf == nil {
		return []string{objectID}, nil
	}
	groups, err := p.MemberOf(ctx, objectID)
	return append([]string{objectID}, groups...), err
}

// reaching returns the ids of the assignments at scope and above it, from the outermost, then of those below.
func (p *Provider) reaching(tx *rp.Tx, scope arm.ID, below bool) (ids []arm.ID, err error) {
	var path []arm.ID
	for at := scope; !at.IsZero(); at = at.Parent() {
		path = append(path, at)
	}
	groups, err := p.enclosing(tx, scope)
	if err != nil {
		return nil, err
	}
	if n := len(path); n > 0 && path[n-1].Key() == "/" { // management groups stand between the root and the rest
		path = append(path[:n-1:n-1], append(groups, path[n-1])...)
	}
	for _, at := range slices.Backward(path) {
		here, err := under(tx, own(at), "")
		if err != nil {
			return nil, err
		}
		ids = append(ids, here...)
	}
	if !below {
		return ids, nil
	}
	rest, err := under(tx, strings.TrimSuffix(scope.Key(), "/")+"/", own(scope))
	return append(ids, rest...), err
}
