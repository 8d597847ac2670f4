package network_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

const vnet = net0 + "virtualNetworks/vnet"

func ref(id string) string { return fmt.Sprintf(`{"id":%q}`, id) }

func vnetBody(prefix string, subnets ...string) string {
	return fmt.Sprintf(`{"location":"West Europe","properties":{"addressSpace":{"addressPrefixes":[%q]},"subnets":[%s]}}`, prefix, strings.Join(subnets, ","))
}

func subnetBody(name, prefix, more string) string {
	return fmt.Sprintf(`{"name":%q,"properties":{"addressPrefix":%q%s}}`, name, prefix, more)
}

func TestVNetLifecycle(t *testing.T) {
	r := newRig(t)
	r.put(net0+"networkSecurityGroups/nsg", `{"location":"westeurope"}`)
	v := r.put(vnet, vnetBody("10.20.0.0/16",
		subnetBody("endpoints", "10.20.1.0/24", ""), subnetBody("training", "10.20.2.0/24", `,"networkSecurityGroup":`+ref(net0+"networkSecurityGroups/NSG"))))
	r.want(v, "type", "Microsoft.Network/virtualNetworks")
	r.want(v, "properties.subnets.0.name", "endpoints")
	v = r.get(vnet)
	r.want(v, "properties.provisioningState", "Succeeded")
	r.want(v, "properties.subnets.1.properties.privateEndpointNetworkPolicies", "Disabled")
	r.want(v, "properties.subnets.1.properties.provisioningState", "Succeeded")
	r.want(v, "properties.subnets.1.etag", at(v, "properties.subnets.1.etag"))
	if at(v, "properties.resourceGuid") == nil || !strings.HasPrefix(fmt.Sprint(at(v, "etag")), "W/\"") {
		t.Errorf("no guid or etag: %v", v)
	}
	if r.syncs.Load() == 0 {
		t.Error("nothing was applied")
	}
	r.want(r.get(net0+"networkSecurityGroups/nsg"), "properties.subnets.0.id", vnet+"/subnets/training")

	// a subnet goes, another takes its prefix, in one PUT
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("endpoints", "10.20.1.0/24", ""), subnetBody("other", "10.20.2.0/24", "")))
	if got := r.get(vnet); at(got, "properties.subnets.1.name") != "other" || at(got, "properties.subnets.2") != nil {
		t.Errorf("subnets: %v", at(got, "properties.subnets"))
	}
	// two exchange their prefixes
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("endpoints", "10.20.2.0/24", ""), subnetBody("other", "10.20.1.0/24", "")))
	// a PUT without subnets leaves them
	r.put(vnet, `{"location":"westeurope","tags":{"a":"b"},"properties":{"addressSpace":{"addressPrefixes":["10.20.0.0/16"]}}}`)
	r.want(r.get(vnet), "properties.subnets.1.name", "other")
	r.refused(http.MethodPut, vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.21.0.0/16"]}}}`, "NetcfgSubnetRangeOutsideVnet")
	r.delete(vnet + "/subnets/other")
	r.delete(vnet)
	r.refused(http.MethodGet, vnet, "", "ResourceNotFound")
}

