// Package signin is the login service: login.microsoftonline.com with its token endpoints, the pages on which
// people sign in, sessions and second factors.
package signin

import (
	"errors"
	"html"
	"log/slog"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
)

// Config of the service.
type Config struct {
	Directory *entra.Directory
	Store     store.Store
	Clock     clock.Clock
	Log       *slog.Logger // failures of the region itself; refusals are not logged
	Hosts     []string     // further host names, with port, by which clients reach the service
}

// Service is the handler of login.microsoftonline.com and of its other names (login.windows.net,
// sts.windows.net). It is safe for concurrent use.
type Service struct {
	dir    *entra.Directory
	store  store.Store
	clock  clock.Clock
	log    *slog.Logger
	hosts  []string
	tenant directory.Tenant
}

// New returns the service.
func New(c Config) *Service {
	return &Service{dir: c.Directory, store: c.Store, clock: c.Clock, log: c.Log, hosts: c.Hosts, tenant: c.Directory.Tenant()}
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-request-id", uuid.NewString())
	if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") {
		w.Header().Set("client-request-id", correlationID(r))
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	err := s.route(w, r, tenant, strings.ToLower(strings.TrimSuffix(rest, "/")))
	if err == nil {
		return
	}
	refused := new(signInError)
	if !errors.As(err, &refused) {
		s.log.ErrorContext(r.Context(), "login service", "path", r.URL.Path, "error", err)
		refused = &signInError{http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Please try again."}
	}
	refused.write(w, r, s.clock.Now())
}

func (s *Service) route(w http.ResponseWriter, r *http.Request, tenant, rest string) error {
	switch rest {
	case "oauth2/v2.0/token", "oauth2/token":
		return s.token(w, r, tenant, rest == "oauth2/v2.0/token")
	case "oauth2/v2.0/devicecode", "oauth2/devicecode":
		return unsupportedGrant("urn:ietf:params:oauth:grant-type:device_code", onlySecrets)
	case "oauth2/v2.0/authorize", "oauth2/authorize":
		return s.noSignInPage(w)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notServed("This region's login service does not serve " + printable(r.Method) + " " + printable(r.URL.Path) + ".")
	}
	switch rest {
	case "discovery/instance":
		return s.instance(w, r)
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		return s.openID(w, r, tenant, rest[0] == 'v')
	case "discovery/keys", "discovery/v2.0/keys":
		return s.jwks(w, tenant, rest == "discovery/v2.0/keys")
	}
	if rest == "userrealm" || strings.HasPrefix(rest, "userrealm/") {
		return s.userRealm(w, r)
	}
	return notServed("This region's login service does not serve " + printable(r.URL.Path) + ".")
}

// known checks the tenant segment of a path. common allows the words that stand for every tenant.
func (s *Service) known(segment string, common bool) error {
	name := strings.ToLower(segment)
	switch name {
	case s.tenant.ID, s.tenant.Domain:
		return nil
	case "common", "organizations":
		if common {
			return nil
		}
		return noTenant()
	}
	_, err := uuid.Parse(name)
	return unknownTenant(segment, err == nil || strings.Contains(name, "."))
}

// noSignInPage stands where Azure's sign-in page does. It says whose page it is, and asks for nothing.
func (s *Service) noSignInPage(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNotImplemented)
	name := html.EscapeString(s.tenant.Name + " (" + s.tenant.Domain + ")")
	_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>Vauban: no interactive sign-in</title>
<h1>This is Vauban, not Microsoft</h1>
<p>You reached the login service of the region <strong>` + name + `</strong>, which runs on a machine of yours.
It has no interactive sign-in: sign in as a service principal (<code>az login --service-principal</code>).</p>
<p><strong>Never type a real Azure password on a page of a Vauban region.</strong></p></html>
`)) // the client is gone otherwise
	return nil
}
