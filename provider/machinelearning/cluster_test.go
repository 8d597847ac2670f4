package machinelearning

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/ml"
)

const idle2m = "PT120S"

func (y *yard) is(what, got, want string) {
	y.t.Helper()
	if got != want {
		y.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestScale: from none to as many as wait, never more than the maximum, and back when they have been idle.
func TestScale(t *testing.T) {
	y := newYard(t, Scale{Max: 2, Idle: idle2m}, -1)
	if again := y.reconcile(); again != 0 || len(y.nodes()) != 0 {
		t.Errorf("an empty cluster: again in %v, %s", again, y.states())
	}
	for i := range 5 {
		y.submit(fmt.Sprint("job", i))
	}
	if again := y.reconcile(); again != time.Millisecond {
		t.Errorf("again in %v", again)
	}
	y.is("after the first step", y.states(), "creating creating")
	y.is("the state", y.shown().AllocationState, "Resizing")
	y.reconcile()
	y.is("after the second", y.states(), "starting starting")
	y.act()
	y.is("registered", y.states(), "idle idle")
	if c := y.shown(); *c.CurrentNodes != 2 || c.Counts.Idle != 2 || c.AllocationState != "Steady" || *c.TargetNodes != 2 {
		t.Errorf("%+v %+v", c, c.Counts)
	}
	y.act()
	y.is("at work", y.states(), "running running")
	for i := range 5 {
		y.is(fmt.Sprint("job", i), string(y.run(fmt.Sprint("job", i)).Status), []string{"Running", "Running", "Queued", "Queued", "Queued"}[i])
	}
	y.settle()
	for i := range 5 {
		y.is(fmt.Sprint("job", i), string(y.run(fmt.Sprint("job", i)).Status), "Completed")
	}
	if len(y.starts) != 2 {
		t.Errorf("started %d nodes", len(y.starts))
	}
	y.is("idle", y.states(), "idle idle")
	y.clock.t = y.clock.t.Add(2*time.Minute - 2*time.Second)
	if again := y.reconcile(); again <= 0 || again > 2*time.Second {
		t.Errorf("it wants to be called in %v, when the nodes go", again)
	}
	y.is("before the time", y.states(), "idle idle")
	y.clock.t = y.clock.t.Add(2 * time.Second)
	y.settle()
	y.empty()
	if again := y.reconcile(); again != 0 {
		t.Errorf("an empty cluster wants to be called in %v", again)
	}
}

// TestMinimum: a cluster has its minimum without work, and a job on it waits for nothing.
func TestMinimum(t *testing.T) {
	y := newYard(t, Scale{Min: 1, Max: 3, Idle: idle2m}, -1)
	y.settle()
	y.is("without work", y.states(), "idle")
	y.clock.t = y.clock.t.Add(time.Hour)
	y.settle()
	y.is("after an hour", y.states(), "idle")
	y.submit("job")
	y.act()
	y.is("the job", string(y.run("job").Status), "Running")
	y.settle()
	if len(y.starts) != 1 {
		t.Errorf("started %d nodes", len(y.starts))
	}
}

// TestOrder: who came first is served first, also after a lost node.
func TestOrder(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	for _, name := range []string{"b", "c", "a"} {
		y.submit(name)
	}
	y.reconcile()
	y.reconcile()
	y.act()
	y.act()
	y.is("b", string(y.run("b").Status), "Running")
	y.agents[y.starts[0]].alive = false // the machine is gone
	y.settle()
	for _, name := range []string{"a", "b", "c"} {
		y.is(name, string(y.run(name).Status), "Completed")
	}
	if b, c, a := y.run("b").Ended, y.run("c").Ended, y.run("a").Ended; b.After(c) || c.After(a) {
		t.Errorf("ended: b %v, c %v, a %v", b, c, a)
	}
}

// TestFullSubnet: the cluster says why with Azure's text, keeps what it has, loses no address, and goes on when
// there is room.
func TestFullSubnet(t *testing.T) {
	y := newYard(t, Scale{Max: 3, Idle: idle2m}, -1)
	y.capacity = 1
	for i := range 3 {
		y.submit(fmt.Sprint("job", i))
	}
	if again := y.reconcile(); again != watchEvery {
		t.Errorf("again in %v", again)
	}
	y.is("nodes", y.states(), "creating")
	if e := y.errors(); !strings.HasPrefix(e, "SubnetIsFull: Subnet training with address prefix 10.0.0.0/29 does not have enough capacity") {
		t.Errorf("errors: %s", e)
	}
	if n := y.interfaces(); n != 1 {
		t.Errorf("%d interfaces are taken for one node", n)
	}
	y.reconcile()
	y.act() // one node works; that others are missing is still to be seen
	y.reconcile()
	if e := y.errors(); !strings.Contains(e, "SubnetIsFull") {
		t.Errorf("errors: %q", e)
	}
	y.capacity = 3
	y.settle()
	for i := range 3 {
		y.is(fmt.Sprint("job", i), string(y.run(fmt.Sprint("job", i)).Status), "Completed")
	}
	y.is("errors", y.errors(), "")
}

// TestSubnetGone: a subnet that was removed under a cluster is an error of the cluster, that passes.
func TestSubnetGone(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.gone = true
	y.submit("job")
	if again := y.reconcile(); again != watchEvery || !strings.Contains(y.errors(), "subnets/v/training") {
		t.Errorf("again in %v; %s", again, y.errors())
	}
	y.gone = false
	y.settle()
	y.is("job", string(y.run("job").Status), "Completed")
}

// TestNeverRegisters: a node that does not come up in time is given up with the network's reason, and the next is
// tried; the reason stays until one works.
func TestNeverRegisters(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("job")
	y.reconcile()
	y.reconcile()
	first := y.starts[0]
	y.agents[first].mute = true
	y.clock.t = y.clock.t.Add(startTimeout - time.Second)
	y.reconcile()
	y.is("before the time", y.states(), "starting")
	y.clock.t = y.clock.t.Add(time.Second)
	y.reconcile()
	want := "NodeStartTimeout: The compute node '" + first + "' (10.0.0.5) could not be started: it did not reach the Batch service at azureml.westeurope.batch.azure.com:443 within 1m0s. The connection is refused by rule DenyAll of nsg1."
	y.is("the reason", y.errors(), want)
	y.reconcile()
	if y.agents[first].alive {
		t.Error("the node was not stopped")
	}
	y.is("while the next is tried", y.errors(), want)
	y.is("the job", string(y.run("job").Status), "Queued")
	y.settle()
	y.is("the job", string(y.run("job").Status), "Completed")
	y.is("errors", y.errors(), "")
	if len(y.starts) != 2 {
		t.Errorf("started %v", y.starts)
	}
}

// TestLauncherFails: a start that fails is tried again; the trouble of one node does not keep another from work, and
// is shown.
func TestLauncherFails(t *testing.T) {
	y := newYard(t, Scale{Max: 2, Idle: idle2m}, -1)
	y.submit("one")
	y.reconcile()
	y.reconcile()
	y.act()
	y.act() // one works
	y.broken = errors.New("no space left on device")
	y.submit("two")
	y.reconcile()
	if again := y.reconcile(); again != retryEvery {
		t.Errorf("again in %v", again)
	}
	if e := y.errors(); !strings.HasPrefix(e, "NodeStartFailed: ") || !strings.Contains(e, "no space left on device") {
		t.Errorf("errors: %s", e)
	}
	y.act()
	y.is("one", string(y.run("one").Status), "Completed")
	y.act()
	y.is("two", string(y.run("two").Status), "Running") // on the node of the first
	y.clock.t = y.clock.t.Add(startTimeout)
	y.reconcile()
	y.broken = nil
	y.settle()
	y.is("two", string(y.run("two").Status), "Completed")
	y.is("errors", y.errors(), "")
}

// TestNodeLost: what a lost node ran is queued again once, then it fails; reports of a lost attempt are refused.
func TestNodeLost(t *testing.T) {
	for name, lose := range map[string]func(*yard, *played){
		"its agent ends": func(_ *yard, a *played) { a.alive = false },
		"it is silent": func(y *yard, a *played) {
			a.mute = true
			y.steady.t = y.steady.t.Add(silence)
		},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
			y.submit("job")
			for attempt := 1; attempt <= maxAttempts; attempt++ {
				y.reconcile()
				y.reconcile()
				y.act()
				y.act()
				y.is("at work", string(y.run("job").Status), "Running")
				node := y.starts[attempt-1]
				a := y.agents[node]
				if a.held.Attempt != attempt {
					t.Errorf("attempt %d, want %d", a.held.Attempt, attempt)
				}
				lose(y, a)
				y.reconcile()
				err := y.p.Queue().Report(t.Context(), node, compute.Report{Task: a.held.Task.ID, Attempt: attempt, Seq: 9, State: compute.TaskCompleted})
				if !errors.Is(err, batch.ErrLost) {
					t.Errorf("the lost attempt reports: %v", err)
				}
				if attempt < maxAttempts {
					y.is("queued again", string(y.run("job").Status), "Queued")
				}
			}
			run := y.run("job")
			if run.Status != ml.Failed || run.Error.Code != "ServiceError" || !strings.Contains(run.Error.Message, "lost twice") {
				t.Errorf("%+v %+v", run, run.Error)
			}
			y.settle()
			y.empty()
		})
	}
}

