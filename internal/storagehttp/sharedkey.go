package storagehttp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxSkew is how far a Shared Key request's date may be from the clock.
const MaxSkew = 15 * time.Minute

// sharedKey verifies an Authorization header of scheme SharedKey or SharedKeyLite ("Authorize with Shared Key").
func (q *Request) sharedKey(scheme, value string, table bool) (Caller, error) {
	if !q.Account.AllowSharedKeyAccess {
		return Caller{}, KeyNotPermitted()
	}
	name, sig, ok := strings.Cut(value, ":")
	given, err := base64.StdEncoding.DecodeString(strings.TrimSpace(sig))
	if !ok || err != nil {
		return Caller{}, invalidAuthentication()
	}
	if name != q.Account.Name {
		return Caller{}, AuthenticationFailed("The account named in the Authorization header is not %s.", q.Account.Name)
	}
	if err := q.checkDate(); err != nil {
		return Caller{}, err
	}
	sign := StringToSign
	switch {
	case table && scheme == "SharedKeyLite":
		sign = tableStringToSignLite
	case table:
		sign = TableStringToSign
	case scheme == "SharedKeyLite":
		sign = StringToSignLite
	}
	text := sign(q.R, q.Account.Name, strings.Compare)
	if q.signed(text, given) {
		return Caller{Kind: ByKey}, nil
	}
	// Some clients sort the x-ms headers as the service does, by a culture's rules, others byte by byte.
	if q.signed(sign(q.R, q.Account.Name, compareCulture), given) {
		return Caller{Kind: ByKey}, nil
	}
	return Caller{}, AuthenticationFailed("The MAC signature found in the HTTP request '%s' is not the same as any computed signature. Server used following string to sign: '%s'.", sig, text)
}

// KeyNotPermitted refuses what the account's key signed.
func KeyNotPermitted() *Error {
	return NewError(http.StatusForbidden, "KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted on this storage account.").
		Because("allowSharedKeyAccess is false: use a token of Microsoft Entra")
}

// signed reports whether one of the account's keys made the signature of text.
func (q *Request) signed(text string, sig []byte) bool {
	found := false
	for _, key := range q.Account.Keys {
		if len(key) > 0 && hmac.Equal(MAC(key, text), sig) {
			found = true
		}
	}
	return found
}

// MAC is the signature of text.
func MAC(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// checkDate refuses requests signed too long ago. Clients know the wall clock only: how far the user moved
// the region's clock does not count.
func (q *Request) checkDate() error {
	v := q.R.Header.Get("X-Ms-Date")
	if v == "" {
		v = q.R.Header.Get("Date")
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return AuthenticationFailed("The Date header '%s' in the request is incorrect.", v)
	}
	now := q.Front.Clock.Now()
	if c, ok := q.Front.Clock.(interface{ Offset() time.Duration }); ok {
		now = now.Add(-c.Offset())
	}
	if d := now.Sub(t); d > MaxSkew || d < -MaxSkew {
		return AuthenticationFailed("Request date header too old: '%s'", v)
	}
	return nil
}

// StringToSign of Shared Key for Blob, Queue and File services, version 2015-02-21 and later.
func StringToSign(r *http.Request, account string, order func(a, b string) int) string {
	length := ""
	if r.ContentLength > 0 {
		length = strconv.FormatInt(r.ContentLength, 10)
	}
	date := r.Header.Get("Date")
	if r.Header.Get("X-Ms-Date") != "" {
		date = ""
	}
	h := r.Header.Get
	lines := []string{
		r.Method, h("Content-Encoding"), h("Content-Language"), length, h("Content-MD5"), h("Content-Type"), date,
		h("If-Modified-Since"), h("If-Match"), h("If-None-Match"), h("If-Unmodified-Since"), h("Range"),
	}
	return strings.Join(lines, "\n") + "\n" + canonicalHeaders(r.Header, order) + canonicalResource(r, account)
}

// StringToSignLite of Shared Key Lite for Blob, Queue and File services.
func StringToSignLite(r *http.Request, account string, order func(a, b string) int) string {
	date := r.Header.Get("Date")
	if r.Header.Get("X-Ms-Date") != "" {
		date = ""
	}
	resource := "/" + account + rawPath(r)
	if comp := r.URL.Query().Get("comp"); comp != "" {
		resource += "?comp=" + comp
	}
	return strings.Join([]string{r.Method, r.Header.Get("Content-MD5"), r.Header.Get("Content-Type"), date}, "\n") + "\n" +
		canonicalHeaders(r.Header, order) + resource
}

// TableStringToSign of Shared Key for the Table service: no x-ms headers, and of the query only comp.
func TableStringToSign(r *http.Request, account string, _ func(a, b string) int) string {
	h := r.Header.Get
	return strings.Join([]string{r.Method, h("Content-MD5"), h("Content-Type"), tableDate(r), tableResource(r, account)}, "\n")
}

// tableStringToSignLite of Shared Key Lite for the Table service.
func tableStringToSignLite(r *http.Request, account string, _ func(a, b string) int) string {
	return tableDate(r) + "\n" + tableResource(r, account)
}

// tableDate is x-ms-date, which is signed in the place of Date.
func tableDate(r *http.Request) string {
	if v := r.Header.Get("X-Ms-Date"); v != "" {
		return v
	}
	return r.Header.Get("Date")
}

func tableResource(r *http.Request, account string) string {
	resource := "/" + account + rawPath(r)
	if comp := ParseQuery(r.URL.RawQuery).Get("comp"); comp != "" {
		resource += "?comp=" + comp
	}
	return resource
}

func canonicalHeaders(h http.Header, order func(a, b string) int) string {
	var names []string
	for name := range h {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			names = append(names, lower)
		}
	}
	slices.SortFunc(names, order)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name)
		b.WriteByte(':')
		for i, v := range h[http.CanonicalHeaderKey(name)] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.TrimSpace(v))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// canonicalResource is the account, the path as it was sent, and the decoded query, a line a name.
func canonicalResource(r *http.Request, account string) string {
	var b strings.Builder
	b.WriteString("/" + account + rawPath(r))
	query := map[string][]string{}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = strings.ToLower(unescape(name)), unescape(value)
		query[name] = append(query[name], value)
	}
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(query[name])
		b.WriteString("\n" + name + ":" + strings.Join(query[name], ","))
	}
	return b.String()
}

// unescape decodes percent signs and leaves "+" alone, as clients sign it.
func unescape(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}

// rawPath is the path as it stood in the request line.
func rawPath(r *http.Request) string {
	if uri := r.RequestURI; strings.HasPrefix(uri, "/") {
		path, _, _ := strings.Cut(uri, "?")
		return path
	}
	if p := r.URL.EscapedPath(); p != "" {
		return p
	}
	return "/"
}

// cultureOrder are the characters of header names in the order in which the service's culture sorts them;
// "-" counts only when nothing else differs.
const cultureOrder = "!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz"

func compareCulture(a, b string) int {
	strip := strings.NewReplacer("-", "", "'", "")
	x, y := strip.Replace(a), strip.Replace(b)
	for i := 0; i < len(x) && i < len(y); i++ {
		if d := strings.IndexByte(cultureOrder, x[i]) - strings.IndexByte(cultureOrder, y[i]); d != 0 {
			return d
		}
	}
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	return strings.Compare(b, a) // the later the "-", the smaller the name
}
