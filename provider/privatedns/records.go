package privatedns

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"vauban.dev/arm"
	"vauban.dev/fabric/dns"
)

// The records of a set, as Private DNS REST has them (RecordSetProperties).
type (
	// ARecord is one IPv4 address.
	ARecord struct {
		Address string `json:"ipv4Address"`
	}
	// AAAARecord is one IPv6 address.
	AAAARecord struct {
		Address string `json:"ipv6Address"`
	}
	// CNAMERecord is the alias of a set.
	CNAMERecord struct {
		CNAME string `json:"cname"`
	}
	// MXRecord is one mail exchange.
	MXRecord struct {
		Preference int64  `json:"preference"`
		Exchange   string `json:"exchange"`
	}
	// PTRRecord is one name that an address leads to.
	PTRRecord struct {
		Name string `json:"ptrdname"`
	}
	// SRVRecord is one place of a service.
	SRVRecord struct {
		Priority int64  `json:"priority"`
		Weight   int64  `json:"weight"`
		Port     int64  `json:"port"`
		Target   string `json:"target"`
	}
	// TXTRecord is one record of strings.
	TXTRecord struct {
		Value []string `json:"value"`
	}
	// NSRecord is one name server, of public zones only.
	NSRecord struct {
		Name string `json:"nsdname"`
	}
	// CAARecord says who may issue certificates (RFC 8659), of public zones only.
	CAARecord struct {
		Flags int64  `json:"flags"`
		Tag   string `json:"tag"`
		Value string `json:"value"`
	}
	// SOARecord is the start of authority of a zone. Times are in seconds; one that a client leaves out stays
	// (az's `soa update` leaves minimumTtl out).
	SOARecord struct {
		Host    string `json:"host"`
		Email   string `json:"email"`
		Serial  int64  `json:"serialNumber"`
		Refresh *int64 `json:"refreshTime"`
		Retry   *int64 `json:"retryTime"`
		Expire  *int64 `json:"expireTime"`
		Minimum *int64 `json:"minimumTtl"`
	}
)

// Limits of a record set.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits#private-dns-limits
// https://learn.microsoft.com/azure/dns/dns-zones-records
const (
	maxRecords  = 20
	maxText     = 1024 // characters of a TXT record, in all its strings
	maxString   = 255  // of one of them
	maxMetadata = 10
)

// kind is one type of record sets: how the records are read, and where the property is.
type kind struct {
	name string // as it stands in ids
	t    uint16
	// count says how many records of this type the properties have.
	count func(*RecordSet) int
	// check refuses the i-th record.
	check func(s *RecordSet, i int) error
	// data is the i-th record as the resolver has it; check has passed it.
	data func(s *RecordSet, i int) (dns.Data, error)
}

// kinds are the types of record sets of private zones, in the order in which ALL lists them.
var kinds = []kind{
	{
		"A", mdns.TypeA, func(s *RecordSet) int { return len(s.A) },
		func(s *RecordSet, i int) error { return checkAddress(s.A[i].Address, netip.Addr.Is4, "IPv4") },
		func(s *RecordSet, i int) (dns.Data, error) { return address(s.A[i].Address) },
	},
	{
		"AAAA", mdns.TypeAAAA, func(s *RecordSet) int { return len(s.AAAA) },
		func(s *RecordSet, i int) error { return checkAddress(s.AAAA[i].Address, plain6, "IPv6") },
		func(s *RecordSet, i int) (dns.Data, error) { return address(s.AAAA[i].Address) },
	},
	{
		"CNAME", mdns.TypeCNAME, func(s *RecordSet) int { return btoi(s.CNAME != nil) },
		func(s *RecordSet, _ int) error { return checkTarget("cname", s.CNAME.CNAME) },
		func(s *RecordSet, _ int) (dns.Data, error) { return dns.Data{Target: s.CNAME.CNAME}, nil },
	},
	{
		"MX", mdns.TypeMX, func(s *RecordSet) int { return len(s.MX) },
		func(s *RecordSet, i int) error {
			if err := checkWord("preference", s.MX[i].Preference); err != nil {
				return err
			}
			return checkTarget("exchange", s.MX[i].Exchange)
		},
		func(s *RecordSet, i int) (dns.Data, error) {
			return dns.Data{Preference: uint16(s.MX[i].Preference), Target: s.MX[i].Exchange}, nil
		},
	},
	{
		"PTR", mdns.TypePTR, func(s *RecordSet) int { return len(s.PTR) },
		func(s *RecordSet, i int) error { return checkTarget("ptrdname", s.PTR[i].Name) },
		func(s *RecordSet, i int) (dns.Data, error) { return dns.Data{Target: s.PTR[i].Name}, nil },
	},
	{
		"SOA", mdns.TypeSOA, func(s *RecordSet) int { return btoi(s.SOA != nil) },
		func(*RecordSet, int) error { return nil }, // validateSOA
		nil,
	},
	{
		"SRV", mdns.TypeSRV, func(s *RecordSet) int { return len(s.SRV) },
		func(s *RecordSet, i int) error {
			r := s.SRV[i]
			for name, n := range map[string]int64{"priority": r.Priority, "weight": r.Weight, "port": r.Port} {
				if err := checkWord(name, n); err != nil {
					return err
				}
			}
			return checkTarget("target", r.Target)
		},
		func(s *RecordSet, i int) (dns.Data, error) {
			r := s.SRV[i]
			return dns.Data{Preference: uint16(r.Priority), Weight: uint16(r.Weight), Port: uint16(r.Port), Target: r.Target}, nil
		},
	},
	{
		"TXT", mdns.TypeTXT, func(s *RecordSet) int { return len(s.TXT) },
		func(s *RecordSet, i int) error { return checkText(s.TXT[i].Value) },
		func(s *RecordSet, i int) (dns.Data, error) { return dns.Data{Text: s.TXT[i].Value}, nil },
	},
}

