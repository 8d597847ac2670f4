package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// copyState is what a blob tells of the last copy to it ("Copy Blob").
type copyState struct {
	ID     string `json:"id"`
	Source string `json:"src"` // the URL without its signature
	Status string `json:"st"`  // pending, success, aborted, failed
	Why    string `json:"why,omitempty"`
	Done   int64  `json:"done"`
	Total  int64  `json:"total"`
	At     int64  `json:"at,omitempty"` // Unix nanoseconds: when it ended
}

const (
	copyPending = "pending"
	copySuccess = "success"
	copyAborted = "aborted"
	copyFailed  = "failed"
)

func (c *copyState) pending() bool { return c != nil && c.Status == copyPending }

// copyJob is a copy that goes on after its request was answered: from another account, whose key encrypts otherwise. The
// caller's right to read the source was judged when the copy began.
type copyJob struct {
	Container, Blob string // of the destination; the account is in the key
	SourceAccount   string
	SourceContainer string
	SourceBlob      string
	SourceSnapshot  string `json:",omitempty"`
	SourceVersion   string `json:",omitempty"`
	SourceETag      int64
}

// syncCopyMax is how much a copy across accounts does before it answers, in bytes.
const syncCopyMax = mib

// copySpec is a copy that may begin: its source was found and may be read.
type copySpec struct {
	account, container string // of the source
	at                 target
	etag               int64 // of the source
	url                string
	o                  PutOptions
	tier, priority     string
}

// startCopy begins a copy, and ends it when nothing has to be encrypted again or little.
func (s *Service) startCopy(ctx context.Context, account, container, name string, c copySpec, cond conditions) (Blob, *copyState, error) {
	state := &copyState{ID: uuid.NewString(), Source: c.url, Status: copySuccess}
	if account == c.account {
		b, err := s.copyShared(ctx, account, container, name, c, state, cond)
		return b, state, err
	}
	src, err := s.get(ctx, c.account, c.container, c.at, customerKey{}, byteRange{End: -1})
	if err != nil {
		return Blob{}, nil, err
	}
	size := src.Size
	doc := *src.doc
	if err := src.Close(); err != nil {
		return Blob{}, nil, err
	}
	state.Status, state.Total = copyPending, size
	job := copyJob{
		Container: container, Blob: name, SourceAccount: c.account, SourceContainer: c.container, SourceBlob: c.at.name,
		SourceSnapshot: c.at.snapshot, SourceVersion: c.at.version, SourceETag: c.etag,
	}
	b, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := t.check(cond); err != nil {
			return err
		}
		if err := t.retire(); err != nil {
			return err
		}
		out := t.fresh(doc.Type, c.o)
		out.Sequence, out.Copy = doc.Sequence, state
		if doc.Type == PageBlob {
			out.Size = doc.Size
		}
		if err := t.put(out, payload{}); err != nil {
			return err
		}
		_, err := t.tx.Put(kindCopy, account+"/"+state.ID, encode(job), store.None)
		return err
	})
	if err != nil {
		return b, nil, err
	}
	if size > syncCopyMax {
		s.housekeeping.Wake()
		return b, state, nil
	}
	if err := s.runCopy(ctx, account, state.ID, job); err != nil {
		return b, nil, err
	}
	after, err := s.stat(ctx, account, container, target{name: name})
	if err != nil {
		return b, nil, err
	}
	return after.public(name), after.Copy, nil
}

