package network_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mdns "github.com/miekg/dns"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
)

const (
	endpoint = net0 + "privateEndpoints/pe"
	zone     = net0 + "privateDnsZones/privatelink.blob.core.windows.net"
)

func endpointBody(list, group, more string) string {
	return fmt.Sprintf(`{"location":"westeurope","properties":{"subnet":%s,%q:[{"name":"c","properties":{"privateLinkServiceId":%q,"groupIds":[%q]}}]%s}}`,
		ref(vnet+"/subnets/endpoints"), list, account, group, more)
}

// secured is a network with a linked zone.
func secured(t *testing.T) *rig {
	r := newRig(t)
	r.put(account, `{"location":"westeurope"}`)
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("endpoints", "10.20.1.0/24", ""), subnetBody("training", "10.20.2.0/24", "")))
	r.put(zone, `{"location":"global"}`)
	r.put(zone+"/virtualNetworkLinks/l", `{"location":"global","properties":{"registrationEnabled":false,"virtualNetwork":`+ref(vnet)+`}}`)
	return r
}

func (r *rig) resolve(vnet, name string) dns.Answer {
	r.t.Helper()
	var a dns.Answer
	r.view(func(tx *rp.Tx) error {
		names, err := r.Names(tx)
		if err != nil {
			return err
		}
		m, err := dns.NewModel(dns.Config{Zones: names.Zones, Links: names.Links, Networks: names.Networks})
		if err != nil {
			return err
		}
		a = m.Resolve(vnet, name, mdns.TypeA)
		return nil
	})
	return a
}

func (r *rig) topology() *fabric.Topology {
	r.t.Helper()
	var top *fabric.Topology
	r.view(func(tx *rp.Tx) (err error) {
		top, err = r.Topology(tx)
		return err
	})
	return top
}

func TestEndpoint(t *testing.T) {
	r := secured(t)
	e := r.put(endpoint, endpointBody("privateLinkServiceConnections", "blob", ""))
	r.want(e, "properties.privateLinkServiceConnections.0.properties.privateLinkServiceConnectionState.status", "Approved")
	r.want(e, "properties.privateLinkServiceConnections.0.id", endpoint+"/privateLinkServiceConnections/c")
	r.want(e, "properties.customDnsConfigs.0.fqdn", "acct.blob.core.windows.net")
	r.want(e, "properties.customDnsConfigs.0.ipAddresses.0", "10.20.1.4")
	nicID, _ := at(e, "properties.networkInterfaces.0.id").(string)
	if !strings.HasPrefix(nicID, net0+"networkInterfaces/pe.nic.") {
		t.Fatalf("interface %q", nicID)
	}
	if s := fmt.Sprint(e); strings.Contains(s, "members") || strings.Contains(s, "connectionName") {
		t.Errorf("private members are shown: %s", s)
	}
	n := r.get(nicID)
	r.want(n, "properties.privateEndpoint.id", endpoint)
	r.want(n, "properties.ipConfigurations.0.properties.privateLinkConnectionProperties.groupId", "blob")
	r.refused(http.MethodDelete, nicID, "", "NicInUseWithPrivateEndpoint")
	r.refused(http.MethodPut, nicID, nicBody("", config("ip", "endpoints", "")), "CannotModifyNicAttachedToPrivateEndpoint")
	r.want(r.get(vnet+"/subnets/endpoints"), "properties.privateEndpoints.0.id", endpoint)
	r.refused(http.MethodDelete, vnet, "", "InUseSubnetCannotBeDeleted")

	want := []fabric.NIC{{
		ID: endpoint, Kind: fabric.Endpoint, Subnet: vnet + "/subnets/endpoints", Addrs: top1(r).Addrs,
		Service: &fabric.Service{Target: account, GroupID: "blob", Ports: []uint16{443}},
	}}
	if diff := cmp.Diff(want, r.topology().VNets[0].NICs, cmp.Comparer(equalAddr)); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}

	// what Azure shows can be written back
	r.put(endpoint, endpointBody("privateLinkServiceConnections", "blob", ""))
	r.refused(http.MethodPut, endpoint, endpointBody("privateLinkServiceConnections", "two", ""), "PropertyChangeNotAllowed")

	g := r.put(endpoint+"/privateDnsZoneGroups/default", `{"properties":{"privateDnsZoneConfigs":[{"name":"blob","properties":{"privateDnsZoneId":"`+zone+`"}}]}}`)
	r.want(g, "properties.privateDnsZoneConfigs.0.properties.recordSets.0.fqdn", "acct.privatelink.blob.core.windows.net")
	r.want(r.get(endpoint), "properties.customDnsConfigs.0", nil)
	r.want(r.get(zone+"/A/acct"), "properties.aRecords.0.ipv4Address", "10.20.1.4")
	r.want(r.get(zone+"/A/acct"), "properties.ttl", 10.0)
	r.want(r.get(zone), "properties.numberOfRecordSets", 2.0)
	if a := r.resolve(vnet, "acct.privatelink.blob.core.windows.net"); len(a.Records) != 1 || a.Records[0].Addr.String() != "10.20.1.4" {
		t.Errorf("resolved %+v", a)
	}
	if a := r.resolve(vnet, "lost.privatelink.blob.core.windows.net"); a.Rcode != mdns.RcodeNameError {
		t.Errorf("a name that the zone lacks: %+v", a)
	}

	// a second endpoint takes the name over; the first one's removal leaves it alone
	second := strings.Replace(endpoint, "/pe", "/pe2", 1)
	r.put(second, endpointBody("privateLinkServiceConnections", "blob", ""))
	r.put(second+"/privateDnsZoneGroups/default", `{"properties":{"privateDnsZoneConfigs":[{"name":"blob","properties":{"privateDnsZoneId":"`+zone+`"}}]}}`)
	r.delete(endpoint)
	r.want(r.get(zone+"/A/acct"), "properties.aRecords.0.ipv4Address", "10.20.1.5")
	r.refused(http.MethodGet, nicID, "", "ResourceNotFound")
	r.delete(second)
	r.refused(http.MethodGet, zone+"/A/acct", "", "ResourceNotFound")
	r.delete(vnet)
}

