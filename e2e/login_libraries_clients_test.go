//go:build clients

package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// signIns is what a program of the libraries is asked, and who each way must be.
type signIns struct {
	place string
	env   []string
	want  map[string]string // the object id by the way's name, "!" where there must be none
}

// libraries are azure-identity and MSAL for both languages: e2e/clients/go and testdata/clients/credentials.py, which take the
// same names.
type libraries struct {
	*ground
	programs map[string][]string
}

func newLibraries(g *ground) *libraries {
	g.t.Helper()
	exe := filepath.Join(g.t.TempDir(), "credentials")
	build := exec.CommandContext(g.t.Context(), "go", "build", "-o", exe, ".")
	build.Dir = filepath.Join("clients", "go")
	if out, err := build.CombinedOutput(); err != nil {
		g.t.Fatalf("go build: %v\n%s", err, out)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "credentials.py"))
	if err != nil {
		g.t.Fatal(err)
	}
	return &libraries{ground: g, programs: map[string][]string{"Go": {exe}, "Python": {filepath.Join(g.clients("sdk"), "python"), script}}}
}

// sign checks every way by both programs, which see no credentials beside the given ones.
func (l *libraries) sign(what string, s signIns) {
	l.t.Helper()
	for language, program := range l.programs {
		argv := []string{"env"}
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"} {
			if !slices.ContainsFunc(s.env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
				argv = append(argv, "-u", name) // vauban exec gives the region's own to who has none
			}
		}
		argv = append(argv, program...)
		for name := range s.want {
			argv = append(argv, name)
		}
		// az stands on the path for AzureCliCredential
		env := append([]string{"PATH=" + l.clients("az") + ":" + bin + ":" + os.Getenv("PATH"), "AZURE_CONFIG_DIR=" + filepath.Join(l.t.TempDir(), "none")}, s.env...)
		out, err := l.output(l.with(l.t, env...).at(s.place, argv...))
		if err != nil {
			l.t.Errorf("%s, %s: %v\n%s", what, language, err, out)
		}
		got := map[string]string{}
		for line := range strings.Lines(out) {
			name, who, _ := strings.Cut(strings.TrimSpace(line), " ")
			got[name] = who
		}
		for name, want := range s.want {
			if who := got[name]; who != want && (want != "!" || !strings.HasPrefix(who, "!")) {
				l.t.Errorf("%s, %s by %s: %q, want %q", what, name, language, who, want)
			}
		}
	}
}

// az runs az at a place with a sign-in of its own, and returns what it wrote.
func (l *libraries) az(place, config string, args ...string) string {
	l.t.Helper()
	out, err := l.output(l.with(l.t, "AZURE_CONFIG_DIR="+config, "AZURE_CORE_COLLECT_TELEMETRY=false").at(place, append([]string{filepath.Join(l.clients("az"), "az")}, args...)...))
	if err != nil {
		l.t.Fatalf("az %s at %s: %v %s", strings.Join(args[:2], " "), place, err, out)
	}
	return out
}

// issuer is what a cluster of one's own is to workload identity ("Workload identity federation"; Azure AD Workload Identity, self-managed
// clusters): a key, and its public half in a container that everyone may read. It returns the file with a pod's token.
func (l *libraries) issuer(subject string) (url, file string) {
	l.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Fatal(err)
	}
	account := l.names().group + "/providers/Microsoft.Storage/storageAccounts/e2eissuer"
	url = "https://e2eissuer.blob.core.windows.net/oidc/"
	l.put(account, vStorage, obj{"location": location, "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}, "properties": obj{"allowBlobPublicAccess": true}})
	l.put(account+"/blobServices/default/containers/oidc", vStorage, obj{"properties": obj{"publicAccess": "Blob"}})
	l.grant(l.me(), roleBlobWriter, account)
	for name, document := range map[string]any{
		".well-known/openid-configuration": obj{"issuer": url, "jwks_uri": url + "openid/v1/jwks", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}},
		"openid/v1/jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "cluster", Algorithm: "RS256", Use: "sig"}}},
	} {
		l.eventually(name+" is uploaded", func() bool {
			return l.send(request{Method: http.MethodPut, URL: url + name, Body: jsonBody(document)}).ok()
		})
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "cluster"))
	if err != nil {
		l.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: url, Subject: subject, Audience: jwt.Audience{"api://AzureADTokenExchange"}, IssuedAt: jwt.NewNumericDate(time.Now()),
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}).Serialize()
	if err != nil {
		l.t.Fatal(err)
	}
	file = filepath.Join(l.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return url, file
}

