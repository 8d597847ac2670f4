package azurefirewall_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	model "vauban.dev/azurefirewall"
	"vauban.dev/fabric"
	"vauban.dev/provider/azurefirewall"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatelink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group    = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	net0     = group + "/providers/Microsoft.Network/"
	api      = "?api-version=2024-05-01"
	firewall = net0 + "azureFirewalls/fw"
	policy   = net0 + "firewallPolicies/policy"
	vnet     = net0 + "virtualNetworks/hub"
)

type tags struct{}

func (tags) Prefixes(tag string) ([]netip.Prefix, bool) {
	return []netip.Prefix{netip.MustParsePrefix("20.60.0.0/16")}, strings.EqualFold(tag, "Storage.WestEurope")
}

type noSync struct{}

func (noSync) Sync(context.Context) error { return nil }

type rig struct {
	*rptest.Region
	t        testing.TB
	network  *network.Provider
	provider *azurefirewall.Provider
}

// lateEngine is the engine that the network's types are registered with.
type lateEngine struct{ r *rig }

func (l lateEngine) View(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.View(ctx, f)
}
func (l lateEngine) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.Update(ctx, f)
}

// newRig is a region with a hub that has a firewall's subnets and three public addresses.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	links := privatelink.New()
	r.network = network.New(network.Config{Engine: lateEngine{r}, Targets: links, Sync: noSync{}, Tags: tags{}, PublicPool: netip.MustParsePrefix("20.61.0.0/28")})
	r.provider = azurefirewall.New(azurefirewall.Config{Network: r.network, Sync: noSync{}, Tags: tags{}.Prefixes})
	r.Region = rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, slices.Concat(r.network.Types(), links.Types(), r.provider.Types())...)
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
		{"name":"AzureFirewallSubnet","properties":{"addressPrefix":"10.0.1.0/26"}},{"name":"AzureFirewallManagementSubnet","properties":{"addressPrefix":"10.0.2.0/26"}},
		{"name":"work","properties":{"addressPrefix":"10.0.3.0/24"}}]}}`)
	for _, n := range []string{"a", "b", "m"} {
		r.put(net0+"publicIPAddresses/"+n, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	}
	return r
}

func (r *rig) put(id, body string) rptest.Answer { r.t.Helper(); return r.Must("PUT", id+api, body) }

func (r *rig) refused(method, id, body, code string) {
	r.t.Helper()
	a := r.Request(method, id+api, body)
	if a.Code() != code {
		r.t.Errorf("%s %s: %d %s, want %s", method, id, a.Status, a.Text, code)
	}
}

func config(name, subnet, public string) string {
	s := ""
	if subnet != "" {
		s = `"subnet":{"id":"` + vnet + "/subnets/" + subnet + `"},`
	}
	return `{"name":"` + name + `","properties":{` + s + `"publicIPAddress":{"id":"` + net0 + "publicIPAddresses/" + public + `"}}}`
}

func firewallBody(properties string, configs ...string) string {
	return `{"location":"westeurope","zones":["1"],"properties":{` + properties + `"ipConfigurations":[` + strings.Join(configs, ",") + `]}}`
}

const withPolicy = `"sku":{"name":"AZFW_VNet","tier":"Standard"},"firewallPolicy":{"id":"` + policy + `"},`

func policyBody(properties string) string {
	return `{"location":"westeurope","properties":{` + properties + `}}`
}

func groupBody(priority int, collections ...string) string {
	return fmt.Sprintf(`{"properties":{"priority":%d,"ruleCollections":[%s]}}`, priority, strings.Join(collections, ","))
}

func filter(name string, priority int, action string, rules ...string) string {
	return fmt.Sprintf(`{"ruleCollectionType":"FirewallPolicyFilterRuleCollection","name":%q,"priority":%d,"action":{"type":%q},"rules":[%s]}`, name, priority, action, strings.Join(rules, ","))
}

func nat(name string, priority int, rules ...string) string {
	return fmt.Sprintf(`{"ruleCollectionType":"FirewallPolicyNatRuleCollection","name":%q,"priority":%d,"action":{"type":"DNAT"},"rules":[%s]}`, name, priority, strings.Join(rules, ","))
}

const (
	appRule = `{"ruleType":"ApplicationRule","name":"torch","protocols":[{"protocolType":"Https","port":443}],"targetFqdns":["*.pytorch.org"],"sourceAddresses":["10.0.3.0/24"]}`
	netRule = `{"ruleType":"NetworkRule","name":"smb","ipProtocols":["TCP"],"sourceAddresses":["*"],"destinationAddresses":["Storage.WestEurope"],"destinationPorts":["445"]}`
	udpRule = `{"ruleType":"NetworkRule","name":"tundra","ipProtocols":["UDP"],"sourceAddresses":["*"],"destinationFqdns":["westeurope.tundra.azureml.ms"],"destinationPorts":["5831"]}`
	natRule = `{"ruleType":"NatRule","name":"ssh","ipProtocols":["TCP"],"sourceAddresses":["20.9.0.0/16"],"destinationAddresses":["20.61.0.4"],"destinationPorts":["2222"],"translatedAddress":"10.0.3.4","translatedPort":"22"}`
)

// models are the firewalls of the topology.
func (r *rig) models() map[string]fabric.NIC {
	r.t.Helper()
	found := map[string]fabric.NIC{}
	err := r.Engine.View(r.t.Context(), func(tx *rp.Tx) error {
		t, err := r.network.Topology(tx)
		if err != nil {
			return err
		}
		if err := r.provider.Extend(tx, t); err != nil {
			return err
		}
		for _, v := range t.VNets {
			for _, n := range v.NICs {
				if n.Firewall != nil {
					found[n.ID] = n
				}
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func TestFirewall(t *testing.T) {
	r := newRig(t)
	parent := net0 + "firewallPolicies/parent"
	r.put(parent, policyBody(`"dnsSettings":{"enableProxy":true,"servers":["10.0.3.9"]},"snat":{"privateRanges":["IANAPrivateRanges","51.0.0.0/8"]}`))
	r.put(policy, policyBody(`"basePolicy":{"id":"`+parent+`"}`))
	r.put(net0+"ipGroups/work", `{"location":"westeurope","properties":{"ipAddresses":["10.0.3.0/24","10.0.9.1-10.0.9.4"]}}`)
	r.put(policy+"/ruleCollectionGroups/own", groupBody(100, filter("apps", 200, "Allow", appRule), filter("net", 100, "Allow", netRule, udpRule), nat("in", 300, natRule)))
	r.put(parent+"/ruleCollectionGroups/first", groupBody(300, filter("no", 100, "Deny", `{"ruleType":"NetworkRule","name":"r","ipProtocols":["Any"],"sourceIpGroups":["`+net0+`ipGroups/work"],"destinationAddresses":["20.60.1.1"],"destinationPorts":["*"]}`)))
	r.put(firewall, firewallBody(withPolicy, config("one", "AzureFirewallSubnet", "a"), config("two", "", "b")))

	got := r.Request("GET", firewall+api, "")
	first := got.At("properties", "ipConfigurations").([]any)[0].(map[string]any)
	if a := first["properties"].(map[string]any)["privateIPAddress"]; a != "10.0.1.4" || first["id"] != firewall+"/azureFirewallIpConfigurations/one" {
		t.Errorf("first ip configuration: %v", first)
	}
	if strings.Contains(got.Text, "held") {
		t.Errorf("what the firewall holds is shown: %s", got.Text)
	}
	if p := r.Request("GET", policy+api, ""); !strings.Contains(p.Text, firewall) || !strings.Contains(p.Text, "ruleCollectionGroups/own") {
		t.Errorf("policy: %s", p.Text)
	}
	if p := r.Request("GET", parent+api, ""); !strings.Contains(p.Text, `"childPolicies":[{"id":"`+policy) {
		t.Errorf("parent: %s", p.Text)
	}
	if g := r.Request("GET", policy+"/ruleCollectionGroups/own"+api, ""); !strings.Contains(g.Text, `"targetUrls":[]`) || strings.Contains(g.Text, `"webCategories":null`) {
		t.Errorf("group: %s", g.Text)
	}
	if g := r.Request("GET", net0+"ipGroups/work"+api, ""); !strings.Contains(g.Text, parent) {
		t.Errorf("IP group: %s", g.Text)
	}

	n := r.models()[firewall]
	if n.Firewall == nil || !n.Forwarding || len(n.Addrs) != 2 || len(n.Public) != 2 || n.Public[0].Public != netip.MustParseAddr("20.61.0.4") {
		t.Fatalf("NIC: %+v", n)
	}
	f := n.Firewall
	if !f.DNSProxy || !slices.Equal(f.DNSServers, []netip.Addr{netip.MustParseAddr("10.0.3.9")}) || len(f.PrivateRanges) != 5 {
		t.Errorf("inherited settings: %v %v %v", f.DNSProxy, f.DNSServers, f.PrivateRanges)
	}
	s, err := model.New(f, tags{}.Prefixes)
	if err != nil {
		t.Fatal(err)
	}
	packet := model.Packet{Source: netip.MustParseAddr("10.0.9.2"), Destination: netip.MustParseAddr("20.60.1.1"), Protocol: model.TCP, Port: 445}
	if d := s.Packet(packet, nil); d.Verdict != model.Deny || d.Ref.Path() != "first/no/r" || d.Ref.Policy != parent {
		t.Errorf("the parent's rule comes first: %v by %s", d.Verdict, d.Ref.Path())
	}
	packet.Source = netip.MustParseAddr("10.0.9.9")
	if d := s.Packet(packet, nil); d.Verdict != model.Allow || d.Ref.Path() != "own/net/smb" {
		t.Errorf("then the child's: %v by %s", d.Verdict, d.Ref.Path())
	}
	if d := s.Packet(model.Packet{Source: netip.MustParseAddr("20.9.1.1"), Destination: n.Addrs[0], Protocol: model.TCP, Port: 2222}, nil); d.To.String() != "10.0.3.4:22" {
		t.Errorf("NAT: %+v", d)
	}
}

