package blob

import (
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"time"

	"vauban.dev/internal/storagehttp"
)

func (q *request) headBlob() error {
	k, err := q.customerKey()
	if err != nil {
		return err
	}
	doc, err := q.readable()
	if err != nil {
		return err
	}
	if doc.Sealing.Hash != "" || k.Hash != "" {
		if err := k.matches(doc.Sealing); err != nil {
			return err
		}
	}
	b := doc.public(q.blob)
	b.Current = doc.Snapshot == "" && !q.past
	q.setBlobHeaders(&b, doc)
	h := q.W.Header()
	h.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	if len(b.ContentMD5) > 0 {
		h.Set("Content-MD5", md5Header(b.ContentMD5))
	}
	if b.Type == BlockBlob {
		q.setTierHeaders(doc)
	}
	q.W.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) setTierHeaders(doc *blobDoc) {
	h := q.W.Header()
	tier, waiting := doc.tierNow(q.s.clock.Now())
	h.Set("x-ms-access-tier", orElse(tier, "Hot"))
	if tier == "" {
		h.Set("x-ms-access-tier-inferred", "true")
	} else {
		h.Set("x-ms-access-tier-change-time", storagehttp.HTTPTime(time.Unix(0, doc.TierAt)))
	}
	if waiting != nil {
		h.Set("x-ms-archive-status", waiting.status())
		h.Set("x-ms-rehydrate-priority", waiting.Priority)
	}
}

// readable returns the document of the blob, snapshot or version if the request's conditions let it be read.
func (q *request) readable() (*blobDoc, error) {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return nil, err
	}
	at, err := q.target()
	if err != nil {
		return nil, err
	}
	doc, err := q.s.stat(q.Ctx, q.Account.Name, q.container, at)
	if err != nil {
		return nil, err
	}
	if at.version != "" {
		base, err := q.s.stat(q.Ctx, q.Account.Name, q.container, target{name: q.blob})
		q.past = err != nil || base.Version != at.version
	}
	return doc, q.judgeRead(cond, doc)
}

func (q *request) judgeRead(cond conditions, doc *blobDoc) error {
	err := cond.judgeRead(doc, q.s.clock.Now())
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotModified {
		b := doc.public(q.blob)
		e.WithHeader("ETag", b.ETag).WithHeader("Last-Modified", storagehttp.HTTPTime(b.LastModified))
	}
	return err
}

