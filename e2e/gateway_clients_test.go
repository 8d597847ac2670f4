//go:build clients

package e2e

import (
	"strings"
	"testing"
)

// TestForcedTunnelling: with a default site all that leaves the network goes to that site by its tunnel, past the default outbound
// access, and none of it to the region's internet; without it again, all is as before.
// https://learn.microsoft.com/azure/vpn-gateway/site-to-site-tunneling
func TestForcedTunnelling(t *testing.T) {
	w := newGatewayWorld(t, "10.0", "")
	w.connection("office", "198.51.100.99", "192.168.0.0/24", "shared")
	office := w.joinVPN(t, w.vauban("vpn", "profile", "--connection", "office"), "192.168.0.7/32")
	// A public address that nobody in the region has: the office answers there in its stead, as a proxy of its own would.
	elsewhere := office.serves("192.0.2.80")
	probe := func(args ...string) string {
		t.Helper()
		out, err := w.output(w.at("hub/web", append([]string{"probe"}, args...)...))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	manager := probe("ask", azureDNS, "management.azure.com") + ":443"
	w.eventually("the office gets through", func() bool { return office.reach(w.echo) == "answered" })
	before := func(when string) {
		t.Helper()
		w.eventually(when+" Resource Manager is reached by the internet", func() bool { return probe("tcp", manager) == "answered" })
		if got := probe("tcp", elsewhere); got != "dropped" {
			t.Errorf("%s the office's address: %s", when, got)
		}
	}
	before("without a default site")
	w.setGateway(obj{"gatewayDefaultSite": obj{"id": w.rg + "/providers/Microsoft.Network/localNetworkGateways/office"}})
	w.eventually("the internet's addresses are the office's", func() bool { return probe("tcp", elsewhere) == "answered" })
	if got := probe("tcp", manager); got == "answered" {
		t.Error("Resource Manager is reached past the default site")
	}
	if got := office.reach(w.echo); got != "answered" {
		t.Errorf("the office, being the default site: %s", got)
	}
	w.setGateway(obj{})
	before("without it again")
}
