package azurefirewall_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vauban.dev/audit"
	"vauban.dev/rulegen"
)

// The commands of az network firewall are an extension that no package registry has. What follows makes the requests that its
// version 1.5 makes of a line: its parameters, api-versions, and what it reads and writes back, from Azure/azure-cli-extensions,
// src/azure-firewall/azext_firewall (custom.py; aaz/latest/network/firewall; the bodies in tests/latest/recordings).

// Api-versions of the extension's commands.
const (
	policyVersion   = "?api-version=2022-01-01"
	firewallVersion = "?api-version=2024-10-01"
)

// ruleParameters are those of add-filter-collection and rule add alike, with the member of a rule that each is.
var ruleParameters = map[string]string{
	"--source-addresses": "sourceAddresses", "--destination-addresses": "destinationAddresses", "--dest-addr": "destinationAddresses", "--destination-ports": "destinationPorts",
	"--ip-protocols": "ipProtocols", "--destination-fqdns": "destinationFqdns", "--protocols": "protocols", "--target-fqdns": "targetFqdns", "--fqdn-tags": "fqdnTags",
}

// kept are the members of a rule that the extension reads, and so those that it writes back, whatever else the answer has.
var kept = map[string][]string{
	"NetworkRule": {"description", "name", "ruleType", "destinationAddresses", "destinationFqdns", "destinationIpGroups", "destinationPorts", "ipProtocols", "sourceAddresses", "sourceIpGroups"},
	"ApplicationRule": {"description", "name", "ruleType", "destinationAddresses", "fqdnTags", "protocols", "sourceAddresses", "sourceIpGroups", "targetFqdns", "targetUrls", "terminateTLS",
		"webCategories"},
}

// parameters of one command: each is taken once, and none may be left.
type parameters struct {
	t      *testing.T
	line   string
	values map[string][]string
}

// one takes a parameter with one value by any of its names.
func (p parameters) one(names ...string) string {
	p.t.Helper()
	v := p.list(names...)
	if len(v) != 1 {
		p.t.Fatalf("%v has the values %q in %s", names, v, p.line)
	}
	return v[0]
}

func (p parameters) list(names ...string) (v []string) {
	for _, n := range names {
		if x, ok := p.values[n]; ok {
			v = x
			delete(p.values, n)
		}
	}
	return v
}

func (p parameters) number(names ...string) int {
	p.t.Helper()
	n, err := strconv.Atoi(p.one(names...))
	if err != nil || n < 100 || n > 65000 {
		p.t.Fatalf("%v is %d in %s: %v", names, n, p.line, err)
	}
	return n
}

// enum is a parameter with one of the values that the extension takes.
func (p parameters) enum(name string, of ...string) string {
	p.t.Helper()
	v := p.one(name)
	if !slices.Contains(of, v) {
		p.t.Fatalf("%s %s in %s, not one of %v", name, v, p.line, of)
	}
	return v
}

// rule is the rule that the parameters of a filter collection say.
func (p parameters) rule(name string) map[string]any {
	p.t.Helper()
	kind := p.enum("--rule-type", "ApplicationRule", "NetworkRule")
	rule := map[string]any{"name": name, "ruleType": kind}
	for parameter, member := range ruleParameters {
		values := p.list(parameter)
		if values == nil {
			continue
		}
		if !slices.Contains(kept[kind], member) {
			p.t.Fatalf("the extension drops %s of a %s: %s", parameter, kind, p.line)
		}
		rule[member] = values
		if parameter != "--protocols" {
			continue
		}
		ports, protocols := map[string]bool{}, []any{}
		for _, v := range values {
			protocol, port, _ := strings.Cut(v, "=")
			n, err := strconv.Atoi(port)
			if err != nil || ports[protocol] || protocol != "Http" && protocol != "Https" {
				p.t.Fatalf("--protocols %q: %v", values, err) // a dictionary by protocol: a second port of one would replace the first
			}
			ports[protocol] = true
			protocols = append(protocols, map[string]any{"protocolType": protocol, "port": n})
		}
		rule[member] = protocols
	}
	if kind == "ApplicationRule" {
		rule["terminateTLS"] = false
	}
	return rule
}

