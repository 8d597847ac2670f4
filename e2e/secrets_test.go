package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// TestNoSecretsInLogs plants secrets of every kind in requests that succeed and that fail, and looks for them in whatever the
// region writes for people: the logs, the activity log, the command lines of processes, what its commands print.
func TestNoSecretsInLogs(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	planted := map[string]string{}
	plant := func(what, secret string) string {
		planted[what] = secret
		return secret
	}
	plant("the client secret", g.creds.secret)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	plant("a private key", base64.StdEncoding.EncodeToString(der)[40:90])
	for _, audience := range []string{"https://management.azure.com", "https://vault.azure.net", "https://storage.azure.com"} {
		token, err := g.token(t.Context(), audience)
		if err != nil {
			t.Fatal(err)
		}
		_, _, signature := splitToken(token)
		plant("a token of "+audience, signature)
	}

	group := "/subscriptions/" + g.sub + "/resourceGroups/secrets"
	account, vault := group+"/providers/Microsoft.Storage/storageAccounts/e2esecrets", group+"/providers/Microsoft.KeyVault/vaults/e2e-secrets"
	g.put(group, vResources, obj{"location": location})
	g.put(account, vStorage, obj{"location": location, "sku": obj{"name": "Standard_LRS"}, "kind": "StorageV2"})
	g.put(vault, vVault, obj{"location": location, "properties": obj{"tenantId": g.tenant, "sku": obj{"family": "A", "name": "standard"}, "enableRbacAuthorization": true}})
	w := &world{ground: g, group: group, vault: vault}
	w.grant(g.me(), roleSecrets, vault)
	var keys struct{ Keys []struct{ Value string } }
	if err := g.send(request{Method: "POST", URL: account + "/listKeys?api-version=" + vStorage}).json(&keys); err != nil || len(keys.Keys) == 0 {
		t.Fatal(err)
	}
	for _, k := range keys.Keys {
		plant("a storage key "+k.Value[:2], k.Value)
	}

	try := func(method, url, body string, header ...string) {
		t.Helper()
		r := request{Method: method, URL: url, Header: http.Header{}}
		if body != "" {
			r.Body = strings.NewReader(body)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		if a, err := g.do(t.Context(), r); err == nil && a.Status >= 500 && a.Status != http.StatusNotImplemented {
			t.Errorf("%s %s: %s", method, url, a)
		}
	}
	form := func(values ...string) string {
		v := url.Values{}
		for i := 0; i+1 < len(values); i += 2 {
			v.Set(values[i], values[i+1])
		}
		return v.Encode()
	}
	const asForm = "application/x-www-form-urlencoded"
	login := "https://login.microsoftonline.com/" + g.tenant
	try("POST", login+"/oauth2/v2.0/token", form("grant_type", "client_credentials", "client_id", g.creds.id, "client_secret", plant("a wrong client secret", "wrong-secret-61b2f0"), "scope", "https://management.azure.com/.default"), "Content-Type", asForm)
	try("POST", login+"/oauth2/v2.0/token", form("grant_type", "password", "client_id", g.creds.id, "username", "ann@contoso.com", "password", plant("a password", "pass-word-91c7aa"), "scope", "openid"), "Content-Type", asForm)
	try("POST", login+"/oauth2/v2.0/token", form("grant_type", "refresh_token", "client_id", g.creds.id, "refresh_token", plant("a refresh token", "0.refresh-5d21bb"), "scope", "openid"), "Content-Type", asForm)
	try("POST", login+"/oauth2/v2.0/token", form("grant_type", "authorization_code", "client_id", g.creds.id, "code", plant("a code", "0.code-77f1c3"), "code_verifier", plant("a verifier", "verifier-0a9e51")), "Content-Type", asForm)
	try("POST", login+"/oauth2/v2.0/token", form("grant_type", "client_credentials", "client_id", g.creds.id, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", plant("an assertion", "eyJhbGciOiJSUzI1NiJ9.e30.sig-3c0de7")), "Content-Type", asForm)
	try("GET", login+"/oauth2/v2.0/authorize?client_id=x&response_type=code&login_hint=a&code="+plant("a code in a query", "query-code-4411ee")+"&state="+plant("a state", "state-2b2b9c"), "")
	for _, host := range []string{"https://management.azure.com" + group + "?api-version=" + vResources, "https://e2e-secrets.vault.azure.net/secrets?api-version=7.4", "https://e2esecrets.blob.core.windows.net/?comp=list"} {
		try("GET", host, "", "Authorization", "Bearer "+plant("a bad token for "+host[8:20], "bad-token-"+host[8:14]+"-8e1f"))
		try("GET", host+"&access_token="+plant("a token in a query for "+host[8:20], "query-token-"+host[8:14]+"-7d"), "")
	}
	sas := "?sv=2023-11-03&sr=c&sp=rl&se=2030-01-01T00%3A00%3A00Z&sig="
	try("GET", "https://e2esecrets.blob.core.windows.net/data"+sas+plant("a signature of SAS", "c2lnbmF0dXJlLTk5"), "", "Authorization", "")
	try("PUT", "https://e2esecrets.blob.core.windows.net/data/copy.txt", "", "x-ms-blob-type", "BlockBlob", "x-ms-copy-source", "https://e2esecrets.blob.core.windows.net/data/a"+sas+plant("a SAS as a source", "Y29weS1zaWctMTI"))
	try("GET", "https://e2esecrets.blob.core.windows.net/data?restype=container&comp=list", "", "Authorization", "SharedKey e2esecrets:"+plant("a shared key signature", "c2hhcmVkLTU1NTU="))
	for name, value := range map[string]string{"plain": plant("a vault secret", "vault-secret-3f7d19"), "pem": private} {
		if a := g.send(request{Method: "PUT", URL: "https://e2e-secrets.vault.azure.net/secrets/" + name + "?api-version=7.4", Body: jsonBody(obj{"value": value})}); !a.ok() {
			t.Errorf("a secret of the vault: %s", a)
		}
	}
	try("PUT", "https://e2e-secrets.vault.azure.net/secrets/bad?api-version=7.4", `{"value":"`+plant("a secret that is refused", "refused-secret-88aa12")+`","attributes":{"enabled":"perhaps"}}`)
	// Bodies of Resource Manager that are taken, refused, and broken.
	passwords := func(pw string) string {
		return `{"location":"` + location + `","properties":{"sharedKey":"` + pw + `","adminPassword":"` + pw + `","computeType":"AmlCompute","properties":{"userAccountCredentials":{"adminUserName":"a","adminUserPassword":"` + pw + `"}}}}`
	}
	try("PUT", group+"/providers/Microsoft.Network/connections/c?api-version="+vNetwork, passwords(plant("a shared key of a VPN", "psk-secret-1d9c")))
	try("PUT", group+"/providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-07-01", `{"location":"`+location+`","properties":{"osProfile":{"computerName":"vm","adminUsername":"a","adminPassword":"`+plant("a machine's password", "Vm-Secret-90aa")+`"}}}`)
	try("PUT", group+"/providers/Microsoft.MachineLearningServices/workspaces/w/computes/c?api-version="+vML, passwords(plant("a node's password", "node-secret-77e1")))
	try("PUT", group+"/providers/Microsoft.Network/virtualNetworks/v?api-version="+vNetwork, `{"location":7,"secret":"`+plant("a body of the wrong type", "typed-secret-6c6c"))
	try("POST", account+"/regenerateKey?api-version="+vStorage, `{"keyName":"key2"}`)
	try("POST", account+"/listAccountSas?api-version="+vStorage, `{"signedServices":"b","keyToSign":"key1"}`)
	try("PUT", group+"?api-version="+vResources+"&password="+plant("a password in a query", "query-pass-5a5a"), `{"location":"`+location+`"}`)
	try("POST", "https://graph.microsoft.com/v1.0/users", `{"displayName":"Ann","userPrincipalName":"ann@`+g.tenant+`","mailNickname":"ann","accountEnabled":true,"passwordProfile":{"password":"`+plant("a user's password", "Graph-Pass-31f8")+`"}}`)
	var added struct{ SecretText string }
	if a, err := g.do(t.Context(), request{Method: "POST", URL: "https://graph.microsoft.com/v1.0/applications(appId='" + g.creds.id + "')/addPassword", Body: jsonBody(obj{"passwordCredential": obj{"displayName": "x"}})}); err == nil && a.ok() && a.json(&added) == nil && added.SecretText != "" {
		plant("a secret that the directory made", added.SecretText)
	}

	look := func(where, text string) {
		for what, secret := range planted {
			for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
				if len(form) > 5 && strings.Contains(text, form) {
					t.Errorf("%s shows %s", where, what)
				}
			}
		}
	}
	processes := func() {
		all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range all {
			if b, err := os.ReadFile(p); err == nil {
				look(p, string(b))
			}
		}
	}
	processes()
	exec := g.command("exec", "--", "sleep", "60")
	if err := exec.Start(); err != nil {
		t.Fatal(err)
	}
	g.eventually("a command runs in the region", func() bool {
		all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range all {
			if b, _ := os.ReadFile(p); string(b) == "sleep\x0060\x00" {
				return true
			}
		}
		return false
	})
	processes()
	if err := exec.Process.Kill(); err != nil {
		t.Error(err)
	}
	exec.Wait()
	for _, args := range [][]string{{"status"}, {"audit", "verify"}, {"audit", "verify", "--json"}} {
		out, _ := g.output(g.command(args...))
		look("vauban "+strings.Join(args, " "), out)
	}
	a := g.send(request{Method: "GET", URL: "/subscriptions/" + g.sub + "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01"})
	if !a.ok() || !strings.Contains(string(a.Body), "storageAccounts/listKeys") {
		t.Errorf("the activity log: %s", a)
	}
	look("the activity log", string(a.Body))
	db, err := sqlite.OpenReader(filepath.Join(g.dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, kind := range []string{"activity", "activity-chain", "event"} {
		var all bytes.Buffer
		if err := db.View(context.Background(), func(tx store.Tx) error {
			return tx.Scan(kind, "", "", func(d store.Doc) bool { all.WriteString(d.Key); all.Write(d.Value); return true })
		}); err != nil {
			t.Fatal(err)
		}
		look("the store's "+kind, all.String())
	}
	for _, f := range g.logFiles() {
		text := contents(f)
		if strings.HasSuffix(f, "server.log") && !strings.Contains(text, "listKeys") {
			t.Errorf("%s has no requests", f)
		}
		look(f, text)
	}
}
