// Package bastion is the data plane of Azure Bastion: a connection to a machine's SSH or RDP port that enters
// the virtual network by the bastion's own interface. Two clients use it: `az network bastion tunnel` and
// `ssh`, which carry TCP over a WebSocket, and a browser, which gets a terminal.
package bastion

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/origin"
)

// Host is one bastion.
type Host struct {
	ID        string // of the resource
	NIC       string // of its interface in AzureBastionSubnet
	VNet      string // id
	Tunneling bool   // native clients are enabled
	IPConnect bool   // targets may be named by address
	// Allowed are the client addresses that may connect (networkAcls.ipRules); empty: all.
	Allowed []netip.Prefix
}

// Target is a machine.
type Target struct {
	Addr netip.Addr
	// Reads are what the caller must be able to read besides the bastion: action and scope.
	Reads []authz.Request
}

// Region is what the service asks of others.
type Region interface {
	// Bastion is the one whose DNS name is name; ok is false for none.
	Bastion(ctx context.Context, name string) (h Host, ok bool, err error)
	// Target finds a machine that the bastion can reach by its resource id. An *arm.Error says why there is
	// none.
	Target(ctx context.Context, h Host, id string) (Target, error)
	// Reached tells whether a connection of this origin came the way of the bastion's own address, with a
	// reason if it did not.
	Reached(o origin.Origin, h Host) (why string, ok bool)
	// Dial connects from the bastion's interface.
	Dial(ctx context.Context, h Host, to netip.AddrPort) (net.Conn, error)
	// Verify checks a token of Resource Manager.
	Verify(ctx context.Context, token string) (authz.Principal, error)
}

// Config of a Service.
type Config struct {
	Region     Region
	Authorizer authz.Authorizer
	Log        *slog.Logger
}

// Service of all bastions of the region.
type Service struct {
	cfg  Config
	stop context.CancelFunc
	ctx  context.Context // ends with the service

	mu      sync.Mutex
	grants  map[string]*grant   // by WebSocket token, unused
	session map[string]*session // by authToken
}

// grant is a permission to open one connection.
type grant struct {
	host    Host
	dns     string
	to      netip.AddrPort
	ssh     bool
	caller  authz.Principal
	session *session
	until   time.Time
}

// session is what one client does: several connections under one authToken.
type session struct {
	token string
	dns   string
	ctx   context.Context
	end   context.CancelFunc
	last  time.Time
}

// Limits: how long a client has to open the connection that it got a token for, how long a session without
// a new connection is remembered, and how many of each there may be.
const (
	grantTime   = 2 * time.Minute
	sessionTime = 24 * time.Hour
	most        = 10000
	dialTime    = 15 * time.Second
)

// New makes the service. Close ends its connections.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, grants: map[string]*grant{}, session: map[string]*session{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends all connections.
func (s *Service) Close() { s.stop() }

// want is what a client asks for.
type want struct {
	resource string // target's resource id
	hostname string // its address, where it is named by one
	port     uint16
	protocol string
	token    string // of Resource Manager
	session  string // authToken of the session to go on with
}

// Protocols of a want: TCP for a native client, a terminal for a browser.
const (
	protocolTunnel = "tcptunnel"
	protocolSSH    = "ssh"
)

// ports that a machine named by its address is reached on.
// https://learn.microsoft.com/azure/bastion/connect-ip-address
var addressPorts = map[uint16]bool{22: true, 3389: true}

// authorize decides about a want. Errors are *arm.Error for what the client did wrong.
func (s *Service) authorize(ctx context.Context, h Host, w want) (netip.AddrPort, authz.Principal, error) {
	caller, err := s.cfg.Region.Verify(ctx, w.token)
	if err != nil {
		return netip.AddrPort{}, caller, err
	}
	if err := s.may(ctx, caller, authz.Request{Action: "Microsoft.Network/bastionHosts/read", Scope: h.ID}); err != nil {
		return netip.AddrPort{}, caller, err
	}
	switch {
	case w.protocol != protocolTunnel && w.protocol != protocolSSH:
		return netip.AddrPort{}, caller, refuse(400, "InvalidProtocol", "The protocol %q is not supported: tcptunnel or ssh.", clip(w.protocol))
	case w.protocol == protocolTunnel && !h.Tunneling:
		return netip.AddrPort{}, caller, refuse(403, "NativeClientDisabled", "Native client support is not enabled on %s (enableTunneling).", h.ID)
	case w.port == 0:
		return netip.AddrPort{}, caller, refuse(400, "InvalidPort", "The port of the target is missing.")
	}
	var t Target
	if w.hostname != "" {
		t, err = s.byAddress(h, w)
	} else {
		t, err = s.cfg.Region.Target(ctx, h, w.resource)
	}
	if err != nil {
		return netip.AddrPort{}, caller, err
	}
	for _, r := range t.Reads {
		if err := s.may(ctx, caller, r); err != nil {
			return netip.AddrPort{}, caller, err
		}
	}
	return netip.AddrPortFrom(t.Addr, w.port), caller, nil
}

