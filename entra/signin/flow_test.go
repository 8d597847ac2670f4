package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// TestInteractive is az login by the browser: page, code, tokens, and what they say.
func TestInteractive(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	u := w.addUser(t, "ana@contoso.test")
	b := newBrowser(t, h)
	b.get(cliRequest()).expect("Sign in")
	if !strings.Contains(b.body, "Microsoft Azure CLI") || !strings.Contains(b.header.Get("Content-Security-Policy"), "form-action 'self' http://localhost:40123") {
		t.Errorf("%v %s", b.header, b.body)
	}
	b.submit("username", "ana@contoso.test", "password", "wrong").expect("Sign in")
	if b.status != http.StatusForbidden || !strings.Contains(b.body, "invalid username or password") || !strings.Contains(b.body, `value="ana@contoso.test"`) {
		t.Errorf("%d %s", b.status, b.body)
	}
	b.submit("username", "ANA@contoso.test", "password", anaPassword)
	if b.left == nil || b.left.Host != "localhost:40123" || b.left.Query().Get("state") != "s1" || b.left.Query().Get("iss") != "https://login.microsoftonline.com/"+testTenant+"/v2.0" {
		t.Fatalf("%v %s", b.left, b.body)
	}
	status, body := redeem(t, h, "grant_type", "authorization_code", "code", b.left.Query().Get("code"), "redirect_uri", "http://localhost:40123", "code_verifier", verifier,
		"claims", `{"access_token":{"xms_cc":{"values":["CP1"]}}}`)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, body)
	}
	if got := body["scope"]; got != "openid profile https://management.core.windows.net//user_impersonation https://management.core.windows.net//.default" {
		t.Errorf("scope %v", got)
	}
	info, err := base64.RawURLEncoding.DecodeString(body["client_info"].(string))
	if err != nil || string(info) != `{"uid":"`+u.ID+`","utid":"`+testTenant+`"}` {
		t.Errorf("client_info %s %v", info, err)
	}
	c := payload(t, body["access_token"].(string))
	for name, want := range map[string]any{
		"aud": "https://management.core.windows.net/", "iss": "https://sts.windows.net/" + testTenant + "/", "appid": directory.CLIAppID, "appidacr": "0", "idtyp": "user",
		"oid": u.ID, "upn": "ana@contoso.test", "unique_name": "ana@contoso.test", "name": "Ana Lyst", "scp": "user_impersonation", "acr": "1", "ver": "1.0", "ipaddr": "198.51.100.7",
	} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	id := payload(t, body["id_token"].(string))
	if id["aud"] != directory.CLIAppID || id["nonce"] != "n1" || id["preferred_username"] != "ana@contoso.test" || id["oid"] != u.ID || id["iss"] != "https://login.microsoftonline.com/"+testTenant+"/v2.0" || id["sub"] == u.ID {
		t.Errorf("id token %v", id)
	}
	if !w.holds(body["access_token"]) {
		t.Error("Resource Manager refuses the token")
	}
	caller, err := w.Authenticate(context.Background(), body["access_token"].(string), entra.AudienceARMClassic)
	if err != nil || caller.Type != "User" || caller.Name != "ana@contoso.test" || len(caller.Scopes) != 1 {
		t.Errorf("%+v %v", caller, err)
	}
	if b.get(cliRequest()).expect("Choose an account").submit("use", "session"); b.left == nil {
		t.Error("the session does not sign in")
	}
	if b.get(cliRequest("prompt", "")); b.left == nil || b.left.Query().Get("code") == "" {
		t.Error("no single sign-on")
	}
	if b.get(cliRequest("prompt", "none")); b.left == nil || b.left.Query().Get("code") == "" {
		t.Error("no silent sign-on")
	}
	b.get(cliRequest("prompt", "login")).expect("Sign in")
	b.get(cliRequest("prompt", "", "login_hint", "bob@contoso.test")).expect("Sign in")
	b.get(cliRequest()).expect("Choose an account").submit("use", "other").expect("Sign in").submit("cancel", "1")
	if b.left == nil || b.left.Query().Get("error") != "access_denied" {
		t.Errorf("cancelled: %v", b.left)
	}
}

