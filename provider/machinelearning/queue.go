package machinelearning

import (
	"context"
	"errors"
	"slices"

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
	q.nodes.hear(id, q.Clock.Now())
	return q.engine.Update(ctx, func(tx *rp.Tx) error {
		n, err := findNode(tx, id)
		if err != nil {
			return err
		}
		n.Runs = r.Isolation
		if n.State == compute.NodeCreating || n.State == compute.NodeStarting || n.State == compute.NodeUnusable {
			n.Error = nil
			n.enter(compute.NodeIdle, tx.Now)
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
	q.nodes.hear(id, q.Clock.Now())
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
	return reply, err
}

// poll works out the reply. With write it leases a task to the node when one waits; without, it says that it would.
func (q *queue) poll(tx *rp.Tx, id string, p batch.Poll, write bool) (reply batch.Reply, would bool, err error) {
	n, err := findNode(tx, id)
	if err != nil {
		return reply, false, err
	}
	cluster, err := arm.ParseID(n.Cluster)
	if err != nil {
		return reply, false, err
	}
	tasks, err := tasksOf(tx, cluster)
	if err != nil {
		return reply, false, err
	}
	if n.State == compute.NodeLeaving {
		reply.Signals = append(reply.Signals, batch.Signal{ID: "stop", Kind: batch.Stop})
	}
	for _, h := range p.Held {
		i := slices.IndexFunc(tasks, func(t *task) bool { return t.ID == h.Task && t.Attempt == h.Attempt && t.Node == id })
		switch {
		case i < 0:
			reply.Lost = append(reply.Lost, h)
		case tasks[i].Canceled:
			reply.Signals = append(reply.Signals, batch.Signal{ID: "cancel-" + h.Task, Kind: batch.Cancel, Task: h.Task})
		}
	}
	if len(p.Held) > len(reply.Lost) || n.State == compute.NodeLeaving {
		return reply, false, nil
	}
	t := next(tasks, id)
	if t == nil {
		return reply, false, nil
	}
	if t.Node == "" {
		if !write {
			return reply, true, nil
		}
		t.Node, t.Attempt, t.Seq = id, t.Attempt+1, 0
		n.Task = t.Run
		n.enter(compute.NodeRunning, tx.Now)
		if err := errors.Join(putDoc(tx, kindTask, t.ID, t), putDoc(tx, kindNode, n.ID, n)); err != nil {
			return reply, false, err
		}
	}
	doc, err := (*Provider)(q).buildTask(tx, t)
	if refused := arm.AsError(err); refused != nil {
		// The task cannot be made (a datastore went): the run fails, with the reason.
		if !write {
			return reply, true, nil
		}
		return reply, false, q.finish(tx, t, n, ml.Failed, &ml.RunError{Code: "UserError", Message: refused.Message})
	}
	if err != nil {
		return reply, false, err
	}
	reply.Assignment = &batch.Assignment{Task: doc, Attempt: t.Attempt}
	return reply, false, nil
}

// next is the task leased to the node that it does not hold yet, else the oldest that waits.
func next(tasks []*task, node string) *task {
	var oldest *task
	for _, t := range tasks {
		switch {
		case t.Node == node:
			return t
		case t.Node == "" && oldest == nil && !t.Canceled:
			oldest = t
		}
	}
	return oldest
}

func (q *queue) Report(ctx context.Context, id string, r compute.Report) error {
	q.nodes.hear(id, q.Clock.Now())
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
		if r.Status == ml.CancelRequested {
			return nil
		}
		return r.SetStatus(to, tx.Now)
	})
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
		n.Task = ""
		if n.State == compute.NodeRunning {
			n.enter(compute.NodeIdle, tx.Now)
		}
		if err := putDoc(tx, kindNode, n.ID, n); err != nil {
			return err
		}
	}
	if err := deleteDoc(tx, kindTask, t.ID); err != nil {
		return err
	}
	return wakeCluster(tx, t.Cluster)
}
