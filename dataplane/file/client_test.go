//go:build clients

package file

import "testing"

// TestPythonClient runs testdata/client.py with azure-storage-file-share: VAUBAN_STORAGE_PYTHON is an interpreter that has it.
func TestPythonClient(t *testing.T) {
	r := newRig(t)
	r.days = 7
	r.Python("shares/read", "fileshares/files/read", "fileshares/files/write", "fileshares/files/delete",
		"readFileBackupSemantics/action", "writeFileBackupSemantics/action")
}
