package kql

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// compiled is an expression ready to be asked of rows.
type compiled struct {
	typ  Type
	name string // the column that it makes where none is named, "" for Column1 …
	fix  bool   // the same of every row
	of   func(row []any) (any, error)
}

// scope is what the names of an expression mean.
type scope struct {
	r       *run
	columns []Column
	index   map[string]int
	op      string // the operator, for messages
}

func newScope(r *run, columns []Column, op string) *scope {
	s := &scope{r: r, columns: columns, index: make(map[string]int, len(columns)), op: op}
	for i, c := range columns {
		s.index[c.Name] = i
	}
	return s
}

func (s *scope) fault(at place, format string, args ...any) error {
	return at.fault(Semantic, fmt.Sprintf("'%s' operator: %s", s.op, fmt.Sprintf(format, args...)))
}

func constant(v any, t Type) *compiled {
	return &compiled{typ: t, fix: true, of: func([]any) (any, error) { return v, nil }}
}

func (s *scope) compile(e expr) (*compiled, error) {
	if err := s.r.spend(1); err != nil {
		return nil, err
	}
	switch x := e.(type) {
	case *literal:
		return constant(x.value, x.typ), nil
	case *name:
		return s.name(x)
	case *member:
		return s.member(x)
	case *element:
		return s.element(x)
	case *unary:
		return s.unary(x)
	case *binary:
		return s.binary(x)
	case *among:
		return s.among(x)
	case *between:
		return s.between(x)
	case *call:
		return s.call(x)
	case *scalarOf:
		return s.scalar(x)
	}
	return nil, fmt.Errorf("kql: an expression of type %T", e)
}

// name is a column, or what let made of it.
func (s *scope) name(x *name) (*compiled, error) {
	if i, ok := s.index[x.name]; ok {
		return &compiled{typ: s.columns[i].Type, name: x.name, of: func(row []any) (any, error) { return row[i], nil }}, nil
	}
	if v, ok := s.r.values[x.name]; ok {
		return s.value(x, v)
	}
	return nil, s.fault(x.place, "Failed to resolve scalar expression named '%s'", x.name)
}

// value is what let gave a name to; it is worked out once.
func (s *scope) value(x *name, v expr) (*compiled, error) {
	if c := s.r.known[x.name]; c != nil {
		return c, nil
	}
	if s.r.working[x.name] {
		return nil, s.fault(x.place, "'%s' is defined by itself", x.name)
	}
	s.r.working[x.name] = true
	defer delete(s.r.working, x.name)
	c, err := newScope(s.r, nil, "let").compile(v)
	if err != nil {
		return nil, err
	}
	worth, err := c.of(nil)
	if err != nil {
		return nil, err
	}
	s.r.known[x.name] = constant(worth, c.typ)
	return s.r.known[x.name], nil
}

// member is x.name. Of what has no members it is null.
func (s *scope) member(x *member) (*compiled, error) {
	of, err := s.compile(x.of)
	if err != nil {
		return nil, err
	}
	if of.typ != Dynamic {
		return nil, s.fault(x.place, "Path expression source must be of type 'dynamic'. Received a source of type %s instead", of.typ)
	}
	c := &compiled{typ: Dynamic, fix: of.fix, of: func(row []any) (any, error) {
		v, err := of.of(row)
		if err != nil {
			return nil, err
		}
		m, _ := v.(map[string]any)
		return m[x.name], s.r.spend(1)
	}}
	if of.name != "" {
		c.name = of.name + "_" + x.name
	}
	return c, nil
}

