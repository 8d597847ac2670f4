package privatedns

import (
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
)

// Azure's limits of the networks that a private dnsZones names itself.
const (
	maxZoneRegistering = 1
	maxZoneResolving   = 10
)

const joinNetwork = "Microsoft.Network/virtualNetworks/join/action"

// named are the networks that a private dnsZones names, those that register first. Older clients make private zones so;
// what privateDnsZones say by links stands in the zone itself.
func (z *PublicZone) named() []Ref { return slices.Concat(z.Registration, z.Resolution) }

// checkNetworks refuses ids that are no networks, one that is named twice, and more than Azure's limits.
func (z *PublicZone) checkNetworks(name string) error {
	seen := map[string]bool{}
	for _, ref := range z.named() {
		id, err := arm.ParseID(ref.ID)
		if err != nil || id.Type().Key() != "microsoft.network/virtualnetworks" {
			return badRequest("The virtual network resource ID '%s' of zone '%s' is not valid.", clip(ref.ID), name)
		}
		if seen[id.Key()] {
			return badRequest("The virtual network '%s' is named more than once in registrationVirtualNetworks and resolutionVirtualNetworks of zone '%s'.", id, name)
		}
		seen[id.Key()] = true
	}
	switch {
	case z.ZoneType == "Public" && len(seen) > 0:
		return badRequest("The zone '%s' is Public: registrationVirtualNetworks and resolutionVirtualNetworks are of Private zones.", name)
	case len(z.Registration) > maxZoneRegistering:
		return badRequest("The zone '%s' has %d registrationVirtualNetworks; it can have %d.", name, len(z.Registration), maxZoneRegistering)
	case len(z.Resolution) > maxZoneResolving:
		return badRequest("The zone '%s' has %d resolutionVirtualNetworks; it can have %d.", name, len(z.Resolution), maxZoneResolving)
	}
	return nil
}

// networkLinks are what the caller needs permission on to name the networks.
func networkLinks(r *rp.Resource[PublicZone]) (out []rp.Link) {
	for _, ref := range r.Properties.named() {
		if id, err := arm.ParseID(ref.ID); err == nil {
			out = append(out, rp.Link{Action: joinNetwork, ID: id})
		}
	}
	return out
}

// admitNetworks refuses networks that are not there, that see another zone of the name, or that register elsewhere.
func (p *Provider) admitNetworks(tx *rp.Tx, zone *rp.Resource[PublicZone]) error {
	for i, ref := range zone.Properties.named() {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		exists, err := p.cfg.VNetExists(tx, id)
		if err != nil {
			return err
		}
		if !exists {
			return badRequest("The virtual network '%s' of zone '%s' was not found.", id, zone.ID.Name())
		}
		if err := seesOne(tx, zone.ID, id, i < len(zone.Properties.Registration)); err != nil {
			return err
		}
	}
	return nil
}

// sight is a network that sees a zone, by a link or because the zone names it.
type sight struct {
	by         arm.ID // the link, or the zone
	zone, vnet arm.ID
	registers  bool
	redirects  bool
}

// sights are all of the region, those of links first.
func sights(tx *rp.Tx) ([]sight, error) {
	links, err := rp.List[Link](tx, LinkType, root)
	if err != nil {
		return nil, err
	}
	var out []sight
	for _, l := range links {
		vnet, err := arm.ParseID(l.Properties.VirtualNetwork.ID)
		if err != nil {
			return nil, err
		}
		if l.State != arm.Deleting {
			out = append(out, sight{l.ID, l.ID.Parent(), vnet, l.Properties.RegistrationEnabled, l.Properties.Redirects()})
		}
	}
	zones, err := privateClassic(tx)
	if err != nil {
		return nil, err
	}
	for _, z := range zones {
		for i, ref := range z.Properties.named() {
			vnet, err := arm.ParseID(ref.ID)
			if err != nil {
				return nil, err
			}
			out = append(out, sight{z.ID, z.ID, vnet, i < len(z.Properties.Registration), false})
		}
	}
	return out, nil
}

// seesOne refuses a network that would see two zones of one name or register in two. by is the link or the zone that
// makes it see the zone, itself not counted.
func seesOne(tx *rp.Tx, by, vnet arm.ID, registers bool) error {
	all, err := sights(tx)
	if err != nil {
		return err
	}
	zone := by
	if by.Type().Key() == strings.ToLower(LinkType) {
		zone = by.Parent()
	}
	for _, s := range all {
		switch {
		case s.by.Key() == by.Key() || s.vnet.Key() != vnet.Key():
		case strings.EqualFold(s.zone.Name(), zone.Name()):
			return badRequest("A virtual network cannot be linked to multiple zones with overlapping namespaces. You tried to link virtual network with '%s' and '%s' zones.", zone.Name(), s.zone.Name())
		case s.registers && registers:
			return arm.Errorf(http.StatusConflict, "Conflict", "A virtual network can only be linked to 1 Private DNS zone(s) with auto-registration enabled; conflicting Private DNS zone is '%s'.", s.zone)
		}
	}
	return nil
}

// privateClassic are the dnsZones that are private.
func privateClassic(tx *rp.Tx) ([]*rp.Resource[PublicZone], error) {
	zones, err := rp.List[PublicZone](tx, PublicZoneType, root)
	return slices.DeleteFunc(zones, func(z *rp.Resource[PublicZone]) bool {
		return z.State == arm.Deleting || z.Properties.ZoneType != "Private"
	}), err
}

// Links are whom the zones answer, as the resolver takes them. vnet turns the id of a virtual network into the one
// that the fabric knows it by; ok is false when it does not exist (Azure keeps links to deleted ones).
func Links(tx *rp.Tx, vnet func(arm.ID) (id string, ok bool, err error)) ([]dns.Link, error) {
	all, err := sights(tx)
	if err != nil {
		return nil, err
	}
	var links []dns.Link
	for _, s := range all {
		id, ok, err := vnet(s.vnet)
		if err != nil {
			return nil, err
		}
		zone, live, err := liveZone(tx, s.zone)
		if err != nil {
			return nil, err
		}
		if ok && live {
			links = append(links, dns.Link{VNet: id, Zone: zone, NXDomainRedirect: s.redirects, Registration: s.registers})
		}
	}
	return links, nil
}

// liveZone is a zone's id as it was made; false when it is gone or going.
func liveZone(tx *rp.Tx, id arm.ID) (string, bool, error) {
	state := func(own arm.ID, s arm.ProvisioningState, err error) (string, bool, error) {
		if notFound(err) {
			return "", false, nil
		}
		return own.String(), err == nil && s != arm.Deleting, err
	}
	if familyOf(id) == publicFamily {
		z, err := rp.Get[PublicZone](tx, id)
		if err != nil {
			return state(id, "", err)
		}
		return state(z.ID, z.State, nil)
	}
	z, err := rp.Get[Zone](tx, id)
	if err != nil {
		return state(id, "", err)
	}
	return state(z.ID, z.State, nil)
}
