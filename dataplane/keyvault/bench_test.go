package keyvault

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"vauban.dev/origin"
)

// cpu is what the process has used, client and server together.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tlsCall returns a call of the service over TLS with one connection that stays.
func tlsCall(b *testing.B, f *fixture, h http.Handler) func(method, path, body string) {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return origin.NewContext(ctx, f.origin) }
	srv.StartTLS()
	b.Cleanup(srv.Close)
	client := srv.Client()
	return func(method, path, body string) {
		r, err := http.NewRequest(method, srv.URL+path+"?api-version=7.6", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Host = "labkv.vault.azure.net"
		r.Header.Set("Authorization", "Bearer tok")
		resp, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			b.Fatalf("%s %s: %d", method, path, resp.StatusCode)
		}
	}
}

// BenchmarkSign compares signing with RSA-2048 over TLS with the bare operation: ns/op of one to the other.
func BenchmarkSign(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, make([]byte, 32)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("vault", func(b *testing.B) {
		f := newFixture(b)
		id, _ := f.key("k", `{"kty":"RSA"}`)
		call := tlsCall(b, f, f.Handler())
		body := `{"alg":"RS256","value":"` + b64(make([]byte, 32)) + `"}`
		call("POST", id+"/sign", body)
		for b.Loop() {
			call("POST", id+"/sign", body)
		}
	})
}

// BenchmarkGetSecret reads a secret over TLS beside a server that answers a constant: the difference of cpu-µs/op is the vault's.
func BenchmarkGetSecret(b *testing.B) {
	f := newFixture(b)
	f.want("PUT", "/secrets/s", `{"value":"the value"}`, 200, "", "")
	for name, h := range map[string]http.Handler{
		"vault": f.Handler(), "constant": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }),
	} {
		b.Run(name, func(b *testing.B) {
			call := tlsCall(b, f, h)
			call("GET", "/secrets/s", "")
			began := cpu(b)
			for b.Loop() {
				call("GET", "/secrets/s", "")
			}
			b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}
