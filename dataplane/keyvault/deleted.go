package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/store"
)

// retention is how long what was deleted in v can be recovered, in days.
func (v Vault) retention() int {
	if v.RetentionDays == 0 {
		return 90
	}
	return v.RetentionDays
}

// recoveryLevel as attributes.recoveryLevel says it.
func (v Vault) recoveryLevel() string {
	level := "Recoverable"
	if v.retention() < 90 {
		level = "CustomizedRecoverable"
	}
	if !v.PurgeProtection {
		level += "+Purgeable"
	}
	return level
}

// delete deletes an object with all its versions.
func (s *Service) delete(ctx context.Context, c *class, vault, name string) (object, error) {
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return object{}, err
	}
	defer s.privates.drop(headKey(vault, name) + "/")
	return s.change(ctx, c, vault, name, func(doc *headDoc) error {
		if doc.Deleted != 0 {
			return errNotFound(c, name, "")
		}
		if c != certificateClass && doc.Current.Managed {
			return errManaged(c, doc.Name)
		}
		return nil
	}, func(doc *headDoc) {
		now := s.Clock.Now()
		doc.Deleted, doc.Purge = now.Unix(), now.AddDate(0, 0, v.retention()).Unix()
	})
}

// recover brings a deleted object back.
func (s *Service) recover(ctx context.Context, c *class, vault, name string) (object, error) {
	o, err := s.change(ctx, c, vault, name, func(doc *headDoc) error {
		if doc.Deleted == 0 {
			return errDeletedNotFound(c, name)
		}
		if c != certificateClass && doc.Current.Managed {
			return errManaged(c, doc.Name)
		}
		return nil
	}, func(doc *headDoc) { doc.Deleted, doc.Purge = 0, 0 })
	if IsNotFound(err) {
		err = errDeletedNotFound(c, name)
	}
	return o, err
}

// change does a thing to an object, which check allows, and to its parts.
func (s *Service) change(ctx context.Context, c *class, vault, name string, check func(*headDoc) error, do func(*headDoc)) (o object, err error) {
	if err := checkName(name); err != nil {
		return o, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		for _, part := range c.parts() {
			head, err := s.any(tx, part, vault, name)
			if part != c && IsNotFound(err) { // a certificate that was never issued
				continue
			}
			if err != nil {
				return err
			}
			if part == c {
				if err := check(head); err != nil {
					return err
				}
				o = object{c, head, head.Current}
			}
			do(head)
			if err := put(tx, part.head, headKey(vault, name), head); err != nil {
				return err
			}
		}
		return nil
	})
	return o, err
}

// deleted returns a deleted object.
func (s *Service) deleted(ctx context.Context, c *class, vault, name string) (o object, err error) {
	if err := checkName(name); err != nil {
		return o, err
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		head, err := s.any(tx, c, vault, name)
		if IsNotFound(err) || err == nil && head.Deleted == 0 {
			return errDeletedNotFound(c, name)
		}
		if err == nil {
			o = object{c, head, head.Current}
		}
		return err
	})
	return o, err
}

// purge removes a deleted object for good; Forbidden when the vault has purge protection.
func (s *Service) purge(ctx context.Context, c *class, vault, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return err
	}
	return s.Store.Update(ctx, func(tx store.Tx) error {
		head, err := s.any(tx, c, vault, name)
		if IsNotFound(err) || err == nil && head.Deleted == 0 {
			return errDeletedNotFound(c, name)
		}
		if err != nil {
			return err
		}
		if c != certificateClass && head.Current.Managed {
			return errManaged(c, head.Name)
		}
		if v.PurgeProtection {
			return newError(http.StatusForbidden, "Forbidden", "ForbiddenByPolicy", "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.\r\nVault: %s;location=%s", v.Name, v.Location)
		}
		for _, part := range c.parts() {
			err = errors.Join(err, purge(tx, part, vault, name))
		}
		return err
	})
}

// purge removes an object and its versions.
func purge(tx store.Tx, c *class, vault, name string) error {
	err := tx.Delete(c.head, headKey(vault, name), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, deleteAll(tx, c.version, versionKey(vault, name, "")))
}

func deleteAll(tx store.Tx, kind, prefix string) error {
	var keys []string
	err := tx.Scan(kind, prefix, "", func(d store.Doc) bool {
		keys = append(keys, d.Key)
		return true
	})
	for _, key := range keys {
		if err == nil {
			err = tx.Delete(kind, key, store.Any)
		}
	}
	return err
}

// Sweep purges what is past its retention, once.
func (s *Service) Sweep(ctx context.Context) error {
	for _, c := range classes {
		due, err := s.heads(ctx, c, s.due)
		if err != nil || len(due) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		err = s.Store.Update(ctx, func(tx store.Tx) (err error) {
			for _, p := range due {
				if _, there := s.any(tx, c, p.vault, p.name); IsNotFound(there) { // still due
					err = errors.Join(err, purge(tx, c, p.vault, p.name))
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// place names an object.
type place struct{ vault, name string }

// heads are the objects of a class, in all vaults, that a condition holds for. A damaged document is left to who asks for it.
func (s *Service) heads(ctx context.Context, c *class, holds func(*headDoc) bool) (list []place, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(c.head, "", "", func(d store.Doc) bool {
			head := new(headDoc)
			if decode(d.Value, head) == nil && holds(head) {
				vault, name, _ := strings.Cut(d.Key, "/")
				list = append(list, place{vault, name})
			}
			return true
		})
	})
	return list, err
}
