package file

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// entryDoc is a directory or a file. Its number is its name in the keys of what is in it: renaming moves one document.
type entryDoc struct {
	ID         uint64             `json:"id,omitempty"` // 0: the root directory
	Name       string             `json:"n,omitempty"`  // as it was written; names have no case
	Dir        bool               `json:"d,omitempty"`
	Size       int64              `json:"s,omitempty"`
	Attributes string             `json:"a"` // "ReadOnly|Archive"
	Permission string             `json:"p"` // the key of its security descriptor
	Created    time.Time          `json:"c"`
	Written    time.Time          `json:"w"`
	Changed    time.Time          `json:"ch"`
	Modified   time.Time          `json:"m"` // of ETag and Last-Modified
	Headers    headers            `json:"h,omitzero"`
	Metadata   map[string]string  `json:"md,omitempty"`
	Lease      *storagehttp.Lease `json:"l,omitempty"`
	Copy       *copied            `json:"cp,omitempty"`
}

// headers are the HTTP properties of a file.
type headers struct {
	ContentType        string `json:"t,omitempty"`
	ContentEncoding    string `json:"e,omitempty"`
	ContentLanguage    string `json:"l,omitempty"`
	ContentDisposition string `json:"d,omitempty"`
	CacheControl       string `json:"c,omitempty"`
	ContentMD5         string `json:"m,omitempty"` // base64
}

// copied is the last copy into a file, which was done when it was answered.
type copied struct {
	ID     string    `json:"id"`
	Source string    `json:"s"` // without its query
	At     time.Time `json:"at"`
	Size   int64     `json:"n"`
}

const (
	maxComponent = 255
	maxPath      = 2048
	maxDepth     = 250
)

// parsePath splits a path into its names, as "Naming and referencing shares, directories, files, and metadata" allows them.
// dots keeps the dots at their ends (x-ms-allow-trailing-dot).
func parsePath(path string, dots bool) (names []string, err error) {
	refuse := func(why string) error {
		return storagehttp.NewError(http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters.").Because("path '%s': %s", path, why)
	}
	path = strings.Trim(path, "/")
	switch {
	case path == "":
		return nil, nil
	case !utf8.ValidString(path):
		return nil, refuse("it is not UTF-8")
	case utf8.RuneCountInString(path) > maxPath:
		return nil, refuse("it is longer than 2,048 characters")
	}
	names = strings.Split(path, "/")
	if len(names) > maxDepth {
		return nil, refuse("it is deeper than 250 directories")
	}
	for i, name := range names {
		if !dots {
			name = strings.TrimRight(name, ".")
			names[i] = name
		}
		switch {
		case strings.Trim(name, ".") == "":
			return nil, refuse("a name is empty or dots only")
		case utf8.RuneCountInString(name) > maxComponent:
			return nil, refuse("a name is longer than 255 characters")
		case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || strings.ContainsRune(`"\:|<>*?`, r) }):
			return nil, refuse(`a name has a control character or one of " \ : | < > * ?`)
		}
	}
	return names, nil
}

// tree is the entries of a share or a snapshot in a transaction.
type tree struct {
	s       *Service
	tx      store.Tx
	account string
	share   string
	doc     shareDoc
	now     time.Time
	freed   []string // payloads to remove after the commit
}

func (t *tree) entryKey(dir uint64, name string) string {
	return fmt.Sprintf("%s/%s/%016x/%s", t.account, t.doc.Tree, dir, strings.ToLower(name))
}

func errNotFound(names []string) error {
	return storagehttp.NewError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").Because("'%s'", strings.Join(names, "/"))
}

func errParent(names []string) error {
	return storagehttp.NewError(http.StatusNotFound, "ParentNotFound", "The specified parent path does not exist.").Because("'%s'", strings.Join(names, "/"))
}

func errType(names []string, dir bool) error {
	is := map[bool]string{true: "a directory", false: "a file"}[dir]
	return storagehttp.NewError(http.StatusConflict, "ResourceTypeMismatch", "The specified resource type does not match the type of the existing resource.").Because("'%s' is %s", strings.Join(names, "/"), is)
}

// child finds an entry of a directory; store.ErrNotFound.
func (t *tree) child(dir uint64, name string) (e entryDoc, err error) {
	err = getDoc(t.tx, kindEntry, t.entryKey(dir, name), &e)
	return e, err
}

// parent is the directory that has the last of names; ParentNotFound.
func (t *tree) parent(names []string) (entryDoc, error) {
	at := t.doc.Root
	for i, name := range names[:len(names)-1] {
		next, err := t.child(at.ID, name)
		if errors.Is(err, store.ErrNotFound) {
			return at, errParent(names[:i+1])
		}
		if err != nil {
			return at, err
		}
		if !next.Dir {
			return at, errParent(names[:i+1])
		}
		at = next
	}
	return at, nil
}

