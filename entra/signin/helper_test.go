package signin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTenant = "aaaaaaaa-0000-4000-8000-00000000000a"

// world is a login service on a store of its own, with a clock that can be moved.
type world struct {
	*entra.Directory
	store store.Store
	clock *clock.Region
	app   directory.ServicePrincipal
	key   string // the application's client secret
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{clock: new(clock.Region), store: st}
	w.Directory, err = entra.New(context.Background(), w.store, w.clock, directory.Options{TenantID: testTenant, TenantName: "Contoso", Domain: "contoso.test"})
	if err != nil {
		t.Fatal(err)
	}
	w.update(t, func(tx store.Tx) (err error) {
		w.app, w.key, err = w.CreateServicePrincipal(tx, "deployer")
		return err
	})
	return w
}

func (w *world) service() *Service {
	s, err := New(context.Background(), Config{Directory: w.Directory, Store: w.store, Clock: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Hosts: []string{"login.lab.test"}})
	if err != nil {
		panic(err) // the store of a test
	}
	return s
}

func (w *world) update(t testing.TB, f func(store.Tx) error) {
	t.Helper()
	if err := w.store.Update(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func (w *world) later(d time.Duration) { w.clock.SetOffset(w.clock.Offset() + d) }

func (w *world) tokenFor(t testing.TB, audience string) string {
	t.Helper()
	tok, err := w.IssueFor(context.Background(), w.app.ObjectID, audience)
	if err != nil {
		t.Fatal(err)
	}
	return tok.AccessToken
}

// payload reads a token's claims without verifying anything.
func payload(t testing.TB, token string) map[string]any {
	t.Helper()
	var c map[string]any
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err == nil {
		err = parsed.UnsafeClaimsWithoutVerification(&c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call sends a request to a handler and returns the answer and its JSON.
func call(t testing.TB, h http.Handler, r *http.Request) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var body map[string]any
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s: %v", rec.Body, err)
		}
	}
	return rec, body
}

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

func post(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://"+entra.LoginHost+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func get(rawURL string) *http.Request { return httptest.NewRequest(http.MethodGet, rawURL, nil) }
