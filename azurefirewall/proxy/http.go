package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"

	"vauban.dev/azurefirewall"
)

// statusDenied is how Azure Firewall answers an HTTP request that it denies.
// https://learn.microsoft.com/azure/firewall/firewall-faq
const statusDenied = 470

// http judges each request on a connection. server is the name of the handshake around it, "" for plain HTTP.
func (s *session) http(ctx context.Context, c net.Conn, server string) {
	quiet := slog.NewLogLogger(s.f.cfg.Log.Handler(), slog.LevelDebug)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	transport := s.transport(ctx)
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { s.failed(w, r, server, err) },
		ErrorLog:     quiet,
	}
	one := newOneConn(c)
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.request(w, r, server, proxy) }),
		ReadHeaderTimeout: helloTime, IdleTimeout: 4 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: quiet,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	end := context.AfterFunc(ctx, func() { srv.Close() })
	defer end()
	if err := srv.Serve(one); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		s.f.cfg.Log.Debug("firewall", "id", s.f.cfg.ID, "error", err)
	}
	srv.Close()
}

// transport connects to the server that a request names, as long as the session lasts.
func (s *session) transport(session context.Context) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(session, cancel)()
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return s.f.dialName(ctx, host, s.dst.Port())
		},
		TLSClientConfig:     &tls.Config{RootCAs: s.f.cfg.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialTime, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 256 << 10,
		DisableCompression: true,
	}
}

func (s *session) protocol(server string) string {
	if server != "" {
		return "HTTPS"
	}
	return "HTTP"
}

// request judges one request and passes it on.
func (s *session) request(w http.ResponseWriter, r *http.Request, server string, proxy http.Handler) {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, ""
	}
	rec := s.record(s.protocol(server), host)
	rec.TargetURL, rec.IsTLSInspected = host+r.URL.EscapedPath(), server != ""
	q := azurefirewall.Request{Source: s.src.Addr(), Port: s.dst.Port(), TLS: server != "", Host: host, Path: r.URL.EscapedPath()}
	d := s.f.judge(q)
	canonical, _ := azurefirewall.CanonicalHost(host)
	switch named, _ := azurefirewall.CanonicalHost(server); {
	case server != "" && canonical != named:
		d = azurefirewall.Decision{Reason: fmt.Sprintf("the request is for %s, inside a TLS handshake for %s", host, server)}
	case port != "" && port != strconv.Itoa(int(s.dst.Port())):
		d = azurefirewall.Decision{Reason: fmt.Sprintf("the request is for port %s, on a connection to port %d", port, s.dst.Port())}
	case r.Method == http.MethodConnect || r.URL.Path == "" || r.URL.Path[0] != '/':
		d = azurefirewall.Decision{Reason: "the firewall is no forward proxy"}
	case d.Verdict == azurefirewall.Allow && s.upgrades(r) && !s.passes(q):
		d = azurefirewall.Decision{Reason: "the rules have changed"}
	}
	if d.Verdict != azurefirewall.Allow {
		s.denied(d, rec)
		s.deny(w, d)
		return
	}
	s.allow(d, rec)
	r.URL.Scheme, r.URL.Host = "http", canonical
	if server != "" {
		r.URL.Scheme = "https"
	}
	for _, h := range d.Headers {
		r.Header.Set(h.Name, h.Value)
	}
	proxy.ServeHTTP(w, r)
}

// upgrades tells whether the request may become a WebSocket, whose bytes are passed on unread from then on: the
// session lives by that request's rule. An upgrade to any other protocol is not passed on, as RFC 9110 (7.8) lets
// who does not know it: inside HTTP/2 there would be requests that nobody judges.
func (s *session) upgrades(r *http.Request) bool {
	if r.Header.Get("Upgrade") == "" {
		return false
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return true
	}
	r.Header.Del("Upgrade")
	r.Header.Del("HTTP2-Settings")
	return false
}

// deny answers a request that no rule allows, in Azure's words and with the rule's name.
func (s *session) deny(w http.ResponseWriter, d azurefirewall.Decision) {
	text := "Action: Deny. Rule: " + d.Ref.Path() + ". Reason: " + d.String() + "\n"
	if (d.Ref == azurefirewall.Ref{}) && d.Reason == "" {
		text = "Action: Deny. Reason: No rule matched. Proceeding with default action.\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Connection", "close")
	w.WriteHeader(statusDenied)
	w.Write([]byte(text))
}

// failed answers where the server cannot be reached or is not who it should be.
func (s *session) failed(w http.ResponseWriter, r *http.Request, server string, err error) {
	if r.Context().Err() != nil {
		return
	}
	rec := s.record(s.protocol(server), r.URL.Host)
	rec.By(azurefirewall.Ref{}, "Deny", err.Error())
	s.f.cfg.Records.Add(rec)
	http.Error(w, "The firewall cannot connect to the server: "+err.Error(), http.StatusBadGateway)
}

// oneConn is a listener of one connection, which ends when that does.
type oneConn struct {
	conn   net.Conn
	taken  bool
	closed chan struct{}
	once   sync.Once
}

func newOneConn(c net.Conn) *oneConn {
	o := &oneConn{closed: make(chan struct{})}
	o.conn = &closing{c, o}
	return o
}

// closing tells its listener when it is closed.
type closing struct {
	net.Conn
	of *oneConn
}

func (c *closing) Close() error {
	defer c.of.Close()
	return c.Conn.Close()
}

func (o *oneConn) Accept() (net.Conn, error) {
	if !o.taken {
		o.taken = true
		return o.conn, nil
	}
	<-o.closed
	return nil, net.ErrClosed
}

func (o *oneConn) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

func (o *oneConn) Addr() net.Addr { return o.conn.LocalAddr() }
