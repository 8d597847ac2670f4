package directory

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// Application is an application registration (Microsoft Graph, application). Its presence in a tenant, by
// which it signs in and holds roles, is a ServicePrincipal with its AppID.
type Application struct {
	ID             string    `json:"id"`
	TenantID       string    `json:"tenantId"`
	AppID          string    `json:"appId"` // the client id
	DisplayName    string    `json:"displayName"`
	Description    string    `json:"description,omitempty"`
	Notes          string    `json:"notes,omitempty"`
	SignInAudience string    `json:"signInAudience"` // AzureADMyOrg, AzureADMultipleOrgs
	Created        time.Time `json:"createdDateTime"`

	IdentifierURIs       []string  `json:"identifierUris,omitempty"`
	Web                  WebApp    `json:"web,omitzero"`
	SPA                  Redirects `json:"spa,omitzero"`
	PublicClient         Redirects `json:"publicClient,omitzero"`
	FallbackPublicClient *bool     `json:"isFallbackPublicClient,omitempty"`
	DefaultRedirectURI   string    `json:"defaultRedirectUri,omitempty"`

	API                   API               `json:"api,omitzero"`
	AppRoles              []AppRole         `json:"appRoles,omitempty"`
	RequiredAccess        []RequiredAccess  `json:"requiredResourceAccess,omitempty"`
	GroupMembershipClaims string            `json:"groupMembershipClaims,omitempty"` // None, SecurityGroup, All, ApplicationGroup, DirectoryRole
	OptionalClaims        json.RawMessage   `json:"optionalClaims,omitempty"`
	Info                  map[string]string `json:"info,omitempty"`
	Tags                  []string          `json:"tags,omitempty"`
	ServiceManagement     string            `json:"serviceManagementReference,omitempty"`
	SAMLMetadataURL       string            `json:"samlMetadataUrl,omitempty"`
	DeviceOnlyAuth        *bool             `json:"isDeviceOnlyAuthSupported,omitempty"`

	Secrets   []Secret              `json:"secrets,omitempty"`
	Keys      []Key                 `json:"keys,omitempty"`
	Federated []FederatedCredential `json:"federated,omitempty"`
}

// WebApp is the web platform of an application.
type WebApp struct {
	HomePageURL  string   `json:"homePageUrl,omitempty"`
	LogoutURL    string   `json:"logoutUrl,omitempty"`
	RedirectURIs []string `json:"redirectUris,omitempty"`
	Implicit     struct {
		AccessTokens bool `json:"enableAccessTokenIssuance"`
		IDTokens     bool `json:"enableIdTokenIssuance"`
	} `json:"implicitGrantSettings,omitzero"`
}

// Redirects are the redirect URIs of a platform.
type Redirects struct {
	RedirectURIs []string `json:"redirectUris,omitempty"`
}

// API is what an application offers as a resource.
type API struct {
	AcceptMappedClaims *bool           `json:"acceptMappedClaims,omitempty"`
	KnownClients       []string        `json:"knownClientApplications,omitempty"`
	TokenVersion       *int            `json:"requestedAccessTokenVersion,omitempty"` // 1, 2; nil = 1
	Scopes             []Scope         `json:"oauth2PermissionScopes,omitempty"`
	PreAuthorized      []PreAuthorized `json:"preAuthorizedApplications,omitempty"`
}

// Scope is a delegated permission that a resource offers (permissionScope).
type Scope struct {
	ID                      string `json:"id"`
	Value                   string `json:"value,omitempty"`
	Type                    string `json:"type,omitempty"` // User, Admin: who may consent
	Enabled                 bool   `json:"isEnabled"`
	AdminConsentDisplayName string `json:"adminConsentDisplayName,omitempty"`
	AdminConsentDescription string `json:"adminConsentDescription,omitempty"`
	UserConsentDisplayName  string `json:"userConsentDisplayName,omitempty"`
	UserConsentDescription  string `json:"userConsentDescription,omitempty"`
}

// PreAuthorized is a client that needs no consent for some scopes.
type PreAuthorized struct {
	AppID    string   `json:"appId"`
	ScopeIDs []string `json:"delegatedPermissionIds"`
}

