//go:build clients

package blob

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vauban.dev/origin"
)

// TestPythonClient runs testdata/client.py over TLS with each interpreter that VAUBAN_PYTHONS lists, separated by
// colons, each with an azure-storage-blob of its own: go test -tags clients -run Python .
func TestPythonClient(t *testing.T) {
	for python := range strings.SplitSeq(os.Getenv("VAUBAN_PYTHONS"), ":") {
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(python))), func(t *testing.T) { runPython(t, python) })
	}
}

func runPython(t *testing.T, python string) {
	f := newFixture(t)
	f.clock.Move(time.Since(f.clock.Now()))
	f.account.HTTPSOnly, f.account.MinimumTLS, f.account.AllowBlobPublicAccess = true, tls.VersionTLS12, false
	for _, a := range []string{
		"generateUserDelegationKey/action", "read", "containers/read", "containers/write", "containers/delete", blobsRead, blobsWrite, blobsDelete, blobsAdd,
	} {
		f.grants["alice "+a] = true
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"*.blob.core.windows.net"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(f.dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(f.Handler())
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return origin.NewContext(ctx, f.origin) }
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.StartTLS()
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/client.py")
	cmd.Env = append(os.Environ(), "PORT="+port, "REQUESTS_CA_BUNDLE="+ca, "CURL_CA_BUNDLE="+ca, "KEY="+base64.StdEncoding.EncodeToString(f.account.Keys[0]))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
