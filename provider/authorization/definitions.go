package authorization

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// Definition is the properties of a custom role (Authorization REST: RoleDefinitionProperties). It is the tenant's: it is
// kept at the root by its GUID, whatever scope it was named at.
type Definition struct {
	RoleName         string             `json:"roleName"`
	Type             string             `json:"type"`
	Description      string             `json:"description"`
	AssignableScopes []string           `json:"assignableScopes"`
	Permissions      []authz.Permission `json:"permissions"`
	CreatedOn        time.Time          `json:"createdOn,omitzero"`
	UpdatedOn        time.Time          `json:"updatedOn,omitzero"`
	CreatedBy        string             `json:"createdBy,omitempty"`
	UpdatedBy        string             `json:"updatedBy,omitempty"`
}

func (d *Definition) role(name string) authz.Definition {
	return authz.Definition{Name: name, RoleName: d.RoleName, Description: d.Description, RoleType: d.Type, AssignableScopes: d.AssignableScopes, Permissions: d.Permissions}
}

// shownDefinition is a role definition as it is shown (Authorization REST: RoleDefinition).
type shownDefinition struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Properties Definition `json:"properties"`
}

func show(subscription, name string, d Definition) shownDefinition {
	prefix := ""
	if subscription != "" {
		prefix = "/subscriptions/" + subscription
	}
	return shownDefinition{ID: prefix + "/providers/" + DefinitionType + "/" + name, Name: name, Type: DefinitionType, Properties: d}
}

func builtin(d authz.Definition) Definition {
	return Definition{
		RoleName: d.RoleName, Type: d.RoleType, Description: d.Description, AssignableScopes: d.AssignableScopes, Permissions: d.Permissions,
		CreatedOn: authz.BuiltinsAsOf, UpdatedOn: authz.BuiltinsAsOf,
	}
}

func definitionKey(name string) (arm.ID, error) {
	return arm.ParseID("/providers/" + DefinitionType + "/" + strings.ToLower(name))
}

// custom returns the custom role with this GUID; 404 RoleDefinitionDoesNotExist.
func custom(tx *rp.Tx, name string) (*rp.Resource[Definition], error) {
	missing := arm.Errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", name)
	if !guid.MatchString(name) {
		return nil, missing
	}
	id, err := definitionKey(name)
	if err != nil {
		return nil, missing
	}
	d, err := rp.Get[Definition](tx, id)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, missing
	}
	return d, err
}

// definitionOf returns a role, built-in or custom.
func definitionOf(tx *rp.Tx, id string) (authz.Definition, bool, error) {
	name := authz.DefinitionName(id)
	if d, ok := authz.Builtin(name); ok {
		return d, true, nil
	}
	d, err := custom(tx, name)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return authz.Definition{}, false, nil
	}
	if err != nil {
		return authz.Definition{}, false, err
	}
	return d.Properties.role(name).Compile(), true, nil
}

// covered says whether the role may be assigned at scope: one of its scopes is it or encloses it.
func (p *Provider) covered(tx *rp.Tx, d *rp.Resource[Definition], scope arm.ID) (bool, error) {
	above, err := p.enclosing(tx, scope)
	if err != nil {
		return false, err
	}
	for _, text := range d.Properties.AssignableScopes {
		at, err := arm.ParseID(text)
		if err != nil {
			return false, err
		}
		if encloses(at, scope) || slices.ContainsFunc(above, func(g arm.ID) bool { return g.Key() == at.Key() }) {
			return true, nil
		}
	}
	return false, nil
}

// encloses says whether a scope is another one or holds it, by their ids.
func encloses(at, scope arm.ID) bool {
	return at.Key() == "/" || scope.Key() == at.Key() || strings.HasPrefix(scope.Key(), at.Key()+"/")
}

func (p *Provider) enclosing(tx *rp.Tx, scope arm.ID) ([]arm.ID, error) {
	if p.Enclosing == nil || scope.Subscription() == "" && scope.ManagementGroup() == "" {
		return nil, nil
	}
	return p.Enclosing(tx, scope)
}

// listDefinitions lists the roles that can be assigned at a scope; $filter takes roleName eq, type eq, atScope() and
// atScopeAndBelow() ("Role Definitions - List"), joined by and.
func (p *Provider) listDefinitions(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
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
	below := false
	keep := []func(*Definition) bool{}
	for _, t := range terms {
		switch t.name {
		case "rolename":
			keep = append(keep, func(d *Definition) bool { return strings.EqualFold(d.RoleName, t.value) })
		case "type":
			keep = append(keep, func(d *Definition) bool { return strings.EqualFold(d.Type, t.value) })
		case "atscope()":
		case "atscopeandbelow()":
			below = true
		default:
			return nil, badFilter(query["$filter"], "roleName eq '…', type eq '…', atScope(), atScopeAndBelow()")
		}
	}
	value := []shownDefinition{}
	add := func(name string, d Definition) {
		for _, f := range keep {
			if !f(&d) {
				return
			}
		}
		value = append(value, show(path["subscription"], name, d))
	}
	for _, d := range authz.Builtins() {
		add(d.Name, builtin(d))
	}
	own, err := rp.List[Definition](tx, DefinitionType, arm.ID{})
	if err != nil {
		return nil, err
	}
	for _, d := range own {
		ok, err := p.covered(tx, d, scope)
		if err != nil {
			return nil, err
		}
		if ok || below && isUnder(d, scope) {
			add(d.ID.Name(), d.Properties)
		}
	}
	return map[string]any{"value": value}, nil
}

