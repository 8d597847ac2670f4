// Package authorization is the part of Microsoft.Authorization that says who may do what: role definitions, role
// assignments and deny assignments. What they grant is decided in authz; this package stores them and supplies them.
package authorization

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// The resource types.
const (
	AssignmentType = "Microsoft.Authorization/roleAssignments"
	DefinitionType = "Microsoft.Authorization/roleDefinitions"
	DenialType     = "Microsoft.Authorization/denyAssignments"
)

var versions = []string{
	"2015-07-01", "2017-05-01", "2017-10-01-preview", "2018-01-01-preview", "2018-07-01", "2018-09-01-preview",
	"2020-03-01-preview", "2020-04-01-preview", "2020-08-01-preview", "2020-10-01-preview", "2021-04-01-preview",
	"2022-04-01", "2022-05-01-preview",
}

var denialVersions = append([]string{"2024-07-01-preview"}, versions...)

// Principals knows the directory: the type of a principal (User, Group, ServicePrincipal), ok false for
// one that does not exist.
type Principals interface {
	PrincipalType(tx store.Tx, objectID string) (kind string, ok bool, err error)
}

// Config of a Provider. The zero value is that of a tenant without management groups and groups.
type Config struct {
	// Enclosing returns the management groups that enclose a scope, nearest first.
	Enclosing func(tx *rp.Tx, scope arm.ID) ([]arm.ID, error)
	// MemberOf returns the groups that a principal is in, nested ones too. It is asked within a View.
	MemberOf func(ctx context.Context, objectID string) ([]string, error)
	// Permissions returns what the caller may do at a scope (authz.Evaluator). It is asked within a View.
	Permissions func(ctx context.Context, p authz.Principal, scope string) ([]authz.Permission, error)
}

// Provider is the part of Microsoft.Authorization that this package has.
type Provider struct {
	Config
	principals Principals
	limits     limits
}

// limits of Azure ("Azure RBAC limits").
type limits struct{ perSubscription, perManagementGroup, customRoles int }

// New returns the provider.
func New(p Principals) *Provider {
	return &Provider{principals: p, limits: limits{perSubscription: 4000, perManagementGroup: 500, customRoles: 5000}}
}

// With sets the provider's config.
func (p *Provider) With(c Config) *Provider {
	p.Config = c
	return p
}

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
		add := func(method, pattern, permission string, do func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error)) *rp.Route {
			routes = append(routes, rp.Route{Method: method, Pattern: scope + "/providers/" + pattern, Permission: permission, Versions: versions, Do: do})
			return &routes[len(routes)-1]
		}
		one := DefinitionType + "/{role}"
		add(http.MethodGet, AssignmentType, AssignmentType+"/read", p.listAssignments)
		add(http.MethodGet, DefinitionType, DefinitionType+"/read", p.listDefinitions)
		add(http.MethodGet, one, DefinitionType+"/read", p.getDefinition)
		add(http.MethodPut, one, DefinitionType+"/write", p.putDefinition).Links = p.definitionLinks("write")
		add(http.MethodDelete, one, DefinitionType+"/delete", p.deleteDefinition).Links = p.definitionLinks("delete")
		for _, r := range []*rp.Route{
			add(http.MethodGet, DenialType, DenialType+"/read", p.listDenials),
			add(http.MethodPut, DenialType+"/{denial}", DenialType+"/write", refuseDenial),
			add(http.MethodDelete, DenialType+"/{denial}", DenialType+"/delete", refuseDenial),
		} {
			r.Versions = denialVersions
		}
		add(http.MethodGet, permissionsType, permissionsType+"/read", p.listPermissions)
	}
	routes = append(routes, p.operationRoutes()...)
	return []rp.Registration{
		rp.Of(rp.Type[Assignment]{
			Name:          AssignmentType,
			Kind:          rp.Extension,
			Versions:      rp.Versions[Assignment](versions...),
			StateProperty: "-",
			SyncDelete:    true,
			ShowDeleted:   true,
			NotFound: func(id arm.ID) *arm.Error {
				return arm.Errorf(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", id.Name())
			},
			Validate:   validate,
			Admit:      p.admit,
			Release:    p.release,
			Attributes: p.attributes,
		}),
		rp.Of(rp.Type[Definition]{
			Name: DefinitionType, Kind: rp.Extension, Versions: rp.Versions[Definition](versions...), StateProperty: "-",
			NoPut: true, NoDelete: true, // by the routes above: a role is the tenant's, at whatever scope it is named
		}),
		rp.Of(rp.Type[Denial]{
			Name: DenialType, Kind: rp.Extension, Versions: rp.Versions[Denial](denialVersions...), StateProperty: "-",
			NoPut: true, NoDelete: true, // they are the platform's
		}),
		rp.Routes(routes...),
		rp.Operations(rp.Actions("Microsoft.Authorization/elevateAccess/action")...),
	}
}
