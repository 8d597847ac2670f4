// Package jwk is the cryptography of Key Vault's keys: JSON web keys (RFC 7517, 7518) in and out, and what is done with them
// under the algorithm names of the service ("About keys: Key types, algorithms, and operations"). It is pure: no store, no
// network, no clock. Errors of type Error are the client's fault, and their text is for the client.
package jwk

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// Error is what is wrong with a key or an operation that a client sent.
type Error string

func (e Error) Error() string { return string(e) }

func wrong(format string, args ...any) error { return Error(fmt.Sprintf(format, args...)) }

// Types of keys, without -HSM.
const (
	RSA = "RSA"
	EC  = "EC"
	Oct = "oct"
)

// K256 is Azure's name of the curve secp256k1.
const K256 = "P-256K"

// Bytes are base64url without padding in JSON. Padding is taken.
type Bytes []byte

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bytes) UnmarshalJSON(in []byte) error {
	var s *string
	if err := json.Unmarshal(in, &s); err != nil || s == nil {
		return err
	}
	out, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*s, "="))
	if err != nil {
		return errors.New("not base64url")
	}
	*b = out
	return nil
}

// Public is the public part of a key, as a JSON web key without kid, use and key_ops. Of oct keys it is the type alone.
type Public struct {
	Type  string `json:"kty"` // RSA, EC, oct
	N     Bytes  `json:"n,omitempty"`
	E     Bytes  `json:"e,omitempty"`
	Curve string `json:"crv,omitempty"`
	X     Bytes  `json:"x,omitempty"`
	Y     Bytes  `json:"y,omitempty"`
}

// Private is a JSON web key with its private part, as clients import it.
type Private struct {
	Public
	D  Bytes `json:"d"`
	DP Bytes `json:"dp"`
	DQ Bytes `json:"dq"`
	QI Bytes `json:"qi"`
	P  Bytes `json:"p"`
	Q  Bytes `json:"q"`
	K  Bytes `json:"k"`
}

// Key is a key with its private part, ready for use. It is safe for use by many goroutines.
type Key struct {
	public Public
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	k256   *secp256k1.PrivateKey
	oct    []byte
}

// Public is the key's public part.
func (k *Key) Public() Public { return k.public }

// Signer is the key for crypto/x509: RSA, or EC on a NIST curve; nil else.
func (k *Key) Signer() any {
	switch {
	case k.rsa != nil:
		return k.rsa
	case k.ec != nil:
		return k.ec
	}
	return nil
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// Generate makes a key. size is in bits, of RSA 2048 (also for 0), 3072 or 4096, of oct 128, 192 or 256 (also for 0); curve is
// P-256 (also for ""), P-384, P-521 or P-256K.
func Generate(kind string, size int, curve string) (*Key, error) {
	switch kind {
	case RSA:
		if size == 0 {
			size = 2048
		}
		if size != 2048 && size != 3072 && size != 4096 {
			return nil, wrong("Invalid key_size %d: RSA keys have 2048, 3072 or 4096 bits.", size)
		}
		key, err := rsa.GenerateKey(rand.Reader, size)
		if err != nil {
			return nil, err
		}
		return ofRSA(key), nil
	case EC:
		if curve == "" {
			curve = "P-256"
		}
		if curve == K256 {
			key, err := secp256k1.GeneratePrivateKey()
			if err != nil {
				return nil, err
			}
			return ofK256(key), nil
		}
		c := curves[curve]
		if c == nil {
			return nil, wrong("Invalid crv '%s': it is none of P-256, P-384, P-521, P-256K.", curve)
		}
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			return nil, err
		}
		return ofEC(key), nil
	case Oct:
		if size == 0 {
			size = 256
		}
		if size != 128 && size != 192 && size != 256 {
			return nil, wrong("Invalid key_size %d: oct keys have 128, 192 or 256 bits.", size)
		}
		key := make([]byte, size/8)
		rand.Read(key)
		return &Key{public: Public{Type: Oct}, oct: key}, nil
	}
	return nil, wrong("Invalid kty value: %s", kind)
}

func ofRSA(key *rsa.PrivateKey) *Key {
	return &Key{rsa: key, public: Public{Type: RSA, N: key.N.Bytes(), E: big.NewInt(int64(key.E)).Bytes()}}
}

func ofEC(key *ecdsa.PrivateKey) *Key {
	raw, _ := key.PublicKey.Bytes() // 4 ‖ x ‖ y; keys here are on a curve
	n := (len(raw) - 1) / 2
	return &Key{ec: key, public: Public{Type: EC, Curve: key.Curve.Params().Name, X: raw[1 : 1+n], Y: raw[1+n:]}}
}

func ofK256(key *secp256k1.PrivateKey) *Key {
	raw := key.PubKey().SerializeUncompressed()
	return &Key{k256: key, public: Public{Type: EC, Curve: K256, X: raw[1:33], Y: raw[33:]}}
}

