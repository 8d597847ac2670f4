// Package ml is what a workspace knows of its experiments: runs with their parameters, metrics, tags and
// states. SDK v1 (run history), SDK v2 (jobs) and MLflow all read and write this one store; each wire
// format is a folder in dataplane/.
package ml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/internal/clock"
	"vauban.dev/store"
)

var (
	// ErrNotFound: the experiment or run does not exist in this workspace.
	ErrNotFound = errors.New("ml: not found")
	// ErrExists: an experiment or run of that name or id exists.
	ErrExists = errors.New("ml: already exists")
	// ErrImmutable: a parameter cannot change its value once logged, a metric not its form, and a run in an end state does
	// not go back to another.
	ErrImmutable = errors.New("ml: immutable")
)

// Reason is what err says without the name of the error that it wraps, for messages to clients.
func Reason(err error) string {
	for _, known := range []error{ErrNotFound, ErrExists, ErrImmutable} {
		if text, ok := strings.CutPrefix(err.Error(), known.Error()+": "); ok {
			return text
		}
	}
	return err.Error()
}

// Kinds of documents in the store. Keys start with the workspace's GUID.
const (
	kindExperiment     = "ml.experiment"     // ws/experimentID
	kindExperimentName = "ml.experimentname" // ws/lower-case name → experiment id
	kindRun            = "ml.run"            // ws/runID
	kindRunByTime      = "ml.runbytime"      // ws/experimentID/inverted start time/runID
	kindMark           = "ml.mark"           // ws/experimentID: moves with every write of a run of the experiment
	kindMetric         = "ml.metric"         // ws/runID/sequence → a batch of points
	kindRow            = "ml.metricrow"      // ws/runID/sequence → a batch of rows of tables
)

// RunKind is the store kind of runs, for those who watch their states.
const RunKind = kindRun

// Store keeps the experiments of all workspaces of a region.
type Store struct {
	db     store.Store
	clock  clock.Clock
	cache  cache
	notice Notice
}

// Notice is told, in its transaction, of a run that is made (before is nil), that comes into another state, or that is
// deleted or restored. ctx is that of the request, where there is one. Its error undoes the change.
type Notice func(ctx context.Context, tx store.Tx, ws string, before, now *Run) error

// Tell has f told of runs. It is called before the store is used.
func (s *Store) Tell(f Notice) { s.notice = f }

func (s *Store) tell(ctx context.Context, tx store.Tx, ws string, before, now *Run) error {
	if s.notice == nil || before != nil && before.Status == now.Status && before.Deleted == now.Deleted {
		return nil
	}
	return s.notice(ctx, tx, ws, before, now)
}

// New returns the experiment store on db.
func New(db store.Store, c clock.Clock) *Store { return &Store{db: db, clock: c} }

// Experiment groups runs. Its name is unique in the workspace, without regard to case.
type Experiment struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Created  time.Time         `json:"created"`
	Modified time.Time         `json:"modified"`
	Tags     map[string]string `json:"tags,omitempty"`
	Deleted  bool              `json:"deleted,omitempty"` // MLflow's lifecycle stage "deleted"
}

// Status of a run, in Azure ML's words.
type Status string

const (
	NotStarted      Status = "NotStarted"
	Queued          Status = "Queued"
	Preparing       Status = "Preparing"
	Starting        Status = "Starting"
	Running         Status = "Running"
	Finalizing      Status = "Finalizing"
	CancelRequested Status = "CancelRequested"
	Completed       Status = "Completed"
	Failed          Status = "Failed"
	Canceled        Status = "Canceled"
)

// Terminal reports whether s is an end state.
func (s Status) Terminal() bool { return s == Completed || s == Failed || s == Canceled }

// Metric is one point of a metric.
type Metric struct {
	Key       string `json:"key"`
	Value     Float  `json:"value"`
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970, the client's
	Step      int64  `json:"step"`
	// What was measured, where the client said it (MLflow 3): a logged model, on a dataset.
	Model   string `json:"model,omitempty"`
	Dataset string `json:"dataset,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// Run is one execution: a job's or one that a client tracks itself.
type Run struct {
	ID           string            `json:"id"`
	ExperimentID string            `json:"experimentId"`
	Experiment   string            `json:"experiment"`        // name
	Batches      int64             `json:"batches,omitempty"` // metric batches logged so far
	Name         string            `json:"name,omitempty"`    // display name
	Parent       string            `json:"parent,omitempty"`
	Creator      string            `json:"creator,omitempty"` // the run whose token made this one
	Type         string            `json:"type,omitempty"`    // run type: azureml.scriptrun …
	Target       string            `json:"target,omitempty"`
	Status       Status            `json:"status"`
	Error        *RunError         `json:"error,omitempty"`
	User         User              `json:"user"`
	Created      time.Time         `json:"created"`
	Started      time.Time         `json:"started,omitzero"`
	Ended        time.Time         `json:"ended,omitzero"`
	Deleted      bool              `json:"deleted,omitempty"`
	Params       map[string]string `json:"params,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Properties   map[string]string `json:"properties,omitempty"`
	Metrics      map[string]Metric `json:"metrics,omitempty"` // the last point of each
	Tables       map[string]Table  `json:"tables,omitempty"`  // metrics that are not series of numbers
	// Inputs and Outputs hold what a wire format adds and others only carry (dataset and model inputs).
	Inputs  json.RawMessage `json:"inputs,omitempty"`
	Outputs json.RawMessage `json:"outputs,omitempty"`
	// Logged models that the run read and made.
	ModelInputs  []string      `json:"modelInputs,omitempty"`
	ModelOutputs []ModelOutput `json:"modelOutputs,omitempty"`
}

