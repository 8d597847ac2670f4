// Package doctor finds what is wrong with the names of private endpoints: zones that are missing, linked to
// nothing or made twice, records that are missing or lead to what is gone, peered networks that are not linked,
// DNS servers that cannot ask or be asked; and says which zones a DNS server on-premises must forward where. It
// is pure: it asks the models that the region runs by, and no socket.
package doctor

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
)

// Region is what is examined. Ids are those of the topology.
type Region struct {
	Topology  *fabric.Topology
	Zones     []dns.Zone
	Links     []Link
	Endpoints []Endpoint
	Inbound   []Inbound
	// Servers are the custom DNS servers of a VNet; none: Azure's resolver.
	Servers func(vnet string) []netip.Addr
	// Resolve answers a name for A in a VNet (dns.Model.Resolve).
	Resolve func(vnet, name string) dns.Answer
	// Explain follows a flow through the topology (fabric.Explain).
	Explain func(fabric.Flow) fabric.Explanation
}

// Link of a private zone.
type Link struct {
	ID, Zone, VNet string
	Redirect       bool // resolutionPolicy NxDomainRedirect
}

// Endpoint is a private endpoint whose connection is approved.
type Endpoint struct {
	ID, VNet string
	Target   string // id of the resource behind it
	Needs    []Need
	Groups   []string // ids of the zones in its DNS zone groups
}

// Need is a record that the endpoint's names need.
type Need struct {
	Zone string   // privatelink.blob.core.windows.net
	Name string   // in the zone: acct
	Host []string // the public names that lead to it: acct.blob.core.windows.net
	Addr netip.Addr
}

func (n Need) fqdn() string { return n.Name + "." + n.Zone }

// host is the public name that a client uses.
func (n Need) host() string {
	if len(n.Host) > 0 {
		return n.Host[0]
	}
	return n.fqdn()
}

// Inbound is an inbound endpoint of a DNS resolver.
type Inbound struct {
	NIC  string
	VNet string // whose names it answers
	Addr netip.Addr
}

// Code of a Finding.
type Code string

// What can be wrong.
const (
	ZoneMissing             Code = "ZoneMissing"             // no zone of the name exists
	ZoneUnlinked            Code = "ZoneUnlinked"            // it is not linked to the endpoint's own network
	PeerUnlinked            Code = "PeerUnlinked"            // nor to a network that is peered with it
	ZoneDoubled             Code = "ZoneDoubled"             // two zones of one name, of which one lacks the record
	ZoneGroupMissing        Code = "ZoneGroupMissing"        // nobody writes the endpoint's records
	RecordMissing           Code = "RecordMissing"           // the zone group is there, the record is not
	RecordStale             Code = "RecordStale"             // the record leads to an address that is not the endpoint's
	FallbackHidesRecord     Code = "FallbackHidesRecord"     // the record is missing, and the link's policy leads to the internet instead
	NXDomainTrap            Code = "NxDomainTrap"            // a linked zone hides the public name of somebody else's resource
	CustomServerUnreachable Code = "CustomServerUnreachable" // machines cannot ask their DNS server
	CustomServerCutOff      Code = "CustomServerCutOff"      // the DNS server cannot ask 168.63.129.16
)

// Finding is one thing that is wrong.
type Finding struct {
	Code  Code     `json:"code"`
	What  string   `json:"what"`
	Where string   `json:"where"`              // id of the resource to change, or that lacks something
	VNets []string `json:"vnets,omitempty"`    // the networks that suffer from it
	Name  string   `json:"name,omitempty"`     // a name that it concerns
	Today string   `json:"today,omitempty"`    // what that name resolves to there now
	Why   string   `json:"why"`                // what comes of it
	Do    []string `json:"commands,omitempty"` // az commands
}

// Forwarder is a domain that DNS servers outside of Azure must send to an inbound endpoint.
// https://learn.microsoft.com/azure/private-link/private-endpoint-dns#on-premises-workloads-using-a-dns-forwarder
type Forwarder struct {
	Domain string       `json:"domain"` // the public one, not privatelink
	Zone   string       `json:"zone"`   // id of the private zone that takes over
	VNet   string       `json:"vnet"`
	To     []netip.Addr `json:"to"` // none: the VNet has no inbound endpoint
}

// Report is what the doctor says.
type Report struct {
	Findings   []Finding   `json:"findings"`
	Forwarders []Forwarder `json:"forwarders"`
}

// Examine looks at everything. Findings are in the order of their codes' meaning, then of their places.
func Examine(r Region) Report {
	x := &examination{Region: r, vnets: map[string]*fabric.VNet{}, zones: map[string]dns.Zone{}}
	for i := range r.Topology.VNets {
		x.vnets[r.Topology.VNets[i].ID] = &r.Topology.VNets[i]
	}
	for _, z := range r.Zones {
		x.zones[z.ID] = z
	}
	x.servers()
	x.endpoints()
	x.stale()
	x.doubled()
	x.traps()
	slices.SortStableFunc(x.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Where, b.Where), slices.Compare(a.VNets, b.VNets), cmp.Compare(a.Name, b.Name))
	})
	if x.found == nil {
		x.found = []Finding{}
	}
	return Report{Findings: x.found, Forwarders: x.forwarders()}
}

