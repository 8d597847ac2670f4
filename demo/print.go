package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"vauban.dev/reach"
)

// Record is a step as the account of a run keeps it.
type Record struct {
	Mode  reach.Mode `json:"mode,omitempty"` // "": of both
	Place string     `json:"place,omitempty"`
	Step
}

// Account prints a run as it happens, and keeps its steps. Safe for use by many goroutines.
type Account struct {
	w     io.Writer
	mu    sync.Mutex
	steps []Record
}

// NewAccount prints to w.
func NewAccount(w io.Writer) *Account { return &Account{w: w} }

// Chapter begins a part of the run.
func (a *Account) Chapter(title string) { a.print("\n%s\n", title) }

// At says from where the next steps are made, and by what.
func (a *Account) At(place, what string) { a.print("  from %s: %s\n", place, what) }

// Client prints a line of a client's own output.
func (a *Account) Client(line string) {
	if line = visible(line); line != "" {
		a.print("             │ %s\n", line)
	}
}

// Step prints and keeps a step that has ended.
func (a *Account) Step(r Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.steps = append(a.steps, r)
	mark := "✓"
	if r.State != "ok" {
		mark = "✗"
	}
	fmt.Fprintf(a.w, "    %s %6.2f s  %s\n", mark, r.Seconds, r.Name)
	for line := range strings.SplitSeq(r.Error, "\n") {
		if line = visible(line); line != "" {
			fmt.Fprintf(a.w, "             ! %s\n", line)
		}
	}
}

// Do runs a step of Vauban's own and times it.
func (a *Account) Do(mode reach.Mode, name string, f func() error) error {
	began := time.Now()
	err := f()
	r := Record{Mode: mode, Step: Step{Name: name, State: "ok", Seconds: time.Since(began).Seconds()}}
	if err != nil {
		r.State, r.Error = "failed", err.Error()
	}
	a.Step(r)
	return err
}

// Steps are all steps so far, in the order in which they ended.
func (a *Account) Steps() []Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Record(nil), a.steps...)
}

// Failed are the steps that failed.
func (a *Account) Failed() (out []Record) {
	for _, r := range a.Steps() {
		if r.State != "ok" {
			out = append(out, r)
		}
	}
	return out
}

func (a *Account) print(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(a.w, format, args...)
}

// visible is a line without what a terminal would obey: clients colour their output and redraw lines.
func visible(line string) string {
	var b strings.Builder
	escape := false
	for _, r := range line {
		switch {
		case escape:
			escape = !(r >= '@' && r <= '~') || r == '['
		case r == '\x1b':
			escape = true
		case r == '\t':
			b.WriteString("    ")
		case r == '\r':
			b.Reset()
		case r < ' ' || r == 0x7f:
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimRight(b.String(), " ")
}
