package blob

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

func pageRangeHeader(from, to int) []string {
	return []string{"Range", fmt.Sprintf("bytes=%d-%d", from, to-1), "x-ms-page-write", "update"}
}

func TestPageBlob(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	create := []string{"x-ms-blob-type", "PageBlob", "x-ms-blob-content-length", "4096"}
	f.want(call{method: "PUT", path: "/con1/p", header: []string{"x-ms-blob-type", "PageBlob"}}, 400, "MissingRequiredHeader")
	f.want(call{method: "PUT", path: "/con1/p", header: []string{"x-ms-blob-type", "PageBlob", "x-ms-blob-content-length", "100"}}, 400, "InvalidHeaderValue")
	f.want(call{method: "PUT", path: "/con1/p", header: with(create, "x-ms-blob-sequence-number", "7")}, 201, "")
	page := func(c byte, n int) string { return strings.Repeat(string(c), n*512) }
	write := func(from, to int, body string, status int, code string, more ...string) {
		f.Helper()
		f.want(call{method: "PUT", path: "/con1/p?comp=page", body: body, header: with(pageRangeHeader(from, to), more...)}, status, code)
	}
	write(512, 1536, page('a', 2), 201, "", "x-ms-if-sequence-number-le", "7")
	write(512, 1536, page('a', 2), 412, "SequenceNumberConditionNotMet", "x-ms-if-sequence-number-lt", "7")
	write(0, 512, page('a', 2), 400, "InvalidHeaderValue")
	write(1, 513, page('a', 1), 416, "InvalidPageRange")
	write(4096, 4608, page('a', 1), 416, "InvalidPageRange")
	write(0, 512, page('b', 1), 400, "Md5Mismatch", "Content-MD5", md5Of("other"))
	want := page(0, 1) + page('a', 2) + page(0, 5)
	if got := f.body("/con1/p"); got != want {
		t.Errorf("content %q", got)
	}
	if got := f.want(call{method: "GET", path: "/con1/p", header: []string{"x-ms-range", "bytes=500-519"}}, 206, "").Body.String(); got != want[500:520] {
		t.Errorf("range %q", got)
	}
	snap := f.want(call{method: "PUT", path: "/con1/p?comp=snapshot"}, 201, "").Header().Get("x-ms-snapshot")
	f.want(call{method: "PUT", path: "/con1/p?comp=page", header: []string{"Range", "bytes=512-1023", "x-ms-page-write", "clear"}}, 201, "")
	write(2048, 2560, page('c', 1), 201, "")
	ranges := func(path, want string) {
		t.Helper()
		got := f.body(path)
		_, got, _ = strings.Cut(got, "<PageList>")
		for _, cut := range []string{"</PageList>", "<Start>", "</Start>", "</End>", "</PageRange>", "</ClearRange>"} {
			got = strings.ReplaceAll(got, cut, "")
		}
		got = strings.NewReplacer("<End>", "-", "<PageRange>", " +", "<ClearRange>", " -").Replace(got)
		if strings.TrimSpace(got) != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	ranges("/con1/p?comp=pagelist", "+1024-1535 +2048-2559")
	ranges("/con1/p?comp=pagelist&snapshot="+snap, "+512-1535")
	ranges("/con1/p?comp=pagelist&prevsnapshot="+snap, "-512-1023 +2048-2559")
	if f.body("/con1/p?snapshot="+snap) != want {
		t.Error("the snapshot changed with the blob")
	}
	f.want(call{method: "GET", path: "/con1/p?comp=pagelist&prevsnapshot=2020-01-01T00:00:00.0000000Z"}, 409, "PreviousSnapshotNotFound")
	resize := func(h ...string) call { return call{method: "PUT", path: "/con1/p?comp=properties", header: h} }
	w := f.want(resize("x-ms-blob-content-length", "1024", "x-ms-sequence-number-action", "increment"), 200, "")
	if w.Header().Get("x-ms-blob-sequence-number") != "8" {
		t.Errorf("headers %v", w.Header())
	}
	f.want(resize("x-ms-blob-content-length", "8192", "x-ms-sequence-number-action", "max", "x-ms-blob-sequence-number", "3"), 200, "")
	if got := f.body("/con1/p"); got != page(0, 16) {
		t.Error("what was cut off is there again")
	}
	f.want(resize("x-ms-blob-content-length", "7"), 400, "InvalidHeaderValue")
	f.put("con1", "b", "x")
	f.want(call{method: "PUT", path: "/con1/b?comp=page", body: page('a', 1), header: pageRangeHeader(0, 512)}, 409, "InvalidBlobType")
	f.want(call{method: "GET", path: "/con1/b?comp=pagelist"}, 409, "InvalidBlobType")
	f.want(call{method: "DELETE", path: "/con1/p", header: []string{"x-ms-delete-snapshots", "include"}}, 202, "")
	f.noDocs(kindPages, kindShared, kindHistory)
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files stay", n)
	}
}

// TestPagesModel writes and clears ranges at random and compares with bytes in memory, over buckets, snapshots and restarts.
func TestPagesModel(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	const pages = 3 * bucketSize / pageSize
	if _, err := f.createPages(ctx, acct, "con1", "p", pages*pageSize, 0, PutOptions{}, conditions{}); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewSource(7))
	model, past := make([]byte, pages*pageSize), []byte(nil)
	snap := ""
	for i := range 30 {
		from := rnd.Intn(pages)
		to := min(from+1+rnd.Intn(1+pages/3), pages)
		lo, hi := int64(from*pageSize), int64(to*pageSize)
		var err error
		if rnd.Intn(3) == 0 {
			clear(model[lo:hi])
			_, err = f.writePages(ctx, acct, "con1", "p", lo, hi, nil, customerKey{}, conditions{}, sequenceConditions{-1, -1, -1}, nil)
		} else {
			b := bytes.Repeat([]byte{byte(i + 1)}, int(hi-lo))
			copy(model[lo:hi], b)
			_, err = f.writePages(ctx, acct, "con1", "p", lo, hi, bytes.NewReader(b), customerKey{}, conditions{}, sequenceConditions{-1, -1, -1}, func() error { return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			if _, snap, err = f.snapshotBlob(ctx, acct, "con1", "p", nil, conditions{}); err != nil {
				t.Fatal(err)
			}
			past = bytes.Clone(model)
		}
	}
	f.restart()
	if err := f.sweepOrphans(ctx); err != nil {
		t.Fatal(err)
	}
	if f.read("con1", "p") != string(model) {
		t.Error("the blob differs from the model")
	}
	if f.body("/con1/p?snapshot="+snap) != string(past) {
		t.Error("the snapshot differs from the model")
	}
	if _, err := f.delete(ctx, acct, "con1", target{name: "p"}, snapshotsToo, conditions{}); err != nil {
		t.Fatal(err)
	}
	f.noDocs(kindPages, kindShared, kindHistory)
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files stay", n)
	}
}
