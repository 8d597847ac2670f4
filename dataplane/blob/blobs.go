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
	Tier        string            // "", Hot, Cool, Cold or Archive
	IfMatch     string            // the ETag that the blob must have
	IfNoneMatch string            // "*": the blob must not exist (BlobAlreadyExists)

	sealing customerKey // with which key it is encrypted
	keep    *immutable
	copied  *copyState // of a copy that is done with this write
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
	p, err := s.write(ctx, account, o.sealing, io.TeeReader(body, sum), true)
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
		if err := t.retire(); err != nil {
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
			old, err = nil, nil
		}
		if err != nil {
			return err
		}
		return cond.judgeWrite(old, s.clock.Now())
	})
}

// Stat returns a blob's properties; ContainerNotFound, BlobNotFound.
func (s *Service) Stat(ctx context.Context, account, container, name string) (Blob, error) {
	doc, err := s.stat(ctx, account, container, target{name: name})
	if err != nil {
		return Blob{}, err
	}
	return doc.public(name), nil
}

func (s *Service) stat(ctx context.Context, account, container string, at target) (*blobDoc, error) {
	c, err := s.container(ctx, account, container)
	if err != nil {
		return nil, err
	}
	var doc *blobDoc
	err = s.store.View(ctx, func(tx store.Tx) (err error) {
		_, doc, err = at.find(tx, blobKey(account, c.UID, at.name))
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
	return s.change(ctx, account, container, name, conditions{}, func(t *blobTx, d *blobDoc) error { d.Metadata = metadata; return t.branch(d) })
}

// change edits the document of a blob that exists, and gives it a new ETag.
func (s *Service) change(ctx context.Context, account, container, name string, cond conditions, f func(*blobTx, *blobDoc) error) (Blob, error) {
	return s.update(ctx, account, container, name, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		doc := *t.old
		doc.Lease = doc.Lease.AfterWrite(t.now)
		doc.ETag, doc.Modified = t.etag, t.now.UnixNano()
		if err := f(t, &doc); err != nil {
			return err
		}
		return t.put(&doc, payload{})
	})
}

// Delete removes a blob, its snapshots and its uncommitted blocks; BlobNotFound. What the account's versioning and soft
// delete keep of it stays.
func (s *Service) Delete(ctx context.Context, account, container, name string) error {
	_, err := s.delete(ctx, account, container, target{name: name}, snapshotsToo, conditions{})
	return err
}

// blobTx is one change of one blob, in a transaction of the store.
type blobTx struct {
	tx      store.Tx
	account string
	name    string
	base    string   // the key of the blob
	kind    string   // of the document that is changed: kindBlob, or kindHistory for a snapshot or version
	key     string   // its key
	old     *blobDoc // nil: there is none
	new     *blobDoc // what was put
	etag    int64
	now     time.Time
	gone    bool   // the document was deleted
	freed   []part // files to remove after the commit
	unshed  []part // the same, of payloads that readers of other blobs may be reading
	keeps   BlobSettings
	guard   Guard
	worm    bool // the container keeps versions immutable
}

// update runs f on the blob in a transaction and commits; then the payloads that were dropped go.
func (s *Service) update(ctx context.Context, account, container, name string, f func(*blobTx) error) (Blob, error) {
	return s.updateAt(ctx, account, container, target{name: name}, f)
}

// updateAt is update of a blob, a snapshot or a version.
func (s *Service) updateAt(ctx context.Context, account, container string, at target, f func(*blobTx) error) (Blob, error) {
	if err := checkBlobName(at.name); err != nil {
		return Blob{}, err
	}
	keeps, err := s.settings(ctx, account)
	if err != nil {
		return Blob{}, err
	}
	var t *blobTx
	err = s.store.Update(ctx, func(tx store.Tx) error {
		c, err := getContainer(tx, account, container)
		if err != nil {
			return err
		}
		t = &blobTx{tx: tx, account: account, name: at.name, base: blobKey(account, c.UID, at.name), kind: kindBlob, keeps: keeps, guard: c.Guard, worm: c.Worm}
		t.etag, t.now = s.stamp()
		t.key, t.old, err = at.find(tx, t.base)
		if errors.Is(err, store.ErrNotFound) {
			t.key, t.old, err = t.base, nil, nil
			if at.isHistory() {
				return errBlobNotFound()
			}
		}
		if err != nil {
			return err
		}
		if t.key != t.base {
			t.kind = kindHistory
		}
		if err := f(t); err != nil {
			return err
		}
		if err := t.keepCheck(); err != nil {
			return err
		}
		return c.Guard.check(t)
	})
	if err != nil {
		return Blob{}, err
	}
	s.files.Remove(account, t.base, refs(t.freed))
	s.files.RemoveShared(account, refs(t.unshed))
	if t.new == nil {
		return Blob{}, nil
	}
	b := t.new.public(at.name)
	b.Current = t.kind == kindBlob
	return b, nil
}

func (t *blobTx) check(c conditions) error { return c.judgeWrite(t.old, t.now) }

// fresh is a new document; a blob that is overwritten keeps its creation time and its lease.
func (t *blobTx) fresh(kind string, o PutOptions) *blobDoc {
	doc := &blobDoc{
		Type: kind, ETag: t.etag, Modified: t.now.UnixNano(), Created: t.now.UnixNano(), Tier: o.Tier, Headers: o.Headers, Metadata: o.Metadata, Tags: o.Tags,
		Sealing: o.sealing.sealing, Keep: o.keep, Copy: o.copied,
	}
	if o.Tier != "" {
		doc.TierAt = doc.Modified
	}
	if doc.Headers.ContentType == "" {
		doc.Headers.ContentType = "application/octet-stream"
	}
	if t.old != nil {
		doc.Created, doc.Lease = t.old.Created, t.old.Lease.AfterWrite(t.now)
	}
	if t.keeps.Versioning {
		doc.Version = formatTick(t.etag)
	}
	return doc
}

// put writes the document, and the payload when it is inline, and keeps the index of tags.
func (t *blobTx) put(doc *blobDoc, p payload) error {
	if p.Inline {
		if _, err := t.tx.Put(kindInline, inlineKey(t.account, p.Ref), p.sealed, store.None); err != nil {
			return err
		}
	}
	t.new = doc
	if t.kind == kindBlob {
		var before map[string]string
		if t.old != nil {
			before = t.old.Tags
		}
		if err := t.index(before, doc.Tags); err != nil {
			return err
		}
	}
	_, err := t.tx.Put(t.kind, t.key, encode(doc), store.Any)
	return err
}

// remove deletes the document.
func (t *blobTx) remove() error {
	t.gone = true
	if t.kind == kindBlob && t.old != nil {
		if err := t.index(t.old.Tags, nil); err != nil {
			return err
		}
	}
	return t.tx.Delete(t.kind, t.key, store.Any)
}

// drop lets go of a payload that one document names.
func (t *blobTx) drop(p part) error {
	if p.Ref == "" {
		return nil
	}
	if !p.Inline {
		t.freed = append(t.freed, p)
		return nil
	}
	return t.dropInline(p)
}

func (t *blobTx) dropInline(p part) error {
	err := t.tx.Delete(kindInline, inlineKey(t.account, p.Ref), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// dropContent lets go of all payloads of doc and of the list of them.
func (t *blobTx) dropContent(doc *blobDoc) error {
	if doc.Type == PageBlob {
		return t.dropPages(doc)
	}
	parts, err := loadParts(t.tx, doc)
	if err != nil {
		return err
	}
	if err := t.releaseAll(doc, parts, nil); err != nil {
		return err
	}
	return t.dropParts(doc)
}

// releaseAll lets go of the payloads of parts of doc but of those that are kept.
func (t *blobTx) releaseAll(doc *blobDoc, parts []part, kept map[string]bool) error {
	var seen map[string]bool // a payload that is listed twice is one file that two parts name
	if len(parts) > 1 {
		seen = make(map[string]bool, len(parts))
	}
	for _, p := range parts {
		if kept[p.Ref] || seen[p.Ref] {
			continue
		}
		if seen != nil {
			seen[p.Ref] = true
		}
		if err := t.release(p, doc.Shared); err != nil {
			return err
		}
	}
	return nil
}

// dropAllStaged lets go of the uncommitted blocks.
func (t *blobTx) dropAllStaged() error {
	staged, err := t.staged()
	if err != nil {
		return err
	}
	for id := range staged {
		if err := t.dropStaged(id, staged[id].Part); err != nil {
			return err
		}
	}
	return nil
}

// dropParts deletes the documents of a blob's list of parts.
func (t *blobTx) dropParts(doc *blobDoc) error {
	for n := range doc.PartDocs {
		if err := t.tx.Delete(kindParts, partsKey(doc.Parts, n), store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
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