// TestSilenceCountsFromTheStart: a process that has just started has heard nobody, and gives its nodes time; one
// whose agent lives but never speaks again is lost all the same.
func TestSilenceCountsFromTheStart(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("job")
	y.reconcile()
	y.reconcile()
	y.act()
	y.act()
	y.steady.t = y.steady.t.Add(time.Hour) // it was down
	y.boot()
	y.reconcile()
	y.is("after a start", y.states(), "running")
	y.agents[y.starts[0]].mute = true
	y.steady.t = y.steady.t.Add(silence)
	y.reconcile()
	y.is("never heard again", y.states(), "creating unusable")
	y.settle()
	y.is("job", string(y.run("job").Status), "Completed")
}

// TestClockForward: who moves the region's clock loses no node that works.
func TestClockForward(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("job")
	y.reconcile()
	y.reconcile()
	y.act()
	y.act()
	y.clock.t = y.clock.t.Add(7 * 24 * time.Hour)
	y.reconcile()
	y.is("a week later", y.states(), "running")
	y.settle()
	if len(y.starts) != 1 {
		t.Errorf("started %v", y.starts)
	}
}

// TestHeardAgain: a node that was given up and speaks before it is removed is of use again; one on its way out
// is not.
func TestHeardAgain(t *testing.T) {
	y := newYard(t, Scale{Min: 1, Max: 1, Idle: idle2m}, -1)
	y.settle()
	node := y.starts[0]
	y.agents[node].mute = true
	y.steady.t = y.steady.t.Add(silence)
	y.step(node) // lost, not removed yet
	y.is("lost", y.states(), "unusable")
	y.submit("job")
	reply, err := y.p.Queue().Polled(t.Context(), node, batch.Poll{State: compute.NodeIdle})
	if err != nil || reply.Assignment != nil {
		t.Errorf("an unusable node is given work: %+v, %v", reply, err)
	}
	a := y.agents[node]
	a.mute, a.up = false, false
	y.act()
	y.is("it registers", y.states(), "idle")
	y.settle()
	y.is("job", string(y.run("job").Status), "Completed")

	y.update(func(tx *rp.Tx) error {
		n, err := findNode(tx, node)
		if err != nil {
			return err
		}
		n.enter(compute.NodeLeaving, tx.Now)
		return putDoc(tx, kindNode, n.ID, n)
	})
	if err := y.p.Queue().Registered(t.Context(), node, batch.Register{}); err != nil {
		t.Fatal(err)
	}
	y.is("on its way out", y.states(), "leaving")
	if reply, err := y.p.Queue().Polled(t.Context(), node, batch.Poll{State: compute.NodeIdle}); err != nil || len(reply.Signals) != 1 || reply.Signals[0].Kind != batch.Stop {
		t.Errorf("it is told: %+v, %v", reply, err)
	}
}