func (s *scope) element(x *element) (*compiled, error) {
	of, err := s.compile(x.of)
	if err != nil {
		return nil, err
	}
	index, err := s.compile(x.index)
	if err != nil {
		return nil, err
	}
	if of.typ != Dynamic {
		return nil, s.fault(x.place, "Path expression source must be of type 'dynamic'. Received a source of type %s instead", of.typ)
	}
	c := &compiled{typ: Dynamic, fix: of.fix && index.fix, of: func(row []any) (any, error) {
		v, err := of.of(row)
		if err != nil {
			return nil, err
		}
		i, err := index.of(row)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case []any:
			n, ok := i.(int64)
			if ok && n < 0 {
				n += int64(len(v))
			}
			if ok && n >= 0 && n < int64(len(v)) {
				return v[n], s.r.spend(1)
			}
		case map[string]any:
			return v[text(i)], s.r.spend(1)
		}
		return nil, s.r.spend(1)
	}}
	if of.name != "" && index.fix {
		v, _ := index.of(nil)
		c.name = of.name + "_" + strings.ReplaceAll(text(v), "-", "")
	}
	return c, nil
}

func (s *scope) unary(x *unary) (*compiled, error) {
	of, err := s.compile(x.x)
	if err != nil || x.op == "+" {
		return of, err
	}
	return &compiled{typ: of.typ, fix: of.fix, of: func(row []any) (any, error) {
		v, err := of.of(row)
		if err != nil {
			return nil, err
		}
		switch n := v.(type) {
		case int64:
			return -n, nil
		case float64:
			return -n, nil
		case time.Duration:
			return -n, nil
		}
		return nil, s.r.spend(1)
	}}, nil
}

// strictBool is what a condition must be.
func (s *scope) condition(e expr) (*compiled, error) {
	c, err := s.compile(e)
	if err != nil {
		return nil, err
	}
	if c.typ != Bool && c.typ != Dynamic && c.typ != Long {
		return nil, s.fault(e.pos(), "a condition must be of type bool, not %s", c.typ)
	}
	of := c.of
	return &compiled{typ: Bool, fix: c.fix, of: func(row []any) (any, error) {
		v, err := of(row)
		return convert(v, Bool), err
	}}, nil
}

func (s *scope) binary(x *binary) (*compiled, error) {
	if x.op == "and" || x.op == "or" {
		return s.logic(x)
	}
	l, err := s.compile(x.l)
	if err != nil {
		return nil, err
	}
	r, err := s.compile(x.r)
	if err != nil {
		return nil, err
	}
	var do func(a, b any) (any, error)
	typ := Bool
	switch x.op {
	case "+", "-", "*", "/", "%":
		do, typ, err = s.arithmetic(x, l.typ, r.typ)
	case "==", "!=", "<", "<=", ">", ">=":
		do, err = s.comparison(x, l.typ, r.typ)
	case "matches":
		do, err = s.matches(x, r)
	default:
		do, err = s.textual(x.op)
	}
	if err != nil {
		return nil, err
	}
	return &compiled{typ: typ, fix: l.fix && r.fix, of: func(row []any) (any, error) {
		a, err := l.of(row)
		if err != nil {
			return nil, err
		}
		b, err := r.of(row)
		if err != nil {
			return nil, err
		}
		if err := s.r.spend(1); err != nil {
			return nil, err
		}
		return do(a, b)
	}}, nil
}

func (s *scope) logic(x *binary) (*compiled, error) {
	l, err := s.condition(x.l)
	if err != nil {
		return nil, err
	}
	r, err := s.condition(x.r)
	if err != nil {
		return nil, err
	}
	stop := x.op == "or"
	return &compiled{typ: Bool, fix: l.fix && r.fix, of: func(row []any) (any, error) {
		a, err := l.of(row)
		if err != nil || a == stop {
			return a, err
		}
		return r.of(row)
	}}, nil
}

