package blob

import (
	"crypto/md5"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"vauban.dev/internal/storagehttp"
)

func (q *request) setBlobMetadata() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	b, err := q.change(func(d *blobDoc) error { d.Metadata = m; return nil })
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	q.W.Header().Set("x-ms-request-server-encrypted", "true")
	return q.Send(http.StatusOK)
}

// setBlobProperties replaces all HTTP properties: what is not sent is cleared.
func (q *request) setBlobProperties() error {
	h := q.R.Header
	sum, err := q.decodeHash("X-Ms-Blob-Content-Md5", md5.Size, "InvalidMd5")
	if err != nil {
		return err
	}
	for _, name := range []string{"X-Ms-Blob-Content-Length", "X-Ms-Sequence-Number-Action"} {
		if h.Get(name) != "" {
			return errInvalidBlobType().Because("header %s is for page blobs", name)
		}
	}
	b, err := q.change(func(d *blobDoc) error {
		d.Headers = Headers{
			ContentType: h.Get("X-Ms-Blob-Content-Type"), ContentEncoding: h.Get("X-Ms-Blob-Content-Encoding"), ContentLanguage: h.Get("X-Ms-Blob-Content-Language"),
			ContentDisposition: h.Get("X-Ms-Blob-Content-Disposition"), CacheControl: h.Get("X-Ms-Blob-Cache-Control"), ContentMD5: sum,
		}
		return nil
	})
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	return q.Send(http.StatusOK)
}

func (q *request) change(f func(*blobDoc) error) (Blob, error) {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return Blob{}, err
	}
	return q.s.change(q.Ctx, q.Account.Name, q.container, q.blob, cond, f)
}

func (q *request) setBlobTier() error {
	t, err := tier(q.R.Header.Get("X-Ms-Access-Tier"))
	if err != nil {
		return err
	}
	if t == "" {
		return newError(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified.").Because("x-ms-access-tier")
	}
	if err := q.s.setTier(q.Ctx, q.Account.Name, q.container, q.blob, t); err != nil {
		return err
	}
	return q.Send(http.StatusOK)
}

// copyBlob copies a blob of the same account. The copy is done when it answers, whether the client asked for
// Copy Blob or Copy Blob From URL.
func (q *request) copyBlob() error {
	cond, err := q.writeConditions()
	if err != nil {
		return err
	}
	src, err := q.copySource()
	if err != nil {
		return err
	}
	o, err := q.putOptions(false)
	if err != nil {
		return err
	}
	srcCond, err := parseConditions(sourceHeaders(q.R.Header))
	if err != nil {
		return err
	}
	from, err := q.s.Get(q.Ctx, src.Account.Name, src.container, src.blob)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := srcCond.forRead(from.doc.ETag, from.doc.Modified); err != nil {
		return newError(http.StatusPreconditionFailed, "SourceConditionNotMet", "The source condition specified using HTTP conditional header(s) is not met.")
	}
	if from.Type != BlockBlob {
		return errNotImplemented("copies of append blobs")
	}
	o.Headers = from.Headers
	if o.Metadata == nil {
		o.Metadata = from.Metadata
	}
	b, err := q.s.put(q.Ctx, q.Account.Name, q.container, q.blob, from, o, cond, nil)
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	q.W.Header().Set("x-ms-copy-id", uuid.NewString())
	q.W.Header().Set("x-ms-copy-status", "success")
	return q.Send(http.StatusAccepted)
}

// sourceHeaders are the x-ms-source-if-… headers as if they were the plain ones.
func sourceHeaders(h http.Header) http.Header {
	out := http.Header{}
	for name, v := range h {
		if rest, ok := strings.CutPrefix(name, "X-Ms-Source-If-"); ok {
			out["If-"+rest] = v
		}
	}
	return out
}

// copySource is the source of a copy, if the caller may read it: by the signature in its URL, by the account's
// key of this request, or by this caller's roles.
func (q *request) copySource() (*request, error) {
	if q.R.Header.Get("X-Ms-Copy-Source-Authorization") != "" {
		return nil, errNotImplemented("x-ms-copy-source-authorization")
	}
	raw := q.R.Header.Get("X-Ms-Copy-Source")
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errInvalidHeader("x-ms-copy-source", raw)
	}
	if !strings.EqualFold(u.Hostname(), q.Account.Name+q.s.front.Suffix) {
		return nil, errNotImplemented("copies from another account or service (%s)", u.Hostname())
	}
	src := *q
	src.Query, src.Caller, src.createOnly = storagehttp.ParseQuery(u.RawQuery), q.Caller, false
	src.container, src.blob, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if src.Query.Get("snapshot") != "" || src.Query.Get("versionid") != "" {
		return nil, errNotImplemented("copies of snapshots and versions")
	}
	if src.Query.Get("sig") != "" {
		if src.Caller, err = src.signature(); err != nil {
			return nil, err
		}
	} else if q.Caller.Kind == storagehttp.ByServiceSAS || q.Caller.Kind == storagehttp.ByDelegationSAS {
		src.Caller = storagehttp.Caller{} // such a signature is for the destination only
	}
	if err := src.authorize(readSource); err != nil {
		return nil, newError(http.StatusForbidden, "CannotVerifyCopySource", "Could not verify the copy source within the specified time.").Because("%v", err)
	}
	return &src, nil
}
