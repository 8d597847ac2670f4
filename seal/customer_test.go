package seal_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"vauban.dev/seal"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// fakeVault wraps by XOR with its version and refuses when it is closed.
type fakeVault struct {
	newest  string
	closed  bool
	unwraps int
}

var errClosed = &seal.Unavailable{Code: "KeyVaultEncryptionKeyNotFound", Key: "kv/k", Reason: "closed"}

func (v *fakeVault) Newest(_ context.Context, k seal.CustomerKey) (string, error) {
	if v.closed {
		return "", errClosed
	}
	if k.Version != "" {
		return k.Version, nil
	}
	return v.newest, nil
}

func (v *fakeVault) crypt(version string, b []byte) ([]byte, error) {
	if v.closed {
		return nil, errClosed
	}
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= version[0]
	}
	return out, nil
}

func (v *fakeVault) Wrap(_ context.Context, _ seal.CustomerKey, version string, b []byte) ([]byte, error) {
	return v.crypt(version, b)
}

func (v *fakeVault) Unwrap(_ context.Context, _ seal.CustomerKey, version string, b []byte) ([]byte, error) {
	v.unwraps++
	return v.crypt(version, b)
}

// TestCustomerKeys is the life of a data key under a customer's key: taken over from the platform's, rotated, revoked, restored, after
// a restart, given back. What was sealed at first opens whenever anything opens.
func TestCustomerKeys(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st, err := sqlite.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	platform, err := seal.OpenPlatformKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	const owner = "blob/acct"
	vault := &fakeVault{newest: "1"}
	var want *seal.CustomerKey
	keys := &seal.CustomerKeys{Platform: platform, Vault: vault, Lookup: func(context.Context, string) (*seal.CustomerKey, error) { return want, nil }}
	ring := seal.NewKeyring(st, keys)
	k, err := ring.Key(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(nil, []byte("data"), "place")
	if err != nil {
		t.Fatal(err)
	}
	used := func() (version string) {
		t.Helper()
		if err := st.View(ctx, func(tx store.Tx) error {
			_, version, _, _ = seal.ProtectedBy(tx, owner)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return version
	}
	refresh := func(wantVersion string) {
		t.Helper()
		if err := ring.Refresh(ctx, keys, owner); err != nil {
			t.Fatal(err)
		}
		if v := used(); v != wantVersion {
			t.Errorf("wrapped by %q, want %q", v, wantVersion)
		}
	}
	// readable asks a new keyring, which has nothing in memory, as after a restart.
	readable := func(wantErr bool) {
		t.Helper()
		k, err := seal.NewKeyring(st, keys).Existing(ctx, owner)
		var no *seal.Unavailable
		if wantErr {
			if !errors.As(err, &no) {
				t.Errorf("the key was unwrapped: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := k.Open(nil, sealed, "place"); err != nil || string(plain) != "data" {
			t.Errorf("%q, %v", plain, err)
		}
	}
	refresh("")
	want = &seal.CustomerKey{Vault: "kv", Name: "k", Identity: "id"}
	vault.closed = true
	readable(true) // also while the platform's key still wraps it
	vault.closed = false
	refresh("1")
	readable(false)
	vault.newest = "2"
	refresh("2")
	readable(false)
	want = &seal.CustomerKey{Vault: "kv", Name: "k", Identity: "id", Version: "1"}
	refresh("1")

	vault.closed = true
	if err := ring.Refresh(ctx, keys, owner); !errors.Is(err, error(errClosed)) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := k.Open(nil, sealed, "place"); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("a key that was in use: %v", err)
	}
	var no *seal.Unavailable
	for range 3 {
		if _, err := ring.Existing(ctx, owner); !errors.As(err, &no) {
			t.Errorf("revoked: %v", err)
		}
	}
	readable(true)
	want = nil // giving it back to the platform needs the key as well
	readable(true)
	if err := ring.Refresh(ctx, keys, owner); err == nil {
		t.Error("a key that cannot be used was replaced")
	}
	vault.closed = false
	refresh("")
	readable(false)
	n := vault.unwraps
	readable(false)
	if vault.unwraps != n {
		t.Error("the customer's vault is still asked")
	}
}
