package azurefirewall

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/arm"
	model "vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

type fuzzTags struct{}

func (fuzzTags) Prefixes(tag string) ([]netip.Prefix, bool) {
	return []netip.Prefix{netip.MustParsePrefix("20.60.0.0/16")}, strings.EqualFold(tag, "Storage")
}

// FuzzRule: what the API accepts, decisions can be made by and the fabric compiles. One rule that does not compile would
// stop the whole network.
func FuzzRule(f *testing.F) {
	for _, seed := range []string{
		`{"ruleType":"NetworkRule","name":"r","ipProtocols":["TCP","icmp"],"sourceAddresses":["10.0.0.0/8"," 10.0.0.1 - 10.0.0.9"],"destinationAddresses":["Storage","0.0.0.0/0"],"destinationPorts":["443","0-65535","007"]}`,
		`{"ruleType":"NetworkRule","name":"r","ipProtocols":["Any"],"sourceAddresses":["*"],"destinationFqdns":["A.b."],"destinationPorts":["*"]}`,
		`{"ruleType":"NatRule","name":"r","ipProtocols":["UDP"],"sourceAddresses":["*"],"destinationAddresses":["20.1.1.1"],"destinationPorts":["1-2"],"translatedAddress":"10.0.0.4","translatedPort":"22"}`,
		`{"ruleType":"ApplicationRule","name":"r","protocols":[{"protocolType":"HTTP"},{"protocolType":"https","port":8443}],"sourceAddresses":["10.0.0.5"],"targetFqdns":["*","*.a.b","*a.b"]}`,
		`{"ruleType":"ApplicationRule","name":"r","protocols":[{"protocolType":"Https","port":443}],"sourceAddresses":["*"],"targetUrls":["a.b/c*"],"terminateTLS":true,"httpHeadersToInsert":[{"headerName":"X","headerValue":"y"}]}`,
		`{"ruleType":"ApplicationRule","name":"r","protocols":[{"protocolType":"Https"}],"sourceAddresses":["*"],"fqdnTags":["windowsupdate"]}`,
	} {
		f.Add(seed)
	}
	c := checker{of: arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/firewallPolicies/p/ruleCollectionGroups/r"), tags: fuzzTags{}.Prefixes, kind: "FirewallPolicyRule"}
	f.Fuzz(func(t *testing.T, text string) {
		var r Rule
		if json.Unmarshal([]byte(text), &r) != nil || c.rule(&r) != nil {
			return
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("it cannot be stored: %v", err)
		}
		var back Rule
		if err := json.Unmarshal(b, &back); err != nil || c.rule(&back) != nil {
			t.Fatalf("stored as %s it is another rule: %v", b, err)
		}
		var to model.Collection
		if err := back.compile(&to, func(string) ([]string, error) { return []string{"10.9.0.0/16"}, nil }); err != nil {
			t.Fatal(err)
		}
		own := netip.MustParseAddr("10.0.1.4")
		fw := &model.Firewall{ID: "fw", Addrs: []netip.Addr{own}, DNSProxy: true, Groups: []model.Group{{Name: "g", Collections: []model.Collection{to}}}}
		if _, err := model.New(fw, fuzzTags{}.Prefixes); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		_, err = fabric.Compile(&fabric.Topology{Tags: fuzzTags{}, VNets: []fabric.VNet{{
			ID: "v", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Subnets: []fabric.Subnet{{ID: "s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/26")}}},
			NICs: []fabric.NIC{{ID: "n", Subnet: "s", Addrs: []netip.Addr{own}, Forwarding: true, Firewall: fw}}}}})
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	})
}
