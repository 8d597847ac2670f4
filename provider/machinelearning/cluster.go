package machinelearning

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/compute/cluster"
	"vauban.dev/ml"
	"vauban.dev/store"
)

const (
	startTimeout = time.Minute      // for a node's agent to reach the batch service
	silence      = 90 * time.Second // a node that is not heard for longer is unusable
	watchEvery   = 10 * time.Second // how often a cluster with nodes is looked at
	nodePids     = 4096             // processes and threads of a task
	maxAttempts  = 2                // a task whose node is lost is queued again once
)

// reconcileCluster takes the nodes of a cluster one step towards what its settings and its queue ask for:
// first each node, then their number. It is called again after a while for as long as there are nodes.
func (p *Provider) reconcileCluster(ctx context.Context, r *rp.Resource[Compute]) (rp.Result, error) {
	var nodes []*node
	err := p.engine.View(ctx, func(tx *rp.Tx) (err error) {
		nodes, err = nodesOf(tx, r.ID)
		return err
	})
	if err != nil {
		return rp.Result{}, err
	}
	for _, n := range nodes {
		if err := p.stepNode(ctx, r, n); err != nil {
			return rp.Result{}, err
		}
	}
	again, err := p.scale(ctx, r)
	if err != nil {
		return rp.Result{}, err
	}
	return rp.Result{After: again, Ready: true}, nil
}

// scale compares the nodes with the queue and makes or dismisses some.
func (p *Provider) scale(ctx context.Context, r *rp.Resource[Compute]) (again time.Duration, err error) {
	a := r.Properties.Aml
	idle, err := isoDuration(a.Scale.Idle)
	if err != nil {
		return 0, err
	}
	var subnet arm.ID
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		nodes, err := nodesOf(tx, r.ID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(nodes, func(n *node) bool { return n.State == compute.NodeIdle || n.State == compute.NodeRunning }) {
			a.Errors = []ErrorBody{} // what failed before works now
		}
		tasks, err := tasksOf(tx, r.ID)
		if err != nil {
			return err
		}
		state := cluster.State{Min: a.Scale.Min, Max: a.Scale.Max, IdleTimeout: idle, Now: tx.Now}
		for _, t := range tasks {
			if t.Node == "" && !t.Canceled {
				state.Queued++
			}
		}
		byID := map[string]*node{}
		for _, n := range nodes {
			byID[n.ID] = n
			state.Nodes = append(state.Nodes, cluster.Node{ID: n.ID, State: n.State, Since: n.Since})
		}
		do := cluster.Decide(state)
		for _, id := range do.Deallocate {
			n := byID[id]
			n.enter(compute.NodeLeaving, tx.Now)
			if err := putDoc(tx, kindNode, n.ID, n); err != nil {
				return err
			}
		}
		if do.Allocate > 0 {
			if subnet, err = p.subnetFor(tx, r); err != nil {
				return err
			}
		}
		for range do.Allocate {
			if err := p.allocate(tx, r, subnet); err != nil {
				refused := arm.AsError(err)
				if refused == nil {
					return err
				}
				a.Errors = []ErrorBody{{refused}}
				again = watchEvery
				break
			}
			again = time.Millisecond
		}
		if len(do.Deallocate) > 0 {
			again = time.Millisecond
		}
		if again == 0 && len(nodes) > 0 {
			again = watchEvery
			if do.Next > 0 && do.Next < again {
				again = do.Next
			}
		}
		return nil
	})
	if err == nil {
		p.nodes.change()
	}
	return again, err
}

// subnetFor is where the nodes stand: the user's subnet, or that of the network the service makes.
func (p *Provider) subnetFor(tx *rp.Tx, r *rp.Resource[Compute]) (arm.ID, error) {
	a := r.Properties.Aml
	if a.Subnet != nil {
		return arm.ParseID(a.Subnet.ID)
	}
	return p.Network.ManagedSubnet(tx, r.ID, r.Location, a.RemoteLogin == "Enabled")
}

// allocate makes a node: its document and its NIC, in one transaction.
func (p *Provider) allocate(tx *rp.Tx, r *rp.Resource[Compute], subnet arm.ID) error {
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	id := "tvmps_" + hex.EncodeToString(b) + "_d"
	nic, err := p.Network.AllocateNode(tx, subnet, r.ID, id, *r.Properties.Aml.NodePublicIP)
	if err != nil {
		return err
	}
	return putDoc(tx, kindNode, id, &node{ID: id, Cluster: r.ID.String(), State: compute.NodeCreating, NIC: nic, Since: tx.Now})
}

// stepNode takes one node one step.
func (p *Provider) stepNode(ctx context.Context, r *rp.Resource[Compute], n *node) error {
	now := p.Clock.Now()
	switch n.State {
	case compute.NodeCreating:
		return p.startNode(ctx, r, n)
	case compute.NodeStarting:
		if now.Sub(n.Since) < startTimeout {
			return nil
		}
		return p.loseNode(ctx, n, p.whyUnreachable(ctx, r, n))
	case compute.NodeIdle, compute.NodeRunning:
		if heard := p.nodes.lastHeard(n.ID); p.Launcher.Alive(n.ID) && (heard.IsZero() || now.Sub(heard) < silence) {
			return nil
		}
		return p.loseNode(ctx, n, arm.Errorf(0, "NodeUnreachable", "The node '%s' is not heard by the Batch service any more.", n.ID))
	case compute.NodeLeaving, compute.NodeUnusable, compute.NodePreempted:
		return p.removeNode(ctx, r, n)
	}
	return fmt.Errorf("node %s is in the unknown state %q", n.ID, n.State)
}

