package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"vauban.dev/seal"
	"vauban.dev/store/sqlite"
)

const place = "blob/acct/ref"

func pattern(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

var sizes = []int{0, 1, 100, seal.ChunkSize - 1, seal.ChunkSize, seal.ChunkSize + 1, 2 * seal.ChunkSize, 5*seal.ChunkSize + 7}

func stream(t testing.TB, k *seal.Key, plain []byte, writes int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := seal.NewWriter(&out, k, place)
	if err != nil {
		t.Fatal(err)
	}
	for p := plain; len(p) > 0; {
		n := min(writes, len(p))
		if _, err := w.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	if w.Size() != int64(len(plain)) {
		t.Errorf("Size = %d, want %d", w.Size(), len(plain))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	k := seal.NewKey()
	for _, n := range sizes {
		for _, writes := range []int{1 << 20, 1000, seal.ChunkSize, seal.ChunkSize * 2} {
			plain := pattern(n)
			sealed := stream(t, k, plain, writes)
			if int64(len(sealed)) != seal.SealedSize(int64(n)) {
				t.Errorf("%d bytes sealed to %d, SealedSize says %d", n, len(sealed), seal.SealedSize(int64(n)))
			}
			got, err := k.Open(nil, sealed, place)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Open of a stream of %d bytes in writes of %d: %v", n, writes, err)
			}
		}
		sealed, err := k.Seal(nil, pattern(n), place)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := seal.NewReader(bytes.NewReader(sealed), int64(len(sealed)), k, place)
		if err != nil {
			t.Fatal(err)
		}
		if wrote, err := r.WriteRange(&out, 0, 1<<40); err != nil || wrote != int64(n) || !bytes.Equal(out.Bytes(), pattern(n)) {
			t.Errorf("WriteRange of %d bytes: %d, %v", n, wrote, err)
		}
	}
}

func TestRanges(t *testing.T) {
	k := seal.NewKey()
	plain := pattern(5*seal.ChunkSize + 7)
	sealed := stream(t, k, plain, 1<<20)
	r, err := seal.NewReader(bytes.NewReader(sealed), int64(len(sealed)), k, place)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.IntRange(0, len(plain)+10).Draw(t, "off")
		n := rapid.IntRange(0, len(plain)).Draw(t, "n")
		p := make([]byte, n)
		got, err := r.ReadAt(p, int64(off))
		want := plain[min(off, len(plain)):min(off+n, len(plain))]
		if !bytes.Equal(p[:got], want) {
			t.Fatalf("ReadAt(%d, %d): %d bytes, want %d", off, n, got, len(want))
		}
		if (err == io.EOF) != (got < n) || err != nil && err != io.EOF {
			t.Fatalf("ReadAt(%d, %d): %v", off, n, err)
		}
	})
}

// TestDamage changes a stream in every way that its owner did not mean: none of it opens.
func TestDamage(t *testing.T) {
	k := seal.NewKey()
	const chunk = seal.ChunkSize + 16
	sealed := stream(t, k, pattern(3*seal.ChunkSize+100), 1<<20)
	head := len(sealed) - 3*chunk - 116
	cut := func(n int) []byte { return bytes.Clone(sealed[:n]) }
	swap := bytes.Clone(sealed)
	copy(swap[head:], sealed[head+chunk:head+2*chunk])
	copy(swap[head+chunk:], sealed[head:head+chunk])
	twice := append(cut(head+chunk), sealed[head:]...)
	dropped := append(cut(head+chunk), sealed[head+2*chunk:]...)
	other := stream(t, k, pattern(3*seal.ChunkSize+100), 1<<20)
	mixed := append(cut(head+chunk), other[head+chunk:]...)
	tests := map[string][]byte{
		"empty": nil, "header only": cut(head), "half a tag": cut(head + 8),
		"cut in the last chunk": cut(len(sealed) - 1), "cut after a chunk": cut(head + 2*chunk), "cut in a chunk": cut(head + chunk + 50),
		"two chunks swapped": swap, "a chunk twice": twice, "a chunk dropped": dropped, "chunks of another stream": mixed,
		"bytes appended": append(cut(len(sealed)), 0), "a chunk appended": append(cut(len(sealed)), sealed[head:head+chunk]...),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) { mustNotOpen(t, k, b, place) })
	}
	for _, i := range []int{0, 3, 4, head - 1, head, head + 100, head + chunk - 1, head + chunk, len(sealed) - 1} {
		t.Run(fmt.Sprintf("bit flipped in byte %d", i), func(t *testing.T) {
			b := bytes.Clone(sealed)
			b[i] ^= 1
			mustNotOpen(t, k, b, place)
		})
	}
	t.Run("another place", func(t *testing.T) { mustNotOpen(t, k, sealed, "blob/acct/other") })
	t.Run("another key", func(t *testing.T) { mustNotOpen(t, seal.NewKey(), sealed, place) })
}

