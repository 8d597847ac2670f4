package httpx

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/internal/ca"
	"vauban.dev/internal/clock"
	"vauban.dev/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a front with a host table, a CA and clients that reach it.
type rig struct {
	*Front
	t     *testing.T
	roots *x509.CertPool
	log   *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newRig(t *testing.T, limits Limits, hosts map[string]http.HandlerFunc) *rig {
	t.Helper()
	a, err := ca.Open(t.TempDir(), "test", new(clock.Region))
	if err != nil {
		t.Fatal(err)
	}
	table := new(Hosts)
	for pattern, h := range hosts {
		if err := table.Handle(pattern, h); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{t: t, roots: x509.NewCertPool(), log: new(syncBuffer)}
	r.roots.AddCert(a.Certificate())
	r.Front = New(Config{
		Certificate: a.GetCertificate(func(n string) bool { return strings.HasSuffix(n, ".test") || n == "127.0.0.1" }),
		Hosts:       table, Limits: limits, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return r
}

// listen adds a listener; each connection gets the origin that its number gives.
func (r *rig) listen(l Listener) (addr string) {
	r.t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	l.Net = nl
	if l.Origin == nil {
		l.Origin = func(net.Conn) origin.Origin { return origin.Origin{Kind: origin.Internet} }
	}
	if err := r.Add(l); err != nil {
		r.t.Fatal(err)
	}
	return nl.Addr().String()
}

// client dials addr whatever the host in the URL says.
func (r *rig) client(addr string, h2 bool) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		TLSClientConfig:   &tls.Config{RootCAs: r.roots},
		ForceAttemptHTTP2: h2,
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestOriginIsTheConnections(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%t", h2), func(t *testing.T) {
			r := newRig(t, Limits{}, map[string]http.HandlerFunc{"*.blob.test": func(w http.ResponseWriter, r *http.Request) {
				o := origin.FromContext(r.Context())
				fmt.Fprintf(w, "%s %s %s HTTP/%d", o.Kind, o.Endpoint, o.Source, r.ProtoMajor)
			}})
			var n atomic.Uint32
			at := r.listen(Listener{ID: "pe", TLS: true, Origin: func(net.Conn) origin.Origin {
				return origin.Origin{Kind: origin.PrivateEndpoint, Endpoint: "pe1", Source: netip.AddrFrom4([4]byte{10, 0, 0, byte(n.Add(1))})}
			}})
			proto := map[bool]string{false: "HTTP/1", true: "HTTP/2"}[h2]
			first, second := r.client(at, h2), r.client(at, h2)
			for _, c := range []struct {
				client *http.Client
				want   string
			}{{first, "10.0.0.1"}, {first, "10.0.0.1"}, {second, "10.0.0.2"}, {first, "10.0.0.1"}} {
				if _, got := get(t, c.client, "https://acct.blob.test/"); got != "private endpoint pe1 "+c.want+" "+proto {
					t.Errorf("got %q, want %s by %s", got, c.want, proto)
				}
			}
		})
	}
}

func TestDispatch(t *testing.T) {
	say := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
	}
	r := newRig(t, Limits{}, map[string]http.HandlerFunc{
		"arm.test": say("arm"), "*.blob.test": say("blob"), "*.deep.blob.test": say("deep"), "127.0.0.1": say("local"),
	})
	public := r.listen(Listener{ID: "public", TLS: true})
	plain := r.listen(Listener{ID: "plain"})
	endpoint := r.listen(Listener{ID: "endpoint", TLS: true, Serves: func(h string, at netip.Addr) bool {
		return h == "acct.blob.test" && at == netip.MustParseAddr("127.0.0.1")
	}})
	elsewhere := r.listen(Listener{ID: "elsewhere", TLS: true, Serves: func(_ string, at netip.Addr) bool { return at != netip.MustParseAddr("127.0.0.1") }})
	own := r.listen(Listener{ID: "own", Handler: say("own")})
	for _, c := range []struct {
		at, url, host string
		status        int
		body          string
	}{
		{public, "https://arm.test/", "", 200, "arm"},
		{public, "https://ARM.test:443/", "", 200, "arm"},
		{public, "https://a.blob.test/", "", 200, "blob"},
		{public, "https://b.a.blob.test/", "", 200, "blob"},
		{public, "https://a.deep.blob.test/", "", 200, "deep"},
		{public, "https://blob.test/", "", 404, "HostNotFound"},
		{public, "https://nobody.test/", "", 404, "HostNotFound"},
		{public, "https://arm.test/", "a.blob.test", 421, "MisdirectedRequest"},
		{public, "https://127.0.0.1/", "", 200, "local"},
		{public, "https://127.0.0.1/", "arm.test", 421, "MisdirectedRequest"},
		{plain, "http://arm.test/", "", 200, "arm"},
		{plain, "http://example.com/", "", 404, "HostNotFound"},
		{endpoint, "https://acct.blob.test/", "", 200, "blob"},
		{endpoint, "https://other.blob.test/", "", 421, "MisdirectedRequest"},
		{endpoint, "https://arm.test/", "", 421, "MisdirectedRequest"},
		{elsewhere, "https://acct.blob.test/", "", 421, "MisdirectedRequest"},
		{own, "http://whatever/", "", 200, "own"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			req.Host = c.host
		}
		resp, err := r.client(c.at, false).Do(req)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s as %q: %d %s, want %d %s", c.url, c.host, resp.StatusCode, body, c.status, c.body)
		}
	}
	if _, err := r.client(public, false).Get("https://unknown.example/"); err == nil {
		t.Error("a certificate for a name that is not ours")
	}
}