// copyShared copies within an account: the copy names the payloads of its source.
func (s *Service) copyShared(ctx context.Context, account, container, name string, c copySpec, state *copyState, cond conditions) (Blob, error) {
	from, err := s.container(ctx, account, c.container)
	if err != nil {
		return Blob{}, err
	}
	return s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := t.check(cond); err != nil {
			return err
		}
		base := blobKey(account, from.UID, c.at.name)
		key, src, err := c.at.find(t.tx, base)
		if errors.Is(err, store.ErrNotFound) {
			return errBlobNotFound()
		}
		if err != nil {
			return err
		}
		if src.ETag != c.etag {
			return errSourceCondition()
		}
		if t.old != nil && t.old.Type != src.Type {
			return errInvalidBlobType()
		}
		if err := (customerKey{}).matches(src.Sealing); err != nil {
			return err
		}
		out, err := t.twin(src)
		if err != nil {
			return err
		}
		if key == t.base {
			t.old.Shared = true
		} else if err := putDoc(t.tx, key, base, src); err != nil {
			return err
		}
		if err := t.retire(); err != nil {
			return err
		}
		state.Done, state.Total, state.At = src.Size, src.Size, t.now.UnixNano()
		doc := t.fresh(src.Type, c.o)
		doc.Size, doc.Sequence, doc.Blocks, doc.Sealed = src.Size, src.Sequence, src.Blocks, src.Sealed
		doc.Part, doc.Parts, doc.PartDocs, doc.Shared = out.Part, out.Parts, out.PartDocs, true
		doc.Copy = state
		if err := c.setTier(doc, src, t.now); err != nil {
			return err
		}
		return t.put(doc, payload{})
	})
}

// setTier gives the copy its tier: one of an archived blob is rehydrated.
func (c copySpec) setTier(doc, src *blobDoc, now time.Time) error {
	if !src.archived(now) {
		return nil
	}
	if c.tier == "" || c.tier == tierArchive {
		return errArchived().Because("an archived blob is copied to an online tier, which x-ms-access-tier names")
	}
	doc.Tier, doc.TierAt, doc.Rehydrate = tierArchive, now.UnixNano(), newRehydration(c.tier, c.priority, now)
	return nil
}

// putDoc writes a document back to where it was found.
func putDoc(tx store.Tx, key, base string, doc *blobDoc) error {
	kind := kindBlob
	if key != base {
		kind = kindHistory
	}
	_, err := tx.Put(kind, key, encode(doc), store.Any)
	return err
}

// runCopies goes on with the copies that were begun, one after the other.
func (s *Service) runCopies(ctx context.Context) error {
	var jobs []store.Doc
	err := s.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kindCopy, "", "", func(d store.Doc) bool {
			jobs = append(jobs, d)
			return true
		})
	})
	for _, d := range jobs {
		var job copyJob
		if e := decode(d.Value, &job); e != nil {
			err = errors.Join(err, e)
			continue
		}
		account, id, _ := strings.Cut(d.Key, "/")
		if e := s.runCopy(ctx, account, id, job); e != nil {
			err = errors.Join(err, fmt.Errorf("copy %s: %w", id, e))
		}
	}
	return err
}

// runCopy copies, and says in the destination how it ended. An error is unexpected and leaves the copy to a later run.
func (s *Service) runCopy(ctx context.Context, account, id string, job copyJob) error {
	parts, size, why, err := s.transfer(ctx, account, id, job)
	if err != nil {
		return err
	}
	taken := false
	_, err = s.update(ctx, account, job.Container, job.Blob, func(t *blobTx) error {
		taken = false
		if err := t.tx.Delete(kindCopy, account+"/"+id, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if t.old == nil || !t.old.Copy.pending() || t.old.Copy.ID != id {
			return nil
		}
		doc := *t.old
		state := *doc.Copy
		doc.Copy, doc.ETag, doc.Modified = &state, t.etag, t.now.UnixNano()
		state.At = doc.Modified
		if state.Status = copySuccess; why != "" {
			state.Status, state.Why = copyFailed, why
			return t.put(&doc, payload{})
		}
		taken, state.Done, state.Total = true, size, size
		return t.adopt(&doc, parts, size)
	})
	if IsCode(err, CodeContainerNotFound) {
		err = s.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(kindCopy, account+"/"+id, store.Any) })
	}
	if !taken || err != nil {
		s.files.Remove(account, "", refs(parts))
	}
	return err
}

