package blob

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/store"

	"vauban.dev/internal/storagehttp"
)

func sortedSet(list []int64) []int64 {
	slices.Sort(list)
	return slices.Compact(list)
}

func setInt(h http.Header, name string, n int64) { h.Set(name, strconv.FormatInt(n, 10)) }

func (q *request) putPageBlob(o PutOptions, cond conditions) (Blob, error) {
	if q.R.ContentLength > 0 {
		return Blob{}, errInvalidHeader("Content-Length", strconv.FormatInt(q.R.ContentLength, 10)).Because("a page blob is made empty")
	}
	size, err := q.pageLength()
	if err != nil {
		return Blob{}, err
	}
	if size < 0 {
		return Blob{}, errMissingHeader("x-ms-blob-content-length")
	}
	sequence, err := q.Int64Header("X-Ms-Blob-Sequence-Number")
	if err != nil {
		return Blob{}, err
	}
	return q.s.createPages(q.Ctx, q.Account.Name, q.container, q.blob, size, max(sequence, 0), o, cond)
}

// pageLength reads x-ms-blob-content-length; -1 when it is not there.
func (q *request) pageLength() (int64, error) {
	n, err := q.Int64Header("X-Ms-Blob-Content-Length")
	if err != nil {
		return 0, err
	}
	if n > maxPageBlob || n > 0 && n%pageSize != 0 {
		return 0, errInvalidHeader("x-ms-blob-content-length", strconv.FormatInt(n, 10)).Because("a page blob's length is a multiple of 512, at most 8 TiB, not %d", n)
	}
	return n, nil
}

// pages reads the range of Put Page, which must be there and be of whole pages.
func (q *request) pages() (from, to int64, err error) {
	v := orElse(q.R.Header.Get("X-Ms-Range"), q.R.Header.Get("Range"))
	if v == "" {
		return 0, 0, errMissingHeader("Range")
	}
	r, ok := parseRange(v)
	if !ok || r.End < 0 {
		return 0, 0, errInvalidHeader("Range", v)
	}
	if r.Start%pageSize != 0 || (r.End+1)%pageSize != 0 {
		return 0, 0, errInvalidPageRange("it begins and ends with whole pages of 512 bytes")
	}
	return r.Start, r.End + 1, nil
}

func (q *request) sequenceConditions() (c sequenceConditions, err error) {
	var err1, err2, err3 error
	c.le, err1 = q.Int64Header("X-Ms-If-Sequence-Number-Le")
	c.lt, err2 = q.Int64Header("X-Ms-If-Sequence-Number-Lt")
	c.eq, err3 = q.Int64Header("X-Ms-If-Sequence-Number-Eq")
	return c, errors.Join(err1, err2, err3)
}

func (q *request) putPage() error {
	from, to, err := q.pages()
	if err != nil {
		return err
	}
	cond, err := q.writeConditions()
	if err != nil {
		return err
	}
	seq, err := q.sequenceConditions()
	if err != nil {
		return err
	}
	k, err := q.customerKey()
	if err != nil {
		return err
	}
	var b Blob
	switch v := strings.ToLower(q.R.Header.Get("X-Ms-Page-Write")); v {
	case "clear":
		if q.R.ContentLength > 0 {
			return errInvalidHeader("Content-Length", strconv.FormatInt(q.R.ContentLength, 10)).Because("a range is cleared without a body")
		}
		b, err = q.s.writePages(q.Ctx, q.Account.Name, q.container, q.blob, from, to, nil, k, cond, seq, nil)
	case "update":
		b, err = q.updatePages(from, to, k, cond, seq)
	case "":
		return errMissingHeader("x-ms-page-write")
	default:
		return errInvalidHeader("x-ms-page-write", v)
	}
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	setInt(q.W.Header(), "x-ms-blob-sequence-number", b.Sequence)
	k.tell(q.W.Header())
	return q.Send(http.StatusCreated)
}

