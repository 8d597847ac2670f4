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
	maxForwards = 512              // queries by UDP of one server that wait for others; more are SERVFAIL
)

// Resolver answers one question of class IN. name is as the client wrote it. It must be safe for use
// by many goroutines, and quick: it runs between receive and send.
type Resolver func(name string, qtype uint16) Answer

// Source is what a server answers from.
type Source struct {
	Resolve Resolver
	// Forward completes an answer that has a Forward. It may take seconds, and never fails: what cannot be
	// answered is SERVFAIL. nil: there are no rules.
	Forward func(ctx context.Context, a Answer, qtype uint16) Answer
	// Answered is told whom an answer goes to, before it goes; nil: nobody is. It must be quick.
	Answered func(client net.Addr, name string, a Answer)
}

// tell tells Answered.
func (s *server) tell(client net.Addr, x *exchange, a Answer) {
	if s.Answered != nil {
		s.Answered(client, x.q.Question[0].Name, a)
	}
}

// Serve answers DNS queries on pc (UDP) and l (TCP) until ctx ends, then closes both, waits for its
// goroutines and returns nil. Either may be nil. It returns early, closing both, when one of them fails
// for another reason than being closed by ctx.
func Serve(ctx context.Context, pc net.PacketConn, l net.Listener, from Source) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{Source: from, slots: make(chan struct{}, maxTCPConns), forwards: make(chan struct{}, maxForwards)}
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
	Source
	slots, forwards chan struct{}
	wg              sync.WaitGroup
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
		x, reply := begin(in[:n], out, true)
		if x != nil {
			a, wait := s.resolve(x)
			if wait && s.forwardUDP(ctx, pc, from, x, a) {
				continue
			}
			s.tell(from, x, a)
			reply = x.finish(a, out)
		}
		if reply == nil {
			continue
		}
		// A reply that cannot be sent is a lost datagram: the client asks again.
		_, _ = pc.WriteTo(reply, from)
	}
}

// resolve answers from the model. wait tells whether others are to be asked.
func (s *server) resolve(x *exchange) (a Answer, wait bool) {
	a = s.Resolve(x.q.Question[0].Name, x.q.Question[0].Qtype)
	return a, a.Forward != nil && s.Forward != nil
}

// forwardUDP replies once others have answered. It reports false when too many wait already.
func (s *server) forwardUDP(ctx context.Context, pc net.PacketConn, from net.Addr, x *exchange, a Answer) bool {
	select {
	case s.forwards <- struct{}{}:
	default:
		return false
	}
	s.wg.Go(func() {
		defer func() { <-s.forwards }()
		a = s.Forward(ctx, a, x.q.Question[0].Qtype)
		s.tell(from, x, a)
		if reply := x.finish(a, make([]byte, maxUDPQuery)); reply != nil {
			_, _ = pc.WriteTo(reply, from)
		}
	})
	return true
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
			s.serveConn(ctx, c)
		})
	}
}

// serveConn answers the messages of one connection in order; any error ends it.
func (s *server) serveConn(ctx context.Context, c net.Conn) {
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
		x, reply := begin(in[2:2+n], out[2:], false)
		if x != nil {
			a, wait := s.resolve(x)
			if wait {
				a = s.Forward(ctx, a, x.q.Question[0].Qtype)
			}
			s.tell(c.RemoteAddr(), x, a)
			reply = x.finish(a, out[2:])
		}
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
