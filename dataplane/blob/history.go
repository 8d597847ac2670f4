package blob

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/store"
)

// What was: snapshots, versions, and what soft delete keeps ("Blob snapshots", "Blob versioning", "Soft delete for blobs").
// Each is a document of kindHistory, whose key is the blob's, a NUL, a letter and the id.
const (
	letterSnapshot = 's'
	letterVersion  = 'v'
	letterDeleted  = 'd' // the blob itself, soft-deleted while the account keeps no versions; without an id
)

func historyKey(base string, letter byte, id string) string {
	return base + "\x00" + string(letter) + id
}

// target names a blob, a snapshot of it, or a version of it.
type target struct{ name, snapshot, version string }

func (a target) isHistory() bool { return a.snapshot != "" || a.version != "" }

// find returns the document that a names and its key; store.ErrNotFound also when it is soft-deleted. base is the blob's key.
func (a target) find(tx store.Tx, base string) (key string, doc *blobDoc, err error) {
	switch {
	case a.snapshot != "":
		key, doc, err = findIn(tx, base, letterSnapshot, a.snapshot)
	case a.version != "":
		if doc, err = getBlob(tx, base); err == nil && doc.Version == a.version {
			return base, doc, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", nil, err
		}
		key, doc, err = findIn(tx, base, letterVersion, a.version)
	default:
		doc, err = getBlob(tx, base)
		return base, doc, err
	}
	if err == nil && doc.Deleted != 0 {
		return "", nil, store.ErrNotFound
	}
	return key, doc, err
}

func findIn(tx store.Tx, base string, letter byte, id string) (string, *blobDoc, error) {
	key := historyKey(base, letter, id)
	d, err := tx.Get(kindHistory, key)
	if err != nil {
		return "", nil, err
	}
	doc := new(blobDoc)
	return key, doc, decode(d.Value, doc)
}

// target reads which blob, snapshot or version the request is about.
func (q *request) target() (target, error) {
	a := target{name: q.blob, snapshot: q.Query.Get("snapshot"), version: q.Query.Get("versionid")}
	for name, v := range map[string]string{"snapshot": a.snapshot, "versionid": a.version} {
		if _, err := time.Parse(time.RFC3339Nano, v); v != "" && (err != nil || !strings.HasSuffix(v, "Z")) {
			return a, errInvalidQuery(name, v)
		}
	}
	if a.snapshot != "" && a.version != "" {
		return a, newError(http.StatusBadRequest, "MutuallyExclusiveQueryParameters", "The query parameters snapshot and versionid cannot be given together.")
	}
	return a, nil
}

// formatTick is the id of a snapshot or version: a time of 100 ns, unique as ETags are.
func formatTick(tick int64) string {
	return time.Unix(0, (tick-dotNetEpoch)*100).UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// versionOf is the id of a document as a version; one that was written before versions were kept has its last change.
func versionOf(doc *blobDoc) string {
	if doc.Version != "" {
		return doc.Version
	}
	return formatTick(doc.ETag)
}

// retire puts the blob as it was aside before another content takes its place: as a version, as a soft-deleted snapshot, or
// for good. Uncommitted blocks go.
func (t *blobTx) retire() error {
	if err := t.dropAllStaged(); err != nil || t.old == nil {
		return err
	}
	if t.keepsOld() {
		return t.keepOld(t.old)
	}
	return t.dropContent(t.old)
}

// keepsOld reports whether what is overwritten is kept.
func (t *blobTx) keepsOld() bool {
	return t.old != nil && t.kind == kindBlob && (t.keeps.Versioning || t.keeps.DeleteDays > 0)
}

// keepOld writes doc, the blob as it was, to its history.
func (t *blobTx) keepOld(doc *blobDoc) error {
	past := *doc
	past.Lease = nil
	letter := byte(letterVersion)
	if t.keeps.Versioning {
		past.Version = versionOf(doc)
		return t.putHistory(letter, past.Version, &past)
	}
	letter, past.Snapshot = letterSnapshot, formatTick(t.etag)
	past.Deleted, past.KeepDays = t.now.UnixNano(), t.keeps.DeleteDays
	return t.putHistory(letter, past.Snapshot, &past)
}

func (t *blobTx) putHistory(letter byte, id string, doc *blobDoc) error {
	_, err := t.tx.Put(kindHistory, historyKey(t.base, letter, id), encode(doc), store.Any)
	return err
}

// branch makes doc, a changed copy of the blob, a new version, and the blob as it was the one before, when the
// account keeps versions.
func (t *blobTx) branch(doc *blobDoc) error {
	if !t.keeps.Versioning || t.kind != kindBlob {
		return nil
	}
	past, err := t.twin(doc)
	if err != nil {
		return err
	}
	was := *t.old
	was.Parts, was.PartDocs, was.Shared = past.Parts, past.PartDocs, true
	doc.Version = formatTick(t.etag)
	return t.keepOld(&was)
}

// snapshotBlob makes a snapshot with the metadata m, or the blob's own when nil, and returns its id.
func (s *Service) snapshotBlob(ctx context.Context, account, container, name string, m map[string]string, cond conditions) (b Blob, id string, err error) {
	b, err = s.update(ctx, account, container, name, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		if t.old.archived(t.now) {
			return errArchived()
		}
		id = formatTick(t.etag)
		doc := *t.old
		snap, err := t.twin(&doc)
		if err != nil {
			return err
		}
		snap.Snapshot, snap.Version, snap.Lease, snap.Keep = id, "", nil, nil
		if m != nil {
			snap.Metadata = m
		}
		if err := t.putHistory(letterSnapshot, id, snap); err != nil {
			return err
		}
		if err := t.branch(&doc); err != nil {
			return err
		}
		return t.put(&doc, payload{})
	})
	return b, id, err
}

