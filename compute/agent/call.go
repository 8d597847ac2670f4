package agent

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"vauban.dev/compute/batch"
)

// calls are the connections at a time that may try to be the service.
const calls = 8

// callServer answers the service's calls on the node's NIC. Who is let through to it is the network's to say.
type callServer struct {
	a  *Agent
	l  net.Listener
	wg sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
	done bool
}

// listenCalls starts the server; it ends with close.
func (a *Agent) listenCalls(ctx context.Context) (*callServer, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", ":"+strconv.Itoa(batch.CallPort))
	if err != nil {
		return nil, err
	}
	s := &callServer{a: a, l: l, open: map[net.Conn]bool{}}
	s.wg.Go(func() { s.accept(ctx) })
	return s, nil
}

func (s *callServer) accept(ctx context.Context) {
	for {
		c, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, say: others are served meanwhile
			if pause(ctx, time.Second) != nil {
				return
			}
			continue
		}
		if !s.admit(c) {
			_ = c.Close()
			continue
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *callServer) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || len(s.open) >= calls {
		return false
	}
	s.open[c] = true
	return true
}

func (s *callServer) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
	}()
	if err := batch.AnswerCall(c, s.a.cfg.Token, s.a.called); errors.Is(err, batch.ErrStranger) {
		s.a.log.Warn("a call from somebody who is not the service", "from", c.RemoteAddr().String())
	}
}

func (s *callServer) close() {
	_ = s.l.Close()
	s.mu.Lock()
	s.done = true
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// called notes the grant of a call: the next poll has it, at once.
func (a *Agent) called(grant string) {
	a.mu.Lock()
	a.grant = grant
	a.mu.Unlock()
	a.poke()
}

func (a *Agent) granted() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grant
}
