package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const vDeployments = "2021-04-01"

// TestDeployments deploys templates with az, and one whose server is killed in the middle: the next server goes on
// where it was.
func TestDeployments(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	bin, err := filepath.Abs(filepath.Join("..", ".cache", "az", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("the clients are not there, run sh demo/setup.sh: %v", err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "deployments.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if out := g.vauban("exec", "--", "bash", script); !strings.HasSuffix(strings.TrimSpace(out), "deployed") {
		t.Errorf("deployments.sh: %s", out)
	}

	group := "/subscriptions/" + g.sub + "/resourceGroups/killed"
	g.put(group, vDeployments, obj{"location": "westeurope"})
	id := group + "/providers/Microsoft.Resources/deployments/long"
	tables := obj{
		"type": "Microsoft.Network/routeTables", "apiVersion": "2023-05-01", "name": "[concat('table', copyIndex())]", "location": "[resourceGroup().location]",
		"copy": obj{"name": "tables", "count": 100, "mode": "serial", "batchSize": 1}, "tags": obj{"deployment": "[parameters('id')]"}, "properties": obj{},
	}
	body := obj{"properties": obj{"mode": "Incremental", "template": obj{
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"parameters": obj{"id": obj{"type": "string", "defaultValue": "[newGuid()]"}}, "resources": []any{tables},
		"outputs": obj{"id": obj{"type": "string", "value": "[parameters('id')]"}},
	}}}
	if a := g.send(request{Method: http.MethodPut, URL: id + "?api-version=" + vDeployments, Body: jsonBody(body)}); !a.ok() {
		t.Fatal(a)
	}
	list := func() (all []any) {
		var page obj
		a := g.send(request{Method: http.MethodGet, URL: group + "/providers/Microsoft.Network/routeTables?api-version=2023-05-01"})
		if err := a.json(&page); err != nil {
			t.Fatal(err)
		}
		all, _ = page["value"].([]any)
		return all
	}
	g.eventually("the deployment is under way", func() bool { return len(list()) > 3 })
	g.kill()
	g.up()
	done := g.settled(id, vDeployments)
	made := list()
	if len(made) != 100 {
		t.Fatalf("%d of 100 tables", len(made))
	}
	for _, table := range made {
		if got := property(table, "tags.deployment"); got != property(done, "properties.outputs.id.value") {
			t.Errorf("%v: another run's parameter: %v", property(table, "name"), got)
		}
	}
}