func (q *request) updatePages(from, to int64, k customerKey, cond conditions, seq sequenceConditions) (Blob, error) {
	if to-from > maxPages {
		return Blob{}, newError(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.").Because("4 MiB of pages are written at once")
	}
	u, done, err := q.content(maxPages, true)
	if err != nil {
		return Blob{}, err
	}
	defer done()
	if u.length != to-from {
		return Blob{}, errInvalidHeader("Content-Length", strconv.FormatInt(u.length, 10)).Because("the range has %d bytes, and the content %d", to-from, u.length)
	}
	b, err := q.s.writePages(q.Ctx, q.Account.Name, q.container, q.blob, from, to, u, k, cond, seq, u.check)
	if err == nil {
		u.setHashes(q.W.Header())
	}
	return b, err
}

func (q *request) getPageRanges() error {
	at, err := q.target()
	if err != nil {
		return err
	}
	doc, err := q.readable()
	if err != nil {
		return err
	}
	if doc.Type != PageBlob {
		return errInvalidBlobType()
	}
	from, to := int64(0), doc.Size
	if r, ok := parseRange(orElse(q.R.Header.Get("X-Ms-Range"), q.R.Header.Get("Range"))); ok {
		if r, err = r.clip(doc.Size); err != nil {
			return err
		}
		from, to = r.Start/pageSize*pageSize, min((r.End/pageSize+1)*pageSize, doc.Size)
	}
	limit, err := q.maxResults()
	if err != nil {
		return err
	}
	marker := q.Query.Get("marker")
	if marker != "" {
		n, err := strconv.ParseInt(marker, 10, 64)
		if err != nil || n < 0 {
			return errInvalidQuery("marker", marker)
		}
		from = max(from, n)
	}
	list, err := q.pageRanges(at, from, to)
	if err != nil {
		return err
	}
	next := ""
	if limit > 0 && len(list) > limit {
		next = strconv.FormatInt(list[limit].From, 10)
		list = list[:limit]
	}
	b := doc.public(q.blob)
	q.SetStamp(b.ETag, b.LastModified)
	setInt(q.W.Header(), "x-ms-blob-content-length", b.Size)
	x := storagehttp.NewXML()
	x.WriteString("<PageList>")
	for _, r := range list {
		name := "PageRange"
		if r.Clear {
			name = "ClearRange"
		}
		x.WriteString("<" + name + ">")
		x.Text("Start", strconv.FormatInt(r.From, 10))
		x.Text("End", strconv.FormatInt(r.To-1, 10))
		x.WriteString("</" + name + ">")
	}
	x.Option("NextMarker", next)
	x.WriteString("</PageList>")
	return q.SendXML(x)
}

// pageRanges are the written ranges of a page blob in [from, to), or what changed since prevsnapshot.
func (q *request) pageRanges(at target, from, to int64) ([]pageRange, error) {
	now, err := q.s.pageParts(q.Ctx, q.Account.Name, q.container, at, from, to)
	if err != nil {
		return nil, err
	}
	prev := q.Query.Get("prevsnapshot")
	if u := q.R.Header.Get("X-Ms-Previous-Snapshot-Url"); u != "" {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Query().Get("snapshot") == "" {
			return nil, errInvalidHeader("x-ms-previous-snapshot-url", u)
		}
		prev = parsed.Query().Get("snapshot")
	}
	if prev == "" {
		return ranges(now), nil
	}
	if at.snapshot != "" && at.snapshot < prev {
		return nil, newError(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid.").Because("prevsnapshot is later than snapshot")
	}
	then, err := q.s.pageParts(q.Ctx, q.Account.Name, q.container, target{name: q.blob, snapshot: prev}, from, to)
	if IsCode(err, CodeBlobNotFound) {
		return nil, newError(http.StatusConflict, "PreviousSnapshotNotFound", "The previous snapshot is not found.")
	}
	if err != nil {
		return nil, err
	}
	return diffPages(now, then), nil
}

func (s *Service) pageParts(ctx context.Context, account, container string, at target, from, to int64) (parts []part, err error) {
	c, err := s.container(ctx, account, container)
	if err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		_, doc, err := at.find(tx, blobKey(account, c.UID, at.name))
		if err != nil {
			return err
		}
		parts, err = loadPages(tx, doc, from, to)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errBlobNotFound()
	}
	return parts, err
}

// changeSequence does what x-ms-sequence-number-action of Set Blob Properties asks.
func (q *request) changeSequence(doc *blobDoc) error {
	action := strings.ToLower(q.R.Header.Get("X-Ms-Sequence-Number-Action"))
	n, err := q.Int64Header("X-Ms-Blob-Sequence-Number")
	if err != nil {
		return err
	}
	switch action {
	case "":
		if n >= 0 {
			return errMissingHeader("x-ms-sequence-number-action")
		}
		return nil
	case "increment":
		if n >= 0 {
			return errInvalidHeader("x-ms-blob-sequence-number", strconv.FormatInt(n, 10)).Because("increment takes no number")
		}
		if doc.Sequence == math.MaxInt64 {
			return newError(http.StatusConflict, "SequenceNumberIncrementTooLarge", "The sequence number increment cannot be performed because it would result in overflow of the sequence number.")
		}
		doc.Sequence++
		return nil
	case "max", "update":
		if n < 0 {
			return errMissingHeader("x-ms-blob-sequence-number")
		}
		if action == "max" {
			n = max(n, doc.Sequence)
		}
		doc.Sequence = n
		return nil
	}
	return errInvalidHeader("x-ms-sequence-number-action", action)
}
