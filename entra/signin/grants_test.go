package signin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// deviceStartOf asks for a device code as az does.
func deviceStartOf(t *testing.T, h http.Handler) map[string]any {
	t.Helper()
	rec, body := call(t, h, post("/organizations/oauth2/v2.0/devicecode", url.Values{"client_id": {directory.CLIAppID}, "scope": {armScope}}))
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return body
}

func poll(t *testing.T, h http.Handler, start map[string]any) (int, map[string]any) {
	t.Helper()
	return redeem(t, h, "grant_type", deviceGrant, "device_code", start["device_code"].(string), "scope", "")
}

func TestDeviceCode(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	start := deviceStartOf(t, h)
	if start["verification_uri"] != base+"/common/oauth2/deviceauth" || start["interval"] != float64(5) || start["expires_in"] != float64(900) || !strings.Contains(start["message"].(string), "not Microsoft") {
		t.Errorf("%v", start)
	}
	if status, body := poll(t, h, start); status != http.StatusBadRequest || body["error"] != "authorization_pending" || aadsts(body) != 70016 {
		t.Errorf("pending: %v", body)
	}
	if _, body := poll(t, h, start); body["error"] != "slow_down" {
		t.Errorf("too soon: %v", body)
	}
	if _, body := redeem(t, h, "grant_type", deviceGrant, "device_code", "1.ffffffff.AAAA"); body["error"] != "bad_verification_code" {
		t.Errorf("unknown: %v", body)
	}
	b := newBrowser(t, h)
	b.get("/common/oauth2/deviceauth").expect("Enter code").submit("otc", "BBBBBBBBB").expect("Enter code")
	if !strings.Contains(b.body, "not valid") {
		t.Error(b.body)
	}
	b.submit("otc", strings.ToLower(start["user_code"].(string))).expect("Sign in")
	b.submit("username", "ana@contoso.test", "password", anaPassword).expect("Are you signing in on another device?")
	if !strings.Contains(b.body, "Microsoft Azure CLI") || !strings.Contains(b.body, start["user_code"].(string)) {
		t.Error(b.body)
	}
	b.submit("answer", "yes").expect("You are signed in")
	w.later(deviceInterval)
	status, got := poll(t, h, start)
	if status != http.StatusOK || !w.holds(got["access_token"]) || got["refresh_token"] == nil || got["id_token"] == nil {
		t.Fatalf("%v", got)
	}
	w.later(deviceInterval)
	if _, body := poll(t, h, start); body["error"] != "bad_verification_code" {
		t.Errorf("redeemed twice: %v", body)
	}
	start = deviceStartOf(t, h) // the session signs in, and yet the user is asked
	b.get("/common/oauth2/deviceauth").submit("otc", start["user_code"].(string)).expect("Choose an account").submit("use", "session").expect("Are you signing in on another device?").submit("answer", "no").expect("Declined")
	if _, body := poll(t, h, start); body["error"] != "authorization_declined" {
		t.Errorf("declined: %v", body)
	}
	start = deviceStartOf(t, h)
	w.later(deviceLife)
	if _, body := poll(t, h, start); body["error"] != "expired_token" {
		t.Errorf("expired: %v", body)
	}
	if b.get("/common/oauth2/deviceauth").submit("otc", start["user_code"].(string)).expect("Enter code"); b.status != http.StatusForbidden {
		t.Error("an expired code is taken")
	}
}

// keyPair is an application's certificate.
type keyPair struct {
	key  *rsa.PrivateKey
	cert []byte
}

func newKeyPair(t *testing.T, start, end time.Time) keyPair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: start, NotAfter: end}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{key, cert}
}

