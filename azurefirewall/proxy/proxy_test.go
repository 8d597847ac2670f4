package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"vauban.dev/azurefirewall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a firewall on the loopback: names resolve to addresses of the documentation's ranges, and what is dialed there
// ends at servers of the test.
type rig struct {
	t        testing.TB
	fw       *Firewall
	addr     string // of the transparent proxy
	port     uint16
	ca       *tls.Certificate // what the servers are signed by, and inspection
	pool     *x509.CertPool
	resolver string // of the DNS proxy

	mu      sync.Mutex
	names   map[string]string // A records
	servers map[string]string // address:port dialed, to the real one
	learned map[string][]netip.Addr
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, names: map[string]string{}, servers: map[string]string{}, learned: map[string][]netip.Addr{}}
	r.ca = authority(t)
	r.pool = x509.NewCertPool()
	r.pool.AddCert(r.ca.Leaf)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.port = l.Addr().String(), uint16(l.Addr().(*net.TCPAddr).Port)
	upstream := r.nameServer()
	r.fw = New(Config{
		ID: "fw", DNS: netip.MustParseAddrPort("168.63.129.16:53"), Roots: r.pool, Records: NewLog(100, time.Now), Log: slog.New(slog.DiscardHandler),
		Authority: func(context.Context) (*tls.Certificate, error) { return r.ca, nil },
		Learn: func(list []string, addrs []netip.Addr, _ time.Duration) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.learned[strings.Join(list, ",")] = addrs
			return nil
		},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "168.63.129.16:53" {
				return new(net.Dialer).DialContext(ctx, network, upstream)
			}
			r.mu.Lock()
			to := r.servers[addr]
			r.mu.Unlock()
			if to == "" {
				return nil, fmt.Errorf("nobody is at %s", addr)
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	})
	pc, dl := listenBoth(t)
	r.resolver = pc.LocalAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.fw.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := r.fw.ServeDNS(ctx, pc, dl); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { r.fw.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

// listenBoth listens on one port by UDP and TCP.
func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := net.Listen("tcp4", pc.LocalAddr().String()); err == nil {
			return pc, l
		}
		pc.Close() // somebody has the port by TCP
	}
	t.Fatal("no port is free by UDP and TCP")
	return nil, nil
}

// nameServer answers A questions from r.names, by UDP and TCP.
func (r *rig) nameServer() string {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		a := new(dns.Msg).SetReply(m)
		r.mu.Lock()
		ip, ok := r.names[strings.TrimSuffix(m.Question[0].Name, ".")]
		r.mu.Unlock()
		if !ok {
			a.Rcode = dns.RcodeNameError
		} else if m.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(m.Question[0].Name + " 60 IN A " + ip)
			a.Answer = append(a.Answer, rr)
		}
		w.WriteMsg(a)
	})}
	done := make(chan struct{})
	ready := make(chan struct{})
	s.NotifyStartedFunc = func() { close(ready) }
	go func() { defer close(done); s.ActivateAndServe() }()
	<-ready
	r.t.Cleanup(func() { s.Shutdown(); <-done })
	return pc.LocalAddr().String()
}