func top1(r *rig) fabric.NIC                           { return r.topology().VNets[0].NICs[0] }
func equalAddr(a, b interface{ String() string }) bool { return a.String() == b.String() }

func TestEndpointRefusals(t *testing.T) {
	r := secured(t)
	for _, c := range []struct{ body, code string }{
		{`{"location":"westeurope","properties":{"subnet":` + ref(vnet+"/subnets/endpoints") + `}}`, "InvalidRequestFormat"},
		{strings.Replace(endpointBody("privateLinkServiceConnections", "blob", ""), "/acct", "/none", 1), "InvalidResourceReference"},
		{strings.Replace(endpointBody("privateLinkServiceConnections", "blob", ""), "subnets/endpoints", "subnets/none", 1), "InvalidResourceReference"},
		{strings.Replace(endpointBody("privateLinkServiceConnections", "blob", ""), "westeurope", "northeurope", 1), "InvalidResourceReference"},
		{endpointBody("privateLinkServiceConnections", "none", ""), "InvalidPrivateLinkServiceGroupId"},
		{strings.Replace(endpointBody("privateLinkServiceConnections", "blob", ""), `"groupIds":["blob"]`, `"groupIds":[]`, 1), "MissingParameterOnPrivateLinkServiceConnection"},
		{strings.Replace(endpointBody("privateLinkServiceConnections", "blob", ""), `["blob"]`, `["blob","two"]`, 1), "OnlyOneGroupIdPermitted"},
		{endpointBody("privateLinkServiceConnections", "blob", `,"ipVersionType":"DualStack"`), "NotImplemented"},
		{endpointBody("privateLinkServiceConnections", "two", staticConfigs("two", "a", "10.20.1.9")), "PrivateEndpointIpConfigurationMissingMemberNamesRequiredByFps"},
		{endpointBody("privateLinkServiceConnections", "blob", staticConfigs("blob", "blob", "10.20.1.9", "none", "10.20.1.10")), "InvalidPrivateEndpointIpConfiguration"},
		{endpointBody("privateLinkServiceConnections", "two", staticConfigs("two", "a", "10.20.1.9", "a", "10.20.1.10")), "InvalidPrivateEndpointIpConfiguration"},
		{endpointBody("privateLinkServiceConnections", "blob", staticConfigs("blob", "none", "10.20.1.9")), "PrivateEndpointIpConfigurationMissingMemberNamesRequiredByFps"},
		{endpointBody("privateLinkServiceConnections", "blob", `,"ipConfigurations":[{"name":"i","properties":{"groupId":"blob","memberName":"blob","privateIPAddress":"10.20.2.9"}}]`), "PrivateIPAddressNotInSubnet"},
	} {
		r.refused(http.MethodPut, endpoint, c.body, c.code)
	}
	// nothing of a refused endpoint stays
	r.want(r.get(vnet+"/subnets/endpoints"), "properties.ipConfigurations", nil)
	r.put(endpoint, endpointBody("privateLinkServiceConnections", "blob", ""))
	r.refused(http.MethodPut, endpoint+"/privateDnsZoneGroups/default", `{"properties":{"privateDnsZoneConfigs":[{"name":"x","properties":{"privateDnsZoneId":"`+net0+`privateDnsZones/none.test"}}]}}`, "InvalidResourceReference")
	r.denied = "Microsoft.Storage/storageAccounts/PrivateEndpointConnectionsApproval/action"
	r.refused(http.MethodPut, strings.Replace(endpoint, "/pe", "/pe2", 1), endpointBody("privateLinkServiceConnections", "blob", ""), "LinkedAuthorizationFailed")
}