// assertion signs claims with headers of the test's choice.
func assertion(t *testing.T, alg jose.SignatureAlgorithm, key any, headers map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	for k, v := range headers {
		opts = opts.WithHeader(k, v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func thumbs(cert []byte) (x5t, x5t256 string) {
	a, b := sha1.Sum(cert), sha256.Sum256(cert)
	return base64.RawURLEncoding.EncodeToString(a[:]), base64.RawURLEncoding.EncodeToString(b[:])
}

func TestCertificateAssertions(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	now := w.clock.Now()
	good, old, other := newKeyPair(t, now.Add(-time.Hour), now.Add(time.Hour)), newKeyPair(t, now.Add(-2*time.Hour), now.Add(-time.Hour)), newKeyPair(t, now.Add(-time.Hour), now.Add(time.Hour))
	var keys []directory.Key
	for _, p := range []keyPair{good, old} {
		k, err := directory.NewKey("", p.cert)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	app, sp := w.addApp(t, directory.Application{DisplayName: "robot", Keys: keys})
	x5t, x5t256 := thumbs(good.cert)
	oldThumb, _ := thumbs(old.cert)
	otherThumb, _ := thumbs(other.cert)
	claims := func(change func(map[string]any)) map[string]any {
		c := map[string]any{"aud": base + "/" + testTenant + "/oauth2/v2.0/token", "iss": app.AppID, "sub": app.AppID, "jti": "1", "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
		if change != nil {
			change(c)
		}
		return c
	}
	head := func(name jose.HeaderKey, v string) map[jose.HeaderKey]any { return map[jose.HeaderKey]any{name: v} }
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"x5t":                       {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(nil)), 0},
		"x5t#S256 and PS256":        {assertion(t, jose.PS256, good.key, head("x5t#S256", x5t256), claims(nil)), 0},
		"x5t#S256 in plain base64":  {assertion(t, jose.PS256, good.key, head("x5t#S256", strings.NewReplacer("-", "+", "_", "/").Replace(x5t256)+"="), claims(nil)), 0},
		"audience: the issuer":      {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(func(c map[string]any) { c["aud"] = base + "/" + testTenant + "/v2.0" })), 0},
		"another's key":             {assertion(t, jose.RS256, other.key, head("x5t", x5t), claims(nil)), 700027},
		"a certificate not there":   {assertion(t, jose.RS256, other.key, head("x5t", otherThumb), claims(nil)), 700027},
		"a certificate that is old": {assertion(t, jose.RS256, old.key, head("x5t", oldThumb), claims(nil)), 700024},
		"no thumbprint":             {assertion(t, jose.RS256, good.key, nil, claims(nil)), 700027},
		"HS256 with the public key": {assertion(t, jose.HS256, good.cert, head("x5t", x5t), claims(nil)), 700027},
		"ES256":                     {assertion(t, jose.ES256, ec, head("x5t", x5t), claims(nil)), 700027},
		"another audience":          {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(func(c map[string]any) { c["aud"] = "https://evil.test/" + testTenant + "/oauth2/v2.0/token" })), 700027},
		"expired":                   {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(func(c map[string]any) { c["exp"] = now.Add(-10 * time.Minute).Unix() })), 700024},
		"not yet":                   {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(func(c map[string]any) { c["nbf"] = now.Add(10 * time.Minute).Unix() })), 700024},
		"no expiry":                 {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(func(c map[string]any) { delete(c, "exp") })), 700027},
		"another subject":           {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(func(c map[string]any) { c["sub"] = w.app.AppID })), 700027},
		"nonsense":                  {"a.b.c", 700027},
	} {
		t.Run(name, func(t *testing.T) {
			rec, body := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_assertion_type": {assertionType}, "client_assertion": {c.token}, "scope": {"https://management.azure.com/.default"}}))
			if aadsts(body) != c.want || (c.want == 0) != (rec.Code == http.StatusOK) {
				t.Fatalf("%d %s, want %d", rec.Code, rec.Body, c.want)
			}
			if c.want == 0 && payload(t, body["access_token"].(string))["appidacr"] != "2" {
				t.Error("appidacr")
			}
		})
	}
	_, got := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_assertion_type": {assertionType}, "client_assertion": {assertion(t, jose.RS256, good.key, head("x5t", x5t), claims(nil))}, "scope": {"https://management.azure.com/.default"}}))
	if !w.holds(got["access_token"]) {
		t.Fatal("refused")
	}
	w.update(t, func(tx store.Tx) error {
		_, err := w.UpdateApplication(tx, app.ID, func(a *directory.Application) error { a.Keys = a.Keys[1:]; return nil })
		return err
	})
	if w.holds(got["access_token"]) {
		t.Error("the token outlives its certificate")
	}
	_ = sp
}

