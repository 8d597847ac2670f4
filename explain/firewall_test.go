package explain

import (
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
	"vauban.dev/reach"
)

// behindFirewall is the world with a firewall that the closed subnet reaches everything through; it lets the account's host
// pass and has its own idea of another name.
func behindFirewall(t *testing.T) (World, *azurefirewall.Firewall) {
	t.Helper()
	w, _ := world(t)
	policy := group + "/providers/Microsoft.Network/firewallPolicies/policy"
	f := &azurefirewall.Firewall{
		ID: group + "/providers/Microsoft.Network/azureFirewalls/fw", Addrs: []netip.Addr{addr("10.1.9.4")}, DNSProxy: true,
		Publics: []azurefirewall.PublicAddress{{Private: addr("10.1.9.4"), Public: addr("20.61.0.9")}}, PrivateRanges: azurefirewall.DefaultPrivateRanges(),
		Groups: []azurefirewall.Group{{Policy: policy, Name: "rules", Priority: 200, Collections: []azurefirewall.Collection{{Name: "apps", Priority: 200, Application: []azurefirewall.ApplicationRule{
			{Name: "acct", Sources: []string{"*"}, Protocols: []azurefirewall.ApplicationProtocol{{Type: azurefirewall.HTTPS, Port: 443}}, FQDNs: []string{acctHost}}}}}}},
	}
	v := &w.Topology.VNets[0]
	v.Subnets = append(v.Subnets, fabric.Subnet{ID: hub + "/subnets/AzureFirewallSubnet", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.9.0/26")}})
	v.NICs = append(v.NICs, fabric.NIC{ID: f.ID, Subnet: hub + "/subnets/AzureFirewallSubnet", Addrs: f.Addrs, Forwarding: true, Firewall: f,
		Public: []fabric.PublicAddress{{Private: addr("10.1.9.4"), Public: addr("20.61.0.9")}}})
	w.Topology.RouteTables = map[string]*fabric.RouteTable{"rt": {ID: "rt", Routes: []fabric.UserRoute{{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopAppliance, Appliance: addr("10.1.9.4")}}}}
	v.Subnets[1].RouteTable = "rt"
	w.Topology.Names = func(nic, name string) []netip.Addr { return w.FirewallNames(w.Topology, nic, name) }
	return w, f
}

func TestThroughFirewall(t *testing.T) {
	w, f := behindFirewall(t)
	from := nicAt(closed + "/exec")
	if a := ask(t, w, Question{From: from, Host: acctHost, Port: 443}); !a.Allowed || a.Source != "20.61.0.9" {
		t.Errorf("the allowed name: %+v", a)
	}
	a := ask(t, w, Question{From: from, Host: "www.example.com", Port: 443})
	if a.Allowed || a.Refused != ByNetwork || a.Rule == nil || a.Rule.Owner != f.ID || a.Rule.Name != azurefirewall.DefaultAction || a.Counter != "" || !a.Fixed {
		t.Fatalf("another name: %+v", a)
	}
	want := "az network firewall policy rule-collection-group collection add-filter-collection --subscription 11111111-1111-1111-1111-111111111111 -g rg --policy-name policy --rcg-name rules -n allow-201 --collection-priority 201 --action Allow --rule-name Allow-www-example-com --rule-type ApplicationRule --protocols Https=443 --source-addresses"
	if len(a.Fixes) != 1 || !strings.HasPrefix(a.Fixes[0].Commands[0], want) {
		t.Errorf("fixes: %+v", a.Fixes)
	}
	for result, agrees := range map[reach.Outcome]bool{reach.Broken: true, reach.Reset: true, reach.Answered: false} {
		if ok, why := a.compare(&Live{Outcome: result}); ok != agrees {
			t.Errorf("%s: %v %s", result, ok, why)
		}
	}
	a = ask(t, w, Question{From: from, Host: "www.example.com", Port: 5831, Protocol: fabric.UDP})
	if a.Allowed || a.Counter == "" || !a.Fixed || !strings.Contains(a.Fixes[0].Commands[0], "--rule-type NetworkRule --ip-protocols UDP") {
		t.Errorf("no application rule for UDP: %+v", a)
	}
	if len(f.Groups[0].Collections) != 1 {
		t.Error("a fix changed the model")
	}
}

// The DNS proxy of a firewall is as good as what it asks itself.
func TestFirewallNames(t *testing.T) {
	w, f := behindFirewall(t)
	w.Servers = func(string, string) []netip.Addr { return []netip.Addr{addr("10.1.9.4")} }
	l := w.Lookup(w.Topology, nicAt(closed+"/exec"), acctHost)
	if l.Addr != addr("20.150.1.1") || l.Unknown {
		t.Errorf("by the proxy: %+v", l)
	}
	f.DNSServers = []netip.Addr{addr("10.1.9.4")} // itself
	if l := w.Lookup(w.Topology, nicAt(closed+"/exec"), acctHost); l.Addr.IsValid() {
		t.Errorf("round in a circle: %+v", l)
	}
}
