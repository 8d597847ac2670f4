//go:build clients

package keyvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vauban.dev/origin"
)

// TestPythonClient runs the scripts of testdata over TLS with the interpreters that variables name: VAUBAN_PYTHON has
// azure-keyvault-secrets, VAUBAN_VAULT_PYTHON also -keys and -certificates: go test -tags clients -run Python .
func TestPythonClient(t *testing.T) {
	for script, python := range map[string]string{"client.py": "VAUBAN_PYTHON", "keys_certificates.py": "VAUBAN_VAULT_PYTHON"} {
		t.Run(script, func(t *testing.T) { runPython(t, os.Getenv(python), "testdata/"+script) })
	}
}

func runPython(t *testing.T, python, script string) {
	f := newFixture(t)
	f.clock.now = time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.vault.azure.net"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
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
	cmd := exec.Command(python, script)
	cmd.Env = append(os.Environ(), "PORT="+port, "REQUESTS_CA_BUNDLE="+ca, "CURL_CA_BUNDLE="+ca)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
