package keyvault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/store"
)

// maxVersions is how many versions of a secret can be backed up ("Azure Key Vault backup and restore": limitations).
const maxVersions = 500

// copied is what a backup holds: a secret with all its versions, their values in the clear, for it is sealed as a whole.
type copied struct {
	Name     string          `json:"name"`
	Current  string          `json:"current"` // the newest version
	Versions []copiedVersion `json:"versions"`
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
const backupBinding = "backup/secret"

// Backup returns a secret with all its versions in a form that only Restore reads.
func (s *Service) Backup(ctx context.Context, vault, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return nil, err
	}
	var out copied
	err = s.Store.View(ctx, func(tx store.Tx) error {
		doc, err := s.active(tx, vault, name)
		if err != nil {
			return err
		}
		out = copied{Name: doc.Name, Current: doc.Current.ID}
		var bad error
		err = tx.Scan(kindVersion, versionKey(vault, name, ""), "", func(d store.Doc) bool {
			var one copiedVersion
			if bad = decode(d.Value, &one.versionDoc); bad == nil {
				out.Versions = append(out.Versions, one)
			}
			return bad == nil && len(out.Versions) <= maxVersions
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return nil, err
	}
	if len(out.Versions) > maxVersions {
		return nil, newError(http.StatusForbidden, "Forbidden", "BackupNotAllowed", "Secret %s has more than %d versions: it cannot be backed up.", name, maxVersions)
	}
	own, err := s.Keys.Existing(ctx, owner(vault))
	if err != nil {
		return nil, err
	}
	for i := range out.Versions {
		one := &out.Versions[i]
		if one.Value, err = own.Open(nil, one.Sealed, binding(vault, name, one.ID)); err != nil {
			return nil, err
		}
		one.Sealed = nil
	}
	plain, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	k, err := s.Keys.Key(ctx, backupOwner(v))
	if err != nil {
		return nil, err
	}
	return k.Seal(nil, plain, backupBinding)
}

// Restore writes what Backup returned to a vault, with its versions and their ids. A name that the vault has, deleted or
// not, is a Conflict; a backup of another subscription is a BadParameter.
func (s *Service) Restore(ctx context.Context, vault string, backup []byte) (Secret, error) {
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return Secret{}, err
	}
	unreadable := errBadParameter("Cannot decrypt backup blob: it is no backup of a secret that was taken in this vault's subscription.")
	k, err := s.Keys.Key(ctx, backupOwner(v))
	if err != nil {
		return Secret{}, err
	}
	plain, err := k.Open(nil, backup, backupBinding)
	if err != nil {
		return Secret{}, unreadable
	}
	var in copied
	if err := json.Unmarshal(plain, &in); err != nil || checkName(in.Name) != nil {
		return Secret{}, unreadable
	}
	own, err := s.Keys.Key(ctx, owner(vault))
	if err != nil {
		return Secret{}, err
	}
	doc := secretDoc{Name: in.Name}
	for i := range in.Versions {
		one := &in.Versions[i]
		if one.ID == in.Current {
			doc.Current = one.versionDoc
		}
		if one.Sealed, err = own.Seal(nil, one.Value, binding(vault, in.Name, one.ID)); err != nil {
			return Secret{}, err
		}
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		old, err := s.secret(tx, vault, in.Name)
		switch {
		case err == nil && old.Deleted != 0:
			return errIsDeleted(old.Name)
		case err == nil:
			return newError(http.StatusConflict, "Conflict", "", "A secret with the name %s already exists in this vault: a backup is not restored over it.", old.Name)
		case !IsNotFound(err):
			return err
		}
		if err := purge(tx, vault, in.Name); err != nil { // what a purge that is due would remove
			return err
		}
		for _, one := range in.Versions {
			if err := put(tx, kindVersion, versionKey(vault, in.Name, one.ID), one.versionDoc); err != nil {
				return err
			}
		}
		return put(tx, kindSecret, secretKey(vault, in.Name), doc)
	})
	return doc.Current.public(&doc), err
}

func (q *request) backup() error {
	b, err := q.s.Backup(q.r.Context(), q.vault.Name, q.name)
	if err != nil {
		return err
	}
	q.send(http.StatusOK, map[string]string{"value": base64.RawURLEncoding.EncodeToString(b)})
	return nil
}

// maxBackup is the body of a restore: the versions at their largest, encoded twice in base64, with room for attributes.
const maxBackup = maxVersions * maxValue * 2

func (q *request) restore() error {
	p, err := parseParameters(q.r.Body, maxBackup)
	if err != nil {
		return err
	}
	if p.Value == nil {
		return errBadParameter("Property value is required.")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*p.Value, "="))
	if err != nil {
		return errBadParameter("Property value is not a backup: it is not base64url.")
	}
	s, err := q.s.Restore(q.r.Context(), q.vault.Name, b)
	return q.answer(s, err)
}
