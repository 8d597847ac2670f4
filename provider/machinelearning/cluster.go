package machinelearning

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/cluster"
	"vauban.dev/internal/isotime"
	"vauban.dev/locks"
	"vauban.dev/ml"
	"vauban.dev/store"
)

const (
	startTimeout = time.Minute      // for a node's agent to reach the batch service
	silence      = 90 * time.Second // a node that is not heard for longer is unusable
	watchEvery   = 10 * time.Second // how often a cluster with nodes is looked at
	retryEvery   = 2 * time.Second  // how soon a step that failed is tried again
	nodePids     = 4096             // processes and threads of a task
	maxAttempts  = 2                // a task whose node is lost is queued again once
)

// reconcileCluster takes the nodes of a cluster one step towards what its settings and its queue ask for:
// first each node, then their number. It is called again after a while for as long as there are nodes. The
// trouble of one node keeps neither the others nor the cluster from going on.
func (p *Provider) reconcileCluster(ctx context.Context, r *rp.Resource[Compute]) (rp.Result, error) {
	if !r.Properties.cluster() {
		return rp.Result{}, nil
	}
	p.nodes.change() // what brought this call may concern who waits
	defer p.nodes.change()
	var nodes []*node
	err := p.engine.View(ctx, func(tx *rp.Tx) (err error) {
		nodes, err = nodesOf(tx, r.ID)
		return err
	})
	if err != nil {
		return rp.Result{}, err
	}
	troubled := false
	for _, n := range nodes {
		if err := p.stepNode(ctx, r, n); err != nil {
			if ctx.Err() != nil {
				return rp.Result{}, err
			}
			troubled = true
			p.Log.Error("a node's step failed", "node", n.ID, "state", n.State, "err", err)
		}
	}
	again, err := p.scale(ctx, r)
	if err != nil {
		return rp.Result{}, err
	}
	missed, err := p.offer(ctx, r)
	if err != nil {
		return rp.Result{}, err
	}
	troubled = troubled || missed
	if troubled && (again == 0 || again > retryEvery) {
		again = retryEvery
	}
	return rp.Result{After: again, Ready: true}, nil
}

// scale compares the nodes with the queue and makes or dismisses some. It returns when to look again, 0 for not
// before something changes.
func (p *Provider) scale(ctx context.Context, r *rp.Resource[Compute]) (again time.Duration, err error) {
	do, nodes, err := p.decide(ctx, r)
	if err != nil {
		return 0, err
	}
	if refused := p.mayEnter(ctx, r, do.Allocate); refused != nil {
		return watchEvery, p.engine.Update(ctx, func(tx *rp.Tx) error { return putNote(tx, r.ID.String(), refused) })
	}
	for range do.Allocate {
		// Each in a transaction of its own: what a refused one had taken is given back.
		err := p.engine.Update(ctx, func(tx *rp.Tx) error { return p.allocate(tx, r) })
		if refused := arm.AsError(err); refused != nil {
			return watchEvery, p.engine.Update(ctx, func(tx *rp.Tx) error { return putNote(tx, r.ID.String(), refused) })
		}
		if err != nil {
			return 0, err
		}
	}
	switch {
	case do.Allocate > 0 || len(do.Deallocate) > 0:
		return time.Millisecond, nil
	case nodes == 0:
		return 0, nil
	case do.Next > 0 && do.Next < watchEvery:
		return max(do.Next, time.Millisecond), nil
	}
	return watchEvery, nil
}

// decide asks cluster.Decide, and tells the nodes that go.
func (p *Provider) decide(ctx context.Context, r *rp.Resource[Compute]) (do cluster.Decision, there int, err error) {
	a := r.Properties.Aml
	idle, err := isotime.ParseDuration(a.Scale.Idle)
	if err != nil {
		return do, 0, err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		nodes, err := nodesOf(tx, r.ID)
		if err != nil {
			return err
		}
		there = len(nodes)
		state := cluster.State{Min: a.Scale.Min, Max: a.Scale.Max, IdleTimeout: idle, Now: tx.Now}
		if state.Queued, err = waiting(tx, r.ID.String(), a.Scale.Max+there+1); err != nil {
			return err
		}
		byID := map[string]*node{}
		for _, n := range nodes {
			byID[n.ID] = n
			state.Nodes = append(state.Nodes, cluster.Node{ID: n.ID, State: n.State, Since: n.Since})
		}
		do = cluster.Decide(state)
		if len(do.Deallocate) > 0 {
			err := shrinkLocked(tx, r, do.Deallocate[0], there == len(do.Deallocate))
			if refused := arm.AsError(err); refused != nil {
				do.Deallocate = nil
				return putNote(tx, r.ID.String(), refused) // looked at again in a while
			}
			if err != nil {
				return err
			}
		}
		for _, id := range do.Deallocate {
			n := byID[id]
			n.enter(compute.NodeLeaving, tx.Now)
			if err := putDoc(tx, kindNode, n.ID, n); err != nil {
				return err
			}
		}
		works := slices.ContainsFunc(nodes, func(n *node) bool { return n.State == compute.NodeIdle || n.State == compute.NodeRunning })
		if works && do.Allocate <= 0 {
			return dropNote(tx, r.ID.String()) // what failed before works now
		}
		return nil
	})
	return do, there, err
}

