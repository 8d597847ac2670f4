package blob

import (
	"context"
	"crypto/md5"
	"errors"
	"io"
	"strings"
	"time"

	"vauban.dev/store"
)

// PutOptions are what a blob is written with.
type PutOptions struct {
	Headers
	Metadata    map[string]string // names in lower case
	Tags        map[string]string // index tags
	Tier        string            // "", Hot, Cool or Cold
	IfMatch     string            // the ETag that the blob must have
	IfNoneMatch string            // "*": the blob must not exist (BlobAlreadyExists)
}

// Put writes a block blob whole, in place of what was there: durable when it returns. ContainerNotFound,
// BlobAlreadyExists, ConditionNotMet.
func (s *Service) Put(ctx context.Context, account, container, name string, body io.Reader, o PutOptions) (Blob, error) {
	return s.put(ctx, account, container, name, body, o, conditions{ifMatch: o.IfMatch, ifNoneMatch: o.IfNoneMatch}, nil)
}

// put is Put with all conditions, and a check that runs when the body was read and before the commit.
func (s *Service) put(ctx context.Context, account, container, name string, body io.Reader, o PutOptions, cond conditions, check func() error) (Blob, error) {
	if err := s.precheck(ctx, account, container, name, cond); err != nil {
		return Blob{}, err
	}
	sum := md5.New()
	p, err := s.write(ctx, account, io.TeeReader(body, sum), true)
	if err != nil {
		return Blob{}, err
	}
	if check != nil {
		if err := check(); err != nil {
			s.discard(account, p)
			return Blob{}, err
		}
	}
	if len(o.ContentMD5) == 0 {
		o.ContentMD5 = sum.Sum(nil)
	}
	b, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := t.check(cond); err != nil {
			return err
		}
		if err := t.dropAll(); err != nil {
			return err
		}
		doc := t.fresh(BlockBlob, o)
		if p.Ref != "" {
			doc.Part, doc.Size = &p.part, p.Size
		}
		return t.put(doc, p)
	})
	if err != nil {
		s.discard(account, p)
	}
	return b, err
}

// precheck refuses before a body is read what the commit would refuse anyway.
func (s *Service) precheck(ctx context.Context, account, container, name string, cond conditions) error {
	if err := checkBlobName(name); err != nil {
		return err
	}
	doc, err := s.container(ctx, account, container)
	if err != nil {
		return err
	}
	if cond == (conditions{}) {
		return nil
	}
	return s.store.View(ctx, func(tx store.Tx) error {
		old, err := getBlob(tx, blobKey(account, doc.UID, name))
		if errors.Is(err, store.ErrNotFound) {
			return cond.forWrite(false, 0, 0)
		}
		if err != nil {
			return err
		}
		return cond.forWrite(true, old.ETag, old.Modified)
	})
}

// Stat returns a blob's properties; ContainerNotFound, BlobNotFound.
func (s *Service) Stat(ctx context.Context, account, container, name string) (Blob, error) {
	doc, err := s.stat(ctx, account, container, name)
	if err != nil {
		return Blob{}, err
	}
	return doc.public(name), nil
}

func (s *Service) stat(ctx context.Context, account, container, name string) (*blobDoc, error) {
	c, err := s.container(ctx, account, container)
	if err != nil {
		return nil, err
	}
	var doc *blobDoc
	err = s.store.View(ctx, func(tx store.Tx) (err error) {
		doc, err = getBlob(tx, blobKey(account, c.UID, name))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errBlobNotFound()
	}
	return doc, err
}

func getBlob(tx store.Tx, key string) (*blobDoc, error) {
	d, err := tx.Get(kindBlob, key)
	if err != nil {
		return nil, err
	}
	doc := new(blobDoc)
	return doc, decode(d.Value, doc)
}

// SetMetadata replaces a blob's metadata; BlobNotFound, ConditionNotMet.
func (s *Service) SetMetadata(ctx context.Context, account, container, name string, metadata map[string]string) (Blob, error) {
	return s.change(ctx, account, container, name, conditions{}, func(d *blobDoc) error { d.Metadata = metadata; return nil })
}

// change edits the document of a blob that exists, and gives it a new ETag.
func (s *Service) change(ctx context.Context, account, container, name string, cond conditions, f func(*blobDoc) error) (Blob, error) {
	return s.update(ctx, account, container, name, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		doc := *t.old
		if err := f(&doc); err != nil {
			return err
		}
		doc.ETag, doc.Modified = t.etag, t.now.UnixNano()
		return t.put(&doc, payload{})
	})
}

// Delete removes a blob and its uncommitted blocks; BlobNotFound, ConditionNotMet.
func (s *Service) Delete(ctx context.Context, account, container, name string) error {
	return s.delete(ctx, account, container, name, conditions{})
}

func (s *Service) delete(ctx context.Context, account, container, name string, cond conditions) error {
	_, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		if err := t.dropAll(); err != nil {
			return err
		}
		t.gone = true
		return t.tx.Delete(kindBlob, t.key, store.Any)
	})
	return err
}

