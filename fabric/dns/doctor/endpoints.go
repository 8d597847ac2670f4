package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// endpoints checks every name of every endpoint, where its own network and those peered with it ask.
func (x *examination) endpoints() {
	for _, e := range x.Endpoints {
		for _, need := range e.Needs {
			for _, vnet := range x.near(e.VNet) {
				if of, ok := x.resolver(vnet); ok && !x.served(vnet, of, e, need) {
					x.diagnose(vnet, of, e, need)
				}
			}
		}
	}
}

// served tells whether the name leads to an endpoint of the same resource that the VNet is near to.
func (x *examination) served(vnet, resolver string, e Endpoint, need Need) bool {
	a := x.Resolve(resolver, need.fqdn())
	if a.Forward != nil {
		return true // others answer: nobody here knows what
	}
	addrs := a.Addrs()
	if len(addrs) == 0 {
		return false
	}
	good := append(x.addresses(vnet, e.Target, need), need.Addr)
	for _, r := range addrs {
		if !slices.Contains(good, r.Addr) {
			return false
		}
	}
	return true
}

// addresses are those of the endpoints of a resource that a VNet is near to, for a record.
func (x *examination) addresses(vnet, target string, need Need) (list []netip.Addr) {
	near := x.near(vnet)
	for _, e := range x.Endpoints {
		if e.Target != target || !slices.Contains(near, e.VNet) {
			continue
		}
		for _, n := range e.Needs {
			if strings.EqualFold(n.Zone, need.Zone) && strings.EqualFold(n.Name, need.Name) {
				list = append(list, n.Addr)
			}
		}
	}
	return list
}

// diagnose says why a name is not what it should be for the machines of a VNet, whose resolver is that of
// another or of the same.
func (x *examination) diagnose(vnet, resolver string, e Endpoint, need Need) {
	f := Finding{VNets: []string{vnet}, Name: need.host(), Today: x.today(resolver, need.host())}
	link := x.linkOf(resolver, need.Zone)
	if link == nil {
		x.add(x.unlinked(f, resolver, e, need))
		return
	}
	set := x.record(link.Zone, need.Name)
	switch {
	case set != nil:
		f.Code, f.Where = RecordStale, recordID(link.Zone, need.Name)
		f.What = fmt.Sprintf("the record %s in zone %s does not lead to %s, the address of private endpoint %s", need.Name, link.Zone, need.Addr, e.ID)
		f.Why = need.host() + " leads to an address that does not answer for it"
		f.Do = []string{
			az(link.Zone, "network private-dns record-set a delete --yes", "zone-name", "name="+need.Name),
			az(link.Zone, "network private-dns record-set a add-record", "zone-name", "record-set-name="+need.Name, "ipv4-address="+need.Addr.String()),
		}
	case len(x.groupsOf(e, need.Zone)) == 0:
		f.Code, f.Where = ZoneGroupMissing, e.ID
		f.What = fmt.Sprintf("private endpoint %s has no DNS zone group with the zone %s: nobody writes its record %s", e.ID, need.Zone, need.Name)
		f.Do = []string{zoneGroup(e.ID, link.Zone)}
	case !slices.Contains(x.groupsOf(e, need.Zone), link.Zone):
		f.Code, f.Where = ZoneDoubled, link.Zone
		other := x.groupsOf(e, need.Zone)[0]
		f.What = fmt.Sprintf("the zone %s exists more than once: private endpoint %s writes its record into %s, and %s is linked to %s", need.Zone, e.ID, other, resolver, link.Zone)
		f.Do = []string{az(link.ID, "network private-dns link vnet delete --yes", "zone-name", "name"), linkVNet(other, resolver)}
	default:
		f.Code, f.Where = RecordMissing, link.Zone
		f.What = fmt.Sprintf("the zone %s lacks the record %s of private endpoint %s, whose zone group should have written it", link.Zone, need.Name, e.ID)
		f.Do = []string{az(link.Zone, "network private-dns record-set a add-record", "zone-name", "record-set-name="+need.Name, "ipv4-address="+need.Addr.String())}
	}
	if set == nil {
		f.Why = need.host() + " does not exist there: the zone is linked, and what it lacks is not asked of the internet"
		if link.Redirect {
			f.Why = need.host() + " leads to the public address, past the endpoint"
		}
	}
	x.add(f)
	if set == nil && link.Redirect {
		x.add(Finding{
			Code: FallbackHidesRecord, Where: link.ID, VNets: f.VNets, Name: need.host(), Today: f.Today,
			What: fmt.Sprintf("the link %s has the resolution policy NxDomainRedirect, so that nobody notices the missing record %s", link.ID, need.Name),
			Why:  "connections leave by the public way instead of failing, as long as the service's firewall lets them",
			Do:   []string{az(link.ID, "network private-dns link vnet update --resolution-policy Default", "zone-name", "name")},
		})
	}
}

// unlinked completes the finding of a VNet that no zone of the name is linked to.
func (x *examination) unlinked(f Finding, resolver string, e Endpoint, need Need) Finding {
	f.Why = need.host() + " leads to the public address, past the endpoint, and is refused where the service is closed to the internet"
	zones := x.named(need.Zone)
	if len(zones) == 0 {
		f.Code, f.Where = ZoneMissing, e.ID
		f.What = fmt.Sprintf("private endpoint %s needs the private DNS zone %s, which does not exist", e.ID, need.Zone)
		f.VNets, f.Today = []string{e.VNet}, x.today(e.VNet, need.host()) // once, for all networks that would be linked
		zone := beside(e.ID, "privateDnsZones/"+need.Zone)
		f.Do = []string{az(zone, "network private-dns zone create", "name")}
		for _, v := range x.resolvers(e.VNet) {
			f.Do = append(f.Do, linkVNet(zone, v))
		}
		f.Do = append(f.Do, zoneGroup(e.ID, zone))
		return f
	}
	zone := zones[0]
	if groups := x.groupsOf(e, need.Zone); len(groups) > 0 {
		zone = groups[0]
	}
	f.Code, f.Where = ZoneUnlinked, zone
	f.What = fmt.Sprintf("the zone %s is not linked to virtual network %s, where private endpoint %s is", zone, resolver, e.ID)
	if resolver != e.VNet {
		f.Code = PeerUnlinked
		f.What = fmt.Sprintf("the zone %s is not linked to virtual network %s, which is peered with that of private endpoint %s", zone, resolver, e.ID)
	}
	f.Do = []string{linkVNet(zone, resolver)}
	return f
}

// resolvers are the VNets whose names are seen in a VNet and those that it is peered with.
func (x *examination) resolvers(vnet string) (list []string) {
	for _, v := range x.near(vnet) {
		if of, ok := x.resolver(v); ok && !slices.Contains(list, of) {
			list = append(list, of)
		}
	}
	return list
}

// groupsOf are the zones of a name in the endpoint's zone groups.
func (x *examination) groupsOf(e Endpoint, zone string) (ids []string) {
	for _, id := range e.Groups {
		if strings.EqualFold(x.zones[id].Name, zone) {
			ids = append(ids, id)
		}
	}
	return ids
}