func authority(t testing.TB) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// server is a host with a name, an address, and a handler; https unless the name begins with "http:".
func (r *rig) server(name, ip string, h http.HandlerFunc) {
	r.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	plain, isPlain := strings.CutPrefix(name, "http:")
	if isPlain {
		name = plain
		s.Start()
	} else {
		cert, err := issue(r.ca, name)
		if err != nil {
			r.t.Fatal(err)
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		s.StartTLS()
	}
	r.t.Cleanup(s.Close)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[name] = ip
	r.servers[netip.AddrPortFrom(netip.MustParseAddr(ip), r.port).String()] = s.Listener.Addr().String()
}

// rules puts these application rules into force, with one network rule by name.
func (r *rig) rules(rules ...azurefirewall.ApplicationRule) {
	r.t.Helper()
	for i := range rules {
		rules[i].Sources = []string{"127.0.0.1"}
		if rules[i].Protocols == nil {
			rules[i].Protocols = []azurefirewall.ApplicationProtocol{{Type: azurefirewall.HTTP, Port: r.port}, {Type: azurefirewall.HTTPS, Port: r.port}}
		}
	}
	s, err := azurefirewall.New(&azurefirewall.Firewall{ID: "fw", DNSProxy: true, Inspects: true, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.4")},
		Groups: []azurefirewall.Group{{Name: "g", Collections: []azurefirewall.Collection{{Name: "app", Priority: 200, Application: rules},
			{Name: "net", Priority: 100, Network: []azurefirewall.NetworkRule{{Name: "n", Protocols: []azurefirewall.Protocol{azurefirewall.UDP}, Sources: []string{"*"}, FQDNs: []string{"Tundra.example"}, Ports: []string{"5831"}}}}}}}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.fw.Update(s)
}

// get asks through the firewall: every connection ends at the proxy, whatever the client resolved.
func (r *rig) get(url string, config *tls.Config) (*http.Response, string, error) {
	if config == nil {
		config = &tls.Config{}
	}
	config.RootCAs = r.pool
	tr := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DialContext: func(ctx context.Context, n, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, n, r.addr)
	}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Get(url)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// last is the newest record of application rules.
func (r *rig) last() Record {
	r.t.Helper()
	all := r.fw.cfg.Records.Last(100, "fw")
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Category == ApplicationRule {
			return all[i]
		}
	}
	return Record{}
}

func hello200(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello from "+r.Host) }

func TestTLSByName(t *testing.T) {
	r := newRig(t)
	r.server("good.example", "20.60.0.1", hello200)
	r.server("other.example", "20.60.0.2", hello200)
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example", "nowhere.example", "own.example", "loop.example"}})
	if _, body, err := r.get("https://good.example/", nil); err != nil || body != "hello from good.example" {
		t.Fatalf("%q %v", body, err)
	}
	if l := r.last(); l.Action != "Allow" || l.Rule != "good" || l.Group != "g" || l.FQDN != "good.example" || l.Protocol != "HTTPS" {
		t.Errorf("log: %+v", l)
	}
	refused := func(what, url string, config *tls.Config, reason string) {
		t.Helper()
		if _, body, err := r.get(url, config); err == nil {
			t.Errorf("%s: reached: %s", what, body)
		}
		if l := r.last(); l.Action != "Deny" || !strings.Contains(l.ActionReason, reason) {
			t.Errorf("%s: log: %s %q", what, l.Action, l.ActionReason)
		}
	}
	refused("another name", "https://other.example/", nil, azurefirewall.DefaultAction)
	// The name in the handshake decides, and where it leads: the client cannot reach another server by it.
	if _, _, err := r.get("https://other.example/", &tls.Config{ServerName: "good.example"}); err != nil && !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a false name: %v", err)
	}
	refused("no name", "https://20.60.0.2/", &tls.Config{InsecureSkipVerify: true}, "names no server")
	refused("a name without an address", "https://nowhere.example/", nil, "cannot resolve nowhere.example: NXDOMAIN")
	r.mu.Lock()
	r.names["own.example"], r.names["loop.example"] = "10.0.1.4", "127.0.0.1"
	r.mu.Unlock()
	refused("a name that leads to the firewall", "https://own.example/", nil, "does not connect")
	refused("a name that leads to its loopback", "https://loop.example/", nil, "does not connect")
}

// What is said after a good name reaches the good server only: its own check of the Host is the last.
func TestFrontingReachesTheNamedServer(t *testing.T) {
	r := newRig(t)
	r.server("good.example", "20.60.0.1", hello200)
	r.server("evil.example", "20.60.0.2", func(http.ResponseWriter, *http.Request) { t.Error("the other server is reached") })
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example"}})
	if _, body, err := r.get("https://evil.example/", &tls.Config{ServerName: "good.example", InsecureSkipVerify: true}); err != nil || body != "hello from evil.example" {
		t.Errorf("%q %v", body, err) // answered by good.example, which was asked for another host
	}
	// With inspection the firewall itself sees it.
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example", "evil.example"}, TerminateTLS: true})
	resp, body, err := r.get("https://evil.example/", &tls.Config{ServerName: "good.example", InsecureSkipVerify: true})
	if err != nil || resp.StatusCode != statusDenied || !strings.Contains(body, "inside a TLS handshake for good.example") {
		t.Errorf("%v %q", err, body)
	}
}

func TestEncryptedClientHello(t *testing.T) {
	r := newRig(t)
	r.server("good.example", "20.60.0.1", hello200)
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"*"}})
	c, err := net.Dial("tcp4", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(withExtension(t, clientHello(t, "good.example"), encryptedClientHello))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes", n)
	}
	if l := r.last(); l.Action != "Deny" || !strings.Contains(l.ActionReason, "Encrypted Client Hello") {
		t.Errorf("log: %+v", l)
	}
}

