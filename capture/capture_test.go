package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"go.uber.org/goleak"

	"vauban.dev/fabric"
	"vauban.dev/internal/testkit/netns"
)

func TestMain(m *testing.M) {
	code := netns.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// frame is an Ethernet frame of IPv4 with ports and n bytes after them.
func frame(p fabric.Protocol, src, dst string, n int) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := make([]byte, 14+20+4+n)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[9] = 0x45, byte(p)
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[20:], from.Port())
	binary.BigEndian.PutUint16(ip[22:], to.Port())
	return b
}

var at = time.Date(2026, 11, 22, 9, 0, 0, 123456000, time.UTC)

func TestFile(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Limits{PerPacket: 40, Total: fileHeader + 2*(packetHeader+40)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := frame(fabric.TCP, "10.0.0.4:1", "10.0.0.5:2", 100)
	for i, want := range []bool{false, false, true, true} {
		if full, err := w.Write(Packet{at, long, len(long)}); full != want || err != nil {
			t.Errorf("packet %d: full %v, %v", i, full, err)
		}
	}
	r, err := pcapgo.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		data, info, err := r.ReadPacketData()
		if err != nil || len(data) != 40 || info.Length != len(long) || !info.Timestamp.Equal(at) {
			t.Errorf("%d bytes, %+v, %v", len(data), info, err)
		}
	}
	if _, _, err := r.ReadPacketData(); err == nil || w.Packets() != 2 {
		t.Errorf("the file has more than it may: %d", w.Packets())
	}
	counted, err := NewWriter(&file, Limits{Packets: 1}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if full, err := counted.Write(Packet{at, long, len(long)}); !full || err != nil {
		t.Errorf("one packet of one: %v %v", full, err)
	}
	if _, err := NewWriter(broken{}, Limits{}, nil, nil); err == nil {
		t.Error("a file that cannot be written is taken")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestFilters(t *testing.T) {
	local := []netip.Addr{netip.MustParseAddr("10.0.0.4")}
	out, in := frame(fabric.TCP, "10.0.0.4:1000", "10.0.0.9:443", 0), frame(fabric.TCP, "10.0.0.9:443", "10.0.0.4:1000", 0)
	other, dns := frame(fabric.TCP, "10.0.0.4:1000", "10.0.1.9:80", 0), frame(fabric.UDP, "10.0.0.4:1001", "10.0.0.9:53", 0)
	arp := make([]byte, 60)
	for _, c := range []struct {
		protocol, local, remote, localPort, remotePort string
		want                                           []bool // out, in, other, dns, arp
	}{
		{"", "", "", "", "", []bool{true, true, true, true, false}},
		{"TCP", "", "", "", "", []bool{true, true, true, false, false}},
		{"UDP", "", "", "", "53", []bool{false, false, false, true, false}},
		{"Any", "10.0.0.4", "10.0.0.0-10.0.0.255", "", "", []bool{true, true, false, true, false}},
		{"Any", "", "", "", "443", []bool{true, true, false, false, false}},
		{"Any", "", "", "443", "", []bool{false, false, false, false, false}},
		{"Any", "", "10.0.1.9; 10.0.2.0-10.0.2.9;", "", "80-85;443;", []bool{false, false, true, false, false}},
		{"Any", "10.0.0.9", "", "", "", []bool{false, false, false, false, false}},
	} {
		f, err := ParseFilter(c.protocol, c.local, c.remote, c.localPort, c.remotePort)
		if err != nil {
			t.Fatal(err)
		}
		w := &Writer{filters: []Filter{f}, locals: local}
		var got []bool
		for _, p := range [][]byte{out, in, other, dns, arp} {
			got = append(got, w.takes(p))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for _, bad := range [][5]string{{"ICMP"}, {"", "x"}, {"", "", "10.0.0.9-10.0.0.1"}, {"", "::1"}, {"", "", "", "70000"}, {"", "", "", "", "9-1"}, {"", "", "", "", "http"}} {
		if _, err := ParseFilter(bad[0], bad[1], bad[2], bad[3], bad[4]); err == nil {
			t.Errorf("%v is a filter", bad)
		}
	}
}

func TestSegments(t *testing.T) {
	tcp := func(flags byte) []byte {
		b := frame(fabric.TCP, "10.0.0.4:1000", "10.0.0.9:443", 16)
		b[14+20+13] = flags
		return b
	}
	fragment := frame(fabric.UDP, "10.0.0.4:1000", "10.0.0.9:53", 16)
	fragment[14+7] = 1
	ping, unreachable := frame(fabric.ICMP, "10.0.0.4:0", "10.0.0.9:0", 4), frame(fabric.ICMP, "10.0.0.4:0", "10.0.0.9:0", 4)
	ping[14+20], unreachable[14+20] = 8, 3
	for name, c := range map[string]struct {
		frame    []byte
		begins   bool
		datagram int
	}{
		"SYN": {tcp(0x02), true, 0}, "SYN with ACK": {tcp(0x12), false, 0}, "ACK": {tcp(0x10), false, 0}, "cut TCP": {tcp(0x02)[:40], false, 0},
		"UDP": {frame(fabric.UDP, "10.0.0.4:1000", "10.0.0.9:53", 4+5), true, 5}, "fragment": {fragment, false, 0},
		"ping": {ping, true, 0}, "unreachable": {unreachable, false, 0}, "ESP": {frame(fabric.ESP, "10.0.0.4:0", "10.0.0.9:0", 0), true, 0},
	} {
		s, ok := ParseSegment(c.frame)
		if !ok || s.Begins != c.begins || len(s.Datagram) != c.datagram || s.Dst.Addr() != netip.MustParseAddr("10.0.0.9") {
			t.Errorf("%s: %+v %v", name, s, ok)
		}
	}
	if _, ok := ParseSegment(make([]byte, 60)); ok {
		t.Error("a frame without IPv4 is a segment")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(fabric.TCP, "10.0.0.4:1", "10.0.0.5:2", 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		ParseSegment(data) // does not panic
		if tuple, ok := parse(data); ok && (!tuple.src.Addr().Is4() || !tuple.dst.Addr().Is4()) {
			t.Errorf("%+v", tuple)
		}
	})
}

// A socket sees what an interface sends, and ends with its context.
func TestSocket(t *testing.T) {
	socket, err := Open("lo")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := l.LocalAddr().(*net.UDPAddr)
	c, err := net.DialUDP("udp4", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	seen := false
	err = Read(ctx, socket, func(p Packet) (bool, error) {
		x, ok := parse(p.Data)
		seen = seen || ok && x.protocol == fabric.UDP && x.dst == to.AddrPort() && p.Length == len(p.Data) && bytes.HasSuffix(p.Data, []byte("hello"))
		return seen, nil
	})
	if err != nil || !seen {
		t.Errorf("seen %v, %v", seen, err)
	}
	socket, err = Open("lo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("in time")); err != nil {
		t.Fatal(err)
	}
	cancel()
	seen = false
	if err := Read(ctx, socket, func(p Packet) (bool, error) {
		seen = seen || bytes.HasSuffix(p.Data, []byte("in time"))
		return false, nil
	}); err != nil || !seen {
		t.Errorf("after the end: %v, what came before it was seen: %v", err, seen)
	}
	if _, err := Open("none0"); err == nil {
		t.Error("an interface that does not exist is opened")
	}
}
