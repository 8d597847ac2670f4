package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// payload reads a token's claims without verifying anything.
func payload(t testing.TB, token string) (c claims) {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err == nil {
		err = parsed.UnsafeClaimsWithoutVerification(&c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forge signs claims with any key.
func forge(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, payload any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(payload).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVerify(t *testing.T) {
	w, other := newWorld(t, testTenant), newWorld(t, "bbbbbbbb-0000-4000-8000-00000000000b")
	ours := w.keys.Load().current
	good := payload(t, w.tokenFor(t, AudienceARM))
	with := func(change func(*claims)) string {
		c := good
		change(&c)
		return forge(t, jose.RS256, ours.private, ours.KID, c)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := strings.Split(w.tokenFor(t, AudienceARM), ".")
	escalated := good
	escalated.OID = "00000000-0000-0000-0000-000000000001"
	run, err := w.IssueRun(context.Background(), Run{Workspace: "/w", RunID: "r", PrincipalID: w.app.ObjectID})
	if err != nil {
		t.Fatal(err)
	}
	const ok = Reason(255)
	for name, c := range map[string]struct {
		token    string
		audience string
		want     Reason
		say      string
	}{
		"good":                         {w.tokenFor(t, AudienceARM), AudienceARM, ok, ""},
		"no slash in the token":        {w.tokenFor(t, "https://management.azure.com"), AudienceARM, ok, ""},
		"no slash in what is wanted":   {w.tokenFor(t, AudienceARM), "https://management.azure.com", ok, ""},
		"audience by application id":   {w.tokenFor(t, "797f4846-ba00-4fd7-ba43-dac1f8f63013"), AudienceARM, ok, ""},
		"audience in another case":     {w.tokenFor(t, "HTTPS://Management.Azure.com/"), AudienceARM, ok, ""},
		"another service":              {w.tokenFor(t, AudienceStorage), AudienceARM, WrongAudience, "'https://storage.azure.com'"},
		"another application id":       {w.tokenFor(t, "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"), AudienceARM, WrongAudience, ""},
		"a longer audience":            {with(func(c *claims) { c.Audience = AudienceARM + "x" }), AudienceARM, WrongAudience, ""},
		"two slashes":                  {with(func(c *claims) { c.Audience = AudienceARM + "/" }), AudienceARM, WrongAudience, ""},
		"another tenant":               {other.tokenFor(t, AudienceARM), AudienceARM, WrongTenant, "https://sts.windows.net/bbbbbbbb-"},
		"issuer and tenant differ":     {with(func(c *claims) { c.TenantID = "bbbbbbbb-0000-4000-8000-00000000000b" }), AudienceARM, WrongTenant, ""},
		"our key, their issuer":        {with(func(c *claims) { c.Issuer = "https://sts.windows.net/x/" }), AudienceARM, WrongTenant, ""},
		"v1 issuer in a v2 token":      {with(func(c *claims) { c.Version = "2.0" }), AudienceARM, WrongTenant, ""},
		"their key, our issuer":        {forge(t, jose.RS256, other.keys.Load().current.private, "unknown", good), AudienceARM, BadSignature, "not one of this tenant's"},
		"their key under our key's id": {forge(t, jose.RS256, other.keys.Load().current.private, ours.KID, good), AudienceARM, BadSignature, "does not fit"},
		"alg none":                     {part(map[string]string{"alg": "none", "kid": ours.KID}) + "." + part(good) + ".", AudienceARM, BadSignature, "RS256"},
		"HS256 with the public key":    {forge(t, jose.HS256, ours.Cert, ours.KID, good), AudienceARM, BadSignature, "HS256"},
		"PS256":                        {forge(t, jose.PS256, ours.private, ours.KID, good), AudienceARM, BadSignature, "PS256"},
		"changed claims":               {signed[0] + "." + part(escalated) + "." + signed[2], AudienceARM, BadSignature, "does not fit"},
		"no signature":                 {signed[0] + "." + signed[1] + ".", AudienceARM, BadSignature, ""},
		"no principal":                 {with(func(c *claims) { c.OID = "" }), AudienceARM, Malformed, ""},
		"no expiry":                    {with(func(c *claims) { c.Expires = 0 }), AudienceARM, Malformed, ""},
		"no start":                     {with(func(c *claims) { c.NotBefore = 0 }), AudienceARM, Malformed, ""},
		"expired":                      {with(func(c *claims) { c.Expires = time.Now().Unix() - 1 }), AudienceARM, Expired, "earlier than current UTC time"},
		"not yet":                      {with(func(c *claims) { c.NotBefore = time.Now().Unix() + 60 }), AudienceARM, NotYetValid, ""},
		"a run token":                  {run.AccessToken, "azureml", WrongTenant, ""},
		"nonsense":                     {"nonsense", AudienceARM, Malformed, ""},
		"nothing":                      {"", AudienceARM, Malformed, ""},
		"too long":                     {strings.Repeat("a", maxToken+1), AudienceARM, Malformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time by the cache, if the first was good
				p, err := w.Verify(context.Background(), c.token, c.audience)
				if c.want == ok {
					want := authz.Principal{TenantID: testTenant, ObjectID: w.app.ObjectID, AppID: w.app.AppID, Name: "deployer", Type: "ServicePrincipal"}
					if diff := cmp.Diff(want, p); diff != "" || err != nil {
						t.Error(diff, err)
					}
					continue
				}
				refused := new(TokenError)
				if !errors.As(err, &refused) || refused.Reason != c.want || !strings.Contains(refused.Error(), c.say) {
					t.Errorf("%v, want reason %d with %q", err, c.want, c.say)
				}
				if diff := cmp.Diff(authz.Principal{}, p); diff != "" {
					t.Errorf("a refusal names a principal: %s", diff)
				}
			}
		})
	}
	if _, err := w.Verify(context.Background(), w.tokenFor(t, AudienceARM)); err == nil {
		t.Error("no audience allowed, and yet taken")
	}
}

func TestTokensExpireByTheRegionsClock(t *testing.T) {
	w := newWorld(t, testTenant)
	token := w.tokenFor(t, AudienceARM)
	for _, c := range []struct {
		move time.Duration
		want bool
	}{{0, true}, {appTokenLife - time.Minute, true}, {time.Minute + time.Second, false}} {
		w.later(c.move)
		if _, err := w.Verify(context.Background(), token, AudienceARM); (err == nil) != c.want {
			t.Errorf("after %s more: %v", c.move, err)
		}
	}
}

func TestBearer(t *testing.T) {
	w := newWorld(t, testTenant)
	bearer := w.Bearer(AudienceARMClassic, AudienceARM)
	request := func(values ...string) *http.Request {
		r := get("https://management.azure.com/subscriptions")
		for _, v := range values {
			r.Header.Add("Authorization", v)
		}
		return r
	}
	if p, err := bearer(request("bearer " + w.tokenFor(t, AudienceARM))); err != nil || p.ObjectID != w.app.ObjectID {
		t.Errorf("%v %v", p, err)
	}
	token := w.tokenFor(t, AudienceStorage)
	const allowed = "'https://management.core.windows.net/','https://management.core.windows.net','https://management.azure.com/','https://management.azure.com'"
	for name, c := range map[string]struct {
		r             *http.Request
		code, message string
	}{
		"none":        {request(), "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."},
		"basic":       {request("Basic x"), "AuthenticationFailedInvalidHeader", "Authentication failed. The 'Authorization' header is provided in an invalid format."},
		"empty":       {request("Bearer "), "AuthenticationFailedInvalidHeader", "Authentication failed. The 'Authorization' header is provided in an invalid format."},
		"two":         {request("Bearer x", "Bearer y"), "AuthenticationFailedInvalidHeader", "Authentication failed. The 'Authorization' header is provided in an invalid format."},
		"nonsense":    {request("Bearer x"), "InvalidAuthenticationToken", "The access token is invalid."},
		"for storage": {request("Bearer " + token), "InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource 'https://storage.azure.com'. It should exactly match with one of the allowed audiences " + allowed + "."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bearer(c.r)
			got := arm.AsError(err)
			if got == nil {
				t.Fatal(err)
			}
			want := &arm.Error{Status: 401, Code: c.code, Message: c.message, Header: map[string]string{
				"WWW-Authenticate": `Bearer authorization_uri="https://login.microsoftonline.com/` + testTenant + `", error="invalid_token", error_description="` + c.message + `"`,
			}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeadersCannotBeInjected(t *testing.T) {
	w := newWorld(t, testTenant)
	evil := forge(t, jose.RS256, newWorld(t, "bbbbbbbb-0000-4000-8000-00000000000b").keys.Load().current.private, "k",
		claims{Issuer: "https://x/\"\r\nSet-Cookie: a=b" + strings.Repeat("y", 1000)})
	r := get("https://management.azure.com/")
	r.Header.Set("Authorization", "Bearer "+evil)
	_, err := w.Bearer(AudienceARM)(r)
	got := arm.AsError(err)
	if got == nil || got.Code != "InvalidAuthenticationTokenTenant" {
		t.Fatal(err)
	}
	if h := got.Header["WWW-Authenticate"]; strings.ContainsAny(h, "\r\n") || strings.Count(h, `"`) != 6 || len(h) > 1000 {
		t.Errorf("header %q", h)
	}
}

func TestRunTokens(t *testing.T) {
	w := newWorld(t, testTenant)
	ctx := context.Background()
	want := Run{Workspace: "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w", WorkspaceID: "guid", Experiment: "e", RunID: "run1", PrincipalID: w.app.ObjectID}
	tok, err := w.IssueRun(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	want.Expires = tok.ExpiresOn
	got, p, err := w.VerifyRun(ctx, tok.AccessToken)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if p.ObjectID != w.app.ObjectID || p.Name != "run run1" || !IsRunToken(tok.AccessToken) {
		t.Errorf("%+v", p)
	}
	access := w.tokenFor(t, AudienceML)
	if _, _, err := w.VerifyRun(ctx, access); err == nil || IsRunToken(access) {
		t.Error("an access token is taken for a run token")
	}
	other := newWorld(t, "bbbbbbbb-0000-4000-8000-00000000000b")
	if _, _, err := other.VerifyRun(ctx, tok.AccessToken); err == nil {
		t.Error("another region's run token is taken")
	}
	w.later(RunTokenLife)
	if _, _, err := w.VerifyRun(ctx, tok.AccessToken); err == nil {
		t.Error("an expired run token is taken")
	}
}

func TestManagedIdentityTokens(t *testing.T) {
	w := newWorld(t, testTenant)
	id := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w")
	var oid string
	w.update(t, func(tx store.Tx) (err error) { oid, _, err = w.EnsureSystem(tx, id); return err })
	tok, err := w.IssueFor(context.Background(), oid, AudienceStorage)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.Authenticate(context.Background(), tok.AccessToken, AudienceStorage)
	if err != nil || c.Type != "ManagedIdentity" || c.Resource != id.String() || c.Name != "w" || c.ObjectID != oid {
		t.Errorf("%+v %v", c, err)
	}
	w.update(t, func(tx store.Tx) error { return w.Remove(tx, id) })
	if _, err := w.IssueFor(context.Background(), oid, AudienceStorage); !errors.Is(err, directory.ErrNoPrincipal) {
		t.Errorf("removed: %v", err)
	}
}

func TestCacheIsBoundedAndConcurrent(t *testing.T) {
	var c tokenCache
	put := func(of string) (lost int) {
		for i := range 3 * cacheSize {
			var k [32]byte
			copy(k[:], fmt.Sprint(of, i))
			c.put(k, &knownToken{})
			if c.get(k) == nil {
				lost++
			}
		}
		return lost
	}
	if lost := put("alone"); lost > 0 {
		t.Errorf("lost %d that were just put", lost)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() { put(fmt.Sprint(g)) }) // others may push out what this one has just put
	}
	wg.Wait()
	if len(c.young) > cacheSize || len(c.old) > cacheSize {
		t.Errorf("%d and %d entries", len(c.young), len(c.old))
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f, testTenant)
	good := w.tokenFor(f, AudienceARM)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.")
	f.Add("a.b.c")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, token string) {
		p, err := w.Verify(context.Background(), token, AudienceARM)
		if err == nil && (p.ObjectID != w.app.ObjectID || !sameToken(token, good)) {
			t.Fatalf("taken: %q", token)
		}
		if refused := new(TokenError); err != nil && !errors.As(err, &refused) {
			t.Fatalf("%q: %v is no TokenError", token, err)
		}
		if _, _, err := w.VerifyRun(context.Background(), token); err == nil {
			t.Fatalf("taken as a run token: %q", token)
		}
		IsRunToken(token)
	})
}

// sameToken compares tokens by what base64 decodes to: the last character of a part has spare bits.
func sameToken(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	if len(as) != 3 || as[0] != bs[0] || as[1] != bs[1] {
		return false
	}
	x, err := base64.RawURLEncoding.DecodeString(as[2])
	y, err2 := base64.RawURLEncoding.DecodeString(bs[2])
	return err == nil && err2 == nil && string(x) == string(y)
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b, testTenant)
	token := w.tokenFor(b, AudienceARM)
	for name, cached := range map[string]bool{"cached": true, "cold": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !cached {
					w.cache.clear()
				}
				if _, err := w.Verify(context.Background(), token, AudienceARMClassic, AudienceARM); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIssue(b *testing.B) {
	w := newWorld(b, testTenant)
	for b.Loop() {
		w.tokenFor(b, AudienceARM)
	}
}
