package signin

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

func TestTokenEndpoint(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	form := func(change ...string) url.Values {
		f := url.Values{"grant_type": {"client_credentials"}, "client_id": {w.app.AppID}, "client_secret": {w.key}, "scope": {"https://management.azure.com/.default"}, "resource": {"https://management.azure.com/"}}
		for i := 0; i+1 < len(change); i += 2 {
			if change[i+1] == "" {
				f.Del(change[i])
			} else {
				f[change[i]] = []string{change[i+1]}
			}
		}
		return f
	}
	const v1, v2 = "/oauth2/token", "/oauth2/v2.0/token"
	for name, c := range map[string]struct {
		path string
		form url.Values
		want int    // status
		code int    // AADSTS
		kind string // OAuth error, or the audience of the token
	}{
		"v2":                           {"/" + testTenant + v2, form(), 200, 0, "https://management.azure.com"},
		"v2 by domain, other case":     {"/CONTOSO.test" + v2, form(), 200, 0, "https://management.azure.com"},
		"v2 with two slashes":          {"/" + testTenant + v2, form("scope", "https://management.core.windows.net//.default"), 200, 0, "https://management.core.windows.net/"},
		"storage":                      {"/" + testTenant + v2, form("scope", "https://storage.azure.com/.default"), 200, 0, "https://storage.azure.com"},
		"a storage account":            {"/" + testTenant + v2, form("scope", "https://data.blob.core.windows.net/.default"), 200, 0, "https://data.blob.core.windows.net"},
		"vault":                        {"/" + testTenant + v2, form("scope", "https://vault.azure.net/.default"), 200, 0, "https://vault.azure.net"},
		"graph":                        {"/" + testTenant + v2, form("scope", "https://graph.microsoft.com//.default"), 200, 0, "https://graph.microsoft.com/"},
		"a service by id":              {"/" + testTenant + v2, form("scope", "797f4846-ba00-4fd7-ba43-dac1f8f63013/.default"), 200, 0, "797f4846-ba00-4fd7-ba43-dac1f8f63013"},
		"the tenant's own app":         {"/" + testTenant + v2, form("scope", "api://"+w.app.AppID+"/.default"), 200, 0, "api://" + w.app.AppID},
		"v1":                           {"/" + testTenant + v1, form(), 200, 0, "https://management.azure.com/"},
		"unknown tenant":               {"/" + uuid.NewString() + v2, form(), 400, 90002, "invalid_request"},
		"unknown domain":               {"/other.test" + v2, form(), 400, 90002, "invalid_request"},
		"no tenant":                    {"/nonsense" + v2, form(), 400, 900023, "invalid_request"},
		"common":                       {"/common" + v2, form(), 400, 50059, "invalid_request"},
		"unknown application":          {"/" + testTenant + v2, form("client_id", uuid.NewString()), 400, 700016, "unauthorized_client"},
		"wrong secret":                 {"/" + testTenant + v2, form("client_secret", "x"), 401, 7000215, "invalid_client"},
		"no secret":                    {"/" + testTenant + v2, form("client_secret", ""), 401, 7000216, "invalid_client"},
		"no grant":                     {"/" + testTenant + v2, form("grant_type", ""), 400, 900144, "invalid_request"},
		"no client":                    {"/" + testTenant + v2, form("client_id", ""), 400, 900144, "invalid_request"},
		"no scope":                     {"/" + testTenant + v2, form("scope", ""), 400, 900144, "invalid_request"},
		"no resource":                  {"/" + testTenant + v1, form("resource", ""), 400, 900144, "invalid_request"},
		"scope without .default":       {"/" + testTenant + v2, form("scope", "https://management.azure.com/user_impersonation"), 400, 1002012, "invalid_scope"},
		"with OpenID's scopes":         {"/" + testTenant + v2, form("scope", "https://vault.azure.net/.default openid offline_access profile"), 200, 0, "https://vault.azure.net"},
		"OpenID's scopes alone":        {"/" + testTenant + v2, form("scope", "openid offline_access profile"), 400, 1002012, "invalid_scope"},
		"the token exchange":           {"/" + testTenant + v2, form("scope", "api://AzureADTokenExchange/.default"), 200, 0, directory.ExchangeAppID},
		"two scopes":                   {"/" + testTenant + v2, form("scope", "https://vault.azure.net/.default https://management.azure.com/.default"), 400, 1002012, "invalid_scope"},
		"unknown resource":             {"/" + testTenant + v2, form("scope", "https://example.com/.default"), 400, 500011, "invalid_resource"},
		"no storage account":           {"/" + testTenant + v2, form("scope", "https://evil.example/x.blob.core.windows.net/.default"), 400, 500011, "invalid_resource"},
		"unknown resource, v1":         {"/" + testTenant + v1, form("resource", "https://example.com"), 400, 500011, "invalid_resource"},
		"password":                     {"/" + testTenant + v2, form("grant_type", "password"), 400, 7000218, "unauthorized_client"},
		"no code":                      {"/" + testTenant + v2, form("grant_type", "authorization_code"), 400, 900144, "invalid_request"},
		"nonsense grant":               {"/" + testTenant + v2, form("grant_type", "nonsense"), 400, 70003, "unsupported_grant_type"},
		"consumers":                    {"/consumers" + v2, form(), 400, 9002332, "invalid_request"},
		"assertion without its type":   {"/" + testTenant + v2, form("client_secret", "", "client_assertion", "x"), 401, 700027, "invalid_client"},
		"assertion and secret":         {"/" + testTenant + v2, form("client_assertion", "x"), 400, 9002313, "invalid_request"},
		"device code, confidential":    {"/" + testTenant + "/oauth2/v2.0/devicecode", form(), 401, 7000218, "invalid_client"},
		"a parameter twice":            {"/" + testTenant + v2, url.Values{"grant_type": {"client_credentials", "password"}}, 400, 9002313, "invalid_request"},
		"claims that are no JSON":      {"/" + testTenant + v2, form("claims", "{"), 400, 9002313, "invalid_request"},
		"an endpoint not served":       {"/" + testTenant + "/oauth2/v2.0/nonsense", form(), 501, 9002313, "invalid_request"},
		"a body that is too long":      {"/" + testTenant + v2, form("x", strings.Repeat("x", maxForm)), 400, 9002313, "invalid_request"},
		"secret in another's case":     {"/" + testTenant + v2, form("client_secret", strings.ToUpper(w.key)), 401, 7000215, "invalid_client"},
		"id of the principal, not app": {"/" + testTenant + v2, form("client_id", w.app.ObjectID), 400, 700016, "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, body := call(t, h, post(c.path, c.form))
			if rec.Code != c.want {
				t.Fatalf("status %d, want %d: %s", rec.Code, c.want, rec.Body)
			}
			if c.code == 0 {
				if got := payload(t, body["access_token"].(string))["aud"]; got != c.kind {
					t.Errorf("audience %q, want %q", got, c.kind)
				}
				return
			}
			codes, _ := body["error_codes"].([]any)
			if body["error"] != c.kind || len(codes) != 1 || codes[0] != float64(c.code) {
				t.Errorf("%v %v, want %s %d", body["error"], codes, c.kind, c.code)
			}
			if text := body["error_description"].(string); !strings.HasPrefix(text, "AADSTS"+strconv.Itoa(c.code)+": ") || !strings.Contains(text, "\r\nTrace ID: ") || strings.Contains(text, w.key) {
				t.Errorf("description %q", text)
			}
		})
	}
}

