package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Writer seals a stream of unknown length. Nothing of it opens before Close wrote the last chunk.
type Writer struct {
	w    io.Writer
	key  *Key
	aead cipher.AEAD
	buf  []byte  // plaintext of the chunk that is being filled
	out  []byte  // sealed chunks on their way out
	pool *[]byte // what out stands in
	i    int64
	n    int64
	err  error
}

var buffers = sync.Pool{New: func() any { b := make([]byte, readChunks*sealedSize); return &b }}

// NewWriter starts a sealed stream on w.
func NewWriter(w io.Writer, k *Key, binding string) (*Writer, error) {
	head := make([]byte, headerSize)
	copy(head, k.magic())
	rand.Read(head[len(magic):])
	aead, err := k.stream(head, binding)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(head); err != nil {
		return nil, err
	}
	pool := buffers.Get().(*[]byte)
	return &Writer{w: w, key: k, aead: aead, buf: make([]byte, 0, ChunkSize), out: (*pool)[:0], pool: pool}, nil
}

// Write seals p. Full chunks go out when more follows, as the last one is marked.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.err != nil {
			return n - len(p), w.err
		}
		if len(w.buf) == 0 && len(p) > ChunkSize { // whole chunks need no copy
			w.seal(p[:ChunkSize], false)
			p = p[ChunkSize:]
			continue
		}
		take := min(ChunkSize-len(w.buf), len(p))
		if take == 0 {
			w.seal(w.buf, false)
			w.buf = w.buf[:0]
			continue
		}
		w.buf = append(w.buf, p[:take]...)
		p = p[take:]
	}
	return n, w.err
}

// Close writes the last chunk. It does not close the underlying writer. It must be called once also after an
// error; later calls do nothing.
func (w *Writer) Close() error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	if w.err == nil {
		w.seal(w.buf, true)
	}
	if w.err == nil {
		w.flush()
	}
	err := w.err
	w.err = errClosed
	clear(w.buf[:cap(w.buf)])
	buffers.Put(w.pool)
	w.out, w.pool = nil, nil
	return err
}

// Size is the number of plaintext bytes written so far.
func (w *Writer) Size() int64 { return w.n + int64(len(w.buf)) }

var errClosed = errors.New("seal: write after Close")

func (w *Writer) seal(chunk []byte, last bool) {
	if w.err = w.key.alive(); w.err != nil {
		return
	}
	if len(w.out)+sealedSize > cap(w.out) {
		w.flush()
	}
	n := nonce(w.i, last)
	w.out = w.aead.Seal(w.out, n[:], chunk, nil)
	w.i++
	if !last {
		w.n += int64(len(chunk))
	}
}

func (w *Writer) flush() {
	if _, err := w.w.Write(w.out); err != nil {
		w.err = err
	}
	w.out = w.out[:0]
}

// readChunks is how many chunks are read (and written) at once.
const readChunks = 4

// Reader opens a sealed stream at any place. It is safe for use by many goroutines if the underlying
// io.ReaderAt is.
type Reader struct {
	r      io.ReaderAt
	key    *Key
	aead   cipher.AEAD
	size   int64
	chunks int64
}

// NewReader opens the sealed stream of sealed bytes in r. It reads the header only: a damaged chunk shows
// when it is read.
func NewReader(r io.ReaderAt, sealed int64, k *Key, binding string) (*Reader, error) {
	n, chunks, err := plainSize(sealed)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headerSize)
	if err := readFull(r, head, 0); err != nil {
		return nil, err
	}
	aead, err := k.stream(head, binding)
	if err != nil {
		return nil, err
	}
	return &Reader{r: r, key: k, aead: aead, size: n, chunks: chunks}, nil
}

// Size is the length of the plaintext.
func (r *Reader) Size() int64 { return r.size }

// ReadAt reads plaintext as io.ReaderAt says.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("seal: negative offset %d", off)
	}
	n := 0
	err := r.each(off, int64(len(p)), func(b []byte) error {
		n += copy(p[n:], b)
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// WriteRange writes n bytes of plaintext from off to w, chunk by chunk, and returns how many it wrote. Past the
// end it stops without an error.
func (r *Reader) WriteRange(w io.Writer, off, n int64) (int64, error) {
	var wrote int64
	err := r.each(off, n, func(b []byte) error {
		m, err := w.Write(b)
		wrote += int64(m)
		return err
	})
	return wrote, err
}

// each calls f with the plaintext of [off, off+n), in order, in pieces.
func (r *Reader) each(off, n int64, f func([]byte) error) error {
	end := min(off+n, r.size)
	if n <= 0 || off >= end {
		return nil
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for i := off / ChunkSize; i*ChunkSize < end; {
		if err := r.key.alive(); err != nil {
			return err
		}
		first, count := i, min(readChunks, (end+ChunkSize-1)/ChunkSize-i)
		from := int64(headerSize) + first*sealedSize
		to := min(from+count*sealedSize, int64(headerSize)+r.size+r.chunks*tagSize)
		raw := (*buf)[:to-from]
		if err := readFull(r.r, raw, from); err != nil {
			return err
		}
		plain := raw[:0] // opened in place: chunk j moves down by j tags
		for ; i < first+count; i++ {
			chunk := raw[(i-first)*sealedSize : min((i-first+1)*sealedSize, int64(len(raw)))]
			nonce := nonce(i, i == r.chunks-1)
			opened, err := r.aead.Open(chunk[:0], nonce[:], chunk, nil)
			if err != nil {
				return ErrDamaged
			}
			plain = append(plain, opened...)
		}
		lo := max(off-first*ChunkSize, 0)
		hi := min(end-first*ChunkSize, int64(len(plain)))
		if err := f(plain[lo:hi]); err != nil {
			return err
		}
	}
	return nil
}

// readFull fills p; a stream that is shorter than its size says is damaged.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return ErrDamaged
	}
	return err
}
