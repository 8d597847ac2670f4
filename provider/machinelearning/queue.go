package machinelearning

import (
	"context"
	"errors"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/ml"
	"vauban.dev/store"
)

// Queue is the batch service's view of nodes and tasks.
func (p *Provider) Queue() batch.Queue { return (*queue)(p) }

type queue Provider

var _ batch.Queue = (*queue)(nil)

func (q *queue) Node(ctx context.Context, id string) (out batch.Node, err error) {
	err = q.engine.View(ctx, func(tx *rp.Tx) error {
		n, err := findNode(tx, id)
		if err != nil {
			return err
		}
		cluster, err := arm.ParseID(n.Cluster)
		if err != nil {
			return err
		}
		c, err := rp.Get[Compute](tx, cluster)
		if isNotFound(err) {
			return batch.ErrNoNode
		}
		if err != nil {
			return err
		}
		out = batch.Node{ID: n.ID, NIC: n.NIC.ID, TokenSHA256: n.Token, Source: q.Network.Egress(n.NIC.ID, BatchHost(c.Location))}
		return nil
	})
	return out, err
}

func findNode(tx store.Tx, id string) (*node, error) {
	n, err := getDoc[node](tx, kindNode, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, batch.ErrNoNode
	}
	return n, err
}

func (q *queue) Registered(ctx context.Context, id string, r batch.Register) error {
	q.nodes.hear(id)
	return q.engine.Update(ctx, func(tx *rp.Tx) error {
		n, err := findNode(tx, id)
		if err != nil {
			return err
		}
		n.Runs = r.Isolation
		if n.State == compute.NodeCreating || n.State == compute.NodeStarting || n.State == compute.NodeUnusable {
			if n.called() { // it is of use when it can be called
				n.Registered = true
				n.enter(compute.NodeStarting, tx.Now)
			} else {
				n.Error = nil
				n.enter(compute.NodeIdle, tx.Now)
			}
			if err := dropNote(tx, n.Cluster); err != nil {
				return err
			}
		}
		if err := putDoc(tx, kindNode, n.ID, n); err != nil {
			return err
		}
		return wakeCluster(tx, n.Cluster)
	})
}

func wakeCluster(tx *rp.Tx, cluster string) error {
	id, err := arm.ParseID(cluster)
	if err != nil {
		return err
	}
	tx.Wake(id)
	return nil
}

func (q *queue) Changed(string) <-chan struct{} { return q.nodes.wait() }

// Polled answers from a snapshot when nothing is to be written, which is nearly always.
func (q *queue) Polled(ctx context.Context, id string, p batch.Poll) (reply batch.Reply, err error) {
	q.nodes.hear(id)
	write := false
	err = q.engine.View(ctx, func(tx *rp.Tx) (err error) {
		reply, write, err = q.poll(tx, id, p, false)
		return err
	})
	if err != nil || !write {
		return reply, err
	}
	err = q.engine.Update(ctx, func(tx *rp.Tx) (err error) {
		reply, _, err = q.poll(tx, id, p, true)
		return err
	})
	if err == nil && reply.Assignment != nil {
		q.nodes.spend(id)
	}
	return reply, err
}

// poll works out the reply. With write it leases a task to the node when one waits; without, it says that it would.
func (q *queue) poll(tx *rp.Tx, id string, p batch.Poll, write bool) (reply batch.Reply, would bool, err error) {
	n, err := findNode(tx, id)
	if err != nil {
		return reply, false, err
	}
	if n.State == compute.NodeLeaving {
		reply.Signals = append(reply.Signals, batch.Signal{ID: "stop", Kind: batch.Stop})
	}
	t, err := leased(tx, n)
	if err != nil {
		return reply, false, err
	}
	has := false
	for _, h := range p.Held {
		if t == nil || t.ID != h.Task || t.Attempt != h.Attempt {
			reply.Lost = append(reply.Lost, h)
			continue
		}
		if has = true; t.Canceled {
			reply.Signals = append(reply.Signals, batch.Signal{ID: "cancel-" + h.Task, Kind: batch.Cancel, Task: h.Task})
		}
	}
	if has || n.State != compute.NodeIdle && n.State != compute.NodeRunning {
		return reply, false, nil
	}
	if t == nil {
		if n.called() && !q.nodes.granted(id, p.Grant) {
			return reply, false, nil
		}
		if t, err = oldest(tx, n.Cluster); t == nil || err != nil {
			return reply, false, err
		}
	}
	reply.Assignment, would, err = q.assign(tx, t, n, write)
	return reply, would, err
}

