package blob

import (
	"errors"
	"strconv"

	"vauban.dev/store"
)

// Payloads are shared: a snapshot, a version or a copy of a blob within its account names the payloads that the blob names.
// kindShared counts the documents that name a payload when they are several, and only documents that say Shared
// name such payloads, so that others pay nothing for it.

// share counts one more document for each payload of parts.
func (t *blobTx) share(parts []part) error {
	seen := make(map[string]bool, len(parts))
	for _, p := range parts {
		if p.Ref == "" || seen[p.Ref] {
			continue
		}
		seen[p.Ref] = true
		n, err := sharers(t.tx, t.account, p.Ref)
		if err != nil {
			return err
		}
		if err := setSharers(t.tx, t.account, p.Ref, n+1); err != nil {
			return err
		}
	}
	return nil
}

// release lets go of a payload; shared: other documents may name it.
func (t *blobTx) release(p part, shared bool) error {
	if !shared || p.Ref == "" {
		return t.drop(p)
	}
	n, err := sharers(t.tx, t.account, p.Ref)
	if err != nil {
		return err
	}
	if n > 1 {
		return setSharers(t.tx, t.account, p.Ref, n-1)
	}
	if p.Inline {
		return t.dropInline(p)
	}
	t.unshed = append(t.unshed, p)
	return nil
}

// sharers is how many documents name a payload.
func sharers(tx store.Tx, account, ref string) (int, error) {
	d, err := tx.Get(kindShared, inlineKey(account, ref))
	if errors.Is(err, store.ErrNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	var n int
	return n, decode(d.Value, &n)
}

func setSharers(tx store.Tx, account, ref string, n int) error {
	key := inlineKey(account, ref)
	if n > 1 {
		_, err := tx.Put(kindShared, key, []byte(strconv.Itoa(n)), store.Any)
		return err
	}
	err := tx.Delete(kindShared, key, store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// twin returns a document that has the content of doc, sharing its payloads; from then on both say Shared.
func (t *blobTx) twin(doc *blobDoc) (*blobDoc, error) {
	doc.Shared = true
	out := *doc
	if doc.Type == PageBlob {
		parts, id, err := t.copyPages(doc)
		if err != nil {
			return nil, err
		}
		out.Parts = id
		return &out, t.share(parts)
	}
	parts, err := loadParts(t.tx, doc)
	if err != nil {
		return nil, err
	}
	if doc.Parts != "" {
		out.Parts = randomID()
		if out.PartDocs, err = saveParts(t.tx, out.Parts, 0, parts); err != nil {
			return nil, err
		}
	}
	return &out, t.share(parts)
}
