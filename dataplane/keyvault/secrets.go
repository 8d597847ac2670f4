package keyvault

import (
	"context"
	"errors"
	"net/http"

	"vauban.dev/seal"
	"vauban.dev/store"
)

func (o object) secret() Secret {
	return Secret{
		Name: o.head.Name, Version: o.ID, ContentType: o.ContentType, Enabled: o.Enabled, NotBefore: fromUnix(o.NotBefore), Expires: fromUnix(o.Expires),
		Created: fromUnix(o.Created), Updated: fromUnix(o.Updated), Tags: o.Tags, Deleted: fromUnix(o.head.Deleted), Purge: fromUnix(o.head.Purge),
	}
}

func secretOf(o object, err error) (Secret, error) {
	if err != nil {
		return Secret{}, err
	}
	return o.secret(), nil
}

func secretsOf(list []object) []Secret {
	var out []Secret
	for _, o := range list {
		out = append(out, o.secret())
	}
	return out
}

// Set writes a new version of a secret and returns it without the value. A name that is deleted and not
// purged yet is a Conflict.
func (s *Service) Set(ctx context.Context, vault, name, value string, o SetOptions) (Secret, error) {
	return secretOf(s.set(ctx, vault, name, value, o))
}

func (s *Service) set(ctx context.Context, vault, name, value string, o SetOptions) (object, error) {
	if err := checkName(name); err != nil {
		return object{}, err
	}
	if len(value) > maxValue {
		return object{}, errBadParameter("The secret value exceeds the maximum size of %d bytes.", maxValue)
	}
	now := s.Clock.Now().Unix()
	v := versionDoc{
		ID: randomVersion(), ContentType: o.ContentType, Enabled: !o.Disabled, NotBefore: toUnix(o.NotBefore), Expires: toUnix(o.Expires),
		Created: now, Updated: now, Tags: o.Tags,
	}
	var err error
	if v.Sealed, err = s.seal(ctx, secretClass, vault, name, v.ID, []byte(value)); err != nil {
		return object{}, err
	}
	return s.insert(ctx, secretClass, vault, name, v)
}

// Get returns a version of a secret with its value; version "" is the newest. A disabled one is Forbidden.
func (s *Service) Get(ctx context.Context, vault, name, version string) (Secret, error) {
	o, value, err := s.getSecret(ctx, vault, name, version)
	if err != nil {
		return Secret{}, err
	}
	out := o.secret()
	out.Value = value
	return out, nil
}

func (s *Service) getSecret(ctx context.Context, vault, name, version string) (object, string, error) {
	o, err := s.get(ctx, secretClass, vault, name, version)
	if err != nil {
		return o, "", err
	}
	if !o.Enabled {
		return o, "", newError(http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
	}
	plain, err := s.open(ctx, vault, o)
	return o, string(plain), err
}

// Update changes a version's attributes and returns it without the value; version "" is the newest.
func (s *Service) Update(ctx context.Context, vault, name, version string, c Change) (Secret, error) {
	return secretOf(s.update(ctx, secretClass, vault, name, version, c.apply))
}

func (c Change) apply(v *versionDoc) error {
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
	return nil
}

// List returns the secrets of a vault without values, by name: those that are deleted, or those that are not;
// at most limit (0: 25) after the name after, and the name to go on after ("" at the end).
func (s *Service) List(ctx context.Context, vault string, deleted bool, after string, limit int) ([]Secret, string, error) {
	list, next, err := s.list(ctx, secretClass, vault, deleted, after, limit)
	return secretsOf(list), next, err
}

// ListVersions returns the versions of a secret without values, by id; see List for paging.
func (s *Service) ListVersions(ctx context.Context, vault, name, after string, limit int) ([]Secret, string, error) {
	list, next, err := s.versions(ctx, secretClass, vault, name, after, limit)
	return secretsOf(list), next, err
}

// Delete deletes a secret with all its versions; it can be recovered until the vault's retention is over.
func (s *Service) Delete(ctx context.Context, vault, name string) (Secret, error) {
	return secretOf(s.delete(ctx, secretClass, vault, name))
}

// Recover brings a deleted secret back.
func (s *Service) Recover(ctx context.Context, vault, name string) (Secret, error) {
	return secretOf(s.recover(ctx, secretClass, vault, name))
}

// GetDeleted returns a deleted secret without its value.
func (s *Service) GetDeleted(ctx context.Context, vault, name string) (Secret, error) {
	return secretOf(s.deleted(ctx, secretClass, vault, name))
}

// Purge removes a deleted secret for good; Forbidden when the vault has purge protection.
func (s *Service) Purge(ctx context.Context, vault, name string) error {
	return s.purge(ctx, secretClass, vault, name)
}

// Backup returns a secret with all its versions in a form that only Restore reads.
func (s *Service) Backup(ctx context.Context, vault, name string) ([]byte, error) {
	return s.backup(ctx, secretClass, vault, name)
}

// Restore writes what Backup returned to a vault, with its versions and their ids. A name that the vault has, deleted or
// not, is a Conflict; a backup of another subscription is a BadParameter.
func (s *Service) Restore(ctx context.Context, vault string, backup []byte) (Secret, error) {
	return secretOf(s.restore(ctx, secretClass, vault, backup))
}

// DestroyVault makes all that a vault holds unreadable at once, by destroying its key, and removes it: the
// purge of the vault itself.
func (s *Service) DestroyVault(ctx context.Context, vault string) error {
	if err := s.Keys.Destroy(ctx, owner(vault)); err != nil && !errors.Is(err, seal.ErrNoKey) {
		return err
	}
	s.privates.drop(headKey(vault, ""))
	return s.Store.Update(ctx, func(tx store.Tx) error { return Forget(tx, vault) })
}

// Forget removes all that a vault holds.
func Forget(tx store.Tx, vault string) error {
	err := forgetSettings(tx, vault)
	for _, c := range classes {
		err = errors.Join(err, deleteAll(tx, c.head, headKey(vault, "")), deleteAll(tx, c.version, headKey(vault, "")))
	}
	return err
}
