// Package ca is the region's certificate authority: one ECDSA P-256 root, made once and kept in the data
// directory, and leaves for single names signed on demand. Clients trust it by a bundle of the system's
// roots and this one.
//
// Certificates follow RFC 5280 closely enough for strict verifiers (Python 3.13's VERIFY_X509_STRICT):
// critical basicConstraints and keyUsage, subject and authority key identifiers.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"vauban.dev/internal/clock"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	skew     = time.Hour // clients' clocks may be behind ours
)

// Authority signs leaves. It is safe for use by many goroutines.
type Authority struct {
	clock clock.Clock
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	cache cache
}

// Open reads the authority kept in dir (ca.key, mode 0600, and ca.pem), or makes it when dir has none.
// region names it in certificates. The clock must be the one that clients verify with, which is the
// wall clock, not the region's movable one. A key without its certificate, or the reverse, is an error:
// a new root would make clients distrust what they had trusted.
func Open(dir, region string, clk clock.Clock) (*Authority, error) {
	a := &Authority{clock: clk}
	a.cache.init(maxLeaves)
	err := a.load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create(dir, region)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Authority) load(dir string) error {
	keyPEM, keyErr := os.ReadFile(filepath.Join(dir, keyFile))
	certPEM, certErr := os.ReadFile(filepath.Join(dir, certFile))
	switch {
	case errors.Is(keyErr, fs.ErrNotExist):
		// The key is written last, so a certificate alone is a creation that was cut short.
		return keyErr
	case keyErr != nil:
		return fmt.Errorf("ca: %w", keyErr)
	case errors.Is(certErr, fs.ErrNotExist):
		return fmt.Errorf("ca: %s has %s but not %s", dir, keyFile, certFile)
	case certErr != nil:
		return fmt.Errorf("ca: %w", certErr)
	}
	keyDER, certDER := decodePEM(keyPEM, keyBlock), decodePEM(certPEM, certBlock)
	if keyDER == nil || certDER == nil {
		return fmt.Errorf("ca: %s or %s in %s is not PEM", keyFile, certFile, dir)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return fmt.Errorf("ca: reading %s: %w", keyFile, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("ca: the key in %s is not ECDSA", keyFile)
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return fmt.Errorf("ca: reading %s: %w", certFile, err)
	}
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&ec.PublicKey) {
		return fmt.Errorf("ca: %s and %s in %s do not belong together", keyFile, certFile, dir)
	}
	a.key, a.cert = ec, cert
	return nil
}

func (a *Authority) create(dir, region string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := a.clock.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Vauban"}, CommonName: "Vauban region " + region + " root"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		SubjectKeyId:          id,
		AuthorityKeyId:        id,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if err := writeFile(dir, certFile, pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der}), 0o644); err != nil {
		return err
	}
	if err := writeFile(dir, keyFile, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	a.key, a.cert = key, cert
	return nil
}

// Certificate is the root.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM is the root as one PEM block.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: a.cert.Raw})
}

// keyID is the subject key identifier of RFC 7093 section 2, method 1.
func keyID(pub *ecdsa.PublicKey) ([]byte, error) {
	point, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

// newSerial is 127 random bits: positive, and no longer than RFC 5280 section 4.1.2.2 allows.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
