// Package proxy is the part of an Azure Firewall that reads what it lets through: a transparent proxy for
// application rules, and a DNS proxy whose answers network rules with names learn from. It decides by
// azurefirewall.Ruleset alone, resolves every name itself, and never connects to the address that a client
// asked for. Its sockets are opened in the firewall's namespace by others.
package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vauban.dev/azurefirewall"
)

// Config of a Firewall.
type Config struct {
	ID string // of the azureFirewalls resource
	// Dial connects from the firewall's namespace to an address.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Learn lets packets of the network rules that name these names pass to the addresses, for keep.
	Learn func(fqdns []string, addrs []netip.Addr, keep time.Duration) error
	// DNS is what the firewall asks where it has no servers of its own.
	DNS netip.AddrPort
	// Authority is the intermediate certificate authority, with its key, that TLS is inspected with.
	Authority func(ctx context.Context) (*tls.Certificate, error)
	Roots     *x509.CertPool // what servers behind inspected handshakes are verified by
	Records   *Log
	Log       *slog.Logger
}

// Firewall is one that runs. Its methods may be called from several goroutines.
type Firewall struct {
	cfg   Config
	rules atomic.Pointer[azurefirewall.Ruleset]
	kick  chan struct{} // to resolve names at once
	names chan struct{} // how many DNS queries may be under way
	certs certificates

	mu   sync.Mutex
	live map[*session]bool
}

const (
	// helloTime is how long a client may take to say what it wants.
	helloTime = 10 * time.Second
	dialTime  = 10 * time.Second
	// maxSessions of one firewall at a time.
	maxSessions = 4096
	maxQueries  = 512
)

// New makes a firewall that denies everything until Update.
func New(cfg Config) *Firewall {
	return &Firewall{cfg: cfg, kick: make(chan struct{}, 1), names: make(chan struct{}, maxQueries), live: map[*session]bool{}}
}

// Update exchanges the rules. Connections that the new ones deny end at once.
func (f *Firewall) Update(rules *azurefirewall.Ruleset) {
	f.rules.Store(rules)
	f.mu.Lock()
	var denied []*session
	for s := range f.live {
		if s.handshake != nil && rules.Request(*s.handshake).Verdict != azurefirewall.Allow {
			denied = append(denied, s)
		}
	}
	f.mu.Unlock()
	for _, s := range denied {
		s.abort()
	}
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// session is one connection of a client.
type session struct {
	f        *Firewall
	client   net.Conn
	src, dst netip.AddrPort
	once     sync.Once
	done     chan struct{}
	// handshake is set while bytes are passed on unread by the application rule that allowed it; of a WebSocket it
	// is the request.
	handshake *azurefirewall.Request
}

// abort ends a session with a reset: the client sees a refusal, not an orderly end.
func (s *session) abort() { s.end(true) }

// end closes the client's side, once.
func (s *session) end(reset bool) {
	s.once.Do(func() {
		if c, ok := s.client.(*net.TCPConn); ok && reset {
			c.SetLinger(0)
		}
		s.client.Close()
		close(s.done)
	})
}

// Serve takes connections of the transparent proxy, whose local address is the client's destination, until ctx
// ends or l is closed; then all its connections end.
func (f *Firewall) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("firewall %s: %w", f.cfg.ID, err)
		}
		s := &session{f: f, client: c, src: addrPort(c.RemoteAddr()), dst: addrPort(c.LocalAddr()), done: make(chan struct{})}
		if !f.admit(s) {
			s.refuse(azurefirewall.Decision{Reason: "the firewall has too many connections"}, s.record("", ""))
			continue
		}
		wg.Go(func() {
			end := context.AfterFunc(ctx, s.abort)
			defer end()
			defer f.leave(s)
			defer s.end(false)
			s.serve(ctx)
		})
	}
}

func (f *Firewall) admit(s *session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.live) >= maxSessions {
		return false
	}
	f.live[s] = true
	return true
}

func (f *Firewall) leave(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, s)
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// record is a log line of an application rule.
func (s *session) record(protocol, host string) Record {
	r := Record{Category: ApplicationRule, ResourceID: s.f.cfg.ID, Protocol: protocol, FQDN: host}
	r.From(s.src, s.dst)
	return r
}

// refuse ends a session by a decision.
func (s *session) refuse(d azurefirewall.Decision, r Record) {
	s.denied(d, r)
	s.abort()
}

func (s *session) denied(d azurefirewall.Decision, r Record) {
	r.By(d.Ref, "Deny", d.Reason)
	s.f.cfg.Records.Add(r)
}

func (s *session) allow(d azurefirewall.Decision, r Record) {
	r.By(d.Ref, "Allow", "")
	s.f.cfg.Records.Add(r)
}