// ModelOutput is a logged model that a run made, and at which step.
type ModelOutput struct {
	Model string `json:"model"`
	Step  int64  `json:"step"`
}

// RunError is why a run failed.
type RunError struct {
	Code    string `json:"code"` // UserError, ServiceError …
	Message string `json:"message"`
}

// User who made a run.
type User struct {
	ObjectID string `json:"objectId,omitempty"`
	TenantID string `json:"tenantId,omitempty"`
	Name     string `json:"name,omitempty"`
}

// DataContainer is the id that artifacts of the run live under ("dcid.{run}", as Azure ML names it).
func (r *Run) DataContainer() string { return "dcid." + r.ID }

func key(parts ...string) string { return strings.Join(parts, "/") }

func get[T any](tx store.Tx, kind, k string) (*T, error) {
	d, err := tx.Get(kind, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	return v, json.Unmarshal(d.Value, v)
}

func put(tx store.Tx, kind, k string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, k, b, store.Any)
	return err
}

// EnsureExperiment returns the experiment of that name and makes it when it is missing.
func (s *Store) EnsureExperiment(ctx context.Context, ws, name string) (*Experiment, error) {
	e, err := s.ExperimentByName(ctx, ws, name)
	if !errors.Is(err, ErrNotFound) {
		return e, err
	}
	err = s.db.Update(ctx, func(tx store.Tx) error {
		e, err = s.EnsureExperimentTx(tx, ws, name)
		return err
	})
	return e, err
}

// EnsureExperimentTx is EnsureExperiment in a caller's transaction.
func (s *Store) EnsureExperimentTx(tx store.Tx, ws, name string) (*Experiment, error) {
	e, err := byName(tx, ws, name)
	if !errors.Is(err, ErrNotFound) {
		return e, err
	}
	return s.createExperiment(tx, ws, name, nil)
}

// CreateExperiment makes an experiment; ErrExists when the name is taken.
func (s *Store) CreateExperiment(ctx context.Context, ws, name string, tags map[string]string) (e *Experiment, err error) {
	err = s.db.Update(ctx, func(tx store.Tx) error {
		if _, err := byName(tx, ws, name); !errors.Is(err, ErrNotFound) {
			if err == nil {
				err = ErrExists
			}
			return err
		}
		e, err = s.createExperiment(tx, ws, name, tags)
		return err
	})
	return e, err
}

func (s *Store) createExperiment(tx store.Tx, ws, name string, tags map[string]string) (*Experiment, error) {
	now := s.clock.Now()
	e := &Experiment{ID: uuid.NewString(), Name: name, Created: now, Modified: now, Tags: tags}
	if _, err := tx.Put(kindExperimentName, key(ws, strings.ToLower(name)), []byte(e.ID), store.Any); err != nil {
		return nil, err
	}
	return e, put(tx, kindExperiment, key(ws, e.ID), e)
}

func byName(tx store.Tx, ws, name string) (*Experiment, error) {
	d, err := tx.Get(kindExperimentName, key(ws, strings.ToLower(name)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return get[Experiment](tx, kindExperiment, key(ws, string(d.Value)))
}

// ExperimentByName returns the experiment or ErrNotFound.
func (s *Store) ExperimentByName(ctx context.Context, ws, name string) (e *Experiment, err error) {
	err = s.db.View(ctx, func(tx store.Tx) error {
		e, err = byName(tx, ws, name)
		return err
	})
	return e, err
}

// Experiment returns the experiment of that id or ErrNotFound.
func (s *Store) Experiment(ctx context.Context, ws, id string) (e *Experiment, err error) {
	err = s.db.View(ctx, func(tx store.Tx) error {
		e, err = get[Experiment](tx, kindExperiment, key(ws, id))
		return err
	})
	return e, err
}

// Experiments lists all experiments of the workspace.
func (s *Store) Experiments(ctx context.Context, ws string) (out []*Experiment, err error) {
	err = s.db.View(ctx, func(tx store.Tx) error {
		out, err = scan[Experiment](tx, kindExperiment, ws+"/")
		return err
	})
	return out, err
}

// UpdateExperiment changes an experiment by f. A new name must be free: ErrExists.
func (s *Store) UpdateExperiment(ctx context.Context, ws, id string, f func(*Experiment) error) (e *Experiment, err error) {
	err = s.db.Update(ctx, func(tx store.Tx) error {
		if e, err = get[Experiment](tx, kindExperiment, key(ws, id)); err != nil {
			return err
		}
		old := e.Name
		if err = f(e); err != nil {
			return err
		}
		if !strings.EqualFold(old, e.Name) {
			if _, err := byName(tx, ws, e.Name); !errors.Is(err, ErrNotFound) {
				if err == nil {
					err = ErrExists
				}
				return err
			}
			if err := tx.Delete(kindExperimentName, key(ws, strings.ToLower(old)), store.Any); err != nil {
				return err
			}
			if _, err := tx.Put(kindExperimentName, key(ws, strings.ToLower(e.Name)), []byte(id), store.Any); err != nil {
				return err
			}
		}
		e.Modified = s.clock.Now()
		return put(tx, kindExperiment, key(ws, id), e)
	})
	return e, err
}

func scan[T any](tx store.Tx, kind, prefix string) (out []*T, err error) {
	e := tx.Scan(kind, prefix, "", func(d store.Doc) bool {
		v := new(T)
		if err = json.Unmarshal(d.Value, v); err != nil {
			err = fmt.Errorf("ml: document %s %s: %w", kind, d.Key, err)
			return false
		}
		out = append(out, v)
		return true
	})
	return out, errors.Join(err, e)
}
