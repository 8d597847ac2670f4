package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// A file is sparse. Its extents are in buckets of 4 MiB, a document each that lists which ranges were written and where
// their bytes are; a range that is not listed reads as zeros.
const (
	bucketSize = 4 << 20
	maxWrite   = 4 << 20 // of one Put Range
	maxFile    = 4 << 40
	inlineMax  = 32 << 10 // a payload up to this size travels in the commit
)

// extent is Size bytes from Off of a payload of Whole bytes, at At of the file.
type extent struct {
	Ref    string `json:"r"`
	At     int64  `json:"a"`
	Size   int64  `json:"n"`
	Off    int64  `json:"o,omitempty"`
	Whole  int64  `json:"w"`
	Inline bool   `json:"i,omitempty"`
}

func (e extent) clip(from, to int64) (extent, bool) {
	start, end := max(e.At, from), min(e.At+e.Size, to)
	if start >= end {
		return e, false
	}
	e.Off += start - e.At
	e.At, e.Size = start, end-start
	return e, true
}

func (t *tree) bucketKey(file uint64, bucket int64) string {
	return fmt.Sprintf("%s/%s/%016x/%08x", t.account, t.doc.Tree, file, bucket)
}

// extents returns what is written of a file in [from, to), in order.
func (t *tree) extents(file uint64, from, to int64) (list []extent, err error) {
	if from >= to {
		return nil, nil
	}
	after := ""
	if b := from / bucketSize; b > 0 {
		after = t.bucketKey(file, b-1)
	}
	last := t.bucketKey(file, (to-1)/bucketSize)
	prefix := strings.TrimSuffix(t.bucketKey(file, 0), "00000000")
	var bad error
	err = t.tx.Scan(kindExtent, prefix, after, func(d store.Doc) bool {
		if d.Key > last {
			return false
		}
		var some []extent
		bad = decode(d.Value, &some)
		for _, e := range some {
			if e, ok := e.clip(from, to); ok {
				list = append(list, e)
			}
		}
		return bad == nil
	})
	return list, errors.Join(err, bad)
}

// set makes [from, to) of a file the payload, or zeros when p is nil, and counts what the share has written.
func (t *tree) set(file uint64, from, to int64, p *payload) error {
	if p != nil && p.Inline {
		if _, err := t.tx.Put(kindInline, t.account+"/"+p.Ref, p.sealed, store.None); err != nil {
			return err
		}
	}
	var gone []extent
	grown := int64(0)
	buckets, err := t.buckets(file, from, to, p != nil)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		dropped, n, err := t.setBucket(file, b, from, to, p)
		if err != nil {
			return err
		}
		gone, grown = append(gone, dropped...), grown+n
	}
	if err := t.count(grown); err != nil {
		return err
	}
	return t.release(file, gone)
}

// buckets are the numbers of a file's buckets in [from, to): all of them, or those that have something.
func (t *tree) buckets(file uint64, from, to int64, all bool) (list []int64, err error) {
	first, last := from/bucketSize, (to-1)/bucketSize
	if all {
		for b := first; b <= last; b++ {
			list = append(list, b)
		}
		return list, nil
	}
	prefix := strings.TrimSuffix(t.bucketKey(file, 0), "00000000")
	after := ""
	if first > 0 {
		after = t.bucketKey(file, first-1)
	}
	var bad error
	err = t.tx.Scan(kindExtent, prefix, after, func(d store.Doc) bool {
		var b int64
		if b, bad = strconv.ParseInt(d.Key[len(prefix):], 16, 64); bad != nil || b > last {
			return false
		}
		list = append(list, b)
		return true
	})
	return list, errors.Join(err, bad)
}

func (t *tree) setBucket(file uint64, bucket, from, to int64, p *payload) (dropped []extent, grown int64, err error) {
	key := t.bucketKey(file, bucket)
	var old, next []extent
	if err := getDoc(t.tx, kindExtent, key, &old); err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, 0, err
	}
	low := bucket * bucketSize
	keep := func(e extent, from, to int64) {
		if e, ok := e.clip(from, to); ok {
			next = append(next, e)
		}
	}
	for _, o := range old {
		keep(o, low, from)
	}
	if p != nil {
		keep(p.extent, max(from, low), min(to, low+bucketSize))
	}
	for _, o := range old {
		keep(o, to, math.MaxInt64)
		if o.At < to && o.At+o.Size > from {
			dropped = append(dropped, o)
		}
		grown -= o.Size
	}
	for _, e := range next {
		grown += e.Size
	}
	if len(next) > 0 {
		return dropped, grown, putDoc(t.tx, kindExtent, key, next)
	}
	if len(old) == 0 {
		return nil, 0, nil
	}
	return dropped, grown, t.tx.Delete(kindExtent, key, store.Any)
}

// count adds to what the share has written and judges its quota.
func (t *tree) count(grown int64) error {
	if grown == 0 {
		return nil
	}
	n, err := usage(t.tx, t.account, t.doc.Tree)
	if err != nil {
		return err
	}
	if n += grown; grown > 0 && n > t.doc.Quota*gib {
		return storagehttp.NewError(http.StatusRequestEntityTooLarge, "ShareSizeLimitReached", "The share size limit has been reached.").Because("the quota of share '%s' is %d GiB", t.share, t.doc.Quota)
	}
	return putDoc(t.tx, kindUsage, t.account+"/"+t.doc.Tree, n)
}

