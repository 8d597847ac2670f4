package password

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestHashAndVerify(t *testing.T) {
	ctx := context.Background()
	h, err := Hash(ctx, "Correct horse 1")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", h)
	}
	for password, want := range map[string]bool{"Correct horse 1": true, "correct horse 1": false, "": false, strings.Repeat("x", MaxLength+1): false} {
		if got, err := Verify(ctx, h, password); err != nil || got != want {
			t.Errorf("%.20q: %v %v", password, got, err)
		}
	}
	if ok, err := Verify(ctx, "", ""); ok || err != nil {
		t.Errorf("nobody's password: %v %v", ok, err)
	}
	if again, _ := Hash(ctx, "Correct horse 1"); again == h {
		t.Error("two hashes of one password are equal")
	}
}

func TestKnownHash(t *testing.T) { // of the reference implementation: argon2 -id -v 13 -t 2 -m 8 -p 1, salt "somesalt"
	const known = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	if ok, err := Verify(context.Background(), known, "password"); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func TestWaitingEnds(t *testing.T) {
	for range AtOnce {
		slots <- struct{}{}
	}
	defer func() {
		for range AtOnce {
			<-slots
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for password, ok := range map[string]bool{
		"Abcdefg1": true, "abcdef-1": true, "ABCDEF 1": true, "Abcdefg": false, "abcdefgh": false, "abcdefg1": false,
		"Abcdef1\n": false, strings.Repeat("aB3", 85): true, strings.Repeat("aB3", 86): false, "": false,
	} {
		if err := Check(password); (err == nil) != ok {
			t.Errorf("%.20q: %v", password, err)
		}
	}
	seen := map[string]bool{}
	for range 100 {
		p := New()
		if err := Check(p); err != nil || len(p) != 19 || seen[p] {
			t.Errorf("%q: %v", p, err)
		}
		seen[p] = true
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=0$$")
	f.Fuzz(func(t *testing.T, text string) {
		p, hash, err := parse(text)
		if err == nil && (p.memory > 4*memoryKiB || p.lanes == 0 || p.passes == 0 || len(hash) < 16) {
			t.Errorf("%q is taken as %+v", text, p)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	h, err := Hash(ctx, "Correct horse 1")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, _ := Verify(ctx, h, "Correct horse 1"); !ok {
			b.Fatal("refused")
		}
	}
}
