package network

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
	"vauban.dev/provider/privatedns"
)

// Names is the part of the resolver's model that virtual networks, their interfaces, private zones and users' public
// zones make, and whom each interface asks.
type Names struct {
	Zones    []dns.Zone
	Public   []dns.Zone // users' zones on the internet
	Links    []dns.Link
	Networks []dns.Network
	// Resolvers by the interface's id in the topology, and by the virtual network's for those of it that have
	// nothing of their own.
	Resolvers map[string]Resolver
}

// Resolver is what an interface's machine is told about names when it starts, as Azure does by DHCP.
type Resolver struct {
	// Servers are the custom DNS servers of the interface, or else of its virtual network; none: Azure's.
	Servers []netip.Addr
	// Search is the domain in which single labels are looked up.
	Search string
}

// customSearch is the domain that Azure gives machines with custom DNS servers: nothing stands in it.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-name-resolution-for-vms-and-role-instances
const customSearch = "reddog.microsoft.com"

// Names reads them. Links to networks that no longer exist are left out.
func (p *Provider) Names(tx *rp.Tx) (Names, error) {
	out := Names{Resolvers: map[string]Resolver{}}
	var err error
	if out.Zones, err = privatedns.Zones(tx); err != nil {
		return out, err
	}
	if out.Public, err = privatedns.PublicZones(tx); err != nil {
		return out, err
	}
	out.Links, err = privatedns.Links(tx, func(id arm.ID) (string, bool, error) {
		v, err := liveVNet(tx, id)
		if v == nil || err != nil {
			return "", false, err
		}
		return v.ID.String(), true, nil
	})
	if err != nil {
		return out, err
	}
	vnets, err := rp.List[VNet](tx, VNetType, root)
	if err != nil {
		return out, err
	}
	machines, err := machines(tx)
	if err != nil {
		return out, err
	}
	for _, v := range vnets {
		if v.State == arm.Deleting {
			continue
		}
		n := dns.Network{ID: v.ID.String(), Suffix: v.Properties.suffix()}
		out.Resolvers[n.ID] = machine{}.resolver(&v.Properties)
		for _, m := range machines[v.ID.Key()] {
			out.Resolvers[m.nic] = m.resolver(&v.Properties)
			if m.registered() {
				n.Hosts = append(n.Hosts, dns.Host{Name: m.name, Addrs: []netip.Addr{m.addr}})
			}
		}
		out.Networks = append(out.Networks, n)
	}
	return out, nil
}

// machine is what stands behind an interface.
type machine struct {
	nic     string // id in the topology
	name    string // host name, "" for one that Azure would not register
	addr    netip.Addr
	servers []string // of the interface itself
}

// registered tells whether Azure gives the machine a name.
func (m machine) registered() bool { return m.name != "" && m.addr.Is4() }

// machines are those behind all interfaces, also the hidden ones, by their virtual network's lower-case id. Azure
// names a machine by its interface's internalDnsNameLabel, or by the virtual machine's name; an interface without
// either has no machine that it could be named for. A compute node has its own name.
func machines(tx *rp.Tx) (map[string][]machine, error) {
	out := map[string][]machine{}
	nics, err := rp.List[Interface](tx, NICType, root)
	if err != nil {
		return nil, err
	}
	for _, r := range nics {
		vnet, ok := r.Properties.vnet()
		if !ok || r.State == arm.Deleting || r.Properties.PrivateEndpoint != nil {
			continue
		}
		m := machine{nic: r.ID.String(), name: r.Properties.machineName(), addr: r.Properties.primary(), servers: r.Properties.DNS.Servers}
		out[vnet.Key()] = append(out[vnet.Key()], m)
	}
	hidden, err := HiddenNICs(tx)
	if err != nil {
		return nil, err
	}
	for _, h := range hidden {
		m := machine{nic: h.ID, addr: h.Addr}
		if h.Kind == NodeKind {
			m.name = hostLabel(h.ID[strings.LastIndexByte(h.ID, '/')+1:])
		}
		key := strings.ToLower(h.VNet)
		out[key] = append(out[key], m)
	}
	return out, nil
}

// NodeKind is the Kind of compute nodes' interfaces.
const NodeKind = "node"

