package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"vauban.dev/seal"
	"vauban.dev/store"
)

// openInline returns the plaintext of an inline payload.
func (t *blobTx) openInline(k *seal.Key, p part) ([]byte, error) {
	sealed, err := inlineBytes(t.tx, t.account, p)
	if err != nil {
		return nil, err
	}
	return k.Open(nil, sealed, binding(t.account, p.Ref))
}

// Object is an open blob: its properties and its content as they were when it was opened, even when the blob
// is overwritten or deleted meanwhile. Close it. Read, WriteTo and WriteRange are for one goroutine.
type Object struct {
	Blob
	s       *Service
	ctx     context.Context
	account string
	pinned  string
	reader  int64
	base    string // the blob's key
	key     *seal.Key
	doc     *blobDoc
	parts   []part
	inline  map[string][]byte // sealed bytes by ref
	pos     int64             // of Read
}

// maxInlineParts bounds what an Object keeps in memory: 32 KiB each.
const maxInlineParts = 64

// Get opens a blob; ContainerNotFound, BlobNotFound.
func (s *Service) Get(ctx context.Context, account, container, name string) (*Object, error) {
	return s.get(ctx, account, container, target{name: name}, customerKey{}, byteRange{End: -1})
}

// get is Get of a blob, a snapshot or a version, with the key that it is encrypted with. Of a page blob only what is in the
// range can be read.
func (s *Service) get(ctx context.Context, account, container string, at target, k customerKey, window byteRange) (*Object, error) {
	c, err := s.container(ctx, account, container)
	if err != nil {
		return nil, err
	}
	o := &Object{s: s, ctx: ctx, account: account, base: blobKey(account, c.UID, at.name)}
	o.pinned, o.reader = o.base, s.files.Pin(o.base)
	if err := o.load(ctx, at, window); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	if err := k.matches(o.doc.Sealing); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	if o.doc.archived(s.clock.Now()) {
		return nil, errors.Join(errArchived(), o.Close())
	}
	if o.key, err = s.sealingKey(ctx, account, k); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func (o *Object) load(ctx context.Context, at target, window byteRange) error {
	err := o.s.store.View(ctx, func(tx store.Tx) (err error) {
		key := ""
		if key, o.doc, err = at.find(tx, o.base); err != nil {
			return err
		}
		o.Current = key == o.base
		if o.doc.Type == PageBlob {
			return o.loadPages(tx, window)
		}
		if o.parts, err = loadParts(tx, o.doc); err != nil {
			return err
		}
		for i, p := range o.parts {
			// The last one is always loaded: the next short append replaces it.
			if !p.Inline || len(o.inline) >= maxInlineParts && i < len(o.parts)-1 {
				continue
			}
			b, err := inlineBytes(tx, o.account, p)
			if err != nil {
				return fmt.Errorf("blob: payload %s of %s: %w", p.Ref, at.name, errMissing)
			}
			if o.inline == nil {
				o.inline = map[string][]byte{}
			}
			o.inline[p.Ref] = b
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return errBlobNotFound()
	}
	if err == nil {
		current := o.Current
		o.Blob = o.doc.public(at.name)
		o.Current = current
	}
	return err
}

// loadPages makes the parts of a page blob: zeros up to the window, what is written in it, and zeros between.
func (o *Object) loadPages(tx store.Tx, window byteRange) error {
	to := o.doc.Size
	if window.End >= 0 {
		to = min(to, window.End+1)
	}
	written, err := loadPages(tx, o.doc, min(window.Start, to), to)
	if err != nil {
		return err
	}
	at := int64(0)
	for _, p := range written {
		if p.At > at {
			o.parts = append(o.parts, part{Size: p.At - at})
		}
		o.parts = append(o.parts, p)
		at = p.At + p.Size
	}
	if at < o.doc.Size {
		o.parts = append(o.parts, part{Size: o.doc.Size - at})
	}
	return nil
}

var errMissing = errors.New("it is missing from the store")

// Close lets go of the content.
func (o *Object) Close() error {
	if o.pinned != "" {
		o.s.files.Unpin(o.pinned, o.reader)
		o.pinned = ""
	}
	return nil
}

// WriteRange writes n bytes from off to w and returns how many it wrote; past the end it stops without an error.
func (o *Object) WriteRange(w io.Writer, off, n int64) (int64, error) {
	var wrote, start int64
	for _, p := range o.parts {
		if wrote == n {
			break
		}
		if off+wrote < start+p.Size {
			m, err := o.writePart(w, p, off+wrote-start, n-wrote)
			wrote += m
			if err != nil {
				return wrote, err
			}
		}
		start += p.Size
	}
	return wrote, nil
}

func (o *Object) writePart(w io.Writer, p part, off, n int64) (wrote int64, err error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	if p.Ref == "" {
		return writeZeros(w, min(n, p.Size-off))
	}
	if p.Inline {
		plain, err := o.openInline(p)
		if err != nil {
			return 0, err
		}
		m, err := w.Write(plain[off:min(off+n, p.Size)])
		return int64(m), err
	}
	file, r, err := o.s.files.Open(o.account, p.Ref, p.plain(), o.key)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return r.WriteRange(w, p.Off+off, min(n, p.Size-off))
}

var zeros [64 << 10]byte

func writeZeros(w io.Writer, n int64) (wrote int64, err error) {
	for wrote < n && err == nil {
		var m int
		m, err = w.Write(zeros[:min(n-wrote, int64(len(zeros)))])
		wrote += int64(m)
	}
	return wrote, err
}

func (o *Object) openInline(p part) ([]byte, error) {
	sealed, ok := o.inline[p.Ref]
	if !ok {
		err := o.s.store.View(o.ctx, func(tx store.Tx) (err error) {
			sealed, err = inlineBytes(tx, o.account, p)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	plain, err := o.key.Open(make([]byte, 0, p.Size), sealed, binding(o.account, p.Ref))
	if err == nil && int64(len(plain)) != p.Size {
		err = seal.ErrDamaged
	}
	return plain, err
}

// WriteTo writes the rest of the content to w.
func (o *Object) WriteTo(w io.Writer) (int64, error) {
	n, err := o.WriteRange(w, o.pos, math.MaxInt64-o.pos)
	o.pos += n
	return n, err
}

// Read reads on in the content.
func (o *Object) Read(p []byte) (int, error) {
	if o.pos >= o.Size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	b := sliceWriter{p}
	n, err := o.WriteRange(&b, o.pos, int64(len(p)))
	o.pos += n
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return int(n), err
}

// sliceWriter fills a slice.
type sliceWriter struct{ p []byte }

func (w *sliceWriter) Write(b []byte) (int, error) {
	n := copy(w.p, b)
	w.p = w.p[n:]
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}
