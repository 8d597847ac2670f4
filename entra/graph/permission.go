package graph

import (
	"errors"
	"net/http"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

var (
	grantKind   = kind{name: "oAuth2PermissionGrant", set: "oauth2PermissionGrants", sample: grantObject(directory.Grant{})}
	appRoleKind = kind{name: "appRoleAssignment", set: "appRoleAssignments", sample: appRoleObject(directory.AppRoleAssignment{}, "", "")}
)

var (
	readGrants    = Need{Application: []string{"DelegatedPermissionGrant.Read.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"DelegatedPermissionGrant.Read.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Action: "oAuth2PermissionGrants/allProperties/read", Members: true}
	writeGrants   = Need{Application: []string{"DelegatedPermissionGrant.ReadWrite.All"}, Delegated: []string{"DelegatedPermissionGrant.ReadWrite.All"}, Action: "oAuth2PermissionGrants/create"}
	readAppRoles  = Need{Application: []string{"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"Application.Read.All", "Directory.Read.All"}, Action: "servicePrincipals/appRoleAssignments/read", Members: true}
	writeAppRoles = Need{Application: []string{"AppRoleAssignment.ReadWrite.All"}, Delegated: []string{"AppRoleAssignment.ReadWrite.All"}, Action: "servicePrincipals/appRoleAssignedTo/update"}
	// grantAny is what application permissions on Microsoft Graph take: they are a way to any directory role.
	grantAny = Need{Application: []string{"AppRoleAssignment.ReadWrite.All"}, Delegated: []string{"AppRoleAssignment.ReadWrite.All"}, Action: "servicePrincipals/managePermissionGrantsForAll.microsoft-company-admin"}
)

func grantObject(g directory.Grant) object {
	return object{"id": g.ID, "clientId": g.ClientID, "consentType": g.ConsentType, "principalId": text(g.PrincipalID), "resourceId": g.ResourceID, "scope": g.Scope}
}

// grants lists delegated permissions, of one client where the path names one.
func (c *Call) grants(client string) source {
	return func(tx store.Tx, after string, yield func(object) bool) error {
		if client == "" {
			client = c.query.filter.Must()["clientId"]
		}
		all, err := c.dir.Grants(tx, c.tenant(), client)
		if err != nil {
			return err
		}
		return slice(all, grantObject)(tx, after, yield)
	}
}

// client is the object id of the service principal at {id}.
func (c *Call) client() (id string, err error) {
	err = c.View(func(tx store.Tx) error {
		p, err := c.principal(tx, c.Vars[0])
		id = p.ObjectID
		return err
	})
	return id, err
}

func (c *Call) createGrant() error {
	var body struct{ ClientID, ConsentType, PrincipalID, ResourceID, Scope string }
	if err := c.Body(&body); err != nil {
		return err
	}
	g := directory.Grant{ClientID: body.ClientID, ConsentType: body.ConsentType, PrincipalID: body.PrincipalID, ResourceID: body.ResourceID, Scope: body.Scope}
	err := c.Update(func(tx store.Tx) (err error) {
		for _, id := range []string{g.ClientID, g.ResourceID} {
			if _, err := c.principal(tx, id); err != nil {
				return err
			}
		}
		g, err = c.dir.PutGrant(tx, g)
		return err
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, grantKind, grantObject(g))
}

// grant finds a grant of the caller's tenant; notFound.
func (c *Call) grant(tx store.Tx) (directory.Grant, error) {
	g, err := c.dir.Grant(tx, c.Vars[0])
	if errors.Is(err, directory.ErrNotFound) || err == nil && g.TenantID != c.tenant() {
		return g, notFound(c.Vars[0])
	}
	return g, err
}

func (c *Call) getGrant() error {
	var g directory.Grant
	if err := c.View(func(tx store.Tx) (err error) {
		g, err = c.grant(tx)
		return err
	}); err != nil {
		return err
	}
	return c.one(http.StatusOK, grantKind, grantObject(g))
}

// changeGrant replaces the scopes of a grant, or takes it away.
func (c *Call) changeGrant() error {
	var body struct{ Scope *string }
	if c.R.Method == http.MethodPatch {
		if err := c.Body(&body); err != nil {
			return err
		}
		if body.Scope == nil {
			return badRequest("A value is required for property 'scope' of resource 'OAuth2PermissionGrant'; nothing else can be changed.")
		}
	}
	err := c.Update(func(tx store.Tx) error {
		g, err := c.grant(tx)
		if err != nil {
			return err
		}
		if body.Scope != nil {
			return c.dir.SetGrant(tx, g.ID, *body.Scope)
		}
		return c.dir.RemoveGrant(tx, g.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func appRoleObject(a directory.AppRoleAssignment, principal, resource string) object {
	kind := string(a.PrincipalType)
	if kind != "" {
		kind = strings.ToUpper(kind[:1]) + kind[1:]
	}
	return object{"@odata.type": "#microsoft.graph.appRoleAssignment", "id": a.ID, "principalId": a.PrincipalID, "principalType": kind, "principalDisplayName": text(principal), "resourceId": a.ResourceID,
		"resourceDisplayName": text(resource), "appRoleId": a.AppRoleID, "createdDateTime": when(a.Created), "deletedDateTime": nil}
}

// displayName is the name of an object of any kind.
func (c *Call) displayName(tx store.Tx, id string) string {
	r, err := c.dir.Find(tx, id)
	if err != nil {
		return ""
	}
	o, err := c.entity(tx, r)
	if err != nil || o == nil {
		return ""
	}
	name, _ := o["displayName"].(string)
	return name
}

// listAppRoles lists what an object is given, or, of a resource, what it gives (appRoleAssignedTo).
func (c *Call) listAppRoles() error {
	given := strings.EqualFold(c.segments[2], "appRoleAssignedTo")
	return c.list(appRoleKind, func(tx store.Tx, after string, yield func(object) bool) error {
		who, err := c.holder(tx)
		if err != nil {
			return err
		}
		principal, resource := who.ID, ""
		if given {
			principal, resource = "", who.ID
		}
		all, err := c.dir.AppRoles(tx, c.tenant(), principal, resource)
		if err != nil {
			return err
		}
		return slice(all, func(a directory.AppRoleAssignment) object {
			return appRoleObject(a, c.displayName(tx, a.PrincipalID), c.displayName(tx, a.ResourceID))
		})(tx, after, yield)
	})
}

func (c *Call) createAppRole() error {
	var body struct{ PrincipalID, ResourceID, AppRoleID string }
	if err := c.Body(&body); err != nil {
		return err
	}
	a := directory.AppRoleAssignment{TenantID: c.tenant(), PrincipalID: body.PrincipalID, ResourceID: body.ResourceID, AppRoleID: body.AppRoleID}
	var o object
	err := c.Update(func(tx store.Tx) error {
		resource, err := c.principal(tx, a.ResourceID)
		if err != nil {
			return err
		}
		if resource.AppID == directory.GraphAppID {
			if err := c.Demand(grantAny); err != nil {
				return err
			}
		}
		who, err := c.holder(tx)
		if err != nil {
			return err
		}
		if who.ID != strings.ToLower(a.PrincipalID) && who.ID != strings.ToLower(a.ResourceID) {
			return badRequest("Property 'principalId' or 'resourceId' is the object that the path names.")
		}
		err = c.dir.AssignAppRole(tx, &a)
		if taken := new(directory.Conflict); errors.As(err, &taken) {
			return fail(http.StatusBadRequest, "Request_BadRequest", "Permission being assigned already exists on the object")
		}
		o = appRoleObject(a, c.displayName(tx, a.PrincipalID), resource.DisplayName)
		return err
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, appRoleKind, o)
}

func (c *Call) deleteAppRole() error {
	err := c.Update(func(tx store.Tx) error {
		who, err := c.holder(tx)
		if err != nil {
			return err
		}
		a, err := c.dir.AppRole(tx, c.Vars[1])
		if err != nil {
			return err
		}
		if a.TenantID != c.tenant() || a.PrincipalID != who.ID && a.ResourceID != who.ID {
			return notFound(c.Vars[1])
		}
		return c.dir.RemoveAppRole(tx, a.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