func TestVNetRefusals(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
	for _, c := range []struct{ path, body, code string }{
		{vnet, vnetBody("10.0.0.0"), "InvalidAddressPrefixFormat"},
		{vnet, vnetBody("10.0.0.0/160"), "InvalidAddressPrefixFormat"},
		{vnet, vnetBody("10.0.0.1/16"), "InvalidCIDRNotation"},
		{vnet, vnetBody("fd00::/48"), "NotImplemented"},
		{vnet, vnetBody("169.254.0.0/16"), "VnetAddressPrefixNotAllowed"},
		{vnet, vnetBody("10.0.0.0/30"), "InvalidAddressPrefixLength"},
		{vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":[]}}}`, "AddressSpaceNotSpecified"},
		{vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8","10.1.0.0/16"]}}}`, "NetcfgInvalidVirtualNetworkAddressSpace"},
		{vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8"]},"virtualNetworkPeerings":[{"name":"p"}]}}`, "RemoteVirtualNetworkNotSpecified"},
		{vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""), subnetBody("b", "10.0.0.128/25", "")), "NetcfgSubnetRangesOverlap"},
		{vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.1.0.0/24", "")), "NetcfgSubnetRangeOutsideVnet"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.0.0/25", ""), "NetcfgSubnetRangesOverlap"},
		{vnet + "/subnets/b", subnetBody("b", "10.1.0.0/25", ""), "NetcfgSubnetRangeOutsideVnet"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.1.4/25", ""), "InvalidCIDRNotation"},
		{vnet + "/subnets/b", subnetBody("b", "", ""), "AddressPrefixStringCannotBeNullOrEmpty"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.1.0/30", ""), "NetcfgInvalidSubnet"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.1.0/24", `,"privateEndpointNetworkPolicies":"Maybe"`), "InvalidRequestFormat"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.1.0/24", `,"networkSecurityGroup":`+ref(net0+"networkSecurityGroups/none")), "InvalidResourceReference"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.1.0/24", `,"networkSecurityGroup":`+ref(vnet)), "InvalidReferenceId"},
		{vnet + "/subnets/b", subnetBody("b", "10.0.1.0/24", `,"routeTable":`+ref(net0+"routeTables/rt")), "InvalidResourceReference"},
		{net0 + "virtualNetworks/none/subnets/b", subnetBody("b", "10.0.1.0/24", ""), "ParentResourceNotFound"},
	} {
		e := r.refused(http.MethodPut, c.path, c.body, c.code)
		if e.Status/100 != 4 && c.code != "NotImplemented" {
			t.Errorf("%s has status %d", c.code, e.Status)
		}
	}
	r.want(r.get(vnet), "properties.subnets.0.properties.addressPrefix", "10.0.0.0/24")
}

// Azure: subnets made by api-version 2025-07-01 have no default outbound access, earlier ones have.
func TestDefaultOutboundAccess(t *testing.T) {
	r := newRig(t)
	body := vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""))
	for version, open := range map[string]bool{"2024-07-01": true, "2025-07-01": false, "2026-01-01": false} {
		path := net0 + "virtualNetworks/v" + version
		if _, err := r.do(http.MethodPut, path, version, body); err != nil {
			t.Fatal(err)
		}
		newest, err := r.do(http.MethodGet, path, "2025-07-01", "")
		if err != nil {
			t.Fatal(err)
		}
		r.want(newest, "properties.subnets.0.properties.defaultOutboundAccess", open)
		oldest, err := r.do(http.MethodGet, path, "2018-12-01", "")
		if err != nil {
			t.Fatal(err)
		}
		if open {
			r.want(oldest, "properties.subnets.0.properties.defaultOutboundAccess", nil)
		}
	}
	r.view(func(tx *rp.Tx) error {
		top, err := r.Topology(tx)
		if err != nil {
			return err
		}
		for _, v := range top.VNets {
			if want := strings.HasSuffix(v.ID, "v2024-07-01"); v.Subnets[0].DefaultOutbound != want {
				t.Errorf("%s: DefaultOutbound is %t", v.ID, !want)
			}
		}
		return nil
	})
}

func ruleBody(priority int, direction, more string) string {
	return fmt.Sprintf(`{"properties":{"protocol":"tcp","sourcePortRange":"*","destinationPortRange":"443","sourceAddressPrefix":"*","destinationAddressPrefix":"VirtualNetwork","access":"allow","priority":%d,"direction":%q%s}}`, priority, direction, more)
}

const nsg = net0 + "networkSecurityGroups/nsg"

