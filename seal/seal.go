// Package seal encrypts what the region keeps at rest, by envelope: a data key per owner (a storage account,
// a vault) encrypts the data, and a Wrapper (the platform's key, later a customer's key in Key Vault)
// encrypts the data key.
//
// # Format
//
// A sealed stream is a header and a run of chunks:
//
//	header  "VSL1" ‖ salt (32 bytes, random)
//	chunk   AES-256-GCM of up to 64 KiB of plaintext: ciphertext ‖ tag (16 bytes)
//
// Every stream has a key of its own, HKDF-SHA256(data key, salt, "vauban seal v1" ‖ binding), so that no two
// streams share a nonce space and a stream moved to another place (binding: account and blob, vault and
// secret) opens nowhere else. A chunk's nonce is its index and a flag that only the last chunk has: the STREAM
// construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online Authenticated-Encryption and its
// Nonce-Reuse Misuse-Resistance", 2015). Chunks that are changed, moved, dropped or appended do not open.
// A stream of "VSL2" has each chunk, tag included, encrypted once more with ChaCha20 under HKDF-SHA256(infrastructure key, salt, "vauban
// infrastructure v1" ‖ binding) and the chunk's nonce: infrastructure encryption (layer.go).
// All chunks but the last are full and the last is never empty unless it is the only one, so any range can be
// read without reading what is before it.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
)

const (
	// ChunkSize is the plaintext of a full chunk, in bytes.
	ChunkSize = 64 << 10
	// KeySize is the length of data keys and of the platform's key, in bytes.
	KeySize = 32

	magic      = "VSL1"
	magic2     = "VSL2"
	saltSize   = 32
	headerSize = len(magic) + saltSize
	tagSize    = 16
	sealedSize = ChunkSize + tagSize
)

var (
	// ErrDamaged says that sealed bytes are not what was sealed under this key and binding: changed,
	// truncated, reordered, or of another place.
	ErrDamaged = errors.New("seal: damaged, or sealed with another key")
	// ErrForgotten says that the key was forgotten or revoked.
	ErrForgotten = errors.New("seal: the key was forgotten")
)

// SealedSize is the length of the sealed form of n bytes of plaintext.
func SealedSize(n int64) int64 {
	chunks := max((n+ChunkSize-1)/ChunkSize, 1)
	return int64(headerSize) + n + chunks*tagSize
}

// plainSize is the inverse of SealedSize; ErrDamaged for a length that no stream has.
func plainSize(sealed int64) (n, chunks int64, err error) {
	body := sealed - int64(headerSize)
	if body < tagSize {
		return 0, 0, ErrDamaged
	}
	chunks = (body + sealedSize - 1) / sealedSize
	n = body - chunks*tagSize
	if n < 0 || (chunks > 1 && n <= (chunks-1)*ChunkSize) {
		return 0, 0, ErrDamaged
	}
	return n, chunks, nil
}

// Key is a data key in the clear, in memory. It is safe for use by many goroutines. The zero value is a
// forgotten key.
type Key struct {
	mu     sync.RWMutex
	secret []byte // nil once forgotten; in memory of its own (memory.go)
	second []byte // of infrastructure encryption; nil: none

	cleanup runtime.Cleanup
}

// Doubled returns k as a key that seals with infrastructure encryption too, under second's secret. It takes k over.
func (k *Key) Doubled(second *Key) (*Key, error) {
	secret, err := second.Derive("infrastructure", KeySize)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.second = secret
	return k, nil
}

// magic begins what the key seals.
func (k *Key) magic() string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.second != nil {
		return magic2
	}
	return magic
}

// NewKey makes a random data key.
func NewKey() *Key {
	secret := make([]byte, KeySize)
	rand.Read(secret) // never fails: crypto/rand ends the program instead
	k := &Key{}
	k.keep(secret)
	return k
}

// Forget overwrites the key with zeros. Streams that are open under it stop at their next chunk with
// ErrForgotten.
func (k *Key) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secret != nil {
		k.cleanup.Stop()
		dropSecret(k.secret)
	}
	clear(k.second)
	k.secret, k.second = nil, nil
}

// alive returns ErrForgotten once the key was forgotten.
func (k *Key) alive() error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secret == nil {
		return ErrForgotten
	}
	return nil
}

// Derive returns a secret of n bytes for purpose, bound to this key (HKDF-SHA256), for uses beside
// encryption: signing keys that must vanish with the data key.
func (k *Key) Derive(purpose string, n int) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secret == nil {
		return nil, ErrForgotten
	}
	return hkdf.Key(sha256.New, k.secret, nil, "vauban derive v1\x00"+purpose, n)
}

// stream returns the cipher of the stream with this header and binding; ErrDamaged for a header that the key has not written.
func (k *Key) stream(header []byte, binding string) (cipher.AEAD, error) {
	form, salt := string(header[:len(magic)]), header[len(magic):]
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secret == nil {
		return nil, ErrForgotten
	}
	if form != magic && (form != magic2 || k.second == nil) {
		return nil, ErrDamaged
	}
	sub, err := hkdf.Key(sha256.New, k.secret, salt, "vauban seal v1\x00"+binding, KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(sub)
	aead, err := newGCM(sub)
	if err != nil || form == magic {
		return aead, err
	}
	outer, err := hkdf.Key(sha256.New, k.second, salt, "vauban infrastructure v1\x00"+binding, KeySize)
	return doubled{aead, outer}, err
}

func newGCM(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// nonce of chunk i: three zero bytes, the index, and 1 for the last chunk.
func nonce(i int64, last bool) (n [12]byte) {
	binary.BigEndian.PutUint64(n[3:11], uint64(i))
	if last {
		n[11] = 1
	}
	return n
}

// Seal returns the sealed stream of plaintext, appended to dst.
func (k *Key) Seal(dst, plaintext []byte, binding string) ([]byte, error) {
	start := len(dst)
	dst = append(dst, k.magic()...)
	dst = append(dst, make([]byte, saltSize)...)
	salt := dst[start+len(magic):]
	rand.Read(salt)
	aead, err := k.stream(dst[start:], binding)
	if err != nil {
		return nil, err
	}
	for i := int64(0); ; i++ {
		chunk := plaintext[:min(ChunkSize, len(plaintext))]
		plaintext = plaintext[len(chunk):]
		n := nonce(i, len(plaintext) == 0)
		dst = aead.Seal(dst, n[:], chunk, nil)
		if len(plaintext) == 0 {
			return dst, nil
		}
	}
}

// Open returns the plaintext of a sealed stream, appended to dst, or ErrDamaged.
func (k *Key) Open(dst, sealed []byte, binding string) ([]byte, error) {
	_, chunks, err := plainSize(int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	aead, err := k.stream(sealed[:headerSize], binding)
	if err != nil {
		return nil, err
	}
	body := sealed[headerSize:]
	for i := range chunks {
		chunk := body[:min(sealedSize, len(body))]
		body = body[len(chunk):]
		n := nonce(i, i == chunks-1)
		if dst, err = aead.Open(dst, n[:], chunk, nil); err != nil {
			return nil, ErrDamaged
		}
	}
	return dst, nil
}

// Sub returns a key of its own for a purpose, derived from k: for what needs a further secret, which is part of the
// purpose. It does not outlive the caller's use of it: Forget of k does not reach it.
func (k *Key) Sub(purpose string) (*Key, error) {
	secret, err := k.Derive("sub\x00"+purpose, KeySize)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	sub := &Key{second: bytes.Clone(k.second)}
	sub.keep(secret)
	return sub, nil
}
