package seal

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"unsafe"

	"vauban.dev/store/sqlite"
)

// TestForgottenKeysAreOverwritten: the place of a data key holds zeros once it is forgotten, and what the Wrapper gave is overwritten
// as soon as the key has its own place.
func TestForgottenKeysAreOverwritten(t *testing.T) {
	ctx := context.Background()
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	w := &tellingWrapper{}
	if _, err := NewKeyring(st, w).Key(ctx, "blob/a"); err != nil {
		t.Fatal(err)
	}
	ring := NewKeyring(st, w)
	k, err := ring.Key(ctx, "blob/a")
	if err != nil {
		t.Fatal(err)
	}
	place := k.secret
	none := make([]byte, KeySize)
	if bytes.Equal(place, none) {
		t.Fatal("the key is zeros")
	}
	if !bytes.Equal(w.given, none) || unsafe.SliceData(w.given) == unsafe.SliceData(place) {
		t.Error("the unwrapped key stays where the wrapper had it")
	}
	ring.Forget("blob/a")
	if !bytes.Equal(place, none) {
		t.Error("a forgotten key is in memory")
	}
	if k.secret != nil {
		t.Error("a forgotten key has a secret")
	}
}

// tellingWrapper wraps by XOR and keeps what it unwrapped.
type tellingWrapper struct{ given []byte }

func (w *tellingWrapper) Wrap(_ context.Context, key []byte, _ string) ([]byte, error) {
	out := bytes.Clone(key)
	for i := range out {
		out[i] ^= 0x5a
	}
	return out, nil
}

func (w *tellingWrapper) Unwrap(ctx context.Context, wrapped []byte, owner string) ([]byte, error) {
	var err error
	w.given, err = w.Wrap(ctx, wrapped, owner)
	return w.given, err
}

func BenchmarkForget(b *testing.B) {
	for b.Loop() {
		NewKey().Forget()
	}
}
