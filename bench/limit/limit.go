// Package limit is what benchmarks compare with: a minimal Go server that does the physical work of a
// request (TLS, a row or a file made durable, bytes read) and nothing else. It knows no token, role, firewall,
// schema or key, so nobody who does this work on this machine is much faster.
package limit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	_ "modernc.org/sqlite" // the driver
)

// Host is the name in the server's certificate.
const Host = "limit.invalid"

// Ready is what a server says of itself, as one line of JSON.
type Ready struct {
	PID   int    `json:"pid"`
	HTTPS string `json:"https"` // host:port
	DNS   string `json:"dns"`   // host:port, UDP
	CA    string `json:"ca"`    // its certificate, PEM
}

// The paths of its work.
const (
	PathBytes = "/bytes/" // GET /bytes/N: N bytes from memory
	PathFile  = "/file/"  // GET /file/N: N bytes from a file; PUT: a new file with the body, and its fsync
	PathRow   = "/row/"   // PUT: the body as a row under its path, committed with an fsync; GET: that row
	PathRows  = "/rows/"  // POST /rows/N: N rows in one such commit
)

// maxBytes bounds what GET answers and what PUT takes.
const maxBytes = 16 << 20

type server struct {
	dir    string
	db     *sql.DB // one connection, which writes
	put    *sql.Stmt
	reads  *sql.DB
	get    *sql.Stmt
	files  atomic.Int64
	memory []byte
}

// Serve listens on a loopback address and works in the directory dir until ctx ends. It calls ready when
// it answers.
func Serve(ctx context.Context, dir string, ready func(Ready) error) (err error) {
	cert, pemText, err := certificate()
	if err != nil {
		return err
	}
	s := &server{dir: dir, memory: make([]byte, maxBytes)}
	if err := s.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer pc.Close()
	names := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(answer)}
	web := &http.Server{Handler: s.handler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 2)
	go func() { ended <- names.ActivateAndServe() }()
	go func() { ended <- web.ServeTLS(l, "", "") }()
	if err := ready(Ready{PID: os.Getpid(), HTTPS: l.Addr().String(), DNS: pc.LocalAddr().String(), CA: pemText}); err != nil {
		return err
	}
	waiting := 2
	select {
	case <-ctx.Done():
	case err = <-ended:
		waiting--
	}
	web.Close()
	pc.Close()
	for range waiting {
		<-ended
	}
	return err
}

func (s *server) open() (err error) {
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)"}}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(s.dir, "limit.db"), RawQuery: q.Encode()}
	if s.db, err = sql.Open("sqlite", dsn.String()); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	if s.reads, err = sql.Open("sqlite", dsn.String()); err != nil {
		return errors.Join(err, s.close())
	}
	if _, err = s.db.Exec("CREATE TABLE row (key TEXT PRIMARY KEY, value BLOB NOT NULL)"); err != nil {
		return errors.Join(err, s.close())
	}
	if s.put, err = s.db.Prepare("INSERT INTO row VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"); err == nil {
		s.get, err = s.reads.Prepare("SELECT value FROM row WHERE key = ?")
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

func (s *server) close() error {
	var err error
	if s.reads != nil {
		err = s.reads.Close()
	}
	return errors.Join(err, s.db.Close())
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, work := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET " + PathBytes + "{n}": s.getBytes,
		"GET " + PathFile + "{n}":  s.getFile,
		"PUT " + PathFile:          s.putFile,
		"PUT " + PathRow:           s.putRow,
		"GET " + PathRow:           s.getRow,
		"POST " + PathRows + "{n}": s.postRows,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := work(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	return mux
}

func count(r *http.Request) (int, error) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 0 || n > maxBytes {
		return 0, fmt.Errorf("a number from 0 to %d is needed, not %q", maxBytes, r.PathValue("n"))
	}
	return n, nil
}

func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
}

func (s *server) getBytes(w http.ResponseWriter, r *http.Request) error {
	n, err := count(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	w.Write(s.memory[:n])
	return nil
}

// getFile makes the file when it is first asked for.
func (s *server) getFile(w http.ResponseWriter, r *http.Request) error {
	n, err := count(r)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, fmt.Sprintf("get-%d", n))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		tmp := fmt.Sprintf("%s.%d", path, s.files.Add(1))
		if err := errors.Join(os.WriteFile(tmp, s.memory[:n], 0o600), os.Rename(tmp, path)); err != nil {
			return err
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Length", strconv.Itoa(n))
	io.Copy(w, f)
	return nil
}

func (s *server) putFile(w http.ResponseWriter, r *http.Request) error {
	b, err := body(w, r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("put-%d", s.files.Add(1))), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *server) putRow(w http.ResponseWriter, r *http.Request) error {
	b, err := body(w, r)
	if err != nil {
		return err
	}
	if _, err := s.put.ExecContext(r.Context(), r.URL.Path, b); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *server) getRow(w http.ResponseWriter, r *http.Request) error {
	var b []byte
	if err := s.get.QueryRowContext(r.Context(), r.URL.Path).Scan(&b); err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
	return nil
}

func (s *server) postRows(w http.ResponseWriter, r *http.Request) error {
	n, err := count(r)
	if err != nil {
		return err
	}
	b, err := body(w, r)
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTx(r.Context(), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing after Commit
	put := tx.StmtContext(r.Context(), s.put)
	at := s.files.Add(1)
	for i := range n {
		if _, err := put.ExecContext(r.Context(), fmt.Sprintf("%d/%d", at, i), b[:min(len(b), 64)]); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// answer gives every question the same address.
func answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	if len(q.Question) == 1 {
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1),
		}}
	}
	w.WriteMsg(m)
}

func certificate() (c tls.Certificate, pemText string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, "", err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{Host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return c, "", err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}
