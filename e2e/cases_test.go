//go:build cases

package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"
)

// TestCases deploys every template under the folders of $VAUBAN_CASES (separated by spaces; folders as of
// azure-quickstart-templates: azuredeploy.json with its parameters, and prereqs/prereq.azuredeploy.json for what must be
// there before) and says what came of each: deployed, refused with a code, or in need of what the region does not
// have. What no template may come to is an internal error or a deployment without an end. $VAUBAN_WRITE names the file
// of the table (docs/templates.md).
func TestCases(t *testing.T) {
	roots := strings.Fields(os.Getenv("VAUBAN_CASES"))
	if len(roots) == 0 {
		t.Fatal("VAUBAN_CASES names no folder of templates")
	}
	g := newGround(t, nil)
	g.up("--image", "mcr.microsoft.com/azure-cli="+filepath.Dir(g.clients("az")))
	j := &caseJudge{ground: g, done: map[string]*caseResult{}}
	j.prepare()
	for _, root := range roots {
		for _, path := range templatesUnder(t, root) {
			j.judge(filepath.Dir(root), path)
		}
	}
	j.report()
}

// caseJudge deploys templates, each once.
type caseJudge struct {
	*ground
	done    map[string]*caseResult // by path
	results []*caseResult

	principal string // an object of the directory
	vault     string // a vault with a secret
	ssh       string // a public key
}

type caseResult struct {
	name, outcome, code, message string

	group   string
	outputs obj
}

func templatesUnder(t *testing.T, root string) (paths []string) {
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".json") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && schemaOf.Match(text[:min(len(text), 400)]) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// prepare makes what the placeholders of parameters stand for.
func (j *caseJudge) prepare() {
	group := "/subscriptions/" + j.sub + "/resourceGroups/before"
	j.put(group, vDeployments, obj{"location": "westeurope"})
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		j.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		j.t.Fatal(err)
	}
	j.ssh = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	made := j.put(group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/someone", "2023-01-31", obj{"location": "westeurope"})
	j.principal = j.text(made, "properties.principalId")
	j.vault = group + "/providers/Microsoft.KeyVault/vaults/beforecases"
	j.put(j.vault, "2023-07-01", obj{"location": "westeurope", "properties": obj{"tenantId": j.tenant, "sku": obj{"family": "A", "name": "standard"}, "enableRbacAuthorization": true, "enabledForTemplateDeployment": true}})
	j.put(j.vault+"/secrets/password", "2023-07-01", obj{"properties": obj{"value": "Pa55w.rd0123"}})
}

// judge deploys a template, after what must be there before it; a template that is needed by another is judged once.
func (j *caseJudge) judge(base, path string) *caseResult {
	if r := j.done[path]; r != nil {
		return r
	}
	name, _ := filepath.Rel(base, path)
	r := &caseResult{name: name, group: fmt.Sprintf("case%d", len(j.done)+1)}
	j.done[path] = r
	before := filepath.Join(filepath.Dir(path), "prereqs", "prereq.azuredeploy.json")
	var outputs obj
	if _, err := os.Stat(before); err == nil && before != path {
		p := j.judge(base, before)
		r.group, outputs = p.group, p.outputs
	}
	text, err := os.ReadFile(path)
	if err != nil {
		j.t.Fatal(err)
	}
	j.deploy(r, bytes.TrimPrefix(text, []byte("\ufeff")), j.parameters(path, text, outputs))
	j.results = append(j.results, r)
	fmt.Printf("%-16s %s: %s: %s\n", r.outcome, r.name, r.code, r.message)
	if r.outcome == "internal error" {
		j.t.Errorf("%s: %s %s", r.name, r.code, r.message)
	}
	return r
}

var schemaOf = regexp.MustCompile(`/(\w*)[dD]eploymentTemplate\.json`)

