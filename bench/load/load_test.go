package load

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoop(t *testing.T) {
	var served atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.URL.Path == "/no" {
			http.Error(w, "not this", http.StatusForbidden)
			return
		}
		w.Write(bytes.Repeat([]byte("x"), 100_000)) // chunked, larger than the buffer
	}))
	t.Cleanup(srv.Close)
	tls := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	tls.ServerName = "example.com"
	loop := func(path string) *Loop {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Bytes(r)
		if err != nil {
			t.Fatal(err)
		}
		l, err := NewLoop(t.Context(), Work{Addr: srv.Listener.Addr().String(), TLS: tls, Concurrency: 3, Want: http.StatusOK,
			Next: func(int64) []byte { return b }, CPU: ProcessCPU(os.Getpid())})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	s, err := loop("/").Run(t.Context(), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if s.Ops < 3 || int64(s.Ops) != served.Load() || s.Bytes != int64(s.Ops)*100_000 || s.Elapsed < 50*time.Millisecond {
		t.Errorf("%+v of %d served", s, served.Load())
	}
	var status *StatusError
	if _, err := loop("/no").Run(t.Context(), time.Second); !errors.As(err, &status) || status.Got != http.StatusForbidden || !strings.Contains(status.Body, "not this") {
		t.Errorf("a refusal: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := loop("/").Run(stopped, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}

func TestSample(t *testing.T) {
	s := Sample{Ops: 500, Bytes: 1 << 20, Elapsed: 2 * time.Second, CPU: time.Second}
	if s.PerSecond() != 250 || s.MiBPerSecond() != 0.5 || s.CPUPerOp() != 2 {
		t.Errorf("%v a second, %v MiB/s, %v ms", s.PerSecond(), s.MiBPerSecond(), s.CPUPerOp())
	}
}

func TestProcess(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7 (a) b) c) S 1 7 7 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 9 0 3 0 0\n": 1750 * time.Millisecond,
		"7 (a) S 1":  -1,
		"no process": -1,
	} {
		got, err := parseStat([]byte(text))
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v (%v), want %v", text, got, err, want)
		}
	}
	m, err := parseMemory([]byte("00400000-7fff000 ---p 00000000 00:00 0 [rollup]\nRss:    2048 kB\nPss:    1024 kB\nPss_Anon:  1 kB\n"))
	if err != nil || m != (Memory{RSS: 2 << 20, PSS: 1 << 20}) {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := parseMemory(nil); err == nil {
		t.Error("nothing is understood as memory")
	}
	if m, err := ProcessMemory(os.Getpid()); err != nil || m.PSS <= 0 || m.PSS > m.RSS {
		t.Errorf("this process: %+v %v", m, err)
	}
}