// release lets go of those payloads of extents, which were overwritten, that the file does not name any more.
func (t *tree) release(file uint64, list []extent) error {
	seen := map[string]bool{}
	for _, e := range list {
		if seen[e.Ref] {
			continue
		}
		seen[e.Ref] = true
		start := e.At - e.Off
		still, err := t.extents(file, start, start+e.Whole)
		if err != nil {
			return err
		}
		named := false
		for _, s := range still {
			named = named || s.Ref == e.Ref
		}
		if named {
			continue
		}
		if err := t.drop(e); err != nil {
			return err
		}
	}
	return nil
}

// drop lets go of a payload that one file less names.
func (t *tree) drop(e extent) error {
	freed, err := dropPayload(t.tx, t.account, e)
	t.freed = append(t.freed, freed...)
	return err
}

// dropPayload returns the payload when it is in a file that nothing names any more.
func dropPayload(tx store.Tx, account string, e extent) (freed []string, err error) {
	n, err := sharers(tx, account, e.Ref)
	if err != nil {
		return nil, err
	}
	if n > 1 {
		return nil, setSharers(tx, account, e.Ref, n-1)
	}
	if !e.Inline {
		return []string{e.Ref}, nil
	}
	err = tx.Delete(kindInline, account+"/"+e.Ref, store.Any)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return nil, err
}

func sharers(tx store.Tx, account, ref string) (n int, err error) {
	err = getDoc(tx, kindShared, account+"/"+ref, &n)
	if errors.Is(err, store.ErrNotFound) {
		return 1, nil
	}
	return n, err
}