// publicKinds are those of public zones: all of private ones, and two more.
var publicKinds = slices.Concat(kinds[:2], []kind{{
	"CAA", mdns.TypeCAA, func(s *RecordSet) int { return len(s.CAA) },
	func(s *RecordSet, i int) error { return checkCAA(s.CAA[i]) },
	nil, // nobody here issues certificates by it
}}, kinds[2:4], []kind{{
	"NS", mdns.TypeNS, func(s *RecordSet) int { return len(s.NS) },
	func(s *RecordSet, i int) error { return checkTarget("nsdname", s.NS[i].Name) },
	func(s *RecordSet, i int) (dns.Data, error) { return dns.Data{Target: s.NS[i].Name}, nil },
}}, kinds[4:])

// kindOf is the kind of a record set's id.
func kindOf(id arm.ID) *kind {
	types := id.Type().Types
	list := familyOf(id).kinds
	for i := range list {
		if strings.EqualFold(list[i].name, types[len(types)-1]) {
			return &list[i]
		}
	}
	panic("privatedns: no record set has the type " + id.Type().String()) // types are registered from kinds
}

func checkCAA(r CAARecord) error {
	if r.Flags < 0 || r.Flags > math.MaxUint8 {
		return fmt.Errorf("the flags %d are not between 0 and %d", r.Flags, math.MaxUint8)
	}
	if r.Tag != "issue" && r.Tag != "issuewild" && r.Tag != "iodef" {
		return fmt.Errorf("the tag '%s' is not issue, issuewild or iodef", clip(r.Tag))
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// plain6 are the IPv6 addresses that are no IPv4 one in disguise and name no interface.
func plain6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

func checkAddress(s string, is func(netip.Addr) bool, version string) error {
	if a, err := netip.ParseAddr(s); err != nil || !is(a) {
		return fmt.Errorf("the value '%s' is not a valid %s address", clip(s), version)
	}
	return nil
}

func address(s string) (dns.Data, error) {
	a, err := netip.ParseAddr(s)
	return dns.Data{Addr: a}, err
}

func checkTarget(field, name string) error {
	if trimmed := strings.TrimSuffix(name, "."); !labels(trimmed) || strings.HasPrefix(trimmed, "*") {
		return fmt.Errorf("the %s '%s' is not a valid domain name", field, clip(name))
	}
	return nil
}

func checkWord(field string, n int64) error {
	if n < 0 || n > math.MaxUint16 {
		return fmt.Errorf("the %s %d is not between 0 and %d", field, n, math.MaxUint16)
	}
	return nil
}

func checkText(value []string) error {
	total := 0
	for _, s := range value {
		if len(s) > maxString {
			return fmt.Errorf("a string has %d characters; it can have %d", len(s), maxString)
		}
		total += len(s)
	}
	if total > maxText {
		return fmt.Errorf("the strings have %d characters in all; a record can have %d", total, maxText)
	}
	if len(value) == 0 {
		return fmt.Errorf("the record has no value")
	}
	return nil
}

// model is the set as the resolver has it.
func (s *RecordSet) model(id arm.ID) (dns.Set, error) {
	k := kindOf(id)
	out := dns.Set{Name: id.Name(), Type: k.t, TTL: uint32(s.TTL)}
	for i := range k.count(s) {
		if k.data == nil {
			break
		}
		d, err := k.data(s, i)
		if err != nil {
			return out, fmt.Errorf("privatedns: stored record %s: %w", id, err)
		}
		out.Data = append(out.Data, d)
	}
	return out, nil
}

func (s *SOARecord) model(ttl int64) dns.SOA {
	return dns.SOA{
		Host: s.Host, Email: s.Email, Serial: uint32(s.Serial), Refresh: uint32(*s.Refresh), Retry: uint32(*s.Retry),
		Expire: uint32(*s.Expire), MinimumTTL: uint32(*s.Minimum), TTL: uint32(ttl),
	}
}

// complete takes what is left out from the record as it was.
func (s *SOARecord) complete(old *SOARecord) {
	s.Host, s.Serial = old.Host, old.Serial
	if s.Email == "" {
		s.Email = old.Email
	}
	for _, f := range []struct {
		now **int64
		was *int64
	}{{&s.Refresh, old.Refresh}, {&s.Retry, old.Retry}, {&s.Expire, old.Expire}, {&s.Minimum, old.Minimum}} {
		if *f.now == nil {
			*f.now = f.was
		}
	}
}

// clip keeps a client's text in messages short.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
