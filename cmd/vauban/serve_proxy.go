package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
)

// loopbackID is the front's listener of connections that came by the loopback proxy.
const loopbackID = "loopback"

// loopbackProxy is what stands on the host's loopback: an HTTP proxy that knows the CONNECT method and
// the region's names alone. Clients outside the region need HTTPS_PROXY and the region's CA, and call
// Azure's real names; no name is ever resolved or dialled outside, so no credential can leak.
type loopbackProxy struct {
	hosts  *httpx.Hosts
	serves func(host string) bool
	tunnel *tunnelListener
}

func newLoopbackProxy(hosts *httpx.Hosts, serves func(string) bool, addr net.Addr) *loopbackProxy {
	return &loopbackProxy{hosts: hosts, serves: serves, tunnel: &tunnelListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}}
}

// run serves l until ctx ends.
func (p *loopbackProxy) run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (p *loopbackProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "This is the proxy of a Vauban region: set HTTPS_PROXY to it (see `vauban env`) and call Azure's own names over https.", http.StatusBadRequest)
		return
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil || port != "443" || p.hosts.Lookup(httpx.CanonicalHost(host)) == nil || !p.serves(httpx.CanonicalHost(host)) {
		http.Error(w, "The region serves no such host: "+r.Host+". Nothing is asked outside of it.", http.StatusForbidden)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection cannot be taken over", http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	p.tunnel.deliver(&bufferedConn{Conn: conn, r: buffered.Reader})
}

// bufferedConn is a connection some of whose bytes were read already.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// tunnelListener is a net.Listener of the connections that came through the proxy.
type tunnelListener struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (t *tunnelListener) deliver(c net.Conn) {
	select {
	case t.conns <- c:
	case <-t.closed:
		c.Close()
	}
}

func (t *tunnelListener) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

func (t *tunnelListener) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func (t *tunnelListener) Addr() net.Addr { return t.addr }

// fromLoopback is the origin of connections through the proxy.
func fromLoopback(c net.Conn) origin.Origin {
	return origin.Origin{Kind: origin.Loopback, Source: remote(c)}
}
