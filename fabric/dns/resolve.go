package dns

import (
	"net/netip"
	"slices"
	"strings"

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
	// Forward is set where the model does not know the rest: others are to be asked.
	Forward *Forward
	// Extra and ExtraAuthority are what they answered, as they wrote it.
	Extra, ExtraAuthority []mdns.RR
}

// Addrs are the addresses of the answer, after its aliases: what stands at the end of the chain, where that
// is what was asked for.
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
	Zone    string // id of the zone that answered, "" for the public names of the region
	Public  bool   // the zone is a public one
	Outcome Outcome
	Target  string // Alias: where to. Forwarded: the servers
	Network bool   // the VNet's own names answered
}

// Outcome of a Step.
type Outcome uint8

const (
	Address   Outcome = iota // what was asked for stands here: addresses, mostly
	Alias                    // a CNAME stands here
	NoData                   // the name exists without this type
	NoName                   // the name does not exist
	Redirect                 // the zone lacks the name, and its link says to ask the internet
	Loop                     // the chain is too long or bites its tail
	Forwarded                // a forwarding rule says whom to ask; Zone is the rule's id
)

func (o Outcome) String() string {
	return [...]string{"address", "CNAME", "no data", "NXDOMAIN", "NXDOMAIN, asked the internet (resolutionPolicy NxDomainRedirect)", "alias loop", "forwarded to"}[o]
}

// publicSOA goes with negative answers to public names; the TTL is short since accounts come and go.
var publicSOA = SOA{Host: "ns1-01.azure-dns.com", Email: "azuredns-hostmaster.microsoft.com", Serial: 1, Refresh: 3600, Retry: 300, Expire: 2419200, MinimumTTL: 10, TTL: 10}

// Resolve answers for a place in the VNet with this id ("" = the internet). It is a pure function of the
// model and what Public says.
//
// As in Azure, the linked zone with the longest matching name is the only authority for a name: what
// it lacks does not exist, unless its link redirects. After the zones come the VNet's own hosts, the rules of
// a linked ruleset, and the public names. An alias is followed from the start, so the privatelink name that a
// public CNAME leads to is answered by the zone linked for it.
// https://learn.microsoft.com/azure/dns/dns-private-resolver-overview#how-does-it-work
func (m *Model) Resolve(vnet, name string, qtype uint16) Answer {
	var a Answer
	m.follow(&a, vnet, Canonical(name), qtype)
	return a
}

// follow answers for name and adds it to a, which may have the aliases that led there.
func (m *Model) follow(a *Answer, vnet, name string, qtype uint16) {
	v := m.vnets[vnet]
	for len(a.Steps) < 2*maxChain && len(a.Records)+len(a.Extra) < maxChain {
		records, exists := m.at(a, v, name, qtype)
		if a.Forward != nil {
			return
		}
		if !exists {
			a.Rcode = mdns.RcodeNameError
			return
		}
		if len(records) == 0 {
			return
		}
		a.Records = append(a.Records, records...)
		if records[0].Type != mdns.TypeCNAME || qtype == mdns.TypeCNAME {
			return
		}
		name = records[0].Target
	}
	a.Rcode = mdns.RcodeServerFailure
	a.Records, a.Extra = nil, nil
	a.Steps = append(a.Steps, Step{Name: name, Outcome: Loop})
}

// at returns what stands at name for qtype, and notes the step and the authority in a.
func (m *Model) at(a *Answer, v *network, name string, qtype uint16) (records []Record, exists bool) {
	if z := v.zoneFor(name); z != nil {
		sets, ok := z.find(name)
		if ok || !z.redirect {
			records = pick(sets, name, qtype)
			a.Authority, a.SOA = z.name, z.soa
			a.Steps = append(a.Steps, step(name, z.id, records, ok))
			return records, ok
		}
		a.Steps = append(a.Steps, Step{Name: name, Zone: z.id, Outcome: Redirect})
	}
	a.Authority, a.SOA = "", publicSOA
	if v != nil {
		if all, ok := v.hosts[name]; ok {
			records = ofType(all, qtype)
			s := step(name, "", records, true)
			s.Network = true
			a.Steps = append(a.Steps, s)
			return records, true
		}
	}
	if r := v.ruleFor(name); r != nil {
		a.Forward = &Forward{Rule: r.ID, Name: name, Endpoints: r.endpoints, Servers: r.Servers}
		a.Steps = append(a.Steps, Step{Name: name, Zone: r.ID, Outcome: Forwarded, Target: serverTexts(r.Servers)})
		return nil, false
	}
	var all []Record
	ok := false
	if m.public != nil {
		all, ok = m.public.Lookup(name)
	}
	if z := m.publicZone(name); z != nil && !ok {
		sets, ok := z.find(name)
		records = pick(sets, name, qtype)
		a.Authority, a.SOA = z.name, z.soa
		s := step(name, z.id, records, ok)
		s.Public = true
		a.Steps = append(a.Steps, s)
		return records, ok
	}
	records = ofType(all, qtype)
	a.Steps = append(a.Steps, step(name, "", records, ok))
	return records, ok
}

// publicZone is the user's zone on the internet with the longest name that name lies in, or nil.
func (m *Model) publicZone(name string) *zone {
	if len(m.publicZones) == 0 {
		return nil
	}
	for n := name; n != ""; n = parentOf(n) {
		if z := m.publicZones[n]; z != nil {
			return z
		}
	}
	return nil
}

func serverTexts(servers []netip.AddrPort) string {
	texts := make([]string, len(servers))
	for i, s := range servers {
		texts[i] = s.String()
	}
	return strings.Join(texts, ", ")
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

// pick is what the sets of one name answer: an alias to every question, else those of the type.
func pick(sets []Set, name string, qtype uint16) []Record {
	for i := range sets {
		s := &sets[i]
		if s.Type != qtype && s.Type != mdns.TypeCNAME {
			continue
		}
		r := make([]Record, len(s.Data))
		for j, d := range s.Data {
			r[j] = Record{Name: name, Type: s.Type, TTL: s.TTL, Data: d}
		}
		return r
	}
	return nil
}

// ofType keeps an alias for any type, and else the records of the type.
func ofType(all []Record, qtype uint16) []Record {
	if len(all) == 0 || all[0].Type == mdns.TypeCNAME {
		return all
	}
	for i := range all {
		if all[i].Type != qtype { // rare: public names have addresses only
			return slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return r.Type != qtype })
		}
	}
	return all
}
