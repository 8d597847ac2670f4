// Package entra is the region's Microsoft Entra ID: one tenant with its service principals and managed
// identities, the token endpoints under login.microsoftonline.com, the verification of what they
// issue, the identity endpoint of IMDS, and the part of Microsoft Graph that the clients ask for.
//
// Nothing here decides what a caller may do; that is package authz.
package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"vauban.dev/internal/clock"
	"vauban.dev/store"
)

const (
	kindTenant    = "entra.tenant"
	kindKey       = "entra.key"
	kindPrincipal = "entra.principal" // key: object id
	kindByApp     = "entra.byapp"     // key: client id; value: object id
	kindByOwner   = "entra.byowner"   // key: resource id in lower case; value: object id
)

// LoginHost is the host of Azure's public cloud; tokens name it as their issuer whichever host
// a client came by.
const LoginHost = "login.microsoftonline.com"

// Options of a directory. The zero value is a working default.
type Options struct {
	TenantID   string // GUID of the tenant to make on first start; "" = a random one
	TenantName string // "" = Vauban
	Domain     string // verified domain; "" = vauban.onmicrosoft.com
}

// Tenant is the directory's one tenant. It is made on the first start and then kept.
type Tenant struct {
	ID      string    `json:"id"`
	Name    string    `json:"displayName"`
	Domain  string    `json:"domain"`
	Created time.Time `json:"createdDateTime"`
}

// Directory is the tenant, its principals and its keys. It is safe for concurrent use. Methods that
// take a store.Tx read and write in the caller's transaction.
type Directory struct {
	store  store.Store
	clock  clock.Clock
	tenant Tenant
	keys   atomic.Pointer[keySet]
	cache  tokenCache
}

// New opens the directory that is kept in st; the first time it makes the tenant and a signing key,
// and both are on disk when it returns.
func New(ctx context.Context, st store.Store, c clock.Clock, o Options) (*Directory, error) {
	d := &Directory{store: st, clock: c}
	var err error
	if d.tenant, err = d.ensureTenant(ctx, o); err != nil {
		return nil, fmt.Errorf("entra: tenant: %w", err)
	}
	if err = d.loadKeys(ctx); err != nil {
		return nil, fmt.Errorf("entra: signing keys: %w", err)
	}
	if d.keys.Load().current == nil {
		if err = d.RotateKey(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Tenant returns the tenant.
func (d *Directory) Tenant() Tenant { return d.tenant }

func (d *Directory) ensureTenant(ctx context.Context, o Options) (t Tenant, err error) {
	fresh, err := newTenant(o, d.clock.Now())
	if err != nil {
		return t, err
	}
	err = d.store.Update(ctx, func(tx store.Tx) error {
		found := getJSON(tx, kindTenant, "default", &t)
		if !errors.Is(found, store.ErrNotFound) {
			return found
		}
		t = fresh
		return putJSON(tx, kindTenant, "default", t, store.None)
	})
	if err == nil && o.TenantID != "" && !strings.EqualFold(o.TenantID, t.ID) {
		err = fmt.Errorf("this directory is tenant %s, not %s", t.ID, o.TenantID)
	}
	return t, err
}

func newTenant(o Options, now time.Time) (Tenant, error) {
	t := Tenant{ID: strings.ToLower(o.TenantID), Name: o.TenantName, Domain: strings.ToLower(o.Domain), Created: now}
	if t.ID == "" {
		t.ID = uuid.NewString()
	} else if _, err := uuid.Parse(t.ID); err != nil {
		return t, fmt.Errorf("tenant id %q is no GUID", t.ID)
	}
	if t.Name == "" {
		t.Name = "Vauban"
	}
	if t.Domain == "" {
		t.Domain = "vauban.onmicrosoft.com"
	}
	return t, nil
}

// IssuerV1 and IssuerV2 are the issuers of the two forms of access tokens.
func (t Tenant) IssuerV1() string { return "https://sts.windows.net/" + t.ID + "/" }
func (t Tenant) IssuerV2() string { return "https://" + LoginHost + "/" + t.ID + "/v2.0" }

func getJSON(tx store.Tx, kind, key string, v any) error {
	doc, err := tx.Get(kind, key)
	if err != nil {
		return err
	}
	return json.Unmarshal(doc.Value, v)
}

func putJSON(tx store.Tx, kind, key string, v any, expect int64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, expect)
	return err
}
