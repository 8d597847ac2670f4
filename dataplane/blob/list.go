package blob

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

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

	snapshots, versions, deleted, uncommitted bool   // what else to include
	only                                      string // showonly: "deleted", "files", "directories"
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
	if err != nil {
		return Page{}, err
	}
	if o.MaxResults <= 0 || o.MaxResults > maxPage {
		o.MaxResults = maxPage
	}
	l := lister{o: o, root: blobKey(account, c.UID, ""), after: max(after, o.After), now: s.clock.Now()}
	err = s.store.View(ctx, func(tx store.Tx) error {
		if o.uncommitted {
			if err := l.loadUncommitted(tx); err != nil {
				return err
			}
		}
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
	after string // the name, and for what is of its history the rest of the key, to go on after
	now   time.Time
	page  Page
	fresh []Blob // blobs that have uncommitted blocks only, in order
}

// past reports whether documents of kindHistory are listed.
func (o *ListOptions) past() bool { return o.snapshots || o.versions || o.deleted }

// entry is one thing to list. Its key orders it: what is of a blob's history comes before the blob.
type entry struct {
	key string // without the root
	doc *blobDoc
}

// run collects until the page is full, the container ends, or a common prefix is found, which is skipped as a
// whole: then more is true.
func (l *lister) run(tx store.Tx) (more bool, err error) {
	next := l.merged(tx)
	for {
		e, ok, err := next()
		if err != nil || !ok {
			return false, err
		}
		name, _, _ := strings.Cut(e.key, "\x00")
		dir, isDir := l.commonPrefix(name)
		if isDir && l.o.only == "files" || !isDir && l.o.only == "directories" {
			if isDir {
				l.after = dir + "\xff"
				return true, nil
			}
			continue
		}
		if len(l.page.Blobs)+len(l.page.Prefixes) == l.o.MaxResults {
			l.page.Next = encodeMarker(l.after)
			return false, nil
		}
		if isDir {
			l.page.Prefixes = append(l.page.Prefixes, dir)
			l.after = dir + "\xff" // no name in UTF-8 has this byte
			return true, nil
		}
		b := e.doc.public(name)
		b.Current = e.key == sortKey(name)
		l.page.Blobs = append(l.page.Blobs, b)
		l.after = strings.TrimSuffix(e.key, currentMark)
	}
}

// currentMark sorts the blob after its history, whose letters are smaller.
const currentMark = "\x00~"

func sortKey(name string) string { return name + currentMark }

// merged goes through blobs, what is listed of their histories, and blobs that have uncommitted blocks only, in one order.
func (l *lister) merged(tx store.Tx) func() (entry, bool, error) {
	name, rest, inHistory := strings.Cut(l.after, "\x00")
	start, startPast := "", ""
	if l.after != "" {
		start = l.root + name
		startPast = start + "\x00\xff" // past all of the name's history
		if inHistory {
			startPast = start + "\x00" + rest
		}
	}
	size := 512
	if l.o.Delimiter != "" { // the next common prefix may end it
		size = 2
	}
	blobs := &pager{tx: tx, kind: kindBlob, root: l.root, prefix: l.o.Prefix, after: start, key: sortKey, size: size}
	if inHistory { // the blob itself is still to come
		blobs.include = name
	}
	pasts := &pager{tx: tx, kind: kindHistory, root: l.root, prefix: l.o.Prefix, after: startPast, key: func(key string) string { return key }, size: size}
	fresh := l.fresh
	for len(fresh) > 0 && l.after != "" && fresh[0].Name <= name {
		fresh = fresh[1:]
	}
	return func() (e entry, ok bool, err error) {
		for {
			a, okA, err := blobs.peek()
			if err != nil {
				return e, false, err
			}
			var b entry
			okB := false
			if l.o.past() {
				if b, okB, err = pasts.peek(); err != nil {
					return e, false, err
				}
			}
			if len(fresh) > 0 && (!okA || sortKey(fresh[0].Name) < a.key) && (!okB || sortKey(fresh[0].Name) < b.key) {
				e = entry{sortKey(fresh[0].Name), fresh[0].doc}
				fresh = fresh[1:]
				return e, true, nil
			}
			switch {
			case !okA && !okB:
				return e, false, nil
			case !okB || okA && a.key < b.key:
				blobs.pop()
				if l.o.only == "deleted" {
					continue
				}
				return a, true, nil
			}
			pasts.pop()
			if l.lists(b.doc) {
				return b, true, nil
			}
		}
	}
}

// lists reports whether a document of the history is asked for.
func (l *lister) lists(d *blobDoc) bool {
	switch {
	case d.over(l.now):
		return false
	case d.Deleted != 0:
		return l.o.deleted
	case l.o.only == "deleted":
		return false
	case d.Snapshot != "":
		return l.o.snapshots
	}
	return l.o.versions
}

// pager reads documents in batches, so that others can be read between.
type pager struct {
	tx            store.Tx
	kind          string
	root, prefix  string
	after         string
	include       string // a name that is read too although it is not after
	key           func(string) string
	batch         []entry
	size          int
	done, started bool
}

func (p *pager) peek() (entry, bool, error) {
	if len(p.batch) == 0 && !p.done {
		if err := p.fill(); err != nil {
			return entry{}, false, err
		}
	}
	if len(p.batch) == 0 {
		return entry{}, false, nil
	}
	return p.batch[0], true, nil
}

func (p *pager) pop() { p.batch = p.batch[1:] }

func (p *pager) fill() error {
	if !p.started && p.include != "" {
		doc, err := getBlob(p.tx, p.root+p.include)
		if err == nil {
			p.batch = append(p.batch, entry{p.key(p.include), doc})
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	p.started = true
	var bad error
	n := 0
	err := p.tx.Scan(p.kind, p.root+p.prefix, p.after, func(d store.Doc) bool {
		if n == p.size {
			return false
		}
		n++
		doc := new(blobDoc)
		if bad = decode(d.Value, doc); bad != nil {
			return false
		}
		p.batch = append(p.batch, entry{p.key(d.Key[len(p.root):]), doc})
		p.after = d.Key
		return true
	})
	p.done = n < p.size
	p.size = min(p.size*4, 1024)
	return errors.Join(err, bad)
}

// loadUncommitted finds the blobs that have uncommitted blocks only.
func (l *lister) loadUncommitted(tx store.Tx) error {
	names := map[string]bool{}
	var bad error
	err := tx.Scan(kindStaged, l.root, "", func(d store.Doc) bool {
		var doc stagedDoc
		bad = decode(d.Value, &doc)
		if doc.Name != "" && strings.HasPrefix(doc.Name, l.o.Prefix) {
			names[doc.Name] = true
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	for name := range names {
		_, err := tx.Get(kindBlob, l.root+name)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		doc := &blobDoc{Type: BlockBlob}
		l.fresh = append(l.fresh, doc.public(name))
	}
	slices.SortFunc(l.fresh, func(a, b Blob) int { return strings.Compare(a.Name, b.Name) })
	return nil
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
