package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDirectoryClients: az ad and az role assignment, unmodified, against the directory. The client is that of
// demo/setup.sh.
func TestDirectoryClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	bin, err := filepath.Abs(filepath.Join("..", ".cache", "az", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("the client is not there, run sh demo/setup.sh: %v", err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, name := range scripts {
		script, err := filepath.Abs(filepath.Join("testdata", "clients", name))
		if err != nil {
			t.Fatal(err)
		}
		if out := g.vauban("exec", "--", "bash", script); !strings.HasSuffix(strings.TrimSpace(out), "drawn") {
			t.Errorf("%s: %s", name, out)
		}
	}
	for _, f := range g.logFiles() {
		if strings.Contains(contents(f), "Not-In-A-Log") {
			t.Errorf("a password stands in %s", f)
		}
	}
}
