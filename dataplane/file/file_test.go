package file

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/storagetest"
	"vauban.dev/store"
)

type call = storagetest.Call

// file makes a file with a content of one range.
func (r *rig) file(path, content string) {
	r.Helper()
	r.Want(call{Method: "PUT", Path: path, Header: []string{"x-ms-type", "file", "x-ms-content-length", strconv.Itoa(len(content))}}, 201, "")
	if content != "" {
		r.write(path, 0, content)
	}
}

func (r *rig) write(path string, at int, content string) {
	r.Helper()
	r.Want(call{Method: "PUT", Path: path + "?comp=range", Body: content, Header: []string{"x-ms-write", "update", "x-ms-range", fmt.Sprintf("bytes=%d-%d", at, at+len(content)-1)}}, 201, "")
}

func (r *rig) read(path string) string {
	r.Helper()
	return r.Want(call{Method: "GET", Path: path}, 200, "").Body.String()
}

// onDisk is how many payload files there are.
func (r *rig) onDisk() (n int) {
	r.Helper()
	err := filepath.WalkDir(r.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// left is how many documents of the data are left.
func (r *rig) left() (n int) {
	r.Helper()
	err := r.Store.View(r.Context(), func(tx store.Tx) error {
		for _, kind := range []string{kindShare, kindSnapshot, kindDeleted, kindEntry, kindExtent, kindInline, kindShared, kindUsage, kindPermission, kindTrash} {
			if err := tx.Scan(kind, "", "", func(store.Doc) bool { n++; return true }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return n
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	r.Want(call{Method: "PUT", Path: "/code/dir?restype=directory"}, 201, "")
	r.file("/code/a.txt", "hello")
	for _, c := range []struct {
		call
		status int
		code   string
	}{
		{call{Method: "PUT", Path: "/code?restype=share"}, 409, "ShareAlreadyExists"},
		{call{Method: "PUT", Path: "/No?restype=share"}, 400, "OutOfRangeInput"},
		{call{Method: "PUT", Path: "/a--b?restype=share"}, 400, "InvalidResourceName"},
		{call{Method: "PUT", Path: "/other?restype=share", Header: []string{"x-ms-share-quota", "0"}}, 400, "InvalidHeaderValue"},
		{call{Method: "PUT", Path: "/other?restype=share", Header: []string{"x-ms-access-tier", "Warm"}}, 400, "InvalidHeaderValue"},
		{call{Method: "GET", Path: "/nowhere?restype=share"}, 404, "ShareNotFound"},
		{call{Method: "GET", Path: "/code?restype=share&sharesnapshot=2026-01-01T00:00:00.0000000Z"}, 404, "ShareSnapshotNotFound"},
		{call{Method: "PUT", Path: "/code/dir?restype=directory"}, 409, "ResourceAlreadyExists"},
		{call{Method: "PUT", Path: "/code/a.txt?restype=directory"}, 409, "ResourceTypeMismatch"},
		{call{Method: "PUT", Path: "/code/x/y?restype=directory"}, 404, "ParentNotFound"},
		{call{Method: "PUT", Path: "/code/a%3Ab?restype=directory"}, 400, "InvalidResourceName"},
		{call{Method: "PUT", Path: "/code/a%00b?restype=directory"}, 400, "InvalidResourceName"},
		{call{Method: "PUT", Path: "/code/%2E%2E/b?restype=directory"}, 400, "InvalidResourceName"},
		{call{Method: "GET", Path: "/code/DIR"}, 409, "ResourceTypeMismatch"},
		{call{Method: "GET", Path: "/code/a.txt", Header: []string{"x-ms-range", "bytes=5-"}}, 416, "InvalidRange"},
		{call{Method: "PUT", Path: "/code/a.txt?comp=range", Body: "x", Header: []string{"x-ms-write", "update", "x-ms-range", "bytes=5-5"}}, 416, "InvalidRange"},
		{call{Method: "PUT", Path: "/code/a.txt?comp=range", Body: "x", Header: []string{"x-ms-write", "update", "x-ms-range", "bytes=0-1"}}, 400, "InvalidHeaderValue"},
		{call{Method: "PUT", Path: "/code/a.txt?comp=range", Body: "x", Header: []string{"x-ms-write", "update", "x-ms-range", "bytes=0-0", "Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}}, 400, "Md5Mismatch"},
		{call{Method: "PUT", Path: "/code/a.txt?comp=range", Header: []string{"x-ms-write", "update", "x-ms-range", "bytes=0-9999999"}}, 413, "RequestBodyTooLarge"},
		{call{Method: "PUT", Path: "/code/b.txt", Header: []string{"x-ms-type", "file"}}, 400, "MissingRequiredHeader"},
		{call{Method: "PUT", Path: "/code/b.txt", Header: []string{"x-ms-type", "file", "x-ms-content-length", "1", "x-ms-file-attributes", "Directory"}}, 400, "InvalidHeaderValue"},
		{call{Method: "PUT", Path: "/code/b.txt", Header: []string{"x-ms-type", "file", "x-ms-content-length", "1", "x-ms-file-permission", "nonsense"}}, 400, "InvalidFilePermission"},
		{call{Method: "PUT", Path: "/code/b.txt", Header: []string{"x-ms-type", "file", "x-ms-content-length", "1", "x-ms-file-permission-key", "1*1"}}, 404, "FilePermissionKeyNotFound"},
		{call{Method: "DELETE", Path: "/code?restype=directory"}, 400, "InvalidInput"},
		{call{Method: "PUT", Path: "/code/dir/in?restype=directory&comp=rename", Header: []string{"x-ms-file-rename-source", "https://labstore.file.core.windows.net/code/dir"}}, 400, "InvalidInput"},
		{call{Method: "PUT", Path: "/code/b.txt", Header: []string{"x-ms-copy-source", "http://169.254.169.254/metadata"}}, 404, "CannotVerifyCopySource"},
		{call{Method: "PUT", Path: "/code/a.txt?comp=copy&copyid=x", Header: []string{"x-ms-copy-action", "abort"}}, 409, "NoPendingCopyOperation"},
		{call{Method: "PUT", Path: "/code/l?restype=symboliclink"}, 501, "NotImplemented"},
		{call{Method: "PATCH", Path: "/code/a.txt"}, 405, "UnsupportedHttpVerb"},
		{call{Method: "GET", Path: "/code/a.txt", Auth: "none"}, 401, "NoAuthenticationInformation"},
		{call{Method: "GET", Path: "/code/a.txt", Auth: "token"}, 400, "MissingRequiredHeader"},
		{call{Method: "GET", Path: "/code/a.txt", Auth: "token", Header: []string{"x-ms-file-request-intent", "backup"}}, 403, "AuthorizationPermissionMismatch"},
		{call{Method: "PUT", Path: "/code?restype=share&comp=acl", Auth: "token", Header: []string{"x-ms-file-request-intent", "backup"}}, 403, "AuthorizationPermissionMismatch"},
	} {
		r.Want(c.call, c.status, c.code)
	}
	r.Grants["fileshares/files/read"] = true // one of the two does not do
	token := call{Method: "GET", Path: "/code/a.txt", Auth: "token", Header: []string{"x-ms-file-request-intent", "backup"}}
	r.Want(token, 403, "AuthorizationPermissionMismatch")
	r.Grants["readFileBackupSemantics/action"] = true
	if w := r.Want(token, 200, ""); w.Body.String() != "hello" {
		t.Errorf("a reader read %q", w.Body)
	}
}

// TestSignatures: a signature of a file is for this file, and cannot list; one of a share is for all that is in it.
func TestSignatures(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	r.file("/code/a.txt", "hello")
	r.file("/code/b.txt", "hello")
	sign := func(resource, path, letters string) string {
		q := url.Values{"sv": {"2023-11-03"}, "sp": {letters}, "se": {r.Clock.Now().Add(time.Hour).Format(time.RFC3339)}, "sr": {resource}}
		return r.Sign(q, func(s *storagehttp.SAS) string { return serviceText(s, storagetest.Name, path) })
	}
	file, share := sign("f", "code/a.txt", "r"), sign("s", "code", "rl")
	r.Want(call{Method: "GET", Path: "/code/a.txt", Auth: file}, 200, "")
	r.Want(call{Method: "GET", Path: "/code/b.txt", Auth: file}, 403, "AuthenticationFailed")
	r.Want(call{Method: "DELETE", Path: "/code/a.txt", Auth: file}, 403, "AuthorizationPermissionMismatch")
	r.Want(call{Method: "GET", Path: "/code?restype=share", Auth: share}, 403, "AuthorizationPermissionMismatch")
	r.Want(call{Method: "GET", Path: "/code/b.txt", Auth: share}, 200, "")
	r.Want(call{Method: "GET", Path: "/code?restype=directory&comp=list", Auth: share}, 200, "")
	r.Want(call{Method: "GET", Path: "/code?restype=directory&comp=list", Auth: sign("f", "code", "l")}, 403, "AuthorizationResourceTypeMismatch")
	r.Clock.Move(2 * time.Hour)
	r.Want(call{Method: "GET", Path: "/code/a.txt", Auth: file}, 403, "AuthenticationFailed")
}

// TestGone: what is deleted leaves nothing behind, on disk and in the store, and snapshots keep what they share.
func TestGone(t *testing.T) {
	r := newRig(t)
	r.days = 7
	long := strings.Repeat("0123456789abcdef", 4<<10) // 64 KiB: a file on disk
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	r.file("/code/long", long)
	r.file("/code/short", "short")
	snapshot := r.Want(call{Method: "PUT", Path: "/code?restype=share&comp=snapshot"}, 201, "").Header().Get("x-ms-snapshot")
	r.Want(call{Method: "PUT", Path: "/code/copy", Header: []string{"x-ms-copy-source", "https://labstore.file.core.windows.net/code/long"}}, 202, "")
	r.Want(call{Method: "DELETE", Path: "/code/long"}, 202, "")
	r.Want(call{Method: "DELETE", Path: "/code/short"}, 202, "")
	if n := r.onDisk(); n != 1 {
		t.Errorf("%d payload files, want the one that the snapshot and the copy share", n)
	}
	if got := r.read("/code/long?sharesnapshot=" + snapshot); got != long {
		t.Errorf("the snapshot has %d bytes", len(got))
	}
	if got := r.read("/code/copy"); got != long {
		t.Errorf("the copy has %d bytes", len(got))
	}
	r.Want(call{Method: "DELETE", Path: "/code?restype=share"}, 409, "ShareHasSnapshots")
	r.Want(call{Method: "DELETE", Path: "/code?restype=share", Header: []string{"x-ms-delete-snapshots", "include"}}, 202, "")
	r.Want(call{Method: "GET", Path: "/code/copy"}, 404, "ShareNotFound")
	if err := r.s.Sweep(r.Context()); err != nil {
		t.Fatal(err)
	}
	if r.onDisk() != 1 {
		t.Error("a deleted share that can be restored lost its content")
	}
	r.Clock.Move(8 * 24 * time.Hour)
	if err := r.s.Sweep(r.Context()); err != nil {
		t.Fatal(err)
	}
	if n, d := r.left(), r.onDisk(); n != 0 || d != 0 {
		t.Errorf("%d documents and %d payload files are left", n, d)
	}
}

// TestOrphans: what a crash leaves between payload and commit goes at the next start, and nothing else.
func TestOrphans(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	long := strings.Repeat("x", inlineMax+1)
	r.file("/code/long", long)
	if _, err := r.s.seal(r.Context(), storagetest.Name, 0, []byte(long)); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if err := r.s.sweepOrphans(r.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.onDisk(); n != 1 {
		t.Errorf("%d payload files, want 1", n)
	}
	if r.read("/code/long") != long {
		t.Error("the content changed")
	}
}

// TestScrub: a flipped bit is found, and never served.
func TestScrub(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	r.file("/code/long", strings.Repeat("x", inlineMax+1))
	r.file("/code/short", "short")
	found, err := r.s.Scrub(r.Context())
	if err != nil || found.Payloads != 2 || found.Bytes != inlineMax+6 || len(found.Damaged) != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	err = filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if found, err = r.s.Scrub(r.Context()); err != nil || len(found.Damaged) != 1 || !strings.HasSuffix(found.Damaged[0], "it is damaged") {
		t.Errorf("%+v, %v", found, err)
	}
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("damaged bytes were answered to their end")
			}
		}()
		r.Do(call{Method: "GET", Path: "/code/long"})
	}()
}

// TestModel does random writes, clears, sizes, copies and snapshots, and compares all contents with a model in memory.
func TestModel(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	rnd := rand.New(rand.NewSource(1))
	const size = bucketSize + 300_000
	model := map[string][]byte{"/code/a": make([]byte, size), "/code/b": make([]byte, size)}
	past := map[string][]byte{}
	for path := range model {
		r.Want(call{Method: "PUT", Path: path, Header: []string{"x-ms-type", "file", "x-ms-content-length", strconv.Itoa(size)}}, 201, "")
	}
	for i := range 24 {
		path := []string{"/code/a", "/code/b"}[rnd.Intn(2)]
		b := model[path]
		n := 1 + rnd.Intn([]int{100, 40 << 10, 400 << 10}[rnd.Intn(3)])
		at := rnd.Intn(max(len(b)-n, 1))
		n = min(n, len(b)-at)
		switch op := rnd.Intn(10); {
		case n == 0 || op == 0:
			next := rnd.Intn(size)
			r.Want(call{Method: "PUT", Path: path + "?comp=properties", Header: []string{"x-ms-content-length", strconv.Itoa(next)}}, 200, "")
			model[path] = append(b[:min(next, len(b)):min(next, len(b))], make([]byte, max(next-len(b), 0))...)
		case op == 1:
			other := map[string]string{"/code/a": "/code/b", "/code/b": "/code/a"}[path]
			r.Want(call{Method: "PUT", Path: other, Header: []string{"x-ms-copy-source", "https://labstore.file.core.windows.net" + path}}, 202, "")
			model[other] = bytes.Clone(b)
		case op == 2 && len(past) < 4:
			at := r.Want(call{Method: "PUT", Path: "/code?restype=share&comp=snapshot"}, 201, "").Header().Get("x-ms-snapshot")
			for path, b := range model {
				past[path+"?sharesnapshot="+at] = bytes.Clone(b)
			}
		case op < 5:
			r.Want(call{Method: "PUT", Path: path + "?comp=range", Header: []string{"x-ms-write", "clear", "x-ms-range", fmt.Sprintf("bytes=%d-%d", at, at+n-1)}}, 201, "")
			clear(b[at : at+n])
		default:
			text := bytes.Repeat([]byte{byte(i + 1)}, n)
			r.write(path, at, string(text))
			copy(b[at:], text)
		}
	}
	for _, all := range []map[string][]byte{model, past} {
		for path, want := range all {
			if got := r.read(path); got != string(want) {
				t.Errorf("%s differs: %d bytes, want %d", path, len(got), len(want))
			}
		}
	}
	if found, err := r.s.Scrub(context.Background()); err != nil || len(found.Damaged) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if err := r.s.DeleteAccount(r.Context(), storagetest.Name); err != nil {
		t.Fatal(err)
	}
	if err := r.s.Sweep(r.Context()); err != nil {
		t.Fatal(err)
	}
	if n, d := r.left(), r.onDisk(); n != 0 || d != 0 {
		t.Errorf("%d documents and %d payload files are left of a deleted account", n, d)
	}
}

// TestQuota: what is written counts, what is only declared does not.
func TestQuota(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/code?restype=share", Header: []string{"x-ms-share-quota", "1"}}, 201, "")
	r.Want(call{Method: "PUT", Path: "/code/big", Header: []string{"x-ms-type", "file", "x-ms-content-length", strconv.Itoa(8 << 30)}}, 201, "")
	err := r.Store.Update(r.Context(), func(tx store.Tx) error { // as if so much was written
		doc, err := getShare(tx, storagetest.Name, "code")
		if err != nil {
			return err
		}
		return putDoc(tx, kindUsage, storagetest.Name+"/"+doc.Tree, gib-2)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.write("/code/big", 0, "ab")
	r.Want(call{Method: "PUT", Path: "/code/big?comp=range", Body: "c", Header: []string{"x-ms-write", "update", "x-ms-range", "bytes=2-2"}}, 413, "ShareSizeLimitReached")
	r.write("/code/big", 1, "c")
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"a/b.txt", "..", "a//b", "dir./x", "a\x00b", "é/ü", strings.Repeat("x/", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		names, err := parsePath(path, false)
		for _, n := range names {
			if err == nil && (n == "" || n == "." || n == ".." || strings.ContainsAny(n, "/\x00")) {
				t.Errorf("%q gave %q", path, names)
			}
		}
	})
}

func FuzzParseSpan(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=5-", "bytes=-5", "bytes=9-1", "bytes=99999999999999999999-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		s, ok := parseSpan(v)
		if from, to := s.bounds(100); ok && (from < 0 || to > 100 || from > to) {
			t.Errorf("%q is [%d,%d)", v, from, to)
		}
	})
}

func BenchmarkPutRange(b *testing.B) {
	for _, n := range []int{4 << 10, 4 << 20} {
		b.Run(strconv.Itoa(n>>10)+"KiB", func(b *testing.B) {
			r := newRig(b)
			r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
			r.Want(call{Method: "PUT", Path: "/code/f", Header: []string{"x-ms-type", "file", "x-ms-content-length", strconv.Itoa(64 << 20)}}, 201, "")
			text := strings.Repeat("x", n)
			b.SetBytes(int64(n))
			at := 0
			for b.Loop() {
				r.write("/code/f", at, text)
				at = (at + n) % (64 << 20)
			}
		})
	}
}

func BenchmarkGetFile(b *testing.B) {
	r := newRig(b)
	r.Want(call{Method: "PUT", Path: "/code?restype=share"}, 201, "")
	r.file("/code/f", strings.Repeat("x", 4<<20))
	b.SetBytes(4 << 20)
	for b.Loop() {
		r.read("/code/f")
	}
}
