package demo

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/reach"
)

// Summary is how a run ended; it is what --json prints.
type Summary struct {
	OK        bool       `json:"ok"`
	Seconds   float64    `json:"seconds"`
	Data      string     `json:"data"` // directory of the region
	Isolation []string   `json:"isolation"`
	Steps     []Record   `json:"steps"`
	Outcomes  []*Outcome `json:"modes"`
}

// Render writes the results, the reach tables and what holds the jobs in.
func (s *Summary) Render(w io.Writer) error {
	var b strings.Builder
	for _, o := range s.Outcomes {
		fmt.Fprintf(&b, "\nThe job, %s\n", o.Mode)
		for _, line := range o.lines() {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	for _, o := range s.Outcomes {
		if o.Table == nil {
			continue
		}
		fmt.Fprintf(&b, "\nWho reaches what, %s: expected = measured, by a real connection from that place\n", o.Mode)
		if err := o.Table.Render(&b); err != nil {
			return err
		}
	}
	b.WriteString("\nIsolation and limits that hold on this machine\n")
	for _, line := range s.Isolation {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// lines are the results of a mode for people.
func (o *Outcome) lines() []string {
	var out []string
	row := func(name string, values ...string) {
		for i, v := range values {
			if i > 0 {
				name = ""
			}
			if v != "" {
				out = append(out, fmt.Sprintf("%-10s %s", name, v))
			}
		}
	}
	text := func(key string) string { s, _ := o.Results[key].(string); return s }
	row("job", strings.TrimSpace(text("job")+" "+text("status")))
	row("metrics", numbers(o.Results["metrics"]))
	row("model", text("model"))
	artifacts, _ := o.Results["artifacts"].([]any)
	var names []string
	for _, a := range artifacts {
		names = append(names, fmt.Sprint(a))
	}
	row("artifacts", names...)
	if len(out) == 0 {
		out = append(out, "none: a step failed")
	}
	return out
}

func numbers(v any) string {
	m, _ := v.(map[string]any)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		n, ok := m[k].(float64)
		if !ok {
			continue
		}
		out = append(out, k+" "+strconv.FormatFloat(n, 'g', 5, 64))
	}
	return strings.Join(out, ", ")
}

// Isolate lists what holds: lines of the region, then what the agent of the last node reported.
func Isolate(lines []string, outcomes []*Outcome) []string {
	var reported []string
	for _, o := range outcomes {
		for _, n := range o.Nodes {
			if len(n.Isolation) > 0 {
				reported = n.Isolation
			}
		}
	}
	for _, what := range reported {
		lines = append(lines, fmt.Sprintf("%-10s %s", "jobs", what))
	}
	return lines
}

// Verdict tells whether every step succeeded and every cell stands.
func Verdict(steps []Record, outcomes []*Outcome) bool {
	return !slices.ContainsFunc(steps, func(r Record) bool { return r.State != "ok" }) &&
		!slices.ContainsFunc(outcomes, func(o *Outcome) bool { return o.Table == nil || len(o.Table.Differing()) > 0 })
}

// Facts of all modes, for the next measurement.
func Facts(outcomes []*Outcome) map[reach.Mode]reach.Facts {
	out := map[reach.Mode]reach.Facts{}
	for _, o := range outcomes {
		if o.Facts.WorkspaceID != "" {
			out[o.Mode] = o.Facts
		}
	}
	return out
}
