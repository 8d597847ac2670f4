package network_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

const (
	hub   = net0 + "virtualNetworks/hub"
	spoke = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/spoke"
	out   = hub + "/virtualNetworkPeerings/out"
	back  = spoke + "/virtualNetworkPeerings/back"
)

func peeringBody(remote, more string) string {
	return fmt.Sprintf(`{"properties":{"remoteVirtualNetwork":%s,"allowVirtualNetworkAccess":true%s}}`, ref(remote), more)
}

// two are two networks, of two subscriptions and regions.
func two(r *rig) {
	r.put(hub, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
	r.put(spoke, strings.Replace(vnetBody("10.1.0.0/16", subnetBody("a", "10.1.0.0/24", "")), "West Europe", "North Europe", 1))
}

func (r *rig) peering(path, state, level string) {
	r.t.Helper()
	v := r.get(path)
	if at(v, "properties.peeringState") != state || at(v, "properties.peeringSyncLevel") != level {
		r.t.Errorf("%s is %v, %v; want %s, %s", path, at(v, "properties.peeringState"), at(v, "properties.peeringSyncLevel"), state, level)
	}
}

// links are the topology's peerings: who knows whom by which prefixes.
func (r *rig) links() (list []string) {
	r.t.Helper()
	r.view(func(tx *rp.Tx) error {
		top, err := r.Topology(tx)
		if err != nil {
			return err
		}
		for _, v := range top.VNets {
			for _, p := range v.Peerings {
				list = append(list, fmt.Sprint(arm.MustParseID(v.ID).Name(), " ", arm.MustParseID(p.Remote).Name(), " ", p.Prefixes))
			}
		}
		if _, err := fabric.Compile(top); err != nil {
			r.t.Errorf("the fabric does not take what the API took: %v", err)
		}
		return nil
	})
	return list
}

func (r *rig) linked(want ...string) {
	r.t.Helper()
	if got := r.links(); strings.Join(got, ",") != strings.Join(want, ",") {
		r.t.Errorf("peerings %q, want %q", got, want)
	}
}

func TestPeering(t *testing.T) {
	r := newRig(t)
	two(r)
	v := r.put(out, peeringBody(strings.ToUpper(spoke[:20])+spoke[20:], `,"allowForwardedTraffic":true,"peeringState":"Connected","remoteAddressSpace":{"addressPrefixes":["9.0.0.0/8"]}`))
	r.want(v, "properties.allowForwardedTraffic", true)
	r.want(v, "properties.useRemoteGateways", false)
	r.want(v, "properties.remoteAddressSpace.addressPrefixes.0", "10.1.0.0/16")
	r.want(v, "properties.peerCompleteVnets", true)
	r.peering(out, "Initiated", "RemoteNotInSync")
	r.linked()
	r.put(back, peeringBody(hub, ""))
	r.peering(out, "Connected", "FullyInSync")
	r.peering(back, "Connected", "FullyInSync")
	r.linked("hub spoke [10.1.0.0/16]", "spoke hub [10.0.0.0/16]")
	r.want(r.get(hub), "properties.virtualNetworkPeerings.0.properties.peeringState", "Connected")

	// one space grows: the other side takes it over when it is told to
	r.put(spoke, `{"location":"northeurope","properties":{"addressSpace":{"addressPrefixes":["10.1.0.0/16","10.2.0.0/16"]}}}`)
	r.peering(out, "Connected", "LocalNotInSync")
	r.peering(back, "Connected", "RemoteNotInSync")
	r.want(r.get(out), "properties.remoteVirtualNetworkAddressSpace.addressPrefixes.1", "10.2.0.0/16")
	r.put(out, peeringBody(spoke, ""))
	r.linked("hub spoke [10.1.0.0/16]", "spoke hub [10.0.0.0/16]")
	r.put(hub, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.3.0.0/16"]}}}`)
	r.peering(out, "Connected", "LocalAndRemoteNotInSync")
	for _, side := range []struct{ path, remote string }{{out, spoke}, {back, hub}} {
		resp, err := r.sendQuery(http.MethodPut, side.path, latest, "syncRemoteAddressSpace=true", peeringBody(side.remote, ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ended(resp); err != nil {
			t.Fatal(err)
		}
	}
	r.peering(out, "Connected", "FullyInSync")
	r.linked("hub spoke [10.1.0.0/16 10.2.0.0/16]", "spoke hub [10.0.0.0/16 10.3.0.0/16]")

	// one side goes: the other is disconnected, until it is written again
	r.delete(out)
	r.peering(back, "Disconnected", "RemoteNotInSync")
	r.linked()
	e := r.refused(http.MethodPut, out, peeringBody(spoke, ""), "RemotePeeringIsDisconnected")
	if e.Status != 400 || !strings.Contains(e.Message, back) {
		t.Errorf("%d %s", e.Status, e.Message)
	}
	r.put(back, peeringBody(hub, ""))
	r.peering(back, "Initiated", "RemoteNotInSync")
	r.put(out, peeringBody(spoke, ""))
	r.peering(back, "Connected", "FullyInSync")

	// and so does the network
	r.delete(spoke)
	r.peering(out, "Disconnected", "RemoteNotInSync")
	r.linked()
	r.delete(out)
	r.delete(hub)
}

// Peerings come with their network, as subnets do.
func TestInlinePeering(t *testing.T) {
	r := newRig(t)
	two(r)
	body := func(peerings string) string {
		return `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"virtualNetworkPeerings":[` + peerings + `]}}`
	}
	named := func(name string) string { return fmt.Sprintf(`{"name":%q,%s`, name, peeringBody(spoke, "")[1:]) }
	r.put(hub, body(named("out")))
	r.put(back, peeringBody(hub, ""))
	r.peering(out, "Connected", "FullyInSync")
	r.put(hub, `{"location":"westeurope","tags":{"a":"b"},"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`)
	r.peering(out, "Connected", "FullyInSync")
	r.refused(http.MethodPut, hub, body(named("out")+","+named("again")), "AnotherPeeringAlreadyReferencesRemoteVnet")
	r.put(hub, body(""))
	r.peering(back, "Disconnected", "RemoteNotInSync")
	if list := at(r.get(hub), "properties.virtualNetworkPeerings"); len(list.([]any)) != 0 {
		t.Errorf("%v", list)
	}
}

func TestPeeringRefusals(t *testing.T) {
	r := newRig(t)
	two(r)
	third := net0 + "virtualNetworks/third"
	r.put(third, vnetBody("10.1.128.0/17"))
	for _, c := range []struct{ path, body, code string }{
		{out, `{"properties":{}}`, "RemoteVirtualNetworkNotSpecified"},
		{out, peeringBody(nsg, ""), "InvalidReferenceId"},
		{out, peeringBody(spoke+"9", ""), "InvalidResourceReference"},
		{out, peeringBody(hub, ""), "VnetAddressSpacesOverlap"},
		{out, peeringBody(spoke, `,"peerCompleteVnets":false,"localSubnetNames":["a"]`), "NotImplemented"},
		{out, peeringBody(spoke, `,"allowGatewayTransit":true,"useRemoteGateways":true`), "AllowGatewayTransitAndUseRemoteGatewaysAreExclusive"},
		{out, peeringBody(spoke, `,"useRemoteGateways":true`), "RemoteVnetHasNoGateways"},
		{spoke + "/virtualNetworkPeerings/p", peeringBody(third, ""), "VnetAddressSpacesOverlap"},
	} {
		r.refused(http.MethodPut, c.path, c.body, c.code)
	}
	r.put(out, peeringBody(spoke, ""))
	r.refused(http.MethodPut, out, peeringBody(third, ""), "RemoteVirtualNetworkCannotBeChanged")
	e := r.refused(http.MethodPut, hub+"/virtualNetworkPeerings/two", peeringBody(spoke, ""), "AnotherPeeringAlreadyReferencesRemoteVnet")
	if e.Status != 400 {
		t.Errorf("status %d", e.Status)
	}
	e = r.refused(http.MethodPut, third+"/virtualNetworkPeerings/p", peeringBody(hub, ""), "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet")
	if !strings.Contains(e.Message, "overlaps with address space of virtual network "+spoke+" already peered") || !strings.HasSuffix(e.Message, "10.1.128.0/17.") {
		t.Error(e.Message)
	}
	r.refused(http.MethodPut, hub+"/virtualNetworkPeerings/p", peeringBody(third, ""), "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet")
	r.refused(http.MethodPut, hub, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.1.0.0/24"]}}}`, "VnetAddressSpacesOverlap")
	r.delete(spoke + "/subnets/a") // what the other gave up is this one's only after a synchronisation
	r.put(spoke, `{"location":"northeurope","properties":{"addressSpace":{"addressPrefixes":["10.8.0.0/16"]}}}`)
	r.refused(http.MethodPut, hub, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.1.0.0/24"]}}}`, "VnetAddressSpacesOverlap")
	r.denied = "Microsoft.Network/virtualNetworks/peer/action"
	e = r.refused(http.MethodPut, back, peeringBody(hub, ""), "LinkedAuthorizationFailed")
	if e.Status != 403 || !strings.Contains(e.Message, hub) {
		t.Errorf("%d %s", e.Status, e.Message)
	}
}

// Using the other's gateway needs one there, none here, and the other's leave.
func TestPeeringGateways(t *testing.T) {
	r := newRig(t)
	two(r)
	r.put(hub+"/subnets/GatewaySubnet", subnetBody("GatewaySubnet", "10.0.9.0/24", ""))
	stand := func(subnet string) {
		if err := r.update(func(tx *rp.Tx) error {
			_, err := r.AllocateNIC(tx, network.NICRequest{Subnet: arm.MustParseID(subnet), Owner: subnet + "/gateway", Kind: "gateway"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	stand(hub + "/subnets/GatewaySubnet")
	r.put(out, peeringBody(spoke, ""))
	r.refused(http.MethodPut, back, peeringBody(hub, `,"useRemoteGateways":true`), "RemotePeeringDoesNotAllowGatewayTransit")
	r.put(out, peeringBody(spoke, `,"allowGatewayTransit":true`))
	r.put(back, peeringBody(hub, `,"useRemoteGateways":true`))
	r.view(func(tx *rp.Tx) error {
		top, err := r.Topology(tx)
		if err != nil {
			return err
		}
		if !top.VNets[0].Peerings[0].GatewayTransit || !top.VNets[1].Peerings[0].RemoteGateways {
			t.Errorf("%+v", top.VNets)
		}
		return nil
	})
	r.refused(http.MethodPut, out, peeringBody(spoke, `,"useRemoteGateways":true`), "VnetHasGateways")
	second := net0 + "virtualNetworks/second"
	r.put(second, vnetBody("10.7.0.0/16", subnetBody("GatewaySubnet", "10.7.9.0/24", "")))
	stand(second + "/subnets/GatewaySubnet")
	r.refused(http.MethodPut, spoke+"/virtualNetworkPeerings/more", peeringBody(second, `,"useRemoteGateways":true`), "AnotherPeeringAlreadyUsesRemoteGateways")
}
