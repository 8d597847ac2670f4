//go:build clients

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestResourceManagerClients: accounts, providers, features, groups, resources, tags and moves by unmodified az.
func TestResourceManagerClients(t *testing.T) {
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
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "resourcemanager.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if out := g.vauban("exec", "--", "bash", script); !strings.HasSuffix(strings.TrimSpace(out), "managed") {
		t.Errorf("resourcemanager.sh: %s", out)
	}
}
