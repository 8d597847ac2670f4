package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
)

// stale looks for records of Private Link zones that lead into the region's networks, to nobody: an endpoint
// was made anew, and the record of the old one stayed.
func (x *examination) stale() {
	for _, z := range x.Zones {
		if !strings.HasPrefix(dns.Canonical(z.Name), "privatelink.") {
			continue
		}
		for _, s := range z.Sets {
			if s.Type != typeA {
				continue
			}
			for _, d := range s.Data {
				vnet, held := x.holder(d.Addr)
				if vnet == "" || held {
					continue
				}
				name := s.Name + "." + dns.Canonical(z.Name)
				if slices.ContainsFunc(x.found, func(f Finding) bool { return f.Code == RecordStale && f.Where == recordID(z.ID, s.Name) }) {
					continue // the endpoint that it should lead to has shown it
				}
				x.add(Finding{
					Code: RecordStale, Where: recordID(z.ID, s.Name), VNets: []string{x.readerOf(z.ID, vnet)}, Name: name, Today: d.Addr.String(),
					What: fmt.Sprintf("the record %s in zone %s leads to %s, which nobody has in %s", s.Name, z.ID, d.Addr, vnet),
					Why:  name + " leads to an address that does not answer, until another machine gets it, which then answers instead",
					Do:   []string{az(z.ID, "network private-dns record-set a remove-record", "zone-name", "record-set-name="+s.Name, "ipv4-address="+d.Addr.String())},
				})
			}
		}
	}
}

// holder is a VNet whose address space holds the address, "" for none, and whether something there has it:
// spaces of networks that do not meet may overlap.
func (x *examination) holder(a netip.Addr) (vnet string, held bool) {
	for i := range x.Topology.VNets {
		v := &x.Topology.VNets[i]
		if !slices.ContainsFunc(v.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			continue
		}
		if vnet == "" {
			vnet = v.ID
		}
		if x.nicAt(v.ID, a) != nil {
			return v.ID, true
		}
	}
	for _, b := range x.Topology.LoadBalancers {
		if slices.ContainsFunc(b.Frontends, func(f fabric.Frontend) bool { return f.Addr == a }) {
			return b.VNet, true
		}
	}
	return vnet, false
}

// readerOf is a VNet that the zone is linked to: preferred, if it is.
func (x *examination) readerOf(zone, preferred string) string {
	var list []string
	for _, l := range x.Links {
		if l.Zone == zone {
			list = append(list, l.VNet)
		}
	}
	if slices.Contains(list, preferred) || len(list) == 0 {
		return preferred
	}
	return list[0]
}

// doubled looks for zones of one name that are linked to networks near to each other and do not say the same:
// a record in one is not seen through the other.
func (x *examination) doubled() {
	for i, a := range x.Links {
		for _, b := range x.Links[i+1:] {
			za, zb := x.zones[a.Zone], x.zones[b.Zone]
			if za.ID == zb.ID || dns.Canonical(za.Name) != dns.Canonical(zb.Name) || !slices.Contains(x.near(a.VNet), b.VNet) {
				continue
			}
			lacking, missing, from, in := lacks(za, zb), zb, a, b
			if lacking == "" {
				lacking, missing, from, in = lacks(zb, za), za, b, a
			}
			if lacking == "" {
				continue
			}
			name := lacking + "." + dns.Canonical(za.Name)
			if slices.ContainsFunc(x.found, func(f Finding) bool {
				return f.Code == ZoneDoubled && f.Where == missing.ID && slices.Contains(f.VNets, in.VNet)
			}) {
				continue // an endpoint's names have shown it
			}
			x.add(Finding{
				Code: ZoneDoubled, Where: missing.ID, VNets: []string{in.VNet}, Name: name, Today: x.today(in.VNet, name),
				What: fmt.Sprintf("the zone %s exists twice: %s is linked to %s, %s to %s, which are peered; the record %s stands in the first only", missing.Name, from.Zone, from.VNet, in.Zone, in.VNet, lacking),
				Why:  "each network sees the records of its own zone only",
				Do:   []string{az(in.ID, "network private-dns link vnet delete --yes", "zone-name", "name"), linkVNet(from.Zone, in.VNet)},
			})
		}
	}
}

