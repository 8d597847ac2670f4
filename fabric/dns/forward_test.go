package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// upstream is a DNS server on loopback, by UDP and TCP on one port, that answers as handle does.
func upstream(t *testing.T, handle func(w mdns.ResponseWriter, q *mdns.Msg)) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the shutdowns
	for _, s := range []*mdns.Server{{PacketConn: pc, Handler: mdns.HandlerFunc(handle)}, {Listener: l, Handler: mdns.HandlerFunc(handle)}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// told answers by a zone file.
func told(t *testing.T, lines ...string) func(w mdns.ResponseWriter, q *mdns.Msg) {
	t.Helper()
	var zone []mdns.RR
	for _, l := range lines {
		rr, err := mdns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		zone = append(zone, rr)
	}
	return func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg).SetReply(q)
		name := q.Question[0].Name
		for _, rr := range zone {
			if strings.EqualFold(rr.Header().Name, name) && (rr.Header().Rrtype == q.Question[0].Qtype || rr.Header().Rrtype == mdns.TypeCNAME) {
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) == 0 {
			m.Rcode = mdns.RcodeNameError
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(mdns.MinMsgSize)
		}
		w.WriteMsg(m)
	}
}

func loopback(_ context.Context, _, network string, server netip.AddrPort) (net.Conn, error) {
	return net.Dial(network, server.String())
}

