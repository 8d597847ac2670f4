//go:build clients

package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplatesClients asks Resource Graph, exports a group, deploys it again and compares, with az unmodified; then the
// commands for templates work on what it left.
func TestTemplatesClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "templates.sh", "templated")
	file := filepath.Join(t.TempDir(), "one.json")
	g.vauban("export", "one", "--out", file)
	if out := g.vauban("import", file, "--group", "one"); !strings.Contains(out, "Nothing is refused") {
		t.Error(out)
	}
	out, err := exec.Command(g.exe, "import", file, "--group", "three", "--json", "--data", g.dir).Output()
	var report struct {
		Problems []struct{ Rule, Code string }
	}
	if err == nil || json.Unmarshal(out, &report) != nil || len(report.Problems) == 0 || report.Problems[0].Rule != "name" {
		t.Errorf("names that are taken: %s, %v", out, err)
	}
	if out := g.vauban("destroy", "two", "--dry-run"); !strings.Contains(out, "All can go") || !strings.Contains(out, "kvtemplates2: in Azure taken") {
		t.Error(out)
	}
	if out := g.vauban("destroy", "two", "--yes"); !strings.Contains(out, "is gone") {
		t.Error(out)
	}
}

// TestDeploymentScriptsClients deploys scripts by az, which they run themselves.
func TestDeploymentScriptsClients(t *testing.T) {
	g := newGround(t, nil)
	g.up("--image", "mcr.microsoft.com/azure-cli="+filepath.Dir(g.clients("az")))
	g.clientScript("az", "deploymentscripts.sh", "scripted")
}