func setSharers(tx store.Tx, account, ref string, n int) error {
	if n > 1 {
		_, err := tx.Put(kindShared, account+"/"+ref, []byte(strconv.Itoa(n)), store.Any)
		return err
	}
	err := tx.Delete(kindShared, account+"/"+ref, store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// dropContent lets go of all of a file.
func (t *tree) dropContent(file uint64) error { return t.set(file, 0, maxFile, nil) }

// shareContent gives the content of a file to another of the account, by sharing its payloads.
func (t *tree) shareContent(from *tree, source, file uint64) error {
	list, err := from.extents(source, 0, maxFile)
	if err != nil {
		return err
	}
	buckets := map[int64][]extent{}
	seen := map[string]bool{}
	grown := int64(0)
	for _, e := range list {
		buckets[e.At/bucketSize] = append(buckets[e.At/bucketSize], e)
		grown += e.Size
		if seen[e.Ref] {
			continue
		}
		seen[e.Ref] = true
		n, err := sharers(t.tx, t.account, e.Ref)
		if err != nil {
			return err
		}
		if err := setSharers(t.tx, t.account, e.Ref, n+1); err != nil {
			return err
		}
	}
	for b, some := range buckets {
		if err := putDoc(t.tx, kindExtent, t.bucketKey(file, b), some); err != nil {
			return err
		}
	}
	return t.count(grown)
}

// copyTree makes a tree that has the entries of another, whose payloads both share.
func copyTree(tx store.Tx, account, from, to string) error {
	old, next := account+"/"+from, account+"/"+to
	for _, kind := range []string{kindEntry, kindExtent} {
		var docs []store.Doc
		err := tx.Scan(kind, old+"/", "", func(d store.Doc) bool { docs = append(docs, d); return true })
		if err != nil {
			return err
		}
		seen := map[string]bool{} // by file and payload: a file counts once
		for _, d := range docs {
			if _, err := tx.Put(kind, next+strings.TrimPrefix(d.Key, old), d.Value, store.None); err != nil {
				return err
			}
			if kind == kindEntry {
				continue
			}
			var list []extent
			if err := decode(d.Value, &list); err != nil {
				return err
			}
			file := d.Key[:strings.LastIndexByte(d.Key, '/')]
			for _, e := range list {
				if seen[file+e.Ref] {
					continue
				}
				seen[file+e.Ref] = true
				n, err := sharers(tx, account, e.Ref)
				if err != nil {
					return err
				}
				if err := setSharers(tx, account, e.Ref, n+1); err != nil {
					return err
				}
			}
		}
	}
	n, err := usage(tx, account, from)
	if err != nil {
		return err
	}
	return putDoc(tx, kindUsage, account+"/"+to, n)
}

// payload is bytes on their way into a file: in a file of their own already, or sealed and waiting for the commit.
type payload struct {
	extent
	sealed []byte // Inline
}

// seal keeps bytes for [at, at+len(b)) of a file: on disk when it returns, or short enough for the commit.
func (s *Service) seal(ctx context.Context, account string, at int64, b []byte) (*payload, error) {
	k, err := s.key(ctx, account)
	if err != nil {
		return nil, err
	}
	n := int64(len(b))
	p := &payload{extent: extent{Ref: s.files.Ref(), At: at, Size: n, Whole: n, Inline: n <= inlineMax}}
	if p.Inline {
		p.sealed, err = k.Seal(make([]byte, 0, seal.SealedSize(n)), b, s.files.Binding(account, p.Ref))
		return p, err
	}
	_, err = s.files.Create(account, p.Ref, k, bytes.NewReader(b))
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return p, err
}

// discard removes a payload that no commit took.
func (s *Service) discard(account string, p *payload) {
	if p != nil && !p.Inline {
		s.files.Remove(account, "", []string{p.Ref})
	}
}

// open is a file that is read: its extents stay as they were when it was opened, whatever happens to it.
type open struct {
	s       *Service
	account string
	entry   entryDoc
	share   shareDoc
	list    []extent
	inline  map[string][]byte // sealed bytes of short payloads, by reference
	key     *seal.Key
	reader  int64
}

// maxInline bounds what an open file keeps in memory: 32 KiB each.
const maxInline = 64

// open opens [from, to) of a file of a share or a snapshot. Close it.
func (s *Service) open(ctx context.Context, account, share, snapshot string, names []string, judge func(entryDoc) error, window func(size int64) (from, to int64)) (*open, error) {
	o := &open{s: s, account: account, inline: map[string][]byte{}, reader: s.files.Pin(account)}
	err := s.view(ctx, account, share, snapshot, func(t *tree) (err error) {
		if o.entry, _, err = t.find(names, false); err != nil {
			return err
		}
		if err := judge(o.entry); err != nil {
			return err
		}
		from, to := window(o.entry.Size)
		o.share = t.doc
		o.list, err = t.extents(o.entry.ID, from, to)
		for i := 0; i < len(o.list) && err == nil && len(o.inline) < maxInline; i++ {
			if e := o.list[i]; e.Inline && o.inline[e.Ref] == nil {
				o.inline[e.Ref], err = inlineBytes(t.tx, account, e.Ref)
			}
		}
		return err
	})
	if err == nil {
		o.key, err = s.key(ctx, account)
	}
	if err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// Close lets go of the content.
func (o *open) Close() { o.s.files.Unpin(o.account, o.reader) }

// writeRange writes [from, to) to w.
func (o *open) writeRange(ctx context.Context, w io.Writer, from, to int64) error {
	at := from
	for _, e := range o.list {
		e, ok := e.clip(from, to)
		if !ok {
			continue
		}
		if err := writeZeros(w, e.At-at); err != nil {
			return err
		}
		if err := o.writeExtent(ctx, w, e); err != nil {
			return err
		}
		at = e.At + e.Size
	}
	return writeZeros(w, to-at)
}

func (o *open) writeExtent(ctx context.Context, w io.Writer, e extent) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.Inline {
		plain, err := o.s.openInline(ctx, o.account, e, o.inline[e.Ref], o.key)
		if err != nil {
			return err
		}
		_, err = w.Write(plain[e.Off : e.Off+e.Size])
		return err
	}
	file, r, err := o.s.files.Open(o.account, e.Ref, e.Whole, o.key)
	if err != nil {
		return err
	}
	_, err = r.WriteRange(w, e.Off, e.Size)
	return errors.Join(err, file.Close())
}

func inlineBytes(tx store.Tx, account, ref string) ([]byte, error) {
	d, err := tx.Get(kindInline, account+"/"+ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("file: payload %s: %w", ref, fs.ErrNotExist)
	}
	return d.Value, err
}

// openInline returns the plaintext of a short payload, whose sealed bytes are at hand or nil.
func (s *Service) openInline(ctx context.Context, account string, e extent, sealed []byte, k *seal.Key) ([]byte, error) {
	if sealed == nil {
		err := s.store.View(ctx, func(tx store.Tx) (err error) {
			sealed, err = inlineBytes(tx, account, e.Ref)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	plain, err := k.Open(nil, sealed, s.files.Binding(account, e.Ref))
	if err == nil && int64(len(plain)) != e.Whole {
		err = seal.ErrDamaged
	}
	return plain, err
}

var zeros [64 << 10]byte

func writeZeros(w io.Writer, n int64) error {
	for n > 0 {
		m, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// view runs f on the tree of a share or a snapshot.
func (s *Service) view(ctx context.Context, account, share, snapshot string, f func(*tree) error) error {
	return s.store.View(ctx, func(tx store.Tx) error {
		doc, err := getShareAt(tx, account, share, snapshot)
		if err != nil {
			return err
		}
		return f(&tree{s: s, tx: tx, account: account, share: share, doc: doc, now: s.clock.Now()})
	})
}

// update runs f on the tree of a share in a transaction and commits; then the payloads that it let go of are removed.
func (s *Service) update(ctx context.Context, account, share string, f func(*tree) error) error {
	var t *tree
	err := s.store.Update(ctx, func(tx store.Tx) error {
		doc, err := getShare(tx, account, share)
		if err != nil {
			return err
		}
		t = &tree{s: s, tx: tx, account: account, share: share, doc: doc, now: s.stamp()}
		return f(t)
	})
	if err == nil {
		s.files.RemoveShared(account, t.freed)
	}
	return err
}
