package limit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// inside tells the test binary to be the process that Start runs.
const inside = "VAUBAN_TEST_LIMIT"

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := Main(context.Background(), os.Args[len(os.Args)-1], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestServer(t *testing.T) {
	t.Setenv(inside, "1")
	dir := t.TempDir()
	p, err := Start(t.Context(), dir, "/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: p.TLS}
	client := &http.Client{Transport: transport}
	for _, test := range []struct {
		method, path, body string
		status             int
		want               int // bytes
	}{
		{"GET", PathBytes + "300", "", 200, 300},
		{"GET", PathFile + "5000", "", 200, 5000},
		{"GET", PathFile + "5000", "", 200, 5000},
		{"PUT", PathFile, "content", 201, 0},
		{"PUT", PathRow + "a/b", "first", 201, 0},
		{"PUT", PathRow + "a/b", "other", 201, 0},
		{"GET", PathRow + "a/b", "", 200, 5},
		{"POST", PathRows + "10", "row", 200, 0},
		{"GET", PathRow + "none", "", 400, -1},
		{"GET", PathBytes + "x", "", 400, -1},
		{"GET", fmt.Sprint(PathBytes, maxBytes+1), "", 400, -1},
		{"POST", PathRows + "-1", "", 400, -1},
		{"GET", "/none", "", 404, -1},
	} {
		r, err := http.NewRequest(test.method, "https://"+p.HTTPS+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != test.status || test.want >= 0 && len(b) != test.want {
			t.Errorf("%s %s: %d, %d bytes (%v): %.100s", test.method, test.path, res.StatusCode, len(b), err, bytes.Trim(b, "\x00"))
		}
	}
	transport.CloseIdleConnections()
	q := new(dns.Msg)
	q.SetQuestion("a.example.", dns.TypeA)
	if a, err := dns.Exchange(q, p.DNS); err != nil || len(a.Answer) != 1 {
		t.Errorf("DNS: %v %v", a, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Start(t.Context(), dir, "/bin/false"); err == nil {
		t.Error("a program that ends is a server")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
