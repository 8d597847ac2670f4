//go:build clients

package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// These tests sign the unmodified az in by a real browser, headless Chromium, which reaches the region by its
// loopback proxy. $VAUBAN_SHOTS is a directory that keeps what the browser showed.

// chromium is the browser under test.
func chromium(t *testing.T, g *ground) context.Context {
	t.Helper()
	env := g.environment()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	home := trustingHome(t, env["SSL_CERT_FILE"])
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.WindowSize(900, 900), chromedp.ProxyServer(env["HTTPS_PROXY"]), chromedp.UserDataDir(filepath.Join(home, "chromium")), chromedp.Env("HOME="+home),
	)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// trustingHome is a home directory in which browsers trust the region's certificate authority, the last
// certificate of the bundle, as `certutil` (libnss3-tools) sets it.
func trustingHome(t *testing.T, bundle string) string {
	t.Helper()
	rest, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	var last *pem.Block
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		last = block
	}
	home := t.TempDir()
	authority, db := filepath.Join(home, "ca.pem"), filepath.Join(home, ".pki", "nssdb")
	if err := os.WriteFile(authority, pem.EncodeToMemory(last), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-N", "--empty-password", "-d", "sql:" + db}, {"-A", "-t", "C,,", "-n", "vauban", "-i", authority, "-d", "sql:" + db}} {
		if out, err := exec.Command("certutil", args...).CombinedOutput(); err != nil {
			t.Fatalf("certutil: %v %s", err, out)
		}
	}
	return home
}

// environment is what `vauban env` points clients outside the region with.
func (g *ground) environment() (env map[string]string) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(g.vauban("env", "--shell", "json")), &env); err != nil {
		g.t.Fatal(err)
	}
	return env
}

