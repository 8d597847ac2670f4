package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// ErrNoPrincipal is returned for an object id, client id or resource that no service principal has.
var ErrNoPrincipal = errors.New("entra: no such service principal")

// IdentityKind tells managed identities apart.
type IdentityKind string

const (
	SystemAssigned IdentityKind = "SystemAssigned"
	UserAssigned   IdentityKind = "UserAssigned"
)

// ServicePrincipal is an application's or a managed identity's presence in the tenant (Microsoft
// Graph, servicePrincipal). A managed identity has a Resource and no secret.
type ServicePrincipal struct {
	ObjectID     string       `json:"id"`
	AppID        string       `json:"appId"` // the client id
	DisplayName  string       `json:"displayName"`
	Identity     IdentityKind `json:"identity,omitempty"`
	Resource     string       `json:"resource,omitempty"`     // ARM id: of the resource itself (system), of the identity (user)
	GraphRoles   []string     `json:"graphRoles,omitempty"`   // Microsoft Graph application permissions
	TokenVersion int          `json:"tokenVersion,omitempty"` // of tokens for this application as a resource: 1 or 2; 0 = 1
	Secrets      []Secret     `json:"secrets,omitempty"`
	Created      time.Time    `json:"created"`
}

// Managed reports whether the principal is a managed identity.
func (p ServicePrincipal) Managed() bool { return p.Identity != "" }

// CreateServicePrincipal makes an application with one client secret, valid for a year, and returns
// the secret's value, which is kept nowhere.
func (d *Directory) CreateServicePrincipal(tx store.Tx, name string) (ServicePrincipal, string, error) {
	p := ServicePrincipal{ObjectID: uuid.NewString(), AppID: uuid.NewString(), DisplayName: name, Created: d.clock.Now()}
	secret, value := newSecret("rbac", p.Created, p.Created.AddDate(1, 0, 0))
	p.Secrets = []Secret{secret}
	return p, value, d.insert(tx, p)
}

// EnsureManagedIdentity returns the identity of the resource (kind SystemAssigned) or the
// user-assigned identity with this id, and makes it when there is none. A resource that is deleted
// and made again has a new identity, as in Azure.
func (d *Directory) EnsureManagedIdentity(tx store.Tx, resource arm.ID, kind IdentityKind) (ServicePrincipal, error) {
	p, err := d.ByResource(tx, resource)
	if err == nil && p.Identity != kind {
		return p, fmt.Errorf("entra: %s has a %s identity, not a %s one", resource, p.Identity, kind)
	}
	if !errors.Is(err, ErrNoPrincipal) {
		return p, err
	}
	p = ServicePrincipal{
		ObjectID:    uuid.NewString(),
		AppID:       uuid.NewString(),
		DisplayName: resource.Name(),
		Identity:    kind,
		Resource:    resource.String(),
		Created:     d.clock.Now(),
	}
	return p, d.insert(tx, p)
}

// EnsureSystem makes sure that the resource has its system-assigned identity.
func (d *Directory) EnsureSystem(tx store.Tx, resource arm.ID) (principalID, tenantID string, err error) {
	p, err := d.EnsureManagedIdentity(tx, resource, SystemAssigned)
	return p.ObjectID, d.tenant.ID, err
}

// EnsureUser makes sure that the user-assigned identity with this id has its principal.
func (d *Directory) EnsureUser(tx store.Tx, identity arm.ID) (principalID, clientID, tenantID string, err error) {
	p, err := d.EnsureManagedIdentity(tx, identity, UserAssigned)
	return p.ObjectID, p.AppID, d.tenant.ID, err
}

// Resolve returns the ids of a user-assigned identity; *arm.Error FailedIdentityOperation when there
// is none with this id.
func (d *Directory) Resolve(tx store.Tx, userAssigned arm.ID) (principalID, clientID string, err error) {
	p, err := d.ByResource(tx, userAssigned)
	if errors.Is(err, ErrNoPrincipal) || err == nil && p.Identity != UserAssigned {
		return "", "", arm.Errorf(http.StatusBadRequest, "FailedIdentityOperation", "The user-assigned identity '%s' was not found.", userAssigned)
	}
	return p.ObjectID, p.AppID, err
}

// Remove deletes the system-assigned identity of a resource, if it has one. Tokens that it holds stay
// valid until they expire, as in Azure.
func (d *Directory) Remove(tx store.Tx, resource arm.ID) error {
	return d.removeManaged(tx, resource, SystemAssigned)
}

// RemoveUser deletes the principal of a user-assigned identity, if it has one.
func (d *Directory) RemoveUser(tx store.Tx, identity arm.ID) error {
	return d.removeManaged(tx, identity, UserAssigned)
}

