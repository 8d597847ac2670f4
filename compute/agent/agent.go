package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/compute/oci"
)

// Version that the agent tells the service.
const Version = "1"

// How long the service may refuse a node before the node believes it: while the region starts, its
// connections may not be recognised yet.
const refusedFor = 2 * time.Minute

// Agent of one node.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	http  *http.Client
	id    *identity
	batch *batch.Client
	rt    *oci.Runtime
	tasks string

	mu      sync.Mutex
	runs    map[string]*run
	leaving bool
	grant   string         // of the service's last call
	wg      sync.WaitGroup // of the runs
	kick    chan struct{}  // something changed: poll anew
}

// Run is the agent's life. That of a virtual machine ends with ctx alone, that of a deployment script with the script. It returns nil when the service has told the node to leave and nothing is left to
// report, or when ctx ends, which is the node's power switch: what runs is killed and nothing is said.
// (An agent that is killed itself leaves its containers running for the next agent on the same disk.) Other
// errors: another agent is at work on the disk; no container runtime works; the service refuses this node.
func Run(ctx context.Context, cfg Config, log *slog.Logger) (err error) {
	a, unlock, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		a.wg.Wait()
		err = errors.Join(err, a.powerOff(context.WithoutCancel(ctx)))
	}()
	if err := a.resume(ctx); err != nil {
		return err
	}
	if cfg.SSH != nil {
		srv, err := a.listenSSH(ctx, cfg.SSH)
		if err != nil {
			return err
		}
		defer srv.close()
	}
	if cfg.Called {
		c, err := a.listenCalls(ctx)
		if err != nil {
			return err
		}
		defer c.close()
	}
	if cfg.Script != nil {
		return a.script(ctx)
	}
	if cfg.Home != "" {
		<-ctx.Done()
		return nil
	}
	return a.serve(ctx)
}

// open makes the agent and takes the node's disk for itself.
func open(ctx context.Context, cfg Config, log *slog.Logger) (*Agent, func(), error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	a := &Agent{cfg: cfg, log: log.With("node", cfg.Node), tasks: filepath.Join(cfg.StateDir, "tasks"),
		runs: map[string]*run{}, kick: make(chan struct{}, 1)}
	if err := os.MkdirAll(a.tasks, 0o700); err != nil {
		return nil, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(cfg.StateDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	unlock := func() { _ = lock.Close() }
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		unlock()
		return nil, nil, fmt.Errorf("agent: another agent has the disk of node %s: %w", cfg.Node, err)
	}
	if a.http, err = httpClient(cfg); err != nil {
		unlock()
		return nil, nil, err
	}
	imds := cfg.IMDS
	if imds == "" {
		imds = azureIMDS
	}
	a.id = &identity{base: imds, http: a.http, cache: map[string]token{}}
	a.batch = batch.NewClient(cfg.Batch, cfg.Node, cfg.Token, a.http)
	hidden := append(slices.Clone(cfg.Hidden), cfg.StateDir)
	if a.rt, err = oci.Open(ctx, oci.Options{Dir: filepath.Join(cfg.StateDir, "oci"), Hidden: hidden, Slot: cfg.Slot}); err != nil {
		unlock()
		return nil, nil, err
	}
	return a, func() { a.http.CloseIdleConnections(); unlock() }, nil
}

func (a *Agent) netns() string {
	if a.cfg.Netns == "" {
		return oci.OwnNetns
	}
	return a.cfg.Netns
}

func (a *Agent) hostname() string {
	if a.cfg.Hostname == "" {
		return a.cfg.Node
	}
	return a.cfg.Hostname
}

// resume continues the tasks that an earlier agent left, and removes containers that belong to none.
func (a *Agent) resume(ctx context.Context) error {
	js, err := loadJournals(a.tasks)
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, j := range js {
		r := a.newRun(j)
		ours[r.container()] = true
		a.begin(ctx, r)
	}
	return a.rt.RemoveOthers(ctx, func(id string) bool { return ours[id] })
}

// powerOff ends what runs on the node.
func (a *Agent) powerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	return a.rt.RemoveOthers(ctx, func(string) bool { return false })
}

// Destroy ends what an agent that is gone has left running on a node's disk, so that the disk can be removed.
// Whoever deallocates a node calls it after it has ended the agent, however that ended.
func Destroy(ctx context.Context, stateDir string) error {
	return oci.Sweep(ctx, filepath.Join(stateDir, "oci"))
}

// begin starts the goroutine of a run.
func (a *Agent) begin(ctx context.Context, r *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[r.task.ID] = r
	a.wg.Go(func() {
		r.execute(ctx)
		a.mu.Lock()
		delete(a.runs, r.task.ID)
		a.mu.Unlock()
		a.poke()
	})
}

