package blob

import (
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// TestHashHeaders: which of the hashes that a client sends is judged, and how those that no content can have are refused.
func TestHashHeaders(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	sum := func(s string) string { b := md5.Sum([]byte(s)); return base64.StdEncoding.EncodeToString(b[:]) }
	put := func(header ...string) call {
		return call{method: "PUT", path: "/con1/b", body: "HelloWorld", header: append([]string{"x-ms-blob-type", "BlockBlob"}, header...)}
	}
	f.want(put("Content-MD5", sum("other"), "x-ms-blob-content-md5", sum("HelloWorld")), http.StatusCreated, "")
	f.want(put("Content-MD5", sum("HelloWorld"), "x-ms-blob-content-md5", sum("other")), http.StatusBadRequest, "Md5Mismatch")
	f.want(put("x-ms-blob-content-md5", "AQID"), http.StatusBadRequest, "InvalidMd5")
	f.want(put("Content-MD5", sum("HelloWorld"), "x-ms-content-crc64", "AAAAAAAAAAA="), http.StatusBadRequest, "BothCrc64AndMd5HeaderPresent")
	f.want(put("x-ms-content-crc64", "AAAA"), http.StatusBadRequest, "InvalidHeaderValue")
	f.want(call{method: "PUT", path: "/con1/b?comp=properties", header: []string{"x-ms-blob-content-md5", "AQIDBA=="}}, http.StatusOK, "")
	f.want(call{method: "PUT", path: "/con1/b?comp=properties", header: []string{"x-ms-blob-content-md5", "?"}}, http.StatusBadRequest, "InvalidMd5")
}

// TestConditionsThatAreOdd are those that Azure answers in ways of its own.
func TestConditionsThatAreOdd(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "text")
	f.want(call{method: "GET", path: "/con1/b", header: []string{"If-None-Match", "*"}}, http.StatusBadRequest, "UnsatisfiableCondition")
	long := "tag1 <> 'v0'" + strings.Repeat(" and tag1 <> 'v1'", 699)
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-if-tags", long}}, http.StatusPreconditionFailed, "ConditionNotMet")
	f.want(call{method: "PUT", path: "/con1/b?comp=tags", body: "<Tags><TagSet><Tag><Key>tag1</Key><Value>x</Value></Tag></TagSet></Tags>"}, http.StatusNoContent, "")
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-if-tags", long}}, http.StatusOK, "")
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-if-tags", "tag1='v$'"}}, http.StatusBadRequest, "InvalidHeaderValue")
	f.want(call{method: "GET", path: "/con1/b", header: []string{"x-ms-if-tags", strings.Repeat("k", 129) + "='v'"}}, http.StatusPreconditionFailed, "ConditionNotMet")
	if w := f.want(call{method: "HEAD", path: "/con1/none"}, http.StatusNotFound, "BlobNotFound"); w.Header().Get("Content-Type") != "" || w.Body.Len() > 0 {
		t.Errorf("a refusal of HEAD: %v %s", w.Header(), w.Body)
	}
	f.want(call{method: "DELETE", path: "/con1/b", header: []string{"If-None-Match", "*"}}, http.StatusAccepted, "")
}

// TestNamesAlike: what Azure takes for the same name, and block ids that are as long as each other only when encoded.
func TestNamesAlike(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "a/b", "text")
	f.want(call{method: "GET", path: `/con1/a%5Cb`}, http.StatusOK, "")
	f.want(call{method: "PUT", path: "/con1/blocks?comp=block&blockid=MQ%3D%3D", body: "x"}, http.StatusCreated, "")
	f.want(call{method: "PUT", path: "/con1/blocks?comp=block&blockid=MTIz", body: "x"}, http.StatusBadRequest, "InvalidBlobOrBlock")
}

func TestBatchBoundary(t *testing.T) {
	for contentType, want := range map[string]string{
		`multipart/mixed; boundary=a==`:           "a==",
		`multipart/mixed; Boundary= "b"`:          "b",
		`multipart/mixed;boundary=c;charset=utf8`: "c",
		`multipart/mixed; boundary=`:              "",
		`multipart/mixed; boundary=a; boundary=b`: "",
		`multipart/form-data; boundary=a`:         "",
		`multipart/mixed`:                         "",
	} {
		if got := batchBoundary(contentType); got != want {
			t.Errorf("%s: %q, want %q", contentType, got, want)
		}
	}
}

// TestBatchOfAContainer: a batch of one container reaches no other.
func TestBatchOfAContainer(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.container("con2")
	f.put("con2", "b", "text")
	body := "--x\r\nContent-Type: application/http\r\n\r\nDELETE /con2/b HTTP/1.1\r\nContent-Length: 0\r\n\r\n\r\n--x--\r\n"
	w := f.want(call{method: "POST", path: "/con1?restype=container&comp=batch", body: body, header: []string{"Content-Type", "multipart/mixed; boundary=x"}}, http.StatusAccepted, "")
	if !strings.Contains(w.Body.String(), "\nHTTP/1.1 400 ") {
		t.Errorf("answers %s", w.Body)
	}
	if f.read("con2", "b") != "text" {
		t.Error("it was deleted")
	}
}
