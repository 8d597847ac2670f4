package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/privatedns/armprivatedns"
)

func (a *account) network(ctx context.Context) {
	f, err := armnetwork.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("network", err) {
		return
	}
	groups := f.NewSecurityGroupsClient()
	gp, err := groups.BeginCreateOrUpdate(ctx, group, "nsg", armnetwork.SecurityGroup{Location: to.Ptr(location), Properties: &armnetwork.SecurityGroupPropertiesFormat{
		SecurityRules: []*armnetwork.SecurityRule{{Name: to.Ptr("https"), Properties: rule(100, "443")}}}}, nil)
	nsg := wait(ctx, a, "create an NSG", gp, err)
	if nsg.Properties != nil {
		is(a, "rules", len(nsg.Properties.SecurityRules), 1)
		is(a, "default rules", len(nsg.Properties.DefaultSecurityRules), 6)
	}
	rules := f.NewSecurityRulesClient()
	rp, err := rules.BeginCreateOrUpdate(ctx, group, "nsg", "ssh", *(&armnetwork.SecurityRule{Properties: rule(110, "22")}), nil)
	wait(ctx, a, "add a rule", rp, err)
	_, err = rules.BeginCreateOrUpdate(ctx, group, "nsg", "twice", armnetwork.SecurityRule{Properties: rule(110, "23")}, nil)
	a.refused("a priority twice", err, http.StatusBadRequest, "SecurityRuleConflict")

	tables := f.NewRouteTablesClient()
	tp, err := tables.BeginCreateOrUpdate(ctx, group, "rt", armnetwork.RouteTable{Location: to.Ptr(location), Properties: &armnetwork.RouteTablePropertiesFormat{
		Routes: []*armnetwork.Route{{Name: to.Ptr("all"), Properties: &armnetwork.RoutePropertiesFormat{AddressPrefix: to.Ptr("0.0.0.0/0"),
			NextHopType: to.Ptr(armnetwork.RouteNextHopTypeVirtualAppliance), NextHopIPAddress: to.Ptr("10.5.0.4")}}}}}, nil)
	wait(ctx, a, "create a route table", tp, err)

	nets := f.NewVirtualNetworksClient()
	vp, err := nets.BeginCreateOrUpdate(ctx, group, "vnet", armnetwork.VirtualNetwork{Location: to.Ptr(location), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
		AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr("10.5.0.0/16")}},
		Subnets:      []*armnetwork.Subnet{{Name: to.Ptr("first"), Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.5.1.0/24"), NetworkSecurityGroup: &armnetwork.SecurityGroup{ID: nsg.ID}}}}}}, nil)
	v := wait(ctx, a, "create a VNet", vp, err)
	if v.Properties != nil {
		is(a, "state", value(a, "state", v.Properties.ProvisioningState), armnetwork.ProvisioningStateSucceeded)
	}
	resumed, err := nets.BeginCreateOrUpdate(ctx, group, "resumed", armnetwork.VirtualNetwork{Location: to.Ptr(location), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
		AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr("10.6.0.0/16")}}}}, nil)
	if a.ok("create another", err) && !resumed.Done() {
		token, err := resumed.ResumeToken()
		if a.ok("a resume token", err) {
			again, err := nets.BeginCreateOrUpdate(ctx, group, "resumed", armnetwork.VirtualNetwork{}, &armnetwork.VirtualNetworksClientBeginCreateOrUpdateOptions{ResumeToken: token})
			wait(ctx, a, "a resumed poller", again, err)
		}
	}
	subnets := f.NewSubnetsClient()
	for i := range 5 {
		sp, err := subnets.BeginCreateOrUpdate(ctx, group, "vnet", fmt.Sprintf("s%d", i), armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{
			AddressPrefix: to.Ptr(fmt.Sprintf("10.5.%d.0/24", 10+i)), PrivateEndpointNetworkPolicies: to.Ptr(armnetwork.VirtualNetworkPrivateEndpointNetworkPoliciesDisabled)}}, nil)
		wait(ctx, a, "create a subnet", sp, err)
	}
	list := all(ctx, a, "list subnets", subnets.NewListPager(group, "vnet", nil), func(p armnetwork.SubnetsClientListResponse) []*armnetwork.Subnet { return p.Value })
	is(a, "subnets", len(list), 6)
	_, err = subnets.BeginCreateOrUpdate(ctx, group, "vnet", "overlaps", armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.5.1.128/25")}}, nil)
	a.refused("a subnet that overlaps", err, http.StatusBadRequest, "NetcfgSubnetRangesOverlap")
	_, err = subnets.BeginCreateOrUpdate(ctx, group, "vnet", "outside", armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.9.1.0/24")}}, nil)
	a.refused("a subnet outside", err, http.StatusBadRequest, "NetcfgSubnetRangeOutsideVnet")
	tags, err := nets.UpdateTags(ctx, group, "vnet", armnetwork.TagsObject{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	if a.ok("tags", err) {
		is(a, "tag", value(a, "tag", tags.Tags["a"]), "b")
	}
	free, err := nets.CheckIPAddressAvailability(ctx, group, "vnet", "10.5.1.9", nil)
	if a.ok("a free address", err) {
		is(a, "available", value(a, "available", free.Available), true)
	}
	dp, err := groups.BeginDelete(ctx, group, "nsg", nil)
	if err == nil {
		_, err = dp.PollUntilDone(ctx, nil)
	}
	a.refused("delete an NSG in use", err, http.StatusBadRequest, "InUseNetworkSecurityGroupCannotBeDeleted")

	zones, err := armprivatedns.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("zones", err) {
		return
	}
	zp, err := zones.NewPrivateZonesClient().BeginCreateOrUpdate(ctx, group, "corp.test", armprivatedns.PrivateZone{Location: to.Ptr("global")}, nil)
	z := wait(ctx, a, "create a zone", zp, err)
	lp, err := zones.NewVirtualNetworkLinksClient().BeginCreateOrUpdate(ctx, group, "corp.test", "vnet", armprivatedns.VirtualNetworkLink{Location: to.Ptr("global"),
		Properties: &armprivatedns.VirtualNetworkLinkProperties{RegistrationEnabled: to.Ptr(false), VirtualNetwork: &armprivatedns.SubResource{ID: v.ID}}}, nil)
	wait(ctx, a, "link it", lp, err)
	records := zones.NewRecordSetsClient()
	set := armprivatedns.RecordSet{Properties: &armprivatedns.RecordSetProperties{TTL: to.Ptr[int64](60), ARecords: []*armprivatedns.ARecord{{IPv4Address: to.Ptr("10.5.1.5")}}}}
	_, err = records.CreateOrUpdate(ctx, group, "corp.test", armprivatedns.RecordTypeA, "db", set, nil)
	a.ok("a record", err)
	_, err = records.CreateOrUpdate(ctx, group, "corp.test", armprivatedns.RecordTypeA, "db", set, &armprivatedns.RecordSetsClientCreateOrUpdateOptions{IfNoneMatch: to.Ptr("*")})
	a.refused("a record that is there", err, http.StatusPreconditionFailed, "PreconditionFailed")
	got := all(ctx, a, "records", records.NewListPager(group, "corp.test", nil), func(p armprivatedns.RecordSetsClientListResponse) []*armprivatedns.RecordSet { return p.Value })
	is(a, "records", len(got), 2)
	zd, err := zones.NewPrivateZonesClient().BeginDelete(ctx, group, "corp.test", nil)
	if err == nil {
		_, err = zd.PollUntilDone(ctx, nil)
	}
	a.refused("delete a linked zone", err, http.StatusConflict, "CannotDeleteResource")
	_ = z
}

func rule(priority int32, port string) *armnetwork.SecurityRulePropertiesFormat {
	return &armnetwork.SecurityRulePropertiesFormat{Priority: to.Ptr(priority), Direction: to.Ptr(armnetwork.SecurityRuleDirectionInbound), Access: to.Ptr(armnetwork.SecurityRuleAccessAllow),
		Protocol: to.Ptr(armnetwork.SecurityRuleProtocolTCP), SourcePortRange: to.Ptr("*"), SourceAddressPrefix: to.Ptr("*"), DestinationAddressPrefix: to.Ptr("*"), DestinationPortRange: to.Ptr(port)}
}
