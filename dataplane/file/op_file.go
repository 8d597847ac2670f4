package file

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/internal/storagehttp"
)

// fileHeaders changes the HTTP properties of a file as the x-ms-content- headers say.
func (q *request) fileHeaders(to *headers) error {
	h := q.R.Header
	for name, v := range map[string]*string{
		"X-Ms-Content-Type": &to.ContentType, "X-Ms-Content-Encoding": &to.ContentEncoding, "X-Ms-Content-Language": &to.ContentLanguage,
		"X-Ms-Content-Disposition": &to.ContentDisposition, "X-Ms-Cache-Control": &to.CacheControl, "X-Ms-Content-Md5": &to.ContentMD5,
	} {
		*v = h.Get(name)
	}
	if sum, err := base64.StdEncoding.DecodeString(to.ContentMD5); err != nil || to.ContentMD5 != "" && len(sum) != md5.Size {
		return storagehttp.NewError(http.StatusBadRequest, "InvalidMd5", "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded.")
	}
	if to.ContentType == "" {
		to.ContentType = "application/octet-stream"
	}
	return nil
}

// size reads x-ms-content-length; -1 when it is not there.
func (q *request) size() (int64, error) {
	n, err := q.Int64Header("X-Ms-Content-Length")
	if err == nil && n > maxFile {
		err = storagehttp.InvalidHeader("x-ms-content-length", fmt.Sprint(n)).Because("a file has at most 4 TiB")
	}
	return n, err
}

func (q *request) createFile() error {
	if kind := q.R.Header.Get("X-Ms-Type"); !strings.EqualFold(kind, "file") {
		return storagehttp.InvalidHeader("x-ms-type", kind).Because("x-ms-type is file")
	}
	if q.R.ContentLength > 0 {
		return storagehttp.NotImplemented("creating a file with its content: create it and put ranges")
	}
	e := entryDoc{}
	var err error
	if e.Size, err = q.size(); err != nil {
		return err
	}
	if e.Size < 0 {
		return storagehttp.MissingHeader("x-ms-content-length")
	}
	if err := q.fileHeaders(&e.Headers); err != nil {
		return err
	}
	if e.Metadata, err = q.Metadata(); err != nil {
		return err
	}
	p, err := q.smb()
	if err != nil {
		return err
	}
	return q.change(http.StatusCreated, func(t *tree) (entryDoc, uint64, error) {
		parent, err := t.parent(q.names)
		if err != nil {
			return e, 0, err
		}
		fresh := e
		if err := p.apply(t, &fresh, &parent); err != nil {
			return e, 0, err
		}
		return t.makeFile(q.names, fresh, q.mayReplace)
	})
}

// mayReplace judges the lease of a file that is overwritten.
func (q *request) mayReplace(old entryDoc) error {
	return old.Lease.Need(q.s.clock.Now(), q.lease(), "File", true)
}

// setFile is Set File Properties; what of the HTTP properties is not said is cleared, as in Azure.
func (q *request) setFile() error {
	size, err := q.size()
	if err != nil {
		return err
	}
	p, err := q.smb()
	if err != nil {
		return err
	}
	var h headers
	if err := q.fileHeaders(&h); err != nil {
		return err
	}
	return q.edits(false, func(t *tree, e *entryDoc) error {
		if size >= 0 && size < e.Size {
			if err := t.set(e.ID, size, maxFile, nil); err != nil {
				return err
			}
		}
		if size >= 0 {
			e.Size = size
		}
		e.Headers = h
		return p.apply(t, e, nil)
	})
}

// setFileHeaders sets what Get File and Get File Properties tell of a file.
func (q *request) setFileHeaders(e entryDoc, share shareDoc, parent uint64) {
	h := q.W.Header()
	q.SetStamp(etag(e.Modified), e.Modified)
	q.SetMetadata(e.Metadata)
	q.setSMB(e, parent)
	for name, v := range map[string]string{
		"Content-Type": e.Headers.ContentType, "Content-Encoding": e.Headers.ContentEncoding, "Content-Language": e.Headers.ContentLanguage,
		"Content-Disposition": e.Headers.ContentDisposition, "Cache-Control": e.Headers.CacheControl, "Content-MD5": e.Headers.ContentMD5,
	} {
		if v != "" {
			h.Set(name, v)
		}
	}
	if s := q.Caller.SAS; s != nil {
		for i, v := range s.Headers {
			if v != "" {
				h.Set(storagehttp.Overrides[i][1], v)
			}
		}
	}
	h.Set("x-ms-type", "File")
	h.Set("x-ms-server-encrypted", "true")
	h.Set("Accept-Ranges", "bytes")
	storagehttp.SetLease(h, e.Lease, q.s.clock.Now())
	if c := e.Copy; c != nil {
		h.Set("x-ms-copy-id", c.ID)
		h.Set("x-ms-copy-source", c.Source)
		h.Set("x-ms-copy-status", "success")
		h.Set("x-ms-copy-progress", fmt.Sprintf("%d/%d", c.Size, c.Size))
		h.Set("x-ms-copy-completion-time", storagehttp.HTTPTime(c.At))
	}
}

