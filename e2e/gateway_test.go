package e2e

import (
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gatewayWorld is a network with a VPN gateway and a machine, in a region of its own.
type gatewayWorld struct {
	*ground
	rg, vnet, gateway string // ids
	public            string // the gateway's address
	outside           string // where the machine's network reaches it
	echo              string // ADDRESS:PORT of the machine
	address           string // id of the gateway's public address
}

// newGatewayWorld makes one; prefix is the first two bytes of its addresses. taken is an address that the
// gateway must not have.
func newGatewayWorld(t *testing.T, prefix, taken string) *gatewayWorld {
	t.Helper()
	w := &gatewayWorld{ground: newGround(t, nil).with(t, "PROBE_WAIT=2s")}
	w.up()
	w.rg = "/subscriptions/" + w.sub + "/resourceGroups/gateways"
	w.put(w.rg, vResources, obj{"location": location})
	network := w.rg + "/providers/Microsoft.Network/"
	w.vnet, w.gateway = network+"virtualNetworks/hub", network+"virtualNetworkGateways/vpn"
	w.put(network+"networkSecurityGroups/nsg", vNetwork, obj{"location": location, "properties": obj{}})
	w.put(w.vnet, vNetwork, obj{"location": location, "properties": obj{
		"addressSpace": obj{"addressPrefixes": []string{prefix + ".0.0/16"}},
		"subnets": []obj{
			{"name": "GatewaySubnet", "properties": obj{"addressPrefix": prefix + ".255.0/27"}},
			{"name": "web", "properties": obj{"addressPrefix": prefix + ".1.0/24", "networkSecurityGroup": obj{"id": network + "networkSecurityGroups/nsg"}}},
		}}})
	for _, name := range []string{"one", "two"} {
		ip := w.put(network+"publicIPAddresses/"+name, vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{"publicIPAllocationMethod": "Static"}})
		w.public = w.text(ip, "properties.ipAddress")
		if w.public == taken {
			continue
		}
		w.address = network + "publicIPAddresses/" + name
		w.setGateway(obj{})
		break
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "datagrams"))
	if err != nil {
		t.Fatal(err)
	}
	w.outside = strings.TrimSpace(string(b))
	cmd := w.at("hub/web", "probe", "serve")
	stdin, err := cmd.StdinPipe() // it ends with it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	lines := w.start(cmd)
	if !lines.Scan() {
		t.Fatal("the machine does not serve")
	}
	w.echo = lines.Text()
	return w
}

// setGateway puts the gateway with more properties.
func (w *gatewayWorld) setGateway(more obj) {
	w.t.Helper()
	p := obj{
		"gatewayType": "Vpn", "vpnType": "RouteBased", "sku": obj{"name": "VpnGw1", "tier": "VpnGw1"},
		"ipConfigurations":       []obj{{"name": "default", "properties": obj{"subnet": obj{"id": w.vnet + "/subnets/GatewaySubnet"}, "publicIPAddress": obj{"id": w.address}}}},
		"vpnClientConfiguration": obj{"vpnClientAddressPool": obj{"addressPrefixes": []string{"172.20.0.0/24"}}},
	}
	maps.Copy(p, more)
	w.put(w.gateway, vNetwork, obj{"location": location, "properties": p})
}

// rule sets the one rule for who may reach the machine.
func (w *gatewayWorld) rule(access, source string) {
	w.t.Helper()
	w.put(w.rg+"/providers/Microsoft.Network/networkSecurityGroups/nsg/securityRules/rule", vNetwork, obj{"properties": obj{
		"priority": 100, "direction": "Inbound", "access": access, "protocol": "*", "sourceAddressPrefix": source, "sourcePortRange": "*",
		"destinationAddressPrefix": "*", "destinationPortRange": "*"}})
}

// A client joins by its profile, is judged by the network's rules, and is cut off when it is revoked.
func TestPointToSite(t *testing.T) {
	w := newGatewayWorld(t, "10.0", "")
	alice := w.joinVPN(t, w.vauban("vpn", "profile", "--gateway", "vpn", "--client", "alice"), "")
	bob := w.joinVPN(t, w.vauban("vpn", "profile", "--gateway", "vpn", "--client", "bob"), "")
	w.eventually("alice gets through", func() bool { return alice.reach(w.echo) == "answered" })
	w.eventually("bob gets through", func() bool { return bob.reach(w.echo) == "answered" })
	if out := w.vauban("vpn", "clients", "--gateway", "vpn"); strings.Count(out, "true") != 2 {
		t.Errorf("clients:\n%s", out)
	}
	w.rule("Deny", "172.20.0.0/24")
	if got := alice.reach(w.echo); got != "dropped" {
		t.Errorf("a client whose addresses a rule denies: %s", got)
	}
	w.rule("Allow", "*")
	// A restart of the server: the device and its routes stay, the client comes again by itself.
	w.kill()
	w.up()
	w.eventually("alice gets through after a restart", func() bool { return alice.reach(w.echo) == "answered" })
	w.vauban("vpn", "revoke", "--gateway", "vpn", "--client", "alice")
	if got := alice.reach(w.echo); got != "dropped" {
		t.Errorf("a revoked client: %s", got)
	}
	w.eventually("bob still gets through", func() bool { return bob.reach(w.echo) == "answered" })
	for _, f := range w.logFiles() {
		if strings.Contains(contents(f), "PrivateKey") {
			t.Errorf("%s has a profile in it", f)
		}
	}
}

