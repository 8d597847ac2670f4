package linux

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

const (
	fwNIC    = "firewall-1"
	workNIC  = "work-1"
	spokeNIC = "spoke-1"
)

// firewalled is a VNet whose work subnet sends everything through a firewall with these collections.
func firewalled(collections ...azurefirewall.Collection) *fabric.Topology {
	public := azurefirewall.PublicAddress{Private: addr("10.0.9.4"), Public: addr("20.50.0.9")}
	return &fabric.Topology{
		Tags: testTags(),
		RouteTables: map[string]*fabric.RouteTable{
			"out": {ID: "out", Routes: []fabric.UserRoute{
				{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopAppliance, Appliance: addr("10.0.9.4")},
				{Name: "spoke", Prefix: "10.0.2.0/24", Hop: fabric.HopAppliance, Appliance: addr("10.0.9.4")},
			}},
			"back": {ID: "back", Routes: []fabric.UserRoute{{Name: "work", Prefix: "10.0.1.0/24", Hop: fabric.HopAppliance, Appliance: addr("10.0.9.4")}}},
		},
		Internet: fabric.Internet{
			ServicePrefixes: []netip.Prefix{pfx("20.60.0.0/16")},
			Hosts:           []fabric.InternetHost{{Name: attacker, Addr: addr("198.51.100.7")}},
		},
		VNets: []fabric.VNet{{
			ID: vnet1, Prefixes: []netip.Prefix{pfx("10.0.0.0/16")},
			Subnets: []fabric.Subnet{
				{ID: "work", Prefixes: []netip.Prefix{pfx("10.0.1.0/24")}, RouteTable: "out"},
				{ID: "spoke", Prefixes: []netip.Prefix{pfx("10.0.2.0/24")}, RouteTable: "back"},
				{ID: "AzureFirewallSubnet", Prefixes: []netip.Prefix{pfx("10.0.9.0/26")}},
			},
			NICs: []fabric.NIC{
				{ID: workNIC, Subnet: "work", Addrs: []netip.Addr{addr("10.0.1.4")}},
				{ID: spokeNIC, Subnet: "spoke", Addrs: []netip.Addr{addr("10.0.2.4")}},
				{ID: fwNIC, Subnet: "AzureFirewallSubnet", Addrs: []netip.Addr{addr("10.0.9.4")}, Forwarding: true,
					Public: []fabric.PublicAddress{{Private: public.Private, Public: public.Public}},
					Firewall: &azurefirewall.Firewall{ID: fwNIC, Addrs: []netip.Addr{public.Private}, Publics: []azurefirewall.PublicAddress{public}, DNSProxy: true,
						PrivateRanges: azurefirewall.DefaultPrivateRanges(), Groups: []azurefirewall.Group{{Name: "g", Collections: collections}}}},
			},
		}},
	}
}

func netRules(name string, priority int, deny bool, rules ...azurefirewall.NetworkRule) azurefirewall.Collection {
	return azurefirewall.Collection{Name: name, Priority: priority, Deny: deny, Network: rules}
}

func tcp(name, to, port string) azurefirewall.NetworkRule {
	return azurefirewall.NetworkRule{Name: name, Protocols: []azurefirewall.Protocol{azurefirewall.TCP}, Sources: []string{"*"}, Destinations: []string{to}, Ports: []string{port}}
}

func firewallRule(path ...string) fabric.RuleRef {
	r := azurefirewall.Ref{}
	if len(path) == 2 {
		r = azurefirewall.Ref{Kind: azurefirewall.NetworkKind, Group: "g", Collection: path[0], Rule: path[1]}
	}
	return fabric.FirewallRule(fwNIC, r)
}