// staticConfigs is an ipConfigurations property: a group, then members with their addresses.
func staticConfigs(group string, members ...string) string {
	var list []string
	for i := 0; i < len(members); i += 2 {
		list = append(list, fmt.Sprintf(`{"name":"i%d","properties":{"groupId":%q,"memberName":%q,"privateIPAddress":%q}}`, i, group, members[i], members[i+1]))
	}
	return `,"ipConfigurations":[` + strings.Join(list, ",") + "]"
}

func TestStaticAndSeveralMembers(t *testing.T) {
	r := secured(t)
	r.put(endpoint, endpointBody("privateLinkServiceConnections", "two", `,"customNetworkInterfaceName":"mine"`+staticConfigs("two", "b", "10.20.1.4", "a", "10.20.1.20")))
	n := r.get(net0 + "networkInterfaces/mine")
	r.want(n, "properties.ipConfigurations.0.properties.privateIPAddress", "10.20.1.20")
	r.want(n, "properties.ipConfigurations.1.properties.privateIPAddress", "10.20.1.4")
	r.want(n, "properties.ipConfigurations.1.properties.privateIPAllocationMethod", "Static")
	second := strings.Replace(endpoint, "/pe", "/pe2", 1)
	r.refused(http.MethodPut, second, endpointBody("privateLinkServiceConnections", "two", `,"customNetworkInterfaceName":"mine"`), "NetworkInterfaceAlreadyExists")
	r.put(second, endpointBody("privateLinkServiceConnections", "two", ""))
	if addrs := r.topology().VNets[0].NICs[1].Addrs; len(addrs) != 2 || addrs[0].String() != "10.20.1.5" || addrs[1].String() != "10.20.1.6" {
		t.Errorf("dynamic addresses: %v", addrs)
	}
	r.refused(http.MethodPut, endpoint, endpointBody("privateLinkServiceConnections", "two", `,"customNetworkInterfaceName":"other"`), "PropertyChangeNotAllowed")
}

