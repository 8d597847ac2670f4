package blob

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/origin"
)

// twoAccounts has a second account, whose containers are made in process.
func twoAccounts(t *testing.T) *fixture {
	f := newFixture(t)
	f.other = f.account
	f.other.Name, f.other.ID = "otherstore", strings.ReplaceAll(acctID, acct, "otherstore")
	f.other.Keys[0], f.other.Keys[1] = []byte("another"), []byte("key")
	f.container("con1")
	if _, err := f.CreateContainer(ctx, "otherstore", "src", ContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	return f
}

// source puts a blob in the second account and returns a URL that may read it.
func (f *fixture) source(name, content string) string {
	f.Helper()
	if _, err := f.Put(ctx, "otherstore", "src", name, strings.NewReader(content), PutOptions{Headers: Headers{ContentType: "text/x"}, Metadata: map[string]string{"k": "v"}}); err != nil {
		f.Fatal(err)
	}
	u, err := SignSAS(f.other, SASRequest{Account: "otherstore", Container: "src", Blob: name, Permissions: "r", Expiry: f.clock.Now().AddDate(0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	return u
}

func from(url string, h ...string) []string { return with(h, "x-ms-copy-source", url) }

func TestCopyAcrossAccounts(t *testing.T) {
	f := twoAccounts(t)
	for _, size := range []int{10, 100_000, syncCopyMax + 1} {
		content := noise(size)
		url := f.source("b", content)
		w := f.want(call{method: "PUT", path: "/con1/c", header: from(url)}, 202, "")
		if size > syncCopyMax {
			if w.Header().Get("x-ms-copy-status") != "pending" {
				t.Errorf("headers %v", w.Header())
			}
			f.want(put("/con1/c", "x"), 409, "PendingCopyOperation")
			f.restart() // the copy goes on
			if err := f.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
		}
		h := f.want(call{method: "HEAD", path: "/con1/c"}, 200, "").Header()
		if h.Get("x-ms-copy-status") != "success" || h.Get("x-ms-copy-progress") != fmt.Sprintf("%d/%d", size, size) || h.Get("Content-Type") != "text/x" {
			t.Errorf("headers %v", h)
		}
		if strings.Contains(h.Get("x-ms-copy-source"), "sig") {
			t.Errorf("the signature is shown: %s", h.Get("x-ms-copy-source"))
		}
		if f.body("/con1/c") != content {
			t.Errorf("a copy of %d bytes differs", size)
		}
		f.want(call{method: "DELETE", path: "/con1/c"}, 202, "")
	}
	url := f.source("b", noise(syncCopyMax+1))
	id := f.want(call{method: "PUT", path: "/con1/c", header: from(url)}, 202, "").Header().Get("x-ms-copy-id")
	abort := call{method: "PUT", path: "/con1/c?comp=copy&copyid=" + id, header: []string{"x-ms-copy-action", "abort"}}
	f.want(abort, 204, "")
	f.want(abort, 409, "NoPendingCopyOperation")
	if h := f.want(call{method: "HEAD", path: "/con1/c"}, 200, "").Header(); h.Get("x-ms-copy-status") != "aborted" || h.Get("Content-Length") != "0" {
		t.Errorf("headers %v", h)
	}
	f.noDocs(kindCopy)
}

func TestFromURL(t *testing.T) {
	f := twoAccounts(t)
	content := noise(100_000)
	url := f.source("b", content)
	f.want(call{method: "PUT", path: "/con1/put", header: from(url, "x-ms-blob-type", "BlockBlob", "x-ms-source-content-md5", md5Of(content))}, 201, "")
	f.want(call{method: "PUT", path: "/con1/put", header: from(url, "x-ms-blob-type", "BlockBlob", "x-ms-source-content-md5", md5Of("x"))}, 400, "Md5Mismatch")
	f.want(call{method: "PUT", path: "/con1/sync", header: from(url, "x-ms-requires-sync", "true")}, 202, "")
	f.want(call{method: "PUT", path: "/con1/block?comp=block&blockid=AAAA", header: from(url, "x-ms-source-range", "bytes=10-19")}, 201, "")
	f.want(call{method: "PUT", path: "/con1/block?comp=blocklist", body: "<BlockList><Latest>AAAA</Latest></BlockList>"}, 201, "")
	f.want(call{method: "PUT", path: "/con1/append", header: []string{"x-ms-blob-type", "AppendBlob"}}, 201, "")
	f.want(call{method: "PUT", path: "/con1/append?comp=appendblock", header: from(url, "x-ms-source-range", "bytes=0-9")}, 201, "")
	f.want(call{method: "PUT", path: "/con1/page", header: []string{"x-ms-blob-type", "PageBlob", "x-ms-blob-content-length", "1024"}}, 201, "")
	f.want(call{method: "PUT", path: "/con1/page?comp=page", header: with(pageRangeHeader(512, 1024), "x-ms-copy-source", url, "x-ms-source-range", "bytes=0-511")}, 201, "")
	for path, want := range map[string]string{
		"put": content, "sync": content, "block": content[10:20], "append": content[:10], "page": strings.Repeat("\x00", 512) + content[:512],
	} {
		if f.body("/con1/"+path) != want {
			t.Errorf("%s differs", path)
		}
	}
	if h := f.want(call{method: "HEAD", path: "/con1/put"}, 200, "").Header(); h.Get("Content-Type") != "text/x" {
		t.Errorf("headers %v", h)
	}
	f.want(call{method: "PUT", path: "/con1/c", header: from(url, "x-ms-source-if-none-match", "*")}, 412, "SourceConditionNotMet")
}

// TestCopySourceRefusals: a copy reads what its caller may read of the region's accounts, and no other address.
func TestCopySourceRefusals(t *testing.T) {
	f := twoAccounts(t)
	signed := f.source("b", "secret")
	bare, _, _ := strings.Cut(signed, "?")
	try := func(url string, status int, more ...string) {
		t.Helper()
		f.want(call{method: "PUT", path: "/con1/c", header: from(url, more...)}, status, "CannotVerifyCopySource")
		f.want(call{method: "PUT", path: "/con1/c?comp=block&blockid=AAAA", header: from(url, more...)}, status, "CannotVerifyCopySource")
	}
	for _, url := range []string{
		"http://169.254.169.254/metadata/instance", "https://127.0.0.1/x", "http://[::1]:80/x", "https://management.azure.com/subscriptions",
		"https://labstore.blob.core.windows.net.evil.example/c/b", "https://vault.vault.azure.net/secrets/s", "https://nosuch.blob.core.windows.net/c/b",
		"https://labstore.queue.core.windows.net/q/messages", "https://login.microsoftonline.com/x",
	} {
		try(url, 404)
	}
	for _, url := range []string{"file:///etc/passwd", "gopher://x/", "https://a:b@otherstore.blob.core.windows.net/src/b", "://", "/src/b"} {
		f.want(call{method: "PUT", path: "/con1/c", header: from(url)}, 400, "InvalidHeaderValue")
	}
	try(bare, 404)                                       // this account's key is not the other's
	try(strings.Replace(signed, "sp=r", "sp=w", 1), 403) // forged
	f.want(call{method: "PUT", path: "/con1/c", header: from(bare, "x-ms-copy-source-authorization", "Bearer nope")}, 403, "CannotVerifyCopySource")
	f.tokens["src"] = authz.Principal{TenantID: "tenant", ObjectID: "bob"}
	try(bare, 403, "x-ms-copy-source-authorization", "Bearer src")
	f.grants["bob "+blobsRead] = true
	f.want(call{method: "PUT", path: "/con1/c", header: from(bare, "x-ms-copy-source-authorization", "Bearer src")}, 202, "")
	// The source's firewall judges the caller.
	f.other.Firewall = firewall.Rules{PublicNetworkAccess: "Disabled"}
	try(signed, 403)
	f.origin = origin.Origin{Kind: origin.Loopback, Source: f.origin.Source}
	try(signed, 403)
	f.other.Firewall = firewall.Rules{}
	f.other.AllowSharedKeyAccess = false
	try(signed, 403)
}

func TestBatch(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	for _, name := range []string{"a", "b", "c"} {
		f.put("con1", name, "x")
	}
	sas := f.signedSAS(url.Values{"sv": {"2023-11-03"}, "ss": {"b"}, "srt": {"o"}, "sp": {"d"}, "se": {"2026-11-23T00:00:00Z"}},
		func(s *storagehttp.SAS) string { return s.AccountText(acct) }, f.account.Keys[0])
	send := func(path, body string, status int, code string) string {
		t.Helper()
		return f.want(call{method: "POST", path: path, body: strings.ReplaceAll(body, "\n", "\r\n"), header: []string{"Content-Type", "multipart/mixed; boundary=batch"}}, status, code).Body.String()
	}
	part := func(id int, method, target string, header ...string) string {
		return fmt.Sprintf("--batch\nContent-Type: application/http\nContent-Transfer-Encoding: binary\nContent-ID: %d\n\n%s %s HTTP/1.1\nContent-Length: 0\n%s\n\n", id, method, target, strings.Join(header, "\n"))
	}
	out := send("/?comp=batch", part(0, "DELETE", "/con1/a?"+sas)+part(1, "DELETE", "/con1/nope?"+sas)+part(2, "DELETE", "/con1/b")+part(3, "GET", "/con1/b?"+sas)+"--batch--\n", 202, "")
	for _, want := range []string{"HTTP/1.1 202 Accepted", "HTTP/1.1 404 Not Found", "HTTP/1.1 401 Unauthorized", "BlobNotFound", "AllRequestsInBatchNeedSameType", "Content-ID: 3"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	f.wantList("/con1?restype=container&comp=list", "b", "c")
	out = send("/con1?restype=container&comp=batch", part(0, "DELETE", "/other/b?"+sas)+part(1, "DELETE", "/con1/c?"+sas)+"--batch--\n", 202, "")
	if !strings.Contains(out, "HTTP/1.1 400") || !strings.Contains(out, "HTTP/1.1 202") {
		t.Errorf("%s", out)
	}
	out = send("/?comp=batch", part(0, "POST", "/?comp=batch&"+sas)+"--batch--\n", 202, "")
	if !strings.Contains(out, "OperationNotAllowedInBatch") {
		t.Errorf("a batch in a batch: %s", out)
	}
	send("/?comp=batch", "--batch--\n", 400, "InvalidInput")
	send("/?comp=batch", "--batch\nContent-Type: text/plain\n\nx\n--batch--\n", 400, "InvalidInput")
	send("/?comp=batch", strings.Repeat(part(0, "DELETE", "/con1/a"), 257)+"--batch--\n", 400, "ExceedsMaxBatchRequestCount")
	f.want(call{method: "POST", path: "/?comp=batch", auth: "none", header: []string{"Content-Type", "multipart/mixed; boundary=batch"}}, 401, "NoAuthenticationInformation")
}

func TestFindByTags(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.container("con2")
	tag := func(path, tags string) {
		f.want(call{method: "PUT", path: path, body: "x", header: with(block, "x-ms-tags", tags)}, 201, "")
	}
	tag("/con1/a", "kind=log&year=2025")
	tag("/con1/b", "kind=log&year=2026")
	tag("/con2/c", "kind=log&year=2026")
	f.put("con2", "none", "x")
	find := func(path, where string, want ...string) {
		t.Helper()
		f.wantList(path+"comp=blobs&where="+strings.ReplaceAll(where, " ", "%20"), want...)
	}
	find("/?", "kind='log'", "a", "b", "c")
	find("/?", "kind='log' AND \"year\">='2026'", "b", "c")
	find("/?", "@container='con1' AND kind='log'", "a", "b")
	find("/con2?restype=container&", "kind='log'", "c")
	find("/?", "kind='none'")
	f.wantList("/?comp=blobs&maxresults=1&marker="+encodeMarker("con1/a")+"&where=kind='log'", "b")
	f.want(call{method: "GET", path: "/?comp=blobs&where=kind"}, 400, "InvalidQueryParameterValue")
	f.want(call{method: "DELETE", path: "/con1/a"}, 202, "")
	f.want(put("/con1/b", "x"), 201, "")
	find("/?", "kind='log'", "c")
	// x-ms-if-tags
	cond := func(status int, code, expr string) {
		t.Helper()
		f.want(call{method: "GET", path: "/con2/c", header: []string{"x-ms-if-tags", expr}}, status, code)
	}
	cond(200, "", "kind='log' AND year<>'2025'")
	cond(200, "", "kind='x' OR year='2026'")
	cond(412, CodeConditionNotMet, "kind='x'")
	cond(400, "InvalidHeaderValue", "kind='x")
}

func TestCustomerKey(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	key := func(c string) []string {
		raw := strings.Repeat(c, 32)
		sum := sha256.Sum256([]byte(raw))
		return []string{
			"x-ms-encryption-key", base64.StdEncoding.EncodeToString([]byte(raw)), "x-ms-encryption-algorithm", "AES256",
			"x-ms-encryption-key-sha256", base64.StdEncoding.EncodeToString(sum[:]),
		}
	}
	k, other := key("k"), key("o")
	content := noise(100_000)
	secure := func(method, path, body string, status int, code string, h ...string) string {
		t.Helper()
		return f.want(call{method: method, path: path, body: body, header: h, tls: true}, status, code).Body.String()
	}
	secure("PUT", "/con1/b", content, 201, "", with(block, k...)...)
	if secure("GET", "/con1/b", "", 200, "", k...) != content {
		t.Error("the content differs")
	}
	secure("GET", "/con1/b", "", 409, "BlobUsesCustomerSpecifiedEncryption")
	secure("GET", "/con1/b", "", 409, "BlobCustomerSpecifiedEncryptionMismatch", other...)
	secure("PUT", "/con1/b", content, 400, "InvalidHeaderValue", with(block, "x-ms-encryption-key", "AAAA", "x-ms-encryption-algorithm", "AES256")...)
	secure("PUT", "/con1/c", "x", 201, "", block...)
	secure("GET", "/con1/c", "", 409, "BlobDoesNotUseCustomerSpecifiedEncryption", k...)
	f.want(call{method: "PUT", path: "/con1/b", body: "x", header: with(block, k...)}, 400, "InvalidHeaderValue") // over http
	secure("PUT", "/con1/d?comp=block&blockid=AAAA", "x", 201, "", k...)
	secure("PUT", "/con1/d?comp=blocklist", "<BlockList><Latest>AAAA</Latest></BlockList>", 409, "BlobUsesCustomerSpecifiedEncryption")
	secure("PUT", "/con1/d?comp=blocklist", "<BlockList><Latest>AAAA</Latest></BlockList>", 201, "", k...)
	// The account's key alone does not open it.
	doc, err := f.stat(ctx, acct, "con1", target{name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	account, err := f.key(ctx, acct)
	if err != nil {
		t.Fatal(err)
	}
	file, r, err := f.files.Open(acct, doc.Part.Ref, doc.Part.plain(), account)
	if err == nil {
		defer file.Close()
		if _, err = r.WriteRange(&strings.Builder{}, 0, 10); err == nil {
			t.Error("the account's key opens what a customer's key has sealed")
		}
	}
}
