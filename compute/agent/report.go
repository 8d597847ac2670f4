package agent

import (
	"context"
	"errors"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/batch"
)

// report files a report on disk; deliver brings it to the service.
func (r *run) report(state compute.TaskState, pid int) {
	if err := r.change(false, func(j *journal) { r.file(compute.Report{State: state, PID: pid, ExitCode: j.Exit}) }); err != nil {
		r.log.Error("journal", "error", err)
	}
	r.rouse()
}

// finish files the last report, durable before it can be delivered.
func (r *run) finish(state compute.TaskState, failure *compute.Failure) error {
	err := r.change(true, func(j *journal) {
		j.Phase = phaseDeliver
		r.file(compute.Report{State: state, ExitCode: j.Exit, Failure: failure})
	})
	r.rouse()
	return err
}

// file adds a report to the journal; r.mu is held.
func (r *run) file(rep compute.Report) {
	r.j.Seq++
	rep.Task, rep.Attempt, rep.Seq, rep.Time = r.task.ID, r.j.Assignment.Attempt, r.j.Seq, time.Now().UTC()
	r.j.Pending = append(r.j.Pending, rep)
	r.state = rep.State
}

func (r *run) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// deliver brings reports to the service in order, each until it is acknowledged, while ctx lasts.
func (r *run) deliver(ctx context.Context) {
	for failures := 0; ; {
		rep, ok := r.oldest()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
				continue
			}
		}
		err := r.a.batch.Report(ctx, rep)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
			r.acknowledged(rep)
		case errors.Is(err, batch.ErrLost), refused(err) && r.reason() == stopLost:
			r.lifecycle("the lease of the task was lost")
			r.stop(stopLost, 0)
			r.acknowledged(rep)
		default:
			r.log.Warn("report not delivered, trying again", "state", rep.State, "error", err)
			if pause(ctx, backoff(failures)) != nil {
				return
			}
			failures++
		}
	}
}

// refused: the service does not know this node. Only Agent.insist decides when to believe it.
func refused(err error) bool {
	return errors.Is(err, batch.ErrUnauthorized) || errors.Is(err, batch.ErrNoNode)
}

func (r *run) oldest() (compute.Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.j.Pending) == 0 {
		return compute.Report{}, false
	}
	return r.j.Pending[0], true
}

func (r *run) acknowledged(rep compute.Report) {
	err := r.change(false, func(j *journal) {
		for len(j.Pending) > 0 && j.Pending[0].Seq <= rep.Seq {
			j.Pending = j.Pending[1:]
		}
	})
	if err != nil {
		r.log.Error("journal", "error", err) // it will be delivered again, which is no error
	}
	r.checkEmptied()
}

// checkEmptied tells awaitDelivery when nothing is left, or will be.
func (r *run) checkEmptied() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.j.Pending) > 0 || r.j.Phase != phaseDeliver {
		return
	}
	select {
	case <-r.delivered:
	default:
		close(r.delivered)
	}
}

// awaitDelivery returns when all reports are acknowledged, or ctx ends.
func (r *run) awaitDelivery(ctx context.Context) {
	r.checkEmptied()
	select {
	case <-ctx.Done():
	case <-r.delivered:
	}
}