// Of keeps what concerns a VNet.
func (r Report) Of(vnet string) Report {
	out := Report{Findings: []Finding{}, Forwarders: []Forwarder{}}
	for _, f := range r.Findings {
		if slices.ContainsFunc(f.VNets, func(v string) bool { return strings.EqualFold(v, vnet) }) {
			out.Findings = append(out.Findings, f)
		}
	}
	for _, f := range r.Forwarders {
		if strings.EqualFold(f.VNet, vnet) {
			out.Forwarders = append(out.Forwarders, f)
		}
	}
	return out
}

type examination struct {
	Region
	vnets map[string]*fabric.VNet
	zones map[string]dns.Zone // by id
	found []Finding
}

// add notes a finding, once for its code, place and name where the name is the same today; the networks that
// suffer from it gather.
func (x *examination) add(f Finding) {
	for i := range x.found {
		o := &x.found[i]
		if o.Code != f.Code || o.Where != f.Where || o.Name != f.Name || o.Today != f.Today {
			continue
		}
		o.VNets, o.Do = union(o.VNets, f.VNets), union(o.Do, f.Do)
		return
	}
	x.found = append(x.found, f)
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// linkOf is the link of a VNet to a zone of this name, nil if there is none.
func (x *examination) linkOf(vnet, zone string) *Link {
	for i, l := range x.Links {
		if l.VNet == vnet && dns.Canonical(x.zones[l.Zone].Name) == dns.Canonical(zone) {
			return &x.Links[i]
		}
	}
	return nil
}

// named are the ids of the zones of a name.
func (x *examination) named(zone string) (ids []string) {
	for _, z := range x.Zones {
		if dns.Canonical(z.Name) == dns.Canonical(zone) {
			ids = append(ids, z.ID)
		}
	}
	return ids
}

// record is the set of addresses at a name of a zone, nil if there is none.
func (x *examination) record(zone, name string) *dns.Set {
	for _, s := range x.zones[zone].Sets {
		if s.Type == typeA && strings.EqualFold(s.Name, name) {
			return &s
		}
	}
	return nil
}

// typeA is DNS's type of IPv4 addresses.
const typeA = 1

// near are a VNet and those that it is peered with.
func (x *examination) near(vnet string) []string {
	list := []string{vnet}
	if v := x.vnets[vnet]; v != nil {
		for _, p := range v.Peerings {
			if p.Access && x.vnets[p.Remote] != nil {
				list = append(list, p.Remote)
			}
		}
	}
	return list
}

// resolver is the VNet whose names a VNet's machines get: its own, or that of the DNS server which they ask,
// if that stands in the region. ok is false where somebody else answers.
func (x *examination) resolver(vnet string) (of string, ok bool) {
	servers := x.Servers(vnet)
	if len(servers) == 0 {
		return vnet, true
	}
	for _, s := range servers {
		if s == fabric.WireServer {
			return vnet, true
		}
		for _, in := range x.Inbound {
			if in.Addr == s && slices.Contains(x.near(vnet), x.home(in.NIC)) {
				return in.VNet, true
			}
		}
		for _, v := range x.near(vnet) {
			if x.nicAt(v, s) != nil {
				return v, true
			}
		}
	}
	return "", false
}

// home is the VNet that a NIC is in.
func (x *examination) home(nic string) string {
	for id, v := range x.vnets {
		if slices.ContainsFunc(v.NICs, func(n fabric.NIC) bool { return n.ID == nic }) {
			return id
		}
	}
	return ""
}

func (x *examination) nicAt(vnet string, a netip.Addr) *fabric.NIC {
	v := x.vnets[vnet]
	for i := range v.NICs {
		if slices.Contains(v.NICs[i].Addrs, a) {
			return &v.NICs[i]
		}
	}
	return nil
}

// today is what a name resolves to in a VNet now, in words.
func (x *examination) today(vnet, name string) string {
	a := x.Resolve(vnet, name)
	if a.Forward != nil {
		return "what the servers of rule " + a.Forward.Rule + " say"
	}
	addrs := a.Addrs()
	if len(addrs) == 0 {
		return "NXDOMAIN"
	}
	texts := make([]string, len(addrs))
	private := true
	for i, r := range addrs {
		texts[i] = r.Addr.String()
		private = private && r.Addr.IsPrivate()
	}
	if !private {
		return strings.Join(texts, ", ") + " (public)"
	}
	return strings.Join(texts, ", ")
}
