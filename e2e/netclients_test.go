//go:build clients

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNetworkClients draws everything that az and the management SDK can draw of a network, unmodified, and meets
// Azure's refusals there. The clients are those of demo/setup.sh.
func TestNetworkClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	for _, c := range []struct{ environment, program, script string }{
		{"az", "bash", "network.sh"}, {"sdk", "python", "network.py"},
	} {
		bin, err := filepath.Abs(filepath.Join("..", ".cache", c.environment, "bin"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(bin); err != nil {
			t.Fatalf("the clients are not there, run sh demo/setup.sh: %v", err)
		}
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		script, err := filepath.Abs(filepath.Join("testdata", "clients", c.script))
		if err != nil {
			t.Fatal(err)
		}
		if out := g.vauban("exec", "--", c.program, script); !strings.HasSuffix(strings.TrimSpace(out), "drawn") {
			t.Errorf("%s: %s", c.script, out)
		}
	}
}