// snapshots of a blob: what a deletion does with them.
type snapshots uint8

const (
	snapshotsRefuse snapshots = iota // 409 when there are some
	snapshotsToo                     // they go with the blob
	snapshotsOnly                    // they go, the blob stays
)

// delete removes what at names. soft reports that soft delete or versioning keeps it.
func (s *Service) delete(ctx context.Context, account, container string, at target, also snapshots, cond conditions) (soft bool, err error) {
	_, err = s.updateAt(ctx, account, container, at, func(t *blobTx) error {
		soft = t.keeps.DeleteDays > 0
		if t.old == nil {
			return errBlobNotFound()
		}
		if cond.ifNoneMatch == "*" { // it is about what a write makes
			cond.ifNoneMatch = ""
		}
		if err := t.check(cond); err != nil {
			return err
		}
		if at.snapshot != "" || at.version != "" {
			if at.version != "" && t.kind == kindBlob {
				return newError(http.StatusForbidden, "OperationNotAllowedOnRootBlob", "The specified operation is not allowed on the current version of the blob.").Because("version '%s' is the current one: delete the blob itself", at.version)
			}
			if err := t.mayDelete(t.old); err != nil {
				return err
			}
			return t.discardOne(t.kind, t.key, t.old)
		}
		if err := t.deleteSnapshots(also); err != nil || also == snapshotsOnly {
			return err
		}
		if !t.keeps.Versioning {
			if err := t.mayDelete(t.old); err != nil {
				return err
			}
		}
		soft = soft || t.keeps.Versioning
		return t.deleteBase()
	})
	return soft, err
}

func (t *blobTx) deleteBase() error {
	if err := t.dropAllStaged(); err != nil {
		return err
	}
	switch {
	case t.keeps.Versioning:
		if err := t.keepOld(t.old); err != nil {
			return err
		}
	case t.keeps.DeleteDays > 0:
		past := *t.old
		past.Lease, past.Deleted, past.KeepDays = nil, t.now.UnixNano(), t.keeps.DeleteDays
		if err := t.makeRoom(); err != nil {
			return err
		}
		if err := t.putHistory(letterDeleted, "", &past); err != nil {
			return err
		}
	default:
		if err := t.dropContent(t.old); err != nil {
			return err
		}
	}
	return t.remove()
}

