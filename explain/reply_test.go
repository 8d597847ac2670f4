package explain

import (
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/fabric"
	"vauban.dev/reach"
)

// A node with a public address and a default route to a firewall is called from the internet: the call arrives past the
// firewall, the answer goes to it, and nobody there has seen what it answers. Spec 004: "if you use a firewall with the
// VNet, you must create a user-defined route".
func TestAnswerToTheFirewall(t *testing.T) {
	w, f := behindFirewall(t)
	v := &w.Topology.VNets[0]
	v.Subnets[1].NSG = nsg
	w.Topology.NSGs[nsg].Rules = []fabric.Rule{{Name: "AllowNodes", Priority: 100, Allow: true, Protocol: fabric.TCP, Source: []string{"*"}, Destination: []string{"*"}, SourcePorts: []string{"*"}, DestinationPorts: []string{"44224"}}}
	w.Topology.Tags = tagged{"azuremachinelearning": {netip.MustParsePrefix("203.0.113.0/28")}}
	q := Question{From: internet, Title: "internet", Host: "203.0.113.140", Port: 44224}
	a := ask(t, w, q)
	if a.Allowed || !a.Arrives() || a.Refused != ByReply || a.Rule == nil || a.Rule.Name != fabric.RuleInvalid || a.Reply == nil || a.Reply.Allowed || a.Reply.From != "10.1.2.5" {
		t.Fatalf("%+v", a)
	}
	const want = "az network route-table route create --ids rt -n AzureMachineLearning --address-prefix AzureMachineLearning --next-hop-type Internet"
	if !a.Fixed || len(a.Fixes) != 1 || a.Fixes[0].Commands[0] != want {
		t.Errorf("fixes: %+v", a.Fixes)
	}
	last := a.Reply.Steps[len(a.Reply.Steps)-1]
	if last.Allowed || last.Where != f.ID {
		t.Errorf("the firewall takes the answer for invalid: %+v", last)
	}
	var b strings.Builder
	if err := a.Print(&b); err != nil || !strings.Contains(b.String(), "Way of the answer, from 10.1.2.5") || !strings.Contains(b.String(), "the answer does not come back") {
		t.Errorf("%v\n%s", err, &b)
	}
	ref := NameRule(fabric.FabricRule(fabric.RuleInvalid))
	for outcome, agrees := range map[reach.Outcome]bool{reach.Dropped: true, reach.Answered: false} {
		if ok, why := a.compare(&Live{Outcome: outcome, Rose: []reach.Rise{{Rule: ref, Packets: 3}}}); ok != agrees {
			t.Errorf("%s: %v %s", outcome, ok, why)
		}
	}
	// A caller that no tag has.
	w.Topology.Tags = tagged{}
	if a := ask(t, w, q); !a.Fixed || !strings.Contains(a.Fixes[0].Commands[0], "--address-prefix 203.0.113.10/32 --next-hop-type Internet") {
		t.Errorf("fixes: %+v", a.Fixes)
	}
}

// tagged are service tags by name, in lower case.
type tagged map[string][]netip.Prefix

func (m tagged) Prefixes(tag string) ([]netip.Prefix, bool) {
	p, ok := m[strings.ToLower(tag)]
	return p, ok
}

// Two spokes that are peered with each other and with a hub: one calls by the hub's appliance, the other answers straight.
// The answer arrives, and what follows it is invalid to who has seen no answer.
func TestAnswerPastTheAppliance(t *testing.T) {
	w, _ := world(t)
	prefix := netip.MustParsePrefix
	third := group + "/providers/Microsoft.Network/virtualNetworks/third"
	w.Topology.VNets = append(w.Topology.VNets, fabric.VNet{ID: third, Prefixes: []netip.Prefix{prefix("10.3.0.0/16")},
		Subnets: []fabric.Subnet{{ID: third + "/subnets/s", Prefixes: []netip.Prefix{prefix("10.3.1.0/24")}}},
		NICs:    []fabric.NIC{{ID: third + "/nic", Subnet: third + "/subnets/s", Addrs: []netip.Addr{addr("10.3.1.4")}}}})
	h, o, d := &w.Topology.VNets[0], &w.Topology.VNets[1], &w.Topology.VNets[2]
	h.NICs[1].Forwarding = true // 10.1.2.4
	for _, x := range [][2]*fabric.VNet{{h, o}, {h, d}, {o, d}} {
		for i, v := range x {
			u := x[1-i]
			v.Peerings = append(v.Peerings, fabric.Peering{ID: v.ID + "/to/" + u.ID, Remote: u.ID, Prefixes: u.Prefixes, Access: true, Forwarded: true})
		}
	}
	w.Topology.RouteTables = map[string]*fabric.RouteTable{"rt": {ID: "rt", Routes: []fabric.UserRoute{{Name: "all", Prefix: "10.3.0.0/16", Hop: fabric.HopAppliance, Appliance: addr("10.1.2.4")}}}}
	o.Subnets[0].RouteTable = "rt"
	a := ask(t, w, Question{From: nicAt(other + "/nic"), Host: "10.3.1.4", Port: 80})
	if a.Allowed || a.Refused != ByReply || !a.Reply.Allowed || len(a.Reply.After) != 1 || a.Reply.After[0].Where != hub {
		t.Fatalf("%+v", a)
	}
	if !a.Fixed || !strings.Contains(strings.Join(a.Fixes[0].Commands, "\n"), "az network route-table create") ||
		!strings.Contains(a.Fixes[0].Commands[2], "--address-prefix 10.2.1.4/32 --next-hop-type VirtualAppliance --next-hop-ip-address 10.1.2.4") {
		t.Errorf("fixes: %+v", a.Fixes)
	}
	// A datagram needs no second one.
	if a := ask(t, w, Question{From: nicAt(other + "/nic"), Host: "10.3.1.4", Port: 80, Protocol: fabric.UDP}); !a.Allowed {
		t.Errorf("UDP: %+v", a)
	}
}