// mayRead judges the lease id that a read names, if any.
func (q *request) mayRead(e entryDoc) error {
	return e.Lease.Need(q.s.clock.Now(), q.lease(), "File", false)
}

func (q *request) getFileProperties() error {
	e, parent, err := q.entry(false)
	if err != nil {
		return err
	}
	if err := q.mayRead(e); err != nil {
		return err
	}
	if q.Query.Get("comp") == "metadata" {
		q.SetStamp(etag(e.Modified), e.Modified)
		q.SetMetadata(e.Metadata)
		return q.Send(http.StatusOK)
	}
	q.setFileHeaders(e, shareDoc{}, parent)
	q.W.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
	q.W.WriteHeader(http.StatusOK)
	return nil
}

// span is a range of bytes as headers have it; end is inclusive, -1: to the end.
type span struct{ start, end int64 }

// parseSpan reads "bytes=a-b" or "bytes=a-"; ok is false when there is none, or one of another form, which is ignored as
// RFC 9110 says.
func parseSpan(v string) (s span, ok bool) {
	v, ok = strings.CutPrefix(strings.ToLower(strings.TrimSpace(v)), "bytes=")
	from, to, dash := strings.Cut(v, "-")
	if !ok || !dash {
		return s, false
	}
	var err error
	if s.start, err = strconv.ParseInt(from, 10, 64); err != nil || s.start < 0 {
		return s, false
	}
	if s.end = -1; to != "" {
		if s.end, err = strconv.ParseInt(to, 10, 64); err != nil || s.end < s.start {
			return s, false
		}
	}
	return s, true
}

func (q *request) rangeHeader() string {
	if v := q.R.Header.Get("X-Ms-Range"); v != "" {
		return v
	}
	return q.R.Header.Get("Range")
}

// bounds are the first byte of the span and the one after its last, in a file of a size.
func (s span) bounds(size int64) (from, to int64) {
	if s.end < 0 || s.end >= size {
		return min(s.start, size), size
	}
	return s.start, s.end + 1
}

func errRange(size int64) error {
	return storagehttp.NewError(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range specified is invalid for the current size of the resource.").
		WithHeader("Content-Range", fmt.Sprintf("bytes */%d", size)).Because("the file has %d bytes", size)
}

func (q *request) getFile() error {
	rng, ranged := parseSpan(q.rangeHeader())
	if !ranged {
		rng = span{0, -1}
	}
	hash := strings.EqualFold(q.R.Header.Get("X-Ms-Range-Get-Content-Md5"), "true")
	o, err := q.s.open(q.Ctx, q.Account.Name, q.share, q.snapshot, q.names, q.mayRead, rng.bounds)
	if err != nil {
		return err
	}
	defer o.Close()
	size := o.entry.Size
	from, to := rng.bounds(size)
	h := q.W.Header()
	switch {
	case ranged && from >= size:
		return errRange(size)
	case hash && (!ranged || to-from > maxWrite):
		return storagehttp.NewError(http.StatusBadRequest, "OutOfRangeInput", "One of the request inputs is out of range.").Because("a hash is given for a range of at most 4 MiB")
	}
	q.setFileHeaders(o.entry, o.share, 0)
	h.Del("x-ms-file-parent-id")
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	status := http.StatusOK
	if ranged {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
		if v := h.Get("Content-MD5"); v != "" {
			h.Set("x-ms-content-md5", v)
			h.Del("Content-MD5")
		}
		if hash {
			sum := md5.New()
			if err := o.writeRange(q.Ctx, sum, from, to); err != nil {
				return err
			}
			h.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum.Sum(nil)))
		}
	}
	q.W.WriteHeader(status)
	if err := o.writeRange(q.Ctx, q.W, from, to); err != nil {
		if q.Ctx.Err() == nil {
			q.Front.Log.Error("file: answer cut short", "request", q.ID, "err", err)
		}
		panic(http.ErrAbortHandler) // the client must not take what it got for the whole
	}
	return nil
}

