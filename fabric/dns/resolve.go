package dns

import (
	mdns "github.com/miekg/dns"
)

// maxChain is how many aliases are followed before the answer is SERVFAIL, as recursive resolvers do.
const maxChain = 12

// Answer to one question.
type Answer struct {
	Rcode   int      // mdns.RcodeSuccess, RcodeNameError (NXDOMAIN), RcodeServerFailure, RcodeRefused
	Records []Record // the alias chain in order, then the addresses; empty with RcodeSuccess is NODATA
	// Authority is the zone whose SOA goes with a negative answer; "" for the root.
	Authority string
	SOA       SOA
	// Steps say who answered what, one for each name of the chain.
	Steps []Step
}

// Addrs are the addresses of the answer.
func (a Answer) Addrs() []Record {
	for i, r := range a.Records {
		if r.Type != mdns.TypeCNAME {
			return a.Records[i:]
		}
	}
	return nil
}

// Step is what one source said of one name.
type Step struct {
	Name    string
	Zone    string // id of the private zone that answered, "" for the public names
	Outcome Outcome
	Target  string // Alias: where to
}

// Outcome of a Step.
type Outcome uint8

const (
	Address  Outcome = iota // addresses stand here
	Alias                   // a CNAME stands here
	NoData                  // the name exists without this type
	NoName                  // the name does not exist
	Redirect                // the zone lacks the name, and its link says to ask the internet
	Loop                    // the chain is too long or bites its tail
)

func (o Outcome) String() string {
	return [...]string{"address", "CNAME", "no data", "NXDOMAIN", "NXDOMAIN, asked the internet (resolutionPolicy NxDomainRedirect)", "alias loop"}[o]
}

// publicSOA goes with negative answers to public names; the TTL is short since accounts come and go.
var publicSOA = SOA{Host: "ns1-01.azure-dns.com", Email: "azuredns-hostmaster.microsoft.com", Serial: 1, Refresh: 3600, Retry: 300, Expire: 2419200, MinimumTTL: 10, TTL: 10}

// Resolve answers for a place in the VNet with this id ("" = the internet). It is a pure function of the
// model and what Public says.
//
// As in Azure, the linked zone with the longest matching name is the only authority for a name: what
// it lacks does not exist, unless its link redirects. An alias is followed from the start, so the
// privatelink name that a public CNAME leads to is answered by the zone linked for it.
func (m *Model) Resolve(vnet, name string, qtype uint16) Answer {
	var a Answer
	name = Canonical(name)
	for range maxChain {
		records, exists := m.at(&a, vnet, name, qtype)
		if !exists {
			a.Rcode = mdns.RcodeNameError
			return a
		}
		if len(records) == 0 {
			return a
		}
		a.Records = append(a.Records, records...)
		if records[0].Type != mdns.TypeCNAME || qtype == mdns.TypeCNAME {
			return a
		}
		name = records[0].Target
	}
	a.Rcode = mdns.RcodeServerFailure
	a.Records = nil
	a.Steps = append(a.Steps, Step{Name: name, Outcome: Loop})
	return a
}

// at returns what stands at name for qtype, and notes the step and the authority in a.
func (m *Model) at(a *Answer, vnet, name string, qtype uint16) (records []Record, exists bool) {
	if z := m.zoneFor(vnet, name); z != nil {
		s, ok := z.find(name)
		if ok || !z.redirect {
			records = s.records(name, qtype)
			a.Authority, a.SOA = z.name, z.soa
			a.Steps = append(a.Steps, step(name, z.id, records, ok))
			return records, ok
		}
		a.Steps = append(a.Steps, Step{Name: name, Zone: z.id, Outcome: Redirect})
	}
	var all []Record
	ok := false
	if m.public != nil {
		all, ok = m.public.Lookup(name)
	}
	records = ofType(all, qtype)
	a.Authority, a.SOA = "", publicSOA
	a.Steps = append(a.Steps, step(name, "", records, ok))
	return records, ok
}

func step(name, zone string, records []Record, exists bool) Step {
	s := Step{Name: name, Zone: zone, Outcome: NoData}
	switch {
	case !exists:
		s.Outcome = NoName
	case len(records) == 0:
	case records[0].Type == mdns.TypeCNAME:
		s.Outcome, s.Target = Alias, records[0].Target
	default:
		s.Outcome = Address
	}
	return s
}

func (s Set) records(name string, qtype uint16) []Record {
	if s.CNAME != "" {
		return []Record{{Name: name, Type: mdns.TypeCNAME, TTL: s.TTL, Target: s.CNAME}}
	}
	if qtype != mdns.TypeA || len(s.Addrs) == 0 {
		return nil
	}
	r := make([]Record, len(s.Addrs))
	for i, addr := range s.Addrs {
		r[i] = Record{Name: name, Type: mdns.TypeA, TTL: s.TTL, Addr: addr}
	}
	return r
}

// ofType keeps an alias for any type, and addresses for A.
func ofType(all []Record, qtype uint16) []Record {
	if len(all) == 0 || all[0].Type == mdns.TypeCNAME || all[0].Type == qtype {
		return all
	}
	return nil
}
