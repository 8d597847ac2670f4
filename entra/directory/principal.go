package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// IdentityKind tells managed identities apart.
type IdentityKind string

const (
	SystemAssigned IdentityKind = "SystemAssigned"
	UserAssigned   IdentityKind = "UserAssigned"
)

// ServicePrincipal is an application's or a managed identity's presence in a tenant (Microsoft
// Graph, servicePrincipal). A managed identity has a Resource and no secret.
type ServicePrincipal struct {
	ObjectID           string       `json:"id"`
	TenantID           string       `json:"tenantId,omitempty"`
	AppID              string       `json:"appId"` // the client id
	DisplayName        string       `json:"displayName"`
	Owner              string       `json:"appOwnerOrganizationId,omitempty"` // tenant of the application; "" = the same
	Identity           IdentityKind `json:"identity,omitempty"`
	Resource           string       `json:"resource,omitempty"` // ARM id: of the resource itself (system), of the identity (user)
	Disabled           bool         `json:"disabled,omitempty"`
	AssignmentRequired bool         `json:"appRoleAssignmentRequired,omitempty"`
	TokenVersion       int          `json:"tokenVersion,omitempty"` // of tokens for this application as a resource: 1 or 2; 0 = 1
	Description        string       `json:"description,omitempty"`
	Notes              string       `json:"notes,omitempty"`
	LoginURL           string       `json:"loginUrl,omitempty"`
	SSOMode            string       `json:"preferredSingleSignOnMode,omitempty"`
	NotificationEmails []string     `json:"notificationEmailAddresses,omitempty"`
	AlternativeNames   []string     `json:"alternativeNames,omitempty"`
	Tags               []string     `json:"tags,omitempty"`
	Created            time.Time    `json:"created"`

	Secrets   []Secret              `json:"secrets,omitempty"`
	Keys      []Key                 `json:"keys,omitempty"`
	Federated []FederatedCredential `json:"federated,omitempty"` // of user-assigned identities; applications keep their own

	// What the application says, filled in when the principal is read.
	Scopes   []Scope   `json:"-"`
	AppRoles []AppRole `json:"-"`
	URIs     []string  `json:"-"` // identifierUris
	Redirect []string  `json:"-"` // of all platforms
	Homepage string    `json:"-"`
}

// Managed reports whether the principal is a managed identity.
func (p ServicePrincipal) Managed() bool { return p.Identity != "" }

// CreateServicePrincipal makes an application and its service principal in the home tenant, with one client
// secret that is valid for a year, and returns the secret's value, which is kept nowhere.
func (o *Objects) CreateServicePrincipal(tx store.Tx, name string) (ServicePrincipal, string, error) {
	now := o.clock.Now()
	secret, value := NewSecret("rbac", now, now.AddDate(1, 0, 0))
	a := Application{DisplayName: name, Secrets: []Secret{secret}}
	if err := o.CreateApplication(tx, &a); err != nil {
		return ServicePrincipal{}, "", err
	}
	p := ServicePrincipal{AppID: a.AppID}
	err := o.AddPrincipal(tx, &p)
	return p, value, err
}

// AddPrincipal makes the service principal of the application p.AppID in the tenant p.TenantID ("" = the home
// tenant), and fills it in; ErrNotFound when the application does not exist or is another tenant's alone,
// *Conflict when it has one.
func (o *Objects) AddPrincipal(tx store.Tx, p *ServicePrincipal) error {
	p.TenantID = o.tenantOf(p.TenantID)
	if _, ok := FirstPartyApp(p.AppID); ok {
		return &Conflict{"appId", p.AppID}
	}
	a, err := o.ApplicationByAppID(tx, p.AppID)
	if err != nil {
		return err
	}
	if a.TenantID != p.TenantID {
		if a.SignInAudience == "AzureADMyOrg" {
			return ErrNotFound
		}
		p.Owner = a.TenantID
	}
	p.ObjectID, p.AppID, p.Created = newID(), a.AppID, o.clock.Now()
	if p.DisplayName == "" {
		p.DisplayName = a.DisplayName
	}
	if err := o.insert(tx, *p); err != nil {
		return err
	}
	return o.fill(tx, p)
}

