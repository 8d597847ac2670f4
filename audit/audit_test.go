package audit

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/firewall"
	"vauban.dev/reach"
)

const (
	sub1   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft."
	sub2   = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg/providers/Microsoft."
	hub    = sub1 + "Network/virtualNetworks/hub"
	spoke  = sub1 + "Network/virtualNetworks/spoke"
	subnet = hub + "/subnets/a"
	nic    = subnet + "/exec"
	nsg    = sub1 + "Network/networkSecurityGroups/nsg"
	mine   = sub1 + "Storage/storageAccounts/mine"
	theirs = sub2 + "Storage/storageAccounts/theirs"
)

type tags map[string][]string

func (t tags) Prefixes(tag string) (out []netip.Prefix, ok bool) {
	for name, list := range t {
		if strings.EqualFold(name, tag) {
			for _, p := range list {
				out = append(out, netip.MustParsePrefix(p))
			}
			return out, true
		}
	}
	return nil, false
}

func rule(name string, priority int, d fabric.Direction, allow bool, p fabric.Protocol, to string, ports ...string) fabric.Rule {
	star := []string{"*"}
	if len(ports) == 0 {
		ports = star
	}
	return fabric.Rule{Name: name, Priority: priority, Direction: d, Allow: allow, Protocol: p, Source: star, Destination: []string{to}, SourcePorts: star, DestinationPorts: ports}
}

// world is a hub whose subnet has a security group with these rules, a spoke, two accounts and an internet.
func world(rules ...fabric.Rule) *World {
	prefix := netip.MustParsePrefix
	t := &fabric.Topology{
		VNets: []fabric.VNet{
			{ID: hub, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")},
				Subnets: []fabric.Subnet{{ID: subnet, Prefixes: []netip.Prefix{prefix("10.1.1.0/24")}, NSG: nsg, DefaultOutbound: true}},
				NICs:    []fabric.NIC{{ID: nic, Subnet: subnet, Addrs: []netip.Addr{netip.MustParseAddr("10.1.1.4")}}}},
			{ID: spoke, Prefixes: []netip.Prefix{prefix("10.2.0.0/16")},
				Subnets: []fabric.Subnet{{ID: spoke + "/subnets/b", Prefixes: []netip.Prefix{prefix("10.2.1.0/24")}}},
				NICs:    []fabric.NIC{{ID: spoke + "/nic", Subnet: spoke + "/subnets/b", Addrs: []netip.Addr{netip.MustParseAddr("10.2.1.4")}}}},
		},
		NSGs: map[string]*fabric.NSG{nsg: {ID: nsg, Rules: rules}},
		Tags: tags{
			"Storage.westeurope": {"20.150.1.0/24", "20.150.2.0/24"}, "AzureActiveDirectory": {"20.190.1.0/24"}, "AzureMachineLearning": {"20.40.1.0/24"},
			"BatchNodeManagement.westeurope": {"20.50.1.0/24"}, "AzureResourceManager": {"20.60.1.0/24"}, "AzureFrontDoor.FrontEnd": {"20.70.1.0/24"},
			"AzureFrontDoor.FirstParty": {"20.71.1.0/24"}, "MicrosoftContainerRegistry.westeurope": {"20.80.1.0/24"},
		},
		Internet: fabric.Internet{ServicePrefixes: []netip.Prefix{prefix("20.150.1.7/32")}, Hosts: []fabric.InternetHost{
			{Name: "client", Addr: netip.MustParseAddr("203.0.113.10")}, {Name: "www", Addr: netip.MustParseAddr("198.51.100.80")}}},
	}
	services := []Service{}
	for _, id := range []string{mine, theirs} {
		services = append(services, Service{Host: id[strings.LastIndexByte(id, '/')+1:] + ".blob.core.windows.net",
			Service: explain.Service{Kind: explain.Blob, ID: id, Scope: id, Rules: firewall.Rules{ResourceID: id, GroupIDs: []string{"blob"}}}})
	}
	w := &World{Services: services, Internet: fabric.Place{Kind: fabric.AtHost, ID: "client"}, Stranger: "198.51.100.80", StrangerPort: 443}
	w.World = explain.World{
		Topology: t,
		Resolve: func(_, name string) dns.Answer {
			return dns.Answer{Records: []dns.Record{{Name: name, Type: mdns.TypeA, Data: dns.Data{Addr: netip.MustParseAddr("20.150.1.7")}}}}
		},
		Service: func(_ context.Context, host string) (*explain.Service, error) {
			for i := range w.Services {
				if w.Services[i].Host == host {
					return &w.Services[i].Service, nil
				}
			}
			return nil, nil
		},
	}
	return w
}

