package signin

import (
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/pquerna/otp/totp"
	"golang.org/x/net/html"

	"vauban.dev/entra/conditionalaccess"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// policy makes a conditional access policy in Graph's JSON.
func (w *world) policy(t testing.TB, id, body string) {
	t.Helper()
	p, err := conditionalaccess.Parse([]byte(body), conditionalaccess.Policy{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	w.update(t, func(tx store.Tx) error { return w.PutPolicy(tx, p) })
}

const (
	everybodyMFA = `{"displayName":"MFA for all","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["` + directory.ARMAppID + `"]}},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`
	blockAway    = `{"displayName":"Only from the office","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]},"locations":{"includeLocations":["All"],"excludeLocations":["AllTrusted"]}},"grantControls":{"operator":"OR","builtInControls":["block"]}}`
)

var secretForm = regexp.MustCompile(`<code class="secret">([A-Z2-7]+)</code>`)

func codeAt(t *testing.T, secret string, now time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, now)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// enrolApp passes the page that adds an authenticator app, and returns its secret.
func enrolApp(t *testing.T, w *world, b *browserSim) string {
	t.Helper()
	found := secretForm.FindStringSubmatch(b.body)
	if found == nil || !strings.Contains(b.body, `src="data:image/png;base64,`) {
		t.Fatalf("no secret: %s", b.body)
	}
	if b.submit("code", "000000").expect("Add a second factor"); secretForm.FindStringSubmatch(b.body)[1] != found[1] {
		t.Error("another secret after a wrong code")
	}
	b.submit("code", codeAt(t, found[1], w.clock.Now()))
	return found[1]
}

func TestAuthenticatorApp(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	before := tokens(t, h, "ana@contoso.test") // by password alone
	w.policy(t, "10000000-0000-4000-8000-00000000000a", everybodyMFA)
	if _, body := redeem(t, h, "grant_type", "refresh_token", "refresh_token", before["refresh_token"].(string)); aadsts(body) != 50076 || body["error"] != "invalid_grant" || body["suberror"] != "basic_action" {
		t.Errorf("a refresh without the factor: %v", body)
	}
	b := newBrowser(t, h)
	b.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Add a second factor")
	if !strings.Contains(b.body, "MFA for all") {
		t.Error(b.body)
	}
	secret := enrolApp(t, w, b)
	if b.left == nil {
		t.Fatalf("no answer: %s", b.body)
	}
	status, got := redeem(t, h, "grant_type", "authorization_code", "code", b.left.Query().Get("code"), "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	if status != http.StatusOK {
		t.Fatalf("%v", got)
	}
	amr, _ := payload(t, got["access_token"].(string))["amr"].([]any)
	if len(amr) != 3 || amr[0] != "pwd" || amr[1] != "otp" || amr[2] != "mfa" {
		t.Errorf("amr %v", amr)
	}
	if status, _ := redeem(t, h, "grant_type", "refresh_token", "refresh_token", got["refresh_token"].(string)); status != http.StatusOK {
		t.Error("a refresh with the factor")
	}
	if b.get(cliRequest("prompt", "")); b.left == nil {
		t.Error("the session's factor is asked for again")
	}
	other := newBrowser(t, h)
	other.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Second factor")
	if other.submit("code", codeAt(t, secret, w.clock.Now())).expect("Second factor"); other.status != http.StatusForbidden {
		t.Error("the code that enrolled is taken again")
	}
	w.later(time.Minute)
	code := codeAt(t, secret, w.clock.Now())
	if other.submit("code", code[:3]+" "+code[3:]); other.left == nil {
		t.Fatalf("%s", other.body)
	}
	again := newBrowser(t, h)
	again.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Second factor")
	if again.submit("code", code); again.left != nil {
		t.Error("a code is taken twice")
	}
	if again.get(cliRequest("prompt", "none")); again.left == nil || again.left.Query().Get("error") != "login_required" {
		t.Errorf("signed in without the factor: %v", again.left)
	}
	for range lockThreshold { // a code has a million values: guessing must end
		again.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword)
		if again.title() == "Second factor" {
			again.submit("code", "123456")
		}
	}
	if !strings.Contains(again.body, "locked") {
		t.Errorf("guessing codes goes on: %s", again.title())
	}
}

// options are what a page hands its security key.
func options(t *testing.T, b *browserSim) string {
	t.Helper()
	found := regexp.MustCompile(`data-options="([^"]*)"`).FindStringSubmatch(b.body)
	if found == nil {
		t.Fatalf("no options in %s", b.body)
	}
	return `{"publicKey":` + html.UnescapeString(found[1]) + `}`
}

func TestSecurityKey(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	w.policy(t, "10000000-0000-4000-8000-00000000000a", everybodyMFA)
	rp := virtualwebauthn.RelyingParty{Name: "Vauban", ID: "login.microsoftonline.com", Origin: base}
	key, credential := virtualwebauthn.NewAuthenticator(), virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
	enrol := func(b *browserSim, rp virtualwebauthn.RelyingParty) {
		b.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Add a second factor")
		o, err := virtualwebauthn.ParseAttestationOptions(options(t, b))
		if err != nil {
			t.Fatal(err)
		}
		b.submitForm(1, "key", virtualwebauthn.CreateAttestationResponse(rp, key, credential, *o))
	}
	phished := newBrowser(t, h)
	if enrol(phished, virtualwebauthn.RelyingParty{Name: "Vauban", ID: rp.ID, Origin: "https://login.evil.test"}); phished.left != nil || phished.status != http.StatusBadRequest {
		t.Errorf("another origin: %d %v", phished.status, phished.left)
	}
	b := newBrowser(t, h)
	if enrol(b, rp); b.left == nil {
		t.Fatalf("%s", b.body)
	}
	key.AddCredential(credential)
	use := func(b *browserSim, rp virtualwebauthn.RelyingParty) string {
		b.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Second factor")
		o, err := virtualwebauthn.ParseAssertionOptions(options(t, b))
		if err != nil {
			t.Fatal(err)
		}
		credential.Counter++
		answer := virtualwebauthn.CreateAssertionResponse(rp, key, credential, *o)
		b.submit("key", answer)
		return answer
	}
	again := newBrowser(t, h)
	answer := use(again, rp)
	if again.left == nil {
		t.Fatalf("%s", again.body)
	}
	_, got := redeem(t, h, "grant_type", "authorization_code", "code", again.left.Query().Get("code"), "redirect_uri", "http://localhost:40123", "code_verifier", verifier)
	if amr, _ := payload(t, got["access_token"].(string))["amr"].([]any); len(amr) != 3 || amr[1] != "fido" {
		t.Errorf("amr %v", amr)
	}
	replay := newBrowser(t, h)
	replay.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword).expect("Second factor")
	if replay.submit("key", answer); replay.left != nil {
		t.Error("an answer is taken for another challenge")
	}
	evil := newBrowser(t, h)
	if use(evil, virtualwebauthn.RelyingParty{Name: "Vauban", ID: rp.ID, Origin: "https://login.evil.test"}); evil.left != nil {
		t.Error("an answer made for another origin is taken")
	}
}

// TestFactorsPage: users manage their factors; a password alone adds no second one and removes none.
func TestFactorsPage(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	b := newBrowser(t, h)
	b.get("/vauban/factors").expect("Sign in").submit("username", "ana@contoso.test", "password", anaPassword).expect("Your second factors")
	b.submit("add", "1").expect("Add a second factor")
	secret := enrolApp(t, w, b)
	b.expect("Your second factors")
	if !strings.Contains(b.body, "Authenticator app") {
		t.Error(b.body)
	}
	thief := newBrowser(t, h)
	thief.get("/vauban/factors").submit("username", "ana@contoso.test", "password", anaPassword).expect("Second factor")
	_, fields := thief.form(0)
	for name, form := range map[string][2]string{"/vauban/factors": {"add", "1"}, "/vauban/enrol": {"code", "000000"}} {
		fields.Set(form[0], form[1])
		if thief.do(post(name, fields)); thief.title() != "Second factor" {
			t.Errorf("%s by password alone: %s", name, thief.title())
		}
	}
	w.later(time.Minute)
	thief.get("/vauban/factors").expect("Sign in")
	b.get("/vauban/factors").expect("Your second factors")
	id := regexp.MustCompile(`name="remove" value="([^"]+)"`).FindStringSubmatch(b.body)
	if b.submit("remove", id[1]).expect("Your second factors"); !strings.Contains(b.body, "You have no second factor") {
		t.Error(b.body)
	}
	_ = secret
}

func TestConditionalAccess(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	w.policy(t, "10000000-0000-4000-8000-00000000000b", blockAway)
	w.update(t, func(tx store.Tx) error {
		return w.PutLocation(tx, conditionalaccess.Location{ID: "20000000-0000-4000-8000-000000000001", DisplayName: "office", Trusted: true, Ranges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	})
	w.update(t, func(tx store.Tx) error {
		return w.PutLocation(tx, conditionalaccess.Location{ID: "20000000-0000-4000-8000-000000000002", DisplayName: "jump", Trusted: true, Networks: []string{"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/jump"}})
	})
	b := newBrowser(t, h)
	b.get(cliRequest()).submit("username", "ana@contoso.test", "password", anaPassword)
	if b.left != nil || !strings.Contains(b.body, "Only from the office") || !strings.Contains(b.body, "AADSTS53003") {
		t.Errorf("away: %v %s", b.left, b.body)
	}
	b.from.Source = mustAddr("203.0.113.9")
	code := signIn(t, b, cliRequest(), "ana@contoso.test")
	if _, body := redeem(t, h, "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:40123", "code_verifier", verifier); aadsts(body) != 53003 {
		t.Errorf("a code that is redeemed away: %v", body)
	}
	inside := newBrowser(t, h)
	inside.from.Source, inside.from.VNet, inside.from.Subnet = mustAddr("10.0.0.4"), "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v", "/subscriptions/S/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/jump"
	if signIn(t, inside, cliRequest(), "ana@contoso.test") == "" {
		t.Error("in the subnet")
	}
}

func TestSignInFrequency(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	w.addUser(t, "ana@contoso.test")
	w.policy(t, "10000000-0000-4000-8000-00000000000c", `{"displayName":"Every hour","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":1,"frequencyInterval":"timeBased"}}}`)
	b := newBrowser(t, h)
	signIn(t, b, cliRequest(), "ana@contoso.test")
	got := tokens(t, h, "ana@contoso.test")
	if b.get(cliRequest("prompt", "")); b.left == nil {
		t.Error("at once")
	}
	w.later(time.Hour + time.Minute)
	if b.get(cliRequest("prompt", "")).expect("Sign in"); !strings.Contains(b.body, "Every hour") {
		t.Error(b.body)
	}
	if _, body := redeem(t, h, "grant_type", "refresh_token", "refresh_token", got["refresh_token"].(string)); aadsts(body) != 70043 {
		t.Errorf("%v", body)
	}
}
