package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/seal"
	"vauban.dev/store"
)

// maxVersions is how many versions of an object can be backed up ("Azure Key Vault backup and restore": limitations).
const maxVersions = 500

// copied is what a backup holds: an object with all its versions, what they seal in the clear, for it is sealed as a whole. A
// certificate's has its key and its secret.
type copied struct {
	Name     string             `json:"name"`
	Current  string             `json:"current"` // the newest version
	Versions []copiedVersion    `json:"versions"`
	Rotation *rotationDoc       `json:"rotation,omitempty"`
	Issuance *certificateDoc    `json:"issuance,omitempty"`
	Parts    map[string]*copied `json:"parts,omitempty"` // by the class' path
}

type copiedVersion struct {
	versionDoc
	Value []byte `json:"value"`
}

// backupOwner owns the key of a subscription's backups: as in Azure, a backup can be restored to any vault of the
// subscription that it was taken in, and to no other. Destroying a vault leaves its backups readable.
func backupOwner(v Vault) string {
	subscription := ""
	if parts := strings.Split(v.ID, "/"); len(parts) > 2 {
		subscription = strings.ToLower(parts[2])
	}
	return "vaultbackup/" + subscription
}

// backupBinding ties a backup to what it is one of.
func (c *class) backupBinding() string { return "backup/" + c.noun }

func (s *Service) backup(ctx context.Context, c *class, vault, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return nil, err
	}
	own, err := s.Keys.Key(ctx, owner(vault))
	if err != nil {
		return nil, err
	}
	var out *copied
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		for _, part := range c.parts() {
			one, err := s.copy(tx, part, vault, name)
			if part != c && IsNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			if part == c {
				if c != certificateClass && len(one.Versions) > 0 && one.Versions[0].Managed {
					return errManaged(c, one.Name)
				}
				out = one
				out.Parts = map[string]*copied{}
			} else {
				out.Parts[part.path] = one
			}
			if err := one.unseal(part, own, vault); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	k, err := s.Keys.Key(ctx, backupOwner(v))
	if err != nil {
		return nil, err
	}
	return k.Seal(nil, plain, c.backupBinding())
}

func (s *Service) copy(tx store.Tx, c *class, vault, name string) (*copied, error) {
	head, err := s.active(tx, c, vault, name)
	if err != nil {
		return nil, err
	}
	out := &copied{Name: head.Name, Current: head.Current.ID, Rotation: head.Rotation, Issuance: head.Issuance}
	var bad error
	err = tx.Scan(c.version, versionKey(vault, name, ""), "", func(d store.Doc) bool {
		var one copiedVersion
		if bad = decode(d.Value, &one.versionDoc); bad == nil {
			out.Versions = append(out.Versions, one)
		}
		return bad == nil && len(out.Versions) <= maxVersions
	})
	if err = errors.Join(err, bad); err == nil && len(out.Versions) > maxVersions {
		err = newError(http.StatusForbidden, "Forbidden", "BackupNotAllowed", "%s %s has more than %d versions: it cannot be backed up.", c.title(), name, maxVersions)
	}
	return out, err
}

func (d *copied) unseal(c *class, own *seal.Key, vault string) (err error) {
	for i := range d.Versions {
		one := &d.Versions[i]
		if one.Sealed == nil {
			continue
		}
		if one.Value, err = own.Open(nil, one.Sealed, c.bind(vault, d.Name, one.ID)); err != nil {
			return err
		}
		one.Sealed = nil
	}
	return nil
}

func (d *copied) seal(c *class, own *seal.Key, vault string) (err error) {
	for i := range d.Versions {
		one := &d.Versions[i]
		if c == certificateClass {
			continue
		}
		if one.Sealed, err = own.Seal(nil, one.Value, c.bind(vault, d.Name, one.ID)); err != nil {
			return err
		}
	}
	return nil
}

// whole are the objects of a backup with their classes.
func (d *copied) whole(c *class) map[*class]*copied {
	all := map[*class]*copied{c: d}
	for _, part := range c.parts() {
		if one := d.Parts[part.path]; one != nil && part != c {
			all[part] = one
		}
	}
	return all
}

func (s *Service) restore(ctx context.Context, c *class, vault string, backup []byte) (o object, err error) {
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return o, err
	}
	unreadable := errBadParameter("Cannot decrypt backup blob: it is no backup of a %s that was taken in this vault's subscription.", c.noun)
	k, err := s.Keys.Key(ctx, backupOwner(v))
	if err != nil {
		return o, err
	}
	plain, err := k.Open(nil, backup, c.backupBinding())
	if err != nil {
		return o, unreadable
	}
	in := new(copied)
	if err := json.Unmarshal(plain, in); err != nil || checkName(in.Name) != nil {
		return o, unreadable
	}
	own, err := s.Keys.Key(ctx, owner(vault))
	if err != nil {
		return o, err
	}
	all := in.whole(c)
	for part, one := range all {
		if err := one.seal(part, own, vault); err != nil {
			return o, err
		}
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		for part, one := range all {
			head, err := s.paste(tx, part, vault, one)
			if err != nil {
				return err
			}
			if part == c {
				o = object{c, head, head.Current}
			}
		}
		return nil
	})
	return o, err
}

// paste writes an object of a backup, over nothing.
func (s *Service) paste(tx store.Tx, c *class, vault string, in *copied) (*headDoc, error) {
	old, err := s.any(tx, c, vault, in.Name)
	switch {
	case err == nil && old.Deleted != 0:
		return nil, errIsDeleted(c, old.Name)
	case err == nil:
		return nil, newError(http.StatusConflict, "Conflict", "", "A %s with the name %s already exists in this vault: a backup is not restored over it.", c.noun, old.Name)
	case !IsNotFound(err):
		return nil, err
	}
	if err := purge(tx, c, vault, in.Name); err != nil { // what a purge that is due would remove
		return nil, err
	}
	head := &headDoc{Name: in.Name, Rotation: in.Rotation, Issuance: in.Issuance}
	for _, one := range in.Versions {
		if one.ID == in.Current {
			head.Current = one.versionDoc
			head.Current.Sealed = nil
		}
		if err := put(tx, c.version, versionKey(vault, in.Name, one.ID), one.versionDoc); err != nil {
			return nil, err
		}
	}
	return head, put(tx, c.head, headKey(vault, in.Name), head)
}
