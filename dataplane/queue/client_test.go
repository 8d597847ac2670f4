//go:build clients

package queue

import (
	"os"
	"os/exec"
	"testing"

	"vauban.dev/internal/storagehttp/storagetest"
)

// TestPythonClient runs testdata/client.py with azure-storage-queue: VAUBAN_STORAGE_PYTHON is an interpreter that has it.
func TestPythonClient(t *testing.T) {
	r := newRig(t)
	cmd := exec.Command(os.Getenv("VAUBAN_STORAGE_PYTHON"), "testdata/client.py")
	cmd.Env = append(append(os.Environ(), r.Serve()...), "KEY="+r.Key(), "ACCOUNT="+storagetest.Name)
	for _, a := range []string{"queues/read", "queues/write", "queues/delete", messagesRead, messagesWrite, messagesProcess} {
		r.Grants[a] = true
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
