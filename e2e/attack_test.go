package e2e

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"
)

// digest sums up the store by kinds of documents, and the files of blobs. What a refusal itself leaves behind
// is not in it: the activity log.
func (g *ground) digest() map[string]string {
	g.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(g.dir, "state.db")+"?mode=ro")
	if err != nil {
		g.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT kind, key, version, value FROM doc ORDER BY kind, key")
	if err != nil {
		g.t.Fatal(err)
	}
	defer rows.Close()
	sums := map[string]string{}
	counts := map[string]int{}
	for rows.Next() {
		var kind, key, value []byte
		var version int64
		if err := rows.Scan(&kind, &key, &version, &value); err != nil {
			g.t.Fatal(err)
		}
		if strings.HasPrefix(string(kind), "activity") || string(kind) == "metric" { // what tells of requests, a reader's too
			continue
		}
		counts[string(kind)]++
		sums[string(kind)] = fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %s %d %s", sums[string(kind)], key, version, value)))
	}
	if err := rows.Err(); err != nil {
		g.t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(g.dir, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			sums["files"] += filepath.Base(path) + " "
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	for kind, n := range counts {
		sums[kind] += fmt.Sprintf(" of %d", n)
	}
	return sums
}

// resourceTypes are all that the region says it has, each with its newest api-version.
func (g *ground) resourceTypes() map[string]string {
	g.t.Helper()
	var list struct {
		Value []struct {
			Namespace     string
			ResourceTypes []struct {
				ResourceType string
				APIVersions  []string `json:"apiVersions"`
			}
		}
	}
	if err := g.send(request{Method: "GET", URL: "/subscriptions/" + g.sub + "/providers?api-version=" + vResources}).json(&list); err != nil {
		g.t.Fatal(err)
	}
	types := map[string]string{}
	for _, p := range list.Value {
		for _, r := range p.ResourceTypes {
			if len(r.APIVersions) > 0 {
				types[p.Namespace+"/"+r.ResourceType] = r.APIVersions[0]
			}
		}
	}
	return types
}

// idOf a type: of what is there, and else of what is not.
func (w *world) idOf(typ string, there bool) string {
	names := map[string]string{
		"virtualNetworks": "hub", "subnets": "training", "networkSecurityGroups": "training", "securityRules": "DenyInternet", "privateEndpoints": "pe-blob",
		"privateDnsZoneGroups": "default", "privateDnsZones": "privatelink.blob.core.windows.net", "virtualNetworkLinks": "hub", "A": accountName,
		"storageAccounts": accountName, "blobServices": "default", "containers": "data", "vaults": vaultName, "workspaces": "work", "computes": clusterName,
		"environments": "e2e", "versions": "1", "datastores": "workspaceblobstore", "jobs": "done", "userAssignedIdentities": "nodes",
	}
	namespace, path, _ := strings.Cut(typ, "/")
	id := w.group + "/providers/" + namespace
	for s := range strings.SplitSeq(path, "/") {
		name, ok := names[s]
		if !ok || !there {
			name = "attacker"
		}
		id += "/" + s + "/" + name
	}
	return id
}

// TestReaderChangesNothing: who may read, and has a token for everything, tries everything; the store is what
// it was.
func TestReaderChangesNothing(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.network()
	w.services("Enabled")
	w.endpoints()
	w.nodes(1, 2)
	w.environment()
	w.submit("done", "mkdir -p outputs; echo x >outputs/x.txt", nil)
	w.completed("done")
	blob, vault := "https://"+blobHost, "https://"+vaultName+".vault.azure.net"
	for _, url := range []string{blob + "/data/a.txt", vault + "/secrets/s1?api-version=7.4"} {
		if a := w.send(request{Method: "PUT", URL: url, Body: strings.NewReader(`{"value":"top-secret-value"}`)}); !a.ok() {
			t.Fatal(a)
		}
	}
	for role, scope := range map[string]string{roleReader: "/subscriptions/" + g.sub, roleBlobReader: w.account, roleSecretsUser: w.vault} {
		w.grant(w.principal, role, scope)
	}
	tokens := map[string]string{}
	for _, a := range []string{"https://management.azure.com", "https://storage.azure.com", "https://vault.azure.net", "https://ml.azure.com", "https://graph.microsoft.com"} {
		tokens[a] = w.nodeToken(a)
	}
	types := g.resourceTypes()
	if len(types) < 15 {
		t.Errorf("only %d resource types: %v", len(types), types)
	}
	read := func(url string) {
		host := strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://")
		host, _, _ = strings.Cut(host, "/")
		if strings.HasPrefix(url, "/") {
			host = "management.azure.com"
		}
		if a := w.send(request{Method: "GET", URL: url, Token: tokens[audience(host)]}); !a.ok() {
			t.Errorf("a reader cannot read %s: %s", url, a)
		}
	}
	mlflow := "https://" + w.guid + ".workspace." + location + ".api.azureml.ms/mlflow/v2.0" + w.workspace + "/api/2.0/mlflow/"
	history := "https://" + w.guid + ".workspace." + location + ".api.azureml.ms/history/v1.0" + w.workspace
	for _, url := range []string{w.vnet + "?api-version=" + vNetwork, w.workspace + "/jobs/done?api-version=" + vML, blob + "/data/a.txt", vault + "/secrets/s1?api-version=7.4", mlflow + "runs/get?run_id=done"} {
		read(url)
	}

	before := g.digest()
	tried, forbidden := 0, 0
	attack := func(method, url, body string, header ...string) {
		t.Helper()
		tried++
		r := request{Method: method, URL: url, Body: strings.NewReader(body), Header: http.Header{}}
		host := "management.azure.com"
		if !strings.HasPrefix(url, "/") {
			host, _, _ = strings.Cut(strings.TrimPrefix(url, "https://"), "/")
		}
		r.Token = tokens[audience(host)]
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		a := w.send(r)
		if a.Status == http.StatusForbidden {
			forbidden++
		}
		if a.ok() {
			t.Errorf("%s %s: %s", method, url, a)
		}
		if a.Status >= 500 && a.Status != http.StatusNotImplemented {
			t.Errorf("%s %s: %s", method, url, a)
		}
	}

	// Resource Manager: every type, what is there and what is not, every verb.
	objectOnly, attacked := g.status().ObjectOnly, 0
	for i, typ := range slices.Sorted(maps.Keys(types)) {
		query := "?api-version=" + types[typ]
		existing := []bool{true, false}
		if slices.Contains(objectOnly, typ) { // one piece of code is all of theirs
			if existing = existing[1:]; i%10 != 0 {
				continue
			}
		}
		attacked++
		for _, there := range existing {
			id := w.idOf(typ, there)
			if strings.HasPrefix(typ, "Microsoft.Authorization/") {
				id = w.group + "/providers/" + typ + "/" + guidOf(fmt.Sprint(there))
			}
			attack("PUT", id+query, `{"location":"westeurope","tags":{"attacker":"was here"},"properties":{}}`)
			attack("PATCH", id+query, `{"tags":{"attacker":"was here"}}`)
			attack("DELETE", id+query, "")
			for _, action := range []string{"listKeys", "regenerateKey", "listAccountSas", "listServiceSas", "resyncKeys", "cancel", "start", "stop", "restart", "resize", "approve", "move", "failover", "purge", "updateCustomServices"} {
				attack("POST", id+"/"+action+query, `{"keyName":"key1"}`)
			}
		}
	}
	net := w.vnet + "?api-version=" + vNetwork
	for method, url := range map[string]string{
		"DELETE": strings.ToUpper(w.vnet) + "?api-version=" + vNetwork,
		"PATCH":  strings.Replace(w.vnet, "/hub", "/%68ub", 1) + "?api-version=" + vNetwork,
		"PUT":    "/" + w.vnet + "/?API-VERSION=" + vNetwork,
	} {
		attack(method, url, `{"location":"westeurope"}`)
	}
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		attack("POST", net, "", header, "DELETE")
		if a := w.send(request{Method: "GET", URL: net, Token: tokens["https://management.azure.com"], Header: http.Header{header: {"DELETE"}}}); !a.ok() {
			t.Errorf("GET with %s: %s", header, a)
		}
	}
	for _, h := range []string{"X-Ms-Client-Principal-Id", "X-Ms-Client-Object-Id", "X-Ms-Client-Principal-Name", "X-Ms-Authorization-Auxiliary"} {
		attack("DELETE", net, "", h, g.me())
	}
	attack("PUT", w.group+"?api-version="+vResources, `{"location":"westeurope","tags":{"a":"b"}}`)
	attack("DELETE", w.group+"?api-version="+vResources, "")
	attack("POST", w.group+"/moveResources?api-version="+vResources, `{"resources":["`+w.vnet+`"],"targetResourceGroup":"/subscriptions/`+g.partner+`/resourceGroups/x"}`)
	attack("PUT", w.group+"/providers/Microsoft.Resources/deployments/d?api-version="+vResources, `{"properties":{"mode":"Complete","template":{"resources":[]}}}`)
	attack("PUT", "/subscriptions/"+g.sub+"?api-version="+vResources, `{"displayName":"mine"}`)
	attack("POST", "/providers/Microsoft.Authorization/elevateAccess?api-version=2016-07-01", "")
	attack("PUT", assignment(w.principal, roleOwner, "/subscriptions/"+g.sub)+"?api-version="+vRoles, `{"properties":{"principalId":"`+w.principal+`","roleDefinitionId":"/subscriptions/`+g.sub+`/providers/Microsoft.Authorization/roleDefinitions/`+roleOwner+`"}}`)
	attack("DELETE", assignment(w.me(), roleBlobWriter, w.account)+"?api-version="+vRoles, "")

	// Blob storage.
	for _, c := range []struct{ method, path string }{
		{"PUT", "/data/a.txt"}, {"PUT", "/data/new.txt"}, {"DELETE", "/data/a.txt"}, {"PUT", "/data/a.txt?comp=metadata"}, {"PUT", "/data/a.txt?comp=properties"},
		{"PUT", "/data/a.txt?comp=block&blockid=YQ=="}, {"PUT", "/data/a.txt?comp=blocklist"}, {"PUT", "/data/a.txt?comp=lease"}, {"PUT", "/data/a.txt?comp=snapshot"},
		{"PUT", "/data/a.txt?comp=tier"}, {"PUT", "/data/a.txt?comp=tags"}, {"PUT", "/data/a.txt?comp=undelete"}, {"PUT", "/new?restype=container"},
		{"DELETE", "/data?restype=container"}, {"PUT", "/data?restype=container&comp=metadata"}, {"PUT", "/data?restype=container&comp=acl"},
		{"PUT", "/data?restype=container&comp=lease"}, {"PUT", "/?restype=service&comp=properties"}, {"POST", "/?comp=batch"},
	} {
		attack(c.method, blob+c.path, "stolen", "x-ms-lease-action", "acquire", "x-ms-lease-duration", "15", "x-ms-meta-a", "b", "x-ms-access-tier", "Hot")
	}
	attack("PUT", blob+"/data/copy.txt", "", "x-ms-copy-source", blob+"/data/a.txt")

	// Files.
	for _, c := range []struct{ method, path string }{
		{"PUT", "/mine?restype=share"}, {"DELETE", "/mine?restype=share"}, {"PUT", "/mine?restype=share&comp=acl"}, {"PUT", "/mine/d?restype=directory"},
		{"PUT", "/mine/f.txt"}, {"PUT", "/mine/f.txt?comp=range"}, {"DELETE", "/mine/f.txt"}, {"PUT", "/mine/f.txt?comp=rename"},
		{"PUT", "/?restype=service&comp=properties"},
	} {
		attack(c.method, "https://"+accountName+".file.core.windows.net"+c.path, "stolen", "x-ms-version", "2024-11-04", "x-ms-file-request-intent", "backup",
			"x-ms-type", "file", "x-ms-content-length", "6", "x-ms-write", "update", "x-ms-range", "bytes=0-5")
	}

	// Queues and tables.
	for _, c := range []struct{ method, path string }{
		{"PUT", ".queue.core.windows.net/mine"}, {"POST", ".queue.core.windows.net/mine/messages"}, {"DELETE", ".queue.core.windows.net/mine"},
		{"PUT", ".queue.core.windows.net/?restype=service&comp=properties"}, {"DELETE", ".table.core.windows.net/Tables('mine')"},
		{"PUT", ".table.core.windows.net/mine(PartitionKey='a',RowKey='b')"}, {"PUT", ".table.core.windows.net/?restype=service&comp=properties"},
	} {
		attack(c.method, "https://"+accountName+c.path, `{"TableName":"mine"}`, "x-ms-version", "2023-11-03", "Accept", "application/json")
	}
	attack("POST", "https://"+accountName+".table.core.windows.net/Tables", `{"TableName":"mine"}`, "x-ms-version", "2023-11-03", "Accept", "application/json")

	// Key Vault.
	for _, c := range []struct{ method, path string }{
		{"PUT", "/secrets/s1"}, {"PUT", "/secrets/s2"}, {"PATCH", "/secrets/s1"}, {"DELETE", "/secrets/s1"}, {"POST", "/secrets/s1/backup"}, {"POST", "/secrets/restore"},
		{"DELETE", "/deletedsecrets/s1"}, {"POST", "/deletedsecrets/s1/recover"}, {"PUT", "/keys/k1"}, {"POST", "/keys/k1/create"}, {"POST", "/keys/k1/rotate"},
		{"POST", "/certificates/c1/create"}, {"POST", "/certificates/c1/import"}, {"PUT", "/certificates/issuers/i1"}, {"PUT", "/certificates/contacts"},
	} {
		attack(c.method, vault+c.path+"?api-version=7.4", `{"value":"mine","attributes":{"enabled":false}}`)
	}

	// The workspace's data plane.
	for path, body := range map[string]string{
		"experiments/create": `{"name":"mine"}`, "experiments/delete": `{"experiment_id":"e2e"}`, "experiments/update": `{"experiment_id":"e2e","new_name":"mine"}`,
		"runs/create": `{"experiment_id":"0"}`, "runs/update": `{"run_id":"done","status":"FAILED"}`, "runs/delete": `{"run_id":"done"}`, "runs/restore": `{"run_id":"done"}`,
		"runs/log-metric": `{"run_id":"done","key":"a","value":1,"timestamp":1}`, "runs/log-parameter": `{"run_id":"done","key":"a","value":"1"}`,
		"runs/log-batch": `{"run_id":"done","metrics":[{"key":"a","value":1,"timestamp":1,"step":0}]}`, "runs/set-tag": `{"run_id":"done","key":"a","value":"b"}`,
		"runs/delete-tag": `{"run_id":"done","key":"a"}`, "runs/log-model": `{"run_id":"done","model_json":"{}"}`,
		"registered-models/create": `{"name":"mine"}`, "registered-models/delete": `{"name":"mine"}`, "model-versions/create": `{"name":"mine","source":"runs:/done/x"}`,
		"registered-models/set-tag": `{"name":"mine","key":"a","value":"b"}`, "registered-models/alias": `{"name":"mine","alias":"a","version":"1"}`,
		"model-versions/transition-stage": `{"name":"mine","version":"1","stage":"Production"}`, "logged-models": `{"experiment_id":"0","name":"mine"}`,
	} {
		attack("POST", mlflow+path, body)
	}
	for _, c := range []struct{ method, path, body string }{
		{"PATCH", "/experiments/e2e/runs/done", `{"runId":"done","status":"Failed"}`}, {"PATCH", "/runs/done", `{"runId":"done","tags":{"a":"b"}}`},
		{"POST", "/runs/done/events", `{"name":"Microsoft.MachineLearning.Run.Canceled"}`}, {"POST", "/experiments/mine", `{}`}, {"DELETE", "/runs/done", ""},
		{"POST", "/experiments/e2e/runs/done/artifacts/batch/metadata", `{"paths":[{"path":"x"}]}`},
	} {
		attack(c.method, history+c.path, c.body)
	}
	host := "https://" + w.guid + ".workspace." + location + ".api.azureml.ms"
	attack("POST", host+"/artifact/v2.0"+w.workspace+"/artifacts/batch/metadata/ExperimentRun/dcid.done", `{"paths":[{"path":"x"}]}`)
	attack("POST", host+"/metric/v2.0"+w.workspace+"/runs/done/batch", `{"values":[{"name":"a","columns":{"a":"Double"},"value":[{"data":{"a":1}}]}]}`)

	// The directory.
	attack("POST", "https://graph.microsoft.com/v1.0/servicePrincipals", `{"appId":"x"}`)
	attack("POST", "https://graph.microsoft.com/v1.0/applications", `{"displayName":"x"}`)
	attack("PATCH", "https://graph.microsoft.com/v1.0/servicePrincipals/"+w.principal, `{"appRoles":[]}`)

	if diff := cmp.Diff(before, g.digest()); diff != "" {
		t.Errorf("a reader changed the store:\n%s", diff)
	}
	t.Logf("%d attempts, %d forbidden, %d of %d resource types", tried, forbidden, attacked, len(types))
	if forbidden < 3*attacked { // the rest asked for what nobody serves
		t.Errorf("only %d of %d attempts were forbidden", forbidden, tried)
	}

	// What people may see of the region holds none of its secrets.
	secrets := []string{"top-secret-value", g.creds.secret}
	for _, url := range []string{w.account + "/listKeys?api-version=" + vStorage} {
		a := w.send(request{Method: "POST", URL: url})
		for _, m := range regexp.MustCompile(`"value":\s*"([^"]{40,})"`).FindAllSubmatch(a.Body, -1) {
			secrets = append(secrets, string(m[1]))
		}
	}
	if len(secrets) < 4 {
		t.Errorf("the account has no keys: %d", len(secrets)-2)
	}
	for _, token := range tokens {
		_, _, sig := splitToken(token)
		secrets = append(secrets, sig)
	}
	w.withoutSecrets(t, secrets)
}
