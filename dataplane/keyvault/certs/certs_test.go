package certs

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"vauban.dev/dataplane/keyvault/jwk"
)

func made(t testing.TB) Bundle {
	t.Helper()
	k, err := jwk.Generate(jwk.EC, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Spec{Subject: "CN=a", DNS: []string{"a.example"}, Months: 1}.SelfSigned(k, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	b := made(t)
	pfx, err := b.PFX()
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, parse := range map[string]func() (Bundle, error){
		"PFX": func() (Bundle, error) { return ParsePFX(pfx, "") }, "PEM": func() (Bundle, error) { return ParsePEM(text) },
	} {
		got, err := parse()
		if err != nil || !got.Leaf.Equal(b.Leaf) || !bytes.Equal(got.Key.Public().X, b.Key.Public().X) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.Key = nil
	if pfx, err = b.PFX(); err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePFX(pfx, ""); err == nil {
		t.Error("a file without a private key was taken")
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"CN=a": "CN=a", "cn=a, O=b": "O=b,CN=a", `CN=a, O="b, c"`: `O=b\, c,CN=a`, `CN=a\,b`: `CN=a\,b`, "CN=a=b": "CN=a=b", "": "", "CN=a, C=FR, S=Paris": "ST=Paris,C=FR,CN=a",
	} {
		der, err := ParseName(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var seq pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &seq); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var n pkix.Name
		n.FillFromRDNSequence(&seq)
		if got := seq.String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"a", "CN", "X=a", "CN=", `CN="a`, "CN=a+O=b", `CN="a"b`, `CN=a\`} {
		if _, err := ParseName(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

// TestIterations: a file that asks for work without end is refused before any of it is done.
func TestIterations(t *testing.T) {
	type params struct {
		Salt       []byte
		Iterations *big.Int
	}
	inner, err := asn1.Marshal(params{[]byte("salt"), big.NewInt(1 << 40)})
	if err != nil {
		t.Fatal(err)
	}
	outer, err := asn1.Marshal(inner) // inside an octet string, as the authenticated safe is
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{inner, outer} {
		if checkIterations(b) == nil {
			t.Errorf("%x was let through", b)
		}
	}
	pfx, err := made(t).PFX()
	if err != nil || checkIterations(pfx) != nil {
		t.Errorf("a usual file: %v", err)
	}
}

func FuzzPFX(f *testing.F) {
	pfx, err := made(f).PFX()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pfx)
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = ParsePFX(b, "") })
}

func FuzzPEM(f *testing.F) {
	text, err := made(f).PEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = ParsePEM(b) })
}

func FuzzName(f *testing.F) {
	f.Add(`CN=a, O="b, c", OU=d\,e`)
	f.Fuzz(func(t *testing.T, s string) {
		der, err := ParseName(s)
		if err != nil {
			return
		}
		var seq pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &seq); err != nil || len(rest) > 0 {
			t.Errorf("%q: %v", s, err)
		}
	})
}
