package runhistory

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// queryParams is the body of the :query operations.
type queryParams struct {
	Filter  string `json:"filter"`
	Token   string `json:"continuationToken"`
	OrderBy string `json:"orderBy"`
	Top     int    `json:"top"`
}

const (
	defaultTop = 100
	maxTop     = 5000
)

// cut returns the bounds of the page within n results and where the next one starts.
func (p queryParams) cut(n int) (part [2]int, next string, err error) {
	at, err := pageOffset(p.Token)
	if err != nil {
		return part, "", err
	}
	if p.Top < 0 {
		return part, "", badRequest("top must not be negative.")
	}
	top := p.Top
	if top == 0 {
		top = defaultTop
	}
	at = min(at, n)
	end := min(at+min(top, maxTop), n)
	if end < n {
		next = strconv.Itoa(end)
	}
	return [2]int{at, end}, next, nil
}

// value is a field's: a text, a number or a time.
type value struct {
	s      string
	n      float64
	number bool
	time   time.Time
}

func text(s string) value           { return value{s: s} }
func number(n float64) value        { return value{n: n, number: true} }
func moment(t time.Time) value      { return value{time: t, s: t.UTC().Format(time.RFC3339Nano)} }
func (v value) isTime() bool        { return !v.time.IsZero() }
func (v value) compareText() string { return strings.ToLower(v.s) }

// fields looks a field up by the segments of its name in lower case, the last as it was written; ok is
// false for one that the object has not.
type fields func(name []string) (v value, ok bool)

func keyed(m map[string]string, name []string) (value, bool) {
	if len(name) != 2 {
		return value{}, false
	}
	v, ok := m[name[1]]
	return text(v), ok
}

// filter is a condition of run history's OData subset: comparisons (eq ne gt ge lt le) of fields with
// constants, contains/startswith, not, and, or, parentheses.
type filter interface{ holds(fields) bool }

type (
	all     struct{}
	and     struct{ a, b filter }
	or      struct{ a, b filter }
	not     struct{ a filter }
	compare struct {
		name []string
		op   string
		want value
		null bool
	}
)

func (all) holds(fields) bool     { return true }
func (f and) holds(o fields) bool { return f.a.holds(o) && f.b.holds(o) }
func (f or) holds(o fields) bool  { return f.a.holds(o) || f.b.holds(o) }
func (f not) holds(o fields) bool { return !f.a.holds(o) }

func (f compare) holds(o fields) bool {
	got, ok := o(f.name)
	if f.null {
		missing := !ok || got == value{}
		return missing == (f.op == "eq")
	}
	if !ok {
		return f.op == "ne"
	}
	switch f.op {
	case "contains":
		return strings.Contains(got.compareText(), f.want.compareText())
	case "startswith":
		return strings.HasPrefix(got.compareText(), f.want.compareText())
	}
	d := 0
	switch {
	case got.number:
		n := f.want.n
		if !f.want.number {
			v, err := strconv.ParseFloat(f.want.s, 64)
			if err != nil {
				return f.op == "ne"
			}
			n = v
		}
		d = cmp.Compare(got.n, n)
	case got.isTime():
		t, ok := readTime(f.want.s)
		if !ok {
			return f.op == "ne"
		}
		d = got.time.Compare(t)
	case f.want.number:
		d = cmp.Compare(got.s, f.want.s)
	default:
		d = cmp.Compare(got.compareText(), f.want.compareText())
	}
	switch f.op {
	case "eq":
		return d == 0
	case "ne":
		return d != 0
	case "gt":
		return d > 0
	case "ge":
		return d >= 0
	case "lt":
		return d < 0
	}
	return d <= 0
}

func readTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseFilter reads a filter; *Error with status 400.
func parseFilter(s string) (filter, error) {
	if strings.TrimSpace(s) == "" {
		return all{}, nil
	}
	if len(s) > 16<<10 {
		return nil, badRequest("The filter is longer than 16 KiB.")
	}
	p := parser{text: s}
	f, err := p.or(0)
	if err == nil && p.peek() != "" {
		err = p.bad()
	}
	return f, err
}

// parser reads a filter token by token.
type parser struct {
	text string
	tok  string // the next token, when it has been looked at
}

// peek is the next token: a parenthesis, a comma, a quoted text (with its quote) or a word; "" at the end.
func (p *parser) peek() string {
	if p.tok != "" {
		return p.tok
	}
	p.text = strings.TrimLeft(p.text, " \t\r\n")
	if p.text == "" {
		return ""
	}
	n := 1
	switch c := p.text[0]; {
	case strings.IndexByte("(),", c) >= 0:
	case c == '\'' || c == '"':
		for n < len(p.text) {
			if p.text[n] == c {
				if n+1 < len(p.text) && p.text[n+1] == c { // doubled: a quote in the text
					n++
				} else {
					break
				}
			}
			n++
		}
		n = min(n+1, len(p.text))
	default:
		for n < len(p.text) && strings.IndexByte(" \t\r\n(),", p.text[n]) < 0 {
			n++
		}
	}
	p.tok, p.text = p.text[:n], p.text[n:]
	return p.tok
}

