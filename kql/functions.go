package kql

import (
	"fmt"
	"slices"
	"strings"
)

// function is a scalar function.
type function struct {
	least, most int // arguments; most < 0: any number
	typ         Type
	first       bool // its column is called as that of its first argument
	like        int  // its type is that of this argument, counted from 1; 0: typ
	do          func(r *run, args []any) (any, error)
	check       func(s *scope, c *call, args []*compiled) error // nil: nothing to check
}

// functions by lower-case name. They are made by init, since compiling arguments looks functions up.
var functions map[string]*function

func init() {
	functions = map[string]*function{}
	lazy = map[string]func(s *scope, c *call) (*compiled, error){
		"iff": (*scope).iff, "iif": (*scope).iff, "case": (*scope).caseOf, "coalesce": (*scope).coalesce, "column_ifexists": (*scope).ifExists,
	}
	for _, group := range []map[string]*function{conversions, texts, dynamics, times, numbers} {
		for n, f := range group {
			functions[n] = f
		}
	}
}

// lazy are the functions that do not look at all of their arguments.
var lazy map[string]func(s *scope, c *call) (*compiled, error)

func (s *scope) call(c *call) (*compiled, error) {
	if f := lazy[c.name]; f != nil {
		return f(s, c)
	}
	f := functions[c.name]
	if f == nil || c.star {
		if isAggregate(c.name) {
			return nil, s.fault(c.place, "the aggregation function '%s' cannot stand here", c.name)
		}
		return nil, &Fault{Kind: Unsupported, Message: "InvalidQueryLanguage", Line: -1, Column: -1, Token: c.name}
	}
	if len(c.args) < f.least || f.most >= 0 && len(c.args) > f.most {
		return nil, s.fault(c.place, "%s(): %d arguments are not what it takes", c.name, len(c.args))
	}
	args := make([]*compiled, len(c.args))
	out := &compiled{typ: f.typ, fix: true}
	for i, a := range c.args {
		var err error
		if args[i], err = s.compile(a); err != nil {
			return nil, err
		}
		out.fix = out.fix && args[i].fix
	}
	if f.check != nil {
		if err := f.check(s, c, args); err != nil {
			return nil, err
		}
	}
	if f.like > 0 && f.like <= len(args) {
		out.typ = args[f.like-1].typ
	}
	if f.first {
		out.name = args[0].name
	}
	out.of = func(row []any) (any, error) {
		values := make([]any, len(args))
		for i, a := range args {
			v, err := a.of(row)
			if err != nil {
				return nil, err
			}
			values[i] = v
		}
		if err := s.r.spend(1); err != nil {
			return nil, err
		}
		v, err := f.do(s.r, values)
		if err != nil {
			return nil, err
		}
		if t, ok := v.(string); ok {
			if len(t) > maxText {
				return nil, &Fault{Kind: TooMuch, Message: fmt.Sprintf("%s(): a text has at most %d bytes.", c.name, maxText)}
			}
			return t, s.r.alloc(len(t))
		}
		return v, nil
	}
	return out, nil
}

// iff and case: the branches' types must agree; a dynamic agrees with all.
func (s *scope) iff(c *call) (*compiled, error) {
	if len(c.args) != 3 {
		return nil, s.fault(c.place, "%s(): 3 arguments are expected", c.name)
	}
	return s.caseOf(c)
}

func (s *scope) caseOf(c *call) (*compiled, error) {
	if len(c.args) < 3 || len(c.args)%2 == 0 {
		return nil, s.fault(c.place, "%s(): conditions with their values and a value for else are expected", c.name)
	}
	var conditions, values []*compiled
	fix := true
	for i, a := range c.args {
		var e *compiled
		var err error
		if i%2 == 0 && i < len(c.args)-1 {
			e, err = s.condition(a)
			conditions = append(conditions, e)
		} else {
			e, err = s.compile(a)
			values = append(values, e)
		}
		if err != nil {
			return nil, err
		}
		fix = fix && e.fix
	}
	typ, err := s.common(c, values)
	if err != nil {
		return nil, err
	}
	return &compiled{typ: typ, fix: fix, of: func(row []any) (any, error) {
		for i, cond := range conditions {
			v, err := cond.of(row)
			if err != nil {
				return nil, err
			}
			if v == true {
				v, err := values[i].of(row)
				return convert(v, typ), err
			}
		}
		v, err := values[len(values)-1].of(row)
		return convert(v, typ), err
	}}, nil
}

// common is the type that values have together.
func (s *scope) common(c *call, values []*compiled) (Type, error) {
	typ := values[0].typ
	for _, v := range values[1:] {
		switch {
		case v.typ == typ:
		case typ == Long && v.typ == Real || typ == Real && v.typ == Long:
			typ = Real
		case typ == Dynamic || v.typ == Dynamic:
			typ = Dynamic
		default:
			return 0, s.fault(c.place, "%s(): the types %s and %s of its values do not agree. Try adding explicit casts", c.name, typ, v.typ)
		}
	}
	return typ, nil
}