// vnet is the virtual network that the interface is in.
func (v *Interface) vnet() (arm.ID, bool) {
	if len(v.IPConfigurations) == 0 || v.IPConfigurations[0].Properties.Subnet == nil {
		return arm.ID{}, false
	}
	id, err := arm.ParseID(v.IPConfigurations[0].Properties.Subnet.ID)
	return id.Parent(), err == nil
}

// azureDNS among an interface's DNS servers is Azure's own, whatever the virtual network says.
const azureDNS = "AzureProvidedDNS"

func (m machine) resolver(v *VNet) Resolver {
	texts := m.servers
	if len(texts) == 0 {
		texts = v.dnsServers()
	}
	var r Resolver
	for _, s := range texts {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			r.Servers = append(r.Servers, a)
		}
	}
	r.Search = customSearch
	if len(r.Servers) == 0 {
		r.Search = v.suffix()
	}
	return r
}

// suffix is the domain of the virtual network's machines. Azure's has a label that is the network's own, and one
// that tells the region from others.
func (v *VNet) suffix() string {
	sum := sha256.Sum256([]byte(v.ResourceGUID))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:26]) + ".ax." + dns.InternalDomain
}

var notInLabel = regexp.MustCompile(`[^a-z0-9-]+`)

// hostLabel is a name as a host name.
func hostLabel(name string) string {
	s := strings.Trim(notInLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.TrimRight(s[:min(len(s), 63)], "-")
}

var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// withoutBlanks are the servers that are named: az says `--dns-servers ""` for none.
func withoutBlanks(servers []string) []string {
	return slices.DeleteFunc(append([]string{}, servers...), func(s string) bool { return s == "" })
}

// validate refuses DNS settings of an interface that no machine could be given.
func (d *DNSSettings) validate(nic arm.ID) error {
	if d.Label != "" && !hostName.MatchString(d.Label) {
		return bad("InvalidDnsName", "The internalDnsNameLabel '%s' of network interface %s is no host name: up to 63 letters, digits and '-', which neither begins nor ends it.", clip(d.Label), nic)
	}
	for _, s := range d.Servers {
		if strings.EqualFold(s, azureDNS) {
			if len(d.Servers) > 1 {
				return bad("InvalidRequestFormat", "The DNS server %s of network interface %s cannot be combined with others.", azureDNS, nic)
			}
			continue
		}
		if _, err := netip.ParseAddr(s); err != nil {
			return bad("InvalidRequestFormat", "DNS server address '%s' of network interface %s is not an IP address.", clip(s), nic)
		}
	}
	return nil
}

// presentNames fills what Azure says of an interface's names.
func presentNames(tx *rp.Tx, r *rp.Resource[Interface]) error {
	d := &r.Properties.DNS
	d.Suffix, d.FQDN = "", ""
	id, ok := r.Properties.vnet()
	if !ok {
		return nil
	}
	v, err := liveVNet(tx, id)
	if v == nil || err != nil {
		return err
	}
	d.Suffix = v.Properties.suffix()
	if d.Label != "" {
		d.FQDN = strings.ToLower(d.Label) + "." + d.Suffix
	}
	return nil
}

// TendZones brings the automatically registered records of private zones up to date with the machines of the
// virtual networks, and clears links to networks that are gone. It writes only where something is to change. It
// is called before the names are read: what it writes is derived from the rest of the store.
func (p *Provider) TendZones(ctx context.Context, zones *privatedns.Provider) error {
	run := func(tx *rp.Tx, dry bool) (bool, error) {
		all, err := machines(tx)
		if err != nil {
			return false, err
		}
		return zones.Register(tx, func(vnet arm.ID) map[string][]netip.Addr {
			hosts := map[string][]netip.Addr{}
			for _, m := range all[vnet.Key()] {
				if m.registered() {
					hosts[m.name] = append(hosts[m.name], m.addr)
				}
			}
			return hosts
		}, dry)
	}
	changed := false
	err := p.cfg.Engine.View(ctx, func(tx *rp.Tx) (err error) {
		changed, err = run(tx, true)
		return err
	})
	if err != nil || !changed {
		return err
	}
	return p.cfg.Engine.Update(ctx, func(tx *rp.Tx) error {
		_, err := run(tx, false)
		return err
	})
}
