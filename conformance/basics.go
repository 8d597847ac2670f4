package conformance

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

type object = map[string]any

// basic is the least body of Azure's documents for what the examples of all services lean on.
func (s *seeder) basic(t, id string) (maker, bool) {
	network := func(body object) (maker, bool) {
		if _, has := body["properties"]; !has {
			body["properties"] = object{}
		}
		body["location"] = s.w.location
		return maker{version: "2024-05-01", body: body}, true
	}
	group := strings.Join(strings.Split(id, "/")[:5], "/")
	subnet := object{"id": group + "/providers/Microsoft.Network/virtualNetworks/seed/subnets/seed"}
	switch t {
	case "microsoft.network/virtualnetworks":
		return network(object{"properties": object{"addressSpace": object{"addressPrefixes": []any{"10.0.0.0/8"}}}})
	case "microsoft.network/virtualnetworks/subnets":
		prefix := fmt.Sprintf("10.%d.0.0/16", 101+s.subnets)
		if s.subnets++; s.subnets == 1 && s.address.IsValid() {
			prefix = netip.PrefixFrom(s.address, 16).Masked().String()
		}
		return maker{version: "2024-05-01", body: object{"properties": object{"addressPrefix": prefix, "privateLinkServiceNetworkPolicies": "Disabled"}}}, true
	case "microsoft.network/publicipaddresses":
		return network(object{"sku": object{"name": "Standard"}, "properties": object{"publicIPAllocationMethod": "Static"}})
	case "microsoft.network/publicipprefixes":
		return network(object{"sku": object{"name": "Standard"}, "properties": object{"prefixLength": 30}})
	case "microsoft.network/networksecuritygroups", "microsoft.network/applicationsecuritygroups", "microsoft.network/routetables":
		return network(object{})
	case "microsoft.network/natgateways":
		return network(object{"sku": object{"name": "Standard"}})
	case "microsoft.network/firewallpolicies":
		return network(object{"properties": object{"sku": object{"tier": "Premium"}}})
	case "microsoft.network/networkinterfaces":
		return network(object{"properties": object{"ipConfigurations": []any{object{"name": "seed", "properties": object{"subnet": subnet}}}}})
	case "microsoft.network/loadbalancers":
		return network(s.balancer(id, subnet))
	case "microsoft.network/loadbalancers/inboundnatrules":
		front := "seed"
		for _, inner := range s.inner[strings.ToLower(s.w.path(parent(id)))] {
			if collection, name, _ := strings.Cut(inner, "/"); strings.EqualFold(collection, "frontendIPConfigurations") {
				front = name
				break
			}
		}
		return maker{version: "2024-05-01", body: object{"properties": object{"protocol": "Tcp", "frontendPort": 3389, "backendPort": 3389,
			"frontendIPConfiguration": object{"id": parent(id) + "/frontendIPConfigurations/" + front}}}}, true
	case "microsoft.network/virtualwans":
		return network(object{"properties": object{"type": "Standard"}})
	case "microsoft.network/virtualhubs":
		wan := object{"id": group + "/providers/Microsoft.Network/virtualWans/seed"}
		return network(object{"properties": object{"addressPrefix": "10.250.0.0/23", "sku": "Standard", "virtualWan": wan}})
	case "microsoft.network/networkwatchers/flowlogs":
		return network(object{"properties": object{"enabled": true, "targetResourceId": group + "/providers/Microsoft.Network/virtualNetworks/seed",
			"storageId": group + "/providers/Microsoft.Storage/storageAccounts/seedaccount", "format": object{"type": "JSON", "version": 1}}})
	case "microsoft.network/networkwatchers/packetcaptures":
		return network(object{"properties": object{"target": group + "/providers/Microsoft.Network/networkInterfaces/seed",
			"storageLocation": object{"storageId": group + "/providers/Microsoft.Storage/storageAccounts/seedaccount"}}})
	case "microsoft.network/virtualnetworkgateways":
		return s.gateway(id, group), true
	case "microsoft.network/azurefirewalls":
		return network(object{"properties": object{"ipConfigurations": []any{object{"name": "seed", "properties": object{
			"subnet":          object{"id": group + "/providers/Microsoft.Network/virtualNetworks/seed/subnets/AzureFirewallSubnet"},
			"publicIPAddress": object{"id": group + "/providers/Microsoft.Network/publicIPAddresses/" + id[strings.LastIndex(id, "/")+1:] + "ip"}}}}}})
	case "microsoft.network/ipgroups":
		return network(object{"properties": object{"ipAddresses": []any{"10.0.0.0/24"}}})
	case "microsoft.network/connections":
		return network(object{"properties": object{"connectionType": "IPsec", "sharedKey": "seedseedseed",
			"virtualNetworkGateway1": object{"id": group + "/providers/Microsoft.Network/virtualNetworkGateways/seed"},
			"localNetworkGateway2":   object{"id": group + "/providers/Microsoft.Network/localNetworkGateways/seed"}}})
	case "microsoft.operationalinsights/workspaces":
		return maker{version: "2022-10-01", body: object{"location": s.w.location, "properties": object{}}}, true
	case "microsoft.network/privatelinkservices":
		return network(object{"properties": object{
			"ipConfigurations":                     []any{object{"name": "seed", "properties": object{"subnet": subnet}}},
			"loadBalancerFrontendIpConfigurations": []any{object{"id": group + "/providers/Microsoft.Network/loadBalancers/seed/frontendIPConfigurations/seed"}}}})
	case "microsoft.network/privateendpoints":
		account := object{"name": "seed", "properties": object{"privateLinkServiceId": group + "/providers/Microsoft.Storage/storageAccounts/seedaccount", "groupIds": []any{"blob"}}}
		return network(object{"properties": object{"subnet": subnet, "privateLinkServiceConnections": []any{account}}})
	case "microsoft.machinelearningservices/workspaces":
		return maker{version: "2024-04-01", body: object{"location": s.w.location, "identity": object{"type": "SystemAssigned"}, "properties": object{
			"storageAccount": group + "/providers/Microsoft.Storage/storageAccounts/seedaccount", "keyVault": group + "/providers/Microsoft.KeyVault/vaults/seedvault"}}}, true
	case "microsoft.machinelearningservices/registries":
		return maker{version: "2024-04-01", body: object{"location": s.w.location, "properties": object{"regionDetails": []any{object{"location": s.w.location}}}}}, true
	case "microsoft.machinelearningservices/workspaces/onlineendpoints", "microsoft.machinelearningservices/workspaces/batchendpoints":
		return maker{version: "2024-04-01", body: object{"location": s.w.location, "properties": object{"authMode": "Key"}}}, true
	case "microsoft.containerregistry/registries":
		return maker{version: "2023-07-01", body: object{"location": s.w.location, "sku": object{"name": "Premium"}, "properties": object{"adminUserEnabled": true}}}, true
	case "microsoft.containerservice/managedclusters":
		return maker{version: "2025-02-01", body: object{"location": s.w.location, "identity": object{"type": "SystemAssigned"}, "properties": object{
			"dnsPrefix": "seed", "apiServerAccessProfile": object{"enablePrivateCluster": true}, "kubernetesVersion": "1.33.5",
			"agentPoolProfiles": []any{object{"name": "seedpool", "mode": "System", "count": 1, "vmSize": "Standard_DS2_v2"}}}}}, true
	case "microsoft.network/networkwatchers":
		return network(object{})
	case "microsoft.network/localnetworkgateways":
		return network(object{"properties": object{"gatewayIpAddress": "203.0.113.9", "localNetworkAddressSpace": object{"addressPrefixes": []any{"172.16.0.0/24"}}}})
	case "microsoft.authorization/roledefinitions":
		return maker{version: "2022-04-01", body: object{"properties": object{
			"roleName": "seed " + s.w.path(id)[strings.LastIndex(s.w.path(id), "/")+1:], "type": "CustomRole", "permissions": []any{object{"actions": []any{"*/read"}}},
			"assignableScopes": []any{"/subscriptions/" + s.w.subscription}}}}, true
	case "microsoft.resources/templatespecs":
		return maker{version: "2022-02-01", body: object{"location": s.w.location, "properties": object{}}}, true
	case "microsoft.resources/templatespecs/versions":
		return maker{version: "2022-02-01", body: object{"location": s.w.location, "properties": object{"mainTemplate": s.template()}}}, true
	case "microsoft.documentdb/databaseaccounts":
		return maker{version: "2024-11-15", body: object{"location": s.w.location, "properties": object{
			"databaseAccountOfferType": "Standard", "locations": []any{object{"locationName": s.w.location, "failoverPriority": 0}}}}}, true
	case "microsoft.insights/components":
		return maker{version: "2020-02-02", body: object{"location": s.w.location, "kind": "web", "properties": object{"Application_Type": "web"}}}, true
	case "microsoft.managedidentity/userassignedidentities":
		return maker{version: "2023-01-31", body: object{"location": s.w.location}}, true
	case "microsoft.storage/storageaccounts":
		return maker{version: "2023-05-01", body: object{"location": s.w.location, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}}}, true
	case "microsoft.keyvault/vaults":
		return maker{version: "2023-07-01", body: object{"location": s.w.location, "properties": object{
			"tenantId": s.w.tenant, "sku": object{"family": "A", "name": "standard"}, "accessPolicies": []any{}}}}, true
	}
	return maker{}, false
}

