package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table collects figures and shows them, each row as soon as it is known.
type Table struct {
	out     io.Writer // nil: nothing is shown before WriteJSON
	figures []Figure
	begun   bool
}

// NewTable shows rows on out; with a nil out it only collects.
func NewTable(out io.Writer) *Table { return &Table{out: out} }

// column is one of the table: its heading and its width, in characters; right-aligned if it holds numbers.
type column struct {
	name  string
	width int
	right bool
}

var columns = [...]column{
	{"figure", 50, false}, {"value", 9, true}, {"unit", 9, false}, {"reference", 42, false}, {"value", 9, true}, {"ratio", 7, true}, {"target", 16, false}, {"", 4, false},
}

// Add takes a figure and shows its row.
func (t *Table) Add(f Figure) error {
	t.figures = append(t.figures, f)
	if t.out == nil {
		return nil
	}
	if !t.begun {
		t.begun = true
		var head [len(columns)]string
		for i, c := range columns {
			head[i] = c.name
		}
		if err := t.row(head); err != nil {
			return err
		}
	}
	return t.row([len(columns)]string{
		f.Name, number(f.Value), f.Unit, f.Reference.Name, number(f.Reference.Value), ratio(f.Ratio), f.target(), f.Result(),
	})
}

func (t *Table) row(cells [len(columns)]string) error {
	var b strings.Builder
	for i, c := range columns {
		pad := strings.Repeat(" ", max(0, c.width-utf8.RuneCountInString(cells[i])))
		if c.right {
			b.WriteString(pad + cells[i] + "  ")
		} else {
			b.WriteString(cells[i] + pad + "  ")
		}
	}
	_, err := fmt.Fprintln(t.out, strings.TrimRight(b.String(), " "))
	return err
}

// Met counts the figures that keep their target, of all.
func (t *Table) Met() (met, of int) {
	for _, f := range t.figures {
		if f.Met() {
			met++
		}
	}
	return met, len(t.figures)
}

// Summary is the last line of every benchmark.
func (t *Table) Summary() string {
	met, of := t.Met()
	return fmt.Sprintf("bench: %d of %d targets met", met, of)
}

// WriteJSON writes all figures as one document.
func (t *Table) WriteJSON(w io.Writer) error {
	met, of := t.Met()
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	figures := t.figures
	if figures == nil {
		figures = []Figure{}
	}
	return enc.Encode(struct {
		Figures []Figure `json:"figures"`
		Met     int      `json:"met"`
		Of      int      `json:"of"`
	}{figures, met, of})
}