// judge asks the rules that are in force now.
func (f *Firewall) judge(q azurefirewall.Request) azurefirewall.Decision {
	rules := f.rules.Load()
	if rules == nil {
		return azurefirewall.Decision{Reason: "the firewall has no rules yet"}
	}
	return rules.Request(q)
}

// recordHandshake is the first byte of a TLS handshake.
const recordHandshake = 0x16

func (s *session) serve(ctx context.Context) {
	s.client.SetReadDeadline(time.Now().Add(helloTime))
	first := make([]byte, 1)
	if _, err := io.ReadFull(s.client, first); err != nil {
		s.refuse(azurefirewall.Decision{Reason: "the client said nothing: neither TLS nor HTTP"}, s.record("", ""))
		return
	}
	c := newPrefixed(s.client, first)
	switch b := first[0]; {
	case b == recordHandshake:
		s.tls(ctx, c)
	case b >= 'A' && b <= 'Z':
		s.client.SetReadDeadline(time.Time{})
		s.http(ctx, c, "")
	default:
		s.refuse(azurefirewall.Decision{Reason: "the client speaks neither TLS nor HTTP: application rules are for those only"}, s.record("", ""))
	}
}

// tls judges a handshake by the name in it, and passes it on to the server that has that name, or answers it.
func (s *session) tls(ctx context.Context, c net.Conn) {
	h, err := readHello(c)
	if err != nil {
		s.refuse(azurefirewall.Decision{Reason: "the TLS handshake cannot be read"}, s.record("HTTPS", ""))
		return
	}
	s.client.SetReadDeadline(time.Time{})
	rec := s.record("HTTPS", h.serverName)
	q := azurefirewall.Request{Source: s.src.Addr(), Port: s.dst.Port(), TLS: true, Host: h.serverName}
	d := s.f.judge(q)
	if h.encrypted && d.Verdict != azurefirewall.Deny {
		d = azurefirewall.Decision{Ref: d.Ref, Reason: "the TLS handshake has an Encrypted Client Hello: the name in it may not be the true one"}
	}
	switch d.Verdict {
	case azurefirewall.Allow:
		s.splice(ctx, q, h, d, rec)
	case azurefirewall.Inspect:
		rec.IsTLSInspected = true
		s.inspect(ctx, h, d, rec)
	default:
		s.refuse(d, rec)
	}
}

// splice connects to the server and passes bytes both ways, unread.
func (s *session) splice(ctx context.Context, q azurefirewall.Request, h hello, d azurefirewall.Decision, rec Record) {
	server, err := s.f.dialName(ctx, q.Host, s.dst.Port())
	if err != nil {
		s.refuse(azurefirewall.Decision{Ref: d.Ref, Reason: err.Error()}, rec)
		return
	}
	defer server.Close()
	if !s.passes(q) {
		s.refuse(azurefirewall.Decision{Reason: "the rules have changed"}, rec)
		return
	}
	s.allow(d, rec)
	end := context.AfterFunc(ctx, func() { server.Close() })
	defer end()
	stopped := make(chan struct{})
	go func() { // a session that is aborted ends its server's side too
		defer close(stopped)
		<-s.done
		server.Close()
	}()
	if _, err := server.Write(h.raw); err == nil {
		var wg sync.WaitGroup
		wg.Go(func() { pass(server, s.client) })
		pass(s.client, server)
		wg.Wait()
	}
	s.end(false)
	<-stopped
}

// passes notes that the session lives by a handshake, if the rules still allow it.
func (s *session) passes(q azurefirewall.Request) bool {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.handshake = &q
	return s.f.judge(q).Verdict == azurefirewall.Allow
}

// pass copies until one side ends, and tells the other that no more comes.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if c, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		c.CloseWrite()
		return
	}
	to.Close()
}

// dialName connects to the server that has a name: the firewall resolves it, whatever the client did.
func (f *Firewall) dialName(ctx context.Context, host string, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	addrs, err := f.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var last error
	for _, a := range addrs {
		if !f.connects(a) {
			last = fmt.Errorf("%s resolves to %s, where the firewall does not connect to", host, a)
			continue
		}
		c, err := f.cfg.Dial(ctx, "tcp4", netip.AddrPortFrom(a, port).String())
		if err == nil {
			return c, nil
		}
		last = fmt.Errorf("%s at %s cannot be reached: %w", host, a, err)
	}
	return nil, last
}

// connects refuses addresses that are the firewall's own or the platform's: a name must not lead there.
func (f *Firewall) connects(a netip.Addr) bool {
	if !a.Is4() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == f.cfg.DNS.Addr() {
		return false
	}
	rules := f.rules.Load()
	return rules != nil && !rules.Owns(a)
}
