package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatedns"
)

// ZoneGroup is the properties of a private DNS zone group (Network REST:
// PrivateDnsZoneGroupPropertiesFormat): the zones that get the endpoint's records.
type ZoneGroup struct {
	Configs []ZoneConfig `json:"privateDnsZoneConfigs"`
	// Written are the records that stand in the zones now.
	Written []writtenRecord `json:"written,omitempty" rp:"private"`
}

// ZoneConfig names one zone.
type ZoneConfig struct {
	Name       string `json:"name"`
	Properties struct {
		ZoneID     string          `json:"privateDnsZoneId"`
		RecordSets []ZoneRecordSet `json:"recordSets,omitempty"`
	} `json:"properties"`
}

// ZoneRecordSet is a record set that the group wrote, as answers show it.
type ZoneRecordSet struct {
	Type      string   `json:"recordType"`
	Name      string   `json:"recordSetName"`
	FQDN      string   `json:"fqdn"`
	TTL       int      `json:"ttl"`
	State     string   `json:"provisioningState"`
	Addresses []string `json:"ipAddresses"`
}

type writtenRecord struct {
	Zone  string       `json:"zone"` // id
	Name  string       `json:"name"`
	Addrs []netip.Addr `json:"addrs"`
}

func (p *Provider) zoneGroupType() rp.Registration {
	return rp.Of(rp.Type[ZoneGroup]{
		Name: ZoneGroupType, Kind: rp.Proxy, Versions: rp.Versions[ZoneGroup](since("2020-03-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default: func(_ string, r *rp.Resource[ZoneGroup]) {
			for i := range r.Properties.Configs {
				r.Properties.Configs[i].Properties.RecordSets = nil
			}
		},
		Validate:  validateZoneGroup,
		Admit:     admitZoneGroup,
		Links:     zoneGroupLinks,
		Reconcile: applied[ZoneGroup](p),
		Present:   presentZoneGroup,
		Kept:      true,
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[ZoneGroup]) error {
			return withdraw(tx, r.Properties.Written)
		},
		Finalize: applied[ZoneGroup](p),
	})
}

func validateZoneGroup(_ rp.Op, new, _ *rp.Resource[ZoneGroup]) error {
	seen := map[string]bool{}
	for _, c := range new.Properties.Configs {
		id, err := parseRef(&Ref{ID: c.Properties.ZoneID}, privatedns.ZoneType, "privateDnsZoneId", new.ID)
		if err != nil {
			return err
		}
		if zone := strings.ToLower(id.Name()); seen[zone] {
			return bad("PrivateDnsZoneGroupHasDuplicateZones", "Private DNS zone group %s has the zone %s twice.", new.ID, zone)
		} else {
			seen[zone] = true
		}
	}
	return nil
}

func zoneGroupLinks(r *rp.Resource[ZoneGroup]) []rp.Link {
	var links []rp.Link
	for _, c := range r.Properties.Configs {
		if id, err := arm.ParseID(c.Properties.ZoneID); err == nil {
			links = append(links, rp.Link{Action: privatedns.ZoneType + "/join/action", ID: id})
		}
	}
	return links
}

func admitZoneGroup(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[ZoneGroup]) error {
	for _, c := range new.Properties.Configs {
		if err := mustExist[privatedns.Zone](tx, &Ref{ID: c.Properties.ZoneID}, new.ID); err != nil {
			return err
		}
	}
	e, err := rp.Get[Endpoint](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	return publish(tx, e, &new.Properties)
}

// publishAll brings the records of all zone groups of an endpoint up to date.
func publishAll(tx *rp.Tx, e *rp.Resource[Endpoint]) error {
	groups, err := rp.List[ZoneGroup](tx, ZoneGroupType, e.ID)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.State == arm.Deleting {
			continue
		}
		if err := publish(tx, e, &g.Properties); err != nil {
			return err
		}
		if err := rp.Save(tx, g); err != nil {
			return err
		}
	}
	return nil
}

// publish makes the records in the group's zones those of the endpoint while its connection is
// approved, and none else.
func publish(tx *rp.Tx, e *rp.Resource[Endpoint], g *ZoneGroup) error {
	state, err := connectionState(tx, &e.Properties)
	if err != nil {
		return err
	}
	var want []writtenRecord
	if state.Status == "Approved" {
		want = desired(&e.Properties, g.Configs)
	}
	var stale []writtenRecord
	for _, w := range g.Written {
		if !slices.ContainsFunc(want, w.equal) {
			stale = append(stale, w)
		}
	}
	if err := withdraw(tx, stale); err != nil {
		return err
	}
	creator := fmt.Sprintf("created by private endpoint %s with resource guid %s", e.ID.Name(), e.Properties.ResourceGUID)
	for _, w := range want {
		if slices.ContainsFunc(g.Written, w.equal) {
			continue
		}
		zone, err := arm.ParseID(w.Zone)
		if err != nil {
			return err
		}
		if err := privatedns.PutA(tx, zone, w.Name, w.Addrs, creator); err != nil {
			return err
		}
	}
	g.Written = want
	return nil
}

func (w writtenRecord) equal(o writtenRecord) bool {
	return w.Zone == o.Zone && w.Name == o.Name && slices.Equal(w.Addrs, o.Addrs)
}

// desired are the records of the endpoint's members that belong in the zones, one for each name.
func desired(e *Endpoint, configs []ZoneConfig) []writtenRecord {
	var list []writtenRecord
	for _, c := range configs {
		zone, err := arm.ParseID(c.Properties.ZoneID)
		if err != nil { // Validate has seen it
			continue
		}
		for _, m := range e.Members {
			for _, r := range m.Records {
				if !strings.EqualFold(r.Zone, zone.Name()) {
					continue
				}
				name := strings.ToLower(r.Name)
				i := slices.IndexFunc(list, func(w writtenRecord) bool { return w.Zone == zone.String() && w.Name == name })
				if i < 0 {
					list = append(list, writtenRecord{Zone: zone.String(), Name: name})
					i = len(list) - 1
				}
				if !slices.Contains(list[i].Addrs, m.Addr) {
					list[i].Addrs = append(list[i].Addrs, m.Addr)
				}
			}
		}
	}
	return list
}

// withdraw takes records out of their zones.
func withdraw(tx *rp.Tx, records []writtenRecord) error {
	for _, w := range records {
		zone, err := arm.ParseID(w.Zone)
		if err != nil {
			return err
		}
		if err := privatedns.DropA(tx, zone, w.Name, w.Addrs); err != nil {
			return err
		}
	}
	return nil
}

func presentZoneGroup(_ context.Context, _ *rp.Tx, r *rp.Resource[ZoneGroup]) error {
	for i := range r.Properties.Configs {
		c := &r.Properties.Configs[i]
		c.Properties.RecordSets = []ZoneRecordSet{}
		zone, err := arm.ParseID(c.Properties.ZoneID)
		if err != nil {
			return err
		}
		for _, w := range r.Properties.Written {
			if w.Zone != zone.String() {
				continue
			}
			s := ZoneRecordSet{Type: "A", Name: w.Name, FQDN: w.Name + "." + zone.Name(), TTL: privatedns.EndpointTTL, State: string(arm.Succeeded)}
			for _, a := range w.Addrs {
				s.Addresses = append(s.Addresses, a.String())
			}
			c.Properties.RecordSets = append(c.Properties.RecordSets, s)
		}
	}
	return nil
}