// clientHello is one that crypto/tls sends.
func clientHello(t testing.TB, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		tls.Client(b, &tls.Config{ServerName: name}).Handshake()
	}()
	defer b.Close()
	head := make([]byte, 5)
	if _, err := io.ReadFull(a, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(a, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// withExtension appends an empty-looking extension to a client hello.
func withExtension(t testing.TB, record []byte, id uint16) []byte {
	t.Helper()
	h := bytes.Clone(record)
	at := 5 + 4 + 2 + 32
	at += 1 + int(h[at])
	at += 2 + int(h[at])<<8 + int(h[at+1])
	at += 1 + int(h[at])
	ext := []byte{byte(id >> 8), byte(id), 0, 1, 1} // an inner hello's mark
	n := int(h[at])<<8 + int(h[at+1]) + len(ext)
	h[at], h[at+1] = byte(n>>8), byte(n)
	h = append(h, ext...)
	body := len(h) - 5
	h[3], h[4] = byte(body>>8), byte(body)
	h[6], h[7], h[8] = byte((body-4)>>16), byte((body-4)>>8), byte(body-4)
	return h
}

func TestHTTPByHost(t *testing.T) {
	r := newRig(t)
	r.server("http:good.example", "20.60.0.1", func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, q.Host, q.URL.Path, q.Header.Get("X-Tenant"), q.Header.Get("X-Forwarded-For"))
	})
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example"}, Headers: []azurefirewall.Header{{Name: "X-Tenant", Value: "mine"}}})
	if _, body, err := r.get("http://good.example/a", nil); err != nil || body != "good.example/amine" {
		t.Errorf("%q %v", body, err)
	}
	for host, reason := range map[string]string{
		"evil.example": "No rule matched", "20.60.0.1": "no host name", "good.example:9": "port 9", "[::1]": "no host name", "good.example.evil.example": "No rule matched",
	} {
		resp, body, err := r.get("http://"+host+"/", nil)
		if err != nil || resp.StatusCode != statusDenied || !strings.Contains(body, reason) {
			t.Errorf("%s: %v %q", host, err, body)
		}
	}
	// Each request of a connection is judged by itself.
	c, err := net.Dial("tcp4", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /1 HTTP/1.1\r\nHost: good.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	br := bufio.NewReader(c)
	for _, want := range []int{200, statusDenied} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
	for name, text := range map[string]string{
		"an absolute URI of another host": "GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
		"CONNECT":                         "CONNECT good.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n",
		"two lengths":                     "POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
		"two hosts":                       "GET / HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n\r\n",
		"no HTTP":                         "SSH-2.0-x\r\n\r\n",
		"a banner":                        "\x00\x01\x02",
	} {
		if status := r.raw(text); status == 200 {
			t.Errorf("%s is passed on", name)
		}
	}
}

// raw sends a text and returns the status of the answer, 0 for none.
func (r *rig) raw(text string) int {
	c, err := net.Dial("tcp4", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, text)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestInspection(t *testing.T) {
	r := newRig(t)
	r.server("raw.example", "20.60.0.1", func(w http.ResponseWriter, q *http.Request) { fmt.Fprint(w, q.URL.EscapedPath()) })
	r.rules(azurefirewall.ApplicationRule{Name: "path", URLs: []string{"raw.example/microsoft/vscode-tools-for-ai/*"}, TerminateTLS: true})
	if _, body, err := r.get("https://raw.example/microsoft/vscode-tools-for-ai/x", nil); err != nil || body != "/microsoft/vscode-tools-for-ai/x" {
		t.Errorf("%q %v", body, err)
	}
	if l := r.last(); !l.IsTLSInspected || l.TargetURL != "raw.example/microsoft/vscode-tools-for-ai/x" || l.Rule != "path" {
		t.Errorf("log: %+v", l)
	}
	for _, path := range []string{"/torvalds/linux", "/microsoft/vscode-tools-for-ai/%2e%2e/%2e%2e/torvalds/linux", "/microsoft/vscode-tools-for-ai/..%2f..%2fx"} {
		resp, body, err := r.get("https://raw.example"+path, nil)
		if err != nil || resp.StatusCode != statusDenied {
			t.Errorf("%s: %v %q", path, err, body)
		}
	}
	r.fw.cfg.Roots = x509.NewCertPool() // nobody vouches for the server now
	resp, _, err := r.get("https://raw.example/microsoft/vscode-tools-for-ai/x", nil)
	if err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("an unknown server: %v", err)
	}
	r.fw.cfg.Authority = func(context.Context) (*tls.Certificate, error) { return nil, errors.New("the vault is closed") }
	if _, _, err := r.get("https://raw.example/microsoft/vscode-tools-for-ai/x", nil); err == nil {
		t.Error("inspected without an authority")
	}
	if l := r.last(); l.Action != "Deny" || !strings.Contains(l.ActionReason, "the vault is closed") {
		t.Errorf("log: %+v", l)
	}
}

func TestRulesChangeUnderConnections(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	r.server("good.example", "20.60.0.1", func(w http.ResponseWriter, q *http.Request) {
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-q.Context().Done():
		}
	})
	defer close(release)
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example"}})
	ended := make(chan error, 1)
	c, err := tls.Dial("tcp4", r.addr, &tls.Config{ServerName: "good.example", RootCAs: r.pool})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
	br := bufio.NewReader(c)
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := io.Copy(io.Discard, br)
		ended <- err
	}()
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example", "more.example"}})
	select {
	case err := <-ended:
		t.Fatalf("a connection that is still allowed ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"more.example"}})
	if err := <-ended; err == nil {
		t.Error("the connection ended in order")
	}
}

// A request becomes a WebSocket, which ends with the rule that let it pass, and nothing else: inside HTTP/2 nobody
// would judge requests.
func TestUpgrades(t *testing.T) {
	r := newRig(t)
	r.server("http:good.example", "20.60.0.1", func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, "not upgraded", q.Header.Get("HTTP2-Settings"))
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", q.Header.Get("Upgrade"))
		io.Copy(c, rw)
	})
	good := azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example"}}
	r.rules(good)
	ask := func(protocol string) (net.Conn, *bufio.Reader, *http.Response) {
		c, err := net.Dial("tcp4", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", protocol)
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c, br, resp
	}
	for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.2", "x"} {
		_, _, resp := ask(protocol)
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || string(b) != "not upgraded" {
			t.Errorf("%s: %d %q %v", protocol, resp.StatusCode, b, err)
		}
	}
	c, br, resp := ask("WebSocket")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("a WebSocket: %d", resp.StatusCode)
	}
	fmt.Fprintln(c, "echo")
	if line, err := br.ReadString('\n'); err != nil || line != "echo\n" {
		t.Fatalf("heard %q, %v", line, err)
	}
	r.rules()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := br.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the WebSocket outlives its rule: %v", err)
	}
}

