package rulegen

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vauban.dev/audit"
	"vauban.dev/fabric/servicetags"
)

func published(t *testing.T) *servicetags.Tags {
	t.Helper()
	tags, err := servicetags.Load()
	if err != nil {
		t.Fatal(err)
	}
	return tags
}

func egress(t *testing.T, asOf string, o Options) (Egress, []Rule, *audit.Profile, Network) {
	t.Helper()
	p, err := audit.ProfileAsOf(asOf)
	if err != nil {
		t.Fatal(err)
	}
	n := Network{Subnet: netip.MustParsePrefix("10.1.2.0/24"), Firewall: netip.MustParseAddr("10.1.9.4"), Storage: "acct"}
	e := GenerateEgress(p, o, n)
	return e, BehindFirewall(Generate(p, o), e), p, n
}

// Each rule is of the kind that can read its traffic: spec 004, line 129; azure-docs#106653, #91832.
func TestKindsOfFirewallRules(t *testing.T) {
	public, _, _, _ := egress(t, audit.Latest, Options{Region: "westeurope", PublicIP: true})
	if len(public.Routes) != 2 || public.Routes[1].Prefix != "AzureMachineLearning" || public.Routes[1].Hop != "Internet" {
		t.Errorf("routes: %+v", public.Routes)
	}
	e, _, _, _ := egress(t, audit.Latest, Options{Region: "westeurope", Situational: true})
	find := func(name string) FirewallRule {
		t.Helper()
		i := slices.IndexFunc(e.Rules, func(r FirewallRule) bool { return slices.Contains(slices.Concat(r.FQDNs, r.Names), name) })
		if i < 0 {
			t.Fatalf("no rule has %s: %+v", name, e.Rules)
		}
		return e.Rules[i]
	}
	if r := find("westeurope.tundra.azureml.ms"); r.Kind != NetworkRule || r.Protocols[0] != "UDP" || r.Ports[0] != "5831" {
		t.Errorf("tundra: %+v", r)
	}
	for _, host := range []string{"login.microsoftonline.com", "management.azure.com", "*.westeurope.batch.azure.com", "*.blob.core.windows.net", "*.instances.azureml.ms", "graph.windows.net", "*pytorch.org"} {
		if r := find(host); r.Kind != ApplicationRule || len(r.Ports) > 0 {
			t.Errorf("%s: %+v", host, r)
		}
	}
	byTag := map[string][]string{}
	for _, r := range e.Rules {
		if r.Kind == NetworkRule && len(r.Tags) > 0 {
			byTag[r.Tags[0]+" "+r.Protocols[0]] = r.Ports
		}
		for _, p := range r.Ports {
			if r.Kind == NetworkRule && r.Protocols[0] == "TCP" && (p == "443" || p == "80") {
				t.Errorf("a network rule for HTTP: %+v", r)
			}
		}
		for _, name := range r.Names {
			if strings.Contains(name, "*") {
				t.Errorf("network rules take no wildcards: %+v", r)
			}
		}
	}
	if got := byTag["AzureMachineLearning TCP"]; !slices.Equal(slices.Sorted(slices.Values(got)), []string{"18881", "8787"}) {
		t.Errorf("AzureMachineLearning TCP: %v of %v", got, byTag)
	}
	if got := byTag["BatchNodeManagement.westeurope UDP"]; !slices.Equal(got, []string{"443"}) {
		t.Errorf("BatchNodeManagement UDP: %v", got)
	}
	if len(e.Routes) != 1 || e.Routes[0].Address != "10.1.9.4" {
		t.Errorf("routes: %+v", e.Routes)
	}
}