// comparison of types that have nothing in common is refused; a dynamic is compared with anything.
func (s *scope) comparison(x *binary, l, r Type) (func(a, b any) (any, error), error) {
	numeric := func(t Type) bool { return t == Long || t == Real }
	if l != r && l != Dynamic && r != Dynamic && !(numeric(l) && numeric(r)) && !(l == Bool && r == Long || l == Long && r == Bool) {
		return nil, s.fault(x.place, "Cannot compare values of types %s and %s. Try adding explicit casts", l, r)
	}
	texts := l == String || r == String
	return func(a, b any) (any, error) {
		if texts {
			a, b = convert(a, String), convert(b, String)
		}
		if a == nil || b == nil {
			return x.op == "!=" && (a == nil) != (b == nil), nil
		}
		if !texts && (l == Datetime || r == Datetime) {
			if a, b = convert(a, Datetime), convert(b, Datetime); a == nil || b == nil {
				return x.op == "!=", nil
			}
		}
		switch x.op {
		case "==":
			return equal(a, b), nil
		case "!=":
			return !equal(a, b), nil
		case "<":
			return order(a, b) < 0, nil
		case "<=":
			return order(a, b) <= 0, nil
		case ">":
			return order(a, b) > 0, nil
		}
		return order(a, b) >= 0, nil
	}, nil
}

func (s *scope) matches(x *binary, pattern *compiled) (func(a, b any) (any, error), error) {
	if !pattern.fix {
		return nil, s.fault(x.place, "the regular expression of 'matches regex' must be a constant")
	}
	v, err := pattern.of(nil)
	if err != nil {
		return nil, err
	}
	re, err := regex(text(v))
	if err != nil {
		return nil, s.fault(x.place, "%v", err)
	}
	return func(a, _ any) (any, error) {
		t := text(a)
		return re.MatchString(t), s.r.spend(len(t) / 16)
	}, nil
}

