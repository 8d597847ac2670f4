package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	serverTimeout  = 1500 * time.Millisecond // one server has to answer one attempt
	forwardTimeout = 4500 * time.Millisecond // all of them: less than a client's usual 5 s
	firstRest      = time.Second             // how long a silent server is asked last; doubles
	longestRest    = time.Minute
)

// Dialer opens a socket at an outbound endpoint's interface that is connected to server. network is "udp"
// or "tcp".
type Dialer func(ctx context.Context, endpoint, network string, server netip.AddrPort) (net.Conn, error)

// Forwarder asks the servers of forwarding rules. A server that answers is believed, whatever it says; one
// that is silent is asked last for a while, longer each time, as Azure's resolver does. Equal questions that
// are under way at the same time are asked once: this is what ends a loop of rules, whose second round waits
// for its first until that fails. A Forwarder is made by NewForwarder.
type Forwarder struct {
	dial Dialer

	mu      sync.Mutex
	flights map[flightKey]*flight
	silent  map[netip.AddrPort]rest
}

type flightKey struct {
	rule, name string
	qtype      uint16
}

type flight struct {
	done chan struct{}
	msg  *mdns.Msg // nil: nobody answered
}

// rest is how long a silent server is asked last.
type rest struct {
	until time.Time
	last  time.Duration
}

// NewForwarder makes one.
func NewForwarder(dial Dialer) *Forwarder {
	return &Forwarder{dial: dial, flights: map[flightKey]*flight{}, silent: map[netip.AddrPort]rest{}}
}

// Complete is a Source.Forward for a VNet: it asks for what a lacks, and follows aliases that the answer
// ends with. model is the one that counts now.
func (f *Forwarder) Complete(ctx context.Context, model *Model, vnet string, a Answer, qtype uint16) Answer {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	for a.Forward != nil {
		fw := a.Forward
		a.Forward = nil
		msg := f.ask(ctx, fw, qtype)
		if msg == nil {
			a.Rcode, a.Records, a.Extra = mdns.RcodeServerFailure, nil, nil
			return a
		}
		a.Rcode = msg.Rcode
		a.Extra = append(a.Extra, msg.Answer...)
		a.ExtraAuthority = msg.Ns
		if target, ok := danglingAlias(msg, fw.Name, qtype); ok {
			a.ExtraAuthority = nil
			model.follow(&a, vnet, target, qtype)
		}
	}
	return a
}

// danglingAlias is the end of the aliases of an answer that has nothing for it: a server that is only
// authoritative leaves the rest to who asks.
func danglingAlias(m *mdns.Msg, name string, qtype uint16) (string, bool) {
	if m.Rcode != mdns.RcodeSuccess || qtype == mdns.TypeCNAME {
		return "", false
	}
	aliases := map[string]string{}
	for _, rr := range m.Answer {
		if c, ok := rr.(*mdns.CNAME); ok {
			aliases[Canonical(c.Hdr.Name)] = Canonical(c.Target)
			continue
		}
		return "", false
	}
	end, n := name, 0
	for n < maxChain {
		next, ok := aliases[end]
		if !ok {
			break
		}
		end, n = next, n+1
	}
	return end, n > 0
}

// ask asks once for all who want to know the same now. It returns nil when nobody answers.
func (f *Forwarder) ask(ctx context.Context, fw *Forward, qtype uint16) *mdns.Msg {
	key := flightKey{fw.Rule, fw.Name, qtype}
	f.mu.Lock()
	if other := f.flights[key]; other != nil {
		f.mu.Unlock()
		select {
		case <-other.done:
			return other.msg
		case <-ctx.Done():
			return nil
		}
	}
	mine := &flight{done: make(chan struct{})}
	f.flights[key] = mine
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.flights, key)
		f.mu.Unlock()
		close(mine.done)
	}()
	for _, server := range f.order(fw.Servers) {
		for _, endpoint := range fw.Endpoints {
			m, err := f.exchange(ctx, endpoint, server, fw.Name, qtype)
			if err == nil {
				f.heard(server)
				mine.msg = m
				return m
			}
			if ctx.Err() != nil {
				f.missed(server)
				return nil
			}
		}
		f.missed(server)
	}
	return nil
}

// order is the servers as they are asked: those that were silent lately last.
func (f *Forwarder) order(servers []netip.AddrPort) []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	var first, last []netip.AddrPort
	for _, s := range servers {
		if f.silent[s].until.After(now) {
			last = append(last, s)
		} else {
			first = append(first, s)
		}
	}
	return append(first, last...)
}

func (f *Forwarder) heard(s netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.silent, s)
}

func (f *Forwarder) missed(s netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.silent[s]
	r.last = min(max(firstRest, 2*r.last), longestRest)
	r.until = time.Now().Add(r.last)
	f.silent[s] = r
}

// exchange asks one server, by TCP after an answer that did not fit.
func (f *Forwarder) exchange(ctx context.Context, endpoint string, server netip.AddrPort, name string, qtype uint16) (*mdns.Msg, error) {
	m, err := f.once(ctx, endpoint, "udp", server, name, qtype)
	if err == nil && m.Truncated {
		return f.once(ctx, endpoint, "tcp", server, name, qtype)
	}
	return m, err
}

func (f *Forwarder) once(ctx context.Context, endpoint, network string, server netip.AddrPort, name string, qtype uint16) (*mdns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	c, err := f.dial(ctx, endpoint, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	q := new(mdns.Msg).SetQuestion(mdns.Fqdn(name), qtype)
	q.SetEdns0(ednsSize, false)
	m, _, err := new(mdns.Client).ExchangeWithConnContext(ctx, q, &mdns.Conn{Conn: c, UDPSize: mdns.MaxMsgSize})
	if err != nil {
		return nil, err
	}
	if err := answers(m, q); err != nil {
		return nil, fmt.Errorf("dns: %s: %w", server, err)
	}
	return m, nil
}

// answers refuses what is no reply to q: a stray datagram must not become an answer.
func answers(m, q *mdns.Msg) error {
	switch {
	case !m.Response || m.Opcode != mdns.OpcodeQuery:
		return errors.New("not a reply")
	case len(m.Question) != 1 || m.Question[0].Qtype != q.Question[0].Qtype || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name):
		return errors.New("a reply to another question")
	}
	return nil
}
