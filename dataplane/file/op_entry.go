package file

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// change runs f on the tree of the request's share and answers with the entry that it returns.
func (q *request) change(status int, f func(*tree) (e entryDoc, parent uint64, err error)) error {
	var e entryDoc
	var parent uint64
	err := q.s.update(q.Ctx, q.Account.Name, q.share, func(t *tree) (err error) {
		e, parent, err = f(t)
		return err
	})
	if err != nil {
		return err
	}
	q.SetStamp(etag(e.Modified), e.Modified)
	q.setSMB(e, parent)
	q.W.Header().Set("x-ms-request-server-encrypted", "true")
	return q.Send(status)
}

func (q *request) errRoot() error {
	return storagehttp.InvalidInput("the root directory of a share cannot be made, renamed or deleted")
}

func (q *request) createDirectory() error {
	if len(q.names) == 0 {
		return q.errRoot()
	}
	p, err := q.smb()
	if err != nil {
		return err
	}
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.change(http.StatusCreated, func(t *tree) (entryDoc, uint64, error) {
		e := entryDoc{Dir: true, Metadata: m}
		parent, err := t.parent(q.names)
		if err != nil {
			return e, 0, err
		}
		if err := p.apply(t, &e, &parent); err != nil {
			return e, 0, err
		}
		return t.makeDir(q.names, e)
	})
}

// entry reads what the request names.
func (q *request) entry(dir bool) (e entryDoc, parent uint64, err error) {
	err = q.s.view(q.Ctx, q.Account.Name, q.share, q.snapshot, func(t *tree) (err error) {
		e, parent, err = t.find(q.names, dir)
		return err
	})
	return e, parent, err
}

func (q *request) getDirectory() error {
	e, parent, err := q.entry(true)
	if err != nil {
		return err
	}
	q.SetStamp(etag(e.Modified), e.Modified)
	q.SetMetadata(e.Metadata)
	q.setSMB(e, parent)
	q.W.Header().Set("x-ms-server-encrypted", "true")
	return q.Send(http.StatusOK)
}

// edits changes the entry that the request names; a file's lease must be right.
func (q *request) edits(dir bool, f func(t *tree, e *entryDoc) error) error {
	return q.change(http.StatusOK, func(t *tree) (entryDoc, uint64, error) {
		e, parent, err := t.find(q.names, dir)
		if err != nil {
			return e, 0, err
		}
		if !dir {
			if err := e.Lease.Need(q.s.clock.Now(), q.lease(), "File", true); err != nil {
				return e, 0, err
			}
		}
		e.Lease = e.Lease.AfterWrite(q.s.clock.Now())
		if err := f(t, &e); err != nil {
			return e, 0, err
		}
		e.Modified = t.now
		return e, parent, t.put(parent, e)
	})
}

func (q *request) setMetadata(dir bool) error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.edits(dir, func(_ *tree, e *entryDoc) error { e.Metadata = m; return nil })
}

func (q *request) setDirectoryMetadata() error { return q.setMetadata(true) }
func (q *request) setFileMetadata() error      { return q.setMetadata(false) }

func (q *request) setDirectory() error {
	p, err := q.smb()
	if err != nil {
		return err
	}
	return q.edits(true, func(t *tree, e *entryDoc) error { return p.apply(t, e, nil) })
}

func (q *request) deleteDirectory() error {
	if len(q.names) == 0 {
		return q.errRoot()
	}
	return q.delete(true)
}

func (q *request) deleteFile() error { return q.delete(false) }

func (q *request) delete(dir bool) error {
	err := q.s.update(q.Ctx, q.Account.Name, q.share, func(t *tree) error {
		e, parent, err := t.find(q.names, dir)
		if err != nil {
			return err
		}
		if !dir {
			if err := e.Lease.Need(q.s.clock.Now(), q.lease(), "File", true); err != nil {
				return err
			}
		}
		if err := e.writable(); err != nil {
			return err
		}
		return t.remove(parent, e)
	})
	if err != nil {
		return err
	}
	return q.Send(http.StatusAccepted)
}

