package jwk

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RSA-OAEP is defined with it
	"crypto/sha256"
	"hash"
	"math/big"
	"strings"

	josecipher "github.com/go-jose/go-jose/v4/cipher"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k256ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// signature is an algorithm of sign and verify.
type signature struct {
	hash  crypto.Hash
	pss   bool
	curve string // of ES…
}

var signatures = map[string]signature{
	"RS256": {hash: crypto.SHA256}, "RS384": {hash: crypto.SHA384}, "RS512": {hash: crypto.SHA512},
	"PS256": {hash: crypto.SHA256, pss: true}, "PS384": {hash: crypto.SHA384, pss: true}, "PS512": {hash: crypto.SHA512, pss: true},
	"ES256": {crypto.SHA256, false, "P-256"}, "ES384": {crypto.SHA384, false, "P-384"}, "ES512": {crypto.SHA512, false, "P-521"},
	"ES256K": {crypto.SHA256, false, K256},
}

func (k *Key) signature(alg string, digest []byte) (signature, error) {
	s, ok := signatures[alg]
	if !ok || k.public.Curve != s.curve || (s.curve == "") != (k.rsa != nil) {
		return s, k.unsuited(alg, "sign and verify")
	}
	if len(digest) != s.hash.Size() {
		return s, wrong("Invalid length of 'value': %d bytes; the digest for %s has %d.", len(digest), alg, s.hash.Size())
	}
	return s, nil
}

func (k *Key) unsuited(alg, operations string) error {
	kind := k.public.Type
	if k.public.Curve != "" {
		kind += " (" + k.public.Curve + ")"
	}
	return wrong("Key and signing or encryption algorithm are incompatible. Key type is '%s', and algorithm '%s' of %s is not for it.", kind, alg, operations)
}

var salted = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

// Sign signs a digest. ECDSA signatures are r ‖ s (RFC 7518, 3.4).
func (k *Key) Sign(alg string, digest []byte) ([]byte, error) {
	s, err := k.signature(alg, digest)
	switch {
	case err != nil:
		return nil, err
	case s.pss:
		return rsa.SignPSS(rand.Reader, k.rsa, s.hash, digest, salted)
	case k.rsa != nil:
		return rsa.SignPKCS1v15(nil, k.rsa, s.hash, digest)
	case k.k256 != nil:
		sig := k256ecdsa.Sign(k.k256, digest)
		r, t := sig.R(), sig.S()
		rb, tb := r.Bytes(), t.Bytes()
		return append(rb[:], tb[:]...), nil
	}
	r, t, err := ecdsa.Sign(rand.Reader, k.ec, digest)
	if err != nil {
		return nil, err
	}
	n := len(k.public.X)
	out := make([]byte, 2*n)
	r.FillBytes(out[:n])
	t.FillBytes(out[n:])
	return out, nil
}

// Verify reports whether sig is the digest's signature.
func (k *Key) Verify(alg string, digest, sig []byte) (bool, error) {
	s, err := k.signature(alg, digest)
	switch {
	case err != nil:
		return false, err
	case s.pss:
		return rsa.VerifyPSS(&k.rsa.PublicKey, s.hash, digest, sig, salted) == nil, nil
	case k.rsa != nil:
		return rsa.VerifyPKCS1v15(&k.rsa.PublicKey, s.hash, digest, sig) == nil, nil
	}
	n := len(k.public.X)
	if len(sig) != 2*n {
		return false, nil
	}
	if k.k256 != nil {
		var r, t secp256k1.ModNScalar
		if r.SetByteSlice(sig[:n]) || t.SetByteSlice(sig[n:]) || r.IsZero() || t.IsZero() {
			return false, nil
		}
		return k256ecdsa.NewSignature(&r, &t).Verify(digest, k.k256.PubKey()), nil
	}
	return ecdsa.Verify(&k.ec.PublicKey, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])), nil
}

// Sealed is what Encrypt returns: IV and Tag with the algorithms that have them.
type Sealed struct {
	Value, IV, Tag []byte
}

// oaep is the hash of an RSA-OAEP algorithm, nil of others.
func oaep(alg string) hash.Hash {
	switch alg {
	case "RSA-OAEP":
		return sha1.New()
	case "RSA-OAEP-256":
		return sha256.New()
	}
	return nil
}

// Encrypt encrypts, or wraps a key with the same algorithms. iv is for AES-CBC, aad for AES-GCM.
func (k *Key) Encrypt(alg string, plain, iv, aad []byte) (out Sealed, err error) {
	switch {
	case k.rsa != nil && alg == "RSA1_5":
		out.Value, err = rsa.EncryptPKCS1v15(rand.Reader, &k.rsa.PublicKey, plain)
	case k.rsa != nil && oaep(alg) != nil:
		out.Value, err = rsa.EncryptOAEP(oaep(alg), rand.Reader, &k.rsa.PublicKey, plain, nil)
	case k.oct != nil:
		return k.encryptAES(alg, plain, iv, aad)
	default:
		return out, k.unsuited(alg, "encrypt and wrapKey")
	}
	if err != nil {
		return out, wrong("Invalid length of 'value': %d bytes are too many for %s with this key.", len(plain), alg)
	}
	return out, nil
}

