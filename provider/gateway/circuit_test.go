package gateway_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/gateway"
)

const (
	circuit  = net0 + "expressRouteCircuits/office"
	erGW     = net0 + "virtualNetworkGateways/er"
	toOffice = net0 + "connections/er"
)

const circuitBody = `{"location":"westeurope","sku":{"name":"Standard_MeteredData","tier":"Standard","family":"MeteredData"},
	"properties":{"serviceProviderProperties":{"serviceProviderName":"Equinix","peeringLocation":"Amsterdam","bandwidthInMbps":50}}}`

const peeringBody = `{"properties":{"peeringType":"AzurePrivatePeering","peerASN":65010,"primaryPeerAddressPrefix":"192.168.15.16/30","secondaryPeerAddressPrefix":"192.168.15.20/30","vlanId":200}}`

const circuitConnection = `{"location":"westeurope","properties":{"connectionType":"ExpressRoute","virtualNetworkGateway1":{"id":"` + erGW + `"},"peer":{"id":"` + circuit + `"}}}`

func (r *rig) attach() {
	r.update(func(tx *rp.Tx) error { return gateway.Attach(tx, id(circuit), "interface er0") })
}

func TestCircuit(t *testing.T) {
	r := newRig(t)
	r.Must(http.MethodPut, circuit+version, circuitBody)
	state := func(want string) {
		t.Helper()
		a := r.Must(http.MethodGet, circuit+version, "")
		if got := text(a, "properties.serviceProviderProvisioningState"); got != want || text(a, "properties.circuitProvisioningState") != "Enabled" || text(a, "properties.serviceKey") == "" {
			t.Errorf("the circuit is %s, want %s: %s", got, want, a.Text)
		}
	}
	state("NotProvisioned")
	if got := r.Must(http.MethodGet, "/subscriptions/33333333-3333-3333-3333-333333333333/providers/Microsoft.Network/expressRouteServiceProviders"+version, ""); text(got, "value.0.name") == "" || text(got, "value.0.properties.bandwidthsOffered.0.offerName") != "50Mbps" {
		t.Errorf("providers %s", got.Text)
	}
	r.Must(http.MethodPut, erGW+version, strings.Replace(strings.Replace(gatewayBody(vnet+"/subnets/GatewaySubnet", "two", ""), `"gatewayType":"Vpn"`, `"gatewayType":"ExpressRoute"`, 1), `"name":"VpnGw1","tier":"VpnGw1"`, `"name":"Standard","tier":"Standard"`, 1))
	r.refused(http.MethodPut, toOffice, circuitConnection, "ExpressRouteCircuitNotProvisioned")
	r.attach()
	state("Provisioned")
	r.refused(http.MethodPut, toOffice, circuitConnection, "ExpressRouteCircuitPeeringNotFound")
	r.Must(http.MethodPut, circuit+"/peerings/AzurePrivatePeering"+version, peeringBody)
	if got := text(r.Must(http.MethodGet, circuit+version, ""), "properties.peerings.0.properties.primaryPeerAddressPrefix"); got != "192.168.15.16/30" {
		t.Errorf("the circuit shows the peering as %q", got)
	}
	r.Must(http.MethodPut, toOffice+version, circuitConnection)

	// Before BGP speaks the circuit leads nowhere.
	top, plan := r.planned()
	if len(top.VNets[0].GatewayRoutes) != 0 || len(plan.Circuits) != 1 || len(plan.Sessions) != 1 {
		t.Fatalf("%v %+v", top.VNets[0].GatewayRoutes, plan)
	}
	if got := plan.Sessions[0].Peer; got.Local.String() != "192.168.15.18" || got.Remote.String() != "192.168.15.17" || got.LocalASN != 12076 || got.RemoteASN != 65010 || got.Advertise[0].String() != "10.0.0.0/16" {
		t.Errorf("session %+v", got)
	}
	if got := top.VNets[0].NICs[0].Tunnels[0].Addr.String(); got != "192.168.15.18/30" {
		t.Errorf("Microsoft's address is %s", got)
	}
	status := func(want string) {
		t.Helper()
		if got := text(r.Must(http.MethodGet, toOffice+version, ""), "properties.connectionStatus"); got != want {
			t.Errorf("status %s, want %s", got, want)
		}
	}
	status("NotConnected")
	name := id(toOffice).Key()
	r.wire.circuits[name] = vpn.CircuitState{Up: true, In: 11, Out: 22}
	status("NotConnected")
	r.wire.sessions[name] = bgp.State{Peer: plan.Sessions[0].Peer, Established: true, Routes: []bgp.Route{{Prefix: netip.MustParsePrefix("192.168.0.0/24"), ASPath: []uint32{65010}}}}
	status("Connected")

	// What it learned are routes, and preferred to a VPN's while they are there.
	r.vpnGateway()
	r.Must(http.MethodPut, local+version, localBody)
	r.Must(http.MethodPut, toSite+version, siteBody(`,"sharedKey":"k"`))
	hop := func(want string) {
		t.Helper()
		top, _ := r.planned()
		for _, g := range top.VNets[0].GatewayRoutes {
			if g.Prefix.String() == "192.168.0.0/24" {
				if !strings.Contains(g.NIC, want) {
					t.Errorf("the office is behind %s, want %s", g.NIC, want)
				}
				return
			}
		}
		t.Error("the office is nowhere")
	}
	hop("/er/")
	r.wire.sessions[name] = bgp.State{}
	hop("/vpn/")
	r.wire.sessions[name] = bgp.State{Peer: plan.Sessions[0].Peer, Established: true, Routes: []bgp.Route{{Prefix: netip.MustParsePrefix("192.168.0.0/24"), ASPath: []uint32{65010}}}}
	if got := r.Must(http.MethodPost, erGW+"/getLearnedRoutes"+version, ""); text(got, "value.1.network") != "192.168.0.0/24" || text(got, "value.1.asPath") != "12076-65010" {
		t.Errorf("learned %s", got.Text)
	}
	if got := r.Must(http.MethodPost, erGW+"/getBgpPeerStatus"+version, ""); text(got, "value.0.state") != "Connected" || text(got, "value.0.neighbor") != "192.168.15.17" {
		t.Errorf("peers %s", got.Text)
	}
	if got := r.Must(http.MethodPost, erGW+"/getAdvertisedRoutes"+version+"&peer=192.168.15.17", ""); text(got, "value.0.network") != "10.0.0.0/16" {
		t.Errorf("advertised %s", got.Text)
	}
	if got := r.Must(http.MethodGet, circuit+"/stats"+version, ""); !strings.Contains(got.Text, `"primarybytesIn":11`) {
		t.Errorf("statistics %s", got.Text)
	}
	r.refused(http.MethodDelete, circuit, "", "InUseExpressRouteCircuitCannotBeDeleted")
	r.refused(http.MethodDelete, circuit+"/peerings/AzurePrivatePeering", "", "InUseExpressRouteCircuitPeeringCannotBeDeleted")
	r.Must(http.MethodDelete, toOffice+version, "")
	r.refused(http.MethodDelete, circuit, "", "ExpressRouteCircuitIsProvisioned")
	r.update(func(tx *rp.Tx) error { return gateway.Detach(tx, id(circuit)) })
	r.Must(http.MethodDelete, circuit+version, "")
}

