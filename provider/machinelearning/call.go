package machinelearning

import (
	"context"
	"errors"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/locks"
	"vauban.dev/ml"
	"vauban.dev/store"
)

// Nodes with public addresses are called: the service hands them work through the load balancer of their compute, at port 44224
// ("Secure a training environment with virtual networks", compute cluster with public IP). What a call hands over is a grant to
// ask for work (batch.Call).

const (
	callTimeout = 5 * time.Second  // for a connection to a node
	grantTime   = 30 * time.Second // for the node to ask for the work that it was called for
	missTime    = 30 * time.Second // that work waits for a call to get through
)

// called says that the service calls the node.
func (n *node) called() bool { return n.NIC.Inbound != "" }

// grant is what a node was given by a call.
type grant struct {
	text string
	at   time.Time
}

// granted says whether the node has this grant, or with "" any, and it still counts.
func (s *nodeSet) granted(id, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.grants[id]
	return ok && (text == "" || text == g.text) && s.now().Sub(g.at) < grantTime
}

// spend ends the node's grant.
func (s *nodeSet) spend(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.grants, id)
}

// grant notes what a call gave the node.
func (s *nodeSet) grant(id, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants[id] = grant{text, s.now()}
	delete(s.missed, id)
}

// miss notes a call that did not get through, and returns for how long none has.
func (s *nodeSet) miss(id string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.missed[id]; !ok {
		s.missed[id] = s.now()
	}
	return s.now().Sub(s.missed[id])
}

// call calls a node and says whether it got through.
func (p *Provider) call(ctx context.Context, n *node) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := p.Network.Call(ctx, n.NIC)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		defer c.Close()
		var text string
		if text, err = batch.Call(c, n.Token); err == nil {
			p.nodes.grant(n.ID, text)
			return true
		}
	}
	p.Log.Debug("a call to a node did not get through", "node", n.ID, "at", n.NIC.Inbound, "err", err)
	return false
}

// offer calls the nodes that start and have registered, which makes them idle, and idle nodes, one for each task that waits;
// missed says that some were not reached. An idle node that has not been for long is given up, and the task that it was called
// for fails: nothing else would tell its owner.
func (p *Provider) offer(ctx context.Context, r *rp.Resource[Compute]) (missed bool, err error) {
	var nodes []*node
	err = p.engine.View(ctx, func(tx *rp.Tx) (err error) {
		nodes, err = p.uncalled(tx, r.ID)
		return err
	})
	if err != nil || len(nodes) == 0 {
		return false, err
	}
	through := make([]bool, len(nodes))
	var calls sync.WaitGroup
	for i, n := range nodes {
		calls.Go(func() { through[i] = p.call(ctx, n) })
	}
	calls.Wait()
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	for i, n := range nodes {
		switch {
		case through[i] && n.State == compute.NodeStarting:
			p.nodes.spend(n.ID) // it was not called for work
			_, failed := p.updateNode(ctx, n.ID, func(n *node, now time.Time) bool {
				if n.State != compute.NodeStarting {
					return false
				}
				n.Error = nil
				n.enter(compute.NodeIdle, now)
				return true
			})
			err = errors.Join(err, failed)
		case through[i]:
		case n.State == compute.NodeIdle && p.nodes.miss(n.ID) >= missTime:
			err = errors.Join(err, p.undeliverable(ctx, r, n))
			missed = true
		default:
			missed = true
		}
	}
	return missed, err
}

// uncalled are the nodes of a compute that are to be called now.
func (p *Provider) uncalled(tx *rp.Tx, cluster arm.ID) (list []*node, err error) {
	nodes, err := nodesOf(tx, cluster)
	if err != nil {
		return nil, err
	}
	tasks, err := waiting(tx, cluster.String(), len(nodes))
	for _, n := range nodes {
		switch {
		case !n.called():
		case n.State == compute.NodeStarting && n.Registered:
			list = append(list, n)
		case n.State == compute.NodeIdle && tasks > 0:
			tasks--
			if !p.nodes.granted(n.ID, "") {
				list = append(list, n)
			}
		}
	}
	return list, err
}

// undeliverable gives up a node that work cannot be handed to, and fails the task that waits the longest.
func (p *Provider) undeliverable(ctx context.Context, r *rp.Resource[Compute], n *node) error {
	why := p.whyUncalled(ctx, n)
	if err := p.loseNode(ctx, n, why); err != nil {
		return err
	}
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		t, err := oldest(tx, r.ID.String())
		if t == nil || err != nil {
			return err
		}
		return (*queue)(p).finish(tx, t, nil, ml.Failed, &ml.RunError{Code: "ServiceError", Message: "The job could not be handed to a node. " + why.Message})
	})
}

// whyUncalled says what keeps the service from calling a node.
func (p *Provider) whyUncalled(ctx context.Context, n *node) *arm.Error {
	return nodeError("NodeNotReachable", "Azure Machine Learning did not reach the compute node '%s' (%s) through its load balancer at %s, port %d of the node. %s",
		n.ID, n.NIC.Private, n.NIC.Inbound, batch.CallPort, p.Network.WhyCalled(ctx, n.NIC))
}

// mayEnter refuses the first nodes of a compute whose network resources may not be made.
func (p *Provider) mayEnter(ctx context.Context, r *rp.Resource[Compute], allocate int) *arm.Error {
	a := r.Properties.Aml
	if allocate <= 0 || a.Subnet == nil || !*a.NodePublicIP {
		return nil
	}
	subnet, err := arm.ParseID(a.Subnet.ID)
	if err == nil {
		err = p.Network.MayEnter(ctx, r.ID, subnet, r.Location)
	}
	return arm.AsError(err)
}

// leaveNetwork removes what a compute has in its network's group when its last node has gone ("scale down to 0"). With the group
// locked it stays.
func (p *Provider) leaveNetwork(tx *rp.Tx, n *node) error {
	if !n.called() {
		return nil
	}
	cluster, err := arm.ParseID(n.Cluster)
	if err != nil {
		return err
	}
	left, err := nodesOf(tx, cluster)
	if err != nil || len(left) > 0 {
		return err
	}
	r, err := rp.Get[Compute](tx, cluster)
	if isNotFound(err) || errors.Is(err, store.ErrNotFound) {
		return p.Network.RemoveEntry(tx, cluster)
	}
	if err != nil {
		return err
	}
	if err := networkLocked(tx, locks.Delete, r); err != nil {
		if arm.AsError(err) != nil {
			return nil
		}
		return err
	}
	return p.Network.RemoveEntry(tx, cluster)
}
