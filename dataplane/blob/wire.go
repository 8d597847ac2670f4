package blob

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const xmlHeader = "\ufeff" + `<?xml version="1.0" encoding="utf-8"?>`

// xmlWriter writes Azure's XML documents: elements without attributes but for a few.
type xmlWriter struct{ bytes.Buffer }

func newXML() *xmlWriter {
	x := new(xmlWriter)
	x.WriteString(xmlHeader)
	return x
}

// text writes <name>value</name>, escaped; what XML cannot carry becomes U+FFFD.
func (x *xmlWriter) text(name, value string) {
	if value == "" {
		x.WriteString("<" + name + " />")
		return
	}
	x.WriteString("<" + name + ">")
	_ = xml.EscapeText(x, []byte(value)) // a Buffer does not fail
	x.WriteString("</" + name + ">")
}

// option writes an element only when it has a value.
func (x *xmlWriter) option(name, value string) {
	if value != "" {
		x.text(name, value)
	}
}

// name writes a blob's name; one that XML cannot carry is percent-encoded and says so, since version 2021-02-12.
func (x *xmlWriter) name(name string) {
	if strings.ContainsFunc(name, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError
	}) {
		x.WriteString(`<Name Encoded="true">` + url.PathEscape(name) + "</Name>")
		return
	}
	x.text("Name", name)
}