// other is an issuer of the region that is not its login service.
func other(t *testing.T, key *rsa.PrivateKey, issuer *string) http.RoundTripper {
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"issuer": *issuer, "jwks_uri": "https://oidc.test/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "oidc.test" {
			t.Errorf("asked %s", r.URL)
		}
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		return rec.Result(), nil
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFederatedAssertions(t *testing.T) {
	w := newWorld(t)
	pair := newKeyPair(t, time.Now(), time.Now().Add(time.Hour))
	issuer := "https://oidc.test"
	h, err := New(context.Background(), Config{Directory: w.Directory, Store: w.store, Clock: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Issuers: &http.Client{Transport: other(t, pair.key, &issuer)}})
	if err != nil {
		t.Fatal(err)
	}
	app, _ := w.addApp(t, directory.Application{DisplayName: "pod"})
	w.update(t, func(tx store.Tx) error {
		for _, f := range []directory.FederatedCredential{
			{Name: "pod", Issuer: "https://oidc.test", Subject: "system:serviceaccount:ns:sa", Audiences: []string{"api://AzureADTokenExchange"}},
			{Name: "far", Issuer: "https://elsewhere.test", Subject: "s", Audiences: []string{"api://AzureADTokenExchange"}},
		} {
			if _, err := w.PutFederated(tx, app.ID, f); err != nil {
				return err
			}
		}
		return nil
	})
	now := w.clock.Now()
	claims := func(change func(map[string]any)) map[string]any {
		c := map[string]any{"aud": []string{"api://AzureADTokenExchange"}, "iss": "https://oidc.test", "sub": "system:serviceaccount:ns:sa", "exp": now.Add(time.Hour).Unix(), "nbf": now.Unix()}
		if change != nil {
			change(c)
		}
		return c
	}
	kid := map[jose.HeaderKey]any{"kid": "k1"}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"good":              {assertion(t, jose.RS256, pair.key, kid, claims(nil)), 0},
		"another subject":   {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { c["sub"] = "system:serviceaccount:ns:other" })), 700213},
		"subject's case":    {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { c["sub"] = "system:serviceaccount:NS:sa" })), 700213},
		"another audience":  {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { c["aud"] = "x" })), 700213},
		"the exchange's id": {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { c["aud"] = directory.ExchangeAppID })), 700213}, // Entra's own issuers alone write it
		"another issuer":    {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { c["iss"] = "https://evil.test" })), 700213},
		"an unknown key id": {assertion(t, jose.RS256, pair.key, map[jose.HeaderKey]any{"kid": "k2"}, claims(nil)), 700027},
		"another's key":     {assertion(t, jose.RS256, newKeyPair(t, now, now.Add(time.Hour)).key, kid, claims(nil)), 700027},
		"expired":           {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { c["exp"] = now.Add(-time.Hour).Unix() })), 700024},
		"no expiry":         {assertion(t, jose.RS256, pair.key, kid, claims(func(c map[string]any) { delete(c, "exp") })), 700027},
	} {
		t.Run(name, func(t *testing.T) {
			rec, body := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_assertion_type": {assertionType}, "client_assertion": {c.token}, "scope": {"https://management.azure.com/.default"}}))
			if aadsts(body) != c.want {
				t.Errorf("%d %s, want %d", rec.Code, rec.Body, c.want)
			}
		})
	}
	issuer = "https://another.test"
	h.issuers.known = map[string]issuerKeys{}
	if _, body := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_assertion_type": {assertionType}, "client_assertion": {assertion(t, jose.RS256, pair.key, kid, claims(nil))}, "scope": {"https://management.azure.com/.default"}})); aadsts(body) != 700211 {
		t.Errorf("a document of another issuer: %v", body)
	}
}