func TestTLSVersion(t *testing.T) {
	r := newRig(t, Limits{}, nil)
	at := r.listen(Listener{ID: "public", TLS: true})
	c, err := tls.Dial("tcp", at, &tls.Config{RootCAs: r.roots, ServerName: "a.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		c.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

func TestPanic(t *testing.T) {
	r := newRig(t, Limits{}, map[string]http.HandlerFunc{
		"early.test": func(http.ResponseWriter, *http.Request) { panic("boom") },
		"late.test": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			panic("late boom")
		},
	})
	at := r.listen(Listener{ID: "plain"})
	c := r.client(at, false)
	if status, body := get(t, c, "http://early.test/"); status != 500 || strings.Contains(body, "boom") || !strings.Contains(body, "InternalServerError") {
		t.Errorf("early: %d %s", status, body)
	}
	resp, err := c.Get("http://late.test/")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("a cut answer looks whole")
	}
	if log := r.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "late boom") {
		t.Errorf("log: %s", log)
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	r := newRig(t, Limits{}, map[string]http.HandlerFunc{"a.test": func(http.ResponseWriter, *http.Request) {}})
	at := r.listen(Listener{ID: "plain"})
	get(t, r.client(at, false), "http://a.test/c/b?comp=list&sig=SECRET1&api-version=2020-01-01&new_Token=SECRET2&SECRET3&%zz=SECRET4")
	log := r.log.String()
	if strings.Contains(log, "SECRET") || !strings.Contains(log, "comp=list") || !strings.Contains(log, "api-version=2020-01-01") || !strings.Contains(log, "sig=…") {
		t.Errorf("log: %s", log)
	}
}

func TestSlowloris(t *testing.T) {
	r := newRig(t, Limits{Header: time.Second, BodyIdle: time.Second, Idle: time.Second}, map[string]http.HandlerFunc{
		"a.test": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, "stalled", http.StatusRequestTimeout)
			}
		},
	})
	plain, secure := r.listen(Listener{ID: "plain"}), r.listen(Listener{ID: "tls", TLS: true})
	for _, c := range []struct{ why, at, send, want string }{
		{"nothing", plain, "", ""},
		{"no handshake", secure, "\x16\x03\x01", ""},
		{"half a header", plain, "GET / HTTP/1.1\r\nHost: a.t", ""},
		{"half a body", plain, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nab", "408"},
		{"idle after a request", plain, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "200"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", c.at)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, c.send); err != nil {
				t.Fatal(err)
			}
			if err := nc.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(nc) // ends when the server hangs up
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("the server still holds the connection")
			}
			if !strings.Contains(string(got), c.want) {
				t.Errorf("answer %q, want %q", got, c.want)
			}
		})
	}
}