// application makes an application with its service principal, and returns its object id, its application id and the principal's.
func (l *libraries) application(name string) (id, app, principal string) {
	l.t.Helper()
	make := func(path string, body obj) (made obj) {
		l.t.Helper()
		a := l.send(request{Method: http.MethodPost, URL: "https://graph.microsoft.com/v1.0/" + path, Body: jsonBody(body)})
		if err := a.json(&made); err != nil || !a.ok() {
			l.t.Fatalf("POST %s: %s", path, a)
		}
		return made
	}
	a := make("applications", obj{"displayName": name})
	app = l.text(a, "appId")
	return l.text(a, "id"), app, l.text(make("servicePrincipals", obj{"appId": app}), "id")
}

// TestCredentialClients: az makes a service principal with a certificate and signs in by it; MSAL and azure-identity, for Python
// and for Go, sign in by everything that a program can have outside of a node and on one, and az does by a node's identities.
func TestCredentialClients(t *testing.T) {
	g := newGround(t, nil)
	g.up("--password-grant")
	l := newLibraries(g)
	password := addPerson(t, g, "ana")
	env := g.environment()
	dir := t.TempDir()
	admin, robot := filepath.Join(dir, "admin"), filepath.Join(dir, "robot")
	signedIn := []string{"AZURE_TENANT_ID=" + g.tenant, "AZURE_CLIENT_ID=" + env["AZURE_CLIENT_ID"], "AZURE_CLIENT_SECRET=" + env["AZURE_CLIENT_SECRET"]}
	l.az("internet", admin, "login", "--service-principal", "-u", env["AZURE_CLIENT_ID"], "-p", env["AZURE_CLIENT_SECRET"], "-t", g.tenant)
	var made struct{ AppID, FileWithCertAndPrivateKey string }
	if err := json.Unmarshal([]byte(l.az("internet", admin, "ad", "sp", "create-for-rbac", "--name", "robot", "--role", "Reader", "--scopes", "/subscriptions/"+g.sub, "--create-cert", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(made.FileWithCertAndPrivateKey) })
	l.az("internet", robot, "login", "--service-principal", "-u", made.AppID, "--certificate", made.FileWithCertAndPrivateKey, "-t", g.tenant)
	l.az("internet", robot, "group", "list")
	ana := strings.TrimSpace(l.az("internet", admin, "ad", "user", "show", "--id", "ana@vauban.onmicrosoft.com", "--query", "id", "-o", "tsv"))
	robotID := strings.TrimSpace(l.az("internet", admin, "ad", "sp", "show", "--id", made.AppID, "--query", "id", "-o", "tsv"))

	w := g.network()
	w.services("Enabled")
	w.endpoints()
	identity := w.put(w.group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes", vIdentity, obj{"location": location})
	clientID, principal, resource := w.text(identity, "properties.clientId"), w.text(identity, "properties.principalId"), w.text(identity, "id")
	cluster := w.put(w.cluster, vML, obj{
		"location": location, "identity": obj{"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": obj{resource: obj{}}},
		"properties": obj{"computeType": "AmlCompute", "properties": obj{
			"vmSize": "STANDARD_DS3_V2", "scaleSettings": obj{"minNodeCount": 1, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT1H"},
			"subnet": obj{"id": w.vnet + "/subnets/training"}, "enableNodePublicIp": false}}})
	system := w.text(cluster, "identity.principalId")
	w.eventually("the node is idle", func() bool {
		n, _ := property(w.settled(w.cluster, vML), "properties.properties.nodeStateCounts.idleNodeCount").(float64)
		return n >= 1
	})
	const subject = "system:serviceaccount:default:pod"
	issuer, file := l.issuer(subject)
	w.put(resource+"/federatedIdentityCredentials/pod", vIdentity, obj{"properties": obj{"issuer": issuer, "subject": subject, "audiences": []string{"api://AzureADTokenExchange"}}})
	trusting, trustingApp, trustingPrincipal := l.application("trusting")
	if a := g.send(request{Method: http.MethodPost, URL: "https://graph.microsoft.com/v1.0/applications/" + trusting + "/federatedIdentityCredentials", Body: jsonBody(obj{
		"name": "nodes", "issuer": "https://login.microsoftonline.com/" + g.tenant + "/v2.0", "subject": principal, "audiences": []string{"api://AzureADTokenExchange"}})}); !a.ok() {
		t.Fatal(a)
	}
	for _, p := range []string{system, principal} {
		g.grant(p, roleReader, w.group)
	}

	node := "node:" + clusterName
	me := g.me()
	user := []string{"USER_CLIENT_ID=" + clientID, "USER_OBJECT_ID=" + principal, "USER_RESOURCE_ID=" + resource, "AZURE_TENANT_ID=" + g.tenant, "TRUSTING_CLIENT_ID=" + trustingApp}
	pod := []string{"AZURE_TENANT_ID=" + g.tenant, "AZURE_CLIENT_ID=" + clientID, "AZURE_FEDERATED_TOKEN_FILE=" + file, "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"}
	certificate := []string{"AZURE_TENANT_ID=" + g.tenant, "AZURE_CLIENT_ID=" + made.AppID, "CERTIFICATE_CLIENT_ID=" + made.AppID, "CERTIFICATE=" + made.FileWithCertAndPrivateKey, "AZURE_CLIENT_CERTIFICATE_PATH=" + made.FileWithCertAndPrivateKey}
	for _, place := range []string{"internet", node} {
		l.sign("a secret at "+place, signIns{place, signedIn, map[string]string{"default": me, "environment": me, "secret": me, "msal-secret": me}})
		l.sign("a certificate at "+place, signIns{place, certificate, map[string]string{"default": robotID, "environment": robotID, "certificate": robotID, "msal-certificate": robotID}})
		l.sign("a federated token at "+place, signIns{place, pod, map[string]string{"default": principal, "workload": principal, "msal-assertion": principal}})
		l.sign("az's sign-in at "+place, signIns{place, []string{"AZURE_CONFIG_DIR=" + admin}, map[string]string{"cli": me}})
	}
	l.sign("a password", signIns{"internet", []string{"USERNAME=ana@vauban.onmicrosoft.com", "PASSWORD=" + password}, map[string]string{"msal-password": ana}})
	l.sign("az's sign-in alone", signIns{"internet", []string{"AZURE_CONFIG_DIR=" + admin}, map[string]string{"default": me}})
	l.sign("no credential", signIns{"internet", nil, map[string]string{"default": "!"}}) // nor a metadata service to be asked
	l.sign("a node", signIns{node, user, map[string]string{
		"managed": system, "default": system, "managed-client": principal, "managed-object": principal, "managed-id": principal, "managed-trusted": trustingPrincipal,
		"msal-managed": system, "msal-managed-client": principal, "msal-managed-object": principal, "msal-managed-id": principal}})
	l.sign("a node that names its identity", signIns{node, []string{"AZURE_CLIENT_ID=" + clientID}, map[string]string{"default": principal}})

	for way, who := range map[string]string{"": system, "--client-id=" + clientID: principal, "--object-id=" + principal: principal, "--resource-id=" + resource: principal} {
		config := filepath.Join(t.TempDir(), "az")
		args := []string{"login", "--identity", "-o", "none"}
		if way != "" {
			args = append(args, way)
		}
		l.az(node, config, args...)
		if out := l.az(node, config, "group", "list", "--query", "[].name", "-o", "tsv"); !strings.Contains(out, "e2e") {
			t.Errorf("az login --identity %s: %s", way, out)
		}
		l.sign("az login --identity "+way, signIns{node, []string{"AZURE_CONFIG_DIR=" + config}, map[string]string{"cli": who}})
	}

	// What federation hangs on ends its tokens: nothing is issued without it.
	w.gone(resource+"/federatedIdentityCredentials/pod", vIdentity)
	l.sign("a federated token that is trusted no more", signIns{"internet", pod, map[string]string{"workload": "!", "msal-assertion": "!"}})
}
