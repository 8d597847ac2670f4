package entra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/origin"
)

// ManagedIdentity is one identity that the machine behind a NIC may ask tokens of.
type ManagedIdentity struct {
	Kind       directory.IdentityKind
	ObjectID   string
	ClientID   string
	ResourceID string // ARM id of the user-assigned identity
}

// Machines tells IMDS what stands behind a NIC. Both return ErrNoMachine for a NIC of which
// nothing is known.
type Machines interface {
	// Identities returns the identities assigned to the machine behind the NIC, none if it has none.
	Identities(ctx context.Context, nic string) ([]ManagedIdentity, error)
	// Instance describes that machine.
	Instance(ctx context.Context, nic string) (Instance, error)
}

// ErrNoMachine is returned by Machines for a NIC without a machine.
var ErrNoMachine = errors.New("entra: no machine behind this network interface")

// imds is the instance metadata service at 169.254.169.254.
type imds struct {
	*Directory
	machines Machines
	log      *slog.Logger
}

// IMDS returns the handler of the instance metadata service ("Azure Instance Metadata Service";
// "How to use managed identities on an Azure VM to acquire an access token"). Who asks is read from
// the connection's origin: the NIC that it came from, never a header.
func (d *Directory) IMDS(m Machines, log *slog.Logger) http.Handler { return &imds{d, m, log} }

// metadataError is the error form of IMDS.
type metadataError struct {
	status            int
	kind, description string
}

func (e *metadataError) Error() string { return e.kind + ": " + e.description }

func badMetadata(format string, args ...any) error {
	return &metadataError{http.StatusBadRequest, "invalid_request", fmt.Sprintf(format, args...)}
}

func (s *imds) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := s.route(w, r)
	if err == nil {
		return
	}
	refused := new(metadataError)
	if !errors.As(err, &refused) {
		s.log.ErrorContext(r.Context(), "instance metadata service", "path", r.URL.Path, "error", err)
		refused = &metadataError{http.StatusInternalServerError, "unknown", "Failed to retrieve token from the Active directory. For details see logs of the region."}
	}
	writeJSON(w, refused.status, map[string]string{"error": refused.kind, "error_description": refused.description})
}

func (s *imds) route(w http.ResponseWriter, r *http.Request) error {
	path := strings.ToLower(strings.TrimRight(r.URL.Path, "/"))
	if r.Method != http.MethodGet {
		return &metadataError{http.StatusMethodNotAllowed, "invalid_request", "Only GET is served here."}
	}
	// both rules keep out requests that a proxy or a forged redirect sends in the machine's name
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		return &metadataError{http.StatusBadRequest, "bad_request_102", "Required metadata header not specified"}
	}
	if _, forwarded := r.Header["X-Forwarded-For"]; forwarded {
		return badMetadata("Requests with an X-Forwarded-For header are not served")
	}
	if path == "/metadata/versions" {
		writeJSON(w, http.StatusOK, map[string]any{"apiVersions": instanceVersions})
		return nil
	}
	nic := origin.FromContext(r.Context()).NIC
	if nic == "" {
		return unknownSource(r)
	}
	switch {
	case path == "/metadata/identity/oauth2/token":
		return s.token(w, r, nic)
	case path == "/metadata/instance" || strings.HasPrefix(path, "/metadata/instance/"):
		return s.instance(w, r, nic, strings.Trim(strings.TrimPrefix(path, "/metadata/instance"), "/"))
	}
	return &metadataError{http.StatusNotFound, "not_found", "This region's metadata service does not serve " + printable(r.URL.Path)}
}

func unknownSource(r *http.Request) error {
	return &metadataError{http.StatusUnauthorized, "unknown_source", "Unknown Source " + printable(r.URL.Path)}
}

func (s *imds) token(w http.ResponseWriter, r *http.Request, nic string) error {
	q := r.URL.Query()
	switch {
	case q.Get("api-version") == "":
		return badMetadata("Required query variable 'api-version' is missing")
	case q.Get("resource") == "":
		return badMetadata("Required query variable 'resource' is missing")
	}
	identities, err := s.machines.Identities(r.Context(), nic)
	if errors.Is(err, ErrNoMachine) {
		return unknownSource(r)
	}
	if err != nil {
		return err
	}
	who, err := choose(identities, selector{q.Get("client_id"), q.Get("object_id"), q.Get("msi_res_id") + q.Get("mi_res_id")})
	if err != nil {
		return err
	}
	resource := q.Get("resource")
	t, err := s.IssueFor(r.Context(), who.ObjectID, resource)
	switch {
	case errors.Is(err, ErrNoResource):
		return &metadataError{http.StatusBadRequest, "invalid_resource", "AADSTS500011: The resource principal named " + printable(resource) + " was not found in the tenant named " + s.Tenant().Name +
			". This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."}
	case errors.Is(err, directory.ErrNoPrincipal):
		return badMetadata("Identity not found")
	case err != nil:
		return err
	}
	body := t.V1(resource)
	body["client_id"] = t.ClientID
	writeJSON(w, http.StatusOK, body)
	return nil
}

// selector names one of several identities; at most one field is set.
type selector struct{ client, object, resource string }

// choose picks the identity as IMDS does: the one named; else the system-assigned one; else the only
// user-assigned one.
func choose(identities []ManagedIdentity, by selector) (ManagedIdentity, error) {
	named := 0
	for _, v := range []string{by.client, by.object, by.resource} {
		if v != "" {
			named++
		}
	}
	if named > 1 {
		return ManagedIdentity{}, badMetadata("Only one of 'client_id', 'object_id' and 'msi_res_id' may be given")
	}
	var users []ManagedIdentity
	for _, m := range identities {
		switch {
		case named == 1:
			if by.client != "" && strings.EqualFold(m.ClientID, by.client) ||
				by.object != "" && strings.EqualFold(m.ObjectID, by.object) ||
				by.resource != "" && strings.EqualFold(m.ResourceID, by.resource) {
				return m, nil
			}
		case m.Kind == directory.SystemAssigned:
			return m, nil
		default:
			users = append(users, m)
		}
	}
	switch {
	case named == 0 && len(users) == 1:
		return users[0], nil
	case named == 0 && len(users) > 1:
		return ManagedIdentity{}, badMetadata("Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
	}
	return ManagedIdentity{}, badMetadata("Identity not found")
}
