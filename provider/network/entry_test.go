package network_test

import (
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// An entry leads the internet to each interface at a port of its own, cannot be deleted while one is there, and goes whole.
func TestEntry(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
	owner := arm.MustParseID(vnet[:len(vnet)-len("/providers/Microsoft.Network/virtualNetworks/vnet")] + "/providers/Microsoft.MachineLearningServices/workspaces/w/computes/c")
	group := arm.MustParseID("/subscriptions/" + owner.Subscription() + "/resourceGroups/" + owner.ResourceGroup())
	var e *network.Entry
	var nics [2]network.NIC
	err := r.update(func(tx *rp.Tx) (err error) {
		for i, node := range []string{"one", "two"} {
			e, err = r.EnsureEntry(tx, network.EntryRequest{Owner: owner, Group: group, Location: "westeurope", Allow: []network.EntryRule{{Name: "In", Source: "AzureMachineLearning", Port: 44224}}})
			if err != nil {
				return err
			}
			nics[i], err = r.AllocateNIC(tx, network.NICRequest{Subnet: arm.MustParseID(vnet + "/subnets/a"), Owner: owner.String() + "/nodes/" + node, Kind: network.NodeKind,
				NSG: e.NSG, Entry: e, Ports: []network.EntryPort{{Port: 44224, From: 44224}, {Port: 22, From: 50000}}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := nics[0].Inbound, nics[1].Inbound; len(a) != 2 || len(b) != 2 || a[0].Address.Port() != 44224 || b[0].Address.Port() != 44225 || b[1].Address.Port() != 50001 || a[0].Address.Addr() != e.Address {
		t.Errorf("the nodes are called at %v and %v", a, b)
	}
	err = r.update(func(tx *rp.Tx) error { return rp.Remove(tx, arm.MustParseID(e.LoadBalancer)) })
	if arm.AsError(err) == nil || arm.AsError(err).Code != "LoadBalancerInUseByVirtualMachineScaleSet" {
		t.Errorf("a load balancer in use: %v", err)
	}
	top := r.topology()
	if len(top.LoadBalancers) != 1 || len(top.LoadBalancers[0].NATRules) != 4 || len(top.LoadBalancers[0].Outbound) != 1 || len(top.LoadBalancers[0].Outbound[0].Backends) != 2 {
		t.Errorf("load balancers %+v", top.LoadBalancers)
	}
	err = r.update(func(tx *rp.Tx) error {
		for _, n := range nics {
			if err := r.ReleaseNIC(tx, n.ID); err != nil {
				return err
			}
		}
		return r.RemoveEntry(tx, owner)
	})
	if err != nil {
		t.Fatal(err)
	}
	if top = r.topology(); len(top.LoadBalancers) > 0 || len(top.NSGs) > 0 {
		t.Errorf("left: %+v", top)
	}
}