func mustNotOpen(t *testing.T, k *seal.Key, b []byte, place string) {
	t.Helper()
	if _, err := k.Open(nil, b, place); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("Open: %v, want ErrDamaged", err)
	}
	r, err := seal.NewReader(bytes.NewReader(b), int64(len(b)), k, place)
	if err == nil {
		_, err = r.WriteRange(io.Discard, 0, 1<<40)
	}
	if !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("Reader: %v, want ErrDamaged", err)
	}
}

func TestForget(t *testing.T) {
	k := seal.NewKey()
	sealed := stream(t, k, pattern(3*seal.ChunkSize), 1<<20)
	r, err := seal.NewReader(bytes.NewReader(sealed), int64(len(sealed)), k, place)
	if err != nil {
		t.Fatal(err)
	}
	w, err := seal.NewWriter(io.Discard, k, place)
	if err != nil {
		t.Fatal(err)
	}
	k.Forget()
	k.Forget()
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("an open reader: %v", err)
	}
	if _, err := w.Write(make([]byte, 2*seal.ChunkSize)); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("an open writer: %v", err)
	}
	if err := w.Close(); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("Close of an open writer: %v", err)
	}
	if _, err := k.Open(nil, sealed, place); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("Open: %v", err)
	}
	if _, err := k.Derive("x", 32); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("Derive: %v", err)
	}
}

func TestPlatformKey(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "platform.key")
	var wg sync.WaitGroup
	keys := make([]*seal.PlatformKey, 8)
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = seal.OpenPlatformKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wrapped, err := keys[0].Wrap(ctx, []byte("data key"), "blob/a")
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if got, err := k.Unwrap(ctx, wrapped, "blob/a"); err != nil || string(got) != "data key" {
			t.Errorf("key %d: %q, %v: not the same key", i, got, err)
		}
	}
	if _, err := keys[0].Unwrap(ctx, wrapped, "blob/b"); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("another owner: %v", err)
	}
	for _, b := range [][]byte{nil, wrapped[:5], wrapped[:20]} {
		if _, err := keys[0].Unwrap(ctx, b, "blob/a"); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
	if names, _ := filepath.Glob(filepath.Dir(path) + "/.key-*"); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.OpenPlatformKey(path); err == nil {
		t.Error("a key that others can read was opened")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.OpenPlatformKey(path); err == nil {
		t.Error("a short key was opened")
	}
}

func TestKeyring(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st, err := sqlite.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pk, err := seal.OpenPlatformKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	ring := seal.NewKeyring(st, pk)
	if _, err := ring.Existing(ctx, "blob/a"); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("Existing before Key: %v", err)
	}
	k, err := ring.Key(ctx, "blob/a")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(nil, []byte("hello"), place)
	if err != nil {
		t.Fatal(err)
	}
	ring.Forget("blob/a")
	if _, err := k.Open(nil, sealed, place); !errors.Is(err, seal.ErrForgotten) {
		t.Errorf("after Forget: %v", err)
	}
	for name, r := range map[string]*seal.Keyring{"same": ring, "restarted": seal.NewKeyring(st, pk)} {
		k, err := r.Key(ctx, "blob/a")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(nil, sealed, place); err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := ring.Destroy(ctx, "blob/a"); err != nil {
		t.Fatal(err)
	}
	fresh, err := ring.Key(ctx, "blob/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Open(nil, sealed, place); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("after Destroy: %v", err)
	}
	ring.Close()
}

func FuzzOpen(f *testing.F) {
	k := seal.NewKey()
	for _, n := range []int{0, 10, seal.ChunkSize + 1} {
		b, _ := k.Seal(nil, pattern(n), place)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := k.Open(nil, b, place)
		if err == nil && seal.SealedSize(int64(len(plain))) != int64(len(b)) {
			t.Errorf("%d bytes opened to %d", len(b), len(plain))
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	k, plain := seal.NewKey(), pattern(1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		w, err := seal.NewWriter(io.Discard, k, place)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	k := seal.NewKey()
	sealed := stream(b, k, pattern(1<<20), 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		r, err := seal.NewReader(bytes.NewReader(sealed), int64(len(sealed)), k, place)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.WriteRange(io.Discard, 0, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal4K(b *testing.B) {
	k, plain := seal.NewKey(), pattern(4<<10)
	b.SetBytes(4 << 10)
	for b.Loop() {
		if _, err := k.Seal(nil, plain, place); err != nil {
			b.Fatal(err)
		}
	}
}
