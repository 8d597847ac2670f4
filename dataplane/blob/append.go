package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"vauban.dev/store"
)

// appendConditions are the conditions of Append Block alone. Negative: not given.
type appendConditions struct {
	position int64 // x-ms-blob-condition-appendpos: the offset at which the block must land
	maxSize  int64 // x-ms-blob-condition-maxsize: the size that the blob must not exceed
}

// Append appends to an append blob and makes it when there is none: what job logs are written with. Short
// appends are gathered in the store until they fill a payload of 32 KiB, so that a log of many lines stays
// a few payloads.
func (s *Service) Append(ctx context.Context, account, container, name string, data []byte) (Blob, error) {
	b, _, err := s.append(ctx, account, container, name, bytes.NewReader(data), customerKey{}, conditions{}, appendConditions{-1, -1}, true, nil)
	return b, err
}

// createAppend makes an empty append blob in place of what was there.
func (s *Service) createAppend(ctx context.Context, account, container, name string, o PutOptions, cond conditions) (Blob, error) {
	return s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := t.check(cond); err != nil {
			return err
		}
		if err := t.retire(); err != nil {
			return err
		}
		return t.put(t.fresh(AppendBlob, o), payload{})
	})
}

// append adds a block and returns the offset it has.
func (s *Service) append(ctx context.Context, account, container, name string, body io.Reader, with customerKey, cond conditions, ac appendConditions, create bool, check func() error) (Blob, int64, error) {
	if err := s.precheck(ctx, account, container, name, conditions{}); err != nil {
		return Blob{}, 0, err
	}
	p, err := s.write(ctx, account, with, body, true)
	if err != nil {
		return Blob{}, 0, err
	}
	if check != nil {
		if err := check(); err != nil {
			s.discard(account, p)
			return Blob{}, 0, err
		}
	}
	k, err := s.sealingKey(ctx, account, with)
	if err != nil {
		return Blob{}, 0, err
	}
	var offset int64
	a := appender{cond: cond, ac: ac, create: create, with: with}
	b, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		var doc *blobDoc
		doc, offset, err = a.begin(t, p.Size)
		if err != nil || p.Ref == "" {
			return errors.Join(err, putIf(t, doc))
		}
		parts, err := loadParts(t.tx, doc)
		if err != nil {
			return err
		}
		last := len(parts) - 1
		if p.Inline && last >= 0 && parts[last].Inline && parts[last].Size+p.Size <= inlineMax {
			old := parts[last]
			tail, err := t.openInline(k, old)
			if err != nil {
				return err
			}
			more, err := k.Open(nil, p.sealed, binding(account, p.Ref))
			if err != nil {
				return err
			}
			if p.sealed, err = k.Seal(nil, append(tail, more...), binding(account, p.Ref)); err != nil {
				return err
			}
			p.Size += old.Size
			if err := t.release(old, doc.Shared); err != nil {
				return err
			}
			parts[last] = p.part
		} else {
			parts = append(parts, p.part)
			last++
		}
		if doc.Parts == "" {
			doc.Parts = randomID()
		}
		first := last / partsPerDoc
		if doc.PartDocs, err = saveParts(t.tx, doc.Parts, first, parts[first*partsPerDoc:]); err != nil {
			return err
		}
		return t.put(doc, p)
	})
	if err != nil {
		s.discard(account, p)
	}
	return b, offset, err
}

type appender struct {
	cond   conditions
	ac     appendConditions
	create bool
	with   customerKey
}

// begin checks and returns the document to be, its size and count already raised by n, and the offset.
func (a appender) begin(t *blobTx, n int64) (*blobDoc, int64, error) {
	if t.old == nil {
		if !a.create {
			return nil, 0, errBlobNotFound()
		}
		doc := t.fresh(AppendBlob, PutOptions{})
		doc.Size, doc.Blocks = n, 1
		return doc, 0, nil
	}
	if t.old.Type != AppendBlob {
		return nil, 0, errInvalidBlobType()
	}
	if err := t.check(a.cond); err != nil {
		return nil, 0, err
	}
	if err := a.with.matches(t.old.Sealing); err != nil {
		return nil, 0, err
	}
	if t.old.Sealed {
		return nil, 0, newError(http.StatusConflict, "BlobIsSealed", "The specified blob is sealed, and its contents can't be modified unless the blob is re-created after a delete.")
	}
	if a.ac.position >= 0 && a.ac.position != t.old.Size {
		return nil, 0, newError(http.StatusPreconditionFailed, "AppendPositionConditionNotMet", "The append position condition specified was not met.").Because("the blob has %d bytes", t.old.Size)
	}
	if a.ac.maxSize >= 0 && t.old.Size+n > a.ac.maxSize {
		return nil, 0, newError(http.StatusPreconditionFailed, "MaxBlobSizeConditionNotMet", "The max blob size condition specified was not met.")
	}
	if t.old.Blocks >= maxBlocks {
		return nil, 0, newError(http.StatusConflict, "BlockCountExceedsLimit", "The committed block count cannot exceed the maximum limit of 50,000 blocks.")
	}
	doc := *t.old
	doc.Size, doc.Blocks, doc.ETag, doc.Modified = doc.Size+n, doc.Blocks+1, t.etag, t.now.UnixNano()
	doc.Headers.ContentMD5, doc.Lease = nil, doc.Lease.AfterWrite(t.now)
	return &doc, t.old.Size, nil
}

func putIf(t *blobTx, doc *blobDoc) error {
	if doc == nil {
		return nil
	}
	return t.put(doc, payload{})
}

// inlineBytes returns the sealed bytes of an inline payload.
func inlineBytes(tx store.Tx, account string, p part) ([]byte, error) {
	d, err := tx.Get(kindInline, inlineKey(account, p.Ref))
	return d.Value, err
}
