package kql

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// apply joins. In Kusto a join of kind innerunique takes one row of each key on the left.
func (o *joinOp) apply(r *run, left *stage, depth int) (*stage, error) {
	right, err := o.right.compile(r, depth+1)
	if err != nil {
		return nil, err
	}
	lk, err := o.keys(r, left, func(k joinKey) expr { return k.left })
	if err != nil {
		return nil, err
	}
	rk, err := o.keys(r, right, func(k joinKey) expr { return k.right })
	if err != nil {
		return nil, err
	}
	swap := strings.HasPrefix(o.kind, "right")
	if kind := strings.TrimPrefix(o.kind, "right"); swap && kind != "outer" {
		return semi(r, right, left, rk, lk, kind == "semi"), nil
	}
	switch o.kind {
	case "leftsemi":
		return semi(r, left, right, lk, rk, true), nil
	case "leftanti", "anti", "leftantisemi":
		return semi(r, left, right, lk, rk, false), nil
	}
	columns := slices.Clone(left.columns)
	taken := map[string]bool{}
	for _, c := range columns {
		taken[c.Name] = true
	}
	for _, c := range right.columns {
		columns = append(columns, Column{unique(c.Name, taken), c.Type})
	}
	return &stage{columns, func() ([][]any, error) { return o.rows(r, left, right, lk, rk) }}, nil
}

// keys compiles one side of the conditions.
func (o *joinOp) keys(r *run, in *stage, side func(joinKey) expr) ([]*compiled, error) {
	s := newScope(r, in.columns, "join")
	var all []*compiled
	for _, k := range o.on {
		c, err := s.compile(side(k))
		if err != nil {
			return nil, err
		}
		if c.typ == Dynamic {
			return nil, s.fault(o.place, "join key '%s' is of a 'dynamic' type. Please use an explicit cast using extend operator in the join legs (for example, '... | extend %s=tostring(%s) | join (... | extend %s=tostring(%s)) on %s') as join on a 'dynamic' type is not supported", c.name, c.name, c.name, c.name, c.name, c.name)
		}
		all = append(all, c)
	}
	return all, nil
}

// keyRow is the key of a row; null keys match nothing.
func keyRow(r *run, cells []*compiled, row []any) (string, error) {
	values := make([]any, len(cells))
	for i, c := range cells {
		v, err := c.of(row)
		if err != nil {
			return "", err
		}
		if v == nil && c.typ == String {
			v = ""
		}
		values[i] = v
	}
	k := keyOf(values)
	return k, r.alloc(len(k))
}

// group makes the rows of each key.
func group(r *run, in *stage, cells []*compiled) (rows [][]any, keys []string, byKey map[string][][]any, err error) {
	if rows, err = in.rows(); err != nil {
		return nil, nil, nil, err
	}
	byKey = map[string][][]any{}
	keys = make([]string, len(rows))
	for i, row := range rows {
		if err := r.spend(1); err != nil {
			return nil, nil, nil, err
		}
		if keys[i], err = keyRow(r, cells, row); err != nil {
			return nil, nil, nil, err
		}
		byKey[keys[i]] = append(byKey[keys[i]], row)
	}
	return rows, keys, byKey, nil
}

// semi are the rows of one table that have, or have not, a match in the other.
func semi(r *run, of, other *stage, ok, rk []*compiled, want bool) *stage {
	return &stage{of.columns, func() ([][]any, error) {
		rows, keys, _, err := group(r, of, ok)
		if err != nil {
			return nil, err
		}
		_, _, there, err := group(r, other, rk)
		if err != nil {
			return nil, err
		}
		var left [][]any
		for i, row := range rows {
			if (there[keys[i]] != nil) == want {
				left = append(left, row)
			}
		}
		return left, nil
	}}
}

func (o *joinOp) rows(r *run, left, right *stage, lk, rk []*compiled) ([][]any, error) {
	rows, keys, _, err := group(r, left, lk)
	if err != nil {
		return nil, err
	}
	others, otherKeys, byKey, err := group(r, right, rk)
	if err != nil {
		return nil, err
	}
	width := len(left.columns) + len(right.columns)
	var made [][]any
	add := func(l, x []any) error {
		row := make([]any, width)
		copy(row, l)
		copy(row[len(left.columns):], x)
		for i, c := range left.columns {
			if l == nil && c.Type == String {
				row[i] = ""
			}
		}
		for i, c := range right.columns {
			if x == nil && c.Type == String {
				row[len(left.columns)+i] = ""
			}
		}
		made = append(made, row)
		if err := r.alloc(width*16 + 24); err != nil {
			return err
		}
		if err := r.spend(1); err != nil {
			return err
		}
		return r.tooMany(len(made))
	}
	matched := map[string]bool{}
	for i, row := range rows {
		found := byKey[keys[i]]
		if o.kind == "innerunique" && matched[keys[i]] {
			continue
		}
		matched[keys[i]] = true
		for _, x := range found {
			if err := add(row, x); err != nil {
				return nil, err
			}
		}
		if found == nil && (o.kind == "leftouter" || o.kind == "fullouter") {
			if err := add(row, nil); err != nil {
				return nil, err
			}
		}
	}
	if o.kind == "rightouter" || o.kind == "fullouter" {
		for i, x := range others {
			if !matched[otherKeys[i]] {
				if err := add(nil, x); err != nil {
					return nil, err
				}
			}
		}
	}
	return made, nil
}

