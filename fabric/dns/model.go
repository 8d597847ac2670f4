// Package dns answers names as Azure's resolver does: per VNet at 168.63.129.16, with the private zones
// linked to it, and else with the public names that the region plays; on the region's internet with the
// public names only. No name is ever asked outside. The Model is pure (explain reads it too); Serve puts
// it behind sockets.
package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Data is what one record says. The fields that count depend on its type.
type Data struct {
	Addr         netip.Addr // A, AAAA
	Target       string     // CNAME, MX (the exchange), PTR, SRV
	Preference   uint16     // MX; SRV's priority
	Weight, Port uint16     // SRV
	Text         []string   // TXT: strings of at most 255 bytes
}

// Record is one resource record of an answer. Names are lower-case and have no trailing dot.
type Record struct {
	Name string
	Type uint16 // mdns.TypeA …
	TTL  uint32 // seconds
	Data
}

// String is the record as a zone file has it, without class and TTL.
func (r Record) String() string {
	text := ""
	switch r.Type {
	case mdns.TypeA, mdns.TypeAAAA:
		text = r.Addr.String()
	case mdns.TypeMX:
		text = fmt.Sprintf("%d %s", r.Preference, r.Target)
	case mdns.TypeSRV:
		text = fmt.Sprintf("%d %d %d %s", r.Preference, r.Weight, r.Port, r.Target)
	case mdns.TypeTXT:
		text = fmt.Sprintf("%q", r.Text)
	default:
		text = r.Target
	}
	return fmt.Sprintf("%s %s %s", r.Name, mdns.TypeToString[r.Type], text)
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

// Set is a record set of a zone: what stands at one name in one type.
type Set struct {
	Name string // relative to the zone: "acct", "a.b", "@", "*", "*.eus"
	Type uint16 // mdns.TypeA, TypeAAAA, TypeCNAME, TypeMX, TypeNS, TypePTR, TypeSRV or TypeTXT
	TTL  uint32 // seconds
	Data []Data // a CNAME has one
}

// Link makes a zone answer in a VNet.
type Link struct {
	VNet, Zone string // ids
	// NXDomainRedirect: a name that the zone lacks is asked of the internet instead of not existing
	// (the link's resolutionPolicy NxDomainRedirect).
	NXDomainRedirect bool
	// Registration: the VNet's hosts are registered in the zone, and their addresses lead back to it.
	Registration bool
}

// InternalDomain is the domain of the names that Azure gives the machines of a VNet by itself. A machine
// is found below the VNet's own suffix and, within the VNet, right below this.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-name-resolution-for-vms-and-role-instances
const InternalDomain = "internal.cloudapp.net"

// hostTTL is the TTL of the names of a VNet's hosts, in seconds.
const hostTTL = 10

// Network is a VNet's own names.
type Network struct {
	ID     string
	Suffix string // internalDomainNameSuffix, below InternalDomain
	Hosts  []Host
}

// Host is a machine of a VNet.
type Host struct {
	Name  string // one label
	Addrs []netip.Addr
}

// Public knows the public names of the region. It must be safe for use by many goroutines and must not
// block.
type Public interface {
	// Lookup returns the records that stand at exactly this name: those of all types, or one CNAME whose
	// target the resolver follows (a private zone may take over there). ok is false when the name does not
	// exist. The name is lower-case and has no trailing dot.
	Lookup(name string) (records []Record, ok bool)
}

// Config is what a Model knows.
type Config struct {
	Public Public // nil: no public name exists but those of PublicZones
	// PublicZones are users' own zones on the internet. A name that Public has is never theirs, and of two zones
	// with one name the first counts.
	PublicZones []Zone
	Zones       []Zone
	Links       []Link
	Networks    []Network
	Rulesets    []Ruleset
}

// Model is an immutable set of names. Make one with NewModel.
type Model struct {
	public      Public
	publicZones map[string]*zone // by name
	vnets       map[string]*network
}

// network is what a VNet resolves by itself.
type network struct {
	zones map[string]*linked  // by name
	hosts map[string][]Record // by full name, of forward and reverse lookups
	rules map[string]*rule    // by domain
}

type linked struct {
	*zone
	redirect bool
}

type zone struct {
	id, name string
	soa      SOA
	sets     map[string][]Set // by full name; wildcards as "*.…"
	parents  map[string]bool  // names that exist because something stands below them
}

// NewModel indexes what c says. It fails on a link to an unknown zone, on two zones of one name or two rulesets
// linked to one VNet (Azure refuses the second link) and on sets that cannot stand together.
func NewModel(c Config) (*Model, error) {
	byID := make(map[string]*zone, len(c.Zones))
	for _, z := range c.Zones {
		compiled, err := compileZone(z)
		if err != nil {
			return nil, err
		}
		byID[z.ID] = compiled
	}
	m := &Model{public: c.Public, vnets: map[string]*network{}, publicZones: map[string]*zone{}}
	for _, z := range c.PublicZones {
		compiled, err := compileZone(z)
		if err != nil {
			return nil, err
		}
		if m.publicZones[compiled.name] == nil && !Reserved(compiled.name) { // nobody delegates Azure's own domains
			m.publicZones[compiled.name] = compiled
		}
	}
	registers := map[string]string{}
	for _, l := range c.Links {
		z, ok := byID[l.Zone]
		if !ok {
			return nil, fmt.Errorf("dns: link of %s to unknown zone %s", l.VNet, l.Zone)
		}
		v := m.network(l.VNet)
		if other, ok := v.zones[z.name]; ok && other.id != z.id {
			return nil, fmt.Errorf("dns: %s is linked to two zones named %s: %s and %s", l.VNet, z.name, other.id, z.id)
		}
		v.zones[z.name] = &linked{zone: z, redirect: l.NXDomainRedirect}
		if l.Registration {
			registers[l.VNet] = z.name
		}
	}
	for _, n := range c.Networks {
		m.network(n.ID).addHosts(n, registers[n.ID])
	}
	for _, r := range c.Rulesets {
		if err := m.addRuleset(r); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// network is the one of a VNet, made at its first use.
func (m *Model) network(id string) *network {
	v := m.vnets[id]
	if v == nil {
		v = &network{zones: map[string]*linked{}, hosts: map[string][]Record{}, rules: map[string]*rule{}}
		m.vnets[id] = v
	}
	return v
}

// addHosts makes the hosts found by name and by address. An address leads to the host's name in the zone
// that the VNet registers in, if it does, and to its internal one.
func (v *network) addHosts(n Network, zone string) {
	add := func(name string, t uint16, d Data) {
		v.hosts[name] = append(v.hosts[name], Record{Name: name, Type: t, TTL: hostTTL, Data: d})
	}
	for _, h := range n.Hosts {
		label := Canonical(h.Name)
		short := label + "." + InternalDomain
		for _, a := range h.Addrs {
			if !a.Is4() {
				continue // Azure registers IPv4 only
			}
			if n.Suffix != "" {
				add(label+"."+Canonical(n.Suffix), mdns.TypeA, Data{Addr: a})
			}
			add(short, mdns.TypeA, Data{Addr: a})
			reverse := ReverseName(a)
			if zone != "" {
				add(reverse, mdns.TypePTR, Data{Target: label + "." + zone})
			}
			add(reverse, mdns.TypePTR, Data{Target: short})
		}
	}
}

// ReverseName is the name that an IPv4 address is looked up by.
func ReverseName(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
}

func compileZone(z Zone) (*zone, error) {
	c := &zone{id: z.ID, name: Canonical(z.Name), soa: z.SOA, sets: map[string][]Set{}, parents: map[string]bool{}}
	if c.soa == (SOA{}) {
		c.soa = PrivateSOA()
	}
	c.parents[c.name] = true
	for _, s := range z.Sets {
		full := Canonical(s.Name) + "." + c.name
		if s.Name == "@" {
			full = c.name
		}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("dns: set %s of zone %s: %w", s.Name, z.ID, err)
		}
		for _, other := range c.sets[full] {
			if other.Type == s.Type || other.Type == mdns.TypeCNAME || s.Type == mdns.TypeCNAME {
				return nil, fmt.Errorf("dns: sets %s of types %s and %s in zone %s", s.Name, mdns.TypeToString[other.Type], mdns.TypeToString[s.Type], z.ID)
			}
		}
		s.Data = slices.Clone(s.Data)
		for i := range s.Data {
			s.Data[i].Target = Canonical(s.Data[i].Target)
		}
		c.sets[full] = append(c.sets[full], s)
		for p := parentOf(full); len(p) > len(c.name); p = parentOf(p) {
			c.parents[p] = true
		}
	}
	return c, nil
}

// check refuses data that is not of the set's type.
func (s *Set) check() error {
	for _, d := range s.Data {
		ok := false
		switch s.Type {
		case mdns.TypeA:
			ok = d.Addr.Is4()
		case mdns.TypeAAAA:
			ok = d.Addr.Is6()
		case mdns.TypeCNAME, mdns.TypeMX, mdns.TypeNS, mdns.TypePTR, mdns.TypeSRV:
			ok = d.Target != ""
		case mdns.TypeTXT:
			ok = !slices.ContainsFunc(d.Text, func(t string) bool { return len(t) > 255 })
		}
		if !ok {
			return fmt.Errorf("%+v is no record of type %s", d, mdns.TypeToString[s.Type])
		}
	}
	if s.Type == mdns.TypeCNAME && len(s.Data) != 1 {
		return fmt.Errorf("a CNAME set has one record, not %d", len(s.Data))
	}
	return nil
}

// Canonical is the form in which names are compared: lower-case, without the trailing dot.
func Canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func parentOf(name string) string {
	if i := strings.IndexByte(name, '.'); i >= 0 {
		return name[i+1:]
	}
	return ""
}

// find returns the sets that answer for name (RFC 4592 for wildcards: the closest encloser's) and
// whether the name exists at all.
func (z *zone) find(name string) (sets []Set, exists bool) {
	if s, ok := z.sets[name]; ok {
		return s, true
	}
	if z.parents[name] {
		return nil, true
	}
	for p := parentOf(name); len(p) >= len(z.name); p = parentOf(p) {
		if s, ok := z.sets["*."+p]; ok {
			return s, true
		}
		if _, ok := z.sets[p]; ok || z.parents[p] {
			break // p is the closest encloser, and has no wildcard
		}
	}
	return nil, false
}

// zoneFor returns the linked zone with the longest name that name lies in, or nil.
func (v *network) zoneFor(name string) *linked {
	if v == nil || len(v.zones) == 0 {
		return nil
	}
	for n := name; n != ""; n = parentOf(n) {
		if z, ok := v.zones[n]; ok {
			return z
		}
	}
	return nil
}
