package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// partnerAccount is somebody else's storage account, open to all: where stolen data would go.
const (
	partnerAccount = "e2epartner"
	partnerHost    = partnerAccount + ".blob.core.windows.net"
	partnerText    = "open to all"
)

// partnerStorage makes it, with a blob that anybody may read, and returns a SAS that lets anybody write.
func (w *world) partnerStorage() {
	w.t.Helper()
	group := "/subscriptions/" + w.partner + "/resourceGroups/partner"
	id := group + "/providers/Microsoft.Storage/storageAccounts/" + partnerAccount
	w.put(group, vResources, obj{"location": location})
	w.put(id, vStorage, obj{"location": location, "kind": "StorageV2", "sku": obj{"name": "Standard_LRS"}, "properties": obj{"allowBlobPublicAccess": true}})
	w.put(id+"/blobServices/default/containers/public", vStorage, obj{"properties": obj{"publicAccess": "Blob"}})
	w.grant(w.me(), roleBlobWriter, id)
	if a := w.send(request{Method: "PUT", URL: "https://" + partnerHost + "/public/hello.txt", Body: strings.NewReader(partnerText)}); !a.ok() {
		w.t.Fatalf("the partner's blob: %s", a)
	}
}

// endpointAddress of a private endpoint, by the name that leads to it.
func (w *world) addressOf(place, host string) string {
	w.t.Helper()
	out, err := w.output(w.at(place, "getent", "ahostsv4", host))
	if err != nil {
		w.t.Fatalf("%s from %s: %v", host, place, err)
	}
	return strings.Fields(out)[0]
}