// makeRoom turns an earlier soft-deleted blob of the name into a soft-deleted snapshot: one blob of a name can be undeleted.
func (t *blobTx) makeRoom() error {
	key, doc, err := findIn(t.tx, t.base, letterDeleted, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	doc.Snapshot = formatTick(t.etag)
	if err := t.putHistory(letterSnapshot, doc.Snapshot, doc); err != nil {
		return err
	}
	return t.tx.Delete(kindHistory, key, store.Any)
}

// deleteSnapshots refuses, or deletes, the snapshots that are there.
func (t *blobTx) deleteSnapshots(also snapshots) error {
	return t.eachPast(letterSnapshot, func(key string, doc *blobDoc) error {
		if doc.Deleted != 0 {
			return nil
		}
		if also == snapshotsRefuse {
			return newError(http.StatusConflict, "SnapshotsPresent", "This operation is not permitted while the blob has snapshots.")
		}
		if err := t.mayDelete(doc); err != nil {
			return err
		}
		return t.discardOne(kindHistory, key, doc)
	})
}

// discardOne deletes a snapshot or version: softly, or for good.
func (t *blobTx) discardOne(kind, key string, doc *blobDoc) error {
	t.gone = kind == t.kind && key == t.key
	if t.keeps.DeleteDays > 0 {
		past := *doc
		past.Deleted, past.KeepDays = t.now.UnixNano(), t.keeps.DeleteDays
		_, err := t.tx.Put(kind, key, encode(past), store.Any)
		return err
	}
	if err := t.dropContent(doc); err != nil {
		return err
	}
	return t.tx.Delete(kind, key, store.Any)
}

// eachPast calls f with the documents of one letter of the blob's history, in order of their ids.
func (t *blobTx) eachPast(letter byte, f func(key string, doc *blobDoc) error) error {
	type past struct {
		key string
		doc *blobDoc
	}
	var all []past
	var bad error
	err := t.tx.Scan(kindHistory, historyKey(t.base, letter, ""), "", func(d store.Doc) bool {
		doc := new(blobDoc)
		bad = decode(d.Value, doc)
		all = append(all, past{d.Key, doc})
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	for _, p := range all {
		if err := f(p.key, p.doc); err != nil {
			return err
		}
	}
	return nil
}

// over reports whether soft delete has kept the document long enough.
func (d *blobDoc) over(now time.Time) bool {
	return d.Deleted != 0 && !now.Before(time.Unix(0, d.Deleted).AddDate(0, 0, d.KeepDays))
}

// undelete brings back what soft delete keeps of a blob; BlobNotFound when there is nothing, and no blob.
func (s *Service) undelete(ctx context.Context, account, container, name string) error {
	_, err := s.update(ctx, account, container, name, func(t *blobTx) error {
		found := t.old != nil
		back := func(key string, doc *blobDoc) error {
			if doc.Deleted == 0 || doc.over(t.now) {
				return nil
			}
			found = true
			doc.Deleted, doc.KeepDays = 0, 0
			_, err := t.tx.Put(kindHistory, key, encode(doc), store.Any)
			return err
		}
		if err := errors.Join(t.eachPast(letterSnapshot, back), t.eachPast(letterVersion, back)); err != nil {
			return err
		}
		key, doc, err := findIn(t.tx, t.base, letterDeleted, "")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && t.old == nil && !doc.over(t.now) {
			found = true
			doc.Deleted, doc.KeepDays = 0, 0
			if err := t.tx.Delete(kindHistory, key, store.Any); err != nil {
				return err
			}
			if err := t.put(doc, payload{}); err != nil {
				return err
			}
		}
		if !found {
			return errBlobNotFound()
		}
		return nil
	})
	return err
}

// expireHistory removes what soft delete has kept long enough.
func (s *Service) expireHistory(ctx context.Context) error {
	now := s.clock.Now()
	var old []store.Doc
	err := s.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kindHistory, "", "", func(d store.Doc) bool {
			var doc blobDoc
			if decode(d.Value, &doc) == nil && doc.over(now) {
				old = append(old, d)
			}
			return true
		})
	})
	for _, d := range old {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		account, _, _ := strings.Cut(d.Key, "/")
		t := &blobTx{account: account}
		err = s.store.Update(ctx, func(tx store.Tx) error {
			*t = blobTx{tx: tx, account: account}
			now, err := tx.Get(kindHistory, d.Key)
			if err != nil || now.Version != d.Version {
				return err // it came back meanwhile
			}
			doc := new(blobDoc)
			if err := decode(d.Value, doc); err != nil {
				return err
			}
			if err := t.dropContent(doc); err != nil {
				return err
			}
			return tx.Delete(kindHistory, d.Key, d.Version)
		})
		if errors.Is(err, store.ErrNotFound) {
			err = nil
			continue
		}
		s.files.Remove(account, "", refs(t.freed))
		s.files.RemoveShared(account, refs(t.unshed))
	}
	return err
}
