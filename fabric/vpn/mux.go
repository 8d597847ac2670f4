package vpn

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.zx2c4.com/wireguard/conn"
)

// mux shares UDP sockets between tunnels. WireGuard tells a first message's receiver by a MAC under its
// public key and any other's by an index that the receiver chose, which mux reads off the messages that the
// tunnels send. https://www.wireguard.com/protocol/
type mux struct {
	mu    sync.RWMutex
	ports map[string]*port // by name; hostPort is everybody's
	binds map[*bind]bool
	index owners
}

// hostPort is the socket on the machine that the region runs on.
const hostPort = "host"

// port is one socket.
type port struct {
	name string
	conn net.PacketConn
	done chan struct{}
}

func newMux() *mux {
	return &mux{ports: map[string]*port{}, binds: map[*bind]bool{}}
}

// add reads from a socket until it is closed; it closes one that had the name before.
func (m *mux) add(name string, c net.PacketConn) {
	m.remove(name)
	p := &port{name: name, conn: c, done: make(chan struct{})}
	m.mu.Lock()
	m.ports[name] = p
	m.mu.Unlock()
	go m.read(p)
}

func (m *mux) remove(name string) {
	m.mu.Lock()
	p := m.ports[name]
	delete(m.ports, name)
	m.mu.Unlock()
	if p != nil {
		p.conn.Close()
		<-p.done
	}
}

func (m *mux) close() { m.removeWhere(func(string) bool { return true }) }

// keepOnly closes the sockets of gateways that are not named.
func (m *mux) keepOnly(names map[string]bool) {
	m.removeWhere(func(name string) bool { return name != hostPort && !names[name] })
}

func (m *mux) removeWhere(which func(string) bool) {
	m.mu.RLock()
	var names []string
	for name := range m.ports {
		if which(name) {
			names = append(names, name)
		}
	}
	m.mu.RUnlock()
	for _, name := range names {
		m.remove(name)
	}
}

// largest is more than a datagram that a tunnel of our size makes.
const largest = 2048

func (m *mux) read(p *port) {
	defer close(p.done)
	buf := make([]byte, largest)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP error of an earlier packet
			continue
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		if b := m.owner(p.name, buf[:n]); b != nil {
			ap := udp.AddrPort()
			b.deliver(buf[:n], &endpoint{port: p.name, addr: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())})
		}
	}
}

// Message types and where their parts are.
const (
	initiation, initiationSize  = 1, 148
	response, responseSize      = 2, 92
	cookieReply, transport      = 3, 4
	senderAt, responseReceiver  = 4, 8
	mac1At, mac1Size, dataFloor = initiationSize - 32, 16, 16
)

// owner is the tunnel that a message is for, nil for nobody's.
func (m *mux) owner(port string, msg []byte) *bind {
	if len(msg) < dataFloor {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch binary.LittleEndian.Uint32(msg) {
	case initiation:
		if len(msg) != initiationSize {
			return nil
		}
		for b := range m.binds {
			if b.hears(port) && b.addressed(msg) {
				return b
			}
		}
	case response:
		if len(msg) == responseSize {
			return m.index.get(binary.LittleEndian.Uint32(msg[responseReceiver:]), port)
		}
	case cookieReply, transport:
		return m.index.get(binary.LittleEndian.Uint32(msg[senderAt:]), port)
	}
	return nil
}

// owners remembers whose an index is for at least one generation after its last use: longer than any
// session lasts (540 s).
type owners struct {
	mu       sync.Mutex
	now, old map[uint32]*bind
	since    time.Time
}

const generation = 10 * time.Minute

func (o *owners) put(i uint32, b *bind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil || time.Since(o.since) > generation {
		o.old, o.now, o.since = o.now, map[uint32]*bind{}, time.Now()
	}
	o.now[i] = b
}

func (o *owners) get(i uint32, port string) *bind {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.now[i]
	if b == nil {
		if b = o.old[i]; b != nil {
			o.now[i] = b
		}
	}
	if b == nil || b.closed.Load() || !b.hears(port) {
		return nil
	}
	return b
}

// bind is one tunnel's share of the sockets: conn.Bind.
type bind struct {
	mux    *mux
	own    string // the port of its gateway
	mac1   [32]byte
	closed atomic.Bool

	mu    sync.Mutex
	queue chan datagram
	stop  chan struct{}
}

type datagram struct {
	data []byte
	from *endpoint
}

// queued is how many datagrams wait for a tunnel that is slow; more are lost, as on any link.
const queued = 1024

func (m *mux) bind(own string, key PublicKey) *bind {
	b := &bind{mux: m, own: own, mac1: blake2s.Sum256(append([]byte("mac1----"), key[:]...))}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.binds[b] = true
	return b
}

func (m *mux) drop(b *bind) {
	b.closed.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.binds, b)
}

