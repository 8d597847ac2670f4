package blob

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"hash/crc64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func crcOf(s string) string {
	return base64.StdEncoding.EncodeToString(binary.LittleEndian.AppendUint64(nil, crc64.Checksum([]byte(s), crcTable())))
}

var block = []string{"x-ms-blob-type", "BlockBlob"}

func with(h []string, more ...string) []string { return append(append([]string{}, h...), more...) }

func TestPutBlob(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	w := f.want(call{method: "PUT", path: "/con1/b", body: "hello", header: with(block, "Content-Type", "text/plain", "x-ms-meta-A1", "v", "x-ms-blob-cache-control", "no-store", "x-ms-access-tier", "Cool")}, 201, "")
	if w.Header().Get("Content-MD5") != md5Of("hello") || w.Header().Get("ETag") == "" || w.Header().Get("Last-Modified") != "Sun, 22 Nov 2026 10:00:00 GMT" {
		t.Errorf("headers %v", w.Header())
	}
	w = f.want(call{method: "HEAD", path: "/con1/b"}, 200, "")
	for k, v := range map[string]string{
		"Content-Type": "text/plain", "Cache-Control": "no-store", "Content-Length": "5", "Content-MD5": md5Of("hello"), "x-ms-blob-type": "BlockBlob", "x-ms-access-tier": "Cool",
		"x-ms-creation-time": "Sun, 22 Nov 2026 10:00:00 GMT", "x-ms-version": "2023-11-03", "Accept-Ranges": "bytes", "x-ms-lease-state": "available", "x-ms-server-encrypted": "true",
	} {
		if got := w.Header().Get(k); got != v {
			t.Errorf("%s = %q, want %q", k, got, v)
		}
	}
	if got := w.Header()["x-ms-meta-a1"]; len(got) != 1 || got[0] != "v" {
		t.Errorf("metadata in %v", w.Header())
	}
	tests := []struct {
		name   string
		header []string
		status int
		code   string
	}{
		{"right hashes", with(block, "x-ms-content-crc64", crcOf("hello")), 201, ""},
		{"right MD5", with(block, "Content-MD5", md5Of("hello")), 201, ""},
		{"wrong MD5", with(block, "Content-MD5", md5Of("other")), 400, "Md5Mismatch"},
		{"no MD5", with(block, "Content-MD5", "AAAA"), 400, "InvalidMd5"},
		{"wrong CRC", with(block, "x-ms-content-crc64", crcOf("other")), 400, "Crc64Mismatch"},
		{"no type", nil, 400, "MissingRequiredHeader"},
		{"page blob", []string{"x-ms-blob-type", "PageBlob"}, 400, "InvalidHeaderValue"},
		{"odd type", []string{"x-ms-blob-type", "Blob"}, 400, "InvalidHeaderValue"},
		{"append blob with a body", []string{"x-ms-blob-type", "AppendBlob"}, 400, "InvalidHeaderValue"},
		{"metadata name", with(block, "x-ms-meta-1a", "v"), 400, "InvalidMetadata"},
		{"metadata size", with(block, "x-ms-meta-a", strings.Repeat("v", 9000)), 400, "MetadataTooLarge"},
		{"customer's key", with(block, "x-ms-encryption-key", "k"), 400, "InvalidHeaderValue"},
		{"tags", with(block, "x-ms-tags", "a=%3B"), 400, "InvalidTag"},
		{"conditions on tags", with(block, "x-ms-if-tags", "a='b'"), 412, "ConditionNotMet"},
		{"lease", with(block, "x-ms-lease-id", "x"), 412, "LeaseNotPresentWithBlobOperation"},
		{"version", with(block, "x-ms-version", "2019-13-01"), 400, "InvalidHeaderValue"},
		{"archive", with(block, "x-ms-access-tier", "Archive"), 201, ""},
		{"tier", with(block, "x-ms-access-tier", "Warm"), 400, "InvalidHeaderValue"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.TB = t
			f.want(call{method: "PUT", path: "/con1/b", body: "hello", header: tt.header}, tt.status, tt.code)
		})
	}
	f.TB = t
	f.want(call{method: "PUT", path: "/nothere/b", body: "hello", header: block}, 404, CodeContainerNotFound)
	f.want(call{method: "PATCH", path: "/con1/b"}, 405, "UnsupportedHttpVerb")
	f.want(call{method: "PUT", path: "/con1/b?comp=lease"}, 400, "MissingRequiredHeader")
	f.want(call{method: "PUT", path: "/con1/b?comp=what"}, 400, "InvalidQueryParameterValue")
	f.want(call{method: "GET", path: "/con1/b?snapshot=2020"}, 400, "InvalidQueryParameterValue")
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files after refusals", n)
	}
}

