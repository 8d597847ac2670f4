package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"time"

	"vauban.dev/origin"
)

// tidyEvery is how often keys are looked at, and sessions that are over forgotten. The region's clock may have been
// moved meanwhile.
const tidyEvery = 10 * time.Minute

// tidySignIns keeps the directory tidy until ctx ends. What fails is tried again: nothing depends on when it is done.
func (w *world) tidySignIns(ctx context.Context) error {
	for {
		if err := w.entra.Tidy(ctx); err != nil && ctx.Err() == nil {
			w.log.Error("signing keys and sessions", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tidyEvery):
		}
	}
}

// withUserInfo serves OpenID Connect's user info on the host of Microsoft Graph, where Entra has it.
func withUserInfo(graph, userInfo http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oidc/userinfo" {
			userInfo.ServeHTTP(w, r)
			return
		}
		graph.ServeHTTP(w, r)
	})
}

// inRegion asks the region's own hosts, and no other, without a network: so the login service reads the keys of
// issuers that the region serves. It asks as one of Azure's services does, from an address of its service tag.
type inRegion struct {
	w   *world
	tag string
}

func (t inRegion) RoundTrip(r *http.Request) (*http.Response, error) {
	h := t.w.hosts.Lookup(r.URL.Hostname())
	if h == nil || r.URL.Port() != "" && r.URL.Port() != "443" {
		return nil, errors.New("no host of the region has the name " + r.URL.Hostname())
	}
	from := origin.Origin{Kind: origin.Internet}
	if prefixes, ok := t.w.tags.Now().Prefixes(t.tag); ok && len(prefixes) > 0 {
		from.Source = prefixes[0].Addr()
	}
	r = r.Clone(origin.NewContext(r.Context(), from))
	r.Host, r.RequestURI = r.URL.Host, r.URL.RequestURI()
	if r.URL.Scheme == "https" { // no wire, and so nothing to read on it
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: r.URL.Hostname()}
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	out := &answer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(out, r)
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: out.header,
		Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// answer keeps what a handler answers.
type answer struct {
	header  http.Header
	status  int
	written bool
	body    bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if !a.written {
		a.status, a.written = status, true
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}
