package blob

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/store"
)

const (
	maxBlocks   = 50_000 // committed blocks of a blob
	maxBlockID  = 64     // bytes, decoded
	stagedLife  = 7 * 24 // hours that uncommitted blocks are kept
	latestBlock = "latest"
)

// BlockRef names a block in a block list: where it is looked for and its id, base64 as sent.
type BlockRef struct {
	From string // "committed", "uncommitted" or "latest"
	ID   string
}

// Block is one entry of Get Block List.
type Block struct {
	ID   string
	Size int64
}

// stagedPrefix addresses the uncommitted blocks of a blob; the name is hashed as it may hold any character.
func stagedPrefix(key string) string {
	i := strings.IndexByte(key, '/')
	j := i + 1 + strings.IndexByte(key[i+1:], '/')
	sum := sha256.Sum256([]byte(key[j+1:]))
	return key[:j+1] + hex.EncodeToString(sum[:16]) + "/"
}

func checkBlockID(id string) error {
	raw, err := base64.StdEncoding.DecodeString(id)
	if err != nil || len(raw) == 0 {
		return errInvalidQuery("blockid", id)
	}
	if len(raw) > maxBlockID {
		return newError(http.StatusBadRequest, "OutOfRangeInput", "One of the request inputs is out of range.").Because("a block id has at most %d bytes", maxBlockID)
	}
	return nil
}

// idLength is the length of a block id before its encoding, which is the same for all blocks of a blob.
func idLength(id string) int {
	return base64.StdEncoding.DecodedLen(len(id)) - strings.Count(id, "=")
}

// stage keeps a block until it is committed, or a week.
func (s *Service) stage(ctx context.Context, account, container, name, id string, k customerKey, cond conditions, body io.Reader, check func() error) error {
	if err := checkBlockID(id); err != nil {
		return err
	}
	if err := s.precheck(ctx, account, container, name, cond); err != nil {
		return err
	}
	p, err := s.write(ctx, account, k, body, false)
	if err != nil {
		return err
	}
	if err = check(); err == nil {
		_, err = s.update(ctx, account, container, name, func(t *blobTx) error {
			if err := t.check(cond); err != nil {
				return err
			}
			return t.stage(id, p, k.sealing)
		})
	}
	if err != nil {
		s.discard(account, p)
	}
	return err
}

