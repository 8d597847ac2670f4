package reach

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Widths of the table; the whole is 110 columns wide with four places.
const (
	thingWidth    = 18
	expectedWidth = 7
	measuredWidth = 9
	cellWidth     = expectedWidth + len(" = ") + measuredWidth
	textWidth     = 110
)

var superscripts = []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")

// Render writes the table for people: expected = measured in each cell (≠ where they differ), and below it
// the reason of every refusal, by number.
func (t *Table) Render(w io.Writer) error {
	r := renderer{table: t}
	r.draw()
	_, err := io.WriteString(w, r.b.String())
	return err
}

type renderer struct {
	table *Table
	b     strings.Builder
	notes []note
}

// note is a reason, and the cells that have it.
type note struct {
	text  string
	cells [][2]string // titles of place and thing
}

// where lists the cells by place: jump box → www.example.com, foreign open blob; second VNet → key vault.
func (n note) where() string {
	var places []string
	things := map[string][]string{}
	for _, c := range n.cells {
		if things[c[0]] == nil {
			places = append(places, c[0])
		}
		things[c[0]] = append(things[c[0]], c[1])
	}
	for i, p := range places {
		places[i] = p + " → " + strings.Join(things[p], ", ")
	}
	return strings.Join(places, "; ")
}

func (r *renderer) draw() {
	r.border("┌", "┬", "┐")
	head := []string{string(r.table.Mode)}
	for _, p := range r.table.Places {
		head = append(head, p.Title)
	}
	r.line(head, true)
	sub := []string{""}
	for range r.table.Places {
		sub = append(sub, pair("expected", "=", "measured"))
	}
	r.line(sub, false)
	r.border("├", "┼", "┤")
	for _, thing := range r.table.Things {
		cells := []string{thing.Title}
		for _, p := range r.table.Places {
			cells = append(cells, r.cell(r.table.Cell(p.ID, thing.ID)))
		}
		r.line(cells, false)
	}
	r.border("└", "┴", "┘")
	for i, n := range r.notes {
		r.wrap(fmt.Sprintf("%2d ", i+1), n.where()+": "+n.text)
	}
}

func (r *renderer) border(left, middle, right string) {
	r.b.WriteString(left + strings.Repeat("─", thingWidth+2))
	for range r.table.Places {
		r.b.WriteString(middle + strings.Repeat("─", cellWidth+2))
	}
	r.b.WriteString(right + "\n")
}

func (r *renderer) line(cells []string, centred bool) {
	for i, c := range cells {
		width := cellWidth
		if i == 0 {
			width = thingWidth
		}
		if centred && i > 0 {
			c = strings.Repeat(" ", max(0, width-utf8.RuneCountInString(c))/2) + c
		}
		r.b.WriteString("│ " + pad(c, width) + " ")
	}
	r.b.WriteString("│\n")
}

// pad cuts or fills a text to a width.
func pad(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n > width {
		return string([]rune(s)[:width-1]) + "…"
	}
	return s + strings.Repeat(" ", width-n)
}

func pair(expected, sign, measured string) string {
	return strings.Repeat(" ", max(0, expectedWidth-utf8.RuneCountInString(expected))) + expected + " " + sign + " " + measured
}

func (r *renderer) cell(c *Cell) string {
	if c == nil || c.Expected == nil {
		return pair("", "–", "")
	}
	sign, measured := "=", string(NotMeasured)
	if len(c.Differs) > 0 {
		sign = "≠"
	}
	if c.Measured != nil {
		measured = string(c.Measured.Outcome)
	}
	if text := reason(c); text != "" {
		measured += superscript(r.number(text, r.titles(c)))
	}
	return pair(string(c.Expected.Outcome), sign, measured)
}

func (r *renderer) titles(c *Cell) [2]string {
	place, thing := c.Place, c.Thing
	if i := slices.IndexFunc(r.table.Places, func(p Place) bool { return p.ID == c.Place }); i >= 0 {
		place = r.table.Places[i].Title
	}
	if i := slices.IndexFunc(r.table.Things, func(t Thing) bool { return t.ID == c.Thing }); i >= 0 {
		thing = r.table.Things[i].Title
	}
	return [2]string{place, thing}
}

// number is that of the note with this text, which now stands for one more cell.
func (r *renderer) number(text string, cell [2]string) int {
	i := slices.IndexFunc(r.notes, func(n note) bool { return n.text == text })
	if i < 0 {
		i, r.notes = len(r.notes), append(r.notes, note{text: text})
	}
	r.notes[i].cells = append(r.notes[i].cells, cell)
	return i + 1
}

// reason is why a connection was refused, and how a cell differs; "" for what was expected to work and did.
func reason(c *Cell) string {
	var parts []string
	if c.Measured != nil && c.Measured.Failure == "" {
		parts = append(parts, c.Measured.Reason())
	}
	for _, d := range c.Differs {
		parts = append(parts, "≠ "+d)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// Reason says why the connection was refused, "" if it was not.
func (m *Measurement) Reason() string {
	switch m.Outcome {
	case Answered, Banner, Open:
		return ""
	case Dropped:
		text := "dropped at " + m.Result.Address
		if len(m.Rose) > 0 {
			text = "rule " + rises(m.Rose)
		}
		if len(m.Rose) == 1 && m.Rose[0].Packets == m.Result.Sent && m.Model.Rule != nil && m.Model.Rule.same(m.Rose[0].Rule) {
			return text + ", all that the connection sent; explain names the same rule"
		}
		return text
	}
	text := strings.TrimSpace(m.Result.code() + ". " + sentence(m.Result.Message))
	if m.Result.Status == 0 {
		text = m.Result.Error
	}
	return text
}

// sentence is an Azure error message in one line: without the request's id and time, and without the
// names of those who say it.
func sentence(message string) string {
	var out []string
	for line := range strings.SplitSeq(message, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "RequestId:") || strings.HasPrefix(line, "Time:") || strings.HasPrefix(line, "Vault:") {
			continue
		}
		out = append(out, strings.TrimPrefix(line, "Vauban: "))
	}
	return ShortIDs(strings.Join(out, " "))
}

func superscript(n int) string {
	var out []rune
	for _, d := range fmt.Sprint(n) {
		out = append(out, superscripts[d-'0'])
	}
	return string(out)
}

// wrap writes a text in lines of the table's width, those after the first indented below it.
func (r *renderer) wrap(head, text string) {
	indent := utf8.RuneCountInString(head)
	line, empty := head, true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > textWidth {
			r.b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = strings.Repeat(" ", indent), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	r.b.WriteString(line + "\n")
}