func TestResponseModes(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	b := newBrowser(t, h)
	b.get(cliRequest("response_mode", "fragment")).submit("username", "ana@contoso.test", "password", anaPassword)
	if b.left == nil || b.left.RawQuery != "" || !strings.Contains(b.left.Fragment, "code=1.") || !strings.Contains(b.left.Fragment, "state=s1") {
		t.Errorf("fragment: %v", b.left)
	}
	b.get(cliRequest("response_mode", "form_post", "prompt", "", "state", `"><script>alert(1)</script>`)).expect("Continue")
	action, fields := b.form(0)
	if action != "http://localhost:40123" || fields.Get("code") == "" || fields.Get("state") != `"><script>alert(1)</script>` || strings.Contains(b.body, "<script>alert") {
		t.Errorf("form_post: %s %v %s", action, fields, b.body)
	}
	if b.get(cliRequest("response_mode", "form_post", "prompt", "none", "login_hint", "x@contoso.test")).form(0); !strings.Contains(b.body, "login_required") {
		t.Errorf("%s", b.body)
	}
	app, _ := w.addApp(t, directory.Application{DisplayName: "hybrid", Web: func() (x directory.WebApp) {
		x.RedirectURIs, x.Implicit.IDTokens = []string{"https://app.test/cb"}, true
		return x
	}()})
	b.get("/" + testTenant + "/oauth2/v2.0/authorize?" + url.Values{"client_id": {app.AppID}, "redirect_uri": {"https://app.test/cb"}, "response_type": {"code id_token"}, "scope": {"openid"}, "nonce": {"n"}}.Encode())
	if b.left == nil || !strings.HasPrefix(b.left.String(), "https://app.test/cb#") {
		t.Fatalf("hybrid: %v %s", b.left, b.body)
	}
	got, err := url.ParseQuery(b.left.Fragment)
	if err != nil {
		t.Fatal(err)
	}
	if id := payload(t, got.Get("id_token")); id["c_hash"] == nil || id["nonce"] != "n" || id["aud"] != app.AppID || got.Get("code") == "" {
		t.Errorf("%v", id)
	}
}

// TestAuthorizeRefusals: what is wrong with the client or its redirect URI is shown; the rest is sent back.
func TestAuthorizeRefusals(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	for name, c := range map[string]struct {
		change []string
		shown  string // on a page
		sent   string // to the client
	}{
		"unknown client":              {[]string{"client_id", "11111111-1111-4111-8111-111111111111"}, "was not found in the directory", ""},
		"no client":                   {[]string{"client_id", ""}, "client_id", ""},
		"another redirect URI":        {[]string{"redirect_uri", "https://evil.test/"}, "does not match the redirect URIs", ""},
		"a redirect URI that looks":   {[]string{"redirect_uri", "http://localhost.evil.test:40123"}, "does not match", ""},
		"a redirect with a user":      {[]string{"redirect_uri", "http://localhost:1@evil.test"}, "does not match", ""},
		"javascript":                  {[]string{"redirect_uri", "javascript:alert(1)"}, "does not match", ""},
		"no redirect URI of several":  {[]string{"redirect_uri", ""}, "No reply address", ""},
		"a response mode of nobody's": {[]string{"response_mode", "web_message"}, "not supported", ""},
		"response type token":         {[]string{"response_type", "token"}, "", "unsupported_response_type"},
		"id token":                    {[]string{"response_type", "id_token"}, "", "unsupported_response_type"},
		"no response type":            {[]string{"response_type", ""}, "", "invalid_request"},
		"no scope":                    {[]string{"scope", ""}, "", "invalid_request"},
		"two resources":               {[]string{"scope", "https://vault.azure.net/.default https://management.azure.com/.default"}, "", "invalid_request"},
		"plain challenge":             {[]string{"code_challenge_method", "plain"}, "", "invalid_request"},
		"a short challenge":           {[]string{"code_challenge", "short"}, "", "invalid_request"},
		"an unknown prompt":           {[]string{"prompt", "dance"}, "", "invalid_request"},
		"prompt none":                 {[]string{"prompt", "none"}, "", "login_required"},
		"claims that are no JSON":     {[]string{"claims", "{"}, "", "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, h).get(cliRequest(c.change...))
			if c.shown != "" && (b.left != nil || b.status < 400 || !strings.Contains(b.body, c.shown)) {
				t.Errorf("%d %v %s", b.status, b.left, b.body)
			}
			if c.sent != "" {
				if b.left == nil || b.left.Host != "localhost:40123" {
					t.Fatalf("%d %s", b.status, b.body)
				}
				q := b.left.Query()
				if f, err := url.ParseQuery(b.left.Fragment); err == nil && len(f) > 0 {
					q = f
				}
				if q.Get("error") != c.sent || q.Get("state") != "s1" {
					t.Errorf("%v", q)
				}
			}
		})
	}
	for _, path := range []string{"/consumers", "/22222222-2222-4222-8222-222222222222", "/nonsense"} {
		if b := newBrowser(t, h).get(strings.Replace(cliRequest(), "/organizations", path, 1)); b.left != nil || b.status != http.StatusBadRequest {
			t.Errorf("%s: %d %v", path, b.status, b.left)
		}
	}
}

