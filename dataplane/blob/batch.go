package blob

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
)

const (
	maxBatchBody  = 4 * mib
	maxBatchParts = 256
)

// batched is one request of a batch.
type batched struct {
	contentID string
	method    string
	target    string // path and query
	header    http.Header
}

func errBatch(format string, args ...any) *Error {
	return newError(http.StatusBadRequest, "InvalidInput", "One of the request inputs is not valid.").Because("the batch: "+format, args...)
}

// parseBatch reads the body of Blob Batch: multipart/mixed, each part a request of application/http.
func parseBatch(contentType string, body io.Reader) ([]batched, error) {
	boundary := batchBoundary(contentType)
	if boundary == "" {
		return nil, errInvalidHeader("Content-Type", contentType).Because("header Content-Type is multipart/mixed with a boundary, not '%s'", contentType)
	}
	r := multipart.NewReader(body, boundary)
	var list []batched
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		var refused *Error
		if errors.As(err, &refused) {
			return nil, refused
		}
		if err != nil {
			return nil, errBatch("%v", err)
		}
		if len(list) == maxBatchParts {
			return nil, newError(http.StatusBadRequest, "ExceedsMaxBatchRequestCount", "The batch operation exceeds maximum number of allowed subrequests.").Because("a batch has at most %d requests", maxBatchParts)
		}
		b, err := parseBatched(p)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	if len(list) == 0 {
		return nil, errBatch("it has no requests")
	}
	return list, nil
}

// batchBoundary reads the boundary from a Content-Type. Some clients write one with characters that RFC 2045 has in quotes only; Azure
// takes all to the next semicolon.
func batchBoundary(contentType string) (boundary string) {
	kind, rest, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "multipart/mixed") {
		return ""
	}
	n := 0
	for parameter := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if strings.EqualFold(strings.TrimSpace(name), "boundary") {
			boundary = strings.Trim(strings.TrimSpace(value), `"`)
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return boundary
}

func parseBatched(p *multipart.Part) (b batched, err error) {
	if kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type")); kind != "application/http" {
		return b, errBatch("a part is '%s', not application/http", p.Header.Get("Content-Type"))
	}
	b.contentID = p.Header.Get("Content-ID")
	r := textproto.NewReader(bufio.NewReader(p))
	line, err := r.ReadLine()
	if err != nil {
		return b, errBatch("a part has no request line")
	}
	var proto string
	words := strings.Fields(line)
	if len(words) != 3 {
		return b, errBatch("'%s' is no request line", line)
	}
	b.method, b.target, proto = words[0], words[1], words[2]
	if proto != "HTTP/1.1" && proto != "HTTP/1.0" {
		return b, errBatch("'%s' is no request line", line)
	}
	h, err := r.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return b, errBatch("the headers of '%s': %v", line, err)
	}
	b.header = http.Header(h)
	if !strings.HasPrefix(b.target, "/") { // some clients write the whole URL
		u, err := url.Parse(b.target)
		if err != nil || u.Host == "" {
			return b, errBatch("'%s' is no path", b.target)
		}
		b.target = u.RequestURI()
	}
	return b, nil
}

// batch is Blob Batch: deletions of blobs, or changes of their tiers, each with its own credentials and its own answer.
func (q *request) batch() error {
	u, err := q.body(maxBatchBody, false, false)
	if err != nil {
		return err
	}
	list, err := parseBatch(q.R.Header.Get("Content-Type"), u)
	if err != nil {
		return err
	}
	if err := u.check(); err != nil {
		return err
	}
	var out bytes.Buffer
	boundary := "batchresponse_" + uuid.NewString()
	for i := range list {
		w := &partWriter{header: http.Header{}}
		q.doPart(w, list[i], list[0].method)
		fmt.Fprintf(&out, "--%s\r\nContent-Type: application/http\r\n", boundary)
		if list[i].contentID != "" {
			fmt.Fprintf(&out, "Content-ID: %s\r\n", list[i].contentID)
		}
		fmt.Fprintf(&out, "\r\nHTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
		if err := w.header.Write(&out); err != nil {
			return err
		}
		out.WriteString("\r\n")
		out.Write(w.body.Bytes())
		out.WriteString("\r\n")
	}
	fmt.Fprintf(&out, "--%s--\r\n", boundary)
	return q.SendBody(http.StatusAccepted, "multipart/mixed; boundary="+boundary, out.Bytes())
}

// doPart serves one request of a batch; first is the method of the first, which all have.
func (q *request) doPart(w http.ResponseWriter, b batched, first string) {
	r, err := http.NewRequestWithContext(q.Ctx, b.method, "http://"+q.R.Host+b.target, http.NoBody)
	sub := &request{s: q.s}
	if err != nil {
		r = q.R
	} else {
		r.Header, r.Host, r.RequestURI, r.TLS, r.RemoteAddr = b.header, q.R.Host, b.target, q.R.TLS, q.R.RemoteAddr
	}
	sub.Request = q.Front.Begin(w, r)
	sub.Version = q.Version
	if err != nil {
		sub.Account = q.Account
		sub.Fail(errBatch("'%s' is no path", b.target))
		return
	}
	if b.method != first {
		sub.Fail(newError(http.StatusBadRequest, "AllRequestsInBatchNeedSameType", "All requests in the batch have to be of the same type.").Because("the first is %s, this one %s", first, b.method))
		return
	}
	sub.inBatch, sub.batchContainer = true, q.container
	if sub.Query.Get("sig") == "" && b.header.Get("Authorization") == "" { // the batch's own signature serves its parts
		for _, name := range sasParameters {
			if v := q.Query.Get(name); v != "" {
				sub.Query.Set(name, v)
			}
		}
	}
	if err := q.s.handle(sub); err != nil {
		sub.Fail(err)
	}
}

var sasParameters = []string{
	"sv", "ss", "srt", "sp", "st", "se", "sip", "spr", "sr", "si", "ses", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "skdutid", "sduoid",
}

// mayBatch refuses what is no part of a batch.
func (q *request) mayBatch() error {
	if !slices.Contains([]string{"Delete Blob", "Delete Blob Version", "Set Blob Tier"}, q.op.name) {
		return newError(http.StatusBadRequest, "OperationNotAllowedInBatch", "The operation is not allowed in a batch.").Because("%s: a batch deletes blobs or sets their tiers", q.op.name)
	}
	if q.batchContainer != "" && q.container != q.batchContainer {
		return newError(http.StatusBadRequest, "InvalidInput", "One of the request inputs is not valid.").Because("the batch is of container '%s', and this request is for '%s'", q.batchContainer, q.container)
	}
	return nil
}

// partWriter keeps the answer to one request of a batch.
type partWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *partWriter) Header() http.Header { return w.header }

func (w *partWriter) WriteHeader(status int) { w.status = status }

func (w *partWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(b)
}
