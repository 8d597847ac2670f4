package gateway_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/gateway"
)

func TestGateway(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	a := r.Must(http.MethodGet, gw+version, "")
	for path, want := range map[string]string{
		"properties.provisioningState":       "Succeeded",
		"properties.gatewayType":             "Vpn",
		"properties.vpnType":                 "RouteBased",
		"properties.sku.tier":                "VpnGw1",
		"properties.ipConfigurations.0.id":   gw + "/ipConfigurations/default",
		"properties.ipConfigurations.0.type": "Microsoft.Network/virtualNetworkGateways/ipConfigurations",
		"properties.ipConfigurations.0.properties.privateIPAllocationMethod":       "Dynamic",
		"properties.bgpSettings.bgpPeeringAddress":                                 "10.0.255.4",
		"properties.bgpSettings.bgpPeeringAddresses.0.ipconfigurationId":           gw + "/ipConfigurations/default",
		"properties.vpnClientConfiguration.vpnClientAddressPool.addressPrefixes.0": "172.20.0.0/29",
	} {
		if got := text(a, path); got != want {
			t.Errorf("%s is %q, want %q in %s", path, got, want, a.Text)
		}
	}
	for _, secret := range []string{`"key"`, `"address":`, `"public":`} {
		if strings.Contains(a.Text, secret) {
			t.Errorf("%s is in %s", secret, a.Text)
		}
	}
	// The subnet and the public address are in use by its configuration.
	r.refused(http.MethodDelete, vnet+"/subnets/GatewaySubnet", "", "InUseSubnetCannotBeDeleted")
	r.refused(http.MethodDelete, net0+"publicIPAddresses/one", "", "PublicIPAddressCannotBeDeleted")

	top, tunnels := r.extended()
	nic := top.VNets[0].NICs[0]
	if !nic.Forwarding || !nic.Managed || len(nic.Tunnels) != 1 || len(nic.Public) != 1 {
		t.Errorf("the gateway's interface is %+v", nic)
	}
	if got := top.VNets[0].GatewayRoutes; len(got) != 1 || got[0].Prefix.String() != "172.20.0.0/29" || got[0].NIC != nic.ID {
		t.Errorf("gateway routes %v", got)
	}
	if len(tunnels) != 1 || tunnels[0].Name != nic.Tunnels[0].Name || len(tunnels[0].Peers) != 0 {
		t.Errorf("tunnels %+v", tunnels)
	}

	// Gone, everything is free again.
	r.Must(http.MethodDelete, gw+version, "")
	r.Must(http.MethodDelete, vnet+"/subnets/GatewaySubnet"+version, "")
	r.Must(http.MethodDelete, net0+"publicIPAddresses/one"+version, "")
}

func TestGatewayRefusals(t *testing.T) {
	r := newRig(t)
	r.Must(http.MethodPut, net0+"publicIPAddresses/basic"+version, `{"location":"westeurope","properties":{}}`)
	ok := vnet + "/subnets/GatewaySubnet"
	with := func(extra string) string { return gatewayBody(ok, "one", extra) }
	for _, c := range []struct{ name, body, code string }{
		{"another subnet", gatewayBody(vnet+"/subnets/default", "one", ""), "InvalidRequestFormat"},
		{"no such subnet", gatewayBody(net0+"virtualNetworks/x/subnets/GatewaySubnet", "one", ""), "InvalidResourceReference"},
		{"another region", strings.Replace(with(""), "westeurope", "northeurope", 1), "InvalidResourceReference"},
		{"a Basic address", gatewayBody(ok, "basic", ""), "PublicIpWithBasicSkuNotAllowedOnVPNGateways"},
		{"no pool", with(`,"vpnClientConfiguration":{}`), "VpnClientAddressPoolNotSpecified"},
		{"a pool in the network", with(strings.Replace(pool, "172.20.0.0/29", "10.0.7.0/24", 1)), "VpnClientAddressPoolOverlapsWithVnetAddressSpace"},
		{"a bad pool", with(strings.Replace(pool, "172.20.0.0/29", "172.20", 1)), "InvalidAddressPrefixFormat"},
		{"active-active", with(`,"activeActive":true`), "NotImplemented"},
		{"an unknown SKU", strings.Replace(with(""), `"name":"VpnGw1"`, `"name":"Giant"`, 1), "InvalidRequestFormat"},
		{"policy based", strings.Replace(with(""), "RouteBased", "PolicyBased", 1), "NotImplemented"},
	} {
		t.Run(c.name, func(t *testing.T) { r.refused(http.MethodPut, gw, c.body, c.code) })
	}
	r.vpnGateway()
	r.refused(http.MethodPut, net0+"virtualNetworkGateways/second", gatewayBody(ok, "two", ""), "VirtualNetworkGatewayAlreadyExists")
	r.refused(http.MethodPost, gw+"/generatevpnclientpackage", `{}`, "NotImplemented")
}