// connection makes a site-to-site connection to an address and what lies behind it.
func (w *gatewayWorld) connection(name, address, space, key string) string {
	w.t.Helper()
	network := w.rg + "/providers/Microsoft.Network/"
	w.put(network+"localNetworkGateways/"+name, vNetwork, obj{"location": location, "properties": obj{
		"gatewayIpAddress": address, "localNetworkAddressSpace": obj{"addressPrefixes": []string{space}}}})
	id := network + "connections/" + name
	w.put(id, vNetwork, obj{"location": location, "properties": obj{
		"connectionType": "IPsec", "sharedKey": key, "virtualNetworkGateway1": obj{"id": w.gateway}, "localNetworkGateway2": obj{"id": network + "localNetworkGateways/" + name}}})
	return id
}

func (w *gatewayWorld) connected(id string) string {
	w.t.Helper()
	var a struct {
		Properties struct {
			Status string `json:"connectionStatus"`
		} `json:"properties"`
	}
	if err := w.send(request{Method: http.MethodGet, URL: id + "?api-version=" + vNetwork}).json(&a); err != nil {
		w.t.Fatal(err)
	}
	return a.Properties.Status
}

// Two regions on one machine are each other's site, by the machine's loopback.
func TestSiteToSiteOfRegions(t *testing.T) {
	here := newGatewayWorld(t, "10.0", "")
	there := newGatewayWorld(t, "10.1", here.public)
	toThere := here.connection("there", there.public, "10.1.0.0/16", "shared")
	toHere := there.connection("here", here.public, "10.0.0.0/16", "wrong")
	here.vauban("vpn", "underlay", "--address", there.public, "--at", there.outside)
	there.vauban("vpn", "underlay", "--address", here.public, "--at", here.outside)
	reach := func(from *gatewayWorld, to string) string {
		t.Helper()
		out, err := from.output(from.at("hub/web", "probe", "tcp", to))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if got := reach(here, there.echo); got != "dropped" {
		t.Errorf("with another shared key: %s", got)
	}
	if got := here.connected(toThere); got == "Connected" {
		t.Errorf("with another shared key the connection is %s", got)
	}
	if a := there.send(request{Method: http.MethodPut, URL: toHere + "/sharedkey?api-version=" + vNetwork, Body: jsonBody(obj{"value": "shared"})}); !a.ok() {
		t.Fatal(a)
	}
	here.eventually("the connection is there", func() bool { return here.connected(toThere) == "Connected" && there.connected(toHere) == "Connected" })
	for _, c := range []struct {
		from *gatewayWorld
		to   string
	}{{here, there.echo}, {there, here.echo}} {
		c.from.eventually("machines reach each other", func() bool { return reach(c.from, c.to) == "answered" })
	}
	// Each side's own rules judge what comes from the other.
	there.rule("Deny", "10.0.0.0/16")
	if got := reach(here, there.echo); got != "dropped" {
		t.Errorf("a site whose addresses a rule denies: %s", got)
	}
}

// A plain machine is a site: it joins by the connection's profile.
func TestSiteToSiteOfAMachine(t *testing.T) {
	w := newGatewayWorld(t, "10.0", "")
	id := w.connection("office", "198.51.100.99", "192.168.0.0/24", "shared")
	profile := w.vauban("vpn", "profile", "--connection", "office")
	if got := w.connected(id); got == "Connected" {
		t.Errorf("before anybody called, the connection is %s", got)
	}
	office := w.joinVPN(t, profile, "192.168.0.7/32")
	w.eventually("the office gets through", func() bool { return office.reach(w.echo) == "answered" })
	// Its DNS forwards to the inbound endpoint of the network's resolver, which knows private names and public ones.
	const private = "10.0.1.77"
	inbound := w.privateNames("corp.test", private)
	w.eventually("the office knows a private name", func() bool { return office.asked(inbound, "x.corp.test") == private })
	if got := office.asked(inbound, "management.azure.com"); net.ParseIP(got) == nil {
		t.Errorf("the endpoint says %q of a public name", got)
	}
	if got := office.asked(azureDNS, "x.corp.test"); got == private {
		t.Error("Azure's DNS answers outside of the network")
	}
	if got := w.connected(id); got != "Connected" {
		t.Errorf("the connection is %s", got)
	}
}

// A peered network uses the gateway: its clients reach its machines, and their profiles say so.
func TestGatewayTransit(t *testing.T) {
	w := newGatewayWorld(t, "10.0", "")
	spoke := w.rg + "/providers/Microsoft.Network/virtualNetworks/spoke"
	w.put(spoke, vNetwork, obj{"location": location, "properties": obj{
		"addressSpace": obj{"addressPrefixes": []string{"10.9.0.0/16"}},
		"subnets":      []obj{{"name": "web", "properties": obj{"addressPrefix": "10.9.1.0/24"}}}}})
	peer := func(from, to string, more obj) {
		t.Helper()
		more["remoteVirtualNetwork"], more["allowVirtualNetworkAccess"], more["allowForwardedTraffic"] = obj{"id": to}, true, true
		w.put(from+"/virtualNetworkPeerings/peer", vNetwork, obj{"properties": more})
	}
	peer(w.vnet, spoke, obj{"allowGatewayTransit": true})
	peer(spoke, w.vnet, obj{"useRemoteGateways": true})
	cmd := w.at("spoke/web", "probe", "serve")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	lines := w.start(cmd)
	if !lines.Scan() {
		t.Fatal("the spoke's machine does not serve")
	}
	profile := w.vauban("vpn", "profile", "--gateway", "vpn")
	if !strings.Contains(profile, "10.9.0.0/16") {
		t.Errorf("the profile does not lead to the spoke")
	}
	alice := w.joinVPN(t, profile, "")
	w.eventually("alice reaches the spoke", func() bool { return alice.reach(lines.Text()) == "answered" })
}
