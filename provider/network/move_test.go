package network_test

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// TestMove: a virtual network with what is in it goes to another group; its interface keeps its addresses, and nobody
// else gets them.
func TestMove(t *testing.T) {
	r := newRig(t)
	if err := r.engine.Register(rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/resourceGroups", Versions: rp.Versions[struct{}](latest)})); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(group, "/rg", "/Other", 1)
	for _, g := range []string{group, other} {
		r.put(g, `{"location":"westeurope"}`)
	}
	nsg, ip, nic, asg := net0+"networkSecurityGroups/nsg", net0+"publicIPAddresses/ip", net0+"networkInterfaces/nic", net0+"applicationSecurityGroups/asg"
	r.put(nsg, `{"location":"westeurope"}`)
	r.put(asg, `{"location":"westeurope"}`)
	r.put(ip, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("s", "10.20.1.0/24", `,"networkSecurityGroup":`+ref(nsg))))
	nicBody := func(subnet, more string) string {
		return `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":` + ref(subnet) + more + `}}]}}`
	}
	r.put(nic, nicBody(vnet+"/subnets/s", `,"publicIPAddress":`+ref(ip)+`,"applicationSecurityGroups":[`+ref(asg)+`]`))
	public := at(r.get(ip), "properties.ipAddress")

	move := func(ids ...string) error {
		m := rp.Moving{Source: arm.MustParseID(group), Target: arm.MustParseID(other)}
		for _, id := range ids {
			m.Resources = append(m.Resources, arm.MustParseID(id))
		}
		return r.update(func(tx *rp.Tx) error { return rp.Move(t.Context(), tx, m) })
	}
	if err := move(vnet, nic, ip); err != nil {
		t.Fatal(err)
	}
	there := func(id string) string { return strings.Replace(id, group, other, 1) }
	got := r.get(there(nic))
	r.want(got, "properties.ipConfigurations.0.properties.subnet.id", there(vnet)+"/subnets/s")
	r.want(got, "properties.ipConfigurations.0.properties.publicIPAddress.id", there(ip))
	r.want(got, "properties.ipConfigurations.0.properties.applicationSecurityGroups.0.id", asg)
	r.want(got, "properties.ipConfigurations.0.properties.privateIPAddress", "10.20.1.4")
	r.want(r.get(there(ip)), "properties.ipAddress", public)
	r.want(r.get(there(ip)), "properties.ipConfiguration.id", there(nic)+"/ipConfigurations/c")
	r.want(r.get(nsg), "properties.subnets.0.id", there(vnet)+"/subnets/s")
	r.refused("GET", vnet, "", "ResourceNotFound")

	r.put(there(nic)+"2", nicBody(there(vnet)+"/subnets/s", ""))
	r.want(r.get(there(nic)+"2"), "properties.ipConfigurations.0.properties.privateIPAddress", "10.20.1.5")
	r.delete(there(nic))
	r.put(there(nic)+"3", nicBody(there(vnet)+"/subnets/s", ""))
	r.want(r.get(there(nic)+"3"), "properties.ipConfigurations.0.properties.privateIPAddress", "10.20.1.4")
	r.refused("DELETE", there(vnet), "", "InUseSubnetCannotBeDeleted")

	peer := vnet + "2"
	r.put(peer, vnetBody("10.30.0.0/16"))
	r.put(peer+"/virtualNetworkPeerings/p", `{"properties":{"remoteVirtualNetwork":`+ref(there(vnet))+`}}`)
	if err := move(peer); err == nil || !strings.Contains(fmt.Sprint(arm.AsError(err).Details[0].Details[0]), "VirtualNetworkWithPeeringsCannotBeMoved") {
		t.Errorf("with a peering: %v", err)
	}
}
