package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"vauban.dev/azurefirewall"
)

// inspect answers a handshake in the server's name, with a certificate of the policy's own authority, and judges
// the requests inside.
func (s *session) inspect(ctx context.Context, h hello, d azurefirewall.Decision, rec Record) {
	cert, err := s.f.certificate(ctx, h.serverName)
	if err != nil {
		s.refuse(azurefirewall.Decision{Ref: d.Ref, Reason: "TLS cannot be inspected: " + err.Error()}, rec)
		return
	}
	c := tls.Server(newPrefixed(s.client, h.raw), &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
	within, cancel := context.WithTimeout(ctx, helloTime)
	err = c.HandshakeContext(within)
	cancel()
	if err != nil {
		s.refuse(azurefirewall.Decision{Ref: d.Ref, Reason: "the client does not take the firewall's certificate: " + err.Error()}, rec)
		return
	}
	s.http(ctx, c, h.serverName)
}

// certificates are those made for servers, by name, under one authority.
type certificates struct {
	mu        sync.Mutex
	authority *tls.Certificate
	byName    map[string]*tls.Certificate
}

const (
	maxCertificates = 1000
	leafTime        = 24 * time.Hour
)

func (f *Firewall) certificate(ctx context.Context, host string) (*tls.Certificate, error) {
	name, ok := azurefirewall.CanonicalHost(host)
	if !ok || f.cfg.Authority == nil {
		return nil, errors.New("there is no certificate authority")
	}
	ca, err := f.cfg.Authority(ctx)
	if err != nil {
		return nil, err
	}
	f.certs.mu.Lock()
	defer f.certs.mu.Unlock()
	if f.certs.authority == nil || !f.certs.authority.Leaf.Equal(ca.Leaf) || len(f.certs.byName) >= maxCertificates {
		f.certs.authority, f.certs.byName = ca, map[string]*tls.Certificate{}
	}
	if c := f.certs.byName[name]; c != nil && time.Until(c.Leaf.NotAfter) > time.Hour {
		return c, nil
	}
	c, err := issue(ca, name)
	if err == nil {
		f.certs.byName[name] = c
	}
	return c, err
}

// issue makes a certificate for a server's name. Its time is the machine's, by which clients verify.
func issue(ca *tls.Certificate, name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: clipName(name)}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafTime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if ca.Leaf.NotAfter.Before(template.NotAfter) {
		template.NotAfter = ca.Leaf.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, ca.Certificate...), PrivateKey: key, Leaf: leaf}, nil
}

// clipName keeps a common name within its 64 characters (RFC 5280); the name that counts is among the DNSNames.
func clipName(name string) string {
	if len(name) > 64 {
		return name[:64]
	}
	return name
}