// putRange is Put Range: it writes or clears at most 4 MiB, or any range to zeros.
func (q *request) putRange() error {
	if q.R.Header.Get("X-Ms-Copy-Source") != "" {
		return q.putRangeFromURL()
	}
	rng, ok := parseSpan(q.rangeHeader())
	if !ok || rng.end < 0 {
		return storagehttp.InvalidHeader("x-ms-range", q.rangeHeader()).Because("a range to write is bytes=first-last")
	}
	n := rng.end + 1 - rng.start
	var body []byte
	switch mode := strings.ToLower(q.R.Header.Get("X-Ms-Write")); {
	case mode == "clear":
		if q.R.ContentLength > 0 {
			return storagehttp.InvalidHeader("Content-Length", fmt.Sprint(q.R.ContentLength)).Because("to clear a range there is no body")
		}
	case mode != "update":
		return storagehttp.InvalidHeader("x-ms-write", mode).Because("x-ms-write is update or clear")
	case n > maxWrite:
		return storagehttp.TooLarge(maxWrite)
	case q.R.Header.Get("X-Ms-Structured-Body") != "":
		return storagehttp.NotImplemented("structured bodies (x-ms-structured-body)")
	default:
		var err error
		if body, err = q.body(n); err != nil {
			return err
		}
	}
	return q.writeSpan(rng, body)
}

