package door

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/locks"
	"vauban.dev/store/sqlite"
)

// fortress is a door behind which the caller may do everything but write to one thing, by role, and to another, by lock.
type fortress struct {
	door   *Door
	engine *rp.Engine
}

const (
	guarded = things + "guarded" // the role says no
	locked  = things + "locked"  // a lock holds it
)

func (f *fortress) Authenticate(r *http.Request) (authz.Principal, error) {
	if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer eve" {
		return authz.Principal{}, arm.Errorf(401, "AuthenticationFailed", "no token")
	}
	return authz.Principal{ObjectID: "eve", Name: "eve"}, nil
}

func (f *fortress) Check(_ context.Context, p authz.Principal, q authz.Request) (authz.Decision, error) {
	scope := strings.ToLower(q.Scope)
	denied := scope == strings.ToLower(guarded) || strings.HasPrefix(scope, strings.ToLower(guarded)+"/")
	return authz.Decision{Allowed: p.ObjectID == "eve" && (!denied || strings.HasSuffix(q.Action, "/read")), By: "guarded"}, nil
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f := &fortress{engine: rp.New(rp.Config{Store: s})}
	type lock struct {
		Level string `json:"level"`
	}
	version := "2024-01-01"
	if err := f.engine.Register(
		rp.Of(rp.Type[thing]{Name: "A.B/things", Versions: rp.Versions[thing](version), Kind: rp.Proxy, SyncDelete: true, Actions: map[string]rp.Action[thing]{
			"grow": {Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[thing], _ []byte) (any, error) {
				r.Properties.Size = 666
				return nil, nil
			}}}}),
		rp.Of(rp.Type[lock]{Name: locks.Type, Versions: rp.Versions[lock](version), Kind: rp.Extension, SyncDelete: true}),
	); err != nil {
		t.Fatal(err)
	}
	if f.door, err = New(Config{Engine: f.engine, Authenticator: f, Authorizer: f}); err != nil {
		t.Fatal(err)
	}
	err = f.engine.Update(t.Context(), func(tx *rp.Tx) error {
		for _, name := range []string{guarded, locked} {
			if err := rp.Save(tx, &rp.Resource[thing]{ID: arm.MustParseID(name), State: arm.Succeeded, Properties: thing{Size: 7}}); err != nil {
				return err
			}
		}
		return rp.Save(tx, &rp.Resource[lock]{ID: arm.MustParseID(locked + "/providers/" + locks.Type + "/l"), State: arm.Succeeded, Properties: lock{"ReadOnly"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// intact fails the test when what is protected has changed, or has got a twin.
func (f *fortress) intact(t *testing.T, after string) {
	t.Helper()
	err := f.engine.View(context.Background(), func(tx *rp.Tx) error {
		all, err := rp.List[thing](tx, "A.B/things", arm.MustParseID("/"))
		seen := map[string]bool{}
		for _, r := range all {
			plain := strings.ToLower(strings.Trim(r.ID.Name(), " \u200b"))
			if plain != "guarded" && plain != "locked" {
				continue
			}
			if seen[plain] {
				t.Errorf("after %s: there are two of %s", after, plain)
			}
			seen[plain] = true
			if r.Properties.Size != 7 {
				t.Errorf("after %s: %s was changed to %d", after, r.ID, r.Properties.Size)
			}
		}
		if len(seen) != 2 {
			t.Errorf("after %s: only %v are left", after, seen)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// spellings of the last segment and of the whole path that a later reader might take for the same resource.
func spellings(path string) []string {
	cut := strings.LastIndexByte(path, '/')
	head, name := path[:cut], path[cut+1:]
	return []string{
		path, strings.ToUpper(path), strings.ToLower(path), path + "/", "/" + path, strings.ReplaceAll(path, "/", "//"), head + "///" + name,
		head + "/%" + fmt.Sprintf("%02x", name[0]) + name[1:], head + "/%25" + fmt.Sprintf("%02x", name[0]) + name[1:],
		head + "%2f" + name, head + "%2F" + name, head + "/%2e/" + name, head + "/./" + name, head + "/x/../" + name, head + "/x/%2e%2e/" + name,
		head + "/x%2f..%2f" + name, head + "/..%2fthings/" + name, path + "/.", path + "/..", path + "/%2e%2e", head + `\` + name, head + "/%5c" + name,
		path + "%00", path + "%20", path + "%09", path + "%0a", path + "%0d%0aX:y", path + ";x", path + ";/x", path + "#x", path + "%23x", path + "%3fx",
		path + "?api-version=2024-01-01&", head + "/" + strings.Replace(name, "d", "%64", 1), strings.Replace(path, "providers", "%70roviders", 1),
		strings.Replace(path, "resourceGroups", "RESOURCEGROUPS", 1), strings.Replace(path, "s/s/", "%73/s/", 1), strings.Replace(path, "k", "\u212a", 1),
		strings.Replace(path, "subscriptions", "\u017fubscriptions", 1), strings.Replace(path, "/A.B/", "/A%2eB/", 1), path + "%c0%af", path + "%ef%bc%8f",
		"/." + path, "/%2e%2e" + path, "/x/%2e%2e" + path, head + "/" + url.PathEscape(name) + "%E2%80%8B",
	}
}

func TestSpellings(t *testing.T) {
	f := newFortress(t)
	refused := 0
	for _, target := range []string{guarded, locked} {
		for _, path := range spellings(target) {
			for _, method := range []string{"PUT", "PATCH", "DELETE", "POST"} {
				u := path
				if method == "POST" {
					u += "/grow"
				}
				if strings.Contains(u, "?") {
					u += "api-version=2024-01-01"
				} else {
					u += "?api-version=2024-01-01"
				}
				req := httptest.NewRequest(method, "/", strings.NewReader(`{"properties":{"size":666}}`))
				parsed, err := url.Parse("http://x" + u)
				if err != nil {
					continue // no server gets it
				}
				req.URL = parsed
				req.Header.Set("Authorization", "Bearer eve")
				w := httptest.NewRecorder()
				f.door.ServeHTTP(w, req)
				if w.Code >= 500 {
					t.Errorf("%s %s: %d %s", method, u, w.Code, w.Body)
				}
				if w.Code == 403 || w.Code == 409 || w.Code == 400 {
					refused++
				}
				f.intact(t, method+" "+u)
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d attempts were refused as such", refused)
	}
}

// TestSmuggling sends bytes that two readers may take apart in two ways.
func TestSmuggling(t *testing.T) {
	f := newFortress(t)
	srv := httptest.NewServer(f.door)
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	del := "DELETE " + guarded + "?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer eve\r\n\r\n"
	read := "GET " + guarded + "?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n"
	auth := "Authorization: Bearer eve\r\n"
	for what, bytes := range map[string]string{
		"a length and chunks":        "POST " + things + "x/grow?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + del,
		"chunks twice":               "POST " + things + "x/grow?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + del,
		"odd chunks":                 "POST " + things + "x/grow?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: xchunked\r\n\r\n" + del,
		"two lengths":                "POST " + things + "x/grow?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + del,
		"a length with a sign":       "POST " + things + "x/grow?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: +0\r\n\r\n" + del,
		"a space before the colon":   "POST " + things + "x/grow?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length : 5\r\n\r\n" + del,
		"a folded header":            read + auth + "X: a\r\n b\r\n\r\n",
		"a null in a header":         read + auth + "X: a\x00b\r\n\r\n",
		"two hosts":                  strings.Replace(read, "Host: x\r\n", "Host: x\r\nHost: y\r\n", 1) + auth + "\r\n",
		"two callers":                strings.Replace(del, "\r\n\r\n", "\r\nAuthorization: Bearer admin\r\n\r\n", 1),
		"a caller in other letters":  strings.Replace(del, auth, "", 1),
		"another target in a header": "DELETE " + things + "nothing?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "X-Original-URL: " + guarded + "\r\nX-Rewrite-URL: " + guarded + "\r\nX-Forwarded-Path: " + guarded + "\r\n\r\n",
		"another method in a header": read + auth + "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n\r\n",
		"another method in a query":  strings.Replace(read, "?", "?_method=DELETE&", 1) + auth + "\r\n",
		"the caller's name by hand":  del[:len(del)-2] + "X-Ms-Client-Principal-Id: admin\r\nX-Ms-Client-Principal-Name: admin\r\n\r\n",
		"an absolute target":         "DELETE http://y" + guarded + "?api-version=2024-01-01 HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"an unknown method":          strings.Replace(del, "DELETE", "DELETE\tGET", 1),
		"a method in small letters":  strings.Replace(del, "DELETE", "delete", 1),
		"bare line feeds":            strings.ReplaceAll(read, "\r\n", "\n") + "Authorization: Bearer eve\n\n" + del,
		"an old protocol":            strings.Replace(del, "HTTP/1.1", "HTTP/0.9", 1),
		"a target with a space":      strings.Replace(del, "guarded?", "guarded ?", 1),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, bytes); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		for {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			hungUp := res.StatusCode == 503 && strings.Contains(string(body), "RequestCanceled") // this end has closed its half
			if res.StatusCode >= 500 && res.StatusCode != 501 && res.StatusCode != 505 && !hungUp {
				t.Errorf("%s: %d %s", what, res.StatusCode, body)
			}
		}
		c.Close()
		f.intact(t, what)
	}
	// The way that is right is open: the test can tell.
	res, err := http.DefaultClient.Do(must(http.NewRequest("PUT", srv.URL+things+"free?api-version=2024-01-01", strings.NewReader(`{"properties":{"size":1}}`))))
	if err != nil || res.StatusCode != 401 {
		t.Errorf("without a token: %v %v", res, err)
	}
	res.Body.Close()
	req := must(http.NewRequest("PUT", srv.URL+things+"free?api-version=2024-01-01", strings.NewReader(`{"properties":{"size":1}}`)))
	req.Header.Set("Authorization", "Bearer eve")
	if res, err = http.DefaultClient.Do(req); err != nil || res.StatusCode != 201 {
		t.Errorf("a thing of her own: %v %v", res, err)
	}
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}
