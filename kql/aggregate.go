package kql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxList is how many values make_list and make_set keep, unless they are told fewer.
const maxList = 1_048_576

// accumulator is one aggregate of one group.
type accumulator interface {
	add(row []any) error
	result() any
}

// aggregate is a column of a summarize.
type aggregate struct {
	columns []Column // arg_max makes several
	new     func() accumulator
	values  func(a accumulator) []any // nil: result alone
}

// counter is count and countif.
type counter struct {
	n    int64
	cond *compiled
}

func (a *counter) add(row []any) error {
	if a.cond != nil {
		v, err := a.cond.of(row)
		if err != nil || v != true {
			return err
		}
	}
	a.n++
	return nil
}
func (a *counter) result() any { return a.n }

// fold is an aggregate of the values of an expression.
type fold struct {
	of, cond *compiled // cond of the …if forms
	take     func(v any) error
	end      func() any
}

func (a *fold) add(row []any) error {
	if a.cond != nil {
		v, err := a.cond.of(row)
		if err != nil || v != true {
			return err
		}
	}
	v, err := a.of.of(row)
	if err != nil {
		return err
	}
	return a.take(v)
}
func (a *fold) result() any { return a.end() }

// folds are the aggregates of one expression: the prefix of the column's name, its type, and how values come together.
var folds = map[string]struct {
	prefix string
	typ    func(Type) Type
	new    func(r *run, limit int) (take func(any) error, end func() any)
}{
	"sum":       {"sum_", same, sumOf},
	"avg":       {"avg_", func(Type) Type { return Real }, average},
	"min":       {"min_", same, func(*run, int) (func(any) error, func() any) { return extreme(-1) }},
	"max":       {"max_", same, func(*run, int) (func(any) error, func() any) { return extreme(1) }},
	"any":       {"any_", same, anyOf},
	"take_any":  {"", same, anyOf},
	"dcount":    {"dcount_", func(Type) Type { return Long }, distinctCount},
	"make_list": {"list_", func(Type) Type { return Dynamic }, listOf}, "makelist": {"list_", func(Type) Type { return Dynamic }, listOf},
	"make_set": {"set_", func(Type) Type { return Dynamic }, setOf}, "makeset": {"set_", func(Type) Type { return Dynamic }, setOf},
	"stdev": {"stdev_", func(Type) Type { return Real }, spread(true, true)}, "stdevp": {"stdevp_", func(Type) Type { return Real }, spread(false, true)},
	"variance": {"variance_", func(Type) Type { return Real }, spread(true, false)}, "variancep": {"variancep_", func(Type) Type { return Real }, spread(false, false)},
	"make_bag": {"bag_", func(Type) Type { return Dynamic }, bagOf},
}

func same(t Type) Type { return t }

func sumOf(*run, int) (func(any) error, func() any) {
	var sum any = int64(0)
	return func(v any) error {
			if n, ok := v.(string); ok {
				v = convert(n, Real)
			}
			if v != nil {
				if s := arith("+", sum, v); s != nil {
					sum = s
				}
			}
			return nil
		}, func() any {
			return sum
		}
}

func average(*run, int) (func(any) error, func() any) {
	sum, n := 0.0, 0
	return func(v any) error {
			if f, ok := number(v); ok {
				sum, n = sum+f, n+1
			}
			return nil
		}, func() any {
			if n == 0 {
				return nil
			}
			return sum / float64(n)
		}
}

func extreme(sign int) (func(any) error, func() any) {
	var best any
	return func(v any) error {
		if v != nil && (best == nil || order(v, best)*sign > 0) {
			best = v
		}
		return nil
	}, func() any { return best }
}

func anyOf(*run, int) (func(any) error, func() any) {
	var first any
	return func(v any) error {
		if first == nil {
			first = v
		}
		return nil
	}, func() any { return first }
}

func distinctCount(r *run, _ int) (func(any) error, func() any) {
	seen := map[any]bool{}
	return func(v any) error {
		if v == nil || seen[key(v)] {
			return nil
		}
		seen[key(v)] = true
		return r.alloc(16 + len(text(v)))
	}, func() any { return int64(len(seen)) }
}

func listOf(r *run, limit int) (func(any) error, func() any) {
	list := []any{}
	return func(v any) error {
		if v == nil || len(list) >= limit {
			return nil
		}
		list = append(list, v)
		return r.alloc(24)
	}, func() any { return list }
}

func setOf(r *run, limit int) (func(any) error, func() any) {
	seen, list := map[any]bool{}, []any{}
	put := func(v any) error {
		if v == nil || seen[key(v)] || len(list) >= limit {
			return nil
		}
		seen[key(v)] = true
		list = append(list, v)
		return r.alloc(32 + len(text(v)))
	}
	return func(v any) error {
		if members, ok := v.([]any); ok { // of arrays the members
			for _, m := range members {
				if err := put(m); err != nil {
					return err
				}
			}
			return nil
		}
		return put(v)
	}, func() any { return list }
}

