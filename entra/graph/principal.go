package graph

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

var principalKind = kind{name: "servicePrincipal", set: "servicePrincipals", sample: principalObject(directory.ServicePrincipal{}), derived: []string{"owners", "memberOf", "transitiveMemberOf", "ownedObjects"}}

var (
	readPrincipals  = Need{Application: readApplications.Application, Delegated: readApplications.Delegated, Action: "servicePrincipals/standard/read", Members: true}
	writePrincipals = writeApplications
	// createPrincipals: every member may, of applications that he owns or that others have published.
	createPrincipals = Need{Application: createApplications.Application, Delegated: createApplications.Delegated, Action: "servicePrincipals/create", Members: true}
)

func principalWrite(action string) Need {
	n := writePrincipals
	n.Action = action
	return n
}

func principalObject(p directory.ServicePrincipal) object {
	kind, alternative := "Application", some(p.AlternativeNames)
	if p.Managed() {
		kind = "ManagedIdentity"
		alternative = []string{"isExplicit=" + strconv.FormatBool(p.Identity == directory.UserAssigned), p.Resource}
	}
	return object{
		"@odata.type": "#microsoft.graph.servicePrincipal",
		"id":          p.ObjectID, "appId": p.AppID, "displayName": p.DisplayName, "appDisplayName": p.DisplayName, "accountEnabled": !p.Disabled, "servicePrincipalType": kind,
		"alternativeNames": alternative, "appOwnerOrganizationId": p.Owner, "appRoleAssignmentRequired": p.AssignmentRequired, "createdDateTime": when(p.Created), "deletedDateTime": nil,
		"servicePrincipalNames": append([]string{p.AppID}, p.URIs...), "replyUrls": some(p.Redirect), "homepage": text(p.Homepage), "description": text(p.Description), "notes": text(p.Notes),
		"loginUrl": text(p.LoginURL), "logoutUrl": nil, "preferredSingleSignOnMode": text(p.SSOMode), "notificationEmailAddresses": some(p.NotificationEmails), "tags": some(p.Tags),
		"appDescription": nil, "applicationTemplateId": nil, "disabledByMicrosoftStatus": nil, "preferredTokenSigningKeyThumbprint": nil, "signInAudience": nil, "tokenEncryptionKeyId": nil, "samlSingleSignOnSettings": nil,
		"addIns": []string{}, "resourceSpecificApplicationPermissions": []string{}, "info": info(nil), "verifiedPublisher": object{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
		"appRoles": appRoles(p.AppRoles), "oauth2PermissionScopes": scopes(p.Scopes), "passwordCredentials": passwords(p.Secrets), "keyCredentials": keys(p.Keys),
	}
}

type servicePrincipal = directory.ServicePrincipal

var principalProperties = map[string]property[servicePrincipal]{
	"accountEnabled": func(p *servicePrincipal, raw json.RawMessage) error {
		enabled := true
		err := json.Unmarshal(raw, &enabled)
		p.Disabled = !enabled
		return err
	},
	"displayName": at(func(p *servicePrincipal) *string { return &p.DisplayName }), "appRoleAssignmentRequired": at(func(p *servicePrincipal) *bool { return &p.AssignmentRequired }),
	"alternativeNames": at(func(p *servicePrincipal) *[]string { return &p.AlternativeNames }), "description": at(func(p *servicePrincipal) *string { return &p.Description }),
	"notes": at(func(p *servicePrincipal) *string { return &p.Notes }), "loginUrl": at(func(p *servicePrincipal) *string { return &p.LoginURL }),
	"preferredSingleSignOnMode": at(func(p *servicePrincipal) *string { return &p.SSOMode }), "notificationEmailAddresses": at(func(p *servicePrincipal) *[]string { return &p.NotificationEmails }),
	"tags": at(func(p *servicePrincipal) *[]string { return &p.Tags }), "keyCredentials": writeKeys(func(p *servicePrincipal) *[]directory.Key { return &p.Keys }),
	"id": nil, "appId": nil, "createdDateTime": nil, "deletedDateTime": nil, "appOwnerOrganizationId": nil, "servicePrincipalType": nil, "passwordCredentials": nil, "appRoles": nil,
	"oauth2PermissionScopes": nil, "appDisplayName": nil, "servicePrincipalNames": nil, "signInAudience": nil, "owners": nil, "replyUrls": nil, "homepage": nil,
}

// principals yields what is stored merged with Microsoft's own, in order of the ids.
func (c *Call) principals(tx store.Tx, after string, yield func(object) bool) error {
	must := c.query.filter.Must()
	name, ok := must["servicePrincipalNames"]
	if id, has := must["appId"]; has {
		name, ok = id, true
	}
	if !ok {
		return c.dir.AllPrincipals(tx, c.tenant(), after, func(p directory.ServicePrincipal) bool { return yield(principalObject(p)) })
	}
	if after != "" {
		return nil
	}
	p, err := c.dir.PrincipalIn(tx, c.tenant(), name)
	if errors.Is(err, directory.ErrNotFound) {
		var a directory.Application
		if a, err = c.dir.ApplicationByURI(tx, c.tenant(), name); err == nil {
			p, err = c.dir.PrincipalIn(tx, c.tenant(), a.AppID)
		}
	}
	if errors.Is(err, directory.ErrNotFound) {
		return nil
	}
	if err == nil {
		yield(principalObject(p))
	}
	return err
}

// principal finds a service principal of the caller's tenant by object id or appId=…; notFound.
func (c *Call) principal(tx store.Tx, key string) (p directory.ServicePrincipal, err error) {
	if appID, ok := strings.CutPrefix(key, "appId="); ok {
		p, err = c.dir.PrincipalIn(tx, c.tenant(), appID)
	} else {
		p, err = c.dir.ByObjectID(tx, key)
	}
	if errors.Is(err, directory.ErrNotFound) || err == nil && p.TenantID != c.tenant() {
		return directory.ServicePrincipal{}, notFound(key)
	}
	return p, err
}

func (c *Call) getPrincipal() error {
	var p directory.ServicePrincipal
	if err := c.View(func(tx store.Tx) (err error) {
		p, err = c.principal(tx, c.Vars[0])
		return err
	}); err != nil {
		return err
	}
	o := principalObject(p)
	c.showKeys(o, p.Keys)
	return c.one(http.StatusOK, principalKind, o)
}

func (c *Call) createPrincipal() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	var appID string
	if json.Unmarshal(body["appId"], &appID) != nil || appID == "" {
		return badRequest("A value is required for property 'appId' of resource 'ServicePrincipal'.")
	}
	owners, err := bound(body, "owners")
	if err != nil {
		return err
	}
	var p directory.ServicePrincipal
	if err := apply("ServicePrincipal", principalProperties, &p, body, "appId", "owners@odata.bind"); err != nil {
		return err
	}
	p.AppID, p.TenantID = appID, c.tenant()
	owners = c.creators(owners, createPrincipals.Action)
	err = c.Update(func(tx store.Tx) error {
		err := c.dir.AddPrincipal(tx, &p)
		switch taken := new(directory.Conflict); {
		case errors.Is(err, directory.ErrNotFound):
			return fail(http.StatusBadRequest, "Request_BadRequest", "The appId '%s' of the service principal does not reference a valid application object.", printable(appID))
		case errors.As(err, &taken):
			return fail(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", printable(appID))
		case err != nil:
			return err
		}
		for _, o := range owners {
			if err := c.addOwner(tx, p.ObjectID, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, principalKind, principalObject(p))
}

// mayChangePrincipal: owners of a service principal may, and owners of its application not by that alone.
func (c *Call) mayChangePrincipal(tx store.Tx, id, action string) error {
	own, err := c.owns(tx, id)
	if err != nil {
		return err
	}
	p, err := c.dir.ByObjectID(tx, id)
	if err != nil {
		return err
	}
	if p.Managed() || p.Owner == directory.MicrosoftTenant {
		return directory.ErrManaged
	}
	return c.Allow(principalWrite(action), own)
}

func (c *Call) updatePrincipal() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	err := c.Update(func(tx store.Tx) error {
		p, err := c.principal(tx, c.Vars[0])
		if err != nil {
			return err
		}
		for name := range body {
			action := "servicePrincipals/basic/update"
			switch name {
			case "keyCredentials":
				action = "servicePrincipals/credentials/update"
			case "accountEnabled":
				action = "servicePrincipals/disable"
			}
			if err := c.mayChangePrincipal(tx, p.ObjectID, action); err != nil {
				return err
			}
		}
		return c.dir.UpdatePrincipal(tx, p.ObjectID, func(p *directory.ServicePrincipal) error {
			return apply("ServicePrincipal", principalProperties, p, body)
		})
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func (c *Call) deletePrincipal() error {
	err := c.Update(func(tx store.Tx) error {
		p, err := c.principal(tx, c.Vars[0])
		if err != nil {
			return err
		}
		if err := c.mayChangePrincipal(tx, p.ObjectID, "servicePrincipals/delete"); err != nil {
			return err
		}
		return c.dir.DeletePrincipal(tx, p.ObjectID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
