package signin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/password"
	"vauban.dev/origin"
	"vauban.dev/store"
)

const base = "https://login.microsoftonline.com"

// browserSim is a browser without scripts: it keeps cookies, follows redirects inside the service and fills in
// forms.
type browserSim struct {
	t       testing.TB
	h       http.Handler
	from    origin.Origin
	cookies map[string]string
	status  int
	header  http.Header
	body    string
	left    *url.URL // where a redirect led out of the service
}

func newBrowser(t testing.TB, h http.Handler) *browserSim {
	return &browserSim{t: t, h: h, cookies: map[string]string{}, from: origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("198.51.100.7")}}
}

func (b *browserSim) do(r *http.Request) *browserSim {
	b.t.Helper()
	for name, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	r = r.WithContext(origin.NewContext(r.Context(), b.from))
	rec := httptest.NewRecorder()
	b.h.ServeHTTP(rec, r)
	res := rec.Result()
	for _, c := range res.Cookies() {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || !strings.HasPrefix(c.Name, "__Host-") || c.Domain != "" {
			b.t.Errorf("cookie %v", c)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	b.status, b.header, b.body, b.left = res.StatusCode, res.Header, rec.Body.String(), nil
	if at := res.Header.Get("Location"); at != "" {
		u, err := url.Parse(at)
		if err != nil {
			b.t.Fatal(err)
		}
		b.left = u
	} else if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("Cache-Control") == "" {
			b.t.Errorf("headers of a page: %v", res.Header)
		}
		if !strings.Contains(b.body, "This is Vauban, not Microsoft") || !strings.Contains(b.body, "Contoso") || !strings.Contains(b.body, "Never type a real Azure password here") {
			b.t.Errorf("a page that does not say whose it is: %s", b.body)
		}
		if regexp.MustCompile(`<script[^>]*>[^<]|\son\w+=|style="`).MatchString(b.body) {
			b.t.Errorf("inline script or style: %s", b.body)
		}
	}
	return b
}

func (b *browserSim) get(path string) *browserSim {
	b.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, base+path, nil))
}

