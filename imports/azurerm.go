package imports

import "strings"

// mapping says a type of the azurerm provider as Azure's (the provider's own documentation of each resource).
type mapping struct {
	typ, version string
	id           func(v *values) string
	body         func(v *values) map[string]any
}

// grouped is a mapping of what stands in a resource group.
func grouped(typ, version string, body func(v *values) map[string]any) *mapping {
	return &mapping{typ, version, func(v *values) string { return in(v.group(), "/providers/"+typ+"/", v.text("name")) }, body}
}

const (
	network = "Microsoft.Network/"
	netAPI  = "2023-09-01"
)

// mappings are those that are sure, by the provider's name of the type. They are made by init, since bodies look up what
// they refer to in them.
var mappings map[string]*mapping

func init() {
	vnet := func(v *values) string {
		return in(v.group(), "/providers/"+network+"virtualNetworks/", v.text("virtual_network_name"))
	}
	mappings = map[string]*mapping{
		"azurerm_resource_group": {"Microsoft.Resources/resourceGroups", "2022-09-01",
			func(v *values) string { return in("/subscriptions/"+Subscription, "/resourceGroups/", v.text("name")) },
			func(v *values) map[string]any { b := v.tracked(nil); delete(b, "properties"); return b }},
		"azurerm_virtual_network": grouped(network+"virtualNetworks", netAPI, func(v *values) map[string]any {
			p := map[string]any{"addressSpace": map[string]any{"addressPrefixes": v.list("address_space")}}
			if dns := v.list("dns_servers"); len(dns) > 0 {
				p["dhcpOptions"] = map[string]any{"dnsServers": dns}
			}
			return v.tracked(p)
		}),
		"azurerm_subnet": {network + "virtualNetworks/subnets", netAPI, func(v *values) string { return in(vnet(v), "/subnets/", v.text("name")) }, subnet},
		"azurerm_network_security_group": grouped(network+"networkSecurityGroups", netAPI, func(v *values) map[string]any {
			rules := []any{}
			for _, r := range v.list("security_rule") {
				if m, ok := r.(map[string]any); ok {
					rules = append(rules, map[string]any{"name": m["name"], "properties": securityRule(m)})
				}
			}
			return v.tracked(map[string]any{"securityRules": rules})
		}),
		"azurerm_network_security_rule": {network + "networkSecurityGroups/securityRules", netAPI,
			func(v *values) string {
				return in(in(v.group(), "/providers/"+network+"networkSecurityGroups/", v.text("network_security_group_name")), "/securityRules/", v.text("name"))
			},
			func(v *values) map[string]any { return map[string]any{"properties": securityRule(v.r.Values)} }},
		"azurerm_route_table": grouped(network+"routeTables", netAPI, func(v *values) map[string]any {
			routes := []any{}
			for _, r := range v.list("route") {
				if m, ok := r.(map[string]any); ok {
					p := map[string]any{"addressPrefix": m["address_prefix"], "nextHopType": m["next_hop_type"]}
					set(p, "nextHopIpAddress", m["next_hop_in_ip_address"])
					routes = append(routes, map[string]any{"name": m["name"], "properties": p})
				}
			}
			return v.tracked(map[string]any{"routes": routes})
		}),
		"azurerm_public_ip": grouped(network+"publicIPAddresses", netAPI, func(v *values) map[string]any {
			b := v.tracked(map[string]any{"publicIPAllocationMethod": v.text("allocation_method")})
			sku := v.text("sku")
			if sku == "" {
				sku = "Standard"
			}
			b["sku"] = map[string]any{"name": sku}
			return b
		}),
		"azurerm_network_interface": grouped(network+"networkInterfaces", netAPI, func(v *values) map[string]any {
			configs := []any{}
			for _, c := range v.list("ip_configuration") {
				m, ok := c.(map[string]any)
				if !ok {
					continue
				}
				p := map[string]any{"privateIPAllocationMethod": m["private_ip_address_allocation"]}
				set(p, "privateIPAddress", m["private_ip_address"])
				set(p, "subnet", v.blockRef(m, "ip_configuration", "subnet_id"))
				set(p, "publicIPAddress", v.blockRef(m, "ip_configuration", "public_ip_address_id"))
				configs = append(configs, map[string]any{"name": m["name"], "properties": p})
			}
			return v.tracked(map[string]any{"ipConfigurations": configs})
		}),
		"azurerm_private_dns_zone": grouped(network+"privateDnsZones", "2020-06-01", func(v *values) map[string]any {
			b := v.tracked(map[string]any{})
			b["location"] = "global"
			return b
		}),
		"azurerm_private_dns_zone_virtual_network_link": {network + "privateDnsZones/virtualNetworkLinks", "2020-06-01",
			func(v *values) string {
				return in(in(v.group(), "/providers/"+network+"privateDnsZones/", v.text("private_dns_zone_name")), "/virtualNetworkLinks/", v.text("name"))
			},
			func(v *values) map[string]any {
				p := map[string]any{"registrationEnabled": v.r.Values["registration_enabled"] == true}
				set(p, "virtualNetwork", v.ref("virtual_network_id"))
				b := v.tracked(p)
				b["location"] = "global"
				return b
			}},
		"azurerm_private_endpoint": grouped(network+"privateEndpoints", netAPI, func(v *values) map[string]any {
			p := map[string]any{}
			set(p, "subnet", v.ref("subnet_id"))
			connections, manual := []any{}, []any{}
			for _, c := range v.list("private_service_connection") {
				m, ok := c.(map[string]any)
				if !ok {
					continue
				}
				q := map[string]any{}
				set(q, "groupIds", m["subresource_names"])
				if id, ok := v.blockRef(m, "private_service_connection", "private_connection_resource_id").(map[string]any); ok {
					q["privateLinkServiceId"] = id["id"]
				}
				set(q, "requestMessage", m["request_message"])
				x := map[string]any{"name": m["name"], "properties": q}
				if m["is_manual_connection"] == true {
					manual = append(manual, x)
				} else {
					connections = append(connections, x)
				}
			}
			set(p, "privateLinkServiceConnections", connections)
			set(p, "manualPrivateLinkServiceConnections", manual)
			return v.tracked(p)
		}),
		"azurerm_user_assigned_identity": grouped("Microsoft.ManagedIdentity/userAssignedIdentities", "2023-01-31", func(v *values) map[string]any { return v.tracked(map[string]any{}) }),
		"azurerm_storage_account":        grouped("Microsoft.Storage/storageAccounts", "2023-01-01", storageAccount),
		"azurerm_key_vault":              grouped("Microsoft.KeyVault/vaults", "2023-02-01", keyVault),
		"azurerm_log_analytics_workspace": grouped("Microsoft.OperationalInsights/workspaces", "2022-10-01", func(v *values) map[string]any {
			p := map[string]any{}
			if sku := v.text("sku"); sku != "" {
				p["sku"] = map[string]any{"name": sku}
			}
			set(p, "retentionInDays", v.r.Values["retention_in_days"])
			return v.tracked(p)
		}),
		"azurerm_application_insights": grouped("Microsoft.Insights/components", "2020-02-02", func(v *values) map[string]any {
			p := map[string]any{"Application_Type": v.text("application_type")}
			if id, ok := v.ref("workspace_id").(map[string]any); ok {
				p["WorkspaceResourceId"] = id["id"]
			}
			b := v.tracked(p)
			b["kind"] = v.text("application_type")
			return b
		}),
		"azurerm_machine_learning_workspace": grouped("Microsoft.MachineLearningServices/workspaces", "2023-10-01", func(v *values) map[string]any {
			p := map[string]any{}
			for attribute, property := range map[string]string{"application_insights_id": "applicationInsights", "key_vault_id": "keyVault", "storage_account_id": "storageAccount", "container_registry_id": "containerRegistry", "primary_user_assigned_identity": "primaryUserAssignedIdentity"} {
				if id, ok := v.ref(attribute).(map[string]any); ok {
					p[property] = id["id"]
				}
			}
			set(p, "friendlyName", v.text("friendly_name"))
			set(p, "publicNetworkAccess", enabled(v.r.Values["public_network_access_enabled"]))
			set(p, "hbiWorkspace", v.r.Values["high_business_impact"])
			return v.tracked(p)
		}),
	}
}