// parameters are those of the file beside a template, with the placeholders of the collection filled in.
func (j *caseJudge) parameters(path string, text []byte, outputs obj) obj {
	var file struct {
		Parameters obj `json:"parameters"`
	}
	data, err := os.ReadFile(strings.TrimSuffix(path, ".json") + ".parameters.json")
	if err == nil {
		n := 0
		data = placeholders.ReplaceAllFunc(bytes.TrimPrefix(data, []byte("\ufeff")), func(p []byte) []byte {
			n++
			return j.placeholder(string(p), fmt.Sprint(path, n), outputs)
		})
		if err := json.Unmarshal(data, &file); err != nil {
			j.t.Fatalf("%s: %v", path, err)
		}
	}
	if file.Parameters == nil {
		file.Parameters = obj{}
	}
	if bytes.Contains(bytes.ToLower(text), []byte("properties.templatelink.uri")) && file.Parameters["_artifactsLocation"] == nil {
		file.Parameters["_artifactsLocation"] = obj{"value": "https://raw.githubusercontent.com/Azure/azure-quickstart-templates/master/"}
	}
	return file.Parameters
}

// placeholder is what stands for one in quotes; its number makes it one's own.
func (j *caseJudge) placeholder(p, seed string, outputs obj) []byte {
	sum := sha256.Sum256([]byte(seed))
	id := hex.EncodeToString(sum[:])
	quoted := func(s string) []byte { return []byte(`"` + s + `"`) }
	switch p = strings.Trim(p, `"`); {
	case strings.HasPrefix(p, "GET-PREREQ-"):
		for name, v := range outputs {
			if o, ok := v.(obj); ok && strings.EqualFold(name, strings.TrimPrefix(p, "GET-PREREQ-")) {
				if b, err := json.Marshal(o["value"]); err == nil {
					return b
				}
			}
		}
	case p == "GEN-KEYVAULT-PASSWORD-REFERENCE":
		return fmt.Appendf(nil, `{"keyVault":{"id":%q},"secretName":"password"}`, j.vault)
	case p == "GEN-GUID":
		return quoted(uuid.NewSHA1(uuid.NameSpaceURL, sum[:]).String())
	case p == "GEN-PASSWORD", strings.HasSuffix(p, "CERT-PASSWORD"):
		return quoted("Pa55w.rd" + id[:8])
	case p == "GEN-SSH-PUB-KEY":
		return quoted(j.ssh)
	case strings.HasSuffix(p, "OBJECTID"):
		return quoted(j.principal)
	case strings.HasPrefix(p, "GEN-UNIQUE"):
		size := 12
		fmt.Sscanf(p, "GEN-UNIQUE-%d", &size)
		return quoted(("u" + id)[:min(size, len(id))])
	}
	return quoted(p)
}

var placeholders = regexp.MustCompile(`"(GEN|GET)-[A-Za-z0-9-]+"`)

// notImplemented are the codes of what the region does not have and Azure has.
var notImplemented = regexp.MustCompile(`^(InvalidResourceNamespace|InvalidResourceType|NoRegisteredProviderFound|NotImplemented)$`)

// deploy deploys one template, in its group if it is for one.
func (j *caseJudge) deploy(r *caseResult, template []byte, parameters obj) {
	scope, location := "", `"location":"westeurope",`
	switch strings.ToLower(string(schemaOf.FindSubmatch(template[:min(len(template), 400)])[1])) {
	case "":
		scope, location = "/subscriptions/"+j.sub+"/resourceGroups/"+r.group, ""
		j.put(scope, vDeployments, obj{"location": "westeurope"})
	case "subscription":
		scope = "/subscriptions/" + j.sub
	case "managementgroup":
		scope = "/providers/Microsoft.Management/managementGroups/" + j.tenant
	}
	p, err := json.Marshal(parameters)
	if err != nil {
		j.t.Fatal(err)
	}
	id := fmt.Sprintf("%s/providers/Microsoft.Resources/deployments/case%d", scope, len(j.done))
	body := fmt.Sprintf(`{%s"properties":{"mode":"Incremental","parameters":%s,"template":%s}}`, location, p, template)
	a := j.send(request{Method: http.MethodPut, URL: id + "?api-version=" + vDeployments, Body: strings.NewReader(body)})
	if !a.ok() {
		r.code, r.message = a.Code, a.Message
		var refusal obj
		if err := a.json(&refusal); err == nil {
			r.innermost(refusal["error"])
		}
		r.outcome = outcomeOf(r.code)
		return
	}
	var res obj
	j.eventually(id+" has an end", func() bool {
		res = nil
		a := j.send(request{Method: http.MethodGet, URL: id + "?api-version=" + vDeployments})
		if err := a.json(&res); err != nil {
			j.t.Fatal(err)
		}
		state := property(res, "properties.provisioningState")
		return state != "Accepted" && state != "Running"
	})
	if property(res, "properties.provisioningState") == "Succeeded" {
		r.outcome = "deployed"
		r.outputs, _ = property(res, "properties.outputs").(obj)
		return
	}
	r.innermost(property(res, "properties.error"))
	r.outcome = outcomeOf(r.code)
}

