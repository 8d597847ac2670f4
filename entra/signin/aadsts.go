package signin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/entra"
)

// signInError is an error of the login service: an OAuth 2.0 error (RFC 6749, 5.2) with the AADSTS code that
// clients and people go by ("Microsoft Entra authentication and authorization error codes").
type signInError struct {
	status   int
	kind     string // the OAuth error
	code     int    // the AADSTS number
	text     string
	suberror string // what a client can do about an invalid_grant
}

func (e *signInError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.text) }

func missingParameter(name string) *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_request", code: 900144, text: fmt.Sprintf("The request body must contain the following parameter: '%s'.", name)}
}

func malformedRequest() *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_request", code: 9002313, text: "Invalid request. Request is malformed or invalid."}
}

func wrongMethod(method string) *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_request", code: 900561, text: fmt.Sprintf("The endpoint only accepts POST requests. Received a %s request.", printable(method))}
}

func unknownTenant(name string, guidOrDomain bool) *signInError {
	name = printable(name)
	if !guidOrDomain {
		return &signInError{status: http.StatusBadRequest, kind: "invalid_request", code: 900023, text: fmt.Sprintf("Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", name)}
	}
	return &signInError{status: http.StatusBadRequest, kind: "invalid_request", code: 90002, text: fmt.Sprintf("Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", name)}
}

func noTenant() *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_request", code: 50059, text: "No tenant-identifying information found in either the request or implied by any provided credentials."}
}

func unsupportedGrant(grant, why string) *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "unsupported_grant_type", code: 70003, text: fmt.Sprintf("The app requested an unsupported grant type '%s'. %s", printable(grant), why)}
}

func unknownApplication(appID, tenant string) *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "unauthorized_client", code: 700016, text: fmt.Sprintf("Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", printable(appID), tenant)}
}

func noCredential(grant string) *signInError {
	return &signInError{status: http.StatusUnauthorized, kind: "invalid_client", code: 7000216, text: fmt.Sprintf("'client_assertion', 'client_secret' or 'request' is required for the '%s' grant type.", grant)}
}

func wrongSecret(appID string) *signInError {
	return &signInError{status: http.StatusUnauthorized, kind: "invalid_client", code: 7000215, text: fmt.Sprintf("Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", appID)}
}

func expiredSecret(appID string) *signInError {
	return &signInError{status: http.StatusUnauthorized, kind: "invalid_client", code: 7000222, text: fmt.Sprintf("The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.", appID)}
}

func unknownResource(name, tenant string) *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_resource", code: 500011, text: fmt.Sprintf("The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.", printable(name), tenant)}
}

func badScope(scope string) *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_scope", code: 1002012, text: fmt.Sprintf("The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", printable(scope))}
}

func unknownInstance() *signInError {
	return &signInError{status: http.StatusBadRequest, kind: "invalid_instance", code: 50049, text: "Unknown or invalid instance."}
}

func notServed(what string) *signInError {
	return &signInError{status: http.StatusNotImplemented, kind: "invalid_request", code: 9002313, text: what}
}

// write answers with the error. The correlation id is the client's own, if it sent a GUID.
func (e *signInError) write(w http.ResponseWriter, r *http.Request, now time.Time) {
	trace, correlation := uuid.NewString(), correlationID(r)
	at := now.UTC().Format("2006-01-02 15:04:05Z")
	writeJSON(w, e.status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
		Timestamp   string `json:"timestamp"`
		Trace       string `json:"trace_id"`
		Correlation string `json:"correlation_id"`
		URI         string `json:"error_uri"`
		Suberror    string `json:"suberror,omitempty"`
	}{
		Error:       e.kind,
		Description: fmt.Sprintf("%s\r\nTrace ID: %s\r\nCorrelation ID: %s\r\nTimestamp: %s", e, trace, correlation, at),
		Codes:       []int{e.code},
		Timestamp:   at,
		Trace:       trace,
		Correlation: correlation,
		URI:         "https://" + entra.LoginHost + "/error?code=" + strconv.Itoa(e.code),
		Suberror:    e.suberror,
	})
}

func correlationID(r *http.Request) string {
	if id, err := uuid.Parse(r.Header.Get("client-request-id")); err == nil {
		return id.String()
	}
	return uuid.NewString()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only values of this package come here
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(b) //nolint:errcheck // the client is gone; there is nobody to tell
}

// printable makes a stranger's text fit for a message and a header: short, printable ASCII, no quotes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\'' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s[:min(len(s), 256)])
}
