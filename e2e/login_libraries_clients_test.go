//go:build clients

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// librariesScript gets tokens by MSAL for Python and by the credentials of azure-identity, and says of each whether
// it got one.
const librariesScript = `
import os, sys, msal
from azure.identity import AzureCliCredential, CertificateCredential, ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential
tenant, arm = os.environ["AZURE_TENANT_ID"], "https://management.azure.com/.default"
user, password, app, pem = sys.argv[1:5]
cli = msal.PublicClientApplication("04b07795-8ddb-461a-bbee-02f9e1bf7b46", authority="https://login.microsoftonline.com/organizations")
r = cli.acquire_token_by_username_password(user, password, [arm])
print("msal password", "access_token" in r, r.get("error_description", ""))
account = cli.get_accounts()[0]
for name, scope in {"again": arm, "another resource": "https://vault.azure.net/.default"}.items():
    r = cli.acquire_token_silent_with_error([scope], account, force_refresh=True) or {}
    print("msal refresh", name, "access_token" in r, r.get("error_description", ""))
for name, make in {
    "certificate": lambda: CertificateCredential(tenant, app, pem),
    "certificate chain": lambda: CertificateCredential(tenant, app, pem, send_certificate_chain=True),
    "secret": lambda: ClientSecretCredential(tenant, os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"]),
    "environment": EnvironmentCredential, "default": DefaultAzureCredential, "cli": AzureCliCredential,
}.items():
    try:
        print("azure-identity", name, make().get_token(arm).token.count(".") == 2)
    except Exception as e:
        print("azure-identity", name, False, repr(e))
`

// TestAzSignsInByCertificate: az makes a service principal with a certificate and signs in by it; MSAL and
// azure-identity sign in by all that a program outside of a node can have.
func TestAzSignsInByCertificate(t *testing.T) {
	g := newGround(t, nil)
	g.up("--password-grant")
	password := addPerson(t, g, "ana")
	env := g.environment()
	dir := t.TempDir()
	admin, robot := filepath.Join(dir, "admin"), filepath.Join(dir, "robot")
	run := func(config string, args ...string) []byte {
		t.Helper()
		cmd := azCommand(t, g, config, nil, args...)
		var problems strings.Builder
		cmd.Stderr = &problems
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("az %s: %v %s", args[0], err, problems.String())
		}
		return out
	}
	run(admin, "login", "--service-principal", "-u", env["AZURE_CLIENT_ID"], "-p", env["AZURE_CLIENT_SECRET"], "-t", env["AZURE_TENANT_ID"])
	var made struct{ AppID, FileWithCertAndPrivateKey string }
	out := run(admin, "ad", "sp", "create-for-rbac", "--name", "robot", "--role", "Reader", "--scopes", "/subscriptions/"+env["AZURE_SUBSCRIPTION_ID"], "--create-cert", "-o", "json")
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(made.FileWithCertAndPrivateKey) })
	run(robot, "login", "--service-principal", "-u", made.AppID, "--certificate", made.FileWithCertAndPrivateKey, "-t", env["AZURE_TENANT_ID"])
	run(robot, "group", "list")

	python, err := filepath.Abs("../.cache/sdk/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", librariesScript, "ana@vauban.onmicrosoft.com", password, made.AppID, made.FileWithCertAndPrivateKey)
	cmd.Env = azCommand(t, g, admin, nil).Env
	for k, v := range env {
		if strings.HasPrefix(k, "AZURE_") && k != "AZURE_CONFIG_DIR" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	az, err := filepath.Abs("../.cache/az/bin")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "PATH="+az+":"+os.Getenv("PATH"))
	said, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(said), "False") || strings.Count(string(said), "True") != 9 {
		t.Errorf("%v\n%s", err, said)
	}
}