func TestNSG(t *testing.T) {
	r := newRig(t)
	named := func(name string, priority int) string {
		return `{"name":"` + name + `",` + ruleBody(priority, "inbound", "")[1:]
	}
	g := r.put(nsg, `{"location":"westeurope","properties":{"securityRules":[`+named("a", 100)+`,`+named("b", 200)+`]}}`)
	r.want(g, "properties.securityRules.0.properties.protocol", "Tcp")
	r.want(g, "properties.securityRules.0.properties.access", "Allow")
	r.want(g, "properties.securityRules.0.properties.direction", "Inbound")
	r.want(g, "properties.securityRules.0.type", "Microsoft.Network/networkSecurityGroups/securityRules")
	r.want(g, "properties.defaultSecurityRules.2.name", "DenyAllInBound")
	r.want(g, "properties.defaultSecurityRules.2.properties.priority", 65500.0)
	r.want(g, "properties.defaultSecurityRules.4.properties.destinationAddressPrefix", "Internet")
	if at(g, "properties.securityRules.0.properties.sourceAddressPrefixes") == nil {
		t.Error("sourceAddressPrefixes is not shown")
	}
	// two rules exchange their priorities in one PUT
	r.put(nsg, `{"location":"westeurope","properties":{"securityRules":[`+named("a", 200)+`,`+named("b", 100)+`]}}`)
	r.refused(http.MethodPut, nsg, `{"location":"westeurope","properties":{"securityRules":[`+named("a", 200)+`,`+named("b", 200)+`]}}`, "SecurityRuleConflict")
	e := r.refused(http.MethodPut, nsg+"/securityRules/c", ruleBody(100, "Inbound", ""), "SecurityRuleConflict")
	if want := "Security rule c conflicts with rule b. Rules cannot have the same Priority and Direction. To learn more, see aka.ms/nsgrules."; e.Message != want {
		t.Errorf("message %q", e.Message)
	}
	r.put(nsg+"/securityRules/c", ruleBody(100, "Outbound", ""))
	r.want(r.get(nsg), "properties.securityRules.2.name", "c")
	r.delete(nsg + "/securityRules/a")
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", `,"networkSecurityGroup":`+ref(nsg))))
	e = r.refused(http.MethodDelete, nsg, "", "InUseNetworkSecurityGroupCannotBeDeleted")
	if e.Status != 400 || !strings.Contains(e.Message, vnet+"/subnets/a") {
		t.Errorf("%d %s", e.Status, e.Message)
	}
	r.put(vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", ""))
	r.delete(nsg)
}

func TestRuleRefusals(t *testing.T) {
	r := newRig(t)
	r.put(nsg, `{"location":"westeurope"}`)
	swap := func(old, new string) string { return strings.Replace(ruleBody(100, "Inbound", ""), old, new, 1) }
	for _, c := range []struct{ body, code string }{
		{ruleBody(99, "Inbound", ""), "SecurityRuleInvalidPriority"},
		{ruleBody(4097, "Inbound", ""), "SecurityRuleInvalidPriority"},
		{ruleBody(100, "Sideways", ""), "SecurityRuleInvalidDirection"},
		{swap(`"allow"`, `"maybe"`), "SecurityRuleInvalidAccess"},
		{swap(`"tcp"`, `"sctp"`), "SecurityRuleInvalidProtocol"},
		{swap(`"443"`, `"80,443"`), "SecurityRuleInvalidPortRange"},
		{swap(`"443"`, `"443-80"`), "SecurityRuleInvalidPortRange"},
		{swap(`"443"`, `"65536"`), "SecurityRuleInvalidPortRange"},
		{swap(`"VirtualNetwork"`, `"any"`), "SecurityRuleInvalidAddressPrefix"},
		{swap(`"VirtualNetwork"`, `"10.0.0.1/24"`), "SecurityRuleInvalidAddressPrefix"},
		{swap(`"VirtualNetwork"`, `"Storage.Mars"`), "SecurityRuleInvalidAddressPrefix"},
		{swap(`"sourceAddressPrefix":"*",`, ``), "SecurityRuleParameterCannotBeNullOrEmpty"},
		{ruleBody(100, "Inbound", `,"destinationPortRanges":["80"]`), "SecurityRuleParameterContainsUnsupportedValue"},
		{ruleBody(100, "Inbound", `,"sourceApplicationSecurityGroups":[`+ref(net0+"applicationSecurityGroups/x")+`]`), "SecurityRuleCannotHaveBothAddressPrefixAndApplicationSecurityGroup"},
		{swap(`"sourceAddressPrefix":"*"`, `"sourceApplicationSecurityGroups":[`+ref(net0+"applicationSecurityGroups/x")+`]`), "InvalidResourceReference"},
	} {
		r.refused(http.MethodPut, nsg+"/securityRules/r", c.body, c.code)
	}
	for _, ok := range []string{
		swap(`"VirtualNetwork"`, `"storage.westeurope"`), swap(`"tcp"`, `"*"`), swap(`"443"`, `"0-65535"`), swap(`"VirtualNetwork"`, `"10.0.0.7"`),
		swap(`"destinationAddressPrefix":"VirtualNetwork"`, `"destinationAddressPrefixes":["10.0.0.0/24","10.1.0.0/24"]`),
	} {
		r.put(nsg+"/securityRules/r", ok)
	}
}

func nicBody(more string, configs ...string) string {
	return fmt.Sprintf(`{"location":"westeurope","properties":{"ipConfigurations":[%s]%s}}`, strings.Join(configs, ","), more)
}

func config(name, subnet, more string) string {
	return fmt.Sprintf(`{"name":%q,"properties":{"subnet":%s%s}}`, name, ref(vnet+"/subnets/"+subnet), more)
}

func TestInterface(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/29", ""), subnetBody("b", "10.0.1.0/24", "")))
	r.put(net0+"publicIPAddresses/pip", `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	r.want(r.get(net0+"publicIPAddresses/pip"), "properties.ipAddress", "20.61.0.4")
	pip := `,"publicIPAddress":` + ref(net0+"publicIPAddresses/pip")
	n := r.put(net0+"networkInterfaces/n1", nicBody("", config("ip", "a", pip)))
	r.want(n, "properties.ipConfigurations.0.properties.privateIPAddress", "10.0.0.4")
	r.want(n, "properties.ipConfigurations.0.properties.privateIPAllocationMethod", "Dynamic")
	r.want(n, "properties.ipConfigurations.0.properties.primary", true)
	r.want(n, "properties.ipConfigurations.0.id", net0+"networkInterfaces/n1/ipConfigurations/ip")
	owner := net0 + "networkInterfaces/n1/ipConfigurations/ip"
	r.want(r.get(net0+"publicIPAddresses/pip"), "properties.ipConfiguration.id", owner)
	r.want(r.get(vnet+"/subnets/a"), "properties.ipConfigurations.0.id", owner)

	r.put(net0+"networkInterfaces/n2", nicBody("", config("ip", "a", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.6"`)))
	for _, c := range []struct{ config, code string }{
		{config("ip", "a", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.6"`), "PrivateIPAddressIsAllocated"},
		{config("ip", "a", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.3"`), "PrivateIPAddressInReservedRange"},
		{config("ip", "a", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.7"`), "PrivateIPAddressInReservedRange"},
		{config("ip", "a", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.1.9"`), "PrivateIPAddressNotInSubnet"},
		{config("ip", "a", `,"privateIPAllocationMethod":"Static","privateIPAddress":"x"`), "InvalidIPAddressFormat"},
		{config("ip", "none", ``), "InvalidResourceReference"},
		{config("ip", "b", pip), "PublicIPAddressInUse"},
	} {
		r.refused(http.MethodPut, net0+"networkInterfaces/n3", nicBody("", c.config), c.code)
	}
	r.refused(http.MethodPut, net0+"networkInterfaces/n3", nicBody(""), "NetworkInterfaceMustHaveAtLeastOneIpConfiguration")
	r.put(net0+"networkInterfaces/n3", nicBody("", config("ip", "a", ""))) // the last one: 10.0.0.5
	e := r.refused(http.MethodPut, net0+"networkInterfaces/n4", nicBody("", config("ip", "a", "")), "SubnetIsFull")
	if want := "Subnet a with address prefix 10.0.0.0/29 does not have enough capacity for 1 IP addresses."; e.Message != want {
		t.Errorf("message %q", e.Message)
	}

	// an update keeps the address; a second configuration comes; the first moves to another subnet
	r.put(net0+"networkInterfaces/n1", nicBody(`,"enableIPForwarding":true`, config("ip", "a", "")))
	n = r.get(net0 + "networkInterfaces/n1")
	r.want(n, "properties.ipConfigurations.0.properties.privateIPAddress", "10.0.0.4")
	r.want(r.get(net0+"publicIPAddresses/pip"), "properties.ipConfiguration", nil)
	n = r.put(net0+"networkInterfaces/n1", nicBody("", config("two", "b", ""), config("ip", "b", `,"primary":true`)))
	r.want(n, "properties.ipConfigurations.1.properties.privateIPAddress", "10.0.1.5")
	r.put(net0+"networkInterfaces/n4", nicBody("", config("ip", "a", ""))) // 10.0.0.4 is free again

	e = r.refused(http.MethodDelete, vnet+"/subnets/a", "", "InUseSubnetCannotBeDeleted")
	if e.Status != 400 || !strings.Contains(e.Message, net0+"networkInterfaces/n4/ipConfigurations/ip") {
		t.Errorf("%d %s", e.Status, e.Message)
	}
	r.refused(http.MethodDelete, vnet, "", "InUseSubnetCannotBeDeleted")
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.2.0/24", ""), "InUsePrefixCannotBeDeleted")
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		r.delete(net0 + "networkInterfaces/" + name)
	}
	r.delete(net0 + "publicIPAddresses/pip")
	r.delete(vnet)
}

func TestLinkedAuthorization(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
	r.denied = "Microsoft.Network/virtualNetworks/subnets/join/action"
	e := r.refused(http.MethodPut, net0+"networkInterfaces/n", nicBody("", config("ip", "a", "")), "LinkedAuthorizationFailed")
	if e.Status != 403 || !strings.Contains(e.Message, r.denied) {
		t.Errorf("%d %s", e.Status, e.Message)
	}
}

func TestHiddenNIC(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/29", ""), subnetBody("aci", "10.0.1.0/24", `,"delegations":[{"name":"d","properties":{"serviceName":"Microsoft.ContainerInstance/containerGroups"}}]`)))
	subnet := arm.MustParseID(strings.ToUpper(vnet[:5]) + vnet[5:] + "/subnets/A")
	allocate := func(owner string, public bool) (n network.NIC, err error) {
		err = r.update(func(tx *rp.Tx) error {
			n, err = r.AllocateNIC(tx, network.NICRequest{Subnet: subnet, Owner: owner, Kind: "node", Public: public})
			return err
		})
		return n, err
	}
	first, err := allocate("node1", true)
	if err != nil || first.Addr.String() != "10.0.0.4" || first.Public.String() != "20.61.0.4" || first.VNet != vnet {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := allocate("node1", true); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("a repeated call gave %+v, %v", again, err)
	}
	for _, owner := range []string{"node2", "node3"} {
		if _, err := allocate(owner, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := allocate("node4", false); arm.AsError(err) == nil || arm.AsError(err).Code != "SubnetIsFull" {
		t.Errorf("full subnet: %v", err)
	}
	err = r.update(func(tx *rp.Tx) error {
		_, err := r.AllocateNIC(tx, network.NICRequest{Subnet: arm.MustParseID(vnet + "/subnets/aci"), Owner: "node5"})
		return err
	})
	if arm.AsError(err) == nil || arm.AsError(err).Code != "SubnetDelegated" {
		t.Errorf("delegated subnet: %v", err)
	}
	r.refused(http.MethodDelete, vnet+"/subnets/a", "", "InUseSubnetCannotBeDeleted")
	r.view(func(tx *rp.Tx) error {
		top, err := r.Topology(tx)
		if err != nil {
			return err
		}
		if n := top.VNets[0].NICs; len(n) != 3 || n[0].ID != "node1" || len(n[0].Public) != 1 || n[0].Public[0] != (fabric.PublicAddress{Private: first.Addr, Public: first.Public}) || n[0].Subnet != vnet+"/subnets/a" {
			t.Errorf("NICs %+v", n)
		}
		return nil
	})
	for _, owner := range []string{"node1", "node2", "node3", "node3", "nobody"} {
		if err := r.update(func(tx *rp.Tx) error { return r.ReleaseNIC(tx, owner) }); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := allocate("node6", true); err != nil || n.Addr != first.Addr || n.Public != first.Public {
		t.Errorf("released addresses are not given again: %+v, %v", n, err)
	}
}

func TestChecks(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
	r.put(net0+"networkInterfaces/n", nicBody("", config("ip", "a", "")))
	r.put(net0+"publicIPAddresses/pip", `{"location":"westeurope","properties":{"dnsSettings":{"domainNameLabel":"taken"}}}`)
	check := func(path, query string) (map[string]any, error) {
		resp, err := r.sendQuery(http.MethodGet, path, latest, query, "")
		if err != nil {
			return nil, err
		}
		return r.tree(resp.Body), nil
	}
	for _, c := range []struct {
		path, query, at string
		want            any
	}{
		{vnet + "/CheckIPAddressAvailability", "ipAddress=10.0.0.9", "available", true},
		{vnet + "/CheckIPAddressAvailability", "ipAddress=10.0.0.4", "availableIPAddresses.0", "10.0.0.5"},
		{vnet + "/checkIPAddressAvailability", "ipAddress=10.0.0.1", "available", false},
		{group[:len("/subscriptions/")+36] + "/providers/Microsoft.Network/locations/westeurope/CheckDnsNameAvailability", "domainNameLabel=taken", "available", false},
		{group[:len("/subscriptions/")+36] + "/providers/Microsoft.Network/locations/westeurope/CheckDnsNameAvailability", "domainNameLabel=free", "available", true},
	} {
		got, err := check(c.path, c.query)
		if err != nil {
			t.Errorf("%s?%s: %v", c.path, c.query, err)
			continue
		}
		r.want(got, c.at, c.want)
	}
	if _, err := check(vnet+"/CheckIPAddressAvailability", "ipAddress=10.0.9.9"); arm.AsError(err) == nil {
		t.Errorf("an address of no subnet: %v", err)
	}
}
