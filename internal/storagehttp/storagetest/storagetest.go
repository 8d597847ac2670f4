// Package storagetest is one storage account for tests of a storage service: its keys, tokens, roles and clock, requests in
// process, and a TLS server behind a proxy for real clients.
package storagetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/origin"
	"vauban.dev/seal"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// Name and ID are the account's.
const (
	Name = "labstore"
	ID   = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/labstore"
)

// Clock is a clock that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock stands at a morning in November 2026.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Move moves the clock.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Rig is an account and the handler of the service under test, which the test sets.
type Rig struct {
	testing.TB
	Service string // queue, table, file
	Clock   *Clock
	Account storagehttp.Account
	Grants  map[string]bool // actions that the holder of the token "tok", alice, has
	Origin  origin.Origin
	Store   store.Store
	Keys    *seal.Keyring
	Handler http.Handler
	Table   bool // Shared Key as the Table service has it
}

// New makes an account for tests of a service.
func New(t testing.TB, service string) *Rig {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	pk, err := seal.OpenPlatformKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	return &Rig{
		TB: t, Service: service, Clock: NewClock(), Store: st, Keys: seal.NewKeyring(st, pk),
		Account: storagehttp.Account{
			ID: ID, Name: Name, TenantID: "tenant", SKU: "Standard_LRS", AllowSharedKeyAccess: true,
			Keys: [2][]byte{bytes.Repeat([]byte{1}, 64), bytes.Repeat([]byte{2}, 64)},
		},
		Grants: map[string]bool{}, Origin: origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("203.0.113.9")}, Table: service == "table",
	}
}

// Lookup finds the one account.
func (r *Rig) Lookup(_ context.Context, name string) (storagehttp.Account, error) {
	if name != Name {
		return storagehttp.Account{}, storagehttp.ErrNoAccount
	}
	return r.Account, nil
}

// Verify knows the token "tok".
func (r *Rig) Verify(_ context.Context, token string, _ ...string) (authz.Principal, error) {
	if token != "tok" {
		return authz.Principal{}, errors.New("Lifetime validation failed. The token is expired.")
	}
	return authz.Principal{TenantID: "tenant", ObjectID: "alice", Name: "Alice"}, nil
}

// Check grants what Grants has: the action below …Services/. It fails when the service asks for a data action as another,
// or on a scope that is not its own.
func (r *Rig) Check(_ context.Context, _ authz.Principal, q authz.Request) (authz.Decision, error) {
	action, ok := strings.CutPrefix(q.Action, "Microsoft.Storage/storageAccounts/"+r.Service+"Services/")
	if !ok || !strings.HasPrefix(q.Scope, ID+"/"+r.Service+"Services/default") {
		return authz.Decision{}, fmt.Errorf("action %s on %s", q.Action, q.Scope)
	}
	if q.Data != (strings.Contains(action, "/messages/") || strings.Contains(action, "/entities/") || strings.Contains(action, "/files/") || strings.Contains(action, "BackupSemantics/")) {
		return authz.Decision{}, fmt.Errorf("data %v for %s", q.Data, q.Action)
	}
	return authz.Decision{Allowed: r.Grants[action], By: "no assignment"}, nil
}

// Call is one request of a test; Header lists names and values in turn.
type Call struct {
	Method, Path string
	Body         string
	Header       []string
	Auth         string // "key" (default), "none", "token", or a query to append
}

// Host is the account's host name.
func (r *Rig) Host() string { return Name + "." + r.Service + ".core.windows.net" }

// Do does a call.
func (r *Rig) Do(c Call) *httptest.ResponseRecorder {
	r.Helper()
	path := c.Path
	switch c.Auth {
	case "", "none", "key", "token":
	default:
		path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + c.Auth
	}
	req := httptest.NewRequest(c.Method, "http://"+r.Host()+path, strings.NewReader(c.Body))
	req.RequestURI = path
	req = req.WithContext(origin.NewContext(context.Background(), r.Origin))
	for i := 0; i < len(c.Header); i += 2 {
		req.Header.Set(c.Header[i], c.Header[i+1])
	}
	if req.Header.Get("x-ms-version") == "" {
		req.Header.Set("x-ms-version", "2023-11-03")
	}
	switch c.Auth {
	case "", "key":
		req.Header.Set("x-ms-date", r.Clock.Now().Format(http.TimeFormat))
		sign := storagehttp.StringToSign
		if r.Table {
			sign = storagehttp.TableStringToSign
		}
		req.Header.Set("Authorization", "SharedKey "+Name+":"+base64.StdEncoding.EncodeToString(storagehttp.MAC(r.Account.Keys[1], sign(req, Name, strings.Compare))))
	case "token":
		req.Header.Set("Authorization", "Bearer tok")
	}
	w := httptest.NewRecorder()
	r.Handler.ServeHTTP(w, req)
	return w
}

// Want does a call and checks its status and, for errors, code.
func (r *Rig) Want(c Call, status int, code string) *httptest.ResponseRecorder {
	r.Helper()
	w := r.Do(c)
	if w.Code != status || w.Header().Get("x-ms-error-code") != code {
		r.Fatalf("%s %s = %d %s, want %d %s\n%s", c.Method, c.Path, w.Code, w.Header().Get("x-ms-error-code"), status, code, w.Body)
	}
	return w
}

// Sign is the query of a signature of what q says; text makes the string to sign.
func (r *Rig) Sign(q url.Values, text func(*storagehttp.SAS) string) string {
	r.Helper()
	q.Set("sig", "AAAA")
	s, err := storagehttp.ParseSAS(q)
	if err != nil {
		r.Fatal(err)
	}
	q.Set("sig", base64.StdEncoding.EncodeToString(storagehttp.MAC(r.Account.Keys[0], text(s))))
	return q.Encode()
}

// Key is the account's first key as clients have it.
func (r *Rig) Key() string { return base64.StdEncoding.EncodeToString(r.Account.Keys[0]) }

// Python runs testdata/client.py, whose token has the actions, with the interpreter $VAUBAN_STORAGE_PYTHON.
func (r *Rig) Python(actions ...string) {
	r.Helper()
	for _, a := range actions {
		r.Grants[a] = true
	}
	cmd := exec.Command(os.Getenv("VAUBAN_STORAGE_PYTHON"), "testdata/client.py")
	cmd.Env = append(append(os.Environ(), r.Serve()...), "KEY="+r.Key(), "ACCOUNT="+Name)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("%v\n%s", err, out)
	}
	r.Logf("%s", out)
}
