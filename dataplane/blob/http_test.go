package blob

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/origin"
)

func TestFirewallComesFirst(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.account.Firewall = firewall.Rules{PublicNetworkAccess: firewall.Disabled}
	w := f.want(call{method: "GET", path: "/con1/b"}, 403, "AuthorizationFailure")
	var e struct{ Code, Message string }
	if err := xml.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"This request is not authorized to perform this operation.\n", "publicNetworkAccess is Disabled", "203.0.113.9 from the internet", "RequestId:"} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("the message lacks %q:\n%s", part, e.Message)
		}
	}
	// A bad signature does not show before the firewall does.
	f.want(call{method: "GET", path: "/con1/b", auth: "none", header: []string{"Authorization", "SharedKey x:AAAA"}}, 403, "AuthorizationFailure")
	f.origin = origin.Origin{Kind: origin.PrivateEndpoint, Source: netip.MustParseAddr("10.0.0.4"), Endpoint: "pe", Target: acctID, GroupID: "blob"}
	f.want(call{method: "GET", path: "/con1/b"}, 404, CodeBlobNotFound)
	f.origin.GroupID = "queue"
	f.want(call{method: "GET", path: "/con1/b"}, 403, "AuthorizationFailure")
	f.origin = origin.Origin{}
	f.account.Firewall = firewall.Rules{}
	f.want(call{method: "GET", path: "/con1/b"}, 403, "AuthorizationFailure")
}

func TestAccounts(t *testing.T) {
	f := newFixture(t)
	for host, code := range map[string]string{"nobody.blob.core.windows.net": "ResourceNotFound", "example.com": "InvalidUri", "a.b.blob.core.windows.net": "InvalidUri", "..blob.core.windows.net": "InvalidUri"} {
		r, err := http.NewRequest("GET", "http://labstore.blob.core.windows.net/c", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		w := newRecorder(f, r)
		if got := w.Header().Get("x-ms-error-code"); got != code {
			t.Errorf("host %s: %d %s, want %s", host, w.Code, got, code)
		}
	}
}

func TestTransport(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.account.HTTPSOnly = true
	f.want(call{method: "GET", path: "/con1/b"}, 400, "AccountRequiresHttps")
	f.account.MinimumTLS = tls.VersionTLS12
	r, err := http.NewRequest("GET", "https://labstore.blob.core.windows.net/con1/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS11}
	if w := newRecorder(f, r); w.Header().Get("x-ms-error-code") != "TlsVersionNotPermitted" {
		t.Errorf("TLS 1.1: %d %s", w.Code, w.Body)
	}
	for v, want := range map[string]uint16{"": 0, "TLS1_2": tls.VersionTLS12, "tls1_0": tls.VersionTLS10} {
		if got, err := storagehttp.ParseTLSVersion(v); got != want || err != nil {
			t.Errorf("ParseTLSVersion(%q) = %x, %v", v, got, err)
		}
	}
	if _, err := storagehttp.ParseTLSVersion("SSL3"); err == nil {
		t.Error("SSL3 was read")
	}
}

func TestSharedKey(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "a b/é", "hello")
	get := call{method: "GET", path: "/con1/a%20b/%C3%A9?timeout=30", header: []string{"x-ms-meta-b", "1", "x-ms-meta-a", "2", "Range", "bytes=0-1"}}
	if w := f.want(get, 206, ""); w.Body.String() != "he" {
		t.Errorf("body %q", w.Body)
	}
	lite, err := http.NewRequest("GET", "http://labstore.blob.core.windows.net/con1?restype=container&comp=list", nil)
	if err != nil {
		t.Fatal(err)
	}
	lite.Header.Set("x-ms-version", "2021-04-10")
	lite.Header.Set("x-ms-date", f.clock.Now().Format(http.TimeFormat))
	lite.Header.Set("Authorization", "SharedKeyLite labstore:"+base64.StdEncoding.EncodeToString(storagehttp.MAC(f.account.Keys[0], storagehttp.StringToSignLite(lite, acct, strings.Compare))))
	if w := newRecorder(f, lite); w.Code != 200 {
		t.Errorf("SharedKeyLite: %d %s", w.Code, w.Body)
	}
	bad := func(name, auth string, status int, code string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			f.TB = t
			f.want(call{method: "GET", path: "/con1/b", auth: "none", header: []string{"Authorization", auth, "x-ms-date", f.clock.Now().Format(http.TimeFormat)}}, status, code)
		})
	}
	bad("wrong signature", "SharedKey labstore:AAAA", 403, "AuthenticationFailed")
	bad("empty signature", "SharedKey labstore:", 403, "AuthenticationFailed")
	bad("other account", "SharedKey other:AAAA", 403, "AuthenticationFailed")
	bad("no colon", "SharedKey labstore", 400, "InvalidAuthenticationInfo")
	bad("unknown scheme", "Digest x", 400, "InvalidAuthenticationInfo")
	f.account.Keys = [2][]byte{}
	bad("account without keys", "SharedKey labstore:"+base64.StdEncoding.EncodeToString(storagehttp.MAC(nil, "x")), 403, "AuthenticationFailed")
	f.TB = t
	f.account.Keys[1] = []byte("key")
	f.want(call{method: "GET", path: "/con1/none"}, 404, CodeBlobNotFound)
	f.account.AllowSharedKeyAccess = false
	f.want(call{method: "GET", path: "/con1/none"}, 403, "KeyBasedAuthenticationNotPermitted")
}