// Of is the key that crypto/x509 knows, an RSA key of a size that vaults take or an EC key on a NIST curve.
func Of(key any) (*Key, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if err := checkRSA(key); err != nil {
			return nil, err
		}
		return ofRSA(key), nil
	case *ecdsa.PrivateKey:
		if curves[key.Curve.Params().Name] == nil {
			return nil, wrong("The private key's curve %s is none of P-256, P-384, P-521.", key.Curve.Params().Name)
		}
		return ofEC(key), nil
	}
	return nil, wrong("The private key is neither an RSA nor an elliptic curve key.")
}

func checkRSA(key *rsa.PrivateKey) error {
	if n := key.N.BitLen(); n != 2048 && n != 3072 && n != 4096 {
		return wrong("Invalid key size %d: RSA keys have 2048, 3072 or 4096 bits.", n)
	}
	return nil
}

// maxRSA bounds the integers of an imported key, in bytes, before any arithmetic.
const maxRSA = 4096 / 8

// Import makes a key of what a client sent; Type is RSA, EC or oct.
func Import(in Private) (*Key, error) {
	switch in.Type {
	case RSA:
		return importRSA(in)
	case EC:
		return importEC(in)
	case Oct:
		if n := len(in.K); n != 16 && n != 24 && n != 32 {
			return nil, wrong("Invalid key: k of an oct key has 16, 24 or 32 bytes, not %d.", n)
		}
		return &Key{public: Public{Type: Oct}, oct: bytes.Clone(in.K)}, nil
	}
	return nil, wrong("Invalid kty value: %s", in.Type)
}

func importRSA(in Private) (*Key, error) {
	for _, part := range []struct {
		name string
		b    Bytes
	}{{"n", in.N}, {"e", in.E}, {"d", in.D}, {"p", in.P}, {"q", in.Q}} {
		if len(part.b) == 0 || len(part.b) > maxRSA+1 {
			return nil, wrong("Invalid key: %s of an RSA key is missing or too long.", part.name)
		}
	}
	num := func(b Bytes) *big.Int { return new(big.Int).SetBytes(b) }
	e := num(in.E)
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
		return nil, wrong("Invalid key: e of an RSA key is an odd number from 3 to 2147483647.")
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: num(in.N), E: int(e.Int64())}, D: num(in.D), Primes: []*big.Int{num(in.P), num(in.Q)}}
	if err := checkRSA(key); err != nil {
		return nil, err
	}
	if err := key.Validate(); err != nil {
		return nil, wrong("Invalid key: n, e, d, p and q are not those of one RSA key.")
	}
	key.Precompute()
	return ofRSA(key), nil
}

func importEC(in Private) (*Key, error) {
	var k *Key
	if in.Curve == K256 {
		var d secp256k1.ModNScalar
		if len(in.D) == 0 || len(in.D) > 32 || d.SetByteSlice(in.D) || d.IsZero() {
			return nil, wrong("Invalid key: d is no private key on the curve %s.", in.Curve)
		}
		k = ofK256(secp256k1.NewPrivateKey(&d))
	} else {
		c := curves[in.Curve]
		if c == nil {
			return nil, wrong("Invalid crv '%s': it is none of P-256, P-384, P-521, P-256K.", in.Curve)
		}
		n := (c.Params().BitSize + 7) / 8
		if len(in.D) == 0 || len(in.D) > n {
			return nil, wrong("Invalid key: d is no private key on the curve %s.", in.Curve)
		}
		key, err := ecdsa.ParseRawPrivateKey(c, append(make([]byte, n-len(in.D)), in.D...))
		if err != nil {
			return nil, wrong("Invalid key: d is no private key on the curve %s.", in.Curve)
		}
		k = ofEC(key)
	}
	same := func(a, b Bytes) bool { return new(big.Int).SetBytes(a).Cmp(new(big.Int).SetBytes(b)) == 0 }
	if len(in.X) > len(k.public.X) || len(in.Y) > len(k.public.Y) || !same(in.X, k.public.X) || !same(in.Y, k.public.Y) {
		return nil, wrong("Invalid key: x and y are not the public key of d.")
	}
	return k, nil
}

// What the stored forms of keys that have no PKCS #8 form here begin with; PKCS #8 begins with 0x30.
const (
	markK256 = "K256"
	markOct  = "OCT1"
)

// Marshal is the private key in the form that Parse reads: PKCS #8 where that knows the type.
func (k *Key) Marshal() ([]byte, error) {
	switch {
	case k.k256 != nil:
		return append([]byte(markK256), k.k256.Serialize()...), nil
	case k.oct != nil:
		return append([]byte(markOct), k.oct...), nil
	}
	return x509.MarshalPKCS8PrivateKey(k.Signer())
}

// Parse reads what Marshal wrote.
func Parse(b []byte) (*Key, error) {
	if d, ok := bytes.CutPrefix(b, []byte(markK256)); ok {
		return ofK256(secp256k1.PrivKeyFromBytes(d)), nil
	}
	if d, ok := bytes.CutPrefix(b, []byte(markOct)); ok {
		return &Key{public: Public{Type: Oct}, oct: bytes.Clone(d)}, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		return nil, err
	}
	return Of(key)
}
