package e2e

import (
	"strings"
	"testing"
)

// TestDirectoryClients: az ad and az role assignment, unmodified, against the directory. The client is that of
// demo/setup.sh.
func TestDirectoryClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	for _, name := range scripts {
		g.clientScript("az", name, "drawn")
	}
	for _, f := range g.logFiles() {
		if strings.Contains(contents(f), "Not-In-A-Log") {
			t.Errorf("a password stands in %s", f)
		}
	}
}
