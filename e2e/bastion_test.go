package e2e

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// A native client's tunnel enters by AzureBastionSubnet: the rules of that subnet and of the machine's judge it.
func TestBastion(t *testing.T) {
	g := newGround(t, nil).with(t, "PROBE_WAIT=2s")
	g.up()
	rg := "/subscriptions/" + g.sub + "/resourceGroups/bastion"
	network := rg + "/providers/Microsoft.Network/"
	g.put(rg, vResources, obj{"location": location})
	nsg := func(name string, rules ...obj) {
		t.Helper()
		g.put(network+"networkSecurityGroups/"+name, vNetwork, obj{"location": location, "properties": obj{"securityRules": rules}})
	}
	required := []obj{
		rule("https", 1100, "Inbound", "Allow", "Tcp", "Internet", "*", "443"),
		rule("manager", 1110, "Inbound", "Allow", "Tcp", "GatewayManager", "*", "443"),
		rule("probes", 1120, "Inbound", "Allow", "Tcp", "AzureLoadBalancer", "*", "443"),
		rule("data", 1130, "Inbound", "Allow", "*", "VirtualNetwork", "VirtualNetwork", "5701-8080"),
		rule("machines", 1100, "Outbound", "Allow", "*", "*", "VirtualNetwork", "*"),
		rule("cloud", 1110, "Outbound", "Allow", "Tcp", "*", "AzureCloud", "443"),
		rule("sessions", 1120, "Outbound", "Allow", "*", "*", "Internet", "80"),
	}
	nsg("bastion", required...)
	nsg("web")
	g.put(network+"virtualNetworks/hub", vNetwork, obj{"location": location, "properties": obj{
		"addressSpace": obj{"addressPrefixes": []string{"10.0.0.0/16"}},
		"subnets": []obj{
			{"name": "AzureBastionSubnet", "properties": obj{"addressPrefix": "10.0.254.0/26", "networkSecurityGroup": obj{"id": network + "networkSecurityGroups/bastion"}}},
			{"name": "web", "properties": obj{"addressPrefix": "10.0.1.0/24", "networkSecurityGroup": obj{"id": network + "networkSecurityGroups/web"}}},
		}}})
	nic := network + "networkInterfaces/machine"
	g.put(nic, vNetwork, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"name": "ip", "properties": obj{"subnet": obj{"id": network + "virtualNetworks/hub/subnets/web"}}}}}})
	g.put(network+"publicIPAddresses/ip", vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{"publicIPAllocationMethod": "Static"}})
	bastion := g.put(network+"bastionHosts/b", vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{"enableTunneling": true,
		"ipConfigurations": []obj{{"name": "ip", "properties": obj{"subnet": obj{"id": network + "virtualNetworks/hub/subnets/AzureBastionSubnet"}, "publicIPAddress": obj{"id": network + "publicIPAddresses/ip"}}}}}})
	host := g.text(bastion, "properties.dnsName")

	cmd := g.command("exec", "--nic", "machine", "--", "probe", "serve")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	lines := g.start(cmd)
	if !lines.Scan() {
		t.Fatal("the machine does not serve")
	}
	_, port, _ := strings.Cut(lines.Text(), ":")
	token, err := g.token(t.Context(), "https://management.azure.com")
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *answer {
		t.Helper()
		form := url.Values{"resourceId": {nic}, "protocol": {"tcptunnel"}, "workloadHostPort": {port}, "aztoken": {token}}
		return g.send(request{Method: http.MethodPost, URL: "https://" + host + "/api/tokens", Token: "-", Body: strings.NewReader(form.Encode()),
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}})
	}
	open := func() (*websocket.Conn, int) {
		t.Helper()
		var x struct {
			Token string `json:"websocketToken"`
		}
		if err := ask().json(&x); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ws, resp, err := websocket.Dial(ctx, "wss://"+host+"/webtunnelv2/"+x.Token, &websocket.DialOptions{HTTPClient: g.http})
		if resp == nil {
			t.Fatal(err)
		}
		return ws, resp.StatusCode
	}
	ws, status := open()
	if ws == nil {
		t.Fatalf("no tunnel: %d", status)
	}
	defer ws.CloseNow()
	if err := ws.Write(t.Context(), websocket.MessageBinary, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.Read(t.Context()); err != nil || string(b) != "hello\n" {
		t.Errorf("heard %q %v", b, err)
	}
	// From the internet by the bastion's address, and by no other.
	if a, err := g.sendFrom("internet", "-token", "-", "GET", "https://"+host+"/"); err != nil || a.Status != http.StatusOK {
		t.Errorf("the page from the internet: %v %v", a, err)
	}
	if a, err := g.sendFrom("internet", "-token", "-", "-dial", "management.azure.com:443", "GET", "https://"+host+"/"); err != nil || a.Status != http.StatusMisdirectedRequest {
		t.Errorf("the page by another address: %v %v", a, err)
	}
	// The machine's rules see the bastion's subnet.
	nsg("web", rule("not-from-the-bastion", 100, "Inbound", "Deny", "*", "10.0.254.0/26", "*", "*"))
	if ws, status := open(); ws != nil || status != http.StatusBadGateway {
		t.Errorf("a rule denies the bastion's subnet: %d", status)
	}
	nsg("web")
	// The bastion's own rules count: who may come in, and where it may go.
	nsg("bastion", append(required, rule("not-there", 100, "Outbound", "Deny", "*", "*", "10.0.1.0/24", "*"))...)
	if ws, status := open(); ws != nil || status != http.StatusBadGateway {
		t.Errorf("a rule keeps the bastion from the machine: %d", status)
	}
	nsg("bastion", append(required, rule("nobody", 100, "Inbound", "Deny", "*", "Internet", "*", "443"))...)
	if a := ask(); a.Status != http.StatusForbidden {
		t.Errorf("a rule closes the bastion: %s", a)
	}
}
