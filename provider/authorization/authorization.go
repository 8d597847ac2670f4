// Package authorization is Microsoft.Authorization: role definitions and role assignments. What they grant
// is decided in authz; this package stores them and keeps its index.
package authorization

import (
	"context"
	"crypto/sha256"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

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

// scopes are the places at which assignments and definitions are listed.
var scopes = []string{
	"", "/providers/Microsoft.Management/managementGroups/{management}",
	"/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{group}",
	"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}",
	"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}/{type2}/{name2}",
	"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}/{type2}/{name2}/{type3}/{name3}",
}

// scopeOf is the scope that the segments of a route name.
func scopeOf(path map[string]string) (arm.ID, error) {
	var b strings.Builder
	for _, part := range []struct{ before, name string }{
		{"/providers/Microsoft.Management/managementGroups/", "management"}, {"/subscriptions/", "subscription"}, {"/resourceGroups/", "group"},
		{"/providers/", "namespace"}, {"/", "type"}, {"/", "name"}, {"/", "type2"}, {"/", "name2"}, {"/", "type3"}, {"/", "name3"},
	} {
		if v, ok := path[part.name]; ok {
			b.WriteString(part.before + v)
		}
	}
	if b.Len() == 0 {
		return arm.ParseID("/")
	}
	return arm.ParseID(b.String())
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	var routes []rp.Route
	for _, scope := range scopes {
		get := func(pattern, permission string, do func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error)) {
			routes = append(routes, rp.Route{Method: http.MethodGet, Pattern: scope + "/providers/" + pattern, Permission: permission, Versions: versions, Do: do})
		}
		get(AssignmentType, AssignmentType+"/read", listAssignments)
		get(DefinitionType, DefinitionType+"/read", listDefinitions)
		get(DefinitionType+"/{role}", DefinitionType+"/read", getDefinition)
	}
	return []rp.Registration{
		rp.Of(rp.Type[Assignment]{
			Name:          AssignmentType,
			Kind:          rp.Extension,
			Versions:      rp.Versions[Assignment](versions...),
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
	if !guid.MatchString(new.ID.Name()) {
		return arm.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", new.ID.Name())
	}
	if !guid.MatchString(a.PrincipalID) {
		return arm.Errorf(http.StatusBadRequest, "InvalidPrincipalId", "The principal ID '%s' is not valid. Principal ID must be a GUID.", a.PrincipalID)
	}
	if a.RoleDefinitionID == "" {
		return arm.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID is missing: properties.roleDefinitionId.")
	}
	if a.Condition != "" {
		return arm.NotImplemented("properties.condition: conditions on role assignments are not evaluated yet, and an assignment must not grant more than it says.")
	}
	if old != nil && (authz.DefinitionName(old.Properties.RoleDefinitionID) != authz.DefinitionName(a.RoleDefinitionID) || !strings.EqualFold(old.Properties.PrincipalID, a.PrincipalID)) {
		return arm.Errorf(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
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
	same, err := under(tx, own(new.ID.Scope()), new.ID.Key())
	if err != nil {
		return err
	}
	for _, id := range same {
		o, err := rp.Get[Assignment](tx, id)
		if err != nil {
			return err
		}
		if strings.EqualFold(o.Properties.PrincipalID, a.PrincipalID) && authz.DefinitionName(o.Properties.RoleDefinitionID) == role {
			return arm.Errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(o.ID.Name(), "-", ""))
		}
	}
	return nil
}

// Grant gives a service principal a built-in role at a scope, as the platform does for what it makes itself; a
// grant that exists is left as it is.
func Grant(tx *rp.Tx, scope arm.ID, role, principalID string) error {
	return GrantTo(tx, scope, role, principalID, "ServicePrincipal")
}

// GrantTo is Grant for a principal of another type (User, Group, ServicePrincipal).
func GrantTo(tx *rp.Tx, scope arm.ID, role, principalID, kind string) error {
	if kind != "User" && kind != "Group" {
		kind = "ServicePrincipal"
	}
	sum := sha256.Sum256([]byte(scope.Key() + " " + role + " " + principalID))
	name, err := uuid.FromBytes(sum[:16])
	if err != nil {
		return err
	}
	id, err := arm.ParseID(strings.TrimSuffix(scope.String(), "/") + "/providers/" + AssignmentType + "/" + name.String())
	if err != nil {
		return err
	}
	return rp.Save(tx, &rp.Resource[Assignment]{ID: id, State: arm.Succeeded, Properties: Assignment{
		RoleDefinitionID: definitionID(id, role), PrincipalID: principalID, PrincipalType: kind, Scope: scope.String(),
		CreatedOn: tx.Now, UpdatedOn: tx.Now,
	}})
}

func definitionID(at arm.ID, role string) string {
	prefix := ""
	if s := at.Subscription(); s != "" {
		prefix = "/subscriptions/" + s
	}
	return prefix + "/providers/" + DefinitionType + "/" + role
}