// lacks is a record of a that b has not, "" if it has all.
func lacks(a, b dns.Zone) string {
	for _, s := range a.Sets {
		if !slices.ContainsFunc(b.Sets, func(o dns.Set) bool { return o.Type == s.Type && strings.EqualFold(o.Name, s.Name) }) {
			return s.Name
		}
	}
	return ""
}

// traps looks for networks whose linked zone hides the public name of a resource with an endpoint elsewhere.
func (x *examination) traps() {
	for _, e := range x.Endpoints {
		for _, need := range e.Needs {
			for i := range x.Topology.VNets {
				vnet := x.Topology.VNets[i].ID
				of, ok := x.resolver(vnet)
				if !ok || slices.Contains(x.near(e.VNet), vnet) || len(x.addresses(vnet, e.Target, need)) > 0 {
					continue
				}
				link := x.linkOf(of, need.Zone)
				if link == nil || link.Redirect || x.record(link.Zone, need.Name) != nil || len(x.Resolve(of, need.fqdn()).Addrs()) > 0 {
					continue
				}
				x.add(Finding{
					Code: NXDomainTrap, Where: link.ID, VNets: []string{vnet}, Name: need.host(), Today: x.today(of, need.host()),
					What: fmt.Sprintf("%s has a private endpoint in %s, so its name leads into zone %s, which is linked to %s and lacks it", e.Target, e.VNet, need.Zone, of),
					Why:  need.host() + " does not exist there, though its public address may be reached",
					Do:   []string{az(link.ID, "network private-dns link vnet update --resolution-policy NxDomainRedirect", "zone-name", "name")},
				})
			}
		}
	}
}

// servers checks the way of questions: from machines to their DNS servers, and from those to Azure's resolver.
func (x *examination) servers() {
	for i := range x.Topology.VNets {
		v := &x.Topology.VNets[i]
		for _, server := range x.Servers(v.ID) {
			if server == fabric.WireServer {
				continue
			}
			for _, n := range v.NICs {
				if n.Kind != fabric.Guest || n.Managed || slices.Contains(n.Addrs, server) || x.inbound(n.ID) {
					continue
				}
				e := x.Explain(question(n.ID, server))
				switch {
				case e.Verdict == fabric.Denied:
					x.add(Finding{
						Code: CustomServerUnreachable, Where: v.ID, VNets: []string{v.ID}, Name: server.String(),
						What: fmt.Sprintf("%s cannot ask the custom DNS server %s of virtual network %s: %s", n.ID, server, v.ID, denial(e)),
						Why:  "no name resolves there that another server does not answer",
						Do:   []string{az(v.ID, "network vnet update --dns-servers ''", "name")},
					})
				case e.Destination.Kind == fabric.ToNIC && !x.inbound(e.Destination.ID):
					x.forwards(v.ID, e.Destination.ID)
				}
			}
		}
	}
}

// forwards checks that a DNS server of the user's own reaches Azure's resolver.
func (x *examination) forwards(vnet, server string) {
	e := x.Explain(question(server, fabric.WireServer))
	if e.Verdict == fabric.Allowed {
		return
	}
	x.add(Finding{
		Code: CustomServerCutOff, Where: server, VNets: []string{vnet}, Name: fabric.WireServer.String(),
		What: fmt.Sprintf("the custom DNS server %s of virtual network %s cannot ask 168.63.129.16: %s", server, vnet, denial(e)),
		Why:  "it cannot answer for private zones or for Azure's names",
	})
}

func question(nic string, server netip.Addr) fabric.Flow {
	const client, port = 40000, 53
	return fabric.Flow{From: fabric.Place{Kind: fabric.AtNIC, ID: nic}, Dst: server, Protocol: fabric.UDP, SrcPort: client, DstPort: port}
}

func denial(e fabric.Explanation) string {
	if e.By != (fabric.RuleRef{}) {
		return e.By.String()
	}
	return e.Steps[len(e.Steps)-1].What
}

func (x *examination) inbound(nic string) bool {
	return slices.ContainsFunc(x.Inbound, func(in Inbound) bool { return in.NIC == nic })
}
