package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/store"
)

// retention is how long a deleted secret of v can be recovered, in days.
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

// Delete deletes a secret with all its versions; it can be recovered until the vault's retention is over.
func (s *Service) Delete(ctx context.Context, vault, name string) (Secret, error) {
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return Secret{}, err
	}
	return s.change(ctx, vault, name, func(doc *secretDoc) error {
		if doc.Deleted != 0 {
			return errNotFound(name, "")
		}
		now := s.Clock.Now()
		doc.Deleted, doc.Purge = now.Unix(), now.AddDate(0, 0, v.retention()).Unix()
		return nil
	})
}

// Recover brings a deleted secret back.
func (s *Service) Recover(ctx context.Context, vault, name string) (Secret, error) {
	return s.change(ctx, vault, name, func(doc *secretDoc) error {
		if doc.Deleted == 0 {
			return errDeletedNotFound(name)
		}
		doc.Deleted, doc.Purge = 0, 0
		return nil
	})
}

func (s *Service) change(ctx context.Context, vault, name string, f func(*secretDoc) error) (out Secret, err error) {
	if err := checkName(name); err != nil {
		return out, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		doc, err := s.secret(tx, vault, name)
		if err != nil {
			return err
		}
		if err := f(doc); err != nil {
			return err
		}
		out = doc.Current.public(doc)
		return put(tx, kindSecret, secretKey(vault, name), doc)
	})
	return out, err
}

// GetDeleted returns a deleted secret without its value.
func (s *Service) GetDeleted(ctx context.Context, vault, name string) (out Secret, err error) {
	if err := checkName(name); err != nil {
		return out, err
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		doc, err := s.secret(tx, vault, name)
		if IsNotFound(err) || err == nil && doc.Deleted == 0 {
			return errDeletedNotFound(name)
		}
		if err == nil {
			out = doc.Current.public(doc)
		}
		return err
	})
	return out, err
}

// Purge removes a deleted secret for good; Forbidden when the vault has purge protection.
func (s *Service) Purge(ctx context.Context, vault, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return err
	}
	return s.Store.Update(ctx, func(tx store.Tx) error {
		doc, err := s.secret(tx, vault, name)
		if IsNotFound(err) || err == nil && doc.Deleted == 0 {
			return errDeletedNotFound(name)
		}
		if err != nil {
			return err
		}
		if v.PurgeProtection {
			return newError(http.StatusForbidden, "Forbidden", "ForbiddenByPolicy", "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.\r\nVault: %s;location=%s", v.Name, v.Location)
		}
		return purge(tx, vault, name)
	})
}

// purge removes a secret and its versions.
func purge(tx store.Tx, vault, name string) error {
	err := tx.Delete(kindSecret, secretKey(vault, name), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, deleteAll(tx, kindVersion, versionKey(vault, name, "")))
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

// Run purges what is due, every hour, until ctx ends. What is due is gone for callers at once, Run or not.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("keyvault: sweep", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep purges the secrets whose retention is over, once.
func (s *Service) Sweep(ctx context.Context) error {
	return s.Store.Update(ctx, func(tx store.Tx) error {
		var due []string
		err := tx.Scan(kindSecret, "", "", func(d store.Doc) bool {
			doc := new(secretDoc)
			if decode(d.Value, doc) == nil && s.due(doc) {
				due = append(due, d.Key)
			}
			return true
		})
		for _, key := range due {
			vault, name, _ := strings.Cut(key, "/")
			if err == nil {
				err = purge(tx, vault, name)
			}
		}
		return err
	})
}
