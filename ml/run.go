package ml

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// CreateRun stores a new run. An empty ID gets a GUID, an empty Status NotStarted; ErrExists when the
// id is taken, ErrNotFound when the experiment does not exist.
func (s *Store) CreateRun(ctx context.Context, ws string, r *Run) error {
	return s.db.Update(ctx, func(tx store.Tx) error { return s.createRun(ctx, tx, ws, r) })
}

// CreateRunTx is CreateRun in a caller's transaction.
func (s *Store) CreateRunTx(tx store.Tx, ws string, r *Run) error {
	return s.createRun(context.Background(), tx, ws, r)
}

func (s *Store) createRun(ctx context.Context, tx store.Tx, ws string, r *Run) error {
	e, err := get[Experiment](tx, kindExperiment, key(ws, r.ExperimentID))
	if err != nil {
		return err
	}
	if r.ID == "" {
		r.ID = uuid.NewString()
	}
	if _, err := get[Run](tx, kindRun, key(ws, r.ID)); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = ErrExists
		}
		return err
	}
	if r.Status == "" {
		r.Status = NotStarted
	}
	r.Experiment = e.Name
	r.Created = s.clock.Now()
	if r.Status == Running && r.Started.IsZero() {
		r.Started = r.Created
	}
	if _, err := tx.Put(kindRunByTime, byTimeKey(ws, r), nil, store.Any); err != nil {
		return err
	}
	if err := s.tell(ctx, tx, ws, nil, r); err != nil {
		return err
	}
	return putRun(tx, ws, r)
}

// byTimeKey orders the runs of an experiment newest first.
func byTimeKey(ws string, r *Run) string {
	return key(ws, r.ExperimentID, inverted(r.Created), r.ID)
}

// Run returns the run or ErrNotFound.
func (s *Store) Run(ctx context.Context, ws, id string) (r *Run, err error) {
	err = s.db.View(ctx, func(tx store.Tx) error {
		r, err = s.RunTx(tx, ws, id)
		return err
	})
	return r, err
}

// RunTx is Run in a caller's transaction.
func (s *Store) RunTx(tx store.Tx, ws, id string) (*Run, error) {
	return get[Run](tx, kindRun, key(ws, id))
}

// UpdateRun changes a run by f in one transaction. f must not change the id or the experiment.
func (s *Store) UpdateRun(ctx context.Context, ws, id string, f func(*Run) error) (r *Run, err error) {
	err = s.db.Update(ctx, func(tx store.Tx) error {
		r, err = s.updateRun(ctx, tx, ws, id, f)
		return err
	})
	return r, err
}

// UpdateRunTx is UpdateRun in a caller's transaction.
func (s *Store) UpdateRunTx(tx store.Tx, ws, id string, f func(*Run) error) (*Run, error) {
	return s.updateRun(context.Background(), tx, ws, id, f)
}

func (s *Store) updateRun(ctx context.Context, tx store.Tx, ws, id string, f func(*Run) error) (*Run, error) {
	r, err := s.RunTx(tx, ws, id)
	if err != nil {
		return nil, err
	}
	before := *r
	if err := f(r); err != nil {
		return nil, err
	}
	if err := s.tell(ctx, tx, ws, &before, r); err != nil {
		return nil, err
	}
	return r, putRun(tx, ws, r)
}

// SetStatus moves a run to a state. Times are kept: Started with Running, Ended with an end state. A
// run that has ended stays as it is (ErrImmutable), except that the same state may be set again.
func (r *Run) SetStatus(to Status, now time.Time) error {
	if r.Status == to {
		return nil
	}
	if r.Status.Terminal() {
		return fmt.Errorf("%w: run %s is %s", ErrImmutable, r.ID, r.Status)
	}
	r.Status = to
	if to == Running && r.Started.IsZero() {
		r.Started = now
	}
	if to.Terminal() {
		r.Ended = now
		if r.Started.IsZero() {
			r.Started = r.Created
		}
	}
	return nil
}

// SetParam logs a parameter; another value for the same key is ErrImmutable, as in MLflow.
func (r *Run) SetParam(k, v string) error {
	if old, ok := r.Params[k]; ok && old != v {
		return fmt.Errorf("%w: changing param values is not allowed: param with key='%s' was already logged with value='%s' for run ID='%s'", ErrImmutable, k, old, r.ID)
	}
	if r.Params == nil {
		r.Params = map[string]string{}
	}
	r.Params[k] = v
	return nil
}

// SetTag sets a tag.
func (r *Run) SetTag(k, v string) {
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	r.Tags[k] = v
}

// Runs calls yield for the runs of an experiment ("" = of the workspace), the newest of each experiment
// first, until it returns false. Runs that it yields are shared: they must not be changed.
func (s *Store) Runs(ctx context.Context, ws, experimentID string, yield func(*Run) bool) error {
	return s.db.View(ctx, func(tx store.Tx) error {
		if experimentID != "" {
			return s.inExperiment(tx, ws, experimentID, yield)
		}
		rs, err := scan[Run](tx, kindRun, ws+"/")
		for _, r := range rs {
			if !yield(r) {
				break
			}
		}
		return err
	})
}
