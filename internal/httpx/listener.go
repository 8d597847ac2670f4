package httpx

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"vauban.dev/origin"
)

// listener remembers its connections, so that removing it can end them.
type listener struct {
	net.Listener
	spec Listener

	mu    sync.Mutex
	shutd bool
	conns map[*conn]struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, listener: l}
		if l.add(c) {
			return c, nil
		}
		nc.Close()
	}
}

func (l *listener) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shutd {
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *listener) shut() {
	l.mu.Lock()
	l.shutd = true
	conns := l.conns
	l.conns = map[*conn]struct{}{}
	l.mu.Unlock()
	l.Listener.Close()
	for c := range conns {
		c.Conn.Close()
	}
}

// conn is an accepted connection that knows its listener.
type conn struct {
	net.Conn
	listener *listener
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// NetConn is the connection below, for those who ask the kernel about it.
func (c *conn) NetConn() net.Conn { return c.Conn }

type listenerKey struct{}

// connContext puts the connection's origin and its listener into the context of its requests.
func connContext(ctx context.Context, nc net.Conn) context.Context {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok { // not accepted by us: no origin, which services refuse
		return ctx
	}
	ctx = context.WithValue(ctx, listenerKey{}, &c.listener.spec)
	return origin.NewContext(ctx, c.listener.spec.Origin(c.Conn))
}

func listenerFrom(ctx context.Context) *Listener {
	l, _ := ctx.Value(listenerKey{}).(*Listener)
	return l
}
