package authorization

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// Denial is the properties of a deny assignment (Authorization REST: DenyAssignmentProperties). Only the platform makes
// them: for what it manages in a user's subscription.
type Denial struct {
	Name              string             `json:"denyAssignmentName"`
	Description       string             `json:"description"`
	Permissions       []authz.Permission `json:"permissions"`
	Scope             string             `json:"scope"`
	OnlyScope         bool               `json:"doNotApplyToChildScopes"`
	Principals        []DenialPrincipal  `json:"principals"`
	ExcludePrincipals []DenialPrincipal  `json:"excludePrincipals"`
	SystemProtected   bool               `json:"isSystemProtected"`
}

// DenialPrincipal names a principal. authz.Everyone has the type SystemDefined.
type DenialPrincipal struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// All is every principal.
func All() []DenialPrincipal { return []DenialPrincipal{{ID: authz.Everyone, Type: "SystemDefined"}} }

// Deny makes a deny assignment at a scope, or replaces the one of that name there. Name is made unique by the scope.
func Deny(tx *rp.Tx, scope arm.ID, d Denial) (arm.ID, error) {
	id, err := named(scope, DenialType, "deny "+d.Name)
	if err != nil {
		return id, err
	}
	d.Scope, d.SystemProtected = scope.String(), true
	if d.ExcludePrincipals == nil {
		d.ExcludePrincipals = []DenialPrincipal{}
	}
	r, err := rp.Get[Denial](tx, id)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		r, err = &rp.Resource[Denial]{ID: id, State: arm.Succeeded}, nil
	}
	if err != nil {
		return id, err
	}
	r.Properties = d
	return id, rp.Save(tx, r)
}

// Allow takes the deny assignment of that name at a scope away, if it is there.
func Allow(tx *rp.Tx, scope arm.ID, name string) error {
	id, err := named(scope, DenialType, "deny "+name)
	if err != nil {
		return err
	}
	return rp.Remove(tx, id)
}

// refuseDenial: deployment stacks and managed applications have deny assignments, people cannot make or delete them.
func refuseDenial(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	return nil, arm.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "Deny assignments are made and deleted by the platform alone, to protect what it manages: no PUT and no DELETE of one is served.")
}

func (d *Denial) denial(id string) authz.DenyAssignment {
	out := authz.DenyAssignment{ID: id, Name: d.Name, Description: d.Description, Scope: d.Scope, Permissions: d.Permissions, OnlyScope: d.OnlyScope}
	for _, p := range d.Principals {
		out.Principals = append(out.Principals, p.ID)
	}
	for _, p := range d.ExcludePrincipals {
		out.Exclude = append(out.Exclude, p.ID)
	}
	return out
}

// listDenials lists the deny assignments at, above and below a scope ("Deny Assignments - List For Scope"): $filter takes
// atScope(), denyAssignmentName eq, principalId eq, assignedTo('…').
func (p *Provider) listDenials(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	terms, err := parseFilter(query["$filter"])
	if err != nil {
		return nil, err
	}
	scope, err := scopeOf(path)
	if err != nil {
		return nil, err
	}
	if err := rp.Exists(tx, scope); err != nil {
		return nil, err
	}
	above, err := p.enclosing(tx, scope)
	if err != nil {
		return nil, err
	}
	keep := []func(*Denial) bool{}
	below := true
	for _, t := range terms {
		switch t.name {
		case "atscope()":
			below = false
		case "denyassignmentname":
			keep = append(keep, func(d *Denial) bool { return strings.EqualFold(d.Name, t.value) })
		case "principalid", "assignedto()", "gdprexportprincipalid":
			ids := []string{t.value}
			if t.name == "assignedto()" {
				if ids, err = p.withGroups(ctx, t.value); err != nil {
					return nil, err
				}
			}
			keep = append(keep, func(d *Denial) bool { return d.names(ids) })
		default:
			return nil, badFilter(query["$filter"], "atScope(), denyAssignmentName eq '…', principalId eq '…', assignedTo('…')")
		}
	}
	all, err := rp.List[Denial](tx, DenialType, arm.ID{})
	if err != nil {
		return nil, err
	}
	value := []map[string]any{}
next:
	for _, d := range all {
		at := d.ID.Scope()
		reaches := encloses(at, scope) || below && encloses(scope, at)
		for _, g := range above {
			reaches = reaches || g.Key() == at.Key()
		}
		if !reaches {
			continue
		}
		for _, f := range keep {
			if !f(&d.Properties) {
				continue next
			}
		}
		value = append(value, map[string]any{"id": d.ID.String(), "name": d.ID.Name(), "type": DenialType, "properties": d.Properties})
	}
	return map[string]any{"value": value}, nil
}

func (d *Denial) names(ids []string) bool {
	for _, p := range d.Principals {
		if p.ID == authz.Everyone {
			return true
		}
		for _, id := range ids {
			if strings.EqualFold(p.ID, id) {
				return true
			}
		}
	}
	return false
}
