package signin

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"vauban.dev/store"
)

const kindSecret = "entra.signin" // key: "key"; the secret that the service's own keys are derived from

// keys are the service's own: what it hands out and takes back is sealed or authenticated by them, so that it
// need not be stored.
type keys struct {
	pages   cipher.AEAD // the state of a sign-in that is under way, in its page
	refresh []byte      // refresh tokens
	guesses []byte      // wrong passwords, remembered for smart lock-out
}

// openKeys reads the secret, and makes it the first time.
func openKeys(ctx context.Context, st store.Store) (*keys, error) {
	fresh := make([]byte, 32)
	rand.Read(fresh) //nolint:errcheck // never fails: crypto/rand ends the program first
	secret := fresh
	err := st.Update(ctx, func(tx store.Tx) error {
		doc, err := tx.Get(kindSecret, "key")
		if errors.Is(err, store.ErrNotFound) {
			_, err = tx.Put(kindSecret, "key", fresh, store.None)
			return err
		}
		secret = append([]byte(nil), doc.Value...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signin: keys: %w", err)
	}
	k := &keys{}
	derive := func(use string) []byte {
		key, e := hkdf.Key(sha256.New, secret, nil, "vauban signin "+use, 32)
		err = errors.Join(err, e)
		return key
	}
	k.refresh, k.guesses = derive("refresh tokens"), derive("guesses")
	block, e := aes.NewCipher(derive("pages"))
	if err = errors.Join(err, e); err != nil {
		return nil, fmt.Errorf("signin: keys: %w", err)
	}
	k.pages, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

var errSealed = errors.New("signin: not sealed by this service for this browser")

// seal hides v in a text that only open with the same binding reads again.
func (k *keys) seal(v any, binding string) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(k.pages.Seal(nil, nil, b, []byte(binding))), nil
}

// open is the reverse of seal; errSealed.
func (k *keys) open(text, binding string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errSealed
	}
	plain, err := k.pages.Open(nil, nil, b, []byte(binding))
	if err != nil || json.Unmarshal(plain, v) != nil {
		return errSealed
	}
	return nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// random is n random bytes as text.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails: crypto/rand ends the program first
	return base64.RawURLEncoding.EncodeToString(b)
}

// digest is the form in which what is handed out is kept.
func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}
