package deployments

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// notesOnly is a policy that refuses toys without a note and gives toys a tag.
type notesOnly struct{}

func (notesOnly) Before(_ context.Context, t *rp.Target, r *rp.Request) (func(context.Context) error, error) {
	if t.ID.Type().Key() != "microsoft.toys/toys" || r.Method != http.MethodPut {
		return nil, nil
	}
	var toy struct {
		Properties struct{ Note string }
	}
	if json.Unmarshal(r.Body, &toy) != nil || toy.Properties.Note != "" {
		return nil, nil
	}
	return nil, arm.Errorf(http.StatusForbidden, "RequestDisallowedByPolicy", "Resource '%s' was disallowed by policy.", t.ID.Name())
}

// What refuses a template before anything is written refuses validate, what-if and the deployment alike.
func TestPreflight(t *testing.T) {
	g := newRegion(t)
	g.p.cfg.Policy = notesOnly{}
	const said = `,"properties":{"note":"n"}`
	for what, c := range map[string]struct {
		resources, message string
		codes              []string
	}{
		"a provider": {one("good", said) + "," + one("large", `,"properties":{"note":"n","size":500}`), "not valid according to the validation procedure", []string{"TooLarge"}},
		"a policy":   {one("good", said) + "," + one("bare", ""), "because of policy violation", []string{"RequestDisallowedByPolicy"}},
		"both":       {one("large", `,"properties":{"note":"n","size":500}`) + "," + one("bare", ""), "with multiple errors", []string{"RequestDisallowedByPolicy", "TooLarge"}},
		"nested":     {`{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"in","properties":{"mode":"Incremental","template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[` + one("bare", "") + `]}}}`, "because of policy violation", []string{"RequestDisallowedByPolicy"}},
	} {
		for _, verb := range []string{"PUT ", "POST /validate", "POST /whatIf"} {
			method, action, _ := strings.Cut(verb, " ")
			a := g.Request(method, group+"/providers/Microsoft.Resources/deployments/d"+action+api, body(`"resources":[`+c.resources+`]`, ""))
			var got []string
			details, _ := a.At("error", "details").([]any)
			for _, d := range details {
				got = append(got, d.(map[string]any)["code"].(string))
			}
			status := 400
			if action == "/whatIf" {
				status = 200
			}
			if a.Status != status || status == 200 && a.String("status") != "Failed" || a.Code() != "InvalidTemplateDeployment" || !strings.Contains(a.Text, c.message) || strings.Join(got, " ") != strings.Join(c.codes, " ") {
				t.Errorf("%s, %s: %d %s", what, verb, a.Status, a.Text)
			}
		}
	}
	if g.exists("good") || g.exists("bare") || g.exists("large") {
		t.Error("something was written")
	}
	if a := g.Request("GET", group+"/providers/Microsoft.Resources/deployments/d"+api, ""); a.Status != 404 {
		t.Errorf("there is a record: %s", a.Text)
	}
	// A secret is judged by its value, and what-if does not show it.
	secret := `"parameters":{"s":{"type":"securestring"}},"resources":[` + one("secret", `,"properties":{"note":"[parameters('s')]"}`) + `]`
	for value, status := range map[string]string{"": "Failed", "confidential": "Succeeded"} {
		a := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/whatIf"+api, body(secret, `,"parameters":{"s":{"value":"`+value+`"}}`))
		if a.Status != 200 || a.String("status") != status || strings.Contains(a.Text, "confidential") {
			t.Errorf("%q: %d %s", value, a.Status, a.Text)
		}
	}
	// What only the deployment knows is judged when it is known.
	a := g.deploy("d", body(`"resources":[`+one("a", said)+`,`+one("b", `,"properties":{"note":"n","size":"[if(equals(reference('a').note,'n'),500,1)]"}`)+`]`, ""))
	if a.String("properties", "error", "code") != "DeploymentFailed" || !strings.Contains(a.Text, "TooLarge") || !g.exists("a") {
		t.Errorf("%s", a.Text)
	}
}
