// Package rptest runs resource types behind the real door on a real store, for the tests of providers.
package rptest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// Owner is the caller of requests that name no other; it may do everything.
var Owner = authz.Principal{TenantID: "11111111-1111-1111-1111-111111111111", ObjectID: "22222222-2222-2222-2222-222222222222", Name: "owner@contoso.com", Type: "User"}

// Region is an engine behind its door.
type Region struct {
	Engine  *rp.Engine
	Store   store.Store
	Handler http.Handler

	t      testing.TB
	path   string
	config rp.Config
	regs   []rp.Registration
	quiet  func() // ends the engine's work; what is asked is answered still
	stop   func()
	policy door.Policy

	mu    sync.Mutex
	deny  map[string]string // caller's object id + " " + action to reason
	roles authz.Authorizer  // nil: all that deny has not is allowed
}

// New starts a region with these types. cfg may leave Store, Clock, Log and TenantID out; the region stops
// with the test.
func New(t testing.TB, cfg rp.Config, regs ...rp.Registration) *Region {
	t.Helper()
	r := &Region{t: t, path: filepath.Join(t.TempDir(), "region.db"), config: cfg, regs: regs, deny: map[string]string{}}
	r.Start()
	t.Cleanup(func() { r.Stop() })
	return r
}

// Start starts the region on its store, after Stop.
func (r *Region) Start() {
	r.t.Helper()
	s, err := sqlite.Open(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := r.config
	cfg.Store = s
	if cfg.TenantID == "" {
		cfg.TenantID = Owner.TenantID
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(r.t.Output(), nil))
		cfg.Log = log
	}
	r.Store, r.Engine = s, rp.New(cfg)
	if err := r.Engine.Register(r.regs...); err != nil {
		r.t.Fatal(err)
	}
	r.open(cfg.Clock, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Engine.Run(ctx) }()
	r.quiet = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("engine: %v", err)
		}
	})
	r.stop = func() {
		r.quiet()
		if err := s.Close(); err != nil {
			r.t.Errorf("store: %v", err)
		}
	}
}

// open makes the door.
func (r *Region) open(c clock.Clock, log *slog.Logger) {
	r.t.Helper()
	d, err := door.New(door.Config{Engine: r.Engine, Authenticator: callers{}, Authorizer: r, Policy: r.policy, Clock: c, Log: log, Region: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Handler = d
}

// Govern has every request from now on decided by p too.
func (r *Region) Govern(p door.Policy) {
	r.t.Helper()
	r.policy = p
	r.open(r.config.Clock, r.config.Log)
}

// Stop stops the region; what was acknowledged is kept for Start.
func (r *Region) Stop() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// Quiet ends the engine's own work: from now on only requests change the store.
func (r *Region) Quiet() { r.quiet() }

// Digest sums up every document of the store by its kind, but for the log of activities, in which refusals are.
func (r *Region) Digest() map[string]string {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+r.path+"?mode=ro")
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT kind, key, version, value FROM doc ORDER BY kind, key")
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	sums := map[string]string{}
	for rows.Next() {
		var kind, key string
		var version int64
		var value []byte
		if err := rows.Scan(&kind, &key, &version, &value); err != nil {
			r.t.Fatal(err)
		}
		if !strings.HasPrefix(kind, "activity") {
			sums[kind] = fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %s %d %s", sums[kind], key, version, value)))
		}
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return sums
}

// Allow takes a Deny back.
func (r *Region) Allow(caller authz.Principal, action string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.deny, caller.ObjectID+" "+strings.ToLower(action))
}

// Deny has the caller refused an action.
func (r *Region) Deny(caller authz.Principal, action, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deny[caller.ObjectID+" "+strings.ToLower(action)] = reason
}

// Decide has the authorizer decide on every request, but for Owner's; nil: nobody.
func (r *Region) Decide(by authz.Authorizer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roles = by
}

// Check allows what Deny has not named, or asks whom Decide has set.
func (r *Region) Check(ctx context.Context, p authz.Principal, q authz.Request) (authz.Decision, error) {
	r.mu.Lock()
	roles := r.roles
	r.mu.Unlock()
	if roles != nil && p.ObjectID != Owner.ObjectID {
		return roles.Check(ctx, p, q)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if why, denied := r.deny[p.ObjectID+" "+strings.ToLower(q.Action)]; denied {
		return authz.Decision{By: why}, nil
	}
	return authz.Decision{Allowed: true, By: "everything is allowed in tests"}, nil
}

// callers names the caller that As put into the context.
type callers struct{}

func (callers) Authenticate(r *http.Request) (authz.Principal, error) {
	p, ok := authz.FromContext(r.Context())
	if !ok {
		e := arm.Errorf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
		e.Header = map[string]string{"WWW-Authenticate": `Bearer authorization_uri="https://login.microsoftonline.com/common"`}
		return p, e
	}
	return p, nil
}

// Answer is a response with its JSON.
type Answer struct {
	Status int
	Header http.Header
	Text   string
	Body   map[string]any // nil when the text is no JSON object
}

// Request makes an ARM request of Owner; header has pairs of name and value.
func (r *Region) Request(method, target, body string, header ...string) Answer {
	r.t.Helper()
	return r.As(Owner, method, target, body, header...)
}

// As makes a request of a caller; the zero Principal is nobody.
func (r *Region) As(caller authz.Principal, method, target, body string, header ...string) Answer {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, target, strings.NewReader(body))
	if caller.ObjectID != "" {
		req = req.WithContext(authz.NewContext(req.Context(), caller))
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.Handler.ServeHTTP(w, req)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := Answer{Status: w.Code, Header: w.Header(), Text: string(text)}
	if json.Unmarshal(text, &a.Body) != nil {
		a.Body = nil
	}
	return a
}

// Must makes a request, waits for its operation, and fails the test on any error.
func (r *Region) Must(method, target, body string) Answer {
	r.t.Helper()
	a := r.Request(method, target, body)
	if a.Status >= 300 {
		r.t.Fatalf("%s %s: %d %s", method, target, a.Status, a.Text)
	}
	if end := r.Wait(a); end.Status != 0 && end.String("status") != "Succeeded" {
		r.t.Fatalf("%s %s: %s", method, target, end.Text)
	}
	return a
}

// Wait polls the operation that an answer names until it ends, and returns its last state; the zero Answer
// when there is none.
func (r *Region) Wait(a Answer) Answer {
	r.t.Helper()
	link := a.Header.Get("Azure-AsyncOperation")
	if link == "" {
		return Answer{}
	}
	u, err := url.Parse(link)
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		end := r.Request(http.MethodGet, u.RequestURI(), "")
		if end.Status != http.StatusOK {
			r.t.Fatalf("GET %s: %d %s", link, end.Status, end.Text)
		}
		if s := end.String("status"); s != "InProgress" {
			return end
		}
	}
}

// At returns a member of the body by its path ("properties", "provisioningState"), or nil.
func (a Answer) At(path ...string) any {
	var v any = a.Body
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// String is At for a text, "" if there is none.
func (a Answer) String(path ...string) string {
	s, _ := a.At(path...).(string)
	return s
}

// Code is the error code of a refusal.
func (a Answer) Code() string { return a.String("error", "code") }