// EnsureManagedIdentity returns the identity of the resource (kind SystemAssigned) or the
// user-assigned identity with this id, and makes it when there is none. A resource that is deleted
// and made again has a new identity, as in Azure.
func (o *Objects) EnsureManagedIdentity(tx store.Tx, resource arm.ID, kind IdentityKind) (ServicePrincipal, error) {
	p, err := o.ByResource(tx, resource)
	if err == nil && p.Identity != kind {
		return p, fmt.Errorf("directory: %s has a %s identity, not a %s one", resource, p.Identity, kind)
	}
	if !errors.Is(err, ErrNoPrincipal) {
		return p, err
	}
	p = ServicePrincipal{
		ObjectID:    newID(),
		TenantID:    o.home.ID,
		AppID:       newID(),
		DisplayName: resource.Name(),
		Identity:    kind,
		Resource:    resource.String(),
		Created:     o.clock.Now(),
	}
	return p, o.insert(tx, p)
}

// EnsureSystem makes sure that the resource has its system-assigned identity.
func (o *Objects) EnsureSystem(tx store.Tx, resource arm.ID) (principalID, tenantID string, err error) {
	p, err := o.EnsureManagedIdentity(tx, resource, SystemAssigned)
	return p.ObjectID, o.home.ID, err
}

// EnsureUser makes sure that the user-assigned identity with this id has its principal.
func (o *Objects) EnsureUser(tx store.Tx, identity arm.ID) (principalID, clientID, tenantID string, err error) {
	p, err := o.EnsureManagedIdentity(tx, identity, UserAssigned)
	return p.ObjectID, p.AppID, o.home.ID, err
}

// Resolve returns the ids of a user-assigned identity; *arm.Error FailedIdentityOperation when there
// is none with this id.
func (o *Objects) Resolve(tx store.Tx, userAssigned arm.ID) (principalID, clientID string, err error) {
	p, err := o.ByResource(tx, userAssigned)
	if errors.Is(err, ErrNoPrincipal) || err == nil && p.Identity != UserAssigned {
		return "", "", arm.Errorf(http.StatusBadRequest, "FailedIdentityOperation", "The user-assigned identity '%s' was not found.", userAssigned)
	}
	return p.ObjectID, p.AppID, err
}

// Remove deletes the system-assigned identity of a resource, if it has one. Its tokens end with it.
func (o *Objects) Remove(tx store.Tx, resource arm.ID) error {
	return o.removeManaged(tx, resource, SystemAssigned)
}

// Move has the system-assigned identity of a resource follow it to its new id: the principal stays the same.
func (o *Objects) Move(tx store.Tx, from, to arm.ID) error {
	p, err := o.ByResource(tx, from)
	if errors.Is(err, ErrNoPrincipal) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err = get[ServicePrincipal](tx, kindPrincipal, p.ObjectID)
	if err != nil {
		return err
	}
	p.Resource = to.String()
	if err := putJSON(tx, kindPrincipal, p.ObjectID, p, store.Any); err != nil {
		return err
	}
	if err := tx.Delete(kindByOwner, from.Key(), store.Any); err != nil {
		return err
	}
	_, err = tx.Put(kindByOwner, to.Key(), []byte(p.ObjectID), store.None)
	return err
}

// RemoveUser deletes the principal of a user-assigned identity, if it has one.
func (o *Objects) RemoveUser(tx store.Tx, identity arm.ID) error {
	return o.removeManaged(tx, identity, UserAssigned)
}

func (o *Objects) removeManaged(tx store.Tx, resource arm.ID, kind IdentityKind) error {
	p, err := o.ByResource(tx, resource)
	if errors.Is(err, ErrNoPrincipal) || err == nil && p.Identity != kind {
		return nil
	}
	if err != nil {
		return err
	}
	return o.RemovePrincipal(tx, p.ObjectID)
}

