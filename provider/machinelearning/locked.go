package machinelearning

import (
	"context"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/locks"
)

// networkLocked refuses what the locks on a virtual network's resource group keep the service from: nodes with public
// addresses have a network security group, a public address and a load balancer there (specification, training: the
// resources of a compute with public IP).
func networkLocked(tx *rp.Tx, v locks.Verb, r *rp.Resource[Compute]) error {
	a := r.Properties.Aml
	if a == nil || !r.Properties.cluster() || a.Subnet == nil || a.NodePublicIP == nil || !*a.NodePublicIP {
		return nil
	}
	subnet, err := arm.ParseID(a.Subnet.ID)
	if err != nil || subnet.ResourceGroup() == "" {
		return nil
	}
	balancer, err := arm.ParseID("/subscriptions/" + subnet.Subscription() + "/resourceGroups/" + subnet.ResourceGroup() +
		"/providers/Microsoft.Network/loadBalancers/" + r.ID.Name() + "-azurebatch-cloudserviceloadbalancer")
	if err != nil {
		return nil
	}
	return rp.CheckLocks(tx, v, balancer)
}

// releaseCompute: with the network's group locked, a compute in it cannot be deleted.
func releaseCompute(_ context.Context, tx *rp.Tx, r *rp.Resource[Compute]) error {
	return networkLocked(tx, locks.Delete, r)
}

// shrinkLocked says what keeps the service from removing a node that is not used: a lock against deletion on the workspace's
// group holds it ("Lock your resources": autoscaling of compute clusters), and for the last node one on the network's group,
// where the load balancer would have to go.
func shrinkLocked(tx *rp.Tx, r *rp.Resource[Compute], node string, last bool) error {
	if err := rp.CheckLocks(tx, locks.Delete, r.ID.Child("nodes", node)); err != nil || !last {
		return err
	}
	return networkLocked(tx, locks.Delete, r)
}
