package directory

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// AppRoleAssignment gives a principal an app role of a resource: an application permission when the principal
// is a service principal (Microsoft Graph, appRoleAssignment).
type AppRoleAssignment struct {
	ID            string    `json:"id"`
	TenantID      string    `json:"tenantId"`
	PrincipalID   string    `json:"principalId"`
	PrincipalType Type      `json:"principalType"`
	ResourceID    string    `json:"resourceId"` // object id of the resource's service principal
	AppRoleID     string    `json:"appRoleId"`  // DefaultAccess = no role, only access
	Created       time.Time `json:"createdDateTime"`
}

// DefaultAccess is the app role of an assignment that names none.
const DefaultAccess = "00000000-0000-0000-0000-000000000000"

// Grant lets a client act for a user, or for all users, with scopes of a resource (Microsoft Graph,
// oAuth2PermissionGrant). It is what consent leaves behind.
type Grant struct {
	ID          string `json:"id"`
	TenantID    string `json:"tenantId"`
	ClientID    string `json:"clientId"`    // object id of the client's service principal
	ConsentType string `json:"consentType"` // AllPrincipals, Principal
	PrincipalID string `json:"principalId,omitempty"`
	ResourceID  string `json:"resourceId"` // object id of the resource's service principal
	Scope       string `json:"scope"`      // values of scopes, separated by spaces
}

// AssignAppRole gives an app role; ErrNotFound, *Conflict when it is given already, *Invalid for a role that the
// resource does not offer to such a principal.
func (o *Objects) AssignAppRole(tx store.Tx, a *AppRoleAssignment) error {
	who, err := o.Find(tx, a.PrincipalID, TypeUser, TypeGroup, TypeServicePrincipal)
	if err != nil {
		return err
	}
	resource, err := o.ByObjectID(tx, a.ResourceID)
	if err != nil {
		return err
	}
	for _, r := range []Ref{who, {resource.ObjectID, TypeServicePrincipal}} {
		tenant, err := o.tenantOfObject(tx, r)
		if err != nil {
			return err
		}
		if a.TenantID = o.tenantOf(a.TenantID); tenant != a.TenantID {
			return ErrNotFound
		}
	}
	a.PrincipalID, a.PrincipalType, a.ResourceID, a.AppRoleID, a.Created = who.ID, who.Type, resource.ObjectID, fold(a.AppRoleID), o.clock.Now()
	if err := offers(resource, a.AppRoleID, who.Type); err != nil {
		return err
	}
	a.ID = uuid.NewSHA1(uuid.MustParse(a.ResourceID), []byte(a.PrincipalID+"/"+a.AppRoleID)).String()
	err = putJSON(tx, kindAppRole, a.ID, a, store.None)
	if errors.Is(err, store.ErrConflict) {
		return &Conflict{"appRoleId", a.AppRoleID}
	}
	return err
}

func offers(resource ServicePrincipal, role string, to Type) error {
	if role == DefaultAccess {
		return nil
	}
	kind := "User"
	if to == TypeServicePrincipal {
		kind = "Application"
	}
	for _, r := range resource.AppRoles {
		if fold(r.ID) == role && r.Enabled && slices.Contains(r.MemberTypes, kind) {
			return nil
		}
	}
	return &Invalid{"appRoleId", "the resource has no enabled app role with this id for a " + kind}
}

// AppRole returns an assignment; ErrNotFound.
func (o *Objects) AppRole(tx store.Tx, id string) (AppRoleAssignment, error) {
	return get[AppRoleAssignment](tx, kindAppRole, id)
}

// RemoveAppRole takes an assignment away; ErrNotFound.
func (o *Objects) RemoveAppRole(tx store.Tx, id string) error { return remove(tx, kindAppRole, id) }

// AppRoles returns the assignments of a tenant that match: of a principal, of a resource, or all, where "".
func (o *Objects) AppRoles(tx store.Tx, tenant, principal, resource string) (out []AppRoleAssignment, err error) {
	principal, resource = fold(principal), fold(resource)
	err = scan(tx, kindAppRole, "", func(a AppRoleAssignment) bool {
		if a.TenantID == tenant && (principal == "" || a.PrincipalID == principal) && (resource == "" || a.ResourceID == resource) {
			out = append(out, a)
		}
		return true
	})
	return out, err
}