func TestCodes(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	good := func(code string, change ...string) []string {
		f := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier}
		return append(f, change...)
	}
	for name, c := range map[string]struct {
		request, change []string
		want            int
	}{
		"wrong verifier":             {nil, []string{"code_verifier", strings.Repeat("x", 43)}, 501481},
		"no verifier":                {nil, []string{"code_verifier", ""}, 900144},
		"downgrade: challenge gone":  {[]string{"code_challenge", "", "code_challenge_method", ""}, nil, 501481},
		"another redirect URI":       {nil, []string{"redirect_uri", "http://localhost:40124"}, 50011},
		"no redirect URI":            {nil, []string{"redirect_uri", ""}, 50011},
		"another client":             {nil, []string{"client_id", "1950a258-227b-4e31-a9cf-717495945fc2"}, 9002313},
		"a credential of nobody's":   {nil, []string{"client_secret", "x"}, 700025},
		"a code that never was":      {nil, []string{"code", "1.ffffffff.AAAA"}, 9002313},
		"nonsense":                   {nil, []string{"code", "nonsense"}, 9002313},
		"a resource that is unknown": {nil, []string{"scope", "https://evil.test/.default"}, 500011},
	} {
		t.Run(name, func(t *testing.T) {
			code := signIn(t, newBrowser(t, h), cliRequest(c.request...), "ana@contoso.test")
			if status, body := redeem(t, h, good(code, c.change...)...); status < 400 || aadsts(body) != c.want {
				t.Errorf("%d %v, want %d", status, body, c.want)
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		code := signIn(t, newBrowser(t, h), cliRequest(), "ana@contoso.test")
		w.later(codeLife)
		if _, body := redeem(t, h, good(code)...); aadsts(body) != 70008 {
			t.Errorf("%v", body)
		}
	})
	t.Run("replayed", func(t *testing.T) {
		code := signIn(t, newBrowser(t, h), cliRequest(), "ana@contoso.test")
		_, first := redeem(t, h, good(code)...)
		if !w.holds(first["access_token"]) {
			t.Fatal("refused")
		}
		if _, body := redeem(t, h, good(code)...); aadsts(body) != 54005 {
			t.Errorf("%v", body)
		}
		if w.holds(first["access_token"]) {
			t.Error("the tokens of a replayed code still hold")
		}
		if status, _ := redeem(t, h, "grant_type", "refresh_token", "refresh_token", first["refresh_token"].(string)); status != http.StatusBadRequest {
			t.Error("and so does the refresh token")
		}
	})
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	first := tokens(t, h, "ana@contoso.test")
	old := first["refresh_token"].(string)
	status, second := redeem(t, h, "grant_type", "refresh_token", "refresh_token", old)
	if status != http.StatusOK || second["refresh_token"] == old || !w.holds(second["access_token"]) || !w.holds(first["access_token"]) || second["id_token"] == nil {
		t.Fatalf("%d %v", status, second)
	}
	if status, vault := redeem(t, h, "grant_type", "refresh_token", "refresh_token", second["refresh_token"].(string), "scope", "https://vault.azure.net/.default"); status != http.StatusOK || payload(t, vault["access_token"].(string))["aud"] != "https://vault.azure.net" {
		t.Errorf("for another resource: %d %v", status, vault)
	} else {
		second = vault
	}
	forged := second["refresh_token"].(string)
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, token := range map[string]string{"forged": forged, "nonsense": "x", "of another client": ""} {
		pairs := []string{"grant_type", "refresh_token", "refresh_token", token}
		if token == "" {
			pairs = []string{"grant_type", "refresh_token", "refresh_token", second["refresh_token"].(string), "client_id", "1950a258-227b-4e31-a9cf-717495945fc2"}
		}
		if _, body := redeem(t, h, pairs...); aadsts(body) != 70000 {
			t.Errorf("%s: %v", name, body)
		}
	}
	if status, _ := redeem(t, h, "grant_type", "refresh_token", "refresh_token", second["refresh_token"].(string)); status != http.StatusOK {
		t.Error("a forged token has ended the family")
	}
	if _, body := redeem(t, h, "grant_type", "refresh_token", "refresh_token", old); aadsts(body) != 70000 || !strings.Contains(body["error_description"].(string), "used before") {
		t.Errorf("reused: %v", body)
	}
	if w.holds(first["access_token"]) || w.holds(second["access_token"]) {
		t.Error("the family's access tokens outlive it")
	}
	third := tokens(t, h, "ana@contoso.test")
	w.later(refreshLife + time.Hour)
	if _, body := redeem(t, h, "grant_type", "refresh_token", "refresh_token", third["refresh_token"].(string)); aadsts(body) != 70008 {
		t.Errorf("after 90 days: %v", body)
	}
}

// TestRevocation: what is taken away ends access tokens, refresh tokens and browser sessions at once.
func TestRevocation(t *testing.T) {
	for name, revoke := range map[string]func(w *world, tx store.Tx, u directory.User) error{
		"sessions revoked": func(w *world, tx store.Tx, u directory.User) error { return w.RevokeSessions(tx, u.ID) },
		"disabled": func(w *world, tx store.Tx, u directory.User) error {
			_, err := w.UpdateUser(tx, u.ID, func(u *directory.User) error { u.AccountEnabled = false; return nil })
			return err
		},
		"another password": func(w *world, tx store.Tx, u directory.User) error {
			return w.SetPassword(tx, u.ID, u.PasswordHash, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := w.service()
			u := w.addUser(t, "ana@contoso.test")
			b := newBrowser(t, h)
			code := signIn(t, b, cliRequest(), "ana@contoso.test")
			_, got := redeem(t, h, "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
			if !w.holds(got["access_token"]) {
				t.Fatalf("%v", got)
			}
			w.update(t, func(tx store.Tx) error { return revoke(w, tx, u) })
			if w.holds(got["access_token"]) {
				t.Error("the access token holds")
			}
			if status, body := redeem(t, h, "grant_type", "refresh_token", "refresh_token", got["refresh_token"].(string)); status != http.StatusBadRequest {
				t.Errorf("the refresh token holds: %v", body)
			}
			b.get(cliRequest("prompt", "")).expect("Sign in")
		})
	}
}

func TestLogout(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	b := newBrowser(t, h)
	code := signIn(t, b, cliRequest(), "ana@contoso.test")
	_, got := redeem(t, h, "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	b.get("/common/oauth2/v2.0/logout?post_logout_redirect_uri=https://evil.test/").expect("Sign out?") // a link of another site asks only
	if strings.Contains(b.body, "evil.test") || !w.holds(got["access_token"]) {
		t.Error(b.body)
	}
	b.submit().expect("You are signed out")
	if w.holds(got["access_token"]) {
		t.Error("the session's access token holds after signing out")
	}
	b.get(cliRequest("prompt", "")).expect("Sign in").submit("username", "ana@contoso.test", "password", anaPassword)
	_, got = redeem(t, h, "grant_type", "authorization_code", "code", b.left.Query().Get("code"), "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	b.get("/common/oauth2/v2.0/logout?" + url.Values{"id_token_hint": {got["id_token"].(string)}, "post_logout_redirect_uri": {"http://localhost:40123"}, "state": {"x"}}.Encode())
	if b.left == nil || b.left.String() != "http://localhost:40123?state=x" || w.holds(got["access_token"]) {
		t.Errorf("%v %s", b.left, b.body)
	}
}

// TestForgedForms: a page's form is worth something only in the browser that it was made for, and only sent by it.
func TestForgedForms(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	victim, attacker := newBrowser(t, h), newBrowser(t, h)
	victim.get(cliRequest()).expect("Sign in")
	attacker.get(cliRequest()).expect("Sign in")
	action, fields := attacker.form(0)
	fields.Set("username", "ana@contoso.test")
	fields.Set("password", anaPassword)
	if victim.do(post(action, fields)); victim.status != http.StatusBadRequest || victim.left != nil || len(victim.cookies) != 1 {
		t.Errorf("the attacker's form in the victim's browser: %d %v %v", victim.status, victim.left, victim.cookies)
	}
	cross := post(action, fields)
	cross.Header.Set("Sec-Fetch-Site", "cross-site")
	cross.Header.Set("Origin", "https://evil.test")
	if attacker.do(cross); attacker.status != http.StatusForbidden {
		t.Errorf("sent by another site: %d", attacker.status)
	}
	fields.Set("flow", fields.Get("flow")[:20]+"AAAA"+fields.Get("flow")[24:])
	if attacker.do(post(action, fields)); attacker.status != http.StatusBadRequest {
		t.Errorf("changed: %d", attacker.status)
	}
	attacker.get(cliRequest())
	action, fields = attacker.form(0)
	w.later(flowLife)
	if attacker.do(post(action, fields)); attacker.status != http.StatusBadRequest || !strings.Contains(attacker.body, "expired") {
		t.Errorf("late: %d", attacker.status)
	}
	for _, step := range []string{"factor", "enrol", "consent", "change", "account", "factors"} { // no step can be taken before its time
		b := newBrowser(t, h).get(cliRequest())
		_, fields := b.form(0)
		fields.Set("answer", "yes")
		fields.Set("use", "session")
		fields.Set("code", "000000")
		fields.Set("new", "Another-pass-1")
		fields.Set("again", "Another-pass-1")
		if b.do(post("/vauban/"+step, fields)); b.left != nil || b.title() != "Sign in" {
			t.Errorf("%s before the password: %v %s", step, b.left, b.title())
		}
	}
	for _, path := range []string{"/vauban/password", "/vauban/consent"} {
		if b := newBrowser(t, h).get(path); b.status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", path, b.status)
		}
	}
}

func TestConsent(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	ana := w.addUser(t, "ana@contoso.test")
	api, _ := w.addApp(t, directory.Application{DisplayName: "api", API: directory.API{Scopes: []directory.Scope{
		{ID: "10000000-0000-4000-8000-000000000001", Value: "read", Type: "User", Enabled: true, UserConsentDisplayName: "Read your things"},
		{ID: "10000000-0000-4000-8000-000000000002", Value: "rule", Type: "Admin", Enabled: true},
	}}})
	app, _ := w.addApp(t, directory.Application{DisplayName: "client", PublicClient: directory.Redirects{RedirectURIs: []string{"http://localhost"}}})
	request := func(scope string) string {
		return cliRequest("client_id", app.AppID, "scope", scope, "prompt", "")
	}
	b := newBrowser(t, h)
	b.get(request("api://"+api.AppID+"/read openid")).submit("username", "ana@contoso.test", "password", anaPassword).expect("Permissions requested")
	if !strings.Contains(b.body, "Read your things") || !strings.Contains(b.body, "<strong>client</strong>") {
		t.Error(b.body)
	}
	b.submit("answer", "no")
	if b.left == nil || b.left.Query().Get("error") != "access_denied" {
		t.Fatalf("%v %s", b.left, b.body)
	}
	if b.get(request("api://"+api.AppID+"/read") + "&prompt=none"); b.left == nil || b.left.Query().Get("error") != "consent_required" {
		t.Errorf("silently: %v", b.left)
	}
	b.get(request("api://"+api.AppID+"/read openid offline_access")).expect("Permissions requested").submit("answer", "yes")
	if b.left == nil {
		t.Fatal(b.body)
	}
	status, got := redeem(t, h, "client_id", app.AppID, "scope", "", "grant_type", "authorization_code", "code", b.left.Query().Get("code"), "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	if status != http.StatusOK {
		t.Fatalf("%v", got)
	}
	if c := payload(t, got["access_token"].(string)); c["scp"] != "read" || c["aud"] != "api://"+api.AppID {
		t.Errorf("%v", c)
	}
	if b.get(request("api://" + api.AppID + "/read")); b.left == nil {
		t.Error("asked again")
	}
	if _, body := redeem(t, h, "client_id", app.AppID, "grant_type", "refresh_token", "refresh_token", got["refresh_token"].(string), "scope", "api://"+api.AppID+"/rule"); aadsts(body) != 65001 {
		t.Errorf("more than was consented to: %v", body)
	}
	b.get(request("api://" + api.AppID + "/rule")).expect("You cannot sign in here") // a user cannot grant what is an administrator's
	if b.get(request("api://" + api.AppID + "/nothing")); !strings.Contains(b.body, "is not valid") {
		t.Error(b.body)
	}
	w.update(t, func(tx store.Tx) error { return w.AssignRole(tx, "", directory.GlobalAdministrator, ana.ID) })
	b.get(request("api://"+api.AppID+"/rule")).expect("Permissions requested").submit("answer", "yes", "all", "1")
	if b.left == nil {
		t.Fatal(b.body)
	}
	w.addUser(t, "bob@contoso.test")
	if bob := newBrowser(t, h); signIn(t, bob, request("api://"+api.AppID+"/rule"), "bob@contoso.test") == "" {
		t.Error("not granted to all")
	}
}

func TestMustChangePassword(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test", func(u *directory.User) { u.MustChangePassword = true })
	b := newBrowser(t, h).get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Choose a new password")
	for pair, say := range map[[2]string]string{
		{"Another-pass-1", "Another-pass-2"}: "differ", {"short", "short"}: "8 to 256", {anaPassword, anaPassword}: "that you have",
	} {
		if b.submit("new", pair[0], "again", pair[1]).expect("Choose a new password"); !strings.Contains(b.body, say) {
			t.Errorf("%v: %s", pair, b.body)
		}
	}
	if b.submit("new", "Another-pass-1", "again", "Another-pass-1"); b.left == nil || b.left.Query().Get("code") == "" {
		t.Fatal(b.body)
	}
	status, got := redeem(t, h, "grant_type", "authorization_code", "code", b.left.Query().Get("code"), "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	if status != http.StatusOK || !w.holds(got["access_token"]) {
		t.Errorf("%v", got)
	}
	if b := newBrowser(t, h).get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword); b.left != nil {
		t.Error("the old password still signs in")
	}
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	code := signIn(t, newBrowser(t, h), cliRequest("scope", "openid profile email User.Read"), "ana@contoso.test")
	_, got := redeem(t, h, "scope", "", "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	ask := func(token any) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "https://graph.microsoft.com/oidc/userinfo", nil)
		text, _ := token.(string)
		r.Header.Set("Authorization", "Bearer "+text)
		rec := httptest.NewRecorder()
		h.UserInfo().ServeHTTP(rec, r)
		return rec
	}
	var info map[string]string
	if err := json.Unmarshal(ask(got["access_token"]).Body.Bytes(), &info); err != nil || info["name"] != "Ana Lyst" || info["email"] != "ana@mail.test" {
		t.Errorf("%v %v (%v)", info, err, got)
	}
	if rec := ask(tokens(t, h, "ana@contoso.test")["access_token"]); rec.Code != http.StatusUnauthorized {
		t.Errorf("a token of Resource Manager: %d", rec.Code)
	}
}
