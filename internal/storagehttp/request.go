// Package storagehttp is what the services of a storage account share on the wire: which account a host names, its
// firewall, transport and CORS; who calls, by Shared Key, shared access signature or token; stored access policies;
// errors and XML documents. Blobs, files, queues and tables (dataplane/) stand on it and never on each other.
// See docs/architecture/storagehttp.md.
package storagehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Front is one service of all accounts.
type Front struct {
	Service  string   // blob, queue, table: what logs and the Server header say
	Suffix   string   // follows the account's name in its host name: ".blob.core.windows.net"
	GroupIDs []string // the private link sub-resources by which it is reached

	Accounts   Accounts
	Tokens     Tokens
	Authorizer authz.Authorizer
	Clock      clock.Clock
	Log        *slog.Logger

	// ErrorBody makes an error's body and its type; nil: Azure's XML.
	ErrorBody func(q *Request, e *Error) (contentType string, body []byte)
}

// Request is one request to a storage service on its way.
type Request struct {
	Front   *Front
	Ctx     context.Context
	W       http.ResponseWriter
	R       *http.Request
	ID      string // x-ms-request-id
	Query   url.Values
	Version string // x-ms-version, or the SAS' sv, or the oldest
	Account Account
	Origin  origin.Origin
	Caller  Caller

	noted *Served
}

// Begin is the request with the headers that every answer has.
func (f *Front) Begin(w http.ResponseWriter, r *http.Request) Request {
	q := Request{Front: f, Ctx: r.Context(), W: w, R: r, ID: uuid.NewString(), Origin: origin.FromContext(r.Context()), Query: ParseQuery(r.URL.RawQuery), noted: noting(r.Context())}
	q.noted.ID = q.ID
	h := w.Header()
	h.Set("Server", "Vauban-"+strings.ToUpper(f.Service[:1])+f.Service[1:]+"/1.0")
	h.Set("x-ms-request-id", q.ID)
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 1024 {
		h.Set("x-ms-client-request-id", id)
	}
	return q
}

// Admit finds the version and the account and passes the account's firewall and rules of transport.
func (q *Request) Admit() error {
	if err := q.setVersion(); err != nil {
		return err
	}
	q.noted.Version = q.Version
	if err := q.setAccount(); err != nil {
		return err
	}
	q.noted.Account = q.Account
	if err := q.PassFirewall(); err != nil {
		return err
	}
	return q.checkTransport()
}

// ParseQuery decodes a query as Azure's clients encode it: "+" is a plus sign. The first of equal names counts.
func ParseQuery(raw string) url.Values {
	v := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		v.Add(unescape(name), unescape(value))
	}
	return v
}

const (
	firstVersion = "2009-09-19"
	lastVersion  = "2026-12-31"
)

// IsVersion reports whether v has the form of a service version that is spoken.
func IsVersion(v string) bool {
	if len(v) != len(firstVersion) || v < firstVersion || v > lastVersion {
		return false
	}
	_, err := time.Parse(time.DateOnly, v)
	return err == nil
}

// setVersion takes x-ms-version, else the version that the request has been given, else that of the SAS, else the oldest.
func (q *Request) setVersion() error {
	if v := q.R.Header.Get("X-Ms-Version"); v != "" {
		q.Version = v
	}
	if q.Version != "" && !IsVersion(q.Version) {
		v := q.Version
		q.Version = lastVersion
		return InvalidHeader("x-ms-version", v)
	}
	if q.Version == "" {
		if q.Version = q.Query.Get("sv"); !IsVersion(q.Version) {
			q.Version = firstVersion
		}
	}
	q.W.Header().Set("x-ms-version", q.Version)
	return nil
}

