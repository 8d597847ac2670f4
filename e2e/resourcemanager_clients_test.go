//go:build clients

package e2e

import "testing"

// TestResourceManagerClients: accounts, providers, features, groups, resources, tags and moves by unmodified az.
func TestResourceManagerClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.clientScript("az", "resourcemanager.sh", "managed")
}
