package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// builtinCases are resources, written from the definitions' descriptions, that a built-in definition finds not
// compliant and compliant. Properties are meant unless the text begins with its own envelope.
var builtinCases = []struct{ name, typ, bad, good, args string }{
	{"e96a9a5f-07ca-471b-9bc5-6a0f33cbd68f", "Microsoft.MachineLearningServices/workspaces/computes", `{"computeType":"AmlCompute"}`, `{"computeType":"AmlCompute","disableLocalAuth":true}`, ""},
	{"6ddb1705-c8cf-450e-aa4b-19ad6703c440", "Microsoft.MachineLearningServices/workspaces", `{"managedNetwork":{"isolationMode":"Disabled"}}`, `{"managedNetwork":{"isolationMode":"AllowOnlyApprovedOutbound"}}`, `{"isolationMode":"AllowOnlyApprovedOutbound"}`},
	{"7804b5c7-01dc-4723-969b-ae300cc07ff1", "Microsoft.MachineLearningServices/workspaces/computes", `{"computeType":"AmlCompute","properties":{"vmSize":"x"}}`, `{"computeType":"AmlCompute","properties":{"subnet":{"id":"/subscriptions/s/x"}}}`, ""},
	{"ba769a63-b8cc-4b2d-abf6-ac33c7204be8", "Microsoft.MachineLearningServices/workspaces", `{"friendlyName":"x"}`, `{"encryption":{"status":"Enabled"}}`, ""},
	{"e413671a-dd10-4cc1-a943-45b598596cb7", "Microsoft.MachineLearningServices/workspaces", `{}`, `{"v1LegacyMode":true}`, ""},
	{"40cec1dd-a100-4920-b15b-3024fe8901ab", "Microsoft.MachineLearningServices/workspaces", `{"privateEndpointConnections":[{"properties":{"privateLinkServiceConnectionState":{"status":"Pending"}}}]}`, `{"privateEndpointConnections":[{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}]}`, ""},
	{"45e05259-1eb5-4f70-9574-baf73e9d219b", "Microsoft.MachineLearningServices/workspaces", `{}`, `{"privateEndpointConnections":[{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}]}`, ""},
	{"438c38d2-3772-465a-a9cc-7a6666a275ce", "Microsoft.MachineLearningServices/workspaces", `{"publicNetworkAccess":"Enabled"}`, `{"publicNetworkAccess":"Disabled"}`, ""},
	{"5f0c7d88-c7de-45b8-ac49-db49e72eaa78", "Microsoft.MachineLearningServices/workspaces", `{}`, `{"primaryUserAssignedIdentity":"/subscriptions/s/i"}`, ""},
	{"4fa4b6c0-31ca-4c0d-b10d-24b96f62a751", "Microsoft.Storage/storageAccounts", `{"allowBlobPublicAccess":true}`, `{"allowBlobPublicAccess":false}`, ""},
	{"7433c107-6db4-4ad1-b57a-a76dce0154a1", "Microsoft.Storage/storageAccounts", `{"sku":{"name":"Premium_LRS"},"properties":{}}`, `{"sku":{"name":"standard_lrs"},"properties":{}}`, `{"listOfAllowedSKUs":["Standard_LRS"]}`},
	{"bf045164-79ba-4215-8f95-f8048dc1780b", "Microsoft.Storage/storageAccounts", `{"sku":{"name":"Standard_LRS"},"properties":{}}`, `{"sku":{"name":"Standard_GRS"},"properties":{}}`, ""},
	{"c9d007d0-c057-4772-b18c-01e546713bcd", "Microsoft.Storage/storageAccounts", `{"networkAcls":{"bypass":"Logging, Metrics"}}`, `{"networkAcls":{"bypass":"Logging, AzureServices"}}`, ""},
	{"92a89a79-6c52-4a7e-a03f-61306fc49312", "Microsoft.Storage/storageAccounts", `{}`, `{"allowCrossTenantReplication":false}`, ""},
	{"8c6a50c6-9ffd-4ae7-986f-5fa6111f9a54", "Microsoft.Storage/storageAccounts", `{}`, `{"allowSharedKeyAccess":false}`, ""},
	{"6fac406b-40ca-413b-bf8e-0bf964659c25", "Microsoft.Storage/storageAccounts", `{"encryption":{"keySource":"Microsoft.Storage"}}`, `{"encryption":{"keySource":"Microsoft.Keyvault"}}`, ""},
	{"c36a325b-ae04-4863-ad4f-19c6678f8e08", "Microsoft.Storage/storageAccounts/blobServices", `{"isVersioningEnabled":false}`, `{"isVersioningEnabled":true}`, ""},
	{"4733ea7b-a883-42fe-8cac-97454c2a9e4a", "Microsoft.Storage/storageAccounts", `{"encryption":{}}`, `{"encryption":{"requireInfrastructureEncryption":true}}`, ""},
	{"fe83a0eb-a853-422d-aac2-1bffd182c5d0", "Microsoft.Storage/storageAccounts", `{"minimumTlsVersion":"TLS1_0"}`, `{"minimumTlsVersion":"TLS1_2"}`, ""},
	{"db4f9b05-5ffd-4b34-b714-3c710dbb3fd6", "Microsoft.Storage/storageAccounts", `{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"1.2.3.4"}]}}`, `{"networkAcls":{"defaultAction":"Deny","ipRules":[]}}`, ""},
	{"2a1a9cdf-e04d-429a-8416-3bfb72a1b26f", "Microsoft.Storage/storageAccounts", `{"networkAcls":{"defaultAction":"Allow"}}`, `{"networkAcls":{"defaultAction":"Deny"}}`, ""},
	{"bc1b984e-ddae-40cc-801a-050a030e4fbe", "Microsoft.Storage/storageAccounts", `{}`, `{"sasPolicy":{"sasExpirationPeriod":"1.00:00:00"}}`, ""},
	{"7c5a74bf-ae94-4a74-8fcf-644d1e0e6e6f", "Microsoft.Storage/storageAccounts", `{"encryption":{"services":{"blob":{"enabled":false}}}}`, `{"encryption":{"services":{"blob":{"enabled":true}}}}`, ""},
	{"bfecdea6-31c4-4045-ad42-71b9dc87247d", "Microsoft.Storage/storageAccounts/encryptionScopes", `{}`, `{"requireInfrastructureEncryption":true}`, ""},
	{"b2982f36-99f2-4db5-8eff-283140c09693", "Microsoft.Storage/storageAccounts", `{}`, `{"publicNetworkAccess":"Disabled"}`, ""},
	{"f0e5abd0-2554-4736-b7c0-4ffef23475ef", "Microsoft.Storage/storageAccounts", `{"encryption":{"keySource":"Microsoft.Keyvault","services":{"queue":{"keyType":"Service"}}}}`, `{"encryption":{"keySource":"Microsoft.Keyvault","services":{"queue":{"keyType":"Account"}}}}`, ""},
	{"404c3081-a854-4457-ae30-26a93ef643f9", "Microsoft.Storage/storageAccounts", `{"supportsHttpsTrafficOnly":false}`, `{}`, ""},
	{"b5ec538c-daa0-4006-8596-35468b9148e8", "Microsoft.Storage/storageAccounts/encryptionScopes", `{"source":"Microsoft.Storage"}`, `{"source":"Microsoft.KeyVault"}`, ""},
	{"34c877ad-507e-4c82-993e-3452a6e0ad3c", "Microsoft.Storage/storageAccounts", `{"networkAcls":{"defaultAction":"Allow"}}`, `{"networkAcls":{"defaultAction":"Deny"}}`, ""},
	{"5f0bc445-3935-4915-9981-011aa2b46147", "Microsoft.KeyVault/vaults", `{}`, `{"privateEndpointConnections":[{"id":"x"}]}`, ""},
	{"405c5871-3e91-4644-8a63-58e19d68ff5b", "Microsoft.KeyVault/vaults", `{"publicNetworkAccess":"Enabled"}`, `{"publicNetworkAccess":"Disabled"}`, ""},
	{"a6abeaec-4d90-4a02-805f-6b26c4d3fbe9", "Microsoft.KeyVault/vaults", `{}`, `{"privateEndpointConnections":[{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}]}`, ""},
	{"12d4fa5e-1f9f-4c21-97a9-b99b3c6611b5", "Microsoft.KeyVault/vaults", `{}`, `{"enableRbacAuthorization":true}`, ""},
	{"1e66c121-a66a-4b1f-9b83-0fd99bf0fc2d", "Microsoft.KeyVault/vaults", `{"enableSoftDelete":false}`, `{"enableSoftDelete":true}`, ""},
	{"ea4d6841-2173-4317-9747-ff522a45120f", "Microsoft.KeyVault/vaults", `{"networkAcls":{"defaultAction":"Deny"}}`, `{"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[{"id":"/x"}]}}`, ""},
	{"dc921057-6b28-4fbe-9b83-f7bec05db6c2", "Microsoft.ContainerRegistry/registries", `{"adminUserEnabled":true}`, `{}`, ""},
	{"9f2dea28-e834-476c-99c5-3507b4728395", "Microsoft.ContainerRegistry/registries", `{"anonymousPullEnabled":true}`, `{"anonymousPullEnabled":false}`, ""},
	{"5b9159ae-1701-4a6f-9a7a-aa9c8ddd0580", "Microsoft.ContainerRegistry/registries", `{}`, `{"encryption":{"status":"enabled"}}`, ""},
	{"524b0254-c285-4903-bee6-bb8126cde579", "Microsoft.ContainerRegistry/registries", `{"publicNetworkAccess":"Disabled"}`, `{"publicNetworkAccess":"Disabled","policies":{"exportPolicy":{"status":"disabled"}}}`, ""},
	{"e8eef0a8-67cf-4eb4-9386-14b0e78733d4", "Microsoft.ContainerRegistry/registries", `{"privateEndpointConnections":[]}`, `{"privateEndpointConnections":[{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}]}`, ""},
	{"bd560fc0-3c69-498a-ae9f-aa8eb7de0e13", "Microsoft.ContainerRegistry/registries", `{"sku":{"name":"Basic"},"properties":{}}`, `{"sku":{"name":"Premium"},"properties":{}}`, ""},
	{"ff05e24e-195c-447e-b322-5e90c9f9f366", "Microsoft.ContainerRegistry/registries/tokens", `{"status":"enabled"}`, `{"status":"disabled"}`, ""},
	{"610b6183-5f00-4d68-86d2-4ab4cb3a67a5", "Microsoft.Network/firewallPolicies", `{"sku":{"tier":"Premium"},"intrusionDetection":{"configuration":{"signatureOverrides":[{"mode":"Off"}]}}}`, `{"sku":{"tier":"Premium"},"intrusionDetection":{"configuration":{"signatureOverrides":[{"mode":"Deny"}]}}}`, `{"effect":"Audit"}`},
	{"6484db87-a62d-4327-9f07-80a2cbdf333a", "Microsoft.Network/firewallPolicies", `{"sku":{"tier":"Premium"},"intrusionDetection":{"mode":"Off"}}`, `{"sku":{"tier":"Premium"},"intrusionDetection":{"mode":"Alert"}}`, `{"effect":"Audit"}`},
	{"a58ac66d-92cb-409c-94b8-8e48d7a96596", "Microsoft.Network/firewallPolicies/ruleCollectionGroups",
		`{"ruleCollections":[{"ruleCollectionType":"FirewallPolicyFilterRuleCollection","rules":[{"ruleType":"ApplicationRule","terminateTLS":false}]}]}`,
		`{"ruleCollections":[{"ruleCollectionType":"FirewallPolicyFilterRuleCollection","rules":[{"ruleType":"ApplicationRule","terminateTLS":true},{"ruleType":"NetworkRule"}]}]}`, `{"effect":"Audit"}`},
	{"d416745a-506c-48b6-8ab1-83cb814bcaa3", "Microsoft.Network/networkInterfaces", `{"ipConfigurations":[{"properties":{"subnet":{"id":"/v1/subnets/a"}}},{"properties":{"subnet":{"id":"/v2/subnets/a"}}}]}`, `{"ipConfigurations":[{"properties":{"subnet":{"id":"/v1/subnets/a"}}}]}`, `{"virtualNetworkId":"/v1"}`},
	{"794d77cc-fe65-4801-8514-230c0be387a8", "Microsoft.Network/azureFirewalls", `{}`, `{"firewallPolicy":{"id":"/p"}}`, ""},
	{"3e1f521a-d037-4709-bdd6-1f532f271a75", "Microsoft.Network/azureFirewalls", `{}`, `{"zones":["1"],"properties":{}}`, ""},
	{"88c0b9da-ce96-4b03-9635-f29a937e2900", "Microsoft.Network/networkInterfaces", `{"enableIPForwarding":true}`, `{}`, ""},
	{"83a86a26-fd1f-447c-b59d-e51f44264114", "Microsoft.Network/networkInterfaces", `{"ipConfigurations":[{"properties":{}},{"properties":{"publicIPAddress":{"id":"/p"}}}]}`, `{"ipConfigurations":[{"properties":{}}]}`, ""},
	{"2f080164-9f4d-497e-9db6-416dc9f7b48a", "Microsoft.Network/networkWatchers/flowLogs", `{"flowAnalyticsConfiguration":{"networkWatcherFlowAnalyticsConfiguration":{"enabled":false}}}`, `{"flowAnalyticsConfiguration":{"networkWatcherFlowAnalyticsConfiguration":{"enabled":true,"trafficAnalyticsInterval":10}}}`, ""},
	{"e345b6c3-24bd-4c93-9bbb-7e5e49a17b78", "Microsoft.Network/virtualNetworkGateways", `{"gatewayType":"Vpn","sku":{"tier":"Basic"}}`, `{"gatewayType":"Vpn","sku":{"tier":"VpnGw1"}}`, ""},
	{"c4857be7-912a-4c75-87e6-e30292bcdf78", "Microsoft.ContainerRegistry/registries", `{"networkRuleSet":{"defaultAction":"Deny"}}`, `{"networkRuleSet":{"defaultAction":"Deny","virtualNetworkRules":[{"action":"Allow"}]}}`, ""},
	{"60d21c4f-21a3-4d94-85f4-b924e6aeeda4", "Microsoft.Storage/storageAccounts", `{"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[]}}`, `{"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[{"id":"/x"}]}}`, ""},
	{"4c3c6c5f-0d47-4402-99b8-aa543dd8bcee", "Microsoft.Network/virtualNetworks", `{}`, `{"flowLogs":[{"id":"/f"}]}`, ""},
	{"7f40cee6-e933-4d0f-a782-b96615e0f4a6", "Microsoft.MachineLearningServices/workspaces", `{}`, `{"encryption":{"status":"Enabled"}}`, ""},
}

