package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// probe is one packet: the first of a flow of its own, unless sport is given.
type probe struct {
	from         fabric.Place
	src, dst     netip.Addr
	proto        fabric.Protocol
	sport, dport uint16
	flags        byte   // of TCP: 0 is SYN
	reply        bool   // ICMP: an answer
	ping         uint16 // the identifier of an answer's ping
}

// TCP's flags.
const (
	synFlag = 2
	ackFlag = 16
)

// outcome of a probe: the namespace that it arrived in, or the rule whose counter rose by one.
type outcome struct {
	at string
	by fabric.RuleRef
	as probe // as it arrived
}

// is tells whether two packets met the same.
func (o outcome) is(other outcome) bool { return o.at == other.at && o.by == other.by }

func (o outcome) String() string {
	switch {
	case o.at != "":
		return "arrives at " + o.at
	case o.by != fabric.RuleRef{}:
		return "refused by " + o.by.String()
	}
	return "lost without a trace"
}

// prober sends raw packets from any namespace and sees, by raw sockets in all of them, where they arrive. The
// packet's IPv4 identification tells it from others: nothing on the way changes it.
type prober struct {
	d       *Driver
	drops   <-chan Drop
	sockets map[string]int // raw sockets to send from, by namespace
	readers []*os.File     // of arrivals
	reading sync.WaitGroup
	next    uint16
	ports   uint16

	mu      sync.Mutex
	arrived map[uint16]string
	seen    map[uint16]probe // as they arrived
	silent  atomic.Bool
}

var probedProtocols = []int{unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ESP}

// firstPort begins the source ports of probes.
const firstPort = 20000

