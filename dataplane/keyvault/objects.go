package keyvault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"vauban.dev/dataplane/keyvault/jwk"
	"vauban.dev/store"
)

// class is a kind of objects of a vault. Secrets, keys and certificates live alike: a name, versions, attributes, tags, deletion
// that can be recovered, backup.
type class struct {
	noun    string // as messages say it
	path    string // of its operations
	head    string // kind of the documents vault/name → headDoc
	version string // kind of the documents vault/name/version → versionDoc
	binding string // of what its versions seal
}

// The kinds of documents in the store are the first two strings in quotes after the path; vaults and names are in lower case in keys.
var (
	secretClass      = &class{"secret", "secrets", "keyvault.secret", "keyvault.version", "vault/"}
	keyClass         = &class{"key", "keys", "keyvault.key", "keyvault.keyversion", "vaultkey/"}
	certificateClass = &class{"certificate", "certificates", "keyvault.certificate", "keyvault.certificateversion", "vaultcertificate/"}
	classes          = []*class{secretClass, keyClass, certificateClass}
)

// title is the noun at the begin of a sentence, and of error codes.
func (c *class) title() string { return strings.ToUpper(c.noun[:1]) + c.noun[1:] }

// parts are the classes of the objects that make up one of c: a certificate has a key and a secret of its name, which live and die with it.
func (c *class) parts() []*class {
	if c == certificateClass {
		return []*class{certificateClass, keyClass, secretClass}
	}
	return []*class{c}
}

// headDoc is an object: its newest version without what is sealed, for listings, and its deletion.
type headDoc struct {
	Name    string     `json:"name"`
	Current versionDoc `json:"current"`
	Deleted int64      `json:"deleted,omitempty"` // Unix seconds
	Purge   int64      `json:"purge,omitempty"`

	Rotation *rotationDoc     `json:"rotation,omitempty"` // of a key
	Issuance *certificateDoc  `json:"issuance,omitempty"` // of a certificate
	Pending  *pendingDocument `json:"pending,omitempty"`
}

// versionDoc is a version. Times are Unix seconds, 0 = not set.
type versionDoc struct {
	ID          string            `json:"id"`
	ContentType string            `json:"contentType,omitempty"`
	Enabled     bool              `json:"enabled"`
	NotBefore   int64             `json:"nbf,omitempty"`
	Expires     int64             `json:"exp,omitempty"`
	Created     int64             `json:"created"`
	Updated     int64             `json:"updated"`
	Tags        map[string]string `json:"tags,omitempty"`
	Sealed      []byte            `json:"sealed,omitempty"` // a secret's value, a key's private part

	Managed bool      `json:"managed,omitempty"` // part of a certificate
	Key     *keyFacts `json:"key,omitempty"`
	DER     []byte    `json:"der,omitempty"` // of a certificate
}

// keyFacts is what anybody who may get a key learns of it.
type keyFacts struct {
	HSM        bool       `json:"hsm,omitempty"`
	Operations []string   `json:"ops"`
	Public     jwk.Public `json:"public"`
}

// object is a version of a named object.
type object struct {
	class *class
	head  *headDoc
	versionDoc
}

func fromUnix(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func headKey(vault, name string) string { return strings.ToLower(vault + "/" + name) }

func versionKey(vault, name, version string) string {
	return strings.ToLower(vault + "/" + name + "/" + version)
}

func owner(vault string) string { return "vault/" + strings.ToLower(vault) }

// bind ties a sealed value to its place.
func (c *class) bind(vault, name, version string) string {
	return c.binding + versionKey(vault, name, version)
}

func checkName(name string) error {
	if !objectName.MatchString(name) {
		return errBadParameter("The request URI contains an invalid name: %s", name)
	}
	return nil
}

func (v *versionDoc) check() error {
	if len(v.Tags) > maxTags {
		return errBadParameter("Too many tags: at most %d are allowed.", maxTags)
	}
	for k, value := range v.Tags {
		if len(k) > maxTag || len(value) > maxTag {
			return errBadParameter("Tag names and values have at most %d characters.", maxTag)
		}
	}
	if v.NotBefore != 0 && v.Expires != 0 && v.Expires <= v.NotBefore {
		return errBadParameter("Invalid attributes: exp must be later than nbf.")
	}
	return nil
}

func randomVersion() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func put(tx store.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, store.Any)
	return err
}

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("keyvault: a stored document is damaged: %w", err)
	}
	return nil
}

// any returns the object's document, deleted or not; one whose purge is due is not found.
func (s *Service) any(tx store.Tx, c *class, vault, name string) (*headDoc, error) {
	d, err := tx.Get(c.head, headKey(vault, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotFound(c, name, "")
	}
	if err != nil {
		return nil, err
	}
	doc := new(headDoc)
	if err := decode(d.Value, doc); err != nil {
		return nil, err
	}
	if s.due(doc) {
		return nil, errNotFound(c, name, "")
	}
	return doc, nil
}

func (s *Service) due(d *headDoc) bool { return d.Purge != 0 && s.Clock.Now().Unix() >= d.Purge }

// active returns an object that is not deleted.
func (s *Service) active(tx store.Tx, c *class, vault, name string) (*headDoc, error) {
	doc, err := s.any(tx, c, vault, name)
	if err == nil && doc.Deleted != 0 {
		return nil, errNotFound(c, name, "")
	}
	return doc, err
}

func getVersion(tx store.Tx, c *class, vault, name, version string) (v versionDoc, err error) {
	d, err := tx.Get(c.version, versionKey(vault, name, version))
	if errors.Is(err, store.ErrNotFound) {
		return v, errNotFound(c, name, version)
	}
	if err != nil {
		return v, err
	}
	return v, decode(d.Value, &v)
}

// get returns a version with what it seals, still sealed; version "" is the newest.
func (s *Service) get(ctx context.Context, c *class, vault, name, version string) (o object, err error) {
	if err := checkName(name); err != nil {
		return o, err
	}
	o.class = c
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		if o.head, err = s.active(tx, c, vault, name); err != nil {
			return err
		}
		if version == "" {
			version = o.head.Current.ID
		}
		if version == "" { // a certificate that was never issued
			return errNotFound(c, name, "")
		}
		o.versionDoc, err = getVersion(tx, c, vault, name, version)
		return err
	})
	return o, err
}