// setAccount finds the account that the host names.
func (q *Request) setAccount() error {
	host := strings.ToLower(q.R.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	name, ok := strings.CutSuffix(strings.TrimSuffix(host, "."), q.Front.Suffix)
	if !ok || !IsAccountName(name) {
		return NewError(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.").Because("host '%s' is no storage account's", q.R.Host)
	}
	var err error
	q.Account, err = q.Front.Accounts.Lookup(q.Ctx, name)
	if errors.Is(err, ErrNoAccount) {
		return NewError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").Because("there is no storage account '%s'", name)
	}
	q.Account.Name = name
	return err
}

// PassFirewall judges the origin of the request by the rules of its account.
func (q *Request) PassFirewall() error {
	rules := q.Account.Firewall
	rules.GroupIDs = q.Front.GroupIDs
	if rules.ResourceID == "" {
		rules.ResourceID = q.Account.ID
	}
	if d := q.decide(rules); !d.Allowed {
		return Unauthorized().Because("the firewall of storage account %s refused %s: %s", q.Account.Name, q.Origin, d.Rule)
	}
	return nil
}

// decide asks the firewall; where it has rules for resource instances, a token that is presented is looked at for whose
// managed identity it is. One that does not hold changes nothing: its caller learns what the network's rules say.
func (q *Request) decide(rules firewall.Rules) firewall.Decision {
	d := firewall.Decide(rules, q.Origin)
	token, ok := q.bearerToken()
	if d.Allowed || !ok || len(rules.ResourceInstances) == 0 {
		return d
	}
	p, err := q.verify(token)
	if err != nil {
		return d
	}
	return firewall.DecideCaller(rules, q.Origin, p.TenantID, p.Resource)
}

func (q *Request) checkTransport() error {
	if q.R.TLS == nil {
		if q.Account.HTTPSOnly {
			return NewError(http.StatusBadRequest, "AccountRequiresHttps", "The account being accessed does not support http.").Because("supportsHttpsTrafficOnly is true")
		}
		return nil
	}
	if q.R.TLS.Version < q.Account.MinimumTLS {
		return NewError(http.StatusBadRequest, "TlsVersionNotPermitted", "The TLS version of the connection is not permitted on this storage account.").
			Because("minimumTlsVersion asks for %s, the connection has %s", tls.VersionName(q.Account.MinimumTLS), tls.VersionName(q.R.TLS.Version))
	}
	return nil
}

// contentHeaders are those that an error does not have of the answer that it takes the place of.
var contentHeaders = []string{
	"Content-Length", "Content-Type", "Content-Range", "Content-Encoding", "Content-MD5", "Content-Language", "Content-Disposition",
	"Cache-Control", "ETag", "Last-Modified", "Accept-Ranges",
}

// Fail writes an error. One that is not ours is a bare 500 and a line in the log.
func (q *Request) Fail(err error) {
	var e *Error
	var key *seal.Unavailable
	switch {
	case errors.As(err, &key):
		e = NewError(http.StatusForbidden, key.Code, "The key vault key is not found to unwrap the encryption key.").Because("key %s: %s", key.Key, key.Reason)
	case errors.Is(err, seal.ErrForgotten):
		e = NewError(http.StatusForbidden, "KeyVaultEncryptionKeyNotFound", "The key vault key is not found to unwrap the encryption key.").
			Because("access to it was taken away while the request ran")
	case !errors.As(err, &e):
		if q.Ctx.Err() != nil {
			return // the client went away
		}
		q.Front.Log.Error(q.Front.Service+": request failed", "request", q.ID, "method", q.R.Method, "account", q.Account.Name, "err", err)
		e = NewError(http.StatusInternalServerError, "InternalError", "Server encountered an internal error. Please try again after some time.")
		if errors.Is(err, store.ErrFull) {
			e = NewError(http.StatusInsufficientStorage, "InsufficientStorage", httpx.DiskFull)
		}
	}
	q.noted.Code = e.Code
	h := q.W.Header()
	for _, k := range contentHeaders {
		h.Del(k)
	}
	for k, v := range e.Header {
		h.Set(k, v)
	}
	h.Set("x-ms-error-code", e.Code)
	if e.Status == http.StatusNotModified || q.R.Method == http.MethodHead {
		q.W.WriteHeader(e.Status)
		return
	}
	contentType, body := "application/xml", []byte(nil)
	if q.Front.ErrorBody != nil {
		contentType, body = q.Front.ErrorBody(q, e)
	} else {
		body = ErrorXML(e, q.ID, q.Front.Clock.Now())
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	q.W.WriteHeader(e.Status)
	if q.R.Method != http.MethodHead {
		_, _ = q.W.Write(body) // a client that went away misses nothing
	}
}

// Endpoint is the address of the service as this caller reaches it.
func (q *Request) Endpoint() string {
	scheme := "https://"
	if q.R.TLS == nil {
		scheme = "http://"
	}
	return scheme + q.Account.Name + q.Front.Suffix + "/"
}
