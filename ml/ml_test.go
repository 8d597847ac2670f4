package ml_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/ml"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

const ws = "6f1d2c3b-0000-4000-8000-000000000001"

// ticking is a clock that moves a second with every look.
type ticking struct {
	mu  sync.Mutex
	now time.Time
}

func (c *ticking) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

func newStore(t testing.TB) (*ml.Store, store.Store) {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "ml.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return ml.New(db, &ticking{now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}), db
}

func experiment(t testing.TB, s *ml.Store, name string) *ml.Experiment {
	t.Helper()
	e, err := s.EnsureExperiment(context.Background(), ws, name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func run(t testing.TB, s *ml.Store, e *ml.Experiment, id string) *ml.Run {
	t.Helper()
	r := &ml.Run{ID: id, ExperimentID: e.ID, Status: ml.Running}
	if err := s.CreateRun(context.Background(), ws, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExperiments(t *testing.T) {
	s, _ := newStore(t)
	ctx := context.Background()
	a := experiment(t, s, "Credit")
	if again := experiment(t, s, "credit"); again.ID != a.ID {
		t.Errorf("another case of the name made another experiment")
	}
	if _, err := s.CreateExperiment(ctx, ws, "CREDIT", nil); !errors.Is(err, ml.ErrExists) {
		t.Errorf("CreateExperiment of a name that is taken: %v", err)
	}
	b, err := s.CreateExperiment(ctx, ws, "fraud", map[string]string{"team": "risk"})
	if err != nil {
		t.Fatal(err)
	}
	rename := func(to string) error {
		_, err := s.UpdateExperiment(ctx, ws, b.ID, func(e *ml.Experiment) error { e.Name = to; return nil })
		return err
	}
	if err := rename("credit"); !errors.Is(err, ml.ErrExists) {
		t.Errorf("renamed onto a name that is taken: %v", err)
	}
	if err := rename("Fraud"); err != nil {
		t.Errorf("a change of case: %v", err)
	}
	if err := rename("scoring"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExperimentByName(ctx, ws, "fraud"); !errors.Is(err, ml.ErrNotFound) {
		t.Errorf("the old name: %v", err)
	}
	got, err := s.ExperimentByName(ctx, ws, "SCORING")
	if err != nil || got.ID != b.ID || got.Tags["team"] != "risk" {
		t.Errorf("the new name: %+v, %v", got, err)
	}
	if _, err := s.Experiment(ctx, "another-workspace", b.ID); !errors.Is(err, ml.ErrNotFound) {
		t.Errorf("from another workspace: %v", err)
	}
	all, err := s.Experiments(ctx, ws)
	if err != nil || len(all) != 2 {
		t.Errorf("%d experiments, %v", len(all), err)
	}
}

func TestRunLife(t *testing.T) {
	s, _ := newStore(t)
	ctx := context.Background()
	e := experiment(t, s, "train")
	if err := s.CreateRun(ctx, ws, &ml.Run{ExperimentID: "none"}); !errors.Is(err, ml.ErrNotFound) {
		t.Errorf("a run in no experiment: %v", err)
	}
	r := &ml.Run{ExperimentID: e.ID, User: ml.User{Name: "ada"}}
	if err := s.CreateRun(ctx, ws, r); err != nil {
		t.Fatal(err)
	}
	if r.ID == "" || r.Status != ml.NotStarted || r.Experiment != "train" {
		t.Errorf("made %+v", r)
	}
	if err := s.CreateRun(ctx, ws, &ml.Run{ID: r.ID, ExperimentID: e.ID}); !errors.Is(err, ml.ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	to := func(st ml.Status) error {
		_, err := s.UpdateRun(ctx, ws, r.ID, func(r *ml.Run) error { return r.SetStatus(st, time.Unix(1e9, 0).UTC()) })
		return err
	}
	for _, st := range []ml.Status{ml.Queued, ml.Running, ml.Completed, ml.Completed} {
		if err := to(st); err != nil {
			t.Fatalf("to %s: %v", st, err)
		}
	}
	if err := to(ml.Running); !errors.Is(err, ml.ErrImmutable) {
		t.Errorf("an ended run was started: %v", err)
	}
	got, err := s.Run(ctx, ws, r.ID)
	if err != nil || got.Started.IsZero() || got.Ended.IsZero() || got.User.Name != "ada" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.UpdateRun(ctx, ws, "nobody", func(*ml.Run) error { return nil }); !errors.Is(err, ml.ErrNotFound) {
		t.Errorf("an update of no run: %v", err)
	}
}

func TestLog(t *testing.T) {
	s, _ := newStore(t)
	ctx := context.Background()
	e := experiment(t, s, "train")
	run(t, s, e, "r1")
	run(t, s, e, "r10") // whose keys start as r1's do
	must := func(b ml.Batch) {
		t.Helper()
		if err := s.Log(ctx, ws, "r1", b); err != nil {
			t.Fatal(err)
		}
	}
	must(ml.Batch{Params: map[string]string{"lr": "0.1"}, Tags: map[string]string{"a": "b"}, Metrics: []ml.Metric{{Key: "loss", Value: 3, Step: 0}, {Key: "acc", Value: 0.5}}})
	must(ml.Batch{Params: map[string]string{"lr": "0.1"}, Metrics: []ml.Metric{{Key: "loss", Value: 1, Step: 2}, {Key: "loss", Value: 2, Step: 1}}})
	must(ml.Batch{Metrics: []ml.Metric{{Key: "nan", Value: ml.Float(math.NaN())}, {Key: "inf", Value: ml.Float(math.Inf(-1))}}})
	if err := s.Log(ctx, ws, "r10", ml.Batch{Metrics: []ml.Metric{{Key: "loss", Value: 9}}}); err != nil {
		t.Fatal(err)
	}
	err := s.Log(ctx, ws, "r1", ml.Batch{Params: map[string]string{"lr": "0.2"}, Metrics: []ml.Metric{{Key: "loss", Value: 77, Step: 99}}})
	if !errors.Is(err, ml.ErrImmutable) {
		t.Errorf("a parameter changed: %v", err)
	}
	if err := s.Log(ctx, ws, "none", ml.Batch{}); !errors.Is(err, ml.ErrNotFound) {
		t.Errorf("a log to no run: %v", err)
	}
	r, err := s.Run(ctx, ws, "r1")
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Metrics["loss"]; m.Value != 1 || m.Step != 2 {
		t.Errorf("the last loss is %+v", m)
	}
	if v := r.Metrics["nan"].Value; !math.IsNaN(float64(v)) {
		t.Errorf("NaN came back as %v", v)
	}
	history, err := s.History(ctx, ws, "r1", "loss")
	want := []ml.Metric{{Key: "loss", Value: 3}, {Key: "loss", Value: 1, Step: 2}, {Key: "loss", Value: 2, Step: 1}}
	if d := cmp.Diff(want, history); d != "" || err != nil {
		t.Errorf("history (-want +got):\n%s%v", d, err)
	}
	if all, err := s.History(ctx, ws, "r1", ""); err != nil || len(all) != 6 {
		t.Errorf("%d points, %v", len(all), err)
	}
}

func TestRunsInOrder(t *testing.T) {
	s, _ := newStore(t)
	ctx := context.Background()
	a, b := experiment(t, s, "a"), experiment(t, s, "b")
	var want []string
	for i := range 600 { // more than are read at once
		id := fmt.Sprintf("run%04d", i)
		run(t, s, a, id)
		want = append([]string{id}, want...)
	}
	run(t, s, b, "other")
	var got []string
	collect := func(limit int) func(*ml.Run) bool {
		got = nil
		return func(r *ml.Run) bool { got = append(got, r.ID); return len(got) < limit }
	}
	if err := s.Runs(ctx, ws, a.ID, collect(1e6)); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d runs, %v", len(got), err)
	}
	if err := s.Runs(ctx, ws, a.ID, collect(3)); err != nil || !slices.Equal(got, want[:3]) {
		t.Errorf("stopped: %v, %v", got, err)
	}
	if err := s.Runs(ctx, ws, "", collect(1e6)); err != nil || len(got) != 601 {
		t.Errorf("of the workspace: %d, %v", len(got), err)
	}
	// A change is seen by the next search.
	if _, err := s.UpdateRun(ctx, ws, "run0300", func(r *ml.Run) error { r.SetTag("seen", "yes"); return nil }); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := s.Runs(ctx, ws, a.ID, func(r *ml.Run) bool {
		if r.Tags["seen"] == "yes" {
			seen++
		}
		return true
	})
	if err != nil || seen != 1 {
		t.Errorf("the change is seen in %d runs, %v", seen, err)
	}
}

// Batches of many writers are all there, and each whole.
func TestConcurrentLog(t *testing.T) {
	s, _ := newStore(t)
	ctx := context.Background()
	run(t, s, experiment(t, s, "a"), "r")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				b := ml.Batch{Metrics: []ml.Metric{{Key: fmt.Sprint(w), Step: int64(i)}, {Key: "all", Step: int64(i)}}}
				if err := s.Log(ctx, ws, "r", b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := s.History(ctx, ws, "r", "all")
	if err != nil || len(all) != 160 {
		t.Errorf("%d points, %v", len(all), err)
	}
	r, err := s.Run(ctx, ws, "r")
	if err != nil || len(r.Metrics) != 9 || r.Batches != 160 {
		t.Errorf("%d metrics in %d batches, %v", len(r.Metrics), r.Batches, err)
	}
}

func TestHolds(t *testing.T) {
	own, made, other := &ml.Run{ID: "a"}, &ml.Run{ID: "b", Creator: "a"}, &ml.Run{ID: "c", Parent: "a"}
	c := ml.Caller{Run: "a"}
	if !c.Holds(own) || !c.Holds(made) || c.Holds(other) {
		t.Error("a run token opens its run and those it made only")
	}
	if !(ml.Caller{}).Holds(other) {
		t.Error("who has no run token is not held to a run")
	}
}

func FuzzFloat(f *testing.F) {
	for _, s := range []string{`1`, `"NaN"`, `"-Infinity"`, `"1e3"`, `null`, `""`, `"`, `1e999`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v ml.Float
		if v.UnmarshalJSON([]byte(s)) != nil {
			return
		}
		b, err := v.MarshalJSON()
		if err != nil {
			t.Fatalf("%q was read as %v, which cannot be written: %v", s, v, err)
		}
		var again ml.Float
		if err := again.UnmarshalJSON(b); err != nil || again != v && !math.IsNaN(float64(v)) {
			t.Fatalf("%q: %v became %v, %v", s, v, again, err)
		}
	})
}

func points(n int) []ml.Metric {
	out := make([]ml.Metric, n)
	for i := range out {
		out[i] = ml.Metric{Key: fmt.Sprintf("metric_%02d", i%10), Value: ml.Float(i) / 3, Timestamp: 1.7e12 + int64(i), Step: int64(i)}
	}
	return out
}

// 100 metrics in a batch, by 16 writers to a run each. The target: 750 batches a second, 1.5 ms of CPU each.
func BenchmarkLog(b *testing.B) {
	s, _ := newStore(b)
	e := experiment(b, s, "bench")
	batch := points(100)
	next := make(chan string, 64)
	for i := range 64 {
		id := fmt.Sprint("r", i)
		run(b, s, e, id)
		next <- id
	}
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		id := <-next
		for pb.Next() {
			if err := s.Log(context.Background(), ws, id, ml.Batch{Metrics: batch}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "metrics/s")
}

// BenchmarkRuns reads the runs of an experiment of 10,000, all and the newest hundred.
func BenchmarkRuns(b *testing.B) {
	s, db := newStore(b)
	e := experiment(b, s, "bench")
	ctx := context.Background()
	for at := 0; at < 10000; at += 500 {
		err := db.Update(ctx, func(tx store.Tx) error {
			for i := range 500 {
				r := &ml.Run{ExperimentID: e.ID, Status: ml.Completed, Name: strings.Repeat("n", 12), Params: map[string]string{"lr": fmt.Sprint(at + i), "model": "forest"},
					Metrics: map[string]ml.Metric{"acc": {Key: "acc", Value: ml.Float(i)}, "loss": {Key: "loss", Value: ml.Float(at)}, "auc": {Key: "auc"}}, Tags: map[string]string{"mlflow.source": "train.py"}}
				if err := s.CreateRunTx(tx, ws, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				seen := 0
				if err := s.Runs(ctx, ws, e.ID, func(*ml.Run) bool { seen++; return seen < n || n == 10000 }); err != nil || seen != n {
					b.Fatal(seen, err)
				}
			}
		})
	}
}

// A metric keeps its form, and a batch that would change it stores nothing.
func TestTableForms(t *testing.T) {
	ctx := context.Background()
	s, _ := newStore(t)
	run(t, s, experiment(t, s, "e"), "r")
	table := func(name, typ string, cells string) ml.Batch {
		return ml.Batch{
			Tables: map[string]ml.Table{name: {Type: "table", Columns: map[string]string{"x": typ}}},
			Rows:   []ml.Row{{Table: name, Data: map[string]json.RawMessage{"x": json.RawMessage(cells)}}},
		}
	}
	series := ml.Batch{Metrics: []ml.Metric{{Key: "n", Value: 1}}}
	for _, b := range []ml.Batch{series, table("t", ml.Int, "1"), table("t", ml.Double, "1.5")} {
		if err := s.Log(ctx, ws, "r", b); err != nil {
			t.Fatal(err)
		}
	}
	mixed := table("t", ml.String, `"a"`)
	mixed.Metrics = []ml.Metric{{Key: "lost", Value: 1}}
	for _, b := range []ml.Batch{mixed, table("n", ml.Int, "1"), {Metrics: []ml.Metric{{Key: "t", Value: 1}}}} {
		if err := s.Log(ctx, ws, "r", b); !errors.Is(err, ml.ErrImmutable) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	r, err := s.Run(ctx, ws, "r")
	if err != nil || len(r.Metrics) != 1 || len(r.Tables) != 1 || r.Tables["t"].Columns["x"] != ml.Double {
		t.Errorf("%+v, %v", r, err)
	}
	if rows, err := s.Rows(ctx, ws, "r", "t"); err != nil || len(rows) != 2 || string(rows[1].Data["x"]) != "1.5" {
		t.Errorf("%+v, %v", rows, err)
	}
}