// Every kind of rule loads and reads back as it was written; what is learned stays while rules change.
func TestFirewallRulesets(t *testing.T) {
	d := newTestDriver(t, Config{})
	names := []string{"westeurope.tundra.azureml.ms"}
	all := []azurefirewall.Collection{
		netRules("deny", 100, true, tcp("range", "20.60.9.1-20.60.9.9", "*")),
		netRules("net", 110, false, tcp("tag", "Storage", "445"),
			azurefirewall.NetworkRule{Name: "names", Protocols: []azurefirewall.Protocol{azurefirewall.UDP}, Sources: []string{"10.0.1.0/24"}, FQDNs: names, Ports: []string{"5831"}},
			azurefirewall.NetworkRule{Name: "all", Protocols: []azurefirewall.Protocol{azurefirewall.Any, azurefirewall.ICMP}, Sources: []string{"10.0.7.0/24", "10.0.8.1-10.0.8.9"}, Destinations: []string{"*"}, Ports: []string{"*"}},
			azurefirewall.NetworkRule{Name: "ports", Protocols: []azurefirewall.Protocol{azurefirewall.Any}, Sources: []string{"*"}, Destinations: []string{"10.0.2.0/24"}, Ports: []string{"1-5", "9"}}),
		{Name: "nat", Priority: 120, NAT: []azurefirewall.NATRule{{Name: "ssh", Protocols: []azurefirewall.Protocol{azurefirewall.TCP, azurefirewall.UDP}, Sources: []string{"*"}, Destinations: []string{"20.50.0.9"}, Ports: []string{"2222"}, Address: addr("10.0.2.4"), Port: 22}}},
		{Name: "app", Priority: 130, Application: []azurefirewall.ApplicationRule{
			{Name: "a", Protocols: []azurefirewall.ApplicationProtocol{{Type: azurefirewall.HTTPS, Port: 443}}, Sources: []string{"10.0.1.0/24"}, FQDNs: []string{"*"}},
			{Name: "b", Protocols: []azurefirewall.ApplicationProtocol{{Type: azurefirewall.HTTP, Port: 80}, {Type: azurefirewall.HTTPS, Port: 443}}, Sources: []string{"*"}, FQDNs: []string{"a.b"}}}},
	}
	topo := firewalled(all...)
	more := &topo.VNets[0].NICs[2]
	more.Addrs = append(more.Addrs, addr("10.0.9.5"))
	more.Public = append(more.Public, fabric.PublicAddress{Private: addr("10.0.9.5"), Public: addr("20.50.0.10")})
	apply(t, d, compile(t, topo))
	if err := d.Learn(nic(fwNIC), fabric.LearnedSet(names), []netip.Addr{addr("20.60.5.5")}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := d.Learn(nic(fwNIC), fabric.LearnedSet(names), []netip.Addr{addr("20.60.5.5"), addr("20.60.5.6")}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := d.Learn(nic(fwNIC), fabric.LearnedSet([]string{"nobody"}), []netip.Addr{addr("20.60.5.5")}, time.Minute); err != nil {
		t.Errorf("a set that is not there: %v", err)
	}
	all[0].Deny = false
	apply(t, d, compile(t, topo))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	set, err := d.runNFT(t.Context(), d.space(fabric.NICNS(fwNIC)), "", "list", "set", "inet", fabric.TableName, fabric.LearnedSet(names))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"20.60.5.5", "20.60.5.6"} {
		if !strings.Contains(set, a) {
			t.Errorf("%s is not learned: %s", a, set)
		}
	}
}

// Flows pass or are refused by network rules, leave by the public address, and are judged again when rules change.
func TestFirewallForwards(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := firewalled(netRules("net", 100, false, tcp("web", "20.60.1.1", "443"), tcp("east", "10.0.2.0/24", "1433")),
		azurefirewall.Collection{Name: "nat", Priority: 120, NAT: []azurefirewall.NATRule{{Name: "ssh", Protocols: []azurefirewall.Protocol{azurefirewall.TCP}, Sources: []string{"198.51.100.0/24"}, Destinations: []string{"20.50.0.9"}, Ports: []string{"2222"}, Address: addr("10.0.2.4"), Port: 22}}})
	apply(t, d, compile(t, topo))
	passed := d.Passed(t.Context())
	services := fabric.Place{Kind: fabric.AtInternet}
	seen, l := sources(t, listen(t, d, services, "20.60.1.1:443"))
	echo(t, l)
	eastSeen, l := sources(t, listen(t, d, nic(spokeNIC), "10.0.2.4:1433"))
	echo(t, l)
	inSeen, l := sources(t, listen(t, d, nic(spokeNIC), "10.0.2.4:22"))
	echo(t, l)

	c, err := patient(t, d, nic(workNIC), "20.60.1.1:443")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := say(c, "out"); err != nil {
		t.Fatal(err)
	}
	if a := <-seen; a != addr("20.50.0.9") {
		t.Errorf("the service sees %s", a)
	}
	if p := <-passed; p.Prefix != firewallRule("net", "web").Counter() || p.Src.Addr() != addr("10.0.1.4") || p.Dst != netip.MustParseAddrPort("20.60.1.1:443") {
		t.Errorf("logged: %+v", p)
	}
	before := counted(t, d, firewallRule())
	if c, err := quick(t, d, nic(workNIC), "20.60.1.1:80"); err == nil {
		c.Close()
		t.Error("a port without a rule is reached")
	}
	if after := counted(t, d, firewallRule()); after <= before {
		t.Errorf("the default action counted %d, then %d", before, after)
	}
	east, err := patient(t, d, nic(workNIC), "10.0.2.4:1433")
	if err != nil {
		t.Fatal(err)
	}
	defer east.Close()
	if err := say(east, "east"); err != nil {
		t.Fatal(err)
	}
	if a := <-eastSeen; a != addr("10.0.1.4") {
		t.Errorf("a private destination sees %s", a)
	}
	in, err := patient(t, d, fabric.Place{Kind: fabric.AtHost, ID: attacker}, "20.50.0.9:2222")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := say(in, "in"); err != nil {
		t.Fatal(err)
	}
	if a := <-inSeen; a != addr("10.0.9.4") {
		t.Errorf("behind the NAT rule %s is seen", a)
	}
	if c, err := quick(t, d, fabric.Place{Kind: fabric.AtHost, ID: attacker}, "20.50.0.9:53"); err == nil {
		c.Close()
		t.Error("the DNS proxy is reached from the internet")
	}

	topo.VNets[0].NICs[2].Firewall.Groups[0].Collections = []azurefirewall.Collection{netRules("net", 100, false, tcp("east", "10.0.2.0/24", "1433"))}
	apply(t, d, compile(t, topo))
	if err := say(east, "still"); err != nil {
		t.Errorf("a flow whose rule stays: %v", err)
	}
	for name, c := range map[string]net.Conn{"outward": c, "inward": in} {
		c.SetDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := c.Write([]byte("gone\n")); err != nil {
			continue
		}
		if _, err := c.Read(make([]byte, 8)); err == nil || errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the %s flow whose rule went goes on: %v", name, err)
		}
	}
}