// An application security group may be given to an endpoint and taken away at any time. Rules that name it
// as their destination hit the endpoint where the subnet has network policies for endpoints.
func TestEndpointGroups(t *testing.T) {
	r := newRig(t)
	web := net0 + "applicationSecurityGroups/web"
	r.put(account, `{"location":"westeurope"}`)
	r.put(web, `{"location":"westeurope"}`)
	r.put(nsg, `{"location":"westeurope"}`)
	r.put(nsg+"/securityRules/r", strings.Replace(strings.Replace(ruleBody(100, "Inbound", ""), `"destinationAddressPrefix":"VirtualNetwork"`, `"destinationApplicationSecurityGroups":[`+ref(web)+`]`, 1), `"allow"`, `"deny"`, 1))
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("endpoints", "10.20.1.0/24", `,"privateEndpointNetworkPolicies":"NetworkSecurityGroupEnabled","networkSecurityGroup":`+ref(nsg)), subnetBody("training", "10.20.2.0/24", "")))
	r.put(net0+"networkInterfaces/n", nicBody("", config("ip", "training", "")))
	verdict := func() fabric.Explanation {
		return fabric.Explain(r.topology(), fabric.Flow{
			From: fabric.Place{Kind: fabric.AtNIC, ID: net0 + "networkInterfaces/n"}, Dst: netip.MustParseAddr("10.20.1.4"), Protocol: fabric.TCP, SrcPort: 40000, DstPort: 443})
	}
	for _, step := range []struct {
		groups string
		want   fabric.Verdict
	}{{"", fabric.Allowed}, {`,"applicationSecurityGroups":[` + ref(web) + `]`, fabric.Denied}, {`,"applicationSecurityGroups":[]`, fabric.Allowed}, {`,"applicationSecurityGroups":[` + ref(web) + `]`, fabric.Denied}} {
		e := r.put(endpoint, endpointBody("privateLinkServiceConnections", "blob", step.groups))
		if got := verdict(); got.Verdict != step.want || got.Verdict == fabric.Denied && got.By.Rule != "r" {
			t.Errorf("with %q: %s", step.groups, got)
		}
		nic := r.get(at(e, "properties.networkInterfaces.0.id").(string))
		if groups, _ := at(nic, "properties.ipConfigurations.0.properties.applicationSecurityGroups").([]any); (len(groups) == 1) != (step.want == fabric.Denied) {
			t.Errorf("with %q the interface is in %v", step.groups, groups)
		}
	}
	e := r.refused(http.MethodDelete, web, "", "InUseApplicationSecurityGroupCannotBeDeleted")
	if !strings.Contains(e.Message, endpoint) {
		t.Error(e.Message)
	}
	r.denied = "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action"
	r.refused(http.MethodPut, endpoint, endpointBody("privateLinkServiceConnections", "blob", `,"applicationSecurityGroups":[`+ref(web)+`]`), "LinkedAuthorizationFailed")
}

// An endpoint may be in another subscription than its target; a subnet of another service takes none.
func TestEndpointPlaces(t *testing.T) {
	r := secured(t)
	far := strings.Replace(endpoint, "11111111-1111", "22222222-2222", 1)
	e := r.put(far, endpointBody("manualPrivateLinkServiceConnections", "blob", ""))
	r.want(e, "properties.manualPrivateLinkServiceConnections.0.properties.privateLinkServiceConnectionState.status", "Pending")
	r.put(vnet+"/subnets/delegated", `{"properties":{"addressPrefix":"10.20.3.0/24","delegations":[{"name":"d","properties":{"serviceName":"Microsoft.ContainerInstance/containerGroups"}}]}}`)
	r.refused(http.MethodPut, endpoint, strings.Replace(endpointBody("privateLinkServiceConnections", "blob", ""), "subnets/endpoints", "subnets/delegated", 1), "PrivateEndpointCreationNotAllowedAsSubnetIsDelegated")
}

func TestAvailableEndpointTypes(t *testing.T) {
	r := newRig(t)
	for _, scope := range []string{"/subscriptions/11111111-1111-1111-1111-111111111111", group} {
		list, err := r.do(http.MethodGet, scope+"/providers/Microsoft.Network/locations/westeurope/availablePrivateEndpointTypes", latest, "")
		if err != nil {
			t.Fatal(err)
		}
		r.want(list, "value.0.resourceName", "Microsoft.Storage/storageAccounts")
		r.want(list, "value.0.name", "Microsoft.Storage.storageAccounts")
		r.want(list, "value.0.type", "Microsoft.Network/availablePrivateEndpointTypes")
	}
}

