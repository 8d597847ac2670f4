package explain

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"vauban.dev/authz"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/firewall"
	"vauban.dev/reach"
)

const (
	group   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	hub     = group + "/providers/Microsoft.Network/virtualNetworks/hub"
	other   = group + "/providers/Microsoft.Network/virtualNetworks/other"
	jump    = hub + "/subnets/jump"
	closed  = hub + "/subnets/closed"
	nsg     = group + "/providers/Microsoft.Network/networkSecurityGroups/nsg-jump"
	account = group + "/providers/Microsoft.Storage/storageAccounts/acct"
	vault   = group + "/providers/Microsoft.KeyVault/vaults/kv"

	acctHost  = "acct.blob.core.windows.net"
	vaultHost = "kv.vault.azure.net"
	stranger  = "198.51.100.80"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// names answers a few public names, and one that a private zone without a record hides from the hub.
func names(vnet, name string) dns.Answer {
	public := map[string]string{acctHost: "20.150.1.1", vaultHost: "20.150.1.2", "www.example.com": stranger}
	a, ok := public[name]
	if name == vaultHost && vnet == hub || !ok {
		return dns.Answer{Rcode: mdns.RcodeNameError, Steps: []dns.Step{{Name: name, Zone: group + "/z", Outcome: dns.NoName}}}
	}
	return dns.Answer{Records: []dns.Record{{Name: name, Type: mdns.TypeA, Data: dns.Data{Addr: addr(a)}}}, Steps: []dns.Step{{Name: name, Outcome: dns.Address}}}
}

type services map[string]*Service

func (s services) find(_ context.Context, host string) (*Service, error) { return s[host], nil }

func world(t *testing.T) (World, services) {
	t.Helper()
	prefix := netip.MustParsePrefix
	deny := fabric.Rule{Name: "DenyInternet", Priority: 200, Direction: fabric.Outbound, Protocol: fabric.AnyProtocol,
		Source: []string{"*"}, Destination: []string{"Internet"}, SourcePorts: []string{"*"}, DestinationPorts: []string{"*"}}
	topology := &fabric.Topology{
		VNets: []fabric.VNet{
			{ID: hub, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")},
				Subnets: []fabric.Subnet{
					{ID: jump, Prefixes: []netip.Prefix{prefix("10.1.1.0/24")}, NSG: nsg, DefaultOutbound: true},
					{ID: closed, Prefixes: []netip.Prefix{prefix("10.1.2.0/24")}},
				},
				NICs: []fabric.NIC{
					{ID: jump + "/exec", Subnet: jump, Addrs: []netip.Addr{addr("10.1.1.4")}},
					{ID: closed + "/exec", Subnet: closed, Addrs: []netip.Addr{addr("10.1.2.4")}},
					{ID: closed + "/server", Subnet: closed, Addrs: []netip.Addr{addr("10.1.2.5")}, Public: []fabric.PublicAddress{{Private: addr("10.1.2.5"), Public: addr("203.0.113.140")}}},
					{ID: hub + "/pe", Kind: fabric.Endpoint, Subnet: closed, Addrs: []netip.Addr{addr("10.1.2.9")},
						Service: &fabric.Service{Target: vault, GroupID: "vault", Ports: []uint16{443}}},
				}},
			{ID: other, Prefixes: []netip.Prefix{prefix("10.2.0.0/16")},
				Subnets: []fabric.Subnet{{ID: other + "/subnets/s", Prefixes: []netip.Prefix{prefix("10.2.1.0/24")}}},
				NICs:    []fabric.NIC{{ID: other + "/nic", Subnet: other + "/subnets/s", Addrs: []netip.Addr{addr("10.2.1.4")}}}},
		},
		NSGs: map[string]*fabric.NSG{nsg: {ID: nsg, Rules: []fabric.Rule{deny}}},
		Internet: fabric.Internet{
			ServicePrefixes: []netip.Prefix{prefix("20.150.1.0/24")},
			Hosts:           []fabric.InternetHost{{Name: "client", Addr: addr("203.0.113.10")}, {Name: "www", Addr: addr(stranger)}},
		},
	}
	s := services{
		acctHost: {Kind: Blob, ID: account, Scope: account, Rules: firewall.Rules{ResourceID: account, GroupIDs: []string{"blob"}},
			Action: "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", Data: true, Role: "Storage Blob Data Reader", RoleID: authz.StorageBlobDataReader},
		vaultHost: {Kind: Vault, ID: vault, Scope: vault, Rules: firewall.Rules{ResourceID: vault, GroupIDs: []string{"vault"}, PublicNetworkAccess: firewall.Disabled}},
	}
	return World{Topology: topology, Resolve: names, Service: s.find, Roles: &authz.Evaluator{Source: &authz.Index{}}}, s
}

func ask(t *testing.T, w World, q Question) Answer {
	t.Helper()
	if q.Protocol == 0 {
		q.Protocol = fabric.TCP
	}
	a, err := w.Explain(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func nicAt(id string) fabric.Place { return fabric.Place{Kind: fabric.AtNIC, ID: id} }

var internet = fabric.Place{Kind: fabric.AtHost, ID: "client"}

func TestLayers(t *testing.T) {
	w, s := world(t)
	me := &authz.Principal{ObjectID: "me", Name: "app"}
	for name, c := range map[string]struct {
		q       Question
		prepare func()
		refused Layer
		by      string
		fixed   bool
		command []string // parts of the commands, in order
	}{
		"a security rule": {Question{From: nicAt(jump + "/exec"), Host: "www.example.com", Port: 443}, nil, ByNetwork, "DenyInternet", true,
			[]string{"az network nsg rule create --subscription 11111111-1111-1111-1111-111111111111 -g rg --nsg-name nsg-jump -n Allow-Tcp-198-51-100-80-443 --priority 199 --direction Outbound --access Allow --protocol Tcp --source-address-prefixes 10.1.1.4 --source-port-ranges '*' --destination-address-prefixes 198.51.100.80 --destination-port-ranges 443"}},
		"a user route": {Question{From: nicAt(closed + "/exec"), Host: "www.example.com", Port: 443},
			func() {
				s := &w.Topology.VNets[0].Subnets[1]
				s.DefaultOutbound, s.RouteTable = true, hub+"/rt"
				w.Topology.RouteTables = map[string]*fabric.RouteTable{s.RouteTable: {ID: s.RouteTable, Routes: []fabric.UserRoute{{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopNone}}}}
			}, ByNetwork, "all", true, []string{"az network route-table route create"}},
		"a user route to nobody, of a network that is not peered": {Question{From: nicAt(closed + "/exec"), Host: "10.2.1.9", Port: 443},
			func() {
				s := &w.Topology.VNets[0].Subnets[1]
				s.RouteTable = hub + "/rt"
				w.Topology.RouteTables = map[string]*fabric.RouteTable{s.RouteTable: {ID: s.RouteTable, Routes: []fabric.UserRoute{{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopAppliance, Appliance: addr("10.1.9.4")}}}}
			}, ByNetwork, "all", false, []string{"az network route-table route delete"}},
		"no way out": {Question{From: nicAt(closed + "/exec"), Host: "www.example.com", Port: 443}, nil, ByNetwork, "fabric/no-outbound", true,
			[]string{"public-ip create", "nat gateway create", "--nat-gateway nat-closed"}},
		"no name": {Question{From: nicAt(jump + "/exec"), Host: "nobody.invalid", Port: 443}, nil, ByName, "has no address", false, nil},
		"a zone without the record": {Question{From: nicAt(jump + "/exec"), Host: vaultHost, Port: 443}, nil, ByName, "has no address", true,
			[]string{"dns-zone-group create"}},
		"the service's firewall, from a VNet": {Question{From: nicAt(jump + "/exec"), Host: acctHost, Port: 443},
			func() {
				s[acctHost].Rules.PublicNetworkAccess = firewall.Disabled
				w.Topology.NSGs[nsg].Rules = nil
			}, ByService, "publicNetworkAccess is Disabled", true,
			[]string{"private-endpoint create", "private-dns zone create", "link vnet create", "dns-zone-group create"}},
		"a service endpoint policy": {Question{From: nicAt(jump + "/exec"), Host: acctHost, Port: 443},
			func() {
				w.Topology.NSGs[nsg].Rules = nil
				w.Topology.VNets[0].Subnets[0].ServiceEndpoints = []fabric.ServiceEndpoint{{Service: "Microsoft.Storage", Prefixes: []netip.Prefix{netip.MustParsePrefix("20.150.1.0/24")}}}
				s[acctHost].Rules.Policies = func(string) ([]firewall.EndpointPolicy, error) {
					return []firewall.EndpointPolicy{{ID: group + "/providers/Microsoft.Network/serviceEndpointPolicies/sep", Resources: []string{"/subscriptions/other"}}}, nil
				}
			}, ByService, "no definition of the service endpoint policies", true,
			[]string{"az network service-endpoint policy-definition create --subscription 11111111-1111-1111-1111-111111111111 -g rg --policy-name sep -n allow --service Microsoft.Storage --service-resources " + account}},
		"the service's firewall, from the internet": {Question{From: internet, Host: acctHost, Port: 443},
			func() { s[acctHost].Rules.DefaultAction = firewall.Deny }, ByService, "none of the 0 IP rules", true,
			[]string{"storage account update", "network-rule add --subscription 11111111-1111-1111-1111-111111111111 -g rg --account-name acct --ip-address 203.0.113.10"}},
		"a role": {Question{From: internet, Host: acctHost, Port: 443, As: me}, nil, ByRole, "no role assignment", true,
			[]string{`--role "Storage Blob Data Reader"`}},
		"an access policy": {Question{From: internet, Host: acctHost, Port: 443, As: me},
			func() {
				s[acctHost].Policies = func(authz.Principal) authz.Decision { return authz.Decision{By: "no policy"} }
			}, ByRole, "no policy", true, []string{"az keyvault set-policy"}},
		"two rules, a firewall and a role": {Question{From: nicAt(jump + "/exec"), Host: acctHost, Port: 443, As: me},
			func() { s[acctHost].Rules.DefaultAction = firewall.Deny }, ByNetwork, "DenyInternet", true,
			[]string{"nsg rule create", "private-endpoint create", "private-dns zone", "link", "zone-group", "role assignment create"}},
		"a closed public address": {Question{From: internet, Host: "203.0.113.140", Port: 22}, nil, ByNetwork, "fabric/no-inbound", true,
			[]string{"nsg create", "nsg rule create", "--network-security-group nsg-closed"}},
		"an echo by a shared address":    {Question{From: nicAt(closed + "/exec"), Host: stranger, Protocol: fabric.ICMP}, nil, ByNetwork, "fabric/no-outbound", false, nil},
		"a private address from outside": {Question{From: internet, Host: "10.1.2.5", Port: 22}, nil, ByNetwork, "fabric/no-route", false, nil},
		"nobody's address":               {Question{From: nicAt(closed + "/exec"), Host: "10.1.2.77", Port: 22}, nil, ByNetwork, "fabric/no-route", false, nil},
		"an endpoint's other port":       {Question{From: nicAt(closed + "/exec"), Host: "10.1.2.9", Port: 80}, nil, ByNetwork, "fabric/endpoint-port", false, nil},
		"the platform's other port":      {Question{From: nicAt(closed + "/exec"), Host: "168.63.129.16", Port: 25}, nil, ByNetwork, "fabric/platform", false, nil},
		"nowhere":                        {Question{From: nicAt("nobody"), Host: "10.1.2.9", Port: 443}, nil, ByNetwork, "no such NIC", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w, s = world(t)
			if c.prepare != nil {
				c.prepare()
			}
			a := ask(t, w, c.q)
			if a.Allowed || a.Refused != c.refused || !strings.Contains(a.By, c.by) {
				t.Fatalf("refused by %q: %s", a.Refused, a.By)
			}
			if a.Fixed != c.fixed || len(a.Fixes) == 0 {
				t.Errorf("fixed %v, fixes %+v", a.Fixed, a.Fixes)
			}
			var commands []string
			said := map[string]bool{}
			for _, f := range a.Fixes {
				if said[f.What] {
					t.Errorf("twice: %s", f.What)
				}
				said[f.What] = true
				commands = append(commands, f.Commands...)
			}
			for i, part := range c.command {
				if len(commands) != len(c.command) || !strings.Contains(commands[i], part) {
					t.Fatalf("commands %q, want %q", commands, c.command)
				}
			}
			if (a.Rule != nil) != (c.refused == ByNetwork && name != "nowhere") {
				t.Errorf("rule %v", a.Rule)
			}
		})
	}
}

// A fix names the narrowest rule that helps; the platform's addresses are reached by their tag alone.
func TestFixOfPlatformRule(t *testing.T) {
	w, _ := world(t)
	w.Topology.NSGs[nsg].Rules = []fabric.Rule{{Name: "NoDNS", Priority: 101, Direction: fabric.Outbound, Protocol: fabric.AnyProtocol,
		Source: []string{"*"}, Destination: []string{"AzurePlatformDNS"}, SourcePorts: []string{"*"}, DestinationPorts: []string{"*"}}}
	q := Question{From: nicAt(jump + "/exec"), Host: "168.63.129.16", Port: 53, Protocol: fabric.UDP}
	if a := ask(t, w, q); !a.Fixed || len(a.Fixes) != 1 || !strings.Contains(a.Fixes[0].Commands[0], "--priority 100 ") || !strings.Contains(a.Fixes[0].Commands[0], "--destination-address-prefixes AzurePlatformDNS") {
		t.Errorf("%+v", a.Fixes)
	}
	w.Topology.NSGs[nsg].Rules[0].Priority = 100
	if a := ask(t, w, q); a.Fixed || !strings.Contains(a.Fixes[0].What, "no priority is left") {
		t.Errorf("%+v", a.Fixes)
	}
	w.Hidden = func(id string) bool { return id == nsg }
	if a := ask(t, w, q); a.Fixed || !strings.Contains(a.Fixes[0].What, "belongs to the service") {
		t.Errorf("%+v", a.Fixes)
	}
}

// Asking changes nothing: the fixes are tried on copies.
func TestFixesLeaveTheModelAlone(t *testing.T) {
	w, s := world(t)
	s[acctHost].Rules.DefaultAction = firewall.Deny
	before := fabric.Explain(w.Topology, fabric.Flow{From: nicAt(jump + "/exec"), Dst: addr(stranger), Protocol: fabric.TCP, DstPort: 443})
	rules, nics := len(w.Topology.NSGs[nsg].Rules), len(w.Topology.VNets[0].NICs)
	ask(t, w, Question{From: nicAt(jump + "/exec"), Host: acctHost, Port: 443, As: &authz.Principal{ObjectID: "me"}})
	ask(t, w, Question{From: nicAt(closed + "/exec"), Host: "10.2.1.4", Port: 443})
	ask(t, w, Question{From: internet, Host: "203.0.113.140", Port: 22})
	after := fabric.Explain(w.Topology, fabric.Flow{From: nicAt(jump + "/exec"), Dst: addr(stranger), Protocol: fabric.TCP, DstPort: 443})
	if diff := cmp.Diff(before.String(), after.String()); diff != "" || len(w.Topology.NSGs[nsg].Rules) != rules || len(w.Topology.VNets[0].NICs) != nics || len(w.Topology.VNets[0].Peerings) != 0 || len(s[acctHost].Rules.IPRules) != 0 {
		t.Errorf("the model changed: %s %+v", diff, w.Topology)
	}
}

func TestAllowed(t *testing.T) {
	w, _ := world(t)
	index := &authz.Index{}
	index.Put(authz.Assignment{ID: "a", PrincipalID: "me", Definition: authz.StorageBlobDataReader, Scope: account})
	w.Roles = &authz.Evaluator{Source: index}
	a := ask(t, w, Question{From: internet, Title: "internet", Host: acctHost, Port: 443, As: &authz.Principal{ObjectID: "me"}})
	if !a.Allowed || a.Refused != "" || a.Fixes != nil || a.Permission == nil || !a.Permission.Allowed || a.Resource != account || a.Source != "203.0.113.10" {
		t.Fatalf("%+v", a)
	}
	var b strings.Builder
	if err := a.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `ALLOWED  TCP from internet to acct.blob.core.windows.net:443

Names
  acct.blob.core.windows.net: the public names: address
  so it goes to 20.150.1.1

Way
  ✓ 1. client: 203.0.113.10 is its own address
  ✓ 2. the internet: the service answers

Answers
  service at 20.150.1.1

Firewall of the service
  ✓ public network access is enabled from all networks (defaultAction Allow)

Role
  ✓ me: Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read on acct: role 'Storage Blob Data Reader' assigned at acct
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// A record may lead the name of a service to another machine: the service's firewall has no say there.
func TestNameOfAnother(t *testing.T) {
	w, s := world(t)
	s["www.example.com"] = s[vaultHost]
	a := ask(t, w, Question{From: internet, Host: "www.example.com", Port: 443})
	if !a.Allowed || a.Service != "" {
		t.Errorf("allowed %v, by the firewall of a service that is not there: %q %q", a.Allowed, a.Service, a.By)
	}
}

// An identity that a rule of the account names is let in from where nobody else is.
func TestResourceInstance(t *testing.T) {
	const workspace = group + "/providers/Microsoft.MachineLearningServices/workspaces/w"
	w, services := world(t)
	index := &authz.Index{}
	index.Put(authz.Assignment{ID: "a", PrincipalID: "it", Definition: authz.StorageBlobDataReader, Scope: account})
	w.Roles = &authz.Evaluator{Source: index}
	services[acctHost].Rules.DefaultAction = firewall.Deny
	services[acctHost].Rules.ResourceInstances = []firewall.ResourceInstance{{TenantID: "t", ResourceID: workspace}}
	for resource, want := range map[string]bool{workspace: true, workspace + "2": false, "": false} {
		q := Question{From: internet, Title: "internet", Host: acctHost, Port: 443, As: &authz.Principal{TenantID: "t", ObjectID: "it", Resource: resource}}
		if a := ask(t, w, q); a.Allowed != want || want && !strings.Contains(a.Service, "resource instance rule "+workspace) || !want && a.Refused != ByService {
			t.Errorf("as the identity of %q: %v, %s %s", resource, a.Allowed, a.Refused, a.Service)
		}
	}
}

func TestPrintRefusal(t *testing.T) {
	w, _ := world(t)
	a := ask(t, w, Question{From: nicAt(jump + "/exec"), Title: "subnet hub/jump", Host: stranger, Port: 53, Protocol: fabric.UDP})
	a.Compare(reach.Result{Connect: reach.ConnectTimeout, Sent: 1}, []reach.Rise{{Rule: *a.Rule, Packets: 1}})
	var b strings.Builder
	if err := a.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"REFUSED  UDP from subnet hub/jump to 198.51.100.80:53, by rule nsg-jump/DenyInternet\n",
		"✗ 2. hub/jump: outbound security rules: nsg-jump/DenyInternet\n", "counter c_",
		"To make it pass (the model allows it after these changes)\n  1. allow it in nsg-jump before rule DenyInternet (priority 200) refuses it\n     az network nsg rule create",
		"✓ the model and the kernel agree: dropped, and the counter of nsg-jump/DenyInternet rose by 1 packets\n",
	} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in\n%s", part, b.String())
		}
	}
}

func TestCompare(t *testing.T) {
	rule := reach.Rule{Owner: nsg, Direction: "Outbound", Name: "r"}
	dropped := Answer{Refused: ByNetwork, Rule: &rule, Protocol: "Tcp"}
	timeout := reach.Result{Connect: reach.ConnectTimeout, Sent: 1}
	forbidden := func(message string) reach.Result {
		return reach.Result{Connect: reach.Connected, Status: 403, Code: "AuthorizationFailure", Message: message}
	}
	admitted := Answer{Allowed: true, Service: "all"}
	linked := dropped
	linked.Linked = true
	for name, c := range map[string]struct {
		a    Answer
		r    reach.Result
		rose []reach.Rise
		want bool
	}{
		"dropped by the rule":           {dropped, timeout, []reach.Rise{{Rule: rule, Packets: 1}}, true},
		"dropped by another":            {dropped, timeout, []reach.Rise{{Rule: reach.Rule{Owner: "fabric", Name: "x"}, Packets: 1}}, false},
		"dropped by nobody":             {dropped, timeout, nil, false},
		"arrived all the same":          {dropped, reach.Result{Connect: reach.Connected}, []reach.Rise{{Rule: rule, Packets: 1}}, false},
		"taken, and dropped behind":     {linked, reach.Result{Connect: reach.Connected}, []reach.Rise{{Rule: rule, Packets: 1}}, true},
		"taken, and dropped by nobody":  {linked, reach.Result{Connect: reach.Connected}, nil, false},
		"taken, and answered":           {linked, reach.Result{Connect: reach.Connected, Status: 200}, []reach.Rise{{Rule: rule, Packets: 1}}, false},
		"no name":                       {Answer{Refused: ByName}, reach.Result{Connect: reach.ConnectNoName}, nil, true},
		"a name all the same":           {Answer{Refused: ByName}, reach.Result{Connect: reach.Connected}, nil, false},
		"arrived":                       {Answer{Allowed: true}, reach.Result{Connect: reach.Connected}, nil, true},
		"a closed port is arrival":      {Answer{Allowed: true}, reach.Result{Connect: reach.ConnectRefused}, nil, true},
		"lost":                          {Answer{Allowed: true, Protocol: "Tcp"}, timeout, nil, false},
		"a datagram nobody answers":     {Answer{Allowed: true, Protocol: "Udp"}, timeout, nil, true},
		"a datagram that is refused":    {Answer{Allowed: true, Protocol: "Udp"}, timeout, []reach.Rise{{Rule: rule, Packets: 1}}, false},
		"refused by the service":        {Answer{Service: "closed", Refused: ByService}, forbidden("because closed"), nil, true},
		"refused for another reason":    {Answer{Service: "closed", Refused: ByService}, forbidden("because"), nil, false},
		"admitted, and refused":         {admitted, forbidden("because"), nil, false},
		"admitted, and role is missing": {admitted, reach.Result{Connect: reach.Connected, Status: 403, Code: "AuthorizationPermissionMismatch"}, nil, true},
		"nothing measured":              {Answer{Allowed: true}, reach.Result{Connect: reach.ConnectFailed, Error: "x"}, nil, false},
		"cannot be followed":            {Answer{Refused: ByNetwork}, timeout, nil, true},
	} {
		c.a.Compare(c.r, c.rose)
		if c.a.Live.Agrees != c.want {
			t.Errorf("%s: %+v", name, c.a.Live)
		}
	}
}

func TestPeering(t *testing.T) {
	w, _ := world(t)
	a := ask(t, w, Question{From: nicAt(closed + "/exec"), Host: "10.2.1.4", Port: 22})
	if a.Allowed || a.Refused != ByNetwork || !a.Fixed || len(a.Fixes) != 1 || len(a.Fixes[0].Commands) != 2 || !strings.Contains(a.Fixes[0].What, "peer both ways") {
		t.Errorf("%+v", a)
	}
}

func TestFreeAddress(t *testing.T) {
	v := &fabric.VNet{Subnets: []fabric.Subnet{{ID: "s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29")}}}}
	for _, want := range []string{"10.0.0.4", "10.0.0.5", "10.0.0.6"} {
		a, ok := FreeAddress(v, "s")
		if !ok || a != addr(want) {
			t.Fatalf("%v %v, want %s", a, ok, want)
		}
		v.NICs = append(v.NICs, fabric.NIC{Addrs: []netip.Addr{a}})
	}
	if a, ok := FreeAddress(v, "s"); ok { // the last is the broadcast address
		t.Errorf("%v", a)
	}
}

func TestParseProtocol(t *testing.T) {
	for text, want := range map[string]fabric.Protocol{"tcp": fabric.TCP, "UDP": fabric.UDP, "Icmp": fabric.ICMP} {
		if p, err := ParseProtocol(text); p != want || err != nil {
			t.Errorf("%s: %v %v", text, p, err)
		}
	}
	for _, text := range []string{"", "*", "sctp"} {
		if _, err := ParseProtocol(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
