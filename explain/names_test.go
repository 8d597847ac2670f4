package explain

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/reach"
)

// Whom a name is asked of: custom servers in their order, where the network lets the question through;
// rulesets lead on to inbound endpoints, in a circle not for ever.
func TestLookup(t *testing.T) {
	nsg := &fabric.NSG{ID: "nsg", Rules: []fabric.Rule{{Name: "no-dns", Priority: 100, Direction: fabric.Outbound, Protocol: fabric.UDP,
		Source: []string{"*"}, Destination: []string{"10.0.0.7"}, SourcePorts: []string{"*"}, DestinationPorts: []string{"53"}}}}
	topology := &fabric.Topology{
		VNets: []fabric.VNet{{
			ID: "v", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
			Subnets: []fabric.Subnet{{ID: "s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, NSG: "nsg"}},
			NICs: []fabric.NIC{
				{ID: "job", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}},
				{ID: "own", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}},
				{ID: "in", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.6")}},
				{ID: "closed", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7")}},
				{ID: "out", Subnet: "s", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.8")}},
			},
		}},
		NSGs: map[string]*fabric.NSG{"nsg": nsg},
	}
	set := dns.Set{Name: "web", Type: 1, TTL: 1, Data: []dns.Data{{Addr: netip.MustParseAddr("10.9.0.1")}}}
	rule := func(domain, server string) dns.Rule {
		return dns.Rule{ID: domain, Domain: domain, Servers: []netip.AddrPort{netip.MustParseAddrPort(server)}}
	}
	model, err := dns.NewModel(dns.Config{
		Zones: []dns.Zone{{ID: "z", Name: "corp.test", Sets: []dns.Set{set}}, {ID: "hub", Name: "hub.test", Sets: []dns.Set{set}}},
		Links: []dns.Link{{VNet: "v", Zone: "z"}, {VNet: "hub", Zone: "hub"}},
		Rulesets: []dns.Ruleset{{ID: "rs", VNets: []string{"v", "hub"}, Endpoints: []string{"out"}, Rules: []dns.Rule{
			rule("hub.test.", "10.0.0.6:53"), rule("onprem.test.", "10.0.0.5:53"), rule("loop.test.", "10.0.0.6:53"), rule("away.test.", "192.168.7.7:53"),
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why, servers, host, addr string
		unknown                  bool
		steps                    []string // what each begins with
	}{
		{"Azure's resolver", "", "web.corp.test", "10.9.0.1", false, []string{"web.corp.test: private zone z: address"}},
		{"an address", "10.0.0.5", "192.0.2.1", "192.0.2.1", false, nil},
		{"a server of one's own", "10.0.0.5", "web.corp.test", "", true, []string{"web.corp.test: custom DNS server 10.0.0.5:53 is asked, whose answer"}},
		{"Azure's by its address", "168.63.129.16", "web.corp.test", "10.9.0.1", false, []string{"web.corp.test: private zone z: address"}},
		{"the first cannot be reached", "10.0.0.7,168.63.129.16", "web.corp.test", "10.9.0.1", false,
			[]string{"web.corp.test: custom DNS server 10.0.0.7:53 cannot be asked: nsg Outbound rule no-dns", "web.corp.test: private zone z"}},
		{"none can", "10.0.0.7", "web.corp.test", "", false, []string{"web.corp.test: custom DNS server 10.0.0.7:53 cannot"}},
		{"an inbound endpoint answers by its own network", "10.0.0.6", "web.hub.test", "10.9.0.1", false,
			[]string{"web.hub.test: custom DNS server 10.0.0.6:53 is the inbound endpoint in", "web.hub.test: private zone hub"}},
		{"a rule leads there too", "", "web.hub.test", "10.9.0.1", false,
			[]string{"web.hub.test: forwarding rule hub.test.: forwarded to 10.0.0.6:53", "web.hub.test: the rule's server 10.0.0.6:53 is the inbound", "web.hub.test: private zone hub"}},
		{"a rule to a server of one's own", "", "x.onprem.test", "", true,
			[]string{"x.onprem.test: forwarding rule", "x.onprem.test: the rule's server 10.0.0.5:53 is asked"}},
		{"a rule to nowhere", "", "x.away.test", "", false, []string{"x.away.test: forwarding rule", "x.away.test: the rule's server 192.168.7.7:53 cannot"}},
	} {
		w := World{
			Resolve: func(vnet, name string) dns.Answer { return model.Resolve(vnet, name, 1) },
			Servers: func(_, _ string) (list []netip.Addr) {
				for _, s := range strings.FieldsFunc(c.servers, func(r rune) bool { return r == ',' }) {
					list = append(list, netip.MustParseAddr(s))
				}
				return list
			},
			Inbound: func(nic string) string { return map[string]string{"in": "hub"}[nic] },
		}
		l := w.Lookup(topology, fabric.Place{Kind: fabric.AtNIC, ID: "job"}, c.host)
		got := ""
		if l.Addr.IsValid() {
			got = l.Addr.String()
		}
		if got != c.addr || l.Unknown != c.unknown || len(l.Steps) != len(c.steps) {
			t.Errorf("%s: %+v", c.why, l)
			continue
		}
		for i, s := range c.steps {
			if !strings.HasPrefix(l.Steps[i], s) {
				t.Errorf("%s: step %d is %q, want %q", c.why, i, l.Steps[i], s)
			}
		}
	}
	w := World{Resolve: func(vnet, name string) dns.Answer { return model.Resolve(vnet, name, 1) }, Inbound: func(nic string) string { return map[string]string{"in": "hub"}[nic] }}
	l := w.Lookup(topology, fabric.Place{Kind: fabric.AtNIC, ID: "job"}, "x.loop.test")
	if last := l.Steps[len(l.Steps)-1]; l.Addr.IsValid() || !strings.Contains(last, "in a circle") {
		t.Errorf("a loop: %+v", l)
	}
}

// An answer that only a user's own server knows is refused by name, and a live packet decides.
func TestUnknownName(t *testing.T) {
	w, _ := world(t)
	w.Servers = func(string, string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.1.2.5")} }
	a := ask(t, w, Question{From: nicAt(jump + "/exec"), Host: acctHost, Port: 443})
	if a.Allowed || a.Refused != ByName || !a.Unknown || len(a.Fixes) != 1 {
		t.Fatalf("%+v", a)
	}
	a.Compare(reach.Result{Connect: reach.Connected, Status: 200}, nil)
	if diff := cmp.Diff(true, a.Live.Agrees); diff != "" {
		t.Error(diff)
	}
}
