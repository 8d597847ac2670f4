package privatedns

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
)

// PublicZoneType is the type of public zones, spelled as the service answers it.
const PublicZoneType = "Microsoft.Network/dnszones"

var publicVersions = []string{"2016-04-01", "2017-09-01", "2017-10-01", "2018-03-01-preview", "2018-05-01", "2023-07-01-preview"}

// maxPublicRecordSets is a public zone's limit.
const maxPublicRecordSets = 10000

// PublicZone is the properties of a public zone (DNS REST: ZoneProperties).
type PublicZone struct {
	MaxRecordSets int      `json:"maxNumberOfRecordSets" rp:"readonly"`
	MaxPerSet     *int     `json:"maxNumberOfRecordsPerRecordSet" rp:"readonly"`
	NameServers   []string `json:"nameServers" rp:"readonly"`
	RecordSets    int      `json:"numberOfRecordSets" rp:"readonly"`
	ZoneType      string   `json:"zoneType,omitempty"`
	// The networks that a private zone of this type answers.
	Registration []Ref `json:"registrationVirtualNetworks,omitempty"`
	Resolution   []Ref `json:"resolutionVirtualNetworks,omitempty"`
}

func (p *Provider) publicZoneType() rp.Registration {
	return rp.Of(rp.Type[PublicZone]{
		Move: rp.Moved[PublicZone],
		Name: PublicZoneType, Kind: rp.Tracked, Versions: rp.Versions[PublicZone](publicVersions...), ShowETag: true, StateProperty: "-",
		NamePattern: `^[^.].*\.[^.]+$`, NameRule: "The name must have 2 to 34 labels separated by periods.",
		Default: func(_ string, r *rp.Resource[PublicZone]) {
			for _, kind := range []string{"Private", "Public"} {
				if r.Properties.ZoneType == "" && kind == "Public" || strings.EqualFold(r.Properties.ZoneType, kind) {
					r.Properties.ZoneType = kind
				}
			}
		},
		Validate: func(_ rp.Op, new, old *rp.Resource[PublicZone]) error {
			name := new.ID.Name()
			if n := strings.Count(name, ".") + 1; !labels(name) || strings.HasPrefix(name, "*") || n > 34 {
				return badRequest("The domain name '%s' is invalid. DNS zone names have 2 to 34 labels of letters, digits, '-' and '_'.", name)
			}
			switch z := &new.Properties; {
			case z.ZoneType != "Public" && z.ZoneType != "Private":
				return badRequest("The zoneType '%s' of zone '%s' is invalid. It is Public or Private.", clip(z.ZoneType), name)
			case old != nil && old.Properties.ZoneType != z.ZoneType:
				return badRequest("The zoneType of zone '%s' cannot be changed: it is %s.", name, old.Properties.ZoneType)
			}
			if !strings.EqualFold(new.Location, "global") {
				return arm.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is 'global'.", new.Location, PublicZoneType)
			}
			return new.Properties.checkNetworks(name)
		},
		Links: networkLinks,
		Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[PublicZone]) error {
			if err := p.admitNetworks(tx, new); err != nil || op == rp.Update {
				return err
			}
			return publicApex(tx, new.ID, new.Properties.ZoneType == "Public")
		},
		Reconcile: applied[PublicZone](p),
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[PublicZone]) (err error) {
			z := &r.Properties
			z.MaxRecordSets = maxPublicRecordSets
			if z.ZoneType != "Private" {
				z.NameServers = nameServers(r.ID)
			}
			if r.Tags == nil {
				r.Tags = map[string]string{} // the service always shows them
			}
			z.RecordSets, err = countSets(tx, r.ID)
			return err
		},
		Finalize: applied[PublicZone](p),
	})
}

// publicApex gives a new zone the record sets that come with it.
func publicApex(tx *rp.Tx, zone arm.ID, public bool) error {
	servers := nameServers(zone)
	ns := RecordSet{TTL: 172800}
	for _, s := range servers {
		ns.NS = append(ns.NS, NSRecord{Name: s})
	}
	if public {
		if err := rp.Save(tx, &rp.Resource[RecordSet]{ID: zone.Child("NS", "@"), Properties: ns}); err != nil {
			return err
		}
	}
	return saveSOA(tx, zone, dns.SOA{Host: servers[0], Email: "azuredns-hostmaster.microsoft.com", Serial: 1, Refresh: 3600, Retry: 300, Expire: 2419200, MinimumTTL: 300, TTL: 3600})
}

// nameServers are the four that Azure would give the zone: of one of its pools, which the zone's id chooses.
func nameServers(zone arm.ID) []string {
	h := fnv.New32a()
	h.Write([]byte(zone.Key()))
	pool := h.Sum32()%9 + 1
	var list []string
	for i, domain := range []string{"com", "net", "org", "info"} {
		list = append(list, fmt.Sprintf("ns%d-%02d.azure-dns.%s.", i+1, pool, domain))
	}
	return list
}

// keepsServers refuses an NS set at the apex without the zone's own name servers: more can be added.
func keepsServers(r *rp.Resource[RecordSet]) error {
	for _, s := range nameServers(r.ID.Parent()) {
		if !slices.ContainsFunc(r.Properties.NS, func(n NSRecord) bool {
			return strings.EqualFold(strings.TrimSuffix(n.Name, "."), strings.TrimSuffix(s, "."))
		}) {
			return badRequest("The NS record set at the zone's apex must keep the name server '%s'.", s)
		}
	}
	return nil
}

// publicNames are the properties of record sets that the public service spells differently.
var publicNames = map[string]string{
	"ttl": "TTL", "aRecords": "ARecords", "aaaaRecords": "AAAARecords", "cnameRecord": "CNAMERecord", "mxRecords": "MXRecords",
	"nsRecords": "NSRecords", "ptrRecords": "PTRRecords", "soaRecord": "SOARecord", "srvRecords": "SRVRecords", "txtRecords": "TXTRecords",
}

// encodePublic is a record set as DNS REST has it. Decoding needs no counterpart: names are read in any case.
func encodePublic(k kind, s *RecordSet) (map[string]any, error) {
	in, err := encode(k, s)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"targetResource": map[string]any{}, "provisioningState": string(arm.Succeeded)}
	for name, v := range in {
		out[cmp.Or(publicNames[name], name)] = v
	}
	delete(out, "isAutoRegistered")
	if soa, ok := out["SOARecord"].(map[string]any); ok {
		soa["minimumTTL"] = soa["minimumTtl"]
		delete(soa, "minimumTtl")
	}
	return out, nil
}

// PublicZones are all public zones with their records, the oldest first, as the resolver takes them.
func PublicZones(tx *rp.Tx) ([]dns.Zone, error) {
	stored, err := rp.List[PublicZone](tx, PublicZoneType, root)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(stored, func(a, b *rp.Resource[PublicZone]) int {
		return a.SystemData.CreatedAt.Compare(b.SystemData.CreatedAt)
	})
	var zones []dns.Zone
	for _, z := range stored {
		if z.State == arm.Deleting || z.Properties.ZoneType == "Private" {
			continue
		}
		out, err := compiled(tx, z.ID)
		if err != nil {
			return nil, err
		}
		zones = append(zones, out)
	}
	return zones, nil
}