func bagOf(r *run, _ int) (func(any) error, func() any) {
	bag := map[string]any{}
	return func(v any) error {
		m, _ := v.(map[string]any)
		for k, x := range m {
			if _, has := bag[k]; !has {
				bag[k] = x
			}
		}
		return r.alloc(48 * len(m))
	}, func() any { return bag }
}

// aggregate compiles a call that stands in summarize.
func (s *scope) aggregate(n named, taken map[string]bool) (*aggregate, error) {
	c, ok := n.expr.(*call)
	if !ok {
		return nil, s.fault(n.expr.pos(), "an aggregation function is expected")
	}
	title := func(otherwise string) string {
		if n.name != "" {
			return unique(n.name, taken)
		}
		return unique(otherwise, taken)
	}
	if c.name == "arg_max" || c.name == "arg_min" {
		return s.argument(c, n, taken)
	}
	if c.name == "percentile" || c.name == "percentiles" {
		return s.percentiles(c, n, taken)
	}
	name, conditional := c.name, false
	if _, plain := folds[name]; !plain && name != "count" && strings.HasSuffix(name, "if") {
		name, conditional = strings.TrimSuffix(name, "if"), true
		name = strings.TrimSuffix(name, "_") // make_list_if
	}
	f, known := folds[name]
	if !known && name != "count" {
		return nil, &Fault{Kind: Unsupported, Message: "InvalidQueryLanguage", Line: -1, Column: -1, Token: c.name}
	}
	args := c.args
	var cond *compiled
	var err error
	if conditional {
		at := 1
		if name == "count" {
			at = 0
		}
		if len(args) <= at {
			return nil, s.fault(c.place, "%s(): a condition is expected", c.name)
		}
		if cond, err = s.condition(args[at]); err != nil {
			return nil, err
		}
		args = slices.Delete(slices.Clone(args), at, at+1)
	}
	if name == "count" {
		if len(args) > 0 {
			return nil, s.fault(c.place, "count(): no argument is expected")
		}
		return &aggregate{columns: []Column{{title(c.name + "_"), Long}}, new: func() accumulator { return &counter{cond: cond} }}, nil
	}
	if len(args) == 0 || len(args) > 2 {
		return nil, s.fault(c.place, "%s(): one argument is expected", c.name)
	}
	of, err := s.compile(args[0])
	if err != nil {
		return nil, err
	}
	limit := maxList
	if len(args) == 2 && name != "dcount" {
		if limit, err = howMany(s.r, s.op, args[1]); err != nil {
			return nil, err
		}
	}
	return &aggregate{columns: []Column{{title(f.prefix + of.name), f.typ(of.typ)}}, new: func() accumulator {
		take, end := f.new(s.r, limit)
		return &fold{of: of, cond: cond, take: take, end: end}
	}}, nil
}

// extremeRow is arg_max and arg_min: the row in which an expression is the greatest, or the least.
type extremeRow struct {
	by   *compiled
	sign int
	best any
	row  []any
}

func (a *extremeRow) add(row []any) error {
	v, err := a.by.of(row)
	if err == nil && (a.row == nil || v != nil && (a.best == nil || order(v, a.best)*a.sign > 0)) {
		a.best, a.row = v, row
	}
	return err
}
func (a *extremeRow) result() any { return a.best }

func (s *scope) argument(c *call, n named, taken map[string]bool) (*aggregate, error) {
	if len(c.args) == 0 {
		return nil, s.fault(c.place, "%s(): an expression to maximise is expected", c.name)
	}
	by, err := s.compile(c.args[0])
	if err != nil {
		return nil, err
	}
	title := n.name
	if title == "" {
		title = by.name
	}
	a := &aggregate{columns: []Column{{unique(title, taken), by.typ}}}
	var cells []*compiled
	for _, arg := range c.args[1:] {
		cell, err := s.compile(arg)
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
		a.columns = append(a.columns, Column{unique(cell.name, taken), cell.typ})
	}
	if c.star {
		for i, col := range s.columns {
			if taken[col.Name] {
				continue
			}
			cells = append(cells, &compiled{typ: col.Type, of: func(row []any) (any, error) { return row[i], nil }})
			a.columns = append(a.columns, Column{unique(col.Name, taken), col.Type})
		}
	}
	sign := 1
	if c.name == "arg_min" {
		sign = -1
	}
	a.new = func() accumulator { return &extremeRow{by: by, sign: sign} }
	a.values = func(x accumulator) []any {
		e := x.(*extremeRow)
		out := []any{e.best}
		for _, cell := range cells {
			var v any
			if e.row != nil {
				v, _ = cell.of(e.row) // it was asked of this row's table before
			}
			out = append(out, v)
		}
		return out
	}
	return a, nil
}

// post is an expression of aggregates: round(avg(x), 1).
type post struct {
	columns []Column
	inner   []*aggregate
	of      *compiled
}

