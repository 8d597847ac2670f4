package privatedns

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// RecordSet is the properties of a record set of any type (Private DNS REST: RecordSetProperties).
type RecordSet struct {
	TTL            int64             `json:"ttl"` // seconds
	Metadata       map[string]string `json:"metadata,omitempty"`
	FQDN           string            `json:"fqdn,omitempty" rp:"readonly"`
	AutoRegistered bool              `json:"isAutoRegistered" rp:"readonly"` // of private zones
	Target         *Ref              `json:"targetResource,omitempty"`       // of public zones: an alias of a resource
	A              []ARecord         `json:"aRecords,omitempty"`
	AAAA           []AAAARecord      `json:"aaaaRecords,omitempty"`
	CAA            []CAARecord       `json:"caaRecords,omitempty"`
	CNAME          *CNAMERecord      `json:"cnameRecord,omitempty"`
	MX             []MXRecord        `json:"mxRecords,omitempty"`
	NS             []NSRecord        `json:"nsRecords,omitempty"`
	PTR            []PTRRecord       `json:"ptrRecords,omitempty"`
	SOA            *SOARecord        `json:"soaRecord,omitempty"`
	SRV            []SRVRecord       `json:"srvRecords,omitempty"`
	TXT            []TXTRecord       `json:"txtRecords,omitempty"`
}

func (p *Provider) setType(f *family, k kind) rp.Registration {
	return rp.Of(rp.Type[RecordSet]{
		Name: f.set(k.name), Kind: rp.Proxy, Versions: f.encoded(k), ShowETag: true,
		SyncDelete: true, StateProperty: "-", NoDelete: k.name == "SOA",
		Select: func(query map[string]string, r *rp.Resource[RecordSet]) bool {
			return strings.HasSuffix(strings.ToLower(r.ID.Name()), suffixOf(query))
		},
		Validate:  validateSet,
		Admit:     admitSet,
		Reconcile: applied[RecordSet](p),
		Present:   presentSet,
		Release: func(ctx context.Context, tx *rp.Tx, r *rp.Resource[RecordSet]) error {
			if k.name == "NS" && r.ID.Name() == "@" && rp.Removing(ctx).Key() == r.ID.Key() {
				return badRequest("The NS record set at the zone's apex cannot be deleted.")
			}
			tx.Wake(r.ID.Parent()) // the set goes at once; the zone's Reconcile tells the resolvers
			return nil
		},
	})
}

// encoded are the versions of a type, whose list of records is shown even when it is empty.
func (f *family) encoded(k kind) []rp.Version[RecordSet] {
	list := rp.Versions[RecordSet](f.versions...)
	for i := range list {
		list[i].Encode = func(s *RecordSet) (map[string]any, error) { return f.encode(k, s) }
	}
	return list
}

func encode(k kind, s *RecordSet) (map[string]any, error) {
	out, err := tree(s)
	property := strings.ToLower(k.name) + "Records"
	if _, ok := out[property]; err == nil && !ok && k.name != "CNAME" && k.name != "SOA" {
		out[property] = []any{}
	}
	return out, err
}

// suffixOf is what names in a listing with this query end with: $recordsetnamesuffix, as the API has it.
func suffixOf(query map[string]string) string {
	for name, v := range query {
		if strings.EqualFold(name, "$recordsetnamesuffix") || strings.EqualFold(name, "$recordsetnamesuffix ") {
			return strings.ToLower(v)
		}
	}
	return ""
}

func validateSet(op rp.Op, new, old *rp.Resource[RecordSet]) error {
	v, name, k := &new.Properties, new.ID.Name(), kindOf(new.ID)
	switch {
	case name != "@" && !labels(name), len(name)+1+len(new.ID.Parent().Name()) > 253:
		return badRequest("The record set name '%s' is invalid.", clip(name))
	case v.TTL < 1 || v.TTL > math.MaxInt32:
		return badRequest("The TTL %d of record set '%s' is invalid. It must be between 1 and %d seconds.", v.TTL, name, math.MaxInt32)
	case len(v.Metadata) > maxMetadata:
		return badRequest("The record set '%s' has %d metadata pairs; it can have %d.", name, len(v.Metadata), maxMetadata)
	}
	list := familyOf(new.ID).kinds
	for i := range list {
		if other := &list[i]; other != k && other.count(v) > 0 {
			return badRequest("The records of record set '%s' are not of its type %s.", name, k.name)
		}
	}
	n := k.count(v)
	if n > maxRecords {
		return badRequest("The record set '%s' of type %s has %d records; it can have %d.", name, k.name, n, maxRecords)
	}
	for i := range n {
		if err := k.check(v, i); err != nil {
			return badRequest("The record set '%s' of type %s is not valid: %v.", name, k.name, err)
		}
	}
	switch {
	case v.Target != nil && v.Target.ID != "":
		return arm.NotImplemented("Alias record sets are not implemented: record set '%s' has the targetResource %s.", name, clip(v.Target.ID))
	case k.name == "CNAME" && name == "@":
		return badRequest("A CNAME record set cannot stand at the zone's apex.")
	case k.name == "NS" && name == "@":
		return keepsServers(new)
	case k.name == "SOA":
		return validateSOA(op, new, old)
	}
	return unique(k, v, name)
}