// TestBodyLimits sends what a client announces, and not what it then fails to send.
func TestBodyLimits(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	send := func(path string, n int64, body string) *http.Response {
		t.Helper()
		r, err := http.NewRequest("PUT", "http://labstore.blob.core.windows.net"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = n
		r.Header.Set("x-ms-blob-type", "BlockBlob")
		r.Header.Set("x-ms-version", "2023-11-03")
		f.sign(r)
		return newRecorder(f, r).Result()
	}
	tests := []struct {
		name, path string
		n          int64
		body       string
		status     int
	}{
		{"5,000 MiB and one", "/con1/b", maxPutBlob + 1, "", 413},
		{"block of 4,000 MiB and one", "/con1/b?comp=block&blockid=AAAA", maxPutBlock + 1, "", 413},
		{"block list", "/con1/b?comp=blocklist", maxBlockListBody + 1, "", 413},
		{"no length", "/con1/b", -1, "x", 411},
		{"cut short, small", "/con1/b", 10, "x", 400},
		{"cut short, large", "/con1/b", 100_001, noise(100_000), 400},
		{"empty block", "/con1/b?comp=block&blockid=AAAA", 0, "", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if res := send(tt.path, tt.n, tt.body); res.StatusCode != tt.status {
				t.Errorf("%d %s, want %d", res.StatusCode, res.Header.Get("x-ms-error-code"), tt.status)
			}
		})
	}
	if _, err := f.Stat(ctx, acct, "con1", "b"); !IsCode(err, CodeBlobNotFound) {
		t.Errorf("a blob came of it: %v", err)
	}
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files", n)
	}
}