func (s *scope) coalesce(c *call) (*compiled, error) {
	if len(c.args) < 2 {
		return nil, s.fault(c.place, "coalesce(): at least 2 arguments are expected")
	}
	var values []*compiled
	for _, a := range c.args {
		v, err := s.compile(a)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	typ, err := s.common(c, values)
	if err != nil {
		return nil, err
	}
	return &compiled{typ: typ, of: func(row []any) (any, error) {
		for _, x := range values {
			v, err := x.of(row)
			if err != nil {
				return nil, err
			}
			if v != nil && v != "" {
				return v, nil
			}
		}
		return convert(nil, typ), nil
	}}, nil
}

func (s *scope) ifExists(c *call) (*compiled, error) {
	if len(c.args) != 2 {
		return nil, s.fault(c.place, "column_ifexists(): 2 arguments are expected")
	}
	n, err := s.compile(c.args[0])
	if err != nil {
		return nil, err
	}
	if !n.fix {
		return nil, s.fault(c.place, "column_ifexists(): the name of the column must be a constant")
	}
	v, err := n.of(nil)
	if err != nil {
		return nil, err
	}
	if _, ok := s.index[text(v)]; ok {
		return s.name(&name{c.place, text(v)})
	}
	return s.compile(c.args[1])
}

func to(t Type) *function {
	return &function{least: 1, most: 1, typ: t, first: true, do: func(_ *run, a []any) (any, error) { return convert(a[0], t), nil }}
}

func isNull(v any) bool { return v == nil }

func test(is func(v any) bool) *function {
	return &function{least: 1, most: 1, typ: Bool, do: func(_ *run, a []any) (any, error) { return is(a[0]), nil }}
}

func empty(v any) bool { return v == nil || v == "" }

var conversions = map[string]*function{
	"tostring": to(String), "toint": to(Long), "tolong": to(Long), "toreal": to(Real), "todouble": to(Real), "todecimal": to(Real),
	"tobool": to(Bool), "toboolean": to(Bool), "todatetime": to(Datetime), "totimespan": to(Timespan),
	"toguid": {least: 1, most: 1, typ: String, first: true, do: func(_ *run, a []any) (any, error) { return strings.ToLower(text(a[0])), nil }},
	"int":    to(Long), "long": to(Long), "real": to(Real), "double": to(Real), "decimal": to(Real), "bool": to(Bool), "boolean": to(Bool),
	"isnull":     test(isNull),
	"isnotnull":  test(func(v any) bool { return v != nil }),
	"isempty":    test(empty),
	"isnotempty": test(func(v any) bool { return !empty(v) }),
	"notempty":   test(func(v any) bool { return !empty(v) }),
	"not":        test(func(v any) bool { return convert(v, Bool) == false }),
	"gettype": {least: 1, most: 1, typ: String, do: func(_ *run, a []any) (any, error) {
		switch a[0].(type) {
		case nil:
			return "null", nil
		case []any:
			return "array", nil
		case map[string]any:
			return "dictionary", nil
		case string:
			return "string", nil
		case bool:
			return "bool", nil
		case int64:
			return "long", nil
		case float64:
			return "double", nil
		}
		return strings.TrimPrefix(fmt.Sprintf("%T", a[0]), "time."), nil
	}},
}

var dynamics = map[string]*function{
	"parse_json": {least: 1, most: 1, typ: Dynamic, first: true, do: parsed}, "todynamic": {least: 1, most: 1, typ: Dynamic, first: true, do: parsed}, "parsejson": {least: 1, most: 1, typ: Dynamic, first: true, do: parsed},
	"array_length": {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) {
		if list, ok := a[0].([]any); ok {
			return int64(len(list)), nil
		}
		return nil, nil
	}},
	"array_index_of": {least: 2, most: 2, typ: Long, do: func(_ *run, a []any) (any, error) {
		list, ok := a[0].([]any)
		if !ok {
			return nil, nil
		}
		return int64(slices.IndexFunc(list, func(v any) bool { return v != nil && a[1] != nil && equal(v, a[1]) })), nil
	}},
	"array_concat": {least: 1, most: -1, typ: Dynamic, do: func(r *run, a []any) (any, error) {
		out := []any{}
		for _, v := range a {
			list, ok := v.([]any)
			if !ok {
				return nil, nil
			}
			out = append(out, list...)
		}
		return out, r.alloc(16 * len(out))
	}},
	"array_sort_asc":  {least: 1, most: 1, typ: Dynamic, do: func(r *run, a []any) (any, error) { return sorted(r, a[0], 1) }},
	"array_sort_desc": {least: 1, most: 1, typ: Dynamic, do: func(r *run, a []any) (any, error) { return sorted(r, a[0], -1) }},
	"array_slice": {least: 3, most: 3, typ: Dynamic, do: func(r *run, a []any) (any, error) {
		list, ok := a[0].([]any)
		from, ok2 := a[1].(int64)
		to, ok3 := a[2].(int64)
		if !ok || !ok2 || !ok3 {
			return nil, nil
		}
		n := int64(len(list))
		if from < 0 {
			from += n
		}
		if to < 0 {
			to += n
		}
		from, to = max(from, 0), min(to+1, n)
		if from >= to {
			return []any{}, nil
		}
		return list[from:to], nil
	}},
	"pack_array": {least: 0, most: -1, typ: Dynamic, do: func(r *run, a []any) (any, error) { return slices.Clone(a), r.alloc(16 * len(a)) }},
	"bag_pack":   {least: 2, most: -1, typ: Dynamic, do: packed}, "pack": {least: 2, most: -1, typ: Dynamic, do: packed},
	"bag_keys": {least: 1, most: 1, typ: Dynamic, do: func(r *run, a []any) (any, error) {
		m, ok := a[0].(map[string]any)
		if !ok {
			return nil, nil
		}
		keys := make([]any, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, order)
		return keys, r.alloc(32 * len(keys))
	}},
	"bag_has_key": {least: 2, most: 2, typ: Bool, do: func(_ *run, a []any) (any, error) {
		m, _ := a[0].(map[string]any)
		_, ok := m[text(a[1])]
		return ok, nil
	}},
	"bag_merge": {least: 2, most: -1, typ: Dynamic, do: func(r *run, a []any) (any, error) {
		take, end := bagOf(r, 0)
		for _, v := range a {
			if err := take(v); err != nil {
				return nil, err
			}
		}
		return end(), nil
	}},
	"bag_remove_keys": {least: 2, most: 2, typ: Dynamic, do: func(r *run, a []any) (any, error) {
		m, ok := a[0].(map[string]any)
		if !ok {
			return nil, nil
		}
		gone, _ := a[1].([]any)
		out := map[string]any{}
		for k, v := range m {
			if !slices.Contains(gone, any(k)) {
				out[k] = v
			}
		}
		return out, r.alloc(48 * len(out))
	}},
	"set_has_element": {least: 2, most: 2, typ: Bool, do: func(r *run, a []any) (any, error) {
		list, _ := a[0].([]any)
		return slices.ContainsFunc(list, func(v any) bool { return v != nil && a[1] != nil && equal(v, a[1]) }), r.spend(len(list))
	}},
	"set_union": {least: 2, most: -1, typ: Dynamic, do: func(r *run, a []any) (any, error) {
		take, end := setOf(r, maxList)
		for _, v := range a {
			if err := take(v); err != nil {
				return nil, err
			}
		}
		return end(), nil
	}},
	"set_intersect":  {least: 2, most: 2, typ: Dynamic, do: func(r *run, a []any) (any, error) { return setBy(r, a, true) }},
	"set_difference": {least: 2, most: 2, typ: Dynamic, do: func(r *run, a []any) (any, error) { return setBy(r, a, false) }},
}

