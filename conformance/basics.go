package conformance

import (
	"fmt"
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
		s.subnets++
		return maker{version: "2024-05-01", body: object{"properties": object{
			"addressPrefix": fmt.Sprintf("10.%d.0.0/16", 100+s.subnets), "privateLinkServiceNetworkPolicies": "Disabled"}}}, true
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
		front := object{"name": "seed", "properties": object{"subnet": subnet}}
		return network(object{"sku": object{"name": "Standard"}, "properties": object{"frontendIPConfigurations": []any{front}, "backendAddressPools": []any{object{"name": "seed"}}}})
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