func TestOnBehalfOf(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	u := w.addUser(t, "ana@contoso.test")
	secret, value := directory.NewSecret("s", w.clock.Now(), w.clock.Now().Add(time.Hour))
	api, apiSP := w.addApp(t, directory.Application{DisplayName: "api", Secrets: []directory.Secret{secret}, API: directory.API{Scopes: []directory.Scope{{ID: "10000000-0000-4000-8000-000000000001", Value: "read", Type: "User", Enabled: true}}}})
	var graph directory.ServicePrincipal
	w.update(t, func(tx store.Tx) (err error) {
		graph, err = w.ByAppID(tx, directory.ARMAppID)
		return err
	})
	code := signIn(t, newBrowser(t, h), cliRequest("scope", "api://"+api.AppID+"/read openid"), "ana@contoso.test")
	status, user := redeem(t, h, "scope", "", "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	if status != http.StatusOK {
		t.Fatalf("%v", user)
	}
	obo := func(assertion any, pairs ...string) (int, map[string]any) {
		text, _ := assertion.(string)
		return redeem(t, h, append([]string{"client_id", api.AppID, "client_secret", value, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use", "on_behalf_of", "assertion", text, "scope", "https://management.azure.com/user_impersonation offline_access"}, pairs...)...)
	}
	if _, body := obo(user["access_token"]); aadsts(body) != 65001 || body["suberror"] != "consent_required" {
		t.Errorf("without consent: %v", body)
	}
	w.update(t, func(tx store.Tx) error {
		_, err := w.PutGrant(tx, directory.Grant{ClientID: apiSP.ObjectID, ConsentType: "AllPrincipals", ResourceID: graph.ObjectID, Scope: "user_impersonation"})
		return err
	})
	status, got := obo(user["access_token"])
	if status != http.StatusOK || !w.holds(got["access_token"]) {
		t.Fatalf("%v", got)
	}
	if c := payload(t, got["access_token"].(string)); c["oid"] != u.ID || c["appid"] != api.AppID || c["appidacr"] != "1" || c["scp"] != "user_impersonation" {
		t.Errorf("%v", c)
	}
	arm := tokens(t, h, "ana@contoso.test")
	for name, c := range map[string]struct {
		assertion any
		change    []string
		want      int
	}{
		"a token for another service": {arm["access_token"], nil, 50013},
		"an application's token":      {w.tokenFor(t, "api://"+api.AppID), nil, 50013},
		"nonsense":                    {"x", nil, 50013},
		"no secret":                   {user["access_token"], []string{"client_secret", ""}, 7000218},
		"a wrong secret":              {user["access_token"], []string{"client_secret", "x"}, 7000215},
		"not asked on behalf":         {user["access_token"], []string{"requested_token_use", ""}, 900144},
	} {
		if _, body := obo(c.assertion, c.change...); aadsts(body) != c.want {
			t.Errorf("%s: %v, want %d", name, body, c.want)
		}
	}
	w.update(t, func(tx store.Tx) error { return w.RevokeSessions(tx, u.ID) })
	if w.holds(got["access_token"]) {
		t.Error("what was given on behalf outlives the user's session")
	}
}

func TestPasswordGrant(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	ask := func(pass string) (int, map[string]any) {
		return redeem(t, h, "grant_type", "password", "username", "ana@contoso.test", "password", pass)
	}
	if status, body := ask(anaPassword); status != http.StatusBadRequest || aadsts(body) != 7000218 {
		t.Errorf("switched off: %v", body)
	}
	h.passwords = true
	if status, body := ask(anaPassword); status != http.StatusOK || !w.holds(body["access_token"]) {
		t.Errorf("%v", body)
	}
	if _, body := ask("wrong"); aadsts(body) != 50126 {
		t.Errorf("%v", body)
	}
}

func TestGuests(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	var partner directory.Tenant
	w.update(t, func(tx store.Tx) (err error) {
		partner, err = w.CreatePartner(tx, "Fabrikam", "fabrikam.test")
		return err
	})
	bob := w.addUser(t, "bob@fabrikam.test", func(u *directory.User) { u.TenantID = partner.ID })
	b := newBrowser(t, h).get(strings.Replace(cliRequest(), "organizations", testTenant, 1)).submit("username", "bob@fabrikam.test", "password", anaPassword)
	if b.left != nil || !strings.Contains(b.body, "does not exist in tenant") {
		t.Errorf("a stranger: %v %s", b.left, b.body)
	}
	got := tokens(t, h, "bob@fabrikam.test") // organizations: his own tenant
	if c := payload(t, got["access_token"].(string)); c["tid"] != partner.ID || c["iss"] != "https://sts.windows.net/"+partner.ID+"/" || c["oid"] != bob.ID {
		t.Errorf("%v", c)
	}
	if _, err := w.Authenticate(context.Background(), got["access_token"].(string), entra.AudienceARMClassic); err == nil || !strings.Contains(err.Error(), "wrong issuer") {
		t.Errorf("a token of another tenant: %v", err)
	}
}

// TestInvitedGuest: who was invited signs in to the host's tenant with his own password, as the guest that he is there.
func TestInvitedGuest(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	var partner directory.Tenant
	var guest directory.User
	w.update(t, func(tx store.Tx) (err error) {
		partner, err = w.CreatePartner(tx, "Fabrikam", "fabrikam.test")
		return err
	})
	bob := w.addUser(t, "bob@fabrikam.test", func(u *directory.User) { u.TenantID = partner.ID })
	w.update(t, func(tx store.Tx) (err error) {
		guest, err = w.Invite(tx, "", "bob@fabrikam.test", "Bob")
		return err
	})
	here := strings.Replace(cliRequest(), "organizations", testTenant, 1)
	code := signIn(t, newBrowser(t, h), here, "bob@fabrikam.test")
	_, got := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", url.Values{"client_id": {directory.CLIAppID}, "grant_type": {"authorization_code"}, "code": {code},
		"redirect_uri": {"http://localhost:40123"}, "code_verifier": {verifier}, "scope": {armScope}}))
	if got["access_token"] == nil {
		t.Fatalf("%v", got)
	}
	c := payload(t, got["access_token"].(string))
	if c["tid"] != testTenant || c["oid"] != guest.ID || c["oid"] == bob.ID || c["idp"] != "https://sts.windows.net/"+partner.ID+"/" {
		t.Errorf("%v", c)
	}
	caller, err := w.Authenticate(context.Background(), got["access_token"].(string), entra.AudienceARMClassic)
	if err != nil || caller.ObjectID != guest.ID {
		t.Errorf("%+v %v", caller, err)
	}
	w.update(t, func(tx store.Tx) (err error) {
		guest, err = w.User(tx, guest.ID)
		return err
	})
	if guest.ExternalUserState != "Accepted" {
		t.Errorf("the invitation is %q", guest.ExternalUserState)
	}
	w.update(t, func(tx store.Tx) error { // his own tenant disables him: he is a guest no more
		_, err := w.UpdateUser(tx, bob.ID, func(u *directory.User) error { u.AccountEnabled = false; return nil })
		return err
	})
	if b := newBrowser(t, h).get(here).submit("username", "bob@fabrikam.test", "password", anaPassword); b.left != nil {
		t.Errorf("disabled at home: %v", b.left)
	}
	if w.holds(got["access_token"]) {
		t.Error("the token of a guest who is disabled at home holds")
	}
}