// adopt makes parts, in files already, the content of a document.
func (t *blobTx) adopt(doc *blobDoc, parts []part, size int64) error {
	if doc.Type == PageBlob {
		for _, p := range parts {
			if err := t.setPages(doc, p.At, p.At+p.Size, p); err != nil {
				return err
			}
		}
		return t.put(doc, payload{})
	}
	doc.Size = size
	if doc.Type == AppendBlob {
		doc.Blocks = len(parts)
	}
	if len(parts) > 0 {
		doc.Parts = randomID()
		var err error
		if doc.PartDocs, err = saveParts(t.tx, doc.Parts, 0, parts); err != nil {
			return err
		}
	}
	return t.put(doc, payload{})
}

// copyChunk is the longest payload that a copy across accounts writes, in bytes.
const copyChunk = 64 * mib

// transfer encrypts the source's content for the destination's account; why says what the source lacks.
func (s *Service) transfer(ctx context.Context, account, id string, job copyJob) (parts []part, size int64, why string, err error) {
	src, err := s.get(ctx, job.SourceAccount, job.SourceContainer, target{job.SourceBlob, job.SourceSnapshot, job.SourceVersion}, customerKey{}, byteRange{End: -1})
	var refused *Error
	if errors.As(err, &refused) {
		return nil, 0, fmt.Sprintf("%d %s %q", refused.Status, refused.Code, "Copy failed when reading the source."), nil
	}
	if err != nil {
		return nil, 0, "", err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if src.doc.ETag != job.SourceETag {
		return nil, 0, `412 ConditionNotMet "The source was changed during the copy."`, nil
	}
	defer func() {
		if err != nil {
			s.files.Remove(account, "", refs(parts))
		}
	}()
	spans := []pageRange{{From: 0, To: src.Size}}
	if src.Type == PageBlob {
		if spans, err = s.writtenPages(ctx, job, src.Size); err != nil {
			return nil, 0, "", err
		}
	}
	for _, span := range spans {
		for off := span.From; off < span.To; {
			n := min(span.To-off, copyChunk)
			if src.Type == PageBlob {
				n = min(n, maxPages)
			}
			p, err := s.writeRange(ctx, account, src, off, n)
			if err != nil {
				return parts, 0, "", err
			}
			if src.Type == PageBlob {
				p.At = off
			}
			parts = append(parts, p.part)
			off += n
		}
	}
	return parts, src.Size, "", nil
}

func (s *Service) writtenPages(ctx context.Context, job copyJob, size int64) ([]pageRange, error) {
	written, err := s.pageParts(ctx, job.SourceAccount, job.SourceContainer, target{job.SourceBlob, job.SourceSnapshot, job.SourceVersion}, 0, size)
	return ranges(written), err
}

// writeRange writes a range of an open blob as a payload of another account.
func (s *Service) writeRange(ctx context.Context, account string, src *Object, off, n int64) (payload, error) {
	src.pos = off
	return s.write(ctx, account, customerKey{}, io.LimitReader(src, n), false)
}

// abortCopy ends a copy that is pending: the destination is left empty.
func (s *Service) abortCopy(ctx context.Context, account, container, name, id string, cond conditions) error {
	_, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.old.Lease.Need(t.now, cond.lease, "Blob", true); err != nil {
			return err
		}
		if t.old.Copy == nil || t.old.Copy.ID != id {
			return newError(409, "CopyIdMismatch", "The specified copy ID did not match the copy ID for the pending copy operation.")
		}
		if !t.old.Copy.pending() {
			return newError(409, "NoPendingCopyOperation", "There is currently no pending copy operation.")
		}
		doc, state := *t.old, *t.old.Copy
		state.Status, state.At = copyAborted, t.now.UnixNano()
		doc.Copy, doc.ETag, doc.Modified = &state, t.etag, t.now.UnixNano()
		if err := t.tx.Delete(kindCopy, account+"/"+id, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return t.put(&doc, payload{})
	})
	return err
}
