package doctor

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric/dns"
)

// forwarders are, for each network that has an inbound endpoint or is connected to on-premises, the domains
// of its zones and where a server on-premises must send them.
func (x *examination) forwarders() []Forwarder {
	list := []Forwarder{}
	for i := range x.Topology.VNets {
		v := &x.Topology.VNets[i]
		var to []netip.Addr
		for _, in := range x.Inbound {
			if in.VNet == v.ID {
				to = append(to, in.Addr)
			}
		}
		if len(to) == 0 && len(v.GatewayRoutes) == 0 {
			continue
		}
		for _, l := range x.Links {
			if l.VNet != v.ID {
				continue
			}
			for _, d := range domains(dns.Canonical(x.zones[l.Zone].Name)) {
				list = append(list, Forwarder{Domain: d, Zone: l.Zone, VNet: v.ID, To: to})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Forwarder) int { return cmp.Or(cmp.Compare(a.VNet, b.VNet), cmp.Compare(a.Domain, b.Domain)) })
	return list
}

// domains are those that must be forwarded so that a zone takes over: the public ones, since a client asks for
// the public name and only Azure's resolver leads it into the zone.
// https://learn.microsoft.com/azure/private-link/private-endpoint-dns
// https://learn.microsoft.com/azure/machine-learning/how-to-custom-dns
func domains(zone string) []string {
	switch zone {
	case "privatelink.api.azureml.ms":
		return []string{"api.azureml.ms", "inference.ml.azure.com", "instances.azureml.ms"}
	case "privatelink.notebooks.azure.net":
		return []string{"aznbcontent.net", "notebooks.azure.net"}
	case "privatelink.vaultcore.azure.net":
		return []string{"vault.azure.net", "vaultcore.azure.net"}
	}
	rest, isLink := strings.CutPrefix(zone, "privatelink.")
	if !isLink {
		return []string{zone}
	}
	return []string{rest}
}