func TestBuiltinsOnResources(t *testing.T) {
	for _, c := range builtinCases {
		b, ok := FindBuiltin(c.name)
		if !ok {
			t.Errorf("no definition %s", c.name)
			continue
		}
		x := builtinIndex(t, b, c.args)
		for body, want := range map[string]string{c.bad: NonCompliant, c.good: Compliant} {
			tree := tree(t, body)
			if _, own := tree["properties"]; !own || strings.HasSuffix(c.typ, "/computes") {
				tree = map[string]any{"properties": tree}
			}
			tree["location"] = "westeurope"
			res := &Resource{ID: "/subscriptions/s/resourceGroups/g/providers/" + c.typ, Type: c.typ, Name: "x", FullName: "x", Tracked: true, Body: tree}
			related := func(q Query) ([]*Resource, error) { return []*Resource{res}, nil }
			states := x.Scan(asked(), []string{"/"}, res, related, func(*Bound, *Resource) string { return "" })
			if len(states) != 1 || states[0].Compliance != want || states[0].Err != nil {
				t.Errorf("%s, %s: %+v, want %s", b.Properties.DisplayName, body, states, want)
			}
		}
	}
}

// builtinIndex assigns a definition with these arguments, or made-up ones where it needs some; a disabled one audits.
func builtinIndex(t *testing.T, b *Builtin, args string) *Index {
	t.Helper()
	c, err := b.Compile()
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]Value{}
	if args != "" {
		var m map[string]any
		if err := decode([]byte(args), &m); err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			given[k] = Value{v}
		}
	}
	for name, p := range c.Parameters {
		if _, ok := given[name]; ok || p.DefaultValue != nil {
			continue
		}
		given[name] = Value{sample(p)}
	}
	a := &Assignment{ID: "/providers/Microsoft.Authorization/policyAssignments/a", DefinitionID: b.ID, Scope: "/", Parameters: given}
	if _, err := Bind(one{c}, a); err != nil {
		t.Fatalf("%s: %v", b.Name, err)
	}
	return NewIndex(one{c}, []*Assignment{a}, nil, nil)
}

