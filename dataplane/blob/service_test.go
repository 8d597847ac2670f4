package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b)
	return string(b)
}

func TestPutGetSizes(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	for _, n := range []int{0, 1, inlineMax, inlineMax + 1, 64 << 10, 300_000} {
		body := noise(n)
		f.put("con1", "b", body)
		if got := f.read("con1", "b"); got != body {
			t.Errorf("%d bytes came back as %d others", n, len(got))
		}
		wantFiles := 0
		if n > inlineMax {
			wantFiles = 1
		}
		if got := f.payloads(); got != wantFiles {
			t.Errorf("after a blob of %d bytes there are %d files, want %d: an overwritten payload stays", n, got, wantFiles)
		}
	}
	f.restart()
	if got := f.read("con1", "b"); got != noise(300_000) {
		t.Error("the blob did not survive a restart")
	}
}

// TestAtRest looks for plaintext in every file of the data directory.
func TestAtRest(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	secret := strings.Repeat("attack at dawn ", 10)
	f.put("con1", "small", secret)
	f.put("con1", "large", strings.Repeat(secret, 1000))
	if _, err := f.Append(ctx, acct, "con1", "log", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(f.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("attack at dawn")) {
			t.Errorf("%s holds plaintext", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReaderKeepsWhatItOpened(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	old := noise(200_000)
	f.put("con1", "b", old)
	o, err := f.Get(ctx, acct, "con1", "b")
	if err != nil {
		t.Fatal(err)
	}
	f.put("con1", "b", "new")
	if err := f.Delete(ctx, acct, "con1", "b"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(o); err != nil || string(got) != old {
		t.Errorf("an open reader got %d bytes, %v", len(got), err)
	}
	if n := f.payloads(); n != 1 {
		t.Errorf("%d files while a reader is open", n)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files after the reader closed", n)
	}
}

func TestAppendGathers(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	var want strings.Builder
	for i := range 700 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%300))
		if i == 350 {
			line = noise(100_000)
		}
		want.WriteString(line)
		if _, err := f.Append(ctx, acct, "con1", "log", []byte(line)); err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			o, err := f.Get(ctx, acct, "con1", "log")
			if err != nil {
				t.Fatal(err)
			}
			defer func(before string) { // the tail that it opened is merged away meanwhile
				if got, err := io.ReadAll(o); err != nil || string(got) != before {
					t.Errorf("a reader of a growing log: %d bytes, %v", len(got), err)
				}
				o.Close()
			}(want.String())
		}
	}
	if got := f.read("con1", "log"); got != want.String() {
		t.Errorf("the log has %d bytes, want %d", len(got), want.Len())
	}
	b, err := f.Stat(ctx, acct, "con1", "log")
	if err != nil || b.Blocks != 700 || b.Type != AppendBlob {
		t.Errorf("Stat = %+v, %v", b, err)
	}
	doc, err := f.stat(ctx, acct, "con1", target{name: "log"})
	if err != nil {
		t.Fatal(err)
	}
	err = f.st.View(ctx, func(tx store.Tx) error {
		parts, err := loadParts(tx, doc)
		if len(parts) > 10 {
			t.Errorf("700 appends made %d payloads", len(parts))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppendConcurrently(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := f.Append(ctx, acct, "con1", "log", []byte{byte('a' + i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := []byte(f.read("con1", "log"))
	slices.Sort(got)
	want := ""
	for i := range 8 {
		want += strings.Repeat(string(rune('a'+i)), 20)
	}
	if string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestList(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.container("con2")
	f.put("con2", "a/other", "x")
	for _, n := range []string{"a/1", "a/2", "a/b/3", "b", "c/1", "c\U0010FFFFz", "d/\U0010FFFFx", "d/y", "é"} {
		f.put("con1", n, "x")
	}
	tests := []struct {
		name     string
		o        ListOptions
		blobs    []string
		prefixes []string
	}{
		{"all", ListOptions{}, []string{"a/1", "a/2", "a/b/3", "b", "c/1", "c\U0010FFFFz", "d/y", "d/\U0010FFFFx", "é"}, nil},
		{"prefix", ListOptions{Prefix: "a/"}, []string{"a/1", "a/2", "a/b/3"}, nil},
		{"delimiter", ListOptions{Delimiter: "/"}, []string{"b", "c\U0010FFFFz", "é"}, []string{"a/", "c/", "d/"}},
		{"both", ListOptions{Prefix: "a/", Delimiter: "/"}, []string{"a/1", "a/2"}, []string{"a/b/"}},
		{"long delimiter", ListOptions{Delimiter: "/b/"}, []string{"a/1", "a/2", "b", "c/1", "c\U0010FFFFz", "d/y", "d/\U0010FFFFx", "é"}, []string{"a/b/"}},
		{"nothing", ListOptions{Prefix: "zzz"}, nil, nil},
	}
	for _, tt := range tests {
		for _, size := range []int{0, 1, 2, 3} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				o := tt.o
				o.MaxResults = size
				var blobs, prefixes []string
				for range 20 {
					p, err := f.List(ctx, acct, "con1", o)
					if err != nil {
						t.Fatal(err)
					}
					if size > 0 && len(p.Blobs)+len(p.Prefixes) > size {
						t.Errorf("a page of %d", len(p.Blobs)+len(p.Prefixes))
					}
					for _, b := range p.Blobs {
						blobs = append(blobs, b.Name)
					}
					prefixes = append(prefixes, p.Prefixes...)
					if o.Marker = p.Next; o.Marker == "" {
						break
					}
				}
				if d := cmp.Diff(tt.blobs, blobs); d != "" {
					t.Errorf("blobs (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tt.prefixes, prefixes); d != "" {
					t.Errorf("prefixes (-want +got):\n%s", d)
				}
			})
		}
	}
	if _, err := f.List(ctx, acct, "con1", ListOptions{Marker: "junk"}); !IsCode(err, "InvalidQueryParameterValue") {
		t.Errorf("a bad marker: %v", err)
	}
}

func TestDeleteContainerRemovesBytes(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "small", "x")
	f.put("con1", "large", noise(100_000))
	if err := f.stage(ctx, acct, "con1", "staged", "AAAA", customerKey{}, conditions{}, strings.NewReader("block"), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteContainer(ctx, acct, "con1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat(ctx, acct, "con1", "small"); !IsCode(err, CodeContainerNotFound) {
		t.Errorf("Stat in a deleted container: %v", err)
	}
	f.container("con1")
	if _, err := f.Stat(ctx, acct, "con1", "small"); !IsCode(err, CodeBlobNotFound) {
		t.Errorf("Stat in a container made again: %v", err)
	}
	if err := f.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files stay", n)
	}
	f.noDocs(kindBlob, kindParts, kindStaged, kindInline, kindTrash)
}

func (f *fixture) noDocs(kinds ...string) {
	f.Helper()
	err := f.st.View(ctx, func(tx store.Tx) error {
		var all error
		for _, kind := range kinds {
			all = errors.Join(all, tx.Scan(kind, "", "", func(d store.Doc) bool {
				f.Errorf("%s %q stays", kind, d.Key)
				return true
			}))
		}
		return all
	})
	if err != nil {
		f.Fatal(err)
	}
}

func TestDeleteAccount(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "large", noise(100_000))
	if err := f.DeleteAccount(ctx, acct); err != nil {
		t.Fatal(err)
	}
	if _, err := f.GetContainer(ctx, acct, "con1"); !IsCode(err, CodeContainerNotFound) {
		t.Errorf("GetContainer: %v", err)
	}
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files stay", n)
	}
	f.container("con1") // the name can be used again
	f.put("con1", "large", noise(50_000))
	if f.read("con1", "large") != noise(50_000) {
		t.Error("an account made again does not work")
	}
	for _, bad := range []string{"", "../x", "UPPER", "a"} {
		if err := f.DeleteAccount(ctx, bad); err == nil {
			t.Errorf("DeleteAccount(%q) did not fail", bad)
		}
	}
}

// TestCrash leaves behind what a crash leaves: a payload that no document names. It goes; what is named stays.
func TestCrash(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "kept", noise(100_000))
	if err := f.stage(ctx, acct, "con1", "staged", "AAAA", customerKey{}, conditions{}, strings.NewReader("block"), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.write(ctx, acct, customerKey{}, strings.NewReader(noise(100_000)), true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "data", acct, "half"), []byte("VSL1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.sweepOrphans(ctx); err != nil {
		t.Fatal(err)
	}
	if n := f.payloads(); n != 3 {
		t.Errorf("%d files: payloads of this process must not be swept", n)
	}
	f.restart()
	if err := f.sweepOrphans(ctx); err != nil {
		t.Fatal(err)
	}
	if n := f.payloads(); n != 2 {
		t.Errorf("%d files after the sweep, want 2", n)
	}
	if f.read("con1", "kept") != noise(100_000) {
		t.Error("the blob is damaged")
	}
	if _, err := f.commitBlocks(ctx, acct, "con1", "staged", []BlockRef{{"latest", "AAAA"}}, PutOptions{}, conditions{}); err != nil || f.read("con1", "staged") != "block" {
		t.Errorf("the staged block: %v", err)
	}
}

func TestDamagedPayload(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", noise(300_000))
	files, err := filepath.Glob(filepath.Join(f.dir, "data", "*", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-100] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-range", "bytes=0-10"}}, 206, "")
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-range", "bytes=299999-"}}, 500, "InternalError")
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	f.want(call{method: "GET", path: "/con1/b"}, 500, "InternalError")
}

func TestStagedExpire(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	ok := func() error { return nil }
	if err := f.stage(ctx, acct, "con1", "b", "AAAA", customerKey{}, conditions{}, strings.NewReader("old"), ok); err != nil {
		t.Fatal(err)
	}
	f.clock.Move(6 * 24 * time.Hour)
	if err := f.stage(ctx, acct, "con1", "b", "BBBB", customerKey{}, conditions{}, strings.NewReader("new"), ok); err != nil {
		t.Fatal(err)
	}
	f.clock.Move(25 * time.Hour)
	if err := f.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	_, _, got, err := f.blockList(ctx, acct, "con1", target{name: "b"})
	if d := cmp.Diff([]Block{{"BBBB", 3}}, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if n := f.payloads(); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestRun(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "x")
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	if err := f.DeleteContainer(ctx, acct, "con1"); err != nil {
		t.Fatal(err)
	}
	changes := f.st.Watch(ctx, kindTrash)
	// The trash is either emptied already or its removal is still to be seen.
	for {
		n := 0
		if err := f.st.View(ctx, func(tx store.Tx) error {
			return tx.Scan(kindTrash, "", "", func(store.Doc) bool { n++; return true })
		}); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		<-changes
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range changes {
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{"abc": true, "a-b": true, "$root": true, "ab": false, "a--b": false, "-ab": false, "ab-": false, "Abc": false, "a_b": false, strings.Repeat("a", 64): false, "a/b": false} {
		if got := checkContainerName(name) == nil; got != want {
			t.Errorf("container %q: %v", name, got)
		}
	}
	for name, want := range map[string]bool{"a": true, "": false, "a\x00b": false, "\xff": false, strings.Repeat("é", 1024): true, strings.Repeat("a", 1025): false, "/": true} {
		if got := checkBlobName(name) == nil; got != want {
			t.Errorf("blob %q: %v", name, got)
		}
	}
}