// AppRole is an application permission or a role of users that a resource offers.
type AppRole struct {
	ID          string   `json:"id"`
	Value       string   `json:"value,omitempty"`
	DisplayName string   `json:"displayName,omitempty"`
	Description string   `json:"description,omitempty"`
	MemberTypes []string `json:"allowedMemberTypes"` // User, Application
	Enabled     bool     `json:"isEnabled"`
}

// RequiredAccess is what an application asks of one resource; consent grants it.
type RequiredAccess struct {
	ResourceAppID string `json:"resourceAppId"`
	Access        []struct {
		ID   string `json:"id"`
		Type string `json:"type"` // Scope, Role
	} `json:"resourceAccess"`
}

// CreateApplication makes an application of the tenant that a.TenantID names ("" = the home tenant), without a
// service principal; *Invalid, *Conflict.
func (o *Objects) CreateApplication(tx store.Tx, a *Application) error {
	a.ID, a.AppID, a.TenantID, a.Created = newID(), newID(), o.tenantOf(a.TenantID), o.clock.Now()
	if a.SignInAudience == "" {
		a.SignInAudience = "AzureADMyOrg"
	}
	if err := a.check(); err != nil {
		return err
	}
	if err := claim(tx, "app", a.AppID, a.ID, "appId"); err != nil {
		return err
	}
	if err := o.claimURIs(tx, a, nil); err != nil {
		return err
	}
	return putJSON(tx, kindApplication, a.ID, a, store.None)
}

// Application returns the application with this object id; ErrNotFound.
func (o *Objects) Application(tx store.Tx, id string) (Application, error) {
	return get[Application](tx, kindApplication, id)
}

// ApplicationByAppID returns the application with this client id, whichever tenant's; ErrNotFound.
func (o *Objects) ApplicationByAppID(tx store.Tx, appID string) (Application, error) {
	id, err := named(tx, "app", appID)
	if err != nil {
		return Application{}, err
	}
	return o.Application(tx, id)
}

// ApplicationByURI returns the application of a tenant with this identifier URI; ErrNotFound.
func (o *Objects) ApplicationByURI(tx store.Tx, tenant, uri string) (Application, error) {
	id, err := named(tx, "uri/"+o.tenantOf(tenant), trimURI(uri))
	if err != nil {
		return Application{}, err
	}
	return o.Application(tx, id)
}

// Applications yields the applications of a tenant after an id, in order of their ids.
func (o *Objects) Applications(tx store.Tx, tenant, after string, yield func(Application) bool) error {
	return scan(tx, kindApplication, after, func(a Application) bool { return a.TenantID != tenant || yield(a) })
}

// UpdateApplication changes an application by f; ErrNotFound, *Invalid, *Conflict, or f's error. Ids and the
// time of creation cannot be changed.
func (o *Objects) UpdateApplication(tx store.Tx, id string, f func(*Application) error) (Application, error) {
	old, err := o.Application(tx, id)
	if err != nil {
		return Application{}, err
	}
	a, err := o.Application(tx, id) // a second copy: f may change slices in place
	if err != nil {
		return Application{}, err
	}
	if err := f(&a); err != nil {
		return Application{}, err
	}
	a.ID, a.AppID, a.TenantID, a.Created = old.ID, old.AppID, old.TenantID, old.Created
	if err := a.check(); err != nil {
		return Application{}, err
	}
	if err := o.claimURIs(tx, &a, old.IdentifierURIs); err != nil {
		return Application{}, err
	}
	return a, putJSON(tx, kindApplication, a.ID, a, store.Any)
}

// claimURIs makes the identifier URIs of an application its own in its tenant, and gives up those it had.
func (o *Objects) claimURIs(tx store.Tx, a *Application, had []string) error {
	what := "uri/" + a.TenantID
	key := func(u string) string { return fold(trimURI(u)) }
	for _, u := range had {
		if !slices.ContainsFunc(a.IdentifierURIs, func(v string) bool { return key(u) == key(v) }) {
			if err := release(tx, what, key(u)); err != nil {
				return err
			}
		}
	}
	for _, u := range a.IdentifierURIs {
		if slices.ContainsFunc(had, func(v string) bool { return key(u) == key(v) }) {
			continue
		}
		if err := claim(tx, what, key(u), a.ID, "identifierUris"); err != nil {
			return err
		}
	}
	return nil
}

