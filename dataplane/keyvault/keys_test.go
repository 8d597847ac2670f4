package keyvault

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"vauban.dev/dataplane/keyvault/jwk"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// used is the answer to an operation with a key.
type used struct {
	KID   string
	Value string
}

func (f *fixture) use(path, body string) (u used) {
	f.Helper()
	a := f.raw("POST", path, body, 200)
	if err := json.Unmarshal([]byte(a), &u); err != nil {
		f.Fatal(err)
	}
	return u
}

// raw does a call whose answer is no bundle.
func (f *fixture) raw(method, path, body string, status int) string {
	f.Helper()
	w := f.send(method, path, body, "tok")
	if w.Code != status {
		f.Fatalf("%s %s = %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	return w.Body.String()
}

func (f *fixture) key(name, body string) (id string, a answer) {
	f.Helper()
	a = f.want("POST", "/keys/"+name+"/create", body, 200, "", "")
	return strings.TrimPrefix(a.Key.KID, "https://labkv.vault.azure.net"), a
}

func TestKeyTypes(t *testing.T) {
	f := newFixture(t)
	f.vault.Premium = true
	digest := map[string][]byte{}
	for n, size := range map[string]int{"256": 32, "384": 48, "512": 64} {
		digest[n] = []byte(strings.Repeat("d", size))
	}
	for _, tt := range []struct {
		body  string
		sign  []string
		crypt []string
	}{
		{`{"kty":"RSA"}`, []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, []string{"RSA1_5", "RSA-OAEP", "RSA-OAEP-256"}},
		{`{"kty":"RSA-HSM"}`, []string{"RS256"}, []string{"RSA-OAEP-256"}},
		{`{"kty":"EC"}`, []string{"ES256"}, nil},
		{`{"kty":"EC-HSM","crv":"P-384"}`, []string{"ES384"}, nil},
		{`{"kty":"EC","crv":"P-521"}`, []string{"ES512"}, nil},
		{`{"kty":"EC","crv":"P-256K"}`, []string{"ES256K"}, nil},
		{`{"kty":"oct-HSM"}`, nil, []string{"A256GCM", "A256KW"}},
	} {
		id, a := f.key("k"+randomVersion(), tt.body)
		if strings.Contains(a.raw, `"d"`) || strings.Contains(a.raw, `"p"`) || strings.Contains(a.raw, `"k"`) {
			t.Errorf("a private part is shown: %s", a.raw)
		}
		for _, alg := range tt.sign {
			d := b64(digest[alg[2:5]])
			sig := f.use(id+"/sign", fmt.Sprintf(`{"alg":%q,"value":%q}`, alg, d))
			verify := fmt.Sprintf(`{"alg":%q,"digest":%q,"value":%q}`, alg, d, sig.Value)
			if got := f.raw("POST", id+"/verify", verify, 200); got != `{"value":true}` {
				t.Errorf("%s %s: %s", tt.body, alg, got)
			}
			other := b64([]byte(strings.Repeat("e", len(digest[alg[2:5]]))))
			if got := f.raw("POST", id+"/verify", fmt.Sprintf(`{"alg":%q,"digest":%q,"value":%q}`, alg, other, sig.Value), 200); got != `{"value":false}` {
				t.Errorf("%s %s, another digest: %s", tt.body, alg, got)
			}
			f.want("POST", id+"/sign", fmt.Sprintf(`{"alg":%q,"value":"AAAA"}`, alg), 400, "BadParameter", "")
		}
		for _, alg := range tt.crypt {
			plain := b64([]byte("sixteen bytes of"))
			for _, ops := range [][2]string{{"encrypt", "decrypt"}, {"wrapkey", "unwrapkey"}} {
				c := f.raw("POST", id+"/"+ops[0], fmt.Sprintf(`{"alg":%q,"value":%q}`, alg, plain), 200)
				var in map[string]string
				if err := json.Unmarshal([]byte(c), &in); err != nil {
					t.Fatal(err)
				}
				in["alg"] = alg
				body, _ := json.Marshal(in)
				if got := f.use(id+"/"+ops[1], string(body)); got.Value != plain {
					t.Errorf("%s %s: %q", alg, ops[1], got.Value)
				}
				in["value"] = b64(make([]byte, 256))
				body, _ = json.Marshal(in)
				f.want("POST", id+"/"+ops[1], string(body), 400, "BadParameter", "")
			}
		}
	}
}

func TestKeyRefusals(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct{ body, inner string }{
		{`{"kty":"oct"}`, "KeyTypeNotSupported"}, {`{"kty":"oct-HSM"}`, "KeyTypeNotSupported"}, {`{"kty":"RSA-HSM"}`, "KeyTypeNotSupported"},
		{`{"kty":"EC-HSM"}`, "KeyTypeNotSupported"}, {`{"kty":"x"}`, "KeyTypeNotSupported"}, {`{}`, ""}, {`{"kty":"RSA","key_size":1024}`, ""},
		{`{"kty":"RSA","key_size":8192}`, ""}, {`{"kty":"EC","crv":"P-224"}`, ""}, {`{"kty":"RSA","key_ops":["fly"]}`, ""}, {`{"kty":"RSA","public_exponent":3}`, ""},
		{`{"kty":1}`, ""}, {``, ""}, {`{"kty":"EC","attributes":{"nbf":2000000000,"exp":1000000000}}`, ""},
	} {
		f.want("POST", "/keys/k/create", tt.body, 400, "BadParameter", tt.inner)
	}
	f.want("POST", "/keys/a_b/create", `{"kty":"EC"}`, 400, "BadParameter", "")
	f.want("POST", "/keys/k/create", `{"kty":"EC","attributes":{"exportable":true}}`, 501, "NotImplemented", "")
	f.want("POST", "/keys/k/create", `{"kty":"EC","release_policy":{"data":"e30"}}`, 501, "NotImplemented", "")
	f.want("POST", "/rng", `{"count":8}`, 400, "NotSupported", "")
	f.want("GET", "/keys/k", "", 404, "KeyNotFound", "")
	id, _ := f.key("k", `{"kty":"EC","key_ops":["sign"]}`)
	body := fmt.Sprintf(`{"alg":"ES256","value":%q}`, b64(make([]byte, 32)))
	f.want("POST", id+"/verify", fmt.Sprintf(`{"alg":"ES256","digest":%q,"value":"AAAA"}`, b64(make([]byte, 32))), 403, "Forbidden", "KeyOperationForbidden")
	f.want("POST", id+"/sign", `{"alg":"RS256","value":"AAAA"}`, 400, "BadParameter", "")
	f.want("POST", id+"/sign", `{"alg":"ES384","value":"AAAA"}`, 400, "BadParameter", "")
	f.want("POST", id+"/sign", `{"value":"AAAA"}`, 400, "BadParameter", "")
	f.want("POST", id+"/sign", `{"alg":"ES256","value":"*"}`, 400, "BadParameter", "")
	f.want("POST", "/keys/k/"+randomVersion()+"/sign", body, 404, "KeyNotFound", "")
	f.want("POST", id+"/release", `{"target":"x"}`, 501, "NotImplemented", "")
	f.raw("POST", "/keys/k//sign", body, 200)
	f.want("PATCH", "/keys/k", `{"attributes":{"enabled":false}}`, 200, "", "")
	f.want("POST", id+"/sign", body, 403, "Forbidden", "KeyDisabled")
	f.want("GET", id, "", 200, "", "")
}

// TestKeyTimes: outside its times a key signs nothing, and what it protected before stays readable.
func TestKeyTimes(t *testing.T) {
	f := newFixture(t)
	now := f.clock.Now()
	id, _ := f.key("k", fmt.Sprintf(`{"kty":"RSA","attributes":{"nbf":%d,"exp":%d}}`, now.Add(time.Hour).Unix(), now.Add(2*time.Hour).Unix()))
	body := fmt.Sprintf(`{"alg":"RSA-OAEP","value":%q}`, b64([]byte("data")))
	f.want("POST", id+"/wrapkey", body, 403, "Forbidden", "KeyNotYetValid")
	f.clock.move(time.Hour)
	c := f.use(id+"/wrapkey", body)
	f.clock.move(time.Hour)
	f.want("POST", id+"/wrapkey", body, 403, "Forbidden", "KeyExpired")
	if got := f.use(id+"/unwrapkey", fmt.Sprintf(`{"alg":"RSA-OAEP","value":%q}`, c.Value)); got.Value != b64([]byte("data")) {
		t.Errorf("unwrapped %q", got.Value)
	}
}

func TestLifeOfAKey(t *testing.T) {
	f := newFixture(t)
	id, first := f.key("Tls-Key", `{"kty":"EC","tags":{"a":"b"}}`)
	_, second := f.key("tls-key", `{"kty":"EC"}`)
	if first.Key.KID == second.Key.KID || !strings.Contains(second.Key.KID, "/Tls-Key/") {
		t.Errorf("%s and %s", first.Key.KID, second.Key.KID)
	}
	if l := f.want("GET", "/keys", "", 200, "", "").Items; len(l) != 1 || l[0].KID != "https://labkv.vault.azure.net/keys/Tls-Key" || l[0].Key != nil {
		t.Errorf("list: %+v", l)
	}
	if l := f.want("GET", "/keys/tls-key/versions", "", 200, "", "").Items; len(l) != 2 {
		t.Errorf("versions: %+v", l)
	}
	f.want("PATCH", id, `{"key_ops":["verify"],"tags":{"c":"d"}}`, 200, "", "")
	if a := f.want("GET", id, "", 200, "", ""); len(a.Key.Operations) != 1 || a.Tags["c"] != "d" {
		t.Errorf("updated: %s", a.raw)
	}
	backup := f.want("POST", "/keys/tls-key/backup", "", 200, "", "")
	f.want("DELETE", "/keys/tls-key", "", 200, "", "")
	f.want("GET", id, "", 404, "KeyNotFound", "")
	f.want("POST", id+"/sign", `{"alg":"ES256","value":"AAAA"}`, 404, "KeyNotFound", "")
	f.want("POST", "/keys/tls-key/create", `{"kty":"EC"}`, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	f.want("GET", "/deletedkeys/tls-key", "", 200, "", "")
	f.want("POST", "/deletedkeys/tls-key/recover", "", 200, "", "")
	f.want("GET", id, "", 200, "", "")
	f.want("DELETE", "/keys/tls-key", "", 200, "", "")
	f.want("DELETE", "/deletedkeys/tls-key", "", 204, "", "")
	f.want("POST", "/secrets/restore", `{"value":"`+*backup.Value+`"}`, 400, "BadParameter", "")
	f.want("POST", "/keys/restore", `{"value":"`+*backup.Value+`"}`, 200, "", "")
	kid := strings.TrimPrefix(second.Key.KID, "https://labkv.vault.azure.net")
	f.raw("POST", kid+"/sign", fmt.Sprintf(`{"alg":"ES256","value":%q}`, b64(make([]byte, 32))), 200)
	if err := f.DestroyVault(context.Background(), "labkv"); err != nil {
		t.Fatal(err)
	}
	f.noDocs()
}

func jwkOf(k *rsa.PrivateKey) string {
	b := func(n *big.Int) string { return b64(n.Bytes()) }
	return fmt.Sprintf(`{"key":{"kty":"RSA","n":%q,"e":%q,"d":%q,"p":%q,"q":%q}}`, b(k.N), b(big.NewInt(int64(k.E))), b(k.D), b(k.Primes[0]), b(k.Primes[1]))
}

func TestImportKey(t *testing.T) {
	f := newFixture(t)
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a := f.want("PUT", "/keys/mine", jwkOf(k), 200, "", "")
	id := strings.TrimPrefix(a.Key.KID, "https://labkv.vault.azure.net")
	c, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.PublicKey, []byte("hello"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.use(id+"/decrypt", fmt.Sprintf(`{"alg":"RSA-OAEP-256","value":%q}`, b64(c))); got.Value != b64([]byte("hello")) {
		t.Errorf("decrypted %q", got.Value)
	}
	ec, err := jwk.Generate("EC", 0, "P-256K")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ec.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := ec.Public()
	f.want("PUT", "/keys/k256", fmt.Sprintf(`{"key":{"kty":"EC","crv":"P-256K","d":%q,"x":%q,"y":%q}}`, b64(raw[4:]), b64(p.X), b64(p.Y)), 200, "", "")
	f.want("PUT", "/keys/k256", fmt.Sprintf(`{"key":{"kty":"EC","crv":"P-256K","d":%q,"x":%q,"y":%q}}`, b64(raw[4:]), b64(p.Y), b64(p.X)), 400, "BadParameter", "")
	k.D.Add(k.D, big.NewInt(2))
	f.want("PUT", "/keys/bad", jwkOf(k), 400, "BadParameter", "")
	for _, body := range []string{`{}`, `{"key":{}}`, `{"key":{"kty":"RSA"}}`, `{"key":{"kty":"oct","k":"AAAA"}}`, `{"key":{"kty":"EC","crv":"P-256","d":"AA"}}`} {
		if a := f.do("PUT", "/keys/bad", body, "tok"); a.status != 400 || a.Error.Code != "BadParameter" {
			t.Errorf("%s: %s", body, a.raw)
		}
	}
	f.want("PUT", "/keys/bad", `{"key":{"kty":"RSA-HSM","key_hsm":"AAAA"}}`, 501, "NotImplemented", "")
}

func TestRotation(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.key("k", `{"kty":"EC","tags":{"a":"b"}}`)
	if p := f.raw("GET", "/keys/k/rotationpolicy", "", 200); !strings.Contains(p, "P30D") || !strings.Contains(p, "Notify") {
		t.Errorf("the policy of a key without one: %s", p)
	}
	for _, bad := range []string{
		`{"attributes":{"expiryTime":"P27D"}}`, `{"attributes":{"expiryTime":"90 days"}}`, `{"lifetimeActions":[{"trigger":{},"action":{"type":"Rotate"}}]}`,
		`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P6D"},"action":{"type":"Rotate"}}]}`, `{"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Rotate"}}]}`,
		`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Fly"}}]}`, `{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Notify"}}]}`,
		`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P88D"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P90D"}}`,
	} {
		f.want("PUT", "/keys/k/rotationpolicy", bad, 400, "BadParameter", "")
	}
	f.raw("PUT", "/keys/k/rotationpolicy", `{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P30D"},"action":{"type":"rotate"}}],"attributes":{"expiryTime":"P90D"}}`, 200)
	count := func() int { return len(f.want("GET", "/keys/k/versions", "", 200, "", "").Items) }
	turn := func(move time.Duration, want int) {
		t.Helper()
		f.clock.move(move)
		if err := f.Rotate(ctx); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != want {
			t.Errorf("%d versions, want %d", n, want)
		}
	}
	turn(30*24*time.Hour-time.Second, 1)
	turn(time.Second, 2)
	turn(0, 2)
	turn(365*24*time.Hour, 3)
	a := f.want("GET", "/keys/k", "", 200, "", "")
	if *a.Attributes.Expires-*a.Attributes.Created != 90*24*3600 || a.Tags["a"] != "b" {
		t.Errorf("rotated: %s", a.raw)
	}
	f.want("POST", "/keys/k/rotate", "", 200, "", "")
	if count() != 4 {
		t.Error("rotate made no version")
	}
	f.want("DELETE", "/keys/k", "", 200, "", "")
	f.clock.move(6 * 24 * time.Hour)
	if err := f.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyPermissions: each operation asks for its own permission and data action.
func TestPolicyPermissions(t *testing.T) {
	f := newFixture(t)
	f.vault.RBAC = false
	for key, r := range routes {
		method, form, _ := strings.Cut(key, " ")
		path := "/" + strings.NewReplacer("/N", "/name", "/V", "/"+strings.Repeat("a", 32), "/I", "/issuer").Replace(form)
		grant := func(with []string) {
			f.vault.AccessPolicies = []AccessPolicy{{ObjectID: "alice"}}
			p := &f.vault.AccessPolicies[0]
			switch {
			case strings.Contains(form, "secrets"):
				p.Secrets = with
			case strings.Contains(form, "certificates"):
				p.Certificates = with
			default:
				p.Keys = with
			}
		}
		grant(nil)
		f.want(method, path, "{}", 403, "Forbidden", "ForbiddenByPolicy")
		grant([]string{r.permission})
		if w := f.send(method, path, "{}", "tok"); strings.Contains(w.Body.String(), "ForbiddenByPolicy") {
			t.Errorf("%s with %s: %s", key, r.permission, w.Body)
		}
		grant([]string{"All"})
		if w := f.send(method, path, "{}", "tok"); strings.Contains(w.Body.String(), "ForbiddenByPolicy") != (r.permission == "purge") {
			t.Errorf("%s with all: %s", key, w.Body)
		}
		f.vault.RBAC = true
		f.grants = map[string]bool{}
		f.want(method, path, "{}", 403, "Forbidden", "ForbiddenByRbac")
		f.grants["Microsoft.KeyVault/vaults/"+r.action] = true
		if w := f.send(method, path, "{}", "tok"); strings.Contains(w.Body.String(), "ForbiddenByRbac") {
			t.Errorf("%s with %s: %s", key, r.action, w.Body)
		}
		f.vault.RBAC, f.grants = false, nil
	}
}

// TestLog: each operation leaves a line with the caller and the origin, and nothing secret.
func TestLog(t *testing.T) {
	f := newFixture(t)
	var out strings.Builder
	f.Service.Log = slog.New(slog.NewTextHandler(&out, nil))
	const value = "the-value-that-no-log-may-have"
	f.want("PUT", "/secrets/s", `{"value":"`+value+`"}`, 200, "", "")
	f.want("GET", "/secrets/s", "", 200, "", "")
	f.want("GET", "/keys/none", "", 404, "KeyNotFound", "")
	got := out.String()
	for _, want := range []string{"operation=SecretSet", "operation=SecretGet", "operation=KeyGet", "status=404", "code=KeyNotFound", "oid=alice", "appid=app", "203.0.113.9"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, value) || strings.Contains(got, "Bearer") {
		t.Errorf("a secret is in\n%s", got)
	}
}

func FuzzRotationPolicy(f *testing.F) {
	f.Add([]byte(`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P30D"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P1Y2M3D"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p rotationPolicy
		if json.Unmarshal(b, &p) != nil || p.check() != nil {
			return
		}
		if at, ok := p.next(1, 0); ok && at.Unix() <= 1 {
			t.Errorf("rotates at %s", at)
		}
	})
}

func FuzzCertificatePolicy(f *testing.F) {
	f.Add([]byte(`{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=a","sans":{"dns_names":["a"]},"ekus":["1.2.3"],"validity_months":3}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p certificatePolicy
		if json.Unmarshal(b, &p) != nil {
			return
		}
		p.complete()
		_ = p.check(Vault{Premium: true})
	})
}