func TestUses(t *testing.T) {
	r := newRig(t)
	r.put(policy, policyBody(""))
	r.put(net0+"ipGroups/g", `{"location":"westeurope","properties":{"ipAddresses":["10.0.3.0/24"]}}`)
	r.put(policy+"/ruleCollectionGroups/own", groupBody(100, filter("net", 100, "Allow", strings.Replace(netRule, `"sourceAddresses":["*"]`, `"sourceIpGroups":["`+net0+`ipGroups/g"]`, 1))))
	r.put(firewall, firewallBody(withPolicy, config("one", "AzureFirewallSubnet", "a")))
	r.refused("DELETE", policy, "", "FirewallPolicyInUse")
	r.refused("DELETE", net0+"ipGroups/g", "", "IpGroupsHasFirewallPolicyReferences")
	r.refused("DELETE", vnet+"/subnets/AzureFirewallSubnet", "", "InUseSubnetCannotBeDeleted")
	r.refused("DELETE", net0+"publicIPAddresses/a", "", "PublicIPAddressCannotBeDeleted")
	r.put(firewall, firewallBody(withPolicy)) // deallocated
	if len(r.models()) != 0 {
		t.Error("a deallocated firewall stands in the topology")
	}
	r.Must("DELETE", net0+"publicIPAddresses/a"+api, "")
	r.put(firewall, firewallBody(withPolicy, config("one", "AzureFirewallSubnet", "b")))
	r.Must("DELETE", firewall+api, "")
	r.Must("DELETE", vnet+"/subnets/AzureFirewallSubnet"+api, "")
	r.Must("DELETE", policy+api, "")
	r.Must("DELETE", net0+"ipGroups/g"+api, "")
}

