package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// TestActivityChain: the log is whole after the server was killed in the middle of writes, and says where it is not after
// somebody has been at the file.
func TestActivityChain(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	group := func(i int) string {
		return fmt.Sprintf("/subscriptions/%s/resourceGroups/chain%d?api-version=%s", g.sub, i, vResources)
	}
	if a := g.send(request{Method: "PUT", URL: group(0), Body: jsonBody(obj{"location": location})}); !a.ok() {
		t.Fatal(a)
	}
	whole := g.vauban("audit", "verify")
	if !strings.Contains(whole, "the activity log is whole") {
		t.Fatalf("verify says %s", whole)
	}

	// Killed while four clients write.
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	acknowledged := make([]int, 4)
	for w := range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := 0; ctx.Err() == nil; i++ {
				a, err := g.do(ctx, request{Method: "PUT", URL: group(1 + w), Body: jsonBody(obj{"location": location, "tags": obj{"n": fmt.Sprint(i)}})})
				if err != nil || !a.ok() {
					return
				}
				acknowledged[w]++
			}
		}()
	}
	g.eventually("some writes are done", func() bool { return strings.Count(g.vauban("audit", "verify"), "whole") == 1 && g.entries() > 40 })
	g.kill()
	stop()
	writers.Wait()
	killed := g.vauban("audit", "verify") // offline
	if !strings.Contains(killed, "is whole") {
		t.Fatalf("after kill -9: %s", killed)
	}
	total := 1
	for _, n := range acknowledged {
		total += n
	}
	if n := g.entries(); n < total {
		t.Errorf("%d entries of %d acknowledged writes", n, total)
	}
	g.vauban("up", "-d")
	g.connect()
	if a := g.send(request{Method: "PUT", URL: group(9), Body: jsonBody(obj{"location": location})}); !a.ok() {
		t.Fatal(a)
	}
	g.vauban("audit", "verify")
	if out, err := g.down(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	g.vauban("audit", "verify")

	state := filepath.Join(g.dir, "state.db")
	saved, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		t.Helper()
		for _, more := range []string{"-wal", "-shm"} {
			os.Remove(state + more)
		}
		if err := os.WriteFile(state, saved, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := func(what, says string) {
		t.Helper()
		out, err := g.output(g.command("audit", "verify"))
		if exitCode(err) != 1 || !strings.Contains(out, says) || !strings.Contains(out, "NOT whole") {
			t.Errorf("%s: exit %d, %s", what, exitCode(err), out)
		}
	}
	for what, c := range map[string]struct {
		says   string
		tamper func(tx store.Tx, docs []store.Doc) error
	}{
		"one flipped byte": {"it is not as it was written", func(tx store.Tx, docs []store.Doc) error {
			b := bytes.Replace(docs[5].Value, []byte("Succeeded"), []byte("Succeedee"), 1)
			_, err := tx.Put(docs[5].Kind, docs[5].Key, b, store.Any)
			return err
		}},
		"a removed entry": {"it is missing", func(tx store.Tx, docs []store.Doc) error {
			return tx.Delete(docs[7].Kind, docs[7].Key, store.Any)
		}},
		"a swapped pair": {"it is not as it was written", func(tx store.Tx, docs []store.Doc) error {
			_, err := tx.Put(docs[3].Kind, docs[3].Key, docs[4].Value, store.Any)
			if err == nil {
				_, err = tx.Put(docs[4].Kind, docs[4].Key, docs[3].Value, store.Any)
			}
			return err
		}},
		"a truncated tail": {"the log ends before it", func(tx store.Tx, docs []store.Doc) error { // the newest come first
			for _, d := range docs[:3] {
				if err := tx.Delete(d.Kind, d.Key, store.Any); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		restore()
		db, err := sqlite.Open(state)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(t.Context(), func(tx store.Tx) error {
			var docs []store.Doc
			if err := tx.Scan("activity", "", "", func(d store.Doc) bool {
				d.Value = bytes.Clone(d.Value)
				docs = append(docs, d)
				return true
			}); err != nil {
				return err
			}
			return c.tamper(tx, docs)
		})
		if err != nil || db.Close() != nil {
			t.Fatalf("%s: %v", what, err)
		}
		bad(what, c.says)
	}

	// A raw byte of the file itself, in the middle of an entry.
	restore()
	i := bytes.Index(saved, []byte("Microsoft.Resources/subscriptions/resourceGroups/write"))
	if i < 0 {
		t.Fatal("no entry in the file")
	}
	raw := bytes.Clone(saved)
	for at := i; at >= 0; {
		raw[at] ^= 1
		next := bytes.Index(raw[at+1:], []byte("Microsoft.Resources/subscriptions/resourceGroups/write"))
		if next < 0 {
			break
		}
		at += 1 + next
	}
	if err := os.WriteFile(state, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	bad("bytes of the file", "it is not as it was written")

	// The whole store put back to an earlier state: the witness beside it knows better, and the region says so for ever.
	restore()
	g.up()
	if a := g.send(request{Method: "PUT", URL: group(10), Body: jsonBody(obj{"location": location})}); !a.ok() {
		t.Fatal(a)
	}
	g.eventually("the new head is witnessed", func() bool {
		b, err := os.ReadFile(filepath.Join(g.dir, "activity.witness"))
		return err == nil && strings.Contains(string(b), fmt.Sprintf(`"seq":%d,`, g.entries()))
	})
	if out, err := g.down(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	restore()
	bad("an earlier store", "it was there at")
	g.up()
	g.eventually("the region has noticed", func() bool {
		out, _ := g.output(g.command("audit", "verify"))
		return strings.Contains(out, "at the start of the server")
	})
	if a := g.send(request{Method: "PUT", URL: group(11), Body: jsonBody(obj{"location": location})}); !a.ok() {
		t.Fatal(a)
	}
	bad("an earlier store that was written on", "at the start of the server")
	a := g.send(request{Method: "GET", URL: "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=category%20eq%20'Security'"})
	if !a.ok() || !strings.Contains(string(a.Body), "ActivityLogTampered") {
		t.Errorf("the tenant's log: %s %s", a, a.Body)
	}
}

// entries is how many the log has.
func (g *ground) entries() int {
	g.t.Helper()
	out, _ := g.output(g.command("audit", "verify", "--json"))
	var r struct{ Entries int }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		g.t.Fatalf("%v: %s", err, out)
	}
	return r.Entries
}