// forwarding is a server of VNet "v", whose ruleset has one rule for contoso.com.
func forwarding(t *testing.T, dial Dialer, servers ...netip.AddrPort) (udp, tcp string) {
	t.Helper()
	m, err := NewModel(Config{
		Zones:    []Zone{{ID: "z", Name: "corp.test", Sets: []Set{addrs("web", "10.0.0.7"), alias("app", "app.contoso.com")}}},
		Links:    []Link{{VNet: "v", Zone: "z"}},
		Rulesets: []Ruleset{{ID: "rs", VNets: []string{"v"}, Endpoints: []string{"out"}, Rules: []Rule{{ID: "r", Domain: "contoso.com.", Servers: servers}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := NewForwarder(dial)
	return serveSource(t, Source{Resolve: inVNet(m, "v"), Forward: func(ctx context.Context, a Answer, qtype uint16) Answer {
		return f.Complete(ctx, m, "v", a, qtype)
	}})
}

func ask(t *testing.T, network, at, name string, qtype uint16) *mdns.Msg {
	t.Helper()
	r, _, err := (&mdns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(query(name, qtype), at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestForwarder(t *testing.T) {
	many := []string{}
	for range 60 {
		many = append(many, "many.contoso.com. 5 IN TXT \""+strings.Repeat("x", 200)+"\"")
	}
	server := upstream(t, told(t, append(many,
		"www.contoso.com. 30 IN A 192.168.1.5",
		"old.contoso.com. 30 IN CNAME www.contoso.com.",
		"app.contoso.com. 30 IN A 192.168.1.6",
		"back.contoso.com. 30 IN CNAME web.corp.test.",
		"x.contoso.com. 30 IN CNAME y.contoso.com.", "y.contoso.com. 30 IN CNAME x.contoso.com.",
	)...))
	udp, tcp := forwarding(t, loopback, server)
	for _, c := range []struct {
		why, name string
		qtype     uint16
		rcode     int
		want      string // the last answer's data
		n         int
	}{
		{"the server's answer", "www.contoso.com", mdns.TypeA, mdns.RcodeSuccess, "192.168.1.5", 1},
		{"its NXDOMAIN", "none.contoso.com", mdns.TypeA, mdns.RcodeNameError, "", 0},
		{"an alias that it left is asked for", "old.contoso.com", mdns.TypeA, mdns.RcodeSuccess, "192.168.1.5", 2},
		{"a private zone's alias goes there", "app.corp.test", mdns.TypeA, mdns.RcodeSuccess, "192.168.1.6", 2},
		{"and comes back", "back.contoso.com", mdns.TypeA, mdns.RcodeSuccess, "10.0.0.7", 2},
		{"an alias loop", "x.contoso.com", mdns.TypeA, mdns.RcodeServerFailure, "", 0},
	} {
		for network, at := range map[string]string{"udp": udp, "tcp": tcp} {
			t.Run(c.why+"/"+network, func(t *testing.T) {
				r := ask(t, network, at, c.name, c.qtype)
				if r.Rcode != c.rcode || len(r.Answer) != c.n {
					t.Fatalf("got %v, want %s with %d records", r, mdns.RcodeToString[c.rcode], c.n)
				}
				for _, rr := range r.Answer {
					if a, ok := rr.(*mdns.A); ok && a.A.String() != c.want {
						t.Errorf("address %s, want %s", a.A, c.want)
					}
				}
			})
		}
	}
	if r := ask(t, "tcp", tcp, "many.contoso.com", mdns.TypeTXT); len(r.Answer) != 60 {
		t.Errorf("an answer that needs TCP has %d records, want 60", len(r.Answer))
	}
}

// A server that is silent is not asked first again for a while.
func TestForwarderSilence(t *testing.T) {
	good := upstream(t, told(t, "www.contoso.com. 30 IN A 192.168.1.5"))
	silent := netip.MustParseAddrPort("127.0.0.1:9")
	var tried atomic.Int32
	dial := func(ctx context.Context, e, network string, s netip.AddrPort) (net.Conn, error) {
		if s == silent {
			tried.Add(1)
			return nil, errors.New("no route")
		}
		return loopback(ctx, e, network, s)
	}
	udp, _ := forwarding(t, dial, silent, good)
	for range 3 {
		if r := ask(t, "udp", udp, "www.contoso.com", mdns.TypeA); len(r.Answer) != 1 {
			t.Fatalf("got %v", r)
		}
	}
	if n := tried.Load(); n != 1 {
		t.Errorf("the silent server was asked %d times, want once", n)
	}
}

// A rule that leads back to its own server ends in SERVFAIL, and asks once.
func TestForwarderLoop(t *testing.T) {
	var asked atomic.Int32
	var self atomic.Pointer[netip.AddrPort]
	dial := func(ctx context.Context, e, network string, _ netip.AddrPort) (net.Conn, error) {
		asked.Add(1)
		return loopback(ctx, e, network, *self.Load())
	}
	udp, _ := forwarding(t, dial, netip.MustParseAddrPort("10.0.0.4:53"))
	at := netip.MustParseAddrPort(udp)
	self.Store(&at)
	if r := ask(t, "udp", udp, "www.contoso.com", mdns.TypeA); r.Rcode != mdns.RcodeServerFailure {
		t.Errorf("got %v", r)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// What is no reply to the question is no answer.
func TestForwarderStray(t *testing.T) {
	server := upstream(t, func(w mdns.ResponseWriter, q *mdns.Msg) {
		other := q.Copy()
		other.Question[0].Name = "evil.contoso.com."
		m := new(mdns.Msg).SetReply(other)
		rr, err := mdns.NewRR("evil.contoso.com. 1 IN A 192.0.2.66")
		if err == nil {
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	})
	udp, _ := forwarding(t, loopback, server)
	if r := ask(t, "udp", udp, "www.contoso.com", mdns.TypeA); r.Rcode != mdns.RcodeServerFailure || len(r.Answer) != 0 {
		t.Errorf("got %v", r)
	}
}

func FuzzDanglingAlias(f *testing.F) {
	m := new(mdns.Msg).SetQuestion("a.test.", mdns.TypeA)
	rr, err := mdns.NewRR("a.test. 1 IN CNAME b.test.")
	if err != nil {
		f.Fatal(err)
	}
	m.Answer = []mdns.RR{rr}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, "a.test")
	model := testModel(f)
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		m := new(mdns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		var a Answer
		if target, ok := danglingAlias(m, name, mdns.TypeA); ok {
			model.follow(&a, "named", target, mdns.TypeA)
		}
		a.Extra = append(a.Extra, m.Answer...)
		r := new(mdns.Msg).SetReply(query("a.test", mdns.TypeA))
		fill(r, a)
		r.Truncate(ednsSize)
		if out, err := r.Pack(); err == nil && len(out) > ednsSize {
			t.Errorf("%d bytes", len(out))
		}
	})
}
