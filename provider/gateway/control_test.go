package gateway_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/gateway"
)

// TestControl: what operators do to clients and tunnels reaches the wire, and what has no meaning here says so.
func TestControl(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	key := func() vpn.PrivateKey {
		_, tunnels := r.extended()
		return tunnels[0].Private
	}
	before := key()
	if a := r.Request(http.MethodPost, gw+"/resetvpnclientsharedkey"+version, ""); a.Status != http.StatusAccepted {
		t.Fatalf("%d %s", a.Status, a.Text)
	} else {
		r.Wait(a)
	}
	if key() == before {
		t.Error("the clients' tunnel has the key that it had")
	}
	const policy = `{"saLifeTimeSeconds":86473,"saDataSizeKilobytes":429497,"ipsecEncryption":"aes256","ipsecIntegrity":"SHA256","ikeEncryption":"AES256","ikeIntegrity":"SHA384","dhGroup":"DHGroup2","pfsGroup":"PFS2"}`
	r.Wait(r.Request(http.MethodPost, gw+"/setvpnclientipsecparameters"+version, policy))
	got := r.Request(http.MethodPost, gw+"/getvpnclientipsecparameters"+version, "")
	r.Wait(got)
	if a := r.Request(http.MethodGet, at(got.Header.Get("Location")), ""); text(a, "ipsecEncryption") != "AES256" || text(a, "dhGroup") != "DHGroup2" {
		t.Errorf("parameters: %d %s", a.Status, a.Text)
	}
	if a := r.Request(http.MethodGet, gw+version, ""); strings.Contains(a.Text, "clientPolicy") {
		t.Errorf("the gateway shows what is its own: %s", a.Text)
	}
	var alice gateway.Client
	r.update(func(tx *rp.Tx) (err error) {
		alice, _, err = r.gateways.AddClient(tx, id(gw), "alice")
		return err
	})
	r.Wait(r.Request(http.MethodPost, gw+"/disconnectVirtualNetworkGatewayVpnConnections"+version, `{"vpnConnectionIds":["nobody"]}`))
	if slices.Contains(r.wire.restarted, id(gw).Key()) {
		t.Error("somebody was disconnected")
	}
	r.Wait(r.Request(http.MethodPost, gw+"/disconnectVirtualNetworkGatewayVpnConnections"+version, `{"vpnConnectionIds":["`+alice.Thumbprint()+`"]}`))
	if !slices.Contains(r.wire.restarted, id(gw).Key()) {
		t.Error("nobody was disconnected")
	}
	for verb, c := range map[string]struct{ body, code string }{
		"setvpnclientipsecparameters": {strings.Replace(policy, "PFS2", "PFS3", 1), "InvalidRequestFormat"},
		"startPacketCapture":          {"{}", "NotImplemented"},
		"stopPacketCapture":           {"{}", "NotImplemented"},
		"startSiteFailoverTest":       {"", "NotImplemented"},
	} {
		r.refused(http.MethodPost, gw+"/"+verb, c.body, c.code)
	}
	for _, on := range []string{"disableIPSecReplayProtection", "enableBgpRouteTranslationForNat", "allowVirtualWanTraffic", "allowRemoteVnetTraffic"} {
		r.refused(http.MethodPut, gw, gatewayBody(vnet+"/subnets/GatewaySubnet", "one", `,"`+on+`":true`), "NotImplemented")
	}
}

// at is a link's path and query.
func at(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return link
	}
	return u.RequestURI()
}