func (s *Service) byAddress(h Host, w want) (Target, error) {
	a, err := netip.ParseAddr(w.hostname)
	switch {
	case err != nil || !a.Is4():
		return Target{}, refuse(400, "InvalidHostname", "%q is not an IPv4 address.", clip(w.hostname))
	case !h.IPConnect:
		return Target{}, refuse(403, "IpConnectDisabled", "Connections by IP address are not enabled on %s (enableIpConnect).", h.ID)
	case !addressPorts[w.port]:
		return Target{}, refuse(400, "InvalidPort", "A machine named by its address is reached on ports 22 and 3389 only, not %d.", w.port)
	}
	return Target{Addr: a, Reads: []authz.Request{{Action: "Microsoft.Network/virtualNetworks/read", Scope: h.VNet}}}, nil
}

// may refuses what no role grants; a check that cannot be made is an error.
func (s *Service) may(ctx context.Context, p authz.Principal, r authz.Request) error {
	d, err := s.cfg.Authorizer.Check(ctx, p, r)
	if err != nil {
		return err
	}
	if !d.Allowed {
		return refuse(403, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s': %s.", p.Name, p.ObjectID, r.Action, r.Scope, d.By)
	}
	return nil
}

// permit makes the tokens of a decided want: authToken and WebSocket token.
func (s *Service) permit(h Host, dns string, w want, to netip.AddrPort, caller authz.Principal, now time.Time) (auth, socket string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if len(s.grants) >= most || len(s.session) >= most {
		return "", "", refuse(429, "TooManySessions", "The region's bastions have too many sessions.")
	}
	x := s.session[w.session]
	if x == nil || x.dns != dns {
		x = &session{token: rand.Text(), dns: dns}
		x.ctx, x.end = context.WithCancel(s.ctx)
		s.session[x.token] = x
	}
	x.last = now
	socket = rand.Text()
	s.grants[socket] = &grant{host: h, dns: dns, to: to, ssh: w.protocol == protocolSSH, caller: caller, session: x, until: now.Add(grantTime)}
	return x.token, socket, nil
}

func (s *Service) expire(now time.Time) {
	for k, g := range s.grants {
		if now.After(g.until) {
			delete(s.grants, k)
		}
	}
	for k, x := range s.session {
		if now.Sub(x.last) > sessionTime {
			x.end()
			delete(s.session, k)
		}
	}
}

// take uses a WebSocket token: it is good for one connection.
func (s *Service) take(socket, dns string, ssh bool, now time.Time) *grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[socket]
	if g == nil || g.dns != dns || g.ssh != ssh || now.After(g.until) {
		return nil
	}
	delete(s.grants, socket)
	return g
}

// end ends a session and its connections; false if there is none.
func (s *Service) end(token, dns string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.session[token]
	if x == nil || x.dns != dns {
		return false
	}
	x.end()
	delete(s.session, token)
	for k, g := range s.grants {
		if g.session == x {
			delete(s.grants, k)
		}
	}
	return true
}

// dial connects to the target of a grant.
func (s *Service) dial(ctx context.Context, g *grant) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := s.cfg.Region.Dial(ctx, g.host, g.to)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be reached from the bastion's subnet: %w", g.to, err)
	}
	s.cfg.Log.Info("bastion session", "bastion", g.host.ID, "target", g.to.String(), "caller", g.caller.Name, "ssh", g.ssh)
	return c, nil
}

func refuse(status int, code, format string, args ...any) *arm.Error {
	return arm.Errorf(status, code, format, args...)
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
