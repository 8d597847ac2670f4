package activity

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"vauban.dev/store"
)

// Problem is one thing that is wrong with the chain.
type Problem struct {
	Seq  int64  `json:"seq,omitempty"` // of the entry, 0 when it is not known
	Key  string `json:"key,omitempty"` // where it is stored
	What string `json:"what"`
}

func (p Problem) String() string {
	switch {
	case p.Seq > 0 && p.Key != "":
		return fmt.Sprintf("entry %d (%s): %s", p.Seq, p.Key, p.What)
	case p.Seq > 0:
		return fmt.Sprintf("entry %d: %s", p.Seq, p.What)
	case p.Key != "":
		return fmt.Sprintf("%s: %s", p.Key, p.What)
	}
	return p.What
}

// Report is what Verify found.
type Report struct {
	Entries  int       `json:"entries"`
	First    int64     `json:"first"`         // number of the oldest entry that is kept
	Last     int64     `json:"last"`          // and of the newest
	Trimmed  int64     `json:"trimmed"`       // entries that have outlived their time
	Head     string    `json:"head"`          // hash of the newest: write it down elsewhere, and nothing before it can change unseen
	Time     time.Time `json:"time,omitzero"` // of the newest
	Problems []Problem `json:"problems"`      // empty: the log is whole
}

// checked is what of an entry the order is judged by.
type checked struct {
	seq        int64
	prev, hash string
	key        string
}

// Verify reads the whole chain in tx: that every entry is as it was written, that none is missing, doubled or moved, that it
// begins at the anchor and ends at the head, and that it holds what witness has seen (nil: nobody has).
func (l *Log) Verify(tx store.Tx, witness *Witness) (r Report, err error) {
	r.Problems = []Problem{}
	add := func(seq int64, key, format string, args ...any) {
		r.Problems = append(r.Problems, Problem{seq, key, fmt.Sprintf(format, args...)})
	}
	var chain []checked
	err = tx.Scan(kind, "", "", func(d store.Doc) bool {
		r.Entries++
		var k link
		if json.Unmarshal(d.Value, &k) != nil || k.Seq < 1 || len(k.Entry) == 0 {
			add(0, d.Key, "it cannot be read")
			return true
		}
		again, err := json.Marshal(k)
		if err != nil || !bytes.Equal(again, d.Value) || k.Hash != l.hash(k, d.Key) {
			add(k.Seq, d.Key, "it is not as it was written")
			return true
		}
		if k.Break != "" {
			add(k.Seq, d.Key, "%s", k.Break)
		}
		chain = append(chain, checked{k.Seq, k.Prev, k.Hash, d.Key})
		return true
	})
	if err != nil {
		return r, err
	}
	slices.SortFunc(chain, func(a, b checked) int { return cmp.Compare(a.seq, b.seq) })
	anchor, _, err := l.end(tx, "anchor")
	if errors.Is(err, errBroken) {
		add(0, "", "the anchor, where trimming ended: %v", err)
	} else if err != nil {
		return r, err
	}
	r.Trimmed = anchor.Seq
	prev := anchor
	for _, c := range chain {
		switch {
		case c.seq == prev.Seq:
			add(c.seq, c.key, "there are two entries of this number")
		case c.seq < prev.Seq:
			add(c.seq, c.key, "it should have been trimmed")
			continue
		case c.seq == prev.Seq+2:
			add(c.seq-1, "", "it is missing or damaged")
		case c.seq > prev.Seq+1:
			add(prev.Seq+1, "", "it and those up to %d are missing or damaged", c.seq-1)
		case c.prev != prev.Hash:
			add(c.seq, c.key, "it does not follow the entry before it")
		}
		prev = end{Seq: c.seq, Hash: c.hash}
	}
	if len(chain) > 0 {
		r.First, r.Last, r.Head = chain[0].seq, prev.Seq, prev.Hash
	}
	head, ok, err := l.end(tx, "head")
	switch {
	case errors.Is(err, errBroken):
		add(0, "", "the head, where the log ends: %v", err)
	case err != nil:
		return r, err
	case !ok && r.Entries > 0:
		add(0, "", "the log has no head")
	case head.Seq > prev.Seq:
		add(prev.Seq+1, "", "the log ends before it; the newest is entry %d", head.Seq)
	case head.Seq < prev.Seq || head.Hash != prev.Hash && ok:
		add(prev.Seq, "", "it is not the entry that the head names, %d", head.Seq)
	}
	r.Time = head.Time
	if witness != nil {
		for _, p := range l.compare(*witness, anchor, chain, prev.Seq) {
			add(p.Seq, p.Key, "%s", p.What)
		}
	}
	return r, nil
}

// compare holds the chain against what was seen of it before.
func (l *Log) compare(w Witness, anchor end, chain []checked, last int64) []Problem {
	if !l.sealed("witness", end{Seq: w.Seq, Hash: w.Hash, Time: w.Time, Seal: w.Seal}) {
		return []Problem{{What: "the witness of the log beside the store: " + errBroken.Error()}}
	}
	if w.Seq > last {
		return []Problem{{Seq: w.Seq, What: fmt.Sprintf("it was there at %s and is not any more: the log was cut off or an older one was put in its place", w.Time.UTC().Format(time.RFC3339))}}
	}
	if w.Seq < anchor.Seq {
		return nil // trimmed since
	}
	have := anchor.Hash
	if i, ok := slices.BinarySearchFunc(chain, w.Seq, func(c checked, seq int64) int { return cmp.Compare(c.seq, seq) }); ok {
		have = chain[i].hash
	} else if w.Seq != anchor.Seq {
		return nil // told as missing
	}
	if have != w.Hash {
		return []Problem{{Seq: w.Seq, What: "it is not the entry that was there before: the log was written anew"}}
	}
	return nil
}

// Witness is what was seen of the chain's head, kept outside the store: it tells when the whole store was put back to an
// earlier state.
type Witness struct {
	Seq  int64     `json:"seq"`
	Hash string    `json:"hash"`
	Time time.Time `json:"time"`
	Seal string    `json:"seal"`
}

// Witness reads the head, also of a log without entries; ok is false for one that is not as it was sealed.
func (l *Log) Witness(tx store.Tx) (w Witness, ok bool, err error) {
	e, _, err := l.end(tx, "head")
	if errors.Is(err, errBroken) {
		return w, false, nil
	}
	if err != nil {
		return w, false, err
	}
	e.Seal = l.seal("witness", e)
	return Witness(e), true, nil
}

// Contradicts tells how the log contradicts the witness, "" if it does not. Unlike Verify it looks at the ends only, and at the
// one entry.
func (l *Log) Contradicts(tx store.Tx, w Witness) (string, error) {
	anchor, _, err := l.end(tx, "anchor")
	if err != nil && !errors.Is(err, errBroken) {
		return "", err
	}
	head, _, err := l.end(tx, "head")
	if errors.Is(err, errBroken) {
		return "", nil // the next entry says so
	}
	if err != nil {
		return "", err
	}
	chain := []checked{}
	err = tx.Scan(kind, "", "", func(d store.Doc) bool {
		var k link
		if json.Unmarshal(d.Value, &k) == nil && k.Seq == w.Seq {
			chain = append(chain, checked{k.Seq, k.Prev, k.Hash, d.Key})
		}
		return len(chain) == 0
	})
	if err != nil {
		return "", err
	}
	for _, p := range l.compare(w, anchor, chain, head.Seq) {
		return p.String(), nil
	}
	return "", nil
}