func (a *Agent) poke() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// serve registers and polls until the node shall leave.
func (a *Agent) serve(ctx context.Context) error {
	wait := int(batch.DefaultPoll / time.Second)
	err := a.insist(ctx, func() error {
		in, err := a.batch.Register(ctx, batch.Register{Version: Version, Isolation: a.rt.Isolation().Lines()})
		if err == nil && in.PollSeconds > 0 {
			wait = in.PollSeconds
		}
		return err
	})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	a.log.Info("registered at the batch service")
	var known []string
	for {
		if a.left() {
			a.log.Info("the node leaves")
			return nil
		}
		var reply batch.Reply
		kicked := false
		err := a.insist(ctx, func() (err error) {
			reply, kicked, err = a.poll(ctx, known, wait)
			return err
		})
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		if kicked {
			continue
		}
		acted := a.act(ctx, reply)
		fresh := len(known)
		known = known[:0]
		for _, s := range reply.Signals {
			known = append(known, s.ID)
		}
		// A reply that changes nothing and came at once must not make a loop.
		if !acted && fresh == len(known) && (reply.Assignment != nil || len(reply.Lost) > 0) {
			if pause(ctx, time.Second) != nil {
				return nil
			}
		}
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// insist repeats f until it succeeds, ctx ends, or the service has refused the node for long.
func (a *Agent) insist(ctx context.Context, f func() error) error {
	var since time.Time
	for failures := 0; ; failures++ {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !refused(err) {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) > refusedFor {
			a.stopAll(stopLost, 0)
			a.wg.Wait()
			return err
		}
		a.log.Warn("batch service", "error", err)
		if err := pause(ctx, backoff(failures)); err != nil {
			return err
		}
	}
}

// poll asks once; kicked: the answer was not waited for, because what the node would say has changed.
func (a *Agent) poll(ctx context.Context, known []string, wait int) (reply batch.Reply, kicked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		select {
		case <-a.kick:
			changed <- true
			cancel()
		case <-ended:
			changed <- false
		}
	}()
	reply, err = a.batch.Poll(ctx, batch.Poll{State: a.state(), Held: a.held(), Known: known, Grant: a.granted(), WaitSeconds: wait})
	close(ended)
	if <-changed {
		return batch.Reply{}, true, nil // an assignment in a reply that was lost is offered again
	}
	return reply, false, err
}

func (a *Agent) state() compute.NodeState {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.leaving:
		return compute.NodeLeaving
	case len(a.runs) > 0:
		return compute.NodeRunning
	}
	return compute.NodeIdle
}

func (a *Agent) held() []batch.Held {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []batch.Held{}
	for _, r := range a.runs {
		out = append(out, r.held())
	}
	return out
}

func (a *Agent) left() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leaving && len(a.runs) == 0
}

// act does what a reply says, and tells whether that changed anything.
func (a *Agent) act(ctx context.Context, reply batch.Reply) (acted bool) {
	for _, h := range reply.Lost {
		if r := a.run(h.Task); r != nil && r.j.Assignment.Attempt == h.Attempt {
			r.stop(stopLost, 0)
			acted = true
		}
	}
	for _, s := range reply.Signals {
		grace := time.Duration(s.Grace)
		switch s.Kind {
		case batch.Cancel:
			if r := a.run(s.Task); r != nil {
				r.stop(stopCancel, grace)
			}
		case batch.Stop, batch.Preempt:
			why := map[batch.SignalKind]stopReason{batch.Stop: stopNode, batch.Preempt: stopPreempt}[s.Kind]
			a.setLeaving()
			a.stopAll(why, grace)
		case batch.Leave:
			a.setLeaving()
		default:
			a.log.Warn("a signal of an unknown kind", "kind", s.Kind)
		}
	}
	if reply.Assignment != nil {
		acted = a.accept(ctx, *reply.Assignment) || acted
	}
	return acted
}

func (a *Agent) setLeaving() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaving = true
}

func (a *Agent) run(task string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[task]
}

func (a *Agent) stopAll(why stopReason, grace time.Duration) {
	a.mu.Lock()
	runs := make([]*run, 0, len(a.runs))
	for _, r := range a.runs {
		runs = append(runs, r)
	}
	a.mu.Unlock()
	for _, r := range runs {
		r.stop(why, grace)
	}
}

// accept takes a task when the node has none: one at a time, as Azure ML's nodes do.
func (a *Agent) accept(ctx context.Context, as batch.Assignment) bool {
	a.mu.Lock()
	busy := a.leaving || len(a.runs) > 0
	a.mu.Unlock()
	if busy || !compute.ValidID(as.Task.ID) || as.Attempt < 1 {
		return false
	}
	dir := filepath.Join(a.tasks, as.Task.ID)
	j := &journal{Assignment: as, Phase: phasePrepare}
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = j.save(dir, true)
	}
	if err != nil {
		a.log.Error("the task could not be accepted", "task", as.Task.ID, "error", err)
		return false
	}
	r := a.newRun(j)
	r.lifecycle("accepted, attempt %d", as.Attempt)
	a.begin(ctx, r)
	return true
}
