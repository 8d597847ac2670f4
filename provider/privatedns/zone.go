package privatedns

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
)

// Zone is the properties of a private zone (Private DNS REST: PrivateZoneProperties).
type Zone struct {
	MaxRecordSets     int `json:"maxNumberOfRecordSets" rp:"readonly"`
	MaxLinks          int `json:"maxNumberOfVirtualNetworkLinks" rp:"readonly"`
	MaxRegistering    int `json:"maxNumberOfVirtualNetworkLinksWithRegistration" rp:"readonly"`
	RecordSets        int `json:"numberOfRecordSets" rp:"readonly"`
	LinkCount         int `json:"numberOfVirtualNetworkLinks" rp:"readonly"`
	RegistrationCount int `json:"numberOfVirtualNetworkLinksWithRegistration" rp:"readonly"`
}

// Azure's limits of a zone.
const (
	maxRecordSets  = 25000
	maxLinks       = 1000
	maxRegistering = 100
)

func (p *Provider) zoneType() rp.Registration {
	return rp.Of(rp.Type[Zone]{
		Name: ZoneType, Kind: rp.Tracked, Versions: rp.Versions[Zone](versions...), ShowETag: true,
		NamePattern: `^[^.].*\.[^.]+$`, NameRule: "The name must have 2 to 34 labels separated by periods.",
		Validate: func(_ rp.Op, new, _ *rp.Resource[Zone]) error {
			name := new.ID.Name()
			if n := strings.Count(name, ".") + 1; !labels(name) || strings.HasPrefix(name, "*") || n > 34 {
				return badRequest("The domain name '%s' is invalid. Private DNS zone names have 2 to 34 labels of letters, digits, '-' and '_'.", name)
			}
			if !strings.EqualFold(new.Location, "global") {
				return arm.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is 'global'.", new.Location, ZoneType)
			}
			return nil
		},
		Admit:     admitZone,
		Reconcile: applied[Zone](p),
		Present:   presentZone,
		Release:   releaseZone,
		Finalize:  applied[Zone](p),
	})
}

// admitZone gives a new zone its SOA record, as Azure does.
func admitZone(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Zone]) error {
	if op == rp.Update {
		return nil
	}
	s := dns.PrivateSOA()
	return rp.Save(tx, &rp.Resource[RecordSet]{ID: new.ID.Child("SOA", "@"), Properties: RecordSet{
		TTL: int64(s.TTL), SOA: &SOARecord{Host: s.Host, Email: s.Email, Serial: int64(s.Serial), Refresh: int64(s.Refresh), Retry: int64(s.Retry), Expire: int64(s.Expire), Minimum: int64(s.MinimumTTL)},
	}})
}

func presentZone(_ context.Context, tx *rp.Tx, r *rp.Resource[Zone]) error {
	sets, err := recordSets(tx, r.ID)
	if err != nil {
		return err
	}
	links, err := rp.List[Link](tx, LinkType, r.ID)
	if err != nil {
		return err
	}
	z := &r.Properties
	z.MaxRecordSets, z.MaxLinks, z.MaxRegistering = maxRecordSets, maxLinks, maxRegistering
	z.RecordSets, z.LinkCount, z.RegistrationCount = len(sets), len(links), 0
	return nil
}

// releaseZone refuses to delete a zone that is linked.
func releaseZone(_ context.Context, tx *rp.Tx, r *rp.Resource[Zone]) error {
	links, err := rp.List[Link](tx, LinkType, r.ID)
	if err != nil || len(links) == 0 {
		return err
	}
	return arm.Errorf(http.StatusConflict, "CannotDeleteResource", "Cannot delete resource while nested resources exist. Some existing nested resource IDs include: '%s/%s/virtualNetworkLinks/%s'. Please delete all nested resources before deleting this resource.", ZoneType, r.ID.Name(), links[0].ID.Name())
}

// recordSets are the sets of a zone, of all types.
func recordSets(tx *rp.Tx, zone arm.ID) ([]*rp.Resource[RecordSet], error) {
	var all []*rp.Resource[RecordSet]
	for _, t := range []string{AType, CNAMEType, SOAType} {
		list, err := rp.List[RecordSet](tx, t, zone)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return slices.DeleteFunc(all, func(r *rp.Resource[RecordSet]) bool { return r.State == arm.Deleting }), nil
}

// listAll is GET {zone}/ALL: the sets of all types in one list.
func listAll() rp.Route {
	return rp.Route{
		Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + ZoneType + "/{zone}/ALL",
		Permission: ZoneType + "/ALL/read", Versions: versions,
		Do: func(ctx context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
			id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + ZoneType + "/" + path["zone"])
			if err != nil {
				return nil, err
			}
			zone, err := rp.Get[Zone](tx, id)
			if err != nil {
				return nil, err
			}
			sets, err := recordSets(tx, zone.ID)
			if err != nil {
				return nil, err
			}
			value := make([]any, len(sets))
			for i, s := range sets {
				if err := presentSet(ctx, tx, s); err != nil {
					return nil, err
				}
				value[i] = map[string]any{"id": s.ID.String(), "name": s.ID.Name(), "type": s.ID.Type().String(), "etag": s.ETag, "properties": s.Properties}
			}
			return map[string]any{"value": value}, nil
		},
	}
}

// Zones are all zones with their records, as the resolver takes them.
func Zones(tx *rp.Tx) ([]dns.Zone, error) {
	stored, err := rp.List[Zone](tx, ZoneType, root)
	if err != nil {
		return nil, err
	}
	var zones []dns.Zone
	for _, z := range stored {
		if z.State == arm.Deleting {
			continue
		}
		sets, err := recordSets(tx, z.ID)
		if err != nil {
			return nil, err
		}
		out := dns.Zone{ID: z.ID.String(), Name: z.ID.Name(), SOA: dns.PrivateSOA()}
		for _, s := range sets {
			if s.Properties.SOA != nil {
				out.SOA = s.Properties.SOA.model(s.Properties.TTL)
				continue
			}
			set, err := s.Properties.model(s.ID.Name())
			if err != nil {
				return nil, err
			}
			out.Sets = append(out.Sets, set)
		}
		zones = append(zones, out)
	}
	return zones, nil
}
