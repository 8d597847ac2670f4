package privatedns

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// registeredTTL is the TTL of automatically registered records, in seconds.
const registeredTTL = 10

// Registration is what a link with registrationEnabled asks for.
type Registration struct {
	Zone, VNet arm.ID
}

// Registrations are the links that register, those to virtual networks that exist; stale are links to others,
// which Azure clears by itself.
func (p *Provider) Registrations(tx *rp.Tx) (list []Registration, stale []arm.ID, err error) {
	all, err := sights(tx)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		exists, err := p.cfg.VNetExists(tx, s.vnet)
		switch {
		case err != nil:
			return nil, nil, err
		case exists && s.registers:
			list = append(list, Registration{Zone: s.zone, VNet: s.vnet})
		case !exists && s.by.Key() != s.zone.Key():
			stale = append(stale, s.by)
		}
	}
	return list, stale, nil
}

// Register makes the automatically registered records of all zones those of the hosts, and clears links to
// virtual networks that are gone. hosts are the names and addresses of a virtual network's machines. It reports
// whether anything had to change; with dry it changes nothing. A record set that somebody wrote stays, and so
// does an alias: the machine is registered once the name is free.
// https://learn.microsoft.com/azure/dns/private-dns-autoregistration, dns-faq-private
func (p *Provider) Register(tx *rp.Tx, hosts func(vnet arm.ID) map[string][]netip.Addr, dry bool) (changed bool, err error) {
	list, stale, err := p.Registrations(tx)
	if err != nil {
		return false, err
	}
	want := map[string]map[string][]netip.Addr{} // by zone and name, both lower-case
	for _, r := range list {
		key := r.Zone.Key()
		if want[key] == nil {
			want[key] = map[string][]netip.Addr{}
		}
		for name, addrs := range hosts(r.VNet) {
			want[key][name] = append(want[key][name], addrs...)
		}
	}
	zones, err := privateZones(tx)
	if err != nil {
		return false, err
	}
	for _, z := range zones {
		some, err := registerIn(tx, z, want[z.Key()], dry)
		if err != nil {
			return false, err
		}
		changed = changed || some
	}
	for _, id := range stale {
		changed = true
		if dry {
			break
		}
		if err := rp.Remove(tx, id); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// privateZones are all zones that networks see and machines can be registered in.
func privateZones(tx *rp.Tx) (ids []arm.ID, err error) {
	zones, err := rp.List[Zone](tx, ZoneType, root)
	if err != nil {
		return nil, err
	}
	for _, z := range zones {
		if z.State != arm.Deleting {
			ids = append(ids, z.ID)
		}
	}
	classic, err := privateClassic(tx)
	for _, z := range classic {
		ids = append(ids, z.ID)
	}
	return ids, err
}

// registerIn makes the automatically registered sets of one zone those of want.
func registerIn(tx *rp.Tx, zone arm.ID, want map[string][]netip.Addr, dry bool) (changed bool, err error) {
	sets, err := rp.List[RecordSet](tx, familyOf(zone).set("A"), zone)
	if err != nil {
		return false, err
	}
	have := map[string]*rp.Resource[RecordSet]{}
	for _, s := range sets {
		name := strings.ToLower(s.ID.Name())
		have[name] = s
		if _, ok := want[name]; !s.Properties.AutoRegistered || ok {
			continue
		}
		changed = true
		if !dry {
			if err := rp.Remove(tx, s.ID); err != nil {
				return false, err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		addrs := slices.SortedFunc(slices.Values(want[name]), netip.Addr.Compare)
		set := &rp.Resource[RecordSet]{ID: zone.Child("A", name), Properties: RecordSet{TTL: registeredTTL, AutoRegistered: true}}
		if s := have[name]; s != nil {
			if !s.Properties.AutoRegistered || sameAddresses(s.Properties.A, addrs) {
				continue
			}
			set = s
		} else if conflicts(tx, set.ID) != nil {
			continue
		}
		changed = true
		if dry {
			continue
		}
		set.Properties.A = nil
		for _, a := range addrs {
			set.Properties.A = append(set.Properties.A, ARecord{Address: a.String()})
		}
		if err := rp.Save(tx, set); err != nil {
			return false, err
		}
	}
	return changed, nil
}

func sameAddresses(records []ARecord, addrs []netip.Addr) bool {
	return slices.EqualFunc(records, addrs, func(r ARecord, a netip.Addr) bool { return r.Address == a.String() })
}
