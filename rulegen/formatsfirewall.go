package rulegen

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Names of what is written.
type Names struct{ Group, Policy, RouteTable string }

// Names inside the policy.
const (
	policyGroup         = "azureml"
	policyGroupPriority = 200
	networkPriority     = 100
	applicationPriority = 200
)

// collections are a policy's rules by kind, in the order in which they are asked; a kind without rules is left out.
func (e *Egress) collections() (out []collection) {
	for _, c := range []collection{{name: "network", kind: NetworkRule, priority: networkPriority}, {name: "application", kind: ApplicationRule, priority: applicationPriority}} {
		for _, r := range e.Rules {
			if r.Kind == c.kind {
				c.rules = append(c.rules, r)
			}
		}
		if c.rules != nil {
			out = append(out, c)
		}
	}
	return out
}

type collection struct {
	name, kind string
	priority   int
	rules      []FirewallRule
}

func (r FirewallRule) comment() string {
	if r.Why != "" {
		return r.Purpose + " (" + r.Why + ")"
	}
	return r.Purpose
}

// protocol is the type and port of an application protocol.
func protocol(text string) (kind, port string) {
	kind, port, _ = strings.Cut(text, ":")
	return kind, port
}

func azEgress(b *strings.Builder, n Names, location string, e *Egress) {
	fmt.Fprintf(b, "\naz network firewall policy create -g \"$GROUP\" -n %s -l %s --sku Standard --enable-dns-proxy true\n", n.Policy, location)
	fmt.Fprintf(b, "az network firewall policy rule-collection-group create -g \"$GROUP\" --policy-name %s -n %s --priority %d\n", n.Policy, policyGroup, policyGroupPriority)
	for _, c := range e.collections() {
		for i, r := range c.rules {
			fmt.Fprintf(b, "# %s\n", r.comment())
			what := fmt.Sprintf("collection rule add -g \"$GROUP\" --policy-name %s --rcg-name %s --collection-name %s -n %s", n.Policy, policyGroup, c.name, r.Name)
			if i == 0 {
				what = fmt.Sprintf("collection add-filter-collection -g \"$GROUP\" --policy-name %s --rcg-name %s -n %s --collection-priority %d --action Allow --rule-name %s", n.Policy, policyGroup, c.name, c.priority, r.Name)
			}
			fmt.Fprintf(b, "az network firewall policy rule-collection-group %s --rule-type %s --source-addresses %s", what, r.Kind, strings.Join(r.Sources, " "))
			if r.Kind == ApplicationRule {
				protocols := each(r.Protocols, func(p string) string { return strings.ReplaceAll(p, ":", "=") })
				fmt.Fprintf(b, " --protocols %s --target-fqdns %s\n", strings.Join(protocols, " "), strings.Join(each(r.FQDNs, quoted), " "))
				continue
			}
			fmt.Fprintf(b, " --ip-protocols %s", strings.Join(r.Protocols, " "))
			if len(r.Names) > 0 {
				fmt.Fprintf(b, " --destination-fqdns %s", strings.Join(r.Names, " "))
			} else {
				fmt.Fprintf(b, " --destination-addresses %s", strings.Join(r.Tags, " "))
			}
			fmt.Fprintf(b, " --destination-ports %s\n", strings.Join(r.Ports, " "))
		}
	}
	fmt.Fprintf(b, "\naz network route-table create -g \"$GROUP\" -n %s -l %s\n", n.RouteTable, location)
	for _, r := range e.Routes {
		fmt.Fprintf(b, "# %s\naz network route-table route create -g \"$GROUP\" --route-table-name %s -n %s --address-prefix %s --next-hop-type %s", r.Purpose, n.RouteTable, r.Name, r.Prefix, r.Hop)
		if r.Address != "" {
			fmt.Fprintf(b, " --next-hop-ip-address %s", r.Address)
		}
		b.WriteString("\n")
	}
}

// bicepList is an array on lines of its own.
func bicepList(indent string, list []string) string {
	return "[\n" + indent + "  " + strings.Join(each(list, quoted), "\n"+indent+"  ") + "\n" + indent + "]"
}