// find is an entry, of the type that dir says, and the number of its directory; ParentNotFound, ResourceNotFound,
// ResourceTypeMismatch.
func (t *tree) find(names []string, dir bool) (e entryDoc, parent uint64, err error) {
	if len(names) == 0 {
		return t.doc.Root, 0, nil
	}
	p, err := t.parent(names)
	if err != nil {
		return e, 0, err
	}
	e, err = t.child(p.ID, names[len(names)-1])
	if errors.Is(err, store.ErrNotFound) {
		return e, 0, errNotFound(names)
	}
	if err == nil && e.Dir != dir {
		err = errType(names, e.Dir)
	}
	return e, p.ID, err
}

// put writes an entry into its directory; the root is the share's.
func (t *tree) put(parent uint64, e entryDoc) error {
	if e.ID == 0 {
		t.doc.Root = e
		return putDoc(t.tx, kindShare, t.account+"/"+t.share, t.doc)
	}
	return putDoc(t.tx, kindEntry, t.entryKey(parent, e.Name), e)
}

// newID is the number of a new entry; Azure's are numbers of 64 bits too.
func newID() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if id := binary.BigEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}

// makeDir makes a directory; ResourceAlreadyExists, ParentNotFound.
func (t *tree) makeDir(names []string, e entryDoc) (entryDoc, uint64, error) {
	p, err := t.parent(names)
	if err != nil {
		return e, 0, err
	}
	name := names[len(names)-1]
	switch old, err := t.child(p.ID, name); {
	case err == nil && !old.Dir:
		return e, 0, errType(names, false)
	case err == nil:
		return e, 0, storagehttp.NewError(http.StatusConflict, "ResourceAlreadyExists", "The specified resource already exists.").Because("directory '%s'", strings.Join(names, "/"))
	case !errors.Is(err, store.ErrNotFound):
		return e, 0, err
	}
	e.ID, e.Name, e.Dir, e.Modified = newID(), name, true, t.now
	return e, p.ID, t.put(p.ID, e)
}

// makeFile makes an empty file of a size, in the place of one that is there; mayReplace judges that.
func (t *tree) makeFile(names []string, e entryDoc, mayReplace func(old entryDoc) error) (entryDoc, uint64, error) {
	p, err := t.parent(names)
	if err != nil {
		return e, 0, err
	}
	name := names[len(names)-1]
	old, err := t.child(p.ID, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return e, 0, err
	case old.Dir:
		return e, 0, errType(names, true)
	default:
		if err := errors.Join(old.writable(), mayReplace(old)); err != nil {
			return e, 0, err
		}
		e.Lease = old.Lease.AfterWrite(t.now)
		if err := t.dropContent(old.ID); err != nil {
			return e, 0, err
		}
	}
	e.ID, e.Name, e.Modified = newID(), name, t.now
	return e, p.ID, t.put(p.ID, e)
}

// writable refuses to overwrite or delete what has the attribute ReadOnly.
func (e *entryDoc) writable() error {
	if strings.Contains(e.Attributes, "ReadOnly") {
		return storagehttp.NewError(http.StatusConflict, "ReadOnlyAttribute", "The specified resource is read-only and cannot be modified at this time.").Because("'%s'", e.Name)
	}
	return nil
}

// remove deletes an entry; a directory must be empty.
func (t *tree) remove(parent uint64, e entryDoc) error {
	if e.Dir {
		empty := true
		err := t.tx.Scan(kindEntry, t.entryKey(e.ID, ""), "", func(store.Doc) bool { empty = false; return false })
		if err != nil {
			return err
		}
		if !empty {
			return storagehttp.NewError(http.StatusConflict, "DirectoryNotEmpty", "The specified directory is not empty.").Because("'%s'", e.Name)
		}
	} else if err := t.dropContent(e.ID); err != nil {
		return err
	}
	return t.tx.Delete(kindEntry, t.entryKey(parent, e.Name), store.Any)
}

// move renames an entry.
func (t *tree) move(from uint64, e entryDoc, to uint64, name string) error {
	if err := t.tx.Delete(kindEntry, t.entryKey(from, e.Name), store.Any); err != nil {
		return err
	}
	e.Name, e.Modified, e.Changed = name, t.now, t.now
	return t.put(to, e)
}

// list returns the entries of a directory whose names start with prefix, after a name, and whether there are more.
func (t *tree) list(dir uint64, prefix, after string, limit int) (list []entryDoc, more bool, err error) {
	base := t.entryKey(dir, "")
	if after != "" {
		after = base + after
	}
	var bad error
	err = t.tx.Scan(kindEntry, base+strings.ToLower(prefix), after, func(d store.Doc) bool {
		if more = len(list) == limit; more {
			return false
		}
		var e entryDoc
		bad = decode(d.Value, &e)
		list = append(list, e)
		return bad == nil
	})
	return list, more, errors.Join(err, bad)
}