func TestClients(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	add := func(name string) (c gateway.Client, k vpn.PrivateKey) {
		t.Helper()
		r.update(func(tx *rp.Tx) (err error) {
			c, k, err = r.gateways.AddClient(tx, id(gw), name)
			return err
		})
		return c, k
	}
	peers := func() []vpn.Peer {
		_, tunnels := r.extended()
		return tunnels[0].Peers
	}
	alice, key := add("alice")
	if alice.Addr.String() != "172.20.0.2" || alice.Public != key.Public() {
		t.Errorf("alice is %+v", alice)
	}
	bob, _ := add("Bob")
	if bob.Addr.String() != "172.20.0.3" {
		t.Errorf("bob is %+v", bob)
	}
	// A new key for the same name ends the old one and keeps the address.
	if again, k := add("ALICE"); again.Addr != alice.Addr || k == key || len(peers()) != 2 {
		t.Errorf("alice is now %+v, peers %+v", again, peers())
	} else {
		alice = again
	}
	// Azure's own way to revoke: by thumbprint or name.
	revoke := func(entry string) {
		r.Must(http.MethodPut, gw+version, gatewayBody(vnet+"/subnets/GatewaySubnet", "one", strings.Replace(pool, `"vpnClientProtocols"`, `"vpnClientRevokedCertificates":[`+entry+`],"vpnClientProtocols"`, 1)))
	}
	revoke(`{"name":"stolen","properties":{"thumbprint":"` + alice.Thumbprint() + `"}}`)
	if got := peers(); len(got) != 1 || got[0].Public != bob.Public {
		t.Errorf("after alice was revoked: %+v", got)
	}
	revoke(`{"name":"bob","properties":{"thumbprint":""}}`)
	if got := peers(); len(got) != 1 || got[0].Public != alice.Public {
		t.Errorf("after bob was revoked: %+v", got)
	}
	revoke("")
	r.update(func(tx *rp.Tx) error { return r.gateways.RemoveClient(tx, id(gw), "bob") })
	if got := peers(); len(got) != 1 || got[0].Prefixes[0].String() != "172.20.0.2/32" {
		t.Errorf("after bob was removed: %+v", got)
	}
	// Health tells who is connected.
	r.wire.set(id(gw).Key(), vpn.PeerState{Public: alice.Public, Handshake: time.Now(), Endpoint: netip.MustParseAddrPort("198.51.100.7:999"), Received: 5, Sent: 7})
	health := r.Must(http.MethodPost, gw+"/getVpnClientConnectionHealth"+version, "")
	if text(health, "value.0.vpnUserName") != "ALICE" && text(health, "value.0.vpnUserName") != "alice" || text(health, "value.0.privateIpAddress") != "172.20.0.2" {
		t.Errorf("health %s", health.Text)
	}
	// A full pool: a /29 has addresses for five.
	for _, name := range []string{"c", "d", "e", "f"} {
		add(name)
	}
	err := r.engine.Update(t.Context(), func(tx *rp.Tx) error {
		_, _, err := r.gateways.AddClient(tx, id(gw), "one-too-many")
		return err
	})
	if err == nil {
		t.Error("the pool has no end")
	}
	for _, name := range []string{"", "a/b", "a b", strings.Repeat("x", 64)} {
		err := r.engine.Update(t.Context(), func(tx *rp.Tx) error {
			_, _, err := r.gateways.AddClient(tx, id(gw), name)
			return err
		})
		if err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

const (
	local  = net0 + "localNetworkGateways/office"
	toSite = net0 + "connections/to-office"
)

const localBody = `{"location":"westeurope","properties":{"gatewayIpAddress":"198.51.100.9","localNetworkAddressSpace":{"addressPrefixes":["192.168.0.0/24","192.168.1.0/24"]}}}`

func siteBody(extra string) string {
	return `{"location":"westeurope","properties":{"connectionType":"IPsec","virtualNetworkGateway1":{"id":"` + gw + `"},"localNetworkGateway2":{"id":"` + local + `"}` + extra + `}}`
}

func TestSite(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	r.Must(http.MethodPut, local+version, localBody)
	made := r.Must(http.MethodPut, toSite+version, siteBody(`,"sharedKey":"top-secret"`))
	if strings.Contains(made.Text, "top-secret") || strings.Contains(r.Must(http.MethodGet, toSite+version, "").Text, "top-secret") {
		t.Error("the shared key is shown")
	}
	if key := text(r.Must(http.MethodGet, toSite+"/sharedkey"+version, ""), "value"); key != "top-secret" {
		t.Errorf("the shared key is %q", key)
	}
	top, tunnels := r.extended()
	if got := top.VNets[0].GatewayRoutes; len(got) != 3 {
		t.Errorf("gateway routes %v", got)
	}
	theirs, err := vpn.DeriveSiteKeys("top-secret", netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr(text(r.Must(http.MethodGet, net0+"publicIPAddresses/one"+version, ""), "properties.ipAddress")))
	if err != nil {
		t.Fatal(err)
	}
	site := tunnels[1]
	if site.Peers[0].Public != theirs.Private.Public() || site.Private.Public() != theirs.Peer || site.Peers[0].Preshared != theirs.Preshared {
		t.Errorf("the other end, with the same shared key, is another: %+v", site)
	}
	if got := site.Peers[0].Endpoint; got.Host || got.Addr.String() != "198.51.100.9:51820" {
		t.Errorf("called at %+v", got)
	}
	// The status is the tunnel's.
	for _, c := range []struct {
		want  string
		peers []vpn.PeerState
	}{
		{"Unknown", nil},
		{"Connecting", []vpn.PeerState{{}}},
		{"Connected", []vpn.PeerState{{Handshake: time.Now(), Received: 3, Sent: 4}}},
		{"NotConnected", []vpn.PeerState{{Handshake: time.Now().Add(-time.Hour)}}},
	} {
		r.wire.set(id(toSite).Key(), c.peers...)
		if got := text(r.Must(http.MethodGet, toSite+version, ""), "properties.connectionStatus"); got != c.want {
			t.Errorf("status %s, want %s", got, c.want)
		}
		if got := text(r.Must(http.MethodGet, gw+"/connections"+version, ""), "value.0.properties.connectionStatus"); got != c.want {
			t.Errorf("listed status %s, want %s", got, c.want)
		}
	}
	// Another key is another tunnel.
	r.Must(http.MethodPut, toSite+"/sharedkey"+version, `{"value":"other"}`)
	if _, now := r.extended(); now[1].Private == site.Private {
		t.Error("a new shared key changed nothing")
	}
	r.Must(http.MethodPost, toSite+"/sharedkey/reset"+version, `{"keyLength":30}`)
	if key := text(r.Must(http.MethodGet, toSite+"/sharedkey"+version, ""), "value"); len(key) != 30 {
		t.Errorf("the key is now %q", key)
	}
	// The other end may be on the machine's own network.
	r.update(func(tx *rp.Tx) error {
		return gateway.SetUnderlay(tx, netip.MustParseAddr("198.51.100.9"), netip.MustParseAddrPort("127.0.0.1:7"))
	})
	if _, now := r.extended(); !now[1].Peers[0].Endpoint.Host || now[1].Peers[0].Endpoint.Addr.String() != "127.0.0.1:7" {
		t.Errorf("called at %+v", now[1].Peers[0].Endpoint)
	}
	if got := r.Must(http.MethodPost, gw+"/getLearnedRoutes"+version, ""); text(got, "value.2.network") != "192.168.0.0/24" || text(got, "value.2.nextHop") != "198.51.100.9" {
		t.Errorf("learned %s", got.Text)
	}
	r.Must(http.MethodPost, gw+"/reset"+version, "")
	if got := r.wire.restarted; len(got) != 2 {
		t.Errorf("restarted %v", got)
	}
	r.refused(http.MethodDelete, gw, "", "InUseVirtualNetworkGatewayCannotBeDeleted")
	r.refused(http.MethodDelete, local, "", "InUseLocalNetworkGatewayCannotBeDeleted")
	r.Must(http.MethodDelete, toSite+version, "")
	r.Must(http.MethodDelete, local+version, "")
	r.Must(http.MethodDelete, gw+version, "")
}

// The default site has all that no other site has: the topology forces the tunnel, its wire takes any source, and the
// routes that the gateway lists say so.
func TestDefaultSite(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	const branch, toBranch = net0 + "localNetworkGateways/branch", net0 + "connections/branch"
	r.Must(http.MethodPut, local+version, localBody)
	r.Must(http.MethodPut, branch+version, strings.NewReplacer("198.51.100.9", "198.51.100.10", `"192.168.0.0/24","192.168.1.0/24"`, `"0.0.0.0/0"`).Replace(localBody))
	r.Must(http.MethodPut, toSite+version, siteBody(""))
	r.Must(http.MethodPut, toBranch+version, strings.Replace(siteBody(""), local, branch, 1))
	behind := func(connection string) (prefixes []netip.Prefix, accepted []netip.Prefix) {
		t.Helper()
		top, tunnels := r.extended()
		if _, err := fabric.Compile(top); err != nil {
			t.Fatal(err)
		}
		for _, n := range top.VNets[0].NICs {
			for _, x := range n.Tunnels {
				if x.Name == id(connection).Key() {
					prefixes = x.Prefixes
				}
			}
		}
		for _, x := range tunnels {
			if x.Name == id(connection).Key() {
				accepted = x.Peers[0].Prefixes
			}
		}
		return prefixes, accepted
	}
	anywhere := netip.MustParsePrefix("0.0.0.0/0")
	if has, _ := behind(toBranch); !slices.Contains(has, anywhere) {
		t.Errorf("a site whose address space is everything has %v", has)
	}
	site := pool + `,"gatewayDefaultSite":{"id":"` + local + `"}`
	r.Must(http.MethodPut, gw+version, gatewayBody(vnet+"/subnets/GatewaySubnet", "one", site))
	if has, accepted := behind(toSite); !slices.Contains(has, anywhere) || !slices.Contains(accepted, anywhere) || len(has) != 3 {
		t.Errorf("the default site has %v, and sends from %v", has, accepted)
	}
	if has, accepted := behind(toBranch); len(has)+len(accepted) > 0 {
		t.Errorf("beside the default site the other has %v, and sends from %v", has, accepted)
	}
	if got := r.Must(http.MethodPost, gw+"/getLearnedRoutes"+version, "").Text; !strings.Contains(got, `"0.0.0.0/0","nextHop":"198.51.100.9"`) || strings.Contains(got, "198.51.100.10") {
		t.Errorf("learned %s", got)
	}
	r.Must(http.MethodDelete, toSite+version, "")
	if has, _ := behind(toSite); has != nil {
		t.Errorf("without its connection the default site has %v", has)
	}
	r.refused(http.MethodDelete, local, "", "InUseLocalNetworkGatewayCannotBeDeleted")
	r.Must(http.MethodPut, gw+version, gatewayBody(vnet+"/subnets/GatewaySubnet", "one", pool))
	r.Must(http.MethodDelete, local+version, "")
	r.refused(http.MethodPut, gw, gatewayBody(vnet+"/subnets/GatewaySubnet", "one", site), "InvalidResourceReference")
}

func TestConnectionRefusals(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	r.Must(http.MethodPut, local+version, localBody)
	for _, c := range []struct{ name, body, code string }{
		{"no other end", strings.Replace(siteBody(""), local, "", 1), "InvalidReferenceId"},
		{"an absent gateway", strings.Replace(siteBody(""), gw, net0+"virtualNetworkGateways/none", 1), "InvalidResourceReference"},
		{"itself", `{"location":"westeurope","properties":{"connectionType":"Vnet2Vnet","virtualNetworkGateway1":{"id":"` + gw + `"},"virtualNetworkGateway2":{"id":"` + gw + `"}}}`, "InvalidRequestFormat"},
		{"BGP", siteBody(`,"enableBgp":true`), "NotImplemented"},
		{"an unknown type", strings.Replace(siteBody(""), "IPsec", "Pigeon", 1), "InvalidRequestFormat"},
	} {
		t.Run(c.name, func(t *testing.T) { r.refused(http.MethodPut, toSite, c.body, c.code) })
	}
	r.refused(http.MethodPut, local, strings.Replace(localBody, "198.51.100.9", "office", 1), "InvalidRequestFormat")
	r.refused(http.MethodPut, local, strings.Replace(localBody, "192.168.1.0/24", "192.168.0.0/16", 1), "InvalidRequestFormat")
}

func TestVNetToVNet(t *testing.T) {
	r := newRig(t)
	r.vpnGateway()
	const spoke, gw2 = net0 + "virtualNetworks/spoke", net0 + "virtualNetworkGateways/vpn2"
	r.Must(http.MethodPut, spoke+version, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.1.0.0/16"]},"subnets":[{"name":"GatewaySubnet","properties":{"addressPrefix":"10.1.255.0/27"}}]}}`)
	r.Must(http.MethodPut, gw2+version, gatewayBody(spoke+"/subnets/GatewaySubnet", "two", ""))
	for name, ends := range map[string][2]string{"there": {gw, gw2}, "back": {gw2, gw}} {
		r.Must(http.MethodPut, net0+"connections/"+name+version, `{"location":"westeurope","properties":{"connectionType":"Vnet2Vnet","sharedKey":"k","virtualNetworkGateway1":{"id":"`+ends[0]+`"},"virtualNetworkGateway2":{"id":"`+ends[1]+`"}}}`)
	}
	_, tunnels := r.extended()
	byName := map[string]vpn.Tunnel{}
	for _, x := range tunnels {
		byName[x.Name] = x
	}
	there, back := byName[id(net0+"connections/there").Key()], byName[id(net0+"connections/back").Key()]
	if there.Private.Public() != back.Peers[0].Public || back.Private.Public() != there.Peers[0].Public {
		t.Errorf("the two ends do not know each other: %+v %+v", there, back)
	}
	if got := there.Peers[0].Prefixes[0].String(); got != "10.1.0.0/16" {
		t.Errorf("there leads to %s", got)
	}
}
