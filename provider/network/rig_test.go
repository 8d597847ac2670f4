package network_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/fabric"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatedns"
	"vauban.dev/provider/privatelink"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	net0    = group + "/providers/Microsoft.Network/"
	account = group + "/providers/Microsoft.Storage/storageAccounts/acct"
)

// rig is an engine with the network's types, whose requests wait for their operations.
type rig struct {
	t      testing.TB
	engine *rp.Engine
	*network.Provider
	syncs  atomic.Int64
	synced chan struct{}
	gate   atomic.Pointer[chan struct{}] // what Sync waits for
	denied string                        // action that no caller has
}

// hold keeps every operation from ending until its answer is called.
func (r *rig) hold() func() {
	gate := make(chan struct{})
	r.gate.Store(&gate)
	return func() { r.gate.Store(nil); close(gate) }
}

func (r *rig) Sync(ctx context.Context) error {
	if gate := r.gate.Load(); gate != nil {
		select {
		case <-*gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.syncs.Add(1)
	select {
	case r.synced <- struct{}{}:
	default:
	}
	return nil
}

// settled waits until what reconciles do makes cond true. What follows a Sync is committed after it, so that cond is
// asked again even when no other comes.
func (r *rig) settled(cond func() bool) {
	r.t.Helper()
	late := time.After(2 * time.Minute)
	for again := time.Millisecond; !cond(); again = min(2*again, 100*time.Millisecond) {
		select {
		case <-r.synced:
		case <-time.After(again):
		case <-late:
			r.t.Fatal("the reconciles have not come to this")
		}
	}
}

type tags map[string]string

func (t tags) Prefixes(tag string) ([]netip.Prefix, bool) {
	for name, p := range t {
		if strings.EqualFold(name, tag) {
			return []netip.Prefix{netip.MustParsePrefix(p)}, true
		}
	}
	return nil, false
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, tags{"Storage": "20.60.0.0/16", "Storage.WestEurope": "20.60.4.0/22"})
}

func newRigWith(t testing.TB, tags fabric.TagSource) *rig {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	links := privatelink.New(network.LinkServiceTarget(), privatelink.Target{
		Type: "Microsoft.Storage/storageAccounts", Versions: []string{"2025-08-01"},
		Groups: func(_ *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
			if id.Name() != "acct" {
				return nil, arm.NotFound(id)
			}
			zone := "privatelink.blob.core.windows.net"
			return []privatelink.Group{{ID: "blob", Zones: []string{zone}, Members: []privatelink.Member{{
				GroupID: "blob", Name: "blob", FQDNs: []string{"acct.blob.core.windows.net"}, Records: []privatelink.Record{{Zone: zone, Name: "acct"}},
			}}}, {ID: "two", Members: []privatelink.Member{{GroupID: "two", Name: "a"}, {GroupID: "two", Name: "b"}}}}, nil
		},
	})
	r := &rig{t: t, synced: make(chan struct{}, 1), engine: rp.New(rp.Config{Store: s, Clock: new(clock.Region), Locations: []string{"westeurope", "northeurope"}})}
	r.Provider = network.New(network.Config{
		Engine: r.engine, Targets: links, Sync: r, PublicPool: netip.MustParsePrefix("20.61.0.0/29"),
		Tags: tags,
	})
	dns := privatedns.New(privatedns.Config{Sync: r, VNetExists: network.VNetExists})
	accounts := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Storage/storageAccounts", Versions: rp.Versions[struct{}]("2025-08-01")})
	if err := r.engine.Register(slices.Concat(r.Types(), dns.Types(), links.Types(), []rp.Registration{accounts})...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("engine: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("store: %v", err)
		}
	})
	return r
}

const latest = "2024-07-01"

// send makes a request and returns the answer without waiting for its operation.
func (r *rig) send(method, path, version, body string) (*rp.Response, error) {
	r.t.Helper()
	return r.sendQuery(method, path, version, "", body)
}

