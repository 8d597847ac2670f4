package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/signin"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a directory with its Graph, a Global Administrator that is an application, and users.
type world struct {
	t     testing.TB
	dir   *entra.Directory
	store store.Store
	clock *clock.Region
	graph *Service
	log   *bytes.Buffer
	admin string // token
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{t: t, store: st, clock: new(clock.Region), log: new(bytes.Buffer)}
	if w.dir, err = entra.New(context.Background(), st, w.clock, directory.Options{Domain: "contoso.test", TenantName: "Contoso"}); err != nil {
		t.Fatal(err)
	}
	passwords, err := signin.New(context.Background(), signin.Config{Directory: w.dir, Store: st, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.graph = New(Config{Directory: w.dir, Passwords: passwords, Store: st, Clock: w.clock, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	w.admin = w.app("admin", func(tx store.Tx, p directory.ServicePrincipal) error {
		return w.dir.AssignRole(tx, "", directory.GlobalAdministrator, p.ObjectID)
	})
	return w
}

func (w *world) update(f func(store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), f); err != nil {
		w.t.Fatal(err)
	}
}

// app makes an application and returns a token of it for Graph.
func (w *world) app(name string, with func(store.Tx, directory.ServicePrincipal) error) string {
	w.t.Helper()
	var p directory.ServicePrincipal
	w.update(func(tx store.Tx) (err error) {
		if p, _, err = w.dir.CreateServicePrincipal(tx, name); err != nil || with == nil {
			return err
		}
		return with(tx, p)
	})
	tok, err := w.dir.IssueFor(context.Background(), p.ObjectID, entra.AudienceGraph)
	if err != nil {
		w.t.Fatal(err)
	}
	return tok.AccessToken
}

// permitted is a token of an application with these permissions.
func (w *world) permitted(values ...string) string {
	return w.app(strings.Join(values, " "), func(tx store.Tx, p directory.ServicePrincipal) error {
		return w.dir.GrantGraph(tx, p.ObjectID, values...)
	})
}

// user makes a user and returns him with a token that az would have of him.
func (w *world) user(name string, scopes ...string) (directory.User, string) {
	w.t.Helper()
	u := directory.User{UserPrincipalName: name + "@contoso.test", DisplayName: name, MailNickname: name, AccountEnabled: true}
	w.update(func(tx store.Tx) error { return w.dir.CreateUser(tx, &u) })
	return u, w.tokenOf(u, scopes...)
}

func (w *world) tokenOf(u directory.User, scopes ...string) string {
	w.t.Helper()
	if scopes == nil {
		scopes = []string{"Directory.AccessAsUser.All", "User.Read"}
	}
	var to entra.Target
	w.update(func(tx store.Tx) (err error) {
		if u, err = w.dir.User(tx, u.ID); err != nil {
			return err
		}
		to, err = w.dir.Target(tx, entra.AudienceGraph)
		return err
	})
	tok, err := w.dir.Issue(entra.Subject{ObjectID: u.ID, ClientID: directory.CLIAppID, Proof: entra.ProofNone, ValidFrom: u.SessionsValidFrom,
		User: &entra.UserSubject{Name: u.DisplayName, UPN: u.UserPrincipalName, Scopes: scopes}}, to)
	if err != nil {
		w.t.Fatal(err)
	}
	return tok.AccessToken
}

type answer struct {
	status int
	body   map[string]any
	text   string
}

// id is that of the object in the answer.
func (a answer) id() string { s, _ := a.body["id"].(string); return s }

func (a answer) code() string {
	e, _ := a.body["error"].(map[string]any)
	s, _ := e["code"].(string)
	return s
}

// ids are those of the objects in a collection; strings stand for themselves.
func (a answer) ids() []string {
	out := []string{}
	list, _ := a.body["value"].([]any)
	for _, v := range list {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case map[string]any:
			out = append(out, v["id"].(string))
		}
	}
	return out
}

// call sends a request with a token. body is an object, or nil.
func (w *world) call(token, method, path string, body any, header ...string) answer {
	w.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	if !strings.HasPrefix(path, "https:") {
		path = host + "/v1.0/" + path
	}
	r := httptest.NewRequest(method, strings.ReplaceAll(path, " ", "%20"), in)
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.graph.ServeHTTP(rec, r)
	a := answer{status: rec.Code, text: rec.Body.String()}
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(rec.Body.Bytes(), &a.body); err != nil {
			w.t.Fatalf("%s %s: %s", method, path, rec.Body)
		}
	}
	if rec.Code == http.StatusInternalServerError {
		w.t.Errorf("%s %s: %s", method, path, w.log)
	}
	return a
}

// must is call that has to have this status.
func (w *world) must(status int, token, method, path string, body any) answer {
	w.t.Helper()
	a := w.call(token, method, path, body)
	if a.status != status {
		w.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.text)
	}
	return a
}

type m = map[string]any
