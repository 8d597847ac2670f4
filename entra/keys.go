package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is defined over SHA-1 (RFC 7517, 4.8); it names a key and protects nothing
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"

	"vauban.dev/store"
)

const (
	keyBits = 2048
	// keyGrace is how long a key stays published after a newer one has taken over: longer than any
	// token lives.
	keyGrace = maxTokenLife + time.Hour
)

// storedKey is the document of one signing key. It holds the private key: the store's files are
// readable by the region's user only.
type storedKey struct {
	KID     string    `json:"kid"`
	PKCS8   []byte    `json:"pkcs8"`
	Cert    []byte    `json:"cert"`
	Created time.Time `json:"created"`
}

type signingKey struct {
	storedKey
	version int64 // of the document: the newest written signs
	private *rsa.PrivateKey
	signer  jose.Signer
}

// keySet is immutable; a rotation replaces it.
type keySet struct {
	at      int64 // version of the store at which they were read
	current *signingKey
	all     []*signingKey // oldest first
	byKID   map[string]*signingKey
}

// RotateKey makes a new signing key, which signs from now on, and withdraws those that no living
// token can be signed with. Verifiers that read the JWKS see both meanwhile.
func (d *Directory) RotateKey(ctx context.Context) error {
	k, err := newKey(d.clock.Now()) // outside the transaction, which must be short
	if err != nil {
		return fmt.Errorf("entra: new signing key: %w", err)
	}
	err = d.store.Update(ctx, func(tx store.Tx) error {
		old, err := readKeys(tx)
		if err != nil {
			return err
		}
		for i, o := range old {
			replaced := k.Created
			if i+1 < len(old) {
				replaced = old[i+1].Created
			}
			if k.Created.Sub(replaced) > keyGrace {
				if err := tx.Delete(kindKey, o.KID, store.Any); err != nil {
					return err
				}
			}
		}
		return putJSON(tx, kindKey, k.KID, k, store.None)
	})
	if err != nil {
		return fmt.Errorf("entra: new signing key: %w", err)
	}
	return d.loadKeys(ctx)
}

// keyLife is how long a key signs before another one takes over.
const keyLife = 42 * 24 * time.Hour

// Tidy does what the directory needs now and then: it has a new key take over when the current one is old, and
// forgets sessions whose time is over.
func (d *Directory) Tidy(ctx context.Context) error {
	now := d.clock.Now()
	if now.Sub(d.signing().current.Created) > keyLife {
		if err := d.RotateKey(ctx); err != nil {
			return err
		}
	}
	return d.store.Update(ctx, func(tx store.Tx) error { return d.SweepSessions(tx, now) })
}

// signing are the keys in force, also one that another server on the same store has made.
func (d *Directory) signing() *keySet {
	set := d.keys.Load()
	if d.store.Changed(kindKey) <= set.at {
		return set
	}
	if err := d.loadKeys(context.Background()); err != nil { // no request's: all use what is read
		return set // signatures by an unknown key are refused, until the store answers again
	}
	return d.keys.Load()
}

func (d *Directory) loadKeys(ctx context.Context) error {
	at := d.store.Changed()
	var keys []*signingKey
	err := d.store.View(ctx, func(tx store.Tx) (err error) {
		keys, err = readKeys(tx)
		return err
	})
	if err != nil {
		return err
	}
	set := &keySet{at: at, all: keys, byKID: make(map[string]*signingKey, len(keys))}
	for _, k := range keys {
		set.byKID[k.KID] = k
		set.current = k
	}
	d.keys.Store(set)
	d.cache.clear()
	return nil
}

// readKeys returns the stored keys in the order they were written.
func readKeys(tx store.Tx) ([]*signingKey, error) {
	var keys []*signingKey
	var bad error
	err := tx.Scan(kindKey, "", "", func(doc store.Doc) bool {
		k := &signingKey{version: doc.Version}
		if bad = k.open(doc.Value); bad != nil {
			bad = fmt.Errorf("key %s: %w", doc.Key, bad)
			return false
		}
		at := len(keys)
		for at > 0 && keys[at-1].version > k.version {
			at--
		}
		keys = append(keys, nil)
		copy(keys[at+1:], keys[at:])
		keys[at] = k
		return true
	})
	return keys, errors.Join(err, bad)
}

func (k *signingKey) open(doc []byte) error {
	if err := json.Unmarshal(doc, &k.storedKey); err != nil {
		return err
	}
	private, err := x509.ParsePKCS8PrivateKey(k.PKCS8)
	if err != nil {
		return err
	}
	var ok bool
	if k.private, ok = private.(*rsa.PrivateKey); !ok {
		return fmt.Errorf("a %T where an RSA key is expected", private)
	}
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t", k.KID)
	k.signer, err = jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256,
		Key:       jose.JSONWebKey{Key: k.private, KeyID: k.KID},
	}, opts)
	return err
}

// newKey makes an RSA key and, as Entra does, a self-signed certificate that carries it; the
// certificate's thumbprint names the key.
func newKey(now time.Time) (storedKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return storedKey{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return storedKey{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return storedKey{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return storedKey{}, err
	}
	sum := sha1.Sum(cert) //nolint:gosec // see the import
	return storedKey{
		KID:     base64.RawURLEncoding.EncodeToString(sum[:]),
		PKCS8:   pkcs8,
		Cert:    cert,
		Created: now,
	}, nil
}

// jwk is one key of the JWKS in Entra's form (RFC 7517).
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	KID    string   `json:"kid"`
	X5T    string   `json:"x5t"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X5C    []string `json:"x5c"`
	Issuer string   `json:"issuer,omitempty"`
}

// PublicKeys are the tenant's keys in the form of a JWKS; issuer, if it is not empty, stands in each.
func (d *Directory) PublicKeys(issuer string) any { return d.signing().jwks(issuer) }

func (s *keySet) jwks(issuer string) []jwk {
	out := make([]jwk, len(s.all))
	for i, k := range s.all {
		e := big.NewInt(int64(k.private.E)).Bytes()
		out[i] = jwk{
			Kty: "RSA", Use: "sig", KID: k.KID, X5T: k.KID, Issuer: issuer,
			N:   base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
			E:   base64.RawURLEncoding.EncodeToString(e),
			X5C: []string{base64.StdEncoding.EncodeToString(k.Cert)},
		}
	}
	return out
}
