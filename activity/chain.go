package activity

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"vauban.dev/store"
)

// ChainKind is the document kind of the chain's ends, for Store.Watch: "head" is its newest entry, "anchor" the newest of those
// that were trimmed. Both are sealed with the log's key.
const ChainKind = "activity-chain"

// Log writes the entries. It is safe for concurrent use.
type Log struct{ macs sync.Pool } // of hash.Hash, keyed

// NewLog makes a log whose chain is sealed with key. Whoever knows the key can forge a chain; an empty one is for tests.
func NewLog(key []byte) *Log {
	key = bytes.Clone(key)
	return &Log{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// link is an entry as it is stored.
type link struct {
	Seq   int64           `json:"seq"`  // 1, 2, 3 …
	Prev  string          `json:"prev"` // hash of the entry before it
	Hash  string          `json:"hash"`
	Break string          `json:"break,omitempty"` // why what is before it may be missing
	Entry json.RawMessage `json:"entry"`
}

// encode is json.Marshal of a link whose entry is what json.Marshal made: it is on the way of every write, and the entry need
// not be read again. Verify compares.
func (k link) encode() ([]byte, error) {
	if k.Break != "" {
		return json.Marshal(k)
	}
	b := make([]byte, 0, len(k.Entry)+len(k.Prev)+len(k.Hash)+64)
	b = strconv.AppendInt(append(b, `{"seq":`...), k.Seq, 10)
	b = append(append(append(b, `,"prev":"`...), k.Prev...), `","hash":"`...)
	b = append(append(append(b, k.Hash...), `","entry":`...), k.Entry...)
	return append(b, '}'), nil
}

// end is one of the chain's ends.
type end struct {
	Seq  int64
	Hash string
	Time time.Time
	Seal string
}

// text is the end as it is stored: every entry rewrites the head.
func (e end) text() []byte {
	b := strconv.AppendInt(nil, e.Seq, 10)
	b = append(append(append(b, ' '), e.Hash...), ' ')
	b = strconv.AppendInt(b, e.Time.UnixNano(), 10)
	return append(append(b, ' '), e.Seal...)
}

func parseEnd(text []byte) (e end, ok bool) {
	part := bytes.Split(text, []byte(" "))
	if len(part) != 4 {
		return e, false
	}
	var bad [2]error
	var nanos int64
	e.Seq, bad[0] = strconv.ParseInt(string(part[0]), 10, 64)
	nanos, bad[1] = strconv.ParseInt(string(part[2]), 10, 64)
	e.Hash, e.Time, e.Seal = string(part[1]), time.Unix(0, nanos).UTC(), string(part[3])
	return e, bad == [2]error{} && bytes.Equal(e.text(), text)
}

// genesis is what stands for the entry before the first.
const genesis = "0000000000000000000000000000000000000000000000000000000000000000"

func (l *Log) mac(parts ...[]byte) string {
	m := l.macs.Get().(hash.Hash)
	defer l.macs.Put(m)
	m.Reset()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		m.Write(n[:])
		m.Write(p)
	}
	var sum [sha256.Size]byte
	return hex.EncodeToString(m.Sum(sum[:0]))
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// hash binds the entry to its place: in the chain, and under its key in the store.
func (l *Log) hash(k link, key string) string {
	return l.mac([]byte("vauban activity entry 1"), number(k.Seq), []byte(k.Prev), []byte(k.Break), []byte(key), k.Entry)
}

func (l *Log) seal(name string, e end) string {
	return l.mac([]byte("vauban activity "+name+" 1"), number(e.Seq), []byte(e.Hash), number(e.Time.UnixNano()))
}

func (l *Log) sealed(name string, e end) bool {
	return hmac.Equal([]byte(l.seal(name, e)), []byte(e.Seal))
}

// end reads an end of the chain; ok is false when there is none yet. An end that is not as it was sealed is errBroken.
func (l *Log) end(tx store.Tx, name string) (e end, ok bool, err error) {
	doc, err := tx.Get(ChainKind, name)
	if errors.Is(err, store.ErrNotFound) {
		return end{Hash: genesis}, false, nil
	}
	if err != nil {
		return e, false, err
	}
	if e, ok = parseEnd(doc.Value); !ok || !l.sealed(name, e) {
		return end{}, true, errBroken
	}
	return e, true, nil
}

var errBroken = errors.New("it is not as it was sealed")

func (l *Log) putEnd(tx store.Tx, name string, e end) error {
	e.Seal = l.seal(name, e)
	_, err := tx.Put(ChainKind, name, e.text(), store.Any)
	return err
}

// Append writes an entry at the end of the chain. An entry without ID or Time is refused. When the end of the chain was
// tampered with, the entry goes on from the newest that is there, and says so for ever.
func (l *Log) Append(tx store.Tx, e Entry) error { return l.append(tx, e, "") }

// AppendBreak is Append for what was found out about the log itself: Verify tells why from then on.
func (l *Log) AppendBreak(tx store.Tx, e Entry, why string) error { return l.append(tx, e, why) }

func (l *Log) append(tx store.Tx, e Entry, why string) error {
	if e.ID == "" || e.Time.IsZero() {
		return fmt.Errorf("activity: entry for %s has no id or no time", e.Resource)
	}
	head, _, err := l.end(tx, "head")
	if errors.Is(err, errBroken) {
		why = "the seal of the log's head did not match when this entry was written"
		head, err = newest(tx)
	}
	if err != nil {
		return err
	}
	e.Time = e.Time.UTC()
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("activity: %w", err)
	}
	k := link{Seq: head.Seq + 1, Prev: head.Hash, Break: why, Entry: raw}
	at := key(e)
	k.Hash = l.hash(k, at)
	b, err := k.encode()
	if err != nil {
		return fmt.Errorf("activity: %w", err)
	}
	if _, err := tx.Put(kind, at, b, store.None); err != nil {
		return err
	}
	return l.putEnd(tx, "head", end{Seq: k.Seq, Hash: k.Hash, Time: e.Time})
}

// Adopt makes a chain of entries that an earlier version wrote without one, in the order of their times. It does nothing
// when there is a chain. Call it only where nobody can have taken the chain away.
func (l *Log) Adopt(tx store.Tx) error {
	if _, ok, err := l.end(tx, "head"); err != nil || ok {
		return err
	}
	var all []Entry
	var keys []string
	err := tx.Scan(kind, "", "", func(d store.Doc) bool {
		var k link
		var e Entry
		if json.Unmarshal(d.Value, &k) == nil && k.Seq == 0 && json.Unmarshal(d.Value, &e) == nil {
			all, keys = append(all, e), append(keys, d.Key)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := tx.Delete(kind, k, store.Any); err != nil {
			return err
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	for _, e := range all {
		if err := l.Append(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// newest finds the entry with the highest number, for a chain whose head cannot be trusted.
func newest(tx store.Tx) (e end, err error) {
	e.Hash = genesis
	err = tx.Scan(kind, "", "", func(d store.Doc) bool {
		var k link
		if json.Unmarshal(d.Value, &k) == nil && k.Seq > e.Seq {
			e.Seq, e.Hash = k.Seq, k.Hash
		}
		return true
	})
	return e, err
}

func decode(d store.Doc) (e Entry, err error) {
	var k link
	if err = json.Unmarshal(d.Value, &k); err == nil {
		err = json.Unmarshal(k.Entry, &e)
		e.Seq = k.Seq
	}
	if err != nil {
		err = fmt.Errorf("activity: stored entry %s: %w", d.Key, err)
	}
	return e, err
}

// trimmed is how many entries are deleted in one transaction.
const trimmed = 1000

// Trim deletes the oldest entries of the chain as long as they are older than before, and moves its anchor up to them. What is
// damaged stops it: the evidence stays.
func (l *Log) Trim(ctx context.Context, s store.Store, before time.Time) error {
	type old struct {
		key  string
		link link
		time time.Time
	}
	var all []old
	err := s.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kind, "", "", func(d store.Doc) bool {
			var k link
			e, err := decode(d)
			if err == nil && json.Unmarshal(d.Value, &k) == nil && e.Time.Before(before) && k.Hash == l.hash(k, d.Key) {
				k.Entry = nil
				all = append(all, old{d.Key, k, e.Time})
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].link.Seq < all[j].link.Seq })
	for len(all) > 0 {
		n := 0
		err := s.Update(ctx, func(tx store.Tx) error {
			n = 0
			anchor, _, err := l.end(tx, "anchor")
			if errors.Is(err, errBroken) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, o := range all[:min(len(all), trimmed)] {
				if o.link.Seq != anchor.Seq+1 || o.link.Prev != anchor.Hash {
					break
				}
				if err := tx.Delete(kind, o.key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				anchor = end{Seq: o.link.Seq, Hash: o.link.Hash, Time: o.time}
				n++
			}
			if n == 0 {
				return nil
			}
			return l.putEnd(tx, "anchor", anchor)
		})
		if err != nil || n == 0 {
			return err
		}
		all = all[n:]
	}
	return nil
}