// errDecrypt is all that is said of a text that does not decrypt, whatever is wrong with it: more would be an oracle.
const errDecrypt = Error("The value could not be decrypted with this key and algorithm.")

// Decrypt decrypts, or unwraps.
func (k *Key) Decrypt(alg string, in Sealed, aad []byte) (plain []byte, err error) {
	switch {
	case k.rsa != nil && alg == "RSA1_5":
		plain, err = rsa.DecryptPKCS1v15(nil, k.rsa, in.Value)
	case k.rsa != nil && oaep(alg) != nil:
		plain, err = rsa.DecryptOAEP(oaep(alg), nil, k.rsa, in.Value, nil)
	case k.oct != nil:
		return k.decryptAES(alg, in, aad)
	default:
		return nil, k.unsuited(alg, "decrypt and unwrapKey")
	}
	if err != nil {
		return nil, errDecrypt
	}
	return plain, nil
}

// aes returns the block cipher where alg is of this key's size, A128…, and what follows the size.
func (k *Key) aes(alg string) (cipher.Block, string, error) {
	size := map[string]int{"A128": 16, "A192": 24, "A256": 32}
	if len(alg) < 4 || size[alg[:4]] != len(k.oct) {
		return nil, "", k.unsuited(alg, "encrypt and wrapKey")
	}
	b, err := aes.NewCipher(k.oct)
	return b, alg[4:], err
}

func (k *Key) encryptAES(alg string, plain, iv, aad []byte) (out Sealed, err error) {
	b, mode, err := k.aes(alg)
	if err != nil {
		return out, err
	}
	switch mode {
	case "GCM":
		g, err := cipher.NewGCM(b)
		if err != nil {
			return out, err
		}
		out.IV = make([]byte, g.NonceSize()) // always the service's own: a client's could repeat
		rand.Read(out.IV)
		sealed := g.Seal(nil, out.IV, plain, aad)
		n := len(sealed) - g.Overhead()
		out.Value, out.Tag = sealed[:n], sealed[n:]
		return out, nil
	case "KW":
		if out.Value, err = josecipher.KeyWrap(b, plain); err != nil || len(plain) < 16 {
			return out, wrong("Invalid length of 'value': %s wraps at least 16 bytes, a multiple of 8.", alg)
		}
		return out, nil
	case "CBC", "CBCPAD":
		if len(iv) != aes.BlockSize {
			return out, wrong("Invalid length of 'iv': %s needs %d bytes.", alg, aes.BlockSize)
		}
		if mode == "CBCPAD" {
			n := aes.BlockSize - len(plain)%aes.BlockSize
			plain = append(append([]byte{}, plain...), []byte(strings.Repeat(string(rune(n)), n))...)
		}
		if len(plain)%aes.BlockSize != 0 {
			return out, wrong("Invalid length of 'value': %s takes a multiple of %d bytes.", alg, aes.BlockSize)
		}
		out.Value, out.IV = make([]byte, len(plain)), iv
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(out.Value, plain) //nolint:staticcheck // the algorithm that was asked for
		return out, nil
	}
	return out, k.unsuited(alg, "encrypt and wrapKey")
}

func (k *Key) decryptAES(alg string, in Sealed, aad []byte) ([]byte, error) {
	b, mode, err := k.aes(alg)
	if err != nil {
		return nil, err
	}
	switch mode {
	case "GCM":
		g, err := cipher.NewGCM(b)
		if err != nil {
			return nil, err
		}
		if len(in.IV) != g.NonceSize() || len(in.Tag) != g.Overhead() {
			return nil, wrong("%s needs 'iv' of %d and 'tag' of %d bytes.", alg, g.NonceSize(), g.Overhead())
		}
		plain, err := g.Open(nil, in.IV, append(append([]byte{}, in.Value...), in.Tag...), aad)
		if err != nil {
			return nil, errDecrypt
		}
		return plain, nil
	case "KW":
		if len(in.Value) < 24 {
			return nil, errDecrypt
		}
		plain, err := josecipher.KeyUnwrap(b, in.Value)
		if err != nil {
			return nil, errDecrypt
		}
		return plain, nil
	case "CBC", "CBCPAD":
		if len(in.IV) != aes.BlockSize || len(in.Value)%aes.BlockSize != 0 || len(in.Value) == 0 {
			return nil, errDecrypt
		}
		plain := make([]byte, len(in.Value))
		cipher.NewCBCDecrypter(b, in.IV).CryptBlocks(plain, in.Value) //nolint:staticcheck // the algorithm that was asked for
		if mode == "CBC" {
			return plain, nil
		}
		return unpad(plain)
	}
	return nil, k.unsuited(alg, "decrypt and unwrapKey")
}

// unpad takes PKCS #7 padding off whole blocks.
func unpad(b []byte) ([]byte, error) {
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize || n > len(b) {
		return nil, errDecrypt
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, errDecrypt
		}
	}
	return b[:len(b)-n], nil
}
