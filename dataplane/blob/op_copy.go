package blob

import (
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"hash/crc64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/internal/storagehttp"
)

// maxSyncCopy is the largest blob that Copy Blob From URL copies, in bytes.
const maxSyncCopy = 256 * mib

func errSourceCondition() *Error {
	return newError(http.StatusPreconditionFailed, "SourceConditionNotMet", "The source condition specified using HTTP conditional header(s) is not met.")
}

// source is where a request copies from: a blob of the region, which the caller may read.
type source struct {
	*request
	at  target
	doc *blobDoc
	url string // without its signature
}

// copyBlob is Copy Blob and, with x-ms-requires-sync, Copy Blob From URL.
func (q *request) copyBlob() error {
	cond, err := q.writeConditions()
	if err != nil {
		return err
	}
	o, err := q.putOptions(false)
	if err != nil {
		return err
	}
	src, err := q.copySource()
	if err != nil {
		return err
	}
	priority, err := q.rehydratePriority()
	if err != nil {
		return err
	}
	o.Headers = src.doc.Headers
	if o.Metadata == nil {
		o.Metadata = src.doc.Metadata
	}
	if strings.EqualFold(q.R.Header.Get("X-Ms-Copy-Source-Tag-Option"), "COPY") {
		if o.Tags != nil {
			return errInvalidHeader("x-ms-copy-source-tag-option", "COPY").Because("x-ms-tags is given too")
		}
		o.Tags = src.doc.Tags
	}
	if o.Tier != "" && src.doc.Type != BlockBlob {
		return errInvalidBlobType().Because("x-ms-access-tier is for block blobs")
	}
	if strings.EqualFold(q.R.Header.Get("X-Ms-Requires-Sync"), "true") {
		return q.copyNow(src, o, cond)
	}
	if src.doc.Type == AppendBlob && strings.EqualFold(q.R.Header.Get("X-Ms-Seal-Blob"), "true") {
		return errNotImplemented("x-ms-seal-blob of a copy")
	}
	spec := copySpec{account: src.Account.Name, container: src.container, at: src.at, etag: src.doc.ETag, url: src.url, o: o, tier: o.Tier, priority: priority}
	b, state, err := q.s.startCopy(q.Ctx, q.Account.Name, q.container, q.blob, spec, cond)
	if err != nil {
		return err
	}
	q.wrote(b, customerKey{})
	q.W.Header().Set("x-ms-copy-id", state.ID)
	q.W.Header().Set("x-ms-copy-status", state.Status)
	return q.Send(http.StatusAccepted)
}

// copyNow reads the source and writes a block blob before it answers.
func (q *request) copyNow(src *source, o PutOptions, cond conditions) error {
	if src.doc.Type != BlockBlob {
		return errInvalidBlobType().Because("Copy Blob From URL copies block blobs")
	}
	if src.doc.Size > maxSyncCopy {
		return newError(http.StatusConflict, "CannotVerifyCopySource", "The source is too large for a synchronous copy.").Because("it has %d bytes, and Copy Blob From URL copies %d at most", src.doc.Size, maxSyncCopy)
	}
	u, done, err := q.open(src, maxSyncCopy)
	if err != nil {
		return err
	}
	defer done()
	state := &copyState{ID: uuid.NewString(), Source: src.url, Status: copySuccess, Done: u.length, Total: u.length, At: q.s.clock.Now().UnixNano()}
	o.copied, o.ContentMD5 = state, nil
	b, err := q.s.put(q.Ctx, q.Account.Name, q.container, q.blob, u, o, cond, u.check)
	if err != nil {
		return err
	}
	q.wrote(b, o.sealing)
	u.setHashes(q.W.Header())
	q.W.Header().Set("x-ms-copy-id", state.ID)
	q.W.Header().Set("x-ms-copy-status", state.Status)
	return q.Send(http.StatusAccepted)
}

// content is what a write is to write: the body, or with x-ms-copy-source a range of a blob of the region. done lets go
// of it.
func (q *request) content(limit int64, wantCRC bool) (u *upload, done func(), err error) {
	if q.R.Header.Get("X-Ms-Copy-Source") == "" {
		u, err = q.body(limit, false, wantCRC)
		return u, func() {}, err
	}
	if q.R.ContentLength > 0 {
		return nil, nil, errInvalidHeader("Content-Length", strconv.FormatInt(q.R.ContentLength, 10)).Because("with x-ms-copy-source a request has no body")
	}
	src, err := q.copySource()
	if err != nil {
		return nil, nil, err
	}
	return q.open(src, limit)
}