func (d *Directory) removeManaged(tx store.Tx, resource arm.ID, kind IdentityKind) error {
	p, err := d.ByResource(tx, resource)
	if errors.Is(err, ErrNoPrincipal) || err == nil && p.Identity != kind {
		return nil
	}
	if err != nil {
		return err
	}
	return d.RemovePrincipal(tx, p.ObjectID)
}

// RemovePrincipal deletes a service principal with its secrets; ErrNoPrincipal.
func (d *Directory) RemovePrincipal(tx store.Tx, objectID string) error {
	p, err := d.ByObjectID(tx, objectID)
	if err != nil {
		return err
	}
	err = errors.Join(tx.Delete(kindPrincipal, p.ObjectID, store.Any), tx.Delete(kindByApp, p.AppID, store.Any))
	if p.Managed() {
		err = errors.Join(err, tx.Delete(kindByOwner, strings.ToLower(p.Resource), store.Any))
	}
	return err
}

// GrantGraph gives the principal application permissions on Microsoft Graph, such as
// Directory.Read.All; ErrNoPrincipal.
func (d *Directory) GrantGraph(tx store.Tx, objectID string, roles ...string) error {
	return d.update(tx, objectID, func(p *ServicePrincipal) error {
		for _, r := range roles {
			if !slices.Contains(p.GraphRoles, r) {
				p.GraphRoles = append(p.GraphRoles, r)
			}
		}
		return nil
	})
}

// ByObjectID returns the principal with this object id; ErrNoPrincipal.
func (d *Directory) ByObjectID(tx store.Tx, objectID string) (p ServicePrincipal, err error) {
	err = getJSON(tx, kindPrincipal, strings.ToLower(objectID), &p)
	return p, noPrincipal(err)
}

// ByAppID returns the principal with this client id; ErrNoPrincipal.
func (d *Directory) ByAppID(tx store.Tx, appID string) (ServicePrincipal, error) {
	return d.by(tx, kindByApp, appID)
}

// ByResource returns the system-assigned identity of a resource, or the user-assigned identity with
// this id; ErrNoPrincipal.
func (d *Directory) ByResource(tx store.Tx, resource arm.ID) (ServicePrincipal, error) {
	return d.by(tx, kindByOwner, resource.Key())
}

// ByDisplayName returns the principals with this name, compared without case as Graph does; names
// are not unique.
func (d *Directory) ByDisplayName(tx store.Tx, name string) (found []ServicePrincipal, err error) {
	err = d.each(tx, "", func(p ServicePrincipal) bool {
		if strings.EqualFold(p.DisplayName, name) {
			found = append(found, p)
		}
		return true
	})
	return found, err
}

// Principal is ByObjectID in a transaction of its own.
func (d *Directory) Principal(ctx context.Context, objectID string) (p ServicePrincipal, err error) {
	err = d.store.View(ctx, func(tx store.Tx) error {
		p, err = d.ByObjectID(tx, objectID)
		return err
	})
	return p, err
}

// each yields the principals after an object id, in order.
func (d *Directory) each(tx store.Tx, after string, yield func(ServicePrincipal) bool) error {
	var bad error
	err := tx.Scan(kindPrincipal, "", after, func(doc store.Doc) bool {
		var p ServicePrincipal
		if bad = json.Unmarshal(doc.Value, &p); bad != nil {
			return false
		}
		return yield(p)
	})
	return errors.Join(err, bad)
}

func (d *Directory) by(tx store.Tx, kind, key string) (ServicePrincipal, error) {
	doc, err := tx.Get(kind, strings.ToLower(key))
	if err != nil {
		return ServicePrincipal{}, noPrincipal(err)
	}
	return d.ByObjectID(tx, string(doc.Value))
}

func (d *Directory) insert(tx store.Tx, p ServicePrincipal) error {
	if err := putJSON(tx, kindPrincipal, p.ObjectID, p, store.None); err != nil {
		return err
	}
	if _, err := tx.Put(kindByApp, p.AppID, []byte(p.ObjectID), store.None); err != nil {
		return err
	}
	if !p.Managed() {
		return nil
	}
	_, err := tx.Put(kindByOwner, strings.ToLower(p.Resource), []byte(p.ObjectID), store.None)
	return err
}

func (d *Directory) update(tx store.Tx, objectID string, change func(*ServicePrincipal) error) error {
	p, err := d.ByObjectID(tx, objectID)
	if err != nil {
		return err
	}
	if err := change(&p); err != nil {
		return err
	}
	return putJSON(tx, kindPrincipal, p.ObjectID, p, store.Any)
}

func noPrincipal(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoPrincipal
	}
	return err
}
