package agent

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"vauban.dev/compute"
)

const (
	blobVersion = "2021-12-02"
	blockSize   = 8 << 20
	maxListPage = 64 << 20
)

// blobs speaks to storage for one task: a URL with a signature as it is, any other with a token of the
// task's identity.
type blobs struct {
	http *http.Client
	id   *identity
	as   *compute.Identity
}

// httpError is an answer that is no success. It never holds the URL, whose query may be a SAS.
type httpError struct {
	status        int
	code, message string
}

func (e *httpError) Error() string {
	s := strconv.Itoa(e.status) + " " + http.StatusText(e.status)
	if e.code != "" {
		s += " (" + e.code + ")"
	}
	if e.message != "" {
		s += ": " + e.message
	}
	return s
}

// lasting tells whether to ask again is of no use.
func lasting(err error) bool {
	var h *httpError
	return errors.As(err, &h) && h.status/100 == 4 && h.status != http.StatusRequestTimeout && h.status != http.StatusTooManyRequests
}

// statusError reads storage's XML error, or takes what there is.
func statusError(resp *http.Response, body []byte) error {
	var x struct{ Code, Message string }
	e := &httpError{status: resp.StatusCode, code: resp.Header.Get("x-ms-error-code")}
	if xml.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &x) == nil && x.Code != "" {
		e.code, e.message = x.Code, firstLine(x.Message)
	} else {
		e.message = firstLine(string(body))
	}
	return e
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s[:min(len(s), 300)]
}

// do sends one request; body may be nil. The answer's body is the caller's to close.
func (b *blobs) do(ctx context.Context, method, rawURL string, body io.Reader, size int64, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, rawURL, body)
	if err != nil {
		return nil, errors.New("not a URL") // the error would show the URL
	}
	if header != nil {
		req.Header = header
	}
	if body != nil {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
	}
	req.Header.Set("x-ms-version", blobVersion)
	if b.as != nil && !req.URL.Query().Has("sig") {
		t, err := b.id.token(ctx, b.as.ClientID)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+t)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return nil, fmt.Errorf("%s %s: %w", method, place(rawURL), err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return nil, fmt.Errorf("%s %s: %w", method, place(rawURL), statusError(resp, text))
	}
	return resp, nil
}

// place is a URL without its query.
func place(raw string) string {
	s, _, _ := strings.Cut(raw, "?")
	return s
}

// send is do for answers whose body does not matter.
func (b *blobs) send(ctx context.Context, method, rawURL string, body io.Reader, size int64, header http.Header) error {
	resp, err := b.do(ctx, method, rawURL, body, size, header)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.Body.Close()
}

// get opens a blob.
func (b *blobs) get(ctx context.Context, rawURL string) (io.ReadCloser, error) {
	resp, err := b.do(ctx, http.MethodGet, rawURL, nil, 0, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// put writes one block blob of a known size.
func (b *blobs) put(ctx context.Context, rawURL string, r io.Reader, size int64) error {
	return b.send(ctx, http.MethodPut, rawURL, r, size, http.Header{
		"X-Ms-Blob-Type": {"BlockBlob"}, "Content-Type": {"application/octet-stream"}})
}

// putBlock stages a block; ids of one blob have one length.
func (b *blobs) putBlock(ctx context.Context, rawURL, id string, r io.Reader, size int64) error {
	u, err := withQuery(rawURL, "comp", "block", "blockid", base64.StdEncoding.EncodeToString([]byte(id)))
	if err != nil {
		return err
	}
	return b.send(ctx, http.MethodPut, u, r, size, http.Header{})
}

// putBlockList makes the blob of blocks that were staged or committed before.
func (b *blobs) putBlockList(ctx context.Context, rawURL, contentType string, ids []string) error {
	u, err := withQuery(rawURL, "comp", "blocklist")
	if err != nil {
		return err
	}
	var body bytes.Buffer
	body.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for _, id := range ids {
		fmt.Fprintf(&body, "<Latest>%s</Latest>", base64.StdEncoding.EncodeToString([]byte(id)))
	}
	body.WriteString("</BlockList>")
	return b.send(ctx, http.MethodPut, u, &body, int64(body.Len()), http.Header{
		"Content-Type": {"application/xml"}, "X-Ms-Blob-Content-Type": {contentType}})
}

// list returns the names below the prefix that rawURL is (https://account/container/prefix), relative to it.
func (b *blobs) list(ctx context.Context, rawURL string) (names []string, err error) {
	container, prefix, err := splitBlob(rawURL)
	if err != nil {
		return nil, err
	}
	for marker := ""; ; {
		u, err := withQuery(container, "restype", "container", "comp", "list", "prefix", prefix, "marker", marker)
		if err != nil {
			return nil, err
		}
		resp, err := b.do(ctx, http.MethodGet, u, nil, 0, nil)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxListPage))
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		page, next, err := parseList(body, prefix)
		if err != nil {
			return nil, err
		}
		names = append(names, page...)
		if next == "" {
			return names, nil
		}
		if next == marker {
			return nil, errors.New("the listing of blobs does not advance")
		}
		marker = next
	}
}

// parseList reads a List Blobs answer. A name that would leave the prefix's directory is an error.
func parseList(body []byte, prefix string) (names []string, next string, err error) {
	var x struct {
		Blobs      []struct{ Name string } `xml:"Blobs>Blob"`
		NextMarker string
	}
	if err := xml.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &x); err != nil {
		return nil, "", fmt.Errorf("listing of blobs: %w", err)
	}
	for _, b := range x.Blobs {
		rel, ok := strings.CutPrefix(b.Name, prefix)
		if !ok {
			return nil, "", fmt.Errorf("listing of blobs: %q is not below the prefix", b.Name)
		}
		if rel == "" || strings.HasSuffix(rel, "/") {
			continue // a directory's marker
		}
		if !safePath(rel) {
			return nil, "", fmt.Errorf("listing of blobs: %q is no path for a file", b.Name)
		}
		names = append(names, rel)
	}
	return names, x.NextMarker, nil
}

// safePath: a clean relative path below where it starts.
func safePath(p string) bool {
	return p != "" && path.Clean(p) == p && !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../") && !strings.ContainsRune(p, 0)
}

// splitBlob parts https://host/container/a/b?sas into https://host/container?sas and "a/b/".
func splitBlob(raw string) (container, prefix string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", errors.New("not a URL")
	}
	c, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if c == "" {
		return "", "", errors.New("the URL names no container")
	}
	if rest != "" && !strings.HasSuffix(rest, "/") {
		rest += "/"
	}
	u.Path, u.RawPath = "/"+c, ""
	return u.String(), rest, nil
}

// below is the URL of a blob below a container or prefix, with its query.
func below(raw, name string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("not a URL")
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+name, ""
	return u.String(), nil
}

// withQuery adds pairs to the query; an empty value is left out. What is there (a SAS) stays as it is
// written.
func withQuery(raw string, kv ...string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("not a URL")
	}
	q := []string{}
	if u.RawQuery != "" {
		q = append(q, u.RawQuery)
	}
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			q = append(q, url.QueryEscape(kv[i])+"="+url.QueryEscape(kv[i+1]))
		}
	}
	u.RawQuery = strings.Join(q, "&")
	return u.String(), nil
}