// setBlobHeaders sets what Get Blob and Get Blob Properties have in common. A SAS may override some.
func (q *request) setBlobHeaders(b *Blob, doc *blobDoc) {
	q.SetStamp(b.ETag, b.LastModified)
	q.SetMetadata(b.Metadata)
	h := q.W.Header()
	if n := len(b.Tags); n > 0 {
		h.Set("x-ms-tag-count", strconv.Itoa(n))
	}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set("Content-Type", b.ContentType)
	set("Content-Encoding", b.ContentEncoding)
	set("Content-Language", b.ContentLanguage)
	set("Content-Disposition", b.ContentDisposition)
	set("Cache-Control", b.CacheControl)
	if s := q.Caller.SAS; s != nil {
		for i, o := range storagehttp.Overrides {
			set(o[1], s.Headers[i])
		}
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("x-ms-blob-type", b.Type)
	h.Set("x-ms-creation-time", storagehttp.HTTPTime(b.Created))
	h.Set("x-ms-server-encrypted", "true")
	set("x-ms-encryption-key-sha256", doc.Sealing.Hash)
	set("x-ms-version-id", b.Version)
	if b.Version != "" && b.Current {
		h.Set("x-ms-is-current-version", "true")
	}
	if b.Current {
		storagehttp.SetLease(h, doc.Lease, q.s.clock.Now())
	}
	setCopy(h, doc.Copy)
	setKeep(h, doc.Keep)
	switch b.Type {
	case AppendBlob:
		h.Set("x-ms-blob-committed-block-count", strconv.Itoa(b.Blocks))
		if doc.Sealed {
			h.Set("x-ms-blob-sealed", "true")
		}
	case PageBlob:
		setInt(h, "x-ms-blob-sequence-number", b.Sequence)
	}
}

func (q *request) getBlob() error {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	at, err := q.target()
	if err != nil {
		return err
	}
	k, err := q.customerKey()
	if err != nil {
		return err
	}
	window := byteRange{End: -1}
	if rng, ok := parseRange(orElse(q.R.Header.Get("X-Ms-Range"), q.R.Header.Get("Range"))); ok {
		window = rng
	}
	o, err := q.s.get(q.Ctx, q.Account.Name, q.container, at, k, window)
	if err != nil {
		return err
	}
	defer o.Close()
	if err := q.judgeRead(cond, o.doc); err != nil {
		return err
	}
	header := orElse(q.R.Header.Get("X-Ms-Range"), q.R.Header.Get("Range"))
	if rng, ok := parseRange(header); ok {
		return q.sendRange(o, rng)
	}
	if q.wantsRangeHash() {
		return errInvalidHeader("x-ms-range-get-content-md5", "true").Because("a hash is given for a range only")
	}
	q.setBlobHeaders(&o.Blob, o.doc)
	if len(o.ContentMD5) > 0 {
		q.W.Header().Set("Content-MD5", md5Header(o.ContentMD5))
	}
	return q.sendContent(o, 0, o.Size, http.StatusOK)
}

func (q *request) wantsRangeHash() bool {
	return q.R.Header.Get("X-Ms-Range-Get-Content-Md5") == "true" || q.R.Header.Get("X-Ms-Range-Get-Content-Crc64") == "true"
}

func (q *request) sendRange(o *Object, rng byteRange) error {
	rng, err := rng.clip(o.Size)
	if err != nil {
		return err
	}
	n := rng.End - rng.Start + 1
	q.setBlobHeaders(&o.Blob, o.doc)
	h := q.W.Header()
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", rng.Start, rng.End, o.Size))
	if len(o.ContentMD5) > 0 {
		h.Set("x-ms-blob-content-md5", md5Header(o.ContentMD5))
	}
	if q.wantsRangeHash() {
		if n > maxRangeHash {
			return newError(http.StatusBadRequest, "OutOfRangeInput", "One of the request inputs is out of range.").Because("the hash of a range of more than 4 MiB")
		}
		u := upload{}
		var w []io.Writer
		if q.R.Header.Get("X-Ms-Range-Get-Content-Md5") == "true" {
			u.md5 = md5.New()
			w = append(w, u.md5)
		}
		if q.R.Header.Get("X-Ms-Range-Get-Content-Crc64") == "true" {
			u.crc = crc64.New(crcTable())
			w = append(w, u.crc)
		}
		if _, err := o.WriteRange(io.MultiWriter(w...), rng.Start, n); err != nil {
			return err
		}
		u.setHashes(h)
	}
	return q.sendContent(o, rng.Start, n, http.StatusPartialContent)
}

// sendContent answers with n bytes of the blob from off. Should the first of them not open, the answer is an
// error; later, the connection ends short of its Content-Length, which every client takes for what it is.
func (q *request) sendContent(o *Object, off, n int64, status int) error {
	q.W.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	if q.R.Method == http.MethodHead || n == 0 {
		q.W.WriteHeader(status)
		return nil
	}
	w := &lateWriter{w: q.W, status: status}
	wrote, err := o.WriteRange(w, off, n)
	if err == nil && wrote < n {
		err = io.ErrUnexpectedEOF
	}
	if err == nil || !w.begun {
		return err
	}
	if q.Ctx.Err() == nil && w.err == nil {
		q.s.log.Error("blob: content broke off", "request", q.ID, "account", q.Account.Name, "container", q.container, "blob", q.blob, "err", err)
	}
	return nil
}

// lateWriter sends the status with the first bytes.
type lateWriter struct {
	w      http.ResponseWriter
	status int
	begun  bool
	err    error
}

func (l *lateWriter) Write(p []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.w.WriteHeader(l.status)
	}
	n, err := l.w.Write(p)
	l.err = err
	return n, err
}

func (q *request) getBlobMetadata() error {
	doc, err := q.readable()
	if err != nil {
		return err
	}
	b := doc.public(q.blob)
	q.SetStamp(b.ETag, b.LastModified)
	q.SetMetadata(b.Metadata)
	return q.Send(http.StatusOK)
}
