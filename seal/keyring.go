package seal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vauban.dev/store"
)

// kindKey holds wrapped data keys; the key of a document is the owner.
const kindKey = "seal.key"

// ErrNoKey says that the owner has no data key: nothing was ever sealed for it, or its key was destroyed.
var ErrNoKey = errors.New("seal: no key")

// Keyring gives each owner ("blob/account", "vault/name") its data key: made on first use, wrapped, kept in
// the store, and held in memory until it is forgotten. It is safe for use by many goroutines.
type Keyring struct {
	store store.Store
	wrap  Wrapper

	mu      sync.RWMutex
	keys    map[string]*Key
	refused map[string]refusal

	second  *Keyring
	doubles func(ctx context.Context, owner string) (bool, error)
}

// refusal keeps a customer's key that cannot be used from being asked for by every request.
type refusal struct {
	err   error
	until time.Time
}

const refusedFor = time.Second

// NewKeyring returns a keyring whose data keys w wraps.
func NewKeyring(s store.Store, w Wrapper) *Keyring {
	return &Keyring{store: s, wrap: w, keys: map[string]*Key{}, refused: map[string]refusal{}}
}

// UseInfrastructure has the data of the owners whom doubles names encrypted a second time, under keys of their own of another keyring,
// which no customer's key protects. Call it before the keyring is used.
func (r *Keyring) UseInfrastructure(second *Keyring, doubles func(ctx context.Context, owner string) (bool, error)) {
	r.second, r.doubles = second, doubles
}

// double gives an owner's data key its second layer, where it has one.
func (r *Keyring) double(ctx context.Context, owner string, k *Key) (*Key, error) {
	if r.second == nil {
		return k, nil
	}
	ok, err := r.doubles(ctx, owner)
	if err != nil || !ok {
		return k, err
	}
	second, err := r.second.Key(ctx, infrastructureOwner(owner))
	if err != nil {
		return nil, err
	}
	return k.Doubled(second)
}

// infrastructureOwner is whose data key the second layer of an owner's data has.
func infrastructureOwner(owner string) string { return "infrastructure/" + owner }

// Key returns the owner's data key and makes it if there is none.
func (r *Keyring) Key(ctx context.Context, owner string) (*Key, error) {
	k, err := r.Existing(ctx, owner)
	if !errors.Is(err, ErrNoKey) {
		return k, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[owner]; k != nil {
		return k, nil
	}
	fresh := NewKey()
	wrapped, err := r.wrap.Wrap(ctx, fresh.secret, owner)
	if err != nil {
		return nil, fmt.Errorf("seal: wrap the key of %s: %w", owner, err)
	}
	err = r.store.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(kindKey, owner, wrapped, store.None)
		return err
	})
	if errors.Is(err, store.ErrConflict) { // another process was first
		fresh.Forget()
		return r.load(ctx, owner)
	}
	if err != nil {
		return nil, err
	}
	if fresh, err = r.double(ctx, owner, fresh); err != nil {
		return nil, err
	}
	r.keys[owner] = fresh
	return fresh, nil
}

// Existing returns the owner's data key, or ErrNoKey.
func (r *Keyring) Existing(ctx context.Context, owner string) (*Key, error) {
	r.mu.RLock()
	k := r.keys[owner]
	r.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[owner]; k != nil {
		return k, nil
	}
	return r.load(ctx, owner)
}

// load reads and unwraps the owner's key; r.mu is held.
func (r *Keyring) load(ctx context.Context, owner string) (*Key, error) {
	if no, ok := r.refused[owner]; ok && time.Now().Before(no.until) {
		return nil, no.err
	}
	k, err := r.unwrap(ctx, owner)
	var unavailable *Unavailable
	if errors.As(err, &unavailable) {
		r.refused[owner] = refusal{err, time.Now().Add(refusedFor)}
		return nil, err
	}
	delete(r.refused, owner)
	return k, err
}

func (r *Keyring) unwrap(ctx context.Context, owner string) (*Key, error) {
	var wrapped []byte
	err := r.store.View(ctx, func(tx store.Tx) error {
		d, err := tx.Get(kindKey, owner)
		wrapped = d.Value
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w for %s", ErrNoKey, owner)
	}
	if err != nil {
		return nil, err
	}
	secret, err := r.wrap.Unwrap(ctx, wrapped, owner)
	if err != nil {
		return nil, fmt.Errorf("seal: unwrap the key of %s: %w", owner, err)
	}
	if len(secret) != KeySize {
		return nil, fmt.Errorf("seal: the key of %s: %w", owner, ErrDamaged)
	}
	k := &Key{}
	k.keep(secret)
	k, err = r.double(ctx, owner, k)
	if err != nil {
		return nil, err
	}
	r.keys[owner] = k
	return k, nil
}

// Forget drops the owner's key from memory, overwriting it. The next use unwraps it again, if the Wrapper
// still does: revocation is a Wrapper that refuses, and Forget.
func (r *Keyring) Forget(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.refused, owner)
	if k := r.keys[owner]; k != nil {
		k.Forget()
		delete(r.keys, owner)
	}
	if r.second != nil {
		r.second.Forget(infrastructureOwner(owner))
	}
}

// Destroy forgets the owner's key and deletes its wrapped form: what it sealed can never be opened again.
func (r *Keyring) Destroy(ctx context.Context, owner string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(kindKey, owner, store.Any) })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if k := r.keys[owner]; k != nil {
		k.Forget()
		delete(r.keys, owner)
	}
	if r.second != nil {
		return r.second.Destroy(ctx, infrastructureOwner(owner))
	}
	return nil
}

// Close forgets every key.
func (r *Keyring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for owner, k := range r.keys {
		k.Forget()
		delete(r.keys, owner)
	}
}