func (b *bind) hears(port string) bool { return port == b.own || port == hostPort }

// addressed tells whether an initiation was made for this tunnel's public key.
func (b *bind) addressed(msg []byte) bool {
	h, err := blake2s.New128(b.mac1[:])
	if err != nil { // only a key that is too long is one
		return false
	}
	h.Write(msg[:mac1At])
	return hmac.Equal(h.Sum(nil), msg[mac1At:mac1At+mac1Size])
}

func (b *bind) deliver(data []byte, from *endpoint) {
	b.mu.Lock()
	q := b.queue
	b.mu.Unlock()
	if q == nil {
		return
	}
	select {
	case q <- datagram{append([]byte(nil), data...), from}:
	default:
	}
}

// Open is conn.Bind's. The port is the mux's.
func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	q, stop := make(chan datagram, queued), make(chan struct{})
	b.queue, b.stop = q, stop
	return []conn.ReceiveFunc{func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case d := <-q:
			n := 0
			for {
				sizes[n], eps[n] = copy(packets[n], d.data), d.from
				if n++; n == len(packets) {
					return n, nil
				}
				select {
				case d = <-q:
				default:
					return n, nil
				}
			}
		case <-stop:
			return 0, net.ErrClosed
		}
	}}, 0, nil
}

// Close is conn.Bind's.
func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil {
		close(b.stop)
		b.queue, b.stop = nil, nil
	}
	return nil
}

// SetMark is conn.Bind's; sockets that are shared have no mark.
func (b *bind) SetMark(uint32) error { return nil }

// BatchSize is conn.Bind's.
func (b *bind) BatchSize() int { return conn.IdealBatchSize }

// Send is conn.Bind's. It notes the indexes that the tunnel asks to be answered under.
func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	e, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	b.mux.mu.RLock()
	p := b.mux.ports[e.port]
	b.mux.mu.RUnlock()
	if p == nil {
		return fmt.Errorf("there is no port %q", e.port)
	}
	for _, msg := range bufs {
		if len(msg) >= responseSize {
			if t := binary.LittleEndian.Uint32(msg); t == initiation || t == response {
				b.mux.index.put(binary.LittleEndian.Uint32(msg[senderAt:]), b)
			}
		}
		if _, err := p.conn.WriteTo(msg, net.UDPAddrFromAddrPort(e.addr)); err != nil {
			return err
		}
	}
	return nil
}

// ParseEndpoint is conn.Bind's: PORT/ADDRESS:PORT, as endpoint.DstToString writes it.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	port, rest, ok := cutLast(s, "/")
	addr, err := netip.ParseAddrPort(rest)
	if !ok || err != nil {
		return nil, fmt.Errorf("%q is not PORT/ADDRESS:PORT", s)
	}
	return &endpoint{port: port, addr: addr}, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// endpoint is where a peer is, and by which socket it is reached.
type endpoint struct {
	port string
	addr netip.AddrPort
}

func (e *endpoint) ClearSrc()           {}
func (e *endpoint) SrcToString() string { return "" }
func (e *endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e *endpoint) DstToString() string { return e.port + "/" + e.addr.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.addr.Addr() }
func (e *endpoint) DstToBytes() []byte  { b, _ := e.addr.MarshalBinary(); return b }