// open reads the source, or the range of it that x-ms-source-range names, and checks the hashes that the caller sent.
func (q *request) open(src *source, limit int64) (*upload, func(), error) {
	k, err := q.sourceKey()
	if err != nil {
		return nil, nil, err
	}
	from, n := int64(0), src.doc.Size
	window := byteRange{End: -1}
	if v := q.R.Header.Get("X-Ms-Source-Range"); v != "" {
		r, ok := parseRange(v)
		if !ok {
			return nil, nil, errInvalidHeader("x-ms-source-range", v)
		}
		if window, err = r.clip(src.doc.Size); err != nil {
			return nil, nil, err
		}
		from, n = window.Start, window.End-window.Start+1
	}
	if n > limit {
		return nil, nil, errTooLarge(limit)
	}
	u := &upload{length: n}
	if u.wantMD5, err = q.decodeHash("X-Ms-Source-Content-Md5", md5.Size, "InvalidMd5"); err != nil {
		return nil, nil, err
	}
	if u.wantCRC, err = q.decodeHash("X-Ms-Source-Content-Crc64", crc64.Size, "InvalidCrc64"); err != nil {
		return nil, nil, err
	}
	o, err := q.s.get(q.Ctx, src.Account.Name, src.container, src.at, k, window)
	if err != nil {
		return nil, nil, err
	}
	if o.doc.ETag != src.doc.ETag {
		return nil, nil, errors.Join(errSourceCondition().Because("the source was changed meanwhile"), o.Close())
	}
	o.pos = from
	u.Reader = io.LimitReader(o, n)
	u.hash(u.wantMD5 != nil, u.wantMD5 == nil)
	return u, func() { _ = o.Close() }, nil
}

// copySource is the source of a copy, if the caller may read it. It is read by the service's own road and never fetched by HTTP,
// so that no other address of the region or outside can be asked through it: the URL must name a blob of an account
// of the region, whose firewall judges this caller, and whose rules its credentials: the signature in the URL,
// x-ms-copy-source-authorization, this request's own when the account is the same, or none for public blobs.
func (q *request) copySource() (*source, error) {
	raw := q.R.Header.Get("X-Ms-Copy-Source")
	if len(raw) > 2048 {
		return nil, errInvalidHeader("x-ms-copy-source", "…").Because("header x-ms-copy-source is longer than 2 KiB")
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errInvalidHeader("x-ms-copy-source", "…").Because("header x-ms-copy-source is no URL of a blob")
	}
	unknown := newError(http.StatusNotFound, "CannotVerifyCopySource", "The specified resource does not exist.")
	host := strings.ToLower(u.Hostname())
	account, ok := strings.CutSuffix(host, q.Front.Suffix)
	if !ok || !storagehttp.IsAccountName(account) {
		return nil, unknown.Because("the source must be a blob of a storage account of the region, and '%s' is none", host)
	}
	req := *q
	src := &source{request: &req}
	src.Query, src.createOnly = storagehttp.ParseQuery(u.RawQuery), false
	src.R = q.R.WithContext(q.Ctx) // the signature may be for https only: the URL says what it would have been read by
	if src.R.TLS = nil; u.Scheme == "https" {
		src.R.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	}
	if account != q.Account.Name {
		if src.Account, err = q.Front.Accounts.Lookup(q.Ctx, account); errors.Is(err, storagehttp.ErrNoAccount) {
			return nil, unknown.Because("there is no storage account '%s' in the region", account)
		}
		if err != nil {
			return nil, err
		}
		src.Account.Name = account
	}
	refused := func(err error) error {
		var e *Error
		if !errors.As(err, &e) {
			return err
		}
		status := e.Status
		if status != http.StatusNotFound && status != http.StatusConflict {
			status = http.StatusForbidden
		}
		return newError(status, "CannotVerifyCopySource", "%s", e.Message).Because("the source refused it: %s %s", e.Code, e.Vauban).WithDetail("%s", e.Detail)
	}
	if err := src.admitSource(u.Scheme); err != nil {
		return nil, refused(err)
	}
	src.container, src.blob, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if src.blob == "" {
		src.container, src.blob = "$root", src.container
	}
	if src.Caller, err = q.sourceCaller(src.request); err != nil {
		return nil, refused(err)
	}
	if err := src.authorize(readSource); err != nil {
		return nil, refused(err)
	}
	if src.at, err = src.target(); err != nil {
		return nil, err
	}
	src.doc, err = q.s.stat(q.Ctx, account, src.container, src.at)
	if q.op.name == "Copy Blob" && !strings.EqualFold(q.R.Header.Get("X-Ms-Requires-Sync"), "true") && err != nil {
		return nil, err
	}
	if err != nil {
		return nil, refused(err)
	}
	return src, q.judgeSource(src, u)
}