// blobTx is one change of one blob, in a transaction of the store.
type blobTx struct {
	tx      store.Tx
	account string
	name    string
	key     string
	old     *blobDoc // nil: there is none
	new     *blobDoc // what was put
	etag    int64
	now     time.Time
	gone    bool   // the blob was deleted
	freed   []part // files to remove after the commit
}

// update runs f on the blob in a transaction and commits; then the payloads that were dropped go.
func (s *Service) update(ctx context.Context, account, container, name string, f func(*blobTx) error) (Blob, error) {
	if err := checkBlobName(name); err != nil {
		return Blob{}, err
	}
	var t *blobTx
	err := s.store.Update(ctx, func(tx store.Tx) error {
		c, err := getContainer(tx, account, container)
		if err != nil {
			return err
		}
		t = &blobTx{tx: tx, account: account, name: name, key: blobKey(account, c.UID, name)}
		t.etag, t.now = s.stamp()
		t.old, err = getBlob(tx, t.key)
		if errors.Is(err, store.ErrNotFound) {
			t.old, err = nil, nil
		}
		if err != nil {
			return err
		}
		if err := f(t); err != nil {
			return err
		}
		return c.Guard.check(t)
	})
	if err != nil {
		return Blob{}, err
	}
	s.files.remove(account, t.key, t.freed)
	if t.new == nil {
		return Blob{}, nil
	}
	return t.new.public(name), nil
}

func (t *blobTx) check(c conditions) error {
	if t.old == nil {
		return c.forWrite(false, 0, 0)
	}
	return c.forWrite(true, t.old.ETag, t.old.Modified)
}

// fresh is a new document; a blob that is overwritten keeps its creation time.
func (t *blobTx) fresh(kind string, o PutOptions) *blobDoc {
	doc := &blobDoc{Type: kind, ETag: t.etag, Modified: t.now.UnixNano(), Created: t.now.UnixNano(), Tier: o.Tier, Headers: o.Headers, Metadata: o.Metadata, Tags: o.Tags}
	if o.Tier != "" {
		doc.TierAt = doc.Modified
	}
	if doc.Headers.ContentType == "" {
		doc.Headers.ContentType = "application/octet-stream"
	}
	if t.old != nil {
		doc.Created = t.old.Created
	}
	return doc
}

// put writes the document, and the payload when it is inline.
func (t *blobTx) put(doc *blobDoc, p payload) error {
	if p.Inline {
		if _, err := t.tx.Put(kindInline, inlineKey(t.account, p.Ref), p.sealed, store.None); err != nil {
			return err
		}
	}
	t.new = doc
	_, err := t.tx.Put(kindBlob, t.key, encode(doc), store.Any)
	return err
}

// drop lets go of a payload.
func (t *blobTx) drop(p part) error {
	if p.Ref == "" {
		return nil
	}
	if !p.Inline {
		t.freed = append(t.freed, p)
		return nil
	}
	err := t.tx.Delete(kindInline, inlineKey(t.account, p.Ref), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// dropAll lets go of all payloads of the old blob, its list of parts and the uncommitted blocks.
func (t *blobTx) dropAll() error {
	if t.old != nil {
		parts, err := loadParts(t.tx, t.old)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := t.drop(p); err != nil {
				return err
			}
		}
		if err := t.dropParts(0); err != nil {
			return err
		}
	}
	staged, err := t.staged()
	if err != nil {
		return err
	}
	for id := range staged {
		if err := t.dropStaged(id, staged[id]); err != nil {
			return err
		}
	}
	return nil
}

// dropParts deletes the documents of the old list of parts from the nth on.
func (t *blobTx) dropParts(from int) error {
	for n := from; n < t.old.PartDocs; n++ {
		if err := t.tx.Delete(kindParts, partsKey(t.old.Parts, n), store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// loadParts returns a blob's payloads in order.
func loadParts(tx store.Tx, doc *blobDoc) ([]part, error) {
	if doc.Part != nil {
		return []part{*doc.Part}, nil
	}
	var all []part
	for n := range doc.PartDocs {
		d, err := tx.Get(kindParts, partsKey(doc.Parts, n))
		if err != nil {
			return nil, err
		}
		var some []part
		if err := decode(d.Value, &some); err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// saveParts writes parts as the list id, from its nth document on, and returns how many documents it has.
func saveParts(tx store.Tx, id string, n int, parts []part) (docs int, err error) {
	for ; len(parts) > 0; n++ {
		some := parts[:min(partsPerDoc, len(parts))]
		parts = parts[len(some):]
		if _, err := tx.Put(kindParts, partsKey(id, n), encode(some), store.Any); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func lowerKeys(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.ToLower(k)] = v
	}
	return out
}

// setTier sets the access tier; it changes neither ETag nor Last-Modified.
func (s *Service) setTier(ctx context.Context, account, container, name, tier string) error {
	_, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		switch {
		case t.old == nil:
			return errBlobNotFound()
		case t.old.Type != BlockBlob:
			return errInvalidBlobType()
		}
		doc := *t.old
		doc.Tier, doc.TierAt = tier, t.now.UnixNano()
		return t.put(&doc, payload{})
	})
	return err
}