// blockRef is an id in a block.
func (v *values) blockRef(m map[string]any, name, attribute string) any {
	if s, _ := m[attribute].(string); s != "" {
		return map[string]any{"id": s}
	}
	if id := v.referred(v.expression(name, attribute)); id != "" {
		return map[string]any{"id": id}
	}
	v.known = v.known && v.expression(name, attribute) == nil
	return nil
}

func enabled(v any) any {
	switch v {
	case true:
		return "Enabled"
	case false:
		return "Disabled"
	}
	return nil
}

func subnet(v *values) map[string]any {
	p := map[string]any{}
	if prefixes := v.list("address_prefixes"); len(prefixes) == 1 {
		p["addressPrefix"] = prefixes[0]
	} else {
		set(p, "addressPrefixes", prefixes)
	}
	var endpoints, delegations []any
	for _, s := range v.list("service_endpoints") {
		endpoints = append(endpoints, map[string]any{"service": s})
	}
	for _, d := range v.list("delegation") {
		m, _ := d.(map[string]any)
		delegations = append(delegations, map[string]any{"name": m["name"], "properties": map[string]any{"serviceName": block(m, "service_delegation")["name"]}})
	}
	set(p, "serviceEndpoints", endpoints)
	set(p, "delegations", delegations)
	set(p, "privateEndpointNetworkPolicies", v.text("private_endpoint_network_policies"))
	set(p, "defaultOutboundAccess", v.r.Values["default_outbound_access_enabled"])
	return map[string]any{"properties": p}
}

