package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vauban.dev/internal/clock"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, at time.Time) *Authority {
	t.Helper()
	a, err := Open(dir, "westeurope", clock.Fixed(at))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first := open(t, dir, noon)
	if again := open(t, dir, noon.Add(time.Hour)); !again.Certificate().Equal(first.Certificate()) {
		t.Error("a second Open made another root")
	}
	fi, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", fi, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("files: %v, %v", left, err)
	}
}

func TestOpenAfterCrash(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, noon)
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil { // died before the key was written
		t.Fatal(err)
	}
	open(t, dir, noon)
	if err := os.Remove(filepath.Join(dir, certFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "westeurope", clock.Fixed(noon)); err == nil {
		t.Error("a key without its certificate was accepted")
	}
	for _, text := range []string{"", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := os.WriteFile(filepath.Join(dir, certFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, "westeurope", clock.Fixed(noon)); err == nil {
			t.Errorf("certificate %q was accepted", text)
		}
	}
}

func TestLeaf(t *testing.T) {
	a := open(t, t.TempDir(), noon)
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	long := strings.Repeat("a", 60) + ".blob.core.windows.net"
	for _, name := range []string{"acct.blob.core.windows.net", long, "127.0.0.1"} {
		c, err := a.Leaf(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: noon}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(c.Leaf.DNSNames) + len(c.Leaf.IPAddresses); got != 1 {
			t.Errorf("%s: %d subject alternative names", name, got)
		}
	}
}

func TestLeafCache(t *testing.T) {
	var now = noon
	a, err := Open(t.TempDir(), "r", clockFunc(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	certs := make([]*tls.Certificate, 16)
	for i := range certs {
		wg.Go(func() { certs[i], _ = a.Leaf("x.test") })
	}
	wg.Wait()
	again, err := a.Leaf("x.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range certs {
		if c != again {
			t.Error("one name has two leaves")
		}
	}
	now = now.Add(leafLife*2/3 + time.Second)
	renewed, err := a.Leaf("x.test")
	if err != nil || renewed == again {
		t.Errorf("not renewed: %v", err)
	}
	a.cache.max = 2
	for i := range 5 {
		if _, err := a.Leaf(fmt.Sprintf("%d.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.cache.byName) != 2 || a.cache.order.Len() != 2 {
		t.Errorf("cache holds %d", len(a.cache.byName))
	}
}

type clockFunc func() time.Time

func (f clockFunc) Now() time.Time { return f() }

func TestGetCertificate(t *testing.T) {
	a := open(t, t.TempDir(), noon)
	get := a.GetCertificate(func(name string) bool { return name == "good.test" })
	if c, err := get(&tls.ClientHelloInfo{ServerName: "Good.TEST."}); err != nil || c.Leaf.DNSNames[0] != "good.test" {
		t.Errorf("good.test: %v", err)
	}
	for _, name := range []string{"bad.test", ""} {
		if _, err := get(&tls.ClientHelloInfo{ServerName: name}); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestBundle(t *testing.T) {
	a := open(t, t.TempDir(), noon)
	dir := t.TempDir()
	system := filepath.Join(dir, "system.pem")
	if err := os.WriteFile(system, []byte("SYSTEM"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{system: "SYSTEM\n" + string(a.PEM()), filepath.Join(dir, "none"): string(a.PEM())} {
		out := filepath.Join(dir, "bundle.pem")
		if err := a.WriteBundle(out, path); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(out)
		if err != nil || string(got) != want {
			t.Errorf("bundle %q, %v", got, err)
		}
	}
}

// Python's strict verification is the strictest that clients use. It runs where python3 is there; the
// extensions it wants are checked in any case.
func TestStrictClients(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir, "westeurope", new(clock.Region))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Leaf("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{a.Certificate(), leaf.Leaf} {
		critical := map[string]bool{}
		for _, e := range c.Extensions {
			critical[e.Id.String()] = e.Critical
		}
		for oid, want := range map[string]bool{"2.5.29.15": true, "2.5.29.19": true, "2.5.29.14": false, "2.5.29.35": false} {
			if got, ok := critical[oid]; !ok || got != want {
				t.Errorf("%s: extension %s present=%t critical=%t, want critical=%t", c.Subject, oid, ok, got, want)
			}
		}
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: a.GetCertificate(func(n string) bool { return n == "localhost" })})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const script = `
import socket, ssl, sys
c = ssl.create_default_context(cafile=sys.argv[1])
c.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as s:
    with c.wrap_socket(s, server_hostname="localhost") as t:
        print(t.version())
`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-c", script, filepath.Join(dir, certFile), port).CombinedOutput()
	if err != nil {
		t.Errorf("python3: %v\n%s", err, out)
	}
}