func (o *summarizeOp) apply(r *run, in *stage, _ int) (*stage, error) {
	s := newScope(r, in.columns, "summarize")
	taken := map[string]bool{}
	columns, keys, err := s.outputs(o.keys, taken)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if k.typ == Dynamic {
			return nil, s.fault(o.keys[i].expr.pos(), "Summarize group key '%s' is of a 'dynamic' type. Please use an explicit cast as grouping by a 'dynamic' type is not supported", columns[i].Name)
		}
	}
	var all []*aggregate
	var posts []*post
	for _, n := range o.aggregates {
		p, err := s.post(n, taken)
		if err != nil {
			return nil, err
		}
		posts, all = append(posts, p), append(all, p.inner...)
		columns = append(columns, p.columns...)
	}
	return &stage{columns, func() ([][]any, error) {
		groups, err := o.groups(r, in, keys, all)
		if err != nil {
			return nil, err
		}
		made := make([][]any, 0, len(groups))
		for _, g := range groups {
			row := slices.Clone(g.keys)
			at := 0
			for _, p := range posts {
				var values []any
				for _, a := range p.inner {
					if a.values != nil {
						values = append(values, a.values(g.acc[at])...)
					} else {
						values = append(values, g.acc[at].result())
					}
					at++
				}
				if p.of != nil {
					v, err := p.of.of(values)
					if err != nil {
						return nil, err
					}
					values = []any{v}
				}
				row = append(row, values...)
			}
			made = append(made, row)
		}
		return made, nil
	}}, nil
}

// aggregates are the functions that post looks for within an expression.
func isAggregate(name string) bool {
	name = strings.TrimSuffix(strings.TrimSuffix(name, "if"), "_")
	_, ok := folds[name]
	return ok || name == "count" || name == "arg_max" || name == "arg_min" || name == "percentile" || name == "percentiles"
}

// post compiles an aggregate, or an expression of aggregates.
func (s *scope) post(n named, taken map[string]bool) (*post, error) {
	if c, ok := n.expr.(*call); ok && (isAggregate(c.name) || functions[c.name] == nil) {
		a, err := s.aggregate(n, taken)
		if err != nil {
			return nil, err
		}
		return &post{columns: a.columns, inner: []*aggregate{a}}, nil
	}
	p := &post{}
	var inner []Column
	var replaced func(e expr) (expr, error)
	replaced = func(e expr) (expr, error) {
		switch x := e.(type) {
		case *call:
			if isAggregate(x.name) {
				a, err := s.aggregate(named{fmt.Sprintf("\x00%d", len(inner)), x}, map[string]bool{})
				if err != nil {
					return nil, err
				}
				p.inner = append(p.inner, a)
				inner = append(inner, a.columns...)
				return &name{x.place, a.columns[0].Name}, nil
			}
			y := *x
			y.args = slices.Clone(x.args)
			for i := range y.args {
				var err error
				if y.args[i], err = replaced(y.args[i]); err != nil {
					return nil, err
				}
			}
			return &y, nil
		case *binary:
			l, err := replaced(x.l)
			if err != nil {
				return nil, err
			}
			r, err := replaced(x.r)
			return &binary{x.place, x.op, l, r}, err
		case *unary:
			of, err := replaced(x.x)
			return &unary{x.place, x.op, of}, err
		}
		return e, nil
	}
	e, err := replaced(n.expr)
	if err != nil {
		return nil, err
	}
	if len(p.inner) == 0 {
		return nil, s.fault(n.expr.pos(), "an aggregation function is expected")
	}
	if p.of, err = newScope(s.r, inner, s.op).compile(e); err != nil {
		return nil, err
	}
	title := n.name
	if title == "" {
		title = "Column1"
	}
	p.columns = []Column{{unique(title, taken), p.of.typ}}
	return p, nil
}

// bunch is a group of rows.
type bunch struct {
	keys []any
	acc  []accumulator
}

// groups are in the order in which their first rows come. Without keys there is one, also of no rows.
func (o *summarizeOp) groups(r *run, in *stage, keys []*compiled, all []*aggregate) ([]*bunch, error) {
	rows, err := in.rows()
	if err != nil {
		return nil, err
	}
	var groups []*bunch
	byKey := map[string]*bunch{}
	start := func(values []any) *bunch {
		g := &bunch{keys: values, acc: make([]accumulator, len(all))}
		for i, a := range all {
			g.acc[i] = a.new()
		}
		groups = append(groups, g)
		return g
	}
	if len(keys) == 0 {
		byKey[""] = start(nil)
	}
	for _, row := range rows {
		if err := r.spend(1 + len(all)); err != nil {
			return nil, err
		}
		values := make([]any, len(keys))
		for i, k := range keys {
			if values[i], err = k.of(row); err != nil {
				return nil, err
			}
		}
		k := ""
		if len(keys) > 0 {
			k = keyOf(values)
		}
		g := byKey[k]
		if g == nil {
			if err := r.alloc(len(k) + 64*(1+len(all))); err != nil {
				return nil, err
			}
			g = start(values)
			byKey[k] = g
		}
		for _, a := range g.acc {
			if err := a.add(row); err != nil {
				return nil, err
			}
		}
	}
	return groups, nil
}

// Functions are the names of the functions and aggregates that a query may use, sorted.
func Functions() []string {
	all := slices.Collect(maps.Keys(functions))
	for f := range folds {
		all = append(all, f)
	}
	all = append(all, "count", "countif", "arg_max", "arg_min", "percentile", "percentiles")
	slices.Sort(all)
	return all
}
