//go:build clients

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGovernanceClients: management groups, locks, the activity log and its export by unmodified az.
func TestGovernanceClients(t *testing.T) {
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
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "governance.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if out := g.vauban("exec", "--", "bash", script); !strings.HasSuffix(strings.TrimSpace(out), "governed") {
		t.Errorf("governance.sh: %s", out)
	}
}