func TestGetRanges(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "0123456789")
	f.put("con1", "empty", "")
	tests := []struct {
		name, blob string
		header     []string
		status     int
		body       string
		cr         string
	}{
		{"whole", "b", nil, 200, "0123456789", ""},
		{"range", "b", []string{"Range", "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{"x-ms-range wins", "b", []string{"Range", "bytes=2-4", "x-ms-range", "bytes=0-0"}, 206, "0", "bytes 0-0/10"},
		{"open", "b", []string{"Range", "bytes=8-"}, 206, "89", "bytes 8-9/10"},
		{"past the end", "b", []string{"Range", "bytes=8-100"}, 206, "89", "bytes 8-9/10"},
		{"suffix is none", "b", []string{"Range", "bytes=-3"}, 200, "0123456789", ""},
		{"nonsense is none", "b", []string{"Range", "lines=1-2"}, 200, "0123456789", ""},
		{"hash", "b", []string{"x-ms-range", "bytes=2-4", "x-ms-range-get-content-md5", "true"}, 206, "234", "bytes 2-4/10"},
		{"out", "b", []string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		{"of nothing", "empty", []string{"Range", "bytes=0-1"}, 416, "", "bytes */0"},
		{"hash of all", "b", []string{"x-ms-range-get-content-md5", "true"}, 400, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.TB = t
			w := f.do(call{method: "GET", path: "/con1/" + tt.blob, header: tt.header})
			if w.Code != tt.status || w.Code < 300 && w.Body.String() != tt.body || w.Header().Get("Content-Range") != tt.cr {
				t.Errorf("%d %q %q", w.Code, w.Body, w.Header().Get("Content-Range"))
			}
			if tt.name == "hash" && (w.Header().Get("Content-MD5") != md5Of("234") || w.Header().Get("x-ms-blob-content-md5") != md5Of("0123456789")) {
				t.Errorf("hashes %v", w.Header())
			}
		})
	}
}

func TestConditions(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "x")
	b, err := f.Stat(ctx, acct, "con1", "b")
	if err != nil {
		t.Fatal(err)
	}
	before, at, after := "Sun, 22 Nov 2026 09:59:59 GMT", "Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:00:01 GMT"
	tests := []struct {
		header      []string
		read, write int // statuses of GET and of Set Metadata
	}{
		{[]string{"If-Match", b.ETag}, 200, 200},
		{[]string{"If-Match", strings.Trim(b.ETag, `"`)}, 200, 200},
		{[]string{"If-Match", "*"}, 200, 200},
		{[]string{"If-Match", `"0x1"`}, 412, 412},
		{[]string{"If-None-Match", `"0x1"`}, 200, 200},
		{[]string{"If-None-Match", b.ETag}, 304, 412},
		{[]string{"If-Modified-Since", before}, 200, 200},
		{[]string{"If-Modified-Since", at}, 304, 412},
		{[]string{"If-Unmodified-Since", at}, 200, 200},
		{[]string{"If-Unmodified-Since", before}, 412, 412},
		{[]string{"If-None-Match", `"0x1"`, "If-Modified-Since", after}, 200, 412},
		{[]string{"If-Modified-Since", "yesterday"}, 400, 400},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.header, " "), func(t *testing.T) {
			f.TB = t
			w := f.do(call{method: "GET", path: "/con1/b", header: tt.header})
			if w.Code != tt.read {
				t.Errorf("GET %d, want %d", w.Code, tt.read)
			}
			if w.Code == 304 && (w.Body.Len() > 0 || w.Header().Get("ETag") != b.ETag) {
				t.Errorf("304 with %d bytes and ETag %s", w.Body.Len(), w.Header().Get("ETag"))
			}
			fresh := f.Service
			if w := f.do(call{method: "PUT", path: "/con1/b?comp=metadata", header: tt.header}); w.Code != tt.write {
				t.Errorf("PUT %d, want %d", w.Code, tt.write)
			}
			f.Service = fresh
			f.put("con1", "b", "x")
			if b, err = f.Stat(ctx, acct, "con1", "b"); err != nil {
				t.Fatal(err)
			}
		})
		for i := range tests { // the ETag changed
			if tests[i].header[0] != "If-Modified-Since" && len(tests[i].header[1]) > 10 && strings.Contains(tests[i].header[1], "0x8") {
				tests[i].header[1] = b.ETag
			}
		}
	}
	f.TB = t
	put := func(h ...string) call {
		return call{method: "PUT", path: "/con1/b", body: "y", header: with(block, h...)}
	}
	f.want(put("If-None-Match", "*"), 409, CodeBlobAlreadyExists)
	f.want(put("If-Match", `"0x1"`), 412, CodeConditionNotMet)
	c := put("If-Match", "*")
	c.path = "/con1/none"
	f.want(c, 412, CodeConditionNotMet)
	f.want(call{method: "DELETE", path: "/con1/b", header: []string{"If-Match", `"0x1"`}}, 412, CodeConditionNotMet)
	f.want(call{method: "DELETE", path: "/con1/b", header: []string{"x-ms-delete-snapshots", "only"}}, 202, "")
	f.want(call{method: "DELETE", path: "/con1/b", header: []string{"x-ms-delete-snapshots", "include"}}, 202, "")
	f.want(call{method: "DELETE", path: "/con1/b"}, 404, CodeBlobNotFound)
}