func sample(p Parameter) any {
	if len(p.AllowedValues) > 0 {
		if strings.EqualFold(p.Type, "Array") {
			return p.AllowedValues[:1]
		}
		return p.AllowedValues[0]
	}
	switch strings.ToLower(p.Type) {
	case "array":
		return []any{"x"}
	case "object":
		return map[string]any{}
	case "boolean":
		return true
	case "integer", "float":
		return json.Number("1")
	}
	return "x"
}

// TestEveryBuiltinEvaluates asks every definition of Resource Manager's modes about a bare resource of each type that
// it names: it decides or says what it lacks, and none fails for want of a function.
func TestEveryBuiltinEvaluates(t *testing.T) {
	other := map[string]int{}
	n := 0
	for _, b := range Builtins() {
		if !b.Properties.ResourceMode() {
			other[b.Properties.Mode]++
			continue
		}
		n++
		x := builtinIndex(t, b, "")
		types := []string{"Microsoft.Storage/storageAccounts"}
		for typ := range x.All()[0].types {
			types = append(types, typ)
		}
		for _, typ := range types {
			res := &Resource{ID: "/subscriptions/s/resourceGroups/g/providers/" + typ + "/x", Type: typ, Name: "x", FullName: "x", Tracked: true, Body: tree(t, `{"location":"westeurope","properties":{}}`)}
			none := func(Query) ([]*Resource, error) { return nil, nil }
			for _, s := range x.Scan(asked(), []string{"/"}, res, none, func(*Bound, *Resource) string { return "" }) {
				if s.Err != nil && (strings.Contains(s.Err.Error(), "is not valid") || strings.Contains(s.Err.Error(), "is not available")) {
					t.Errorf("%s on %s: %v", b.Name, typ, s.Err)
				}
			}
			x.Write(asked(), []string{"/"}, res, false)
		}
	}
	t.Logf("%d definitions evaluate; of data planes: %v", n, slices.Sorted(maps.Keys(other)))
}
