package kql

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// AzureMonitor are the limits of a query of Azure Monitor Logs ("Azure Monitor service limits: query API"), and such as
// keep the server alive.
var AzureMonitor = Limits{Length: 64 << 10, Depth: 100, Steps: 200_000_000, Bytes: 512 << 20, Rows: 1_000_000, Joins: 100}

// ParseLogs reads a query of Azure Monitor Logs: what Resource Graph takes, with render, search, print, getschema, sample
// and serialize, toscalar and materialize, and tables of union that * and isfuzzy name. It has no table that a query is
// of which names none. The error is a *Fault.
func ParseLogs(text string, limits Limits) (*Query, error) {
	if len(text) > limits.Length {
		return nil, &Fault{Kind: TooMuch, Message: fmt.Sprintf("The query has more than %d characters.", limits.Length)}
	}
	p := &parser{limits: limits, logs: true}
	return p.query(text)
}

// Lister is a Source that can tell its tables: union and search name them by *.
type Lister interface{ Tables() []string }

// Render is how the query wants its rows drawn: the visualization, and what render's with says of it. nil: it says
// nothing.
func (q *Query) Render() map[string]string {
	if n := len(q.main.ops); n > 0 {
		if o, ok := q.main.ops[n-1].(*renderOp); ok {
			return o.with
		}
	}
	return nil
}

// logOperator is an operator that Resource Graph does not take, nil for no such name.
func logOperator(name string) func(*parser) operator {
	switch name {
	case "render":
		return (*parser).render
	case "search":
		return (*parser).search
	case "getschema":
		return func(*parser) operator { return &schemaOp{} }
	case "sample":
		return func(p *parser) operator { return &takeOp{p.expr()} }
	case "serialize":
		return (*parser).serialize
	}
	return nil
}

// unserved are Kusto's operators that this package does not have: all else is no operator at all.
var unserved = map[string]bool{
	"as": true, "consume": true, "evaluate": true, "externaldata": true, "facet": true, "find": true, "fork": true, "invoke": true, "lookup": true, "make-series": true,
	"mv-apply": true, "parse-kv": true, "partition": true, "reduce": true, "sample-distinct": true, "scan": true, "top-hitters": true, "top-nested": true,
}

type (
	renderOp struct{ with map[string]string }
	schemaOp struct{}
	searchOp struct {
		place
		term string // "" or "*": every row
		cond expr   // instead of the term
	}
	scalarOf struct { // toscalar(table)
		place
		from *pipeline
	}
)

func (p *parser) render() operator {
	o := &renderOp{map[string]string{"visualization": p.columnName()}}
	p.takeWord("with")
	if p.take("(") {
		for !p.sign(")") {
			n := p.columnName()
			p.expect("=")
			if t := p.next(); t.kind == tEOF {
				p.fail(")")
			} else {
				o.with[strings.ToLower(n)] = t.text
			}
			if !p.take(",") {
				break
			}
		}
		p.expect(")")
	}
	if !p.sign(";") && p.peek().kind != tEOF {
		p.fail("")
	}
	return o
}

// search is a term that any column has, or a condition.
func (p *parser) search() operator {
	o := &searchOp{place: p.here()}
	t, after := p.peek(), p.ahead(1)
	switch {
	case p.take("*"):
	case t.kind == tQuoted && (after.kind == tEOF || after.kind == tPunct && (after.text == "|" || after.text == ";" || after.text == ")")):
		o.term = p.next().text
	default:
		o.cond = p.expr()
	}
	return o
}

func (p *parser) serialize() operator {
	if p.sign("|") || p.sign(";") || p.sign(")") || p.peek().kind == tEOF {
		return &extendOp{}
	}
	return &extendOp{p.namedList()}
}

// logsSource is what a query may begin with in place of a table: print, or search in tables; false for neither.
func (p *parser) logsSource(s *pipeline) bool {
	switch {
	case p.word("print"):
		p.next()
		s.print = p.namedList()
	case p.word("search"):
		p.next()
		u := &unionOp{place: p.here(), kind: "outer", withSource: "$table", fuzzy: true}
		if p.takeWord("in") {
			p.expect("(")
			for {
				u.legs = append(u.legs, p.leg())
				if !p.take(",") {
					break
				}
			}
			p.expect(")")
		} else {
			u.legs = []*pipeline{{place: p.here(), table: "*"}}
		}
		s.union = u
		s.ops = append(s.ops, p.search())
	default:
		return false
	}
	return true
}

// expand replaces a leg whose table has a * by those that it stands for.
func (p *pipeline) expand(r *run) []*pipeline {
	list, ok := r.source.(Lister)
	if !strings.Contains(p.table, "*") || !ok {
		return []*pipeline{p}
	}
	form := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(p.table), `\*`, ".*") + "$")
	var all []*pipeline
	for _, t := range list.Tables() {
		if form.MatchString(t) {
			all = append(all, &pipeline{place: p.place, table: t})
		}
	}
	return all
}

func (o *renderOp) apply(_ *run, in *stage, _ int) (*stage, error) { return in, nil }

