package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns/doctor"
	"vauban.dev/provider/privatedns"
)

// NameNeeds are the private endpoints whose connection is approved, with the records that their names need and
// the zones of their zone groups; and the links of private zones to the virtual networks of Topology. The DNS
// doctor examines them.
func (p *Provider) NameNeeds(tx *rp.Tx) ([]doctor.Endpoint, []doctor.Link, error) {
	stored, err := rp.List[Endpoint](tx, EndpointType, root)
	if err != nil {
		return nil, nil, err
	}
	var endpoints []doctor.Endpoint
	for _, r := range stored {
		if r.State == arm.Deleting || len(r.Properties.Members) == 0 || r.Properties.Subnet == nil {
			continue
		}
		state, err := connectionState(tx, &r.Properties)
		if err != nil {
			return nil, nil, err
		}
		if state.Status != "Approved" {
			continue
		}
		e, err := nameNeeds(tx, r)
		if err != nil {
			return nil, nil, err
		}
		endpoints = append(endpoints, e)
	}
	links, err := zoneLinks(tx)
	return endpoints, links, err
}

func nameNeeds(tx *rp.Tx, r *rp.Resource[Endpoint]) (doctor.Endpoint, error) {
	e := doctor.Endpoint{ID: r.ID.String()}
	target, err := r.Properties.target()
	if err != nil {
		return e, err
	}
	e.Target = target.String()
	subnet, err := arm.ParseID(r.Properties.Subnet.ID)
	if err != nil {
		return e, err
	}
	if v, err := liveVNet(tx, subnet.Parent()); err != nil {
		return e, err
	} else if v != nil {
		e.VNet = v.ID.String()
	}
	for _, m := range r.Properties.Members {
		for _, record := range m.Records {
			n := doctor.Need{Zone: strings.ToLower(record.Zone), Name: strings.ToLower(record.Name), Addr: m.Addr}
			for _, host := range m.FQDNs {
				if !strings.HasPrefix(host, "*") {
					n.Host = append(n.Host, host)
				}
			}
			if !strings.HasPrefix(n.Name, "*") {
				e.Needs = append(e.Needs, n)
			}
		}
	}
	groups, err := rp.List[ZoneGroup](tx, ZoneGroupType, r.ID)
	if err != nil {
		return e, err
	}
	for _, g := range groups {
		if g.State == arm.Deleting {
			continue
		}
		for _, c := range g.Properties.Configs {
			zone, err := arm.ParseID(c.Properties.ZoneID)
			if err != nil {
				return e, err
			}
			if z, err := rp.Get[privatedns.Zone](tx, zone); err == nil {
				e.Groups = append(e.Groups, z.ID.String())
			} else if !notFound(err) {
				return e, err
			}
		}
	}
	return e, nil
}

func zoneLinks(tx *rp.Tx) ([]doctor.Link, error) {
	stored, err := rp.List[privatedns.Link](tx, privatedns.LinkType, root)
	if err != nil {
		return nil, err
	}
	var links []doctor.Link
	for _, l := range stored {
		if l.State == arm.Deleting {
			continue
		}
		vnet, err := arm.ParseID(l.Properties.VirtualNetwork.ID)
		if err != nil {
			return nil, err
		}
		v, err := liveVNet(tx, vnet)
		if err != nil {
			return nil, err
		}
		zone, err := rp.Get[privatedns.Zone](tx, l.ID.Parent())
		if v == nil || notFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		links = append(links, doctor.Link{ID: l.ID.String(), Zone: zone.ID.String(), VNet: v.ID.String(), Redirect: l.Properties.Redirects()})
	}
	return links, nil
}
