package keyvault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vauban.dev/seal"
	"vauban.dev/store"
)

// Kinds of documents in the store. Vaults and names are in lower case in keys.
const (
	kindSecret  = "keyvault.secret"  // vault/name → secretDoc
	kindVersion = "keyvault.version" // vault/name/version → versionDoc
)

// secretDoc is a secret: its newest version without the value, for listings, and its deletion.
type secretDoc struct {
	Name    string     `json:"name"`
	Current versionDoc `json:"current"`
	Deleted int64      `json:"deleted,omitempty"` // Unix seconds
	Purge   int64      `json:"purge,omitempty"`
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
	Sealed      []byte            `json:"sealed,omitempty"`
}

func (v versionDoc) public(d *secretDoc) Secret {
	return Secret{
		Name: d.Name, Version: v.ID, ContentType: v.ContentType, Enabled: v.Enabled, NotBefore: fromUnix(v.NotBefore), Expires: fromUnix(v.Expires),
		Created: fromUnix(v.Created), Updated: fromUnix(v.Updated), Tags: v.Tags, Deleted: fromUnix(d.Deleted), Purge: fromUnix(d.Purge),
	}
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

func secretKey(vault, name string) string { return strings.ToLower(vault + "/" + name) }

func versionKey(vault, name, version string) string {
	return strings.ToLower(vault + "/" + name + "/" + version)
}

func owner(vault string) string { return "vault/" + strings.ToLower(vault) }

// binding ties a sealed value to its place.
func binding(vault, name, version string) string {
	return "vault/" + versionKey(vault, name, version)
}

func checkName(name string) error {
	if !secretName.MatchString(name) {
		return errBadParameter("The request URI contains an invalid name: %s", name)
	}
	return nil
}

// Set writes a new version of a secret and returns it without the value. A name that is deleted and not
// purged yet is a Conflict.
func (s *Service) Set(ctx context.Context, vault, name, value string, o SetOptions) (Secret, error) {
	if err := checkName(name); err != nil {
		return Secret{}, err
	}
	if len(value) > maxValue {
		return Secret{}, errBadParameter("The secret value exceeds the maximum size of %d bytes.", maxValue)
	}
	k, err := s.Keys.Key(ctx, owner(vault))
	if err != nil {
		return Secret{}, err
	}
	now := s.Clock.Now().Unix()
	v := versionDoc{
		ID: randomVersion(), ContentType: o.ContentType, Enabled: !o.Disabled, NotBefore: toUnix(o.NotBefore), Expires: toUnix(o.Expires),
		Created: now, Updated: now, Tags: o.Tags,
	}
	if err := v.check(); err != nil {
		return Secret{}, err
	}
	sealed, err := k.Seal(nil, []byte(value), binding(vault, name, v.ID))
	if err != nil {
		return Secret{}, err
	}
	var doc secretDoc
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		old, err := s.secret(tx, vault, name)
		switch {
		case err == nil && old.Deleted != 0:
			return errIsDeleted(old.Name)
		case err == nil:
			doc.Name = old.Name
		case IsNotFound(err):
			doc.Name = name
			if err := purge(tx, vault, name); err != nil { // what a purge that is due would remove
				return err
			}
		default:
			return err
		}
		doc.Current = v
		full := v
		full.Sealed = sealed
		return errors.Join(put(tx, kindVersion, versionKey(vault, name, v.ID), full), put(tx, kindSecret, secretKey(vault, name), doc))
	})
	return v.public(&doc), err
}

func (v versionDoc) check() error {
	if len(v.Tags) > maxTags {
		return errBadParameter("Too many tags: at most %d are allowed.", maxTags)
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

// secret returns the secret's document, deleted or not; one whose purge is due is not found.
func (s *Service) secret(tx store.Tx, vault, name string) (*secretDoc, error) {
	d, err := tx.Get(kindSecret, secretKey(vault, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotFound(name, "")
	}
	if err != nil {
		return nil, err
	}
	doc := new(secretDoc)
	if err := decode(d.Value, doc); err != nil {
		return nil, err
	}
	if s.due(doc) {
		return nil, errNotFound(name, "")
	}
	return doc, nil
}

func (s *Service) due(d *secretDoc) bool { return d.Purge != 0 && s.Clock.Now().Unix() >= d.Purge }

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("keyvault: a stored document is damaged: %w", err)
	}
	return nil
}

// active returns a secret that is not deleted.
func (s *Service) active(tx store.Tx, vault, name string) (*secretDoc, error) {
	doc, err := s.secret(tx, vault, name)
	if err == nil && doc.Deleted != 0 {
		return nil, errNotFound(name, "")
	}
	return doc, err
}

func getVersion(tx store.Tx, vault, name, version string) (v versionDoc, err error) {
	d, err := tx.Get(kindVersion, versionKey(vault, name, version))
	if errors.Is(err, store.ErrNotFound) {
		return v, errNotFound(name, version)
	}
	if err != nil {
		return v, err
	}
	return v, decode(d.Value, &v)
}

// Get returns a version of a secret with its value; version "" is the newest. A disabled one is Forbidden.
func (s *Service) Get(ctx context.Context, vault, name, version string) (Secret, error) {
	if err := checkName(name); err != nil {
		return Secret{}, err
	}
	var doc *secretDoc
	var v versionDoc
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if doc, err = s.active(tx, vault, name); err != nil {
			return err
		}
		if version == "" {
			version = doc.Current.ID
		}
		v, err = getVersion(tx, vault, name, version)
		return err
	})
	if err != nil {
		return Secret{}, err
	}
	if !v.Enabled {
		return Secret{}, newError(http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
	}
	out := v.public(doc)
	k, err := s.Keys.Existing(ctx, owner(vault))
	if err != nil {
		return Secret{}, err
	}
	plain, err := k.Open(nil, v.Sealed, binding(vault, name, v.ID))
	if err != nil {
		return Secret{}, fmt.Errorf("keyvault: secret %s/%s: %w", vault, name, err)
	}
	out.Value = string(plain)
	return out, nil
}

