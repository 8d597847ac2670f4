package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/compute/oci"
)

const defaultGrace = 30 * time.Second

// run is one attempt at a task on this node, from its acceptance to the acknowledgement of its end. One
// goroutine executes it; signals come from others.
type run struct {
	a     *Agent
	dir   string // on the node's disk
	task  *compute.Task
	blobs *blobs
	log   *slog.Logger

	mu    sync.Mutex // guards j and state
	gone  bool       // the traces are being removed: nothing is written any more
	j     *journal
	state compute.TaskState

	stopped chan struct{} // closed by stop
	grace   time.Duration // of that stop
	wake    chan struct{} // there is a report to deliver
	// delivered is closed when the last report was acknowledged.
	delivered chan struct{}
}

func (a *Agent) newRun(j *journal) *run {
	t := &j.Assignment.Task
	r := &run{a: a, j: j, task: t, dir: filepath.Join(a.tasks, t.ID), state: compute.TaskPreparing,
		blobs: &blobs{a.http, a.id, t.Identity}, log: a.log.With("task", t.ID, "attempt", j.Assignment.Attempt),
		stopped: make(chan struct{}), wake: make(chan struct{}, 1), delivered: make(chan struct{}), grace: defaultGrace}
	if n := len(j.Pending); n > 0 {
		r.state = j.Pending[n-1].State
	} else if j.Phase == phaseWait {
		r.state = compute.TaskRunning
	}
	if j.Stop != "" {
		close(r.stopped)
	}
	return r
}

func (r *run) held() batch.Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	return batch.Held{Task: r.task.ID, Attempt: r.j.Assignment.Attempt, State: r.state}
}

// stop ends the task for a reason; the first one counts, but for a lost lease, which overrules.
func (r *run) stop(why stopReason, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone { // told by a poll that crossed the last report
		return
	}
	first := r.j.Stop == ""
	if !first && why != stopLost || r.j.Phase == phaseDeliver && why != stopLost {
		return
	}
	r.j.Stop = why
	if err := r.j.save(r.dir, false); err != nil {
		r.log.Error("journal", "error", err)
	}
	if first {
		if grace > 0 {
			r.grace = grace
		}
		close(r.stopped)
	}
}

func (r *run) reason() stopReason {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.j.Stop
}

// change edits the journal and saves it, for as long as there is one: the answer to a last poll may come
// when the task's traces are being removed.
func (r *run) change(durable bool, f func(j *journal)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.j)
	if r.gone {
		return nil
	}
	return r.j.save(r.dir, durable)
}

// execute does what is left to do. It returns when the end was acknowledged and every trace is removed,
// or when ctx ends, with everything left as it is.
func (r *run) execute(ctx context.Context) {
	steps := map[phase]func(context.Context) (phase, error){
		phasePrepare: r.prepare, phaseStart: r.start, phaseWait: r.wait, phaseFinalize: r.finalize,
	}
	delivery, endDelivery := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.deliver(delivery) })
	defer wg.Wait()
	defer endDelivery()
	for {
		r.mu.Lock()
		at := r.j.Phase
		r.mu.Unlock()
		if at == phaseDeliver {
			break
		}
		next, err := steps[at](ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.fail(err)
			next = phaseFinalize
			if at == phaseFinalize && pause(ctx, time.Second) != nil { // the disk refused its end
				return
			}
		}
		if err := r.change(next == phaseFinalize || next == phaseStart, func(j *journal) { j.Phase = next }); err != nil {
			r.log.Error("journal", "error", err) // the step will be repeated after a restart
			r.mu.Lock()
			r.j.Phase = next
			r.mu.Unlock()
		}
	}
	r.awaitDelivery(ctx)
	if ctx.Err() == nil {
		r.clean(context.WithoutCancel(ctx))
	}
}

// fail notes why the task failed; the first reason counts.
func (r *run) fail(err error) {
	var te *taskError
	if !errors.As(err, &te) {
		te = &taskError{compute.FailureSystem, "NodeError", "the node could not run the task", err}
	}
	r.lifecycle("failed: %s", te.Error())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.j.Failure == nil {
		r.j.Failure = te.failure()
	}
}

// untilStopped is ctx that also ends when the task is stopped.
func (r *run) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := make(chan struct{})
	go func() {
		select {
		case <-r.stopped:
			cancel()
		case <-stop:
		}
	}()
	return ctx, sync.OnceFunc(func() { close(stop); cancel() })
}

