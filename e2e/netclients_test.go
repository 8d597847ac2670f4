//go:build clients

package e2e

import "testing"

// TestNetworkClients draws everything that az and the management SDK can draw of a network, unmodified, and meets
// Azure's refusals there. The clients are those of demo/setup.sh.
func TestNetworkClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "network.sh", "drawn")
	g.clientScript("sdk", "network.py", "drawn")
}