// template is one that can be deployed where the case deploys: with an identity in a group, else with nothing.
func (s *seeder) template() object {
	form, resources := "2018-05-01/subscriptionDeploymentTemplate", []any{}
	if s.grouped {
		form, resources = "2019-04-01/deploymentTemplate", []any{object{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31", "name": "seed", "location": s.w.location}}
	}
	return object{"$schema": "https://schema.management.azure.com/schemas/" + form + ".json#", "contentVersion": "1.0.0.0", "resources": resources}
}

// gateway is a VPN gateway, in a network of its own: a network has one. The names of gateways for ExpressRoute say so.
func (s *seeder) gateway(id, group string) maker {
	name := id[strings.LastIndex(id, "/")+1:]
	properties := object{"gatewayType": "Vpn", "vpnType": "RouteBased", "sku": object{"name": "VpnGw1", "tier": "VpnGw1"}}
	config := object{"subnet": object{"id": group + "/providers/Microsoft.Network/virtualNetworks/" + name + "net/subnets/GatewaySubnet"}}
	if strings.HasPrefix(strings.ToLower(name), "er") {
		properties = object{"gatewayType": "ExpressRoute", "sku": object{"name": "Standard", "tier": "Standard"}}
	} else {
		config["publicIPAddress"] = object{"id": group + "/providers/Microsoft.Network/publicIPAddresses/" + name + "ip"}
	}
	first := "default"
	for _, inner := range s.inner[strings.ToLower(s.w.path(id))] {
		if collection, name, _ := strings.Cut(inner, "/"); strings.EqualFold(collection, "ipConfigurations") {
			first = name
			break
		}
	}
	properties["ipConfigurations"] = []any{object{"name": first, "properties": config}}
	return maker{whole: true, version: "2024-05-01", body: object{"location": s.w.location, "properties": properties}}
}

// addressed are the members by which cases say which address of a subnet they mean.
var addressed = regexp.MustCompile(`(?i)^(privateIPAddress|localIPAddress|sourceIPAddress|ipAddress)$`)

// addressIn is the first private address of a value that stands in the networks that are made for cases.
func addressIn(v any) (found netip.Addr) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if found = addressIn(x); found.IsValid() {
				return found
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			text, _ := v[k].(string)
			if a, err := netip.ParseAddr(text); err == nil && addressed.MatchString(k) && netip.MustParsePrefix("10.0.0.0/8").Contains(a) {
				return a
			}
			if found = addressIn(v[k]); found.IsValid() {
				return found
			}
		}
	}
	return found
}