func TestDNSProxy(t *testing.T) {
	r := newRig(t)
	r.mu.Lock()
	r.names["tundra.example"], r.names["good.example"] = "20.62.0.7", "20.60.0.1"
	r.mu.Unlock()
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example"}})
	for _, network := range []string{"udp", "tcp"} {
		m := new(dns.Msg).SetQuestion("TUNDRA.example.", dns.TypeA)
		a, _, err := (&dns.Client{Net: network}).Exchange(m, r.resolver)
		if network == "udp" && (err != nil || len(addresses(a)) != 0 && addresses(a)[0].String() != "20.62.0.7") {
			t.Errorf("%s: %v %v", network, a, err)
		}
	}
	m := new(dns.Msg).SetQuestion("tundra.example.", dns.TypeA)
	if a, _, err := new(dns.Client).Exchange(m, r.resolver); err != nil || len(addresses(a)) != 1 {
		t.Fatalf("%v %v", a, err)
	}
	r.mu.Lock()
	if got := r.learned["Tundra.example"]; len(got) != 1 || got[0].String() != "20.62.0.7" {
		t.Errorf("learned: %v", r.learned)
	}
	if len(r.learned) != 1 {
		t.Errorf("names that no network rule has are learned: %v", r.learned)
	}
	r.mu.Unlock()
	for _, q := range []*dns.Msg{new(dns.Msg).SetQuestion("nobody.example.", dns.TypeA), new(dns.Msg).SetQuestion("good.example.", dns.TypeAXFR)} {
		if a, _, err := new(dns.Client).Exchange(q, r.resolver); err != nil || a.Rcode == dns.RcodeSuccess {
			t.Errorf("%s: %v %v", q.Question[0].Name, a, err)
		}
	}
	found := false
	for _, l := range r.fw.cfg.Records.Last(100, "") {
		found = found || l.Category == DNSQuery && l.QueryName == "tundra.example." && l.ResponseCode == "NOERROR" && l.SourceIP == "127.0.0.1"
	}
	if !found {
		t.Error("the question is not in the log")
	}
}