// RolesOn are the values of the app roles that a principal has on a resource, itself and by its groups.
func (o *Objects) RolesOn(tx store.Tx, principal string, groups []string, resource ServicePrincipal) ([]string, error) {
	all, err := o.AppRoles(tx, resource.TenantID, "", resource.ObjectID)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range all {
		if a.PrincipalID != principal && !slices.Contains(groups, a.PrincipalID) {
			continue
		}
		for _, r := range resource.AppRoles {
			if fold(r.ID) == a.AppRoleID && r.Enabled && r.Value != "" && !slices.Contains(out, r.Value) {
				out = append(out, r.Value)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// GrantGraph gives the principal application permissions on Microsoft Graph, such as
// Directory.Read.All; ErrNoPrincipal. Those that it has are left as they are.
func (o *Objects) GrantGraph(tx store.Tx, objectID string, values ...string) error {
	p, err := o.ByObjectID(tx, objectID)
	if err != nil {
		return err
	}
	graph, err := o.PrincipalIn(tx, p.TenantID, GraphAppID)
	if err != nil {
		return err
	}
	for _, v := range values {
		at := slices.IndexFunc(graph.AppRoles, func(r AppRole) bool { return r.Value == v })
		if at < 0 {
			return &Invalid{"appRoleId", "Microsoft Graph has no application permission " + v}
		}
		err := o.AssignAppRole(tx, &AppRoleAssignment{TenantID: p.TenantID, PrincipalID: p.ObjectID, ResourceID: graph.ObjectID, AppRoleID: graph.AppRoles[at].ID})
		if taken := new(Conflict); err != nil && !errors.As(err, &taken) {
			return err
		}
	}
	return nil
}

// PutGrant stores a delegated permission grant, and merges its scopes with those that the client has for the
// same resource and user; ErrNotFound, *Invalid. It returns the grant as stored.
func (o *Objects) PutGrant(tx store.Tx, g Grant) (Grant, error) {
	client, err := o.ByObjectID(tx, g.ClientID)
	if err != nil {
		return g, err
	}
	resource, err := o.ByObjectID(tx, g.ResourceID)
	if err != nil {
		return g, err
	}
	g.ClientID, g.ResourceID, g.TenantID = client.ObjectID, resource.ObjectID, client.TenantID
	switch {
	case g.ConsentType == "AllPrincipals":
		if g.PrincipalID != "" {
			return g, &Invalid{"principalId", "null, where consentType is AllPrincipals"}
		}
	case g.ConsentType == "Principal":
		u, err := o.User(tx, g.PrincipalID)
		if err != nil {
			return g, err
		}
		g.PrincipalID = u.ID
	default:
		return g, &Invalid{"consentType", "AllPrincipals or Principal"}
	}
	g.ID = uuid.NewSHA1(uuid.MustParse(g.ClientID), []byte(g.ResourceID+"/"+g.PrincipalID)).String()
	old, err := get[Grant](tx, kindGrant, g.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return g, err
	}
	g.Scope = mergeScopes(old.Scope, g.Scope)
	return g, putJSON(tx, kindGrant, g.ID, g, store.Any)
}

func mergeScopes(lists ...string) string {
	var out []string
	for _, l := range lists {
		for _, s := range strings.Fields(l) {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return strings.Join(out, " ")
}

// Grant returns a delegated permission grant; ErrNotFound.
func (o *Objects) Grant(tx store.Tx, id string) (Grant, error) { return get[Grant](tx, kindGrant, id) }

// SetGrant replaces the scopes of a grant; ErrNotFound.
func (o *Objects) SetGrant(tx store.Tx, id, scope string) error {
	g, err := o.Grant(tx, id)
	if err != nil {
		return err
	}
	g.Scope = mergeScopes(scope)
	return putJSON(tx, kindGrant, g.ID, g, store.Any)
}

// RemoveGrant takes a grant away; ErrNotFound.
func (o *Objects) RemoveGrant(tx store.Tx, id string) error { return remove(tx, kindGrant, id) }

// Grants returns the grants of a tenant, of one client where it is not "".
func (o *Objects) Grants(tx store.Tx, tenant, client string) (out []Grant, err error) {
	client = fold(client)
	err = scan(tx, kindGrant, "", func(g Grant) bool {
		if g.TenantID == tenant && (client == "" || g.ClientID == client) {
			out = append(out, g)
		}
		return true
	})
	return out, err
}

// Consented are the scopes of a resource with which a client may act for a user: what all users' and his own
// grants say.
func (o *Objects) Consented(tx store.Tx, client, resource ServicePrincipal, user string) ([]string, error) {
	grants, err := o.Grants(tx, client.TenantID, client.ObjectID)
	if err != nil {
		return nil, err
	}
	var scopes string
	for _, g := range grants {
		if g.ResourceID == resource.ObjectID && (g.ConsentType == "AllPrincipals" || g.PrincipalID == fold(user)) {
			scopes = mergeScopes(scopes, g.Scope)
		}
	}
	return strings.Fields(scopes), nil
}

// dropPermissions takes away what an object was given, and what others were given on it.
func (o *Objects) dropPermissions(tx store.Tx, id string) error {
	var roles, grants []string
	err := scan(tx, kindAppRole, "", func(a AppRoleAssignment) bool {
		if a.PrincipalID == id || a.ResourceID == id {
			roles = append(roles, a.ID)
		}
		return true
	})
	err = errors.Join(err, scan(tx, kindGrant, "", func(g Grant) bool {
		if g.ClientID == id || g.ResourceID == id || g.PrincipalID == id {
			grants = append(grants, g.ID)
		}
		return true
	}))
	for _, r := range roles {
		err = errors.Join(err, tx.Delete(kindAppRole, r, store.Any))
	}
	for _, g := range grants {
		err = errors.Join(err, tx.Delete(kindGrant, g, store.Any))
	}
	return err
}

func remove(tx store.Tx, kind, id string) error {
	err := tx.Delete(kind, guid(id), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotFound
	}
	return err
}
