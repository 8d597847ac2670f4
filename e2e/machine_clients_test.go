//go:build clients

package e2e

import "testing"

// TestMachineClients: az shows, stops, starts and deletes a machine, and Network Watcher's commands take it, unmodified.
func TestMachineClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "machine.sh", "lived")
}
