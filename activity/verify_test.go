package activity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

var birth = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// chained is a log of n entries, an hour apart, of two subscriptions and the tenant.
func chained(t testing.TB, n int) store.Store {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for i := range n {
		more(t, s, i)
	}
	return s
}

func more(t testing.TB, s store.Store, i int) {
	t.Helper()
	err := s.Update(context.Background(), func(tx store.Tx) error {
		return testLog.Append(tx, Entry{
			ID: fmt.Sprintf("id%d", i), Time: birth.Add(time.Duration(i) * time.Hour), Operation: "A.B/things/write", Status: Succeeded,
			Resource: []string{"/subscriptions/s1/resourceGroups/g", "/subscriptions/s2", "/"}[i%3], Message: "<&>",
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, s store.Store, w *Witness) (r Report) {
	t.Helper()
	err := s.View(context.Background(), func(tx store.Tx) (err error) {
		r, err = testLog.Verify(tx, w)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func docs(t testing.TB, s store.Store) (all []store.Doc) {
	t.Helper()
	err := s.View(context.Background(), func(tx store.Tx) error {
		return tx.Scan(kind, "", "", func(d store.Doc) bool {
			d.Value = bytes.Clone(d.Value)
			all = append(all, d)
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func change(t testing.TB, s store.Store, f func(tx store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func put(key string, value []byte) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Put(kind, key, value, store.Any)
		return err
	}
}

func seqOf(t testing.TB, d store.Doc) int64 {
	t.Helper()
	var k link
	if err := json.Unmarshal(d.Value, &k); err != nil {
		t.Fatal(err)
	}
	return k.Seq
}

// numbered returns the document of the entry with this number.
func numbered(t testing.TB, s store.Store, seq int64) store.Doc {
	t.Helper()
	for _, d := range docs(t, s) {
		if seqOf(t, d) == seq {
			return d
		}
	}
	t.Fatalf("no entry %d", seq)
	return store.Doc{}
}

func found(t *testing.T, what string, r Report, says ...string) {
	t.Helper()
	var all []string
	for _, p := range r.Problems {
		all = append(all, p.String())
	}
	text := strings.Join(all, "\n")
	if len(says) == 0 && text != "" || len(says) > 0 && text == "" {
		t.Errorf("%s: found %q", what, text)
	}
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("%s: found\n%s\nwhich does not say %q", what, text, s)
		}
	}
}

func TestWhole(t *testing.T) {
	s := chained(t, 7)
	r := verify(t, s, nil)
	found(t, "a whole log", r)
	if r.Entries != 7 || r.First != 1 || r.Last != 7 || r.Trimmed != 0 || len(r.Head) != 64 || !r.Time.Equal(birth.Add(6*time.Hour)) {
		t.Errorf("%+v", r)
	}
	found(t, "an empty one", verify(t, chained(t, 0), nil))
	var other Report
	err := s.View(t.Context(), func(tx store.Tx) (err error) {
		other, err = NewLog([]byte("another key")).Verify(tx, nil)
		return err
	})
	if err != nil || len(other.Problems) == 0 {
		t.Error("by another key: nothing found")
	}
}

// TestFlippedByte: each byte of an entry, of the head and of the anchor, one at a time.
func TestFlippedByte(t *testing.T) {
	s := chained(t, 4)
	if err := testLog.Trim(t.Context(), s, birth.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	found(t, "before", verify(t, s, nil))
	flip := func(kind, key string, value []byte) {
		t.Helper()
		for i := range value {
			bad := bytes.Clone(value)
			bad[i] ^= 1 << (i % 7)
			change(t, s, func(tx store.Tx) error { _, err := tx.Put(kind, key, bad, store.Any); return err })
			if r := verify(t, s, nil); len(r.Problems) == 0 {
				t.Fatalf("%s %s: byte %d of %s is %q: nothing found", kind, key, i, value, bad[i])
			}
		}
		change(t, s, func(tx store.Tx) error { _, err := tx.Put(kind, key, value, store.Any); return err })
		found(t, "put back", verify(t, s, nil))
	}
	d := numbered(t, s, 3)
	flip(kind, d.Key, d.Value)
	for _, name := range []string{"head", "anchor"} {
		var doc store.Doc
		change(t, s, func(tx store.Tx) (err error) {
			doc, err = tx.Get(ChainKind, name)
			doc.Value = bytes.Clone(doc.Value)
			return err
		})
		flip(ChainKind, name, doc.Value)
	}
}

func TestTampering(t *testing.T) {
	remove := func(seqs ...int64) func(*testing.T, store.Store) {
		return func(t *testing.T, s store.Store) {
			for _, n := range seqs {
				d := numbered(t, s, n)
				change(t, s, func(tx store.Tx) error { return tx.Delete(kind, d.Key, store.Any) })
			}
		}
	}
	headOf := func(t *testing.T, s store.Store, seq int64) { // the head as it would be at an earlier entry, but for its seal
		var k link
		if err := json.Unmarshal(numbered(t, s, seq).Value, &k); err != nil {
			t.Fatal(err)
		}
		b := end{Seq: k.Seq, Hash: k.Hash, Time: birth, Seal: strings.Repeat("0", 64)}.text()
		change(t, s, func(tx store.Tx) error { _, err := tx.Put(ChainKind, "head", b, store.Any); return err })
	}
	for what, c := range map[string]struct {
		do   func(*testing.T, store.Store)
		says []string
	}{
		"an entry removed":      {remove(4), []string{"entry 4: it is missing"}},
		"several removed":       {remove(3, 4, 5), []string{"entry 3: it and those up to 5 are missing"}},
		"the first removed":     {remove(1), []string{"entry 1: it is missing"}},
		"the tail cut off":      {remove(7, 8), []string{"entry 7: the log ends before it; the newest is entry 8"}},
		"all removed":           {remove(1, 2, 3, 4, 5, 6, 7, 8), []string{"entry 1: the log ends before it; the newest is entry 8"}},
		"the tail and the head": {func(t *testing.T, s store.Store) { headOf(t, s, 6); remove(7, 8)(t, s) }, []string{"the head"}},
		"the head removed": {func(t *testing.T, s store.Store) {
			change(t, s, func(tx store.Tx) error { return tx.Delete(ChainKind, "head", store.Any) })
		}, []string{"no head"}},
		"two swapped": {func(t *testing.T, s store.Store) {
			a, b := numbered(t, s, 3), numbered(t, s, 6)
			change(t, s, put(a.Key, b.Value))
			change(t, s, put(b.Key, a.Value))
		}, []string{"not as it was written"}},
		"one written over another": {func(t *testing.T, s store.Store) {
			change(t, s, put(numbered(t, s, 3).Key, numbered(t, s, 6).Value))
		}, []string{"entry 6", "entry 3: it is missing"}},
		"one doubled": {func(t *testing.T, s store.Store) {
			d := numbered(t, s, 3)
			change(t, s, put(d.Key+"x", d.Value))
		}, []string{"entry 3", "not as it was written"}},
		"one forged without the key": {func(t *testing.T, s store.Store) {
			d := numbered(t, s, 5)
			var k link
			if err := json.Unmarshal(d.Value, &k); err != nil {
				t.Fatal(err)
			}
			k.Entry = bytes.Replace(k.Entry, []byte("Succeeded"), []byte("Failed"), 1)
			k.Hash = NewLog(nil).hash(k, d.Key)
			b, err := json.Marshal(k)
			if err != nil {
				t.Fatal(err)
			}
			change(t, s, put(d.Key, b))
		}, []string{"entry 5", "not as it was written"}},
		"something that is no entry": {func(t *testing.T, s store.Store) {
			change(t, s, put("s1/x", []byte(`{"operation":"A.B/things/delete"}`)))
		}, []string{"s1/x: it cannot be read"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := chained(t, 8)
			c.do(t, s)
			found(t, what, verify(t, s, nil), c.says...)
			// Writing goes on and launders nothing.
			for i := range 3 {
				more(t, s, 20+i)
			}
			r := verify(t, s, nil)
			if len(r.Problems) == 0 {
				t.Error("after three more entries nothing is found")
			}
			// Nor does trimming what comes before it.
			if err := testLog.Trim(t.Context(), s, birth.Add(2*time.Hour+time.Minute)); err != nil {
				t.Fatal(err)
			}
			if r := verify(t, s, nil); len(r.Problems) == 0 {
				t.Error("after trimming nothing is found")
			}
		})
	}
}

func TestTrimming(t *testing.T) {
	s := chained(t, 10)
	for i, want := range []int{10, 6, 6, 1, 0} {
		if err := testLog.Trim(t.Context(), s, birth.Add([]time.Duration{0, 4, 4, 9, 99}[i]*time.Hour)); err != nil {
			t.Fatal(err)
		}
		r := verify(t, s, nil)
		found(t, "trimmed", r)
		if r.Entries != want || r.Trimmed != int64(10-want) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	more(t, s, 100)
	r := verify(t, s, nil)
	found(t, "after all were trimmed", r)
	if r.First != 11 || r.Last != 11 {
		t.Errorf("%+v", r)
	}
	// What was trimmed does not come back.
	old := chained(t, 1)
	change(t, s, put(numbered(t, old, 1).Key, numbered(t, old, 1).Value))
	found(t, "an old entry put back", verify(t, s, nil), "should have been trimmed")
}

func TestWitness(t *testing.T) {
	s := chained(t, 5)
	witness := func(s store.Store) *Witness {
		t.Helper()
		var w Witness
		err := s.View(t.Context(), func(tx store.Tx) error {
			var ok bool
			var err error
			if w, ok, err = testLog.Witness(tx); !ok {
				t.Error("no witness")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return &w
	}
	contradicts := func(s store.Store, w *Witness) (why string) {
		t.Helper()
		err := s.View(t.Context(), func(tx store.Tx) (err error) {
			why, err = testLog.Contradicts(tx, *w)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return why
	}
	w := witness(s)
	found(t, "the same", verify(t, s, w))
	more(t, s, 5)
	found(t, "more since", verify(t, s, w))
	if why := contradicts(s, w); why != "" {
		t.Error(why)
	}
	earlier := chained(t, 3) // the store as it was two entries ago
	found(t, "an older store", verify(t, earlier, w), "entry 5: it was there at")
	if contradicts(earlier, w) == "" {
		t.Error("an older store does not contradict")
	}
	anew := chained(t, 0)
	for i := range 6 {
		more(t, anew, i+50)
	}
	found(t, "another history", verify(t, anew, w), "written anew")
	if contradicts(anew, w) == "" {
		t.Error("another history does not contradict")
	}
	forged := *w
	forged.Seq = 1
	found(t, "a forged witness", verify(t, s, &forged), "the witness")
	if err := testLog.Trim(t.Context(), s, birth.Add(5*time.Hour)); err != nil {
		t.Fatal(err)
	}
	found(t, "trimmed up to it", verify(t, s, w))
	change(t, s, func(tx store.Tx) error {
		return testLog.AppendBreak(tx, Entry{ID: "b", Time: birth.Add(time.Hour * 9), Resource: "/"}, "found out")
	})
	found(t, "what was found out stays", verify(t, s, nil), "found out")
}

func BenchmarkAppend(b *testing.B) {
	s := chained(b, 0)
	i := 0
	for b.Loop() {
		change(b, s, func(tx store.Tx) error {
			for range 100 { // of one commit
				i++
				if err := testLog.Append(tx, Entry{ID: fmt.Sprint(i), Time: birth.Add(time.Duration(i)), Resource: "/subscriptions/s1", Operation: "A.B/things/write", Status: Succeeded}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	s := chained(b, 0)
	change(b, s, func(tx store.Tx) error {
		for i := range 10000 {
			if err := testLog.Append(tx, Entry{ID: fmt.Sprint(i), Time: birth.Add(time.Duration(i)), Resource: "/subscriptions/s1", Operation: "A.B/things/write", Status: Succeeded}); err != nil {
				return err
			}
		}
		return nil
	})
	b.ResetTimer()
	for b.Loop() {
		if r := verify(b, s, nil); len(r.Problems) > 0 {
			b.Fatal(r.Problems[0])
		}
	}
}

// TestAdopt: what an earlier version wrote without a chain is chained once, in the order of its times; a chain that is there
// adopts nothing.
func TestAdopt(t *testing.T) {
	s := chained(t, 0)
	log := NewLog([]byte("key"))
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	plain := func(tx store.Tx, i int) error {
		e := Entry{ID: fmt.Sprint(i), Time: start.Add(time.Duration(i) * time.Hour), Operation: "A.B/things/write", Resource: fmt.Sprintf("/subscriptions/s%d", i%2), Status: Succeeded}
		b, err := json.Marshal(e)
		if err == nil {
			_, err = tx.Put(kind, key(e), b, store.None)
		}
		return err
	}
	update := func(f func(tx store.Tx) error) {
		t.Helper()
		if err := s.Update(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	verify := func() (r Report) {
		t.Helper()
		if err := s.View(t.Context(), func(tx store.Tx) (err error) { r, err = log.Verify(tx, nil); return err }); err != nil {
			t.Fatal(err)
		}
		return r
	}
	update(func(tx store.Tx) error {
		for i := range 5 {
			if err := plain(tx, 4-i); err != nil {
				return err
			}
		}
		return nil
	})
	update(log.Adopt)
	if r := verify(); len(r.Problems) > 0 || r.Entries != 5 || !r.Time.Equal(start.Add(4*time.Hour)) {
		t.Errorf("after adopting: %+v", r)
	}
	update(func(tx store.Tx) error { return plain(tx, 9) })
	update(log.Adopt)
	if r := verify(); len(r.Problems) == 0 {
		t.Error("a chain adopted an entry that was slipped in")
	}
}
