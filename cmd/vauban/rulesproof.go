package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

// Where the proof's nodes and firewall stand.
const (
	egressSpace    = "10.251.0.0/24"
	egressNodes    = "10.251.0.0/26"
	egressFirewall = "10.251.0.64/26"
	egressAddress  = "10.251.0.68" // the first of the firewall's subnet
	nobodysName    = "stranger.vauban-rules-proof.example"
)

// proveEgress makes a network whose nodes leave by a firewall with the rules, and gives each name that they let through
// the address of a server on the region's internet; then each rule's traffic is sent, and that of a name that no
// rule has. What it makes is in the resource group that its caller deletes.
func (a *app) proveEgress(ctx context.Context, w *reachWorld, dir, network string, g generated) error {
	type object = map[string]any
	e := *g.Egress
	e.Firewall, e.Rules, e.Routes = egressAddress, slices.Clone(e.Rules), slices.Clone(e.Routes)
	for i := range e.Rules {
		e.Rules[i].Sources = []string{egressNodes}
	}
	for i := range e.Routes {
		if e.Routes[i].Address != "" {
			e.Routes[i].Address = egressAddress
		}
	}
	group, table := e.Body()
	vnet := network + "virtualNetworks/egress"
	subnets := func(nodes object) object {
		nodes["addressPrefix"] = egressNodes
		return object{"location": g.Location, "properties": object{"addressSpace": object{"addressPrefixes": []string{egressSpace}}, "dhcpOptions": object{"dnsServers": []string{egressAddress}},
			"subnets": []object{{"name": "AzureFirewallSubnet", "properties": object{"addressPrefix": egressFirewall}}, {"name": "nodes", "properties": nodes}}}}
	}
	standard := object{"name": "Standard"}
	writes := []struct {
		id, version string
		body        any
	}{
		{network + "firewallPolicies/egress", proofVersion, object{"location": g.Location, "properties": object{"sku": object{"tier": "Standard"}, "dnsSettings": object{"enableProxy": true}}}},
		{network + "firewallPolicies/egress/ruleCollectionGroups/azureml", proofVersion, object{"properties": group}},
		{network + "publicIPAddresses/egress", proofVersion, object{"location": g.Location, "sku": standard, "properties": object{"publicIPAllocationMethod": "Static"}}},
		{network + "routeTables/egress", proofVersion, object{"location": g.Location, "properties": table}},
		{vnet, proofVersion, subnets(object{"routeTable": object{"id": network + "routeTables/egress"}})},
		{network + "azureFirewalls/egress", proofVersion, object{"location": g.Location, "properties": object{"sku": object{"name": "AZFW_VNet", "tier": "Standard"}, "firewallPolicy": object{"id": network + "firewallPolicies/egress"},
			"ipConfigurations": []object{{"name": "c", "properties": object{"subnet": object{"id": vnet + "/subnets/AzureFirewallSubnet"}, "publicIPAddress": object{"id": network + "publicIPAddresses/egress"}}}}}}},
	}
	var named []string
	for _, s := range append(slices.Clone(g.Samples), rulegen.Sample{To: nobodysName}) {
		if strings.Trim(s.To, "0123456789.") != "" && !slices.Contains(named, s.To) {
			named = append(named, s.To)
		}
	}
	for _, name := range named {
		zone := network + "privateDnsZones/" + name
		writes = append(writes, []struct {
			id, version string
			body        any
		}{
			{zone, "2020-06-01", object{"location": "global"}},
			{zone + "/A/@", "2020-06-01", object{"properties": object{"ttl": 60, "aRecords": []object{{"ipv4Address": strangerAddr.String()}}}}},
			{zone + "/virtualNetworkLinks/egress", "2020-06-01", object{"location": "global", "properties": object{"virtualNetwork": object{"id": vnet}, "registrationEnabled": false}}},
		}...)
	}
	for _, x := range writes {
		if err := w.arm(ctx, http.MethodPut, x.id, x.version, x.body); err != nil {
			return err
		}
	}
	send := func(s rulegen.Sample) (*explain.Answer, error) {
		port, err := strconv.ParseUint(s.Port, 10, 16)
		if err != nil {
			return nil, err
		}
		p := explainParams{From: region.PlaceParams{Subnet: vnet + "/subnets/nodes"}, Host: s.To, Port: uint16(port), Protocol: s.Protocol}
		var out explain.Answer
		if _, err := region.Call(ctx, dir, methodExplain, p, &out); err != nil {
			return nil, err
		}
		if err := compareLive(ctx, dir, p, &out); err != nil {
			return nil, err
		}
		if !out.Live.Agrees {
			return nil, fmt.Errorf("%s %s:%s: the packet says otherwise: %s", s.Protocol, s.To, s.Port, out.Live.Why)
		}
		return &out, nil
	}
	var failed error
	for _, s := range g.Samples {
		if s.Protocol == "udp" && slices.Contains(named, s.To) {
			// The firewall learns a name's addresses as it is asked for them: by a process, which UDP's probe is not.
			if _, err := send(rulegen.Sample{To: s.To, Protocol: "tcp", Port: "443"}); err != nil {
				return err
			}
		}
		out, err := send(s)
		if err != nil {
			return err
		}
		nobody := out.Rule != nil && *out.Rule == explain.NameRule(fabric.FabricRule(fabric.RuleNoRoute)) // it has left: the region plays nobody there
		if !out.Allowed && !nobody {
			failed = errors.Join(failed, fmt.Errorf("rule %s lets %s %s:%s through, and it is refused: %s", s.Rule, s.Protocol, s.To, s.Port, out.By))
		}
	}
	for _, s := range []rulegen.Sample{{To: nobodysName, Protocol: "tcp", Port: "443"}, {To: strangerAddr.String(), Protocol: "tcp", Port: "443"}, {To: strangerAddr.String(), Protocol: "udp", Port: "53"}} {
		out, err := send(s)
		if err != nil {
			return err
		}
		if out.Arrives() {
			failed = errors.Join(failed, fmt.Errorf("no rule lets %s %s:%s through, and it passes", s.Protocol, s.To, s.Port))
		}
	}
	return failed
}