// A manual connection has no records and no service until the owner of the target approves it, and loses
// them when it is rejected.
func TestManualApproval(t *testing.T) {
	r := secured(t)
	e := r.put(endpoint, endpointBody("manualPrivateLinkServiceConnections", "blob", ""))
	r.want(e, "properties.manualPrivateLinkServiceConnections.0.properties.privateLinkServiceConnectionState.status", "Pending")
	r.put(endpoint+"/privateDnsZoneGroups/default", `{"properties":{"privateDnsZoneConfigs":[{"name":"blob","properties":{"privateDnsZoneId":"`+zone+`"}}]}}`)
	if n := top1(r); n.Service != nil {
		t.Errorf("a pending endpoint has a service: %+v", n)
	}
	r.refused(http.MethodGet, zone+"/A/acct", "", "ResourceNotFound")
	var connection string
	list, err := r.do(http.MethodGet, account+"/privateEndpointConnections", "2025-08-01", "")
	if err != nil {
		t.Fatal(err)
	}
	connection, _ = at(list, "value.0.id").(string)
	for _, step := range []struct {
		status  string
		service bool
	}{{"Approved", true}, {"Rejected", false}, {"Approved", true}} {
		r.put(connection, `{"properties":{"privateLinkServiceConnectionState":{"status":"`+step.status+`"}}}`)
		r.settled(func() bool {
			return (r.resolve(vnet, "acct.privatelink.blob.core.windows.net").Rcode == mdns.RcodeSuccess) == step.service
		})
		if n := top1(r); (n.Service != nil) != step.service {
			t.Errorf("%s: service %+v", step.status, n.Service)
		}
		r.want(r.get(endpoint), "properties.manualPrivateLinkServiceConnections.0.properties.privateLinkServiceConnectionState.status", step.status)
	}
	r.delete(connection)
	r.settled(func() bool {
		return r.resolve(vnet, "acct.privatelink.blob.core.windows.net").Rcode == mdns.RcodeNameError
	})
	r.want(r.get(endpoint), "properties.manualPrivateLinkServiceConnections.0.properties.privateLinkServiceConnectionState.status", "Disconnected")
}

func TestPrivateZone(t *testing.T) {
	r := secured(t)
	z := r.get(zone)
	r.want(z, "location", "global")
	r.want(z, "properties.numberOfVirtualNetworkLinks", 1.0)
	r.want(z, "properties.maxNumberOfRecordSets", 25000.0)
	r.want(r.get(zone+"/SOA/@"), "properties.soaRecord.email", "azureprivatedns-host.microsoft.com")
	r.want(r.get(zone+"/virtualNetworkLinks/l"), "properties.virtualNetworkLinkState", "Completed")
	r.want(r.get(zone+"/virtualNetworkLinks/l"), "properties.resolutionPolicy", "Default")
	e := r.refused(http.MethodDelete, zone, "", "CannotDeleteResource")
	if e.Status != 409 || !strings.Contains(e.Message, "virtualNetworkLinks/l") {
		t.Errorf("%d %s", e.Status, e.Message)
	}

	a := r.put(zone+"/A/host", `{"properties":{"ttl":3600,"aRecords":[{"ipv4Address":"10.0.0.9"}],"metadata":{"k":"v"}}}`)
	r.want(a, "properties.fqdn", "host.privatelink.blob.core.windows.net.")
	r.want(a, "properties.isAutoRegistered", false)
	r.want(a, "properties.provisioningState", nil)
	r.put(zone+"/CNAME/alias", `{"properties":{"ttl":60,"cnameRecord":{"cname":"host.privatelink.blob.core.windows.net"}}}`)
	if got := r.resolve(vnet, "alias.privatelink.blob.core.windows.net"); len(got.Records) != 2 {
		t.Errorf("resolved %+v", got)
	}
	all, err := r.do(http.MethodGet, zone+"/ALL", "2024-06-01", "")
	if err != nil {
		t.Fatal(err)
	}
	r.want(all, "value.2.name", "@")

	link := `{"location":"global","properties":{"registrationEnabled":%s,"virtualNetwork":` + ref(vnet) + `,"resolutionPolicy":%q}}`
	for _, c := range []struct{ path, body, code string }{
		{zone + "/A/bad", `{"properties":{"ttl":1,"aRecords":[{"ipv4Address":"::1"}]}}`, "BadRequest"},
		{zone + "/A/bad", `{"properties":{"ttl":-1}}`, "BadRequest"},
		{zone + "/A/b%20d", `{"properties":{"ttl":1}}`, "InvalidResourceName"},
		{zone + "/A/bad", `{"properties":{"ttl":1,"cnameRecord":{"cname":"x.test"}}}`, "BadRequest"},
		{zone + "/A/alias", `{"properties":{"ttl":1,"aRecords":[{"ipv4Address":"10.0.0.1"}]}}`, "Conflict"},
		{zone + "/CNAME/host", `{"properties":{"ttl":1,"cnameRecord":{"cname":"x.test"}}}`, "Conflict"},
		{zone + "/CNAME/@", `{"properties":{"ttl":1,"cnameRecord":{"cname":"x.test"}}}`, "BadRequest"},
		{zone + "/SOA/x", `{"properties":{"ttl":1,"soaRecord":{}}}`, "BadRequest"},
		{net0 + "privateDnsZones/single", `{"location":"global"}`, "InvalidResourceName"},
		{net0 + "privateDnsZones/a..b", `{"location":"global"}`, "BadRequest"},
		{net0 + "privateDnsZones/a.b", `{"location":"westeurope"}`, "LocationNotAvailableForResourceType"},
		{zone + "/virtualNetworkLinks/l2", fmt.Sprintf(link, "false", "Default"), "BadRequest"},
		{zone + "/virtualNetworkLinks/l", fmt.Sprintf(link, "false", "Sometimes"), "BadRequest"},
		{zone + "/virtualNetworkLinks/l2", strings.Replace(fmt.Sprintf(link, "false", ""), vnet, vnet+"x", 1), "BadRequest"},
	} {
		r.refused(http.MethodPut, c.path, c.body, c.code)
	}
	r.put(zone+"/virtualNetworkLinks/l", fmt.Sprintf(link, "false", "NxDomainRedirect"))
	if a := r.resolve(vnet, "lost.privatelink.blob.core.windows.net"); len(a.Steps) != 2 || a.Steps[0].Outcome != dns.Redirect {
		t.Errorf("no redirect: %+v", a.Steps)
	}
	r.put(net0+"privateDnsZones/corp.test", `{"location":"global"}`)
	r.refused(http.MethodPut, net0+"privateDnsZones/corp.test/virtualNetworkLinks/l", fmt.Sprintf(link, "false", "NxDomainRedirect"), "BadRequest")

	r.delete(zone + "/A/host")
	r.delete(zone + "/virtualNetworkLinks/l")
	if a := r.resolve(vnet, "alias.privatelink.blob.core.windows.net"); a.Steps[0].Zone != "" {
		t.Errorf("an unlinked zone answers: %+v", a.Steps)
	}
	r.delete(zone)
	r.refused(http.MethodGet, zone+"/SOA/@", "", "ResourceNotFound")
}