// body reads the n bytes of the range and verifies their MD5.
func (q *request) body(n int64) ([]byte, error) {
	if q.R.ContentLength >= 0 && q.R.ContentLength != n {
		return nil, storagehttp.InvalidHeader("Content-Length", fmt.Sprint(q.R.ContentLength)).Because("the range has %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(q.R.Body, b); err != nil {
		return nil, storagehttp.InvalidInput("the body is shorter than the %d bytes of the range", n)
	}
	if v := q.R.Header.Get("Content-MD5"); v != "" {
		if sum := md5.Sum(b); base64.StdEncoding.EncodeToString(sum[:]) != v {
			return nil, storagehttp.NewError(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
		}
	}
	return b, nil
}

// writeSpan makes a range of the request's file the bytes, or zeros when there are none, and answers.
func (q *request) writeSpan(rng span, b []byte) error {
	written := q.R.Header.Get("X-Ms-File-Last-Write-Time")
	if written != "" && !strings.EqualFold(written, "now") && !strings.EqualFold(written, "preserve") {
		return storagehttp.InvalidHeader("x-ms-file-last-write-time", written)
	}
	// A write that would be refused does not reach the disk.
	e, _, err := q.entry(false)
	if err != nil {
		return err
	}
	if rng.end >= e.Size {
		return errRange(e.Size)
	}
	var p *payload
	if b != nil {
		if p, err = q.s.seal(q.Ctx, q.Account.Name, rng.start, b); err != nil {
			return err
		}
		sum := md5.Sum(b)
		q.W.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	err = q.s.update(q.Ctx, q.Account.Name, q.share, func(t *tree) error {
		var parent uint64
		if e, parent, err = t.find(q.names, false); err != nil {
			return err
		}
		if err := e.Lease.Need(q.s.clock.Now(), q.lease(), "File", true); err != nil {
			return err
		}
		if err := e.writable(); err != nil {
			return err
		}
		if rng.end >= e.Size {
			return errRange(e.Size)
		}
		if err := t.set(e.ID, rng.start, rng.end+1, p); err != nil {
			return err
		}
		e.Lease, e.Modified = e.Lease.AfterWrite(q.s.clock.Now()), t.now
		if !strings.EqualFold(written, "preserve") {
			e.Written, e.Changed = t.now, t.now
		}
		return t.put(parent, e)
	})
	if err != nil {
		q.s.discard(q.Account.Name, p)
		return err
	}
	q.SetStamp(etag(e.Modified), e.Modified)
	h := q.W.Header()
	h.Set("x-ms-request-server-encrypted", "true")
	h.Set("x-ms-file-last-write-time", e.Written.Format(timeLayout))
	return q.Send(http.StatusCreated)
}

// sector is the unit in which ranges are listed.
const sector = 512

// written are the ranges of a file that were written, in whole sectors, in order.
func written(list []extent, size int64) (out []span) {
	for _, e := range list {
		from, to := e.At/sector*sector, min((e.At+e.Size+sector-1)/sector*sector, size)
		if n := len(out); n > 0 && out[n-1].end+1 >= from {
			out[n-1].end = max(out[n-1].end, to-1)
			continue
		}
		out = append(out, span{from, to - 1})
	}
	return out
}

// listRanges is List Ranges; with prevsharesnapshot, those that have changed since that snapshot.
func (q *request) listRanges() error {
	rng, ok := parseSpan(q.rangeHeader())
	if !ok {
		rng = span{0, -1}
	}
	o, err := q.s.open(q.Ctx, q.Account.Name, q.share, q.snapshot, q.names, q.mayRead, rng.bounds)
	if err != nil {
		return err
	}
	defer o.Close()
	ranges, cleared := written(o.list, o.entry.Size), []span(nil)
	if before := q.Query.Get("prevsharesnapshot"); before != "" {
		if ranges, cleared, err = q.difference(o, before, rng); err != nil {
			return err
		}
	}
	q.SetStamp(etag(o.entry.Modified), o.entry.Modified)
	q.W.Header().Set("x-ms-content-length", strconv.FormatInt(o.entry.Size, 10))
	x := storagehttp.NewXML()
	x.WriteString("<Ranges>")
	for _, s := range ranges {
		fmt.Fprintf(x, "<Range><Start>%d</Start><End>%d</End></Range>", s.start, s.end)
	}
	for _, s := range cleared {
		fmt.Fprintf(x, "<ClearRange><Start>%d</Start><End>%d</End></ClearRange>", s.start, s.end)
	}
	x.WriteString("</Ranges>")
	return q.SendXML(x)
}

// difference are the ranges of an open file that were written, and those that were cleared, since a snapshot.
func (q *request) difference(o *open, snapshot string, rng span) (changed, cleared []span, err error) {
	old, err := q.s.open(q.Ctx, q.Account.Name, q.share, snapshot, q.names, func(entryDoc) error { return nil }, rng.bounds)
	if err != nil {
		return nil, nil, err
	}
	defer old.Close()
	same := func(a extent, list []extent) bool {
		for _, b := range list {
			if b.Ref == a.Ref && b.At-b.Off == a.At-a.Off && b.At <= a.At && a.At+a.Size <= b.At+b.Size {
				return true
			}
		}
		return false
	}
	var fresh, gone []extent
	for _, e := range o.list {
		if !same(e, old.list) {
			fresh = append(fresh, e)
		}
	}
	for _, e := range old.list {
		rest := []extent{e}
		for _, now := range o.list {
			var next []extent
			for _, r := range rest {
				if l, ok := r.clip(r.At, now.At); ok {
					next = append(next, l)
				}
				if h, ok := r.clip(now.At+now.Size, r.At+r.Size); ok {
					next = append(next, h)
				}
			}
			rest = next
		}
		gone = append(gone, rest...)
	}
	return written(fresh, o.entry.Size), written(gone, max(old.entry.Size, o.entry.Size)), nil
}

func (q *request) leaseFile() error {
	r, err := q.ParseLease()
	if err != nil {
		return err
	}
	if q.R.Header.Get("X-Ms-Lease-Action") != "" && q.R.Header.Get("X-Ms-Lease-Duration") != "" && q.R.Header.Get("X-Ms-Lease-Duration") != "-1" {
		return storagehttp.InvalidHeader("x-ms-lease-duration", q.R.Header.Get("X-Ms-Lease-Duration")).Because("a lease of a file has no end: -1")
	}
	if strings.EqualFold(q.R.Header.Get("X-Ms-Lease-Action"), "renew") {
		return storagehttp.InvalidHeader("x-ms-lease-action", "renew").Because("a lease of a file has no end")
	}
	var status int
	var left int64
	var e entryDoc
	err = q.s.update(q.Ctx, q.Account.Name, q.share, func(t *tree) error {
		var parent uint64
		if e, parent, err = t.find(q.names, false); err != nil {
			return err
		}
		if e.Lease, status, left, err = r.Apply(e.Lease, q.s.clock.Now(), 0); err != nil {
			return err
		}
		return t.put(parent, e)
	})
	if err != nil {
		return err
	}
	q.SetStamp(etag(e.Modified), e.Modified)
	return q.SendLease(r, status, left)
}