func TestTokenAnswers(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"https://management.azure.com/.default"}, "resource": {"https://management.azure.com/"},
		"claims": {`{"access_token":{"xms_cc":{"values":["CP1"]}}}`}}
	basic := post("/"+testTenant+"/oauth2/v2.0/token", form)
	basic.SetBasicAuth(url.QueryEscape(w.app.AppID), url.QueryEscape(w.key))
	rec, body := call(t, h, basic)
	if rec.Code != 200 || body["expires_in"] != float64(3599) || body["ext_expires_in"] != float64(3599) || body["token_type"] != "Bearer" || len(body) != 4 {
		t.Errorf("v2: %d %s", rec.Code, rec.Body)
	}
	if rec.Header().Get("Cache-Control") == "" || rec.Header().Get("x-ms-request-id") == "" {
		t.Errorf("headers %v", rec.Header())
	}
	c := payload(t, body["access_token"].(string))
	iat, _ := c["iat"].(float64)
	want := map[string]any{
		"aud": "https://management.azure.com", "iss": "https://sts.windows.net/" + testTenant + "/", "idp": "https://sts.windows.net/" + testTenant + "/",
		"appid": w.app.AppID, "appidacr": "1", "idtyp": "app", "oid": w.app.ObjectID, "sub": w.app.ObjectID, "tid": testTenant, "ver": "1.0", "xms_cc": []any{"CP1"},
		"iat": iat, "nbf": iat, "exp": iat + 3900, "uti": c["uti"], "aio": c["aio"],
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}

	form.Set("client_id", w.app.AppID)
	form.Set("client_secret", w.key)
	_, body = call(t, h, post("/"+testTenant+"/oauth2/token", form))
	for _, k := range []string{"expires_in", "ext_expires_in", "expires_on", "not_before", "resource", "access_token", "token_type"} {
		if _, ok := body[k].(string); !ok {
			t.Errorf("v1: %s is %v, want a string", k, body[k])
		}
	}
	both := post("/"+testTenant+"/oauth2/token", form)
	both.SetBasicAuth(w.app.AppID, w.key)
	if rec, _ := call(t, h, both); rec.Code != 400 {
		t.Errorf("credentials in two places: %d", rec.Code)
	}
	if rec, body := call(t, h, get("https://"+entra.LoginHost+"/"+testTenant+"/oauth2/v2.0/token")); rec.Code != 400 || body["error_codes"].([]any)[0] != float64(900561) {
		t.Errorf("GET: %d %v", rec.Code, body)
	}
}