var place = Place{At: fabric.Place{Kind: fabric.AtNIC, ID: nic}, From: "hub/a", Title: "subnet hub/a"}

func lines(r *Report, level Level) (out []string) {
	for _, x := range r.Items {
		if x.Level == level {
			out = append(out, x.Kind+": "+reach.ShortIDs(x.What))
		}
	}
	return out
}

func TestExfil(t *testing.T) {
	run := func(w *World) *Report {
		t.Helper()
		r, err := Exfil(t.Context(), w, place)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	open := []string{
		"resource: storage account theirs, which is of another subscription, takes connections: public network access is enabled from all networks (defaultAction Allow)",
		"dns: Azure's resolver answers, and asks the internet for public names: data leave in the names that are asked for",
	}
	// exactly the ports that the rules leave open
	w := world(rule("Web", 100, fabric.Outbound, false, fabric.TCP, "Internet", "80", "8000-8999"), rule("Udp", 110, fabric.Outbound, false, fabric.UDP, "*"))
	want := append([]string{"internet: any host of the internet is reached by TCP at ports 1-79, 81-7999, 9000-65535, as 20.x"}, open...)
	got := lines(run(w), Finding)
	if i := strings.Index(got[0], ", as "); i > 0 {
		got[0] = got[0][:i] + ", as 20.x"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// a closed subnet has DNS left, and that can be closed by its tag alone
	deny := rule("Deny", 100, fabric.Outbound, false, fabric.AnyProtocol, "*")
	if diff := cmp.Diff(open[1:], lines(run(world(deny)), Finding)); diff != "" {
		t.Error(diff)
	}
	none := run(world(deny, rule("NoDNS", 110, fabric.Outbound, false, fabric.AnyProtocol, "AzurePlatformDNS")))
	if len(none.Findings()) != 0 || len(lines(none, Passed)) != 5 {
		t.Errorf("%v", none.Items)
	}
	// a service endpoint, a private endpoint into another subscription
	w = world(rule("NoDNS", 100, fabric.Outbound, false, fabric.AnyProtocol, "AzurePlatformDNS"), rule("NoMail", 105, fabric.Outbound, false, fabric.TCP, "*", "25"), rule("Vnet", 110, fabric.Outbound, true, fabric.AnyProtocol, "VirtualNetwork"),
		rule("Rest", 120, fabric.Outbound, false, fabric.AnyProtocol, "*"))
	w.Topology.VNets[0].Subnets[0].ServiceEndpoints = []fabric.ServiceEndpoint{{Service: "Microsoft.Storage", Prefixes: []netip.Prefix{netip.MustParsePrefix("20.150.1.0/24")}}}
	w.Topology.VNets[0].NICs = append(w.Topology.VNets[0].NICs, fabric.NIC{ID: hub + "/pe", Kind: fabric.Endpoint, Subnet: subnet,
		Addrs: []netip.Addr{netip.MustParseAddr("10.1.1.9")}, Service: &fabric.Service{Target: theirs, GroupID: "blob", Ports: []uint16{25, 443}}})
	w.Services = nil
	if got := lines(run(w), Finding); len(got) != 2 || !strings.HasPrefix(got[0], "serviceEndpoint: ") || !strings.HasPrefix(got[1], "privateEndpoint: private endpoint ") {
		t.Errorf("%q", got)
	}
	w.Policies = func(string) ([]firewall.EndpointPolicy, error) { return []firewall.EndpointPolicy{{ID: "policy"}}, nil }
	if got := lines(run(w), Finding); len(got) != 1 || strings.HasPrefix(got[0], "serviceEndpoint: ") {
		t.Errorf("with a policy: %q", got)
	}
	if _, err := Exfil(t.Context(), w, Place{}); err == nil {
		t.Error("a place that does not exist has an audit")
	}
}

func TestPublicAndExposure(t *testing.T) {
	w := world()
	w.Topology.VNets[0].NICs[0].Public = []fabric.PublicAddress{{Private: netip.MustParseAddr("10.1.1.4"), Public: netip.MustParseAddr("203.0.113.140")}}
	w.Topology.NSGs[nsg].Rules = []fabric.Rule{rule("Ssh", 100, fabric.Inbound, true, fabric.TCP, "*", "22")}
	w.Services[1].Rules.PublicNetworkAccess = firewall.Disabled
	r, err := Public(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"publicAddress: 203.0.113.140 of hub/a/exec takes TCP at port 22 from any host of the internet that its rules do not tell apart",
		"resource: storage account mine takes connections from the internet: public network access is enabled from all networks (defaultAction Allow)",
	}
	if diff := cmp.Diff(want, lines(r, Finding)); diff != "" {
		t.Error(diff)
	}
	// beside a private endpoint
	w.Topology.VNets[0].NICs = append(w.Topology.VNets[0].NICs, fabric.NIC{ID: hub + "/pe", Kind: fabric.Endpoint, Subnet: subnet,
		Addrs: []netip.Addr{netip.MustParseAddr("10.1.1.9")}, Service: &fabric.Service{Target: strings.ToUpper(theirs), GroupID: "blob", Ports: []uint16{443}}})
	w.Services[1].Uses = []string{strings.ToLower(mine)}
	if r, err = Exposure(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if got := lines(r, Finding); len(got) != 1 || !strings.Contains(got[0], "storage account mine belongs to private workspace theirs, has no private endpoint itself, and takes connections") || len(r.Items[1].Fixes) != 1 {
		t.Errorf("%q", got)
	}
	if len(lines(r, Note)) != 1 || len(lines(r, Passed)) != 1 {
		t.Errorf("%v", r.Items)
	}
}

func TestRequired(t *testing.T) {
	latest, err := ProfileAsOf(Latest)
	if err != nil {
		t.Fatal(err)
	}
	run := func(w *World, s Subject) *Report {
		t.Helper()
		s.Place, s.Region = place, "westeurope"
		r, err := Required(t.Context(), w, s, latest)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(world(), Subject{}); len(r.Findings()) != 0 {
		t.Errorf("an open subnet: %q", lines(r, Finding))
	}
	// one row after the other taken away, by protocol and port
	for _, q := range latest.Requirements {
		if q.Direction != "Outbound" {
			continue
		}
		tag := strings.Replace(q.Tag, ".region", ".westeurope", 1)
		for _, p := range protocols(q) {
			w := world(rule("Gone", 100, fabric.Outbound, false, p, tag, portText(q.Ports[0])))
			r := run(w, Subject{})
			if f := lines(r, Finding); len(f) != 1 || !strings.Contains(f[0], tag) || !strings.HasPrefix(f[0], q.Component+": ") {
				t.Errorf("without %s %s %d: %q", tag, p, q.Ports[0], f)
			}
			for _, x := range r.Findings() {
				if !strings.Contains(x.Text, "is missing the following rules") || !strings.Contains(x.Text, `"priority": "Higher than 100"`) || !strings.Contains(x.Text, nsg) || len(x.Fixes) == 0 {
					t.Errorf("%s: text %q, fixes %v", x.What, x.Text, x.Fixes)
				}
			}
		}
	}
	// inbound, for nodes with public addresses only
	closed := rule("Gone", 100, fabric.Inbound, false, fabric.TCP, "*", "44224")
	if f := lines(run(world(closed), Subject{PublicIP: true}), Finding); len(f) != 1 || !strings.Contains(f[0], "inbound TCP 44224 from AzureMachineLearning") {
		t.Errorf("%q", f)
	}
	if f := lines(run(world(closed), Subject{}), Finding); len(f) != 0 {
		t.Errorf("%q", f)
	}
	// no way out at all has no text of Azure's
	w := world()
	w.Topology.VNets[0].Subnets[0].DefaultOutbound = false
	for _, x := range run(w, Subject{}).Findings() {
		if x.Text != "" || !strings.Contains(x.Answer.By, fabric.RuleNoOutbound) {
			t.Errorf("%s: %q by %s", x.What, x.Text, x.Answer.By)
		}
	}
	// addresses pasted in place of the tag
	w = world(rule("Pasted", 100, fabric.Outbound, true, fabric.TCP, "20.150.1.0/24", "443"), rule("Rest", 110, fabric.Outbound, false, fabric.TCP, "Storage.westeurope"))
	if f := lines(run(w, Subject{}), Finding); len(f) != 1 || !strings.Contains(f[0], "drift: nsg allows 1 of the 2 prefixes of Storage.westeurope for TCP 443") {
		t.Errorf("%q", f)
	}
}

func portText(p uint16) string { return span{p, p}.String() }

func TestProfiles(t *testing.T) {
	for date, want := range map[string]string{"": Latest, Latest: Latest, "2022-06": "2022-06", "2022-05-31": "2021-11", "2022-06-01": "2022-06", "2022-09": "2022-09", "2030-01-01": Latest, "2021-11": "2021-11"} {
		if p, err := ProfileAsOf(date); err != nil || p.Name != want {
			t.Errorf("%q: %v %v, want %s", date, p, err, want)
		}
	}
	for _, date := range []string{"2021-10", "June", "2022", "2022-6-1"} {
		if _, err := ProfileAsOf(date); err == nil {
			t.Errorf("%q is taken", date)
		}
	}
	older, err := ProfileAsOf("2022-06")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := ProfileAsOf(Latest)
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for _, c := range Diff(older, newer) {
		changes = append(changes, c.Sign+" "+c.What)
	}
	for _, want := range []string{
		"- Inbound TCP 29876 BatchNodeManagement (with public address)", "+ Outbound UDP 5831 AzureMachineLearning", "+ Outbound * 443 BatchNodeManagement.region",
		"- Outbound TCP 443 AzureMonitor", "- Outbound TCP 443 AzureKeyVault.region (hbi_workspace)", "+ Outbound host *.instances.azureml.ms",
	} {
		if !has(changes, want) {
			t.Errorf("%q is not among %q", want, changes)
		}
	}
	if has(changes, "+ Outbound TCP 443 AzureResourceManager") || len(Diff(newer, newer)) != 0 {
		t.Errorf("%q", changes)
	}
	for _, text := range []string{`{`, `{"nmae":"x"}`, `{"requirements":[{"direction":"Up","protocol":"Tcp","ports":[1],"tag":"x"}]}`, `{"requirements":[{"direction":"Inbound","protocol":"Tcp","ports":[],"tag":"x"}]}`} {
		if _, err := readProfiles(fstest.MapFS{"profiles/x.json": {Data: []byte(text)}}); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestReport(t *testing.T) {
	live := &explain.Live{Agrees: false, Why: "it arrived"}
	r := &Report{Audit: "exfil", Subject: "subnet hub/a", Items: []Item{
		{Level: Finding, Kind: "dns", What: "names", From: "hub/a", Answer: &explain.Answer{Live: &explain.Live{Agrees: true, Why: "open"}}},
		{Level: Passed, Kind: "internet", What: "closed", From: "hub/a", Answer: &explain.Answer{By: "rule r", Live: live}},
		{Level: Note, Kind: "arm", What: "a note", Fixes: []explain.Fix{{What: "do", Commands: []string{"az x"}}}},
	}}
	if len(r.Findings()) != 2 { // a packet that says otherwise is one
		t.Errorf("%v", r.Findings())
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `audit exfil of subnet hub/a: 2 findings

✗ dns: names
    confirmed by a packet from hub/a: open

✓ internet: closed
    refused by rule r
    A PACKET FROM hub/a SAYS OTHERWISE: it arrived

· arm: a note
    do
      az x
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	r.Without("DNS")
	if len(r.Items) != 2 {
		t.Errorf("%v", r.Items)
	}
}
