// Package bgp is the routing protocol of private circuits: a speaker for each, which learns IPv4 prefixes from
// the other end and tells it those of this one. It is passive: the other end connects.
package bgp

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/jwhited/corebgp"
)

// Peer is one session.
type Peer struct {
	Local, Remote       netip.Addr
	RouterID            netip.Addr // ours; zero is Local
	LocalASN, RemoteASN uint32
	// Advertise is what the other end is told.
	Advertise []netip.Prefix
}

// Route that the other end told.
type Route struct {
	Prefix netip.Prefix
	ASPath []uint32
}

// State of a session.
type State struct {
	Peer        Peer
	Established bool
	Since       time.Time // of the last change of Established
	Routes      []Route   // by prefix; none unless Established
}

// Most is how many prefixes a session may bring: with more it is ended, as Azure does with private peerings.
// https://learn.microsoft.com/azure/expressroute/expressroute-routing
const Most = 4000

// Speaker has the sessions.
type Speaker struct {
	changed func()
	log     *slog.Logger

	mu       sync.Mutex
	sessions map[string]*session
}

// New makes a speaker without sessions. changed is called after each change of what is learned; it must not
// block, nor call the speaker.
func New(changed func(), log *slog.Logger) *Speaker {
	return &Speaker{changed: changed, log: log, sessions: map[string]*session{}}
}

// Has tells whether a session of that name runs for the peer's addresses and numbers: then Set needs no
// listener.
func (s *Speaker) Has(name string, p Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[name]
	return x != nil && x.same(p)
}

// Set makes a session, on a listener at its local address that the speaker closes, or changes what one that
// runs advertises.
func (s *Speaker) Set(name string, p Peer, l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sessions[name]; x != nil && x.same(p) {
		if l != nil {
			l.Close()
		}
		x.advertise(p.Advertise)
		return nil
	}
	s.remove(name)
	id := p.RouterID
	if !id.IsValid() {
		id = p.Local
	}
	server, err := corebgp.NewServer(id)
	if err != nil {
		return err
	}
	x := &session{speaker: s, name: name, server: server, state: State{Peer: p, Since: time.Now()}, routes: map[netip.Prefix]Route{}, done: make(chan struct{})}
	err = server.AddPeer(corebgp.PeerConfig{RemoteAddress: p.Remote, LocalAS: p.LocalASN, RemoteAS: p.RemoteASN}, x, corebgp.WithPassive(), corebgp.WithLocalAddress(p.Local))
	if err != nil {
		return err
	}
	s.sessions[name] = x
	go func() {
		defer close(x.done)
		if err := server.Serve([]net.Listener{l}); !errors.Is(err, corebgp.ErrServerClosed) {
			s.log.Warn("bgp", "session", name, "error", err)
		}
	}()
	return nil
}

// Keep ends the sessions that are not named.
func (s *Speaker) Keep(names map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.sessions {
		if !names[name] {
			s.remove(name)
		}
	}
}

func (s *Speaker) remove(name string) {
	if x := s.sessions[name]; x != nil {
		delete(s.sessions, name)
		x.server.Close()
		<-x.done
	}
}

// Close ends all sessions.
func (s *Speaker) Close() { s.Keep(nil) }

// State of a session; the zero state for one that is not there.
func (s *Speaker) State(name string) State {
	s.mu.Lock()
	x := s.sessions[name]
	s.mu.Unlock()
	if x == nil {
		return State{}
	}
	return x.snapshot()
}

// session is corebgp.Plugin.
type session struct {
	speaker *Speaker
	name    string
	server  *corebgp.Server
	done    chan struct{}

	mu     sync.Mutex
	state  State
	routes map[netip.Prefix]Route
	out    corebgp.UpdateMessageWriter // nil unless established
}

func (x *session) same(p Peer) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	o := x.state.Peer
	return o.Local == p.Local && o.Remote == p.Remote && o.LocalASN == p.LocalASN && o.RemoteASN == p.RemoteASN
}

func (x *session) snapshot() State {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.state
	for _, r := range x.routes {
		s.Routes = append(s.Routes, r)
	}
	slices.SortFunc(s.Routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return s
}

// advertise tells the other end what is new and what is gone.
func (x *session) advertise(now []netip.Prefix) {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.state.Peer.Advertise
	x.state.Peer.Advertise = slices.Clone(now)
	if x.out == nil {
		return
	}
	absent := func(from []netip.Prefix) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return slices.Contains(from, p) }
	}
	gone := slices.DeleteFunc(slices.Clone(before), absent(now))
	fresh := slices.DeleteFunc(slices.Clone(now), absent(before))
	x.tell(gone, fresh)
}

// tell sends updates; a session that cannot be written to ends by itself.
func (x *session) tell(gone, fresh []netip.Prefix) {
	for _, m := range updates(x.state.Peer, gone, fresh) {
		if err := x.out.WriteUpdate(m); err != nil {
			return
		}
	}
}

// GetCapabilities is corebgp.Plugin's.
func (x *session) GetCapabilities(corebgp.PeerConfig) []corebgp.Capability {
	return []corebgp.Capability{corebgp.NewMPExtensionsCapability(corebgp.AFI_IPV4, corebgp.SAFI_UNICAST)}
}

// OnOpenMessage is corebgp.Plugin's.
func (x *session) OnOpenMessage(corebgp.PeerConfig, netip.Addr, []corebgp.Capability) *corebgp.Notification {
	return nil
}

// OnEstablished is corebgp.Plugin's.
func (x *session) OnEstablished(_ corebgp.PeerConfig, w corebgp.UpdateMessageWriter) corebgp.UpdateMessageHandler {
	x.mu.Lock()
	x.state.Established, x.state.Since, x.out = true, time.Now(), w
	x.tell(nil, x.state.Peer.Advertise)
	x.mu.Unlock()
	x.speaker.changed()
	return x.learn
}

// OnClose is corebgp.Plugin's: what was learned goes with the session.
func (x *session) OnClose(corebgp.PeerConfig) {
	x.mu.Lock()
	x.state.Established, x.state.Since, x.out = false, time.Now(), nil
	clear(x.routes)
	x.mu.Unlock()
	x.speaker.changed()
}

// learn takes one update.
func (x *session) learn(_ corebgp.PeerConfig, message []byte) *corebgp.Notification {
	u, err := decode(message)
	if err != nil {
		return corebgp.UpdateNotificationFromErr(err)
	}
	x.mu.Lock()
	for _, p := range u.withdrawn {
		delete(x.routes, p.Masked())
	}
	for _, p := range u.nlri {
		if !u.usable(p, x.state.Peer.LocalASN) {
			delete(x.routes, p.Masked())
			continue
		}
		x.routes[p.Masked()] = Route{Prefix: p.Masked(), ASPath: u.asPath}
	}
	many := len(x.routes) > Most
	x.mu.Unlock()
	if many {
		return &corebgp.Notification{Code: corebgp.NOTIF_CODE_CEASE, Subcode: corebgp.NOTIF_SUBCODE_MAX_NUM_OF_PREFIXES_REACHED}
	}
	x.speaker.changed()
	return nil
}
