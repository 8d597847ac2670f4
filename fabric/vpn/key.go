package vpn

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/crypto/scrypt"
)

// PrivateKey is a Curve25519 private key. It prints as a word, so that it cannot slip into a log; Text is
// the key.
type PrivateKey [32]byte

// PublicKey is a Curve25519 public key: it identifies a peer.
type PublicKey [32]byte

// PresharedKey is mixed into a session's keys beside the two Curve25519 keys; zero for none.
type PresharedKey [32]byte

// NewPrivateKey makes a key of the system's randomness.
func NewPrivateKey() PrivateKey {
	var k PrivateKey
	rand.Read(k[:]) // never fails
	return clamp(k)
}

// clamp makes 32 bytes a Curve25519 scalar (RFC 7748 section 5).
func clamp(k PrivateKey) PrivateKey {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// Public is the key's other half.
func (k PrivateKey) Public() PublicKey {
	p, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil { // only a wrong length is one
		panic(err)
	}
	return PublicKey(p.PublicKey().Bytes())
}

// Text is the key in base64, as WireGuard's tools write it.
func (k PrivateKey) Text() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Text is the key in base64, as WireGuard's tools write it.
func (k PresharedKey) Text() string { return base64.StdEncoding.EncodeToString(k[:]) }

func (k PrivateKey) String() string     { return "(private key)" }
func (k PrivateKey) GoString() string   { return k.String() }
func (k PresharedKey) String() string   { return "(preshared key)" }
func (k PresharedKey) GoString() string { return k.String() }

func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// ParsePublicKey reads what PublicKey.String writes.
func ParsePublicKey(s string) (PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != len(PublicKey{}) {
		return PublicKey{}, fmt.Errorf("%q is not a key of 32 bytes in base64", s)
	}
	return PublicKey(b), nil
}

// SiteKeys are the keys of one end of a site-to-site connection.
type SiteKeys struct {
	Private   PrivateKey
	Peer      PublicKey // the other end's
	Preshared PresharedKey
}

// Cost of a guess at a shared key: scrypt's parameters for interactive use (RFC 7914), some 100 ms.
const scryptN, scryptR, scryptP = 1 << 15, 8, 1

// DeriveSiteKeys makes the keys of the end at local from what Azure's site-to-site connections know:
// the shared key and the two ends' addresses, which are their identities as in IKE. Each end derives its
// own private key and the other's public one. So whoever knows the shared key can be either end, as with
// IKE's preshared keys, and guessing it costs scrypt a time.
func DeriveSiteKeys(shared string, local, remote netip.Addr) (SiteKeys, error) {
	if local == remote {
		return SiteKeys{}, fmt.Errorf("both ends have the address %s", local)
	}
	if shared == "" {
		return SiteKeys{}, errors.New("the shared key is empty")
	}
	low, high := local, remote
	if high.Less(low) {
		low, high = high, low
	}
	root, err := scrypt.Key([]byte(shared), fmt.Appendf(nil, "vauban site-to-site 1 %s %s", low, high), scryptN, scryptR, scryptP, 32)
	if err != nil {
		return SiteKeys{}, err
	}
	expand := func(what string) (k [32]byte) {
		b, e := hkdf.Expand(sha256.New, root, what, len(k))
		err = errors.Join(err, e)
		copy(k[:], b)
		return k
	}
	keys := SiteKeys{
		Private:   clamp(expand("static " + local.String())),
		Peer:      clamp(expand("static " + remote.String())).Public(),
		Preshared: expand("preshared"),
	}
	return keys, err
}
