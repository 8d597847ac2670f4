//go:build clients

package table

import "testing"

// TestPythonClient runs testdata/client.py with azure-data-tables: VAUBAN_STORAGE_PYTHON is an interpreter that has it.
func TestPythonClient(t *testing.T) {
	newRig(t).Python("tables/read", "tables/write", "tables/delete", entitiesRead, entitiesAdd, entitiesUpdate)
}