func newProber(t testing.TB, d *Driver) *prober {
	t.Helper()
	p := &prober{d: d, drops: d.Drops(t.Context()), sockets: map[string]int{}, arrived: map[uint16]string{}, seen: map[uint16]probe{}}
	for _, name := range d.names() {
		err := d.enter(d.space(name).fd, func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err != nil {
				return err
			}
			p.sockets[name] = fd
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, probeMark); err != nil {
				return err
			}
			for _, proto := range probedProtocols {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
				if err != nil {
					return err
				}
				p.watch(os.NewFile(uintptr(fd), "raw"), 0, name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, f := range p.readers {
			f.Close()
		}
		p.reading.Wait()
		for _, fd := range p.sockets {
			unix.Close(fd)
		}
	})
	p.tunnels(t)
	return p
}

// watch reads arrivals, after a header of some bytes, until the file is closed or its device is gone.
func (p *prober) watch(f *os.File, header int, name string) {
	p.readers = append(p.readers, f)
	p.reading.Go(func() { p.read(f, header, name) })
}

// virtioHeader is the length of what comes before a packet on a tunnel's other end.
const virtioHeader = 10

// tunnels takes the other end of each tunnel that nobody holds: what is sent into it has arrived there.
func (p *prober) tunnels(t testing.TB) {
	t.Helper()
	for _, name := range p.d.names() {
		err := p.d.enter(p.d.space(name).fd, func() error {
			list, err := netlink.LinkList()
			if err != nil {
				return err
			}
			for _, l := range list {
				if !isTunnel(l) {
					continue
				}
				f, err := attachTunnel(l.Attrs().Name)
				if errors.Is(err, unix.EBUSY) {
					continue // it is watched
				}
				if err != nil {
					return err
				}
				p.watch(f, virtioHeader, l.Attrs().Name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// probeMark is on the packets of probes in the namespace that sends them, and nowhere else.
const probeMark = 0x40000000

// silence keeps everybody from answering: where routes differ by direction, the answer to a probe may be
// refused, and would be counted beside the probes.
func (p *prober) silence(t testing.TB) {
	t.Helper()
	p.silent.Store(true)
	text := fmt.Sprintf("table inet silence {\nchain output { type filter hook output priority -400; policy drop; meta mark %#x accept; }\n}\n", probeMark)
	for _, name := range p.d.names() {
		if _, err := p.d.runNFT(t.Context(), p.d.space(name), text, "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *prober) read(f *os.File, header int, name string) {
	buf := make([]byte, 2048)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		packet := buf[min(header, n):n]
		if id, ok := probeID(packet, p.silent.Load()); ok {
			p.mu.Lock()
			p.arrived[id], p.seen[id] = name, seenAs(packet)
			p.mu.Unlock()
		}
	}
}

// marker begins the payload of every probe that has one; a SYN has it as its sequence number.
const marker = 0x76617562

// probeID tells a probe from answers to it; silent says that nobody answers but probes.
func probeID(b []byte, silent bool) (uint16, bool) {
	if len(b) < 28 {
		return 0, false
	}
	id, body := binary.BigEndian.Uint16(b[4:]), b[int(b[0]&15)*4:]
	at := 8
	switch b[9] {
	case unix.IPPROTO_TCP:
		// the sequence number of what follows the SYN is one more
		return id, len(body) >= 20 && binary.BigEndian.Uint32(body[4:])-marker <= 1
	case unix.IPPROTO_ESP:
		at = 4
	case unix.IPPROTO_ICMP:
		if body[0] != 8 && (body[0] != 0 || !silent) {
			return 0, false
		}
	}
	return id, len(body) >= at+4 && binary.BigEndian.Uint32(body[at:]) == marker
}

// seenAs is a probe as it arrived: the addresses and ports may be others than it was sent with.
func seenAs(b []byte) probe {
	body := b[int(b[0]&15)*4:]
	pr := probe{src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])), proto: fabric.Protocol(b[9])}
	switch pr.proto {
	case fabric.TCP, fabric.UDP:
		pr.sport, pr.dport = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	case fabric.ICMP:
		pr.ping = binary.BigEndian.Uint16(body[4:])
	}
	return pr
}

// send sends probes and says what became of each. It returns when every one has arrived or been
// counted, or after a while.
func (p *prober) send(t testing.TB, probes []probe) []outcome {
	t.Helper()
	before, err := p.d.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	clear(p.arrived)
	clear(p.seen)
	p.mu.Unlock()
	index := map[uint16]int{}
	for i, pr := range probes {
		p.next++
		index[p.next] = i
		if pr.sport == 0 {
			probes[i].sport = p.port()
			pr.sport = probes[i].sport
		}
		if pr.proto == fabric.ICMP && !pr.reply {
			pr.ping = p.next
		}
		to := &unix.SockaddrInet4{Addr: pr.dst.As4()}
		err := unix.Sendto(p.sockets[fabric.NSName(pr.from)], packetOf(pr, p.next), 0, to)
		if err != nil && !errors.Is(err, unix.EPERM) {
			t.Fatalf("send %+v: %v", pr, err)
		}
	}
	out := make([]outcome, len(probes))
	rose := p.wait(t, before, len(probes))
	p.mu.Lock()
	for id, at := range p.arrived {
		if i, ok := index[id]; ok {
			out[i].at, out[i].as = at, p.seen[id]
		}
	}
	p.mu.Unlock()
	p.attribute(t, probes, index, out, rose)
	return out
}

// port is the next source port that no probe has had.
func (p *prober) port() uint16 {
	p.ports++
	return firstPort + p.ports%40000
}

// wait returns what the counters rose by when that and the arrivals make n packets.
func (p *prober) wait(t testing.TB, before map[fabric.RuleRef]uint64, n int) map[fabric.RuleRef]uint64 {
	t.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for {
		now, err := p.d.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rose, sum := map[fabric.RuleRef]uint64{}, 0
		for ref, v := range now {
			if v > before[ref] {
				rose[ref] = v - before[ref]
				sum += int(rose[ref])
			}
		}
		p.mu.Lock()
		sum += len(p.arrived)
		p.mu.Unlock()
		if sum >= n || time.Now().After(deadline) {
			return rose
		}
		time.Sleep(time.Millisecond)
	}
}

// attribute gives each counted drop to its probe, by the logged packets. The counters are the truth: a log that
// does not add up to them is an error.
func (p *prober) attribute(t testing.TB, probes []probe, index map[uint16]int, out []outcome, rose map[fabric.RuleRef]uint64) {
	t.Helper()
	logged := map[fabric.RuleRef]uint64{}
	left := 0
	for _, n := range rose {
		left += int(n)
	}
	if left > dropQueue {
		t.Fatalf("%d drops at once are more than the queue holds", left)
	}
	for range left {
		select {
		case drop := <-p.drops:
			logged[drop.Rule]++
			i, ok := index[drop.id]
			if !ok || !probes[i].matches(drop) {
				t.Errorf("a drop of no probe: %+v", drop)
				continue
			}
			if !out[i].is(outcome{}) {
				t.Errorf("%+v: %s, and %+v", probes[i], out[i], drop)
			}
			out[i].by = drop.Rule
		case <-time.After(20 * time.Second):
			t.Errorf("counters rose by %v, logged were %v", rose, logged)
			return
		}
	}
	if !maps.Equal(rose, logged) {
		t.Errorf("counters rose by %v, logged were %v", rose, logged)
	}
}

// matches tells whether the drop may be of this probe: its identification says which, its addresses and ports
// may be translated.
func (pr probe) matches(d Drop) bool { return d.Protocol == pr.proto }

// packetOf writes an IPv4 packet; the kernel fills in the length and the header's checksum.
func packetOf(pr probe, id uint16) []byte {
	var body []byte
	switch pr.proto {
	case fabric.TCP:
		body = make([]byte, 20)
		binary.BigEndian.PutUint16(body, pr.sport)
		binary.BigEndian.PutUint16(body[2:], pr.dport)
		binary.BigEndian.PutUint32(body[4:], marker)
		body[12], body[13] = 5<<4, synFlag
		if pr.flags != 0 {
			body[13] = pr.flags
		}
		if pr.flags&ackFlag != 0 {
			binary.BigEndian.PutUint32(body[8:], marker+1)
		}
		if pr.flags == ackFlag {
			binary.BigEndian.PutUint32(body[4:], marker+1)
		}
		binary.BigEndian.PutUint16(body[14:], 65535)
		binary.BigEndian.PutUint16(body[16:], checksum(pseudoHeader(pr, len(body)), body))
	case fabric.UDP:
		body = make([]byte, 12)
		binary.BigEndian.PutUint16(body, pr.sport)
		binary.BigEndian.PutUint16(body[2:], pr.dport)
		binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
		binary.BigEndian.PutUint32(body[8:], marker)
	case fabric.ICMP:
		body = make([]byte, 12)
		body[0] = 8
		if pr.reply {
			body[0] = 0
		}
		binary.BigEndian.PutUint16(body[4:], pr.ping)
		binary.BigEndian.PutUint32(body[8:], marker)
		binary.BigEndian.PutUint16(body[2:], checksum(body))
	default:
		body = make([]byte, 16)
		binary.BigEndian.PutUint32(body, uint32(id))
		binary.BigEndian.PutUint32(body[4:], marker)
	}
	head := make([]byte, 20)
	head[0] = 0x45
	binary.BigEndian.PutUint16(head[4:], id)
	head[8], head[9] = 64, byte(pr.proto)
	src, dst := pr.src.As4(), pr.dst.As4()
	copy(head[12:], src[:])
	copy(head[16:], dst[:])
	return append(head, body...)
}

func pseudoHeader(pr probe, n int) []byte {
	src, dst := pr.src.As4(), pr.dst.As4()
	return append(append(src[:], dst[:]...), 0, byte(pr.proto), byte(n>>8), byte(n))
}

func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func (pr probe) String() string {
	return fmt.Sprintf("%s %s:%d to %s:%d protocol %d", pr.from.ID, pr.src, pr.sport, pr.dst, pr.dport, pr.proto)
}