func TestSecretsExpireAndAreReplaced(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	try := func(secret string) any {
		_, body := call(t, h, post("/"+testTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {w.app.AppID}, "client_secret": {secret}, "scope": {"https://vault.azure.net/.default"}}))
		if codes, ok := body["error_codes"].([]any); ok {
			return codes[0]
		}
		return nil
	}
	var id, second string
	w.update(t, func(tx store.Tx) (err error) {
		id, second, err = w.AddSecret(tx, w.app.ObjectID, "second", 30*time.Minute)
		return err
	})
	if a, b := try(w.key), try(second); a != nil || b != nil {
		t.Errorf("two secrets: %v %v", a, b)
	}
	w.later(30 * time.Minute)
	if a, b := try(w.key), try(second); a != nil || b != float64(7000222) {
		t.Errorf("one expired: %v %v", a, b)
	}
	w.update(t, func(tx store.Tx) error { return w.RemoveSecret(tx, w.app.ObjectID, id) })
	if got := try(second); got != float64(7000215) {
		t.Errorf("removed: %v", got)
	}
	w.later(366 * 24 * time.Hour)
	if got := try(w.key); got != float64(7000222) {
		t.Errorf("after a year: %v", got)
	}
}

// TestPublishedKeys verifies a token with nothing but what the discovery documents say and the
// standard library.
func TestPublishedKeys(t *testing.T) {
	w := newWorld(t)
	h := w.service()
	for _, doc := range []string{"/" + testTenant + "/.well-known/openid-configuration", "/common/v2.0/.well-known/openid-configuration"} {
		_, config := call(t, h, get("https://"+entra.LoginHost+doc))
		rec, _ := call(t, h, get(config["jwks_uri"].(string)))
		var set struct {
			Keys []struct {
				KID, N, E, X5T string
				X5C            []string
			}
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
			t.Fatalf("%s: %v", rec.Body, err)
		}
		k := set.Keys[0]
		decode := func(s string) []byte {
			b, err := base64.RawURLEncoding.DecodeString(s)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(decode(k.N)), E: int(new(big.Int).SetBytes(decode(k.E)).Int64())}
		parts := strings.Split(w.tokenFor(t, entra.AudienceARM), ".")
		var header map[string]string
		if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"alg": "RS256", "typ": "JWT", "kid": k.KID, "x5t": k.X5T}, header); diff != "" {
			t.Error(diff)
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], decode(parts[2])); err != nil {
			t.Error(err)
		}
		der, err := base64.StdEncoding.DecodeString(k.X5C[0])
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		thumb := sha1.Sum(der)
		if !pub.Equal(cert.PublicKey) || pub.Size() != 256 || base64.RawURLEncoding.EncodeToString(thumb[:]) != k.X5T {
			t.Error("certificate, key and thumbprint do not belong together")
		}
		if strings.Contains(rec.Body.String(), `"d"`) {
			t.Error("a private key is published")
		}
	}
}