// startNode: the NIC is in the store; the kernel must have it before the agent starts.
func (p *Provider) startNode(ctx context.Context, r *rp.Resource[Compute], n *node) error {
	if err := p.Network.Sync(ctx); err != nil {
		return err
	}
	token, hash := batch.MintToken()
	err := p.updateNode(ctx, n.ID, func(n *node, now time.Time) { n.Token = hash; n.enter(compute.NodeStarting, now) })
	if err != nil {
		return err
	}
	spec := NodeSpec{ID: n.ID, NIC: n.NIC.ID, Token: token, Host: BatchHost(r.Location)}
	if size := sizeOf(r.Properties.Aml.VMSize); size != nil {
		spec.Limits = compute.Limits{MemoryBytes: int64(size.MemoryGB * (1 << 30)), CPUs: float64(size.CPUs), Pids: nodePids}
	}
	if u := r.Properties.Aml.Account; u != nil {
		spec.User, spec.Key = u.Name, u.Key
	}
	if err := p.Launcher.Start(ctx, spec); err != nil {
		return errors.Join(err, p.updateNode(ctx, n.ID, func(n *node, now time.Time) { n.enter(compute.NodeCreating, now) }))
	}
	return nil
}

// BatchHost is the batch service that the nodes of a location speak to.
func BatchHost(location string) string { return "azureml." + location + ".batch.azure.com" }

func (p *Provider) updateNode(ctx context.Context, id string, f func(*node, time.Time)) error {
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		n, err := getDoc[node](tx, kindNode, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		f(n, tx.Now)
		return putDoc(tx, kindNode, id, n)
	})
}

// whyUnreachable says what keeps a node from the batch service: the network is asked, not the node.
func (p *Provider) whyUnreachable(ctx context.Context, r *rp.Resource[Compute], n *node) *arm.Error {
	host := BatchHost(r.Location)
	return arm.Errorf(0, "NodeStartTimeout", "The compute node '%s' (%s) could not be started: it did not reach the Batch service at %s:443 within %s. %s",
		n.ID, n.NIC.Private, host, startTimeout, p.Network.Why(ctx, n.NIC.ID, host, 443))
}

// loseNode gives up a node; what it ran is queued again once.
func (p *Provider) loseNode(ctx context.Context, n *node, why *arm.Error) error {
	p.Log.Warn("node lost", "node", n.ID, "why", why.Message)
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		n, err := getDoc[node](tx, kindNode, n.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		n.Error, n.Task = why, ""
		n.enter(compute.NodeUnusable, tx.Now)
		if err := putDoc(tx, kindNode, n.ID, n); err != nil {
			return err
		}
		return p.requeue(tx, n.ID, why.Message)
	})
}

func (p *Provider) requeue(tx *rp.Tx, nodeID, why string) error {
	held, err := scanDocs(tx, kindTask, func(t *task) bool { return t.Node == nodeID })
	if err != nil {
		return err
	}
	for _, t := range held {
		switch {
		case t.Canceled:
			err = (*queue)(p).finish(tx, t, nil, ml.Canceled, nil)
		case t.Attempt >= maxAttempts:
			err = (*queue)(p).finish(tx, t, nil, ml.Failed, &ml.RunError{Code: "ServiceError", Message: "The node of the job was lost twice: " + why})
		default:
			t.Node = ""
			err = errors.Join(putDoc(tx, kindTask, t.ID, t), (*queue)(p).advance(tx, t, ml.Queued))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeNode stops the agent, then gives the address back.
func (p *Provider) removeNode(ctx context.Context, r *rp.Resource[Compute], n *node) error {
	if err := p.Launcher.Stop(ctx, n.ID); err != nil {
		return err
	}
	err := p.engine.Update(ctx, func(tx *rp.Tx) error {
		if err := p.requeue(tx, n.ID, "it was deallocated"); err != nil {
			return err
		}
		if err := p.Network.ReleaseNode(tx, n.NIC.ID); err != nil {
			return err
		}
		return deleteDoc(tx, kindNode, n.ID)
	})
	if err != nil {
		return err
	}
	p.nodes.forget(n.ID)
	if n.Error != nil {
		r.Properties.Aml.Errors = []ErrorBody{{n.Error}}
	}
	return p.Network.Sync(ctx)
}

// finalizeCluster removes the nodes of a deleted cluster, fails what waits for it, and removes the network
// that the service made for it.
func (p *Provider) finalizeCluster(ctx context.Context, r *rp.Resource[Compute]) (rp.Result, error) {
	var nodes []*node
	err := p.engine.View(ctx, func(tx *rp.Tx) (err error) {
		nodes, err = nodesOf(tx, r.ID)
		return err
	})
	if err != nil {
		return rp.Result{}, err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		tasks, err := tasksOf(tx, r.ID)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if err := (*queue)(p).finish(tx, t, nil, ml.Failed, &ml.RunError{Code: "UserError", Message: "The compute '" + r.ID.Name() + "' was deleted."}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rp.Result{}, err
	}
	for _, n := range nodes {
		if err := p.removeNode(ctx, r, n); err != nil {
			return rp.Result{}, err
		}
	}
	if r.Properties.Aml.Subnet != nil {
		return rp.Result{}, nil
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error { return p.Network.RemoveManagedSubnet(tx, r.ID) })
	if err != nil {
		return rp.Result{}, err
	}
	return rp.Result{}, p.Network.Sync(ctx)
}

// Run has every cluster looked at once after a start; from then on they ask for it themselves.
func (p *Provider) Run(ctx context.Context) error {
	return p.engine.View(ctx, func(tx *rp.Tx) error {
		all, err := rp.List[Compute](tx, ComputeType, arm.MustParseID("/"))
		for _, c := range all {
			p.engine.Wake(c.ID)
		}
		return err
	})
}
