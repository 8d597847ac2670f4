package doctor

import (
	"fmt"
	"io"
	"strings"
)

// part is the segment after a type in a resource id, "" if there is none.
func part(id, typ string) string {
	segs := strings.Split(id, "/")
	for i := range len(segs) - 1 {
		if strings.EqualFold(segs[i], typ) {
			return segs[i+1]
		}
	}
	return ""
}

func name(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// az is a command about the resource of an id: its subscription and group, then flags. A flag without "="
// is filled from the id: zone-name with the zone's, name with the last.
func az(id, command string, flags ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "az %s --subscription %s --resource-group %s", command, part(id, "subscriptions"), part(id, "resourceGroups"))
	for _, f := range flags {
		flag, value, ok := strings.Cut(f, "=")
		switch {
		case ok:
		case flag == "zone-name":
			value = part(id, "privateDnsZones")
		case flag == "name":
			value = name(id)
		}
		fmt.Fprintf(&b, " --%s %s", flag, quote(value))
	}
	return b.String()
}

// quote keeps a value whole in a shell.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " *'\"$&|;<>()`\\!?[]{}~#") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// beside is a resource of Microsoft.Network in the group of another.
func beside(id, path string) string {
	return "/subscriptions/" + part(id, "subscriptions") + "/resourceGroups/" + part(id, "resourceGroups") + "/providers/Microsoft.Network/" + path
}

func linkVNet(zone, vnet string) string {
	return az(zone, "network private-dns link vnet create --registration-enabled false", "zone-name", "name="+name(vnet), "virtual-network="+vnet)
}

func zoneGroup(endpoint, zone string) string {
	return az(endpoint, "network private-endpoint dns-zone-group create --name default", "endpoint-name="+name(endpoint), "zone-name="+strings.ReplaceAll(name(zone), ".", "-"), "private-dns-zone="+zone)
}

// recordID is the id of an A record set.
func recordID(zone, name string) string { return zone + "/A/" + name }

// Print writes the report for people; short makes ids readable.
func (r Report) Print(w io.Writer, short func(string) string) error {
	var b strings.Builder
	if len(r.Findings) == 0 {
		b.WriteString("No findings: every private endpoint's names lead to it where they should.\n")
	}
	for i, f := range r.Findings {
		fmt.Fprintf(&b, "%d. %s  %s\n   %s.\n", i+1, f.Code, short(f.Where), short(f.What))
		if f.Today != "" {
			fmt.Fprintf(&b, "   Today: %s is %s in %s.\n", f.Name, short(f.Today), short(strings.Join(f.VNets, ", ")))
		}
		fmt.Fprintf(&b, "   So: %s.\n", short(f.Why))
		for _, c := range f.Do {
			fmt.Fprintf(&b, "   $ %s\n", c)
		}
	}
	if len(r.Forwarders) > 0 {
		b.WriteString("\nForwarders that DNS servers on-premises need\n")
	}
	for _, f := range r.Forwarders {
		to := "nobody: virtual network " + short(f.VNet) + " has no inbound endpoint of a DNS resolver"
		if len(f.To) > 0 {
			texts := make([]string, len(f.To))
			for i, a := range f.To {
				texts[i] = a.String()
			}
			to = strings.Join(texts, ", ")
		}
		fmt.Fprintf(&b, "  %-40s → %s\n", f.Domain, to)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
