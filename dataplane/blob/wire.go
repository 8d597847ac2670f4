package blob

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
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
			WithHeader("Content-Range", fmt.Sprintf("bytes */%d", size))
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
					return nil, newError(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid.").Because("block id '%s'", id)
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

// decodeBase64 reads a hash of n bytes from a header; nil when the header is not there.
func (q *request) decodeHash(name string, n int, code string) ([]byte, error) {
	v := q.R.Header.Get(name)
	if v == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) != n {
		return nil, newError(http.StatusBadRequest, code, "The value specified in the request header is not a valid hash.").Because("header %s: '%s'", name, v)
	}
	return b, nil
}
