// Package authorization is Microsoft.Authorization: role definitions and role assignments. What they grant
// is decided in authz; this package stores them and keeps its index.
package authorization

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// The resource types.
const (
	AssignmentType = "Microsoft.Authorization/roleAssignments"
	DefinitionType = "Microsoft.Authorization/roleDefinitions"
)

// Assignment is the properties of a role assignment (Authorization REST: RoleAssignmentProperties).
type Assignment struct {
	RoleDefinitionID string    `json:"roleDefinitionId"`
	PrincipalID      string    `json:"principalId"`
	PrincipalType    string    `json:"principalType,omitempty"`
	Scope            string    `json:"scope,omitempty"`
	Description      string    `json:"description,omitempty"`
	Condition        string    `json:"condition,omitempty"`
	ConditionVersion string    `json:"conditionVersion,omitempty"`
	CreatedOn        time.Time `json:"createdOn,omitzero" rp:"readonly"`
	UpdatedOn        time.Time `json:"updatedOn,omitzero" rp:"readonly"`
	CreatedBy        string    `json:"createdBy,omitempty" rp:"readonly"`
	UpdatedBy        string    `json:"updatedBy,omitempty" rp:"readonly"`
}

var versions = []string{
	"2015-07-01", "2017-05-01", "2017-10-01-preview", "2018-01-01-preview", "2018-07-01", "2018-09-01-preview",
	"2020-03-01-preview", "2020-04-01-preview", "2020-08-01-preview", "2020-10-01-preview", "2021-04-01-preview",
	"2022-04-01", "2022-05-01-preview",
}

// Principals knows the directory: the type of a principal (User, Group, ServicePrincipal), ok false for
// one that does not exist.
type Principals interface {
	PrincipalType(tx store.Tx, objectID string) (kind string, ok bool, err error)
}

// Provider is Microsoft.Authorization.
type Provider struct{ principals Principals }

// New returns the provider.
func New(p Principals) *Provider { return &Provider{principals: p} }

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	read := "Microsoft.Authorization/roleDefinitions/read"
	var routes []rp.Route
	for _, scope := range []string{
		"", "/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{group}",
		"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}",
		"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}/{childType}/{childName}",
	} {
		routes = append(routes,
			rp.Route{Method: http.MethodGet, Pattern: scope + "/providers/" + DefinitionType, Permission: read, Versions: versions, Do: listDefinitions},
			rp.Route{Method: http.MethodGet, Pattern: scope + "/providers/" + DefinitionType + "/{role}", Permission: read, Versions: versions, Do: getDefinition})
	}
	return []rp.Registration{
		rp.Of(rp.Type[Assignment]{
			Name:          AssignmentType,
			Kind:          rp.Extension,
			Versions:      rp.Versions[Assignment](versions...),
			NamePattern:   guid.String(),
			NameRule:      "The role assignment ID must be a GUID.",
			StateProperty: "-",
			SyncDelete:    true,
			Validate:      validate,
			Admit:         p.admit,
		}),
		rp.Routes(routes...),
	}
}

func validate(_ rp.Op, new, old *rp.Resource[Assignment]) error {
	a := &new.Properties
	if !guid.MatchString(a.PrincipalID) {
		return arm.Errorf(http.StatusBadRequest, "InvalidPrincipalId", "The principal ID '%s' is not valid. Principal ID must be a GUID.", a.PrincipalID)
	}
	if a.RoleDefinitionID == "" {
		return arm.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID is missing: properties.roleDefinitionId.")
	}
	if a.Condition != "" {
		return arm.NotImplemented("properties.condition: conditions on role assignments are not evaluated yet, and an assignment must not grant more than it says.")
	}
	if old != nil && (!strings.EqualFold(old.Properties.RoleDefinitionID, a.RoleDefinitionID) || !strings.EqualFold(old.Properties.PrincipalID, a.PrincipalID)) {
		return arm.Errorf(http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	}
	return nil
}

func (p *Provider) admit(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Assignment]) error {
	a := &new.Properties
	role := authz.DefinitionName(a.RoleDefinitionID)
	if _, ok := authz.Builtin(role); !ok {
		return arm.Errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", role)
	}
	kind, ok, err := p.principals.PrincipalType(tx, a.PrincipalID)
	if err != nil {
		return err
	}
	if !ok {
		return arm.Errorf(http.StatusBadRequest, "PrincipalNotFound", "Principal %s does not exist in the directory. Check that you have the correct principal ID.", strings.ReplaceAll(a.PrincipalID, "-", ""))
	}
	if a.PrincipalType != "" && a.PrincipalType != kind {
		return arm.Errorf(http.StatusBadRequest, "UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s' , which is different from specified PrinciaplType '%s'.", a.PrincipalID, kind, a.PrincipalType)
	}
	a.PrincipalType, a.Scope = kind, new.ID.Scope().String()
	a.RoleDefinitionID = definitionID(new.ID, role)
	a.UpdatedOn, a.UpdatedBy = tx.Now, tx.Caller.ObjectID
	if op == rp.Update {
		return nil
	}
	a.CreatedOn, a.CreatedBy = tx.Now, tx.Caller.ObjectID
	same, err := rp.List[Assignment](tx, AssignmentType, new.ID.Scope())
	if err != nil {
		return err
	}
	for _, o := range same {
		q := o.Properties
		if o.ID.Key() != new.ID.Key() && strings.EqualFold(q.Scope, a.Scope) && strings.EqualFold(q.PrincipalID, a.PrincipalID) && strings.EqualFold(q.RoleDefinitionID, a.RoleDefinitionID) {
			return arm.Errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(o.ID.Name(), "-", ""))
		}
	}
	return nil
}

func definitionID(at arm.ID, role string) string {
	prefix := ""
	if s := at.Subscription(); s != "" {
		prefix = "/subscriptions/" + s
	}
	return prefix + "/providers/" + DefinitionType + "/" + role
}

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

var nameFilter = regexp.MustCompile(`(?i)^\s*roleName\s+eq\s+'([^']*)'\s*$`)

func listDefinitions(_ context.Context, _ *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	all := authz.Builtins()
	filter := query["$filter"]
	switch m := nameFilter.FindStringSubmatch(filter); {
	case m != nil:
		all = slices.DeleteFunc(all, func(d authz.Definition) bool { return !strings.EqualFold(d.RoleName, m[1]) })
	case strings.HasPrefix(strings.ToLower(filter), "type eq"):
		if strings.Contains(strings.ToLower(filter), "customrole") {
			all = nil
		}
	case filter != "" && !strings.HasPrefix(strings.ToLower(filter), "atscope"):
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "The filter '%s' is none of: roleName eq '…', type eq '…', atScope().", filter)
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