// Update changes a version's attributes and returns it without the value; version "" is the newest.
func (s *Service) Update(ctx context.Context, vault, name, version string, c Change) (Secret, error) {
	if err := checkName(name); err != nil {
		return Secret{}, err
	}
	var out Secret
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		doc, err := s.active(tx, vault, name)
		if err != nil {
			return err
		}
		id := version
		if id == "" {
			id = doc.Current.ID
		}
		v, err := getVersion(tx, vault, name, id)
		if err != nil {
			return err
		}
		c.apply(&v)
		v.Updated = s.Clock.Now().Unix()
		if err := v.check(); err != nil {
			return err
		}
		out = v.public(doc)
		if err := put(tx, kindVersion, versionKey(vault, name, v.ID), v); err != nil {
			return err
		}
		if v.ID != doc.Current.ID {
			return nil
		}
		v.Sealed = nil
		doc.Current = v
		return put(tx, kindSecret, secretKey(vault, name), doc)
	})
	return out, err
}

func (c Change) apply(v *versionDoc) {
	if c.ContentType != nil {
		v.ContentType = *c.ContentType
	}
	if c.Enabled != nil {
		v.Enabled = *c.Enabled
	}
	if c.NotBefore != nil {
		v.NotBefore = toUnix(*c.NotBefore)
	}
	if c.Expires != nil {
		v.Expires = toUnix(*c.Expires)
	}
	if c.Tags != nil {
		v.Tags = *c.Tags
	}
}

// List returns the secrets of a vault without values, by name: those that are deleted, or those that are not;
// at most limit (0: 25) after the name after, and the name to go on after ("" at the end).
func (s *Service) List(ctx context.Context, vault string, deleted bool, after string, limit int) (list []Secret, next string, err error) {
	limit = pageSize(limit)
	root := secretKey(vault, "")
	start := ""
	if after != "" {
		start = secretKey(vault, after)
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		var bad error
		err := tx.Scan(kindSecret, root, start, func(d store.Doc) bool {
			doc := new(secretDoc)
			if bad = decode(d.Value, doc); bad != nil {
				return false
			}
			if (doc.Deleted != 0) != deleted || s.due(doc) {
				return true
			}
			if len(list) == limit {
				next = strings.ToLower(list[limit-1].Name)
				return false
			}
			list = append(list, doc.Current.public(doc))
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

// ListVersions returns the versions of a secret without values, by id; see List for paging.
func (s *Service) ListVersions(ctx context.Context, vault, name, after string, limit int) (list []Secret, next string, err error) {
	limit = pageSize(limit)
	root := versionKey(vault, name, "")
	start := ""
	if after != "" {
		start = root + after
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		doc, err := s.active(tx, vault, name)
		if IsNotFound(err) {
			return nil // Azure answers an empty list
		}
		if err != nil {
			return err
		}
		var bad error
		err = tx.Scan(kindVersion, root, start, func(d store.Doc) bool {
			if len(list) == limit {
				next = list[limit-1].Version
				return false
			}
			var v versionDoc
			if bad = decode(d.Value, &v); bad != nil {
				return false
			}
			list = append(list, v.public(doc))
			return true
		})
		return errors.Join(err, bad)
	})
	return list, next, err
}

// DestroyVault makes all secrets of a vault unreadable at once, by destroying its key, and removes them: the
// purge of the vault itself.
func (s *Service) DestroyVault(ctx context.Context, vault string) error {
	if err := s.Keys.Destroy(ctx, owner(vault)); err != nil && !errors.Is(err, seal.ErrNoKey) {
		return err
	}
	return s.Store.Update(ctx, func(tx store.Tx) error { return Forget(tx, vault) })
}

// Forget removes all secrets of a vault.
func Forget(tx store.Tx, vault string) error {
	return errors.Join(deleteAll(tx, kindSecret, secretKey(vault, "")), deleteAll(tx, kindVersion, secretKey(vault, "")))
}
