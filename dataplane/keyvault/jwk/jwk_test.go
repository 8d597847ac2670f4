package jwk

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"testing"
)

// TestSamples checks against published vectors: RFC 7515 A.2 and A.3 (signatures by keys that are imported), RFC 3394 4.6.
func TestSamples(t *testing.T) {
	kek, _ := hex.DecodeString("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	data, _ := hex.DecodeString("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
	want := "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
	k, err := Import(Private{Public: Public{Type: Oct}, K: kek})
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := k.Encrypt("A256KW", data, nil, nil)
	if err != nil || hex.EncodeToString(wrapped.Value) != want {
		t.Errorf("A256KW: %x, %v", wrapped.Value, err)
	}
	if plain, err := k.Decrypt("A256KW", wrapped, nil); err != nil || !bytes.Equal(plain, data) {
		t.Errorf("unwrapped: %x, %v", plain, err)
	}
	ec := Private{}
	err = json.Unmarshal([]byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`), &ec)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = Import(ec); err != nil {
		t.Fatal(err)
	}
	sig, _ := base64.RawURLEncoding.DecodeString("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
	// SHA-256 of the example's signing input.
	if ok, err := k.Verify("ES256", digestOf("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"), sig); err != nil || !ok {
		t.Errorf("ES256 of RFC 7515: %v, %v", ok, err)
	}
}

func TestAES(t *testing.T) {
	k, err := Generate(Oct, 128, "")
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, 16)
	for _, tt := range []struct {
		alg   string
		plain int
		ok    bool
	}{{"A128CBC", 32, true}, {"A128CBC", 33, false}, {"A128CBCPAD", 0, true}, {"A128CBCPAD", 33, true}, {"A128GCM", 5, true}, {"A256GCM", 5, false}, {"A128KW", 8, false}, {"A128X", 16, false}, {"", 16, false}} {
		plain := bytes.Repeat([]byte("p"), tt.plain)
		out, err := k.Encrypt(tt.alg, plain, iv, []byte("aad"))
		if (err == nil) != tt.ok {
			t.Errorf("%s of %d bytes: %v", tt.alg, tt.plain, err)
		}
		if err != nil {
			continue
		}
		got, err := k.Decrypt(tt.alg, out, []byte("aad"))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %q, %v", tt.alg, got, err)
		}
		if tt.alg == "A128GCM" {
			if _, err := k.Decrypt(tt.alg, out, []byte("other")); err != errDecrypt {
				t.Errorf("another aad: %v", err)
			}
		}
	}
}

// TestOneAnswer: whatever is wrong with a text that does not decrypt, the answer is the same.
func TestOneAnswer(t *testing.T) {
	k, err := Generate(RSA, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	good, err := k.Encrypt("RSA1_5", []byte("x"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good.Value)
	flipped[len(flipped)-1] ^= 1
	for _, alg := range []string{"RSA1_5", "RSA-OAEP", "RSA-OAEP-256"} {
		for _, value := range [][]byte{nil, {1}, make([]byte, 256), bytes.Repeat([]byte{0xff}, 256), make([]byte, 300), flipped} {
			if _, err := k.Decrypt(alg, Sealed{Value: value}, nil); err != errDecrypt {
				t.Errorf("%s of %d bytes: %v", alg, len(value), err)
			}
		}
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`))
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQ","p":"Aw","q":"Aw"}`))
	f.Add([]byte(`{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA"}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256K","d":"AQ"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in Private
		if json.Unmarshal(b, &in) != nil {
			return
		}
		k, err := Import(in)
		if err != nil {
			return
		}
		m, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := k.Public(), again.Public(); !bytes.Equal(a.X, b.X) || !bytes.Equal(a.N, b.N) {
			t.Error("the key is another after it was stored")
		}
	})
}

func digestOf(s string) []byte {
	d := sha256.Sum256([]byte(s))
	return d[:]
}
