package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/fabric"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a dial that succeeds while it is well.
type backend struct {
	sick  atomic.Bool
	hangs atomic.Bool
	asked atomic.Int64
}

var errSick = errors.New("connection refused")

func (b *backend) dial(ctx context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
	b.asked.Add(1)
	if b.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if b.sick.Load() {
		return nil, errSick
	}
	here, there := net.Pipe()
	there.Close()
	return here, nil
}

func tcp(id string, threshold int) Target {
	return Target{VNet: "v", Addr: netip.MustParseAddr("10.0.0.4"), Probe: fabric.Probe{ID: id, Port: 80, Interval: 5 * time.Second, Threshold: threshold}}
}

func TestThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		var changes atomic.Int64
		p := New(b.dial, func() { changes.Add(1) })
		defer p.Close()
		target := tcp("p", 3)
		down := func() bool { synctest.Wait(); return p.Down("p", "v", target.Addr) }
		p.Set([]Target{target})
		p.Start()
		if down() || changes.Load() != 0 {
			t.Fatalf("down at first, %d changes", changes.Load())
		}
		time.Sleep(time.Second) // between two probes
		b.sick.Store(true)
		time.Sleep(10 * time.Second)
		if down() {
			t.Error("down after two of three results")
		}
		b.sick.Store(false)
		time.Sleep(5 * time.Second)
		b.sick.Store(true)
		time.Sleep(10 * time.Second)
		if down() {
			t.Error("the results were not in a row")
		}
		time.Sleep(5 * time.Second)
		if !down() || changes.Load() != 1 {
			t.Errorf("not down after three results, %d changes", changes.Load())
		}
		if err := p.Unhealthy()[target]; !errors.Is(err, errSick) {
			t.Errorf("unhealthy because of %v", err)
		}
		b.sick.Store(false)
		time.Sleep(10 * time.Second)
		if !down() {
			t.Error("up after two of three results")
		}
		time.Sleep(5 * time.Second)
		if down() || changes.Load() != 2 || len(p.Unhealthy()) != 0 {
			t.Errorf("not up after three results, %d changes", changes.Load())
		}
	})
}

// Targets of the first call are healthy until asked, later ones are down until they answer, and the first
// answer decides.
func TestNewTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.sick.Store(true)
		changed := make(chan struct{}, 10)
		p := New(b.dial, func() { changed <- struct{}{} })
		defer p.Close()
		first, later := tcp("first", 3), tcp("later", 3)
		p.Set([]Target{first})
		p.Start()
		<-changed
		if !p.Down("first", "v", first.Addr) {
			t.Error("the first result did not decide")
		}
		p.Set([]Target{first, later})
		p.Start()
		synctest.Wait()
		if !p.Down("later", "v", later.Addr) || len(changed) != 0 {
			t.Error("a new target that does not answer came up")
		}
		b.sick.Store(false)
		p.Set([]Target{first})
		p.Start()
		if p.Down("later", "v", later.Addr) || p.Down("first", "other", first.Addr) {
			t.Error("a target that is not asked is down")
		}
		asked := b.asked.Load()
		p.Set([]Target{first})
		p.Start() // again, and nothing begins anew
		synctest.Wait()
		if b.asked.Load() != asked {
			t.Error("a target that stayed was asked again at once")
		}
		p.Set([]Target{first, later})
		p.Start()
		<-changed
		if p.Down("later", "v", later.Addr) {
			t.Error("a new target that answers stays down")
		}
	})
}

// A backend that does not answer holds nothing up: neither the next connection nor the end.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.hangs.Store(true)
		p := New(b.dial, func() {})
		target := tcp("p", 1)
		p.Set([]Target{target})
		p.Start()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if !p.Down("p", "v", target.Addr) || b.asked.Load() < 2 {
			t.Errorf("asked %d times", b.asked.Load())
		}
		p.Close()
		p.Set([]Target{target})
		p.Start()
		if len(p.Unhealthy()) != 0 {
			t.Error("targets after the end")
		}
	})
}

func TestHTTP(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			w.WriteHeader(http.StatusOK)
		case "/moved":
			http.Redirect(w, r, "/health", http.StatusFound)
		case "/created":
			w.WriteHeader(http.StatusCreated)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	dial := func(ctx context.Context, _ string, to netip.AddrPort) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", to.String())
	}
	p := New(dial, func() {})
	for _, c := range []struct {
		server   *httptest.Server
		protocol fabric.ProbeProtocol
		path     string
		want     string // part of the error, "" for none
	}{
		{plain, fabric.ProbeTCP, "", ""},
		{plain, fabric.ProbeHTTP, "/health", ""},
		{plain, fabric.ProbeHTTP, "health", ""},
		{plain, fabric.ProbeHTTP, "/sick", "answers 503"},
		{plain, fabric.ProbeHTTP, "", "answers 503"},
		{plain, fabric.ProbeHTTP, "/moved", "answers 302"},
		{plain, fabric.ProbeHTTP, "/created", "answers 201"},
		{secure, fabric.ProbeHTTPS, "/health", ""},
		{secure, fabric.ProbeHTTPS, "/sick", "answers 503"},
		{plain, fabric.ProbeHTTPS, "/health", "HTTP response to HTTPS client"},
		{plain, fabric.ProbeHTTP, "/%zz", "invalid URL escape"},
	} {
		at := netip.MustParseAddrPort(c.server.Listener.Addr().String())
		err := p.ask(t.Context(), Target{Addr: at.Addr(), Probe: fabric.Probe{Protocol: c.protocol, Port: at.Port(), Path: c.path}})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d %s: %v, want %q", c.protocol, c.path, err, c.want)
		}
	}
}
