// Package bench is the form that every benchmark here keeps: one row a figure, each beside a reference
// that was measured in the same run, a target, and a last line that counts the targets met. Machines are
// noisy and differ, so a row is read by its ratio first, and a miss is for people: it fails no build.
package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Figure is one measured figure.
type Figure struct {
	Name      string    `json:"figure"`
	Value     float64   `json:"value"`
	Unit      string    `json:"unit"` // of the value, the reference and a target on the value: s, ms, µs, MiB, a second …
	Reference Reference `json:"reference"`
	// Ratio is the value to its reference. Where both were measured in turns it is the median of the ratios
	// of neighbours, which is steadier than the ratio of the medians.
	Ratio  float64 `json:"ratio"`
	Target Target  `json:"target"`
}

// Reference is what the machine can do: less work of the same kind, or none at all, measured in the same run.
type Reference struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Target is the limit that a figure has to keep.
type Target struct {
	On    Measure `json:"on"`
	Bound Bound   `json:"bound"`
	Limit float64 `json:"limit"`
}

// Measure is what a target is about.
type Measure string

const (
	OnValue Measure = "value"
	OnRatio Measure = "ratio"
)

// Bound is the side on which a target must be kept.
type Bound string

const (
	AtMost  Bound = "at most"
	AtLeast Bound = "at least"
)

// Met tells whether the figure keeps its target. A figure that is no number meets none.
func (f Figure) Met() bool {
	v := f.Value
	if f.Target.On == OnRatio {
		v = f.Ratio
	}
	if f.Target.Bound == AtLeast {
		return v >= f.Target.Limit
	}
	return v <= f.Target.Limit
}

// Result is ok or miss.
func (f Figure) Result() string {
	if f.Met() {
		return "ok"
	}
	return "miss"
}

// MarshalJSON adds the result.
func (f Figure) MarshalJSON() ([]byte, error) {
	type plain Figure
	if !finite(f.Value) || !finite(f.Ratio) || !finite(f.Reference.Value) {
		return nil, fmt.Errorf("figure %q is no number: %v, reference %v, ratio %v", f.Name, f.Value, f.Reference.Value, f.Ratio)
	}
	return json.Marshal(struct {
		plain
		Result string `json:"result"`
	}{plain(f), f.Result()})
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// target is the column of that name: "≤ 0.5 s", "ratio ≥ 0.5".
func (f Figure) target() string {
	sign := "≤ "
	if f.Target.Bound == AtLeast {
		sign = "≥ "
	}
	if f.Target.On == OnRatio {
		return "ratio " + sign + number(f.Target.Limit)
	}
	return sign + number(f.Target.Limit) + " " + f.Unit
}

// number has three significant digits, or all of an integer's.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case !finite(v):
		return "–"
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// ratio has three decimals where a hundredth decides about a target.
func ratio(v float64) string {
	if finite(v) && v >= 0.1 && v < 10 {
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
	return number(v)
}