func TestSharedKeyDate(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	for d, want := range map[time.Duration]int{0: 404, 14 * time.Minute: 404, 16 * time.Minute: 403, -16 * time.Minute: 403} {
		r, err := http.NewRequest("GET", "http://labstore.blob.core.windows.net/con1/b", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-ms-date", f.clock.Now().Add(d).Format(http.TimeFormat))
		r.Header.Set("Authorization", "SharedKey labstore:"+base64.StdEncoding.EncodeToString(storagehttp.MAC(f.account.Keys[0], storagehttp.StringToSign(r, acct, strings.Compare))))
		if w := newRecorder(f, r); w.Code != want {
			t.Errorf("a date %v away: %d, want %d", d, w.Code, want)
		}
	}
}

// signedSAS returns the query of a signature made by hand.
func (f *fixture) signedSAS(v url.Values, text func(*storagehttp.SAS) string, key []byte) string {
	f.Helper()
	v.Set("sig", "AAAA")
	s, err := storagehttp.ParseSAS(v)
	if err != nil {
		f.Fatal(err)
	}
	v.Set("sig", base64.StdEncoding.EncodeToString(storagehttp.MAC(key, text(s))))
	return v.Encode()
}

func TestSAS(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "hello")
	base := map[string]string{"sv": "2023-11-03", "se": "2026-11-22T11:00:00Z"}
	service := func(container, blob string, kv ...string) string {
		v := url.Values{}
		for k, s := range base {
			v.Set(k, s)
		}
		for i := 0; i < len(kv); i += 2 {
			v.Set(kv[i], kv[i+1])
		}
		if v.Get("ss") != "" {
			return f.signedSAS(v, func(s *storagehttp.SAS) string { return s.AccountText(acct) }, f.account.Keys[0])
		}
		return f.signedSAS(v, func(s *storagehttp.SAS) string { return serviceText(s, acct, container, blob, "") }, f.account.Keys[0])
	}
	get := func(sas string) call { return call{method: "GET", path: "/con1/b", auth: sas} }
	list := func(sas string) call {
		return call{method: "GET", path: "/con1?restype=container&comp=list", auth: sas}
	}
	tests := []struct {
		name   string
		c      call
		status int
		code   string
	}{
		{"blob", get(service("con1", "b", "sr", "b", "sp", "r")), 200, ""},
		{"container", get(service("con1", "", "sr", "c", "sp", "r")), 200, ""},
		{"list", list(service("con1", "", "sr", "c", "sp", "l")), 200, ""},
		{"old version", get(service("con1", "b", "sr", "b", "sp", "r", "sv", "2015-04-05")), 200, ""},
		{"start is over", get(service("con1", "b", "sr", "b", "sp", "r", "st", "2026-11-22")), 200, ""},
		{"account", get(service("", "", "ss", "bq", "srt", "o", "sp", "r")), 200, ""},
		{"address", get(service("con1", "b", "sr", "b", "sp", "r", "sip", "203.0.113.0-203.0.113.9")), 200, ""},
		{"other blob", call{method: "GET", path: "/con1/c", auth: service("con1", "b", "sr", "b", "sp", "r")}, 403, "AuthenticationFailed"},
		{"other container", call{method: "GET", path: "/con2/b", auth: service("con1", "", "sr", "c", "sp", "r")}, 403, "AuthenticationFailed"},
		{"blob for a list", list(service("con1", "b", "sr", "b", "sp", "rl")), 403, "AuthorizationResourceTypeMismatch"},
		{"no list permission", list(service("con1", "", "sr", "c", "sp", "r")), 403, "AuthorizationPermissionMismatch"},
		{"no read permission", get(service("con1", "b", "sr", "b", "sp", "w")), 403, "AuthorizationPermissionMismatch"},
		{"expired", get(service("con1", "b", "sr", "b", "sp", "r", "se", "2026-11-22T10:00:00Z")), 403, "AuthenticationFailed"},
		{"not yet", get(service("con1", "b", "sr", "b", "sp", "r", "st", "2026-11-22T10:01Z")), 403, "AuthenticationFailed"},
		{"other address", get(service("con1", "b", "sr", "b", "sp", "r", "sip", "203.0.113.10")), 403, "AuthorizationSourceIPMismatch"},
		{"bad address", get(service("con1", "b", "sr", "b", "sp", "r", "sip", "x")), 403, "AuthorizationSourceIPMismatch"},
		{"https only", get(service("con1", "b", "sr", "b", "sp", "r", "spr", "https")), 403, "AuthorizationProtocolMismatch"},
		{"other service", get(service("", "", "ss", "q", "srt", "o", "sp", "r")), 403, "AuthorizationServiceMismatch"},
		{"other type", get(service("", "", "ss", "b", "srt", "sc", "sp", "r")), 403, "AuthorizationResourceTypeMismatch"},
		{"delete container", call{method: "DELETE", path: "/con1?restype=container", auth: service("con1", "", "sr", "c", "sp", "rwdl")}, 403, "AuthorizationPermissionMismatch"},
		{"stored policy", get("sv=2023-11-03&sr=b&si=policy&sig=AAAA"), 403, "AuthenticationFailed"},
		{"snapshot", get("sv=2023-11-03&sr=bs&sp=r&se=2026-11-22T11:00:00Z&sig=AAAA"), 403, "AuthenticationFailed"},
		{"tampered", get(strings.Replace(service("con1", "b", "sr", "b", "sp", "r"), "sp=r", "sp=rd", 1)), 403, "AuthenticationFailed"},
		{"no expiry", get("sv=2023-11-03&sr=b&sp=r&sig=AAAA"), 403, "AuthenticationFailed"},
		{"no version", get("sr=b&sp=r&sig=AAAA"), 403, "AuthenticationFailed"},
		{"bad signature", get("sv=2023-11-03&sr=b&sp=r&se=2026-11-22T11:00:00Z&sig=@@"), 403, "AuthenticationFailed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { f.TB = t; f.want(tt.c, tt.status, tt.code) })
	}
	f.TB = t
	f.account.AllowSharedKeyAccess = false
	f.want(get(service("con1", "b", "sr", "b", "sp", "r")), 403, "KeyBasedAuthenticationNotPermitted")
}

func TestServiceSASAndDelegation(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "a b", "hello")
	alice := authz.Principal{TenantID: "tenant", ObjectID: "alice"}
	get := func(u string) call {
		p, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		return call{method: "GET", path: p.EscapedPath(), auth: strings.Replace(p.RawQuery, "spr=https", "spr=https", 1)}
	}
	expiry := f.clock.Now().Add(time.Hour)
	u, err := f.SAS(ctx, SASRequest{Account: acct, Container: "con1", Blob: "a b", Permissions: "r", Expiry: expiry})
	if err != nil {
		t.Fatal(err)
	}
	f.want(get(u), 403, "AuthorizationProtocolMismatch") // genuine, and for https
	for _, q := range []url.Values{
		{"ss": {"b"}, "srt": {"o"}, "sp": {"r"}, "se": {expiry.UTC().Format(time.RFC3339)}},
		{"sr": {"c"}, "sp": {"r"}, "se": {expiry.UTC().Format(time.RFC3339)}, "rsct": {"text/x"}},
		{"sr": {"b"}, "sp": {"r"}, "se": {expiry.UTC().Format(time.RFC3339)}},
	} {
		container, name := "con1", "a b"
		if q.Has("ss") {
			container, name = "", ""
		}
		signed, err := f.SignQuery(acct, container, name, f.account.Keys[1], q)
		if err != nil {
			t.Fatal(err)
		}
		f.want(call{method: "GET", path: "/con1/a%20b", auth: signed}, 200, "")
	}
	u, err = f.SAS(ctx, SASRequest{Account: acct, Container: "con1", Permissions: "lr", Expiry: expiry, As: &alice})
	if err != nil {
		t.Fatal(err)
	}
	q, _ := url.Parse(u)
	read := func(status int, code string) {
		t.Helper()
		r, err := http.NewRequest("GET", "https://labstore.blob.core.windows.net/con1/a%20b?"+q.RawQuery, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
		if w := newRecorder(f, r); w.Code != status || w.Header().Get("x-ms-error-code") != code {
			t.Errorf("%d %s, want %d %s", w.Code, w.Body, status, code)
		}
	}
	read(403, "AuthorizationPermissionMismatch") // alice has no role
	f.grants["alice "+blobsRead] = true
	read(200, "")
	f.account.AllowSharedKeyAccess = false // user delegation needs no account key
	read(200, "")
	if _, err := f.SAS(ctx, SASRequest{Account: acct, Container: "con1", Permissions: "r", Expiry: expiry}); !IsCode(err, "KeyBasedAuthenticationNotPermitted") {
		t.Errorf("a SAS by key without keys: %v", err)
	}
	if err := f.RevokeDelegationKeys(ctx, acct); err != nil {
		t.Fatal(err)
	}
	read(403, "AuthenticationFailed")
	if _, err := f.SAS(ctx, SASRequest{Account: acct, Container: "con1", Permissions: "r", Expiry: f.clock.Now().Add(8 * 24 * time.Hour), As: &alice}); !IsCode(err, CodeInvalidInput) {
		t.Errorf("a user delegation SAS of eight days: %v", err)
	}
}

func TestRoles(t *testing.T) {
	f := newFixture(t)
	f.container("con1")
	f.put("con1", "b", "x")
	put := call{method: "PUT", path: "/con1/b", body: "y", auth: "token", header: []string{"x-ms-blob-type", "BlockBlob"}}
	w := f.want(put, 403, "AuthorizationPermissionMismatch")
	if !strings.Contains(w.Body.String(), "containers/blobs/write on "+acctID+"/blobServices/default/containers/con1") || !strings.Contains(w.Body.String(), "Alice (alice)") {
		t.Errorf("the refusal does not say what lacks to whom:\n%s", w.Body)
	}
	f.grants["alice "+blobsAdd] = true
	f.want(put, 403, "UnauthorizedBlobOverwrite")
	put.path = "/con1/new"
	f.want(put, 201, "")
	f.grants["alice "+blobsWrite] = true
	f.want(put, 201, "")
	f.want(call{method: "PUT", path: "/con9?restype=container", auth: "token"}, 403, "AuthorizationPermissionMismatch")
	f.grants["alice containers/write"] = true
	f.want(call{method: "PUT", path: "/con9?restype=container", auth: "token"}, 201, "")
	delete(f.tokens, "tok")
	w = f.want(put, 401, "InvalidAuthenticationInfo")
	if got := w.Header().Get("WWW-Authenticate"); got != "Bearer authorization_uri=https://login.microsoftonline.com/tenant/oauth2/authorize resource_id=https://storage.azure.com" {
		t.Errorf("challenge %q", got)
	}
	if !strings.Contains(w.Body.String(), "The token is expired") {
		t.Errorf("no reason:\n%s", w.Body)
	}
}

func TestAnonymous(t *testing.T) {
	f := newFixture(t)
	for name, access := range map[string]string{"private": "", "blobs": "blob", "open": "container"} {
		if _, err := f.CreateContainer(ctx, acct, name, ContainerOptions{PublicAccess: access}); err != nil {
			t.Fatal(err)
		}
		f.put(name, "b", "x")
	}
	get := func(c string) call { return call{method: "GET", path: "/" + c + "/b", auth: "none"} }
	list := func(c string) call {
		return call{method: "GET", path: "/" + c + "?restype=container&comp=list", auth: "none"}
	}
	f.want(get("private"), 404, "ResourceNotFound")
	f.want(get("blobs"), 200, "")
	f.want(list("blobs"), 404, "ResourceNotFound")
	f.want(list("open"), 200, "")
	f.want(get("nothere"), 404, "ResourceNotFound")
	f.want(call{method: "DELETE", path: "/open/b", auth: "none"}, 401, "NoAuthenticationInformation")
	f.want(call{method: "GET", path: "/?comp=list", auth: "none"}, 401, "NoAuthenticationInformation")
	f.account.AllowBlobPublicAccess = false
	f.want(get("open"), 409, "PublicAccessNotPermitted")
	f.want(call{method: "PUT", path: "/con9?restype=container", header: []string{"x-ms-blob-public-access", "blob"}}, 409, "PublicAccessNotPermitted")
}
