package e2e

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"crypto"

	"github.com/google/uuid"
)

func guidOf(s string) string { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(s)).String() }

// splitToken reads a token without checking it.
func splitToken(token string) (header, payload obj, signature string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, ""
	}
	for i, into := range []*obj{&header, &payload} {
		if b, err := base64.RawURLEncoding.DecodeString(parts[i]); err == nil {
			_ = json.Unmarshal(b, into) // nil says it
		}
	}
	return header, payload, parts[2]
}

// makeToken signs claims as the forger wants.
func makeToken(t *testing.T, header, payload obj, sign func([]byte) []byte) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(text)))
}

func with(o obj, key string, value any) obj {
	c := obj{key: value}
	for k, v := range o {
		if k != key {
			c[k] = v
		}
	}
	return c
}

func rs256(t *testing.T, key *rsa.PrivateKey) func([]byte) []byte {
	return func(b []byte) []byte {
		sum := sha256.Sum256(b)
		s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// publishedKeys are the public keys that anybody may read.
func publishedKeys(t *testing.T, g *ground) map[string]*rsa.PublicKey {
	t.Helper()
	var set struct {
		Keys []struct{ Kid, N, E string }
	}
	if err := g.send(request{Method: "GET", Token: "-", URL: "https://login.microsoftonline.com/" + g.tenant + "/discovery/v2.0/keys"}).json(&set); err != nil {
		t.Fatal(err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		n, _ := base64.RawURLEncoding.DecodeString(k.N)
		e, _ := base64.RawURLEncoding.DecodeString(k.E)
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys
}

// TestTokens: what is no valid token of this tenant for this service opens nothing, on any of the planes, and
// the refusal says what is wrong with it.
func TestTokens(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Enabled")
	other := newGround(t, nil)
	other.up()

	const arm = "https://management.azure.com"
	good, err := g.token(t.Context(), arm)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.token(t.Context(), arm)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := g.token(t.Context(), "https://vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	header, payload, signature := splitToken(good)
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := publishedKeys(t, g)[header["kid"].(string)]
	if public == nil {
		t.Fatalf("the key %v is not published", header["kid"])
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hs256 := func(key []byte) func([]byte) []byte {
		return func(b []byte) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write(b)
			return mac.Sum(nil)
		}
	}
	unsigned := func([]byte) []byte { return nil }
	parts := strings.Split(good, ".")
	admin := with(payload, "oid", uuid.NewString())

	planes := []struct {
		url, code, takes string
		anonymous        bool // knows anonymous callers, and judges them by what they ask for
	}{
		{"https://" + accountName + ".blob.core.windows.net/data?restype=container&comp=list", "InvalidAuthenticationInfo", "https://storage.azure.com", true},
		{"https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4", "Unauthorized", "https://vault.azure.net", false},
		{"https://graph.microsoft.com/v1.0/servicePrincipals", "InvalidAuthenticationToken", "https://graph.microsoft.com", false},
		{"https://" + w.guid + ".workspace." + location + ".api.azureml.ms/history/v1.0" + w.workspace + "/experiments/Default/runs/x", "UserError", "https://ml.azure.com", false},
	}
	for _, test := range []struct {
		name, token, arm, why string // arm: Resource Manager's code
	}{
		{"missing", "-", "AuthenticationFailed", "'Authorization' header is missing"},
		{"garbage", "not-a-token", "InvalidAuthenticationToken", "token"},
		{"two parts", parts[0] + "." + parts[1], "InvalidAuthenticationToken", "token"},
		{"enormous", strings.Repeat("A", 20<<10), "InvalidAuthenticationToken", "token"},
		{"alg none", makeToken(t, with(header, "alg", "none"), payload, unsigned), "InvalidAuthenticationToken", `"none"`},
		{"alg None", makeToken(t, with(header, "alg", "None"), payload, unsigned), "InvalidAuthenticationToken", "token"},
		{"HS256 with the public key as PEM", makeToken(t, with(header, "alg", "HS256"), payload, hs256(pemText)), "InvalidAuthenticationToken", `"HS256"`},
		{"HS256 with the public key as DER", makeToken(t, with(header, "alg", "HS256"), payload, hs256(der)), "InvalidAuthenticationToken", `"HS256"`},
		{"other claims, same signature", makeToken(t, header, admin, func([]byte) []byte { b, _ := base64.RawURLEncoding.DecodeString(signature); return b }), "InvalidAuthenticationToken", "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", "InvalidAuthenticationToken", "signature"},
		{"own key under the region's key id", makeToken(t, header, payload, rs256(t, own)), "InvalidAuthenticationToken", "signature"},
		{"own key, key in the header", makeToken(t, with(with(header, "kid", "mine"), "jwk", obj{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(own.N.Bytes()), "e": "AQAB"}), payload, rs256(t, own)), "InvalidAuthenticationToken", "key"},
		{"own key, jku", makeToken(t, with(with(header, "kid", "mine"), "jku", "https://203.0.113.10/keys"), payload, rs256(t, own)), "InvalidAuthenticationToken", "key"},
		{"another tenant's", foreign, "InvalidAuthenticationTokenTenant", other.tenant},
		{"wrong audience", vault, "InvalidAuthenticationTokenAudience", "vault.azure.net"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := g.send(request{Method: "GET", URL: w.group + "?api-version=" + vResources, Token: test.token})
			refused(t, a, http.StatusUnauthorized, test.arm, test.why)
			if a.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate header")
			}
			for _, p := range planes {
				if p.takes == "https://vault.azure.net" && test.token == vault || test.token == "-" && p.anonymous {
					continue
				}
				a := g.send(request{Method: "GET", URL: p.url, Token: test.token})
				why := test.why
				if test.token == "-" {
					why = ""
				}
				refused(t, a, http.StatusUnauthorized, p.code, why)
			}
		})
	}

	t.Run("expired", func(t *testing.T) {
		if a := g.send(request{Method: "GET", URL: w.group + "?api-version=" + vResources, Token: good}); !a.ok() {
			t.Fatalf("before: %s", a)
		}
		old := map[string]string{}
		for _, p := range planes {
			if old[p.takes], err = g.token(t.Context(), p.takes); err != nil {
				t.Fatal(err)
			}
		}
		g.vauban("clock", "+2h")
		const why = "is earlier than current UTC time"
		a := g.send(request{Method: "GET", URL: w.group + "?api-version=" + vResources, Token: good})
		refused(t, a, http.StatusUnauthorized, "ExpiredAuthenticationToken", why)
		for _, p := range planes {
			refused(t, g.send(request{Method: "GET", URL: p.url, Token: old[p.takes]}), http.StatusUnauthorized, p.code, why)
		}
		g.forget()
		if a := g.send(request{Method: "GET", URL: w.group + "?api-version=" + vResources}); !a.ok() {
			t.Errorf("a new token: %s", a)
		}
	})
}
