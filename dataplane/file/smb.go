package file

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// What the SMB protocol keeps of files and directories, and the REST API reads and sets.

// attributes in the order in which the service writes them.
var attributes = []string{"ReadOnly", "Hidden", "System", "Directory", "Archive", "Temporary", "Offline", "NotContentIndexed", "NoScrubData"}

// parseAttributes reads x-ms-file-attributes: names between "|", or None.
func parseAttributes(v string, dir bool) (string, error) {
	has := map[string]bool{}
	for name := range strings.SplitSeq(v, "|") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(attributes, func(a string) bool { return strings.EqualFold(a, name) })
		switch {
		case strings.EqualFold(name, "None"):
		case i < 0, attributes[i] == "Directory" && !dir:
			return "", storagehttp.InvalidHeader("x-ms-file-attributes", v).Because("'%s' is no attribute of a %s", name, map[bool]string{true: "directory", false: "file"}[dir])
		default:
			has[attributes[i]] = true
		}
	}
	if dir {
		has["Directory"] = true
	}
	var list []string
	for _, a := range attributes {
		if has[a] {
			list = append(list, a)
		}
	}
	if list == nil {
		return "None", nil
	}
	return strings.Join(list, "|"), nil
}

// defaultDescriptor is what the root of a share has: the built-in administrators and the system may do everything, users
// may read and run.
const defaultDescriptor = "O:SYG:SYD:(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)(A;OICI;FA;;;SY)"

const (
	maxDescriptor       = 8 << 10 // in a header
	maxDescriptorInBody = 64 << 10
)

// descriptor is the form of a security descriptor in SDDL: owner, group, and lists of entries ([MS-DTYP] 2.5.1).
var descriptor = regexp.MustCompile(`^(O:[A-Za-z0-9-]+)?(G:[A-Za-z0-9-]+)?(D:[A-Z]*(\([^()]*\))*)?(S:[A-Z]*(\([^()]*\))*)?$`)

func checkDescriptor(v string, limit int) error {
	if len(v) > limit || v == "" || !descriptor.MatchString(v) {
		return storagehttp.NewError(http.StatusBadRequest, "InvalidFilePermission", "The specified file permission is not valid.").Because("it is no security descriptor in SDDL of at most %d bytes: O:…G:…D:…", limit)
	}
	return nil
}

// putPermission keeps a descriptor with a share and returns its key, which is the same for the same descriptor.
func putPermission(tx store.Tx, account, uid, v string) (string, error) {
	sum := sha256.Sum256([]byte(v))
	key := fmt.Sprintf("%d*%d", binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:]))
	_, err := tx.Put(kindPermission, account+"/"+uid+"/"+key, []byte(v), store.Any)
	return key, err
}

func getPermission(tx store.Tx, account, uid, key string) (string, error) {
	d, err := tx.Get(kindPermission, account+"/"+uid+"/"+key)
	if errors.Is(err, store.ErrNotFound) {
		return "", storagehttp.NewError(http.StatusNotFound, "FilePermissionKeyNotFound", "The specified file permission key does not exist.").Because("key '%s'", key)
	}
	return string(d.Value), err
}

// smb is what the headers of a request ask for of the properties of a file or directory.
type smb struct {
	permission, key, attributes string
	created, written, changed   string
}

func (q *request) smb() (p smb, err error) {
	h := q.R.Header
	p = smb{
		permission: h.Get("X-Ms-File-Permission"), key: h.Get("X-Ms-File-Permission-Key"), attributes: h.Get("X-Ms-File-Attributes"),
		created: h.Get("X-Ms-File-Creation-Time"), written: h.Get("X-Ms-File-Last-Write-Time"), changed: h.Get("X-Ms-File-Change-Time"),
	}
	switch {
	case strings.EqualFold(h.Get("X-Ms-File-Permission-Format"), "binary"):
		return p, storagehttp.NotImplemented("permissions in the binary format: say them in SDDL")
	case h.Get("X-Ms-Mode") != "" || h.Get("X-Ms-Owner") != "" || h.Get("X-Ms-Group") != "":
		return p, storagehttp.NotImplemented("owners, groups and modes of NFS")
	case p.permission != "" && p.key != "":
		return p, storagehttp.InvalidHeader("x-ms-file-permission", p.permission).Because("x-ms-file-permission and x-ms-file-permission-key exclude each other")
	case p.permission != "" && !strings.EqualFold(p.permission, "inherit") && !strings.EqualFold(p.permission, "preserve"):
		return p, checkDescriptor(p.permission, maxDescriptor)
	}
	return p, nil
}

// apply changes e as the headers say; parent is the directory of a new entry, nil for one that is there.
func (p smb) apply(t *tree, e *entryDoc, parent *entryDoc) error {
	var err error
	switch {
	case p.attributes != "" && !strings.EqualFold(p.attributes, "preserve"):
		if e.Attributes, err = parseAttributes(p.attributes, e.Dir); err != nil {
			return err
		}
	case e.Attributes == "":
		e.Attributes = map[bool]string{true: "Directory", false: "Archive"}[e.Dir]
	}
	switch {
	case p.key != "":
		if _, err := getPermission(t.tx, t.account, t.doc.UID, p.key); err != nil {
			return err
		}
		e.Permission = p.key
	case strings.EqualFold(p.permission, "preserve") && parent == nil:
	case p.permission != "" && !strings.EqualFold(p.permission, "inherit") && !strings.EqualFold(p.permission, "preserve"):
		if e.Permission, err = putPermission(t.tx, t.account, t.doc.UID, p.permission); err != nil {
			return err
		}
	case parent != nil:
		e.Permission = parent.Permission
	}
	for _, f := range []struct {
		name, value string
		to          *time.Time
		moves       bool // the time moves when nothing is said of it
	}{
		{"x-ms-file-creation-time", p.created, &e.Created, parent != nil},
		{"x-ms-file-last-write-time", p.written, &e.Written, parent != nil},
		{"x-ms-file-change-time", p.changed, &e.Changed, true},
	} {
		switch {
		case strings.EqualFold(f.value, "now"), f.value == "" && f.moves:
			*f.to = t.now
		case f.value == "", strings.EqualFold(f.value, "preserve"):
		default:
			at, err := storagehttp.ParseTime(f.value)
			if err != nil {
				return storagehttp.InvalidHeader(f.name, f.value)
			}
			*f.to = at.UTC()
		}
	}
	return nil
}

// setSMB sets the headers that tell of an entry's SMB properties.
func (q *request) setSMB(e entryDoc, parent uint64) {
	h := q.W.Header()
	h.Set("x-ms-file-permission-key", e.Permission)
	h.Set("x-ms-file-attributes", e.Attributes)
	h.Set("x-ms-file-creation-time", e.Created.UTC().Format(timeLayout))
	h.Set("x-ms-file-last-write-time", e.Written.UTC().Format(timeLayout))
	h.Set("x-ms-file-change-time", e.Changed.UTC().Format(timeLayout))
	h.Set("x-ms-file-id", fmt.Sprint(e.ID))
	h.Set("x-ms-file-parent-id", fmt.Sprint(parent))
}