// With all rules and routes every requirement passes by the firewall, and without any one of them something fails.
func TestEgressIsProved(t *testing.T) {
	for _, o := range []Options{{Region: "westeurope"}, {Region: "westeurope", PublicIP: true}, {Region: "westeurope", PublicIP: true, HBI: true, Situational: true}} {
		for _, asOf := range []string{"2022-06", audit.Latest} {
			e, group, p, n := egress(t, asOf, o)
			got, err := ProveEgress(published(t), p, o, n, group, e)
			if err != nil {
				t.Fatalf("%+v %s: %v", o, asOf, err)
			}
			for _, r := range got.Routes {
				if len(r.Breaks) == 0 || r.Prefix == "AzureMachineLearning" && !strings.Contains(strings.Join(r.Breaks, ";"), "44224 from AzureMachineLearning is not answered: fabric/invalid") {
					t.Errorf("route %s: %q", r.Name, r.Breaks)
				}
			}
			for _, r := range got.Rules {
				if len(r.Breaks) == 0 {
					t.Errorf("rule %s: %q", r.Name, r.Breaks)
				}
			}
			if _, err := ProveEgress(published(t), p, o, n, group, Egress{Firewall: e.Firewall, Rules: e.Rules[:len(e.Rules)-2], Routes: e.Routes}); err == nil {
				t.Error("without a rule it is proved")
			}
			all := FirewallRule{Name: "all", Kind: NetworkRule, Protocols: []string{"UDP"}, Sources: []string{"*"}, Tags: []string{"203.0.113.0/24"}, Ports: []string{"*"}}
			opened := append(slices.Clone(group[:len(group)-1]), Rule{Name: "all", Priority: 4000, Direction: "Outbound", Access: "Allow", Protocol: "*", Source: "*", Destination: "*", Ports: []string{"*"}})
			if _, err := ProveEgress(published(t), p, o, n, opened, Egress{Firewall: e.Firewall, Rules: append([]FirewallRule{all}, e.Rules...), Routes: e.Routes}); err == nil {
				t.Error("with a stranger open it is proved")
			}
		}
	}
}

func TestEgressFormats(t *testing.T) {
	e, group, _, _ := egress(t, audit.Latest, Options{Region: "westeurope", PublicIP: true})
	n := Names{Group: "nsg", Policy: "policy", RouteTable: "rt"}
	for format, want := range map[string][]string{
		"az": {
			`az network firewall policy create -g "$GROUP" -n policy -l westeurope --sku Standard --enable-dns-proxy true`,
			"collection add-filter-collection -g \"$GROUP\" --policy-name policy --rcg-name azureml -n network --collection-priority 100 --action Allow --rule-name westeurope-tundra-azureml-ms-udp --rule-type NetworkRule --source-addresses 10.1.2.0/24 --ip-protocols UDP --destination-fqdns westeurope.tundra.azureml.ms --destination-ports 5831\n",
			"--rule-type ApplicationRule --source-addresses 10.1.2.0/24 --protocols Http=80 Https=443 --target-fqdns 'login.microsoftonline.com'\n",
			"az network route-table route create -g \"$GROUP\" --route-table-name rt -n AzureMachineLearning --address-prefix AzureMachineLearning --next-hop-type Internet\n",
			"--address-prefix 0.0.0.0/0 --next-hop-type VirtualAppliance --next-hop-ip-address 10.1.9.4\n"},
		"bicep": {
			"resource policy 'Microsoft.Network/firewallPolicies@2024-05-01' = {", "enableProxy: true", "parent: policy",
			"            destinationFqdns: [\n              'westeurope.tundra.azureml.ms'\n            ]\n", "                protocolType: 'Https'\n                port: 443\n",
			"nextHopIpAddress: firewallAddress", "addressPrefix: 'AzureMachineLearning'"},
		"terraform": {
			"proxy_enabled = true", "  network_rule_collection {", "destination_fqdns = [\"westeurope.tundra.azureml.ms\"]", "  application_rule_collection {",
			"        type = \"Https\"\n        port = 443\n", "next_hop_in_ip_address = \"10.1.9.4\"", "next_hop_type  = \"Internet\""},
		"json": {`"securityRules": [`, `"firewallRules": [`, `"routes": [`},
	} {
		var b strings.Builder
		if err := Write(&b, format, n, "westeurope", group, &e); err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(b.String(), text) {
				t.Errorf("%s has not %q:\n%s", format, text, b.String())
			}
		}
		if strings.Count(b.String(), "{") != strings.Count(b.String(), "}") || strings.Count(b.String(), "[") != strings.Count(b.String(), "]") {
			t.Errorf("%s: brackets do not match", format)
		}
	}
}
