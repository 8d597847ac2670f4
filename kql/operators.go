package kql

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// stage is a table whose rows are not asked for yet.
type stage struct {
	columns []Column
	rows    func() ([][]any, error)
}

// operator makes a table of a table.
type operator interface {
	apply(r *run, in *stage, depth int) (*stage, error)
}

// compile makes the table of a pipeline. What stands first is asked for the types that its conditions leave over.
func (p *pipeline) compile(r *run, depth int) (*stage, error) {
	if depth > r.limits.Depth {
		return nil, p.fault(TooMuch, "The tables of the query are nested too deep.")
	}
	s, err := p.source(r, depth)
	if err != nil {
		return nil, err
	}
	for _, o := range p.ops {
		if s, err = o.apply(r, s, depth); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (p *pipeline) source(r *run, depth int) (*stage, error) {
	switch {
	case p.inner != nil:
		return p.inner.compile(r, depth+1)
	case p.union != nil:
		return p.union.apply(r, nil, depth)
	case p.print != nil:
		return p.printed(r)
	}
	if t := r.tables[p.table]; t != nil {
		return p.named(r, t, depth)
	}
	columns, ok := r.source.Columns(p.table)
	if !ok {
		return nil, p.fault(UnknownName, fmt.Sprintf("Table %s is invalid, unsupported or disallowed.", p.table))
	}
	types := p.types()
	return &stage{columns, func() ([][]any, error) {
		if err := r.spend(1000); err != nil { // what it costs to ask
			return nil, err
		}
		rows, err := r.source.Rows(r.ctx, p.table, types)
		if err != nil {
			return nil, err
		}
		return rows, r.tooMany(len(rows))
	}}, nil
}

// named is a table that let gave a name to; its rows are made once.
func (p *pipeline) named(r *run, t *pipeline, depth int) (*stage, error) {
	if s := r.stages[p.table]; s != nil {
		return s, nil
	}
	if r.working[p.table] {
		return nil, p.fault(Semantic, fmt.Sprintf("'let' statement: '%s' is defined by itself", p.table))
	}
	r.working[p.table] = true
	defer delete(r.working, p.table)
	s, err := t.compile(r, depth+1)
	if err != nil {
		return nil, err
	}
	r.stages[p.table] = &stage{s.columns, sync.OnceValues(s.rows)}
	return r.stages[p.table], nil
}

// types are those that the first where operators let pass, nil for all.
func (p *pipeline) types() (types []string) {
	var look func(e expr) []string
	look = func(e expr) []string {
		switch x := e.(type) {
		case *binary:
			n, isName := x.l.(*name)
			l, isText := x.r.(*literal)
			switch {
			case x.op == "and":
				if t := look(x.l); t != nil {
					return t
				}
				return look(x.r)
			case x.op == "or":
				a, b := look(x.l), look(x.r)
				if a != nil && b != nil {
					return append(a, b...)
				}
			case (x.op == "==" || x.op == "=~") && isName && n.name == "type" && isText:
				return []string{strings.ToLower(text(l.value))}
			}
		case *among:
			n, isName := x.x.(*name)
			if (x.op != "in" && x.op != "in~") || !isName || n.name != "type" || x.from != nil {
				return nil
			}
			all := []string{}
			for _, e := range x.list {
				l, ok := e.(*literal)
				if !ok || l.typ != String {
					return nil
				}
				all = append(all, strings.ToLower(text(l.value)))
			}
			return all
		}
		return nil
	}
	for _, o := range p.ops {
		w, ok := o.(*whereOp)
		if !ok {
			return nil
		}
		if types = look(w.cond); types != nil {
			return types
		}
	}
	return nil
}

func (o *whereOp) apply(r *run, in *stage, _ int) (*stage, error) {
	c, err := newScope(r, in.columns, "where").condition(o.cond)
	if err != nil {
		return nil, err
	}
	return &stage{in.columns, func() ([][]any, error) {
		rows, err := in.rows()
		if err != nil {
			return nil, err
		}
		var kept [][]any
		for _, row := range rows {
			if err := r.spend(1); err != nil {
				return nil, err
			}
			v, err := c.of(row)
			if err != nil {
				return nil, err
			}
			if v == true {
				kept = append(kept, row)
			}
		}
		return kept, nil
	}}, nil
}

// unique makes a name that no other column has, as Kusto does: x, x1, x2.
func unique(name string, taken map[string]bool) string {
	n := name
	for i := 1; taken[n]; i++ {
		n = fmt.Sprintf("%s%d", name, i)
	}
	taken[n] = true
	return n
}

// outputs compiles expressions and names their columns.
func (s *scope) outputs(list []named, taken map[string]bool) ([]Column, []*compiled, error) {
	var columns []Column
	var all []*compiled
	unnamed := 0
	for _, n := range list {
		c, err := s.compile(n.expr)
		if err != nil {
			return nil, nil, err
		}
		name := n.name
		switch {
		case name != "":
		case c.name != "":
			name = c.name
		default:
			unnamed++
			name = fmt.Sprintf("Column%d", unnamed)
		}
		columns = append(columns, Column{unique(name, taken), c.typ})
		all = append(all, c)
	}
	return columns, all, nil
}

// eachRow makes a row of each row.
func eachRow(r *run, in *stage, width int, f func(row, out []any) error) func() ([][]any, error) {
	return func() ([][]any, error) {
		rows, err := in.rows()
		if err != nil {
			return nil, err
		}
		if err := r.alloc(len(rows) * (width*16 + 24)); err != nil {
			return nil, err
		}
		made := make([][]any, len(rows))
		for i, row := range rows {
			if err := r.spend(1); err != nil {
				return nil, err
			}
			made[i] = make([]any, width)
			if err := f(row, made[i]); err != nil {
				return nil, err
			}
		}
		return made, nil
	}
}

func (o *projectOp) apply(r *run, in *stage, _ int) (*stage, error) {
	columns, cells, err := newScope(r, in.columns, "project").outputs(o.columns, map[string]bool{})
	if err != nil {
		return nil, err
	}
	return &stage{columns, eachRow(r, in, len(columns), func(row, out []any) (err error) {
		for i, c := range cells {
			if out[i], err = c.of(row); err != nil {
				return err
			}
		}
		return nil
	})}, nil
}

// extend replaces columns of the same name in their place; the others come last. What one defines the next does not see.
func (o *extendOp) apply(r *run, in *stage, _ int) (*stage, error) {
	s := newScope(r, in.columns, "extend")
	columns := slices.Clone(in.columns)
	taken := map[string]bool{}
	for _, c := range in.columns {
		taken[c.Name] = true
	}
	places := make([]int, len(o.columns))
	cells := make([]*compiled, len(o.columns))
	for i, n := range o.columns {
		at, known := s.index[n.name]
		if n.name == "" || !known {
			made, all, err := s.outputs([]named{n}, taken)
			if err != nil {
				return nil, err
			}
			places[i], cells[i] = len(columns), all[0]
			columns = append(columns, made[0])
			continue
		}
		c, err := s.compile(n.expr)
		if err != nil {
			return nil, err
		}
		places[i], cells[i], columns[at].Type = at, c, c.typ
	}
	return &stage{columns, eachRow(r, in, len(columns), func(row, out []any) (err error) {
		copy(out, row)
		for i, c := range cells {
			if out[places[i]], err = c.of(row); err != nil {
				return err
			}
		}
		return nil
	})}, nil
}

// pick makes a table of some columns of another.
func pick(r *run, in *stage, places []int) *stage {
	columns := make([]Column, len(places))
	for i, at := range places {
		columns[i] = in.columns[at]
	}
	return &stage{columns, eachRow(r, in, len(places), func(row, out []any) error {
		for i, at := range places {
			out[i] = row[at]
		}
		return nil
	})}
}

// matching are the places of the columns that a name with * stands for.
func matching(s *scope, n name) ([]int, error) {
	if i, ok := s.index[n.name]; ok {
		return []int{i}, nil
	}
	if !strings.Contains(n.name, "*") {
		return nil, s.fault(n.place, "Failed to resolve column named '%s'", n.name)
	}
	var all []int
	for i, c := range s.columns {
		if like(c.Name, n.name) {
			all = append(all, i)
		}
	}
	return all, nil
}

func matchingAny(s *scope, globs []name) ([]int, error) {
	var all []int
	for _, g := range globs {
		found, err := matching(s, g)
		if err != nil {
			return nil, err
		}
		for _, i := range found {
			if !slices.Contains(all, i) {
				all = append(all, i)
			}
		}
	}
	return all, nil
}

func (o *awayOp) apply(r *run, in *stage, _ int) (*stage, error) {
	gone, err := matchingAny(newScope(r, in.columns, "project-away"), o.globs)
	if err != nil {
		return nil, err
	}
	var left []int
	for i := range in.columns {
		if !slices.Contains(gone, i) {
			left = append(left, i)
		}
	}
	return pick(r, in, left), nil
}

func (o *keepOp) apply(r *run, in *stage, _ int) (*stage, error) {
	kept, err := matchingAny(newScope(r, in.columns, "project-keep"), o.globs)
	if err != nil {
		return nil, err
	}
	slices.Sort(kept)
	return pick(r, in, kept), nil
}

func (o *reorderOp) apply(r *run, in *stage, _ int) (*stage, error) {
	places, err := matchingAny(newScope(r, in.columns, "project-reorder"), o.globs)
	if err != nil {
		return nil, err
	}
	for i := range in.columns {
		if !slices.Contains(places, i) {
			places = append(places, i)
		}
	}
	return pick(r, in, places), nil
}

func (o *renameOp) apply(r *run, in *stage, _ int) (*stage, error) {
	s := newScope(r, in.columns, "project-rename")
	columns := slices.Clone(in.columns)
	for _, n := range o.columns {
		old := n.expr.(*name)
		i, ok := s.index[old.name]
		if !ok {
			return nil, s.fault(old.place, "Failed to resolve column named '%s'", old.name)
		}
		columns[i].Name = n.name
	}
	taken := map[string]bool{}
	for _, c := range columns {
		if taken[c.Name] {
			return nil, s.fault(o.columns[0].expr.pos(), "a column named '%s' already exists", c.Name)
		}
		taken[c.Name] = true
	}
	return &stage{columns, in.rows}, nil
}

// sorter compares rows by keys.
type sorter struct {
	keys  []sortKey
	cells []*compiled
}

func newSorter(s *scope, keys []sortKey) (*sorter, error) {
	o := &sorter{keys: keys}
	for _, k := range keys {
		c, err := s.compile(k.expr)
		if err != nil {
			return nil, err
		}
		if c.typ == Dynamic {
			return nil, s.fault(k.expr.pos(), "key can't be of dynamic type. Please use an explicit cast, such as tostring()")
		}
		o.cells = append(o.cells, c)
	}
	return o, nil
}

// sort keeps the order of equal rows.
func (o *sorter) sort(r *run, rows [][]any) ([][]any, error) {
	type keyed struct{ row, keys []any }
	all := make([]keyed, len(rows))
	for i, row := range rows {
		if err := r.spend(1 + len(o.cells)); err != nil {
			return nil, err
		}
		all[i] = keyed{row, make([]any, len(o.cells))}
		for j, c := range o.cells {
			v, err := c.of(row)
			if err != nil {
				return nil, err
			}
			all[i].keys[j] = v
		}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		for j, k := range o.keys {
			x, y := a.keys[j], b.keys[j]
			switch {
			case x == nil && y == nil:
				continue
			case x == nil || y == nil:
				if (x == nil) == k.nullsFirst {
					return -1
				}
				return 1
			}
			if c := order(x, y); c != 0 {
				if k.descending {
					return -c
				}
				return c
			}
		}
		return 0
	})
	sorted := make([][]any, len(all))
	for i, k := range all {
		sorted[i] = k.row
	}
	return sorted, nil
}

func (o *sortOp) apply(r *run, in *stage, _ int) (*stage, error) {
	sorter, err := newSorter(newScope(r, in.columns, "order"), o.keys)
	if err != nil {
		return nil, err
	}
	return &stage{in.columns, func() ([][]any, error) {
		rows, err := in.rows()
		if err != nil {
			return nil, err
		}
		return sorter.sort(r, rows)
	}}, nil
}

// howMany is the number of take and top.
func howMany(r *run, op string, e expr) (int, error) {
	s := newScope(r, nil, op)
	c, err := s.compile(e)
	if err != nil {
		return 0, err
	}
	v, err := c.of(nil)
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 {
		return 0, s.fault(e.pos(), "the number of rows must be a whole number that is not negative")
	}
	return int(min(n, 1<<31)), nil
}

func (o *takeOp) apply(r *run, in *stage, _ int) (*stage, error) {
	n, err := howMany(r, "take", o.count)
	if err != nil {
		return nil, err
	}
	return &stage{in.columns, func() ([][]any, error) {
		rows, err := in.rows()
		return rows[:min(n, len(rows))], err
	}}, nil
}

func (o *topOp) apply(r *run, in *stage, depth int) (*stage, error) {
	sorted, err := (&sortOp{[]sortKey{o.key}}).apply(r, in, depth)
	if err != nil {
		return nil, err
	}
	return (&takeOp{o.count}).apply(r, sorted, depth)
}

func (o *countOp) apply(_ *run, in *stage, _ int) (*stage, error) {
	return &stage{[]Column{{"Count", Long}}, func() ([][]any, error) {
		rows, err := in.rows()
		return [][]any{{int64(len(rows))}}, err
	}}, nil
}

// distinct is the rows that differ, in the order in which they come first.
func (o *distinctOp) apply(r *run, in *stage, depth int) (*stage, error) {
	list := o.columns
	if o.all {
		for _, c := range in.columns {
			list = append(list, named{c.Name, &name{o.place, c.Name}})
		}
	}
	for _, n := range list {
		c, err := newScope(r, in.columns, "distinct").compile(n.expr)
		if err != nil {
			return nil, err
		}
		if c.typ == Dynamic {
			return nil, newScope(r, nil, "distinct").fault(n.expr.pos(), "Group key is of a 'dynamic' type. Please use an explicit cast as grouping by a 'dynamic' type is not supported")
		}
	}
	s, err := (&projectOp{list}).apply(r, in, depth)
	if err != nil {
		return nil, err
	}
	return &stage{s.columns, func() ([][]any, error) {
		rows, err := s.rows()
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		var left [][]any
		for _, row := range rows {
			k := keyOf(row)
			if err := r.alloc(len(k)); err != nil {
				return nil, err
			}
			if !seen[k] {
				seen[k] = true
				left = append(left, row)
			}
		}
		return left, nil
	}}, nil
}