// shot keeps a picture of the page.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("VAUBAN_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	var png []byte
	if err := chromedp.Run(ctx, chromedp.FullScreenshot(&png, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// await runs JavaScript in the page until it is true; it answers through navigations.
func await(t *testing.T, ctx context.Context, script string) {
	t.Helper()
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var ok bool
		if last = chromedp.Run(ctx, chromedp.Evaluate(script, &ok)); last == nil && ok {
			return
		}
	}
	t.Fatalf("%s: never true (%v): %s", script, last, text(ctx, "body"))
}

// text of the first element that a selector names.
func text(ctx context.Context, selector string) (out string) {
	_ = chromedp.Run(ctx, chromedp.Evaluate("document.querySelector("+quote(selector)+")?.innerText ?? ''", &out)) // what is not there has none
	return out
}

func quote(s string) string {
	b, _ := json.Marshal(s) // strings always marshal
	return string(b)
}

// title waits for the page with this heading.
func title(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	await(t, ctx, "document.readyState === 'complete' && document.querySelector('h1')?.innerText === "+quote(want))
}

// fill types values into fields, and presses a button.
func fill(t *testing.T, ctx context.Context, button string, fields ...string) {
	t.Helper()
	script := ""
	for i := 0; i+1 < len(fields); i += 2 {
		script += "document.querySelector(" + quote(fields[i]) + ").value = " + quote(fields[i+1]) + ";"
	}
	if err := chromedp.Run(ctx, chromedp.Evaluate(script+"document.querySelector("+quote(button)+").click(); true", nil)); err != nil {
		t.Fatal(err)
	}
}

// addPerson makes a user who owns the subscription, and returns his password.
func addPerson(t *testing.T, g *ground, name string) string {
	t.Helper()
	out := g.vauban("user", "add", name, "--role", "Owner", "--display-name", "Ana Lyst")
	found := regexp.MustCompile(`(?m)^password\s+(\S+)$`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no password: %s", out)
	}
	return found[1]
}

// azCommand is az outside the region, with a sign-in of its own.
func azCommand(t *testing.T, g *ground, config string, extra []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(g.clients("az"), "az"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(config), "LANG=C.UTF-8", "AZURE_CORE_COLLECT_TELEMETRY=false", "AZURE_CORE_LOGIN_EXPERIENCE_V2=off"}
	for k, v := range g.environment() {
		if !strings.HasPrefix(k, "AZURE_") {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.Env = append(append(cmd.Env, "AZURE_CONFIG_DIR="+config), extra...)
	return cmd
}

// waitFor polls a file until f finds something in it.
func waitFor(t *testing.T, path string, form *regexp.Regexp) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if b, err := os.ReadFile(path); err == nil {
			if found := form.FindSubmatch(b); found != nil {
				return string(found[1])
			}
		}
	}
	b, _ := os.ReadFile(path)
	t.Fatalf("%s: nothing like %s in %s", path, form, b)
	return ""
}

func TestAzSignsInByBrowser(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	password := addPerson(t, g, "ana")
	dir := t.TempDir()
	config := filepath.Join(dir, "az")
	opened := filepath.Join(dir, "opened")
	script := filepath.Join(dir, "open")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf '%s\\n' \"$1\" > "+opened+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	browser := []string{"BROWSER=" + script + " %s", "DISPLAY=:99"}
	login := azCommand(t, g, config, browser, "login", "--only-show-errors", "-o", "json")
	var out, problems strings.Builder
	login.Stdout, login.Stderr = &out, &problems
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	uri := waitFor(t, opened, regexp.MustCompile(`(?m)^(https://\S+)$`))
	ctx := chromium(t, g)
	if err := chromedp.Run(ctx, chromedp.Navigate(uri)); err != nil {
		t.Fatal(err)
	}
	title(t, ctx, "Sign in")
	shot(t, ctx, "1-sign-in")
	fill(t, ctx, "button", "#username", "ana@vauban.onmicrosoft.com", "#password", "wrong")
	await(t, ctx, "!!document.querySelector('.error')")
	shot(t, ctx, "2-wrong-password")
	fill(t, ctx, "button", "#password", password)
	if err := login.Wait(); err != nil {
		t.Fatalf("az login: %v %s", err, problems.String())
	}
	shot(t, ctx, "3-az-has-it")
	var accounts []struct {
		User struct{ Name, Type string }
	}
	if err := json.Unmarshal([]byte(out.String()), &accounts); err != nil || len(accounts) == 0 || accounts[0].User.Name != "ana@vauban.onmicrosoft.com" || accounts[0].User.Type != "user" {
		t.Fatalf("%s %v", out.String(), err)
	}
	for _, args := range [][]string{{"group", "create", "-n", "rg", "-l", "westeurope"}, {"group", "list"}, {"account", "get-access-token", "--resource", "https://vault.azure.net"}, {"ad", "signed-in-user", "show"}} {
		if b, err := azCommand(t, g, config, nil, append(args, "-o", "json")...).CombinedOutput(); err != nil {
			t.Errorf("az %s: %v %s", strings.Join(args, " "), err, b)
		}
	}
	g.vauban("user", "password", "ana") // ends the session: the next request is refused, and az says to sign in again
	if b, err := azCommand(t, g, config, nil, "group", "list").CombinedOutput(); err == nil || !strings.Contains(string(b), "az login") {
		t.Errorf("after the password was changed: %v %s", err, b)
	}
}

// TestAzDeviceCodeWithFactor: az shows a code, the browser answers it with a password and a second factor, which a
// policy that az itself made asks for.
func TestAzDeviceCodeWithFactor(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	password := addPerson(t, g, "ana")
	policy := `{"displayName":"MFA for all","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["797f4846-ba00-4fd7-ba43-dac1f8f63013"]}},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`
	dir := t.TempDir()
	config, admin := filepath.Join(dir, "az"), filepath.Join(dir, "admin")
	env := g.environment()
	for _, args := range [][]string{
		{"login", "--service-principal", "-u", env["AZURE_CLIENT_ID"], "-p", env["AZURE_CLIENT_SECRET"], "-t", env["AZURE_TENANT_ID"]},
		{"rest", "--method", "post", "--url", "https://graph.microsoft.com/v1.0/identity/conditionalAccess/policies", "--body", policy},
	} {
		if b, err := azCommand(t, g, admin, nil, args...).CombinedOutput(); err != nil {
			t.Fatalf("az %s: %v %s", args[0], err, b)
		}
	}
	problems := filepath.Join(dir, "stderr")
	f, err := os.Create(problems)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	login := azCommand(t, g, config, nil, "login", "--use-device-code", "-o", "json")
	login.Stderr = f
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	code := waitFor(t, problems, regexp.MustCompile(`enter the code ([A-Z0-9]+)`))
	ctx := chromium(t, g)
	if err := chromedp.Run(ctx, chromedp.Navigate("https://login.microsoftonline.com/common/oauth2/deviceauth")); err != nil {
		t.Fatal(err)
	}
	title(t, ctx, "Enter code")
	shot(t, ctx, "4-enter-code")
	fill(t, ctx, "button", "#code", code)
	title(t, ctx, "Sign in")
	fill(t, ctx, "button", "#username", "ana@vauban.onmicrosoft.com", "#password", password)
	title(t, ctx, "Add a second factor")
	shot(t, ctx, "5-add-factor")
	otp, err := totp.GenerateCode(text(ctx, ".secret"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, ctx, "section button", "#code", otp)
	title(t, ctx, "Are you signing in on another device?")
	shot(t, ctx, "6-confirm-device")
	fill(t, ctx, "button[value=yes]")
	title(t, ctx, "You are signed in")
	shot(t, ctx, "7-signed-in")
	if err := login.Wait(); err != nil {
		b, _ := os.ReadFile(problems)
		t.Fatalf("az login: %v %s", err, b)
	}
	securityKey(t, ctx)
}

// securityKey adds a security key on the user's own page, with the browser's virtual authenticator.
func securityKey(t *testing.T, ctx context.Context) {
	t.Helper()
	add := chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := webauthn.AddVirtualAuthenticator(&webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}).Do(ctx)
		return err
	})
	if err := chromedp.Run(ctx, webauthn.Enable(), add, chromedp.Navigate("https://login.microsoftonline.com/vauban/factors")); err != nil {
		t.Fatal(err)
	}
	title(t, ctx, "Your second factors")
	fill(t, ctx, "button[name=add]")
	title(t, ctx, "Add a second factor")
	fill(t, ctx, "form.key button")
	title(t, ctx, "Your second factors")
	if list := text(ctx, "ul.factors"); !strings.Contains(list, "Security key") || !strings.Contains(list, "Authenticator app") {
		t.Error(list)
	}
	shot(t, ctx, "8-factors")
}