// RemovePrincipal deletes a service principal for good, with its secrets, memberships and permissions;
// ErrNoPrincipal.
func (o *Objects) RemovePrincipal(tx store.Tx, objectID string) error {
	p, err := get[ServicePrincipal](tx, kindPrincipal, objectID)
	if err != nil {
		return noPrincipal(err)
	}
	if _, err := o.cutEdges(tx, p.ObjectID); err != nil {
		return err
	}
	if err := o.dropPermissions(tx, p.ObjectID); err != nil {
		return err
	}
	err = errors.Join(tx.Delete(kindPrincipal, p.ObjectID, store.Any), tx.Delete(kindByApp, o.scoped(p.TenantID, p.AppID), store.Any))
	if p.Managed() {
		err = errors.Join(err, tx.Delete(kindByOwner, strings.ToLower(p.Resource), store.Any))
	}
	return err
}

// ByObjectID returns the principal with this object id; ErrNoPrincipal.
func (o *Objects) ByObjectID(tx store.Tx, objectID string) (ServicePrincipal, error) {
	p, err := get[ServicePrincipal](tx, kindPrincipal, objectID)
	if errors.Is(err, ErrNotFound) {
		if first, ok := o.firstParty(guid(objectID)); ok {
			return first, nil
		}
	}
	if err != nil {
		return p, noPrincipal(err)
	}
	return p, o.fill(tx, &p)
}

// ByAppID returns the principal of the home tenant with this client id; ErrNoPrincipal.
func (o *Objects) ByAppID(tx store.Tx, appID string) (ServicePrincipal, error) {
	return o.PrincipalIn(tx, o.home.ID, appID)
}

// PrincipalIn returns the principal of a tenant with this client id; ErrNoPrincipal.
func (o *Objects) PrincipalIn(tx store.Tx, tenant, appID string) (ServicePrincipal, error) {
	if f, ok := FirstPartyApp(appID); ok {
		return f.principal(o, o.tenantOf(tenant)), nil
	}
	return o.by(tx, kindByApp, o.scoped(tenant, strings.ToLower(appID)))
}

// ByResource returns the system-assigned identity of a resource, or the user-assigned identity with
// this id; ErrNoPrincipal.
func (o *Objects) ByResource(tx store.Tx, resource arm.ID) (ServicePrincipal, error) {
	return o.by(tx, kindByOwner, resource.Key())
}

// ByDisplayName returns the principals of the home tenant with this name, compared without case as Graph does;
// names are not unique.
func (o *Objects) ByDisplayName(tx store.Tx, name string) (found []ServicePrincipal, err error) {
	err = o.Principals(tx, o.home.ID, "", func(p ServicePrincipal) bool {
		if strings.EqualFold(p.DisplayName, name) {
			found = append(found, p)
		}
		return true
	})
	return found, err
}

// Principal is ByObjectID in a transaction of its own.
func (o *Objects) Principal(ctx context.Context, objectID string) (p ServicePrincipal, err error) {
	err = o.store.View(ctx, func(tx store.Tx) error {
		p, err = o.ByObjectID(tx, objectID)
		return err
	})
	return p, err
}

// Principals yields the principals of a tenant after an object id, in order of their ids: what is stored, so that
// Microsoft's own are not among them, nor what their applications say.
func (o *Objects) Principals(tx store.Tx, tenant, after string, yield func(ServicePrincipal) bool) error {
	return scan(tx, kindPrincipal, after, func(p ServicePrincipal) bool {
		p.TenantID = o.tenantOf(p.TenantID)
		return p.TenantID != tenant || yield(p)
	})
}

