package probe

import (
	"net"
	"net/netip"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"vauban.dev/reach"
)

func TestPacketUDP(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	go func() {
		b := make([]byte, 100)
		if _, from, err := c.ReadFrom(b); err == nil {
			c.WriteTo([]byte("yes"), from)
		}
	}()
	if r := Packet(t.Context(), reach.UDP, to, 5*time.Second); r.Connect != reach.Connected || r.Outcome() != reach.Open {
		t.Errorf("answered: %+v", r)
	}
	if r := Packet(t.Context(), reach.UDP, to, 20*time.Millisecond); r.Connect != reach.ConnectTimeout || r.Sent != 1 {
		t.Errorf("silent: %+v", r)
	}
	c.Close()
	if r := Packet(t.Context(), reach.UDP, to, 5*time.Second); r.Connect != reach.ConnectRefused {
		t.Errorf("closed: %+v", r)
	}
	if r := Packet(t.Context(), reach.SSH, to, time.Second); r.Connect != reach.ConnectFailed || r.Error == "" {
		t.Errorf("another kind: %+v", r)
	}
	if r := Packet(t.Context(), reach.UDP, netip.MustParseAddrPort("[::1]:9"), time.Second); r.Connect != reach.ConnectFailed {
		t.Errorf("IPv6: %+v", r)
	}
}

func TestPacketTCP(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := l.Addr().(*net.TCPAddr).AddrPort()
	if r := Packet(t.Context(), reach.TCP, to, 5*time.Second); r.Outcome() != reach.Open {
		t.Errorf("open: %+v", r)
	}
	l.Close()
	if r := Packet(t.Context(), reach.TCP, to, 5*time.Second); r.Outcome() != reach.Reset || r.Error == "" {
		t.Errorf("closed: %+v", r)
	}
}

func TestPacketPayloads(t *testing.T) {
	q := new(mdns.Msg)
	if err := q.Unpack(datagram(53)); err != nil || len(q.Question) != 1 {
		t.Errorf("port 53: %v %v", q, err)
	}
	request := echo(7)
	if checksum(request) != 0 { // a right checksum sums up to nothing
		t.Errorf("checksum of %x", request)
	}
	head := make([]byte, 20)
	head[0] = 0x45
	reply := append([]byte{0, 0, 0, 0}, request[4:]...)
	for name, c := range map[string]struct {
		packet []byte
		want   bool
	}{
		"the reply":        {append(head[:20:20], reply...), true},
		"the request":      {append(head[:20:20], request...), false},
		"another's reply":  {append(head[:20:20], append([]byte{0, 0, 0, 0}, echo(8)[4:]...)...), false},
		"a short packet":   {head[:10], false},
		"a header alone":   {head, false},
		"a too short head": {append([]byte{0x41}, append(head[1:20:20], reply...)...), false},
	} {
		if got := isReply(c.packet, request); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