// setBy are the members of the first list that the second has, or has not.
func setBy(r *run, a []any, want bool) (any, error) {
	first, _ := a[0].([]any)
	second, _ := a[1].([]any)
	has := make(map[any]bool, len(second))
	for _, v := range second {
		has[key(v)] = true
	}
	take, end := setOf(r, maxList)
	for _, v := range first {
		if has[key(v)] == want {
			if err := take(v); err != nil {
				return nil, err
			}
		}
	}
	return end(), r.spend(len(first) + len(second))
}

func parsed(r *run, a []any) (any, error) {
	t, ok := a[0].(string)
	if !ok {
		return a[0], nil
	}
	if err := r.alloc(2 * len(t)); err != nil {
		return nil, err
	}
	if v, ok := parseJSON(t); ok {
		return v, nil
	}
	return t, nil
}

func packed(r *run, a []any) (any, error) {
	if len(a)%2 != 0 {
		return nil, &Fault{Kind: Semantic, Message: "bag_pack(): names with their values are expected"}
	}
	out := map[string]any{}
	for i := 0; i < len(a); i += 2 {
		out[text(a[i])] = Cell(a[i+1])
	}
	return out, r.alloc(48 * len(a))
}

func sorted(r *run, v any, sign int) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, nil
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b any) int {
		switch {
		case a == nil && b == nil:
			return 0
		case a == nil:
			return 1
		case b == nil:
			return -1
		}
		return order(a, b) * sign
	})
	return out, r.alloc(16 * len(out))
}