// AllPrincipals yields the principals of a tenant after an object id, in order of their ids, Microsoft's own among
// them, with what their applications say.
func (o *Objects) AllPrincipals(tx store.Tx, tenant, after string, yield func(ServicePrincipal) bool) error {
	var first []ServicePrincipal
	for _, f := range FirstParties {
		if p := f.principal(o, tenant); p.ObjectID > after {
			first = append(first, p)
		}
	}
	slices.SortFunc(first, func(a, b ServicePrincipal) int { return strings.Compare(a.ObjectID, b.ObjectID) })
	var bad error
	more := true
	err := o.Principals(tx, tenant, after, func(p ServicePrincipal) bool {
		for more && len(first) > 0 && first[0].ObjectID < p.ObjectID {
			more = yield(first[0])
			first = first[1:]
		}
		if more {
			if bad = o.fill(tx, &p); bad != nil {
				return false
			}
			more = yield(p)
		}
		return more
	})
	for err == nil && bad == nil && more && len(first) > 0 {
		more = yield(first[0])
		first = first[1:]
	}
	return errors.Join(err, bad)
}

// UpdatePrincipal changes a service principal by f; ErrNoPrincipal or f's error. Ids, tenant and the identity
// cannot be changed.
func (o *Objects) UpdatePrincipal(tx store.Tx, objectID string, f func(*ServicePrincipal) error) error {
	old, err := get[ServicePrincipal](tx, kindPrincipal, objectID)
	if err != nil {
		return noPrincipal(err)
	}
	p, err := get[ServicePrincipal](tx, kindPrincipal, objectID) // a second copy: f may change slices in place
	if err != nil {
		return err
	}
	if err := f(&p); err != nil {
		return err
	}
	p.ObjectID, p.TenantID, p.AppID, p.Owner, p.Created = old.ObjectID, old.TenantID, old.AppID, old.Owner, old.Created
	p.Identity, p.Resource = old.Identity, old.Resource
	return putJSON(tx, kindPrincipal, p.ObjectID, p, store.Any)
}

// applicationOf is the application of a principal, nil for a managed identity and for one of Microsoft's.
func (o *Objects) applicationOf(tx store.Tx, p ServicePrincipal) (*Application, error) {
	if p.Managed() || p.Owner == MicrosoftTenant {
		return nil, nil
	}
	a, err := o.ApplicationByAppID(tx, p.AppID)
	if errors.Is(err, ErrNotFound) { // deleted, or of a principal that was made without one
		return nil, nil
	}
	return &a, err
}

// fill takes over what the application says.
func (o *Objects) fill(tx store.Tx, p *ServicePrincipal) error {
	p.TenantID = o.tenantOf(p.TenantID)
	if p.Owner == "" {
		p.Owner = p.TenantID
	}
	a, err := o.applicationOf(tx, *p)
	if err != nil || a == nil {
		return err
	}
	if a.TenantID == p.TenantID {
		p.DisplayName = a.DisplayName
	}
	p.Scopes, p.AppRoles, p.URIs, p.Homepage = a.API.Scopes, a.AppRoles, a.IdentifierURIs, a.Web.HomePageURL
	p.Redirect = slices.Concat(a.Web.RedirectURIs, a.SPA.RedirectURIs, a.PublicClient.RedirectURIs)
	if v := a.API.TokenVersion; v != nil {
		p.TokenVersion = *v
	}
	return nil
}

func (o *Objects) by(tx store.Tx, kind, key string) (ServicePrincipal, error) {
	doc, err := tx.Get(kind, key)
	if errors.Is(err, store.ErrNotFound) {
		return ServicePrincipal{}, ErrNoPrincipal
	}
	if err != nil {
		return ServicePrincipal{}, err
	}
	return o.ByObjectID(tx, string(doc.Value))
}

func (o *Objects) insert(tx store.Tx, p ServicePrincipal) error {
	if err := putJSON(tx, kindPrincipal, p.ObjectID, p, store.None); err != nil {
		return err
	}
	switch _, err := tx.Put(kindByApp, o.scoped(p.TenantID, p.AppID), []byte(p.ObjectID), store.None); {
	case errors.Is(err, store.ErrConflict):
		return &Conflict{"appId", p.AppID}
	case err != nil:
		return err
	}
	if !p.Managed() {
		return nil
	}
	_, err := tx.Put(kindByOwner, strings.ToLower(p.Resource), []byte(p.ObjectID), store.None)
	return err
}

func noPrincipal(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrNoPrincipal
	}
	return err
}
