// Package capture writes packets to pcap files: which packets a capture takes, how much of each, and when it has
// enough (Microsoft.Network networkWatchers/packetCaptures). Where packets come from and files go is elsewhere.
package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"vauban.dev/fabric"
)

// Packet as it was seen on an interface, with its Ethernet header.
type Packet struct {
	Time   time.Time
	Data   []byte // may be cut
	Length int    // of the whole packet
}

// Limits of a capture; 0 is none.
type Limits struct {
	PerPacket int   // bytes kept of each packet
	Total     int64 // bytes of the file
	Packets   int
}

// MaxPacket is what is kept of a packet without a limit: more than any interface sends.
const MaxPacket = 65535

// Writer writes packets to a pcap file. It is safe for concurrent use: several interfaces may write into one file.
type Writer struct {
	mu      sync.Mutex
	pcap    *pcapgo.Writer
	limits  Limits
	filters []Filter
	locals  []netip.Addr
	size    int64
	packets int
	full    bool
}

// sizes of pcap's headers, of the file and of each packet.
const (
	fileHeader   = 24
	packetHeader = 16
)

// NewWriter writes the file's header. A packet is taken if one of the filters does, or if there are none; locals
// are the addresses of the interface, by which filters tell the two sides apart.
func NewWriter(w io.Writer, l Limits, filters []Filter, locals []netip.Addr) (*Writer, error) {
	snap := l.PerPacket
	if snap <= 0 || snap > MaxPacket {
		snap = MaxPacket
	}
	l.PerPacket = snap
	p := pcapgo.NewWriter(w)
	if err := p.WriteFileHeader(uint32(snap), layers.LinkTypeEthernet); err != nil {
		return nil, err
	}
	return &Writer{pcap: p, limits: l, filters: filters, locals: locals, size: fileHeader}, nil
}

// Write writes a packet, if a filter takes it. It reports whether the capture has all that it may.
func (w *Writer) Write(p Packet) (full bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full || !w.takes(p.Data) {
		return w.full, nil
	}
	data := p.Data[:min(len(p.Data), w.limits.PerPacket)]
	need := int64(packetHeader + len(data))
	if w.limits.Total > 0 && w.size+need > w.limits.Total {
		w.full = true
		return true, nil
	}
	if err := w.pcap.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(data), Length: max(p.Length, len(data))}, data); err != nil {
		return false, err
	}
	w.size += need
	w.packets++
	w.full = w.limits.Packets > 0 && w.packets >= w.limits.Packets
	return w.full, nil
}

// Packets is how many have been written.
func (w *Writer) Packets() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.packets
}

func (w *Writer) takes(frame []byte) bool {
	if len(w.filters) == 0 {
		return true
	}
	t, ok := parse(frame)
	if !ok {
		return false
	}
	for _, f := range w.filters {
		if f.takes(t, w.locals) {
			return true
		}
	}
	return false
}

// tuple is what filters look at.
type tuple struct {
	protocol fabric.Protocol
	src, dst netip.AddrPort
}

// parse reads an Ethernet frame of IPv4; ok is false for others. Fragments but the first have no ports.
func parse(frame []byte) (t tuple, ok bool) {
	if len(frame) < 14+20 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 || frame[14]>>4 != 4 {
		return t, false
	}
	ip := frame[14:]
	head := int(ip[0]&0x0f) * 4
	t.protocol = fabric.Protocol(ip[9])
	var sport, dport uint16
	if (t.protocol == fabric.TCP || t.protocol == fabric.UDP) && head >= 20 && len(ip) >= head+4 && binary.BigEndian.Uint16(ip[6:])&0x1fff == 0 {
		sport, dport = binary.BigEndian.Uint16(ip[head:]), binary.BigEndian.Uint16(ip[head+2:])
	}
	t.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), sport)
	t.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), dport)
	return t, true
}

// Segment is what a packet of IPv4 tells of its flow.
type Segment struct {
	Protocol fabric.Protocol
	Src, Dst netip.AddrPort // ports are 0 for what has none
	// Begins: the packet may be its flow's first: a SYN of TCP, an echo request of ICMP, any other protocol's.
	Begins bool
	// Datagram is what a UDP packet carries; it may be cut.
	Datagram []byte
}

