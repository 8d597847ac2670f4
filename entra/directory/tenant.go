package directory

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// Options of the home tenant that the first start makes. The zero value is a working default.
type Options struct {
	TenantID   string // GUID; "" = a random one
	TenantName string // "" = Vauban
	Domain     string // verified domain; "" = vauban.onmicrosoft.com
}

// Tenant is one directory. The home tenant is the region's own: its subscriptions trust it. Partner
// tenants exist so that their users can be guests of the home tenant, or be refused.
type Tenant struct {
	ID      string    `json:"id"`
	Name    string    `json:"displayName"`
	Domain  string    `json:"domain"`
	Partner bool      `json:"partner,omitempty"`
	Created time.Time `json:"createdDateTime"`
}

// homeKey is the key of the home tenant's document.
const homeKey = "default"

// Tenant returns the home tenant.
func (o *Objects) Tenant() Tenant { return o.home }

// Tenants returns all tenants, the home tenant first.
func (o *Objects) Tenants(tx store.Tx) (all []Tenant, err error) {
	all = []Tenant{o.home}
	err = scan(tx, kindTenant, "", func(t Tenant) bool {
		if t.ID != o.home.ID {
			all = append(all, t)
		}
		return true
	})
	return all, err
}

// TenantBy returns the tenant with this id or verified domain; ErrNotFound.
func (o *Objects) TenantBy(tx store.Tx, idOrDomain string) (Tenant, error) {
	name := fold(idOrDomain)
	if name == o.home.ID || name == o.home.Domain {
		return o.home, nil
	}
	all, err := o.Tenants(tx)
	if err != nil {
		return Tenant{}, err
	}
	for _, t := range all {
		if name == t.ID || name == t.Domain {
			return t, nil
		}
	}
	return Tenant{}, ErrNotFound
}

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)

// CreatePartner makes a partner tenant; *Conflict, *Invalid.
func (o *Objects) CreatePartner(tx store.Tx, name, domain string) (Tenant, error) {
	domain = fold(domain)
	if !domainForm.MatchString(domain) || len(domain) > 48 {
		return Tenant{}, &Invalid{"domain", "a domain name of at most 48 characters, such as fabrikam.onmicrosoft.com"}
	}
	if consumerDomain(domain) {
		return Tenant{}, &Invalid{"domain", "a domain of a consumer identity provider is no organisation's"}
	}
	switch _, err := o.TenantBy(tx, domain); {
	case err == nil:
		return Tenant{}, &Conflict{"domain", domain}
	case !errors.Is(err, ErrNotFound):
		return Tenant{}, err
	}
	t := Tenant{ID: newID(), Name: name, Domain: domain, Partner: true, Created: o.clock.Now()}
	return t, putJSON(tx, kindTenant, t.ID, t, store.None)
}

// consumers are domains of identity providers for consumers: their users are nobody's employees, and
// business-to-consumer guests are refused.
var consumers = []string{"outlook.com", "hotmail.com", "live.com", "msn.com", "gmail.com", "googlemail.com", "yahoo.com", "icloud.com", "me.com", "aol.com", "proton.me", "protonmail.com", "facebook.com", "gmx.com", "gmx.de"}

func consumerDomain(domain string) bool {
	for _, c := range consumers {
		if domain == c || strings.HasSuffix(domain, "."+c) {
			return true
		}
	}
	return false
}

func (o *Objects) ensureHome(ctx context.Context, opt Options) (t Tenant, err error) {
	fresh, err := newHome(opt, o.clock.Now())
	if err != nil {
		return t, err
	}
	err = o.store.Update(ctx, func(tx store.Tx) error {
		found := getJSON(tx, kindTenant, homeKey, &t)
		if !errors.Is(found, ErrNotFound) {
			return found
		}
		t = fresh
		return putJSON(tx, kindTenant, homeKey, t, store.None)
	})
	if err == nil && opt.TenantID != "" && !strings.EqualFold(opt.TenantID, t.ID) {
		err = fmt.Errorf("this directory is tenant %s, not %s", t.ID, opt.TenantID)
	}
	return t, err
}

func newHome(o Options, now time.Time) (Tenant, error) {
	t := Tenant{ID: strings.ToLower(o.TenantID), Name: o.TenantName, Domain: strings.ToLower(o.Domain), Created: now}
	if t.ID == "" {
		t.ID = newID()
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

// LoginHost is the host of Azure's public cloud; tokens name it as their issuer whichever host
// a client came by.
const LoginHost = "login.microsoftonline.com"

// tenantOf is the tenant of an object: documents of the home tenant may name none.
func (o *Objects) tenantOf(id string) string {
	if id == "" {
		return o.home.ID
	}
	return id
}

// scoped is the key of a name that is unique in its tenant.
func (o *Objects) scoped(tenant, key string) string {
	if o.tenantOf(tenant) == o.home.ID {
		return key
	}
	return tenant + "/" + key
}
