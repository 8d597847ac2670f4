package machinelearning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/ml"
	"vauban.dev/store"
)

// stepNode takes one node one step.
func (p *Provider) stepNode(ctx context.Context, r *rp.Resource[Compute], n *node) error {
	switch n.State {
	case compute.NodeCreating:
		return p.startNode(ctx, r, n)
	case compute.NodeStarting:
		switch {
		case p.Clock.Now().Sub(n.Since) >= startTimeout:
			return p.loseNode(ctx, n, p.whyUnreachable(ctx, r, n))
		case !p.Launcher.Alive(n.ID): // it ended, or a crash came between the note and the start
			return p.startNode(ctx, r, n)
		}
		return nil
	case compute.NodeIdle, compute.NodeRunning:
		switch {
		case !p.Launcher.Alive(n.ID):
			return p.loseNode(ctx, n, nodeError("NodeUnreachable", "The agent of the node '%s' has ended.", n.ID))
		case p.nodes.silent(n.ID) >= silence:
			return p.loseNode(ctx, n, nodeError("NodeUnreachable", "The node '%s' is not heard by the Batch service any more.", n.ID))
		}
		return nil
	case compute.NodeLeaving, compute.NodeUnusable, compute.NodePreempted:
		return p.removeNode(ctx, n, false)
	}
	return fmt.Errorf("node %s is in the unknown state %q", n.ID, n.State)
}

// nodeError is an error as a cluster shows those of its nodes.
func nodeError(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusConflict, code, format, args...)
}

// startNode: the NIC is in the store; the kernel must have it before the agent starts. It may be called again
// for a node that is Starting: the time since it first was goes on.
func (p *Provider) startNode(ctx context.Context, r *rp.Resource[Compute], n *node) error {
	if err := p.Network.Sync(ctx); err != nil {
		return err
	}
	token, hash := batch.MintToken()
	ours, err := p.updateNode(ctx, n.ID, func(n *node, now time.Time) bool {
		if n.State != compute.NodeCreating && n.State != compute.NodeStarting {
			return false
		}
		n.Token = hash
		n.enter(compute.NodeStarting, now)
		return true
	})
	if err != nil || !ours {
		return err
	}
	spec := NodeSpec{ID: n.ID, NIC: n.NIC.ID, Token: token, Host: BatchHost(r.Location), Called: n.called()}
	if size := sizeOf(r.Properties.Aml.VMSize); size != nil {
		spec.Limits = compute.Limits{MemoryBytes: int64(size.MemoryGB * (1 << 30)), CPUs: float64(size.CPUs), Pids: nodePids}
	}
	if u := r.Properties.Aml.Account; u != nil {
		spec.User, spec.Key = u.Name, u.Key
	}
	failure := p.Launcher.Start(ctx, spec)
	_, err = p.updateNode(ctx, n.ID, func(n *node, _ time.Time) bool {
		had := n.Error != nil
		if n.Error = nil; failure != nil {
			n.Error = nodeError("NodeStartFailed", "The compute node '%s' could not be started: %v.", n.ID, failure)
		}
		return had || failure != nil
	})
	return errors.Join(failure, err)
}

// BatchHost is the batch service that the nodes of a location speak to.
func BatchHost(location string) string { return "azureml." + location + ".batch.azure.com" }

// updateNode changes a node by f, which says whether it did; false also for a node that is gone.
func (p *Provider) updateNode(ctx context.Context, id string, f func(*node, time.Time) bool) (changed bool, err error) {
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		changed = false
		n, err := getDoc[node](tx, kindNode, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if changed = f(n, tx.Now); !changed {
			return nil
		}
		return putDoc(tx, kindNode, id, n)
	})
	return changed, err
}

// whyUnreachable says what keeps a node from the batch service: the network is asked, not the node.
func (p *Provider) whyUnreachable(ctx context.Context, r *rp.Resource[Compute], n *node) *arm.Error {
	if n.Error != nil {
		return n.Error
	}
	if n.Registered {
		return p.whyUncalled(ctx, n)
	}
	host := BatchHost(r.Location)
	return nodeError("NodeStartTimeout", "The compute node '%s' (%s) could not be started: it did not reach the Batch service at %s:443 within %s. %s",
		n.ID, n.NIC.Private, host, startTimeout, p.Network.Why(ctx, n.NIC.ID, host, 443))
}

// loseNode gives up a node, unless it has come into another state meanwhile; what it ran is queued again once.
func (p *Provider) loseNode(ctx context.Context, seen *node, why *arm.Error) error {
	p.Log.Warn("node lost", "node", seen.ID, "why", why.Message)
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		n, err := getDoc[node](tx, kindNode, seen.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && n.State != seen.State {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.requeue(tx, n, why.Message); err != nil {
			return err
		}
		n.Error, n.Lease, n.Task = why, "", ""
		n.enter(compute.NodeUnusable, tx.Now)
		return errors.Join(putDoc(tx, kindNode, n.ID, n), putNote(tx, n.Cluster, why))
	})
}

// requeue takes its task from a node that will not end it.
func (p *Provider) requeue(tx *rp.Tx, n *node, why string) error {
	t, err := leased(tx, n)
	if t == nil || err != nil {
		return err
	}
	switch {
	case t.Canceled:
		return (*queue)(p).finish(tx, t, nil, ml.Canceled, nil)
	case t.Attempt >= maxAttempts:
		return (*queue)(p).finish(tx, t, nil, ml.Failed, &ml.RunError{Code: "ServiceError", Message: "The node of the job was lost twice: " + why})
	}
	return errors.Join(enqueue(tx, t), (*queue)(p).advance(tx, t, ml.Queued))
}

// removeNode stops the agent, then gives the address back. Unless forced it leaves a node alone that is of use
// again.
func (p *Provider) removeNode(ctx context.Context, n *node, force bool) error {
	ours, err := p.updateNode(ctx, n.ID, func(n *node, now time.Time) bool {
		if !force && (n.State == compute.NodeIdle || n.State == compute.NodeRunning) {
			return false
		}
		n.enter(compute.NodeLeaving, now) // from here on nothing revives it
		return true
	})
	if err != nil || !ours {
		return err
	}
	if err := p.Launcher.Stop(ctx, n.ID); err != nil {
		return err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		n, err := getDoc[node](tx, kindNode, n.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.requeue(tx, n, "it was deallocated"); err != nil {
			return err
		}
		if err := p.Network.ReleaseNode(tx, n.NIC.ID); err != nil {
			return err
		}
		if err := deleteDoc(tx, kindNode, n.ID); err != nil {
			return err
		}
		return p.leaveNetwork(tx, n)
	})
	if err != nil {
		return err
	}
	p.nodes.forget(n.ID)
	return p.Network.Sync(ctx)
}
