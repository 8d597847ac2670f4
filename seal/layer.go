package seal

import (
	"crypto/cipher"
	"sync"

	"golang.org/x/crypto/chacha20"
)

// doubled is the cipher of a stream of an account with infrastructure encryption: each chunk, sealed under the data key, is encrypted
// once more, by another algorithm (ChaCha20) under another key, which the customer's key does not protect and the data key does not
// tell. Lengths stay what they are; what has been changed is found by the chunk's own tag.
type doubled struct {
	cipher.AEAD
	outer []byte // a key of this stream alone, so that a chunk's nonce is used once
}

// Seal implements cipher.AEAD.
func (d doubled) Seal(dst, nonce, plaintext, additional []byte) []byte {
	start := len(dst)
	dst = d.AEAD.Seal(dst, nonce, plaintext, additional)
	d.turn(dst[start:], dst[start:], nonce)
	return dst
}

// Open implements cipher.AEAD. It leaves sealed as it is, unless dst overlaps it.
func (d doubled) Open(dst, nonce, sealed, additional []byte) ([]byte, error) {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	inner := append((*buf)[:0], sealed...)
	d.turn(inner, inner, nonce)
	return d.AEAD.Open(dst, nonce, inner, additional)
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, sealedSize); return &b }}

func (d doubled) turn(dst, src, nonce []byte) {
	c, err := chacha20.NewUnauthenticatedCipher(d.outer, nonce)
	if err != nil {
		panic("seal: " + err.Error()) // lengths of key and nonce, which are constants
	}
	c.XORKeyStream(dst, src)
}
