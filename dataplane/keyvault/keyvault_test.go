package keyvault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/origin"
	"vauban.dev/seal"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const vaultID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/labkv"

type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a service with one vault, a token of Alice's and what she may do.
type fixture struct {
	testing.TB
	*Service
	dir    string
	st     store.Store
	clock  *testClock
	vault  Vault
	tokens map[string]authz.Principal
	grants map[string]bool // actions; nil: all
	origin origin.Origin
}

func (f *fixture) Lookup(_ context.Context, name string) (Vault, error) {
	if !strings.EqualFold(name, f.vault.Name) {
		return Vault{}, ErrNoVault
	}
	return f.vault, nil
}

func (f *fixture) Verify(_ context.Context, token string, _ ...string) (authz.Principal, error) {
	p, ok := f.tokens[token]
	if !ok {
		return p, errors.New("the token is expired")
	}
	return p, nil
}

func (f *fixture) Check(_ context.Context, _ authz.Principal, r authz.Request) (authz.Decision, error) {
	if !r.Data || !strings.HasPrefix(r.Scope, vaultID) {
		return authz.Decision{}, fmt.Errorf("asked %+v", r)
	}
	return authz.Decision{Allowed: f.grants == nil || f.grants[r.Action], By: "no assignment"}, nil
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{
		TB: t, dir: t.TempDir(), clock: &testClock{now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)},
		vault:  Vault{ID: vaultID, Name: "labkv", Location: "westeurope", TenantID: "tenant", RBAC: true, RetentionDays: 7},
		tokens: map[string]authz.Principal{"tok": {TenantID: "tenant", ObjectID: "alice", AppID: "app"}, "foreign": {TenantID: "other", ObjectID: "eve"}},
		origin: origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("203.0.113.9")},
	}
	st, err := sqlite.Open(filepath.Join(f.dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	pk, err := seal.OpenPlatformKey(filepath.Join(f.dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	f.st = st
	f.Service = Open(Config{Store: st, Keys: seal.NewKeyring(st, pk), Clock: f.clock, Vaults: f, Tokens: f, Authorizer: f})
	return f
}

type answer struct {
	bundle
	Items    []bundle `json:"-"`
	NextLink string   `json:"nextLink"`
	Error    struct {
		Code, Message string
		InnerError    struct{ Code string }
	}
	status int
	header http.Header
	raw    string
}

func (f *fixture) send(method, path, body, token string) *httptest.ResponseRecorder {
	f.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	if !strings.Contains(path, "api-version") {
		path += sep + "api-version=7.4"
	}
	r := httptest.NewRequest(method, "https://labkv.vault.azure.net"+path, strings.NewReader(body))
	r = r.WithContext(origin.NewContext(context.Background(), f.origin))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

func (f *fixture) do(method, path, body, token string) answer {
	f.Helper()
	w := f.send(method, path, body, token)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	var page struct{ Value []bundle }
	if json.Unmarshal(w.Body.Bytes(), &page) == nil && strings.Contains(a.raw, "nextLink") {
		a.Items = page.Value
		var link struct{ NextLink *string }
		if json.Unmarshal(w.Body.Bytes(), &link) == nil && link.NextLink != nil {
			a.NextLink = *link.NextLink
		}
		return a
	}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			f.Fatalf("%s %s: %v in %s", method, path, err, a.raw)
		}
	}
	return a
}

// want does a call as Alice and checks the status, code and inner code.
func (f *fixture) want(method, path, body string, status int, code, inner string) answer {
	f.Helper()
	a := f.do(method, path, body, "tok")
	if a.status != status || a.Error.Code != code || a.Error.InnerError.Code != inner {
		f.Fatalf("%s %s = %d %s, want %d %s %s", method, path, a.status, a.raw, status, code, inner)
	}
	return a
}

func TestLifeOfASecret(t *testing.T) {
	f := newFixture(t)
	a := f.want("PUT", "/secrets/Db-Pass", `{"value":"one","contentType":"text","tags":{"a":"b"},"attributes":{"exp":1900000000,"nbf":1700000000}}`, 200, "", "")
	if *a.Value != "one" || !strings.HasPrefix(a.ID, "https://labkv.vault.azure.net/secrets/Db-Pass/") || a.Attributes.RecoveryLevel != "CustomizedRecoverable+Purgeable" || *a.Attributes.RecoverableDays != 7 {
		t.Errorf("set: %s", a.raw)
	}
	first := a.ID[strings.LastIndex(a.ID, "/")+1:]
	f.clock.move(time.Hour)
	b := f.want("PUT", "/secrets/db-pass", `{"value":""}`, 200, "", "")
	if strings.Contains(b.ID, first) || !strings.Contains(b.ID, "/Db-Pass/") {
		t.Errorf("a second version: %s", b.raw)
	}
	if got := f.want("GET", "/secrets/DB-PASS/", "", 200, "", ""); *got.Value != "" || got.ID != b.ID {
		t.Errorf("get: %s", got.raw)
	}
	got := f.want("GET", "/secrets/Db-Pass/"+first, "", 200, "", "")
	if d := cmp.Diff(a.bundle, got.bundle); d != "" {
		t.Errorf("get of the first version:\n%s", d)
	}
	if got := f.want("PATCH", "/secrets/Db-Pass/"+first, `{"attributes":{"enabled":false},"contentType":"x"}`, 200, "", ""); got.Value != nil || *got.Attributes.Enabled || got.ContentType != "x" || *got.Attributes.Expires != 1900000000 {
		t.Errorf("update: %s", got.raw)
	}
	f.want("GET", "/secrets/Db-Pass/"+first, "", 403, "Forbidden", "SecretDisabled")
	if got := f.want("GET", "/secrets/Db-Pass/versions", "", 200, "", ""); len(got.Items) != 2 {
		t.Errorf("versions: %s", got.raw)
	}
	if got := f.want("GET", "/secrets", "", 200, "", ""); len(got.Items) != 1 || got.Items[0].ID != "https://labkv.vault.azure.net/secrets/Db-Pass" || got.Items[0].Value != nil {
		t.Errorf("list: %s", got.raw)
	}
	f.want("GET", "/deletedsecrets/db-pass", "", 404, "SecretNotFound", "")
	del := f.want("DELETE", "/secrets/db-pass", "", 200, "", "")
	if del.RecoveryID != "https://labkv.vault.azure.net/deletedsecrets/Db-Pass" || *del.Purge-*del.Deleted != 7*24*3600 || del.Value != nil {
		t.Errorf("delete: %s", del.raw)
	}
	f.want("GET", "/secrets/db-pass", "", 404, "SecretNotFound", "")
	f.want("DELETE", "/secrets/db-pass", "", 404, "SecretNotFound", "")
	f.want("PUT", "/secrets/db-pass", `{"value":"x"}`, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	if got := f.want("GET", "/deletedsecrets", "", 200, "", ""); len(got.Items) != 1 || got.Items[0].RecoveryID == "" {
		t.Errorf("deleted: %s", got.raw)
	}
	if got := f.want("GET", "/secrets", "", 200, "", ""); len(got.Items) != 0 {
		t.Errorf("list after delete: %s", got.raw)
	}
	f.want("POST", "/deletedsecrets/db-pass/recover", "", 200, "", "")
	f.want("POST", "/deletedsecrets/db-pass/recover", "", 404, "SecretNotFound", "")
	f.want("GET", "/secrets/db-pass", "", 200, "", "")
	f.want("DELETE", "/secrets/db-pass", "", 200, "", "")
	f.want("DELETE", "/deletedsecrets/db-pass", "", 204, "", "")
	f.want("DELETE", "/deletedsecrets/db-pass", "", 404, "SecretNotFound", "")
	f.noDocs()
}

func (f *fixture) noDocs() {
	f.Helper()
	for _, kind := range []string{secretClass.head, secretClass.version, keyClass.head, keyClass.version, certificateClass.head, certificateClass.version, kindIssuer, kindContacts} {
		err := f.st.View(context.Background(), func(tx store.Tx) error {
			return tx.Scan(kind, "", "", func(d store.Doc) bool { f.Errorf("%s %s stays", kind, d.Key); return true })
		})
		if err != nil {
			f.Fatal(err)
		}
	}
}

func TestRetention(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	for _, n := range []string{"a", "b"} {
		if _, err := f.Set(ctx, "labkv", n, "v", SetOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Service.Delete(ctx, "labkv", n); err != nil {
			t.Fatal(err)
		}
	}
	f.clock.move(7*24*time.Hour - time.Second)
	f.want("GET", "/deletedsecrets/a", "", 200, "", "")
	f.clock.move(time.Second)
	f.want("GET", "/deletedsecrets/a", "", 404, "SecretNotFound", "")
	f.want("POST", "/deletedsecrets/a/recover", "", 404, "SecretNotFound", "")
	f.want("PUT", "/secrets/a", `{"value":"again"}`, 200, "", "")
	if l, _, err := f.ListVersions(ctx, "labkv", "a", "", 0); err != nil || len(l) != 1 {
		t.Errorf("versions of a name used again: %v %v", l, err)
	}
	if err := f.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	f.want("GET", "/secrets/a", "", 200, "", "")
	if err := f.DestroyVault(ctx, "labkv"); err != nil {
		t.Fatal(err)
	}
	f.noDocs()
	f.vault.PurgeProtection, f.vault.RetentionDays = true, 0
	a := f.want("PUT", "/secrets/a", `{"value":"v"}`, 200, "", "")
	if a.Attributes.RecoveryLevel != "Recoverable" || *a.Attributes.RecoverableDays != 90 {
		t.Errorf("%s", a.raw)
	}
	f.want("DELETE", "/secrets/a", "", 200, "", "")
	f.want("DELETE", "/deletedsecrets/a", "", 403, "Forbidden", "ForbiddenByPolicy")
}

func TestPages(t *testing.T) {
	f := newFixture(t)
	want := map[string]bool{}
	for i := range 30 {
		name := fmt.Sprintf("s%02d", i)
		if _, err := f.Set(context.Background(), "labkv", name, "v", SetOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Set(context.Background(), "labkv", "many", "v", SetOptions{}); err != nil {
			t.Fatal(err)
		}
		want[name] = true
	}
	want["many"] = true
	for _, path := range []string{"/secrets?maxresults=4", "/secrets"} {
		got := map[string]bool{}
		for next := path; next != ""; {
			a := f.want("GET", next, "", 200, "", "")
			for _, b := range a.Items {
				got[b.ID[strings.LastIndex(b.ID, "/")+1:]] = true
			}
			next = strings.TrimPrefix(a.NextLink, "https://labkv.vault.azure.net")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", path, d)
		}
	}
	n := 0
	for next := "/secrets/many/versions?maxresults=7"; next != ""; {
		a := f.want("GET", next, "", 200, "", "")
		n += len(a.Items)
		next = strings.TrimPrefix(a.NextLink, "https://labkv.vault.azure.net")
	}
	if n != 30 {
		t.Errorf("%d versions", n)
	}
	f.want("GET", "/secrets?maxresults=26", "", 400, "BadParameter", "")
	f.want("GET", "/secrets?$skiptoken=@", "", 400, "BadParameter", "")
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	f.want("PUT", "/secrets/a", `{"value":"v"}`, 200, "", "")
	const challenge = `Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`
	for token, message := range map[string]string{"": "AKV10000", "bad": "the token is expired", "foreign": "AKV10032"} {
		a := f.do("GET", "/secrets/a", "", token)
		if a.status != 401 || a.Error.Code != "Unauthorized" || !strings.Contains(a.Error.Message, message) || a.header.Get("WWW-Authenticate") != challenge {
			t.Errorf("token %q: %d %s %s", token, a.status, a.raw, a.header.Get("WWW-Authenticate"))
		}
	}
	f.grants = map[string]bool{"Microsoft.KeyVault/vaults/secrets/readMetadata/action": true}
	a := f.want("GET", "/secrets/a", "", 403, "Forbidden", "ForbiddenByRbac")
	for _, part := range []string{"Microsoft.KeyVault/vaults/secrets/getSecret/action", "oid=alice", strings.ToLower(vaultID) + "/secrets/a", "no assignment"} {
		if !strings.Contains(a.Error.Message, part) {
			t.Errorf("the message lacks %s:\n%s", part, a.Error.Message)
		}
	}
	f.want("GET", "/secrets", "", 200, "", "")
	f.grants = nil
	f.want("GET", "/storage", "", 501, "NotImplemented", "")
	f.want("POST", "/secrets/nothing/backup", "", 404, "SecretNotFound", "")
	for _, body := range []string{"{}", `{"value":"@"}`, `{"value":"AAAA"}`, `{"value":""}`} {
		f.want("POST", "/secrets/restore", body, 400, "BadParameter", "")
	}
	f.want("POST", "/secrets/a", "", 405, "MethodNotAllowed", "")
	f.want("GET", "/what", "", 404, "NotFound", "")
	f.want("GET", "/secrets/a_b", "", 400, "BadParameter", "")
	f.want("GET", "/secrets/a/xyz", "", 400, "BadParameter", "")
	f.want("GET", "/secrets/a/0123456789abcdef0123456789abcdef", "", 404, "SecretNotFound", "")
	f.want("GET", "/secrets/a?api-version=7.9", "", 400, "BadParameter", "")
	for body, status := range map[string]int{`{}`: 400, ``: 400, `{"value":5}`: 400, `[`: 400, `{"value":"v","attributes":{"exp":5,"nbf":6}}`: 400, `{"value":"v","attributes":{"exp":-1}}`: 400,
		`{"value":"` + strings.Repeat("x", maxValue+1) + `"}`: 400, `{"value":"` + strings.Repeat("x", maxBody) + `"}`: 413} {
		if a := f.do("PUT", "/secrets/b", body, "tok"); a.status != status {
			t.Errorf("%.40s: %d %s", body, a.status, a.raw)
		}
	}
	for _, v := range []string{"7.0", "7.6", "2025-07-01", "2026-04-01"} {
		f.want("GET", "/secrets/a?api-version="+v, "", 200, "", "")
	}
}

func TestFirewall(t *testing.T) {
	f := newFixture(t)
	f.vault.Firewall = firewall.Rules{PublicNetworkAccess: firewall.Disabled}
	a := f.want("GET", "/secrets", "", 403, "Forbidden", "ForbiddenByConnection")
	if !strings.Contains(a.Error.Message, "203.0.113.9 from the internet") || !strings.Contains(a.Error.Message, "publicNetworkAccess is Disabled") {
		t.Error(a.Error.Message)
	}
	f.vault.Firewall = firewall.Rules{DefaultAction: firewall.Deny}
	f.want("GET", "/secrets", "", 403, "Forbidden", "ForbiddenByFirewall")
	f.vault.Firewall.IPRules = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	f.want("GET", "/secrets", "", 200, "", "")
	f.vault.Firewall = firewall.Rules{PublicNetworkAccess: firewall.Disabled}
	f.origin = origin.Origin{Kind: origin.PrivateEndpoint, Source: netip.MustParseAddr("10.0.0.4"), Endpoint: "pe", Target: vaultID, GroupID: "vault"}
	if a := f.want("GET", "/secrets", "", 200, "", ""); a.header.Get("x-ms-keyvault-network-info") != "conn_type=PrivateLink;addr=10.0.0.4;act_addr_fam=InterNetwork;" {
		t.Errorf("%v", a.header)
	}
	f.origin.Target = vaultID + "2"
	f.want("GET", "/secrets", "", 403, "Forbidden", "ForbiddenByConnection")
	f.origin = origin.Origin{}
	f.vault.Firewall = firewall.Rules{}
	f.want("GET", "/secrets", "", 403, "Forbidden", "ForbiddenByFirewall")
}

func TestAccessPolicies(t *testing.T) {
	f := newFixture(t)
	if _, err := f.Set(context.Background(), "labkv", "a", "v", SetOptions{}); err != nil {
		t.Fatal(err)
	}
	f.vault.RBAC = false
	tests := []struct {
		name    string
		p       AccessPolicy
		groups  []string
		get, ls int
	}{
		{"none", AccessPolicy{}, nil, 403, 403},
		{"mine", AccessPolicy{TenantID: "tenant", ObjectID: "ALICE", Secrets: []string{"Get"}}, nil, 200, 403},
		{"all", AccessPolicy{TenantID: "tenant", ObjectID: "alice", Secrets: []string{"all"}}, nil, 200, 200},
		{"my group's", AccessPolicy{TenantID: "tenant", ObjectID: "g", Secrets: []string{"list"}}, []string{"g"}, 403, 200},
		{"another's", AccessPolicy{TenantID: "tenant", ObjectID: "bob", Secrets: []string{"all"}}, nil, 403, 403},
		{"another tenant's", AccessPolicy{TenantID: "other", ObjectID: "alice", Secrets: []string{"all"}}, nil, 403, 403},
		{"by my application", AccessPolicy{TenantID: "tenant", ObjectID: "alice", ApplicationID: "app", Secrets: []string{"get"}}, nil, 200, 403},
		{"by another application", AccessPolicy{TenantID: "tenant", ObjectID: "alice", ApplicationID: "app2", Secrets: []string{"get"}}, nil, 403, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.vault.AccessPolicies = []AccessPolicy{tt.p}
			f.tokens["tok"] = authz.Principal{TenantID: "tenant", ObjectID: "alice", AppID: "app", Groups: tt.groups}
			if a := f.do("GET", "/secrets/a", "", "tok"); a.status != tt.get || a.status == 403 && a.Error.InnerError.Code != "ForbiddenByPolicy" {
				t.Errorf("get %d %s", a.status, a.raw)
			}
			if a := f.do("GET", "/secrets", "", "tok"); a.status != tt.ls {
				t.Errorf("list %d %s", a.status, a.raw)
			}
		})
	}
	f.vault.AccessPolicies = []AccessPolicy{{TenantID: "tenant", ObjectID: "alice", Secrets: []string{"all"}}}
	if a := f.do("DELETE", "/deletedsecrets/a", "", "tok"); a.status != 403 {
		t.Errorf("purge by 'all': %d", a.status)
	}
}

func TestAtRest(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	for i := range 20 {
		if _, err := f.Set(ctx, "labkv", "s", fmt.Sprintf("attack at dawn %d", i), SetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(f.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("attack at dawn")) {
			t.Errorf("%s holds a secret in the clear", name)
		}
	}
	// A value that is moved to another name does not open there.
	if _, err := f.Set(ctx, "labkv", "other", "x", SetOptions{}); err != nil {
		t.Fatal(err)
	}
	from, err := f.Service.Get(ctx, "labkv", "s", "")
	if err != nil {
		t.Fatal(err)
	}
	to, err := f.Service.Get(ctx, "labkv", "other", "")
	if err != nil {
		t.Fatal(err)
	}
	err = f.st.Update(ctx, func(tx store.Tx) error {
		a, err := getVersion(tx, secretClass, "labkv", "s", from.Version)
		if err != nil {
			return err
		}
		b, err := getVersion(tx, secretClass, "labkv", "other", to.Version)
		if err != nil {
			return err
		}
		b.Sealed = a.Sealed
		return put(tx, secretClass.version, versionKey("labkv", "other", to.Version), b)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Service.Get(ctx, "labkv", "other", ""); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a moved value: %v", err)
	}
	f.want("GET", "/secrets/other", "", 500, "InternalServerError", "")
}

func FuzzParseParameters(f *testing.F) {
	for _, s := range []string{`{"value":"v"}`, `{"value":null,"attributes":{"enabled":false,"exp":1,"nbf":2},"tags":{"a":"b"}}`, `{"attributes":[]}`, `{"value":"\ud800"}`, ``, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p parameters
		err := parseBody(bytes.NewReader(b), &p, maxBody)
		if err == nil && p.Attributes != nil && p.Attributes.Expires != nil && *p.Attributes.Expires < 0 {
			t.Error("a time before 1970")
		}
	})
}

func FuzzRoute(f *testing.F) {
	for _, s := range []string{"/secrets", "/secrets/a", "/secrets/a/b", "/deletedsecrets/a/recover", "//", "/secrets//versions", "/keys"} {
		f.Add("GET", s)
		f.Add("POST", s)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		r := &http.Request{Method: method, URL: httptest.NewRequest("GET", "/", nil).URL}
		r.URL.Path = path
		q := &request{r: r}
		if err := q.findRoute(); err == nil && (q.route.run == nil || q.route.action == "" || q.name != "" && checkName(q.name) != nil) {
			t.Errorf("%s %s found %+v for %q", method, path, q.route, q.name)
		}
	})
}
