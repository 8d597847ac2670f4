package postgres

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"vauban.dev/internal/ca"
	"vauban.dev/internal/clock"
	"vauban.dev/store/postgres/pgtest"
)

const (
	database = "db.example"
	password = "correct horse"
)

// authority makes a certificate authority in dir, and the file of its certificate.
func authority(dir string) (a *ca.Authority, root string, err error) {
	if a, err = ca.Open(dir, "tests", &clock.Region{}); err != nil {
		return nil, "", err
	}
	root = filepath.Join(dir, "root.pem")
	return a, root, os.WriteFile(root, a.PEM(), 0o600)
}

func certificate(a *ca.Authority, name string) (c pgtest.Certificate, err error) {
	leaf, err := a.Leaf(name)
	if err != nil {
		return c, err
	}
	for _, der := range leaf.Certificate {
		c.Chain = append(c.Chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	c.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return c, err
}

// startServer starts the tests' server, whose certificate an authority in dir has signed.
func startServer(dir string) (_ *pgtest.Server, root string, err error) {
	own, root, err := authority(dir)
	if err != nil {
		return nil, "", err
	}
	c, err := certificate(own, database)
	if err != nil {
		return nil, "", err
	}
	s, err := pgtest.StartTLS(password, c)
	return s, root, err
}

// TestTLS: with verify-full the store works with the server that the authority vouches for, and with no other; what could go
// without TLS to another machine is refused before anything is sent.
func TestTLS(t *testing.T) {
	_, stranger, err := authority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local, err := url.Parse(server.TCP("public"))
	if err != nil {
		t.Fatal(err)
	}
	dials := 0
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) { // the names of the test are in no DNS
		dials++
		return new(net.Dialer).DialContext(ctx, network, local.Host)
	}
	at := func(host, mode, root string) string {
		q := url.Values{}
		if mode != "" {
			q.Set("sslmode", mode)
		}
		if root != "" {
			q.Set("sslrootcert", root)
		}
		u := url.URL{Scheme: "postgres", User: url.UserPassword("vauban", password), Host: host + ":5432", Path: "/postgres", RawQuery: q.Encode()}
		return u.String()
	}
	for _, c := range []struct{ host, mode, root, why string }{
		{database, "verify-full", stranger, "certificate signed by unknown authority"},
		{"other.example", "verify-full", root, "certificate is valid for " + database},
		{database, "", "", "sslmode=verify-full"},
		{database, "prefer", root, "sslmode=verify-full"},
		{database, "disable", "", "sslmode=verify-full"},
		{"192.0.2.7", "allow", "", "sslmode=verify-full"},
	} {
		before := dials
		s, err := open(t.Context(), at(c.host, c.mode, c.root), lease, dial)
		if err == nil {
			mustClose(t, s)
		}
		if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), password) {
			t.Errorf("%+v: %v", c, err)
		}
		if c.why == "sslmode=verify-full" && dials != before {
			t.Errorf("%+v: it was dialed", c)
		}
	}
	s, err := open(t.Context(), at(database, "verify-full", root), lease, dial)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	if err := put(t.Context(), s, "k", "a", "1"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), s.config.Copy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var plain int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend' AND NOT ssl").Scan(&plain); err != nil || plain != 0 {
		t.Errorf("%d connections without TLS: %v", plain, err)
	}
}