// assign makes the assignment of a task that the node does not hold yet; none when the task turns out to have
// ended.
func (q *queue) assign(tx *rp.Tx, t *task, n *node, write bool) (a *batch.Assignment, would bool, err error) {
	switch {
	case !write && (t.Node == "" || t.Canceled):
		return nil, true, nil
	case t.Canceled: // before the node had it
		return nil, false, q.finish(tx, t, n, ml.Canceled, nil)
	case t.Node == "":
		if err := lease(tx, t, n, tx.Now); err != nil {
			return nil, false, err
		}
	}
	doc, err := (*Provider)(q).buildTask(tx, t)
	refused := arm.AsError(err)
	if errors.Is(err, ml.ErrNotFound) {
		refused = userError("The run '%s' does not exist any more.", t.Run)
	}
	switch {
	case refused != nil && !write:
		return nil, true, nil
	case refused != nil: // the task cannot be made (a datastore went): the run fails, with the reason
		return nil, false, q.finish(tx, t, n, ml.Failed, &ml.RunError{Code: "UserError", Message: refused.Message})
	case err != nil:
		return nil, false, err
	}
	return &batch.Assignment{Task: doc, Attempt: t.Attempt}, false, nil
}

func (q *queue) Report(ctx context.Context, id string, r compute.Report) error {
	q.nodes.hear(id)
	err := q.engine.Update(ctx, func(tx *rp.Tx) error {
		t, err := getDoc[task](tx, kindTask, r.Task)
		if errors.Is(err, store.ErrNotFound) || err == nil && (t.Node != id || t.Attempt != r.Attempt) {
			return batch.ErrLost
		}
		if err != nil {
			return err
		}
		if r.Seq <= t.Seq {
			return nil
		}
		t.Seq = r.Seq
		n, err := findNode(tx, id)
		if err != nil {
			return err
		}
		if r.State.Final() {
			status, failure := outcome(r)
			return q.finish(tx, t, n, status, failure)
		}
		if err := putDoc(tx, kindTask, t.ID, t); err != nil {
			return err
		}
		return q.advance(tx, t, statusOf(r.State))
	})
	if err == nil && r.State.Final() {
		q.nodes.change()
	}
	return err
}

func statusOf(s compute.TaskState) ml.Status {
	switch s {
	case compute.TaskRunning:
		return ml.Running
	case compute.TaskFinalizing:
		return ml.Finalizing
	}
	return ml.Preparing
}

func outcome(r compute.Report) (ml.Status, *ml.RunError) {
	switch {
	case r.State == compute.TaskCompleted:
		return ml.Completed, nil
	case r.State == compute.TaskCanceled:
		return ml.Canceled, nil
	case r.Failure == nil:
		return ml.Failed, &ml.RunError{Code: "ServiceError", Message: "The node reported a failure without a reason."}
	case r.Failure.Kind == compute.FailureUser:
		return ml.Failed, &ml.RunError{Code: "UserError", Message: r.Failure.Code + ": " + r.Failure.Message}
	}
	return ml.Failed, &ml.RunError{Code: "ServiceError", Message: r.Failure.Code + ": " + r.Failure.Message}
}

// advance moves the run of t; a run that waits for its cancellation stays so until it has ended.
func (q *queue) advance(tx *rp.Tx, t *task, to ml.Status) error {
	_, err := q.Runs.UpdateRunTx(tx, t.GUID, t.Run, func(r *ml.Run) error {
		if r.Status == ml.CancelRequested || r.Status.Terminal() {
			return nil
		}
		return r.SetStatus(to, tx.Now)
	})
	if errors.Is(err, ml.ErrNotFound) {
		return nil
	}
	return err
}

// finish ends t and its run, and frees its node (nil: it had none).
func (q *queue) finish(tx *rp.Tx, t *task, n *node, status ml.Status, failure *ml.RunError) error {
	_, err := q.Runs.UpdateRunTx(tx, t.GUID, t.Run, func(r *ml.Run) error {
		if r.Status.Terminal() {
			return nil
		}
		r.Error = failure
		return r.SetStatus(status, tx.Now)
	})
	if err != nil && !errors.Is(err, ml.ErrNotFound) {
		return err
	}
	if n != nil {
		n.Lease, n.Task = "", ""
		if n.State == compute.NodeRunning {
			n.enter(compute.NodeIdle, tx.Now)
		}
		if err := putDoc(tx, kindNode, n.ID, n); err != nil {
			return err
		}
	}
	if err := dropTask(tx, t); err != nil {
		return err
	}
	return wakeCluster(tx, t.Cluster)
}