// isUnder says whether one of the role's scopes lies under scope.
func isUnder(d *rp.Resource[Definition], scope arm.ID) bool {
	return slices.ContainsFunc(d.Properties.AssignableScopes, func(text string) bool {
		at, err := arm.ParseID(text)
		return err == nil && encloses(scope, at)
	})
}

func (p *Provider) getDefinition(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	if d, ok := authz.Builtin(path["role"]); ok {
		return show(path["subscription"], d.Name, builtin(d)), nil
	}
	d, err := custom(tx, path["role"])
	if err != nil {
		return nil, err
	}
	return show(path["subscription"], d.ID.Name(), d.Properties), nil
}

// definitionLinks: a custom role is its administrators' of every scope at which it can be assigned ("Azure custom
// roles": who can create, delete, update).
func (p *Provider) definitionLinks(verb string) func(context.Context, *rp.Tx, map[string]string, []byte) ([]rp.Link, error) {
	return func(_ context.Context, tx *rp.Tx, path map[string]string, body []byte) (links []rp.Link, err error) {
		var texts []string
		if old, err := custom(tx, path["role"]); err == nil {
			texts = old.Properties.AssignableScopes
		} else if arm.AsError(err) == nil {
			return nil, err
		}
		var sent struct{ Properties Definition }
		if verb == "write" && json.Unmarshal(body, &sent) == nil {
			texts = append(slices.Clone(texts), sent.Properties.AssignableScopes...)
		}
		for _, text := range texts {
			if id, err := arm.ParseID(text); err == nil { // what is none is refused later
				links = append(links, rp.Link{Action: DefinitionType + "/" + verb, ID: id})
			}
		}
		return links, nil
	}
}

func (p *Provider) putDefinition(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
	name := strings.ToLower(path["role"])
	if !guid.MatchString(name) {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID '%s' is not valid. The role definition ID must be a GUID.", path["role"])
	}
	if d, ok := authz.Builtin(name); ok {
		return nil, arm.Errorf(http.StatusForbidden, "BuiltInRoleDefinitionUpdateNotPermitted", "The role '%s' is built in and cannot be changed.", d.RoleName)
	}
	var sent struct{ Properties *Definition }
	if err := json.Unmarshal(body, &sent); err != nil || sent.Properties == nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: the properties of a role definition are expected.")
	}
	id, err := definitionKey(name)
	if err != nil {
		return nil, err
	}
	d := sent.Properties
	d.Type, d.CreatedOn, d.CreatedBy = "CustomRole", tx.Now, tx.Caller.ObjectID
	d.UpdatedOn, d.UpdatedBy = tx.Now, tx.Caller.ObjectID
	r := &rp.Resource[Definition]{ID: id, State: arm.Succeeded}
	old, err := custom(tx, name)
	switch {
	case err == nil:
		r = old
		d.CreatedOn, d.CreatedBy = old.Properties.CreatedOn, old.Properties.CreatedBy
	case arm.AsError(err) == nil:
		return nil, err
	default:
		old = nil
	}
	if err := p.admitDefinition(tx, name, d, old); err != nil {
		return nil, err
	}
	r.Properties = *d
	if err := rp.Save(tx, r); err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusCreated, Body: show(path["subscription"], name, *d)}, nil
}

func (p *Provider) deleteDefinition(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	if d, ok := authz.Builtin(path["role"]); ok {
		return nil, arm.Errorf(http.StatusForbidden, "BuiltInRoleDefinitionUpdateNotPermitted", "The role '%s' is built in and cannot be deleted.", d.RoleName)
	}
	d, err := custom(tx, path["role"])
	if e := arm.AsError(err); e != nil {
		return nil, nil // 204
	}
	if err != nil {
		return nil, err
	}
	used, err := assignmentsOf(tx, d.ID.Name(), func(arm.ID) bool { return true })
	if err != nil {
		return nil, err
	}
	if len(used) > 0 {
		return nil, arm.Errorf(http.StatusConflict, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role '%s' (%d, one is at '%s').", d.Properties.RoleName, len(used), used[0].Properties.Scope)
	}
	if err := rp.Remove(tx, d.ID); err != nil {
		return nil, err
	}
	return show(path["subscription"], d.ID.Name(), d.Properties), nil
}
