package e2e

import (
	"encoding/hex"
	"net"
	"strconv"
	"strings"
	"testing"
)

// TestPrivateLinkService: an endpoint in one network reaches a service in a network of another subscription, which
// has the same addresses and is not peered with it: once the owner approves, by the service's own address, and
// under the backend's rules.
func TestPrivateLinkService(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	theirs := "/subscriptions/" + w.partner + "/resourceGroups/partner"
	network := theirs + "/providers/Microsoft.Network/"
	w.put(theirs, vResources, obj{"location": location})
	w.put(network+"networkSecurityGroups/back", vNetwork, obj{"location": location})
	vnet := network + "virtualNetworks/provided"
	w.put(vnet, vNetwork, obj{"location": location, "properties": obj{"addressSpace": obj{"addressPrefixes": []string{"10.20.0.0/16"}}, "subnets": []obj{
		{"name": "front", "properties": obj{"addressPrefix": "10.20.1.0/24"}},
		{"name": "nat", "properties": obj{"addressPrefix": "10.20.2.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}},
		{"name": "back", "properties": obj{"addressPrefix": "10.20.3.0/24", "networkSecurityGroup": obj{"id": network + "networkSecurityGroups/back"}}},
	}}})
	backend := g.start(g.at("provided/back", "probe", "whence"))
	if !backend.Scan() {
		t.Fatal("no backend")
	}
	host, text, err := net.SplitHostPort(backend.Text())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	lb := network + "loadBalancers/lb"
	front, pool := obj{"id": lb + "/frontendIPConfigurations/front"}, obj{"id": lb + "/backendAddressPools/pool"}
	w.put(lb, vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{
		"frontendIPConfigurations": []obj{{"name": "front", "properties": obj{"subnet": obj{"id": vnet + "/subnets/front"}}}},
		"backendAddressPools": []obj{{"name": "pool", "properties": obj{"virtualNetwork": obj{"id": vnet},
			"loadBalancerBackendAddresses": []obj{{"name": "one", "properties": obj{"ipAddress": host}}}}}},
		"loadBalancingRules": []obj{{"name": "rule", "properties": obj{"protocol": "Tcp", "frontendPort": 80, "backendPort": port,
			"frontendIPConfiguration": front, "backendAddressPool": pool}}},
	}})
	service := network + "privateLinkServices/pls"
	serve := func(proxy bool) {
		t.Helper()
		w.put(service, vNetwork, obj{"location": location, "properties": obj{
			"loadBalancerFrontendIpConfigurations": []obj{front}, "visibility": obj{"subscriptions": []string{"*"}}, "enableProxyProtocol": proxy,
			"ipConfigurations": []obj{{"name": "nat", "properties": obj{"subnet": obj{"id": vnet + "/subnets/nat"}, "primary": true,
				"privateIPAllocationMethod": "Static", "privateIPAddress": "10.20.2.9"}}}}})
	}
	serve(false)
	alias := w.text(w.settled(service, vNetwork), "properties.alias")
	endpoint := w.group + "/providers/Microsoft.Network/privateEndpoints/pe"
	w.put(endpoint, vNetwork, obj{"location": location, "properties": obj{
		"subnet": obj{"id": w.vnet + "/subnets/endpoints"}, "customNetworkInterfaceName": "pe-nic",
		"manualPrivateLinkServiceConnections": []obj{{"name": "c", "properties": obj{"privateLinkServiceId": alias, "requestMessage": "please"}}}}})
	w.settled(endpoint, vNetwork)
	read := func(id string, v any) {
		t.Helper()
		a := w.send(request{Method: "GET", URL: "https://management.azure.com" + id + "?api-version=" + vNetwork})
		if err := a.json(v); err != nil {
			t.Fatalf("%s: %s %v", id, a, err)
		}
	}
	var nic struct {
		Properties struct {
			IPConfigurations []struct {
				Properties struct{ PrivateIPAddress string }
			}
		}
	}
	read(w.group+"/providers/Microsoft.Network/networkInterfaces/pe-nic", &nic)
	target := nic.Properties.IPConfigurations[0].Properties.PrivateIPAddress + ":80"

	var connections struct {
		Value []struct {
			Name       string
			Properties struct {
				State struct{ Status, Description string } `json:"privateLinkServiceConnectionState"`
			}
		}
	}
	read(service+"/privateEndpointConnections", &connections)
	if c := connections.Value; len(c) != 1 || c[0].Properties.State.Status != "Pending" || c[0].Properties.State.Description != "please" {
		t.Fatalf("the service's connections: %+v", connections)
	}
	decide := func(status string) {
		t.Helper()
		id := service + "/privateEndpointConnections/" + connections.Value[0].Name
		w.put(id, vNetwork, obj{"properties": obj{"privateLinkServiceConnectionState": obj{"status": status, "description": "by the test"}}})
	}
	greet := func() (from string, got []byte, err error) {
		client := g.at("hub/training", "probe", "hold", target)
		client.Stdin = strings.NewReader("hello\n")
		out, err := g.output(client)
		from, sent, _ := strings.Cut(strings.TrimSpace(out), " ")
		got, _ = hex.DecodeString(sent)
		return from, got, err
	}
	greeted := func(what string, ok func(got []byte) bool) {
		t.Helper()
		g.eventually(what, func() bool {
			from, got, err := greet()
			return err == nil && from == "10.20.2.9" && ok(got)
		})
	}
	plain := func(got []byte) bool { return string(got) == "hello\n" }

	g.reaches("hub/training", "tcp", target, "dropped")
	decide("Approved")
	greeted("the backend answers", plain)
	if e := g.explain("hub/training", "tcp", target); !e.Allowed {
		t.Errorf("explain says %+v", e)
	}
	leads := func() bool {
		t.Helper()
		return has(found(g.audit("exfil", "--subnet", "hub/training")), "privateEndpoint", service)
	}
	if !leads() {
		t.Error("the audit does not find the way into another subscription")
	}
	g.reaches("other/default", "tcp", target, "dropped")
	// The network behind is as far as it was: only the service is reached.
	g.reaches("hub/training", "tcp", backend.Text(), "dropped")

	refusal := network + "networkSecurityGroups/back/securityRules/no-service"
	gate := func(access string) {
		t.Helper()
		w.put(refusal, vNetwork, obj{"properties": rule("no-service", 100, "Inbound", access, "*", "10.20.2.9", "*", "*")["properties"]})
	}
	gate("Deny")
	if from, _, err := greet(); err == nil {
		t.Errorf("the backend's group refuses the service's address, it was reached from %s", from)
	}
	if e := g.explain("hub/training", "tcp", target); e.Allowed || e.Rule == nil || e.Rule.Rule != "no-service" {
		t.Errorf("explain says %+v", e)
	}
	if leads() {
		t.Error("the audit finds a way that the backend's group closes")
	}
	if a := g.explainLive("--from", "hub/training", "--to", target); !a.Live.Agrees {
		t.Errorf("a packet and the model disagree: %+v", a.Live)
	}
	gate("Allow")
	greeted("the backend answers again", plain)

	serve(true)
	client := strings.TrimSpace(g.vauban("exec", "--subnet", "hub/training", "--", "probe", "address"))
	greeted("the backend is told who is there", func(got []byte) bool {
		return strings.HasPrefix(string(got), "\r\n\r\n\x00\r\nQUIT\n\x21\x11") && strings.HasSuffix(string(got), "hello\n") && net.IP(got[16:20]).String() == client
	})
	decide("Rejected")
	g.reaches("hub/training", "tcp", target, "dropped")
}