// unique refuses a record that stands twice in its set.
func unique(k *kind, v *RecordSet, name string) error {
	if k.name == "TXT" || k.data == nil {
		return nil
	}
	seen := map[string]bool{}
	for i := range k.count(v) {
		d, err := k.data(v, i)
		if err != nil {
			return badRequest("The record set '%s' of type %s is not valid: %v.", name, k.name, err)
		}
		d.Target = strings.ToLower(strings.TrimSuffix(d.Target, "."))
		key := recordKey(d.Addr, d.Target, d.Preference, d.Weight, d.Port)
		if seen[key] {
			return badRequest("The record set '%s' of type %s has a record twice: %s.", name, k.name, key)
		}
		seen[key] = true
	}
	return nil
}

func validateSOA(op rp.Op, new, old *rp.Resource[RecordSet]) error {
	v := &new.Properties
	if new.ID.Name() != "@" || op == rp.Create {
		return badRequest("A zone has exactly one SOA record set, named '@', which comes with it.")
	}
	if v.SOA == nil {
		return badRequest("Record set 'SOA/@' needs a soaRecord.")
	}
	v.SOA.complete(old.Properties.SOA)
	if err := checkTarget("email", v.SOA.Email); err != nil {
		return badRequest("The SOA record is not valid: %v.", err)
	}
	for _, n := range []*int64{v.SOA.Refresh, v.SOA.Retry, v.SOA.Expire, v.SOA.Minimum} {
		if *n < 0 || *n > math.MaxInt32 {
			return badRequest("A time of the SOA record is not between 0 and %d seconds.", math.MaxInt32)
		}
	}
	return nil
}

// admitSet refuses an alias beside other records of its name (RFC 1034 section 3.6.2), and more sets than a
// zone can have. What a client writes is his, also where a machine was registered before.
func admitSet(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[RecordSet]) error {
	new.Properties.AutoRegistered = false
	if op == rp.Update {
		return nil
	}
	n, err := countSets(tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if n >= familyOf(new.ID).maxSets {
		return arm.Errorf(http.StatusBadRequest, "TooManyRecordSets", "The zone '%s' has %d record sets; it can have no more.", new.ID.Parent().Name(), n)
	}
	return conflicts(tx, new.ID)
}

// conflicts refuses a set that cannot stand beside those of its name.
func conflicts(tx *rp.Tx, id arm.ID) error {
	mine := kindOf(id)
	for _, k := range familyOf(id).kinds {
		if k.name == mine.name || (k.name != "CNAME" && mine.name != "CNAME") {
			continue
		}
		other, err := rp.Get[RecordSet](tx, id.Parent().Child(k.name, id.Name()))
		if notFound(err) || (err == nil && other.State == arm.Deleting) {
			continue
		}
		if err != nil {
			return err
		}
		return arm.Errorf(http.StatusConflict, "Conflict", "The record set '%s' of type %s cannot be created: a record set of type %s with this name exists, and a CNAME stands alone.", id.Name(), mine.name, k.name)
	}
	return nil
}

func presentSet(_ context.Context, _ *rp.Tx, r *rp.Resource[RecordSet]) error {
	zone := r.ID.Parent().Name()
	r.Properties.FQDN = strings.ToLower(r.ID.Name() + "." + zone + ".")
	if r.ID.Name() == "@" {
		r.Properties.FQDN = strings.ToLower(zone + ".")
	}
	return nil
}

// EndpointTTL is the TTL of the records that private endpoints write, in seconds.
const EndpointTTL = 10

// PutA makes the A record set name of zone have exactly these addresses, as a private endpoint's zone
// group does; creator goes into its metadata. 404 when the zone does not exist, 409 Conflict when a
// CNAME stands at the name.
func PutA(tx *rp.Tx, zone arm.ID, name string, addrs []netip.Addr, creator string) error {
	z, err := rp.Get[Zone](tx, zone)
	if err != nil {
		return err
	}
	id, err := arm.ParseID(z.ID.String() + "/A/" + name)
	if err != nil {
		return err
	}
	r, err := rp.Get[RecordSet](tx, id)
	if notFound(err) {
		if err := conflicts(tx, id); err != nil {
			return err
		}
		r, err = &rp.Resource[RecordSet]{ID: id, Properties: RecordSet{TTL: EndpointTTL}}, nil
	}
	if err != nil {
		return err
	}
	r.Properties.A = nil
	for _, a := range addrs {
		r.Properties.A = append(r.Properties.A, ARecord{Address: a.String()})
	}
	r.Properties.Metadata = map[string]string{"creator": creator}
	r.Properties.AutoRegistered = false
	return rp.Save(tx, r)
}

// DropA takes these addresses out of the A record set, and the set away when it has none left. What
// others wrote meanwhile stays; a zone or set that does not exist is no error.
func DropA(tx *rp.Tx, zone arm.ID, name string, addrs []netip.Addr) error {
	id, err := arm.ParseID(zone.String() + "/A/" + name)
	if err != nil {
		return err
	}
	r, err := rp.Get[RecordSet](tx, id)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	before := len(r.Properties.A)
	r.Properties.A = slices.DeleteFunc(r.Properties.A, func(rec ARecord) bool {
		return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.String() == rec.Address })
	})
	switch {
	case len(r.Properties.A) == before:
		return nil
	case len(r.Properties.A) == 0:
		return rp.Remove(tx, id)
	}
	return rp.Save(tx, r)
}
