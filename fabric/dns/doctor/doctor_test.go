package doctor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
)

const (
	group    = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/"
	hub      = group + "virtualNetworks/hub"
	spoke    = group + "virtualNetworks/spoke"
	lone     = group + "virtualNetworks/lone"
	zoneName = "privatelink.blob.core.windows.net"
	zone     = group + "privateDnsZones/" + zoneName
	zone2    = "/subscriptions/s/resourceGroups/spoke/providers/Microsoft.Network/privateDnsZones/" + zoneName
	endpoint = group + "privateEndpoints/pe"
	account  = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct"
	host     = "acct.blob.core.windows.net"
	private  = "10.0.0.5"
	public   = "20.60.0.4"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func record(name, a string) dns.Set {
	return dns.Set{Name: name, Type: typeA, TTL: 10, Data: []dns.Data{{Addr: addr(a)}}}
}

func guest(id, subnet, a string) fabric.NIC {
	return fabric.NIC{ID: id, Subnet: subnet, Addrs: []netip.Addr{addr(a)}}
}

// healthy is a hub with an account's endpoint, a peered spoke, and a network that has nothing to do with them.
func healthy() *Region {
	vnet := func(id, space string, peers ...string) fabric.VNet {
		v := fabric.VNet{ID: id, Prefixes: []netip.Prefix{prefix(space)}, Subnets: []fabric.Subnet{{ID: id + "/subnets/s", Prefixes: []netip.Prefix{prefix(space)}, NSG: "nsg"}}}
		for _, p := range peers {
			remote := map[string]string{hub: "10.0.0.0/24", spoke: "10.1.0.0/24"}[p]
			v.Peerings = append(v.Peerings, fabric.Peering{ID: id + p, Remote: p, Prefixes: []netip.Prefix{prefix(remote)}, Access: true})
		}
		return v
	}
	t := &fabric.Topology{VNets: []fabric.VNet{vnet(hub, "10.0.0.0/24", spoke), vnet(spoke, "10.1.0.0/24", hub), vnet(lone, "10.9.0.0/24")},
		NSGs: map[string]*fabric.NSG{"nsg": {ID: "nsg"}}}
	t.VNets[0].NICs = []fabric.NIC{
		{ID: endpoint, Kind: fabric.Endpoint, Subnet: hub + "/subnets/s", Addrs: []netip.Addr{addr(private)}, Service: &fabric.Service{Target: account, GroupID: "blob", Ports: []uint16{443}}},
		guest("server", hub+"/subnets/s", "10.0.0.10"), guest("inbound", hub+"/subnets/s", "10.0.0.11"), guest("hubvm", hub+"/subnets/s", "10.0.0.12"),
	}
	t.VNets[1].NICs = []fabric.NIC{guest("job", spoke+"/subnets/s", "10.1.0.4")}
	return &Region{
		Topology: t,
		Zones:    []dns.Zone{{ID: zone, Name: zoneName, Sets: []dns.Set{record("acct", private)}}},
		Links:    []Link{{ID: zone + "/virtualNetworkLinks/hub", Zone: zone, VNet: hub}, {ID: zone + "/virtualNetworkLinks/spoke", Zone: zone, VNet: spoke}},
		Endpoints: []Endpoint{{ID: endpoint, VNet: hub, Target: account, Groups: []string{zone},
			Needs: []Need{{Zone: zoneName, Name: "acct", Host: []string{host}, Addr: addr(private)}}}},
		Servers: func(string) []netip.Addr { return nil },
	}
}

// examine gives the region the names that follow from its zones.
func examine(t *testing.T, r *Region) Report {
	t.Helper()
	var names dns.PublicZone
	err := names.Service(dns.Service{Suffix: "blob.core.windows.net", Private: zoneName, Addrs: []netip.Addr{addr(public)},
		Lookup: func(label string) (bool, bool) { return label == "acct", true }})
	if err != nil {
		t.Fatal(err)
	}
	c := dns.Config{Public: &names, Zones: r.Zones}
	for _, l := range r.Links {
		c.Links = append(c.Links, dns.Link{VNet: l.VNet, Zone: l.Zone, NXDomainRedirect: l.Redirect})
	}
	m, err := dns.NewModel(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Resolve = func(vnet, name string) dns.Answer { return m.Resolve(vnet, name, typeA) }
	r.Explain = func(f fabric.Flow) fabric.Explanation { return fabric.Explain(r.Topology, f) }
	return Examine(*r)
}

// Seeded faults: each is found, by its code, place and network, and nothing else is.
func TestFaults(t *testing.T) {
	unlink := func(r *Region, vnet string) {
		for i, l := range r.Links {
			if l.VNet == vnet {
				r.Links = append(r.Links[:i:i], r.Links[i+1:]...)
				return
			}
		}
	}
	serve := func(r *Region, vnet, server string) {
		r.Servers = func(v string) []netip.Addr {
			if v == vnet {
				return []netip.Addr{addr(server)}
			}
			return nil
		}
	}
	deny := func(r *Region, source, destination string) {
		r.Topology.NSGs["nsg"].Rules = []fabric.Rule{{Name: "no-dns", Priority: 100, Direction: fabric.Outbound, Protocol: fabric.UDP, Source: []string{source},
			Destination: []string{destination}, SourcePorts: []string{"*"}, DestinationPorts: []string{"53"}}}
	}
	const nothing = "NXDOMAIN"
	for _, c := range []struct {
		fault string
		seed  func(r *Region)
		want  []string // code, place, network, what the name is today
	}{
		{"none", func(*Region) {}, nil},
		{"the zone does not exist", func(r *Region) { r.Zones, r.Links, r.Endpoints[0].Groups = nil, nil, nil }, []string{
			"ZoneMissing pe hub 20.60.0.4 (public)"}},
		{"it is linked nowhere", func(r *Region) { r.Links = nil }, []string{
			"PeerUnlinked " + zoneName + " spoke 20.60.0.4 (public)", "ZoneUnlinked " + zoneName + " hub 20.60.0.4 (public)"}},
		{"the peer is not linked", func(r *Region) { unlink(r, spoke) }, []string{"PeerUnlinked " + zoneName + " spoke 20.60.0.4 (public)"}},
		{"the peer asks the hub's server", func(r *Region) { unlink(r, spoke); serve(r, spoke, "10.0.0.10") }, nil},
		{"the peer asks the hub's inbound endpoint", func(r *Region) {
			unlink(r, spoke)
			serve(r, spoke, "10.0.0.11")
			r.Inbound = []Inbound{{NIC: "inbound", VNet: hub, Addr: addr("10.0.0.11")}}
		}, nil},
		{"the peer asks Azure's resolver by its address", func(r *Region) { serve(r, spoke, "168.63.129.16") }, nil},
		{"nobody writes the records", func(r *Region) { r.Zones[0].Sets, r.Endpoints[0].Groups = nil, nil }, []string{
			"ZoneGroupMissing pe hub+spoke " + nothing}},
		{"somebody writes them by hand", func(r *Region) { r.Endpoints[0].Groups = nil }, nil},
		{"the record is gone", func(r *Region) { r.Zones[0].Sets = nil }, []string{
			"RecordMissing " + zoneName + " hub+spoke " + nothing}},
		{"and a link's policy hides it", func(r *Region) { r.Zones[0].Sets, r.Links[1].Redirect = nil, true }, []string{
			"FallbackHidesRecord spoke spoke 20.60.0.4 (public)", "RecordMissing " + zoneName + " hub " + nothing, "RecordMissing " + zoneName + " spoke 20.60.0.4 (public)"}},
		{"the endpoint was made anew", func(r *Region) { r.Zones[0].Sets[0] = record("acct", "10.0.0.77") }, []string{
			"RecordStale acct hub+spoke 10.0.0.77"}},
		{"a record of an endpoint that is gone", func(r *Region) { r.Zones[0].Sets = append(r.Zones[0].Sets, record("old", "10.0.0.88")) }, []string{"RecordStale old hub 10.0.0.88"}},
		{"a record of an endpoint elsewhere", func(r *Region) { r.Zones[0].Sets = append(r.Zones[0].Sets, record("far", "192.168.1.1")) }, nil},
		{"the spoke has a zone of its own", func(r *Region) {
			r.Zones = append(r.Zones, dns.Zone{ID: zone2, Name: zoneName})
			r.Links[1] = Link{ID: zone2 + "/virtualNetworkLinks/spoke", Zone: zone2, VNet: spoke}
		}, []string{"ZoneDoubled " + zoneName + " spoke " + nothing}},
		{"two zones that say the same", func(r *Region) {
			r.Zones = append(r.Zones, dns.Zone{ID: zone2, Name: zoneName, Sets: r.Zones[0].Sets})
			r.Links[1] = Link{ID: zone2 + "/virtualNetworkLinks/spoke", Zone: zone2, VNet: spoke}
		}, nil},
		{"two zones of the user's own", func(r *Region) {
			r.Zones = append(r.Zones, dns.Zone{ID: "/z1/corp.test", Name: "corp.test", Sets: []dns.Set{record("web", "10.0.0.12")}}, dns.Zone{ID: "/z2/corp.test", Name: "corp.test"})
			r.Links = append(r.Links, Link{ID: "l1", Zone: "/z1/corp.test", VNet: hub}, Link{ID: "l2", Zone: "/z2/corp.test", VNet: spoke})
		}, []string{"ZoneDoubled corp.test spoke " + nothing}},
		{"a zone apart hides the public name", func(r *Region) {
			r.Zones = append(r.Zones, dns.Zone{ID: zone2, Name: zoneName})
			r.Links = append(r.Links, Link{ID: zone2 + "/virtualNetworkLinks/lone", Zone: zone2, VNet: lone})
		}, []string{"NxDomainTrap lone lone " + nothing}},
		{"a zone apart that falls back", func(r *Region) {
			r.Zones = append(r.Zones, dns.Zone{ID: zone2, Name: zoneName})
			r.Links = append(r.Links, Link{ID: zone2 + "/virtualNetworkLinks/lone", Zone: zone2, VNet: lone, Redirect: true})
		}, nil},
		{"the server is closed to the machines", func(r *Region) { serve(r, hub, "10.0.0.10"); deny(r, "10.0.0.12", "10.0.0.10") }, []string{"CustomServerUnreachable hub hub "}},
		{"the server is nowhere", func(r *Region) { serve(r, hub, "10.0.0.99") }, []string{"CustomServerUnreachable hub hub "}},
		{"the server cannot ask Azure", func(r *Region) { serve(r, hub, "10.0.0.10"); deny(r, "10.0.0.10", "AzurePlatformDNS") }, []string{"CustomServerCutOff server hub "}},
		{"an endpoint of the same account in the spoke", func(r *Region) {
			r.Topology.VNets[1].NICs = append(r.Topology.VNets[1].NICs, fabric.NIC{ID: "pe2", Kind: fabric.Endpoint, Subnet: spoke + "/subnets/s", Addrs: []netip.Addr{addr("10.1.0.5")}})
			r.Endpoints = append(r.Endpoints, Endpoint{ID: "pe2", VNet: spoke, Target: account, Groups: []string{zone2}, Needs: []Need{{Zone: zoneName, Name: "acct", Host: []string{host}, Addr: addr("10.1.0.5")}}})
			r.Zones = append(r.Zones, dns.Zone{ID: zone2, Name: zoneName, Sets: []dns.Set{record("acct", "10.1.0.5")}})
			r.Links[1] = Link{ID: zone2 + "/virtualNetworkLinks/spoke", Zone: zone2, VNet: spoke}
		}, nil},
	} {
		t.Run(c.fault, func(t *testing.T) {
			r := healthy()
			c.seed(r)
			var got []string
			for _, f := range examine(t, r).Findings {
				var vnets []string
				for _, v := range f.VNets {
					vnets = append(vnets, name(v))
				}
				got = append(got, strings.Join([]string{string(f.Code), name(f.Where), strings.Join(vnets, "+"), f.Today}, " "))
				if f.What == "" || f.Why == "" || strings.Contains(strings.Join(f.Do, " "), "!") {
					t.Errorf("%+v", f)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	r := healthy()
	r.Zones, r.Links, r.Endpoints[0].Groups = nil, nil, nil
	f := examine(t, r).Of(hub).Findings[0]
	want := []string{
		"az network private-dns zone create --subscription s --resource-group rg --name " + zoneName,
		"az network private-dns link vnet create --registration-enabled false --subscription s --resource-group rg --zone-name " + zoneName + " --name hub --virtual-network " + hub,
		"az network private-dns link vnet create --registration-enabled false --subscription s --resource-group rg --zone-name " + zoneName + " --name spoke --virtual-network " + spoke,
		"az network private-endpoint dns-zone-group create --name default --subscription s --resource-group rg --endpoint-name pe --zone-name privatelink-blob-core-windows-net --private-dns-zone " + zone,
	}
	if diff := cmp.Diff(want, f.Do); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a server on-premises must forward: public domains, to the inbound endpoints of the network.
func TestForwarders(t *testing.T) {
	r := healthy()
	for _, n := range []string{"privatelink.vaultcore.azure.net", "privatelink.api.azureml.ms", "privatelink.notebooks.azure.net", "corp.test"} {
		r.Zones = append(r.Zones, dns.Zone{ID: "/z/" + n, Name: n})
		r.Links = append(r.Links, Link{ID: "/l/" + n, Zone: "/z/" + n, VNet: hub})
	}
	if got := examine(t, r).Forwarders; len(got) != 0 {
		t.Errorf("without a way in: %+v", got)
	}
	show := func() (out []string) {
		for _, f := range examine(t, r).Forwarders {
			out = append(out, fmt.Sprint(f.Domain, f.To))
		}
		return out
	}
	want := []string{"api.azureml.ms", "aznbcontent.net", "blob.core.windows.net", "corp.test", "inference.ml.azure.com", "instances.azureml.ms", "notebooks.azure.net", "vault.azure.net", "vaultcore.azure.net"}
	r.Topology.VNets[0].GatewayRoutes = []fabric.GatewayRoute{{Prefix: prefix("192.168.0.0/16"), NIC: "server"}}
	var closed, open []string
	for _, d := range want {
		closed, open = append(closed, d+"[]"), append(open, d+"[10.0.0.11]")
	}
	if diff := cmp.Diff(closed, show()); diff != "" {
		t.Errorf("without an inbound endpoint (-want +got):\n%s", diff)
	}
	r.Inbound = []Inbound{{NIC: "inbound", VNet: hub, Addr: addr("10.0.0.11")}}
	if diff := cmp.Diff(open, show()); diff != "" {
		t.Errorf("with one (-want +got):\n%s", diff)
	}
	var b strings.Builder
	if err := examine(t, r).Print(&b, func(s string) string { return s }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "No findings") || !strings.Contains(b.String(), "blob.core.windows.net") {
		t.Errorf("printed:\n%s", b.String())
	}
}