func bicepEgress(b *strings.Builder, n Names, e *Egress) {
	fmt.Fprintf(b, "\nparam firewallAddress string = %s\n\nresource policy 'Microsoft.Network/firewallPolicies@2024-05-01' = {\n  name: %s\n  location: location\n  properties: {\n    sku: {\n      tier: 'Standard'\n    }\n    dnsSettings: {\n      enableProxy: true\n    }\n  }\n}\n", quoted(e.Firewall), quoted(n.Policy))
	fmt.Fprintf(b, "\nresource rules 'Microsoft.Network/firewallPolicies/ruleCollectionGroups@2024-05-01' = {\n  parent: policy\n  name: %s\n  properties: {\n    priority: %d\n    ruleCollections: [\n", quoted(policyGroup), policyGroupPriority)
	const indent = "            "
	for _, c := range e.collections() {
		fmt.Fprintf(b, "      {\n        ruleCollectionType: 'FirewallPolicyFilterRuleCollection'\n        name: %s\n        priority: %d\n        action: {\n          type: 'Allow'\n        }\n        rules: [\n", quoted(c.name), c.priority)
		for _, r := range c.rules {
			fmt.Fprintf(b, "          // %s\n          {\n%sruleType: %s\n%sname: %s\n%ssourceAddresses: %s\n", r.comment(), indent, quoted(r.Kind), indent, quoted(r.Name), indent, bicepList(indent, r.Sources))
			if r.Kind == ApplicationRule {
				fmt.Fprintf(b, "%sprotocols: [\n", indent)
				for _, p := range r.Protocols {
					kind, port := protocol(p)
					fmt.Fprintf(b, "%s  {\n%s    protocolType: %s\n%s    port: %s\n%s  }\n", indent, indent, quoted(kind), indent, port, indent)
				}
				fmt.Fprintf(b, "%s]\n%stargetFqdns: %s\n", indent, indent, bicepList(indent, r.FQDNs))
			} else {
				fmt.Fprintf(b, "%sipProtocols: %s\n", indent, bicepList(indent, r.Protocols))
				if len(r.Names) > 0 {
					fmt.Fprintf(b, "%sdestinationFqdns: %s\n", indent, bicepList(indent, r.Names))
				} else {
					fmt.Fprintf(b, "%sdestinationAddresses: %s\n", indent, bicepList(indent, r.Tags))
				}
				fmt.Fprintf(b, "%sdestinationPorts: %s\n", indent, bicepList(indent, r.Ports))
			}
			b.WriteString("          }\n")
		}
		b.WriteString("        ]\n      }\n")
	}
	fmt.Fprintf(b, "    ]\n  }\n}\n\nresource routes 'Microsoft.Network/routeTables@2024-05-01' = {\n  name: %s\n  location: location\n  properties: {\n    routes: [\n", quoted(n.RouteTable))
	for _, r := range e.Routes {
		fmt.Fprintf(b, "      // %s\n      {\n        name: %s\n        properties: {\n          addressPrefix: %s\n          nextHopType: %s\n", r.Purpose, quoted(r.Name), quoted(r.Prefix), quoted(r.Hop))
		if r.Address != "" {
			b.WriteString("          nextHopIpAddress: firewallAddress\n")
		}
		b.WriteString("        }\n      }\n")
	}
	b.WriteString("    ]\n  }\n}\n\noutput policyId string = policy.id\noutput routeTableId string = routes.id\n")
}

// hcl is a list of Terraform's.
func hcl(list []string) string {
	return "[" + strings.Join(each(list, func(s string) string { return fmt.Sprintf("%q", s) }), ", ") + "]"
}