// form is the nth form of the page, with what is filled in already.
func (b *browserSim) form(n int) (action string, fields url.Values) {
	b.t.Helper()
	doc, err := html.Parse(strings.NewReader(b.body))
	if err != nil {
		b.t.Fatal(err)
	}
	var forms []*html.Node
	var walk func(*html.Node, func(*html.Node))
	walk = func(at *html.Node, see func(*html.Node)) {
		see(at)
		for c := at.FirstChild; c != nil; c = c.NextSibling {
			walk(c, see)
		}
	}
	walk(doc, func(at *html.Node) {
		if at.Data == "form" {
			forms = append(forms, at)
		}
	})
	if n >= len(forms) {
		b.t.Fatalf("no form %d in %s", n, b.body)
	}
	attr := func(at *html.Node, name string) string {
		for _, a := range at.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	fields = url.Values{}
	walk(forms[n], func(at *html.Node) {
		if at.Data == "input" && attr(at, "type") != "checkbox" {
			fields.Set(attr(at, "name"), attr(at, "value"))
		}
	})
	return attr(forms[n], "action"), fields
}

// submit sends the page's first form with these fields.
func (b *browserSim) submit(pairs ...string) *browserSim {
	b.t.Helper()
	return b.submitForm(0, pairs...)
}

func (b *browserSim) submitForm(n int, pairs ...string) *browserSim {
	b.t.Helper()
	action, fields := b.form(n)
	for i := 0; i+1 < len(pairs); i += 2 {
		fields.Set(pairs[i], pairs[i+1])
	}
	r := post(action, fields)
	r.Header.Set("Origin", base)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

func (b *browserSim) title() string {
	_, after, _ := strings.Cut(b.body, "<h1>")
	title, _, _ := strings.Cut(after, "</h1>")
	return html.UnescapeString(title)
}

func (b *browserSim) expect(title string) *browserSim {
	b.t.Helper()
	if b.title() != title {
		b.t.Fatalf("page %q (%d, to %v), want %q:\n%s", b.title(), b.status, b.left, title, b.body)
	}
	return b
}

const anaPassword = "Correct-horse-1"

// addUser makes a user who need not change his password.
func (w *world) addUser(t testing.TB, upn string, change ...func(*directory.User)) directory.User {
	t.Helper()
	hash, err := password.Hash(context.Background(), anaPassword)
	if err != nil {
		t.Fatal(err)
	}
	u := directory.User{UserPrincipalName: upn, DisplayName: "Ana Lyst", AccountEnabled: true, PasswordHash: hash, Mail: "ana@mail.test"}
	for _, f := range change {
		f(&u)
	}
	w.update(t, func(tx store.Tx) error { return w.CreateUser(tx, &u) })
	return u
}

// addApp makes an application with redirect URIs.
func (w *world) addApp(t testing.TB, a directory.Application) (directory.Application, directory.ServicePrincipal) {
	t.Helper()
	p := directory.ServicePrincipal{}
	w.update(t, func(tx store.Tx) error {
		if err := w.CreateApplication(tx, &a); err != nil {
			return err
		}
		p.AppID = a.AppID
		return w.AddPrincipal(tx, &p)
	})
	return a, p
}

const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	armScope  = "https://management.core.windows.net//.default offline_access openid profile"
)

// cliRequest is the authorization request of az.
func cliRequest(change ...string) string {
	q := url.Values{
		"client_id": {directory.CLIAppID}, "response_type": {"code"}, "redirect_uri": {"http://localhost:40123"}, "scope": {armScope}, "state": {"s1"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "nonce": {"n1"}, "client_info": {"1"}, "prompt": {"select_account"},
		"claims": {`{"access_token":{"xms_cc":{"values":["CP1"]}}}`},
	}
	for i := 0; i+1 < len(change); i += 2 {
		if q.Set(change[i], change[i+1]); change[i+1] == "" {
			q.Del(change[i])
		}
	}
	return "/organizations/oauth2/v2.0/authorize?" + q.Encode()
}

// redeem sends a token request of az.
func redeem(t testing.TB, h http.Handler, pairs ...string) (int, map[string]any) {
	t.Helper()
	f := url.Values{"client_id": {directory.CLIAppID}, "client_info": {"1"}, "scope": {armScope}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if f.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			f.Del(pairs[i])
		}
	}
	r := post("/organizations/oauth2/v2.0/token", f)
	r = r.WithContext(origin.NewContext(r.Context(), origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("198.51.100.7")}))
	rec, body := call(t, h, r)
	return rec.Code, body
}

// signIn drives the pages to a code.
func signIn(t testing.TB, b *browserSim, request, upn string) (code string) {
	t.Helper()
	b.get(request).expect("Sign in").submit("username", upn, "password", anaPassword)
	if b.left == nil {
		t.Fatalf("no answer: %d %s", b.status, b.body)
	}
	return b.left.Query().Get("code")
}

// tokens signs a user in to az and returns the answer of the token endpoint.
func tokens(t testing.TB, h http.Handler, upn string) map[string]any {
	t.Helper()
	code := signIn(t, newBrowser(t, h), cliRequest(), upn)
	status, body := redeem(t, h, "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, body)
	}
	return body
}

func aadsts(body map[string]any) int {
	codes, _ := body["error_codes"].([]any)
	if len(codes) != 1 {
		return 0
	}
	n, _ := codes[0].(float64)
	return int(n)
}

// holds reports whether an access token is taken by Resource Manager.
func (w *world) holds(token any) bool {
	text, _ := token.(string)
	_, err := w.Authenticate(context.Background(), text, entra.AudienceARM, entra.AudienceARMClassic)
	return err == nil
}

func mustAddr(text string) netip.Addr { return netip.MustParseAddr(text) }
