package file

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/internal/storagehttp"
)

// source is a file of the region that the caller may read: nothing is fetched by HTTP.
type source struct {
	*request
	url string // without its signature
}

// readSource is what a copy asks of its source.
var readSource = &operation{name: "Get File", level: 'o', sas: "r", delegable: true, roles: []string{filesRead}}

// copySource reads x-ms-copy-source. Its caller is who signed the URL, who x-ms-copy-source-authorization says, or this
// request's when the account is the same; the source account's firewall judges this connection.
func (q *request) copySource() (*source, error) {
	refuse := func(status int, format string, args ...any) error {
		return storagehttp.NewError(status, "CannotVerifyCopySource", "The specified resource does not exist.").Because(format, args...)
	}
	u, err := url.Parse(q.R.Header.Get("X-Ms-Copy-Source"))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, storagehttp.InvalidHeader("x-ms-copy-source", "").Because("it is no URL")
	}
	account, ok := strings.CutSuffix(strings.ToLower(u.Hostname()), q.Front.Suffix)
	if !ok || !storagehttp.IsAccountName(account) {
		return nil, refuse(http.StatusNotFound, "the source must be a file of a storage account of the region, and '%s' has none", u.Hostname())
	}
	req := *q
	src := &source{request: &req}
	src.Query, src.snapshot = storagehttp.ParseQuery(u.RawQuery), ""
	src.R = q.R.WithContext(q.Ctx)
	if src.R.TLS = nil; u.Scheme == "https" {
		src.R.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	}
	if account != q.Account.Name {
		if src.Account, err = q.Front.Accounts.Lookup(q.Ctx, account); errors.Is(err, storagehttp.ErrNoAccount) {
			return nil, refuse(http.StatusNotFound, "there is no storage account '%s' in the region", account)
		} else if err != nil {
			return nil, err
		}
		src.Account.Name = account
	}
	path := ""
	src.share, path, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if err := checkShareName(src.share); err != nil {
		return nil, err
	}
	if src.names, err = parsePath(path, strings.EqualFold(q.R.Header.Get("X-Ms-Source-Allow-Trailing-Dot"), "true")); err != nil {
		return nil, err
	}
	src.snapshot = src.Query.Get("sharesnapshot")
	if err := q.admitSource(src.request, u.Scheme, account); err != nil {
		var e *storagehttp.Error
		if !errors.As(err, &e) {
			return nil, err
		}
		return nil, storagehttp.NewError(http.StatusForbidden, "CannotVerifyCopySource", "%s", e.Message).Because("the source refused it: %s %s", e.Code, e.Vauban).WithDetail("%s", e.Detail)
	}
	shown := *u
	shown.RawQuery = ""
	if src.snapshot != "" {
		shown.RawQuery = url.Values{"sharesnapshot": {src.snapshot}}.Encode()
	}
	src.url = shown.String()
	return src, nil
}

// admitSource judges whether the caller may read the source.
func (q *request) admitSource(src *request, scheme, account string) (err error) {
	if scheme == "http" && src.Account.HTTPSOnly {
		return storagehttp.NewError(http.StatusBadRequest, "AccountRequiresHttps", "The account being accessed does not support http.").Because("supportsHttpsTrafficOnly of the source is true")
	}
	if err := src.PassFirewall(); err != nil {
		return err
	}
	same := account == q.Account.Name && q.Caller.Kind != storagehttp.ByServiceSAS
	switch v := q.R.Header.Get("X-Ms-Copy-Source-Authorization"); {
	case v != "":
		scheme, token, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return storagehttp.InvalidHeader("x-ms-copy-source-authorization", scheme+" …")
		}
		src.Caller, err = src.Bearer(strings.TrimSpace(token))
	case src.Query.Get("sig") != "":
		src.Caller, err = src.signature()
	case !same:
		src.Caller = storagehttp.Caller{}
	}
	if err != nil {
		return err
	}
	return src.authorize(readSource)
}

