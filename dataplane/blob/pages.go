package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"vauban.dev/store"
)

// A page blob is sparse. Its pages are in buckets of 1 MiB, a document each that lists which ranges were written and where
// their bytes are; a range that is not listed reads as zeros.
const (
	pageSize    = 512
	bucketSize  = 1 << 20
	maxPageBlob = 8 << 40
	maxPages    = 4 * mib // of one Put Page
)

func pagesKey(id string, bucket int64) string { return fmt.Sprintf("%s/%08d", id, bucket) }

// loadPages returns what is written of a page blob in [from, to), in order.
func loadPages(tx store.Tx, doc *blobDoc, from, to int64) (parts []part, err error) {
	if doc.Parts == "" || from >= to {
		return nil, nil
	}
	after := ""
	if b := from / bucketSize; b > 0 {
		after = pagesKey(doc.Parts, b-1)
	}
	last := pagesKey(doc.Parts, (to-1)/bucketSize)
	var bad error
	err = tx.Scan(kindPages, doc.Parts+"/", after, func(d store.Doc) bool {
		if d.Key > last {
			return false
		}
		var some []part
		bad = decode(d.Value, &some)
		for _, p := range some {
			if p, ok := clipPart(p, from, to); ok {
				parts = append(parts, p)
			}
		}
		return bad == nil
	})
	return parts, errors.Join(err, bad)
}

// clipPart cuts a part of a page blob to [from, to).
func clipPart(p part, from, to int64) (part, bool) {
	start, end := max(p.At, from), min(p.At+p.Size, to)
	if start >= end {
		return p, false
	}
	p.Whole = p.plain()
	p.Off += start - p.At
	p.At, p.Size = start, end-start
	return p, true
}

// setPages makes [from, to) of a page blob the part, or zeros when the part has no payload. Payloads that nothing names any
// more go.
func (t *blobTx) setPages(doc *blobDoc, from, to int64, p part) error {
	if doc.Parts == "" {
		doc.Parts = randomID()
	}
	var gone []part
	for bucket := from / bucketSize; bucket*bucketSize < to; bucket++ {
		dropped, err := t.setBucket(doc, bucket, from, to, p)
		if err != nil {
			return err
		}
		gone = append(gone, dropped...)
	}
	return t.releasePages(doc, gone)
}

func (t *blobTx) setBucket(doc *blobDoc, bucket, from, to int64, p part) (dropped []part, err error) {
	key := pagesKey(doc.Parts, bucket)
	var old []part
	d, err := t.tx.Get(kindPages, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err == nil {
		if err := decode(d.Value, &old); err != nil {
			return nil, err
		}
	}
	low := bucket * bucketSize
	var next []part
	keep := func(p part, from, to int64) {
		if p, ok := clipPart(p, from, to); ok {
			next = append(next, p)
		}
	}
	for _, o := range old {
		keep(o, low, from)
	}
	if p.Ref != "" {
		keep(p, max(from, low), min(to, low+bucketSize))
	}
	for _, o := range old {
		keep(o, to, math.MaxInt64)
		if o.At < to && o.At+o.Size > from {
			dropped = append(dropped, o)
		}
	}
	if len(next) == 0 {
		if len(old) == 0 {
			return nil, nil
		}
		return dropped, t.tx.Delete(kindPages, key, store.Any)
	}
	_, err = t.tx.Put(kindPages, key, encode(next), store.Any)
	return dropped, err
}

// releasePages lets go of those payloads of parts, which were overwritten, that the blob does not name any more.
func (t *blobTx) releasePages(doc *blobDoc, parts []part) error {
	seen := map[string]bool{}
	for _, p := range parts {
		if seen[p.Ref] {
			continue
		}
		seen[p.Ref] = true
		start := p.At - p.Off
		still, err := loadPages(t.tx, doc, start, start+p.plain())
		if err != nil {
			return err
		}
		named := false
		for _, s := range still {
			named = named || s.Ref == p.Ref
		}
		if named {
			continue
		}
		if err := t.release(p, doc.Shared); err != nil {
			return err
		}
	}
	return nil
}

// dropPages lets go of everything of a page blob.
func (t *blobTx) dropPages(doc *blobDoc) error {
	var keys []string
	var parts []part
	err := t.eachBucket(doc, func(d store.Doc, some []part) {
		keys, parts = append(keys, d.Key), append(parts, some...)
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := t.tx.Delete(kindPages, key, store.Any); err != nil {
			return err
		}
	}
	return t.releaseAll(doc, parts, nil)
}

// copyPages writes the lists of a page blob again under a new id.
func (t *blobTx) copyPages(doc *blobDoc) (parts []part, id string, err error) {
	id = randomID()
	copied := map[string][]byte{}
	err = t.eachBucket(doc, func(d store.Doc, some []part) {
		copied[id+strings.TrimPrefix(d.Key, doc.Parts)] = d.Value
		parts = append(parts, some...)
	})
	for key, v := range copied {
		if err == nil {
			_, err = t.tx.Put(kindPages, key, v, store.Any)
		}
	}
	return parts, id, err
}

func (t *blobTx) eachBucket(doc *blobDoc, f func(store.Doc, []part)) error {
	if doc.Parts == "" {
		return nil
	}
	var bad error
	err := t.tx.Scan(kindPages, doc.Parts+"/", "", func(d store.Doc) bool {
		var some []part
		bad = decode(d.Value, &some)
		f(d, some)
		return bad == nil
	})
	return errors.Join(err, bad)
}

// createPages makes a page blob of size bytes, all zero, in place of what was there.
func (s *Service) createPages(ctx context.Context, account, container, name string, size, sequence int64, o PutOptions, cond conditions) (Blob, error) {
	return s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := t.check(cond); err != nil {
			return err
		}
		if err := t.retire(); err != nil {
			return err
		}
		doc := t.fresh(PageBlob, o)
		doc.Size, doc.Sequence = size, sequence
		return t.put(doc, payload{})
	})
}

