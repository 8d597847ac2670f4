package directory

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"time"

	"vauban.dev/store"
)

// Secret is a client secret of an application (Microsoft Graph, passwordCredential). Its value is
// shown once and kept nowhere. It is random and long, so a plain hash protects it as well as a slow
// one would, and a sign-in costs nothing.
type Secret struct {
	KeyID string    `json:"keyId"`
	Name  string    `json:"displayName"`
	Hint  string    `json:"hint"` // the first three characters
	Hash  []byte    `json:"hash"` // SHA-256 of the value
	Start time.Time `json:"startDateTime"`
	End   time.Time `json:"endDateTime"`
}

// NewSecret makes a client secret and its value.
func NewSecret(name string, start, end time.Time) (Secret, string) {
	raw, value := make([]byte, 30), "-"
	for value[0] == '-' { // az and others would take it for an option: --password -x…
		rand.Read(raw) //nolint:errcheck // never fails: crypto/rand ends the program first
		value = base64.RawURLEncoding.EncodeToString(raw)
	}
	value = value[:3] + "8Q~" + value[3:] // the mark by which secret scanners know Entra's secrets
	sum := sha256.Sum256([]byte(value))
	return Secret{KeyID: newID(), Name: name, Hint: value[:3], Hash: sum[:], Start: start, End: end}, value
}

// Key is a certificate by which an application proves itself (Microsoft Graph, keyCredential).
type Key struct {
	KeyID       string    `json:"keyId"`
	Name        string    `json:"displayName,omitempty"`
	Usage       string    `json:"usage"` // Verify
	Type        string    `json:"type"`  // AsymmetricX509Cert
	Identifier  []byte    `json:"customKeyIdentifier"`
	Certificate []byte    `json:"key"` // DER
	Start       time.Time `json:"startDateTime"`
	End         time.Time `json:"endDateTime"`
}

// NewKey reads a certificate in DER or PEM, with RSA or ECDSA; *Invalid.
func NewKey(name string, certificate []byte) (Key, error) {
	if block, _ := pem.Decode(certificate); block != nil && block.Type == "CERTIFICATE" {
		certificate = block.Bytes
	}
	c, err := x509.ParseCertificate(certificate)
	if err != nil {
		return Key{}, &Invalid{"keyCredentials", "key is a certificate, X.509 in DER, in base64"}
	}
	if c.PublicKeyAlgorithm != x509.RSA && c.PublicKeyAlgorithm != x509.ECDSA {
		return Key{}, &Invalid{"keyCredentials", "the certificate's key is RSA or ECDSA, not " + c.PublicKeyAlgorithm.String()}
	}
	if name == "" {
		name = c.Subject.String()
	}
	print := sha1.Sum(c.Raw)
	return Key{KeyID: newID(), Name: name, Usage: "Verify", Type: "AsymmetricX509Cert", Identifier: print[:], Certificate: c.Raw, Start: c.NotBefore, End: c.NotAfter}, nil
}

// Credentials are what an application can prove itself with.
type Credentials struct {
	Secrets   []Secret
	Keys      []Key
	Federated []FederatedCredential
}

// Credentials returns the credentials of a service principal: its own, and those of its application, which count
// in every tenant.
func (o *Objects) Credentials(tx store.Tx, p ServicePrincipal) (Credentials, error) {
	c := Credentials{slices.Clone(p.Secrets), slices.Clone(p.Keys), slices.Clone(p.Federated)}
	a, err := o.applicationOf(tx, p)
	if err == nil && a != nil {
		c.Secrets = append(c.Secrets, a.Secrets...)
		c.Keys = append(c.Keys, a.Keys...)
		c.Federated = append(c.Federated, a.Federated...)
	}
	return c, err
}

// SecretState is what a client secret is worth.
type SecretState uint8

const (
	SecretWrong SecretState = iota
	SecretExpired
	SecretValid
)

// TrySecret compares value with every secret, in a time that does not depend on which one fits. keyID is the
// one that is valid.
func (c Credentials) TrySecret(value string, now time.Time) (keyID string, state SecretState) {
	sum := sha256.Sum256([]byte(value))
	for _, s := range c.Secrets {
		if subtle.ConstantTimeCompare(sum[:], s.Hash) != 1 {
			continue
		}
		if !now.Before(s.End) {
			state = max(state, SecretExpired)
		} else if !now.Before(s.Start) {
			keyID, state = s.KeyID, SecretValid
		}
	}
	return keyID, state
}

// Has reports whether there is still a credential with this key id.
func (c Credentials) Has(keyID string) bool {
	return slices.ContainsFunc(c.Secrets, func(s Secret) bool { return s.KeyID == keyID }) ||
		slices.ContainsFunc(c.Keys, func(k Key) bool { return k.KeyID == keyID }) ||
		slices.ContainsFunc(c.Federated, func(f FederatedCredential) bool { return f.ID == keyID })
}

// AddSecret gives a service principal, or the application with this object id, one more client secret that is
// valid for life, and returns its key id and its value; ErrNotFound. Managed identities have no secrets.
func (o *Objects) AddSecret(tx store.Tx, objectID, name string, life time.Duration) (keyID, value string, err error) {
	now := o.clock.Now()
	secret, value := NewSecret(name, now, now.Add(life))
	return secret.KeyID, value, o.ChangeCredentials(tx, objectID, func(c *Credentials) error {
		c.Secrets = append(c.Secrets, secret)
		return nil
	})
}

// RemoveSecret takes a client secret away, if the application or service principal has it; ErrNotFound.
func (o *Objects) RemoveSecret(tx store.Tx, objectID, keyID string) error {
	return o.ChangeCredentials(tx, objectID, func(c *Credentials) error {
		c.Secrets = slices.DeleteFunc(c.Secrets, func(s Secret) bool { return s.KeyID == keyID })
		return nil
	})
}

// ChangeCredentials changes the secrets and keys of an application or of a service principal by f; ErrNotFound,
// ErrManaged, or f's error.
func (o *Objects) ChangeCredentials(tx store.Tx, objectID string, f func(*Credentials) error) error {
	r, err := o.Find(tx, objectID, TypeApplication, TypeServicePrincipal)
	if err != nil {
		return err
	}
	if r.Type == TypeApplication {
		_, err := o.UpdateApplication(tx, r.ID, func(a *Application) error {
			c := Credentials{Secrets: a.Secrets, Keys: a.Keys}
			err := f(&c)
			a.Secrets, a.Keys = c.Secrets, c.Keys
			return err
		})
		return err
	}
	return o.UpdatePrincipal(tx, r.ID, func(p *ServicePrincipal) error {
		if p.Managed() {
			return ErrManaged
		}
		c := Credentials{Secrets: p.Secrets, Keys: p.Keys}
		err := f(&c)
		p.Secrets, p.Keys = c.Secrets, c.Keys
		return err
	})
}
