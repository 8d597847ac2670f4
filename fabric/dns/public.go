package dns

import (
	"fmt"
	"net/netip"

	mdns "github.com/miekg/dns"
)

// publicTTL is the TTL of the names of Azure's services, in seconds.
const publicTTL = 60

// Service is a family of public names that share a suffix, such as storage accounts' blob endpoints:
//
//	acct.blob.core.windows.net → [acct.privatelink.blob.core.windows.net →] blob.<stamp>.store.core.windows.net → address
//
// The privatelink alias exists only for a resource that has a private endpoint connection.
type Service struct {
	Suffix  string // blob.core.windows.net
	Private string // privatelink.blob.core.windows.net; "" when the family has no private link
	Front   string // the stamp's own name, which has the addresses; "" to give them at once
	Addrs   []netip.Addr
	// Lookup says whether a name of the family exists, and whether it has a private endpoint connection.
	// label is what stands before the suffix; it may have dots. Safe for many goroutines; must not block.
	Lookup func(label string) (exists, private bool)
	// Own gives a name that exists its own front, which is a Host of the zone, or its own addresses. Empty: the
	// family's. Nil: no name has its own.
	Own func(label string) (front string, addrs []netip.Addr)
}

// PublicZone is a Public made of exact hosts and services. Fill it before use; then it is read-only.
// The zero value knows no name.
type PublicZone struct {
	hosts    map[string][]Record
	services map[string]family // by suffix
}

type family struct {
	*Service
	private bool // the suffix is the service's private one
}

// Host gives a name its addresses.
func (p *PublicZone) Host(name string, addrs ...netip.Addr) error {
	return p.add(name, addressRecords(Canonical(name), addrs))
}

// Alias makes name a CNAME of target.
func (p *PublicZone) Alias(name, target string) error {
	name = Canonical(name)
	return p.add(name, []Record{{Name: name, Type: mdns.TypeCNAME, TTL: publicTTL, Data: Data{Target: Canonical(target)}}})
}

// Service adds a family of names.
func (p *PublicZone) Service(s Service) error {
	if s.Lookup == nil {
		return fmt.Errorf("dns: service %s has no Lookup", s.Suffix)
	}
	s.Suffix, s.Private, s.Front = Canonical(s.Suffix), Canonical(s.Private), Canonical(s.Front)
	if p.services == nil {
		p.services = map[string]family{}
	}
	for i, suffix := range []string{s.Suffix, s.Private} {
		if suffix == "" {
			continue
		}
		if had, ok := p.services[suffix]; ok {
			if i == 1 && had.private { // families may lead to the same private names
				continue
			}
			return fmt.Errorf("dns: two services for %s", suffix)
		}
		p.services[suffix] = family{Service: &s, private: i == 1}
	}
	if s.Front == "" {
		return nil
	}
	if _, ok := p.hosts[s.Front]; ok {
		return nil // services may share a front
	}
	return p.Host(s.Front, s.Addrs...)
}

func (p *PublicZone) add(name string, r []Record) error {
	name = Canonical(name)
	if _, ok := p.hosts[name]; ok {
		return fmt.Errorf("dns: two hosts %s", name)
	}
	if p.hosts == nil {
		p.hosts = map[string][]Record{}
	}
	p.hosts[name] = r
	return nil
}

// Lookup implements Public. An exact host wins over a service, a longer suffix over a shorter one.
func (p *PublicZone) Lookup(name string) ([]Record, bool) {
	if r, ok := p.hosts[name]; ok {
		return r, true
	}
	for suffix := parentOf(name); suffix != ""; suffix = parentOf(suffix) {
		if f, ok := p.services[suffix]; ok {
			return f.lookup(name, name[:len(name)-len(suffix)-1])
		}
	}
	return nil, false
}

func (f family) lookup(name, label string) ([]Record, bool) {
	exists, private := f.Service.Lookup(label)
	if !exists || (f.private && !private) {
		return nil, false
	}
	front, addrs := f.Front, f.Addrs
	if f.Own != nil {
		if ownFront, own := f.Own(label); ownFront != "" || len(own) > 0 {
			front, addrs = Canonical(ownFront), own
		}
	}
	switch {
	case private && !f.private && f.Private != "":
		return []Record{{Name: name, Type: mdns.TypeCNAME, TTL: publicTTL, Data: Data{Target: label + "." + f.Private}}}, true
	case front != "":
		return []Record{{Name: name, Type: mdns.TypeCNAME, TTL: publicTTL, Data: Data{Target: front}}}, true
	}
	return addressRecords(name, addrs), true
}

func addressRecords(name string, addrs []netip.Addr) []Record {
	r := make([]Record, len(addrs))
	for i, a := range addrs {
		r[i] = Record{Name: name, Type: mdns.TypeA, TTL: publicTTL, Data: Data{Addr: a}}
	}
	return r
}