// sequenceConditions are the conditions of Put Page alone. Negative: not given.
type sequenceConditions struct{ le, lt, eq int64 }

func (c sequenceConditions) check(n int64) error {
	if c.le >= 0 && n > c.le || c.lt >= 0 && n >= c.lt || c.eq >= 0 && n != c.eq {
		return newError(http.StatusPreconditionFailed, "SequenceNumberConditionNotMet", "The sequence number condition specified was not met.").Because("the blob's sequence number is %d", n)
	}
	return nil
}

func errInvalidPageRange(why string) *Error {
	return newError(http.StatusRequestedRangeNotSatisfiable, "InvalidPageRange", "The page range specified is invalid.").Because("%s", why)
}

// pageCheck judges a write to [from, to) of a page blob.
func pageCheck(t *blobTx, cond conditions, seq sequenceConditions, k customerKey, to int64) error {
	switch {
	case t.old == nil:
		return errBlobNotFound()
	case t.old.Type != PageBlob:
		return errInvalidBlobType()
	}
	if err := t.check(cond); err != nil {
		return err
	}
	if err := seq.check(t.old.Sequence); err != nil {
		return err
	}
	if err := k.matches(t.old.Sealing); err != nil {
		return err
	}
	if to > t.old.Size {
		return errInvalidPageRange(fmt.Sprintf("it ends at %d, and the blob has %d bytes", to, t.old.Size))
	}
	return nil
}

// writePages writes body to [from, to) of a page blob, or zeros when body is nil; the body's length is to-from.
func (s *Service) writePages(ctx context.Context, account, container, name string, from, to int64, body io.Reader, k customerKey, cond conditions, seq sequenceConditions, check func() error) (Blob, error) {
	if err := s.precheck(ctx, account, container, name, conditions{}); err != nil {
		return Blob{}, err
	}
	var p payload
	if body != nil {
		var err error
		if p, err = s.write(ctx, account, k, body, false); err != nil {
			return Blob{}, err
		}
		if err := check(); err != nil {
			s.discard(account, p)
			return Blob{}, err
		}
		p.At = from
	}
	b, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := pageCheck(t, cond, seq, k, to); err != nil {
			return err
		}
		doc := *t.old
		if err := t.setPages(&doc, from, to, p.part); err != nil {
			return err
		}
		doc.ETag, doc.Modified, doc.Lease = t.etag, t.now.UnixNano(), doc.Lease.AfterWrite(t.now)
		return t.put(&doc, payload{})
	})
	if err != nil {
		s.discard(account, p)
	}
	return b, err
}

// resize sets the length of a page blob; what is beyond it goes.
func (t *blobTx) resize(doc *blobDoc, size int64) error {
	if size < doc.Size {
		if err := t.setPages(doc, size, doc.Size, part{}); err != nil {
			return err
		}
	}
	doc.Size = size
	return nil
}

// pageRange is a range of a page blob, [From, To).
type pageRange struct {
	From, To int64
	Clear    bool // of a comparison: it was written then and is not any more
}

// ranges joins what is written to ranges.
func ranges(parts []part) (out []pageRange) {
	for _, p := range parts {
		if n := len(out); n > 0 && out[n-1].To == p.At {
			out[n-1].To = p.At + p.Size
			continue
		}
		out = append(out, pageRange{From: p.At, To: p.At + p.Size})
	}
	return out
}

// diffPages compares what a page blob has with what it had: ranges whose bytes come from another write.
func diffPages(now, then []part) (out []pageRange) {
	type edge struct{ cuts []int64 }
	var e edge
	for _, list := range [][]part{now, then} {
		for _, p := range list {
			e.cuts = append(e.cuts, p.At, p.At+p.Size)
		}
	}
	cuts := sortedSet(e.cuts)
	at := func(list []part, i *int, off int64) (part, bool) {
		for *i < len(list) && list[*i].At+list[*i].Size <= off {
			*i++
		}
		if *i < len(list) && list[*i].At <= off {
			return list[*i], true
		}
		return part{}, false
	}
	var i, j int
	for c := 0; c+1 < len(cuts); c++ {
		from, to := cuts[c], cuts[c+1]
		a, hasNow := at(now, &i, from)
		b, hadThen := at(then, &j, from)
		if hasNow == hadThen && (!hasNow || a.Ref == b.Ref && a.At-a.Off == b.At-b.Off) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].To == from && out[n-1].Clear == !hasNow {
			out[n-1].To = to
			continue
		}
		out = append(out, pageRange{from, to, !hasNow})
	}
	return out
}
