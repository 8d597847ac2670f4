package entra

import (
	"errors"
	"net/url"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// Audiences of the region's services, in the form that most clients ask for.
const (
	AudienceARM        = "https://management.azure.com/"
	AudienceARMClassic = "https://management.core.windows.net/"
	AudienceGraph      = "https://graph.microsoft.com"
	AudienceStorage    = "https://storage.azure.com"
	AudienceVault      = "https://vault.azure.net"
	AudienceML         = "https://ml.azure.com"
	AudienceBatch      = "https://batch.core.windows.net"
	AudienceRegistry   = "https://containerregistry.azure.net"
	AudienceLogs       = "https://api.loganalytics.io"
	AudienceLogsAzure  = "https://api.loganalytics.azure.com"
)

// storageHosts are the services of a storage account; other names below core.windows.net are not its.
var storageHosts = []string{"blob", "queue", "table", "file", "dfs"}

// find returns the application of Microsoft that an identifier names: an application id, or a URI with or without the
// slash at its end.
func find(identifier string) (directory.FirstParty, bool) {
	key := audienceKey(identifier)
	for _, s := range directory.FirstParties {
		if key == s.AppID {
			return s, true
		}
		for _, u := range s.URIs {
			if key == u {
				return s, true
			}
		}
		if s.Hosts != "" && storageAccount(key, s.Hosts) {
			return s, true
		}
	}
	return directory.FirstParty{}, false
}

func storageAccount(key, suffix string) bool {
	host, ok := strings.CutPrefix(key, "https://")
	if !ok {
		return false
	}
	host, ok = strings.CutSuffix(host, suffix)
	if !ok {
		return false
	}
	account, kind, ok := strings.Cut(host, ".")
	if !ok || account == "" || strings.ContainsAny(account, "/?#@:") {
		return false
	}
	for _, k := range storageHosts {
		if kind == k {
			return true
		}
	}
	return false
}

// Target is the resource that a token is asked for.
type Target struct {
	Audience  string                     // the aud claim
	AppID     string                     // application id of the resource
	Version   int                        // form of the access token: 1 or 2
	Platform  bool                       // one of Azure's own services, not an application of the tenant
	Principal directory.ServicePrincipal // the resource in the tenant
}

// ErrNoResource is returned for an identifier that no resource of the tenant has.
var ErrNoResource = errors.New("entra: no such resource in the tenant")

// Target resolves what a client asked a token of the home tenant for; ErrNoResource.
func (d *Directory) Target(tx store.Tx, identifier string) (Target, error) {
	return d.TargetIn(tx, d.Tenant(), identifier)
}

// TargetIn resolves what a client asked a token of a tenant for; ErrNoResource. Entra's v1 tokens repeat the
// identifier exactly as it was asked for, with its slashes; v2 tokens carry the application's id.
func (d *Directory) TargetIn(tx store.Tx, t directory.Tenant, identifier string) (Target, error) {
	if s, ok := find(identifier); ok {
		p, err := d.PrincipalIn(tx, t.ID, s.AppID)
		if s.V2 {
			return Target{Audience: s.AppID, AppID: s.AppID, Version: 2, Platform: true, Principal: p}, err
		}
		return Target{Audience: identifier, AppID: s.AppID, Version: 1, Platform: true, Principal: p}, err
	}
	p, err := d.resource(tx, t, identifier)
	if err != nil {
		return Target{}, err
	}
	if p.TokenVersion == 2 {
		return Target{Audience: p.AppID, AppID: p.AppID, Version: 2, Principal: p}, nil
	}
	return Target{Audience: identifier, AppID: p.AppID, Version: 1, Principal: p}, nil
}

// resource finds the application of a tenant that an identifier names: an application id, an identifier URI, or
// api:// and the application id.
func (d *Directory) resource(tx store.Tx, t directory.Tenant, identifier string) (directory.ServicePrincipal, error) {
	id := identifier
	if a, err := d.ApplicationByURI(tx, t.ID, identifier); err == nil {
		id = a.AppID
	} else if !errors.Is(err, directory.ErrNotFound) {
		return directory.ServicePrincipal{}, err
	} else if u, err := url.Parse(identifier); err == nil && u.Scheme == "api" {
		id = u.Host
	}
	p, err := d.PrincipalIn(tx, t.ID, id)
	if errors.Is(err, directory.ErrNoPrincipal) || err == nil && p.Managed() {
		return p, ErrNoResource
	}
	return p, err
}

// audienceKey is the form in which audiences are compared: Entra's services take them with and
// without the slash at the end.
func audienceKey(aud string) string { return strings.ToLower(strings.TrimSuffix(aud, "/")) }

// audienceAllowed reports whether a token for aud is one for the allowed audience: the same
// identifier, or the application id that stands for it.
func audienceAllowed(aud, allowed string) bool {
	if strings.EqualFold(strings.TrimSuffix(aud, "/"), strings.TrimSuffix(allowed, "/")) {
		return true
	}
	if len(aud) != 36 { // not an application id
		return false
	}
	s, ok := find(allowed)
	return ok && strings.EqualFold(s.AppID, aud)
}
