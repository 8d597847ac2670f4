// Package httpx is the front of every HTTP service of the region: it accepts on listeners that stand in
// different networks, terminates TLS by SNI, tells each connection's Origin to the handlers by the
// request's context, and dispatches on the host name.
package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"vauban.dev/origin"
)

// Limits bound what one client may hold. Zero fields take the defaults.
type Limits struct {
	Header      time.Duration // of the TLS handshake, and of a request's header; 10 s
	BodyIdle    time.Duration // between two pieces of a body; 60 s
	Idle        time.Duration // of a kept-alive connection; 120 s
	HeaderBytes int           // 64 KiB
}

func (l Limits) orDefault() Limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&l.Header, 10*time.Second)
	set(&l.BodyIdle, 60*time.Second)
	set(&l.Idle, 120*time.Second)
	if l.HeaderBytes == 0 {
		l.HeaderBytes = 64 << 10
	}
	return l
}

// Config of a Front.
type Config struct {
	// Certificate picks the server's certificate (ca.Authority.GetCertificate); an error ends the
	// handshake. Needed for TLS listeners only.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Hosts       *Hosts
	Limits      Limits
	Log         *slog.Logger
}

// Listener is one place where the front accepts.
type Listener struct {
	ID  string // unique within the front
	Net net.Listener
	TLS bool
	// Origin says where a connection comes from. It is called once a connection, by the accepting
	// goroutine, so it must not block; what it returns is in the context of all requests of it.
	Origin func(net.Conn) origin.Origin
	// Serves says which host names may be asked for here, at the address that the client connected to; nil: all.
	// A private endpoint leads to its target's names only.
	Serves func(host string, at netip.Addr) bool
	// Handler takes all requests of this listener instead of Config.Hosts; nil for the usual dispatch.
	Handler http.Handler
}

// ErrClosed is returned by Add after Shutdown.
var ErrClosed = errors.New("httpx: the front is shut down")

// Front serves HTTP/1.1 and HTTP/2 on listeners that come and go. It is safe for use by many goroutines.
type Front struct {
	cfg    Config
	server *http.Server
	wg     sync.WaitGroup // one for each listener that is served

	mu        sync.Mutex
	closed    bool
	listeners map[string]*listener
}

// New makes a front that accepts nowhere yet.
func New(cfg Config) *Front {
	cfg.Limits = cfg.Limits.orDefault()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Hosts == nil {
		cfg.Hosts = new(Hosts)
	}
	f := &Front{cfg: cfg, listeners: map[string]*listener{}}
	f.server = &http.Server{
		Handler: f.handler(),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: cfg.Certificate,
			// Named here, since net/http sets HTTP/2 up once, and not if a plain listener is served first.
			NextProtos: []string{"h2", "http/1.1"},
		},
		ReadHeaderTimeout: cfg.Limits.Header,
		IdleTimeout:       cfg.Limits.Idle,
		MaxHeaderBytes:    cfg.Limits.HeaderBytes,
		ConnContext:       connContext,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return f
}

// Add starts to serve l and returns. The front owns l.Net from then on. It fails on an id that is in
// use and after Shutdown; then l.Net is still the caller's.
func (f *Front) Add(l Listener) error {
	if l.Origin == nil {
		return fmt.Errorf("httpx: listener %s has no Origin", l.ID)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if _, ok := f.listeners[l.ID]; ok {
		return fmt.Errorf("httpx: two listeners %s", l.ID)
	}
	inner := &listener{Listener: l.Net, spec: l, conns: map[*conn]struct{}{}}
	f.listeners[l.ID] = inner
	f.wg.Go(func() { f.serve(inner) })
	return nil
}

func (f *Front) serve(l *listener) {
	var err error
	if l.spec.TLS {
		err = f.server.ServeTLS(l, "", "")
	} else {
		err = f.server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return
	}
	f.cfg.Log.Error("listener failed", "listener", l.spec.ID, "err", err)
	f.Remove(l.spec.ID)
}

// Remove closes the listener with this id and its connections: what led here is gone. Unknown ids are
// ignored.
func (f *Front) Remove(id string) {
	f.mu.Lock()
	l := f.listeners[id]
	delete(f.listeners, id)
	f.mu.Unlock()
	if l != nil {
		l.shut()
	}
}

// Listeners are the ids now served, in no order.
func (f *Front) Listeners() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := make([]string, 0, len(f.listeners))
	for id := range f.listeners {
		ids = append(ids, id)
	}
	return ids
}

// Shutdown stops accepting, lets running requests end until ctx does, then closes what is left. It
// returns ctx's error if requests were cut.
func (f *Front) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	err := f.server.Shutdown(ctx)
	if err != nil {
		f.server.Close()
	}
	f.mu.Lock()
	left := f.listeners
	f.listeners = map[string]*listener{}
	f.mu.Unlock()
	for _, l := range left {
		l.shut()
	}
	f.wg.Wait()
	return err
}
