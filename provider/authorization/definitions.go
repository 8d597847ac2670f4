package authorization

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// definition is a role definition as it is shown (Authorization REST: RoleDefinition).
type definition struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties map[string]any `json:"properties"`
}

func show(subscription string, d authz.Definition) definition {
	prefix := ""
	if subscription != "" {
		prefix = "/subscriptions/" + subscription
	}
	return definition{
		ID: prefix + "/providers/" + DefinitionType + "/" + d.Name, Name: d.Name, Type: DefinitionType,
		Properties: map[string]any{
			"roleName": d.RoleName, "type": d.RoleType, "description": d.Description,
			"assignableScopes": d.AssignableScopes, "permissions": d.Permissions,
		},
	}
}

// listDefinitions lists the built-in roles; $filter takes roleName eq, type eq, atScope() and
// atScopeAndBelow() ("Role Definitions - List"), joined by and.
func listDefinitions(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
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
	all := authz.Builtins()
	for _, t := range terms {
		switch t.name {
		case "rolename":
			all = slices.DeleteFunc(all, func(d authz.Definition) bool { return !strings.EqualFold(d.RoleName, t.value) })
		case "type":
			all = slices.DeleteFunc(all, func(d authz.Definition) bool { return !strings.EqualFold(d.RoleType, t.value) })
		case "atscope()", "atscopeandbelow()": // built-in roles are at every scope
		default:
			return nil, badFilter(query["$filter"], "roleName eq '…', type eq '…', atScope(), atScopeAndBelow()")
		}
	}
	value := []definition{}
	for _, d := range all {
		value = append(value, show(path["subscription"], d))
	}
	return map[string]any{"value": value}, nil
}

func getDefinition(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	d, ok := authz.Builtin(path["role"])
	if !ok {
		return nil, arm.Errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", path["role"])
	}
	return show(path["subscription"], d), nil
}