// putAs writes as the extension does: it waits for the operation, and reads the resource.
func (r *rig) putAs(id, version string, body any) {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := r.Must("PUT", id+version, string(b))
	if s := a.String("properties", "provisioningState"); s != "Succeeded" && a.Header.Get("Azure-AsyncOperation") == "" {
		r.t.Fatalf("PUT %s: %s, and no operation to wait for", id, s)
	}
	if a := r.Request("GET", id+version, ""); a.Status != 200 || a.String("properties", "provisioningState") != "Succeeded" {
		r.t.Fatalf("GET %s: %s", id, a.Text)
	}
}

// changeGroup reads a rule collection group, changes its collections, and writes back what the extension knows of it.
func (r *rig) changeGroup(id string, change func(collections []any) []any) {
	r.t.Helper()
	a := r.Request("GET", id+policyVersion, "")
	collections, ok := a.At("properties", "ruleCollections").([]any)
	if !ok {
		r.t.Fatalf("the extension appends to ruleCollections: %s", a.Text)
	}
	for _, c := range collections {
		c := c.(map[string]any)
		for i, rule := range c["rules"].([]any) {
			old, written := rule.(map[string]any), map[string]any{}
			for _, member := range kept[old["ruleType"].(string)] {
				if v, ok := old[member]; ok {
					written[member] = v
				}
			}
			c["rules"].([]any)[i] = written
		}
	}
	r.putAs(id, policyVersion, map[string]any{"id": a.At("id"), "name": a.At("name"), "properties": map[string]any{"priority": a.At("properties", "priority"), "ruleCollections": change(collections)}})
}

// extension carries out a line of az.
func (r *rig) extension(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") })
	p := parameters{t: t, line: line, values: map[string][]string{}}
	var last string
	for _, w := range words[at:] {
		if strings.HasPrefix(w, "-") {
			if last = w; p.values[w] != nil {
				t.Fatalf("%s twice: %s", w, line)
			}
			p.values[w] = []string{}
			continue
		}
		p.values[last] = append(p.values[last], strings.Trim(w, `'"`))
	}
	p.one("-g", "--resource-group")
	p.list("--subscription")
	const group, collection = "az network firewall policy rule-collection-group", "az network firewall policy rule-collection-group collection"
	groupID := func(name string) string {
		return net0 + "firewallPolicies/" + p.one("--policy-name") + "/ruleCollectionGroups/" + name
	}
	switch command := strings.Join(words[:at], " "); command {
	case "az network firewall policy create":
		r.putAs(net0+"firewallPolicies/"+p.one("-n", "--name"), policyVersion, map[string]any{"location": p.one("-l", "--location"), "properties": map[string]any{
			"dnsSettings": map[string]any{"enableProxy": p.enum("--enable-dns-proxy", "true", "false") == "true"}, "sku": map[string]any{"tier": p.enum("--sku", "Basic", "Premium", "Standard")}}})
	case group + " create":
		name := p.one("-n", "--name")
		r.putAs(groupID(name), policyVersion, map[string]any{"name": name, "properties": map[string]any{"priority": p.number("--priority")}})
	case collection + " add-filter-collection":
		r.changeGroup(groupID(p.one("--rcg-name", "--rule-collection-group-name")), func(all []any) []any {
			return append(all, map[string]any{"name": p.one("-n", "--name"), "priority": p.number("--collection-priority"), "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
				"action": map[string]any{"type": p.enum("--action", "Allow", "Deny")}, "rules": []any{p.rule(p.one("--rule-name"))}})
		})
	case collection + " rule add":
		r.changeGroup(groupID(p.one("--rcg-name", "--rule-collection-group-name")), func(all []any) []any {
			to := p.one("--collection-name")
			i := slices.IndexFunc(all, func(c any) bool { return c.(map[string]any)["name"] == to })
			if i < 0 {
				t.Fatalf("there is no collection %s: %s", to, line)
			}
			c := all[i].(map[string]any)
			c["rules"] = append(c["rules"].([]any), p.rule(p.one("-n", "--name")))
			return all
		})
	case "az network firewall create":
		sub := func(id string) map[string]any { return map[string]any{"id": id} }
		r.putAs(net0+"azureFirewalls/"+p.one("-n", "--name"), firewallVersion, map[string]any{"location": p.one("-l", "--location"), "properties": map[string]any{
			"additionalProperties": map[string]any{}, "firewallPolicy": sub(net0 + "firewallPolicies/" + p.one("--firewall-policy", "--policy")),
			"ipConfigurations": []any{map[string]any{"name": p.one("--conf-name"), "properties": map[string]any{
				"publicIPAddress": sub(net0 + "publicIPAddresses/" + p.one("--public-ip")), "subnet": sub(net0 + "virtualNetworks/" + p.one("--vnet-name") + "/subnets/AzureFirewallSubnet")}}},
			"sku": map[string]any{"name": p.enum("--sku", "AZFW_VNet", "AZFW_Hub"), "tier": p.enum("--tier", "Basic", "Premium", "Standard")}}})
	default:
		t.Fatalf("the extension has no %s", command)
	}
	if len(p.values) > 0 {
		t.Errorf("the extension has no such parameters: %v in %s", p.values, line)
	}
}

