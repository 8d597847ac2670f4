// Package graph is Microsoft Graph, v1.0 and beta, as far as it is the directory: users, groups, applications,
// service principals, directory roles, permissions and guests, in the calls that az ad, az role, the SDKs and
// Terraform make. What is not served says so with 501 NotImplemented.
package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/graph/odata"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/httpx"
	"vauban.dev/store"
)

// Config of the service.
type Config struct {
	Directory *entra.Directory
	Store     store.Store
	Clock     clock.Clock
	Log       *slog.Logger // failures of the region itself; refusals are not logged
	Passwords Passwords    // nil: nobody changes his password here
}

// Passwords compares passwords by the limits of the sign-in service; *signin.Service does.
type Passwords interface {
	// TryPassword reports whether the secret fits the hash. locked: it was not compared, because of too many wrong ones.
	TryPassword(ctx context.Context, userID, hash, secret string, address netip.Addr) (ok, locked bool, err error)
}

// Service is the handler of graph.microsoft.com. It is safe for concurrent use.
type Service struct {
	dir    *entra.Directory
	guard  Passwords
	store  store.Store
	clock  clock.Clock
	log    *slog.Logger
	routes []Route
}

// New returns the service.
func New(c Config) *Service {
	s := &Service{dir: c.Directory, guard: c.Passwords, store: c.Store, clock: c.Clock, log: c.Log}
	s.routes = append(s.table(), conditionalAccessRoutes()...)
	return s
}

// host is the name in the links of answers.
const host = "https://graph.microsoft.com"

// Error is a refusal in Graph's form ("Microsoft Graph error responses and resource types").
type Error struct {
	Status        int
	Code, Message string
	missing       string // what a path names and there is not
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func fail(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *Error {
	return fail(http.StatusBadRequest, "Request_BadRequest", format, args...)
}

func notFound(id string) *Error {
	e := fail(http.StatusNotFound, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", printable(id))
	e.missing = id
	return e
}

func notServed(what string) *Error {
	return fail(http.StatusNotImplemented, "NotImplemented", "This region does not serve %s of Microsoft Graph.", printable(what))
}

// Call is a request on its way: who asks, for what, in which tenant.
type Call struct {
	*Service
	Ctx     context.Context
	W       http.ResponseWriter
	R       *http.Request
	Caller  entra.Caller
	Vars    []string // the segments that stand for {…} in the route, unescaped
	version string
	// segments of the path behind the version
	segments []string
	can      *access
	query    query
}

// tenant is that of the caller: to him, other tenants' objects do not exist.
func (c *Call) tenant() string { return c.Caller.TenantID }

// View and Update run f in a transaction.
func (c *Call) View(f func(store.Tx) error) error   { return c.store.View(c.Ctx, f) }
func (c *Call) Update(f func(store.Tx) error) error { return c.store.Update(c.Ctx, f) }

// Body reads the request's body, an object of JSON of at most 256 KiB.
func (c *Call) Body(into any) error {
	b, err := httpx.ReadBody(c.W, c.R, 256<<10)
	if err != nil {
		return fail(http.StatusRequestEntityTooLarge, "Request_EntityTooLarge", "The request body is longer than 256 KiB.")
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		b = []byte("{}")
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fail(http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.")
	}
	return nil
}

// Answer writes v, or nothing with status 204.
func (c *Call) Answer(status int, v any) error {
	if v == nil {
		c.W.WriteHeader(status)
		return nil
	}
	return c.write(status, v)
}

func (c *Call) write(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := c.W.Header()
	h.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	h.Set("OData-Version", "4.0")
	c.W.WriteHeader(status)
	_, _ = c.W.Write(b) // the client is gone: nobody to tell
	return nil
}

func (c *Call) context(set string) string { return host + "/" + c.version + "/$metadata#" + set }

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	request := uuid.NewString()
	h.Set("request-id", request)
	client := request
	if id, err := uuid.Parse(r.Header.Get("client-request-id")); err == nil {
		client = id.String()
	}
	h.Set("client-request-id", client)
	h.Set("Cache-Control", "no-cache")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	err := s.serve(w, r)
	if err == nil {
		return
	}
	refused := s.refusal(r, err)
	if refused.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="", authorization_uri="https://%s/common/oauth2/authorize", client_id="%s"`, entra.LoginHost, directory.GraphAppID))
	}
	c := &Call{W: w}
	_ = c.write(refused.Status, map[string]any{"error": map[string]any{ // only strings: it can be written
		"code":    refused.Code,
		"message": refused.Message,
		"innerError": map[string]string{
			"date":              s.clock.Now().UTC().Format("2006-01-02T15:04:05"),
			"request-id":        request,
			"client-request-id": client,
		},
	}})
}

// refusal is the one place where errors become Graph's.
func (s *Service) refusal(r *http.Request, err error) *Error {
	var (
		refused  *Error
		token    *entra.TokenError
		conflict *directory.Conflict
		invalid  *directory.Invalid
		filter   *odata.Error
	)
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &token):
		message := token.Error()
		if token.Reason == entra.Missing {
			message = "Access token is empty."
		}
		return fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "%s", message)
	case errors.As(err, &conflict):
		return badRequestOrConflict(conflict)
	case errors.As(err, &invalid):
		return badRequest("Invalid value specified for property '%s': %s.", invalid.Property, invalid.Rule)
	case errors.As(err, &filter):
		return fail(http.StatusBadRequest, "BadRequest", "Invalid filter clause: %s.", filter.Error())
	case errors.Is(err, directory.ErrNotFound):
		return notFound(lastSegment(r.URL.Path))
	case errors.Is(err, directory.ErrMember):
		return badRequest("One or more added object references already exist for the following modified properties: 'members'.")
	case errors.Is(err, directory.ErrNotMember):
		return notFound(lastSegment(strings.TrimSuffix(r.URL.Path, "/$ref")))
	case errors.Is(err, directory.ErrManaged):
		return fail(http.StatusForbidden, "Authorization_RequestDenied", "The service principal is a managed identity or one of Microsoft's own: it cannot be changed here.")
	case errors.Is(err, directory.ErrConsumer):
		return badRequest("The invited user's domain is no partner organisation of this region. Guests are users of partner organisations (business-to-business); consumer identities are refused.")
	case r.Context().Err() != nil:
		return fail(http.StatusServiceUnavailable, "ServiceUnavailable", "The request was canceled.")
	}
	s.log.ErrorContext(r.Context(), "graph", "method", r.Method, "path", r.URL.Path, "error", err)
	if errors.Is(err, store.ErrFull) {
		return fail(http.StatusInsufficientStorage, "InsufficientStorage", httpx.DiskFull)
	}
	return fail(http.StatusInternalServerError, "InternalServerError", "The region failed to answer; its log says why.")
}

func badRequestOrConflict(c *directory.Conflict) *Error {
	if c.Property == "issuer and subject" {
		return fail(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with issuer and subject '%s' already exists on this application.", c.Value)
	}
	return badRequest("Another object with the same value for property %s already exists.", c.Property)
}

func lastSegment(path string) string {
	path = strings.TrimSuffix(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// printable makes what a client sent fit for a message.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return -1
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