func TestLockOut(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	var told []LockOut
	h.lockedOut = func(_ context.Context, l LockOut) error { told = append(told, l); return nil }
	h.tries = newLimits(time.Microsecond, 1000) // lock-out is tested, not the rate
	w.addUser(t, "ana@contoso.test")
	home := newBrowser(t, h)
	signIn(t, home, cliRequest(), "ana@contoso.test")
	b := newBrowser(t, h)
	b.from.Source = mustAddr("203.0.113.66")
	b.get(cliRequest())
	try := func(pass string) string {
		b.get(cliRequest("prompt", "login")).submit("username", "ana@contoso.test", "password", pass)
		return b.body
	}
	for range 12 { // the same again is a program with an old password
		try("old password")
	}
	if strings.Contains(try("old password"), "locked") {
		t.Error("locked by one wrong password")
	}
	for i := range lockThreshold {
		try("guess " + string(rune('a'+i)))
	}
	if len(told) != 1 || told[0].Address != b.from.Source || !told[0].Until.After(w.clock.Now()) {
		t.Errorf("told of %+v", told)
	}
	if !strings.Contains(try(anaPassword), "account is locked") {
		t.Fatal("not locked")
	}
	if home.get(cliRequest("prompt", "login")).submit("username", "ana@contoso.test", "password", anaPassword); home.left == nil {
		t.Error("a stranger has locked the user out at home")
	}
	w.later(lockFirst)
	if try(anaPassword); b.left == nil {
		t.Errorf("locked for longer than a minute: %s", b.body)
	}
	h.tries = newLimits(time.Hour, 3)
	for range 3 {
		try("x")
	}
	if try(anaPassword); b.status != http.StatusTooManyRequests {
		t.Errorf("no limit by address: %d", b.status)
	}
}