func (q *request) listEntries() error {
	limit, err := q.limit()
	if err != nil {
		return err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Query.Get("marker"))
	if err != nil {
		return storagehttp.InvalidQuery("marker", q.Query.Get("marker"))
	}
	include := map[string]bool{}
	for v := range strings.SplitSeq(q.Query.Get("include"), ",") {
		include[strings.ToLower(strings.TrimSpace(v))] = true
	}
	var dir entryDoc
	var list []entryDoc
	var more bool
	err = q.s.view(q.Ctx, q.Account.Name, q.share, q.snapshot, func(t *tree) (err error) {
		if dir, _, err = t.find(q.names, true); err != nil {
			return err
		}
		list, more, err = t.list(dir.ID, q.Query.Get("prefix"), string(after), limit)
		return err
	})
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `" ShareName="` + q.share + `"`)
	if q.snapshot != "" {
		x.Attribute("ShareSnapshot", q.snapshot)
	}
	x.Attribute("DirectoryPath", strings.Join(q.names, "/"))
	x.WriteString(">")
	x.Option("Prefix", q.Query.Get("prefix"))
	x.Option("Marker", q.Query.Get("marker"))
	x.Option("MaxResults", q.Query.Get("maxresults"))
	x.Text("DirectoryId", strconv.FormatUint(dir.ID, 10))
	x.WriteString("<Entries>")
	for i := range list {
		list[i].write(x, include)
	}
	x.WriteString("</Entries>")
	next := ""
	if more {
		next = base64.RawURLEncoding.EncodeToString([]byte(strings.ToLower(list[len(list)-1].Name)))
	}
	x.Text("NextMarker", next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

func (e *entryDoc) write(x *storagehttp.XML, include map[string]bool) {
	element := map[bool]string{true: "Directory", false: "File"}[e.Dir]
	x.WriteString("<" + element + ">")
	x.Name(e.Name)
	x.Text("FileId", strconv.FormatUint(e.ID, 10))
	x.WriteString("<Properties>")
	if !e.Dir {
		x.Text("Content-Length", strconv.FormatInt(e.Size, 10))
	}
	if include["timestamps"] {
		x.Text("CreationTime", e.Created.Format(timeLayout))
		x.Text("LastAccessTime", e.Written.Format(timeLayout))
		x.Text("LastWriteTime", e.Written.Format(timeLayout))
		x.Text("ChangeTime", e.Changed.Format(timeLayout))
		x.Text("Last-Modified", storagehttp.HTTPTime(e.Modified))
	}
	if include["etag"] {
		x.Text("Etag", etag(e.Modified))
	}
	x.WriteString("</Properties>")
	if include["attributes"] {
		x.Text("Attributes", e.Attributes)
	}
	if include["permissionkey"] {
		x.Text("PermissionKey", e.Permission)
	}
	x.WriteString("</" + element + ">")
}

// listHandles answers that nobody has anything open: handles are of SMB, which is not served.
func (q *request) listHandles() error {
	if err := q.exists(); err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString("<EnumerationResults><Entries /><NextMarker /></EnumerationResults>")
	return q.SendXML(x)
}

func (q *request) closeHandles() error {
	if err := q.exists(); err != nil {
		return err
	}
	q.W.Header().Set("x-ms-number-of-handles-closed", "0")
	q.W.Header().Set("x-ms-number-of-handles-failed", "0")
	return q.Send(http.StatusOK)
}

// exists refuses a path that is neither a directory nor a file.
func (q *request) exists() error {
	_, _, err := q.entry(true)
	if storagehttp.IsCode(err, "ResourceTypeMismatch") {
		return nil
	}
	return err
}

func (q *request) renameDirectory() error { return q.rename(true) }
func (q *request) renameFile() error      { return q.rename(false) }

// rename moves what x-ms-file-rename-source names to the path of the request ("Rename File", "Rename Directory").
func (q *request) rename(dir bool) error {
	if len(q.names) == 0 {
		return q.errRoot()
	}
	from, err := q.renameSource()
	if err != nil {
		return err
	}
	p, err := q.smb()
	if err != nil {
		return err
	}
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	h := q.R.Header
	replace, readonly := strings.EqualFold(h.Get("X-Ms-File-Rename-Replace-If-Exists"), "true"), strings.EqualFold(h.Get("X-Ms-File-Rename-Ignore-Readonly"), "true")
	return q.change(http.StatusOK, func(t *tree) (entryDoc, uint64, error) {
		e, source, err := t.find(from, dir)
		if err != nil {
			return e, 0, err
		}
		now := q.s.clock.Now()
		if err := e.Lease.Need(now, h.Get("X-Ms-Source-Lease-Id"), "File", true); err != nil {
			return e, 0, err
		}
		to, err := t.parent(q.names)
		if err != nil {
			return e, 0, err
		}
		if dir && within(q.names, from) {
			return e, 0, storagehttp.InvalidInput("a directory cannot be moved into itself")
		}
		name := q.names[len(q.names)-1]
		old, err := t.child(to.ID, name)
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && old.ID == e.ID: // the case of a name may change
		case err != nil:
			return e, 0, err
		case old.Dir || dir:
			return e, 0, storagehttp.NewError(http.StatusConflict, "ResourceAlreadyExists", "The specified resource already exists.").Because("'%s'", strings.Join(q.names, "/"))
		case !replace:
			return e, 0, storagehttp.NewError(http.StatusConflict, "ResourceAlreadyExists", "The specified resource already exists.").Because("'%s'; x-ms-file-rename-replace-if-exists: true replaces it", strings.Join(q.names, "/"))
		default:
			if err := old.Lease.Need(now, h.Get("X-Ms-Destination-Lease-Id"), "File", true); err != nil {
				return e, 0, err
			}
			if err := old.writable(); err != nil && !readonly {
				return e, 0, err
			}
			if err := t.remove(to.ID, old); err != nil {
				return e, 0, err
			}
		}
		before := e.Name
		if err := p.apply(t, &e, nil); err != nil {
			return e, 0, err
		}
		if m != nil {
			e.Metadata = m
		}
		if v := h.Get("X-Ms-Content-Type"); v != "" && !dir {
			e.Headers.ContentType = v
		}
		e.Name, e.Lease = before, nil
		if err := t.move(source, e, to.ID, name); err != nil {
			return e, 0, err
		}
		e.Name, e.Modified = name, t.now
		return e, to.ID, nil
	})
}

// within reports whether the path names is of, or below, the path above.
func within(names, above []string) bool {
	if len(names) < len(above) {
		return false
	}
	for i := range above {
		if !strings.EqualFold(names[i], above[i]) {
			return false
		}
	}
	return true
}

// renameSource is the path that x-ms-file-rename-source names, which is of the request's share.
func (q *request) renameSource() ([]string, error) {
	raw := q.R.Header.Get("X-Ms-File-Rename-Source")
	if raw == "" {
		return nil, storagehttp.MissingHeader("x-ms-file-rename-source")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, storagehttp.InvalidHeader("x-ms-file-rename-source", "")
	}
	share, path, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !strings.EqualFold(u.Hostname(), q.Account.Name+q.Front.Suffix) || share != q.share {
		return nil, storagehttp.InvalidHeader("x-ms-file-rename-source", fmt.Sprintf("https://%s/%s", u.Host, share)).Because("the source is of another share")
	}
	names, err := parsePath(path, strings.EqualFold(q.R.Header.Get("X-Ms-Source-Allow-Trailing-Dot"), "true"))
	if err == nil && len(names) == 0 {
		err = q.errRoot()
	}
	return names, err
}