// copyFile is Copy File: it is done when it is answered. Within an account payloads are shared and nothing is moved.
func (q *request) copyFile() error {
	src, err := q.copySource()
	if err != nil {
		return err
	}
	for name, asks := range map[string]string{"X-Ms-File-Permission-Copy-Mode": "source", "X-Ms-File-Copy-Ignore-Readonly": "true", "X-Ms-File-Copy-Set-Archive": "true"} {
		if strings.EqualFold(q.R.Header.Get(name), asks) {
			return storagehttp.NotImplemented("%s: %s", strings.ToLower(name), asks)
		}
	}
	p, err := q.smb()
	if err != nil {
		return err
	}
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	o, err := q.s.open(q.Ctx, src.Account.Name, src.share, src.snapshot, src.names, func(entryDoc) error { return nil }, span{0, -1}.bounds)
	if err != nil {
		return err
	}
	defer o.Close()
	var moved []*payload
	shared := src.Account.Name == q.Account.Name
	if !shared {
		if moved, err = q.carry(o); err != nil {
			return err
		}
	}
	state := &copied{ID: uuid.NewString(), Source: src.url, At: q.s.clock.Now(), Size: o.entry.Size}
	err = q.change(http.StatusAccepted, func(t *tree) (entryDoc, uint64, error) {
		from := o.entry
		if shared { // as it is now, in this transaction
			doc, err := getShareAt(t.tx, q.Account.Name, src.share, src.snapshot)
			if err != nil {
				return from, 0, err
			}
			other := &tree{s: t.s, tx: t.tx, account: t.account, share: src.share, doc: doc}
			if from, _, err = other.find(src.names, false); err != nil {
				return from, 0, err
			}
			return q.place(t, p, m, from, state, func(file uint64) error { return t.shareContent(other, from.ID, file) })
		}
		return q.place(t, p, m, from, state, func(file uint64) error {
			for _, part := range moved {
				if err := t.set(file, part.At, part.At+part.Size, part); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		for _, part := range moved {
			q.s.discard(q.Account.Name, part)
		}
		return err
	}
	return nil
}

// place makes the file that a copy is, with the properties of its source but for what the headers say.
func (q *request) place(t *tree, p smb, metadata map[string]string, from entryDoc, state *copied, fill func(file uint64) error) (entryDoc, uint64, error) {
	q.W.Header().Set("x-ms-copy-id", state.ID)
	q.W.Header().Set("x-ms-copy-status", "success")
	state.Size = from.Size
	e := entryDoc{Size: from.Size, Headers: from.Headers, Metadata: from.Metadata, Copy: state}
	if metadata != nil {
		e.Metadata = metadata
	}
	if strings.EqualFold(p.attributes, "source") {
		p.attributes = from.Attributes
	}
	for _, f := range []struct {
		to *string
		at string
	}{{&p.created, from.Created.Format(timeLayout)}, {&p.written, from.Written.Format(timeLayout)}, {&p.changed, from.Changed.Format(timeLayout)}} {
		if strings.EqualFold(*f.to, "source") {
			*f.to = f.at
		}
	}
	parent, err := t.parent(q.names)
	if err != nil {
		return e, 0, err
	}
	if err := p.apply(t, &e, &parent); err != nil {
		return e, 0, err
	}
	e, dir, err := t.makeFile(q.names, e, q.mayReplace)
	if err != nil {
		return e, 0, err
	}
	return e, dir, fill(e.ID)
}

// carry reads an open file of another account into payloads of this one.
func (q *request) carry(o *open) (parts []*payload, err error) {
	defer func() {
		if err != nil {
			for _, p := range parts {
				q.s.discard(q.Account.Name, p)
			}
		}
	}()
	for _, s := range written(o.list, o.entry.Size) {
		for at := s.start; at <= s.end; at += maxWrite {
			to := min(at+maxWrite, s.end+1)
			var b bytes.Buffer
			if err := o.writeRange(q.Ctx, &b, at, to); err != nil {
				return parts, err
			}
			p, err := q.s.seal(q.Ctx, q.Account.Name, at, b.Bytes())
			if err != nil {
				return parts, err
			}
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// abortCopy refuses: every copy is done when it was answered.
func (q *request) abortCopy() error {
	if _, _, err := q.entry(false); err != nil {
		return err
	}
	return storagehttp.NewError(http.StatusConflict, "NoPendingCopyOperation", "There is currently no pending copy operation.")
}

// putRangeFromURL is Put Range From URL: at most 4 MiB of another file of the region.
func (q *request) putRangeFromURL() error {
	rng, ok := parseSpan(q.rangeHeader())
	from, given := parseSpan(q.R.Header.Get("X-Ms-Source-Range"))
	switch {
	case !ok || rng.end < 0:
		return storagehttp.InvalidHeader("x-ms-range", q.rangeHeader())
	case !given || from.end < 0 || from.end-from.start != rng.end-rng.start:
		return storagehttp.InvalidHeader("x-ms-source-range", q.R.Header.Get("X-Ms-Source-Range")).Because("x-ms-source-range and x-ms-range are bytes=first-last of one length")
	case rng.end-rng.start >= maxWrite:
		return storagehttp.TooLarge(maxWrite)
	case q.R.ContentLength > 0:
		return storagehttp.InvalidHeader("Content-Length", "").Because("with x-ms-copy-source a request has no body")
	}
	for _, name := range []string{"X-Ms-Source-Content-Crc64", "X-Ms-Source-If-Match-Crc64", "X-Ms-Source-If-None-Match-Crc64"} {
		if q.R.Header.Get(name) != "" {
			return storagehttp.NotImplemented("%s", strings.ToLower(name))
		}
	}
	src, err := q.copySource()
	if err != nil {
		return err
	}
	o, err := q.s.open(q.Ctx, src.Account.Name, src.share, src.snapshot, src.names, func(entryDoc) error { return nil }, from.bounds)
	if err != nil {
		return err
	}
	defer o.Close()
	if from.end >= o.entry.Size {
		return errRange(o.entry.Size)
	}
	var b bytes.Buffer
	if err := o.writeRange(q.Ctx, &b, from.start, from.end+1); err != nil {
		return err
	}
	return q.writeSpan(rng, b.Bytes())
}
