package blob

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"vauban.dev/store"
)

// maxPage is the longest page of a listing, as in Azure.
const maxPage = 5000

// ListOptions choose blobs. MaxResults 0 is 5,000, the most.
type ListOptions struct {
	Prefix     string
	Delimiter  string // names that have it after Prefix are rolled up into Prefixes
	Marker     string // Next of the page before
	After      string // or the name after which to begin
	MaxResults int
}

// Page is one page of a listing, each list in the order of names. Next is "" on the last page.
type Page struct {
	Blobs    []Blob
	Prefixes []string
	Next     string
}

// List returns the blobs of a container; ContainerNotFound.
func (s *Service) List(ctx context.Context, account, container string, o ListOptions) (Page, error) {
	c, err := s.container(ctx, account, container)
	if err != nil {
		return Page{}, err
	}
	after, err := decodeMarker(o.Marker)
	after = max(after, o.After)
	if err != nil {
		return Page{}, err
	}
	if o.MaxResults <= 0 || o.MaxResults > maxPage {
		o.MaxResults = maxPage
	}
	l := lister{o: o, root: blobKey(account, c.UID, ""), after: after}
	err = s.store.View(ctx, func(tx store.Tx) error {
		for more := true; more; {
			if more, err = l.run(tx); err != nil {
				return err
			}
		}
		return nil
	})
	return l.page, err
}

type lister struct {
	o     ListOptions
	root  string // what every key starts with
	after string // the name to go on after
	page  Page
}

// run scans until the page is full, the container ends, or a common prefix is found, which is skipped as a
// whole: then more is true.
func (l *lister) run(tx store.Tx) (more bool, err error) {
	var bad error
	start := ""
	if l.after != "" {
		start = l.root + l.after
	}
	err = tx.Scan(kindBlob, l.root+l.o.Prefix, start, func(d store.Doc) bool {
		name := d.Key[len(l.root):]
		dir, isDir := l.commonPrefix(name)
		if len(l.page.Blobs)+len(l.page.Prefixes) == l.o.MaxResults {
			l.page.Next = encodeMarker(l.after)
			return false
		}
		if isDir {
			l.page.Prefixes = append(l.page.Prefixes, dir)
			l.after, more = dir+"\xff", true // no name in UTF-8 has this byte
			return false
		}
		doc := new(blobDoc)
		if bad = decode(d.Value, doc); bad != nil {
			return false
		}
		l.page.Blobs = append(l.page.Blobs, doc.public(name))
		l.after = name
		return true
	})
	return more && l.page.Next == "", errors.Join(err, bad)
}

func (l *lister) commonPrefix(name string) (string, bool) {
	if l.o.Delimiter == "" {
		return "", false
	}
	rest := name[len(l.o.Prefix):]
	i := strings.Index(rest, l.o.Delimiter)
	if i < 0 {
		return "", false
	}
	return name[:len(l.o.Prefix)+i+len(l.o.Delimiter)], true
}

func encodeMarker(after string) string {
	return "1!" + base64.RawURLEncoding.EncodeToString([]byte(after))
}

func decodeMarker(m string) (string, error) {
	if m == "" {
		return "", nil
	}
	rest, ok := strings.CutPrefix(m, "1!")
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if !ok || err != nil {
		return "", errInvalidQuery("marker", m)
	}
	return string(b), nil
}
