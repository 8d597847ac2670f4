package storagehttp

import (
	"bytes"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const xmlHeader = "\ufeff" + `<?xml version="1.0" encoding="utf-8"?>`

// XML writes Azure's XML documents: elements without attributes but for a few.
type XML struct{ bytes.Buffer }

// NewXML begins a document.
func NewXML() *XML {
	x := new(XML)
	x.WriteString(xmlHeader)
	return x
}

// Text writes <name>value</name>, escaped; what XML cannot carry becomes U+FFFD.
func (x *XML) Text(name, value string) {
	if value == "" {
		x.WriteString("<" + name + " />")
		return
	}
	x.WriteString("<" + name + ">")
	_ = xml.EscapeText(x, []byte(value)) // a Buffer does not fail
	x.WriteString("</" + name + ">")
}

// Option writes an element only when it has a value.
func (x *XML) Option(name, value string) {
	if value != "" {
		x.Text(name, value)
	}
}

// Attribute writes an attribute of the element whose start tag is open.
func (x *XML) Attribute(name, value string) {
	x.WriteString(" " + name + `="`)
	_ = xml.EscapeText(x, []byte(value)) // a Buffer does not fail
	x.WriteString(`"`)
}

// Name writes a blob's name; one that XML cannot carry is percent-encoded and says so, since version 2021-02-12.
func (x *XML) Name(name string) {
	if strings.ContainsFunc(name, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError
	}) {
		x.WriteString(`<Name Encoded="true">` + url.PathEscape(name) + "</Name>")
		return
	}
	x.Text("Name", name)
}

// Metadata writes the element of what metadata a resource has.
func (x *XML) Metadata(m map[string]string) {
	if len(m) == 0 {
		x.WriteString("<Metadata />")
		return
	}
	x.WriteString("<Metadata>")
	for _, k := range slices.Sorted(maps.Keys(m)) {
		x.Text(k, m[k])
	}
	x.WriteString("</Metadata>")
}

// ErrorXML is the body of an error. Azure's message comes first, then our reason on a line of its own.
func ErrorXML(e *Error, id string, now time.Time) []byte {
	x := NewXML()
	x.WriteString("<Error>")
	x.Text("Code", e.Code)
	x.Text("Message", e.Text(id, now))
	x.Option("AuthenticationErrorDetail", e.Detail)
	for _, m := range e.More {
		x.Text(m[0], m[1])
	}
	x.WriteString("</Error>")
	return x.Bytes()
}

// Text is the message of an error's body: with our reason, the request's id and the time.
func (e *Error) Text(id string, now time.Time) string {
	message := e.Message
	if e.Vauban != "" {
		message += "\nVauban: " + e.Vauban
	}
	return message + "\nRequestId:" + id + "\nTime:" + now.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// SendXML answers 200 with a document.
func (q *Request) SendXML(x *XML) error { return q.SendXMLStatus(http.StatusOK, x) }

// SendXMLStatus answers with a document.
func (q *Request) SendXMLStatus(status int, x *XML) error {
	return q.SendBody(status, "application/xml", x.Bytes())
}

// SendBody answers with a body that is at hand.
func (q *Request) SendBody(status int, contentType string, body []byte) error {
	h := q.W.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.W.WriteHeader(status)
	if q.R.Method == http.MethodHead {
		return nil
	}
	_, err := q.W.Write(body)
	return q.Gone(err)
}

// Gone logs that the answer could not be delivered; nothing more can be said to the client.
func (q *Request) Gone(err error) error {
	if err != nil && q.Ctx.Err() == nil {
		q.Front.Log.Debug(q.Front.Service+": answer not delivered", "request", q.ID, "err", err)
	}
	return nil
}

// Send answers a status without a body.
func (q *Request) Send(status int) error {
	q.W.Header().Set("Content-Length", "0")
	q.W.WriteHeader(status)
	return nil
}

// HTTPTime is a time as headers have it.
func HTTPTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// SetStamp sets the two headers that say which state of a resource was answered or made.
func (q *Request) SetStamp(etag string, modified time.Time) {
	q.W.Header().Set("ETag", etag)
	q.W.Header().Set("Last-Modified", HTTPTime(modified))
}

// SetMetadata sets the x-ms-meta- headers, in lower case as clients compare them so.
func (q *Request) SetMetadata(m map[string]string) {
	for k, v := range m {
		q.W.Header()["x-ms-meta-"+k] = []string{v}
	}
}

// Int64Header reads a number; -1 when the header is not there.
func (q *Request) Int64Header(name string) (int64, error) {
	v := q.R.Header.Get(name)
	if v == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, InvalidHeader(strings.ToLower(name), v)
	}
	return n, nil
}

const maxMetadata = 8 << 10

// Metadata reads the x-ms-meta- headers. Their names arrive without their case: they are kept in lower case.
func (q *Request) Metadata() (map[string]string, error) {
	var m map[string]string
	size := 0
	for name, values := range q.R.Header {
		k, ok := strings.CutPrefix(strings.ToLower(name), "x-ms-meta-")
		if !ok {
			continue
		}
		v := strings.Join(values, ",")
		if size += len(k) + len(v); size > maxMetadata {
			return nil, NewError(http.StatusBadRequest, "MetadataTooLarge", "The size of the specified metadata exceeds the maximum size permitted.")
		}
		if !isIdentifier(k) {
			return nil, NewError(http.StatusBadRequest, "InvalidMetadata", "The specified metadata is invalid. It includes characters that are not permitted.").Because("name '%s'", k)
		}
		if m == nil {
			m = map[string]string{}
		}
		m[k] = v
	}
	return m, nil
}

// isIdentifier: metadata names are C# identifiers; headers leave only ASCII of them.
func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// DecodeXML reads a short document.
func DecodeXML(r io.Reader, v any) error {
	if err := xml.NewDecoder(io.LimitReader(r, 64<<10)).Decode(v); err != nil {
		return InvalidXML(err)
	}
	return nil
}