// apply puts tables under each other: of kind outer with the columns of all, of kind inner with those that all have.
func (o *unionOp) apply(r *run, in *stage, depth int) (*stage, error) {
	var legs []*stage
	var names []string
	if in != nil {
		legs, names = append(legs, in), append(names, "union_arg0")
	}
	var all []*pipeline
	for _, l := range o.legs {
		all = append(all, l.expand(r)...)
	}
	for _, l := range all {
		s, err := l.compile(r, depth+1)
		if fault := new(Fault); o.fuzzy && errors.As(err, &fault) && fault.Kind == UnknownName {
			continue
		}
		if err != nil {
			return nil, err
		}
		name := l.table
		if name == "" {
			name = fmt.Sprintf("union_arg%d", len(legs))
		}
		legs, names = append(legs, s), append(names, name)
	}
	var columns []Column
	if o.withSource != "" {
		columns = append(columns, Column{o.withSource, String})
	}
	places := make([][]int, len(legs)) // of each leg: where its columns go, -1 for nowhere
	first := len(columns)
	for i, leg := range legs {
		for _, c := range leg.columns {
			at := slices.IndexFunc(columns[first:], func(x Column) bool { return x == c })
			if at < 0 && o.kind == "inner" && i > 0 {
				places[i] = append(places[i], -1)
				continue
			}
			if at < 0 {
				n := c
				if slices.ContainsFunc(columns, func(x Column) bool { return x.Name == c.Name }) { // of another type
					n.Name += "_" + c.Type.String()
				}
				at = len(columns) - first
				columns = append(columns, n)
			}
			places[i] = append(places[i], first+at)
		}
	}
	u := &stage{columns, func() ([][]any, error) { return o.rows(r, legs, names, places, columns) }}
	if o.kind != "inner" {
		return u, nil
	}
	var common []int
	for at := range columns {
		everywhere := true
		for _, p := range places {
			everywhere = everywhere && slices.Contains(p, at)
		}
		if everywhere || at < first {
			common = append(common, at)
		}
	}
	return pick(r, u, common), nil
}

