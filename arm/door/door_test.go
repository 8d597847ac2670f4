package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type thing struct {
	Size int `json:"size,omitempty"`
}

// fakes are a caller who may do everything, or whose rights cannot be looked up.
type fakes struct{ broken bool }

func (fakes) Authenticate(r *http.Request) (authz.Principal, error) {
	switch r.Header.Get("Authorization") {
	case "":
		return authz.Principal{}, arm.Errorf(401, "AuthenticationFailed", "no token")
	case "nobody":
		return authz.Principal{}, nil
	case "broken":
		return authz.Principal{}, errors.New("the key store is away: secret detail")
	}
	return authz.Principal{ObjectID: "1", Name: "one"}, nil
}

func (f fakes) Check(context.Context, authz.Principal, authz.Request) (authz.Decision, error) {
	if f.broken {
		return authz.Decision{Allowed: true}, errors.New("secret detail")
	}
	return authz.Decision{Allowed: true}, nil
}

const things = "/subscriptions/s/resourceGroups/g/providers/A.B/things/"

func open(t testing.TB, f fakes) *Door {
	t.Helper()
	return openIn(t, t.TempDir(), f)
}

// openIn is open with its store in dir.
func openIn(t testing.TB, dir string, f fakes) *Door {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	e := rp.New(rp.Config{Store: s})
	err = e.Register(
		rp.Of(rp.Type[thing]{Name: "A.B/things", Versions: rp.Versions[thing]("2024-01-01"), Kind: rp.Proxy, SyncDelete: true,
			Actions: map[string]rp.Action[thing]{
				"panic": {Do: func(context.Context, *rp.Tx, *rp.Resource[thing], []byte) (any, error) { panic("secret detail") }},
				"fail": {Do: func(context.Context, *rp.Tx, *rp.Resource[thing], []byte) (any, error) {
					return nil, errors.New("secret detail")
				}},
				"unwritable": {Do: func(context.Context, *rp.Tx, *rp.Resource[thing], []byte) (any, error) { return func() {}, nil }},
			}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	cloud := AzureCloud()
	d, err := New(Config{Engine: e, Authenticator: f, Authorizer: f, Open: map[string]http.Handler{"/metadata/endpoints": cloud}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func do(d *Door, method, target, body, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func code(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct {
		Error struct{ Code string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Errorf("not JSON: %s", w.Body)
	}
	return body.Error.Code
}

func TestStagesAreInOrder(t *testing.T) {
	var names []string
	for _, s := range open(t, fakes{}).stages {
		names = append(names, s.name)
	}
	want := "normalise authenticate throttle type and api-version parse role lock policy provider policy events activity log"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("stages %s", got)
	}
}

func TestEarlierStagesRefuseFirst(t *testing.T) {
	d := open(t, fakes{})
	const bad, query = "{", "?api-version=2024-01-01"
	for _, c := range []struct {
		target, body, token string
		status              int
		code                string
	}{
		{things + "%2e%2e", bad, "", 400, "InvalidRequestUri"},
		{things + "x", bad, "", 401, "AuthenticationFailed"},
		{things + "x", bad, "nobody", 401, "AuthenticationFailed"},
		{things + "x", bad, "broken", 500, "InternalServerError"},
		{things + "x", bad, "t", 400, "MissingApiVersionParameter"},
		{things + "x" + query, bad, "t", 400, "InvalidRequestContent"},
	} {
		w := do(d, "PUT", c.target, c.body, c.token)
		if w.Code != c.status || code(t, w) != c.code {
			t.Errorf("%s as %q: %d %s, want %d %s", c.target, c.token, w.Code, w.Body, c.status, c.code)
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("internals leak: %s", w.Body)
		}
	}
}

func TestFailsClosedAndSilent(t *testing.T) {
	const query = "?api-version=2024-01-01"
	w := do(open(t, fakes{broken: true}), "PUT", things+"x"+query, "{}", "t")
	if w.Code != 500 {
		t.Errorf("a role check that cannot be made: %d %s", w.Code, w.Body)
	}
	d := open(t, fakes{})
	if w := do(d, "PUT", things+"x"+query, "{}", "t"); w.Code != 201 {
		t.Fatalf("PUT: %s", w.Body)
	}
	for _, action := range []string{"panic", "fail", "unwritable"} {
		w := do(d, "POST", things+"x/"+action+query, "", "t")
		if w.Code != 500 || code(t, w) != "InternalServerError" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", action, w.Code, w.Body)
		}
	}
	if w := do(d, "GET", things+"x"+query, "", "t"); w.Code != 200 {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

func TestMetadata(t *testing.T) {
	d := open(t, fakes{})
	w := do(d, "GET", "/Metadata/endpoints?api-version=2019-05-01", "", "")
	var list []Endpoints
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].Suffixes["storage"] != "core.windows.net" {
		t.Errorf("2019: %v %s", err, w.Body)
	}
	w = do(d, "GET", "/metadata/endpoints?api-version=2022-09-01", "", "")
	var one Endpoints
	if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil || one.ResourceManager == "" {
		t.Errorf("2022: %v %s", err, w.Body)
	}
	if w := do(d, "POST", "/metadata/endpoints?api-version=2022-09-01", "", ""); w.Code != 401 {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestPositionOfBrokenJSON(t *testing.T) {
	for body, want := range map[string]string{
		"{\n  \"a\": 1,\n  \"a\": 2}": "line 3, position 5",
		"{\"a\": tru}":                "line 1, position",
		"{\"a\": 1} x":                "line 1, position",
		"{\"a\": 1":                   "unexpected end when reading JSON, line 1, position 7",
		"":                            "unexpected end",
		"\"\xff\"":                    "line 1, position 1",
	} {
		err := checkJSON([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
	}
	for _, body := range []string{`{}`, `[{"a":1},{"a":2}]`, `"x"`, `{"properties":{"env":{"PATH":1,"path":2}}}`, ` {"a":[1,{"b":null}]} `} {
		if err := checkJSON([]byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"a":1,"A":2}`, `{"properties":{"x":1,"X":2}}`, `{"a":{"b":{"c":{"d":1,"d":2}}}}`, strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65)} {
		if err := checkJSON([]byte(body)); err == nil {
			t.Errorf("%s passed", body)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[{"c":null}]}`, `{"a":1,"a":2}`, `[`, `{"a"`, "\xff", `1 2`, `{"\u0061":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := checkJSON(data); err != nil {
			return
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Errorf("%q passed and does not parse: %v", data, err)
		}
	})
}

func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/", "//a//b/", "/a%2fb", "/%2e%2e/x", "/a%20b", "/a%", "/\x00", "/ſ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := cleanPath(s)
		if err != nil {
			return
		}
		if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || strings.Contains(p, "/../") || strings.HasSuffix(p, "/..") || p != "/" && strings.HasSuffix(p, "/") {
			t.Errorf("%q became %q", s, p)
		}
		again, err := cleanPath((&url.URL{Path: p}).EscapedPath())
		if err != nil || again != p {
			t.Errorf("%q became %q, then %q, %v", s, p, again, err)
		}
	})
}

// FuzzDoor sends anything: the door answers, never with a 500.
func FuzzDoor(f *testing.F) {
	f.Add("PUT", things+"x?api-version=2024-01-01", `{"tags":{"a":"b"},"properties":{"size":1,"x":[{"name":"y"}]}}`)
	f.Add("PATCH", things+"x?api-version=2024-01-01", `{"tags":null,"properties":{"x":{"y":null}}}`)
	f.Add("GET", "/subscriptions/s/resources?api-version=2024-01-01&$filter=name%20eq%20'x'", "")
	f.Add("GET", "/subscriptions/s/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=eventTimestamp%20ge%20'2020'", "")
	f.Add("DELETE", things+"x?api-version=2024-01-01", "")
	f.Add("POST", things+"x/fail/y?api-version=2024-01-01", "[]")
	d := open(f, fakes{})
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.Parse(target)
		if err != nil || u.Scheme != "" || strings.Contains(target, "/fail") || strings.Contains(target, "/panic") || strings.Contains(target, "unwritable") {
			return
		}
		r, err := http.NewRequest(method, "http://x/", strings.NewReader(body))
		if err != nil {
			return
		}
		u.Scheme, u.Host = "http", "x"
		r.URL = u
		r.Header.Set("Authorization", "t")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != 501 {
			t.Errorf("%s %s %q: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, c := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("c=%d", c), func(b *testing.B) {
			d := open(b, fakes{})
			work := make(chan int)
			done := make(chan struct{})
			for range c {
				go func() {
					for i := range work {
						if w := do(d, "PUT", fmt.Sprintf("%sx%d?api-version=2024-01-01", things, i%1000), `{"properties":{"size":1,"note":"n"}}`, "t"); w.Code >= 300 {
							b.Errorf("%d %s", w.Code, w.Body)
						}
					}
					done <- struct{}{}
				}()
			}
			for i := 0; b.Loop(); i++ {
				work <- i
			}
			close(work)
			for range c {
				<-done
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	d := open(b, fakes{})
	if w := do(d, "PUT", things+"x?api-version=2024-01-01", `{"properties":{"size":1}}`, "t"); w.Code != 201 {
		b.Fatal(w.Body)
	}
	for b.Loop() {
		if w := do(d, "GET", things+"x?api-version=2024-01-01", "", "t"); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