// TestPrivateEndpoints: an endpoint's address leads to its target and to nothing else, whatever the client
// says about where it wants to go.
func TestPrivateEndpoints(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Disabled")
	w.endpoints()
	w.partnerStorage()
	second := w.group + "/providers/Microsoft.MachineLearningServices/workspaces/second"
	other := w.put(second, vML, obj{"location": location, "identity": obj{"type": "SystemAssigned"}, "properties": obj{
		"storageAccount": w.account, "keyVault": w.vault, "publicNetworkAccess": "Enabled"}})
	secondHost := w.text(other, "properties.workspaceId") + ".workspace." + location + ".api.azureml.ms"
	workHost := w.guid + ".workspace." + location + ".api.azureml.ms"
	blob, work, vault := w.addressOf("hub/jumpbox", blobHost), w.addressOf("hub/jumpbox", workHost), w.addressOf("hub/jumpbox", vaultName+".vault.azure.net")
	for name, addr := range map[string]string{"blob": blob, "workspace": work, "vault": vault} {
		if !strings.HasPrefix(addr, "10.20.0.") {
			t.Fatalf("%s is at %s, not at its private endpoint", name, addr)
		}
	}
	if a, err := w.sendFrom("internet", "-token", "-", "GET", "https://"+partnerHost+"/public/hello.txt"); err != nil || string(a.Body) != partnerText {
		t.Fatalf("the partner's blob from the internet: %v %v", a, err)
	}
	g.reaches("hub/jumpbox", "tcp", partnerHost+":443", "dropped")

	arm := "https://management.azure.com/subscriptions?api-version=" + vResources
	mlflow := "/api/2.0/mlflow/experiments/search?max_results=5"
	for _, c := range []struct {
		name, dial, sni, host, url string
	}{
		{"another account by SNI and Host", blob, "", "", "https://" + partnerHost + "/public/hello.txt"},
		{"another account by Host behind the right SNI", blob, blobHost, partnerHost, "https://" + blobHost + "/public/hello.txt"},
		{"the right Host behind another account's SNI", blob, partnerHost, blobHost, "https://" + partnerHost + "/data?restype=container&comp=list"},
		{"another account, dot at the end", blob, "", "", "https://" + partnerHost + "./public/hello.txt"},
		{"another account, capitals", blob, blobHost, strings.ToUpper(partnerHost), "https://" + blobHost + "/public/hello.txt"},
		{"another account, port", blob, blobHost, partnerHost + ":443", "https://" + blobHost + "/public/hello.txt"},
		{"another account's secondary", blob, "", "", "https://" + partnerAccount + "-secondary.blob.core.windows.net/public/hello.txt"},
		{"no server name", blob, "", partnerHost, "https://" + blob + "/public/hello.txt"},
		{"Resource Manager through blob", blob, "", "", arm},
		{"Resource Manager through the workspace", work, "", "", arm},
		{"Resource Manager by Host", work, workHost, "management.azure.com", strings.Replace(arm, "management.azure.com", workHost, 1)},
		{"sign-in through the vault", vault, "", "", "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint=x"},
		{"vault through blob", blob, "", "", "https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4"},
		{"blob through the vault", vault, "", "", "https://" + blobHost + "/data?restype=container&comp=list"},
		{"another workspace", work, "", "", "https://" + secondHost + "/mlflow/v2.0" + second + mlflow},
		{"another workspace by Host", work, workHost, secondHost, "https://" + workHost + "/mlflow/v2.0" + second + mlflow},
		{"the regional host", work, "", "", "https://" + location + ".api.azureml.ms/mlflow/v2.0" + second + mlflow},
		{"another workspace by path", work, "", "", "https://" + workHost + "/mlflow/v2.0" + second + mlflow},
		{"another workspace by path, escaped", work, "", "", "https://" + workHost + "/mlflow/v2.0" + w.workspace + "/..%2fsecond" + mlflow},
		{"another workspace by path, dots", work, "", "", "https://" + workHost + "/mlflow/v2.0" + w.workspace + "/../second" + mlflow},
		{"a name that nobody serves", blob, "", "", "https://www.example.com/"},
	} {
		for _, version := range []string{"-http1=false", "-http1"} {
			args := []string{version, "-dial", c.dial + ":443"}
			if c.sni != "" {
				args = append(args, "-sni", c.sni)
			}
			if c.host != "" {
				args = append(args, "-header", "Host: "+c.host)
			}
			if strings.Contains(c.url, partnerAccount) || strings.Contains(c.host, partnerAccount) {
				args = append(args, "-token", "-") // nobody may need one
			}
			a, err := w.sendFrom("hub/jumpbox", append(args, "GET", c.url)...)
			switch {
			case err != nil && strings.Contains(err.Error(), "no answer"): // no certificate for such a name
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case a.ok() || strings.Contains(string(a.Body), partnerText):
				t.Errorf("%s (%s): %s", c.name, version, a)
			case a.Status != http.StatusMisdirectedRequest && a.Status != http.StatusForbidden && a.Status != http.StatusNotFound && a.Status != http.StatusBadRequest:
				t.Errorf("%s (%s): an odd refusal: %s", c.name, version, a)
			}
		}
	}
	// Headers that proxies rewrite hosts by.
	a, err := w.sendFrom("hub/jumpbox", "-token", "-", "-header", "X-Forwarded-Host: "+partnerHost, "-header", "X-Original-Host: "+partnerHost,
		"-header", "X-Host: "+partnerHost, "-header", "Forwarded: host="+partnerHost, "-header", "X-Original-Url: https://"+partnerHost+"/public/hello.txt",
		"-header", "X-Rewrite-Url: /public/hello.txt", "-header", "X-Ms-Original-Host: "+partnerHost, "GET", "https://"+blobHost+"/public/hello.txt")
	if err != nil || a.ok() {
		t.Errorf("by headers: %v %v", a, err)
	}

	// The endpoint's own target answers, by every name that is its own.
	for _, url := range []string{
		"https://" + blobHost + "/data?restype=container&comp=list", "https://" + strings.ToUpper(blobHost) + "/data?restype=container&comp=list",
		"https://" + workHost + "/mlflow/v2.0" + w.workspace + mlflow, "https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4",
	} {
		if a, err := w.sendFrom("hub/jumpbox", "GET", url); err != nil || !a.ok() {
			t.Errorf("%s: %v %v", url, a, err)
		}
	}

	// What no HTTP library says.
	const end = "Connection: close\r\n\r\n"
	for name, text := range map[string]string{
		"absolute request target":    "GET https://" + partnerHost + "/public/hello.txt HTTP/1.1\r\nHost: " + blobHost + "\r\n" + end,
		"two hosts":                  "GET /public/hello.txt HTTP/1.1\r\nHost: " + blobHost + "\r\nHost: " + partnerHost + "\r\n" + end,
		"second request, other host": "GET /data HTTP/1.1\r\nHost: " + blobHost + "\r\n\r\nGET /public/hello.txt HTTP/1.1\r\nHost: " + partnerHost + "\r\n" + end,
		"HTTP/1.0 without host":      "GET https://" + partnerHost + "/public/hello.txt HTTP/1.0\r\n\r\n",
		"host with a path":           "GET /public/hello.txt HTTP/1.1\r\nHost: " + partnerHost + "/" + blobHost + "\r\n" + end,
		"host with a user":           "GET /public/hello.txt HTTP/1.1\r\nHost: " + blobHost + "@" + partnerHost + "\r\n" + end,
		"host after a space":         "GET /public/hello.txt HTTP/1.1\r\nHost : " + partnerHost + "\r\nHost: " + blobHost + "\r\n" + end,
		"folded host":                "GET /public/hello.txt HTTP/1.1\r\nHost: " + blobHost + "\r\n " + partnerHost + "\r\n" + end,
		"CONNECT":                    "CONNECT " + partnerHost + ":443 HTTP/1.1\r\nHost: " + partnerHost + ":443\r\n" + end,
		"smuggled by two lengths":    "POST /data HTTP/1.1\r\nHost: " + blobHost + "\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /public/hello.txt HTTP/1.1\r\nHost: " + partnerHost + "\r\n" + end,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := w.with(t).at("hub/jumpbox", "probe", "tls", blob+":443", blobHost)
			cmd.Stdin = strings.NewReader(text)
			out, err := w.output(cmd)
			if err != nil {
				t.Error(err)
			}
			if strings.Contains(out, partnerText) || strings.Contains(out, " 200 ") {
				t.Error(out)
			}
		})
	}
}
