package blob

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/internal/storagehttp"
)

// Limits of blob index tags ("Set Blob Tags").
const (
	maxTags        = 10
	maxTagKey      = 128
	maxTagValue    = 256
	maxTagsBody    = 16 << 10
	tagPunctuation = " +-.:=_/"
)

// sentTags reads x-ms-tags, which is encoded as a query; nil without the header.
func (q *request) sentTags() (map[string]string, error) {
	header := q.R.Header.Get("X-Ms-Tags")
	if header == "" {
		return nil, nil
	}
	tags := map[string]string{}
	for pair := range strings.SplitSeq(header, "&") {
		name, value, ok := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if _, twice := tags[name]; !ok || twice || errName != nil || errValue != nil {
			return nil, errTags("x-ms-tags is written key=value&key=value, each key once")
		}
		tags[name] = value
	}
	return tags, checkTags(tags)
}

func errTags(why string) *Error {
	return newError(http.StatusBadRequest, "InvalidTag", "The tags specified are invalid. It contains characters that are not permitted.").Because("%s", why)
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return errTags("a blob has at most 10 tags")
	}
	for name, value := range tags {
		switch {
		case name == "" || len(name) > maxTagKey:
			return errTags("a tag's key has 1 to 128 characters")
		case len(value) > maxTagValue:
			return errTags("a tag's value has at most 256 characters")
		case !tagText(name + value):
			return errTags("keys and values have letters, digits, space and + - . / : = _")
		}
	}
	return nil
}

// tagText reports whether all characters may stand in keys and values of tags.
func tagText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(tagPunctuation, r))
	})
}

// tagsXML is the body of Get and Set Blob Tags.
type tagsXML struct {
	XMLName xml.Name `xml:"Tags"`
	TagSet  []struct {
		Key   string
		Value string
	} `xml:"TagSet>Tag"`
}

// parseTags reads the body of Set Blob Tags.
func parseTags(r io.Reader) (map[string]string, error) {
	d := xml.NewDecoder(r)
	d.Entity = nil
	var body tagsXML
	if err := d.Decode(&body); err != nil {
		return nil, errInvalidXML(err)
	}
	tags := map[string]string{}
	for _, t := range body.TagSet {
		if _, twice := tags[t.Key]; twice {
			return nil, errTags("the key '" + t.Key + "' is there twice")
		}
		tags[t.Key] = t.Value
	}
	return tags, checkTags(tags)
}

func (q *request) getBlobTags() error {
	doc, err := q.readable()
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	encodeTags(x, doc.Tags)
	return q.SendXML(x)
}

// setBlobTags replaces a blob's tags; it changes neither ETag nor Last-Modified.
func (q *request) setBlobTags() error {
	u, err := q.body(maxTagsBody, false, false)
	if err != nil {
		return err
	}
	tags, err := parseTags(u)
	if err != nil {
		return err
	}
	if err := drain(u); err != nil {
		return err
	}
	if err := u.check(); err != nil {
		return err
	}
	at, err := q.target()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	_, err = q.s.updateAt(q.Ctx, q.Account.Name, q.container, at, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		doc := *t.old
		doc.Tags = tags
		return t.put(&doc, payload{})
	})
	if err != nil {
		return err
	}
	return q.Send(http.StatusNoContent)
}
