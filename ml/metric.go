package ml

import (
	"context"
	"encoding/json"
	"fmt"

	"vauban.dev/store"
)

// Batch is what one log-batch call carries; it is stored whole or not at all.
type Batch struct {
	Metrics []Metric
	Tables  map[string]Table // of Rows
	Rows    []Row
	Params  map[string]string
	Tags    map[string]string
	// By is who logs: points may name logged models, and a caller with a run's token is held to those it made.
	By Caller
}

// Log adds a batch to a run: ErrNotFound (the run, or a logged model that a point names), or ErrImmutable for a
// parameter that has another value and a metric that is of another form.
func (s *Store) Log(ctx context.Context, ws, runID string, b Batch) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		r, err := s.RunTx(tx, ws, runID)
		if err != nil {
			return err
		}
		for k, v := range b.Params {
			if err := r.SetParam(k, v); err != nil {
				return err
			}
		}
		for k, v := range b.Tags {
			r.SetTag(k, v)
		}
		if err := s.appendMetrics(tx, ws, r, b.Metrics, b.By); err != nil {
			return err
		}
		for name, t := range b.Tables {
			if err := r.SetTable(name, t); err != nil {
				return err
			}
		}
		if err := appendRows(tx, ws, r, b.Rows); err != nil {
			return err
		}
		return putRun(tx, ws, r)
	})
}

// appendMetrics writes the points as one document and keeps the latest of each metric on the run: the
// one with the highest step, then timestamp, then value, as MLflow orders them.
func (s *Store) appendMetrics(tx store.Tx, ws string, r *Run, points []Metric, by Caller) error {
	if len(points) == 0 {
		return nil
	}
	if r.Metrics == nil {
		r.Metrics = map[string]Metric{}
	}
	for _, p := range points {
		if _, ok := r.Tables[p.Key]; ok {
			return fmt.Errorf("%w: metric '%s' of run %s is not a series of numbers", ErrImmutable, p.Key, r.ID)
		}
		if old, ok := r.Metrics[p.Key]; !ok || !newer(old, p) {
			r.Metrics[p.Key] = p
		}
	}
	if err := s.measure(tx, ws, r.ID, points, by); err != nil {
		return err
	}
	r.Batches++
	return put(tx, kindMetric, batchKey(ws, r), points)
}

// batchKey is where the batch that was counted last is kept.
func batchKey(ws string, r *Run) string { return key(ws, r.ID, fmt.Sprintf("%012d", r.Batches)) }

func newer(a, b Metric) bool {
	if a.Step != b.Step {
		return a.Step > b.Step
	}
	if a.Timestamp != b.Timestamp {
		return a.Timestamp > b.Timestamp
	}
	return a.Value > b.Value
}

// History returns the points of one metric ("" = of all) in the order they were logged.
func (s *Store) History(ctx context.Context, ws, runID, metric string) ([]Metric, error) {
	return scanBatches(ctx, s.db, kindMetric, key(ws, runID, ""), func(p *Metric) bool { return metric == "" || p.Key == metric })
}

// scanBatches reads what the documents below prefix list, one after the other, and returns what keep says.
func scanBatches[T any](ctx context.Context, db store.Store, kind, prefix string, keep func(*T) bool) (out []T, err error) {
	err = db.View(ctx, func(tx store.Tx) error {
		var bad error
		err := tx.Scan(kind, prefix, "", func(d store.Doc) bool {
			var batch []T
			if bad = json.Unmarshal(d.Value, &batch); bad != nil {
				return false
			}
			for i := range batch {
				if keep(&batch[i]) {
					out = append(out, batch[i])
				}
			}
			return true
		})
		if err == nil {
			err = bad
		}
		return err
	})
	return out, err
}