// A handler that works long after it read the body keeps its connection: the body's deadline is gone.
func TestBodyDeadlineEnds(t *testing.T) {
	r := newRig(t, Limits{BodyIdle: time.Second}, map[string]http.HandlerFunc{
		"a.test": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
			select { // as long as a handler would work
			case <-r.Context().Done():
				t.Error("the request was cancelled")
			case <-time.After(1500 * time.Millisecond):
			}
			io.WriteString(w, "done")
		},
	})
	for id, h2 := range map[string]bool{"one": false, "two": true} {
		at := r.listen(Listener{ID: id, TLS: true})
		resp, err := r.client(at, h2).Post("https://a.test/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

// A client that sends all of its body before it looks sees the refusal, not a reset, and goes on.
func TestRefusalOfAnUnreadBody(t *testing.T) {
	r := newRig(t, Limits{}, map[string]http.HandlerFunc{"a.test": func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			http.Error(w, "no", http.StatusForbidden)
		}
	}})
	at := r.listen(Listener{ID: "plain"})
	nc, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const size = 32 << 20 // more than the sockets hold
	fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", size)
	if _, err := nc.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(nc)
	answer := func(want int) {
		t.Helper()
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
			t.Errorf("%d, want %d; %v", resp.StatusCode, want, err)
		}
	}
	answer(403)
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	answer(200)

	// Who asks first is answered without being asked for the body.
	io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
	answer(403)
}

func TestHeaderLimit(t *testing.T) {
	r := newRig(t, Limits{HeaderBytes: 1 << 10}, map[string]http.HandlerFunc{"a.test": func(http.ResponseWriter, *http.Request) {}})
	at := r.listen(Listener{ID: "plain"})
	nc, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: a.test\r\nX: %s\r\n\r\n", strings.Repeat("x", 16<<10))
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("%q, %v", line, err)
	}
}

func TestAddRemove(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, Limits{}, map[string]http.HandlerFunc{
		"a.test": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") },
		"slow.test": func(w http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
			close(release)
		},
	})
	keep, gone := r.listen(Listener{ID: "keep"}), r.listen(Listener{ID: "gone"})
	if err := r.Add(Listener{ID: "keep", Origin: func(net.Conn) origin.Origin { return origin.Origin{} }}); err == nil {
		t.Error("two listeners of one id")
	}
	failed := make(chan error, 1)
	go func() {
		resp, err := r.client(gone, false).Get("http://slow.test/")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-started
	r.Remove("gone")
	if err := <-failed; err == nil {
		t.Error("a connection outlived its listener")
	}
	<-release
	if c, err := net.Dial("tcp", gone); err == nil {
		c.Close()
		t.Error("a removed listener accepts")
	}
	if _, body := get(t, r.client(keep, false), "http://a.test/"); body != "ok" {
		t.Errorf("the other listener answers %q", body)
	}
	r.Remove("unknown")
	if ids := r.Listeners(); len(ids) != 1 || ids[0] != "keep" {
		t.Errorf("listeners %v", ids)
	}
}

func TestShutdown(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, Limits{}, map[string]http.HandlerFunc{"a.test": func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		io.WriteString(w, "whole")
	}})
	at := r.listen(Listener{ID: "plain"})
	answer := make(chan string, 1)
	c := r.client(at, false)
	go func() {
		resp, err := c.Get("http://a.test/")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-started
	down := make(chan error, 1)
	go func() { down <- r.Shutdown(context.Background()) }()
	close(release)
	if err := <-down; err != nil {
		t.Error(err)
	}
	if got := <-answer; got != "whole" {
		t.Errorf("the running request got %q", got)
	}
	if err := r.Add(Listener{ID: "late", Origin: func(net.Conn) origin.Origin { return origin.Origin{} }}); !errors.Is(err, ErrClosed) {
		t.Errorf("Add after Shutdown: %v", err)
	}
}
