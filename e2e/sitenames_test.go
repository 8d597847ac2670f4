package e2e

import (
	"strings"
	"testing"
)

// privateNames gives a gateway's network a private resolver, and a zone of its own with the name x in it. It returns the
// inbound endpoint's address.
func (w *gatewayWorld) privateNames(zone, address string) (inbound string) {
	w.t.Helper()
	const vResolver, vZone = "2022-07-01", "2020-06-01"
	network := w.rg + "/providers/Microsoft.Network/"
	prefix := strings.Join(strings.Split(address, ".")[:2], ".")
	delegated := []obj{{"name": "d", "properties": obj{"serviceName": "Microsoft.Network/dnsResolvers"}}}
	for name, space := range map[string]string{"in": prefix + ".33.0/28", "out": prefix + ".34.0/28"} {
		w.put(w.vnet+"/subnets/"+name, vNetwork, obj{"properties": obj{"addressPrefix": space, "delegations": delegated}})
	}
	w.put(network+"privateDnsZones/"+zone, vZone, obj{"location": "global"})
	w.put(network+"privateDnsZones/"+zone+"/A/x", vZone, obj{"properties": obj{"ttl": 1, "aRecords": []obj{{"ipv4Address": address}}}})
	w.put(network+"privateDnsZones/"+zone+"/virtualNetworkLinks/hub", vZone, obj{"location": "global", "properties": obj{"virtualNetwork": obj{"id": w.vnet}, "registrationEnabled": false}})
	resolver := network + "dnsResolvers/r"
	w.put(resolver, vResolver, obj{"location": location, "properties": obj{"virtualNetwork": obj{"id": w.vnet}}})
	in := w.put(resolver+"/inboundEndpoints/in", vResolver, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"subnet": obj{"id": w.vnet + "/subnets/in"}}}}})
	w.put(resolver+"/outboundEndpoints/out", vResolver, obj{"location": location, "properties": obj{"subnet": obj{"id": w.vnet + "/subnets/out"}}})
	return property(in, "properties.ipConfigurations").([]any)[0].(obj)["privateIpAddress"].(string)
}

// forward sends the questions for a zone to a server, by the outbound endpoint.
func (w *gatewayWorld) forward(zone, server string) {
	w.t.Helper()
	const vResolver = "2022-07-01"
	network := w.rg + "/providers/Microsoft.Network/"
	ruleset := network + "dnsForwardingRulesets/rs"
	w.put(ruleset, vResolver, obj{"location": location, "properties": obj{"dnsResolverOutboundEndpoints": []obj{{"id": network + "dnsResolvers/r/outboundEndpoints/out"}}}})
	w.put(ruleset+"/forwardingRules/site", vResolver, obj{"properties": obj{"domainName": zone + ".", "targetDnsServers": []obj{{"ipAddress": server}}}})
	w.put(ruleset+"/virtualNetworkLinks/hub", vResolver, obj{"properties": obj{"virtualNetwork": obj{"id": w.vnet}}})
}

// TestNamesAcrossSites: two sites that a site-to-site connection joins resolve each other's private names, each by its
// outbound endpoint and ruleset through the tunnel to the other's inbound endpoint. Without the connection, and
// where a rule closes the inbound endpoint, they do not.
func TestNamesAcrossSites(t *testing.T) {
	here := newGatewayWorld(t, "10.0", "")
	there := newGatewayWorld(t, "10.1", here.public)
	const ours, theirs, hereX, thereX = "here.test", "there.test", "10.0.1.77", "10.1.1.77"
	hereIn, thereIn := here.privateNames(ours, hereX), there.privateNames(theirs, thereX)
	here.forward(theirs, thereIn)
	there.forward(ours, hereIn)
	if got := here.resolved("hub/web", "x."+ours); got != hereX {
		t.Errorf("a name of its own is %q", got)
	}
	if got := here.asked("hub/web", azureDNS, "x."+theirs); got == thereX {
		t.Errorf("without a connection the other site's name is %q", got)
	}
	toThere := here.connection("there", there.public, "10.1.0.0/16", "shared")
	toHere := there.connection("here", here.public, "10.0.0.0/16", "shared")
	here.vauban("vpn", "underlay", "--address", there.public, "--at", there.outside)
	there.vauban("vpn", "underlay", "--address", here.public, "--at", here.outside)
	here.eventually("the connection is there", func() bool { return here.connected(toThere) == "Connected" && there.connected(toHere) == "Connected" })
	here.eventually("the other site's name by the outbound endpoint", func() bool { return here.resolved("hub/web", "x."+theirs) == thereX })
	there.eventually("and the other way", func() bool { return there.resolved("hub/web", "x."+ours) == hereX })
	// A machine of the other site asks the inbound endpoint itself, through the tunnel.
	if got := there.asked("hub/web", hereIn, "x."+ours); got != hereX {
		t.Errorf("the inbound endpoint says %q to the other site", got)
	}
	e := here.explainLive("--from", "hub/web", "--to", thereIn+":53", "--proto", "udp")
	if !e.Allowed || !e.Live.Agrees {
		t.Errorf("explain of the way to the other site's endpoint: %+v", e)
	}
	// The other site's rules judge the questions.
	nsg := there.rg + "/providers/Microsoft.Network/networkSecurityGroups/in"
	there.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{rule("NoNames", 100, "Inbound", "Deny", "*", "10.0.0.0/16", "*", "53")}}})
	there.put(there.vnet+"/subnets/in", vNetwork, obj{"properties": obj{"addressPrefix": "10.1.33.0/28", "networkSecurityGroup": obj{"id": nsg},
		"delegations": []obj{{"name": "d", "properties": obj{"serviceName": "Microsoft.Network/dnsResolvers"}}}}})
	if got := here.asked("hub/web", azureDNS, "y."+theirs); got == thereX || got == "" {
		t.Errorf("with a closed endpoint the other site's name is %q", got)
	}
}
