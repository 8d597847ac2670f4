//go:build clients

package e2e

import "testing"

// TestPolicyClients governs a region with `az policy`, unmodified: spec 003's two policies of a workspace audit and
// deny, others rewrite, exempt, remediate and are told of.
func TestPolicyClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "policy.sh", "governed")
}
