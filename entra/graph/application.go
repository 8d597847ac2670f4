package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

var applicationKind = kind{name: "application", set: "applications", sample: applicationObject(directory.Application{}), derived: []string{"owners"}}

var (
	readApplications  = Need{Application: []string{"Application.Read.All", "Application.ReadWrite.All", "Application.ReadWrite.OwnedBy", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Action: "applications/standard/read", Members: true}
	writeApplications = Need{Application: []string{"Application.ReadWrite.All", "Directory.ReadWrite.All"}, Delegated: []string{"Application.ReadWrite.All", "Directory.ReadWrite.All"}, Own: true}
	// createApplications: every member of the tenant may, and owns what he makes.
	createApplications = Need{Application: []string{"Application.ReadWrite.All", "Application.ReadWrite.OwnedBy", "Directory.ReadWrite.All"}, Delegated: []string{"Application.ReadWrite.All", "Directory.ReadWrite.All"}, Action: "applications/create", Members: true}
)

func applicationWrite(action string) Need {
	n := writeApplications
	n.Action = action
	return n
}

func applicationObject(a directory.Application) object {
	return object{
		"@odata.type": "#microsoft.graph.application",
		"id":          a.ID, "appId": a.AppID, "displayName": a.DisplayName, "description": text(a.Description), "notes": text(a.Notes), "signInAudience": a.SignInAudience,
		"createdDateTime": when(a.Created), "deletedDateTime": nil, "publisherDomain": nil, "applicationTemplateId": nil, "disabledByMicrosoftStatus": nil, "uniqueName": nil,
		"identifierUris": some(a.IdentifierURIs), "isFallbackPublicClient": a.FallbackPublicClient, "isDeviceOnlyAuthSupported": a.DeviceOnlyAuth, "defaultRedirectUri": text(a.DefaultRedirectURI),
		"groupMembershipClaims": text(a.GroupMembershipClaims), "optionalClaims": raw(a.OptionalClaims), "serviceManagementReference": text(a.ServiceManagement), "samlMetadataUrl": text(a.SAMLMetadataURL),
		"nativeAuthenticationApisEnabled": nil, "tokenEncryptionKeyId": nil, "certification": nil, "requestSignatureVerification": nil, "servicePrincipalLockConfiguration": nil,
		"parentalControlSettings": object{"countriesBlockedForMinors": []string{}, "legalAgeGroupRule": "Allow"}, "verifiedPublisher": object{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
		"tags": some(a.Tags), "addIns": []string{}, "info": info(a.Info),
		"web": object{"homePageUrl": text(a.Web.HomePageURL), "logoutUrl": text(a.Web.LogoutURL), "redirectUris": some(a.Web.RedirectURIs), "redirectUriSettings": redirectSettings(a.Web.RedirectURIs),
			"implicitGrantSettings": object{"enableAccessTokenIssuance": a.Web.Implicit.AccessTokens, "enableIdTokenIssuance": a.Web.Implicit.IDTokens}},
		"spa": object{"redirectUris": some(a.SPA.RedirectURIs)}, "publicClient": object{"redirectUris": some(a.PublicClient.RedirectURIs)},
		"api": object{"acceptMappedClaims": a.API.AcceptMappedClaims, "knownClientApplications": some(a.API.KnownClients), "requestedAccessTokenVersion": a.API.TokenVersion,
			"oauth2PermissionScopes": scopes(a.API.Scopes), "preAuthorizedApplications": preAuthorized(a.API.PreAuthorized)},
		"appRoles": appRoles(a.AppRoles), "requiredResourceAccess": required(a.RequiredAccess),
		"passwordCredentials": passwords(a.Secrets), "keyCredentials": keys(a.Keys),
	}
}

func raw(r json.RawMessage) any {
	if len(r) == 0 {
		return nil
	}
	return r
}

func info(m map[string]string) object {
	o := object{"logoUrl": nil}
	for _, name := range []string{"marketingUrl", "privacyStatementUrl", "supportUrl", "termsOfServiceUrl"} {
		o[name] = text(m[name])
	}
	return o
}

func redirectSettings(uris []string) []object {
	out := []object{}
	for _, u := range uris {
		out = append(out, object{"uri": u, "index": nil})
	}
	return out
}

func scopes(list []directory.Scope) []object {
	out := []object{}
	for _, s := range list {
		out = append(out, object{"id": s.ID, "value": text(s.Value), "type": s.Type, "isEnabled": s.Enabled, "adminConsentDisplayName": text(s.AdminConsentDisplayName),
			"adminConsentDescription": text(s.AdminConsentDescription), "userConsentDisplayName": text(s.UserConsentDisplayName), "userConsentDescription": text(s.UserConsentDescription)})
	}
	return out
}

func appRoles(list []directory.AppRole) []object {
	out := []object{}
	for _, r := range list {
		out = append(out, object{"id": r.ID, "value": text(r.Value), "displayName": text(r.DisplayName), "description": text(r.Description), "allowedMemberTypes": some(r.MemberTypes), "isEnabled": r.Enabled, "origin": "Application"})
	}
	return out
}

func preAuthorized(list []directory.PreAuthorized) []object {
	out := []object{}
	for _, p := range list {
		out = append(out, object{"appId": p.AppID, "delegatedPermissionIds": some(p.ScopeIDs)})
	}
	return out
}

func required(list []directory.RequiredAccess) []object {
	out := []object{}
	for _, r := range list {
		access := []object{}
		for _, a := range r.Access {
			access = append(access, object{"id": a.ID, "type": a.Type})
		}
		out = append(out, object{"resourceAppId": r.ResourceAppID, "resourceAccess": access})
	}
	return out
}

type application = directory.Application

var applicationProperties = map[string]property[application]{
	"displayName": at(func(a *application) *string { return &a.DisplayName }), "description": at(func(a *application) *string { return &a.Description }),
	"notes": at(func(a *application) *string { return &a.Notes }), "signInAudience": at(func(a *application) *string { return &a.SignInAudience }),
	"identifierUris": at(func(a *application) *[]string { return &a.IdentifierURIs }), "web": member(func(a *application) *directory.WebApp { return &a.Web }),
	"spa": member(func(a *application) *directory.Redirects { return &a.SPA }), "publicClient": member(func(a *application) *directory.Redirects { return &a.PublicClient }),
	"isFallbackPublicClient": at(func(a *application) **bool { return &a.FallbackPublicClient }), "isDeviceOnlyAuthSupported": at(func(a *application) **bool { return &a.DeviceOnlyAuth }),
	"defaultRedirectUri": at(func(a *application) *string { return &a.DefaultRedirectURI }), "api": member(func(a *application) *directory.API { return &a.API }),
	"appRoles": replaced(func(a *application) *[]directory.AppRole { return &a.AppRoles }), "requiredResourceAccess": replaced(func(a *application) *[]directory.RequiredAccess { return &a.RequiredAccess }),
	"groupMembershipClaims": at(func(a *application) *string { return &a.GroupMembershipClaims }), "optionalClaims": at(func(a *application) *json.RawMessage { return &a.OptionalClaims }),
	"tags": at(func(a *application) *[]string { return &a.Tags }), "serviceManagementReference": at(func(a *application) *string { return &a.ServiceManagement }),
	"samlMetadataUrl": at(func(a *application) *string { return &a.SAMLMetadataURL }), "info": writeInfo, "keyCredentials": writeKeys(func(a *application) *[]directory.Key { return &a.Keys }),
	"id": nil, "appId": nil, "createdDateTime": nil, "deletedDateTime": nil, "publisherDomain": nil, "passwordCredentials": nil, "verifiedPublisher": nil, "certification": nil,
	"applicationTemplateId": nil, "disabledByMicrosoftStatus": nil, "owners": nil,
}

// replaced writes a list anew: what was there is no default for the new elements.
func replaced[T, E any](f func(*T) *[]E) property[T] {
	return func(v *T, raw json.RawMessage) error {
		var list []E
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		*f(v) = list
		return nil
	}
}

// member writes the members of a complex value that the body names, and leaves the others as they are.
func member[T, V any](f func(*T) *V) property[T] {
	return func(v *T, raw json.RawMessage) error {
		var named map[string]json.RawMessage
		if err := json.Unmarshal(raw, &named); err != nil {
			return err
		}
		to := f(v)
		was, err := json.Marshal(to)
		if err != nil {
			return err
		}
		all := map[string]json.RawMessage{}
		if err := json.Unmarshal(was, &all); err != nil {
			return err
		}
		for name, value := range named {
			if name != "redirectUriSettings" { // follows from the URIs
				all[name] = value
			}
		}
		merged, err := json.Marshal(all)
		if err != nil {
			return err
		}
		var fresh V
		decoder := json.NewDecoder(bytes.NewReader(merged))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&fresh); err != nil {
			return err
		}
		*to = fresh
		return nil
	}
}

func writeInfo(a *directory.Application, raw json.RawMessage) error {
	var in map[string]*string
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	if a.Info == nil {
		a.Info = map[string]string{}
	}
	for name, v := range in {
		switch name {
		case "marketingUrl", "privacyStatementUrl", "supportUrl", "termsOfServiceUrl":
			if delete(a.Info, name); v != nil {
				a.Info[name] = *v
			}
		default:
			return badRequest("Property 'info/%s' is read-only and cannot be set.", printable(name))
		}
	}
	return nil
}

func (c *Call) applications(tx store.Tx, after string, yield func(object) bool) error {
	must := c.query.filter.Must()
	find := func(tx store.Tx) (directory.Application, error) { return directory.Application{}, nil }
	if id, ok := must["appId"]; ok {
		find = func(tx store.Tx) (directory.Application, error) { return c.dir.ApplicationByAppID(tx, id) }
	} else if uri, ok := must["identifierUris"]; ok {
		find = func(tx store.Tx) (directory.Application, error) { return c.dir.ApplicationByURI(tx, c.tenant(), uri) }
	} else {
		return c.dir.Applications(tx, c.tenant(), after, func(a directory.Application) bool { return yield(applicationObject(a)) })
	}
	a, err := find(tx)
	if errors.Is(err, directory.ErrNotFound) || err == nil && a.TenantID != c.tenant() || after != "" {
		return nil
	}
	if err == nil {
		yield(applicationObject(a))
	}
	return err
}

// application finds an application of the caller's tenant by object id, appId=… or uniqueName; notFound.
func (c *Call) application(tx store.Tx, key string) (a directory.Application, err error) {
	if appID, ok := strings.CutPrefix(key, "appId="); ok {
		a, err = c.dir.ApplicationByAppID(tx, appID)
	} else {
		a, err = c.dir.Application(tx, key)
	}
	if errors.Is(err, directory.ErrNotFound) || err == nil && a.TenantID != c.tenant() {
		return directory.Application{}, notFound(key)
	}
	return a, err
}

func (c *Call) getApplication() error {
	var a directory.Application
	if err := c.View(func(tx store.Tx) (err error) {
		a, err = c.application(tx, c.Vars[0])
		return err
	}); err != nil {
		return err
	}
	o := applicationObject(a)
	c.showKeys(o, a.Keys)
	return c.one(http.StatusOK, applicationKind, o)
}

func (c *Call) createApplication() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	if _, ok := body["displayName"]; !ok {
		return badRequest("A value is required for property 'displayName' of resource 'Application'.")
	}
	owners, err := bound(body, "owners")
	if err != nil {
		return err
	}
	a := directory.Application{TenantID: c.tenant()}
	if err := apply("Application", applicationProperties, &a, body, "owners@odata.bind"); err != nil {
		return err
	}
	owners = c.creators(owners, createApplications.Action)
	err = c.Update(func(tx store.Tx) error {
		if err := c.dir.CreateApplication(tx, &a); err != nil {
			return err
		}
		for _, o := range owners {
			if err := c.addOwner(tx, a.ID, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, applicationKind, applicationObject(a))
}

// creators are the owners of what is created: a caller who may create only as an owner is one.
func (c *Call) creators(named []string, action string) []string {
	if len(named) > 0 || directory.Grants(c.Caller.DirectoryRoles, action) || !c.can.user && !c.can.has([]string{"Application.ReadWrite.OwnedBy"}) {
		return named
	}
	return []string{c.Caller.ObjectID}
}

func (c *Call) mayChangeApplication(tx store.Tx, id, action string) error {
	own, err := c.owns(tx, id)
	if err != nil {
		return err
	}
	return c.Allow(applicationWrite(action), own)
}

func (c *Call) updateApplication() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	err := c.Update(func(tx store.Tx) error {
		a, err := c.application(tx, c.Vars[0])
		if err != nil {
			return err
		}
		for name := range body {
			action := "applications/basic/update"
			switch name {
			case "keyCredentials":
				action = "applications/credentials/update"
			case "requiredResourceAccess", "api", "appRoles":
				action = "applications/permissions/update"
			}
			if err := c.mayChangeApplication(tx, a.ID, action); err != nil {
				return err
			}
		}
		_, err = c.dir.UpdateApplication(tx, a.ID, func(a *directory.Application) error {
			return apply("Application", applicationProperties, a, body)
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func (c *Call) deleteApplication() error {
	err := c.Update(func(tx store.Tx) error {
		a, err := c.application(tx, c.Vars[0])
		if err != nil {
			return err
		}
		if err := c.mayChangeApplication(tx, a.ID, "applications/delete"); err != nil {
			return err
		}
		return c.dir.DeleteApplication(tx, a.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
