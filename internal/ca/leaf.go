package ca

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// maxLeaves is how many leaves are kept; a region has a few names for each account.
const maxLeaves = 1024

// ErrName is returned for a server name that the region does not serve.
var ErrName = errors.New("ca: the region does not serve this name")

// GetCertificate returns a function for tls.Config.GetCertificate: a leaf for exactly the server name
// that the client sent, if allowed accepts it (lower-case, without a trailing dot). A client that sends
// none (it called an address) gets a leaf for the address it reached, if allowed accepts that.
func (a *Authority) GetCertificate(allowed func(name string) bool) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
		if name == "" && hello.Conn != nil {
			name = localAddr(hello.Conn)
		}
		if name == "" || !allowed(name) {
			return nil, fmt.Errorf("%w: %q", ErrName, name)
		}
		return a.Leaf(name)
	}
}

func localAddr(c net.Conn) string {
	ap, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().String()
}

// Leaf returns a certificate for one host name or address, from the cache or freshly signed.
func (a *Authority) Leaf(name string) (*tls.Certificate, error) {
	now := a.clock.Now()
	if c := a.cache.get(name, now); c != nil {
		return c, nil
	}
	c, err, _ := a.cache.flight.Do(name, func() (any, error) {
		c, err := a.sign(name, now)
		if err != nil {
			return nil, err
		}
		// renewed well before its end, since a connection may live on
		a.cache.put(name, c, now.Add(leafLife*2/3))
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return c.(*tls.Certificate), nil
}

func (a *Authority) sign(name string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		SubjectKeyId:          id,
		Subject:               pkix.Name{Organization: []string{"Vauban (not Microsoft)"}},
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		tmpl.IPAddresses = []net.IP{addr.AsSlice()}
	} else {
		tmpl.DNSNames = []string{name}
	}
	if len(name) <= 64 { // the longest commonName of RFC 5280; the SAN is what counts
		tmpl.Subject.CommonName = name
	}
	if tmpl.NotAfter.After(a.cert.NotAfter) {
		tmpl.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("ca: signing for %q: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("ca: signing for %q: %w", name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// cache keeps the most recently used leaves.
type cache struct {
	flight singleflight.Group
	mu     sync.Mutex
	max    int
	order  *list.List // of *entry, most recent first
	byName map[string]*list.Element
}

type entry struct {
	name  string
	cert  *tls.Certificate
	until time.Time
}

func (c *cache) init(max int) {
	c.max, c.order, c.byName = max, list.New(), map[string]*list.Element{}
}

func (c *cache) get(name string, now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byName[name]
	if !ok {
		return nil
	}
	e := el.Value.(*entry)
	if !now.Before(e.until) {
		c.order.Remove(el)
		delete(c.byName, name)
		return nil
	}
	c.order.MoveToFront(el)
	return e.cert
}

func (c *cache) put(name string, cert *tls.Certificate, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byName[name]; ok {
		c.order.Remove(el)
	}
	c.byName[name] = c.order.PushFront(&entry{name, cert, until})
	for c.order.Len() > c.max {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.byName, last.Value.(*entry).name)
	}
}
