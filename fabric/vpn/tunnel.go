package vpn

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"vauban.dev/fabric"
)

// Tunnel is one WireGuard interface in the namespace of a gateway.
type Tunnel struct {
	Name    string // of the fabric.Tunnel
	NIC     string // id of the gateway's interface
	Private PrivateKey
	Peers   []Peer
}

// Peer of a Tunnel.
type Peer struct {
	Public    PublicKey
	Preshared PresharedKey
	// Endpoint is where the peer is called; zero: it calls, and is where it called from.
	Endpoint Endpoint
	// Prefixes are those that the peer may send from, and that are sent to it (WireGuard's AllowedIPs).
	Prefixes  []netip.Prefix
	Keepalive time.Duration // 0: none
}

// Endpoint is a UDP address: on the region's internet, or of the machine's own network.
type Endpoint struct {
	Host bool
	Addr netip.AddrPort
}

// PeerState is what a tunnel knows of a peer.
type PeerState struct {
	Public    PublicKey
	Endpoint  netip.AddrPort // zero: never heard of
	Handshake time.Time      // the last one that succeeded; zero: none
	Received  uint64         // bytes
	Sent      uint64         // bytes
}

// Connected tells whether the peer's session was alive at now: WireGuard makes a new handshake every two
// minutes of traffic, and takes no packet of a session after three.
func (p PeerState) Connected(now time.Time) bool {
	return !p.Handshake.IsZero() && now.Sub(p.Handshake) < device.RejectAfterTime
}

// running is a Tunnel and its device.
type running struct {
	tunnel Tunnel
	device *device.Device
	bind   *bind
}

// sizedTUN answers for the device's size, which cannot be asked from outside of its namespace.
type sizedTUN struct{ tun.Device }

func (sizedTUN) MTU() (int, error) { return fabric.TunnelMTU, nil }

func start(t Tunnel, f *os.File, m *mux, errorf func(string, ...any)) (*running, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		return nil, err
	}
	dev, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	r := &running{bind: m.bind(t.NIC, t.Private.Public())}
	r.device = device.NewDevice(sizedTUN{dev}, r.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: errorf})
	err = r.device.IpcSet("private_key=" + hex.EncodeToString(t.Private[:]) + "\n")
	if err == nil {
		err = r.set(t)
	}
	if err == nil {
		err = r.device.Up()
	}
	if err != nil {
		r.close(m)
		return nil, err
	}
	return r, nil
}

func (r *running) close(m *mux) {
	m.drop(r.bind)
	r.device.Close()
}

// set makes the device's peers those of t. Sessions of peers that stay as they are go on.
func (r *running) set(t Tunnel) error {
	before := map[PublicKey]Peer{}
	for _, p := range r.tunnel.Peers {
		before[p.Public] = p
	}
	var b strings.Builder
	for _, p := range t.Peers {
		old, had := before[p.Public]
		delete(before, p.Public)
		if had && old.same(p) {
			continue
		}
		fmt.Fprintf(&b, "public_key=%x\npreshared_key=%x\npersistent_keepalive_interval=%d\nreplace_allowed_ips=true\n",
			p.Public[:], p.Preshared[:], int(p.Keepalive/time.Second))
		for _, a := range p.Prefixes {
			fmt.Fprintf(&b, "allowed_ip=%s\n", a)
		}
		if p.Endpoint.Addr.IsValid() && p.Endpoint != old.Endpoint {
			port := t.NIC
			if p.Endpoint.Host {
				port = hostPort
			}
			fmt.Fprintf(&b, "endpoint=%s/%s\n", port, p.Endpoint.Addr)
		}
	}
	for _, gone := range slices.SortedFunc(maps.Keys(before), func(a, b PublicKey) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprintf(&b, "public_key=%x\nremove=true\n", gone[:])
	}
	if b.Len() > 0 {
		if err := r.device.IpcSet(b.String()); err != nil {
			return fmt.Errorf("peers of tunnel %s: %w", t.Name, err)
		}
	}
	r.tunnel = t
	return nil
}

func (p Peer) same(q Peer) bool {
	return p.Public == q.Public && p.Preshared == q.Preshared && p.Endpoint == q.Endpoint && p.Keepalive == q.Keepalive && slices.Equal(p.Prefixes, q.Prefixes)
}

// peers reads what the device knows.
func (r *running) peers() ([]PeerState, error) {
	text, err := r.device.IpcGet()
	if err != nil {
		return nil, err
	}
	var list []PeerState
	var sec, nsec int64
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), "=")
		if key == "public_key" {
			b, err := hex.DecodeString(value)
			if err != nil || len(b) != len(PublicKey{}) {
				return nil, fmt.Errorf("a peer's key is %q", value)
			}
			list = append(list, PeerState{Public: PublicKey(b)})
			continue
		}
		if len(list) == 0 {
			continue
		}
		p := &list[len(list)-1]
		switch n, _ := strconv.ParseInt(value, 10, 64); key {
		case "endpoint":
			_, rest, _ := cutLast(value, "/")
			p.Endpoint, _ = netip.ParseAddrPort(rest)
		case "last_handshake_time_sec":
			sec = n
		case "last_handshake_time_nsec":
			if nsec = n; sec != 0 {
				p.Handshake = time.Unix(sec, nsec)
			}
		case "rx_bytes":
			p.Received = uint64(n)
		case "tx_bytes":
			p.Sent = uint64(n)
		}
	}
	return list, nil
}
