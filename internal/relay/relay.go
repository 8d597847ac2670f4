// Package relay carries TCP connections from one network to another: those of a private endpoint to what a
// private link service offers behind it. It knows nothing of networks: who accepts and how the other side is
// reached is the caller's.
package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// Relay is one listener and where its connections go.
type Relay struct {
	Listener net.Listener
	// Dial reaches the other side for one accepted connection.
	Dial func(ctx context.Context) (net.Conn, error)
	// Header is sent to the other side before anything else; nil or empty for none.
	Header func(accepted net.Conn) []byte
	Log    *slog.Logger
}

const (
	// maxConnections is how many connections a relay carries at a time; more wait in the listener's queue.
	maxConnections = 4096
	dialTimeout    = 15 * time.Second
	acceptPause    = 100 * time.Millisecond
)

// Serve carries connections until ctx ends, then closes the listener and all connections and returns nil. It
// returns an error when the listener fails.
func (r *Relay) Serve(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer r.Listener.Close()
	defer context.AfterFunc(ctx, func() { r.Listener.Close() })() // ends a waiting Accept
	slots := make(chan struct{}, maxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := r.Listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if isShortage(err) { // the connection waits in the queue
			r.Log.Warn("relay: cannot accept now", "error", err)
			<-slots
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer func() { <-slots }()
			r.carry(ctx, c)
		})
	}
}

// isShortage reports whether an error of Accept passes: the machine or the process lacks something now.
func isShortage(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// carry is one connection from its acceptance to its end.
func (r *Relay) carry(ctx context.Context, near net.Conn) {
	defer near.Close()
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	far, err := r.Dial(dialing)
	cancel()
	if err != nil {
		r.Log.Debug("relay: the other side does not answer", "from", near.RemoteAddr(), "error", err)
		reset(near)
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	if r.Header != nil {
		if _, err := far.Write(r.Header(near)); err != nil {
			reset(near)
			return
		}
	}
	var both sync.WaitGroup
	both.Go(func() { pass(far, near) })
	both.Go(func() { pass(near, far) })
	both.Wait()
}

// pass copies one direction and tells the receiver when it is at its end. A connection that broke is reset on
// the other side as well: an end must never look like a whole message.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	switch half, ok := to.(interface{ CloseWrite() error }); {
	case err != nil && !errors.Is(err, net.ErrClosed):
		reset(to)
		reset(from)
	case ok:
		half.CloseWrite() // one that is closed already has its end
	default:
		to.Close()
	}
}

// reset closes a TCP connection so that its peer sees an error and not an end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
