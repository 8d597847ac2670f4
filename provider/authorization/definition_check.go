package authorization

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

const (
	maxRoleName = 512  // characters ("Azure custom roles": properties)
	maxActions  = 2048 // our bound of one list
)

// admitDefinition checks a custom role as it will be; old is nil when it is new.
func (p *Provider) admitDefinition(tx *rp.Tx, name string, d *Definition, old *rp.Resource[Definition]) error {
	switch {
	case strings.TrimSpace(d.RoleName) == "":
		return arm.Errorf(http.StatusBadRequest, "RoleDefinitionNameNullOrEmpty", "properties.roleName is missing: a role definition needs a name.")
	case len(d.RoleName) > maxRoleName:
		return arm.Errorf(http.StatusBadRequest, "RoleDefinitionNameTooLong", "properties.roleName has %d characters, the most is %d.", len(d.RoleName), maxRoleName)
	case len(d.Description) > maxDescription:
		return arm.Errorf(http.StatusBadRequest, "RoleDefinitionDescriptionTooLong", "properties.description has %d characters, the most is %d.", len(d.Description), maxDescription)
	case len(d.Permissions) == 0:
		return arm.Errorf(http.StatusBadRequest, "RoleDefinitionPermissionsNullOrEmpty", "properties.permissions is missing: a role definition needs permissions.")
	}
	if err := p.uniqueName(tx, name, d, old == nil); err != nil {
		return err
	}
	if err := checkPermissions(tx, d); err != nil {
		return err
	}
	if err := checkScopes(tx, d); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	return p.keepsAssignments(tx, name, d, old)
}

// uniqueName: the names of roles are unique in the tenant, without regard to case.
func (p *Provider) uniqueName(tx *rp.Tx, name string, d *Definition, create bool) error {
	taken := slices.ContainsFunc(authz.Builtins(), func(b authz.Definition) bool { return strings.EqualFold(b.RoleName, d.RoleName) })
	all, err := rp.List[Definition](tx, DefinitionType, arm.ID{})
	if err != nil {
		return err
	}
	for _, o := range all {
		taken = taken || !strings.EqualFold(o.ID.Name(), name) && strings.EqualFold(o.Properties.RoleName, d.RoleName)
	}
	switch {
	case taken && create:
		return arm.Errorf(http.StatusConflict, "RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name than '%s'.", d.RoleName)
	case taken:
		return arm.Errorf(http.StatusConflict, "RoleDefinitionWithSameNameExists", "A role definition cannot be updated with a name that already exists: '%s'.", d.RoleName)
	case create && len(all) >= p.limits.customRoles:
		return arm.Errorf(http.StatusBadRequest, "RoleDefinitionLimitExceeded", "Role definition limit exceeded. No more role definitions can be created: the tenant has %d custom roles.", len(all))
	}
	return nil
}

// checkScopes: a custom role is assignable at management groups (one at most), subscriptions, resource groups and
// resources that are there.
func checkScopes(tx *rp.Tx, d *Definition) error {
	bad := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidAssignableScopes", "properties.assignableScopes: "+format, args...)
	}
	if len(d.AssignableScopes) == 0 {
		return bad("a custom role needs at least one scope.")
	}
	groups := 0
	for i, text := range d.AssignableScopes {
		id, err := arm.ParseID(text)
		switch {
		case err != nil:
			return bad("'%s' is no scope.", text)
		case id.Key() == "/":
			return bad("'/' is for built-in roles; name management groups, subscriptions or resource groups.")
		case strings.Contains(text, "*"):
			return bad("'%s' has a wildcard.", text)
		}
		if id.Subscription() == "" {
			if groups++; groups > 1 {
				return bad("there can be only one management group.")
			}
		}
		if err := rp.Exists(tx, id); err != nil {
			return err
		}
		d.AssignableScopes[i] = id.String()
	}
	return nil
}

// checkPermissions: every action names an operation that some provider has.
func checkPermissions(tx *rp.Tx, d *Definition) error {
	var ours []rp.Operation
	for i := range d.Permissions {
		p := &d.Permissions[i]
		if p.Condition != "" {
			if _, err := authz.ParseCondition(p.Condition); err != nil {
				return arm.Errorf(http.StatusBadRequest, "InvalidCondition", "properties.permissions[%d].condition: %v.", i, err)
			}
		}
		for _, list := range []struct {
			name    string
			actions *[]string
			data    bool
		}{{"actions", &p.Actions, false}, {"notActions", &p.NotActions, false}, {"dataActions", &p.DataActions, true}, {"notDataActions", &p.NotDataActions, true}} {
			if *list.actions == nil {
				*list.actions = []string{}
			}
			if len(*list.actions) > maxActions {
				return arm.Errorf(http.StatusBadRequest, "InvalidActionOrNotAction", "properties.permissions[%d].%s has %d entries, the most is %d.", i, list.name, len(*list.actions), maxActions)
			}
			for _, action := range *list.actions {
				if authz.KnownAction(action, list.data) {
					continue
				}
				if ours == nil {
					ours = rp.OperationsOf(tx)
				}
				if err := knownHere(ours, action, list.data); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func knownHere(ours []rp.Operation, action string, data bool) error {
	namespace, _, _ := strings.Cut(action, "/")
	known := authz.KnownNamespace(namespace) || strings.Contains(namespace, "*")
	for _, o := range ours {
		if o.Data == data && authz.Matches(action, o.Name) {
			return nil
		}
		known = known || strings.HasPrefix(strings.ToLower(o.Name), strings.ToLower(namespace)+"/")
	}
	if !known {
		return arm.Errorf(http.StatusBadRequest, "InvalidActionOrNotAction", "The resource provider referenced in the action is not returned in the list of providers from Azure Resource Manager: '%s'.", action)
	}
	text := "'%s' does not match any of the actions supported by the providers."
	hint := authz.NearestAction(action, data)
	if authz.KnownAction(action, !data) {
		hint = ""
		if data {
			text += " It is a management action: write it in actions."
		} else {
			text += " It is a data action: write it in dataActions."
		}
	}
	if hint != "" {
		text += " Did you mean '" + hint + "'?"
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidActionOrNotAction", text, action)
}

// keepsAssignments: a scope cannot be taken away from under the role's assignments.
func (p *Provider) keepsAssignments(tx *rp.Tx, name string, d *Definition, old *rp.Resource[Definition]) error {
	now := &rp.Resource[Definition]{ID: old.ID, Properties: *d}
	var bad error
	lost, err := assignmentsOf(tx, name, func(id arm.ID) bool {
		ok, err := p.covered(tx, now, id.Scope())
		if err != nil {
			bad = err
		}
		return !ok
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	if len(lost) > 0 {
		return arm.Errorf(http.StatusConflict, "RoleScopeBeingRemovedContainsAssignments", "Role assignments found under scope '%s' which is being removed. Removing this scope from the role will orphan these assignments. Delete these assignments before removing the scope.", lost[0].Properties.Scope)
	}
	return nil
}

// assignmentsOf returns the assignments of a role that keep accepts.
func assignmentsOf(tx *rp.Tx, role string, keep func(arm.ID) bool) (found []*rp.Resource[Assignment], err error) {
	all, err := under(tx, "", "")
	if err != nil {
		return nil, err
	}
	for _, id := range all {
		a, err := rp.Get[Assignment](tx, id)
		if err != nil {
			return nil, err
		}
		if authz.DefinitionName(a.Properties.RoleDefinitionID) == role && keep(id) {
			found = append(found, a)
		}
	}
	return found, nil
}
