//go:build clients

package table

import (
	"os"
	"os/exec"
	"testing"

	"vauban.dev/internal/storagehttp/storagetest"
)

// TestPythonClient runs testdata/client.py with azure-data-tables: VAUBAN_STORAGE_PYTHON is an interpreter that has it.
func TestPythonClient(t *testing.T) {
	r := newRig(t)
	cmd := exec.Command(os.Getenv("VAUBAN_STORAGE_PYTHON"), "testdata/client.py")
	cmd.Env = append(append(os.Environ(), r.Serve()...), "KEY="+r.Key(), "ACCOUNT="+storagetest.Name)
	for _, a := range []string{"tables/read", "tables/write", "tables/delete", entitiesRead, entitiesAdd, entitiesUpdate} {
		r.Grants[a] = true
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
