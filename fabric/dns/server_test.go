package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs the resolver on loopback and returns its address.
func serve(t testing.TB, resolve Resolver) (udp, tcp string) {
	t.Helper()
	return serveSource(t, Source{Resolve: resolve})
}

func serveSource(t testing.TB, from Source) (udp, tcp string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, pc, l, from) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return pc.LocalAddr().String(), l.Addr().String()
}

func inVNet(m *Model, vnet string) Resolver {
	return func(name string, qtype uint16) Answer { return m.Resolve(vnet, name, qtype) }
}

func query(name string, qtype uint16) *mdns.Msg {
	q := new(mdns.Msg)
	q.SetQuestion(mdns.Fqdn(name), qtype)
	return q
}

func TestServe(t *testing.T) {
	udp, tcp := serve(t, inVNet(testModel(t), "hub"))
	class := query("corp.test", mdns.TypeA)
	class.Question[0].Qclass = mdns.ClassCHAOS
	status := query("corp.test", mdns.TypeA)
	status.Opcode = mdns.OpcodeStatus
	badvers := query("corp.test", mdns.TypeA)
	badvers.SetEdns0(1232, false)
	badvers.IsEdns0().SetVersion(1)
	for _, c := range []struct {
		why        string
		q          *mdns.Msg
		rcode      int
		answer, ns int
	}{
		{"chain", query("aCCt.blob.core.windows.net", mdns.TypeA), mdns.RcodeSuccess, 2, 0},
		{"no such name", query("x.example", mdns.TypeA), mdns.RcodeNameError, 0, 1},
		{"AAAA", query("corp.test", mdns.TypeAAAA), mdns.RcodeSuccess, 0, 1},
		{"AAAA through an alias", query("data.corp.test", mdns.TypeAAAA), mdns.RcodeSuccess, 2, 1},
		{"SOA", query("corp.test", mdns.TypeSOA), mdns.RcodeSuccess, 1, 0},
		{"MX", query("corp.test", mdns.TypeMX), mdns.RcodeSuccess, 1, 0},
		{"TXT", query("corp.test", mdns.TypeTXT), mdns.RcodeSuccess, 1, 0},
		{"SRV", query("_ldap._tcp.corp.test", mdns.TypeSRV), mdns.RcodeSuccess, 1, 0},
		{"CNAME", query("db.corp.test", mdns.TypeCNAME), mdns.RcodeSuccess, 1, 0},
		{"an alias to nothing", query("out.corp.test", mdns.TypeA), mdns.RcodeNameError, 1, 1},
		{"HTTPS", query("corp.test", mdns.TypeHTTPS), mdns.RcodeSuccess, 0, 1},
		{"ANY", query("corp.test", mdns.TypeANY), mdns.RcodeRefused, 0, 0},
		{"AXFR", query("corp.test", mdns.TypeAXFR), mdns.RcodeRefused, 0, 0},
		{"class CH", class, mdns.RcodeRefused, 0, 0},
		{"opcode", status, mdns.RcodeNotImplemented, 0, 0},
		{"EDNS version", badvers, mdns.RcodeBadVers, 0, 0},
	} {
		for network, at := range map[string]string{"udp": udp, "tcp": tcp} {
			t.Run(c.why+"/"+network, func(t *testing.T) {
				r, _, err := (&mdns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(c.q.Copy(), at)
				if err != nil {
					t.Fatal(err)
				}
				if r.Rcode != c.rcode || len(r.Answer) != c.answer || len(r.Ns) != c.ns || !r.RecursionAvailable {
					t.Errorf("got %v, want %s with %d answers and %d authorities", r, mdns.RcodeToString[c.rcode], c.answer, c.ns)
				}
				if len(r.Answer) > 0 && r.Answer[0].Header().Name != c.q.Question[0].Name {
					t.Errorf("owner %s, asked %s", r.Answer[0].Header().Name, c.q.Question[0].Name)
				}
			})
		}
	}
}

func TestTruncation(t *testing.T) {
	var big Zone
	big.ID, big.Name = "z", "big.test"
	set := Set{Name: "many", Type: mdns.TypeA, TTL: 10}
	for i := range 120 {
		set.Data = append(set.Data, Data{Addr: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})})
	}
	big.Sets = []Set{set}
	m, err := NewModel(Config{Zones: []Zone{big}, Links: []Link{{VNet: "v", Zone: "z"}}})
	if err != nil {
		t.Fatal(err)
	}
	udp, tcp := serve(t, inVNet(m, "v"))
	for _, c := range []struct{ edns, max int }{{0, 512}, {600, 600}, {100, 512}, {65000, ednsSize}} {
		q := query("many.big.test", mdns.TypeA)
		if c.edns > 0 {
			q.SetEdns0(uint16(c.edns), false)
		}
		r, _, err := (&mdns.Client{UDPSize: 65000, Timeout: 5 * time.Second}).Exchange(q, udp)
		if err != nil {
			t.Fatal(err)
		}
		r.Compress = true
		if !r.Truncated || r.Len() > c.max {
			t.Errorf("EDNS %d: truncated=%t, %d bytes, want at most %d", c.edns, r.Truncated, r.Len(), c.max)
		}
	}
	r, _, err := (&mdns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(query("many.big.test", mdns.TypeA), tcp)
	if err != nil {
		t.Fatal(err)
	}
	if r.Truncated || len(r.Answer) != 120 {
		t.Errorf("TCP: truncated=%t, %d answers", r.Truncated, len(r.Answer))
	}
}

