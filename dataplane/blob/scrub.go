package blob

import (
	"context"
	"errors"
	"io"
	"strings"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/payloads"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Scrub opens every payload of every blob, snapshot, version and uncommitted block and verifies it to its last byte. It reads
// beside other work; what is removed meanwhile is no damage.
func (s *Service) Scrub(ctx context.Context) (out payloads.Scrubbed, err error) {
	seen := map[string]bool{}
	for _, kind := range []string{kindBlob, kindHistory, kindStaged} {
		after := ""
		for {
			docs, err := s.scrubPage(ctx, kind, after)
			if err != nil || len(docs) == 0 {
				if err != nil {
					return out, err
				}
				break
			}
			for _, d := range docs {
				account, _, _ := strings.Cut(d.Key, "/")
				parts, with, err := s.partsOf(ctx, d)
				if err != nil {
					return out, err
				}
				for _, p := range parts {
					if p.Ref == "" || seen[p.Ref] {
						continue
					}
					seen[p.Ref] = true
					if err := s.scrubPart(ctx, account, d, p, with, &out); err != nil {
						return out, err
					}
				}
			}
			after = docs[len(docs)-1].Key
		}
	}
	return out, nil
}

func (s *Service) scrubPage(ctx context.Context, kind, after string) (docs []store.Doc, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kind, "", after, func(d store.Doc) bool {
			docs = append(docs, d)
			return len(docs) < storagehttp.SweepBatch
		})
	})
	return docs, err
}

// partsOf returns the payloads that a document names; none when it is gone by now.
func (s *Service) partsOf(ctx context.Context, d store.Doc) (parts []part, with sealing, err error) {
	if d.Kind == kindStaged {
		var doc stagedDoc
		err := decode(d.Value, &doc)
		return []part{doc.Part}, doc.Sealing, err
	}
	doc := new(blobDoc)
	if err := decode(d.Value, doc); err != nil {
		return nil, with, err
	}
	err = s.store.View(ctx, func(tx store.Tx) (err error) {
		if doc.Type == PageBlob {
			parts, err = loadPages(tx, doc, 0, doc.Size)
			return err
		}
		parts, err = loadParts(tx, doc)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, doc.Sealing, nil
	}
	return parts, doc.Sealing, err
}

// scrubPart verifies one payload.
func (s *Service) scrubPart(ctx context.Context, account string, d store.Doc, p part, with sealing, out *payloads.Scrubbed) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if with.Hash != "" {
		out.Skipped++
		return nil
	}
	k, err := s.key(ctx, account)
	if err != nil {
		return err
	}
	if err = s.verify(ctx, account, p, k); err == nil {
		out.Payloads++
		out.Bytes += p.plain()
		return nil
	}
	if gone, e := s.changed(ctx, d); gone || e != nil { // it was removed while it was read
		return e
	}
	out.Damage(account, p.Ref, err)
	return nil
}

func (s *Service) verify(ctx context.Context, account string, p part, k *seal.Key) error {
	if p.Inline {
		var sealed []byte
		err := s.store.View(ctx, func(tx store.Tx) (err error) {
			sealed, err = inlineBytes(tx, account, p)
			return err
		})
		if err != nil {
			return err
		}
		plain, err := k.Open(nil, sealed, binding(account, p.Ref))
		if err == nil && int64(len(plain)) != p.plain() {
			err = seal.ErrDamaged
		}
		return err
	}
	file, r, err := s.files.Open(account, p.Ref, p.plain(), k)
	if err != nil {
		return err
	}
	n, err := r.WriteRange(io.Discard, 0, p.plain())
	if err == nil && n != p.plain() {
		err = seal.ErrDamaged
	}
	return errors.Join(err, file.Close())
}

// changed reports whether a document is not the one that was read any more.
func (s *Service) changed(ctx context.Context, d store.Doc) (bool, error) {
	now := store.Doc{}
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		now, err = tx.Get(d.Kind, d.Key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return now.Version != d.Version, err
}