func (t *blobTx) stage(id string, p payload, with sealing) error {
	if t.old != nil && t.old.Type != BlockBlob {
		return errInvalidBlobType()
	}
	prefix := stagedPrefix(t.base)
	var other string
	err := t.tx.Scan(kindStaged, prefix, "", func(d store.Doc) bool {
		other = strings.TrimPrefix(d.Key, prefix)
		return false
	})
	if err != nil {
		return err
	}
	if other != "" && idLength(other) != idLength(id) {
		return newError(http.StatusBadRequest, "InvalidBlobOrBlock", "The specified blob or block content is invalid.").
			Because("all block ids of a blob have the same length")
	}
	if d, err := t.tx.Get(kindStaged, prefix+id); err == nil {
		var old stagedDoc
		if err := decode(d.Value, &old); err != nil {
			return err
		}
		if err := t.drop(old.Part); err != nil {
			return err
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	p.Block = id
	_, err = t.tx.Put(kindStaged, prefix+id, encode(stagedDoc{Part: p.part, At: t.now.UnixNano(), Name: t.name, Sealing: with}), store.Any)
	return err
}

// staged returns the uncommitted blocks by id.
func (t *blobTx) staged() (map[string]stagedDoc, error) {
	staged := map[string]stagedDoc{}
	prefix := stagedPrefix(t.base)
	var bad error
	err := t.tx.Scan(kindStaged, prefix, "", func(d store.Doc) bool {
		var doc stagedDoc
		bad = decode(d.Value, &doc)
		staged[strings.TrimPrefix(d.Key, prefix)] = doc
		return bad == nil
	})
	return staged, errors.Join(err, bad)
}

// dropStaged deletes an uncommitted block's document and lets go of its payload, unless p is zero.
func (t *blobTx) dropStaged(id string, p part) error {
	if err := t.tx.Delete(kindStaged, stagedPrefix(t.base)+id, store.Any); err != nil {
		return err
	}
	return t.drop(p)
}

// commitBlocks makes the listed blocks the blob's content; InvalidBlockList names a block that is not there.
// Blocks that are not listed go.
func (s *Service) commitBlocks(ctx context.Context, account, container, name string, list []BlockRef, o PutOptions, cond conditions) (Blob, error) {
	if len(list) > maxBlocks {
		return Blob{}, newError(http.StatusBadRequest, "BlockListTooLong", "The block list may not contain more than 50,000 blocks.")
	}
	return s.update(ctx, account, container, name, func(t *blobTx) error {
		if err := t.check(cond); err != nil {
			return err
		}
		if t.old != nil && t.old.Type != BlockBlob {
			return errInvalidBlobType()
		}
		return t.commit(list, o)
	})
}

func (t *blobTx) commit(list []BlockRef, o PutOptions) error {
	staged, err := t.staged()
	if err != nil {
		return err
	}
	committed := map[string]part{}
	var before []part
	if t.old != nil {
		if before, err = loadParts(t.tx, t.old); err != nil {
			return err
		}
		for _, p := range before {
			if p.Block != "" {
				committed[p.Block] = p
			}
		}
	}
	doc := t.fresh(BlockBlob, o)
	parts, kept := make([]part, 0, len(list)), map[string]bool{}
	for _, b := range list {
		st, ok := staged[b.ID]
		p, with := st.Part, st.Sealing
		if b.From == "committed" || b.From == latestBlock && !ok {
			if p, ok = committed[b.ID]; ok {
				with = t.old.Sealing
			}
		}
		if !ok {
			return newError(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid.").Because("block '%s' is not among the %s blocks", b.ID, b.From)
		}
		if err := o.sealing.matches(with); err != nil {
			return err
		}
		kept[p.Ref] = true
		doc.Size += p.Size
		parts = append(parts, p)
	}
	if err := t.giveUp(doc, before, kept); err != nil {
		return err
	}
	for id, st := range staged {
		if kept[st.Part.Ref] {
			st.Part = part{}
		}
		if err := t.dropStaged(id, st.Part); err != nil {
			return err
		}
	}
	if len(parts) > 0 {
		doc.Parts = randomID()
		if doc.PartDocs, err = saveParts(t.tx, doc.Parts, 0, parts); err != nil {
			return err
		}
	}
	return t.put(doc, payload{})
}

// giveUp puts the blob as it was aside: what doc, which follows it, keeps of its payloads is in kept.
func (t *blobTx) giveUp(doc *blobDoc, before []part, kept map[string]bool) error {
	if t.old == nil {
		return nil
	}
	doc.Shared = t.old.Shared
	if !t.keepsOld() || t.old.Type == PageBlob {
		if err := t.releaseAll(t.old, before, kept); err != nil {
			return err
		}
		return t.dropParts(t.old)
	}
	var both []part
	for _, p := range before {
		if kept[p.Ref] {
			both = append(both, p)
		}
	}
	past := *t.old
	if len(both) > 0 {
		doc.Shared, past.Shared = true, true
		if err := t.share(both); err != nil {
			return err
		}
	}
	return t.keepOld(&past)
}

// blockList returns the committed and uncommitted blocks; doc is nil when the blob has only the latter.
func (s *Service) blockList(ctx context.Context, account, container string, at target) (doc *blobDoc, committed, uncommitted []Block, err error) {
	c, err := s.container(ctx, account, container)
	if err != nil {
		return nil, nil, nil, err
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		key := blobKey(account, c.UID, at.name)
		_, doc, err = at.find(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			doc, err = nil, nil
		}
		if err != nil {
			return err
		}
		if doc != nil {
			parts, err := loadParts(tx, doc)
			if err != nil {
				return err
			}
			for _, p := range parts {
				if p.Block != "" {
					committed = append(committed, Block{p.Block, p.Size})
				}
			}
		}
		t := &blobTx{tx: tx, account: account, base: key}
		staged, err := t.staged()
		for id, st := range staged {
			uncommitted = append(uncommitted, Block{id, st.Part.Size})
		}
		slices.SortFunc(uncommitted, func(a, b Block) int { return strings.Compare(a.ID, b.ID) })
		return err
	})
	if err == nil && doc == nil && len(uncommitted) == 0 {
		err = errBlobNotFound()
	}
	return doc, committed, uncommitted, err
}
