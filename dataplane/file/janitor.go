package file

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/payloads"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Run does the housekeeping until ctx ends: it removes the payloads that a crash left without an owner, what deleted shares
// had, and deleted shares whose time is over.
func (s *Service) Run(ctx context.Context) error {
	if err := s.sweepOrphans(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("file: sweep of orphans", "err", err)
	}
	s.housekeeping.Run(ctx, "file", s.log, s.Sweep)
	return nil
}

// Sweep removes what nobody sees any more, once.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(s.expire(ctx), storagehttp.EmptyTrash(ctx, s.store, kindTrash, s.emptyTrash))
}

// emptyTrash removes some of the tree that key, account/tree, names.
func (s *Service) emptyTrash(tx store.Tx, key string) (n int, done func(), err error) {
	account, _, _ := strings.Cut(key, "/")
	docs, err := storagehttp.FirstDocs(tx, kindExtent, key+"/")
	if err != nil {
		return 0, nil, err
	}
	var freed []string
	for _, d := range docs {
		var list []extent
		if err := decode(d.Value, &list); err != nil {
			return 0, nil, err
		}
		if err := tx.Delete(kindExtent, d.Key, store.Any); err != nil {
			return 0, nil, err
		}
		// A payload of two buckets goes with the second of them.
		file := d.Key[:strings.LastIndexByte(d.Key, '/')+1]
		seen := map[string]bool{}
		for _, e := range list {
			if seen[e.Ref] {
				continue
			}
			seen[e.Ref] = true
			named, err := names(tx, file, e.Ref)
			if err != nil {
				return 0, nil, err
			}
			if named {
				continue
			}
			some, err := dropPayload(tx, account, e)
			if err != nil {
				return 0, nil, err
			}
			freed = append(freed, some...)
		}
	}
	entries, err := storagehttp.DeleteSome(tx, key+"/", kindEntry, kindPermission)
	if err != nil {
		return 0, nil, err
	}
	if err := tx.Delete(kindUsage, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, nil, err
	}
	return len(docs) + entries, func() { s.files.RemoveShared(account, freed) }, nil
}

// names reports whether the first bucket that is left of a file names a payload: buckets go in their order, and a payload is
// of two neighbours at most.
func names(tx store.Tx, file, ref string) (named bool, err error) {
	var bad error
	err = tx.Scan(kindExtent, file, "", func(d store.Doc) bool {
		var list []extent
		bad = decode(d.Value, &list)
		for _, e := range list {
			named = named || e.Ref == ref
		}
		return false
	})
	return named, errors.Join(err, bad)
}

// expire erases the deleted shares that were kept long enough.
func (s *Service) expire(ctx context.Context) error {
	now := s.clock.Now()
	return s.store.Update(ctx, func(tx store.Tx) error {
		var over []store.Doc
		err := tx.Scan(kindDeleted, "", "", func(d store.Doc) bool {
			var doc shareDoc
			if decode(d.Value, &doc) == nil && !now.Before(doc.Deleted.Add(time.Duration(doc.Days)*24*time.Hour)) {
				over = append(over, d)
			}
			return true
		})
		for i := 0; i < len(over) && err == nil; i++ {
			var doc shareDoc
			account, _, _ := strings.Cut(over[i].Key, "/")
			var kept []string
			if err = decode(over[i].Value, &doc); err != nil {
				break
			}
			if kept, err = snapshotsOf(tx, account, doc.UID); err != nil {
				break
			}
			err = errors.Join(s.eraseShare(tx, account, doc, kept), tx.Delete(kindDeleted, over[i].Key, store.Any))
		}
		return err
	})
}

// each calls f with every list of extents, a page of documents a transaction.
func (s *Service) each(ctx context.Context, f func(d store.Doc, list []extent) error) error {
	for after := ""; ctx.Err() == nil; {
		var docs []store.Doc
		err := s.store.View(ctx, func(tx store.Tx) error {
			return tx.Scan(kindExtent, "", after, func(d store.Doc) bool {
				docs = append(docs, d)
				return len(docs) < storagehttp.SweepBatch
			})
		})
		if err != nil || len(docs) == 0 {
			return err
		}
		for _, d := range docs {
			var list []extent
			if err := decode(d.Value, &list); err != nil {
				return err
			}
			if err := f(d, list); err != nil {
				return err
			}
		}
		after = docs[len(docs)-1].Key
	}
	return ctx.Err()
}

// sweepOrphans removes the payload files of earlier processes that no document names.
func (s *Service) sweepOrphans(ctx context.Context) error {
	live := map[string]bool{}
	err := s.store.View(ctx, func(tx store.Tx) error { // one transaction: a payload that moves meanwhile is seen
		var bad error
		err := tx.Scan(kindExtent, "", "", func(d store.Doc) bool {
			var list []extent
			bad = decode(d.Value, &list)
			for _, e := range list {
				live[e.Ref] = true
			}
			return bad == nil
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return err
	}
	n, err := s.files.Orphans(ctx, func(_, ref string) bool { return live[ref] })
	if n > 0 {
		s.log.Info("file: removed payloads that no file names", "files", n)
	}
	return err
}

// Scrub opens every payload of every file and snapshot and verifies it to its last byte. It reads beside other work; what is
// removed meanwhile is no damage.
func (s *Service) Scrub(ctx context.Context) (out payloads.Scrubbed, err error) {
	seen := map[string]bool{}
	err = s.each(ctx, func(d store.Doc, list []extent) error {
		account, _, _ := strings.Cut(d.Key, "/")
		k, err := s.key(ctx, account)
		if err != nil {
			return err
		}
		for _, e := range list {
			if seen[e.Ref] {
				continue
			}
			seen[e.Ref] = true
			bad := s.verify(ctx, account, e, k)
			if bad == nil {
				out.Payloads, out.Bytes = out.Payloads+1, out.Bytes+e.Whole
				continue
			}
			changed := false
			err := s.store.View(ctx, func(tx store.Tx) error {
				now, err := tx.Get(d.Kind, d.Key)
				if changed = errors.Is(err, store.ErrNotFound) || now.Version != d.Version; changed {
					return nil
				}
				return err
			})
			if err != nil {
				return err
			}
			if !changed {
				out.Damage(account, e.Ref, bad)
			}
		}
		return nil
	})
	return out, err
}

func (s *Service) verify(ctx context.Context, account string, e extent, k *seal.Key) error {
	if e.Inline {
		_, err := s.openInline(ctx, account, e, nil, k)
		return err
	}
	file, r, err := s.files.Open(account, e.Ref, e.Whole, k)
	if err != nil {
		return err
	}
	n, err := r.WriteRange(io.Discard, 0, e.Whole)
	if err == nil && n != e.Whole {
		err = seal.ErrDamaged
	}
	return errors.Join(err, file.Close())
}
