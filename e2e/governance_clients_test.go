//go:build clients

package e2e

import "testing"

// TestGovernanceClients: management groups, locks, the activity log and its export by unmodified az.
func TestGovernanceClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "governance.sh", "governed")
}
