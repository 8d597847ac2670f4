package e2e

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"
)

// TestLoadBalancer: by the frontend's address a client in the network reaches a backend that the probe finds
// healthy. When its service ends it is found out, said, and gets no connections; the rule that counts them says
// why. An NSG that refuses AzureLoadBalancer makes a backend look down, as in Azure.
func TestLoadBalancer(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	backend := g.serve("hub/jumpbox")
	host, text, err := net.SplitHostPort(backend.addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	lb := w.group + "/providers/Microsoft.Network/loadBalancers/lb"
	ref := func(kind, name string) obj { return obj{"id": lb + "/" + kind + "/" + name} }
	w.put(lb, vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{
		"frontendIPConfigurations": []obj{{"name": "front", "properties": obj{"subnet": obj{"id": w.vnet + "/subnets/training"}, "privateIPAllocationMethod": "Static", "privateIPAddress": "10.20.1.100"}}},
		"backendAddressPools": []obj{{"name": "pool", "properties": obj{"virtualNetwork": obj{"id": w.vnet},
			"loadBalancerBackendAddresses": []obj{{"name": "one", "properties": obj{"ipAddress": host}}}}}},
		"probes": []obj{{"name": "alive", "properties": obj{"protocol": "Tcp", "port": port, "intervalInSeconds": 5, "numberOfProbes": 1, "probeThreshold": 1}}},
		"loadBalancingRules": []obj{{"name": "rule", "properties": obj{"protocol": "Tcp", "frontendPort": 80, "backendPort": port, "enableFloatingIP": false,
			"frontendIPConfiguration": ref("frontendIPConfigurations", "front"), "backendAddressPool": ref("backendAddressPools", "pool"), "probe": ref("probes", "alive")}}},
	}})
	const frontend = "10.20.1.100:80"
	health := func() (out struct{ Up, Down int }) {
		t.Helper()
		a := w.send(request{Method: "POST", URL: "https://management.azure.com" + lb + "/loadBalancingRules/rule/health?api-version=" + vNetwork})
		if err := a.json(&out); err != nil {
			t.Fatalf("health: %s", a)
		}
		return out
	}
	warned := func(reason string) bool {
		out, err := g.output(g.command("status", "--json"))
		var s struct{ Warnings []string }
		if err != nil || json.Unmarshal([]byte(out), &s) != nil {
			t.Fatalf("status: %v %s", err, out)
		}
		for _, one := range s.Warnings {
			if strings.Contains(one, "backend "+host+" is down") && strings.Contains(one, reason) {
				return true
			}
		}
		return false
	}
	g.eventually("the backend is up", func() bool { h := health(); return h.Up == 1 && h.Down == 0 })
	g.reaches("hub/training", "tcp", frontend, "answered")
	if e := g.explain("hub/training", "tcp", frontend); !e.Allowed {
		t.Errorf("explain says %+v", e)
	}
	g.reaches("other/default", "tcp", frontend, "dropped") // another network

	nsg := w.group + "/providers/Microsoft.Network/networkSecurityGroups/jumpbox/securityRules/no-probes"
	probes := func(access string) {
		w.put(nsg, vNetwork, obj{"properties": rule("no-probes", 100, "Inbound", access, "*", "AzureLoadBalancer", "*", "*")["properties"]})
	}
	probes("Deny")
	g.eventually("the group hides the backend from the probe", func() bool { return health().Down == 1 })
	probes("Allow")
	g.eventually("the backend is seen again", func() bool { return health().Up == 1 })

	if err := backend.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	backend.Wait()
	g.eventually("the probe finds the backend out", func() bool { return warned("refused") })
	before := g.counters()
	g.reaches("hub/training", "tcp", frontend, "dropped")
	noBackend := ruleRef{Owner: "fabric", Rule: "no-backend"}
	if after := g.counters(); after[noBackend] <= before[noBackend] {
		t.Errorf("no-backend was counted %d times, is %d: %v", before[noBackend], after[noBackend], after)
	}
	if e := g.explain("hub/training", "tcp", frontend); e.Allowed || e.Rule == nil || e.Rule.Rule != "no-backend" {
		t.Errorf("explain says %+v", e)
	}
}

// TestPublicFrontend: a public frontend is closed until a group opens the backend's own port, and the backend sees
// the client itself.
func TestPublicFrontend(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	backend := g.serve("hub/jumpbox")
	host, text, err := net.SplitHostPort(backend.addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	net0 := w.group + "/providers/Microsoft.Network/"
	lb, standard := net0+"loadBalancers/public", obj{"name": "Standard", "tier": "Regional"}
	ip := w.put(net0+"publicIPAddresses/front", vNetwork, obj{"location": location, "sku": standard, "properties": obj{"publicIPAllocationMethod": "Static"}})
	frontend := w.text(ip, "properties.ipAddress") + ":80"
	ref := func(kind, name string) obj { return obj{"id": lb + "/" + kind + "/" + name} }
	w.put(lb, vNetwork, obj{"location": location, "sku": standard, "properties": obj{
		"frontendIPConfigurations": []obj{{"name": "front", "properties": obj{"publicIPAddress": obj{"id": net0 + "publicIPAddresses/front"}}}},
		"backendAddressPools": []obj{{"name": "pool", "properties": obj{"virtualNetwork": obj{"id": w.vnet},
			"loadBalancerBackendAddresses": []obj{{"name": "one", "properties": obj{"ipAddress": host}}}}}},
		"loadBalancingRules": []obj{{"name": "rule", "properties": obj{"protocol": "Tcp", "frontendPort": 80, "backendPort": port, "disableOutboundSnat": true,
			"frontendIPConfiguration": ref("frontendIPConfigurations", "front"), "backendAddressPool": ref("backendAddressPools", "pool")}}},
	}})
	if e := g.explain("internet", "tcp", frontend); e.Allowed || e.Rule == nil || e.Rule.Rule != "DenyAllInBound" {
		t.Errorf("closed, explain says %+v", e)
	}
	g.reaches("internet", "tcp", frontend, "dropped")
	allow := net0 + "networkSecurityGroups/jumpbox/securityRules/public"
	// The frontend's port says nothing to the group, nor another address than the client's own.
	w.put(allow, vNetwork, obj{"properties": rule("public", 100, "Inbound", "Allow", "Tcp", "Internet", "*", "80")["properties"]})
	g.reaches("internet", "tcp", frontend, "dropped")
	w.put(allow, vNetwork, obj{"properties": rule("public", 100, "Inbound", "Allow", "Tcp", "203.0.113.10", host, text)["properties"]})
	g.reaches("internet", "tcp", frontend, "answered")
	g.reaches("other/default", "tcp", frontend, "dropped") // another client
}
