package dns

import (
	"fmt"
	"net/netip"
	"slices"
)

// Ruleset is a DNS forwarding ruleset (Microsoft.Network/dnsForwardingRulesets): in the VNets that are
// linked to it, names below a rule's domain are asked of the rule's servers.
// https://learn.microsoft.com/azure/dns/private-resolver-endpoints-rulesets
type Ruleset struct {
	ID        string
	VNets     []string // ids of the linked ones
	Endpoints []string // ids of the outbound endpoints' interfaces, in the order of the resource
	Rules     []Rule   // the enabled ones
}

// Rule of a Ruleset.
type Rule struct {
	ID      string
	Domain  string           // "contoso.com."; "." is every name but those reserved for Azure's services
	Servers []netip.AddrPort // in the order in which they are asked
}

// Forward says that a name is answered by others: servers that are asked from an outbound endpoint.
type Forward struct {
	Rule      string // id
	Name      string // what they are asked for: the name in question, or the end of the aliases so far
	Endpoints []string
	Servers   []netip.AddrPort
}

// rule is a compiled Rule.
type rule struct {
	Rule
	ruleset   string
	endpoints []string
}

func (m *Model) addRuleset(r Ruleset) error {
	for _, vnet := range r.VNets {
		v := m.network(vnet)
		for _, other := range v.rules {
			if other.ruleset != r.ID {
				return fmt.Errorf("dns: %s is linked to two rulesets, %s and %s", vnet, other.ruleset, r.ID)
			}
		}
		for _, x := range r.Rules {
			domain := Canonical(x.Domain)
			if other := v.rules[domain]; other != nil {
				return fmt.Errorf("dns: rules %s and %s have the domain %s", other.ID, x.ID, x.Domain)
			}
			v.rules[domain] = &rule{Rule: x, ruleset: r.ID, endpoints: r.Endpoints}
		}
	}
	return nil
}

// ruleFor returns the rule with the longest domain that name lies in, or nil.
func (v *network) ruleFor(name string) *rule {
	if v == nil || len(v.rules) == 0 {
		return nil
	}
	for n := name; n != ""; n = parentOf(n) {
		if r := v.rules[n]; r != nil {
			return r
		}
	}
	if r := v.rules[""]; r != nil && !Reserved(name) {
		return r
	}
	return nil
}

// Reserved tells whether a rule for "." leaves the name alone, since it belongs to Azure's services.
func Reserved(name string) bool {
	name = Canonical(name)
	for n := name; n != ""; n = parentOf(n) {
		if _, found := slices.BinarySearch(reserved, n); found {
			return true
		}
	}
	return false
}

// reserved are the two-label domains of "Azure services DNS zone configuration", sorted.
// https://learn.microsoft.com/azure/private-link/private-endpoint-dns
var reserved = []string{
	"azmk8s.io", "azure-api.net", "azure-automation.net", "azure-devices-provisioning.net", "azure-devices.net",
	"azure.com", "azure.net", "azurecr.io", "azuredatabricks.net", "azurehdinsight.net", "azurehealthcareapis.com",
	"azureiotcentral.com", "azureml.ms", "azurestaticapps.net", "azuresynapse.net", "azurewebsites.net",
	"botframework.com", "cloudapp.net", "microsoft.com", "powerapps.com", "powerbi.com", "signalr.net", "windows.net", "windowsazure.us",
}