// admitSource judges this caller's origin by the source account's firewall, and the URL's scheme by its transport rule.
func (q *request) admitSource(scheme string) error {
	if scheme == "http" && q.Account.HTTPSOnly {
		return newError(http.StatusBadRequest, "AccountRequiresHttps", "The account being accessed does not support http.").Because("supportsHttpsTrafficOnly of the source is true")
	}
	return q.PassFirewall()
}

// sourceCaller is who reads the source.
func (q *request) sourceCaller(src *request) (storagehttp.Caller, error) {
	if v := q.R.Header.Get("X-Ms-Copy-Source-Authorization"); v != "" {
		scheme, token, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return storagehttp.Caller{}, errInvalidHeader("x-ms-copy-source-authorization", scheme+" …").Because("header x-ms-copy-source-authorization takes a Bearer token")
		}
		return src.Bearer(strings.TrimSpace(token))
	}
	if src.Query.Get("sig") != "" {
		return src.signature()
	}
	same := src.Account.Name == q.Account.Name
	if same && q.Caller.Kind != storagehttp.ByServiceSAS && q.Caller.Kind != storagehttp.ByDelegationSAS {
		return q.Caller, nil
	}
	return storagehttp.Caller{}, nil
}

// judgeSource judges the conditions on the source.
func (q *request) judgeSource(src *source, u *url.URL) error {
	cond, err := parseConditions(sourceHeaders(q.R.Header))
	if err != nil {
		return err
	}
	if err := cond.forRead(src.doc.ETag, src.doc.Modified); err != nil || cond.tags != nil && !cond.tags.match("", src.doc.Tags) {
		return errSourceCondition()
	}
	shown := *u
	query := url.Values{}
	for _, name := range []string{"snapshot", "versionid"} {
		if v := src.Query.Get(name); v != "" {
			query.Set(name, v)
		}
	}
	shown.RawQuery = query.Encode()
	src.url = shown.String()
	return nil
}

// sourceHeaders are the x-ms-source-if-… headers as if they were the plain ones.
func sourceHeaders(h http.Header) http.Header {
	out := http.Header{}
	for name, v := range h {
		switch rest, ok := strings.CutPrefix(name, "X-Ms-Source-If-"); {
		case ok && rest == "Tags":
			out["X-Ms-If-Tags"] = v
		case ok:
			out["If-"+rest] = v
		}
	}
	return out
}

func (q *request) abortCopyBlob() error {
	if !strings.EqualFold(q.R.Header.Get("X-Ms-Copy-Action"), "abort") {
		return errInvalidHeader("x-ms-copy-action", q.R.Header.Get("X-Ms-Copy-Action"))
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	if err := q.s.abortCopy(q.Ctx, q.Account.Name, q.container, q.blob, q.Query.Get("copyid"), cond); err != nil {
		return err
	}
	return q.Send(http.StatusNoContent)
}

// setCopy tells of the last copy to a blob.
func setCopy(h http.Header, c *copyState) {
	if c == nil {
		return
	}
	h.Set("x-ms-copy-id", c.ID)
	h.Set("x-ms-copy-source", c.Source)
	h.Set("x-ms-copy-status", c.Status)
	h.Set("x-ms-copy-progress", c.progress())
	if c.Why != "" {
		h.Set("x-ms-copy-status-description", c.Why)
	}
	if c.At > 0 {
		h.Set("x-ms-copy-completion-time", c.completed())
	}
}

func (c *copyState) progress() string {
	return strconv.FormatInt(c.Done, 10) + "/" + strconv.FormatInt(c.Total, 10)
}

func (c *copyState) completed() string { return storagehttp.HTTPTime(time.Unix(0, c.At)) }

// hash makes the hashes that are asked for of what is read.
func (u *upload) hash(withMD5, withCRC bool) {
	if withMD5 {
		u.md5 = md5.New()
		u.Reader = io.TeeReader(u.Reader, u.md5)
	}
	if withCRC || u.wantCRC != nil {
		u.crc = crc64.New(crcTable())
		u.Reader = io.TeeReader(u.Reader, u.crc)
	}
}

func md5Header(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }
