package keyvault

import (
	"net/netip"
	"strings"
	"time"

	"vauban.dev/authz"
)

// Event is one request to a vault, for its audit log ("Azure Key Vault logging").
type Event struct {
	Time          time.Time
	Duration      time.Duration
	VaultID       string // ARM id
	Operation     string // SecretGet …; Authentication where nobody was known yet
	Version       string // api-version
	Status        int    // of the answer; 0: the client had gone
	ID            string // of the object: https://{vault}.vault.azure.net/secrets/{name}[/{version}]; "" for none
	URI           string
	UserAgent     string
	CorrelationID string // x-ms-client-request-id, "" for none
	Address       netip.Addr
	Principal     authz.Principal
	RBAC          bool // roles decide, not access policies
}

// audit tells of a request whose vault was found.
func (q *request) audit(begun time.Time) {
	if q.s.Audit == nil || q.vault.ID == "" {
		return
	}
	now := q.s.Clock.Now()
	e := Event{
		Time: now, Duration: now.Sub(begun), VaultID: q.vault.ID, Operation: q.route.name, Version: q.r.URL.Query().Get("api-version"), Status: q.status,
		URI: "https://" + q.r.Host + q.r.URL.RequestURI(), UserAgent: q.r.UserAgent(), CorrelationID: q.w.Header().Get("x-ms-client-request-id"),
		Address: q.origin.Source, Principal: q.principal, RBAC: q.vault.RBAC,
	}
	if e.Operation == "" {
		e.Operation = "Authentication"
	}
	if q.name != "" {
		kind, _, _ := strings.Cut(strings.TrimPrefix(q.r.URL.Path, "/"), "/")
		e.ID = "https://" + q.vault.Name + q.s.HostSuffix + "/" + strings.TrimPrefix(strings.ToLower(kind), "deleted") + "/" + q.name
		if q.version != "" {
			e.ID += "/" + q.version
		}
	}
	q.s.Audit(e)
}