func TestBlocks(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	stage := func(id, body string, h ...string) call {
		return call{method: "PUT", path: "/con1/b?comp=block&blockid=" + strings.ReplaceAll(id, "=", "%3D"), body: body, header: h}
	}
	list := func(items ...string) call {
		return call{method: "PUT", path: "/con1/b?comp=blocklist", body: `<?xml version="1.0" encoding="utf-8"?><BlockList>` + strings.Join(items, "") + "</BlockList>"}
	}
	one, two, three := b64("0001"), b64("0002"), b64("0003")
	w := f.want(stage(one, "one"), 201, "")
	if w.Header().Get("x-ms-content-crc64") != crcOf("one") {
		t.Errorf("headers %v", w.Header())
	}
	f.want(stage(two, "two", "Content-MD5", md5Of("two")), 201, "")
	f.want(stage(two, "two", "Content-MD5", md5Of("2")), 400, "Md5Mismatch")
	f.want(stage(b64("long id"), "x"), 400, "InvalidBlobOrBlock")
	f.want(stage("@@", "x"), 400, "InvalidQueryParameterValue")
	f.want(stage(b64(strings.Repeat("x", 65)), "x"), 400, "OutOfRangeInput")
	f.want(call{method: "GET", path: "/con1/b"}, 404, CodeBlobNotFound)
	f.want(list("<Latest>"+one+"</Latest>", "<Uncommitted>"+three+"</Uncommitted>"), 400, "InvalidBlockList")
	f.want(list("<Committed>"+one+"</Committed>"), 400, "InvalidBlockList")
	f.want(list("<Latest>"+two+"</Latest>", "<Uncommitted>"+one+"</Uncommitted>", "<Latest>"+two+"</Latest>"), 201, "")
	if got := f.read("con1", "b"); got != "twoonetwo" {
		t.Errorf("got %q", got)
	}
	if n := f.payloads(); n != 2 {
		t.Errorf("%d files", n)
	}
	f.want(stage(two, "TWO"), 201, "")
	f.want(stage(three, "3"), 201, "")
	f.want(list("<Committed>"+two+"</Committed>", "<Latest>"+two+"</Latest>"), 201, "") // one is dropped, three too
	if got := f.read("con1", "b"); got != "twoTWO" {
		t.Errorf("got %q", got)
	}
	if n := f.payloads(); n != 2 {
		t.Errorf("%d files", n)
	}
	doc, committed, uncommitted, err := f.blockList(ctx, acct, "con1", target{name: "b"})
	if d := cmp.Diff([]Block{{two, 3}, {two, 3}}, committed); d != "" || uncommitted != nil || err != nil || doc.Size != 6 {
		t.Errorf("%v %v %v\n%s", doc, uncommitted, err, d)
	}
	f.want(stage(one, "one"), 201, "")
	f.put("con1", "b", "whole") // discards uncommitted blocks
	if _, _, uncommitted, _ := f.blockList(ctx, acct, "con1", target{name: "b"}); uncommitted != nil {
		t.Errorf("uncommitted %v", uncommitted)
	}
	f.want(list(), 201, "")
	if got := f.read("con1", "b"); got != "" {
		t.Errorf("an empty list made %q", got)
	}
	if n := f.payloads(); n != 0 {
		t.Errorf("%d files", n)
	}
	f.noDocs(kindParts, kindStaged, kindInline)
	f.want(call{method: "PUT", path: "/con1/b?comp=blocklist", body: "<BlockList><Latest>"}, 400, "InvalidXmlDocument")
	f.want(call{method: "PUT", path: "/con1/b?comp=block&blockid=AAAA", header: []string{"x-ms-copy-source", "https://x/y"}}, 404, "CannotVerifyCopySource")
	f.want(call{method: "GET", path: "/con1/none?comp=blocklist"}, 404, CodeBlobNotFound)
}