// What is no query gets no answer, and the server goes on.
func TestIgnoresRubbish(t *testing.T) {
	udp, tcp := serve(t, inVNet(testModel(t), "hub"))
	c, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply := query("corp.test", mdns.TypeA)
	reply.Response = true
	packed, err := reply.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range [][]byte{{}, {1}, packed, make([]byte, 60000), []byte(strings.Repeat("\xff", 30))} {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	good, err := query("corp.test", mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(good); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil || n < 12 || binary.BigEndian.Uint16(buf) != binary.BigEndian.Uint16(good) {
		t.Fatalf("the first answer is %x, %v", buf[:n], err)
	}

	tc, err := net.Dial("tcp", tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer tc.Close()
	if _, err := tc.Write([]byte{0xff, 0xff, 0}); err != nil {
		t.Fatal(err)
	}
	if err := tc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := tc.Read(buf); err != io.EOF && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a huge message: %v, want the connection closed", err)
	}
}

// reply is what a server without anybody to forward to makes of a query.
func reply(resolve Resolver, b, buf []byte, udp bool) []byte {
	x, out := begin(b, buf, udp)
	if x == nil {
		return out
	}
	q := x.q.Question[0]
	return x.finish(resolve(q.Name, q.Qtype), buf)
}

// TestText: what a TXT record says comes out as it went in.
func TestText(t *testing.T) {
	udp, _ := serve(t, inVNet(testModel(t), "hub"))
	r, _, err := (&mdns.Client{Timeout: 5 * time.Second}).Exchange(query("corp.test", mdns.TypeTXT), udp)
	if err != nil {
		t.Fatal(err)
	}
	// The library writes what it read in zone file form.
	if got := r.Answer[0].(*mdns.TXT).Txt; len(got) != 2 || got[0] != `v=\\spf \"x\"` || got[1] != "y" {
		t.Errorf("got %q", got)
	}
}

func FuzzAnswer(f *testing.F) {
	m := testModel(f)
	for _, q := range []*mdns.Msg{query("acct.blob.core.windows.net", mdns.TypeA), query(".", mdns.TypeANY), query("db.corp.test", mdns.TypeAAAA)} {
		b, err := q.SetEdns0(4096, true).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b[:len(b)-3], false)
	}
	f.Fuzz(func(t *testing.T, b []byte, udp bool) {
		out := reply(inVNet(m, "hub"), b, make([]byte, maxUDPQuery), udp)
		if out == nil {
			return
		}
		if udp && len(out) > ednsSize {
			t.Errorf("%d bytes by UDP", len(out))
		}
		if len(out) < 12 || out[2]&0x80 == 0 || out[0] != b[0] || out[1] != b[1] {
			t.Errorf("not a reply to %x: %x", b, out)
		}
	})
}

func FuzzResolve(f *testing.F) {
	m := testModel(f)
	f.Add("acct.blob.core.windows.net.", uint16(1))
	f.Add("..", uint16(28))
	f.Add("*.corp.test", uint16(5))
	f.Fuzz(func(t *testing.T, name string, qtype uint16) {
		a := m.Resolve("hub", name, qtype)
		if len(a.Steps) == 0 {
			t.Errorf("no step says why %q is %s", name, strconv.Itoa(a.Rcode))
		}
	})
}

func BenchmarkServe(b *testing.B) {
	udp, _ := serve(b, inVNet(testModel(b), "hub"))
	packed, err := query("acct.blob.core.windows.net", mdns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("udp", udp)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 1232)
		for pb.Next() {
			if _, err := c.Write(packed); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "q/s")
}