// step takes one node one step.
func (y *yard) step(id string) {
	y.t.Helper()
	for _, n := range y.nodes() {
		if n.ID == id {
			if err := y.p.stepNode(y.t.Context(), y.cluster(), n); err != nil {
				y.t.Fatal(err)
			}
		}
	}
}

// TestStuckNode: a node that cannot be stopped keeps its address, and nothing else from going on.
func TestStuckNode(t *testing.T) {
	y := newYard(t, Scale{Max: 2, Idle: idle2m}, -1)
	y.submit("one")
	y.settle()
	stuck := y.starts[0]
	y.stuck[stuck] = true
	y.clock.t = y.clock.t.Add(time.Hour)
	y.reconcile()
	if again := y.reconcile(); again != retryEvery {
		t.Errorf("again in %v", again)
	}
	y.is("states", y.states(), "leaving")
	y.submit("two")
	for range 6 {
		y.reconcile()
		y.act()
	}
	y.is("two", string(y.run("two").Status), "Completed")
	if y.interfaces() < 1 {
		t.Error("the address of a node that runs was given back")
	}
	y.stuck[stuck] = false
	y.clock.t = y.clock.t.Add(time.Hour)
	y.settle()
	y.empty()
}

// TestLeaseOnce: of two polls at once, of one node or of two, a task is leased once.
func TestLeaseOnce(t *testing.T) {
	y := newYard(t, Scale{Min: 2, Max: 2, Idle: idle2m}, -1)
	y.settle()
	y.submit("job")
	type answer struct {
		node  string
		reply batch.Reply
		err   error
	}
	answers := make(chan answer)
	for range 4 {
		for _, id := range y.starts {
			go func() {
				reply, err := y.p.Queue().Polled(t.Context(), id, batch.Poll{State: compute.NodeIdle})
				answers <- answer{id, reply, err}
			}()
		}
	}
	on := map[string]bool{}
	for range 4 * len(y.starts) {
		a := <-answers
		if a.err != nil {
			t.Error(a.err)
		}
		if a.reply.Assignment != nil {
			on[a.node] = true
			if a.reply.Assignment.Attempt != 1 {
				t.Errorf("attempt %d", a.reply.Assignment.Attempt)
			}
		}
	}
	if len(on) != 1 {
		t.Errorf("the task is on %v", on)
	}
}