func TestAppendBlock(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	app := func(body string, h ...string) call {
		return call{method: "PUT", path: "/con1/log?comp=appendblock", body: body, header: h}
	}
	f.want(app("x"), 404, CodeBlobNotFound)
	f.want(call{method: "PUT", path: "/con1/log", header: []string{"x-ms-blob-type", "AppendBlob"}}, 201, "")
	w := f.want(app("one"), 201, "")
	w2 := f.want(app("two", "x-ms-blob-condition-appendpos", "3"), 201, "")
	if w.Header().Get("x-ms-blob-append-offset") != "0" || w2.Header().Get("x-ms-blob-append-offset") != "3" || w2.Header().Get("x-ms-blob-committed-block-count") != "2" {
		t.Errorf("%v\n%v", w.Header(), w2.Header())
	}
	f.want(app("x", "x-ms-blob-condition-appendpos", "3"), 412, "AppendPositionConditionNotMet")
	f.want(app("x", "x-ms-blob-condition-maxsize", "6"), 412, "MaxBlobSizeConditionNotMet")
	f.want(app("x", "x-ms-blob-condition-maxsize", "x"), 400, "InvalidHeaderValue")
	f.want(app("x", "x-ms-content-crc64", crcOf("y")), 400, "Crc64Mismatch")
	if got := f.read("con1", "log"); got != "onetwo" {
		t.Errorf("got %q", got)
	}
	f.want(call{method: "PUT", path: "/con1/log?comp=block&blockid=AAAA", body: "x"}, 409, "InvalidBlobType")
	f.want(call{method: "GET", path: "/con1/log?comp=blocklist"}, 409, "InvalidBlobType")
	f.put("con1", "plain", "x")
	f.want(call{method: "PUT", path: "/con1/plain?comp=appendblock", body: "x"}, 409, "InvalidBlobType")
}

func TestCopy(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.container("con2")
	f.want(call{method: "PUT", path: "/con1/a%20b", body: "hello", header: with(block, "Content-Type", "text/plain", "x-ms-meta-a", "1")}, 201, "")
	cp := func(src string, h ...string) call {
		return call{method: "PUT", path: "/con2/c", header: append([]string{"x-ms-copy-source", src}, h...)}
	}
	w := f.want(cp("https://labstore.blob.core.windows.net/con1/a%20b"), 202, "")
	if w.Header().Get("x-ms-copy-status") != "success" || f.read("con2", "c") != "hello" {
		t.Errorf("%v", w.Header())
	}
	b, err := f.Stat(ctx, acct, "con2", "c")
	if err != nil || b.ContentType != "text/plain" || b.Metadata["a"] != "1" {
		t.Errorf("%+v %v", b, err)
	}
	f.want(cp("https://labstore.blob.core.windows.net/con1/none"), 404, CodeBlobNotFound)
	f.want(cp("https://other.blob.core.windows.net/con1/a"), 404, "CannotVerifyCopySource")
	f.want(cp("https://labstore.blob.core.windows.net/con1/a%20b", "x-ms-source-if-match", "0x1"), 412, "SourceConditionNotMet")
	f.want(cp("https://labstore.blob.core.windows.net/con1/a%20b", "If-None-Match", "*"), 409, CodeBlobAlreadyExists)
	f.grants["alice "+blobsWrite] = true
	c := cp("https://labstore.blob.core.windows.net/con1/a%20b")
	c.auth = "token"
	f.want(c, 403, "CannotVerifyCopySource")
	f.grants["alice "+blobsRead] = true
	f.want(c, 202, "")
}

func TestSetAndTier(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "hello")
	before, err := f.Stat(ctx, acct, "con1", "b")
	if err != nil {
		t.Fatal(err)
	}
	f.clock.Move(time.Minute)
	f.want(call{method: "PUT", path: "/con1/b?comp=tier", header: []string{"x-ms-access-tier", "Cold"}}, 200, "")
	after, err := f.Stat(ctx, acct, "con1", "b")
	if err != nil || after.ETag != before.ETag || after.Tier != "Cold" {
		t.Errorf("%+v %v", after, err)
	}
	f.want(call{method: "PUT", path: "/con1/b?comp=tier"}, 400, "MissingRequiredHeader")
	f.want(call{method: "PUT", path: "/con1/b?comp=properties", header: []string{"x-ms-blob-content-type", "a/b", "x-ms-blob-content-language", "fr"}}, 200, "")
	f.want(call{method: "PUT", path: "/con1/b?comp=metadata", header: []string{"x-ms-meta-k", "v"}}, 200, "")
	got, err := f.Stat(ctx, acct, "con1", "b")
	if err != nil || got.ETag == before.ETag || got.ContentType != "a/b" || got.ContentLanguage != "fr" || got.Metadata["k"] != "v" || !got.Created.Equal(before.Created) || !got.LastModified.After(before.LastModified) {
		t.Errorf("%+v %v", got, err)
	}
	if f.read("con1", "b") != "hello" {
		t.Error("the content changed")
	}
	w := f.want(call{method: "GET", path: "/con1/b?comp=metadata"}, 200, "")
	if w.Header()["x-ms-meta-k"][0] != "v" {
		t.Errorf("%v", w.Header())
	}
}