func (r *rig) sendQuery(method, path, version, query, body string) (*rp.Response, error) {
	r.t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Set("api-version", version)
	ctx := authz.NewContext(r.t.Context(), authz.Principal{ObjectID: "oid", Name: "tester", Type: "User"})
	target, err := r.engine.Resolve(ctx, method, path, version)
	if err != nil {
		return nil, err
	}
	return target.Serve(ctx, &rp.Request{
		Method: method, Path: path, Query: q, Header: http.Header{}, Body: []byte(body), Base: "https://management.azure.com",
		Check: func(_ context.Context, action string, _ arm.ID) (authz.Decision, error) {
			return authz.Decision{Allowed: !strings.EqualFold(action, r.denied)}, nil
		},
	})
}

// do makes a request, waits for its operation, and returns the error of either.
func (r *rig) do(method, path, version, body string) (map[string]any, error) {
	r.t.Helper()
	resp, err := r.send(method, path, version, body)
	if err != nil {
		return nil, err
	}
	return r.tree(resp.Body), r.ended(resp)
}

// ended waits for the operation of an answer, and returns its error.
func (r *rig) ended(resp *rp.Response) error {
	r.t.Helper()
	poll := resp.Header.Get("Azure-AsyncOperation")
	for poll != "" {
		u, err := url.Parse(poll)
		if err != nil {
			r.t.Fatal(err)
		}
		state, err := r.send(http.MethodGet, u.Path, u.Query().Get("api-version"), "")
		if err != nil {
			return err
		}
		op := r.tree(state.Body)
		switch op["status"] {
		case "Succeeded":
			poll = ""
		case "Failed", "Canceled":
			e, _ := op["error"].(map[string]any)
			code, _ := e["code"].(string)
			message, _ := e["message"].(string)
			return &arm.Error{Status: http.StatusConflict, Code: code, Message: message}
		}
	}
	return nil
}

func (r *rig) tree(body any) map[string]any {
	r.t.Helper()
	if body == nil {
		return nil
	}
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) put(path, body string) map[string]any {
	r.t.Helper()
	m, err := r.do(http.MethodPut, path, versionOf(path), body)
	if err != nil {
		r.t.Fatalf("PUT %s: %v", path, err)
	}
	return m
}

func (r *rig) get(path string) map[string]any {
	r.t.Helper()
	m, err := r.do(http.MethodGet, path, versionOf(path), "")
	if err != nil {
		r.t.Fatalf("GET %s: %v", path, err)
	}
	return m
}

func (r *rig) delete(path string) {
	r.t.Helper()
	if _, err := r.do(http.MethodDelete, path, versionOf(path), ""); err != nil {
		r.t.Fatalf("DELETE %s: %v", path, err)
	}
}

// refused checks that a request fails with this code.
func (r *rig) refused(method, path, body, code string) *arm.Error {
	r.t.Helper()
	_, err := r.do(method, path, versionOf(path), body)
	e := arm.AsError(err)
	if e == nil || e.Code != code {
		r.t.Errorf("%s %s: %v, want %s", method, path, err, code)
		return &arm.Error{}
	}
	return e
}

func versionOf(path string) string {
	switch {
	case strings.Contains(path, "privateDnsZones/"):
		return "2024-06-01"
	case strings.Contains(path, "Microsoft.Storage"):
		return "2025-08-01"
	}
	return latest
}

// at walks a JSON tree by "properties.subnets.0.name".
func at(v any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch t := v.(type) {
		case map[string]any:
			v = t[step]
		case []any:
			i := int(step[0] - '0')
			if i >= len(t) {
				return nil
			}
			v = t[i]
		default:
			return nil
		}
	}
	return v
}

func (r *rig) want(v any, path string, want any) {
	r.t.Helper()
	if got := at(v, path); got != want {
		b, _ := json.MarshalIndent(v, "", " ")
		r.t.Errorf("%s is %v, want %v in\n%s", path, got, want, b)
	}
}

func (r *rig) view(f func(tx *rp.Tx) error) {
	r.t.Helper()
	if err := r.engine.View(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) update(f func(tx *rp.Tx) error) error { return r.engine.Update(r.t.Context(), f) }

func (r *rig) json(v any) string {
	r.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
