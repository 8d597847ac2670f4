package entra

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

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

func newSecret(name string, start, end time.Time) (Secret, string) {
	raw := make([]byte, 30)
	rand.Read(raw) //nolint:errcheck // never fails: crypto/rand ends the program first
	value := base64.RawURLEncoding.EncodeToString(raw)
	value = value[:3] + "8Q~" + value[3:] // the mark by which secret scanners know Entra's secrets
	sum := sha256.Sum256([]byte(value))
	return Secret{KeyID: uuid.NewString(), Name: name, Hint: value[:3], Hash: sum[:], Start: start, End: end}, value
}

// AddSecret gives an application one more client secret that is valid for life, and returns its key
// id and its value; ErrNoPrincipal. Managed identities have no secrets.
func (d *Directory) AddSecret(tx store.Tx, objectID, name string, life time.Duration) (keyID, value string, err error) {
	now := d.clock.Now()
	secret, value := newSecret(name, now, now.Add(life))
	err = d.update(tx, objectID, func(p *ServicePrincipal) error {
		if p.Managed() {
			return fmt.Errorf("entra: %s is a managed identity and can have no secret", objectID)
		}
		p.Secrets = append(p.Secrets, secret)
		return nil
	})
	if err != nil {
		return "", "", err
	}
	return secret.KeyID, value, nil
}

// RemoveSecret takes a client secret away, if the application has it; ErrNoPrincipal.
func (d *Directory) RemoveSecret(tx store.Tx, objectID, keyID string) error {
	return d.update(tx, objectID, func(p *ServicePrincipal) error {
		p.Secrets = slices.DeleteFunc(p.Secrets, func(s Secret) bool { return s.KeyID == keyID })
		return nil
	})
}

// SecretState is what came of a client secret.
type SecretState uint8

const (
	SecretWrong SecretState = iota
	SecretExpired
	SecretValid
)

// TrySecret compares value with every secret, in a time that does not depend on which one fits. keyID is the
// one that is valid.
func (p ServicePrincipal) TrySecret(value string, now time.Time) (keyID string, state SecretState) {
	sum := sha256.Sum256([]byte(value))
	for _, s := range p.Secrets {
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

// hasCredential reports whether the application still has the credential with this key id.
func (p ServicePrincipal) hasCredential(keyID string) bool {
	return slices.ContainsFunc(p.Secrets, func(s Secret) bool { return s.KeyID == keyID })
}
