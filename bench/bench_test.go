package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-update writes it):\n%s", file, diff)
	}
}

var figures = []Figure{
	{Name: "region start to first ARM answer", Value: 0.2314, Unit: "s", Reference: Reference{"minimal Go HTTPS server, start to answer", 0.0151},
		Ratio: 15.32, Target: Target{OnValue, AtMost, 0.5}},
	{Name: "idle memory of the server (RSS)", Value: 150.4, Unit: "MB", Reference: Reference{"minimal Go HTTPS server", 19.96},
		Ratio: 7.535, Target: Target{OnValue, AtMost, 150}},
	{Name: "TCP setup, 4 NSGs of 1,000 narrow rules", Value: 19.91, Unit: "µs", Reference: Reference{"router with conntrack only", 17},
		Ratio: 1.151, Target: Target{OnRatio, AtMost, 1.15}},
	{Name: "ARM PUT, durable, c=16", Value: 4379.4, Unit: "a second", Reference: Reference{"minimal Go, SQLite, fsync", 14973},
		Ratio: 0.294, Target: Target{OnValue, AtLeast, 3000}},
	{Name: "ARM GET, c=16", Value: 5520, Unit: "a second", Reference: Reference{"minimal Go, a SQLite row", 11000},
		Ratio: 0.5, Target: Target{OnRatio, AtLeast, 0.5}},
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	tab := NewTable(&out)
	for _, f := range figures {
		if err := tab.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	out.WriteString(tab.Summary() + "\n")
	golden(t, "table.golden", out.Bytes())
}

func TestJSON(t *testing.T) {
	tab := NewTable(nil)
	for _, f := range figures {
		if err := tab.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := tab.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "figures.golden", out.Bytes())
	var back struct {
		Figures []Figure `json:"figures"`
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(figures, back.Figures); diff != "" {
		t.Errorf("what was read back (-written +read):\n%s", diff)
	}
}

func TestNoNumberMeetsNothing(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		f := Figure{Name: "f", Value: v, Target: Target{OnValue, AtMost, 1}}
		if f.Met() {
			t.Errorf("%v meets its target", v)
		}
		if _, err := json.Marshal(f); err == nil {
			t.Errorf("%v is written as JSON", v)
		}
	}
	if (Figure{Value: math.NaN(), Target: Target{OnValue, AtLeast, 1}}).Met() {
		t.Error("NaN is at least 1")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 3}} {
		if got := Median(test.in); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.in, got, test.want)
		}
	}
}

func TestInterleave(t *testing.T) {
	var order string
	measure := func(name string, values ...float64) func(context.Context) (float64, error) {
		return func(context.Context) (float64, error) {
			order += name
			v := values[0]
			values = values[1:]
			return v, nil
		}
	}
	as, bs, err := Interleave(t.Context(), 3, measure("a", 100, 2, 8, 3), measure("b", 100, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	if want := "abbaabba"; order != want {
		t.Errorf("measured in the order %s, want %s", order, want)
	}
	got := Pair(as, bs, func(v float64) float64 { return v })
	if want := (Paired{Value: 3, Reference: 2, Ratio: 2}); got != want { // ratios 2, 4, 1
		t.Errorf("%+v, want %+v", got, want)
	}
	broken := errors.New("broken")
	if _, _, err := Interleave(t.Context(), 1, measure("a", 1, 1), func(context.Context) (float64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestSelection(t *testing.T) {
	all := []Measurement{{Name: "start", Quick: true}, {Name: "blob-get"}, {Name: "blob-put"}}
	names := func(ms []Measurement) (out []string) {
		for _, m := range ms {
			out = append(out, m.Name)
		}
		return out
	}
	for _, test := range []struct {
		s    Selection
		want []string
	}{
		{Selection{}, []string{"start", "blob-get", "blob-put"}},
		{Selection{Quick: true}, []string{"start"}},
		{Selection{Quick: true, Only: regexp.MustCompile("blob")}, []string{"blob-get", "blob-put"}},
		{Selection{Only: regexp.MustCompile("nosuch")}, nil},
	} {
		if diff := cmp.Diff(test.want, names(test.s.Of(all))); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.s, diff)
		}
	}
}

// TestRun: a failure is told and counted, the others are measured.
func TestRun(t *testing.T) {
	broken := errors.New("broken")
	var told []string
	tab := NewTable(nil)
	failures, err := tab.Run(t.Context(), []Measurement{
		{Name: "a", Do: func(context.Context, func(Figure) error) error { return broken }},
		{Name: "b", Do: func(_ context.Context, add func(Figure) error) error { return add(figures[0]) }},
	}, func(f *Failure) {
		if !errors.Is(f, broken) {
			t.Errorf("failure %v", f)
		}
		told = append(told, f.Measurement)
	})
	if err != nil || failures != 1 || len(told) != 1 || tab.Summary() != "bench: 1 of 1 targets met" {
		t.Errorf("%d failures (%v), told %v, %s", failures, err, told, tab.Summary())
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := tab.Run(stopped, []Measurement{{Name: "never", Do: nil}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}