func (x *xmlWriter) metadata(m map[string]string) {
	if len(m) == 0 {
		x.WriteString("<Metadata />")
		return
	}
	x.WriteString("<Metadata>")
	for _, k := range sortedKeys(m) {
		x.text(k, m[k])
	}
	x.WriteString("</Metadata>")
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// errorXML is the body of an error. Azure's message comes first, then our reason on a line of its own.
func errorXML(e *Error, id string, now time.Time) []byte {
	x := newXML()
	message := e.Message
	if e.Vauban != "" {
		message += "\nVauban: " + e.Vauban
	}
	x.WriteString("<Error>")
	x.text("Code", e.Code)
	x.text("Message", message+"\nRequestId:"+id+"\nTime:"+now.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	x.option("AuthenticationErrorDetail", e.Detail)
	x.WriteString("</Error>")
	return x.Bytes()
}

// sendXML answers 200 with a document.
func (q *request) sendXML(x *xmlWriter) error {
	h := q.w.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(x.Len()))
	q.w.WriteHeader(http.StatusOK)
	if q.r.Method == http.MethodHead {
		return nil
	}
	_, err := q.w.Write(x.Bytes())
	return q.gone(err)
}

// gone logs that the answer could not be delivered; nothing more can be said to the client.
func (q *request) gone(err error) error {
	if err != nil && q.ctx.Err() == nil {
		q.s.log.Debug("blob: answer not delivered", "request", q.id, "err", err)
	}
	return nil
}

// send answers a status without a body.
func (q *request) send(status int) error {
	q.w.Header().Set("Content-Length", "0")
	q.w.WriteHeader(status)
	return nil
}

func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// setStamp sets the two headers that say which state of a resource was answered or made.
func (q *request) setStamp(etag string, modified time.Time) {
	q.w.Header().Set("ETag", etag)
	q.w.Header().Set("Last-Modified", httpTime(modified))
}

// setMetadata sets the x-ms-meta- headers, in lower case as clients compare them so.
func (q *request) setMetadata(m map[string]string) {
	for k, v := range m {
		q.w.Header()["x-ms-meta-"+k] = []string{v}
	}
}

const maxMetadata = 8 << 10

// metadata reads the x-ms-meta- headers. Their names arrive without their case: they are kept in lower case.
func (q *request) metadata() (map[string]string, error) {
	var m map[string]string
	size := 0
	for name, values := range q.r.Header {
		k, ok := strings.CutPrefix(strings.ToLower(name), "x-ms-meta-")
		if !ok {
			continue
		}
		v := strings.Join(values, ",")
		if size += len(k) + len(v); size > maxMetadata {
			return nil, newError(http.StatusBadRequest, "MetadataTooLarge", "The size of the specified metadata exceeds the maximum size permitted.")
		}
		if !isIdentifier(k) {
			return nil, newError(http.StatusBadRequest, "InvalidMetadata", "The specified metadata is invalid. It includes characters that are not permitted.").because("name '%s'", k)
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

// byteRange is a range of a blob; End is inclusive, -1 for "to the end".
type byteRange struct{ Start, End int64 }

// parseRange reads "bytes=a-b" and "bytes=a-", the forms that Azure serves; ok is false for anything else,
// which is as no range at all.
func parseRange(v string) (r byteRange, ok bool) {
	spec, ok := strings.CutPrefix(strings.TrimSpace(v), "bytes=")
	if !ok {
		return r, false
	}
	from, to, ok := strings.Cut(spec, "-")
	if !ok {
		return r, false
	}
	start, err := strconv.ParseUint(strings.TrimSpace(from), 10, 62)
	if err != nil {
		return r, false
	}
	r = byteRange{int64(start), -1}
	if to = strings.TrimSpace(to); to != "" {
		end, err := strconv.ParseUint(to, 10, 62)
		if err != nil || end < start {
			return r, false
		}
		r.End = int64(end)
	}
	return r, true
}

// clip cuts the range to a blob of size bytes; InvalidRange when nothing is left.
func (r byteRange) clip(size int64) (byteRange, error) {
	if r.Start >= size {
		return r, newError(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range specified is invalid for the current size of the resource.").
			header("Content-Range", fmt.Sprintf("bytes */%d", size))
	}
	if r.End < 0 || r.End >= size {
		r.End = size - 1
	}
	return r, nil
}

// maxBlockListBody is the longest body of Put Block List: 50,000 ids of 64 bytes in base64, with their tags.
const maxBlockListBody = 50_000 * 160

// parseBlockList reads the body of Put Block List.
func parseBlockList(r io.Reader) ([]BlockRef, error) {
	d := xml.NewDecoder(r)
	d.Entity = nil
	var list []BlockRef
	var from, id string
	depth := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			if depth != 0 || list == nil {
				return nil, errInvalidXML(io.ErrUnexpectedEOF)
			}
			return list, nil
		}
		if err != nil {
			return nil, errInvalidXML(err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			depth++
			switch name := t.Name.Local; {
			case depth == 1 && name == "BlockList":
				list = []BlockRef{}
			case depth == 2 && (name == "Latest" || name == "Committed" || name == "Uncommitted"):
				from, id = strings.ToLower(name), ""
			default:
				return nil, errInvalidXML(fmt.Errorf("element %s", name))
			}
		case xml.CharData:
			if depth == 2 {
				id += string(t)
			}
		case xml.EndElement:
			if depth == 2 {
				id = strings.TrimSpace(id)
				if err := checkBlockID(id); err != nil {
					return nil, newError(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid.").because("block id '%s'", id)
				}
				if len(list) > maxBlocks {
					return nil, newError(http.StatusBadRequest, "BlockListTooLong", "The block list may not contain more than 50,000 blocks.")
				}
				list = append(list, BlockRef{From: from, ID: id})
			}
			depth--
		}
	}
}

// keyInfo is the body of Get User Delegation Key.
type keyInfo struct {
	XMLName xml.Name `xml:"KeyInfo"`
	Start   string   `xml:"Start"`
	Expiry  string   `xml:"Expiry"`
}

// decodeXML reads a short document.
func decodeXML(r io.Reader, v any) error {
	if err := xml.NewDecoder(io.LimitReader(r, 64<<10)).Decode(v); err != nil {
		return errInvalidXML(err)
	}
	return nil
}

// decodeBase64 reads a hash of n bytes from a header; nil when the header is not there.
func (q *request) decodeHash(name string, n int, code string) ([]byte, error) {
	v := q.r.Header.Get(name)
	if v == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) != n {
		return nil, newError(http.StatusBadRequest, code, "The value specified in the request header is not a valid hash.").because("header %s: '%s'", name, v)
	}
	return b, nil
}
