package seal

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Wrapper encrypts data keys. The platform's key is one; a customer's key in Key Vault is another. An error
// of Unwrap other than ErrDamaged means that the wrapping key cannot be used now (revoked, disabled, out of reach).
type Wrapper interface {
	// Wrap encrypts a data key for owner.
	Wrap(ctx context.Context, dataKey []byte, owner string) ([]byte, error)
	// Unwrap decrypts what Wrap returned for the same owner; ErrDamaged if it is anything else.
	Unwrap(ctx context.Context, wrapped []byte, owner string) ([]byte, error)
}

// PlatformKey is the region's own wrapping key, kept in a file of the data directory.
type PlatformKey struct{ aead cipher.AEAD }

// OpenPlatformKey reads the key in the file at path and makes it when there is none. The file holds 32 random
// bytes, readable by its owner only; a file that others may read is refused. A crash leaves either no file
// or a whole one.
func OpenPlatformKey(path string) (*PlatformKey, error) {
	key, err := OpenKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal: platform key: %w", err)
	}
	defer clear(key)
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return &PlatformKey{aead}, nil
}

// OpenKeyFile is the key in such a file, which it makes when there is none.
func OpenKeyFile(path string) ([]byte, error) {
	key, err := ReadKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKeyFile(path); err == nil {
			key, err = ReadKeyFile(path)
		}
	}
	return key, err
}

// ReadKeyFile is OpenKeyFile that makes none: fs.ErrNotExist.
func ReadKeyFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o): set it to 0600", path, st.Mode().Perm())
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("%s holds %d bytes, a key has %d", path, len(key), KeySize)
	}
	return key, nil
}

// makeKeyFile writes a new key beside path and links it into place, which fails if another process was first;
// then that process' key is the one.
func makeKeyFile(path string) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name()), syncDir(dir)) }()
	key := make([]byte, KeySize)
	rand.Read(key)
	defer clear(key)
	_, err = tmp.Write(key)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Wrap implements Wrapper: nonce (12 bytes, random) ‖ AES-256-GCM.
func (p *PlatformKey) Wrap(_ context.Context, dataKey []byte, owner string) ([]byte, error) {
	n := make([]byte, 12, 12+len(dataKey)+tagSize)
	rand.Read(n)
	return p.aead.Seal(n, n, dataKey, []byte(owner)), nil
}

// Unwrap implements Wrapper.
func (p *PlatformKey) Unwrap(_ context.Context, wrapped []byte, owner string) ([]byte, error) {
	if len(wrapped) < 12 {
		return nil, ErrDamaged
	}
	key, err := p.aead.Open(nil, wrapped[:12], wrapped[12:], []byte(owner))
	if err != nil {
		return nil, ErrDamaged
	}
	return key, nil
}
