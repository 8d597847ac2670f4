package entra

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/entra/directory"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTenant = "aaaaaaaa-0000-4000-8000-00000000000a"

// world is a directory on a store of its own, with a clock that can be moved.
type world struct {
	*Directory
	store store.Store
	clock *clock.Region
	app   directory.ServicePrincipal
	key   string // the application's client secret
}

func openStore(t testing.TB, path string) store.Store {
	t.Helper()
	st, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func newWorld(t testing.TB, tenant string) *world {
	t.Helper()
	w := &world{clock: new(clock.Region), store: openStore(t, filepath.Join(t.TempDir(), "db"))}
	var err error
	w.Directory, err = New(context.Background(), w.store, w.clock, directory.Options{TenantID: tenant, TenantName: "Contoso", Domain: "contoso.test"})
	if err != nil {
		t.Fatal(err)
	}
	w.update(t, func(tx store.Tx) (err error) {
		w.app, w.key, err = w.CreateServicePrincipal(tx, "deployer")
		return err
	})
	return w
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

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

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

func get(rawURL string) *http.Request { return httptest.NewRequest(http.MethodGet, rawURL, nil) }
