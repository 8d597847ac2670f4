package ml

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"vauban.dev/store"
)

// Kinds of documents of traces. Keys start with the workspace's GUID.
const (
	kindTrace       = "ml.trace"       // ws/traceID
	kindTraceByTime = "ml.tracebytime" // ws/experimentID/inverted request time/traceID
)

// Trace is what is known of one request to an application (MLflow 3). Its spans are an artifact below its id.
type Trace struct {
	ID           string            `json:"id"`
	ExperimentID string            `json:"experimentId"`
	ClientID     string            `json:"clientId,omitempty"` // the request's id as the application knows it
	Creator      string            `json:"creator,omitempty"`  // the run whose token made it
	Request      string            `json:"request,omitempty"`  // preview
	Response     string            `json:"response,omitempty"`
	At           time.Time         `json:"at"`
	Took         time.Duration     `json:"took,omitempty"`
	State        string            `json:"state"` // MLflow's: OK, ERROR, IN_PROGRESS
	Metadata     map[string]string `json:"metadata,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Assessments  json.RawMessage   `json:"assessments,omitempty"`
}

// DataContainer is the id that the trace's spans live under.
func (t *Trace) DataContainer() string { return (&Run{ID: t.ID}).DataContainer() }

func (t *Trace) byTime(ws string) string { return key(ws, t.ExperimentID, inverted(t.At), t.ID) }

// PutTrace stores a trace; one of that id that is there already is replaced when may agrees. ErrNotFound when the experiment
// does not exist.
func (s *Store) PutTrace(ctx context.Context, ws string, t *Trace, may func(old *Trace) error) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		if _, err := get[Experiment](tx, kindExperiment, key(ws, t.ExperimentID)); err != nil {
			return err
		}
		old, err := get[Trace](tx, kindTrace, key(ws, t.ID))
		if err == nil {
			if err := may(old); err != nil {
				return err
			}
			err = tx.Delete(kindTraceByTime, old.byTime(ws), store.Any)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if _, err := tx.Put(kindTraceByTime, t.byTime(ws), nil, store.Any); err != nil {
			return err
		}
		return put(tx, kindTrace, key(ws, t.ID), t)
	})
}

// Trace returns the trace or ErrNotFound.
func (s *Store) Trace(ctx context.Context, ws, id string) (t *Trace, err error) {
	err = s.db.View(ctx, func(tx store.Tx) error {
		t, err = get[Trace](tx, kindTrace, key(ws, id))
		return err
	})
	return t, err
}

// UpdateTrace changes a trace by f, which leaves id, experiment and time as they are; ErrNotFound.
func (s *Store) UpdateTrace(ctx context.Context, ws, id string, f func(*Trace) error) (t *Trace, err error) {
	err = s.db.Update(ctx, func(tx store.Tx) error {
		if t, err = get[Trace](tx, kindTrace, key(ws, id)); err != nil {
			return err
		}
		if err = f(t); err != nil {
			return err
		}
		return put(tx, kindTrace, key(ws, id), t)
	})
	return t, err
}

// Traces yields an experiment's traces, the newest first, until yield returns false.
func (s *Store) Traces(ctx context.Context, ws, experimentID string, yield func(*Trace) bool) error {
	return s.db.View(ctx, func(tx store.Tx) error {
		return inOrder(tx, kindTraceByTime, kindTrace, ws, experimentID, yield)
	})
}

// DeleteTraces removes those traces of an experiment that match says and returns how many.
func (s *Store) DeleteTraces(ctx context.Context, ws, experimentID string, match func(*Trace) bool) (n int, err error) {
	err = s.db.Update(ctx, func(tx store.Tx) error {
		var gone []*Trace
		if err := inOrder(tx, kindTraceByTime, kindTrace, ws, experimentID, func(t *Trace) bool {
			if match(t) {
				gone = append(gone, t)
			}
			return true
		}); err != nil {
			return err
		}
		for _, t := range gone {
			if err := errors.Join(tx.Delete(kindTraceByTime, t.byTime(ws), store.Any), tx.Delete(kindTrace, key(ws, t.ID), store.Any)); err != nil {
				return err
			}
		}
		n = len(gone)
		return nil
	})
	return n, err
}