// The lines of `rules generate`, a firewall's own, and those that explain proposes, make what they say: the rules are those of
// the JSON format, none lost by reading and writing back.
func TestExtension(t *testing.T) {
	r := newRig(t)
	profile, err := audit.ProfileAsOf(audit.Latest)
	if err != nil {
		t.Fatal(err)
	}
	e := rulegen.GenerateEgress(profile, rulegen.Options{Region: "westeurope", HBI: true, Situational: true}, rulegen.Network{Subnet: netip.MustParsePrefix("10.0.3.0/24"), Firewall: netip.MustParseAddr("10.0.1.4"), Storage: "acct"})
	forms := map[string]int{} // two rules of each form: to read and write back all of them takes long
	e.Rules = slices.DeleteFunc(e.Rules, func(f rulegen.FirewallRule) bool {
		form := fmt.Sprint(f.Kind, f.Protocols, f.Names != nil, f.Tags != nil, len(f.Ports) > 1)
		forms[form]++
		return forms[form] > 2
	})
	for i := range e.Rules { // the region of this test knows one tag
		if e.Rules[i].Tags != nil {
			e.Rules[i].Tags = []string{"Storage.WestEurope"}
		}
	}
	var text strings.Builder
	if err := rulegen.Write(&text, "az", rulegen.Names{Group: "nsg", Policy: "policy", RouteTable: "rt"}, "westeurope", nil, &e); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, "az network firewall ") {
			r.extension(t, line)
		}
	}
	if len(forms) < 5 || len(e.Rules) <= len(forms) {
		t.Errorf("%d rules of the forms %v", len(e.Rules), forms)
	}
	r.extension(t, "az network firewall create -g rg -n fw -l westeurope --sku AZFW_VNet --tier Standard --vnet-name hub --conf-name one --public-ip a --firewall-policy policy")

	body, _ := e.Body()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Collections []struct {
			Name     string           `json:"name"`
			Priority float64          `json:"priority"`
			Rules    []map[string]any `json:"rules"`
		} `json:"ruleCollections"`
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	const id = policy + "/ruleCollectionGroups/azureml"
	got := r.Request("GET", id+api, "").At("properties", "ruleCollections").([]any)
	if len(got) != len(want.Collections) || len(got) != 2 {
		t.Fatalf("%d collections of %d", len(got), len(want.Collections))
	}
	for i, c := range want.Collections {
		have := got[i].(map[string]any)
		rules := have["rules"].([]any)
		if have["name"] != c.Name || have["priority"] != c.Priority || len(rules) != len(c.Rules) {
			t.Fatalf("%s: %d rules of %d: %v", c.Name, len(rules), len(c.Rules), have)
		}
		for j, rule := range c.Rules {
			for member, v := range rule {
				if h := rules[j].(map[string]any)[member]; !reflect.DeepEqual(h, v) {
					t.Errorf("%s of %v is %v, want %v", member, rule["name"], h, v)
				}
			}
		}
	}
	const propose = "az network firewall policy rule-collection-group collection add-filter-collection --subscription 11111111-1111-1111-1111-111111111111 -g rg --policy-name policy --rcg-name azureml --action Allow "
	r.extension(t, propose+"-n allow-201 --collection-priority 201 --rule-name Allow-www-example-com --rule-type ApplicationRule --protocols Https=443 --source-addresses 10.0.3.4 --target-fqdns www.example.com")
	r.extension(t, propose+"-n allow-202 --collection-priority 202 --rule-name Allow-ICMP --rule-type NetworkRule --ip-protocols ICMP --source-addresses 10.0.3.4 --destination-addresses 20.60.1.1 --destination-ports '*'")
	if f := r.models()[firewall].Firewall; f == nil || !f.DNSProxy || len(f.ApplicationRules()) != len(want.Collections[1].Rules)+1 || len(f.NetworkRules()) != len(want.Collections[0].Rules)+1 {
		t.Errorf("the firewall does not have what was written: %+v", f)
	}
}
