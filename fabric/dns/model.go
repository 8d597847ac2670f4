// Package dns answers names as Azure's resolver does: per VNet at 168.63.129.16, with the private zones
// linked to it, and else with the public names that the region plays; on the region's internet with the
// public names only. No name is ever asked outside. The Model is pure (explain reads it too); Serve puts
// it behind sockets.
package dns

import (
	"fmt"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

// Record is one resource record of an answer: an address (A) or an alias (CNAME). Names are
// lower-case and have no trailing dot.
type Record struct {
	Name   string
	Type   uint16 // mdns.TypeA or mdns.TypeCNAME
	TTL    uint32 // seconds
	Addr   netip.Addr
	Target string
}

func (r Record) String() string {
	if r.Type == mdns.TypeCNAME {
		return fmt.Sprintf("%s CNAME %s", r.Name, r.Target)
	}
	return fmt.Sprintf("%s A %s", r.Name, r.Addr)
}

// SOA is the start of authority of a zone (RFC 1035 section 3.3.13); a negative answer carries it and may
// be cached for MinimumTTL seconds (RFC 2308).
type SOA struct {
	Host, Email                                     string
	Serial, Refresh, Retry, Expire, MinimumTTL, TTL uint32
}

// PrivateSOA is what Azure gives every new private zone.
func PrivateSOA() SOA {
	return SOA{Host: "azureprivatedns.net", Email: "azureprivatedns-host.microsoft.com", Serial: 1, Refresh: 3600, Retry: 300, Expire: 2419200, MinimumTTL: 10, TTL: 3600}
}

// Zone is a private DNS zone.
type Zone struct {
	ID   string // opaque; steps name it
	Name string // privatelink.blob.core.windows.net
	SOA  SOA
	Sets []Set
}

// Set is a record set of a zone: addresses or one alias.
type Set struct {
	Name  string // relative to the zone: "acct", "a.b", "@", "*", "*.eus"
	TTL   uint32
	Addrs []netip.Addr
	CNAME string
}

// Link makes a zone answer in a VNet.
type Link struct {
	VNet, Zone string // ids
	// NXDomainRedirect: a name that the zone lacks is asked of the internet instead of not existing
	// (the link's resolutionPolicy NxDomainRedirect).
	NXDomainRedirect bool
}

// Public knows the public names of the region. It must be safe for use by many goroutines and must not
// block.
type Public interface {
	// Lookup returns the records that stand at exactly this name: addresses, or one CNAME whose target
	// the resolver follows (a private zone may take over there). ok is false when the name does not
	// exist. The name is lower-case and has no trailing dot.
	Lookup(name string) (records []Record, ok bool)
}

// Model is an immutable set of zones, links and public names. Make one with NewModel.
type Model struct {
	public Public
	vnets  map[string]map[string]*linked // VNet id, zone name
}

type linked struct {
	*zone
	redirect bool
}

type zone struct {
	id, name string
	soa      SOA
	sets     map[string]Set  // by full name; wildcards as "*.…"
	parents  map[string]bool // names that exist because something stands below them
}

// NewModel indexes zones and links. It fails on a link to an unknown zone, on two zones of one name
// linked to one VNet (Azure refuses the second link) and on a set that is neither addresses nor an alias.
func NewModel(public Public, zones []Zone, links []Link) (*Model, error) {
	byID := make(map[string]*zone, len(zones))
	for _, z := range zones {
		c, err := compileZone(z)
		if err != nil {
			return nil, err
		}
		byID[z.ID] = c
	}
	m := &Model{public: public, vnets: map[string]map[string]*linked{}}
	for _, l := range links {
		z, ok := byID[l.Zone]
		if !ok {
			return nil, fmt.Errorf("dns: link of %s to unknown zone %s", l.VNet, l.Zone)
		}
		v := m.vnets[l.VNet]
		if v == nil {
			v = map[string]*linked{}
			m.vnets[l.VNet] = v
		}
		if other, ok := v[z.name]; ok && other.id != z.id {
			return nil, fmt.Errorf("dns: %s is linked to two zones named %s: %s and %s", l.VNet, z.name, other.id, z.id)
		}
		v[z.name] = &linked{zone: z, redirect: l.NXDomainRedirect}
	}
	return m, nil
}

func compileZone(z Zone) (*zone, error) {
	c := &zone{id: z.ID, name: Canonical(z.Name), soa: z.SOA, sets: map[string]Set{}, parents: map[string]bool{}}
	if c.soa == (SOA{}) {
		c.soa = PrivateSOA()
	}
	c.parents[c.name] = true
	for _, s := range z.Sets {
		full := Canonical(s.Name) + "." + c.name
		if s.Name == "@" {
			full = c.name
		}
		if s.CNAME != "" && len(s.Addrs) > 0 {
			return nil, fmt.Errorf("dns: set %s of zone %s has an alias and addresses", s.Name, z.ID)
		}
		for _, a := range s.Addrs {
			if !a.Is4() {
				return nil, fmt.Errorf("dns: set %s of zone %s has the address %s, which is not IPv4", s.Name, z.ID, a)
			}
		}
		if _, ok := c.sets[full]; ok {
			return nil, fmt.Errorf("dns: two sets %s in zone %s", s.Name, z.ID)
		}
		s.CNAME = Canonical(s.CNAME)
		c.sets[full] = s
		for p := parentOf(full); len(p) > len(c.name); p = parentOf(p) {
			c.parents[p] = true
		}
	}
	return c, nil
}

// Canonical is the form in which names are compared: lower-case, without the trailing dot.
func Canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func parentOf(name string) string {
	if i := strings.IndexByte(name, '.'); i >= 0 {
		return name[i+1:]
	}
	return ""
}

// find returns the set that answers for name (RFC 4592 for wildcards: the closest encloser's) and
// whether the name exists at all.
func (z *zone) find(name string) (s Set, exists bool) {
	if s, ok := z.sets[name]; ok {
		return s, true
	}
	if z.parents[name] {
		return Set{}, true
	}
	for p := parentOf(name); len(p) >= len(z.name); p = parentOf(p) {
		if s, ok := z.sets["*."+p]; ok {
			return s, true
		}
		if _, ok := z.sets[p]; ok || z.parents[p] {
			break // p is the closest encloser, and has no wildcard
		}
	}
	return Set{}, false
}

// zoneFor returns the linked zone with the longest name that name lies in, or nil.
func (m *Model) zoneFor(vnet, name string) *linked {
	v := m.vnets[vnet]
	if len(v) == 0 {
		return nil
	}
	for n := name; n != ""; n = parentOf(n) {
		if z, ok := v[n]; ok {
			return z
		}
	}
	return nil
}
