package entra

import (
	"errors"
	"net/url"
	"strings"

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
)

// service is one of Microsoft's applications that tokens can be asked for.
type service struct {
	appID string
	uris  []string // without the slash at the end
	hosts string   // suffix of host names that are identifiers too: https://{account}.blob.core.windows.net
}

// services are the resources that exist in every tenant and have a meaning in a region. Anything
// else is AADSTS500011, as a resource that a tenant does not have.
var services = []service{
	{appID: "797f4846-ba00-4fd7-ba43-dac1f8f63013", uris: []string{"https://management.azure.com", "https://management.core.windows.net"}},
	{appID: "00000003-0000-0000-c000-000000000000", uris: []string{"https://graph.microsoft.com"}},
	{appID: "00000002-0000-0000-c000-000000000000", uris: []string{"https://graph.windows.net"}},
	{appID: "e406a681-f3d4-42a8-90b6-c2b029497af1", uris: []string{"https://storage.azure.com"}, hosts: ".core.windows.net"},
	{appID: "cfa8b339-82a2-471a-a3c9-0fc0be7a4093", uris: []string{"https://vault.azure.net"}},
	{appID: "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe", uris: []string{"https://ml.azure.com"}},
	{appID: "7d312290-28c8-473c-a0ed-8e53749b6d6d", uris: []string{"https://cognitiveservices.azure.com"}},
	{appID: "6a0ec4d3-30cb-4a83-91c0-ae56bc0e3d26", uris: []string{"https://containerregistry.azure.net"}},
	{appID: "ddbf3205-c6bd-46ae-8127-60eb93363864", uris: []string{"https://batch.core.windows.net"}},
	{appID: "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5", uris: []string{"https://api.loganalytics.io"}},
}

// storageHosts are the services of a storage account; other names below core.windows.net are not its.
var storageHosts = []string{"blob", "queue", "table", "file", "dfs"}

// find returns the service that an identifier names: an application id, or a URI with or without the
// slash at its end.
func find(identifier string) (service, bool) {
	key := audienceKey(identifier)
	for _, s := range services {
		if key == s.appID {
			return s, true
		}
		for _, u := range s.uris {
			if key == u {
				return s, true
			}
		}
		if s.hosts != "" && storageAccount(key, s.hosts) {
			return s, true
		}
	}
	return service{}, false
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
	Audience string // the aud claim
	AppID    string // application id of the resource
	Version  int    // form of the access token: 1 or 2
	Graph    bool   // Microsoft Graph, whose tokens carry the granted permissions
	Platform bool   // one of Azure's own services, not an application of the tenant
}

// ErrNoResource is returned for an identifier that no resource of the tenant has.
var ErrNoResource = errors.New("entra: no such resource in the tenant")

// Target resolves what a client asked a token for; ErrNoResource. Entra's v1 tokens repeat the identifier
// exactly as it was asked for, with its slashes; v2 tokens carry the application's id.
func (d *Directory) Target(tx store.Tx, identifier string) (Target, error) {
	if s, ok := find(identifier); ok {
		return Target{Audience: identifier, AppID: s.appID, Version: 1, Graph: s.uris[0] == AudienceGraph, Platform: true}, nil
	}
	id := identifier
	if u, err := url.Parse(identifier); err == nil && u.Scheme == "api" {
		id = u.Host
	}
	p, err := d.ByAppID(tx, id)
	if errors.Is(err, ErrNoPrincipal) || err == nil && p.Managed() {
		return Target{}, ErrNoResource
	}
	if err != nil {
		return Target{}, err
	}
	if p.TokenVersion == 2 {
		return Target{Audience: p.AppID, AppID: p.AppID, Version: 2}, nil
	}
	return Target{Audience: identifier, AppID: p.AppID, Version: 1}, nil
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
	return ok && strings.EqualFold(s.appID, aud)
}
