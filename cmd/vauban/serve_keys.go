package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/provider/storage"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// customerKeys has storage accounts' data keys wrapped by their customers' keys, and asks their vaults again and again whether they
// still may be used.
type customerKeys struct {
	w      *world
	seal   *seal.CustomerKeys
	ring   *seal.Keyring // of storage accounts
	byName *rp.Memo[*seal.CustomerKey]
	twice  *rp.Memo[bool] // accounts with infrastructure encryption
}

var (
	_ seal.Vault           = (*customerKeys)(nil)
	_ storage.CustomerKeys = (*customerKeys)(nil)
)

func newCustomerKeys(w *world, platform seal.Wrapper) *customerKeys {
	c := &customerKeys{w: w}
	c.seal = &seal.CustomerKeys{Platform: platform, Vault: c, Lookup: c.lookup}
	c.ring = seal.NewKeyring(w.db, c.seal)
	c.ring.UseInfrastructure(w.keys, c.infrastructure)
	return c
}

// open gives c the resources, once there are some.
func (c *customerKeys) open(e *rp.Engine) {
	c.byName = rp.NewMemo(e, c.find)
	c.twice = rp.NewMemo(e, func(tx *rp.Tx, account string) (bool, error) {
		r, err := storage.ByName(tx, account)
		if errors.Is(err, store.ErrNotFound) {
			return false, storagehttp.ErrNoAccount
		}
		return err == nil && storage.Infrastructure(r), err
	})
}

// infrastructure tells whether the data of an owner of a data key, SERVICE/ACCOUNT, are encrypted a second time.
func (c *customerKeys) infrastructure(ctx context.Context, owner string) (bool, error) {
	_, account, ok := strings.Cut(owner, "/")
	if !ok || c.twice == nil {
		return false, fmt.Errorf("no storage account is %s", owner)
	}
	return c.twice.Get(ctx, account)
}

// lookup is the customer's key of an owner of a data key, SERVICE/ACCOUNT.
func (c *customerKeys) lookup(ctx context.Context, owner string) (*seal.CustomerKey, error) {
	_, account, ok := strings.Cut(owner, "/")
	if !ok || c.byName == nil {
		return nil, fmt.Errorf("no storage account is %s", owner)
	}
	return c.byName.Get(ctx, account)
}

func (c *customerKeys) find(tx *rp.Tx, account string) (*seal.CustomerKey, error) {
	r, err := storage.ByName(tx, account)
	switch {
	case errors.Is(err, store.ErrNotFound): // on its way out: its data key stays as it is until it is destroyed
		return nil, storagehttp.ErrNoAccount
	case err != nil:
		return nil, err
	case !storage.CustomerKey(r):
		return nil, nil
	}
	return c.keyOf(r)
}

func (c *customerKeys) keyOf(r *rp.Resource[storage.Account]) (*seal.CustomerKey, error) {
	p := r.Properties.Encryption.KeyVault
	k := &seal.CustomerKey{Vault: p.VaultName(), Name: p.Name, Version: p.Version, Tenant: c.w.entra.Tenant().ID, Resource: r.ID.String()}
	if k.Identity, k.Client = storage.KeyIdentity(r); k.Identity == "" {
		return nil, &seal.Unavailable{Code: "KeyVaultAccessTokenCannotBeAcquired", Key: k.Vault + "/" + k.Name, Reason: "the account has no identity to ask the vault with: it needs a system-assigned one, or the user-assigned one that encryption.identity names"}
	}
	return k, nil
}

func trustedStorage(k seal.CustomerKey) keyvault.Trusted {
	return keyvault.Trusted{Resource: k.Resource, Principal: authz.Principal{TenantID: k.Tenant, ObjectID: k.Identity, AppID: k.Client, Type: "ManagedIdentity", Resource: k.Resource}}
}

// unavailable is an error of the vault as the key's users get it. What is no refusal stays what it is.
func unavailable(k seal.CustomerKey, err error) error {
	u := &seal.Unavailable{Code: "KeyVaultEncryptionKeyNotFound", Key: k.Vault + "/" + k.Name}
	var e *keyvault.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyvault.ErrNoVault):
		u.Code, u.Reason = "KeyVaultVaultNotFound", "there is no vault "+k.Vault
	case errors.As(err, &e):
		u.Reason = e.Code + " " + e.Inner + ": " + e.Message
	default:
		return err
	}
	return u
}

func (c *customerKeys) Newest(ctx context.Context, k seal.CustomerKey) (string, error) {
	if k.Version != "" {
		return k.Version, nil
	}
	v, err := c.w.secrets.NewestKeyVersion(ctx, trustedStorage(k), k.Vault, k.Name)
	return v, unavailable(k, err)
}

func (c *customerKeys) Wrap(ctx context.Context, k seal.CustomerKey, version string, dataKey []byte) ([]byte, error) {
	b, err := c.w.secrets.WrapFor(ctx, trustedStorage(k), k.Vault, k.Name, version, dataKey)
	return b, unavailable(k, err)
}

func (c *customerKeys) Unwrap(ctx context.Context, k seal.CustomerKey, version string, wrapped []byte) ([]byte, error) {
	b, err := c.w.secrets.UnwrapFor(ctx, trustedStorage(k), k.Vault, k.Name, version, wrapped)
	return b, unavailable(k, err)
}

func (c *customerKeys) TryKey(ctx context.Context, r *rp.Resource[storage.Account]) (string, error) {
	k, err := c.keyOf(r)
	if err != nil {
		return "", err
	}
	version, err := c.Newest(ctx, *k)
	if err != nil {
		return "", err
	}
	_, err = c.Wrap(ctx, *k, version, make([]byte, seal.KeySize))
	return keyID(k.Vault, k.Name, version), err
}

func keyID(vault, name, version string) string {
	return "https://" + vault + ".vault.azure.net/keys/" + name + "/" + version
}

func (c *customerKeys) CurrentKey(tx *rp.Tx, account string) (string, time.Time) {
	k, version, since, ok := seal.ProtectedBy(tx, "blob/"+account)
	if !ok {
		return "", since
	}
	return keyID(k.Vault, k.Name, version), since
}

// checkEvery is how often vaults are asked, unless the region rehearses Azure's delay.
const checkEvery = 2 * time.Second

// run asks the vaults of all customers' keys, every checkEvery, or once the key delay has gone by on the region's clock.
func (c *customerKeys) run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := c.w.clock.Now(); now.Sub(last) >= c.w.settings.KeyDelay {
			last = now
			c.check(ctx)
		}
	}
}

// check asks the vaults once.
func (c *customerKeys) check(ctx context.Context) {
	owners, err := c.ring.Owners(ctx)
	if err != nil && ctx.Err() == nil {
		c.w.log.Error("customer-managed keys", "err", err)
	}
	for _, owner := range owners {
		service, _, _ := strings.Cut(owner, "/")
		if service == "vault" || service == "vaultbackup" || service == "infrastructure" {
			continue
		}
		var refused *seal.Unavailable
		switch err := c.ring.Refresh(ctx, c.seal, owner); {
		case errors.As(err, &refused):
			c.w.log.Warn("customer-managed key cannot be used: data is closed", "owner", owner, "key", refused.Key, "reason", refused.Reason)
		case err != nil && ctx.Err() == nil && !errors.Is(err, storagehttp.ErrNoAccount):
			c.w.log.Error("customer-managed key", "owner", owner, "err", err)
		}
	}
}