// regex compiles a pattern (RE2, as Kusto's).
func regex(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > 1<<10 {
		return nil, fmt.Errorf("a regular expression has at most 1024 characters")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("Failed to parse regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// textual are the comparisons of texts. Those without _cs fold case, but for == .
func (s *scope) textual(op string) (func(a, b any) (any, error), error) {
	not := strings.HasPrefix(op, "!")
	word, sensitive := strings.CutSuffix(strings.TrimPrefix(op, "!"), "_cs")
	if op == "!~" {
		word = "=~"
	}
	var is func(a, b string) bool
	switch word {
	case "=~":
		is = func(a, b string) bool { return a == b }
	case "has":
		is = hasTerm
	case "hasprefix":
		is = func(a, b string) bool { return eachTerm(a, func(t string) bool { return strings.HasPrefix(t, b) }) }
	case "hassuffix":
		is = func(a, b string) bool { return eachTerm(a, func(t string) bool { return strings.HasSuffix(t, b) }) }
	case "contains":
		is = strings.Contains
	case "startswith":
		is = strings.HasPrefix
	case "endswith":
		is = strings.HasSuffix
	case "like":
		is = like
	default:
		return nil, fmt.Errorf("kql: the comparison %s", op)
	}
	return func(a, b any) (any, error) {
		x, y := text(a), text(b)
		if !sensitive {
			x, y = strings.ToLower(x), strings.ToLower(y)
		}
		return is(x, y) != not, s.r.spend(len(x) / 16)
	}, nil
}

func termRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// hasTerm says that needle stands in hay with no letter or digit beside it.
func hasTerm(hay, needle string) bool {
	if needle == "" {
		return true
	}
	for at := 0; at <= len(hay)-len(needle); {
		i := strings.Index(hay[at:], needle)
		if i < 0 {
			return false
		}
		i += at
		before, _ := utf8.DecodeLastRuneInString(hay[:i])
		after, _ := utf8.DecodeRuneInString(hay[i+len(needle):])
		if (i == 0 || !termRune(before)) && (i+len(needle) == len(hay) || !termRune(after)) {
			return true
		}
		at = i + 1
	}
	return false
}

func eachTerm(s string, is func(string) bool) bool {
	for _, t := range strings.FieldsFunc(s, func(r rune) bool { return !termRune(r) }) {
		if is(t) {
			return true
		}
	}
	return false
}

// like is a comparison with a pattern in which * stands for anything.
func like(s, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	if len(parts) == 1 {
		return s == ""
	}
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// among is in, !in, in~, !in~, has_any and has_all.
func (s *scope) among(x *among) (*compiled, error) {
	of, err := s.compile(x.x)
	if err != nil {
		return nil, err
	}
	values, err := s.values(x)
	if err != nil {
		return nil, err
	}
	fold := strings.HasSuffix(x.op, "~")
	if strings.HasPrefix(x.op, "has_") {
		return s.hasOf(x.op == "has_all", of, values), nil
	}
	norm := func(v any) any {
		if of.typ == String || of.typ == Dynamic {
			v = text(v)
			if fold {
				v = strings.ToLower(v.(string))
			}
		}
		return key(v)
	}
	set := make(map[any]bool, len(values))
	for _, v := range values {
		set[norm(v)] = true
	}
	not := x.op[0] == '!'
	return &compiled{typ: Bool, fix: of.fix, of: func(row []any) (any, error) {
		v, err := of.of(row)
		if err != nil {
			return nil, err
		}
		return set[norm(v)] != not, s.r.spend(1)
	}}, nil
}

// values are the members of a list: constants, dynamic arrays of them, or the first column of a table.
func (s *scope) values(x *among) (values []any, err error) {
	if x.from != nil {
		stage, err := x.from.compile(s.r, 1)
		if err != nil {
			return nil, err
		}
		rows, err := stage.rows()
		for _, row := range rows {
			values = append(values, row[0])
		}
		return values, err
	}
	for _, e := range x.list {
		if n, ok := e.(*name); ok && s.r.tables[n.name] != nil {
			return s.values(&among{place: x.place, from: &pipeline{place: n.place, table: n.name}})
		}
		c, err := s.compile(e)
		if err != nil {
			return nil, err
		}
		if !c.fix {
			return nil, s.fault(e.pos(), "the values of '%s' must be constants", x.op)
		}
		v, err := c.of(nil)
		if err != nil {
			return nil, err
		}
		if list, ok := v.([]any); ok {
			values = append(values, list...)
		} else {
			values = append(values, v)
		}
	}
	return values, nil
}

func (s *scope) hasOf(all bool, of *compiled, values []any) *compiled {
	terms := make([]string, len(values))
	for i, v := range values {
		terms[i] = strings.ToLower(text(v))
	}
	return &compiled{typ: Bool, fix: of.fix, of: func(row []any) (any, error) {
		v, err := of.of(row)
		if err != nil {
			return nil, err
		}
		t := strings.ToLower(text(v))
		if err := s.r.spend(len(terms) * (1 + len(t)/16)); err != nil {
			return nil, err
		}
		for _, term := range terms {
			if hasTerm(t, term) != all {
				return !all, nil
			}
		}
		return all, nil
	}}
}

// between compares with both bounds. A bound that is a span of time after a time ends that long after it.
func (s *scope) between(x *between) (*compiled, error) {
	of, err := s.compile(x.x)
	if err != nil {
		return nil, err
	}
	low, err := s.compile(x.low)
	if err != nil {
		return nil, err
	}
	high, err := s.compile(x.high)
	if err != nil {
		return nil, err
	}
	if low.typ == Datetime && high.typ == Timespan {
		from, span := low.of, high.of
		high = &compiled{typ: Datetime, fix: low.fix && high.fix, of: func(row []any) (any, error) {
			a, err := from(row)
			if err != nil {
				return nil, err
			}
			b, err := span(row)
			return arith("+", a, b), err
		}}
	}
	above, err := s.comparison(&binary{place: x.place, op: ">="}, of.typ, low.typ)
	if err != nil {
		return nil, err
	}
	below, err := s.comparison(&binary{place: x.place, op: "<="}, of.typ, high.typ)
	if err != nil {
		return nil, err
	}
	return &compiled{typ: Bool, fix: of.fix && low.fix && high.fix, of: func(row []any) (any, error) {
		v, err := of.of(row)
		if err != nil {
			return nil, err
		}
		a, err := low.of(row)
		if err != nil {
			return nil, err
		}
		b, err := high.of(row)
		if err != nil {
			return nil, err
		}
		if err := s.r.spend(2); err != nil {
			return nil, err
		}
		if is, err := above(v, a); err != nil || is != true {
			return x.not, err
		}
		is, err := below(v, b)
		return (is == true) != x.not, err
	}}, nil
}
