package door

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"vauban.dev/arm"
	"vauban.dev/origin"
)

// maxPath is the longest path that is looked at.
const maxPath = 4096

// normalise makes one spelling of each request: path segments unescaped, double and trailing slashes gone,
// query parsed. What could be read in two ways is refused: a later stage must decide on the resource that
// the provider acts on. Open paths end here.
func (d *Door) normalise(c *call) error {
	r := c.r
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete:
	default:
		return arm.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", clean(r.Method))
	}
	path, err := cleanPath(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	query, err := cleanQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	c.req.Method, c.req.Path, c.req.Query, c.req.Header = r.Method, path, query, r.Header
	c.req.Base, c.req.ClientAddress = base(r), address(r)
	if h := d.cfg.Open[strings.ToLower(path)]; h != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		h.ServeHTTP(c.w, r)
		c.done = true
	}
	return nil
}

func badURI(why string) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "InvalidRequestUri", "The request URI is not valid: %s.", why)
}

// cleanPath unescapes the path segment by segment.
func cleanPath(escaped string) (string, error) {
	if len(escaped) > maxPath {
		return "", badURI("it is longer than 4096 characters")
	}
	var b strings.Builder
	for segment := range strings.SplitSeq(escaped, "/") {
		if segment == "" {
			continue
		}
		s, err := url.PathUnescape(segment)
		switch {
		case err != nil:
			return "", badURI("it has a bad escape")
		case s == "." || s == "..":
			return "", badURI("it has a relative segment")
		case strings.ContainsAny(s, `/\`):
			return "", badURI("it has an escaped slash")
		case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return "", badURI("it has a control character or is not UTF-8")
		}
		b.WriteByte('/')
		b.WriteString(s)
	}
	if b.Len() == 0 {
		return "/", nil
	}
	return b.String(), nil
}

// cleanQuery parses the query and gives api-version its one spelling; two api-versions are refused.
func cleanQuery(raw string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badURI("its query does not parse")
	}
	var versions []string
	for name, values := range q {
		if strings.EqualFold(name, "api-version") {
			versions = append(versions, values...)
			delete(q, name)
		}
	}
	for _, v := range versions {
		if v != versions[0] {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidApiVersionParameter", "The request has several api-versions: '%s'.", strings.Join(versions, "', '"))
		}
	}
	if len(versions) > 0 {
		q.Set("api-version", versions[0])
	}
	return q, nil
}

func base(r *http.Request) string {
	if r.TLS == nil {
		return "http://" + r.Host
	}
	return "https://" + r.Host
}

func address(r *http.Request) string {
	if o := origin.FromContext(r.Context()); o.Source.IsValid() {
		return o.Source.String()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// clean shortens a client's text for a message.
func clean(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
