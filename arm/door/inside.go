package door

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/url"

	"vauban.dev/authz"
)

// Inside is a request that a subsystem of the region makes for a caller whose token it has seen: a deployment's
// resources. It passes every stage like one from outside; only the token is not asked for again.
type Inside struct {
	Caller  authz.Principal
	Method  string
	Path    string // unescaped
	Version string // api-version
	Query   url.Values
	Body    []byte
	// CorrelationID is that of the request for which this one is made.
	CorrelationID string
	// Base is the scheme and host that the caller used, Address where the caller is, as the kernel told it.
	Base, Address string
}

// Answer is the response to an Inside.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// insideKey marks the context of an Inside. Nothing outside of this package can make one, and no connection's context
// has it.
type insideKey struct{}

func insider(ctx context.Context) (authz.Principal, bool) {
	p, ok := ctx.Value(insideKey{}).(authz.Principal)
	return p, ok
}

// Do serves a request from inside. The error is the context's; refusals are answers.
func (d *Door) Do(ctx context.Context, in Inside) (Answer, error) {
	u := url.URL{Scheme: "https", Host: "management.azure.com", Path: in.Path}
	if base, err := url.Parse(in.Base); err == nil && base.Host != "" {
		u.Scheme, u.Host = base.Scheme, base.Host
	}
	q := url.Values{}
	for k, v := range in.Query {
		q[k] = v
	}
	q.Set("api-version", in.Version)
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(context.WithValue(ctx, insideKey{}, in.Caller), in.Method, u.String(), bytes.NewReader(in.Body))
	if err != nil {
		return Answer{}, err
	}
	if len(in.Body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("x-ms-correlation-request-id", in.CorrelationID)
	if in.Address != "" {
		r.RemoteAddr = net.JoinHostPort(in.Address, "0")
	}
	w := recorder{header: http.Header{}}
	d.ServeHTTP(&w, r)
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	return Answer{Status: w.status, Header: w.header, Body: w.body.Bytes()}, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