// innermost takes the code and message of the first error that has no details.
func (r *caseResult) innermost(err any) {
	for e, _ := err.(obj); e != nil; {
		r.code, r.message = fmt.Sprint(e["code"]), fmt.Sprint(e["message"])
		details, _ := e["details"].([]any)
		if len(details) == 0 {
			return
		}
		e, _ = details[0].(obj)
	}
}

func outcomeOf(code string) string {
	switch {
	case notImplemented.MatchString(code):
		return "not implemented"
	case code == "InternalServerError" || code == "":
		return "internal error"
	}
	return "refused"
}

// documents say why Azure refuses what has a code.
var documents = map[string]string{
	"InvalidTemplate":                             "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-invalid-template",
	"InvalidContentLink":                          "https://learn.microsoft.com/azure/azure-resource-manager/templates/linked-templates",
	"ResourceNotFound":                            "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found",
	"ParentResourceNotFound":                      "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-parent-resource",
	"ResourceGroupNotFound":                       "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found",
	"InvalidResourceReference":                    "https://learn.microsoft.com/azure/networking/troubleshoot-failed-state",
	"NetworkWatcherCountLimitReached":             "https://learn.microsoft.com/azure/network-watcher/network-watcher-overview",
	"InvalidDeploymentName":                       "https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules",
	"InvalidResourceID":                           "https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-resource",
	"PublicIpWithBasicSkuNotAllowedOnVPNGateways": "https://learn.microsoft.com/azure/vpn-gateway/gateway-sku-consolidation",
	"PublicAccessNotPermitted":                    "https://learn.microsoft.com/azure/storage/blobs/anonymous-read-access-prevent",
	"DeploymentScriptDownloadFailure":             "https://learn.microsoft.com/azure/azure-resource-manager/templates/deployment-script-template",
	"InvalidCreatePolicyAssignmentRequest":        "https://learn.microsoft.com/azure/governance/policy/concepts/definition-structure-basics",
	"LocationNotAvailableForResourceType":         "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-sku-not-available",
}

// report prints the counts and writes the table.
func (j *caseJudge) report() {
	count := map[string]int{}
	for _, r := range j.results {
		count[r.outcome]++
	}
	last := fmt.Sprintf("cases: %d of %d deployed, %d refused, %d not implemented", count["deployed"], len(j.results), count["refused"], count["not implemented"])
	fmt.Println(last)
	file := os.Getenv("VAUBAN_WRITE")
	if file == "" {
		return
	}
	var w strings.Builder
	fmt.Fprintf(&w, "# Templates\n\nWritten by `make test-cases CASES=DIR WRITE=docs/templates.md`: each template of the folder deployed to a new region, after what its\n"+
		"prereqs make. A template that fails must fail for Azure's reason, which the document says.\n\n**%s.**\n\n| template | outcome | reason | document |\n|---|---|---|---|\n", last)
	slices.SortFunc(j.results, func(a, b *caseResult) int { return strings.Compare(a.name, b.name) })
	for _, r := range j.results {
		why := ""
		if r.code != "" {
			message := strings.NewReplacer(j.sub, "{subscription}", j.tenant, "{tenant}", r.group+"/", "{group}/", "|", "\\|", "\n", " ").Replace(r.message)
			if cut := []rune(message); len(cut) > 240 {
				message = string(cut[:240]) + "…"
			}
			why = r.code + ": " + message
		}
		fmt.Fprintf(&w, "| %s | %s | %s | %s |\n", r.name, r.outcome, why, documents[r.code])
	}
	if err := os.WriteFile(file, []byte(w.String()), 0o644); err != nil {
		j.t.Fatal(err)
	}
}