func terraformEgress(b *strings.Builder, n Names, location string, e *Egress) {
	fmt.Fprintf(b, "\nresource \"azurerm_firewall_policy\" \"this\" {\n  name                = %q\n  location            = %q\n  resource_group_name = var.resource_group_name\n\n  dns {\n    proxy_enabled = true\n  }\n}\n", n.Policy, location)
	fmt.Fprintf(b, "\nresource \"azurerm_firewall_policy_rule_collection_group\" \"this\" {\n  name               = %q\n  firewall_policy_id = azurerm_firewall_policy.this.id\n  priority           = %d\n", policyGroup, policyGroupPriority)
	for _, c := range e.collections() {
		fmt.Fprintf(b, "\n  %s_rule_collection {\n    name     = %q\n    priority = %d\n    action   = \"Allow\"\n", c.name, c.name, c.priority)
		for _, r := range c.rules {
			fmt.Fprintf(b, "\n    # %s\n    rule {\n      name             = %q\n      source_addresses = %s\n", r.comment(), r.Name, hcl(r.Sources))
			if r.Kind == ApplicationRule {
				fmt.Fprintf(b, "      destination_fqdns = %s\n", hcl(r.FQDNs))
				for _, p := range r.Protocols {
					kind, port := protocol(p)
					fmt.Fprintf(b, "\n      protocols {\n        type = %q\n        port = %s\n      }\n", kind, port)
				}
			} else {
				to := "destination_addresses = " + hcl(r.Tags)
				if len(r.Names) > 0 {
					to = "destination_fqdns = " + hcl(r.Names)
				}
				fmt.Fprintf(b, "      protocols         = %s\n      %s\n      destination_ports = %s\n", hcl(r.Protocols), to, hcl(r.Ports))
			}
			b.WriteString("    }\n")
		}
		b.WriteString("  }\n")
	}
	fmt.Fprintf(b, "}\n\nresource \"azurerm_route_table\" \"this\" {\n  name                = %q\n  location            = %q\n  resource_group_name = var.resource_group_name\n", n.RouteTable, location)
	for _, r := range e.Routes {
		fmt.Fprintf(b, "\n  # %s\n  route {\n    name           = %q\n    address_prefix = %q\n    next_hop_type  = %q\n", r.Purpose, r.Name, r.Prefix, r.Hop)
		if r.Address != "" {
			fmt.Fprintf(b, "    next_hop_in_ip_address = %q\n", r.Address)
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
}

// Body is the egress as Resource Manager takes it: the properties of the policy's rule collection group and of the
// route table.
func (e *Egress) Body() (group, table map[string]any) {
	type object = map[string]any
	var collections, routes []object
	for _, c := range e.collections() {
		var rules []object
		for _, r := range c.rules {
			o := object{"ruleType": r.Kind, "name": r.Name, "sourceAddresses": r.Sources}
			if r.Kind == ApplicationRule {
				var protocols []object
				for _, p := range r.Protocols {
					kind, port := protocol(p)
					protocols = append(protocols, object{"protocolType": kind, "port": json.Number(port)})
				}
				o["protocols"], o["targetFqdns"] = protocols, r.FQDNs
			} else {
				o["ipProtocols"], o["destinationPorts"] = r.Protocols, r.Ports
				if len(r.Names) > 0 {
					o["destinationFqdns"] = r.Names
				} else {
					o["destinationAddresses"] = r.Tags
				}
			}
			rules = append(rules, o)
		}
		collections = append(collections, object{"ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": c.name, "priority": c.priority, "action": object{"type": "Allow"}, "rules": rules})
	}
	for _, r := range e.Routes {
		p := object{"addressPrefix": r.Prefix, "nextHopType": r.Hop}
		if r.Address != "" {
			p["nextHopIpAddress"] = r.Address
		}
		routes = append(routes, object{"name": r.Name, "properties": p})
	}
	return object{"priority": policyGroupPriority, "ruleCollections": collections}, object{"routes": routes}
}

// Samples are names that the application rules let through, and network rules by name: one of each pattern.
func (e *Egress) Samples() (out []Sample) {
	for _, r := range e.Rules {
		for _, host := range r.FQDNs {
			for _, p := range r.Protocols {
				_, port := protocol(p)
				out = append(out, Sample{sample(host), "tcp", port, r.Name})
			}
		}
		for _, port := range r.Ports {
			for _, p := range r.Protocols {
				to := slices.Concat(r.Names, r.Tags)[0]
				out = append(out, Sample{to, strings.ToLower(p), port, r.Name})
			}
		}
	}
	return out
}

// Sample is traffic that a rule lets through: To is a name, or a service tag.
type Sample struct{ To, Protocol, Port, Rule string }