// TestReports: repeated and late reports change nothing.
func TestReports(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("job")
	y.reconcile()
	y.reconcile()
	y.act()
	node := y.starts[0]
	reply, err := y.p.Queue().Polled(t.Context(), node, batch.Poll{State: compute.NodeIdle})
	if err != nil || reply.Assignment == nil {
		t.Fatalf("%+v, %v", reply, err)
	}
	task := reply.Assignment.Task.ID
	for _, c := range []struct {
		seq, attempt int
		node         string
		state        compute.TaskState
		want         ml.Status
		err          error
	}{
		{1, 1, node, compute.TaskPreparing, ml.Preparing, nil},
		{3, 1, node, compute.TaskRunning, ml.Running, nil},
		{3, 1, node, compute.TaskRunning, ml.Running, nil},
		{2, 1, node, compute.TaskPreparing, ml.Running, nil},
		{4, 2, node, compute.TaskCompleted, ml.Running, batch.ErrLost},
		{4, 1, "tvmps_other_d", compute.TaskCompleted, ml.Running, batch.ErrLost},
		{4, 1, node, compute.TaskFinalizing, ml.Finalizing, nil},
		{5, 1, node, compute.TaskCompleted, ml.Completed, nil},
		{5, 1, node, compute.TaskCompleted, ml.Completed, batch.ErrLost},
		{6, 1, node, compute.TaskFailed, ml.Completed, batch.ErrLost},
	} {
		err := y.p.Queue().Report(t.Context(), c.node, compute.Report{Task: task, Attempt: c.attempt, Seq: c.seq, State: c.state})
		if !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c, err)
		}
		y.is(fmt.Sprintf("%+v", c), string(y.run("job").Status), string(c.want))
	}
	y.is("the node", y.states(), "idle")
}