func TestLog(t *testing.T) {
	l := NewLog(3, func() time.Time { return time.Unix(0, 0) })
	for i := range 5 {
		l.Add(Record{ResourceID: []string{"A", "b"}[i%2], SourcePort: uint16(i)})
	}
	if got := l.Last(10, ""); len(got) != 3 || got[0].SourcePort != 2 || got[2].SourcePort != 4 {
		t.Errorf("%+v", got)
	}
	if got := l.Last(1, "a"); len(got) != 1 || got[0].SourcePort != 4 {
		t.Errorf("%+v", got)
	}
}

func FuzzHello(f *testing.F) {
	f.Add(clientHello(f, "good.example"))
	f.Add(withExtension(f, clientHello(f, "good.example"), encryptedClientHello))
	f.Add([]byte{recordHandshake, 3, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, h.raw) {
			t.Errorf("what is passed on is not what was read")
		}
	})
}

// FuzzDNS: whatever a client asks, it is answered or dropped.
func FuzzDNS(f *testing.F) {
	m, err := new(dns.Msg).SetQuestion("tundra.example.", dns.TypeA).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m)
	fw := New(Config{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody") }, Records: NewLog(1, time.Now), Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil {
			return
		}
		var rec Record
		if a := fw.reply(t.Context(), q, "udp", &rec); a.Rcode == dns.RcodeSuccess {
			t.Errorf("answered without a server: %v", a)
		}
	})
}

// FuzzHTTP: what is passed on names an allowed host.
func FuzzHTTP(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
	f.Add("GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n")
	r := newRig(f)
	r.server("http:good.example", "20.60.0.1", func(w http.ResponseWriter, q *http.Request) {
		if q.Host != "good.example" && !strings.EqualFold(strings.TrimSuffix(q.Host, "."), "good.example") && !strings.HasPrefix(strings.ToLower(q.Host), "good.example:") {
			f.Errorf("the server is asked for %q", q.Host)
		}
	})
	r.rules(azurefirewall.ApplicationRule{Name: "good", FQDNs: []string{"good.example"}})
	f.Fuzz(func(_ *testing.T, text string) {
		a, b := net.Pipe()
		s := &session{f: r.fw, client: b, src: netip.MustParseAddrPort("127.0.0.1:1"), dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.port), done: make(chan struct{})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.serve(context.Background())
			s.end(false)
		}()
		a.SetDeadline(time.Now().Add(time.Second))
		go io.Copy(io.Discard, a)
		io.WriteString(a, text)
		a.Close()
		<-done
	})
}
