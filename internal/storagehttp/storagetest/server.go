package storagetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vauban.dev/origin"
)

// Serve serves the rig's handler over TLS behind a proxy that leads every name to it, until the test ends. env is what
// clients in other processes need: the proxy and the certificate. The clock is the machine's then.
func (r *Rig) Serve() (env []string) {
	r.Helper()
	r.Clock.now = time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"*." + r.Service + ".core.windows.net"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		r.Fatal(err)
	}
	ca := filepath.Join(r.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		r.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(r.Handler)
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return origin.NewContext(ctx, r.Origin) }
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.StartTLS()
	r.Cleanup(srv.Close)
	proxy := httptest.NewServer(tunnel(srv.Listener.Addr().String()))
	r.Cleanup(proxy.Close)
	return []string{
		"HTTPS_PROXY=" + proxy.URL, "https_proxy=" + proxy.URL, "NO_PROXY=", "no_proxy=", "REQUESTS_CA_BUNDLE=" + ca, "SSL_CERT_FILE=" + ca,
	}
}

// tunnel answers CONNECT by a connection to address, whatever was asked for.
func tunnel(address string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		to, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		w.WriteHeader(http.StatusOK)
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		var both sync.WaitGroup
		both.Go(func() { copyUntilClosed(to, from) })
		copyUntilClosed(from, to)
		both.Wait()
	})
}

// copyUntilClosed copies and then ends both: a tunnel has no half that is open.
func copyUntilClosed(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
}
