package privatedns

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
)

// RecordSet is the properties of a record set of any type (Private DNS REST: RecordSetProperties).
type RecordSet struct {
	TTL            int64             `json:"ttl"` // seconds
	Metadata       map[string]string `json:"metadata,omitempty"`
	FQDN           string            `json:"fqdn,omitempty" rp:"readonly"`
	AutoRegistered bool              `json:"isAutoRegistered" rp:"readonly"`
	A              []ARecord         `json:"aRecords,omitempty"`
	CNAME          *CNAMERecord      `json:"cnameRecord,omitempty"`
	SOA            *SOARecord        `json:"soaRecord,omitempty"`
}

// ARecord is one address.
type ARecord struct {
	Address string `json:"ipv4Address"`
}

// CNAMERecord is the alias of a set.
type CNAMERecord struct {
	CNAME string `json:"cname"`
}

// SOARecord is the start of authority of a zone.
type SOARecord struct {
	Host    string `json:"host"`
	Email   string `json:"email"`
	Serial  int64  `json:"serialNumber"`
	Refresh int64  `json:"refreshTime"`
	Retry   int64  `json:"retryTime"`
	Expire  int64  `json:"expireTime"`
	Minimum int64  `json:"minimumTtl"`
}

func (p *Provider) setType(name string) rp.Registration {
	return rp.Of(rp.Type[RecordSet]{
		Name: name, Kind: rp.Proxy, Versions: rp.Versions[RecordSet](versions...), ShowETag: true,
		SyncDelete: true, StateProperty: "-", NoDelete: name == SOAType,
		Validate:  validateSet,
		Admit:     admitSet,
		Reconcile: applied[RecordSet](p),
		Present:   presentSet,
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[RecordSet]) error {
			tx.Wake(r.ID.Parent()) // the set goes at once; the zone's Reconcile tells the resolvers
			return nil
		},
	})
}

func validateSet(op rp.Op, new, old *rp.Resource[RecordSet]) error {
	v, name := &new.Properties, new.ID.Name()
	if name != "@" && !labels(name) {
		return badRequest("The record set name '%s' is invalid.", name)
	}
	if v.TTL < 0 || v.TTL > math.MaxInt32 {
		return badRequest("The TTL %d of record set '%s' is not between 0 and %d.", v.TTL, name, math.MaxInt32)
	}
	kind := new.ID.Type().Types[1]
	if (len(v.A) > 0 && !strings.EqualFold(kind, "A")) || (v.CNAME != nil && !strings.EqualFold(kind, "CNAME")) || (v.SOA != nil && !strings.EqualFold(kind, "SOA")) {
		return badRequest("The records of record set '%s' are not of its type %s.", name, kind)
	}
	switch strings.ToUpper(kind) {
	case "A":
		seen := map[string]bool{}
		for _, r := range v.A {
			if a, err := netip.ParseAddr(r.Address); err != nil || !a.Is4() {
				return badRequest("The IPv4 address '%s' of record set '%s' is not valid.", r.Address, name)
			}
			if seen[r.Address] {
				return badRequest("Record set '%s' has the address '%s' twice.", name, r.Address)
			}
			seen[r.Address] = true
		}
	case "CNAME":
		if name == "@" {
			return badRequest("A CNAME record set cannot stand at the zone's apex.")
		}
		if v.CNAME == nil || !labels(strings.TrimSuffix(v.CNAME.CNAME, ".")) || strings.HasPrefix(v.CNAME.CNAME, "*") {
			return badRequest("The CNAME of record set '%s' is not valid.", name)
		}
	case "SOA":
		if name != "@" || op == rp.Create {
			return badRequest("A zone has exactly one SOA record set, named '@', which comes with it.")
		}
		if v.SOA == nil {
			return badRequest("Record set 'SOA/@' needs a soaRecord.")
		}
		v.SOA.Host, v.SOA.Serial = old.Properties.SOA.Host, old.Properties.SOA.Serial
		for _, n := range []int64{v.SOA.Refresh, v.SOA.Retry, v.SOA.Expire, v.SOA.Minimum} {
			if n < 0 || n > math.MaxInt32 {
				return badRequest("A time of the SOA record is not between 0 and %d seconds.", math.MaxInt32)
			}
		}
	}
	return nil
}

// admitSet refuses an alias beside other records of its name (RFC 1034 section 3.6.2).
func admitSet(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[RecordSet]) error {
	if op == rp.Update {
		return nil
	}
	return conflicts(tx, new.ID)
}

func conflicts(tx *rp.Tx, id arm.ID) error {
	other := "CNAME"
	if strings.EqualFold(id.Type().Types[1], "CNAME") {
		other = "A"
	}
	_, err := rp.Get[RecordSet](tx, id.Parent().Child(other, id.Name()))
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return arm.Errorf(http.StatusConflict, "Conflict", "The record set '%s' of type %s cannot be created: a record set of type %s with this name exists, and a CNAME stands alone.", id.Name(), id.Type().Types[1], other)
}

func presentSet(_ context.Context, _ *rp.Tx, r *rp.Resource[RecordSet]) error {
	zone := r.ID.Parent().Name()
	r.Properties.FQDN = strings.ToLower(r.ID.Name() + "." + zone + ".")
	if r.ID.Name() == "@" {
		r.Properties.FQDN = strings.ToLower(zone + ".")
	}
	if strings.EqualFold(r.ID.Type().Types[1], "A") && r.Properties.A == nil {
		r.Properties.A = []ARecord{}
	}
	return nil
}

// model is the set as the resolver has it.
func (s *RecordSet) model(name string) (dns.Set, error) {
	out := dns.Set{Name: name, TTL: uint32(s.TTL)}
	if s.CNAME != nil {
		out.CNAME = s.CNAME.CNAME
		return out, nil
	}
	for _, r := range s.A {
		a, err := netip.ParseAddr(r.Address)
		if err != nil {
			return out, fmt.Errorf("privatedns: stored record %s: %w", name, err)
		}
		out.Addrs = append(out.Addrs, a)
	}
	return out, nil
}

func (s *SOARecord) model(ttl int64) dns.SOA {
	return dns.SOA{
		Host: s.Host, Email: s.Email, Serial: uint32(s.Serial), Refresh: uint32(s.Refresh), Retry: uint32(s.Retry),
		Expire: uint32(s.Expire), MinimumTTL: uint32(s.Minimum), TTL: uint32(ttl),
	}
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