func TestCircuitRefusals(t *testing.T) {
	r := newRig(t)
	r.Must(http.MethodPut, circuit+version, circuitBody)
	for _, c := range []struct{ name, path, body, code string }{
		{"no provider", circuit, strings.Replace(circuitBody, `"serviceProviderName":"Equinix",`, "", 1), "InvalidRequestFormat"},
		{"Global Reach", circuit, strings.Replace(circuitBody, `"properties":{`, `"properties":{"globalReachEnabled":true,`, 1), "NotImplemented"},
		{"Microsoft's peering", circuit + "/peerings/MicrosoftPeering", strings.Replace(peeringBody, "AzurePrivatePeering", "MicrosoftPeering", 1), "NotImplemented"},
		{"a wide link", circuit + "/peerings/AzurePrivatePeering", strings.Replace(peeringBody, "192.168.15.16/30", "192.168.15.0/24", 1), "InvalidRequestFormat"},
		{"no number", circuit + "/peerings/AzurePrivatePeering", strings.Replace(peeringBody, `"peerASN":65010,`, "", 1), "InvalidRequestFormat"},
		{"no VLAN", circuit + "/peerings/AzurePrivatePeering", strings.Replace(peeringBody, `"vlanId":200`, `"vlanId":5000`, 1), "InvalidRequestFormat"},
	} {
		t.Run(c.name, func(t *testing.T) { r.refused(http.MethodPut, c.path, c.body, c.code) })
	}
}

func TestAuthorization(t *testing.T) {
	r := newRig(t)
	r.Must(http.MethodPut, circuit+version, circuitBody)
	r.Must(http.MethodPut, circuit+"/peerings/AzurePrivatePeering"+version, peeringBody)
	r.attach()
	r.Must(http.MethodPut, erGW+version, strings.Replace(strings.Replace(gatewayBody(vnet+"/subnets/GatewaySubnet", "two", ""), `"gatewayType":"Vpn"`, `"gatewayType":"ExpressRoute"`, 1), `"name":"VpnGw1","tier":"VpnGw1"`, `"name":"Standard","tier":"Standard"`, 1))
	r.Must(http.MethodPut, circuit+"/authorizations/spoke"+version, `{"properties":{}}`)
	a := r.Must(http.MethodGet, circuit+"/authorizations/spoke"+version, "")
	key := text(a, "properties.authorizationKey")
	if key == "" || text(a, "properties.authorizationUseStatus") != "Available" {
		t.Errorf("authorization %s", a.Text)
	}
	with := func(key string) string {
		return strings.Replace(circuitConnection, `"peer"`, `"authorizationKey":"`+key+`","peer"`, 1)
	}
	r.refused(http.MethodPut, toOffice, with("nonsense"), "ExpressRouteAuthorizationNotFound")
	made := r.Must(http.MethodPut, toOffice+version, with(key))
	if strings.Contains(made.Text, key) {
		t.Error("the authorization key is shown")
	}
	if got := text(r.Must(http.MethodGet, circuit+"/authorizations/spoke"+version, ""), "properties.authorizationUseStatus"); got != "InUse" {
		t.Errorf("the authorization is %s", got)
	}
}