func (p *parser) next() string {
	t := p.peek()
	p.tok = ""
	return t
}

func (p *parser) take(word string) bool {
	if strings.EqualFold(p.peek(), word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) bad() error {
	t := p.peek()
	if t == "" {
		t = "its end"
	}
	return badRequest("The filter cannot be read at %s.", t)
}

const maxDepth = 50

func (p *parser) or(depth int) (filter, error) {
	f, err := p.and(depth)
	for err == nil && p.take("or") {
		var g filter
		g, err = p.and(depth)
		f = or{f, g}
	}
	return f, err
}

func (p *parser) and(depth int) (filter, error) {
	f, err := p.term(depth)
	for err == nil && p.take("and") {
		var g filter
		g, err = p.term(depth)
		f = and{f, g}
	}
	return f, err
}

func (p *parser) term(depth int) (filter, error) {
	if depth > maxDepth {
		return nil, badRequest("The filter nests deeper than %d.", maxDepth)
	}
	if p.take("not") {
		f, err := p.term(depth + 1)
		return not{f}, err
	}
	if p.take("(") {
		f, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = p.bad()
		}
		return f, err
	}
	word := p.next()
	if fn := strings.ToLower(word); (fn == "contains" || fn == "startswith") && p.take("(") {
		name := fieldName(p.next())
		if name == nil || !p.take(",") {
			return nil, p.bad()
		}
		want, null, err := p.constant()
		if err == nil && (null || !p.take(")")) {
			err = p.bad()
		}
		return compare{name: name, op: fn, want: want}, err
	}
	name := fieldName(word)
	if name == nil {
		return nil, p.bad()
	}
	op := strings.ToLower(p.next())
	if !slices.Contains([]string{"eq", "ne", "gt", "ge", "lt", "le"}, op) {
		return nil, badRequest("The filter cannot be read at '%s': eq, ne, gt, ge, lt or le must follow '%s'.", op, word)
	}
	want, null, err := p.constant()
	if err == nil && null && op != "eq" && op != "ne" {
		err = badRequest("null is compared with eq and ne only.")
	}
	return compare{name: name, op: op, want: want, null: null}, err
}

// fieldName splits tags/key and properties/key; the key keeps its case. Nil when the word names nothing.
func fieldName(word string) []string {
	if word == "" || strings.IndexByte("(),'\"", word[0]) >= 0 {
		return nil
	}
	head, key, two := strings.Cut(word, "/")
	if head == "" {
		return nil
	}
	if !two {
		return []string{strings.ToLower(head)}
	}
	return []string{strings.ToLower(head), strings.Trim(key, `'"`)}
}

func (p *parser) constant() (v value, null bool, err error) {
	word := p.next()
	switch {
	case word == "" || strings.IndexByte("(),", word[0]) >= 0:
		return value{}, false, badRequest("The filter lacks a value.")
	case word[0] == '\'' || word[0] == '"':
		q := word[:1]
		if len(word) < 2 || word[len(word)-1:] != q {
			return value{}, false, badRequest("The filter has a text that does not end: %s", word)
		}
		return text(strings.ReplaceAll(word[1:len(word)-1], q+q, q)), false, nil
	case strings.EqualFold(word, "null"):
		return value{}, true, nil
	}
	if n, err := strconv.ParseFloat(word, 64); err == nil {
		return value{s: word, n: n, number: true}, false, nil
	}
	return text(word), false, nil // clients do not always quote
}

// sortBy orders a list by "field [asc|desc][, …]"; those without the field come last. The order that the
// list had breaks ties.
func sortBy[T any](list []T, orderBy string, of func(T) fields) error {
	if strings.TrimSpace(orderBy) == "" {
		return nil
	}
	type term struct {
		name []string
		desc bool
	}
	var terms []term
	for _, part := range strings.Split(orderBy, ",") {
		w := strings.Fields(part)
		if len(w) == 0 || len(w) > 2 || fieldName(w[0]) == nil {
			return badRequest("orderBy '%s' cannot be read.", part)
		}
		t := term{name: fieldName(w[0])}
		if len(w) == 2 {
			switch strings.ToLower(w[1]) {
			case "asc":
			case "desc":
				t.desc = true
			default:
				return badRequest("orderBy '%s' is neither asc nor desc.", part)
			}
		}
		terms = append(terms, t)
	}
	slices.SortStableFunc(list, func(a, b T) int {
		for _, t := range terms {
			x, xok := of(a)(t.name)
			y, yok := of(b)(t.name)
			switch {
			case xok != yok && xok:
				return -1
			case xok != yok:
				return 1
			}
			d := cmp.Or(cmp.Compare(x.n, y.n), x.time.Compare(y.time), cmp.Compare(x.s, y.s))
			if x.isTime() && y.isTime() {
				d = x.time.Compare(y.time)
			}
			if t.desc {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	return nil
}
