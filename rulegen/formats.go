package rulegen

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Formats are what Write takes.
var Formats = []string{"az", "bicep", "terraform", "json"}

// Write writes a security group with the rules; and of an egress, if it is not nil, a firewall policy and a route table.
func Write(w io.Writer, format string, n Names, location string, rules []Rule, e *Egress) error {
	var b strings.Builder
	switch format {
	case "az":
		az(&b, n.Group, location, rules)
		if e != nil {
			azEgress(&b, n, location, e)
		}
	case "bicep":
		bicep(&b, n.Group, location, rules)
		if e != nil {
			bicepEgress(&b, n, e)
		}
	case "terraform":
		terraform(&b, n.Group, location, rules)
		if e != nil {
			terraformEgress(&b, n, location, e)
		}
	case "json":
		var v any = rules
		if e != nil {
			v = struct {
				Rules []Rule `json:"securityRules"`
				*Egress
			}{rules, e}
		}
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return err
		}
	default:
		return fmt.Errorf("format %q: %s", format, strings.Join(Formats, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quoted is a text in single quotes, as shells and Bicep have it: names, tags and ports have none inside.
func quoted(s string) string { return "'" + s + "'" }

func comment(b *strings.Builder, prefix string, r Rule) {
	fmt.Fprintf(b, "%s%s\n", prefix, r.Purpose)
}

func az(b *strings.Builder, group, location string, rules []Rule) {
	fmt.Fprintf(b, "az network nsg create -g \"$GROUP\" -n %s -l %s\n", group, location)
	for _, r := range rules {
		comment(b, "# ", r)
		fmt.Fprintf(b, "az network nsg rule create -g \"$GROUP\" --nsg-name %s -n %s --priority %d --direction %s --access %s --protocol %s --source-address-prefixes %s --source-port-ranges '*' --destination-address-prefixes %s --destination-port-ranges %s\n",
			group, r.Name, r.Priority, r.Direction, r.Access, quoted(r.Protocol), quoted(r.Source), quoted(r.Destination), strings.Join(each(r.Ports, quoted), " "))
	}
}

func each(list []string, f func(string) string) (out []string) {
	for _, s := range list {
		out = append(out, f(s))
	}
	return out
}

func bicep(b *strings.Builder, group, location string, rules []Rule) {
	fmt.Fprintf(b, "param location string = %s\n\nresource nsg 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {\n  name: %s\n  location: location\n  properties: {\n    securityRules: [\n", quoted(location), quoted(group))
	for _, r := range rules {
		comment(b, "      // ", r)
		fmt.Fprintf(b, "      {\n        name: %s\n        properties: {\n          priority: %d\n          direction: %s\n          access: %s\n          protocol: %s\n          sourceAddressPrefix: %s\n          sourcePortRange: '*'\n          destinationAddressPrefix: %s\n",
			quoted(r.Name), r.Priority, quoted(r.Direction), quoted(r.Access), quoted(r.Protocol), quoted(r.Source), quoted(r.Destination))
		if len(r.Ports) == 1 {
			fmt.Fprintf(b, "          destinationPortRange: %s\n", quoted(r.Ports[0]))
		} else {
			fmt.Fprintf(b, "          destinationPortRanges: [\n            %s\n          ]\n", strings.Join(each(r.Ports, quoted), "\n            "))
		}
		b.WriteString("        }\n      }\n")
	}
	b.WriteString("    ]\n  }\n}\n\noutput id string = nsg.id\n")
}

func terraform(b *strings.Builder, group, location string, rules []Rule) {
	fmt.Fprintf(b, "variable \"resource_group_name\" {\n  type = string\n}\n\nresource \"azurerm_network_security_group\" \"this\" {\n  name                = %q\n  location            = %q\n  resource_group_name = var.resource_group_name\n", group, location)
	for _, r := range rules {
		b.WriteString("\n")
		comment(b, "  # ", r)
		ports := fmt.Sprintf("    destination_port_range     = %q\n", r.Ports[0])
		if len(r.Ports) > 1 {
			ports = fmt.Sprintf("    destination_port_ranges    = [%s]\n", strings.Join(each(r.Ports, func(s string) string { return fmt.Sprintf("%q", s) }), ", "))
		}
		fmt.Fprintf(b, "  security_rule {\n    name                       = %q\n    priority                   = %d\n    direction                  = %q\n    access                     = %q\n    protocol                   = %q\n    source_address_prefix      = %q\n    source_port_range          = \"*\"\n    destination_address_prefix = %q\n%s  }\n",
			r.Name, r.Priority, r.Direction, r.Access, r.Protocol, r.Source, r.Destination, ports)
	}
	b.WriteString("}\n")
}
