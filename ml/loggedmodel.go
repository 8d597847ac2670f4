package ml

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// Kinds of documents of logged models. Keys start with the workspace's GUID.
const (
	kindLoggedModel       = "ml.loggedmodel"       // ws/modelID
	kindLoggedModelByTime = "ml.loggedmodelbytime" // ws/experimentID/inverted creation time/modelID
)

// LoggedModel is a model that a client logged to an experiment (MLflow 3): its parameters and metrics, and artifacts below its id.
type LoggedModel struct {
	ID            string            `json:"id"` // "m-" and 32 hex digits
	ExperimentID  string            `json:"experimentId"`
	Name          string            `json:"name"`
	Type          string            `json:"type,omitempty"`
	Run           string            `json:"run,omitempty"`     // that made it
	Creator       string            `json:"creator,omitempty"` // the run whose token made it
	Status        string            `json:"status"`            // MLflow's: LOGGED_MODEL_PENDING …
	StatusMessage string            `json:"statusMessage,omitempty"`
	Created       time.Time         `json:"created"`
	Modified      time.Time         `json:"modified"`
	Tags          map[string]string `json:"tags,omitempty"`
	Params        map[string]string `json:"params,omitempty"`
	Metrics       []ModelMetric     `json:"metrics,omitempty"` // the last point of each metric on each dataset
}

// ModelMetric is the last point of a metric of a model, and the run that logged it.
type ModelMetric struct {
	Metric
	Run string `json:"run"`
}

// DataContainer is the id that artifacts of the model live under.
func (m *LoggedModel) DataContainer() string { return (&Run{ID: m.ID}).DataContainer() }

// inverted is a time as part of a key that orders the newest first. Times that clients send may be of any year: those that
// nanoseconds since 1970 do not reach stand at the end that they are beyond.
func inverted(t time.Time) string {
	n := t.UnixNano()
	switch year := t.Year(); {
	case year < 1970:
		n = 0
	case year > 2261:
		n = math.MaxInt64
	}
	return fmt.Sprintf("%016x", math.MaxInt64-n)
}

// CreateLoggedModel stores a new model and gives it its id; ErrNotFound when the experiment does not exist.
func (s *Store) CreateLoggedModel(ctx context.Context, ws string, m *LoggedModel) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		if _, err := get[Experiment](tx, kindExperiment, key(ws, m.ExperimentID)); err != nil {
			return err
		}
		m.ID = "m-" + strings.ReplaceAll(uuid.NewString(), "-", "")
		m.Created = s.clock.Now()
		m.Modified = m.Created
		if _, err := tx.Put(kindLoggedModelByTime, key(ws, m.ExperimentID, inverted(m.Created), m.ID), nil, store.Any); err != nil {
			return err
		}
		return put(tx, kindLoggedModel, key(ws, m.ID), m)
	})
}

// LoggedModel returns the model or ErrNotFound.
func (s *Store) LoggedModel(ctx context.Context, ws, id string) (m *LoggedModel, err error) {
	err = s.db.View(ctx, func(tx store.Tx) error {
		m, err = get[LoggedModel](tx, kindLoggedModel, key(ws, id))
		return err
	})
	return m, err
}

// UpdateLoggedModel changes a model by f in one transaction; ErrNotFound.
func (s *Store) UpdateLoggedModel(ctx context.Context, ws, id string, f func(*LoggedModel) error) (m *LoggedModel, err error) {
	err = s.db.Update(ctx, func(tx store.Tx) error {
		if m, err = get[LoggedModel](tx, kindLoggedModel, key(ws, id)); err != nil {
			return err
		}
		if err = f(m); err != nil {
			return err
		}
		m.Modified = s.clock.Now()
		return put(tx, kindLoggedModel, key(ws, id), m)
	})
	return m, err
}

// DeleteLoggedModel removes a model when may agrees; ErrNotFound.
func (s *Store) DeleteLoggedModel(ctx context.Context, ws, id string, may func(*LoggedModel) error) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		m, err := get[LoggedModel](tx, kindLoggedModel, key(ws, id))
		if err != nil {
			return err
		}
		if err := may(m); err != nil {
			return err
		}
		if err := tx.Delete(kindLoggedModelByTime, key(ws, m.ExperimentID, inverted(m.Created), m.ID), store.Any); err != nil {
			return err
		}
		return tx.Delete(kindLoggedModel, key(ws, id), store.Any)
	})
}

// LoggedModels yields an experiment's models, the newest first, until yield returns false.
func (s *Store) LoggedModels(ctx context.Context, ws, experimentID string, yield func(*LoggedModel) bool) error {
	return s.db.View(ctx, func(tx store.Tx) error {
		return inOrder(tx, kindLoggedModelByTime, kindLoggedModel, ws, experimentID, yield)
	})
}

// inOrder yields the documents of an experiment in the order of an index.
func inOrder[T any](tx store.Tx, index, kind, ws, experimentID string, yield func(*T) bool) error {
	prefix := key(ws, experimentID, "")
	for after, more := "", true; more; {
		keys, err := scanKeys(tx, index, prefix, after, runsAtOnce)
		if err != nil {
			return err
		}
		for _, k := range keys {
			v, err := get[T](tx, kind, key(ws, k[len(prefix)+timeDigits+1:]))
			if err != nil {
				return err
			}
			if !yield(v) {
				return nil
			}
			after = k
		}
		more = len(keys) == runsAtOnce
	}
	return nil
}

// measure notes the points that name a model with it: ErrNotFound when there is none, or by may not touch it.
func (s *Store) measure(tx store.Tx, ws, run string, points []Metric, by Caller) error {
	models := map[string]*LoggedModel{}
	for _, p := range points {
		if p.Model == "" {
			continue
		}
		m := models[p.Model]
		if m == nil {
			var err error
			if m, err = get[LoggedModel](tx, kindLoggedModel, key(ws, p.Model)); err == nil && !by.HoldsModel(m) {
				err = ErrNotFound
			}
			if err != nil {
				return fmt.Errorf("%w: logged model %s", err, p.Model)
			}
			models[p.Model] = m
		}
		m.add(ModelMetric{p, run})
	}
	for id, m := range models {
		if err := put(tx, kindLoggedModel, key(ws, id), m); err != nil {
			return err
		}
	}
	return nil
}

func (m *LoggedModel) add(p ModelMetric) {
	i := slices.IndexFunc(m.Metrics, func(o ModelMetric) bool {
		return o.Key == p.Key && o.Dataset == p.Dataset && o.Digest == p.Digest && o.Run == p.Run
	})
	if i < 0 {
		m.Metrics = append(m.Metrics, p)
	} else if !newer(m.Metrics[i].Metric, p.Metric) {
		m.Metrics[i] = p
	}
}
