//go:build cases

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestCases deploys every template under $VAUBAN_CASES (folders of azure-quickstart-templates: azuredeploy.json with
// its parameters) and prints what came of each: deployed, refused with a code, or in need of a type that the region
// does not have. What no template may come to is an internal error or a deployment without an end.
func TestCases(t *testing.T) {
	root := os.Getenv("VAUBAN_CASES")
	if root == "" {
		t.Fatal("VAUBAN_CASES names no folder of templates")
	}
	g := newGround(t, nil)
	g.up()
	count := map[string]int{}
	n := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".json") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
		m := schemaOf.FindSubmatch(text[:min(len(text), 400)])
		if m == nil {
			return nil
		}
		n++
		outcome, what := g.deployCase(n, strings.ToLower(string(m[1])), text, parametersOf(t, path, text))
		count[outcome]++
		rel, _ := filepath.Rel(root, path)
		fmt.Printf("%-16s %s: %s\n", outcome, rel, what)
		if outcome == "internal error" {
			t.Errorf("%s: %s", rel, what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("cases: %d of %d deployed, %d refused, %d need a type that is not implemented\n", count["deployed"], n, count["refused"], count["not implemented"])
}

var schemaOf = regexp.MustCompile(`/(\w*)[dD]eploymentTemplate\.json`)

// parametersOf are the parameters of the file beside a template, with the placeholders of the collection filled in.
func parametersOf(t *testing.T, path string, text []byte) obj {
	var file struct {
		Parameters obj `json:"parameters"`
	}
	data, err := os.ReadFile(strings.TrimSuffix(path, ".json") + ".parameters.json")
	if err == nil {
		data = placeholders.ReplaceAllFunc(bytes.TrimPrefix(data, []byte("\ufeff")), func(p []byte) []byte {
			id := strings.ReplaceAll(uuid.NewString(), "-", "")
			switch string(p) {
			case "GEN-GUID":
				return []byte(uuid.NewString())
			case "GEN-PASSWORD":
				return []byte("Pa55w.rd" + id[:8])
			case "GEN-SSH-PUB-KEY":
				return []byte("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 case@example")
			}
			size := 12
			fmt.Sscanf(string(p), "GEN-UNIQUE-%d", &size)
			return []byte(("u" + id)[:min(size, len(id))])
		})
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatalf("%s: %v", path, err)
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

var placeholders = regexp.MustCompile(`GEN-GUID|GEN-PASSWORD|GEN-SSH-PUB-KEY|GEN-UNIQUE(-\d+)?`)

var notImplemented = regexp.MustCompile(`^(InvalidResourceNamespace|InvalidResourceType|NoRegisteredProviderFound|NotImplemented)$`)

// deployCase deploys one template, in a group of its own if it is for one.
func (g *ground) deployCase(n int, kind string, template []byte, parameters obj) (outcome, what string) {
	scope, location := "", `"location":"westeurope",`
	switch kind {
	case "":
		scope, location = fmt.Sprintf("/subscriptions/%s/resourceGroups/case%d", g.sub, n), ""
		g.put(scope, vDeployments, obj{"location": "westeurope"})
	case "subscription":
		scope = "/subscriptions/" + g.sub
	case "managementgroup":
		scope = "/providers/Microsoft.Management/managementGroups/" + g.tenant
	}
	p, err := json.Marshal(parameters)
	if err != nil {
		g.t.Fatal(err)
	}
	id := fmt.Sprintf("%s/providers/Microsoft.Resources/deployments/case%d", scope, n)
	body := fmt.Sprintf(`{%s"properties":{"mode":"Incremental","parameters":%s,"template":%s}}`, location, p, template)
	a := g.send(request{Method: http.MethodPut, URL: id + "?api-version=" + vDeployments, Body: strings.NewReader(body)})
	if !a.ok() {
		return outcomeOf(a.Code), a.Code + ": " + a.Message
	}
	var res obj
	g.eventually(id+" has an end", func() bool {
		res = nil
		a := g.send(request{Method: http.MethodGet, URL: id + "?api-version=" + vDeployments})
		if err := a.json(&res); err != nil {
			g.t.Fatal(err)
		}
		state := property(res, "properties.provisioningState")
		return state != "Accepted" && state != "Running"
	})
	if property(res, "properties.provisioningState") == "Succeeded" {
		return "deployed", ""
	}
	code, message := "", ""
	for e, _ := property(res, "properties.error").(obj); e != nil; { // the innermost first one
		code, message = fmt.Sprint(e["code"]), fmt.Sprint(e["message"])
		details, _ := e["details"].([]any)
		if len(details) == 0 {
			break
		}
		e, _ = details[0].(obj)
	}
	return outcomeOf(code), code + ": " + message
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
