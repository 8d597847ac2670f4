package seal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"

	"vauban.dev/seal"
	"vauban.dev/store/sqlite"
)

// TestInfrastructure: what an account with infrastructure encryption seals needs both keys; what was sealed before it still opens; what is
// changed is found; and who loses the data key has lost both.
func TestInfrastructure(t *testing.T) {
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
	const owner, place = "blob/acct", "place"
	open := func(twice bool) *seal.Key {
		t.Helper()
		ring := seal.NewKeyring(st, platform)
		ring.UseInfrastructure(seal.NewKeyring(st, platform), func(_ context.Context, of string) (bool, error) { return twice && of == owner, nil })
		k, err := ring.Key(ctx, owner)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	plain := make([]byte, 3*seal.ChunkSize+100)
	rand.Read(plain)
	one, two := open(false), open(true)
	single, err := one.Seal(nil, plain, place)
	if err != nil {
		t.Fatal(err)
	}
	double, err := two.Seal(nil, plain, place)
	if err != nil {
		t.Fatal(err)
	}
	if len(single) != len(double) || int64(len(double)) != seal.SealedSize(int64(len(plain))) {
		t.Errorf("%d and %d bytes", len(single), len(double))
	}
	if _, err := one.Open(nil, double, place); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("without the second key: %v", err)
	}
	peeled := append([]byte("VSL1"), double[4:]...)
	for _, k := range []*seal.Key{one, two} {
		if _, err := k.Open(nil, peeled, place); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("as if it had one layer: %v", err)
		}
	}
	for _, sealed := range [][]byte{single, double} {
		before := bytes.Clone(sealed)
		if got, err := open(true).Open(nil, sealed, place); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s, after a restart: %v", sealed[:4], err)
		}
		if !bytes.Equal(before, sealed) {
			t.Error("opening changes what is sealed")
		}
	}
	changed := bytes.Clone(double)
	changed[len(changed)/2] ^= 1
	if _, err := two.Open(nil, changed, place); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("changed: %v", err)
	}

	var stream bytes.Buffer
	w, err := seal.NewWriter(&stream, two, place)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := seal.NewReader(bytes.NewReader(stream.Bytes()), int64(stream.Len()), two, place)
	if err != nil {
		t.Fatal(err)
	}
	var part bytes.Buffer
	from, n := int64(seal.ChunkSize-5), int64(seal.ChunkSize+10)
	if _, err := r.WriteRange(&part, from, n); err != nil || !bytes.Equal(part.Bytes(), plain[from:from+n]) {
		t.Errorf("a range: %v", err)
	}
	sub, err := two.Sub("customer's")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := sub.Seal(nil, plain, place); err != nil || string(b[:4]) != "VSL2" {
		t.Errorf("a key that is derived seals %s: %v", b[:4], err)
	}
	two.Forget()
	if _, err := r.WriteRange(&part, 0, 1); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("forgotten: %v", err)
	}
}