func TestClassicRules(t *testing.T) {
	r := newRig(t)
	classic := func(kind, action, rule string) string {
		return `"` + kind + `":[{"name":"` + kind + `","properties":{"priority":200,"action":{"type":"` + action + `"},"rules":[` + rule + `]}}],`
	}
	body := classic("networkRuleCollections", "Allow", `{"name":"r","protocols":["UDP"],"sourceAddresses":["*"],"destinationFqdns":["westeurope.tundra.azureml.ms"],"destinationPorts":["5831"]}`) +
		classic("applicationRuleCollections", "Allow", `{"name":"r","protocols":[{"protocolType":"https","port":443}],"sourceAddresses":["*"],"fqdnTags":["windowsupdate"]}`) +
		classic("natRuleCollections", "Dnat", `{"name":"r","protocols":["TCP"],"sourceAddresses":["*"],"destinationAddresses":["20.61.0.4"],"destinationPorts":["80"],"translatedAddress":"10.0.3.4","translatedPort":"8080"}`)
	r.refused("PUT", firewall, firewallBody(body, config("one", "AzureFirewallSubnet", "a")), "AzureFirewallDNSProxyMustBeEnabled")
	r.put(firewall, firewallBody(body+`"additionalProperties":{"Network.DNS.EnableProxy":"true","Network.SNAT.PrivateRanges":"IANAPrivateRanges, 51.1.1.1"},`, config("one", "AzureFirewallSubnet", "a")))
	got := r.Request("GET", firewall+api, "").Text
	for _, want := range []string{`"protocols":["UDP"]`, `"protocolType":"Https"`, `"fqdnTags":["WindowsUpdate"]`, firewall + "/natRuleCollections/natRuleCollections"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	f := r.models()[firewall].Firewall
	if f == nil || !f.DNSProxy || len(f.PrivateRanges) != 5 || len(f.ApplicationRules()) != 1 || len(f.NATRules()) != 1 || f.NetworkRules()[0].Ref.Path() != "networkRuleCollections/r" {
		t.Errorf("model: %+v", f)
	}
	for _, c := range []struct{ with, code string }{
		{classic("networkRuleCollections", "Allow", `{"name":"r","protocols":["TCP"],"sourceAddresses":["*"],"destinationAddresses":["a.b"],"destinationPorts":["22"]}`), "AzureFirewallRuleInvalidIpAddressOrRangeFormat"},
		{`"firewallPolicy":{"id":"` + policy + `"},` + body, "AzureFirewallInvalidRequest"},
		{`"sku":{"name":"AZFW_Hub"},`, "NotImplemented"},
		{`"threatIntelMode":"Deny",`, "NotImplemented"},
		{`"sku":{"name":"AZFW_VNet","tier":"Premium"},`, "AzureFirewallInvalidRequest"},
	} {
		r.refused("PUT", firewall, firewallBody(c.with, config("one", "AzureFirewallSubnet", "a")), c.code)
	}
}

func TestFirewallRefusals(t *testing.T) {
	r := newRig(t)
	r.put(net0+"virtualNetworks/small", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.9.0.0/16"]},"subnets":[{"name":"AzureFirewallSubnet","properties":{"addressPrefix":"10.9.1.0/27"}}]}}`)
	r.put(net0+"publicIPAddresses/basic", `{"location":"westeurope","sku":{"name":"Basic"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	for _, c := range []struct{ body, code string }{
		{firewallBody("", config("one", "work", "a")), "AzureFirewallInvalidRequest"},
		{firewallBody("", config("one", "", "a")), "InvalidRequestFormat"},
		{firewallBody("", config("one", "AzureFirewallSubnet", "none")), "InvalidResourceReference"},
		{firewallBody("", config("one", "AzureFirewallSubnet", "basic")), "AzureFirewallInvalidRequest"},
		{firewallBody("", strings.Replace(config("one", "AzureFirewallSubnet", "a"), "/hub/", "/small/", 1)), "AzureFirewallInvalidRequest"},
		{firewallBody("", config("one", "AzureFirewallSubnet", "a"), config("one", "", "b")), "AzureFirewallInvalidRequest"},
		{strings.Replace(firewallBody("", config("one", "AzureFirewallSubnet", "a")), "westeurope", "northeurope", 1), "InvalidResourceReference"},
		{firewallBody(withPolicy, config("one", "AzureFirewallSubnet", "a")), "InvalidResourceReference"},
	} {
		r.refused("PUT", firewall, c.body, c.code)
	}
	r.put(net0+"firewallPolicies/premium", policyBody(`"sku":{"tier":"Premium"}`))
	r.put(net0+"firewallPolicies/basic", policyBody(`"sku":{"tier":"Basic"}`))
	r.refused("PUT", firewall, firewallBody(strings.Replace(withPolicy, "/policy", "/premium", 1), config("one", "AzureFirewallSubnet", "a")), "AzureFirewallInvalidRequest")
	small := strings.NewReplacer("/policy", "/basic", "Standard", "Basic").Replace(withPolicy)
	r.refused("PUT", firewall, firewallBody(small, config("one", "AzureFirewallSubnet", "a")), "AzureFirewallInvalidRequest")
	r.put(firewall, firewallBody(small+`"managementIpConfiguration":`+config("m", "AzureFirewallManagementSubnet", "m")+`,`, config("one", "AzureFirewallSubnet", "a")))
	if n := r.models()[firewall]; len(n.Addrs) != 1 || len(n.Public) != 1 {
		t.Errorf("the management configuration carries traffic: %+v", n)
	}
	r.refused("PUT", firewall, firewallBody("", strings.Replace(config("one", "AzureFirewallSubnet", "a"), "/hub/", "/small/", 1)), "AzureFirewallInvalidRequest")
	r.Must("DELETE", firewall+api, "")
	r.Must("DELETE", vnet+api, "") // nothing is held any more
}

func TestPolicyRefusals(t *testing.T) {
	r := newRig(t)
	r.put(policy, policyBody(""))
	for _, c := range []struct{ properties, code string }{
		{`"sku":{"tier":"Premium"}`, "FirewallPolicySkuChangeDisallowed"},
		{`"threatIntelMode":"Deny"`, "NotImplemented"},
		{`"threatIntelMode":"Sometimes"`, "InvalidRequestFormat"},
		{`"intrusionDetection":{"mode":"Alert"}`, "FirewallPolicyHigherTierOnlyProperties"},
		{`"transportSecurity":{"certificateAuthority":{"name":"ca","keyVaultSecretId":"https://v.vault.azure.net/secrets/s"}}`, "FirewallPolicyHigherTierOnlyProperties"},
		{`"explicitProxy":{"enableExplicitProxy":true}`, "NotImplemented"},
		{`"snat":{"privateRanges":["somewhere"]}`, "FirewallPolicyInvalidSnatPrivateRanges"},
		{`"snat":{"autoLearnPrivateRanges":"Enabled"}`, "NotImplemented"},
		{`"dnsSettings":{"servers":["dns.example"]}`, "FirewallPolicyInvalidDNSServer"},
		{`"basePolicy":{"id":"` + policy + `"}`, "FirewallPolicyInvalidBasePolicy"},
		{`"basePolicy":{"id":"` + vnet + `"}`, "InvalidReferenceId"},
		{`"basePolicy":{"id":"` + policy + `2"}`, "InvalidResourceReference"},
	} {
		r.refused("PUT", policy, policyBody(c.properties), c.code)
	}
	child := net0 + "firewallPolicies/child"
	r.put(child, policyBody(`"basePolicy":{"id":"`+policy+`"}`))
	r.refused("PUT", policy, policyBody(`"basePolicy":{"id":"`+child+`"}`), "FirewallPolicyInvalidBasePolicy")
	r.refused("DELETE", policy, "", "FirewallPolicyInUse")
	top := net0 + "firewallPolicies/top"
	r.refused("PUT", top, policyBody(`"sku":{"tier":"Premium"},"intrusionDetection":{"mode":"Alert"}`), "NotImplemented")
	r.refused("PUT", top, policyBody(`"sku":{"tier":"Premium"},"transportSecurity":{"certificateAuthority":{"name":"ca","keyVaultSecretId":"https://elsewhere.example/s"}}`), "FirewallPolicyInvalidCertificateAuthority")
	r.put(top, policyBody(`"sku":{"tier":"Premium"},"transportSecurity":{"certificateAuthority":{"name":"ca","keyVaultSecretId":"https://v.vault.azure.net/secrets/s"}}`))
	r.refused("PUT", net0+"firewallPolicies/low", policyBody(`"basePolicy":{"id":"`+top+`"}`), "FirewallPolicyInvalidBasePolicy")
}

func TestRuleRefusals(t *testing.T) {
	r := newRig(t)
	r.put(policy, policyBody(""))
	own := policy + "/ruleCollectionGroups/own"
	with := func(rule, from, to string) string {
		if !strings.Contains(rule, from) {
			t.Fatalf("%s is not in %s", from, rule)
		}
		return strings.Replace(rule, from, to, 1)
	}
	for _, c := range []struct{ rule, code string }{
		{udpRule, "FirewallPolicyDNSProxyMustBeEnabled"},
		{with(udpRule, "westeurope.", "*."), "FirewallPolicyRuleInvalidFqdnFormat"},
		{with(netRule, "Storage.WestEurope", "a.b"), "FirewallPolicyRuleInvalidIpAddressOrRangeFormat"},
		{with(netRule, "Storage.WestEurope", "Storage.Nowhere"), "FirewallPolicyRuleInvalidIpAddressOrRangeFormat"},
		{with(netRule, `["*"]`, `["Storage.WestEurope"]`), "FirewallPolicyRuleInvalidIpAddressOrRangeFormat"},
		{with(netRule, `["445"]`, `["70000"]`), "FirewallPolicyRuleInvalidPortRange"},
		{with(netRule, `["445"]`, `[]`), "FirewallPolicyRuleInvalidPortRange"},
		{with(netRule, `["TCP"]`, `["SCTP"]`), "InvalidRequestFormat"},
		{with(netRule, `"destinationAddresses":["Storage.WestEurope"],`, ""), "FirewallPolicyRuleDestinationNotSpecified"},
		{with(netRule, `"sourceAddresses":["*"],`, ""), "FirewallPolicyRuleSourceNotSpecified"},
		{with(netRule, `"sourceAddresses":["*"]`, `"sourceIpGroups":["`+net0+`ipGroups/none"]`), "InvalidResourceReference"},
		{with(appRule, "*.pytorch.org", "download.*.org"), "FirewallPolicyRuleInvalidFqdnFormat"},
		{with(appRule, `"targetFqdns":["*.pytorch.org"]`, `"webCategories":["Hacking"]`), "NotImplemented"},
		{with(appRule, `"targetFqdns":["*.pytorch.org"]`, `"fqdnTags":["HDInsight"]`), "NotImplemented"},
		{with(appRule, `"targetFqdns":["*.pytorch.org"]`, `"fqdnTags":["Everything"]`), "FirewallPolicyRuleInvalidFqdnTag"},
		{with(appRule, `"targetFqdns":["*.pytorch.org"]`, `"targetUrls":["a.b/c"]`), "FirewallPolicyHigherTierOnlyProperties"},
		{with(appRule, `"name":"torch"`, `"name":"torch","terminateTLS":true`), "FirewallPolicyHigherTierOnlyProperties"},
		// UDP 5831 and TCP 8787 are no HTTP: application rules cannot carry them (specification 004, line 129).
		{with(appRule, `"Https","port":443`, `"Udp","port":5831`), "InvalidRequestFormat"},
		{with(appRule, `"Https","port":443`, `"Tcp","port":8787`), "InvalidRequestFormat"},
		{with(appRule, `"Https","port":443`, `"Mssql","port":1433`), "NotImplemented"},
		{with(appRule, `"Https","port":443`, `"Https","port":65000`), "FirewallPolicyRuleInvalidPort"},
		{natRule, "FirewallPolicyRuleTypeMismatch"},
		{with(appRule, "ApplicationRule", "OtherRule"), "InvalidRequestFormat"},
	} {
		r.refused("PUT", own, groupBody(100, filter("c", 100, "Allow", c.rule)), c.code)
	}
	for _, c := range []struct{ rule, code string }{
		{netRule, "FirewallPolicyRuleTypeMismatch"},
		{with(natRule, `"translatedAddress":"10.0.3.4"`, `"translatedAddress":"10.0.3"`), "FirewallPolicyRuleInvalidTranslatedAddress"},
		{with(natRule, `"translatedAddress":"10.0.3.4",`, ""), "FirewallPolicyRuleInvalidTranslatedAddress"},
		{with(natRule, `"translatedAddress":"10.0.3.4"`, `"translatedFqdn":"a.b"`), "NotImplemented"},
		{with(natRule, `"translatedPort":"22"`, `"translatedPort":"0"`), "FirewallPolicyRuleInvalidTranslatedPort"},
		{with(natRule, `["2222"]`, `["*"]`), "FirewallPolicyRuleInvalidPortRange"},
	} {
		r.refused("PUT", own, groupBody(100, nat("c", 100, c.rule)), c.code)
	}
	r.refused("PUT", own, groupBody(99), "FirewallPolicyRuleCollectionGroupInvalidPriorityValue")
	r.refused("PUT", own, groupBody(100, filter("c", 99, "Allow")), "FirewallPolicyRuleCollectionInvalidPriorityValue")
	r.refused("PUT", own, groupBody(100, filter("c", 100, "Allow"), filter("d", 100, "Allow")), "FirewallPolicyRuleCollectionInvalidPriorityValue")
	r.refused("PUT", own, groupBody(100, filter("c", 100, "Allow"), filter("C", 101, "Allow")), "FirewallPolicyRuleCollectionDuplicateName")
	r.refused("PUT", own, groupBody(100, filter("c", 100, "Allow", netRule, netRule)), "FirewallPolicyRuleDuplicateName")
	r.refused("PUT", own, groupBody(100, filter("c", 100, "Sometimes")), "InvalidRequestFormat")
	r.refused("PUT", net0+"firewallPolicies/none/ruleCollectionGroups/own", groupBody(100), "ParentResourceNotFound")
	r.put(own, groupBody(100, filter("c", 100, "Allow", netRule)))
	r.refused("PUT", policy+"/ruleCollectionGroups/other", groupBody(100), "FirewallPolicyRuleCollectionGroupInvalidPriorityValue")
	r.refused("PUT", net0+"ipGroups/g", `{"location":"westeurope","properties":{"ipAddresses":["10.0.0.0/40"]}}`, "IpGroupsInvalidIpAddressOrRangeFormat")

	r.put(policy, policyBody(`"dnsSettings":{"enableProxy":true}`))
	r.put(own, groupBody(100, filter("c", 100, "Allow", udpRule)))
	r.refused("PUT", policy, policyBody(`"dnsSettings":{"enableProxy":false}`), "FirewallPolicyDNSProxyMustBeEnabled")
}

func TestFQDNTags(t *testing.T) {
	r := newRig(t)
	a := r.Request("GET", "/subscriptions/11111111-1111-1111-1111-111111111111/providers/Microsoft.Network/azureFirewallFqdnTags"+api, "")
	if !strings.Contains(a.Text, `"fqdnTagName":"AzureKubernetesService"`) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}