func (o *unionOp) rows(r *run, legs []*stage, names []string, places [][]int, columns []Column) ([][]any, error) {
	var made [][]any
	for i, leg := range legs {
		rows, err := leg.rows()
		if err != nil {
			return nil, err
		}
		if err := r.alloc(len(rows) * (len(columns)*16 + 24)); err != nil {
			return nil, err
		}
		for _, row := range rows {
			if err := r.spend(1); err != nil {
				return nil, err
			}
			out := make([]any, len(columns))
			for j, c := range columns {
				if c.Type == String {
					out[j] = ""
				}
			}
			if o.withSource != "" {
				out[0] = names[i]
			}
			for j, v := range row {
				if at := places[i][j]; at >= 0 {
					out[at] = v
				}
			}
			made = append(made, out)
		}
		if err := r.tooMany(len(made)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// apply makes a row of each element of an array, or of each member of an object.
func (o *expandOp) apply(r *run, in *stage, _ int) (*stage, error) {
	s := newScope(r, in.columns, "mv-expand")
	columns := slices.Clone(in.columns)
	taken := map[string]bool{}
	for _, c := range columns {
		taken[c.Name] = true
	}
	places, cells := make([]int, len(o.columns)), make([]*compiled, len(o.columns))
	for i, n := range o.columns {
		c, err := s.compile(n.expr)
		if err != nil {
			return nil, err
		}
		if c.typ != Dynamic {
			return nil, s.fault(n.expr.pos(), "expanded expression expected to have dynamic type, but has %s", c.typ)
		}
		name := n.name
		if name == "" {
			name = c.name
		}
		at, known := s.index[name]
		typ := Dynamic
		if o.types[i] != nil {
			typ = *o.types[i]
		}
		if !known {
			if name == "" {
				name = "Column1"
			}
			at = len(columns)
			columns = append(columns, Column{unique(name, taken), typ})
		}
		columns[at].Type, places[i], cells[i] = typ, at, c
	}
	index := -1
	if o.index != "" {
		index = len(columns)
		columns = append(columns, Column{unique(o.index, taken), Long})
	}
	return &stage{columns, func() ([][]any, error) {
		rows, err := in.rows()
		if err != nil {
			return nil, err
		}
		var made [][]any
		for _, row := range rows {
			lists, longest := make([][]any, len(cells)), 1
			for i, c := range cells {
				v, err := c.of(row)
				if err != nil {
					return nil, err
				}
				lists[i] = elements(v)
				longest = max(longest, len(lists[i]))
			}
			longest = min(longest, o.limit)
			if err := r.alloc(longest * (len(columns)*16 + 24)); err != nil {
				return nil, err
			}
			for n := range longest {
				if err := r.spend(1); err != nil {
					return nil, err
				}
				out := make([]any, len(columns))
				copy(out, row)
				for i, list := range lists {
					out[places[i]] = nil
					if n < len(list) {
						out[places[i]] = list[n]
					}
					if typ := columns[places[i]].Type; typ != Dynamic {
						out[places[i]] = convert(out[places[i]], typ)
					}
				}
				if index >= 0 {
					out[index] = int64(n)
				}
				made = append(made, out)
			}
			if err := r.tooMany(len(made)); err != nil {
				return nil, err
			}
		}
		return made, nil
	}}, nil
}

// elements are those of an array, the members of an object as objects of one, or the value itself.
func elements(v any) []any {
	switch x := v.(type) {
	case []any:
		return x
	case map[string]any:
		list := make([]any, 0, len(x))
		for _, k := range slices.Sorted(maps.Keys(x)) {
			list = append(list, map[string]any{k: x[k]})
		}
		return list
	}
	return []any{v}
}

// apply takes a text apart ("parse operator"): texts stand as they are, a name takes what is between.
func (o *parseOp) apply(r *run, in *stage, _ int) (*stage, error) {
	s := newScope(r, in.columns, "parse")
	of, err := s.compile(o.of)
	if err != nil {
		return nil, err
	}
	re, err := o.regex()
	if err != nil {
		return nil, s.fault(o.place, "%v", err)
	}
	columns := slices.Clone(in.columns)
	var places []int
	var types []Type
	for _, p := range o.patterns {
		if p.name == "" {
			continue
		}
		at, known := s.index[p.name]
		if !known {
			at = len(columns)
			s.index[p.name] = at
			columns = append(columns, Column{p.name, p.typ})
		}
		columns[at].Type = p.typ
		places, types = append(places, at), append(types, p.typ)
	}
	groups := make([]int, len(places))
	for j := range groups {
		groups[j] = re.SubexpIndex(fmt.Sprint(groupPrefix, j))
	}
	missed := map[int]bool{} // rows are told apart by their number
	i := -1
	made := eachRow(r, in, len(columns), func(row, out []any) error {
		i++
		copy(out, row)
		v, err := of.of(row)
		if err != nil {
			return err
		}
		t := text(v)
		if err := r.spend(len(t) / 16); err != nil {
			return err
		}
		m := re.FindStringSubmatch(t)
		ok := m != nil
		for j := 0; ok && o.kind != "relaxed" && j < len(places); j++ {
			ok = types[j] == String || convert(m[groups[j]], types[j]) != nil
		}
		missed[i] = !ok
		for j, at := range places {
			out[at] = convert(nil, types[j])
			if ok {
				out[at] = convert(m[groups[j]], types[j])
			}
		}
		return nil
	})
	if !o.where {
		return &stage{columns, made}, nil
	}
	return &stage{columns, func() ([][]any, error) {
		rows, err := made()
		var kept [][]any
		for n, row := range rows {
			if !missed[n] {
				kept = append(kept, row)
			}
		}
		return kept, err
	}}, nil
}

// groupPrefix begins the names of the groups of columns: a pattern of the user's may have groups of its own.
const groupPrefix = "vauban_column_"

// regex is the pattern of a parse: in order, the last part to the end of the text.
func (o *parseOp) regex() (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("(?s)^")
	column := 0
	for i, p := range o.patterns {
		lazy := "?"
		if i == len(o.patterns)-1 {
			lazy = ""
		}
		switch {
		case p.star:
			b.WriteString(".*" + lazy)
		case p.name != "":
			what := ".*" + lazy
			if p.typ == Long {
				what = `[-+]?\d+`
			}
			fmt.Fprintf(&b, "(?P<%s%d>%s)", groupPrefix, column, what)
			column++
		case o.kind == "regex":
			b.WriteString("(?:" + p.text + ")")
		default:
			b.WriteString(regexp.QuoteMeta(p.text))
		}
	}
	b.WriteString("$")
	return regex(b.String())
}