var audiences = []string{"AzureADMyOrg", "AzureADMultipleOrgs"}

func (a *Application) check() error {
	if strings.TrimSpace(a.DisplayName) == "" || len(a.DisplayName) > 256 {
		return &Invalid{"displayName", "1 to 256 characters"}
	}
	if !slices.Contains(audiences, a.SignInAudience) {
		return &Invalid{"signInAudience", "AzureADMyOrg or AzureADMultipleOrgs: a region signs in no consumers"}
	}
	for _, u := range a.IdentifierURIs {
		if p, err := url.Parse(u); err != nil || p.Scheme == "" || p.Host == "" && p.Opaque == "" || len(u) > 255 || p.Fragment != "" {
			return &Invalid{"identifierUris", "absolute URIs of at most 255 characters, such as api://{appId}"}
		}
	}
	for _, p := range []struct {
		name string
		uris []string
		any  bool // schemes other than http are allowed
	}{{"web.redirectUris", a.Web.RedirectURIs, false}, {"spa.redirectUris", a.SPA.RedirectURIs, false}, {"publicClient.redirectUris", a.PublicClient.RedirectURIs, true}} {
		if err := checkRedirects(p.name, p.uris, p.any); err != nil {
			return err
		}
	}
	return a.checkPermissions()
}

// checkRedirects holds redirect URIs against "Redirect URI (reply URL) outline and restrictions": https, or http
// to this machine; public clients may have a scheme of their own.
func checkRedirects(property string, uris []string, custom bool) error {
	if len(uris) > 256 {
		return &Invalid{property, "at most 256 URIs"}
	}
	for i, u := range uris {
		p, err := url.Parse(u)
		bad := err != nil || len(u) > 256 || p.Scheme == "" || strings.ContainsAny(u, "*#\\ \t\r\n") || p.User != nil
		switch {
		case bad:
		case p.Scheme == "https":
			bad = p.Host == ""
		case p.Scheme == "http":
			h := p.Hostname()
			bad = h != "localhost" && h != "127.0.0.1" && h != "::1"
		case p.Scheme == "javascript", p.Scheme == "data", p.Scheme == "vbscript", p.Scheme == "file", p.Scheme == "blob":
			bad = true
		default:
			bad = !custom
		}
		if bad {
			return &Invalid{property, "absolute URIs of at most 256 characters without wildcard, fragment or user: https, or http to localhost, 127.0.0.1 or [::1]"}
		}
		if slices.Contains(uris[:i], u) {
			return &Invalid{property, "no URI twice"}
		}
	}
	return nil
}

func (a *Application) checkPermissions() error {
	ids, values := map[string]bool{}, map[string]bool{}
	once := func(property, id, value string) error {
		if _, err := uuid.Parse(id); err != nil {
			return &Invalid{property, "every entry has an id that is a GUID"}
		}
		if ids[fold(id)] || value != "" && values[value] {
			return &Invalid{property, "no id and no value stands twice"}
		}
		ids[fold(id)], values[value] = true, true
		if strings.ContainsAny(value, " \t\r\n") || len(value) > 120 {
			return &Invalid{property, "a value has at most 120 characters and no space"}
		}
		return nil
	}
	for _, s := range a.API.Scopes {
		if err := once("api.oauth2PermissionScopes", s.ID, s.Value); err != nil {
			return err
		}
	}
	clear(values) // a role and a scope may have one value
	for _, r := range a.AppRoles {
		if err := once("appRoles", r.ID, r.Value); err != nil {
			return err
		}
		if len(r.MemberTypes) == 0 || slices.ContainsFunc(r.MemberTypes, func(t string) bool { return t != "User" && t != "Application" }) {
			return &Invalid{"appRoles", "allowedMemberTypes names User, Application or both"}
		}
	}
	if v := a.API.TokenVersion; v != nil && *v != 1 && *v != 2 {
		return &Invalid{"api.requestedAccessTokenVersion", "1, 2 or null"}
	}
	return nil
}

// trimURI is the form of identifier URIs in names: with and without a slash at the end they are one.
func trimURI(u string) string { return strings.TrimSuffix(u, "/") }