func TestInstanceDiscovery(t *testing.T) {
	h := newWorld(t).service()
	for endpoint, want := range map[string]any{
		"https://login.microsoftonline.com/common/oauth2/v2.0/authorize":           "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
		"https://login.windows.net/" + testTenant + "/oauth2/authorize":            "https://login.windows.net/" + testTenant + "/.well-known/openid-configuration",
		"https://login.lab.test/" + testTenant + "/oauth2/v2.0/authorize":          "https://login.lab.test/" + testTenant + "/v2.0/.well-known/openid-configuration",
		"https://127.0.0.1:8443/" + testTenant + "/oauth2/v2.0/authorize":          "https://127.0.0.1:8443/" + testTenant + "/v2.0/.well-known/openid-configuration",
		"https://login.evil.test/common/oauth2/v2.0/authorize":                     nil,
		"http://login.microsoftonline.com/common/oauth2/v2.0/authorize":            nil,
		"https://login.microsoftonline.com.evil.test/common/oauth2/v2.0/authorize": nil,
		"https://login.microsoftonline.com/" + uuid.NewString() + "/x":             nil,
		"": nil,
	} {
		rec, body := call(t, h, get("https://"+entra.LoginHost+"/common/discovery/instance?api-version=1.1&authorization_endpoint="+url.QueryEscape(endpoint)))
		if body["tenant_discovery_endpoint"] != want || (want == nil) != (rec.Code == http.StatusBadRequest) {
			t.Errorf("%s: %d %s", endpoint, rec.Code, rec.Body)
		}
	}
}

func TestDiscoveryStaysUnderTheClientsHost(t *testing.T) {
	h := newWorld(t).service()
	for host, want := range map[string]string{
		"login.lab.test": "https://login.lab.test/", "127.0.0.1:8443": "https://127.0.0.1:8443/", "localhost:1": "https://localhost:1/",
		"evil.test": "https://login.microsoftonline.com/", "login.windows.net": "https://login.windows.net/",
	} {
		_, body := call(t, h, get("https://"+host+"/contoso.test/v2.0/.well-known/openid-configuration"))
		if got, _ := body["token_endpoint"].(string); got != want+testTenant+"/oauth2/v2.0/token" {
			t.Errorf("%s: %v", host, got)
		}
		if body["issuer"] != "https://login.microsoftonline.com/"+testTenant+"/v2.0" {
			t.Errorf("%s: issuer %v", host, body["issuer"])
		}
	}
	for _, where := range []string{"userrealm/a@b.test?api-version=1.0", "UserRealm/a@b.test?api-version=1.0", "userrealm?user=a@b.test"} { // as MSAL for Python, for Go and az write it
		rec, body := call(t, h, get("https://"+entra.LoginHost+"/common/"+where))
		if rec.Code != 200 || body["account_type"] != "Unknown" || body["Login"] != "a@b.test" || body["domain_name"] != "b.test" {
			t.Errorf("user realm %s: %s", where, rec.Body)
		}
	}
	if rec, _ := call(t, h, get("https://"+entra.LoginHost+"/"+uuid.NewString()+"/v2.0/.well-known/openid-configuration")); rec.Code != 400 {
		t.Errorf("unknown tenant: %d", rec.Code)
	}
}

func FuzzTokenForm(f *testing.F) {
	w := newWorld(f)
	h := w.service()
	f.Add("/common/oauth2/v2.0/token", "application/x-www-form-urlencoded", "", "grant_type=client_credentials")
	f.Add("/"+testTenant+"/oauth2/v2.0/token", "application/x-www-form-urlencoded; charset=utf-8", "Basic YTpi", "grant_type=client_credentials&client_id=a&client_secret=b&scope=c/.default")
	f.Add("/"+testTenant+"/oauth2/token", "application/x-www-form-urlencoded", "", "grant_type=client_credentials&client_id="+w.app.AppID+"&client_secret=%zz&resource=x&claims={}")
	f.Add("/x/discovery/instance?authorization_endpoint=https://[", "", "", "")
	f.Fuzz(func(t *testing.T, path, kind, auth, body string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			r := post("/", nil)
			r.Method, r.URL.Path, r.URL.RawQuery = method, u.Path, u.RawQuery
			r = r.Clone(r.Context())
			r.Body = http.NoBody
			if method == http.MethodPost {
				r.Body = readCloser(body)
			}
			r.Header.Set("Content-Type", kind)
			if auth != "" {
				r.Header.Set("Authorization", auth)
			}
			rec, answer := call(t, h, r)
			if rec.Code == http.StatusInternalServerError {
				t.Fatalf("500: %s", rec.Body)
			}
			if _, granted := answer["access_token"]; granted {
				t.Fatalf("a token without the secret: %s", rec.Body)
			}
		}
	})
}
