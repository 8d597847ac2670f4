package privatedns

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
	"vauban.dev/store"
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

// reservedZones are names that no zone can have; those below them can.
// https://learn.microsoft.com/azure/dns/private-dns-privatednszone#restrictions
var reservedZones = []string{"azclient.ms", "azure.com", "cloudapp.net", "core.windows.net", "microsoft.com", "msidentity.com", "trafficmanager.net", "windows.net"}

func (p *Provider) zoneType() rp.Registration {
	return rp.Of(rp.Type[Zone]{
		Move: rp.Moved[Zone],
		Name: ZoneType, Kind: rp.Tracked, Versions: rp.Versions[Zone](versions...), ShowETag: true,
		NamePattern: `^[^.].*\.[^.]+$`, NameRule: "The name must have 2 to 34 labels separated by periods.",
		Validate: func(_ rp.Op, new, _ *rp.Resource[Zone]) error {
			name := new.ID.Name()
			if n := strings.Count(name, ".") + 1; !labels(name) || strings.HasPrefix(name, "*") || n > 34 {
				return badRequest("The domain name '%s' is invalid. Private DNS zone names have 2 to 34 labels of letters, digits, '-' and '_'.", name)
			}
			if slices.Contains(reservedZones, strings.ToLower(name)) {
				return badRequest("The zone name '%s' is reserved.", name)
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
	return saveSOA(tx, new.ID, dns.PrivateSOA())
}

func saveSOA(tx *rp.Tx, zone arm.ID, s dns.SOA) error {
	seconds := func(n uint32) *int64 {
		v := int64(n)
		return &v
	}
	return rp.Save(tx, &rp.Resource[RecordSet]{ID: zone.Child("SOA", "@"), Properties: RecordSet{
		TTL: int64(s.TTL), SOA: &SOARecord{Host: s.Host, Email: s.Email, Serial: int64(s.Serial),
			Refresh: seconds(s.Refresh), Retry: seconds(s.Retry), Expire: seconds(s.Expire), Minimum: seconds(s.MinimumTTL)},
	}})
}

func presentZone(_ context.Context, tx *rp.Tx, r *rp.Resource[Zone]) error {
	n, err := countSets(tx, r.ID)
	if err != nil {
		return err
	}
	links, err := rp.List[Link](tx, LinkType, r.ID)
	if err != nil {
		return err
	}
	z := &r.Properties
	z.MaxRecordSets, z.MaxLinks, z.MaxRegistering = maxRecordSets, maxLinks, maxRegistering
	z.RecordSets, z.LinkCount, z.RegistrationCount = n, len(links), 0
	for _, l := range links {
		if l.Properties.RegistrationEnabled {
			z.RegistrationCount++
		}
	}
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
	f := familyOf(zone)
	for _, k := range f.kinds {
		list, err := rp.List[RecordSet](tx, f.set(k.name), zone)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return slices.DeleteFunc(all, func(r *rp.Resource[RecordSet]) bool { return r.State == arm.Deleting }), nil
}

// countSets is how many record sets a zone has. They go at once when they are deleted, so that all that are
// stored count.
func countSets(tx *rp.Tx, zone arm.ID) (n int, err error) {
	f := familyOf(zone)
	for _, k := range f.kinds {
		err = errors.Join(err, tx.Scan(rp.StoreKind(f.set(k.name)), zone.Key()+"/", "", func(store.Doc) bool {
			n++
			return true
		}))
	}
	return n, err
}

// listAll is GET {zone}/ALL, under the name that it has in the family: the sets of all types in one list.
func listAll(f *family, name string) rp.Route {
	return rp.Route{
		Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + f.zone + "/{zone}/" + name,
		Permission: f.zone + "/" + name + "/read", Versions: f.versions,
		Do: func(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
			id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + f.zone + "/" + path["zone"])
			if err != nil {
				return nil, err
			}
			zone, err := f.zoneID(tx, id)
			if err != nil {
				return nil, err
			}
			from, top, err := page(query)
			if err != nil {
				return nil, err
			}
			sets, err := recordSets(tx, zone)
			if err != nil {
				return nil, err
			}
			suffix := suffixOf(query)
			sets = slices.DeleteFunc(sets, func(s *rp.Resource[RecordSet]) bool {
				return !strings.HasSuffix(strings.ToLower(s.ID.Name()), suffix)
			})
			sets = sets[min(from, len(sets)):]
			body := map[string]any{}
			if len(sets) > top {
				sets = sets[:top]
				body["nextLink"] = nextPage(zone, name, query, from+top)
			}
			value := make([]any, len(sets))
			for i, s := range sets {
				if value[i], err = shown(ctx, tx, s); err != nil {
					return nil, err
				}
			}
			body["value"] = value
			return body, nil
		},
	}
}

// shown is a record set as it stands in ALL.
func shown(ctx context.Context, tx *rp.Tx, s *rp.Resource[RecordSet]) (any, error) {
	if err := presentSet(ctx, tx, s); err != nil {
		return nil, err
	}
	properties, err := familyOf(s.ID).encode(*kindOf(s.ID), &s.Properties)
	return map[string]any{"id": s.ID.String(), "name": s.ID.Name(), "type": s.ID.Type().String(), "etag": s.ETag, "properties": properties}, err
}

// maxPage is how many record sets a page of ALL has at most.
const maxPage = 1000

// page reads $top and $skipToken, which counts the sets of the pages before.
func page(query map[string]string) (from, top int, err error) {
	top = maxPage
	for name, v := range query {
		n, bad := strconv.Atoi(v)
		switch {
		case strings.EqualFold(name, "$top"):
			if bad != nil || n < 1 {
				return 0, 0, arm.Errorf(http.StatusBadRequest, "InvalidTopQueryString", "The $top query string '%s' is not a positive number.", clip(v))
			}
			top = min(n, maxPage)
		case strings.EqualFold(name, "$skipToken"):
			if bad != nil || n < 0 {
				return 0, 0, arm.Errorf(http.StatusBadRequest, "InvalidSkipToken", "The $skipToken '%s' is not one that this service gave out.", clip(v))
			}
			from = n
		}
	}
	return from, top, nil
}

// nextPage is the link to the sets after the first n. Routes do not see the host that they were called by; ARM's is
// this one.
func nextPage(zone arm.ID, list string, query map[string]string, n int) string {
	q := url.Values{"$skipToken": {strconv.Itoa(n)}}
	for name, v := range query {
		if !strings.EqualFold(name, "$skipToken") {
			q.Set(name, v)
		}
	}
	return "https://management.azure.com" + (&url.URL{Path: zone.String() + "/" + list}).EscapedPath() + "?" + q.Encode()
}

// zoneID is the id of a stored zone, as it was made.
func (f *family) zoneID(tx *rp.Tx, id arm.ID) (arm.ID, error) {
	if f == publicFamily {
		z, err := rp.Get[PublicZone](tx, id)
		if err != nil {
			return arm.ID{}, err
		}
		return z.ID, nil
	}
	z, err := rp.Get[Zone](tx, id)
	if err != nil {
		return arm.ID{}, err
	}
	return z.ID, nil
}

// Zones are all private zones with their records, as the resolver takes them.
func Zones(tx *rp.Tx) ([]dns.Zone, error) {
	ids, err := privateZones(tx)
	if err != nil {
		return nil, err
	}
	var zones []dns.Zone
	for _, id := range ids {
		out, err := compiled(tx, id)
		if err != nil {
			return nil, err
		}
		zones = append(zones, out)
	}
	return zones, nil
}

// compiled is a zone with its records.
func compiled(tx *rp.Tx, id arm.ID) (dns.Zone, error) {
	out := dns.Zone{ID: id.String(), Name: id.Name(), SOA: dns.PrivateSOA()}
	sets, err := recordSets(tx, id)
	if err != nil {
		return out, err
	}
	for _, s := range sets {
		if s.Properties.SOA != nil {
			out.SOA = s.Properties.SOA.model(s.Properties.TTL)
			continue
		}
		set, err := s.Properties.model(s.ID)
		if err != nil {
			return out, err
		}
		if set.Type == mdns.TypeCNAME && len(set.Data) == 0 || set.Type == mdns.TypeCAA {
			continue // az makes the set before it has an alias; nobody here asks for CAA
		}
		out.Sets = append(out.Sets, set)
	}
	return out, nil
}