func securityRule(m map[string]any) map[string]any {
	p := map[string]any{}
	for attribute, property := range map[string]string{
		"priority": "priority", "direction": "direction", "access": "access", "protocol": "protocol", "description": "description",
		"source_port_range": "sourcePortRange", "source_port_ranges": "sourcePortRanges", "destination_port_range": "destinationPortRange", "destination_port_ranges": "destinationPortRanges",
		"source_address_prefix": "sourceAddressPrefix", "source_address_prefixes": "sourceAddressPrefixes", "destination_address_prefix": "destinationAddressPrefix", "destination_address_prefixes": "destinationAddressPrefixes",
	} {
		set(p, property, m[attribute])
	}
	return p
}

// networkRules are the block of the firewalls of accounts and vaults.
func networkRules(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	acls := map[string]any{}
	set(acls, "defaultAction", m["default_action"])
	switch b := m["bypass"].(type) {
	case []any:
		parts := make([]string, len(b))
		for i, x := range b {
			parts[i], _ = x.(string)
		}
		set(acls, "bypass", strings.Join(parts, ", "))
	case string:
		set(acls, "bypass", b)
	}
	var ips, subnets []any
	for _, ip := range asList(m["ip_rules"]) {
		ips = append(ips, map[string]any{"value": ip})
	}
	for _, s := range asList(m["virtual_network_subnet_ids"]) {
		subnets = append(subnets, map[string]any{"id": s})
	}
	set(acls, "ipRules", ips)
	set(acls, "virtualNetworkRules", subnets)
	return acls
}

func asList(v any) []any { l, _ := v.([]any); return l }

func storageAccount(v *values) map[string]any {
	p := map[string]any{}
	set(p, "minimumTlsVersion", v.text("min_tls_version"))
	set(p, "accessTier", v.text("access_tier"))
	set(p, "allowSharedKeyAccess", v.r.Values["shared_access_key_enabled"])
	set(p, "allowBlobPublicAccess", v.r.Values["allow_nested_items_to_be_public"])
	set(p, "supportsHttpsTrafficOnly", v.r.Values["https_traffic_only_enabled"])
	set(p, "publicNetworkAccess", enabled(v.r.Values["public_network_access_enabled"]))
	set(p, "isHnsEnabled", v.r.Values["is_hns_enabled"])
	set(p, "networkAcls", networkRules(block(v.r.Values, "network_rules")))
	b := v.tracked(p)
	b["sku"] = map[string]any{"name": v.text("account_tier") + "_" + v.text("account_replication_type")}
	b["kind"] = v.text("account_kind")
	if b["kind"] == "" {
		b["kind"] = "StorageV2"
	}
	return b
}

func keyVault(v *values) map[string]any {
	p := map[string]any{"accessPolicies": []any{}, "sku": map[string]any{"family": "A", "name": v.text("sku_name")}}
	set(p, "tenantId", v.text("tenant_id"))
	set(p, "softDeleteRetentionInDays", v.r.Values["soft_delete_retention_days"])
	if v.r.Values["purge_protection_enabled"] == true {
		p["enablePurgeProtection"] = true
	}
	for _, attribute := range []string{"rbac_authorization_enabled", "enable_rbac_authorization"} {
		set(p, "enableRbacAuthorization", v.r.Values[attribute])
	}
	set(p, "publicNetworkAccess", enabled(v.r.Values["public_network_access_enabled"]))
	set(p, "networkAcls", networkRules(block(v.r.Values, "network_acls")))
	return v.tracked(p)
}

// associations are resources of the provider that change another one; a text says why that cannot be.
var associations = map[string]func(p *plan, r *tfResource) string{
	"azurerm_subnet_network_security_group_association": func(p *plan, r *tfResource) string {
		return p.join(r, "networkSecurityGroup", "network_security_group_id")
	},
	"azurerm_subnet_route_table_association": func(p *plan, r *tfResource) string { return p.join(r, "routeTable", "route_table_id") },
}

// join puts a reference into the subnet of an association.
func (p *plan) join(r *tfResource, property, attribute string) string {
	v := &values{p: p, r: r, known: true}
	at, ok := p.byID[strings.ToLower(v.text("subnet_id"))]
	id := v.text(attribute)
	if !ok || id == "" {
		return "the subnet or what is put on it does not follow from the plan"
	}
	properties, _ := p.file.Resources[at].Body["properties"].(map[string]any)
	properties[property] = map[string]any{"id": id}
	return ""
}