// The topology has NSGs, rules and groups under the ids that the store has, however they were referenced.
func TestTopologyRules(t *testing.T) {
	r := newRig(t)
	asg := net0 + "applicationSecurityGroups/web"
	r.put(asg, `{"location":"westeurope"}`)
	r.put(nsg, `{"location":"westeurope"}`)
	r.put(nsg+"/securityRules/r", strings.Replace(ruleBody(100, "Outbound", ""), `"sourceAddressPrefix":"*"`, `"sourceApplicationSecurityGroups":[`+ref(strings.Replace(asg, "web", "WEB", 1))+`]`, 1))
	r.put(nsg+"/securityRules/v6", strings.Replace(ruleBody(110, "Inbound", ""), `"sourceAddressPrefix":"*"`, `"sourceAddressPrefix":"fd00::/8"`, 1))
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", `,"privateEndpointNetworkPolicies":"Enabled","networkSecurityGroup":`+ref(strings.Replace(nsg, "/nsg", "/NSG", 1)))))
	r.put(net0+"networkInterfaces/n", nicBody(`,"networkSecurityGroup":`+ref(nsg), config("ip", "a", `,"applicationSecurityGroups":[`+ref(asg)+`]`)))
	r.refused(http.MethodDelete, asg, "", "InUseApplicationSecurityGroupCannotBeDeleted")
	top := r.topology()
	key := strings.ToLower(asg)
	wantRules := []fabric.Rule{{
		Name: "r", Priority: 100, Direction: fabric.Outbound, Allow: true, Protocol: fabric.TCP, SourceASGs: []string{key},
		Destination: []string{"VirtualNetwork"}, SourcePorts: []string{"*"}, DestinationPorts: []string{"443"},
	}}
	if diff := cmp.Diff(wantRules, top.NSGs[nsg].Rules, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	s, n := top.VNets[0].Subnets[0], top.VNets[0].NICs[0]
	if s.NSG != nsg || !s.EndpointPolicies || !s.DefaultOutbound {
		t.Errorf("subnet %+v", s)
	}
	if n.NSG != nsg || len(n.ASGs) != 1 || n.ASGs[0] != key || n.Kind != fabric.Guest {
		t.Errorf("NIC %+v", n)
	}
	if _, err := fabric.Compile(top); err != nil {
		t.Errorf("the fabric refuses the topology: %v", err)
	}
}