// prepare makes the task's directories anew and downloads what it needs.
func (r *run) prepare(ctx context.Context) (phase, error) {
	ctx, cancel := r.untilStopped(ctx)
	defer cancel()
	r.report(compute.TaskPreparing, 0)
	if err := r.task.Validate(); err != nil {
		return "", &taskError{compute.FailureUser, "TaskInvalid", "the task cannot be run", err}
	}
	if _, err := r.a.cfg.image(r.task.Image); err != nil {
		return "", err
	}
	if err := os.RemoveAll(r.work()); err != nil {
		return "", err
	}
	if err := os.Mkdir(r.work(), 0o755); err != nil {
		return "", err
	}
	w, err := openWork(r.work(), r.owner())
	if err != nil {
		return "", err
	}
	defer w.close()
	dirs := []string{inWork(compute.CodePath), inWork(compute.InputsPath), inWork(compute.OutputsPath)}
	for _, o := range r.task.Outputs {
		if o.Dir != "" {
			dirs = append(dirs, inWork(compute.CodePath)+"/"+o.Dir)
		} else {
			dirs = append(dirs, inWork(compute.OutputsPath)+"/"+o.Name)
		}
	}
	for _, d := range dirs {
		if err := w.mkdir(d); err != nil {
			return "", err
		}
	}
	files, err := plan(ctx, r.blobs, r.task)
	if err == nil {
		r.lifecycle("downloading %d files", len(files))
		err = fetch(ctx, r.blobs, w, files)
	}
	if err != nil {
		return "", &taskError{compute.FailureUser, "DataDownload", "code or inputs could not be downloaded", err}
	}
	return phaseStart, nil
}

// start starts the container. After a crash in here it may run already.
func (r *run) start(ctx context.Context) (phase, error) {
	if r.reason() != "" {
		return phaseFinalize, nil
	}
	if c, err := r.a.rt.Attach(ctx, r.container()); err == nil {
		r.report(compute.TaskRunning, c.PID())
		c.Close()
		return phaseWait, nil
	} else if errors.Is(err, oci.ErrNotStarted) {
		if err := c.Remove(ctx); err != nil {
			return "", err
		}
	} else if !errors.Is(err, oci.ErrNoSuch) {
		return "", err
	}
	image, err := r.a.cfg.image(r.task.Image)
	if err != nil {
		return "", err
	}
	out, err := os.OpenFile(r.userLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	c, err := r.a.rt.Start(ctx, r.spec(image), oci.Stdio{Out: out, Err: out})
	if err != nil {
		return "", &taskError{compute.FailureSystem, "ContainerStart", "the container could not be started", err}
	}
	defer c.Close()
	if err := r.change(false, func(j *journal) {
		j.Started = time.Now().UTC()
		// They were handed to the process; the node's disk need not keep them.
		j.Assignment.Task.Secrets = nil
	}); err != nil {
		return "", err
	}
	r.lifecycle("started as process %d", c.PID())
	r.report(compute.TaskRunning, c.PID())
	return phaseWait, nil
}

// spec of the task's container.
func (r *run) spec(image Image) oci.Spec {
	var env []string
	for _, m := range []map[string]string{image.Env, r.task.Env, r.task.Secrets} {
		for k, v := range m {
			env = append(env, k+"="+v)
		}
	}
	return oci.Spec{
		ID: r.container(), Netns: r.a.netns(), Hostname: r.a.hostname(), CABundle: r.a.cfg.CABundle, Nameservers: r.a.cfg.DNS, Search: r.a.cfg.Search,
		Args: []string{"/bin/bash", "-c", r.task.Command}, Env: env, Cwd: compute.CodePath,
		WorkDir: r.work(), Layers: image.Layers, Limits: r.a.cfg.limits(r.task.Limits),
	}
}

// wait waits for the end of the command, or ends it, while its log goes out.
func (r *run) wait(ctx context.Context) (phase, error) {
	c, err := r.a.rt.Attach(ctx, r.container())
	if err != nil {
		return "", &taskError{compute.FailureSystem, "ContainerLost", "the container is not there any more", err}
	}
	defer c.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	following, done := context.WithCancel(ctx)
	defer done()
	if u := r.logURL("user_logs/std_log.txt"); u != "" {
		wg.Go(func() { (&logBlob{b: r.blobs, file: r.userLog(), url: u}).follow(following) })
	}
	st, err := r.await(ctx, c)
	if err != nil {
		return "", &taskError{compute.FailureSystem, "ContainerLost", "the container's end was not seen", err}
	}
	return phaseFinalize, r.ended(st)
}

// await returns when the container has ended, by itself, by a stop or by its timeout.
func (r *run) await(ctx context.Context, c *oci.Container) (oci.Status, error) {
	soft, cancel := r.untilStopped(ctx)
	defer cancel()
	if r.task.Timeout > 0 {
		var stop context.CancelFunc
		soft, stop = context.WithDeadline(soft, r.started().Add(time.Duration(r.task.Timeout)))
		defer stop()
	}
	st, err := c.Wait(soft)
	if err == nil || ctx.Err() != nil || soft.Err() == nil {
		return st, err
	}
	if errors.Is(soft.Err(), context.DeadlineExceeded) {
		r.stop(stopTimeout, time.Duration(r.task.Grace))
	}
	r.lifecycle("ending the command: %s", r.reason())
	grace := r.grace
	if r.reason() == stopLost {
		grace = 0
	}
	return c.Stop(ctx, grace)
}

func (r *run) started() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.j.Started.IsZero() { // the agent died between start and its note
		r.j.Started = time.Now().UTC()
	}
	return r.j.Started
}