// open returns what the version seals.
func (s *Service) open(ctx context.Context, vault string, o object) ([]byte, error) {
	k, err := s.Keys.Existing(ctx, owner(vault))
	if err != nil {
		return nil, err
	}
	plain, err := k.Open(nil, o.Sealed, o.class.bind(vault, o.head.Name, o.ID))
	if err != nil {
		return nil, fmt.Errorf("keyvault: %s %s/%s: %w", o.class.noun, vault, o.head.Name, err)
	}
	return plain, nil
}

// sealed is plain as version of name keeps it.
func (s *Service) seal(ctx context.Context, c *class, vault, name, version string, plain []byte) ([]byte, error) {
	k, err := s.Keys.Key(ctx, owner(vault))
	if err != nil {
		return nil, err
	}
	return k.Seal(nil, plain, c.bind(vault, name, version))
}

// forNew is the head for a new version of name: the one there is, or a new one where none is or its purge is due.
func (s *Service) forNew(tx store.Tx, c *class, vault, name string) (*headDoc, error) {
	old, err := s.any(tx, c, vault, name)
	switch {
	case err == nil && old.Deleted != 0:
		return nil, errIsDeleted(c, old.Name)
	case err == nil:
		return old, nil
	case IsNotFound(err):
		return &headDoc{Name: name}, purge(tx, c, vault, name) // what a purge that is due would remove
	}
	return nil, err
}

// add makes v the newest version of head.
func add(tx store.Tx, c *class, vault string, head *headDoc, v versionDoc) error {
	head.Current = v
	head.Current.Sealed = nil
	return errors.Join(put(tx, c.version, versionKey(vault, head.Name, v.ID), v), put(tx, c.head, headKey(vault, head.Name), head))
}

// insert adds a version to an object of its own, which no certificate manages.
func (s *Service) insert(ctx context.Context, c *class, vault, name string, v versionDoc) (o object, err error) {
	if err := v.check(); err != nil {
		return o, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		head, err := s.forNew(tx, c, vault, name)
		if err != nil {
			return err
		}
		if head.Current.Managed {
			return errManaged(c, head.Name)
		}
		o = object{c, head, v}
		return add(tx, c, vault, head, v)
	})
	return o, err
}

// update changes a version, "" the newest, and returns it.
func (s *Service) update(ctx context.Context, c *class, vault, name, version string, change func(*versionDoc) error) (o object, err error) {
	if err := checkName(name); err != nil {
		return o, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		head, err := s.active(tx, c, vault, name)
		if err != nil {
			return err
		}
		id := version
		if id == "" {
			id = head.Current.ID
		}
		v, err := getVersion(tx, c, vault, name, id)
		if err != nil {
			return err
		}
		if err := change(&v); err != nil {
			return err
		}
		v.Updated = s.Clock.Now().Unix()
		if err := v.check(); err != nil {
			return err
		}
		o = object{c, head, v}
		if err := put(tx, c.version, versionKey(vault, name, v.ID), v); err != nil {
			return err
		}
		if v.ID != head.Current.ID {
			return nil
		}
		head.Current = v
		head.Current.Sealed = nil
		return put(tx, c.head, headKey(vault, name), head)
	})
	return o, err
}

// list returns the newest versions of a vault's objects, by name: those that are deleted, or those that are not; at most limit
// (0: 25) after the name after, and the name to go on after ("" at the end).
func (s *Service) list(ctx context.Context, c *class, vault string, deleted bool, after string, limit int) (list []object, next string, err error) {
	limit = pageSize(limit)
	start := ""
	if after != "" {
		start = headKey(vault, after)
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		var bad error
		err := tx.Scan(c.head, headKey(vault, ""), start, func(d store.Doc) bool {
			head := new(headDoc)
			if bad = decode(d.Value, head); bad != nil {
				return false
			}
			if (head.Deleted != 0) != deleted || s.due(head) || head.Current.ID == "" { // or never issued
				return true
			}
			if len(list) == limit {
				next = strings.ToLower(list[limit-1].head.Name)
				return false
			}
			list = append(list, object{c, head, head.Current})
			return true
		})
		return errors.Join(err, bad)
	})
	return list, next, err
}

const maxPage = 25

func pageSize(n int) int {
	if n <= 0 || n > maxPage {
		return maxPage
	}
	return n
}

// versions returns the versions of an object, by id; see list for paging. There are none of what is not there.
func (s *Service) versions(ctx context.Context, c *class, vault, name, after string, limit int) (list []object, next string, err error) {
	limit = pageSize(limit)
	root := versionKey(vault, name, "")
	start := ""
	if after != "" {
		start = root + after
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		head, err := s.active(tx, c, vault, name)
		if IsNotFound(err) {
			return nil // Azure answers an empty list
		}
		if err != nil {
			return err
		}
		var bad error
		err = tx.Scan(c.version, root, start, func(d store.Doc) bool {
			if len(list) == limit {
				next = list[limit-1].ID
				return false
			}
			o := object{class: c, head: head}
			if bad = decode(d.Value, &o.versionDoc); bad != nil {
				return false
			}
			list = append(list, o)
			return true
		})
		return errors.Join(err, bad)
	})
	return list, next, err
}