func (y *yard) cancel(job string) {
	y.t.Helper()
	y.update(func(tx *rp.Tx) error {
		r, err := rp.Get[Job](tx, arm.MustParseID(yardSpace+"/jobs/"+job))
		if err != nil {
			return err
		}
		_, err = y.p.cancelJob(y.t.Context(), tx, r, nil)
		return err
	})
}

// TestCancelJobs: waiting, leased and not yet on the node, running, on a node that is lost, and twice.
func TestCancelJobs(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("runs")
	y.submit("waits")
	y.reconcile()
	y.reconcile()
	y.act()
	y.act()
	y.cancel("waits")
	y.is("waits", string(y.run("waits").Status), "Canceled")
	y.cancel("waits")
	y.cancel("runs")
	y.cancel("runs")
	y.is("runs", string(y.run("runs").Status), "CancelRequested")
	y.settle()
	y.is("runs", string(y.run("runs").Status), "Canceled")

	y.submit("leased")
	node := y.starts[0]
	if reply, err := y.p.Queue().Polled(t.Context(), node, batch.Poll{State: compute.NodeIdle}); err != nil || reply.Assignment == nil {
		t.Fatalf("%+v, %v", reply, err) // an answer that the node never gets
	}
	y.cancel("leased")
	reply, err := y.p.Queue().Polled(t.Context(), node, batch.Poll{State: compute.NodeIdle})
	if err != nil || reply.Assignment != nil {
		t.Errorf("what was canceled is given out: %+v, %v", reply, err)
	}
	y.is("leased", string(y.run("leased").Status), "Canceled")
	y.is("the node", y.states(), "idle")

	y.submit("lost")
	y.act()
	y.cancel("lost")
	y.agents[node].alive = false
	y.settle()
	y.is("lost", string(y.run("lost").Status), "Canceled")
	y.empty()
}

// TestCancelWakes: a poll that waits is told of a cancellation after it was committed.
func TestCancelWakes(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("job")
	y.reconcile()
	y.reconcile()
	y.act()
	y.act()
	changed := y.p.Queue().Changed(y.starts[0])
	y.cancel("job")
	y.reconcile() // which the cancellation asked for
	select {
	case <-changed:
	default:
		t.Error("who waits is not woken")
	}
}

// TestTaskThatCannotBeMade: an environment that went between submission and dispatch fails the run, with the reason.
func TestTaskThatCannotBeMade(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.submit("job")
	y.update(func(tx *rp.Tx) error { return rp.Remove(tx, arm.MustParseID(yardSpace+"/environments/py/versions/1")) })
	y.settle()
	run := y.run("job")
	if run.Status != ml.Failed || run.Error.Code != "UserError" || !strings.Contains(run.Error.Message, "does not exist") {
		t.Errorf("%+v %+v", run, run.Error)
	}
	y.is("the node", y.states(), "idle")
}

// remove deletes the cluster as a client does, and finalizes it until that is done.
func (y *yard) remove() {
	y.t.Helper()
	y.update(func(tx *rp.Tx) error {
		c, err := rp.Get[Compute](tx, arm.MustParseID(yardCluster))
		if err != nil {
			return err
		}
		c.State = arm.Deleting
		return rp.Save(tx, c)
	})
	for range 10 {
		done := false
		y.do(func() {
			_, err := y.p.finalizeCluster(y.t.Context(), y.cluster())
			done = err == nil
		})
		if done {
			y.act()
			return
		}
	}
	y.t.Fatal("the cluster does not go")
}

