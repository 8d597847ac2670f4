package blob

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// Run does the housekeeping until ctx ends: it removes the payloads that a crash left without an owner, the
// blobs of deleted containers, and uncommitted blocks older than a week.
func (s *Service) Run(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	changes := s.store.Watch(following, kindContainer)
	done.Go(func() { s.follow(following, changes) })
	defer done.Wait()
	defer stop()
	if err := s.sweepOrphans(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("blob: sweep of orphans", "err", err)
	}
	s.housekeeping.Run(ctx, "blob", s.log, s.Sweep)
	return nil
}

// Sweep removes the blobs of deleted containers and uncommitted blocks older than a week, once.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.expireContainers(ctx, ""); err != nil {
		return err
	}
	err := storagehttp.EmptyTrash(ctx, s.store, kindTrash, s.emptyTrash)
	return errors.Join(err, s.runCopies(ctx), s.expireHistory(ctx), s.expireStaged(ctx), s.expireDelegations(ctx))
}

// emptyTrash removes some of the deleted container that key, account/uid, names.
func (s *Service) emptyTrash(tx store.Tx, key string) (n int, done func(), err error) {
	account, _, _ := strings.Cut(key, "/")
	var freed, unshed []part
	for _, kind := range []string{kindBlob, kindHistory} {
		blobs, err := storagehttp.FirstDocs(tx, kind, key+"/")
		if err != nil {
			return 0, nil, err
		}
		for _, d := range blobs {
			doc := new(blobDoc)
			if err := decode(d.Value, doc); err != nil {
				return 0, nil, err
			}
			t := &blobTx{tx: tx, account: account, kind: d.Kind, base: d.Key, key: d.Key, old: doc}
			if err := t.dropContent(doc); err != nil {
				return 0, nil, err
			}
			if err := t.remove(); err != nil {
				return 0, nil, err
			}
			freed, unshed = append(freed, t.freed...), append(unshed, t.unshed...)
		}
		n += len(blobs)
	}
	staged, err := storagehttp.FirstDocs(tx, kindStaged, key+"/")
	if err != nil {
		return 0, nil, err
	}
	for _, d := range staged {
		var doc stagedDoc
		if err := decode(d.Value, &doc); err != nil {
			return 0, nil, err
		}
		if err := tx.Delete(kindStaged, d.Key, store.Any); err != nil {
			return 0, nil, err
		}
		freed = append(freed, doc.Part)
	}
	return n + len(staged), func() {
		s.files.Remove(account, "", refs(freed))
		s.files.RemoveShared(account, refs(unshed))
	}, nil
}

// expireStaged removes uncommitted blocks that nobody committed in time.
func (s *Service) expireStaged(ctx context.Context) error {
	limit := s.clock.Now().Add(-stagedLife * time.Hour).UnixNano()
	var old []store.Doc
	err := s.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kindStaged, "", "", func(d store.Doc) bool {
			var doc stagedDoc
			if decode(d.Value, &doc) == nil && doc.At < limit {
				old = append(old, d)
			}
			return true
		})
	})
	for _, d := range old {
		if err != nil {
			return err
		}
		var doc stagedDoc
		if err = decode(d.Value, &doc); err != nil {
			return err
		}
		err = s.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(kindStaged, d.Key, d.Version) })
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			err = nil // it was committed or replaced meanwhile
			continue
		}
		account, _, _ := strings.Cut(d.Key, "/")
		s.files.Remove(account, "", refs([]part{doc.Part}))
	}
	return err
}

// sweepOrphans removes the payload files of earlier processes that no document names.
func (s *Service) sweepOrphans(ctx context.Context) error {
	live := map[string]bool{}
	add := func(p part) { live[p.Ref] = true }
	err := s.store.View(ctx, func(tx store.Tx) error {
		var bad error
		scan := func(kind string, f func([]byte) error) {
			err := tx.Scan(kind, "", "", func(d store.Doc) bool {
				bad = errors.Join(bad, f(d.Value))
				return bad == nil
			})
			bad = errors.Join(bad, err)
		}
		one := func(b []byte) error {
			var doc blobDoc
			err := decode(b, &doc)
			if doc.Part != nil {
				add(*doc.Part)
			}
			return err
		}
		list := func(b []byte) error {
			var parts []part
			err := decode(b, &parts)
			for _, p := range parts {
				add(p)
			}
			return err
		}
		scan(kindBlob, one)
		scan(kindHistory, one)
		scan(kindParts, list)
		scan(kindPages, list)
		scan(kindStaged, func(b []byte) error {
			var doc stagedDoc
			err := decode(b, &doc)
			add(doc.Part)
			return err
		})
		return bad
	})
	if err != nil {
		return err
	}
	n, err := s.files.Orphans(ctx, func(_, ref string) bool { return live[ref] })
	if n > 0 {
		s.log.Info("blob: removed payloads that no blob names", "files", n)
	}
	return err
}
