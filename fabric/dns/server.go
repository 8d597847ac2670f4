package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	maxUDPQuery = 4096             // a query needs a few hundred bytes; longer datagrams are cut and so dropped
	maxTCPQuery = 4096             // longer messages close the connection
	tcpIdle     = 10 * time.Second // RFC 7766 section 6.2.3: seconds
	maxTCPConns = 128              // a listener; more wait in the backlog
)

// Resolver answers one question of class IN. name is as the client wrote it. It must be safe for use
// by many goroutines, and quick: it runs between receive and send.
type Resolver func(name string, qtype uint16) Answer

// Serve answers DNS queries on pc (UDP) and l (TCP) until ctx ends, then closes both, waits for its
// goroutines and returns nil. Either may be nil. It returns early, closing both, when one of them fails
// for another reason than being closed by ctx.
func Serve(ctx context.Context, pc net.PacketConn, l net.Listener, resolve Resolver) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{resolve: resolve, slots: make(chan struct{}, maxTCPConns)}
	if pc != nil {
		stop := context.AfterFunc(ctx, func() { pc.Close() })
		defer stop()
		// Reads of one socket are serial in the runtime, but answers are made while the next read waits.
		for range runtime.GOMAXPROCS(0) {
			s.wg.Go(func() { cancel(s.serveUDP(ctx, pc)) })
		}
	}
	if l != nil {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		s.wg.Go(func() { cancel(s.serveTCP(ctx, l)) })
	}
	if pc != nil || l != nil {
		<-ctx.Done()
	}
	if pc != nil {
		pc.Close()
	}
	if l != nil {
		l.Close()
	}
	s.wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

type server struct {
	resolve Resolver
	slots   chan struct{}
	wg      sync.WaitGroup
}

// serveUDP reads and answers datagrams until pc is closed. A malformed one gets no answer, or FORMERR
// where its header can be read.
func (s *server) serveUDP(ctx context.Context, pc net.PacketConn) error {
	in, out := make([]byte, maxUDPQuery+1), make([]byte, maxUDPQuery)
	for {
		n, from, err := pc.ReadFrom(in)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if transient(err) {
				continue
			}
			return fmt.Errorf("dns: reading UDP: %w", err)
		}
		if n > maxUDPQuery {
			continue
		}
		reply := answer(s.resolve, in[:n], out, true)
		if reply == nil {
			continue
		}
		// A reply that cannot be sent is a lost datagram: the client asks again.
		_, _ = pc.WriteTo(reply, from)
	}
}

// transient errors belong to one peer (an ICMP error for an earlier reply), not to the socket.
func transient(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

func (s *server) serveTCP(ctx context.Context, l net.Listener) error {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("dns: accepting TCP: %w", err)
		}
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			s.serveConn(c)
		})
	}
}

// serveConn answers the messages of one connection in order; any error ends it.
func (s *server) serveConn(c net.Conn) {
	var in, out [2 + maxTCPQuery]byte
	for {
		if c.SetDeadline(time.Now().Add(tcpIdle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, in[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(in[:2]))
		if n > maxTCPQuery {
			return
		}
		if _, err := io.ReadFull(c, in[2:2+n]); err != nil {
			return
		}
		reply := answer(s.resolve, in[2:2+n], out[2:], false)
		if reply == nil {
			return
		}
		frame := make([]byte, 2, 2+len(reply))
		binary.BigEndian.PutUint16(frame, uint16(len(reply)))
		if _, err := c.Write(append(frame, reply...)); err != nil {
			return
		}
	}
}