// TestDeleteBusyCluster: its jobs fail, or are canceled when that was asked for, and nothing is left.
func TestDeleteBusyCluster(t *testing.T) {
	y := newYard(t, Scale{Max: 2, Idle: idle2m}, -1)
	for _, name := range []string{"runs", "canceled", "waits"} {
		y.submit(name)
	}
	y.reconcile()
	y.reconcile()
	y.act()
	y.act()
	y.cancel("canceled")
	y.stuck[y.starts[0]] = true
	y.update(func(tx *rp.Tx) error { return putNote(tx, yardCluster, nodeError("X", "y")) })
	if _, err := y.p.finalizeCluster(t.Context(), y.cluster()); err == nil {
		t.Error("a cluster with a node that cannot be stopped is gone")
	}
	if n := len(y.nodes()); n != 1 {
		t.Errorf("%d nodes are left; the other one should have gone", n)
	}
	y.stuck[y.starts[0]] = false
	y.remove()
	for name, want := range map[string]ml.Status{"runs": ml.Failed, "canceled": ml.Canceled, "waits": ml.Failed} {
		run := y.run(name)
		if run.Status != want || want == ml.Failed && !strings.Contains(run.Error.Message, "The compute 'cpu' was deleted.") {
			t.Errorf("%s: %+v %+v", name, run, run.Error)
		}
	}
	y.empty()
	if strings.Contains(y.picture(), kindNote) {
		t.Errorf("left:\n%s", y.picture())
	}
}

// TestCrashAnywhere: whatever line the process ends at, the next one brings things to the same end: each job has
// ended as it should, no process, no node, no address and no task is left.
func TestCrashAnywhere(t *testing.T) {
	stories := map[string]struct {
		tell func(*yard)
		want map[string]ml.Status
	}{
		"two jobs, then idle": {
			func(y *yard) {
				y.settle()
				y.clock.t = y.clock.t.Add(time.Hour)
				y.settle()
			},
			map[string]ml.Status{"a": ml.Completed, "b": ml.Completed},
		},
		"a lost node": {
			func(y *yard) {
				for range 8 { // until it works
					y.reconcile()
					y.act()
					if a := y.agents[last(y.starts)]; a != nil && a.held != nil {
						break
					}
				}
				if a := y.agents[last(y.starts)]; a != nil {
					a.alive = false
				}
				y.settle()
				y.clock.t = y.clock.t.Add(time.Hour)
				y.settle()
			},
			map[string]ml.Status{"a": ml.Completed, "b": ml.Completed},
		},
		"a deleted cluster": {
			func(y *yard) {
				for range 3 {
					y.reconcile()
					y.act()
				}
				y.remove()
			},
			map[string]ml.Status{"b": ml.Failed}, // a may have been quicker
		},
	}
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			for k := 0; ; k++ {
				y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
				y.submit("a")
				y.submit("b")
				y.fuse = k
				s.tell(y)
				if t.Failed() {
					t.Fatalf("with a crash at point %d", k)
				}
				blown := y.fuse < 0
				y.fuse = -1
				y.empty()
				for job, want := range s.want {
					if got := y.run(job).Status; got != want {
						t.Errorf("%s is %s, want %s", job, got, want)
					}
				}
				for _, job := range []string{"a", "b"} {
					if r := y.run(job); !r.Status.Terminal() {
						t.Errorf("%s is %s", job, r.Status)
					}
				}
				if t.Failed() {
					t.Fatalf("with a crash at point %d:\n%s", k, y.picture())
				}
				if !blown {
					t.Logf("%d points", k)
					return
				}
			}
		})
	}
}

func last(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[len(s)-1]
}