// allocate makes a node: its document and its NIC, in one transaction. *arm.Error when the network refuses.
func (p *Provider) allocate(tx *rp.Tx, r *rp.Resource[Compute]) error {
	if err := networkLocked(tx, locks.Write, r); err != nil {
		return err
	}
	subnet, err := p.subnetFor(tx, r)
	if err != nil {
		return err
	}
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	id := "tvmps_" + hex.EncodeToString(b) + "_d"
	nic, err := p.Network.AllocateNode(tx, NodeRequest{Subnet: subnet, Cluster: r.ID, Node: id, Location: r.Location,
		Public: *r.Properties.Aml.NodePublicIP, SSH: r.Properties.Aml.RemoteLogin == "Enabled"})
	if err != nil {
		return err
	}
	return putDoc(tx, kindNode, id, &node{ID: id, Cluster: r.ID.String(), State: compute.NodeCreating, NIC: nic, Since: tx.Now})
}

// subnetFor is where the nodes stand: the user's subnet, or that of the network the service makes.
func (p *Provider) subnetFor(tx *rp.Tx, r *rp.Resource[Compute]) (arm.ID, error) {
	a := r.Properties.Aml
	if a.Subnet != nil {
		return arm.ParseID(a.Subnet.ID)
	}
	return p.Network.ManagedSubnet(tx, r.ID, r.Location, a.RemoteLogin == "Enabled")
}

// note is why a cluster does not get the nodes that it should have. It is kept until some work.
type note struct {
	Errors []ErrorBody `json:"errors"`
}

func putNote(tx store.Tx, cluster string, why *arm.Error) error {
	return putDoc(tx, kindNote, strings.ToLower(cluster), note{[]ErrorBody{{why}}})
}

func dropNote(tx store.Tx, cluster string) error {
	return deleteDoc(tx, kindNote, strings.ToLower(cluster))
}

func noted(tx store.Tx, cluster arm.ID) ([]ErrorBody, error) {
	n, err := getDoc[note](tx, kindNote, cluster.Key())
	if errors.Is(err, store.ErrNotFound) {
		return []ErrorBody{}, nil
	}
	if err != nil {
		return nil, err
	}
	return n.Errors, nil
}

// finalizeCluster removes the nodes of a deleted cluster, fails what waits for it, and removes the network
// that the service made for it.
func (p *Provider) finalizeCluster(ctx context.Context, r *rp.Resource[Compute]) (rp.Result, error) {
	if !r.Properties.cluster() {
		return rp.Result{}, nil
	}
	defer p.nodes.change()
	var nodes []*node
	err := p.engine.Update(ctx, func(tx *rp.Tx) (err error) {
		if nodes, err = nodesOf(tx, r.ID); err != nil {
			return err
		}
		tasks, err := tasksOf(tx, r.ID.String())
		if err != nil {
			return err
		}
		for _, t := range tasks {
			status, failure := ml.Failed, &ml.RunError{Code: "UserError", Message: "The compute '" + r.ID.Name() + "' was deleted."}
			if t.Canceled {
				status, failure = ml.Canceled, nil
			}
			if err := (*queue)(p).finish(tx, t, nil, status, failure); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rp.Result{}, err
	}
	var failed []error
	for _, n := range nodes {
		failed = append(failed, p.removeNode(ctx, n, true))
	}
	if err := errors.Join(failed...); err != nil {
		return rp.Result{}, err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		if err := errors.Join(dropNote(tx, r.ID.String()), p.Network.RemoveEntry(tx, r.ID)); err != nil || r.Properties.Aml.Subnet != nil {
			return err
		}
		return p.Network.RemoveManagedSubnet(tx, r.ID)
	})
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
