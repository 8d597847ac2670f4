package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"vauban.dev/store"
)

// CustomerKey is a key of a customer's vault that wraps an owner's data key.
type CustomerKey struct {
	Vault   string `json:"vault"` // its host name's first label, in lower case
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // "" follows the key's newest version

	// The managed identity that asks the vault, and the resource that it asks for.
	Tenant   string `json:"tenant"`
	Identity string `json:"identity"` // object id
	Client   string `json:"client,omitempty"`
	Resource string `json:"resource"`
}

// Vault is where customers' keys are. An error of type *Unavailable means that the key cannot be used.
type Vault interface {
	// Newest is the version to wrap with: k's own, or the newest there is.
	Newest(ctx context.Context, k CustomerKey) (version string, err error)
	Wrap(ctx context.Context, k CustomerKey, version string, dataKey []byte) ([]byte, error)
	Unwrap(ctx context.Context, k CustomerKey, version string, wrapped []byte) ([]byte, error)
}

// Unavailable says that a customer's key cannot be used now: disabled, deleted, expired, out of reach, or no longer allowed. What
// it protects can be neither read nor written until it can.
type Unavailable struct {
	Code   string // of Azure Storage: KeyVaultEncryptionKeyNotFound, KeyVaultVaultNotFound, KeyVaultAccessTokenCannotBeAcquired
	Key    string // vault/name
	Reason string // what the vault said
}

func (e *Unavailable) Error() string {
	return "seal: the customer's key " + e.Key + " cannot be used: " + e.Reason
}

// CustomerKeys is a Wrapper: owners that a customer's key protects have their data keys wrapped by it in its vault, all others by
// the platform's key.
type CustomerKeys struct {
	Platform Wrapper
	Vault    Vault
	// Lookup is the key that is to protect an owner, nil for the platform's. Its error refuses.
	Lookup func(ctx context.Context, owner string) (*CustomerKey, error)
}

// envelope is a data key that a customer's key has wrapped. Its JSON follows the mark; a platform-wrapped key begins with a random
// nonce.
type envelope struct {
	CustomerKey
	Used    string `json:"used"`  // the version that wrapped
	Since   int64  `json:"since"` // Unix seconds
	Wrapped []byte `json:"wrapped"`
}

const customerMark = "VCK1"

func parseEnvelope(wrapped []byte) (e envelope, ok bool) {
	b, ok := bytes.CutPrefix(wrapped, []byte(customerMark))
	return e, ok && json.Unmarshal(b, &e) == nil && e.Used != ""
}

// Wrap implements Wrapper.
func (c *CustomerKeys) Wrap(ctx context.Context, dataKey []byte, owner string) ([]byte, error) {
	k, err := c.Lookup(ctx, owner)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return c.Platform.Wrap(ctx, dataKey, owner)
	}
	return c.wrapWith(ctx, *k, dataKey)
}

func (c *CustomerKeys) wrapWith(ctx context.Context, k CustomerKey, dataKey []byte) ([]byte, error) {
	version, err := c.Vault.Newest(ctx, k)
	if err != nil {
		return nil, err
	}
	e := envelope{CustomerKey: k, Used: version, Since: time.Now().Unix()}
	if e.Wrapped, err = c.Vault.Wrap(ctx, k, version, dataKey); err != nil {
		return nil, err
	}
	b, err := json.Marshal(e)
	return append([]byte(customerMark), b...), err
}

// Unwrap implements Wrapper. The vault is asked each time: a key that it refuses to use unwraps nothing, also where the platform's
// key still wraps what the customer's is to.
func (c *CustomerKeys) Unwrap(ctx context.Context, wrapped []byte, owner string) ([]byte, error) {
	want, err := c.Lookup(ctx, owner)
	if err != nil {
		return nil, err
	}
	e, customers := parseEnvelope(wrapped)
	if !customers {
		secret, err := c.Platform.Unwrap(ctx, wrapped, owner)
		if err != nil || want == nil {
			return secret, err
		}
		if _, err := c.wrapWith(ctx, *want, secret); err != nil {
			clear(secret)
			return nil, err
		}
		return secret, nil
	}
	k := e.CustomerKey
	if want != nil && want.Vault == k.Vault && want.Name == k.Name { // the identity may have changed
		k.Tenant, k.Identity, k.Client, k.Resource = want.Tenant, want.Identity, want.Client, want.Resource
	}
	return c.Vault.Unwrap(ctx, k, e.Used, e.Wrapped)
}

// stale reports whether another key than the one that wrapped is to wrap owner's data key now.
func (c *CustomerKeys) stale(ctx context.Context, wrapped []byte, owner string) (bool, error) {
	want, err := c.Lookup(ctx, owner)
	if err != nil {
		return false, err
	}
	e, customers := parseEnvelope(wrapped)
	switch {
	case want == nil || !customers:
		return (want != nil) != customers, nil
	case e.CustomerKey != *want:
		return true, nil
	}
	version, err := c.Vault.Newest(ctx, *want)
	return err == nil && version != e.Used, err
}

// Refresh asks the owner's vault again whether its key may be used, and forgets the data key when not (*Unavailable). A data key that
// another key or version is to protect now is wrapped anew; no data is rewritten. Owners of the platform's key cost a read.
func (r *Keyring) Refresh(ctx context.Context, c *CustomerKeys, owner string) error {
	var doc store.Doc
	err := r.store.View(ctx, func(tx store.Tx) (err error) {
		doc, err = tx.Get(kindKey, owner)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	stale, staleErr := c.stale(ctx, doc.Value, owner)
	if _, customers := parseEnvelope(doc.Value); !customers && !stale && staleErr == nil {
		return nil
	}
	secret, err := c.Unwrap(ctx, doc.Value, owner)
	if err != nil {
		r.Forget(owner)
		return err
	}
	defer clear(secret)
	if staleErr != nil {
		r.Forget(owner)
		return staleErr
	}
	if !stale {
		return nil
	}
	wrapped, err := c.Wrap(ctx, secret, owner)
	if err != nil {
		r.Forget(owner)
		return fmt.Errorf("seal: wrap the key of %s anew: %w", owner, err)
	}
	err = r.store.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(kindKey, owner, wrapped, doc.Version)
		return err
	})
	if errors.Is(err, store.ErrConflict) { // another was first; the next call sees what it did
		return nil
	}
	return err
}

// ProtectedBy tells which version of which customer's key wraps an owner's data key, and since when; not ok is the platform's key, or
// no data key.
func ProtectedBy(tx store.Tx, owner string) (k CustomerKey, version string, since time.Time, ok bool) {
	d, err := tx.Get(kindKey, owner)
	if err != nil {
		return k, "", since, false
	}
	e, ok := parseEnvelope(d.Value)
	return e.CustomerKey, e.Used, time.Unix(e.Since, 0).UTC(), ok
}

// Owners are those that have a data key.
func (r *Keyring) Owners(ctx context.Context) (owners []string, err error) {
	err = r.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kindKey, "", "", func(d store.Doc) bool {
			owners = append(owners, d.Key)
			return true
		})
	})
	return owners, err
}