// ParseSegment reads an Ethernet frame of IPv4; ok is false for others.
func ParseSegment(frame []byte) (s Segment, ok bool) {
	const syn, ack, echoRequest = 0x02, 0x10, 8
	t, ok := parse(frame)
	if !ok {
		return s, false
	}
	s = Segment{Protocol: t.protocol, Src: t.src, Dst: t.dst}
	head := 14 + int(frame[14]&0x0f)*4
	if later := binary.BigEndian.Uint16(frame[20:])&0x1fff != 0; later || head < 14+20 || len(frame) < head {
		return s, true // a fragment begins nothing
	}
	switch payload := frame[head:]; {
	case t.protocol == fabric.TCP:
		s.Begins = len(payload) >= 14 && payload[13]&(syn|ack) == syn
	case t.protocol == fabric.ICMP:
		s.Begins = len(payload) > 0 && payload[0] == echoRequest
	case t.protocol == fabric.UDP && len(payload) >= 8:
		s.Begins, s.Datagram = true, payload[8:]
	default:
		s.Begins = true
	}
	return s, true
}

// Filter takes packets of a protocol between two sides; a list without entries takes all.
type Filter struct {
	Protocol                fabric.Protocol
	Local, Remote           []addrs
	LocalPorts, RemotePorts []ports
}

type addrs struct{ lo, hi netip.Addr }

type ports struct{ lo, hi uint16 }

// ParseFilter reads a filter as packetCaptures has it (Network REST: PacketCaptureFilter): protocol TCP, UDP or Any;
// addresses "10.0.0.4", "10.0.0.4-10.0.0.9" or a list with ";"; ports alike.
func ParseFilter(protocol, local, remote, localPort, remotePort string) (f Filter, err error) {
	switch strings.ToLower(protocol) {
	case "", "any":
		f.Protocol = fabric.AnyProtocol
	case "tcp":
		f.Protocol = fabric.TCP
	case "udp":
		f.Protocol = fabric.UDP
	default:
		return f, fmt.Errorf("protocol %q: TCP, UDP or Any", protocol)
	}
	if f.Local, err = parseAddrs(local); err != nil {
		return f, err
	}
	if f.Remote, err = parseAddrs(remote); err != nil {
		return f, err
	}
	if f.LocalPorts, err = parsePorts(localPort); err != nil {
		return f, err
	}
	f.RemotePorts, err = parsePorts(remotePort)
	return f, err
}

func parseAddrs(list string) (out []addrs, err error) {
	for _, text := range entries(list) {
		lo, hi := bounds(text)
		var a addrs
		var err1, err2 error
		a.lo, err1 = netip.ParseAddr(lo)
		a.hi, err2 = netip.ParseAddr(hi)
		if err1 != nil || err2 != nil || !a.lo.Is4() || !a.hi.Is4() || a.hi.Less(a.lo) {
			return nil, fmt.Errorf("%q is no IPv4 address or range of them", text)
		}
		out = append(out, a)
	}
	return out, nil
}

func parsePorts(list string) (out []ports, err error) {
	for _, text := range entries(list) {
		lo, hi := bounds(text)
		a, err1 := strconv.ParseUint(lo, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || a > b {
			return nil, fmt.Errorf("%q is no port or range of them", text)
		}
		out = append(out, ports{uint16(a), uint16(b)})
	}
	return out, nil
}

func entries(list string) (out []string) {
	for s := range strings.SplitSeq(list, ";") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func bounds(s string) (lo, hi string) {
	lo, hi, isRange := strings.Cut(s, "-")
	if !isRange {
		return lo, lo
	}
	return strings.TrimSpace(lo), strings.TrimSpace(hi)
}

// takes tries both directions: the local side sends or receives.
func (f *Filter) takes(t tuple, locals []netip.Addr) bool {
	if f.Protocol != fabric.AnyProtocol && f.Protocol != t.protocol {
		return false
	}
	sent := len(locals) == 0
	received := sent
	for _, a := range locals {
		sent, received = sent || a == t.src.Addr(), received || a == t.dst.Addr()
	}
	return sent && f.sides(t.src, t.dst) || received && f.sides(t.dst, t.src)
}

func (f *Filter) sides(local, remote netip.AddrPort) bool {
	return hasAddr(f.Local, local.Addr()) && hasAddr(f.Remote, remote.Addr()) && hasPort(f.LocalPorts, local.Port()) && hasPort(f.RemotePorts, remote.Port())
}

func hasAddr(list []addrs, a netip.Addr) bool {
	for _, x := range list {
		if !a.Less(x.lo) && !x.hi.Less(a) {
			return true
		}
	}
	return len(list) == 0
}

func hasPort(list []ports, p uint16) bool {
	for _, x := range list {
		if x.lo <= p && p <= x.hi {
			return true
		}
	}
	return len(list) == 0
}
