package main

import (
	"context"
	"errors"

	"vauban.dev/arm"
	"vauban.dev/dataplane/keyvault"
	kvprovider "vauban.dev/provider/keyvault"
)

var _ kvprovider.Secrets = vaultData{}

func (v vaultData) SetSecret(ctx context.Context, vault string, s kvprovider.Secret) (kvprovider.Secret, error) {
	if s.Value == nil {
		old, err := v.secrets.Get(ctx, vault, s.Name, "")
		if err != nil {
			return s, secretError(err)
		}
		s.Value = &old.Value
	}
	set, err := v.secrets.Set(ctx, vault, s.Name, *s.Value, keyvault.SetOptions{
		ContentType: s.ContentType, Disabled: s.Disabled, NotBefore: s.NotBefore, Expires: s.Expires, Tags: s.Tags,
	})
	return shownSecret(set), secretError(err)
}

func (v vaultData) Secret(ctx context.Context, vault, name string) (kvprovider.Secret, error) {
	s, err := v.secrets.Get(ctx, vault, name, "")
	return shownSecret(s), secretError(err)
}

func (v vaultData) SecretNames(ctx context.Context, vault string) (names []string, err error) {
	for after := ""; ; {
		list, next, err := v.secrets.List(ctx, vault, false, after, 0)
		if err != nil {
			return nil, secretError(err)
		}
		for _, s := range list {
			names = append(names, s.Name)
		}
		if after = next; after == "" {
			return names, nil
		}
	}
}

func shownSecret(s keyvault.Secret) kvprovider.Secret {
	return kvprovider.Secret{
		Name: s.Name, Version: s.Version, ContentType: s.ContentType, Disabled: !s.Enabled, NotBefore: s.NotBefore, Expires: s.Expires,
		Created: s.Created, Updated: s.Updated, Tags: s.Tags,
	}
}

// secretError is an error of the data plane as Resource Manager tells it.
func secretError(err error) error {
	var e *keyvault.Error
	if errors.As(err, &e) {
		return arm.Errorf(e.Status, e.Code, "%s", e.Message)
	}
	return err
}
