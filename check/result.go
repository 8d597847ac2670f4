package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"vauban.dev/explain"
	"vauban.dev/reach"
)

// Result is a Case and what became of it.
type Result struct {
	Name     string `json:"name"`
	Line     int    `json:"line"`
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	As       string `json:"as,omitempty"`
	Expect   string `json:"expect"`
	Passed   bool   `json:"passed"`
	// Verdict is allow or deny, "" if nothing could be asked; By what denies; Why what is wrong with a case that
	// has not passed.
	Verdict string          `json:"verdict,omitempty"`
	By      string          `json:"by,omitempty"`
	Why     string          `json:"why,omitempty"`
	Answer  *explain.Answer `json:"answer,omitempty"`
}

// Judge holds an answer against its case. err says why there is none.
func Judge(c Case, a *explain.Answer, err error) Result {
	r := Result{Name: c.Name, Line: c.Line, From: c.From, To: c.To, Protocol: strings.ToLower(c.Protocol), As: c.As, Expect: c.Expect}
	if err != nil {
		r.Why = err.Error()
		return r
	}
	r.Answer, r.Verdict, r.By = a, "deny", label(a)
	if a.Allowed {
		r.Verdict = "allow"
	}
	switch {
	case r.Verdict != c.Expect && a.Allowed:
		r.Why = "it is allowed" + answers(a)
	case r.Verdict != c.Expect:
		r.Why = "it is denied by " + r.By
	case c.By != "" && !by(a, c.By):
		r.Why = fmt.Sprintf("it is denied by %s, not by %s", r.By, c.By)
	case a.Live != nil && !a.Live.Agrees:
		r.Why = "the packet does not do what the model says: " + a.Live.Why
	default:
		r.Passed = true
	}
	return r
}

func answers(a *explain.Answer) string {
	if a.Destination == "" {
		return ""
	}
	return ", and reaches " + reach.ShortIDs(a.Destination)
}

// label is what denies: a rule's label, or the layer with its reason.
func label(a *explain.Answer) string {
	switch {
	case a.Allowed:
		return ""
	case a.Rule != nil:
		return a.Rule.String()
	}
	return string(a.Refused) + ": " + reach.ShortIDs(a.By)
}

func by(a *explain.Answer, want string) bool {
	return a.Rule != nil && a.Rule.String() == want || string(a.Refused) == want || a.Rule == nil && strings.Contains(a.By, want)
}

// Report is the outcome of a file.
type Report struct {
	Version int      `json:"version"`
	File    string   `json:"file"`
	Results []Result `json:"results"`
}

// Failed counts the cases that have not passed.
func (r *Report) Failed() (n int) {
	for i := range r.Results {
		if !r.Results[i].Passed {
			n++
		}
	}
	return n
}

// Print writes a line for each case, and more for those that have not passed.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for i := range r.Results {
		x := &r.Results[i]
		mark := "✓"
		if !x.Passed {
			mark = "✗"
		}
		fmt.Fprintf(&b, "%s %s: %s\n", mark, x.Name, x.connection())
		if x.Passed {
			continue
		}
		fmt.Fprintf(&b, "    %s:%d: %s expected; %s\n", r.File, x.Line, x.Expect, x.Why)
		if x.Answer != nil && x.Expect == "allow" {
			for _, f := range x.Answer.Fixes {
				fmt.Fprintf(&b, "    %s\n", reach.ShortIDs(f.What))
				for _, c := range f.Commands {
					fmt.Fprintf(&b, "      %s\n", c)
				}
			}
		}
	}
	fmt.Fprintf(&b, "%d of %d passed\n", len(r.Results)-r.Failed(), len(r.Results))
	_, err := io.WriteString(w, b.String())
	return err
}

func (x *Result) connection() string {
	text := fmt.Sprintf("%s from %s to %s", strings.ToUpper(x.Protocol), x.From, x.To)
	if x.As != "" {
		text += " as " + x.As
	}
	return text
}

// ReadReport reads what `vauban check --json` has written.
func ReadReport(r io.Reader) (*Report, error) {
	var out Report
	if err := json.NewDecoder(r).Decode(&out); err != nil {
		return nil, err
	}
	if out.Version != Version {
		return nil, fmt.Errorf("it is no report of version %d", Version)
	}
	return &out, nil
}

// Change is a connection whose verdict differs between two reports.
type Change struct {
	Connection string `json:"connection"`
	Was        string `json:"was"` // "allow", "deny by …", "" if it was not asked
	Is         string `json:"is"`
}

// Diff tells what became different since an earlier report: the reach table's diff of a pull request.
func Diff(base, now *Report) []Change {
	was := map[string]string{}
	for i := range base.Results {
		was[base.Results[i].connection()] = base.Results[i].said()
	}
	out := []Change{}
	seen := map[string]bool{}
	for i := range now.Results {
		key := now.Results[i].connection()
		if said := now.Results[i].said(); !seen[key] && was[key] != said {
			out = append(out, Change{key, was[key], said})
		}
		seen[key] = true
	}
	for i := range base.Results {
		if key := base.Results[i].connection(); !seen[key] {
			seen[key] = true
			out = append(out, Change{key, was[key], ""})
		}
	}
	return out
}

func (x *Result) said() string {
	switch x.Verdict {
	case "deny":
		return "deny by " + x.By
	case "":
		return "not answered"
	}
	return x.Verdict
}

// PrintDiff writes the changes.
func PrintDiff(w io.Writer, changes []Change) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections differ from the base\n", len(changes))
	for _, c := range changes {
		switch {
		case c.Was == "":
			fmt.Fprintf(&b, "+ %s: %s\n", c.Connection, c.Is)
		case c.Is == "":
			fmt.Fprintf(&b, "- %s: %s\n", c.Connection, c.Was)
		default:
			fmt.Fprintf(&b, "~ %s: %s, was %s\n", c.Connection, c.Is, c.Was)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
