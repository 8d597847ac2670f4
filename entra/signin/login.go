// Package signin is the login service: login.microsoftonline.com with its token endpoints, the pages on which
// people sign in, sessions and second factors.
package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

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
	// Issuers reaches other issuers of tokens that stand for credentials, inside the region; nil: there are none.
	Issuers *http.Client
	// PasswordGrant switches on the resource owner password credentials grant.
	PasswordGrant bool
	// LockedOut is told of every lock-out; nil: nobody. Its error fails the request.
	LockedOut func(ctx context.Context, l LockOut) error
}

// Service is the handler of login.microsoftonline.com and of its other names (login.windows.net,
// sts.windows.net). It is safe for concurrent use.
type Service struct {
	dir       *entra.Directory
	store     store.Store
	clock     clock.Clock
	log       *slog.Logger
	hosts     []string
	tenant    directory.Tenant // the home tenant
	passwords bool             // the password grant is on
	keys      *keys
	issuers   *issuers
	tries     *limits // of passwords, factors and codes, by address
	tickets   *limits // of device codes, by address
	polls     *polls
	lockedOut func(context.Context, LockOut) error
}

// New returns the service; the first time it makes its keys.
func New(ctx context.Context, c Config) (*Service, error) {
	k, err := openKeys(ctx, c.Store)
	if err != nil {
		return nil, err
	}
	return &Service{
		dir: c.Directory, store: c.Store, clock: c.Clock, log: c.Log, hosts: c.Hosts, tenant: c.Directory.Tenant(), passwords: c.PasswordGrant, keys: k,
		issuers: &issuers{client: c.Issuers, known: map[string]issuerKeys{}},
		tries:   newLimits(2*time.Second, 30), tickets: newLimits(time.Second, 60), polls: &polls{last: map[string]time.Time{}}, lockedOut: c.LockedOut,
	}, nil
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
		refused = &signInError{status: http.StatusInternalServerError, kind: "server_error", code: 90033, text: "A transient error has occurred. Please try again."}
	}
	refused.write(w, r, s.clock.Now())
}

func (s *Service) route(w http.ResponseWriter, r *http.Request, tenant, rest string) error {
	v2 := strings.Contains(rest, "v2.0/")
	switch rest {
	case "oauth2/v2.0/token", "oauth2/token":
		return s.token(w, r, tenant, v2)
	case "oauth2/v2.0/devicecode", "oauth2/devicecode":
		return s.deviceStart(w, r, tenant, v2)
	case "oauth2/v2.0/authorize", "oauth2/authorize":
		return s.authorize(w, r, tenant, v2)
	case "oauth2/v2.0/logout", "oauth2/logout":
		return s.logout(w, r, tenant)
	case "oauth2/deviceauth":
		if r.Method == http.MethodGet {
			return s.devicePage(w, r)
		}
	case "openid/userinfo":
		return s.userInfo(w, r)
	}
	if tenant == "vauban" {
		return s.form(w, r, rest)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notServed("This region's login service does not serve " + printable(r.Method) + " " + printable(r.URL.Path) + ".")
	}
	w.Header().Set("Access-Control-Allow-Origin", "*") // what follows is public
	switch rest {
	case "discovery/instance":
		return s.instance(w, r)
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		return s.openID(w, r, tenant, rest[0] == 'v')
	case "discovery/keys", "discovery/v2.0/keys":
		return s.jwks(w, r, tenant, rest == "discovery/v2.0/keys")
	}
	if rest == "userrealm" || strings.HasPrefix(rest, "userrealm/") {
		return s.userRealm(w, r)
	}
	return notServed("This region's login service does not serve " + printable(r.URL.Path) + ".")
}

// unknownSegment is the refusal of a path's tenant that there is not.
func unknownSegment(segment string) error {
	_, err := uuid.Parse(segment)
	return unknownTenant(segment, err == nil || strings.Contains(segment, "."))
}
