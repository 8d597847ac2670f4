package blob

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/storagetest"
	"vauban.dev/origin"
	"vauban.dev/seal"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

const (
	acct   = "labstore"
	acctID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/labstore"
)

// fixture is a blob service with one account, a set of tokens and what their holders may do.
type fixture struct {
	testing.TB
	*Service
	dir     string
	st      store.Store
	clock   *storagetest.Clock
	account storagehttp.Account
	tokens  map[string]authz.Principal
	grants  map[string]bool  // object id + " " + action
	roles   authz.Authorizer // nil: grants
	origin  origin.Origin
	other   storagehttp.Account // a second account
	keeps   BlobSettings
}

func (f *fixture) BlobSettings(context.Context, string) (BlobSettings, error) { return f.keeps, nil }

func (f *fixture) SetBlobSettings(_ context.Context, _ string, change func(*BlobSettings)) error {
	change(&f.keeps)
	return nil
}

func (f *fixture) Lookup(_ context.Context, name string) (storagehttp.Account, error) {
	if name == f.other.Name && name != "" {
		return f.other, nil
	}
	if name != f.account.Name {
		return storagehttp.Account{}, storagehttp.ErrNoAccount
	}
	return f.account, nil
}

func (f *fixture) Verify(_ context.Context, token string, audiences ...string) (authz.Principal, error) {
	p, ok := f.tokens[token]
	if !ok {
		return p, errors.New("Lifetime validation failed. The token is expired.")
	}
	return p, nil
}

func (f *fixture) Check(_ context.Context, p authz.Principal, r authz.Request) (authz.Decision, error) {
	if !strings.HasPrefix(r.Scope, acctID+"/blobServices/default") && !strings.HasPrefix(r.Scope, f.other.ID+"/blobServices/default/") {
		return authz.Decision{}, fmt.Errorf("scope %s", r.Scope)
	}
	if f.roles != nil {
		return f.roles.Check(context.Background(), p, r)
	}
	if r.Data != strings.Contains(r.Action, "/blobs/") {
		return authz.Decision{}, fmt.Errorf("data %v for %s", r.Data, r.Action)
	}
	action := strings.TrimPrefix(r.Action, actionRoot)
	return authz.Decision{Allowed: f.grants[p.ObjectID+" "+action], By: "no assignment"}, nil
}

func newFixture(t testing.TB) *fixture { return newFixtureIn(t, t.TempDir()) }

// newFixtureIn keeps everything in dir.
func newFixtureIn(t testing.TB, dir string) *fixture {
	f := &fixture{
		TB: t, dir: dir, clock: storagetest.NewClock(),
		account: storagehttp.Account{
			ID: acctID, Name: acct, TenantID: "tenant", Keys: [2][]byte{bytes.Repeat([]byte{1}, 64), bytes.Repeat([]byte{2}, 64)},
			AllowSharedKeyAccess: true, AllowBlobPublicAccess: true,
		},
		tokens: map[string]authz.Principal{"tok": {TenantID: "tenant", ObjectID: "alice", Name: "Alice"}},
		grants: map[string]bool{},
		origin: origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("203.0.113.9")},
	}
	f.open()
	return f
}

// open opens the service over the fixture's directory, as a restart does.
func (f *fixture) open() {
	f.Helper()
	var err error
	if f.st, err = sqlite.Open(filepath.Join(f.dir, "db")); err != nil {
		f.Fatal(err)
	}
	st := f.st
	f.Cleanup(func() { _ = st.Close() })
	pk, err := seal.OpenPlatformKey(filepath.Join(f.dir, "key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Service, err = Open(Config{Store: f.st, Keys: seal.NewKeyring(f.st, pk), Dir: filepath.Join(f.dir, "data"), Clock: f.clock, Accounts: f, Settings: f, Tokens: f, Authorizer: f})
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) restart() {
	f.Helper()
	if err := f.st.Close(); err != nil {
		f.Fatal(err)
	}
	f.open()
}

// call is one request of a test; header lists names and values in turn.
type call struct {
	method, path string
	body         string
	header       []string
	auth         string // "key" (default), "none", "token", or a query to append
	tls          bool
}

func (f *fixture) do(c call) *httptest.ResponseRecorder {
	f.Helper()
	target := "http://" + acct + ".blob.core.windows.net" + c.path
	if c.auth != "" && c.auth != "none" && c.auth != "key" && c.auth != "token" {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + c.auth
	}
	r := httptest.NewRequest(c.method, target, strings.NewReader(c.body))
	r.RequestURI = strings.TrimPrefix(target, "http://"+acct+".blob.core.windows.net")
	r = r.WithContext(origin.NewContext(context.Background(), f.origin))
	if c.tls {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	}
	for i := 0; i < len(c.header); i += 2 {
		r.Header.Set(c.header[i], c.header[i+1])
	}
	if r.Header.Get("x-ms-version") == "" {
		r.Header.Set("x-ms-version", "2023-11-03")
	}
	switch c.auth {
	case "", "key":
		f.sign(r)
	case "token":
		r.Header.Set("Authorization", "Bearer tok")
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

// sign signs a request with the account's second key.
func (f *fixture) sign(r *http.Request) {
	r.Header.Set("x-ms-date", f.clock.Now().Format(http.TimeFormat))
	text := storagehttp.StringToSign(r, acct, strings.Compare)
	r.Header.Set("Authorization", "SharedKey "+acct+":"+base64.StdEncoding.EncodeToString(storagehttp.MAC(f.account.Keys[1], text)))
}

// want does a call and checks its status and, for errors, code.
func (f *fixture) want(c call, status int, code string) *httptest.ResponseRecorder {
	f.Helper()
	w := f.do(c)
	if w.Code != status || w.Header().Get("x-ms-error-code") != code {
		f.Fatalf("%s %s = %d %s, want %d %s\n%s", c.method, c.path, w.Code, w.Header().Get("x-ms-error-code"), status, code, w.Body)
	}
	return w
}

func (f *fixture) container(name string) {
	f.Helper()
	if _, err := f.CreateContainer(context.Background(), acct, name, ContainerOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) put(container, name, body string) {
	f.Helper()
	if _, err := f.Put(context.Background(), acct, container, name, strings.NewReader(body), PutOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) read(container, name string) string {
	f.Helper()
	o, err := f.Get(context.Background(), acct, container, name)
	if err != nil {
		f.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		f.Fatal(err)
	}
	return string(b)
}

// payloads counts the payload files on disk.
func (f *fixture) payloads() int {
	f.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, "data", "*", "*", "*"))
	if err != nil {
		f.Fatal(err)
	}
	return len(names)
}

// newRecorder serves a request made by hand.
func newRecorder(f *fixture, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r.WithContext(origin.NewContext(context.Background(), f.origin)))
	return w
}