// ended judges how the command ended.
func (r *run) ended(st oci.Status) error {
	r.lifecycle("the command ended with exit code %d", st.Code)
	if err := r.change(true, func(j *journal) { j.Exit = &st.Code }); err != nil {
		return err
	}
	switch {
	case r.reason() != "":
		return nil // finalize says it
	case st.OutOfMemory && st.Code != 0:
		return &taskError{compute.FailureUser, "OutOfMemory", fmt.Sprintf("the job used more memory than its limit of %d bytes and was killed (exit code %d)",
			r.a.cfg.limits(r.task.Limits).MemoryBytes, st.Code), nil}
	case st.Code != 0:
		return &taskError{compute.FailureUser, "UserProcessExited", fmt.Sprintf("the command ended with exit code %d", st.Code), nil}
	}
	return nil
}

// outcome is the final state, and why.
func (r *run) outcome() (compute.TaskState, *compute.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.j.Stop {
	case stopCancel:
		return compute.TaskCanceled, nil
	case stopTimeout:
		return compute.TaskFailed, &compute.Failure{Kind: compute.FailureUser, Code: "JobTimeout",
			Message: fmt.Sprintf("the job was ended after its timeout of %s", time.Duration(r.task.Timeout))}
	case stopPreempt:
		return compute.TaskFailed, &compute.Failure{Kind: compute.FailurePreempted, Code: "NodePreempted", Message: "the node was preempted"}
	case stopNode:
		return compute.TaskFailed, &compute.Failure{Kind: compute.FailureSystem, Code: "NodeStopped", Message: "the node was stopped"}
	}
	if r.j.Failure != nil {
		return compute.TaskFailed, r.j.Failure
	}
	return compute.TaskCompleted, nil
}

// finalize uploads outputs and logs, then files the last report.
func (r *run) finalize(ctx context.Context) (phase, error) {
	if r.reason() == stopLost {
		return phaseDeliver, nil
	}
	r.mu.Lock()
	ran := r.j.Exit != nil
	r.mu.Unlock()
	if ran {
		r.report(compute.TaskFinalizing, 0)
		if err := r.uploadOutputs(ctx); err != nil && ctx.Err() == nil {
			r.fail(&taskError{compute.FailureUser, "DataUpload", "outputs could not be uploaded", err})
		}
	}
	state, failure := r.outcome()
	r.lifecycle("%s", state)
	for file, name := range map[string]string{r.userLog(): "user_logs/std_log.txt", r.nodeLog(): "system_logs/lifecycler/lifecycler.log"} {
		if err := r.pushLog(ctx, file, name); err != nil && ctx.Err() == nil {
			r.log.Warn("log could not be uploaded", "log", name, "error", err)
		}
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return phaseDeliver, r.finish(state, failure)
}

func (r *run) uploadOutputs(ctx context.Context) error {
	w, err := openWork(r.work(), 0)
	if err != nil {
		return err
	}
	defer w.close()
	for _, o := range r.task.Outputs {
		n, err := upload(ctx, r.blobs, w, o)
		if err != nil {
			return fmt.Errorf("output %q: %w", o.Name, err)
		}
		r.lifecycle("output %s: %d files", o.Name, n)
	}
	return nil
}

func (r *run) pushLog(ctx context.Context, file, name string) error {
	u := r.logURL(name)
	if _, err := os.Stat(file); u == "" || err != nil {
		return nil
	}
	l := &logBlob{b: r.blobs, file: file, url: u}
	return retry(ctx, func() error { return l.push(ctx) })
}

// clean removes every trace of the task from the node.
func (r *run) clean(ctx context.Context) {
	r.mu.Lock()
	r.gone = true
	r.mu.Unlock()
	c, err := r.a.rt.Attach(ctx, r.container())
	if c != nil {
		err = c.Remove(ctx)
	} else if errors.Is(err, oci.ErrNoSuch) {
		err = nil
	}
	if err = errors.Join(err, os.RemoveAll(r.dir)); err != nil {
		r.log.Error("the task's traces could not be removed", "error", err)
	}
}

func (r *run) work() string    { return filepath.Join(r.dir, "work") }
func (r *run) userLog() string { return filepath.Join(r.dir, "std_log.txt") }
func (r *run) nodeLog() string { return filepath.Join(r.dir, "lifecycler.log") }
func (r *run) owner() int      { return int(r.a.rt.IDs().Host) }

// container is the attempt's container id, short enough for a file name.
func (r *run) container() string {
	sum := sha256.Sum256([]byte(r.task.ID))
	return fmt.Sprintf("%.40s-%s.%d", r.task.ID, hex.EncodeToString(sum[:4]), r.j.Assignment.Attempt)
}

func (r *run) logURL(name string) string {
	if r.task.Logs.URL == "" {
		return ""
	}
	u, err := below(r.task.Logs.URL, name)
	if err != nil {
		return ""
	}
	return u
}

// lifecycle writes a line of the node's own log of the task.
func (r *run) lifecycle(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.log.Info(text)
	f, err := os.OpenFile(r.nodeLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), text)
}
