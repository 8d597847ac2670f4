//go:build clients

package queue

import "testing"

// TestPythonClient runs testdata/client.py with azure-storage-queue: VAUBAN_STORAGE_PYTHON is an interpreter that has it.
func TestPythonClient(t *testing.T) {
	newRig(t).Python("queues/read", "queues/write", "queues/delete", messagesRead, messagesWrite, messagesProcess)
}