func (o *schemaOp) apply(_ *run, in *stage, _ int) (*stage, error) {
	system := [...]string{"System.String", "System.Int64", "System.Double", "System.SByte", "System.DateTime", "System.TimeSpan", "System.Object"}
	return &stage{[]Column{{"ColumnName", String}, {"ColumnOrdinal", Long}, {"DataType", String}, {"ColumnType", String}}, func() (rows [][]any, err error) {
		for i, c := range in.columns {
			rows = append(rows, []any{c.Name, int64(i), system[c.Type], c.Type.String()})
		}
		return rows, nil
	}}, nil
}

func (o *searchOp) apply(r *run, in *stage, depth int) (*stage, error) {
	if o.cond != nil {
		return (&whereOp{o.cond}).apply(r, in, depth)
	}
	if o.term == "" || o.term == "*" {
		return in, nil
	}
	op := map[[2]bool]string{{true, true}: "contains", {false, true}: "hasprefix", {true, false}: "hassuffix", {false, false}: "has"}[[2]bool{o.term[0] == '*', o.term[len(o.term)-1] == '*'}]
	has, err := newScope(r, in.columns, "search").textual(op)
	if err != nil {
		return nil, err
	}
	term := strings.Trim(o.term, "*")
	return &stage{in.columns, func() ([][]any, error) {
		rows, err := in.rows()
		if err != nil {
			return nil, err
		}
		var kept [][]any
		for _, row := range rows {
			if err := r.spend(len(row)); err != nil {
				return nil, err
			}
			for _, v := range row {
				if v == nil {
					continue
				}
				found, err := has(text(v), term)
				if err != nil {
					return nil, err
				}
				if found == true {
					kept = append(kept, row)
					break
				}
			}
		}
		return kept, nil
	}}, nil
}

// printed is the table of print: one row.
func (p *pipeline) printed(r *run) (*stage, error) {
	one := &stage{nil, func() ([][]any, error) { return [][]any{{}}, nil }}
	s, err := (&projectOp{p.print}).apply(r, one, 0)
	if err != nil {
		return nil, err
	}
	for i, n := range p.print {
		if n.name == "" {
			s.columns[i].Name = fmt.Sprintf("print_%d", i)
		}
	}
	return s, nil
}

// scalar is the first cell of a table.
func (s *scope) scalar(x *scalarOf) (*compiled, error) {
	t, err := x.from.compile(s.r, 1)
	if err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return nil, s.fault(x.place, "toscalar(): the table has no column")
	}
	rows, err := t.rows()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return constant(nil, t.columns[0].Type), nil
	}
	return constant(rows[0][0], t.columns[0].Type), nil
}

// percentiles is percentile and percentiles: a column for each.
func (s *scope) percentiles(c *call, n named, taken map[string]bool) (*aggregate, error) {
	if len(c.args) < 2 || c.name == "percentile" && len(c.args) != 2 {
		return nil, s.fault(c.place, "%s(): an expression and percentiles from 0 to 100 are expected", c.name)
	}
	of, err := s.compile(c.args[0])
	if err != nil {
		return nil, err
	}
	a := &aggregate{}
	var wanted []float64
	for i, arg := range c.args[1:] {
		p, err := s.compile(arg)
		if err != nil {
			return nil, err
		}
		var v any
		if p.fix {
			if v, err = p.of(nil); err != nil {
				return nil, err
			}
		}
		f, ok := number(v)
		if !ok || f < 0 || f > 100 {
			return nil, s.fault(arg.pos(), "%s(): a percentile is a constant from 0 to 100", c.name)
		}
		wanted = append(wanted, f)
		title := fmt.Sprintf("percentile_%s_%v", of.name, text(v))
		if n.name != "" && i == 0 {
			title = n.name
		}
		a.columns = append(a.columns, Column{unique(title, taken), of.typ})
	}
	a.new = func() accumulator {
		take, end := listOf(s.r, maxList)
		return &fold{of: of, take: take, end: end}
	}
	a.values = func(x accumulator) []any {
		list, _ := x.result().([]any)
		slices.SortFunc(list, order)
		out := make([]any, len(wanted))
		for i, p := range wanted {
			if len(list) > 0 { // the nearest rank
				out[i] = list[max(int(math.Ceil(p/100*float64(len(list))))-1, 0)]
			}
		}
		return out
	}
	return a, nil
}

// spread is variance and standard deviation, of a sample or of all.
func spread(sample, root bool) func(*run, int) (func(any) error, func() any) {
	return func(*run, int) (func(any) error, func() any) {
		n, mean, squares := 0.0, 0.0, 0.0 // Welford's
		return func(v any) error {
				if f, ok := number(v); ok {
					n++
					d := f - mean
					mean += d / n
					squares += d * (f - mean)
				}
				return nil
			}, func() any {
				of := n
				if sample {
					of--
				}
				if n == 0 {
					return nil
				}
				if of <= 0 {
					return 0.0
				}
				if root {
					return math.Sqrt(squares / of)
				}
				return squares / of
			}
	}
}