func TestContainers(t *testing.T) {
	f := newFixture(t)
	put := call{method: "PUT", path: "/con1?restype=container", header: []string{"x-ms-meta-a", "1", "x-ms-blob-public-access", "blob"}}
	f.want(put, 201, "")
	f.want(put, 409, CodeContainerAlreadyExists)
	f.want(call{method: "PUT", path: "/Con1?restype=container"}, 400, "InvalidResourceName")
	w := f.want(call{method: "HEAD", path: "/con1?restype=container"}, 200, "")
	if w.Header()["x-ms-meta-a"][0] != "1" || w.Header().Get("x-ms-blob-public-access") != "blob" || w.Body.Len() != 0 {
		t.Errorf("%v", w.Header())
	}
	f.want(call{method: "PUT", path: "/con1?restype=container&comp=acl"}, 200, "")
	f.want(call{method: "PUT", path: "/con1?restype=container&comp=acl", body: "<SignedIdentifiers><SignedIdentifier><Id>x</Id></SignedIdentifier></SignedIdentifiers>"}, 200, "")
	w = f.want(call{method: "GET", path: "/con1?restype=container&comp=acl"}, 200, "")
	if w.Header().Get("x-ms-blob-public-access") != "" {
		t.Errorf("%v", w.Header())
	}
	f.want(call{method: "PUT", path: "/con1?restype=container&comp=metadata"}, 200, "")
	for _, n := range []string{"con2", "con3", "other"} {
		f.container(n)
	}
	w = f.want(call{method: "GET", path: "/?comp=list&prefix=con&maxresults=2"}, 200, "")
	body := w.Body.String()
	if strings.Count(body, "<Container>") != 2 || !strings.Contains(body, "<NextMarker>") || !strings.HasPrefix(body, "\ufeff<?xml") {
		t.Error(body)
	}
	list, next, err := f.ListContainers(ctx, acct, "con", "con2", 2)
	if err != nil || len(list) != 1 || next != "" || list[0].Name != "con3" {
		t.Errorf("%v %q %v", list, next, err)
	}
	f.want(call{method: "GET", path: "/?comp=list&maxresults=0"}, 400, "OutOfRangeQueryParameterValue")
	f.want(call{method: "DELETE", path: "/con1?restype=container", header: []string{"If-Match", "0x1"}}, 412, CodeConditionNotMet)
	f.want(call{method: "DELETE", path: "/con1?restype=container"}, 202, "")
	f.want(call{method: "GET", path: "/con1?restype=container"}, 404, CodeContainerNotFound)
	f.want(call{method: "GET", path: "/?restype=service&comp=stats"}, 400, "InvalidQueryParameterValue")
	f.want(call{method: "PUT", path: "/?restype=service&comp=properties", body: "<x/>"}, 400, "InvalidXmlDocument")
}

func TestListXML(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	for _, n := range []string{"a/1", "b", "c<&>", "d\x01", "e/1"} {
		f.put("con1", n, "x")
	}
	body := f.want(call{method: "GET", path: "/con1?restype=container&comp=list&delimiter=%2F"}, 200, "").Body.String()
	at := -1
	for _, part := range []string{
		`ContainerName="con1"`, "<Delimiter>/</Delimiter>", "<BlobPrefix><Name>a/</Name></BlobPrefix>", "<Name>b</Name>", "<Name>c&lt;&amp;&gt;</Name>",
		`<Name Encoded="true">d%01</Name>`, "<BlobPrefix><Name>e/</Name></BlobPrefix>", "<NextMarker />",
	} {
		i := strings.Index(body, part)
		if i <= at {
			t.Errorf("%s is missing or out of order in\n%s", part, body)
		}
		at = i
	}
}