func TestUnknownUsersLookLikeWrongPasswords(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	page := func(upn string) string {
		b := newBrowser(t, h).get(cliRequest()).submit("username", upn, "password", "wrong")
		_, fields := b.form(0)
		return strings.NewReplacer(fields.Get("flow"), "", upn, "").Replace(b.body)
	}
	if page("ana@contoso.test") != page("eve@contoso.test") {
		t.Error("the page tells which users there are")
	}
}

func FuzzAssertion(f *testing.F) {
	w := newWorld(f)
	h := w.service()
	f.Add("a.b.c", "x")
	f.Add("eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJSUzI1NiJ9.e30.AA")
	f.Fuzz(func(t *testing.T, client, user string) {
		for _, form := range []url.Values{
			{"grant_type": {"client_credentials"}, "client_id": {w.app.AppID}, "client_assertion_type": {assertionType}, "client_assertion": {client}, "scope": {"https://management.azure.com/.default"}},
			{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "requested_token_use": {"on_behalf_of"}, "client_id": {w.app.AppID}, "client_secret": {w.key}, "assertion": {user}, "scope": {"https://management.azure.com/.default"}},
			{"grant_type": {"refresh_token"}, "client_id": {directory.CLIAppID}, "refresh_token": {user}},
			{"grant_type": {"authorization_code"}, "client_id": {directory.CLIAppID}, "code": {user}},
			{"grant_type": {deviceGrant}, "client_id": {directory.CLIAppID}, "device_code": {user}},
		} {
			rec, body := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", form))
			if rec.Code == http.StatusInternalServerError || body["access_token"] != nil {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
	})
}

func FuzzAuthorize(f *testing.F) {
	w := newWorld(f)
	h := w.service()
	f.Add(strings.TrimPrefix(cliRequest(), "/organizations/oauth2/v2.0/authorize?"))
	f.Add("client_id=x&redirect_uri=//evil.test")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, base+"/common/oauth2/v2.0/authorize", nil)
		r.URL.RawQuery = query
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code == http.StatusInternalServerError {
			t.Fatalf("%q: %s", query, rec.Body)
		}
		if at := rec.Header().Get("Location"); at != "" {
			u, err := url.Parse(at)
			if err != nil || u.Scheme != "http" && at[:4] != "urn:" && !strings.HasPrefix(at, base) || u.Scheme == "http" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" {
				t.Fatalf("%q leads to %q", query, at)
			}
		}
	})
}

func FuzzForms(f *testing.F) {
	w := newWorld(f)
	h := w.service()
	f.Add("password", "flow=x&username=a&password=b", strings.Repeat("A", 43))
	f.Add("device", "otc=BBBBBBBBB", "")
	f.Fuzz(func(t *testing.T, name, body, cookie string) {
		u, err := url.ParseRequestURI("/vauban/" + name)
		if err != nil {
			return
		}
		r := post("/", nil)
		r.URL.Path, r.Body = u.Path, readCloser(body)
		r.Header.Set("Cookie", browserCookie+"="+strings.Map(func(c rune) rune {
			if c <= ' ' || c > '~' || c == ';' {
				return 'x'
			}
			return c
		}, cookie))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code == http.StatusInternalServerError || rec.Header().Get("Location") != "" {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
	})
}

// TestNoSecretsInAnswers: what a page shows of a flow tells nothing to who reads it.
func TestSealedFlows(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	sealed, err := h.keys.seal(&flow{Account: "a", Secret: "JBSWY3DP"}, "browser")
	if err != nil {
		t.Fatal(err)
	}
	var f flow
	if err := h.keys.open(sealed, "browser", &f); err != nil || f.Secret != "JBSWY3DP" {
		t.Error(err)
	}
	if err := h.keys.open(sealed, "other browser", &f); err == nil {
		t.Error("another browser opens it")
	}
	raw, _ := base64.RawURLEncoding.DecodeString(sealed)
	if json.Valid(raw) || strings.Contains(string(raw), "JBSWY3DP") {
		t.Error("it can be read")
	}
	again := w.service() // a restart opens what it sealed before
	if err := again.keys.open(sealed, "browser", &f); err != nil {
		t.Error(err)
	}
}

func BenchmarkSignInPage(b *testing.B) {
	w := newWorld(b)
	h := w.service()
	request := cliRequest()
	for b.Loop() {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, base+request, nil))
		if rec.Code != http.StatusOK {
			b.Fatal(rec.Body)
		}
	}
}
