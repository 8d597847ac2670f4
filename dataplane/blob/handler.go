package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/firewall"
	"vauban.dev/origin"
)

// request is one request on its way: account, firewall, caller, permission, operation.
type request struct {
	s       *Service
	ctx     context.Context
	w       http.ResponseWriter
	r       *http.Request
	id      string
	query   url.Values
	version string
	account Account
	origin  origin.Origin
	caller  caller

	container, blob string
	op              *operation
	// createOnly: the permission that was found admits writing only what does not exist.
	createOnly bool
}

// serve answers one request. It is the one place that writes errors.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	q := &request{s: s, ctx: r.Context(), w: w, r: r, id: uuid.NewString(), origin: origin.FromContext(r.Context())}
	h := w.Header()
	h.Set("Server", "Vauban-Blob/1.0")
	h.Set("x-ms-request-id", q.id)
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 1024 {
		h.Set("x-ms-client-request-id", id)
	}
	if err := q.handle(); err != nil {
		q.fail(err)
	}
}

func (q *request) handle() error {
	q.query = parseQuery(q.r.URL.RawQuery)
	if err := q.setVersion(); err != nil {
		return err
	}
	if err := q.setAccount(); err != nil {
		return err
	}
	if err := q.passFirewall(); err != nil {
		return err
	}
	if err := q.checkTransport(); err != nil {
		return err
	}
	q.setResource()
	if q.op = findOperation(q); q.op == nil {
		return q.noOperation()
	}
	var err error
	if q.caller, err = q.authenticate(); err != nil {
		return err
	}
	if err := q.authorize(q.op); err != nil {
		return err
	}
	if err := q.refuseUnsupported(); err != nil {
		return err
	}
	return q.op.run(q)
}

// parseQuery decodes a query as Azure's clients encode it: "+" is a plus sign. The first of equal names counts.
func parseQuery(raw string) url.Values {
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

// isVersion reports whether v has the form of a service version that this service speaks.
func isVersion(v string) bool {
	if len(v) != len(firstVersion) || v < firstVersion || v > lastVersion {
		return false
	}
	_, err := time.Parse(time.DateOnly, v)
	return err == nil
}

// setVersion takes x-ms-version, else the version of the SAS, else the oldest.
func (q *request) setVersion() error {
	q.version = q.r.Header.Get("X-Ms-Version")
	if q.version != "" && !isVersion(q.version) {
		v := q.version
		q.version = lastVersion
		return errInvalidHeader("x-ms-version", v)
	}
	if q.version == "" {
		if q.version = q.query.Get("sv"); !isVersion(q.version) {
			q.version = firstVersion
		}
	}
	q.w.Header().Set("x-ms-version", q.version)
	return nil
}

// setAccount finds the account that the host names.
func (q *request) setAccount() error {
	host := strings.ToLower(q.r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	name, ok := strings.CutSuffix(strings.TrimSuffix(host, "."), q.s.suffix)
	if !ok || !accountName.MatchString(name) {
		return newError(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.").because("host '%s' is no storage account's", q.r.Host)
	}
	var err error
	q.account, err = q.s.accounts.Lookup(q.ctx, name)
	if errors.Is(err, ErrNoAccount) {
		return newError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").because("there is no storage account '%s'", name)
	}
	q.account.Name = name
	return err
}

func (q *request) passFirewall() error {
	rules := q.account.Firewall
	rules.GroupIDs = []string{"blob", "blob_secondary"}
	if rules.ResourceID == "" {
		rules.ResourceID = q.account.ID
	}
	if d := firewall.Decide(rules, q.origin); !d.Allowed {
		return errUnauthorized().because("the firewall of storage account %s refused %s: %s", q.account.Name, q.origin, d.Rule)
	}
	return nil
}

func (q *request) checkTransport() error {
	if q.r.TLS == nil {
		if q.account.HTTPSOnly {
			return newError(http.StatusBadRequest, "AccountRequiresHttps", "The account being accessed does not support http.").because("supportsHttpsTrafficOnly is true")
		}
		return nil
	}
	if q.r.TLS.Version < q.account.MinimumTLS {
		return newError(http.StatusBadRequest, "TlsVersionNotPermitted", "The TLS version of the connection is not permitted on this storage account.").
			because("minimumTlsVersion asks for %s, the connection has %s", tls.VersionName(q.account.MinimumTLS), tls.VersionName(q.r.TLS.Version))
	}
	return nil
}

// setResource splits the path into container and blob.
func (q *request) setResource() {
	path := strings.TrimPrefix(q.r.URL.Path, "/")
	q.container, q.blob, _ = strings.Cut(path, "/")
	if q.container != "" && q.blob == "" && q.query.Get("restype") == "" && q.query.Get("comp") == "" && !strings.HasSuffix(path, "/") {
		q.container, q.blob = "$root", q.container // a blob of the root container
	}
}

// noOperation says why no route was found.
func (q *request) noOperation() error {
	switch comp := q.query.Get("comp"); {
	case comp != "" && unbuilt[comp] != "":
		return errNotImplemented("%s is not there yet", unbuilt[comp])
	case comp != "" || q.query.Get("restype") != "":
		return errInvalidQuery("comp", comp)
	}
	return newError(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
}

// fail writes an error. One that is not ours is a bare 500 and a line in the log.
func (q *request) fail(err error) {
	var e *Error
	if !errors.As(err, &e) {
		if q.ctx.Err() != nil {
			return // the client went away
		}
		q.s.log.Error("blob: request failed", "request", q.id, "method", q.r.Method, "account", q.account.Name, "err", err)
		e = newError(http.StatusInternalServerError, "InternalError", "Server encountered an internal error. Please try again after some time.")
	}
	h := q.w.Header()
	for _, k := range []string{"Content-Length", "Content-Type", "Content-Range", "Content-Encoding", "Content-MD5", "Content-Language", "Content-Disposition", "Cache-Control", "ETag", "Last-Modified", "Accept-Ranges"} {
		h.Del(k)
	}
	for k, v := range e.Header {
		h.Set(k, v)
	}
	h.Set("x-ms-error-code", e.Code)
	if e.Status == http.StatusNotModified {
		q.w.WriteHeader(e.Status)
		return
	}
	body := errorXML(e, q.id, q.s.clock.Now())
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", fmt.Sprint(len(body)))
	q.w.WriteHeader(e.Status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(body) // a client that went away misses nothing
	}
}
